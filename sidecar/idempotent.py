"""Which expressions, set into the column they read, give nothing new a second time. Pure.

`SET email = lower(email)` may be run twice, `SET n = n + 1` may not. Only what is plainly so
is known; the trees are the protobuf messages of PostgreSQL's own parser.
"""

from __future__ import annotations

import re
from typing import Any

from sidecar.names_read import walk
from sidecar.statement_reach import enum_name, inner, type_name

_OF_FIRST = frozenset(
    "abs array_remove btrim ceil ceiling floor initcap jsonb_strip_nulls lower ltrim rtrim trunc"
    " upper".split()
)
"""Functions of the value itself; what else they are given are constants of theirs."""

_OF_SECOND = frozenset({"date_trunc"})
_CASES = frozenset({"lower", "upper", "btrim"})
"""Those that may be nested: none of them undoes another."""

_NUMBER = re.compile(r"(^|,)\s*\"?-?\d+\"?\s*(,|$)")


def is_idempotent(value: Any, column: str, alias: str) -> bool:
    """Whether `value`, an expression, gives of its own result in `column` the same result."""
    node = inner(value)
    match type_name(node):
        case "ColumnRef":
            return _is_column(node, column, alias)
        case "CoalesceExpr":
            return _first_alone(node.args, column, alias)
        case "MinMaxExpr":
            kept = [arg for arg in node.args if not _is_column(inner(arg), column, alias)]
            return len(kept) == len(node.args) - 1 and not _reads(kept, column)
        case "A_Expr" if enum_name(node, "kind") == "AEXPR_NULLIF":
            return _first_alone([node.lexpr, node.rexpr], column, alias)
        case "FuncCall":
            return _is_idempotent_call(node, column, alias)
        case _:
            return False


def _is_idempotent_call(call: Any, column: str, alias: str) -> bool:
    name, args = call.funcname[-1].string.sval, list(call.args)
    if name in _OF_FIRST:
        nested = name in _CASES and len(args) == 1 and _is_case(args[0], column, alias)
        return nested or _first_alone(args, column, alias)
    if name in _OF_SECOND and len(args) > 1:
        return _first_alone([args[1], args[0], *args[2:]], column, alias)
    if name == "jsonb_set" and len(args) > 2:  # noqa: PLR2004 (value, path, new value)
        return _names_keys(args[1]) and _first_alone(args, column, alias)
    return False


def _is_case(value: Any, column: str, alias: str) -> bool:
    """A call of `_CASES` of the column, or of another such call."""
    node = inner(value)
    if type_name(node) != "FuncCall" or len(node.args) != 1:
        return False
    known = node.funcname[-1].string.sval in _CASES
    below = node.args[0]
    return known and (_is_column(inner(below), column, alias) or _is_case(below, column, alias))


def _names_keys(path: Any) -> bool:
    """Whether a path is a constant without numbers: an array may grow each time."""
    node = inner(path)
    node = inner(node.arg) if type_name(node) == "TypeCast" else node
    text = node.sval.sval if type_name(node) == "A_Const" else ""
    return text.startswith("{") and not _NUMBER.search(text.strip("{}"))


def _first_alone(args: Any, column: str, alias: str) -> bool:
    first, *others = args
    return _is_column(inner(first), column, alias) and not _reads(others, column)


def _is_column(node: Any, column: str, alias: str) -> bool:
    if type_name(node) != "ColumnRef":
        return False
    fields = [part.string.sval for part in node.fields]
    return fields in ([column], [alias, column])


def _reads(parts: list[Any], column: str) -> bool:
    """Whether the column, or all of them, may be read anywhere in these parts."""
    refs = [m for part in parts for m in walk(part) if type_name(m) == "ColumnRef"]
    last = [ref.fields[-1] for ref in refs]
    return any(not field.HasField("string") or field.string.sval == column for field in last)
