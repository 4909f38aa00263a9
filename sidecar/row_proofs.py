"""Proofs that a data statement ran, or that it did not. Pure.

Each rests on what nothing else could have left: rows older than the attempt which the
statement would have written, or rows that one transaction of the attempt wrote just as
the statement gives them. Where none applies, the question stays open.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from sidecar.attempt_window import brought, written_by
from sidecar.calm_triggers import HIDES, named, spares, watched
from sidecar.error_log import LoggedError
from sidecar.harmless import private
from sidecar.model import (
    Change,
    Effect,
    FactKey,
    Facts,
    Nature,
    RowChange,
    Script,
    Seen,
    Statement,
    Table,
    Verb,
    Window,
)
from sidecar.row_triggers import Course, Triggers, triggers_of
from sidecar.table_names import meet, parts, same_table

SET_COLUMNS = frozenset({Verb.UPDATE, Verb.MIXED})
_MOVES = re.compile(r"RENAME|SET\s+SCHEMA", re.IGNORECASE)
_MAY_SKIP = re.compile(" (BEFORE|INSTEAD) ")
_COMPUTED = re.compile(r" (DEFAULT|GENERATED) .*\(")


@dataclass(frozen=True, slots=True)
class RowEvidence:
    """What was read of the rows for one failed migration: `window` is None where ids are no use."""

    window: Window | None = None
    why_not: str = ""
    seen: Mapping[int, Seen] = field(default_factory=dict)
    ages: Mapping[FactKey, int] = field(default_factory=dict)
    keys: Mapping[int, tuple[str, ...]] = field(default_factory=dict)
    drops: Mapping[str, frozenset[int]] = field(default_factory=dict)
    """As in `Marks`, and as `insert_keys` and `drops_within` find them."""
    quiet: bool = False
    """Whether nobody's transaction has committed since the window opened."""


@dataclass(frozen=True, slots=True)
class Question:
    """How many statements ran: which of `candidates` is it.

    `base` are the facts before the first statement, `live` those of now; `drifted` says that
    they differ in more than the script's own doing. `error` is what ended the attempt.
    """

    candidates: tuple[int, ...]
    script: Script
    effects: tuple[Effect, ...]
    base: Facts
    live: Facts
    drifted: bool = False
    error: LoggedError | None = None

    def between(self, low: int, high: int) -> tuple[Statement, ...]:
        return self.script.statements[low:high]

    def triggers(self, table: Table) -> Triggers:
        """Those of a table, as far as it is known what they do."""
        effects = self.effects[: self.candidates[-1]]
        return triggers_of(table, Course(self.base, effects, self.candidates[0], self.live))

    def watched(
        self,
        table: Table,
        columns: Collection[str],
        *,
        by: RowChange | None = None,
        sees: re.Pattern[str] | None = None,
    ) -> bool:
        """See `calm_triggers`; a trigger that spares these columns, or `by`, does not count."""
        return watched(self.live, table, sees=sees, calm=spares(self.triggers(table), columns, by))


def did_not_run(question: Question, statement: Statement, rows: RowEvidence) -> str:
    """Why it is certain that the statement did not run, or ''."""
    proofs = (_catalog_row_is_older, _rows_are_older, _rows_are_left)
    return next((says for proof in proofs if (says := proof(question, statement, rows))), "")


def ran(question: Question, statement: Statement, rows: RowEvidence) -> str:
    """Why it is certain that the statement ran, or ''."""
    return _catalog_row_is_new(question, statement, rows) or _rows_are_its_own(
        question, statement, rows
    )


def _catalog_row_is_older(question: Question, statement: Statement, rows: RowEvidence) -> str:
    """The statement makes or alters something whose catalog row nobody has written since."""
    dated = _ages(question, statement, rows)
    if rows.window and any(age > rows.window.oldest for age in dated.values()):
        return f"it did not run: {next(iter(dated))} is older than the attempt"
    return ""


def _catalog_row_is_new(question: Question, statement: Statement, rows: RowEvidence) -> str:
    """Something was made or altered within the attempt, and it is the first that does it."""
    dated = _ages(question, statement, rows)
    before = (c for effect in question.effects[: statement.index - 1] for c in effect)
    earlier = {change.key for change in before if change.after is not None}
    window = rows.window if rows.window and rows.window.sharp else None
    new = [key for key in dated if window and key not in earlier and dated[key] < window.oldest]
    return f"it ran: {new[0]} was written within the attempt" if new else ""


def _ages(question: Question, statement: Statement, rows: RowEvidence) -> dict[FactKey, int]:
    """Of the facts that the statement makes or alters, and that are there now."""
    keys = sorted(written_by(question.effects[statement.index - 1]))
    return {key: rows.ages[key] for key in keys if key in rows.ages and key in question.live}


def _rows_are_older(question: Question, statement: Statement, rows: RowEvidence) -> str:
    seen, change = rows.seen.get(statement.index), statement.change
    if seen is None or change is None or rows.window is None:
        return ""
    rests_on = named(change) if change.key is not None else frozenset[str]()
    if question.watched(change.table, rests_on, by=change, sees=_MAY_SKIP):
        return ""
    # Few such rows may be of transactions that began before the attempt and went on writing.
    most = (seen.older or 0) * 2 > (seen.picked or 0)
    if seen.older and most and not change.fleeting and not change.reads:
        return f"it did not run: {seen.older} rows that it would change are older than the attempt"
    if change.reads and seen.pending and _all_older(change, seen):
        return "it did not run: rows that it would change, and all that it reads, are older"
    gives = change.verb is Verb.INSERT and change.key is None and seen.picked
    if gives and seen.fresh == 0 and (seen.stirred == 0 or not change.reads):
        return "it did not run: no row of its table was written during the attempt"
    return ""


def _all_older(change: RowChange, seen: Seen) -> bool:
    picks = change.verb in {Verb.UPDATE, Verb.DELETE} and not change.fleeting
    return picks and change.steady and (seen.stirred, seen.new) == (0, 0)


def _rows_are_left(question: Question, statement: Statement, rows: RowEvidence) -> str:
    """It would have rewritten rows that still are as one transaction wrote all rows before it.

    That transaction cannot be its own, which would leave nothing to do.
    """
    seen, change = rows.seen.get(statement.index), statement.change
    if not (seen and change and seen.left and change.settled) or change.reads:
        return ""
    if question.watched(change.table, named(change)) or not wrote_itself(question, change, rows):
        return ""
    after = question.between(statement.index, question.candidates[-1])
    concerned = change.writes | change.picked_by | change.own_reads
    if not all(leaves(other, change.table, concerned) for other in after):
        return ""
    return f"it did not run: {seen.left} rows that it would change are as one before it left them"


def wrote_itself(question: Question, change: RowChange, rows: RowEvidence) -> bool:
    """Whether the one transaction that wrote all rows can only be the script's, or does not matter.

    After an error nobody has had the time; else which rows `change` picks, and how they become
    others, rests on columns that nobody but the script has ever seen.
    """
    if rows.window is not None and rows.window.bounded:
        return True
    rests_on = change.picked_by | change.own_reads | change.writes
    return private(change.table, rests_on, columns_made(question))


def leaves(other: Statement, table: Table, columns: Collection[str]) -> bool:
    """Whether another statement gives no values to these columns of rows that are there."""
    if not any(same_table(table, parts(name)) for name in other.writes):
        return other.reach_known
    if other.change and (other.change.spreads or other.change.verb is Verb.DELETE):
        return not other.change.spreads
    sets = other.change.writes if other.change and other.change.verb in SET_COLUMNS else ()
    return bool(sets) and frozenset(columns).isdisjoint(sets)


def _rows_are_its_own(question: Question, statement: Statement, rows: RowEvidence) -> str:
    seen, change = rows.seen.get(statement.index), statement.change
    if not (seen and change and rows.window):
        return ""
    sharp, mine = rows.window.sharp, is_made(question, change.table)
    if not (sharp or mine):
        return ""
    if (
        change.verb is Verb.INSERT
        and seen.matched is not None
        and ((sharp and seen.matched < rows.window.oldest) or _is_first(question, change.table))
        and ((seen.picked or 0) > 1 or statement.index in rows.keys or mine)
    ):  # else it is one row, such as anybody may have written since
        return "it ran: one transaction of the attempt wrote just the rows that it gives"
    its_own = change.verb is Verb.INSERT and seen.fresh and seen.fresh == seen.picked
    if its_own and not change.spreads and _alone_in_private(question, statement):
        return "it ran: nothing else has ever written to the table, which the migration made"
    if (
        change.verb is Verb.UPDATE
        and (seen.picked or 0) > 1
        and (seen.older, seen.writers) == (0, 1)
        and sharp
        and mine  # others write all rows of their tables too
        and not change.reads
        and not change.fleeting
        and change.picked_by.isdisjoint(change.writes)
        and _first_open_writer(question, statement)
    ):
        return (
            f"it ran: one transaction of the attempt wrote all {seen.picked} rows that it changes"
        )
    return ""


def _first_open_writer(question: Question, statement: Statement) -> bool:
    """Whether no other statement that may have run can have written to its table before it."""
    before = question.between(question.candidates[0], statement.index - 1)
    return all(
        other.reach_known
        and other.change is not None
        and other.change.verb in {Verb.INSERT, Verb.UPDATE}  # rows that go may change others
        and not other.change.spreads
        and not question.watched(other.change.table, (), by=other.change)
        and not meet(other.writes, statement.writes)
        for other in before
        if other.nature is Nature.DATA
    )


def _is_first(question: Question, table: Table) -> bool:
    """Whether nothing that ran before the open statements can have written rows to the table."""
    low = question.candidates[0]
    rewritten = (c.key for effect in question.effects[:low] for c in effect if _rewrites(c))
    anew = any(same_table(table, parts(key.on or key.identity)) for key in rewritten)
    if anew and not is_made(question, table):
        return False
    return not any(
        (s.nature is Nature.DATA and not s.reach_known)
        or any(same_table(table, parts(name)) for name in s.writes)
        for s in question.between(0, low)
    )


def _rewrites(change: Change) -> bool:
    """Whether all rows of the table may have been written anew."""
    if change.key.kind not in {"column", "table"} or change.after is None:
        return False
    return change.before is not None or bool(_COMPUTED.search(change.after))


def _alone_in_private(question: Question, statement: Statement) -> bool:
    """Whether no other statement writes to its table, which this migration made itself."""
    change = statement.change
    if change is None or any(k.kind in HIDES for k in made(question)):
        return False
    if not is_made(question, change.table):
        return False
    others = [s for s in question.script.statements if s.index != statement.index]
    return not any(
        same_table(change.table, parts(name))
        for other in others
        for name in other.writes  # of CREATE TABLE AS too
    ) and all(other.reach_known for other in others if other.nature is Nature.DATA)


def is_made(question: Question, table: Table) -> bool:
    """Whether this migration made the table, before the open statements."""
    tables = (parts(key.identity) for key in made(question) if key.kind == "table")
    return any(same_table(table, one) for one in tables)


def columns_made(question: Question) -> set[tuple[Table, str]]:
    """The columns that this migration brought into being before the open statements."""
    return {(parts(k.on), parts(k.identity)[0]) for k in made(question) if k.kind == "column"}


def made(question: Question) -> set[FactKey]:
    """The facts that this migration brought into being before the open statements."""
    before = question.between(0, question.candidates[0])
    keys = {key for statement in before for key in brought_by(question, statement)}
    return {key for key in keys if key not in question.base and key in question.live}


def brought_by(question: Question, statement: Statement) -> frozenset[FactKey]:
    """What `attempt_window.brought` says; what an ALTER TABLE drops may go beside what it adds."""
    effect = question.effects[statement.index - 1]
    if statement.kind == "ALTER TABLE" and not _MOVES.search(statement.sql):
        return frozenset(change.key for change in effect if change.before is None)
    return brought(effect)
