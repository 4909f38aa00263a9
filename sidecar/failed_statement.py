"""Which statement the error in the logs is of: one beside which what it violated exists. Pure.

"Duplicate key, constraint user_email_key" cannot have been said before the statement that
makes `user_email_key` was tried. It is not there, so it was that statement which failed, and
all before it ran: the usual end of a backfill before SET NOT NULL, UNIQUE or a foreign key.
"""

from __future__ import annotations

import re

from sidecar.attempt_window import brought
from sidecar.error_log import LoggedError
from sidecar.model import Effect, Evidence, FactKey, Facts, Statement
from sidecar.row_proofs import Question, RowEvidence
from sidecar.sql_text import plain
from sidecar.table_names import parts

_GUARDED = re.compile(r"\bIF\s+NOT\s+EXISTS\b|\bOR\s+REPLACE\b", re.IGNORECASE)
"""Where these words stand, what a statement makes may have been there before it."""


def by_violation(
    question: Question, rows: RowEvidence
) -> tuple[tuple[int, ...], tuple[Evidence, ...]]:
    """The candidates after which the statement comes that the logged violation is of.

    All of them where the logs name none, where what they name is there without it, and where
    the script may have been sent as one message, which an error takes back altogether.
    """
    candidates, error = question.candidates, question.error
    if error is None or not (error.constraint or error.column) or _exists(error, question.live):
        return candidates, ()
    if not _commits_each(question, rows):
        return candidates, ()
    later = question.script.statements[candidates[0] :]
    makers = {s.index for s in later if _makes(error, question.effects[s.index - 1])}
    if not makers:
        return candidates, ()
    may_say = makers | {s.index for s in later if _may_have_made(error, s)}
    ends = (*candidates[1:], len(question.script.statements))
    fits = tuple(
        k
        for k, end in zip(candidates, ends, strict=True)
        if not may_say.isdisjoint(range(k + 1, end + 1))
    )
    if fits == candidates:
        return candidates, ()
    violated = error.constraint or f"NOT NULL of {error.table}.{error.column}"
    says = f"the logged error ({error.says}) is of {violated}, which only a later statement makes"
    return fits, (Evidence("logs", says),)


def _commits_each(question: Question, rows: RowEvidence) -> bool:
    """Whether the attempt committed its statements one by one.

    It did if what one of them made is there in spite of the error, is dated before it, and
    would have been in the way of that statement if somebody else had made it.
    """
    if rows.window is None or any(s.control for s in question.script.statements):
        return False
    return any(
        rows.ages.get(key) == rows.window.oldest
        for statement in question.between(0, question.candidates[0])
        if statement.kind != "DO" and not _GUARDED.search(statement.sql)
        for key in brought(question.effects[statement.index - 1])
    )


def _makes(error: LoggedError, effect: Effect) -> bool:
    return _exists(error, {c.key: c.after for c in effect if c.after is not None})


def _may_have_made(error: LoggedError, statement: Statement) -> bool:
    """Whether it may also do so and take it back, as a block can."""
    return statement.change is None and (error.constraint or error.column) in statement.sql


def _exists(error: LoggedError, facts: Facts) -> bool:
    return any(_is_violated(error, key, definition) for key, definition in facts.items())


def _is_violated(error: LoggedError, key: FactKey, definition: str) -> bool:
    if error.constraint:
        return key.kind in {"constraint", "index"} and parts(key.identity)[-1] == error.constraint
    return (
        key.kind == "column"
        and plain(key.identity) == error.column
        and parts(key.on)[-1] == error.table
        and "NOT NULL" in definition.partition(" DEFAULT ")[0]
    )
