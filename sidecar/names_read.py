"""Which columns and tables a piece of a parse tree reads, as far as names tell.

Where a name could be of several tables it counts for all of them: too much is read, never
too little. The trees are the protobuf messages of PostgreSQL's own parser.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from sidecar.model import Table
from sidecar.pure_functions import CHANGING, PURE, PURE_ANYWHERE, SESSIONS
from sidecar.statement_reach import type_name

ALL = "*"
_PHYSICAL = frozenset({"cmax", "cmin", "ctid", "xmax", "xmin"})
"""Columns that change with every other one."""

_FIXED_VALUES = frozenset(
    f"SVFOP_{name}" for name in ("CURRENT_CATALOG", "CURRENT_SCHEMA", "CURRENT_ROLE")
) | frozenset({"SVFOP_CURRENT_USER", "SVFOP_SESSION_USER", "SVFOP_USER"})
_STEADY = PURE | PURE_ANYWHERE | SESSIONS
CLOCK_WORDS = frozenset({"now", "today", "tomorrow", "yesterday"})
"""As text cast to a date they are the clock (PostgreSQL, "Special Values" of dates)."""

CLOCK_VALUES = ("SVFOP_CURRENT_DATE", "SVFOP_CURRENT_TIME", "SVFOP_LOCALTIME")
"""Beginnings of the operations of `SQLValueFunction` that are the clock."""


@dataclass(frozen=True, slots=True)
class Names:
    """What is read: columns that may be of the `own` table, tables, and the others' columns."""

    own: frozenset[str]
    tables: frozenset[Table]
    others: frozenset[str]

    def __or__(self, more: Names) -> Names:
        return Names(self.own | more.own, self.tables | more.tables, self.others | more.others)


NOTHING = Names(frozenset(), frozenset(), frozenset())


def walk(message: Any) -> Iterator[Any]:
    """The message and all messages inside it."""
    yield message
    for field, value in message.ListFields():
        if field.message_type is not None:
            for child in value if field.is_repeated else [value]:
                yield from walk(child)


def names(parts: Iterable[Any], *, own: Table, alias: str, aliases: Aliases) -> Names:
    """What `parts` read. `alias` is the own table's name in the statement.

    `aliases` are the other names in scope, as `aliases_of` finds them. A subquery on the own
    table reads it as any other table, and the names in it count as the own ones too.
    """
    messages = [message for part in parts for message in walk(part)]
    tables = {
        table(message)
        for message in messages
        if type_name(message) == "RangeVar" and message.location not in aliases.queries
    }
    mine, others = set(), set()
    for *qualifier, called in (fields for message in messages for fields in _columns(message)):
        name = ALL if called in _PHYSICAL else called
        if not qualifier and name in aliases.tables:  # the whole row, as one value
            mine.add(ALL)
            others.add(ALL)
        owner = qualifier[-1] if qualifier else ""
        known = aliases.tables.get(owner)
        if known is None or known[-1:] == own[-1:]:
            mine.add(name)
        if owner != alias or known is None:
            others.add(name)
    return Names(frozenset(mine), frozenset(tables), frozenset(others))


def _columns(message: Any) -> Iterator[tuple[str, ...]]:
    """The columns that a message names itself, each with its qualifiers."""
    match type_name(message):
        case "ColumnRef":
            yield fields_of(message)
        case "JoinExpr":
            yield from ((item.string.sval,) for item in message.using_clause)
            yield from [(ALL,)] * message.is_natural
        case "SelectStmt" if cuts_off(message):  # of equal rows, by where they lie
            yield from ((name, ALL) for name in aliases_of(message).tables)
        case _:
            pass


@dataclass(frozen=True, slots=True)
class Aliases:
    """The names under which a statement reads `tables`; that of a query stands for no table.

    None is that of a name for several, each in its own subquery. `queries` are the places at
    which the statement reads queries of its WITH, as PostgreSQL's parser counts them.
    """

    tables: Mapping[str, Table | None]
    queries: frozenset[int]


def aliases_of(statement: Any) -> Aliases:
    """The names that a statement has for what it reads."""
    found: dict[str, set[Table]] = {}
    queries = queries_named(statement)
    for message in walk(statement):
        match type_name(message):
            case "RangeVar":
                name = message.alias.aliasname or message.relname
                named = () if message.location in queries else table(message)
                found.setdefault(name, set()).add(named)
            case "RangeSubselect":
                found.setdefault(message.alias.aliasname, set()).add(())
            case _:
                pass
    tables = {name: ts.pop() if len(ts) == 1 else None for name, ts in found.items()}
    return Aliases(tables, queries)


def queries_named(message: Any, known: frozenset[str] = frozenset()) -> frozenset[int]:
    """Where a query of a WITH is read and no table; `known` are those of what is around it.

    A query of WITH knows those before it, of WITH RECURSIVE all (PostgreSQL, "WITH Queries").
    """
    if type_name(message) == "RangeVar":
        named = not message.schemaname and message.relname in known
        return frozenset({message.location}) if named else frozenset()
    found: frozenset[int] = frozenset()
    for field, value in sorted(message.ListFields(), key=lambda pair: pair[0].name != _WITH):
        if field.name == _WITH:
            ctes = [item.common_table_expr for item in value.ctes]
            all_ = known | {cte.ctename for cte in ctes}
            for cte in ctes:
                found |= queries_named(cte, all_ if value.recursive else known)
                known |= {cte.ctename}
        elif field.message_type is not None:
            for child in value if field.is_repeated else [value]:
                found |= queries_named(child, frozenset() if field.name == "relation" else known)
    return found


_WITH = "with_clause"


def is_volatile(parts: Iterable[Any]) -> bool:
    """Whether values come from the clock, from chance, from a sequence, or from where rows lie."""
    return any(_gives_another_value(message) for part in parts for message in walk(part))


def table(relation: Any) -> Table:
    """A RangeVar's name, unquoted, as the script writes it."""
    parts = (relation.schemaname, relation.relname)
    return parts if relation.schemaname else parts[1:]


def _gives_another_value(message: Any) -> bool:
    match type_name(message):
        case "FuncCall":
            name = message.funcname[-1].string.sval
            return name in CHANGING or name not in _STEADY  # a project's own may be anything
        case "SQLValueFunction":
            values = message.DESCRIPTOR.fields_by_name["op"].enum_type.values_by_number
            return values[message.op].name not in _FIXED_VALUES
        case "TypeCast":
            return message.arg.a_const.sval.sval.strip().lower() in CLOCK_WORDS
        case "SetToDefault":
            return True  # what the default is stands elsewhere
        case "ColumnRef":
            return fields_of(message)[-1] in _PHYSICAL
        case "SelectStmt":
            return cuts_off(message) and not message.sort_clause
        case _:
            return False


def cuts_off(query: Any) -> bool:
    """Whether a query ends with LIMIT or OFFSET."""
    return bool(query.HasField("limit_count") or query.HasField("limit_offset"))


def fields_of(column: Any) -> tuple[str, ...]:
    """A ColumnRef's parts, with '*' for all columns."""
    return tuple(part.string.sval if part.HasField("string") else ALL for part in column.fields)
