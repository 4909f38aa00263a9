"""What the rows say of the statements that the catalog cannot show. Pure.

Transaction ids tell when a row was written: within the attempt, or before it. Counting what
a statement would change now tells whether running it matters at all. Each rule here
proves one thing; where none applies, the question stays open.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace

from sidecar.evidence import changes_nothing
from sidecar.harmless import private, repeatable
from sidecar.live_tables import understood
from sidecar.model import Evidence, Facts, Statement, Table, Verb
from sidecar.row_proofs import HIDES, Question, RowEvidence, did_not_run, made, ran
from sidecar.table_names import parts, same_table, unique_keys

_LEAVES_ROWS = frozenset({Verb.INSERT, Verb.UPDATE, Verb.MIXED})


def narrow(question: Question, rows: RowEvidence) -> tuple[tuple[int, ...], list[Evidence]]:
    """The candidates that remain, and what was used; one candidate is the answer.

    Where several remain possible but all between them may be repeated, the least is.
    """
    found: list[Evidence] = []
    question = replace(question, script=understood(question.script, question.live))
    left = _bounded(question, rows, found)
    left = _without_vacuous(question, left, rows, found)
    if len(left) > 1 and _may_repeat(question, left, rows):
        named = _named(question.between(left[0], left[-1]))
        found.append(Evidence("rows", f"harmless to run again, whether they ran or not: {named}"))
        left = left[:1]
    return left, found


def _bounded(question: Question, rows: RowEvidence, found: list[Evidence]) -> tuple[int, ...]:
    """Drop the candidates that contradict a proof that one statement ran, or did not."""
    left = question.candidates
    for statement in question.between(left[0], left[-1]):
        if says := did_not_run(question, statement, rows):
            fewer = tuple(k for k in left if k < statement.index)
        elif says := ran(question, statement, rows):
            fewer = tuple(k for k in left if k >= statement.index)
        else:
            continue
        if not fewer:
            continue  # a contradiction proves nothing: what both rest on stays open
        if fewer != left:
            found.append(Evidence("rows", f"{_named([statement])}: {says}"))
        left = fewer
    return left


# --- which statements do not matter ----------------------------------------------


def _without_vacuous(
    question: Question, left: tuple[int, ...], rows: RowEvidence, found: list[Evidence]
) -> tuple[int, ...]:
    """Step over what would change nothing now: to have run it and not to are the same."""
    while len(left) > 1:
        between = question.between(left[0], left[1])
        if not all(_is_vacuous(question, statement, rows) for statement in between):
            break
        found.append(Evidence("rows", f"{_named(between)}: it would change nothing now"))
        left = left[1:]
    return left


def _is_vacuous(question: Question, statement: Statement, rows: RowEvidence) -> bool:
    if changes_nothing(statement, question.effects):
        return True
    seen, change = rows.seen.get(statement.index), statement.change
    if seen is None or change is None:
        return False
    if seen.picked == 0:
        return True
    if _watched(question, change.table):
        return False
    if change.verb is Verb.INSERT:
        there = change.key is not None or seen.same == seen.picked
        return seen.pending == 0 and there and not change.writes
    return seen.pending == 0 and not change.volatile


def _may_repeat(question: Question, left: tuple[int, ...], rows: RowEvidence) -> bool:
    between = question.between(left[0], left[-1])
    data = [s for s in between if not changes_nothing(s, question.effects)]
    if any(s.change is None or _watched(question, s.change.table) for s in data):
        return False
    if any(not _finds_its_rows(s, rows) for s in data):
        return False
    inert = {s.index for s in data if _is_inert(question, s, rows)}
    return repeatable(data, inert=inert)


def _finds_its_rows(statement: Statement, rows: RowEvidence) -> bool:
    """Whether ON CONFLICT has a key to conflict with, and none of its values is NULL."""
    seen, change = rows.seen.get(statement.index), statement.change
    return not (change and change.key is not None) or bool(seen and seen.pending is not None)


def _is_inert(question: Question, statement: Statement, rows: RowEvidence) -> bool:
    return (
        _left_nothing(statement, rows)
        or _is_absent(statement, rows)
        or _is_private(question, statement)
    )


def _is_absent(statement: Statement, rows: RowEvidence) -> bool:
    """Whether none of the rows that an INSERT gives is there, by a unique key of them."""
    seen, change = rows.seen.get(statement.index), statement.change
    if seen is None or change is None or change.verb is not Verb.INSERT:
        return False
    return seen.pending is not None and seen.pending == seen.picked


def insert_keys(statements: Sequence[Statement], facts: Facts) -> dict[int, tuple[str, ...]]:
    """By statement the unique columns, quoted, by which the rows of an INSERT can be looked up.

    They are columns with the same values each time, and the ones ON CONFLICT names if it does.
    """
    found: dict[int, tuple[str, ...]] = {}
    for statement in statements:
        change = statement.change
        if change is None or change.verb is not Verb.INSERT:
            continue
        for key in unique_keys(change.table, facts):
            columns = tuple('"' + name.replace('"', '""') + '"' for name in key)
            named = not change.key or set(change.key) == set(columns)
            if set(columns) <= set(change.fixed) and named:
                found.setdefault(statement.index, columns)
    return found


def _left_nothing(statement: Statement, rows: RowEvidence) -> bool:
    """Whether no row of its tables was written in the window, and it would have left some."""
    seen, change = rows.seen.get(statement.index), statement.change
    return bool(seen and change and rows.window and seen.fresh == 0 and change.verb in _LEAVES_ROWS)


def _is_private(question: Question, statement: Statement) -> bool:
    """Whether it only sets columns that nobody else has seen, from what it does not set."""
    change = statement.change
    if change is None or change.verb is not Verb.UPDATE:
        return False
    unseen = {
        (parts(key.on), parts(key.identity)[0]) for key in made(question) if key.kind == "column"
    }
    return change.own_reads.isdisjoint(change.writes) and private(
        change.table, change.writes, unseen
    )


def _watched(question: Question, table: Table) -> bool:
    """Whether a trigger or rule sees what happens to its rows."""
    return any(
        same_table(table, parts(key.on)) for key in question.live if key.kind in HIDES and key.on
    )


def _named(statements: Collection[Statement]) -> str:
    return ", ".join(f"{s.index} (line {s.line}, {s.kind})" for s in list(statements)[:5])
