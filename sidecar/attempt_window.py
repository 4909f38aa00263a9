"""When the statements of a failed attempt can have written rows, in transaction ids. Pure."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise

from sidecar.model import Effect, FactKey, LedgerRow, Marks, Window

_ALTERED_IN_PLACE = frozenset(
    {"column", "constraint", "function", "policy", "procedure", "trigger"}
)
"""Kinds of facts that stand in one catalog row, as nearly all of their definition does."""

_FOUGHT_OVER = re.compile("40001|40P01|55P03|could not serialize|deadlock|lock timeout")
"""Errors of statements that lost against somebody who wrote the same rows at that time."""

_FILLED = re.compile(r" (DEFAULT|GENERATED) ")

_OF_A_MIGRATION = 4
"""The least number of transactions: its row, the script, and two updates of the row, each alone."""

FAR = 2**31
"""More than any age, in transactions."""


def window(
    row: LedgerRow,
    rows: Sequence[LedgerRow],
    marks: Marks,
    effects: Sequence[Effect],
    candidates: Sequence[int],
) -> Window | str:
    """When the statements between the first and the last candidate can have run.

    Or why transaction ids cannot tell. `rows` are all of the ledger. The window opens with
    the last visible effect before them, sharply if that can be dated. Without one, it opens
    after a kill with the failed row; after an error, which is written into that row, it
    closes there and opens, not sharply, with the row of another migration before it.
    """
    mine = marks.ledger.get(row.id)
    if mine is None:
        return "the failed row is gone"
    if problem := _no_use(row, rows, marks, mine):
        return problem
    past, open_ = effects[: candidates[0]], effects[candidates[0] : candidates[-1]]
    later = {change.key for effect in open_ for change in effect}
    known = {key: age for key, age in marks.facts.items() if key not in later}
    dated = [ages_in(effect, known) for effect in past if effect]
    if problem := _contradiction(row, rows, marks, {age for some in dated for age in some}):
        return problem
    limit = began(row, marks) if row.logs else FAR  # older is what an earlier attempt made
    ages = [[age for age in some if age < limit] for some in dated]
    opening = next((max(some) for some in reversed(ages) if some), None)
    sharp = not marks.wrapped and (not ages or bool(ages[-1]))
    if not row.logs:
        return Window(marks.now, opening or mine, -FAR, sharp=sharp, bounded=False)
    if opening is not None:
        alone = not _FOUGHT_OVER.search(row.logs)
        return Window(marks.now, opening, mine, sharp=sharp, bounded=alone)
    return Window(marks.now, limit, mine, sharp=False)


def began(row: LedgerRow, marks: Marks) -> int:
    """An age that the attempt's beginning has, or is younger than.

    After a kill that of its row; an error is written into that, so then the row before it.
    """
    mine = marks.ledger.get(row.id, -FAR)
    before = (age for other, age in marks.ledger.items() if other != row.id and age > mine)
    return min(before, default=FAR) if row.logs else mine


def ages_in(effect: Effect, ages: Mapping[FactKey, int]) -> list[int]:
    """The ages, as far as known, of what a statement has surely written or dropped itself."""
    return [ages[key] for key in written_by(effect) | dropped_by(effect) if key in ages]


def with_drops(
    row: LedgerRow, rows: Sequence[LedgerRow], marks: Marks, effects: Sequence[Effect]
) -> Marks:
    """The marks, with the ages of columns' drops, if they took place, where they can be told.

    No name leads to what is left of a column: it must be the only drop in its table since
    the attempt began, and that the only attempt.
    """
    if any(r.migration_name == row.migration_name and r.id != row.id for r in rows):
        return marks
    gone = {key for effect in effects for key in dropped_by(effect)}
    found = {key: drops_within(row, marks).get(key.on, frozenset()) for key in gone}
    ages = {key: next(iter(some)) for key, some in found.items() if len(some) == 1}
    return replace(marks, facts={**marks.facts, **ages})


def drops_within(row: LedgerRow, marks: Marks) -> dict[str, frozenset[int]]:
    """The ages of all drops of columns since the attempt began, by whomever: by table.

    Only of tables that are older than it: one made since may be a copy, which has no past.
    """
    mine, since = marks.ledger.get(row.id, -FAR), began(row, marks)
    return {
        table: frozenset(age for age in drops.ages if age < since)
        for table, drops in marks.dropped.items()
        if drops.table > mine
    }


def _contradiction(
    row: LedgerRow, rows: Sequence[LedgerRow], marks: Marks, ages: Collection[int]
) -> str:
    """What speaks against it that the attempt made the objects of these ages, or ''."""
    mine = marks.ledger[row.id]
    if not row.logs:
        late = any(age >= mine for age in ages)
        return "objects that it made are older than its row in the ledger" if late else ""
    if any(age <= mine for age in ages):
        return "objects that it made are younger than its error in the ledger"
    others = {r.id for r in rows if r.migration_name != row.migration_name}
    last = [age for one, age in marks.ledger.items() if one in others and age > mine]
    if any(age >= min(last, default=FAR) for age in ages):
        return "objects that it made are older than the migration before it"
    return ""


def written_by(effect: Effect) -> frozenset[FactKey]:
    """The facts of an effect whose catalog rows the statement has surely written itself.

    The row of a table is that of its type, which a new name is written into, but hardly any
    other change; its columns keep theirs. The labels of an enum, a view's options stand
    elsewhere. Whatever names a renamed column is spelled anew, but only its own row is.
    """
    kinds = {change.key.kind for change in effect}
    gone = {change.key.kind for change in effect if change.after is None}
    if not gone.isdisjoint({"schema", "table", "type"}):
        renamed = gone & {"table", "type"} if "schema" not in gone else set()
        return frozenset(c.key for c in effect if c.before is None and c.key.kind in renamed)
    written = brought(effect)
    if kinds <= _ALTERED_IN_PLACE | {"index", "not-null"}:
        altered = _ALTERED_IN_PLACE if not gone else {"column"}
        written |= {c.key for c in effect if c.after is not None and c.key.kind in altered}
    return written


def bare_columns(effects: Sequence[Effect]) -> frozenset[FactKey]:
    """The columns that statements add without a default: no row of them was ever filled in."""
    return frozenset(
        change.key
        for effect in effects
        for change in effect
        if change.key.kind == "column"
        and change.before is None
        and change.after is not None
        and not _FILLED.search(change.after)
    )


def dropped_by(effect: Effect) -> frozenset[FactKey]:
    """The columns that an effect removes from tables that stay, as facts of a kind of their own.

    A column of the same name may be there again, with an age of its own.
    """
    columns = [change for change in effect if change.key.kind == "column"]
    added = {change.key.on for change in columns if change.before is None}
    gone = {change.key.identity for change in effect if change.after is None}
    return frozenset(
        change.key._replace(kind="dropped column")
        for change in columns
        if change.after is None and change.key.on not in added | gone
    )


def brought(effect: Effect) -> frozenset[FactKey]:
    """The facts that an effect brings into being, and not merely under another name."""
    gone = {change.key.kind for change in effect if change.after is None}
    return frozenset(
        change.key
        for change in effect
        if change.before is None and gone.isdisjoint({change.key.kind, "schema", "table"})
    )


def _no_use(row: LedgerRow, rows: Sequence[LedgerRow], marks: Marks, mine: int) -> str:
    """Why the ids of this database say nothing of this attempt, or ''."""
    if any(r.failed and r.id != row.id for r in rows if r.migration_name == row.migration_name):
        return "it was attempted more than once"
    others = {r.id for r in rows if r.migration_name != row.migration_name}
    if any(marks.ledger.get(other) == mine for other in others):
        return "the ledger was restored: its rows are of one transaction"
    if marks.key is not None and marks.key <= mine:
        return "the ledger was restored: its key is younger than its rows"
    ran = sorted(marks.ledger[r.id] for r in rows if r.applied_steps_count and r.id in marks.ledger)
    if marks.history is None or not ran or marks.history <= ran[-1]:
        return ""
    # Or else the first migration alone made something that has a date.
    if any(older - younger < _OF_A_MIGRATION for younger, older in pairwise(ran)):
        return "the ledger was written after all that it tells of"
    return ""
