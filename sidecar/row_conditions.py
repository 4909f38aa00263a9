"""What a statement asks of rows: the parts of its WHERE, constants, rows of other tables. Pure.

The trees are the protobuf messages of PostgreSQL's own parser.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sidecar.model import TEXT
from sidecar.names_read import cuts_off, is_volatile, walk
from sidecar.statement_reach import enum_name, inner, type_name


def conditions(where: Any) -> list[Any]:
    """The parts of a WHERE that must all hold."""
    if where.WhichOneof("node") is None:
        return []
    if type_name(inner(where)) == "BoolExpr" and enum_name(inner(where), "boolop") == "AND_EXPR":
        return [part for arg in inner(where).args for part in conditions(arg)]
    return [where]


def asks_for(condition: Any, alias: str) -> tuple[str, frozenset[str | None]]:
    """The column which must have one of these constants, or '' where it is another condition."""
    node = inner(condition)
    if type_name(node) == "NullTest" and enum_name(node, "nulltesttype") == "IS_NULL":
        return _own_column(node.arg, alias), frozenset({None})
    if type_name(node) != "A_Expr":
        return "", frozenset()
    kind, operator = enum_name(node, "kind"), node.name[-1].string.sval
    if operator != "=" or kind not in {"AEXPR_OP", "AEXPR_IN"}:
        return "", frozenset()
    items = node.rexpr.list.items if kind == "AEXPR_IN" else [node.rexpr]
    constants = [constant(item) for item in items]
    if not all(constants):
        return "", frozenset()
    return _own_column(node.lexpr, alias), frozenset(c[0] for c in constants if c)


def _own_column(node: Any, alias: str) -> str:
    fields = [part.string.sval for part in node.column_ref.fields]
    return fields[-1] if fields[:-1] in ([], [alias]) and fields else ""


def constant(node: Any) -> tuple[str | None] | None:
    """The constant in a tuple, with its sort; equal constants of one sort are spelled alike.

    But for a text in a column of another type: '1' and '01' may be one number. Blanks at
    its end, which a VARCHAR may cut off, do not count.
    """
    node = node.type_cast.arg if node.HasField("type_cast") else node
    if not node.HasField("a_const") or is_volatile([node]):
        return None
    value = node.a_const
    match value.WhichOneof("val"):
        case "sval":
            return (TEXT + value.sval.sval.rstrip(" "),)
        case "ival":
            return (f"number {value.ival.ival}",)
        case "boolval":
            return (f"boolean {value.boolval.boolval}",)
        case None if value.isnull:
            return (None,)
        case _:
            return None


_EXISTS = "EXISTS_SUBLINK"


def forget_idle_limits(statement: Any) -> None:
    """Take the LIMIT out of each EXISTS (... LIMIT 1) of the tree: it asks for one row anyway."""
    for message in walk(statement):
        if type_name(message) == "SubLink" and enum_name(message, "sub_link_type") == _EXISTS:
            query = inner(message.subselect)
            if query.limit_count.a_const.ival.ival > 0 and not query.HasField("limit_offset"):
                query.ClearField("limit_count")
                options = query.DESCRIPTOR.fields_by_name["limit_option"].enum_type.values_by_name
                query.limit_option = options["LIMIT_OPTION_DEFAULT"].number


def is_steady(node: Any, sources: Iterable[Any]) -> bool:
    """Whether a statement reads other tables by plain joins, EXISTS and IN alone.

    Then rows that go there cannot make it pick more of its own.
    """
    parts = [inner(condition) for condition in conditions(node.where_clause)]
    asking = [inner(part.subselect) for part in parts if _only_asks(part)]
    inside = [m for part in parts if not _only_asks(part) for m in walk(part)]
    inside += [m for source in sources for m in walk(source)]
    inside += [m for query in asking for m in walk(query) if m is not query]
    return not node.HasField("with_clause") and not any(map(_may_turn, inside))


def _only_asks(condition: Any) -> bool:
    """Whether a condition is a mere EXISTS or IN, of rows as they are."""
    if type_name(condition) != "SubLink":
        return False
    query = inner(condition.subselect)
    values = [message for item in query.target_list for message in walk(item)]
    return (
        enum_name(condition, "sub_link_type") in {"ANY_SUBLINK", "EXISTS_SUBLINK"}
        and enum_name(query, "op") == "SETOP_NONE"
        and not (query.group_clause or query.HasField("having_clause"))
        and not (query.distinct_clause or cuts_off(query))  # which choose among rows
        and not any(type_name(message) == "FuncCall" for message in values)
    )


def is_firm(values: Iterable[Any]) -> bool:
    """Whether subqueries among these values are but values of rows elsewhere, or of them all.

    With fewer rows there such a value can become NULL; it cannot have been NULL before.
    """
    return all(_is_plain(inner(value)) for value in values)


def _is_plain(value: Any) -> bool:
    if type_name(value) != "SubLink":
        return not any(type_name(message) == "SubLink" for message in walk(value))
    query = inner(value.subselect)
    rows = [message for item in query.target_list for message in walk(item.res_target.val)]
    calls = [message for message in rows if type_name(message) == "FuncCall"]
    alone = [inner(item.res_target.val) for item in query.target_list] == calls
    return (
        enum_name(value, "sub_link_type") == "EXPR_SUBLINK"
        and enum_name(query, "op") == "SETOP_NONE"
        and not (query.group_clause or query.HasField("having_clause"))
        and not (query.distinct_clause or cuts_off(query))  # which choose among rows
        and (not calls or alone)
        and not any(_may_turn(message) for message in walk(query) if message is not query)
    )


def _may_turn(message: Any) -> bool:
    """Whether fewer rows elsewhere may make this true."""
    outer = type_name(message) == "JoinExpr" and enum_name(message, "jointype") != "JOIN_INNER"
    return outer or type_name(message) in {"RangeSubselect", "SelectStmt", "SubLink"}
