"""DELETEs which leave only so many rows of each group, of all that are alike mostly one. Pure.

Run again they find nothing, also where rows have gone since: then a group has only fewer. The
trees are the protobuf messages of PostgreSQL's own parser.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from sidecar.model import CTID
from sidecar.names_read import ALL, is_volatile
from sidecar.own_queries import (
    Own,
    alias_of,
    asks_the_row,
    clauses,
    column_of,
    is_of_row,
    is_operator,
    names_of,
    output_of,
    own_of,
)
from sidecar.row_conditions import conditions
from sidecar.statement_reach import enum_name, inner, type_name

_ENDS = frozenset({"max", "min"})
_RANKS = frozenset({"dense_rank", "rank", "row_number"})
_ABOVE_THE_FIRST = {">": range(1, 10**9), ">=": range(2, 10**9), "<>": range(1, 2)}
"""The numbers with which a rank is asked to be above that of the rows that stay."""


def told_apart_by(node: Any) -> str:
    """The column by which such a DELETE tells rows apart; '' where it is another sort of DELETE.

    All this holds only if no two rows have the same there, and none has NULL.
    """
    own = own_of(node)
    parts = [inner(condition) for condition in conditions(node.where_clause)]
    if node.using_clause:
        beside = _ranked_beside(own, node.using_clause, parts)
        return beside or _paired(own, node.using_clause, parts)
    for part in parts:
        others = [other for other in parts if other is not part]
        if asks_the_row(others) and (key := _not_first(own, part, alone=not others)):
            return key
    return _among_ranked(own, parts[0]) if len(parts) == 1 else ""


# --- all but the first of each group ---------------------------------------------


def _not_first(own: Own, part: Any, *, alone: bool) -> str:
    """The column of `id NOT IN (SELECT min(id) ... GROUP BY name)`, or of DISTINCT ON.

    Beside other conditions it must be plain which row of a group is the first.
    """
    if type_name(part) != "BoolExpr" or enum_name(part, "boolop") != "NOT_EXPR":
        return ""
    link = inner(part.args[0])
    key = _link(own, link)
    query = _unwrapped(own, inner(link.subselect)) if key else None
    if query is None:
        return ""
    fields, source = clauses(query), inner(query.from_clause[0])
    groups = [*query.group_clause, *query.distinct_clause]
    if not own.is_read(source) or not is_of_row([*groups, query.where_clause], alias_of(source)):
        return ""
    value = inner(query.target_list[0].res_target.val)
    if fields - {"where_clause"} == {"target_list", "from_clause", "group_clause"}:
        first = _is_end(value, key, source) and (alone or key != CTID)
    else:
        kept = {"target_list", "from_clause", "distinct_clause"}
        first = alone and fields - {"where_clause", "sort_clause"} == kept
        first = first and column_of(value, alias_of(source)) == key
        first = first and all(group.WhichOneof("node") for group in groups)  # DISTINCT ON
    return key if first else ""


def _is_end(call: Any, key: str, source: Any) -> bool:
    """Whether it is the least or greatest of that column."""
    if type_name(call) != "FuncCall" or clauses(call) - {"funcname", "args", "funcformat"}:
        return False
    args = [column_of(inner(arg), alias_of(source)) for arg in call.args]
    return call.funcname[-1].string.sval in _ENDS and args == [key]


def _unwrapped(own: Own, query: Any) -> Any | None:
    """The query behind `SELECT id FROM (SELECT min(id) AS id ...) AS x`; of one column each."""
    if len(query.target_list) != 1 or len(query.from_clause) != 1:
        return None
    source = inner(query.from_clause[0])
    below = own.query(source)
    if below is None:
        return query
    name = column_of(inner(query.target_list[0].res_target.val), alias_of(source))
    fits = clauses(query) == {"target_list", "from_clause"} and len(below.target_list) == 1
    named = fits and name != "" and output_of(below.target_list[0].res_target) == name
    return _unwrapped(own, below) if named else None  # else it would be the outer row's


def _paired(own: Own, sources: Sequence[Any], parts: Sequence[Any]) -> str:
    """CTID, of `USING t AS u WHERE t.ctid < u.ctid AND t.name = u.name`.

    By a column of their own rows need no such care: see `is_steady`.
    """
    source = inner(sources[0])
    if len(sources) != 1 or not own.is_read(source):
        return ""
    pairs = [_pair(part, {own.alias, alias_of(source)}) for part in parts]
    by_place = [pair for pair in pairs if pair in {("<", CTID), (">", CTID)}]
    alike = [pair for pair in pairs if pair[0] == "=" and pair[1] != CTID]
    return CTID if len(by_place) == 1 and alike and len(alike) == len(pairs) - 1 else ""


def _pair(part: Any, aliases: set[str]) -> tuple[str, str]:
    """The operator and the column of `t.name = u.name`; '' for all else."""
    if not is_operator(part, "=", "<", ">"):
        return "", ""
    one, other = (names_of(inner(side)) for side in (part.lexpr, part.rexpr))
    same = len(one) == len(other) == 2 and one[1] == other[1]  # noqa: PLR2004
    return (
        (part.name[-1].string.sval, one[1]) if same and {one[0], other[0]} == aliases else ("", "")
    )


# --- all above a rank ------------------------------------------------------------


class _Ranked(NamedTuple):
    """Rows of the own table with their ranks: its columns and `RANK` by the names they have."""

    columns: Mapping[str, str]
    whole: bool
    """All columns are there too, under their own names."""
    above: bool
    """Only those above a rank are left."""

    def column(self, name: str) -> str:
        return self.columns.get(name, name if self.whole else "")


_RANK = "a rank"


def _among_ranked(own: Own, part: Any) -> str:
    """The column of `id IN (SELECT id FROM ... WHERE row_number > 1)`."""
    key = _link(own, part)
    found = _ranked(own, inner(part.subselect)) if key else None
    one = found is not None and found.above and list(found.columns.values()) == [key]
    return key if one and found and not found.whole else ""


def _ranked_beside(own: Own, sources: Sequence[Any], parts: Sequence[Any]) -> str:
    """The column of `USING ranked AS r WHERE t.id = r.id AND r.row_number > 1`."""
    source = inner(sources[0])
    query = own.query(source) if len(sources) == 1 else None
    found = _ranked(own, query) if query is not None else None
    if found is None:
        return ""
    links = [part for part in parts if not _is_above(part, found, alias_of(source))]
    if len(links) != 1 or not (found.above or len(parts) > 1) or not is_operator(links[0], "="):
        return ""
    (link,) = links
    sides = sorted(
        map(names_of, map(inner, (link.lexpr, link.rexpr))), key=lambda s: s[0] != own.alias
    )
    (mine, *key), (theirs, *name) = sides
    fits = (mine, theirs) == (own.alias, alias_of(source)) and len(key) == len(name) == 1
    return key[0] if fits and found.column(name[0]) == key[0] else ""


def _ranked(own: Own, query: Any) -> _Ranked | None:
    fields = clauses(query) - {"where_clause", "sort_clause"}
    if fields != {"target_list", "from_clause"} or len(query.from_clause) != 1:
        return None
    source = inner(query.from_clause[0])
    if own.is_read(source):
        return _ranked_rows(query, alias_of(source))
    below = own.query(source)
    found = _ranked(own, below) if below is not None else None
    if found is None:
        return None
    asks = [inner(condition) for condition in conditions(query.where_clause)]
    if not all(_is_above(part, found, alias_of(source)) for part in asks):
        return None
    columns: dict[str, str] = {}
    whole = False
    for target in (item.res_target for item in query.target_list):
        names = names_of(inner(target.val))
        if names[-1:] == (ALL,):
            columns, whole = {**found.columns, **columns}, found.whole
        else:
            columns[output_of(target)] = found.column(
                column_of(inner(target.val), alias_of(source))
            )
    return _Ranked(columns, whole, found.above or bool(asks))


def _ranked_rows(query: Any, alias: str) -> _Ranked | None:
    """Those of the table itself, of which each group is numbered."""
    columns: dict[str, str] = {}
    whole = False
    for target in (item.res_target for item in query.target_list):
        value = inner(target.val)
        if names_of(value)[-1:] == (ALL,):
            whole = True
        elif _is_rank(value, alias):
            columns[output_of(target)] = _RANK
        else:
            columns[output_of(target)] = column_of(value, alias)
    return _Ranked(columns, whole, above=False) if is_of_row([query.where_clause], alias) else None


def _is_rank(call: Any, alias: str) -> bool:
    """Whether it numbers the rows of each group; the same row never gets more among fewer."""
    if type_name(call) != "FuncCall" or call.args or not call.HasField("over"):
        return False
    name, over = call.funcname[-1].string.sval, call.over
    by_chance = name != "row_number" and is_volatile(over.order_clause)
    plain = name in _RANKS and not (over.name or over.refname or by_chance)
    return plain and is_of_row(over.partition_clause, alias)


def _is_above(part: Any, ranked: _Ranked, alias: str) -> bool:
    """Whether a condition is `row_number > 1`, or as good."""
    if not is_operator(part, *_ABOVE_THE_FIRST):
        return False
    numbers, number = _ABOVE_THE_FIRST[part.name[-1].string.sval], part.rexpr.a_const
    above = number.WhichOneof("val") == "ival" and number.ival.ival in numbers
    return above and ranked.column(column_of(inner(part.lexpr), alias)) == _RANK


def _link(own: Own, link: Any) -> str:
    """The own column of `id IN (SELECT ...)`."""
    if type_name(link) != "SubLink" or enum_name(link, "sub_link_type") != "ANY_SUBLINK":
        return ""
    return "" if link.oper_name else column_of(inner(link.testexpr), own.alias)
