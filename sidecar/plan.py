"""From a finding and the policy to a plan or a refusal, each with its reason. Pure.

A plan is data that a person can read: steps with SQL, reason and hazard, which of them commit
together, and a fingerprint over everything it rests on.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import assert_never

from sidecar import __version__, error_log, mark, refusal, remains
from sidecar.diagnose import known
from sidecar.model import (
    Action,
    DataStatements,
    Decision,
    Effect,
    Evidence,
    FactKey,
    Facts,
    Finding,
    Ledger,
    LedgerRow,
    MigrationFile,
    Plan,
    Policy,
    Replay,
    Script,
    Segment,
    Statement,
    Step,
    StepKind,
)
from sidecar.obstacles import changed_for_good, obstacle
from sidecar.policy import action_for, assumption_for
from sidecar.sql_text import literal
from sidecar.steps import Work, segments
from sidecar.table_names import meet
from sidecar.touched import State, restrict, touched_states
from sidecar.undo import undo


@dataclass(frozen=True, slots=True)
class Situation:
    """All that planning may look at. `table` is the ledger's quoted name.

    `script`, `replay` and `file` are None where the finding was made without them;
    `occupied` are the tables this migration created that hold rows.
    """

    finding: Finding
    ledger: Ledger
    table: str
    live: Facts
    script: Script | None = None
    replay: Replay | None = None
    file: MigrationFile | None = None
    occupied: frozenset[str] = frozenset()
    before: frozenset[FactKey] = frozenset()
    """What the script makes, and somebody had made before the attempt."""

    @property
    def failed(self) -> tuple[LedgerRow, ...]:
        """The failed attempts of this migration."""
        return tuple(r for r in self.ledger.failed if r.migration_name == self.finding.migration)


def decide(situation: Situation, policy: Policy) -> Decision:
    """The plan that the policy allows for this finding, or why there is none."""
    situation = _assumed(situation, policy)
    finding = situation.finding
    action = action_for(policy, finding.name, finding.migration)
    if action is Action.HALT:
        return refusal.halted(finding, policy)
    if action is Action.MARK_ROLLED_BACK:
        return _mark_rolled_back(situation)
    if action is Action.MARK_APPLIED:
        return _plan(situation, action)
    if situation.script is None or situation.replay is None:
        raise AssertionError(finding)  # policy.SOUND: what runs statements needs both
    applied = finding.applied or 0
    start = 0 if action is Action.REBUILD else applied
    script, replay, live = situation.script, situation.replay, situation.live
    if problem := obstacle(script, replay, live, start=start, applied=applied):
        return refusal.refused(finding, action, problem)
    match action:
        case Action.RESUME | Action.REAPPLY:
            return _plan(situation, action, _work(situation, start=start))
        case Action.REBUILD:
            return _rebuild(situation)
        case _:
            assert_never(action)


def _assumed(situation: Situation, policy: Policy) -> Situation:
    """Where only data statements are open: as if it were known what the policy assumes of them."""
    finding, script = situation.finding, situation.script
    assumption = assumption_for(policy, finding.migration)
    if not finding.only_data_open or script is None or assumption is DataStatements.HALT:
        return situation
    ran = assumption is DataStatements.ASSUME_RUN
    applied = finding.candidates[-1] if ran else finding.candidates[0]
    said = Evidence("policy", f"data_statements is {assumption}: {applied} statements ran")
    found = known(finding.migration, script, applied, (*finding.evidence, said))
    return replace(situation, finding=found)


def _rebuild(situation: Situation) -> Decision:
    finding, replay, script = situation.finding, situation.replay, situation.script
    if replay is None or script is None or finding.applied is None:
        # An object made since the attempt began may still be that of a hand repair.
        reason = "others were at work on it too; transaction ids say when, not who made what"
        return refusal.refused(finding, Action.REBUILD, reason)
    logs = (row.logs for row in situation.failed)
    existed = any(error_log.object_existed(error_log.logged_error(log)) for log in logs)
    if existed or situation.before:
        reason = "an object was there before it, so what this migration created is not known"
        return refusal.refused(finding, Action.REBUILD, reason)
    live, applied = situation.live, finding.applied
    if problem := changed_for_good(script, replay, live, applied=applied):
        return refusal.refused(finding, Action.REBUILD, problem)
    tag = hashlib.sha256(_failed_ids(situation).encode()).hexdigest()[:8]
    written = [name for statement in script.statements[:applied] for name in statement.writes]
    filled = [table for table in situation.occupied if meet((table,), written)]
    effects, occupied = replay.effects[:applied], situation.occupied
    back = undo(effects, occupied=occupied, tag=tag, filled=filled)
    if back.obstacles:
        reason = "it cannot be undone: " + "; ".join(back.obstacles)
        return refusal.refused(finding, Action.REBUILD, reason)
    return _plan(situation, Action.REBUILD, _work(situation, start=0, front=back.steps))


def _mark_rolled_back(situation: Situation) -> Decision:
    if situation.script and situation.replay and situation.finding.applied is not None:
        left = _work(situation, start=situation.finding.applied).to_drop
        if left:
            drops = "; ".join(remains.drop(key).sql for key in left)
            reason = f"prisma would fail on an INVALID index that was left: {drops}"
            return refusal.refused(situation.finding, Action.MARK_ROLLED_BACK, reason)
    return _plan(situation, Action.MARK_ROLLED_BACK)


def _work(situation: Situation, *, start: int, front: tuple[Step, ...] = ()) -> Work:
    script, replay = situation.script, situation.replay
    if script is None or replay is None:
        raise AssertionError(situation.finding)
    return Work(
        script=script,
        states=touched_states(replay),
        effects=replay.effects,
        live=situation.live,
        applied=situation.finding.applied or 0,
        start=start,
        front=front,
        mark=lambda committed: mark.mark(situation.table, situation.failed[-1], script, committed),
    )


# --- the ledger ------------------------------------------------------------------


def _ledger_steps(situation: Situation, audit: str, *, rolled_back_only: bool) -> Iterator[Step]:
    """As `prisma migrate resolve` writes it (commands/mark_migration_applied.rs)."""
    name = situation.finding.migration
    for row in situation.failed:
        yield Step(
            StepKind.LEDGER,
            f"UPDATE {situation.table} SET rolled_back_at = now() WHERE id = {literal(row.id)} "
            "AND finished_at IS NULL AND rolled_back_at IS NULL",
            "the failed attempt is over",
        )
    already = any(row.applied and row.migration_name == name for row in situation.ledger.rows)
    if rolled_back_only or already or situation.file is None:
        return
    yield Step(
        StepKind.LEDGER,
        f"INSERT INTO {situation.table} (id, checksum, logs, started_at, finished_at, "
        "migration_name, applied_steps_count) VALUES (gen_random_uuid(), "
        f"{literal(situation.file.checksum)}, {literal(audit)}, now(), now(), {literal(name)}, 0)",
        "the migration is applied; logs carries the audit, which Prisma never reads",
    )


# --- the plan --------------------------------------------------------------------


def _plan(situation: Situation, action: Action, work: Work | None = None) -> Plan:
    """The plan to do this work, or none, and to change the ledger."""
    print_ = _fingerprint(situation, _bare(situation, action, work, audit=""))
    audit = _audit(situation, action, print_)
    return replace(_bare(situation, action, work, audit=audit), fingerprint=print_)


def _bare(situation: Situation, action: Action, work: Work | None, *, audit: str) -> Plan:
    """The same with this audit, and without its fingerprint, which is part of the audit."""
    states: tuple[State, ...] = touched_states(situation.replay) if situation.replay else ({},)
    only = action is Action.MARK_ROLLED_BACK
    ledger = tuple(_ledger_steps(situation, audit, rolled_back_only=only))
    left = dict.fromkeys(work.left) if work else {}
    before = restrict(situation.live, {**states[0], **left})
    if work:
        parts = segments(work, ledger)
    else:
        parts = (Segment(ledger, expected=before if only else states[-1]),)
    return Plan(
        migration=situation.finding.migration,
        finding=situation.finding.name,
        action=action,
        segments=parts,
        fingerprint="",
        before=before,
        expected=parts[-1].expected,
        writes=_writes(situation, parts),
        reach_known=_reach_known(situation, parts),
        effects=_effects(situation, parts),
        known=_known_facts(situation),
    )


def _fingerprint(situation: Situation, plan: Plan) -> str:
    """sha256 over what the plan rests on and what it does; the world moved if it differs."""
    rests_on = [
        situation.table,
        _failed_ids(situation),
        situation.file.checksum if situation.file else "",
        plan.migration,
        plan.finding,
        plan.action,
        sorted((*key, value or "", value is None) for key, value in plan.before.items()),
        [[part.alone, *(step.sql for step in part.steps)] for part in plan.segments],
    ]
    return hashlib.sha256(json.dumps(rests_on, sort_keys=True).encode()).hexdigest()[:16]


def _failed_ids(situation: Situation) -> str:
    return ",".join(row.id for row in situation.failed)


def _audit(situation: Situation, action: Action, fingerprint: str) -> str:
    finding = situation.finding
    audit: Mapping[str, object] = {
        "tool": "migration-sidecar",
        "version": __version__,
        "finding": finding.name,
        "applied": finding.applied,
        "action": action,
        "fingerprint": fingerprint,
        "evidence": [f"{item.source}: {item.says}" for item in finding.evidence],
    }
    return json.dumps(audit)


def _run(situation: Situation, parts: tuple[Segment, ...]) -> list[Statement]:
    indexes = {index for part in parts for index in part.statements}
    statements = situation.script.statements if situation.script else ()
    return [s for s in statements if s.index in indexes]


def _effects(situation: Situation, parts: tuple[Segment, ...]) -> tuple[Effect, ...]:
    effects = situation.replay.effects if situation.replay else ()
    return tuple(effects[statement.index - 1] for statement in _run(situation, parts))


def _known_facts(situation: Situation) -> frozenset[FactKey]:
    if situation.replay is None:
        return frozenset()
    touched = (change.key for effect in situation.replay.effects for change in effect)
    return frozenset((*situation.replay.base, *touched))


def _writes(situation: Situation, parts: tuple[Segment, ...]) -> tuple[str, ...]:
    """The tables that it writes to, also by the names which they get afterwards."""
    writes = {table for s in _run(situation, parts) for table in s.writes}
    for effect in situation.replay.effects if situation.replay else ():
        tables = [change for change in effect if change.key.kind == "table"]
        gone = {change.key.identity for change in tables if change.after is None}
        if meet(gone, writes):
            writes |= {change.key.identity for change in tables if change.before is None}
    return tuple(sorted(writes))


def _reach_known(situation: Situation, parts: tuple[Segment, ...]) -> bool:
    return all(statement.reach_known for statement in _run(situation, parts))
