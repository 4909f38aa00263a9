"""From observed facts to a finding: what happened to one failed migration. Pure.

The live database, restricted to the facts that this migration touches, is compared with
the state after each number of statements. Where exactly one number fits, that is the
finding; where several fit, other evidence must choose; where none fits, it diverged.
Nothing is guessed: what stays open is `undetermined`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from sidecar import error_log, evidence, mark, remains, row_dependent
from sidecar.model import (
    Difference,
    Evidence,
    FactKey,
    Facts,
    Finding,
    FindingName,
    LedgerRow,
    MigrationName,
    Nature,
    Replay,
    Script,
    Statement,
)
from sidecar.row_evidence import narrow
from sidecar.row_proofs import Question, RowEvidence
from sidecar.touched import State, restrict, touched_states


@dataclass(frozen=True, slots=True)
class Case:
    """All that is known of one failed migration whose script can be read and replayed."""

    row: LedgerRow
    script: Script
    replay: Replay
    live: Facts
    edited: bool
    """True where the file is not the one that was run (its checksum differs)."""
    earlier: bool = False
    """True where an attempt before this one, marked as rolled back, may have left what is there."""
    rows: RowEvidence | None = None
    """What the rows show, once the catalog has left a question open."""
    before: frozenset[FactKey] = frozenset()
    """Facts that the script makes, and that were there before; `replay` is as it is with them."""


def running(row: LedgerRow, who: tuple[str, ...]) -> Finding:
    """A live migrator holds the lock or works on the script."""
    return Finding(
        FindingName.RUNNING,
        row.migration_name,
        tuple(Evidence("activity", sentence) for sentence in who),
    )


def script_missing(row: LedgerRow, problem: str) -> Finding:
    """The ledger knows the migration, the folder does not (or its script cannot be read)."""
    return Finding(FindingName.SCRIPT_MISSING, row.migration_name, (Evidence("folder", problem),))


def undetermined(
    row: LedgerRow,
    missing: str,
    found: tuple[Evidence, ...] = (),
    candidates: tuple[int, ...] = (),
) -> Finding:
    """Evidence is missing or contradicts itself; `missing` says which."""
    return Finding(
        FindingName.UNDETERMINED,
        row.migration_name,
        found,
        candidates=candidates,
        missing=(missing,),
    )


def without_shadow(
    row: LedgerRow, script: Script, live: Facts, missing: str, *, edited: bool
) -> Finding:
    """What can be said where no shadow can be had: only what the ledger itself proves.

    `missing` says why there is none, `edited` that another text was run. The engine counts
    a step after the whole script succeeded; the relations which the script makes must be
    there by name.
    """
    counted = evidence.by_steps_count(row, total=len(script.statements))
    if counted is None or edited:
        return undetermined(row, missing)
    present = {name for key in live if not key.on for name in _spellings(key.identity)}
    wanted = {name for statement in script.statements for name in statement.creates}
    if absent := sorted(wanted - present):
        found = (counted[1], Evidence("catalog", f"missing: {', '.join(absent)}", against=True))
        return undetermined(row, missing, found)
    says = f"{len(wanted)} relations that the script makes are there by name"
    return Finding(
        FindingName.FULLY_APPLIED,
        row.migration_name,
        (counted[1], Evidence("catalog", says)),
        applied=counted[0],
    )


def _spellings(identity: str) -> tuple[str, str]:
    """A qualified name and the bare one, as a script under a search path may write it."""
    return identity, identity.partition(".")[2]


def diagnose(case: Case) -> Finding:
    """The finding for one failed migration; never raises."""
    if case.replay.problem:
        return undetermined(case.row, case.replay.problem)
    noted = mark.committed(case.row, case.script)
    if noted is not None:  # the rest of the logs, and another checksum, are about times before
        case = replace(case, row=replace(case.row, logs=None), edited=False)
    if case.edited and (unknown := _unknown_of_old_text(case)):
        return undetermined(case.row, f"the file was edited after the failure, and {unknown}")
    states = touched_states(case.replay)
    live = restrict(case.live, states[0])
    asking = row_dependent.dependent(case.script, case.replay)
    told = live.keys() - row_dependent.uncertain(asking, case.script, case.replay.effects)
    matches = remains.begun(case.script, states, case.replay.effects, case.live) or tuple(
        k for k in case.script.boundaries if all(states[k][key] == live[key] for key in told)
    )
    if not matches:
        return _no_match(case, states, live)
    return _choose(case, matches, noted, asking)


def _unknown_of_old_text(case: Case) -> str:
    """What the earlier text, which nobody has any more, may have done; or '' for nothing."""
    if left := _left_by_old_text(case):
        return (
            "these facts are in no migration, or other than the history leaves them: "
            f"{', '.join(left[:5])}; the earlier text could have done that"
        )
    if _has_data(case.script.statements):
        return "which of its data statements stood in the earlier text and ran cannot be known"
    return ""


def _left_by_old_text(case: Case) -> list[str]:
    """Facts of the live database which neither history nor script explains."""
    base, live = case.replay.base, case.live
    explained = {change.key for effect in case.replay.effects for change in effect}
    ignored = {"privilege", "comment", "extension", "default privilege"}
    return sorted(
        str(key)
        for key in base.keys() | live.keys()
        if key not in explained
        and key.kind not in ignored
        and (base.get(key) != live.get(key) if case.replay.comparable else key not in base)
    )


def _no_match(case: Case, states: tuple[State, ...], live: State) -> Finding:
    nearest = min(
        case.script.boundaries,
        key=lambda k: (sum(states[k][key] != value for key, value in live.items()), -k),
    )
    differences = tuple(
        Difference(key, expected=states[nearest][key], found=value)
        for key, value in sorted(live.items())
        if states[nearest][key] != value
    )
    says = f"the touched objects match no prefix; nearest is after statement {nearest}"
    if not case.replay.comparable:
        missing = (
            "the shadow runs another major version, whose definitions may be spelt differently: "
            + ", ".join(str(difference.key) for difference in differences[:5])
        )
        return undetermined(case.row, missing, (Evidence("catalog", says),))
    return Finding(
        FindingName.DIVERGED,
        case.row.migration_name,
        (Evidence("catalog", says),),
        differences=differences,
    )


def _choose(
    case: Case, matches: tuple[int, ...], noted: int | None, asking: tuple[Statement, ...]
) -> Finding:
    """Let the other evidence choose among the numbers of statements that fit the facts.

    `asking` are the statements which change the catalog as rows tell them to.
    """
    total = len(case.script.statements)
    found = _seen_first(case, matches)
    if noted is not None:
        matches, marked = mark.narrowed(matches, noted, case.script)
        found.append(marked)
        if marked.against:
            return undetermined(case.row, marked.says, tuple(found), matches)
    if counted := evidence.by_steps_count(case.row, total=total):
        found.append(counted[1])
        if total not in matches:
            missing = "the ledger says that the script completed, the catalog says it did not"
            return undetermined(case.row, missing, tuple(found), matches)
        return _known(case, total, found)
    error = error_log.logged_error(case.row.logs)
    existed = case.earlier or error_log.object_existed(error)
    if existed and _has_data(case.script.statements[: matches[-1]]):
        missing = "an object was there before, so it does not show that what precedes it ran"
        return undetermined(case.row, missing, tuple(found), matches)
    left, said = evidence.by_logged_error(matches, error, case.script)
    if said:
        found.append(said)
    if said and said.against and _has_data(case.script.statements):
        return undetermined(case.row, said.says, tuple(found), matches)
    drifted = _has_drifted(case)
    left = evidence.by_equivalence(left, case.script, case.replay.effects, drifted=drifted)
    if len(left) > 1 and asking:
        missing = (
            f"statement {asking[0]} changes the schema as rows tell it to, and a shadow has none"
        )
        return undetermined(case.row, missing, tuple(found), left)
    return _among(case, left, found, drifted=drifted)


def _seen_first(case: Case, matches: tuple[int, ...]) -> list[Evidence]:
    found = [Evidence("catalog", _catalog_says(case, matches))]
    if case.edited:
        says = "the file is not the one that was run, and that one left nothing else behind"
        found.append(Evidence("folder", says))
    if case.before:
        named = ", ".join(map(str, sorted(case.before)[:5]))
        says = f"perhaps there before the attempt, and so no evidence that it ran: {named}"
        found.append(Evidence("transactions", says))
    return found


def _has_drifted(case: Case) -> bool:
    """Whether the live database has anything else than history and script explain."""
    touched = {change.key for effect in case.replay.effects for change in effect}
    base, live = case.replay.base, case.live
    return any(base.get(key) != live.get(key) for key in (base.keys() | live.keys()) - touched)


def _among(case: Case, left: tuple[int, ...], found: list[Evidence], *, drifted: bool) -> Finding:
    """What remains after catalog and ledger is asked of the rows."""
    if len(left) > 1 and case.rows is not None:
        base, effects = case.replay.base, case.replay.effects
        error = error_log.logged_error(case.row.logs)
        question = Question(left, case.script, effects, base, case.live, drifted, error)
        left, shown = narrow(question, case.rows)
        found.extend(shown)
    if len(left) == 1:
        return _known(case, left[0], found)
    open_ = undetermined(case.row, _open_question(case, left), tuple(found), left)
    return replace(open_, only_data_open=_differ_in_rows(case, left))


def _differ_in_rows(case: Case, left: tuple[int, ...]) -> bool:
    """Whether between any two of these numbers nothing but rows can have changed."""
    effects = case.replay.effects[left[0] : left[-1]]
    return not any(effects)


def _known(case: Case, applied: int, found: list[Evidence]) -> Finding:
    return known(case.row.migration_name, case.script, applied, tuple(found))


def known(
    migration: MigrationName, script: Script, applied: int, found: tuple[Evidence, ...]
) -> Finding:
    """The finding that exactly the first `applied` statements took effect."""
    if applied == len(script.statements):
        name = FindingName.FULLY_APPLIED
    elif applied == 0:
        name = FindingName.NOTHING_APPLIED
    else:
        name = FindingName.PARTLY_APPLIED
    return Finding(name, migration, found, applied=applied)


def _catalog_says(case: Case, matches: tuple[int, ...]) -> str:
    touched = len({change.key for effect in case.replay.effects for change in effect})
    total = len(case.script.statements)
    numbers = " or ".join(map(str, matches))
    return f"{touched} touched facts compared: they are as after {numbers} of {total} statements"


def _has_data(statements: tuple[Statement, ...]) -> bool:
    return any(statement.nature is Nature.DATA for statement in statements)


def _open_question(case: Case, left: tuple[int, ...]) -> str:
    between = case.script.statements[left[0] : left[-1]]
    named = ", ".join(map(str, between[:5]))
    no_ids = f" ({case.rows.why_not})" if case.rows and case.rows.why_not else ""
    return f"neither the catalog nor the rows show whether these statements ran: {named}{no_ids}"
