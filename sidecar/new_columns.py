"""What columns that the migration itself made show of the statements that fill them. Pure.

Nobody but the script has ever set them. Until it does, each of their rows holds the same.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence

from sidecar.harmless import private
from sidecar.model import Facts, RowChange, Seen, Statement
from sidecar.row_proofs import (
    SET_COLUMNS,
    Question,
    RowEvidence,
    brought_by,
    leaves,
    wrote_itself,
)
from sidecar.table_names import meet, parts, same_table

_DOMAIN = re.compile(r"DOMAIN .* DEFAULT ")
_COMPUTED = re.compile(r" (DEFAULT|GENERATED) ")
_CONSTANT = re.compile(
    r"[^']* DEFAULT (?P<value>true|false|-?\d+(\.\d+)?"
    r"|('([^']|'')*'|ARRAY\[\])(::[\w. \"]+(\(\d+(,\d+)?\))?(\[\])?)?)$"
)
"""A column's definition in facts that ends with a default which is the same for each row."""


def is_set(question: Question, statement: Statement, rows: RowEvidence) -> str:
    """Why it is certain that the statement ran, or ''."""
    seen = rows.seen.get(statement.index)
    if seen and seen.filled and not seen.older and _alone_fills(question, statement):
        return "it ran: new columns, which nothing else fills, have values"
    return ""


def is_unset(question: Question, statement: Statement, rows: RowEvidence) -> str:
    """Why it is certain that the statement did not run, or ''.

    Where another statement of the script wrote its rows before, hardly one is older; then they
    are as that one left them.
    """
    seen, change = rows.seen.get(statement.index), statement.change
    if seen is None or change is None or change.fleeting:
        return ""
    if change.reads and not _was_there_to_read(statement, change, seen, question.live):
        return ""
    earlier = any(
        meet(s.writes, statement.writes) for s in question.between(0, statement.index - 1)
    )
    once = bool(seen.left) or (earlier and seen.writers == 1 and (seen.picked or 0) > 1)
    told = (once and wrote_itself(question, change, rows)) or (
        rows.window is not None and bool(seen.older)
    )
    later = question.between(statement.index, question.candidates[-1])
    unset = seen.filled == 0 and all(leaves(other, change.table, change.writes) for other in later)
    if told and seen.pending and unset and _alone_fills(question, statement):
        return "it did not run: new columns, which it would fill, have no values"
    return ""


def _was_there_to_read(statement: Statement, change: RowChange, seen: Seen, live: Facts) -> bool:
    """Whether what it would set now, from rows elsewhere, it would have set at any time."""
    starts = start_values([statement], live).get(statement.index, {})
    null = starts.keys() == change.writes and set(starts.values()) == {"NULL"}
    return null and change.steady and change.firm and seen.stirred == 0


def _alone_fills(question: Question, statement: Statement) -> bool:
    """Whether it sets only columns whose rows were all alike until then, made by this migration."""
    change, possible = statement.change, question.between(0, question.candidates[-1])
    counts = Counter(c.key for effect in question.effects[: len(possible)] for c in effect)
    brought = {key for one in possible for key in brought_by(question, one)}
    new = {
        (parts(key.on), parts(key.identity)[0])
        for key in brought
        if counts[key] == 1
        and key.kind == "column"
        and _start(question.live.get(key, ""), question.live)
    }
    return (
        change is not None
        and change.verb in SET_COLUMNS
        and private(change.table, change.writes, new)
        and not question.watched(change.table, change.writes)
        and all(
            leaves(other, change.table, change.writes)
            for other in question.between(0, statement.index - 1)
        )
    )


def start_values(statements: Sequence[Statement], facts: Facts) -> dict[int, Mapping[str, str]]:
    """By statement what the columns that it sets hold until they are set, as SQL: NULL, mostly.

    Left out are those with other values from row to row, and those of which nothing is known.
    """
    found: dict[int, Mapping[str, str]] = {}
    for statement in statements:
        change = statement.change
        if change is not None and change.verb in SET_COLUMNS:
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
