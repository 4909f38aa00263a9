"""Which statement cannot have been the last that ran: one that still finds something to do. Pure.

"The first k statements ran" means that the k-th was the last. Where a second run of it right
afterwards would change nothing, and nobody has written since, it has nothing left to do. One of
which rows are there that it would remove, or missing that it would give, was not the last.
"""

from __future__ import annotations

from itertools import pairwise

from sidecar.calm_triggers import named
from sidecar.model import Evidence, Nature, RowChange, Seen, Statement, Verb
from sidecar.row_proofs import Question, RowEvidence


def not_the_last(
    question: Question, left: tuple[int, ...], rows: RowEvidence
) -> tuple[tuple[int, ...], tuple[Evidence, ...]]:
    """The candidates whose last statement has nothing left to do, or nothing is known of it."""
    refuted = {
        k: last
        for before, k in pairwise((question.candidates[0], *left))
        if k > before
        and (last := _last_data(question.between(before, k)))
        and _has_work_left(question, last, rows)
    }
    if not refuted:
        return left, ()
    which = ", ".join(f"{s.index} (line {s.line}, {s.kind})" for s in [*refuted.values()][:5])
    says = f"not the last that ran, as each would still change rows: {which}"
    return tuple(k for k in left if k not in refuted), (Evidence("rows", says),)


def _last_data(statements: tuple[Statement, ...]) -> Statement | None:
    data = [s for s in statements if s.nature is Nature.DATA]
    return data[-1] if data else None


def _has_work_left(question: Question, statement: Statement, rows: RowEvidence) -> bool:
    seen, change = rows.seen.get(statement.index), statement.change
    if seen is None or change is None or rows.window is None or not rows.window.bounded:
        return False
    if change.fleeting or seen.overtaken != 0 or question.watched(change.table, named(change)):
        return False
    if change.verb is Verb.INSERT:
        return _gives_what_is_missing(change, seen)
    return change.settled and change.steady and not change.volatile and bool(seen.pending)


def _gives_what_is_missing(change: RowChange, seen: Seen) -> bool:
    """Whether it gives rows, and none that it may have given is there.

    Of several that it gives, one alone may have been removed since.
    """
    missing = seen.picked if change.key is None else seen.pending
    if not missing or missing != seen.picked:
        return False
    asks_first = change.settled if change.key is None else change.steady
    return asks_first or seen.fresh == 0
