"""From a finding and the policy to a plan or a refusal, each with its reason. Pure.

A plan is data that a person can read: steps with SQL, reason and hazard, and a fingerprint
over everything it rests on. All steps run in one transaction; what cannot, is refused.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import assert_never

from sidecar import __version__, evidence, refusal
from sidecar.diagnose import State, restrict, touched_states
from sidecar.model import (
    Action,
    Control,
    Decision,
    Facts,
    Finding,
    Hazard,
    Ledger,
    MigrationFile,
    Nature,
    Plan,
    Policy,
    Replay,
    Script,
    Statement,
    Step,
    StepKind,
)
from sidecar.policy import action_for
from sidecar.undo import literal, undo

_SETTINGS = frozenset({"SET", "RESET", "SELECT", "LISTEN", "UNLISTEN"})
"""Kinds that set the session (SELECT by set_config) and hold nothing in it."""

_LOCAL = re.compile(
    r"SET\s+LOCAL\s+(?!lock_timeout|statement_timeout)|.*set_config\s*\(.*,\s*'?(t|true|on)\b",
    re.IGNORECASE | re.DOTALL,
)
"""A setting that ends with its transaction and may change what statements mean."""


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


def decide(situation: Situation, policy: Policy) -> Decision:
    """The plan that the policy allows for this finding, or why there is none."""
    finding = situation.finding
    action = action_for(policy, finding.name, finding.migration)
    if action is Action.HALT:
        return refusal.halted(finding, policy)
    if action is Action.MARK_ROLLED_BACK:
        return _plan(situation, action, (), rolled_back_only=True)
    if action is Action.MARK_APPLIED:
        return _plan(situation, action, ())
    if situation.script is None or situation.replay is None:
        raise AssertionError(finding)  # policy.SOUND: what runs statements needs both
    problem = _cannot_run(situation.script, action, finding.applied or 0)
    if problem:
        return refusal.refused(finding, action, problem)
    match action:
        case Action.RESUME | Action.REAPPLY:
            return _plan(situation, action, _statements(situation.script, finding.applied or 0))
        case Action.REBUILD:
            return _rebuild(situation)
        case _:
            assert_never(action)


def _rebuild(situation: Situation) -> Decision:
    finding, replay, script = situation.finding, situation.replay, situation.script
    if replay is None or script is None or finding.applied is None:
        reason = "what this migration created is not known exactly, so it cannot be undone"
        return refusal.refused(finding, Action.REBUILD, reason)
    if any(evidence.object_existed(evidence.logged_error(log)) for log in _logs(situation)):
        reason = "an object was there before it, so what this migration created is not known"
        return refusal.refused(finding, Action.REBUILD, reason)
    tag = hashlib.sha256(_failed_ids(situation).encode()).hexdigest()[:8]
    back = undo(replay.effects[: finding.applied], occupied=situation.occupied, tag=tag)
    if back.obstacles:
        reason = "it cannot be undone: " + "; ".join(back.obstacles)
        return refusal.refused(finding, Action.REBUILD, reason)
    return _plan(situation, Action.REBUILD, (*back.steps, *_statements(script, 0)))


# --- what will be run ------------------------------------------------------------


def _statements(script: Script, applied: int) -> tuple[Step, ...]:
    """The missing statements; settings of the session that ran before are set again."""
    before = script.statements[:applied]
    again = (
        s
        for s in before
        if s.nature is Nature.SESSION and not _makes_temporary(s) and not _LOCAL.match(s.sql)
    )
    missing = (s for s in script.statements[applied:] if s.nature is not Nature.CONTROL)
    return tuple(_statement_step(s, applied) for s in (*again, *missing))


def _statement_step(statement: Statement, applied: int) -> Step:
    reason = "sets the session as the script had it" if statement.index <= applied else "missing"
    return Step(
        StepKind.STATEMENT,
        statement.sql,
        reason,
        _hazard(statement),
        index=statement.index,
        line=statement.line,
    )


def _hazard(statement: Statement) -> Hazard:
    match statement.nature:
        case Nature.DATA:
            return Hazard.DATA
        case Nature.CATALOG:
            drops = re.search(r"\bDROP\b", statement.sql, re.IGNORECASE)
            return Hazard.DROPS if drops else Hazard.LOCKS
        case Nature.SESSION | Nature.CONTROL | Nature.NOTHING:
            return Hazard.NONE
        case _:
            assert_never(statement.nature)


def _cannot_run(script: Script, action: Action, applied: int) -> str:
    """Why this script cannot be run in one transaction, or ''."""
    applied = 0 if action is Action.REBUILD else applied
    for statement in script.statements[applied:]:
        where = f"statement {statement.index} (line {statement.line}, {statement.kind})"
        if statement.forbidden:
            return f"{where}: {statement.forbidden}"
        if statement.solo:
            return f"{where} cannot run inside a transaction"
        if statement.control in {Control.ROLLBACK, Control.SAVEPOINT}:
            return f"{where} takes back a part of the script"
        if _outlives_its_block(statement, script):
            return f"{where} would last longer than in the script: until the repair ends"
    if any(_makes_temporary(s) for s in script.statements[:applied]):
        return "the statements that ran made temporary objects, gone with their session"
    return ""


def _outlives_its_block(statement: Statement, script: Script) -> bool:
    """Whether it is a setting for its transaction only, and the script has more than that one."""
    if statement.nature is not Nature.SESSION or not _LOCAL.match(statement.sql):
        return False
    after = script.statements[statement.index :]
    return statement.block is None or any(s.block != statement.block for s in after)


def _makes_temporary(statement: Statement) -> bool:
    """Whether it leaves more in the session than a setting, which can simply be made again."""
    return statement.nature is Nature.SESSION and statement.kind not in _SETTINGS


# --- the ledger ------------------------------------------------------------------


def _ledger_steps(situation: Situation, audit: str, *, rolled_back_only: bool) -> Iterator[Step]:
    """As `prisma migrate resolve` writes it (commands/mark_migration_applied.rs)."""
    name = situation.finding.migration
    for row in situation.ledger.failed:
        if row.migration_name == name:
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
        "migration_name, applied_steps_count) VALUES (gen_random_uuid()::text, "
        f"{literal(situation.file.checksum)}, {literal(audit)}, now(), now(), {literal(name)}, 0)",
        "the migration is applied; logs carries the audit, which Prisma never reads",
    )


# --- the plan --------------------------------------------------------------------


def _plan(
    situation: Situation, action: Action, work: tuple[Step, ...], *, rolled_back_only: bool = False
) -> Plan:
    states: tuple[State, ...] = touched_states(situation.replay) if situation.replay else ({},)
    before = restrict(situation.live, states[0])
    bare = Plan(
        migration=situation.finding.migration,
        finding=situation.finding.name,
        action=action,
        steps=(*work, *_ledger_steps(situation, "", rolled_back_only=rolled_back_only)),
        fingerprint="",
        before=before,
        expected=before if rolled_back_only else states[-1],
        writes=_writes(situation, work),
        reach_known=_reach_known(situation, work),
    )
    print_ = _fingerprint(situation, bare)
    audit = _audit(situation, action, print_)
    ledger = _ledger_steps(situation, audit, rolled_back_only=rolled_back_only)
    return replace(bare, steps=(*work, *ledger), fingerprint=print_)


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
        [step.sql for step in plan.steps],
    ]
    return hashlib.sha256(json.dumps(rests_on, sort_keys=True).encode()).hexdigest()[:16]


def _failed_ids(situation: Situation) -> str:
    name = situation.finding.migration
    return ",".join(row.id for row in situation.ledger.failed if row.migration_name == name)


def _logs(situation: Situation) -> list[str | None]:
    name = situation.finding.migration
    return [row.logs for row in situation.ledger.failed if row.migration_name == name]


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


def _run(situation: Situation, work: tuple[Step, ...]) -> list[Statement]:
    indexes = {step.index for step in work}
    statements = situation.script.statements if situation.script else ()
    return [s for s in statements if s.index in indexes]


def _writes(situation: Situation, work: tuple[Step, ...]) -> tuple[str, ...]:
    return tuple(sorted({table for s in _run(situation, work) for table in s.writes}))


def _reach_known(situation: Situation, work: tuple[Step, ...]) -> bool:
    return all(statement.reach_known for statement in _run(situation, work))
