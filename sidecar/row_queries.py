"""SQL that counts what a data statement would do now, made from its own parse tree.

Nothing is spelled by hand: the parts are those of the user's statement, turned back to text
by PostgreSQL's own parser. The texts hold `model.COLUMNS` where the columns go, and the values
are yet as the statement gives them: `column_types` makes them what the columns would hold.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from sidecar.model import COLUMNS, HELD, RowChange
from sidecar.sql_text import plain, quoted
from sidecar.statement_reach import reach, type_name


def rows_picked(node: Any, sources: Iterable[Any]) -> str:
    """A SELECT of the rows which an UPDATE or DELETE picks; of all rows of a bare table.

    '' where to ask would be to move a sequence on, or to change the session.
    """
    select = _select()
    select.target_list.add().res_target.val.column_ref.fields.add().string.sval = COLUMNS
    relation = node if type_name(node) == "RangeVar" else node.relation
    select.from_clause.add().range_var.CopyFrom(relation)
    for source in sources:
        select.from_clause.add().CopyFrom(source)
    if relation is not node:
        select.where_clause.CopyFrom(node.where_clause)
        if node.HasField("with_clause"):
            select.with_clause.CopyFrom(node.with_clause)
    return "" if _does_more(select) else _text(select)


def same_as_set(targets: Sequence[Any], alias: str) -> str:
    """The condition that a picked row would get another value; '' where it cannot be said."""
    conditions = []
    for target in targets:
        if target.val.WhichOneof("node") in {"multi_assign_ref", "set_to_default"}:
            return ""
        if _does_more(_selecting(target.val)):
            return ""
        name = quoted(target.name)
        given = f"{HELD}{name}{HELD}{expression(target.val)}{HELD}"
        there = f"{quoted(alias)}.{name}"
        conditions.append(f"{there}::text IS DISTINCT FROM {given}::text")  # 1.0 is not 1.00
    return " OR ".join(conditions)


def rows_given(node: Any, columns: Sequence[str]) -> str:
    """A SELECT of the rows, named `given`, which an INSERT gives.

    A row without values, a DEFAULT for the whole row, gives '', and so does what would move a
    sequence on, or change the session, if it were asked.
    """
    if not node.HasField("select_stmt") or _does_more(node):
        return ""
    query = _text(_without_new(node.select_stmt.select_stmt))
    names = f"({', '.join(map(quoted, columns))})" if columns else ""
    return f"{_with(node)}SELECT {COLUMNS} FROM ({query}) AS given{names}"  # noqa: S608 (parser's)


def alike(change: RowChange) -> str:
    """The condition that a row `there` is as the one `given`, or as ON CONFLICT would leave it.

    What that would set to the time must be some time already.
    """
    compared = [c for c in change.fixed if not change.writes or plain(c) in change.writes]
    timed = sorted(change.writes - set(map(plain, change.fixed)))
    conditions = [f"there.{c}::text IS NOT DISTINCT FROM given.{c}::text" for c in compared]
    return " AND ".join((*conditions, *(f"there.{quoted(c)} IS NOT NULL" for c in timed))) or "true"


def shows_its_rows(change: RowChange) -> bool:
    """Whether rows just as an INSERT gives them were written by it: all that it sets is compared.

    Another value that ON CONFLICT gives would not be seen, nor who touched the row since.
    """
    compared = set(map(plain, change.fixed))
    merged = not change.writes or (change.settled and change.writes <= compared)
    return merged and bool(compared or not (change.columns or change.volatile))


def expression(node: Any) -> str:
    """An expression, turned back to text."""
    return _text(_selecting(node)).removeprefix("SELECT ")


def _selecting(node: Any) -> Any:
    select = _select()
    select.target_list.add().res_target.val.CopyFrom(node)
    return select


def _does_more(statement: Any) -> bool:
    touched = reach(statement)
    return touched.sequences or touched.session


_UUIDS = frozenset(
    "gen_random_uuid uuid_generate_v1 uuid_generate_v1mc uuid_generate_v4 uuidv4 uuidv7".split()
)


def _without_new(query: Any) -> Any:
    """The query with NULL for defaults and new UUIDs, but where they make each row another one."""
    if query.distinct_clause or query.group_clause:
        return query
    without = _select()
    without.CopyFrom(query)
    for item in without.target_list:
        _forget_new(item.res_target.val)
    for row in without.values_lists:
        for value in row.list.items:
            _forget_new(value)
    return without


def _forget_new(value: Any) -> None:
    """Make NULL of a default and of a new UUID: such a column is never compared."""
    call = value.func_call
    uuid = bool(call.funcname) and call.funcname[-1].string.sval in _UUIDS
    if uuid or value.HasField("set_to_default"):
        value.Clear()
        value.a_const.isnull = True


def _with(node: Any) -> str:
    if not node.HasField("with_clause"):
        return ""
    select = _select()
    select.target_list.add().res_target.val.column_ref.fields.add().string.sval = COLUMNS
    select.with_clause.CopyFrom(node.with_clause)
    return _text(select).removesuffix(f"SELECT {COLUMNS}")


def _select() -> Any:
    from postgast import pg_query_pb2

    return pg_query_pb2.SelectStmt(
        limit_option=pg_query_pb2.LIMIT_OPTION_DEFAULT, op=pg_query_pb2.SETOP_NONE
    )


def _text(select: Any) -> str:
    from postgast import deparse, pg_query_pb2

    tree = pg_query_pb2.ParseResult()
    tree.stmts.add().stmt.select_stmt.CopyFrom(select)
    return str(deparse(tree))
