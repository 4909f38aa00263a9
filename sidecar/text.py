"""What people read at the end of a run: the last lines of the log, the termination message.

Pure: values in, text out; `deliver` writes it. An operator at 3 a.m. must find what
happened, what was not touched, and the next command to type, in that order.
"""

from __future__ import annotations

from typing import assert_never

from sidecar.model import (
    Difference,
    Finding,
    FindingName,
    MigrationOutcome,
    Outcome,
    OutcomeName,
    Plan,
    Proof,
    Refusal,
    Script,
    ServiceOutcome,
    StatementState,
)

__all__ = [
    "TERMINATION_LIMIT",
    "difference_line",
    "finding_line",
    "next_steps",
    "one_line",
    "sentence",
    "service_line",
    "statement_states",
    "summary_lines",
    "termination_message",
]

TERMINATION_LIMIT = 4096
"""Bytes that Kubernetes keeps of a termination message ("Determine the Reason for Pod Failure")."""

_ESSENTIAL_LIMIT = 400
"""Bytes for each of the first three lines, so that all three get through in a pod of ten
containers: they share 12 KiB (kubelet, status_manager.go, normalizeStatus)."""


def summary_lines(outcome: Outcome) -> tuple[str, ...]:
    """The last lines of the log: what happened, what was not touched, what to do next.

    One line if nothing had failed.
    """
    untouched = _untouched(outcome)
    if outcome.name is OutcomeName.HEALTHY and not outcome.migrations:
        return (f"{sentence(outcome.summary)} {untouched}",)
    return (
        sentence(outcome.summary),
        *(f"{finding_line(m)}; {_done_words(m, outcome)}" for m in outcome.migrations),
        untouched,
        *map(service_line, outcome.services),
        *(f"next: {one_line(step)}" for step in next_steps(outcome)),
    )


def termination_message(outcome: Outcome) -> bytes:
    """At most 4096 bytes of UTF-8, the most useful first.

    Outcome, the first failed migration with its finding, the first next step, all three
    short; then these in full where they were not, and the rest, as far as it fits.
    """
    found = [f"{finding_line(m)}; {_done_words(m, outcome)}" for m in outcome.migrations]
    steps = [f"next: {one_line(step)}" for step in next_steps(outcome)]
    head = f"{outcome.name} (exit {int(outcome.exit_code)}): {sentence(outcome.summary)}"
    essential = (head, *found[:1], *steps[:1])
    first = [_shortened(line) for line in essential]
    whole = [line for line, short in zip(essential, first, strict=True) if line != short]
    services = map(service_line, outcome.services)
    rest = [_untouched(outcome), *services, *whole, *found[1:], *steps[1:]]
    return _cut("\n".join((*first, *rest)), TERMINATION_LIMIT).encode()


def next_steps(outcome: Outcome) -> tuple[str, ...]:
    """What a person can do now: the run's steps, then each refusal's, none twice."""
    refusals = (m.decision for m in outcome.migrations if isinstance(m.decision, Refusal))
    steps = [*outcome.next_steps, *(step for refusal in refusals for step in refusal.next_steps)]
    return tuple(dict.fromkeys(steps))


def statement_states(finding: Finding, script: Script) -> tuple[StatementState, ...]:
    """What the finding says of each statement, in the script's order, before any repair."""
    known = (finding.applied,) if finding.applied is not None else finding.candidates
    at_least, at_most = min(known, default=0), max(known, default=len(script.statements))
    return tuple(_state(statement.index, at_least, at_most) for statement in script.statements)


def finding_line(migration: MigrationOutcome) -> str:
    """'20251208_add: partly-applied (1 of 4 statements took effect)', always one line."""
    finding = migration.finding
    total = len(migration.script.statements) if migration.script else None
    return one_line(f"{finding.migration}: {finding.name} ({_finding_words(finding, total)})")


def service_line(service: ServiceOutcome) -> str:
    """'service backend_dev: demo-backend_dev-1 restarted, healthy again', always one line."""
    who = f"{service.container} " if service.container else ""
    return one_line(f"service {service.service}: {who}{service.result}, {service.says}")


def difference_line(difference: Difference) -> str:
    """What one fact is and what it should be, always one line."""
    found = "absent" if difference.found is None else difference.found
    expected = "absent" if difference.expected is None else difference.expected
    return one_line(f"{difference.key} is {found}, a clean run leaves {expected}")


def one_line(text: str) -> str:
    """`text` on one line, without control characters that a terminal would obey."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def _state(index: int, at_least: int, at_most: int) -> StatementState:
    if index <= at_least:
        return StatementState.APPLIED
    return StatementState.MISSING if index > at_most else StatementState.UNKNOWN


def _finding_words(finding: Finding, total: int | None) -> str:
    match finding.name:
        case FindingName.RUNNING:
            return "somebody is still at work on it"
        case FindingName.SCRIPT_MISSING:
            return "the ledger knows it, but its script cannot be read"
        case FindingName.DIVERGED:
            return "the database matches no point of the script"
        case FindingName.UNDETERMINED if finding.candidates:
            numbers = " or ".join(str(k) for k in finding.candidates)
            return f"{numbers} of {total} statements took effect; which, cannot be told"
        case FindingName.UNDETERMINED:
            return "what took effect cannot be told"
        case FindingName.FULLY_APPLIED:
            return "every statement took effect, only the ledger entry is missing"
        case FindingName.NOTHING_APPLIED:
            return "no statement took effect"
        case FindingName.PARTLY_APPLIED:
            return f"{finding.applied} of {total} statements took effect"
        case _:
            assert_never(finding.name)


def _done_words(migration: MigrationOutcome, outcome: Outcome) -> str:
    match migration.decision:
        case Plan(action=action) if migration.done:
            return f"{action}: committed{_proof_words(migration.proof)}"
        case Plan(action=action) if outcome.name is OutcomeName.REPAIR_FAILED:
            return f"{action}: not committed{_proof_words(migration.proof)}"
        case Plan(action=action, fingerprint=fingerprint):
            return f"{action}: planned, not done (plan {fingerprint})"
        case Refusal(reason=reason) if reason in outcome.summary:
            return "nothing done"
        case Refusal(reason=reason):
            return one_line(f"nothing done: {reason}")
        case None:
            return "nothing was decided"
        case _:
            assert_never(migration.decision)


def _proof_words(proof: Proof | None) -> str:
    if proof is None:
        return ""
    if not proof.holds:
        failures = (*proof.violations, *map(difference_line, proof.differences))
        return one_line(f"; the proof failed: {'; '.join(failures)}")
    return (
        f" and proven ({proof.touched_facts} touched facts as a clean run leaves them,"
        f" {proof.other_facts} others and {proof.tables_counted} row counts as before)"
    )


def _untouched(outcome: Outcome) -> str:
    done = ", ".join(m.finding.migration for m in outcome.migrations if m.done)
    if done and outcome.name is not OutcomeName.REPAIRED:
        rest = _stays(outcome) or "Nothing else was changed."
        return f"Committed before this: {one_line(done)}. {rest}"
    match outcome.name:
        case OutcomeName.REPAIRED:
            return "Nothing else was changed."
        case OutcomeName.REPAIR_FAILED:
            return _stays(outcome) or "The repair was rolled back: the database is as it was."
        case OutcomeName.ERROR:
            return "What was not committed was rolled back by PostgreSQL."
        case OutcomeName.NOT_READY:
            return "Nothing is half-done: PostgreSQL rolls back what is not committed."
        case OutcomeName.HEALTHY | OutcomeName.BUSY | OutcomeName.HALTED:
            return "Nothing was changed."
        case _:
            assert_never(outcome.name)


def _stays(outcome: Outcome) -> str:
    """The statements which a failed repair committed on its way, or ''."""
    found = [m for m in outcome.migrations if m.committed and not m.done]
    return "; ".join(
        f"Statements {', '.join(map(str, m.committed))} of {one_line(m.finding.migration)} are"
        " committed and stay; the rest was rolled back, and the next run goes on from there."
        for m in found
    )


def sentence(text: str) -> str:
    """`text` on one line, ended."""
    line = one_line(text)
    return line if line.endswith((".", "!", "?")) else f"{line}."


def _shortened(line: str) -> str:
    if len(line.encode("utf-8", "replace")) <= _ESSENTIAL_LIMIT:
        return line
    return f"{_cut(line, _ESSENTIAL_LIMIT - len('…'.encode()))}…"


def _cut(text: str, limit: int) -> str:
    """At most `limit` bytes of `text` in UTF-8, cut between two characters."""
    return text.encode("utf-8", "replace")[:limit].decode("utf-8", "ignore")
