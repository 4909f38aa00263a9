"""What the rows say of the statements that the catalog cannot show. Pure.

Transaction ids tell when a row was written: within the attempt, or before it. Counting what
a statement would change now tells whether running it matters at all. Each rule here
proves one thing; where none applies, the question stays open.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

from sidecar.attempt_window import brought
from sidecar.evidence import changes_nothing
from sidecar.harmless import private, repeatable
from sidecar.live_tables import understood
from sidecar.model import Evidence, Facts, Nature, RowChange, Script, Seen, Statement, Verb
from sidecar.row_proofs import Question, RowEvidence, did_not_run, made, ran, watched
from sidecar.sql_text import quoted
from sidecar.table_names import meet, parts, same_table, unique_keys

_SET_COLUMNS = frozenset({Verb.UPDATE, Verb.MIXED})
_LEAVES_ROWS = frozenset({Verb.INSERT, Verb.UPDATE, Verb.MIXED})
_DOMAIN = re.compile(r"DOMAIN .* DEFAULT ")
_EACH_STATEMENT = re.compile(r" FOR EACH STATEMENT ")
_LIMITS = re.compile(
    r"SET\s+(SESSION\s+|LOCAL\s+)?(\w+_timeout|client_min_messages|\w*work_mem)\b", re.IGNORECASE
)
_COMPUTED = re.compile(r" (DEFAULT|GENERATED) ")
_CONSTANT = re.compile(
    r"[^']* DEFAULT (?P<value>true|false|-?\d+(\.\d+)?"
    r"|('([^']|'')*'|ARRAY\[\])(::[\w. \"]+(\(\d+(,\d+)?\))?(\[\])?)?)$"
)
"""A column's definition in facts that ends with a default which is the same for each row."""


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
    return rows.quiet and all(s.kind != "SELECT" or (s.change and s.change.settled) for s in open_)


def _bounded(question: Question, rows: RowEvidence, found: list[Evidence]) -> tuple[int, ...]:
    """Drop the candidates that contradict a proof that one statement ran, or did not."""
    left = question.candidates
    for statement in question.between(left[0], left[-1]):
        if says := did_not_run(question, statement, rows) or _is_empty(question, statement, rows):
            fewer = tuple(k for k in left if k < statement.index)
        elif says := ran(question, statement, rows) or _is_filled(question, statement, rows):
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


def _is_filled(question: Question, statement: Statement, rows: RowEvidence) -> str:
    seen = rows.seen.get(statement.index)
    if seen and seen.filled and _alone_fills(question, statement):
        return "it ran: new columns, which nothing else fills, have values"
    return ""


def _is_empty(question: Question, statement: Statement, rows: RowEvidence) -> str:
    """Where another statement of the script wrote its rows before, hardly one is older."""
    seen, change = rows.seen.get(statement.index), statement.change
    if seen is None or change is None or change.reads or change.fleeting:
        return ""
    earlier = any(
        meet(s.writes, statement.writes) for s in question.between(0, statement.index - 1)
    )
    once = earlier and seen.writers == 1 and (seen.picked or 0) > 1
    told = once or (rows.window is not None and bool(seen.older))
    later = question.between(statement.index, question.candidates[-1])
    unset = seen.filled == 0 and all(_leaves_it(other, change) for other in later)
    if told and seen.pending and unset and _alone_fills(question, statement):
        return "it did not run: new columns, which it would fill, have no values"
    return ""


def _alone_fills(question: Question, statement: Statement) -> bool:
    """Whether it sets only columns whose rows were all alike until then, made by this migration."""
    change, effects = statement.change, question.effects[: question.candidates[-1]]
    counts = Counter(c.key for effect in effects for c in effect)
    once = {key for effect in effects for key in brought(effect) if counts[key] == 1}
    new = {
        (parts(key.on), parts(key.identity)[0])
        for key in once
        if key.kind == "column" and _start(question.live.get(key, ""), question.live)
    }
    return (
        change is not None
        and change.verb in _SET_COLUMNS
        and private(change.table, change.writes, new)
        and not watched(question, change.table)
        and all(_leaves_it(other, change) for other in question.between(0, statement.index - 1))
    )


def start_values(statements: Sequence[Statement], facts: Facts) -> dict[int, Mapping[str, str]]:
    """By statement what the columns that it sets hold until they are set, as SQL: NULL, mostly.

    Left out are those with other values from row to row, and those of which nothing is known.
    """
    found: dict[int, Mapping[str, str]] = {}
    for statement in statements:
        change = statement.change
        if change is not None and change.verb in _SET_COLUMNS:
            known = {
                parts(key.identity)[0]: _start(text, facts)
                for key, text in sorted(facts.items(), reverse=True)
                if key.kind == "column" and same_table(change.table, parts(key.on))
            }
            found[statement.index] = {c: known[c] for c in change.writes if known.get(c)}
    return found


def _start(column: str, facts: Facts) -> str:
    """What a column of this definition holds from the start, '' where that is not one value."""
    domains = (key.identity for key, text in facts.items() if _DOMAIN.match(text))
    if any(map(column.startswith, domains)):
        return ""  # which may have a default of its own
    if constant := _CONSTANT.fullmatch(column):
        return constant["value"]
    return "" if not column or _COMPUTED.search(column) else "NULL"


def _leaves_it(other: Statement, change: RowChange) -> bool:
    """Whether another statement gives no values to the columns that `change` sets."""
    if not any(same_table(change.table, parts(name)) for name in other.writes):
        return other.reach_known
    sets = other.change.writes if other.change and other.change.verb in _SET_COLUMNS else ()
    return bool(sets) and change.writes.isdisjoint(sets)


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
    if watched(question, change.table, sees=_EACH_STATEMENT if seen.picked == 0 else None):
        return False
    if seen.picked == 0:
        return True
    if change.verb is Verb.INSERT:
        # Without ON CONFLICT, rows that are all older would have been refused.
        there = change.key is not None or (seen.same == seen.picked and seen.fresh != 0)
        return seen.pending == 0 and there and not change.writes
    return seen.pending == 0 and not change.volatile


def _may_repeat(question: Question, left: tuple[int, ...], rows: RowEvidence) -> bool:
    between = question.between(left[0], left[-1])
    data = [s for s in between if not changes_nothing(s, question.effects)]
    if any(s.change is None or _is_watched(question, s.change) for s in data):
        return False
    if any(not _finds_its_rows(s, rows) for s in data):
        return False
    if any(_is_overtaken(s, rows) and not _left_nothing(s, rows) for s in data):
        return False
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


def read_alike(script: Script) -> int:
    """How many statements mean what they mean in any session: those before the script sets it."""
    session = (s for s in script.statements if s.nature is Nature.SESSION)
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
    unseen = {
        (parts(key.on), parts(key.identity)[0]) for key in made(question) if key.kind == "column"
    }
    same = change.own_reads.isdisjoint({*change.writes, "*"}) and not change.fleeting
    return same and private(change.table, change.writes, unseen)


def _is_watched(question: Question, change: RowChange) -> bool:
    if change.verb in {Verb.REFRESH, Verb.SET_SEQUENCE}:
        return False
    return watched(question, change.table)


def _named(statements: Collection[Statement]) -> str:
    return ", ".join(f"{s.index} (line {s.line}, {s.kind})" for s in list(statements)[:5])
