"""What is left of columns that one statement of a script adds and a later one drops. Pure.

The facts before and after are the same. But a column that is dropped keeps its row in the
catalog, which tells when: where none was dropped since the attempt began, none can have come
and gone. That one was dropped tells less, for after a failure people clean up by hand.
"""

from __future__ import annotations

import re

from sidecar.attempt_window import dropped_by
from sidecar.model import Effect, Nature, Statement
from sidecar.row_proofs import Question, RowEvidence

_MAY_DROP = re.compile(r"\bDROP\b", re.IGNORECASE)


def dropped_nothing(question: Question, statement: Statement, rows: RowEvidence) -> str:
    """Why it is certain that the statement, which drops columns, did not run, or ''."""
    for table in _tables(question, statement):
        if rows.drops.get(table) == frozenset():
            return f"it did not run: no column of {table} was dropped since the attempt began"
    return ""


def dropped_some(question: Question, statement: Statement, rows: RowEvidence) -> str:
    """Why it is certain that the statement, which drops columns, ran, or ''.

    Only within an attempt that is known from its first effect to its error, and only if no
    other open statement drops any.
    """
    window = rows.window
    if window is None or not (window.sharp and window.bounded):
        return ""
    open_ = question.between(question.candidates[0], question.candidates[-1])
    if any(_may_drop(other) for other in open_ if other.index != statement.index):
        return ""
    for table in _tables(question, statement):
        if any(window.youngest < age < window.oldest for age in rows.drops.get(table, ())):
            return f"it ran: a column of {table} was dropped during the attempt"
    return ""


def _tables(question: Question, statement: Statement) -> list[str]:
    """Those it drops columns of and that are the same all the time: a new one has no past."""
    gone = dropped_by(question.effects[statement.index - 1])
    return [
        key.on
        for key in sorted(gone)
        if not any(_makes_or_removes(effect, key.on) for effect in question.effects)
    ]


def _makes_or_removes(effect: Effect, table: str) -> bool:
    return any(
        None in {change.before, change.after}
        for change in effect
        if change.key.kind == "schema" or change.key.identity == table
    )


def _may_drop(statement: Statement) -> bool:
    if statement.nature is Nature.CATALOG and statement.kind != "DO":
        return bool(_MAY_DROP.search(statement.sql)) or not statement.reach_known
    return statement.kind == "DO" or not statement.reach_known
