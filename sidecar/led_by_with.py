"""Of a statement whose WITH writes, the part that must do something for all the rest. Pure.

All of it is one command: what is certain of one part, that it ran or did not, is certain of all.
The trees are the protobuf messages of PostgreSQL's own parser.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sidecar.names_read import queries_named, table, walk
from sidecar.pure_functions import AGGREGATES
from sidecar.statement_reach import enum_name, inner, type_name

WRITERS = frozenset({"DeleteStmt", "InsertStmt", "MergeStmt", "UpdateStmt"})


def leader(node: Any) -> Any | None:
    """The part in WITH, of whose rows alone the statement makes what it writes; None if it may not.

    The two write to different tables, and nothing else writes.
    """
    writers = [message for message in walk(node) if type_name(message) in WRITERS]
    ctes = [inner(item) for item in node.with_clause.ctes] if type_name(node) in WRITERS else []
    if len(ctes) != 1 or len(writers) != 2:  # noqa: PLR2004 (the statement and its part)
        return None
    part = inner(ctes[0].ctequery)
    if not {type_name(part), type_name(node)} <= WRITERS - {"MergeStmt"}:
        return None
    apart = table(part.relation)[-1] != table(node.relation)[-1]
    return part if apart and _needs_rows(_sources(node), queries_named(node)) else None


def updates_all(node: Any, part: Any) -> bool:
    """Whether an UPDATE which an INSERT leads sets each row of its table, and always some of it."""
    given = part.select_stmt.select_stmt.values_lists and not part.HasField("on_conflict_clause")
    return bool(given) and len(node.from_clause) == 1 and not node.HasField("where_clause")


def _sources(node: Any) -> Sequence[Any]:
    """What the rows that it writes come from; nothing where there may be some without any."""
    match type_name(node):
        case "UpdateStmt":
            return list(node.from_clause)
        case "DeleteStmt":
            return list(node.using_clause)
        case _:
            return _selected(node.select_stmt.select_stmt)


def _selected(query: Any) -> Sequence[Any]:
    calls = [m for m in walk(query) if type_name(m) == "FuncCall"]
    counts = not query.group_clause and any(
        call.funcname[-1].string.sval in AGGREGATES and not call.HasField("over") for call in calls
    )
    sets = query.group_clause and any(type_name(m) == "GroupingSet" for m in walk(query))
    simple = enum_name(query, "op") == "SETOP_NONE" and not (counts or sets)
    return list(query.from_clause) if simple else []


def _needs_rows(sources: Sequence[Any], queries: frozenset[int]) -> bool:
    """Whether without rows of the query in WITH a FROM clause has none."""
    return any(_is_needed(inner(source), queries) for source in sources)


def _is_needed(source: Any, queries: frozenset[int]) -> bool:
    if type_name(source) == "RangeVar":
        return source.location in queries
    if type_name(source) != "JoinExpr":
        return False
    sides = {"JOIN_INNER": "larg rarg", "JOIN_LEFT": "larg", "JOIN_RIGHT": "rarg"}
    names = sides.get(enum_name(source, "jointype"), "").split()
    return any(_is_needed(inner(getattr(source, name)), queries) for name in names)
