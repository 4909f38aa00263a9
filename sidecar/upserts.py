"""What an INSERT gives each time, and whether ON CONFLICT leaves a row as it was given. Pure.

The trees are the protobuf messages of PostgreSQL's own parser.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from sidecar.names_read import CLOCK_VALUES, is_volatile
from sidecar.row_conditions import constant
from sidecar.row_queries import expression
from sidecar.statement_reach import enum_name, inner, type_name

_NOW = frozenset("clock_timestamp now statement_timestamp transaction_timestamp".split())


def fixed_columns(columns: tuple[str, ...], query: Any) -> tuple[str, ...]:
    """The columns that get the same values each time; none where that cannot be told."""
    if query.HasField("limit_count") or query.HasField("limit_offset"):
        return ()
    if query.values_lists:
        rows = [list(row.list.items) for row in query.values_lists]
        return tuple(c for i, c in enumerate(columns) if not is_volatile(row[i] for row in rows))
    if enum_name(query, "op") != "SETOP_NONE" or is_volatile([*query.from_clause]):
        return columns if not is_volatile([query]) else ()
    values = [item.res_target.val for item in query.target_list]
    if len(values) != len(columns) or is_volatile([query.where_clause]):
        return columns if not is_volatile([query]) else ()
    return tuple(c for c, value in zip(columns, values, strict=True) if not is_volatile([value]))


def merges(node: Any, columns: Sequence[str], fixed: Collection[str]) -> bool:
    """Whether a row that is there already ends the same each time, but for the time itself.

    A row must be given when it is new just what it would be given again: else the second run
    would change what the first one made.
    """
    conflict = node.on_conflict_clause
    if conflict.infer.conname:
        return False
    if enum_name(conflict, "action") == "ONCONFLICT_NOTHING":
        return True
    targets = [item.res_target for item in conflict.target_list]
    query = node.select_stmt.select_stmt
    return not conflict.HasField("where_clause") and all(
        not target.indirection
        and target.name in columns
        and _gives_again(target, _values(query, columns.index(target.name)), fixed)
        for target in targets
    )


def _values(query: Any, place: int) -> list[Any]:
    """What the rows are given there; nothing where that is no list of expressions."""
    if query.values_lists:
        return [row.list.items[place] for row in query.values_lists]
    if enum_name(query, "op") != "SETOP_NONE" or len(query.target_list) <= place:
        return []
    return [query.target_list[place].res_target.val]


def _gives_again(target: Any, values: Sequence[Any], fixed: Collection[str]) -> bool:
    excluded = [part.string.sval for part in target.val.column_ref.fields] == [
        "excluded",
        target.name,
    ]
    if excluded and target.name in fixed:
        return True
    if not values:
        return False
    if all(map(_is_now, values)):
        return excluded or _is_now(target.val)
    same = {expression(value) for value in values} == {expression(target.val)}
    return constant(target.val) is not None and same


def _is_now(value: Any) -> bool:
    """Whether it is the time, and nothing computed from it: `now()`, CURRENT_TIMESTAMP(3)."""
    node = inner(value)
    match type_name(node):
        case "TypeCast":
            return _is_now(node.arg)
        case "SQLValueFunction":
            return enum_name(node, "op").startswith(CLOCK_VALUES)
        case "FuncCall":
            return node.funcname[-1].string.sval in _NOW and not node.args
        case _:
            return False
