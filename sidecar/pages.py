"""What `status` and `plan` print for people. Pure: values in, text out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import assert_never

from sidecar.model import (
    Finding,
    Hazard,
    MigrationOutcome,
    Outcome,
    Plan,
    Refusal,
    Script,
    Segment,
    Step,
    StepKind,
)
from sidecar.text import (
    difference_line,
    finding_line,
    next_steps,
    one_line,
    sentence,
    statement_states,
)

__all__ = ["human_plan", "human_status"]

_SQL_SHOWN = 60


def human_status(outcome: Outcome) -> str:
    """What happened to each failed migration: finding, evidence, statement by statement."""
    blocks = [[sentence(outcome.summary)]]
    for migration in outcome.migrations:
        blocks.append([finding_line(migration)])
        blocks.append(_titled("evidence", _evidence(migration.finding)))
        blocks.append(_statement_table(migration.finding, migration.script))
        blocks.append(_titled("differences", map(difference_line, migration.finding.differences)))
        blocks.append(_titled("missing", map(one_line, migration.finding.missing)))
        blocks.append(_titled("action", _action(migration)))
    return _page([*blocks, *_ending(outcome)])


def human_plan(outcome: Outcome) -> str:
    """What `run` would do: what is done, what is missing, then the steps with their SQL."""
    blocks = [[sentence(outcome.summary)]]
    for migration in outcome.migrations:
        blocks.append([finding_line(migration)])
        blocks.append(_statement_table(migration.finding, migration.script))
        blocks.append(_titled("action", _action(migration)))
        if isinstance(migration.decision, Plan):
            blocks += _steps(migration.decision)
            approve = f"migration-sidecar run --approve {migration.decision.fingerprint}"
            blocks.append(_titled("to carry out exactly this plan", [approve]))
    return _page([*blocks, *_ending(outcome)])


def _evidence(finding: Finding) -> Iterator[str]:
    for evidence in finding.evidence:
        against = " (against)" if evidence.against else ""
        yield one_line(f"{evidence.source}{against}: {evidence.says}")


def _statement_table(finding: Finding, script: Script | None) -> list[str]:
    if script is None or not script.statements:
        return []
    kinds = max(len("kind"), *(len(statement.kind) for statement in script.statements))
    states = statement_states(finding, script)
    rows = [
        (str(s.index), str(s.line), str(state), s.kind, _shortened(s.sql))
        for s, state in zip(script.statements, states, strict=True)
    ]
    return [
        f"  {index:>4}  {line:>4}  {state:<7}  {kind:<{kinds}}  {sql}"
        for index, line, state, kind, sql in [("#", "line", "state", "kind", "SQL"), *rows]
    ]


def _action(migration: MigrationOutcome) -> Iterator[str]:
    match migration.decision:
        case Plan(action=action, fingerprint=fingerprint, segments=segments, steps=steps):
            count = "1 step" if len(steps) == 1 else f"{len(steps)} steps"
            yield f"{action}: {count} in {_transactions(segments)} (plan {fingerprint})"
        case Refusal(reason=reason):
            yield one_line(f"halt: {reason}")
        case None:
            return
        case _:
            assert_never(migration.decision)


def _transactions(segments: tuple[Segment, ...]) -> str:
    alone = sum(segment.alone for segment in segments)
    together = len(segments) - alone
    count = "one transaction" if together == 1 else f"{together} transactions"
    return f"{count}, and {alone} outside" if alone else count


def _steps(plan: Plan) -> Iterator[list[str]]:
    """Each step, and a line before those that commit together where not all do."""
    number = 0
    for segment in plan.segments:
        if len(plan.segments) > 1:
            yield ["  outside a transaction:" if segment.alone else "  in a transaction:"]
        for step in segment.steps:
            number += 1
            yield _step(number, step)


def _step(number: int, step: Step) -> list[str]:
    what = {
        StepKind.STATEMENT: f"run statement {step.index} (line {step.line})",
        StepKind.UNDO: "undo",
        StepKind.QUARANTINE: "move aside",
        StepKind.MARK: "note",
        StepKind.LEDGER: "ledger",
    }[step.kind]
    hazard = {
        Hazard.NONE: "",
        Hazard.LOCKS: " [takes a lock that others wait for]",
        Hazard.DATA: " [changes rows]",
        Hazard.DROPS: " [drops]",
    }[step.hazard]
    sql = (f"       {_printable(line)}".rstrip() for line in step.sql.strip().splitlines())
    return [f"  {number:>2}. {what}: {one_line(step.reason)}{hazard}", *sql]


def _ending(outcome: Outcome) -> Iterator[list[str]]:
    yield [f"warning: {one_line(warning)}" for warning in outcome.warnings]
    yield [f"next: {one_line(s)}" for s in next_steps(outcome) if s != "migration-sidecar status"]


def _titled(title: str, lines: Iterable[str]) -> list[str]:
    indented = [f"    {line}" for line in lines]
    return [f"  {title}", *indented] if indented else []


def _page(blocks: Iterable[list[str]]) -> str:
    return "\n\n".join("\n".join(block) for block in blocks if block) + "\n"


def _shortened(sql: str) -> str:
    line = one_line(sql)
    return line if len(line) <= _SQL_SHOWN else f"{line[:_SQL_SHOWN]}..."


def _printable(line: str) -> str:
    return "".join(c if c.isprintable() else "?" for c in line.expandtabs(4))
