"""Which INSERTs ask first whether their rows are there: `WHERE NOT EXISTS (SELECT ...)`. Pure.

One that asks for just what it gives finds its own rows the next time, and gives none. The trees
are the protobuf messages of PostgreSQL's own parser.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sidecar.model import Table
from sidecar.names_read import is_volatile, table, walk
from sidecar.row_conditions import conditions, constant
from sidecar.statement_reach import enum_name, inner, type_name
from sidecar.table_names import same_table


def guards(query: Any, columns: tuple[str, ...], own: Table) -> frozenset[str]:
    """The columns by which a row that is there keeps `query` from giving it again; none if not.

    `columns` are those that its values go into. They must not be NULL, and compare as they are
    written, for this to hold.
    """
    if enum_name(query, "op") != "SETOP_NONE" or len(query.target_list) != len(columns):
        return frozenset()
    if is_volatile([*query.from_clause, query.where_clause]):
        return frozenset()
    values = [item.res_target.val for item in query.target_list]
    given = dict(zip(columns, values, strict=True))
    for condition in conditions(query.where_clause):
        asked = _not_exists(condition)
        if asked is not None and (found := _asked_for(asked, given, own)):
            elsewhere = sum(_names(message, own) for message in walk(query))
            return found if elsewhere == 1 else frozenset()
    return frozenset()


def _not_exists(condition: Any) -> Any | None:
    """The query that must find no row."""
    node = inner(condition)
    if type_name(node) != "BoolExpr" or enum_name(node, "boolop") != "NOT_EXPR":
        return None
    link = inner(node.args[0])
    if type_name(link) != "SubLink" or enum_name(link, "sub_link_type") != "EXISTS_SUBLINK":
        return None
    return inner(link.subselect)


def _asked_for(asked: Any, given: Mapping[str, Any], own: Table) -> frozenset[str]:
    """The columns of its own table that are asked for just the values which it gives them."""
    sources = [inner(source) for source in asked.from_clause]
    plain = enum_name(asked, "op") == "SETOP_NONE" and not (
        asked.group_clause or asked.HasField("having_clause") or asked.HasField("limit_count")
    )
    if not plain or len(sources) != 1 or not _names(sources[0], own):
        return frozenset()
    alias = sources[0].alias.aliasname or sources[0].relname
    found = [_equated(condition, given, alias) for condition in conditions(asked.where_clause)]
    return frozenset(found) if found and "" not in found else frozenset()


def _equated(condition: Any, given: Mapping[str, Any], alias: str) -> str:
    """The own column that must equal the value given to it, or ''."""
    node = inner(condition)
    if type_name(node) != "A_Expr" or enum_name(node, "kind") != "AEXPR_OP":
        return ""
    if node.name[-1].string.sval != "=":
        return ""
    for column, value in ((node.lexpr, node.rexpr), (node.rexpr, node.lexpr)):
        name = _own_column(column, alias)
        if name in given and _same(value, given[name]):
            return name
    return ""


def _own_column(node: Any, alias: str) -> str:
    """A column of the asked table: bare names inside a subquery are its own first."""
    fields = [part.string.sval for part in node.column_ref.fields]
    return fields[-1] if fields[:-1] in ([], [alias]) and fields else ""


def _same(one: Any, other: Any) -> bool:
    if constant(one) and constant(other):
        return constant(one) == constant(other) != (None,)
    if _bare(one) or _bare(other):
        return False  # inside the subquery a bare name means another column than outside
    return bool(_without_places(one) == _without_places(other))


def _bare(value: Any) -> bool:
    return any(type_name(m) == "ColumnRef" and len(m.fields) == 1 for m in walk(value))


def _without_places(value: Any) -> Any:
    """The same tree, wherever in the text it stands."""
    copy = type(value)()
    copy.CopyFrom(value)
    for message in walk(copy):
        if "location" in message.DESCRIPTOR.fields_by_name:
            message.ClearField("location")
    return copy


def _names(message: Any, own: Table) -> bool:
    return type_name(message) == "RangeVar" and same_table(table(message), own)
