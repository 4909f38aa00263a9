"""When the statements of a failed attempt can have written rows, in transaction ids. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from sidecar.model import Effect, LedgerRow, Marks, Window

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
    the last visible effect before them. Without one, it opens after a kill with the
    failed row; after an error, which is written into that row, it closes there and opens,
    not sharply, with the row of another migration before it.
    """
    first, last = candidates[0], candidates[-1]
    mine = marks.ledger.get(row.id)
    if mine is None:
        return "the failed row is gone"
    if problem := _no_use(row, rows, marks, mine):
        return problem
    later = {change.key for effect in effects[first:last] for change in effect}
    ages = [
        [marks.facts[c.key] for c in effect if c.key in marks.facts and c.key not in later]
        for effect in effects[:first]
    ]
    dated = [age for some in ages for age in some]
    opening = next((max(some) for some in reversed(ages) if some), None)
    if not row.logs:
        if any(age >= mine for age in dated):
            return "objects that it made are older than its row in the ledger"
        opening = mine if opening is None else opening
        return Window(marks.now, opening, -FAR, sharp=not marks.wrapped, bounded=False)
    if any(age <= mine for age in dated):
        return "objects that it made are younger than its error in the ledger"
    if opening is not None:
        return Window(marks.now, opening, mine, sharp=not marks.wrapped)
    before = [age for other, age in marks.ledger.items() if other != row.id and age > mine]
    return Window(marks.now, min(before, default=FAR), mine, sharp=False)


def _no_use(row: LedgerRow, rows: Sequence[LedgerRow], marks: Marks, mine: int) -> str:
    """Why the ids of this database say nothing of this attempt, or ''."""
    if any(r.failed and r.id != row.id for r in rows if r.migration_name == row.migration_name):
        return "it was attempted more than once"
    others = {r.id for r in rows if r.migration_name != row.migration_name}
    if any(marks.ledger.get(other) == mine for other in others):
        return "the ledger was restored: its rows are of one transaction"
    if marks.key is not None and marks.key <= mine:
        return "the ledger was restored: its key is younger than its rows"
    return ""
