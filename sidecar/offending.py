"""Which rows stand in the way of a constraint that a repair was to make, as a query. Pure.

What the constraint demands is read from the fact of the shadow, in PostgreSQL's own words, and
turned back to text by its own parser. Where the live database has it already there is
no such query: then it was a row that a statement gave, and no row of a table.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from sidecar.errors import DatabaseError
from sidecar.model import COLUMNS, FactKey
from sidecar.row_queries import expression
from sidecar.sql_text import quoted
from sidecar.table_names import parts, same_table

_VALID_SINCE = 160000
"""`pg_input_is_valid` came with PostgreSQL 16."""

_INTEGERS = {
    "smallint": (-(2**15), 2**15 - 1),
    "integer": (-(2**31), 2**31 - 1),
    "bigint": (-(2**63), 2**63 - 1),
}
_NUMBERS = re.compile(r"smallint|integer|bigint|numeric|real|double precision")
_LENGTH = re.compile(r"character(?: varying)?\((\d+)\)")
_AFTER_TYPE = re.compile(
    r" (?:COLLATE|NOT NULL|DEFAULT|GENERATED|STORAGE|COMPRESSION|STATISTICS|OPTIONS|FDW|LOCAL"
    r"|INHERITED)\b"
)


@dataclass(frozen=True, slots=True)
class Offenders:
    """Rows of `table` (as PostgreSQL quotes it) in the way, `which` says what is wrong with them.

    `query` selects them all: COLUMNS stands where the columns that tell a row go, and the
    table is named r. Without COLUMNS it selects groups of rows, the last column counts them.
    """

    table: str
    which: str
    query: str


@dataclass(frozen=True, slots=True)
class Attempt:
    """A step that was refused: its SQL, the facts before the repair and those after this part."""

    sql: str
    before: Mapping[FactKey, str | None]
    expected: Mapping[FactKey, str | None]
    server_version: int


def offenders(error: DatabaseError, attempt: Attempt) -> Iterator[Offenders]:
    """What to look for after such an error; nothing where no row that is there can be the cause."""
    if error.sqlstate == "23502":
        yield from _nulls(error, attempt)
    elif error.sqlstate in {"23503", "23505", "23514"}:
        found = (_against(key, definition) for key, definition in _made(error, attempt))
        yield from filter(None, found)
    elif error.sqlstate.startswith("22"):
        yield from _unfit(attempt)


def _made(error: DatabaseError, attempt: Attempt) -> Iterator[tuple[FactKey, str]]:
    """The fact of the constraint that was violated, where the repair was to make it."""
    named = error.named
    kind = "index" if error.sqlstate == "23505" else "constraint"
    for key, definition in attempt.expected.items():
        if (
            definition
            and key.kind == kind
            and definition != attempt.before.get(key)
            and parts(key.identity)[-1:] == (named.constraint,)
            and parts(key.on) == (named.schema, named.table)
        ):
            yield key, definition


def _against(key: FactKey, definition: str) -> Offenders | None:
    """Rows that it does not allow; None where the parser does not know what that is."""
    from postgast import PgQueryError

    is_index = key.kind == "index"
    node = _tree(definition if is_index else f"ALTER TABLE t ADD {definition}")
    if node is None:
        return None
    try:
        return _duplicates(key.on, node.index_stmt) if is_index else _breach(key.on, node)
    except PgQueryError:  # read, but not written
        return None


def _breach(table: str, node: Any) -> Offenders | None:
    made = getattr(node.alter_table_stmt.cmds[0].alter_table_cmd, "def").constraint
    if made.skip_validation:  # NOT VALID asks nothing of the rows that are there
        return None
    if made.fk_attrs and made.pk_attrs:
        return _orphans(table, made)
    if not made.HasField("raw_expr"):
        return None
    check = expression(made.raw_expr)
    return _rows(table, f"that violate CHECK ({check})", f"NOT ({check})")


def _duplicates(table: str, index: Any) -> Offenders:
    """NULLs are not equal, unless it says so (PostgreSQL, "Unique Indexes")."""
    keys = [_element(item.index_elem) for item in index.index_params]
    where = [] if index.nulls_not_distinct else [f"{key} IS NOT NULL" for key in keys]
    if index.HasField("where_clause"):
        where.append(f"({expression(index.where_clause)})")
    condition = f" WHERE {' AND '.join(where)}" if where else ""
    columns, numbers = ", ".join(keys), ", ".join(str(n + 1) for n in range(len(keys)))
    return Offenders(
        table,
        f"that share their ({columns}) with another",
        f"SELECT {columns}, count(*) AS times FROM {table} AS r{condition}"  # noqa: S608 (quoted)
        f" GROUP BY {numbers} HAVING count(*) > 1 ORDER BY count(*) DESC",
    )


def _element(element: Any) -> str:
    text = expression(element.expr) if element.HasField("expr") else quoted(element.name)
    collation = ".".join(quoted(part.string.sval) for part in element.collation)
    return f"({text}) COLLATE {collation}" if collation else text


def _orphans(table: str, key: Any) -> Offenders:
    """MATCH SIMPLE asks nothing of a row with a NULL, MATCH FULL of one that is all NULL."""
    own = [f"r.{quoted(name.string.sval)}" for name in key.fk_attrs]
    theirs = [quoted(name.string.sval) for name in key.pk_attrs]
    other = f"{quoted(key.pktable.schemaname)}.{quoted(key.pktable.relname)}"
    asked = " OR " if key.fk_matchtype == "f" else " AND "
    known = asked.join(f"{column} IS NOT NULL" for column in own)
    same = " AND ".join(f"p.{their} = {column}" for their, column in zip(theirs, own, strict=True))
    names = ", ".join(column.removeprefix("r.") for column in own)
    return _rows(
        table,
        f"whose ({names}) is not in {other} ({', '.join(theirs)})",
        f"({known}) AND NOT EXISTS (SELECT FROM {other} AS p WHERE {same})",
        shows=own,
    )


def _rows(table: str, which: str, condition: str = "", *, shows: Collection[str] = ()) -> Offenders:
    where = f" WHERE {condition}" if condition else ""
    columns = ", ".join((COLUMNS, *shows))
    return Offenders(table, which, f"SELECT {columns} FROM {table} AS r{where}")  # noqa: S608


# --- columns ---------------------------------------------------------------------


def _nulls(error: DatabaseError, attempt: Attempt) -> Iterator[Offenders]:
    named = error.named
    for key, definition in attempt.expected.items():
        if key.kind != "column" or parts(key.identity) != (named.column,):
            continue
        before = attempt.before.get(key)
        if parts(key.on) != (named.schema, named.table) or " NOT NULL" not in (definition or ""):
            continue
        if before is not None and " NOT NULL" not in before:
            which = f"with NULL in {quoted(named.column)}"
            yield _rows(key.on, which, f"r.{quoted(named.column)} IS NULL")
        elif before is None and named.column in _columns(attempt.sql, "AT_AddColumn"):
            new = quoted(named.column)
            yield _rows(key.on, f"that would have NULL in the new column {new} (it has no DEFAULT)")


def _unfit(attempt: Attempt) -> Iterator[Offenders]:
    """Columns that the statement gives another type, with values that do not fit it."""
    changed = _columns(attempt.sql, "AT_AlterColumnType")
    for key, definition in attempt.expected.items():
        before, name = attempt.before.get(key), parts(key.identity)[-1]
        if key.kind != "column" or name not in changed or not (before and definition):
            continue
        if not same_table(changed[name], parts(key.on)):
            continue
        old, new = (_AFTER_TYPE.split(text, 1)[0] for text in (before, definition))
        column = f"r.{quoted(name)}"
        if misfit := _misfit(column, old, new, attempt):
            which = f"with a value in {key.identity} that is no {new}"
            yield _rows(key.on, which, f"{column} IS NOT NULL AND {misfit}", shows=(column,))


def _misfit(column: str, old: str, new: str, attempt: Attempt) -> str:
    """The condition that the column's value, not NULL, does not become a `new`; '' if unknown."""
    enum = attempt.expected.get(FactKey("type", new, "")) or ""
    if enum.startswith("ENUM ("):  # its name may be that of the old one by now
        return f"{column}::text NOT IN {enum.removeprefix('ENUM ')}"
    if old == new:
        return ""
    if length := _LENGTH.fullmatch(new):  # spaces at the end are cut ("Character Types")
        return f"length(rtrim({column}::text, ' ')) > {length[1]}"
    if new in _INTEGERS:
        low, high = _INTEGERS[new]
        if _NUMBERS.match(old):
            return f"round({column}::numeric) NOT BETWEEN {low} AND {high}"
        return (
            f"CASE WHEN {column}::text ~ '^[[:space:]]*[-+]?[0-9]+[[:space:]]*$' "
            f"THEN {column}::text::numeric NOT BETWEEN {low} AND {high} ELSE true END"
        )
    if attempt.server_version < _VALID_SINCE:
        return ""
    return f"NOT pg_input_is_valid({column}::text, '{new.replace(chr(39), chr(39) * 2)}')"


def _columns(sql: str, subtype: str) -> dict[str, tuple[str, ...]]:
    """The columns of an ALTER TABLE which it treats so, each with the name of its table."""
    from postgast import pg_query_pb2

    tree = _tree(sql)
    if tree is None:
        return {}
    node = tree.alter_table_stmt
    table = tuple(filter(None, (node.relation.schemaname, node.relation.relname)))
    wanted = pg_query_pb2.AlterTableType.Value(subtype)
    commands = (item.alter_table_cmd for item in node.cmds)
    return {
        command.name or getattr(command, "def").column_def.colname: table
        for command in commands
        if command.subtype == wanted
    }


def _tree(sql: str) -> Any:
    """The tree of its only statement; None where it is no such SQL (to this parser)."""
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
    from postgast import PgQueryError, parse

    try:
        (statement,) = parse(sql).stmts
    except (DecodeError, PgQueryError, ValueError):
        return None
    return statement.stmt
