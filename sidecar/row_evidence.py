"""What the rows say of the statements that the catalog cannot show. Pure.

Transaction ids tell when a row was written: within the attempt, or before it. Counting what
a statement would change now tells whether running it matters at all. Each rule here
proves one thing; where none applies, the question stays open.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import replace

from sidecar.attempt_window import ages_in
from sidecar.calm_triggers import may_fire_again, watched
from sidecar.error_log import is_duplicate
from sidecar.evidence import keeps_rows, may_do_more
from sidecar.failed_statement import by_violation
from sidecar.harmless import private, repeatable
from sidecar.live_tables import understood
from sidecar.model import (
    Control,
    Evidence,
    Facts,
    Nature,
    RowChange,
    Script,
    Seen,
    Statement,
    Table,
    Verb,
)
from sidecar.new_columns import is_set, is_unset
from sidecar.passing_columns import dropped_nothing, dropped_some
from sidecar.row_proofs import Question, RowEvidence, columns_made, did_not_run, ran
from sidecar.sql_text import quoted
from sidecar.table_names import parts, same_table, unique_keys

_LEAVES_ROWS = frozenset({Verb.INSERT, Verb.UPDATE, Verb.MIXED})
_EACH_STATEMENT = re.compile(r" FOR EACH STATEMENT ")
_LIMITS = re.compile(
    r"SET\s+(SESSION\s+|LOCAL\s+)?(\w+_timeout|client_min_messages|\w*work_mem)\b", re.IGNORECASE
)


def narrow(question: Question, rows: RowEvidence) -> tuple[tuple[int, ...], list[Evidence]]:
    """The candidates that remain, and what was used; one candidate is the answer.

    Where several remain possible but all between them may be repeated, the least is.
    """
    found: list[Evidence] = []
    question = replace(question, script=understood(question.script, question.live))
    if _none_ran(question, rows):
        says = "nothing has been committed on this server since what stands before them"
        return question.candidates[:1], [Evidence("transactions", says)]
    left = _bounded(question, rows, found)
    left = _without_vacuous(question, left, rows, found)
    if len(left) > 1 and _may_repeat(question, left, rows):
        named = _named(question.between(left[0], left[-1]))
        found.append(Evidence("rows", f"harmless to run again, whether they ran or not: {named}"))
        left = left[:1]
    return left, found


def _none_ran(question: Question, rows: RowEvidence) -> bool:
    """Whether it is certain for all open statements alike; `SELECT nextval()` may take no id."""
    open_ = question.between(question.candidates[0], question.candidates[-1])
    told = all(s.kind != "SELECT" or (s.change and s.change.settled) for s in open_)
    return rows.quiet and told and _began_anew(question, rows)


def _began_anew(question: Question, rows: RowEvidence) -> bool:
    """Whether the open statements cannot have shared the transaction of what stands before them.

    A script that is sent as one message is one transaction, up to a COMMIT of its own: then all
    that it made is of one age, and it ran to its end.
    """
    first, statements = question.candidates[0], question.script.statements
    ages = {age for effect in question.effects[:first] for age in ages_in(effect, rows.ages)}
    if not ages or statements[first - 1].control is Control.COMMIT:
        return True  # it is the failed row that nothing was committed after, or the block's end
    if any(statement.control is not None for statement in statements):
        return False
    rest = question.effects[question.candidates[-1] :]
    ends = {change.key: change.after for effect in rest for change in effect}
    return len(ages) > 1 or any(question.live.get(key) != end for key, end in ends.items())


def _bounded(question: Question, rows: RowEvidence, found: list[Evidence]) -> tuple[int, ...]:
    """Drop the candidates that contradict a proof that one statement ran, or did not."""
    open_ = question.between(question.candidates[0], question.candidates[-1])
    left, said = by_violation(question, rows)
    found.extend(said)
    for statement in open_:
        if says := (
            did_not_run(question, statement, rows)
            or is_unset(question, statement, rows)
            or dropped_nothing(question, statement, rows)
        ):
            fewer = tuple(k for k in left if k < statement.index)
        elif says := (
            ran(question, statement, rows)
            or is_set(question, statement, rows)
            or dropped_some(question, statement, rows)
        ):
            fewer = tuple(k for k in left if k >= statement.index)
        else:
            continue
        if not fewer:  # what both rest on is not so; somebody else was at work
            against = f"{_named([statement])}: {says}, which cannot be beside the others"
            found[:] = [Evidence("rows", against, against=True)]
            return question.candidates
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
    if keeps_rows(statement, question.effects):
        return not may_do_more(statement, drifted=question.drifted)
    seen, change = rows.seen.get(statement.index), statement.change
    if seen is None or change is None or change.verb is Verb.MIXED:
        return False
    sees = _EACH_STATEMENT if seen.picked == 0 else None
    if any(watched(question.live, table, sees=sees) for table in _tables(statement, change)):
        return False
    if seen.picked == 0:
        return True
    if change.verb is Verb.INSERT:
        there = seen.same == seen.picked and not change.spreads and _gave(seen, question)
        there = there or change.key is not None
        return seen.pending == 0 and there and not change.writes
    return seen.pending == 0 and not change.volatile


def _gave(seen: Seen, question: Question) -> bool:
    """Whether rows that are there may be those it gave: older ones would have refused them.

    So the logs may say; rows that one transaction wrote together are hardly somebody else's.
    """
    together = seen.matched is not None and (seen.picked or 0) > 1
    refused = is_duplicate(question.error) and not together
    return seen.fresh != 0 and not seen.older and not refused


def _may_repeat(question: Question, left: tuple[int, ...], rows: RowEvidence) -> bool:
    between = question.between(left[0], left[-1])
    data = [s for s in between if not keeps_rows(s, question.effects)]
    changes = [s.change for s in data if s.change is not None]
    if len(changes) < len(data) or any(_is_watched(question, c, changes) for c in changes):
        return False
    others = [table for s in data if s.change for table in _tables(s, s.change)[1:]]
    if any(watched(question.live, table) for table in others):
        return False
    if any(not _finds_its_rows(s, rows) for s in data):
        return False
    if any(_is_overtaken(s, rows) and not _left_nothing(s, rows) for s in data):
        return False
    if all(_left_nothing(s, rows) for s in data):
        return True  # none of them ran to any effect, so that none can disturb another
    inert = {s.index for s in data if _is_inert(question, s, rows)}
    return repeatable(data, inert=inert)


def _finds_its_rows(statement: Statement, rows: RowEvidence) -> bool:
    """Whether ON CONFLICT has a key to conflict with, and none of its values is NULL."""
    seen, change = rows.seen.get(statement.index), statement.change
    return not (change and change.key is not None) or bool(seen and seen.pending is not None)


def _is_overtaken(statement: Statement, rows: RowEvidence) -> bool:
    """Whether, if it ran, it would now change what others have written since."""
    seen, change = rows.seen.get(statement.index, Seen()), statement.change
    if change is None or change.verb is Verb.REFRESH:
        return change is None
    if change.verb is Verb.SET_SEQUENCE:
        return not change.reads  # it would be set back, to numbers that were given since
    if change.verb is Verb.INSERT and change.writes:
        return seen.picked not in {seen.pending, seen.same}
    return seen.pending != 0 and bool(seen.overtaken or not change.steady)


def _is_inert(question: Question, statement: Statement, rows: RowEvidence) -> bool:
    if statement.change and statement.change.spreads:
        return _left_nothing(statement, rows)
    return (
        _left_nothing(statement, rows)
        or _is_absent(statement, rows)
        or _is_done(statement, rows)
        or _is_private(question, statement)
    )


def _is_done(statement: Statement, rows: RowEvidence) -> bool:
    """Whether an UPDATE would set nothing but what is there; only triggers would see it."""
    seen, change = rows.seen.get(statement.index), statement.change
    if seen is None or change is None or change.verb is not Verb.UPDATE or change.reads:
        return False
    return seen.pending == 0 and not change.volatile and not change.fleeting


def _is_absent(statement: Statement, rows: RowEvidence) -> bool:
    """Whether none of the rows that an INSERT gives is there, by a unique key of them."""
    seen, change = rows.seen.get(statement.index), statement.change
    if seen is None or change is None or change.verb is not Verb.INSERT:
        return False
    return seen.pending is not None and seen.pending == seen.picked


def read_alike(script: Script) -> int:
    """How many statements mean what they mean in any session: those before the script sets it.

    Temporary tables change only what reads them (see `temporary_tables.seen_through`), as
    long as it is known which there are.
    """
    session = [s for s in script.statements if s.nature is Nature.SESSION]
    if not any("ROLLBACK" in s.kind for s in script.statements):
        session = [
            s for s in session if not (s.temporary and (s.temporary.again or s.temporary.drops))
        ]
    return next((s.index - 1 for s in session if not _LIMITS.match(s.sql)), len(script.statements))


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
            columns = tuple(map(quoted, key))
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
    same = change.own_reads.isdisjoint({*change.writes, "*"}) and not change.fleeting
    return same and private(change.table, change.writes, columns_made(question))


def _is_watched(question: Question, change: RowChange, all_: Sequence[RowChange]) -> bool:
    if change.verb in {Verb.REFRESH, Verb.SET_SEQUENCE}:
        return False
    triggers, made = question.triggers(change.table), columns_made(question)
    calm = may_fire_again(triggers, change.table, all_, made, question.live)
    return watched(question.live, change.table, calm=calm)


def _tables(statement: Statement, change: RowChange) -> list[Table]:
    """All that it writes to; first that of its change."""
    others = (parts(name) for name in statement.writes)
    return [change.table, *(other for other in others if not same_table(other, change.table))]


def _named(statements: Collection[Statement]) -> str:
    return ", ".join(map(str, list(statements)[:5]))
