"""What a statement reads of the table that it writes to, by subqueries and queries of WITH. Pure.

The trees are the protobuf messages of PostgreSQL's own parser.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from sidecar.model import Table
from sidecar.names_read import ALL, fields_of, is_volatile, queries_named, table, walk
from sidecar.statement_reach import enum_name, inner, type_name


class Own(NamedTuple):
    """A statement's table, and the queries of its WITH: by name, and where they are read."""

    table: Table
    alias: str
    queries: Mapping[str, Any]
    named: frozenset[int]

    def is_read(self, source: Any) -> bool:
        """Whether a FROM item is the table itself, with its heirs as there."""
        mine = type_name(source) == "RangeVar" and source.location not in self.named
        return mine and bool(source.inh) and table(source) == self.table

    def query(self, source: Any) -> Any | None:
        """The query behind a FROM item, or None."""
        if source.alias.colnames:
            return None
        if type_name(source) == "RangeSubselect" and not source.lateral:
            return inner(source.subquery)
        if type_name(source) == "RangeVar" and source.location in self.named:
            return self.queries.get(source.relname)
        return None


def own_of(node: Any) -> Own:
    """The table of an UPDATE or DELETE."""
    return Own(table(node.relation), alias_of(node.relation), _queries(node), queries_named(node))


def _queries(node: Any) -> dict[str, Any]:
    ctes = [inner(item) for item in node.with_clause.ctes]
    plain = [cte for cte in ctes if not (node.with_clause.recursive or cte.aliascolnames)]
    return {cte.ctename: inner(cte.ctequery) for cte in plain}


def asks_the_row(parts: Sequence[Any]) -> bool:
    """Whether conditions look at the row alone, and always in the same way."""
    below = {type_name(message) for part in parts for message in walk(part)}
    return not is_volatile(parts) and below.isdisjoint({"GroupingSet", "SubLink"})


def is_of_row(parts: Sequence[Any], alias: str) -> bool:
    """The same, where an outer row could be meant too."""
    names = [names_of(message) for part in parts for message in walk(part)]
    inside = all(len(name) < 2 or name[:-1] == (alias,) for name in names)  # noqa: PLR2004
    return inside and asks_the_row(parts)


def is_operator(part: Any, *names: str) -> bool:
    """Whether it compares two values by one of these operators."""
    plain = type_name(part) == "A_Expr" and enum_name(part, "kind") == "AEXPR_OP"
    return plain and part.name[-1].string.sval in names


def clauses(message: Any) -> set[str]:
    """The fields that are there, without what each query has."""
    if type_name(message) == "SelectStmt" and enum_name(message, "op") != "SETOP_NONE":
        return set()
    return {f.name for f, _ in message.ListFields()} - {"limit_option", "location", "op"}


def column_of(value: Any, alias: str) -> str:
    """The column that is named, of the row of that name; '' for all else."""
    names = names_of(value)
    return names[-1] if names and names[:-1] in {(), (alias,)} and ALL not in names else ""


def names_of(value: Any) -> tuple[str, ...]:
    """The parts of a column's name, with '*' for all; none of another expression."""
    return fields_of(value) if type_name(value) == "ColumnRef" else ()


def output_of(target: Any) -> str:
    """The name of a query's column (`FigureColname` in PostgreSQL's parse_target.c)."""
    value = inner(target.val)
    if target.name or type_name(value) != "FuncCall":
        return str(target.name or (names_of(value) or ("",))[-1])
    return str(value.funcname[-1].string.sval)


def alias_of(relation: Any) -> str:
    """The name by which its columns are told from others."""
    return str(relation.alias.aliasname or getattr(relation, "relname", ""))
