"""What a data statement does to rows: from the parse tree to a `RowChange`, or to none.

Only plain statements on one table are understood; of all others nothing is claimed. The
trees are the protobuf messages of PostgreSQL's own parser, named as in `nodes/parsenodes.h`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from sidecar.duplicates import told_apart_by
from sidecar.idempotent import is_idempotent
from sidecar.led_by_with import WRITERS, leader, updates_all
from sidecar.model import CTID, RowChange, Table, Verb
from sidecar.names_read import ALL, Names, aliases_of, is_volatile, names, table, walk
from sidecar.own_queries import alias_of
from sidecar.row_conditions import (
    asks_for,
    conditions,
    constant,
    forget_idle_limits,
    is_firm,
    is_steady,
)
from sidecar.row_queries import rows_given, rows_picked, same_as_set
from sidecar.sql_text import quoted
from sidecar.statement_reach import Reach, enum_name, inner, type_name
from sidecar.upserts import fixed_columns, merges


def row_change(node: Any, touched: Reach) -> RowChange | None:
    """What the statement does to the rows of one table; None where that is not all, or unknown."""
    if not touched.known:
        return None
    forget_idle_limits(node)
    if sum(type_name(message) in WRITERS for message in walk(node)) > 1:
        return _led_by_with(node, touched)
    match type_name(node):
        case "UpdateStmt" if len(touched.writes) == 1:
            return _update(node)
        case "DeleteStmt" if len(touched.writes) == 1:
            return _delete(node)
        case "InsertStmt" if len(touched.writes) == 1:
            return _insert(node)
        case "TruncateStmt" if len(touched.writes) == 1 and not node.restart_seqs:
            return _truncate(node)
        case "RefreshMatViewStmt":
            everything = frozenset({ALL})
            return RowChange(Verb.REFRESH, touched.writes[0], other_reads=everything, settled=True)
        case "SelectStmt" if touched.sequences and not touched.writes and not touched.session:
            return _set_sequence(node)
        case _:
            return _mixed(node, touched)


def _mixed(node: Any, touched: Reach) -> RowChange | None:
    """Of more than is looked at only this is told: it adds and changes rows, and removes none."""
    if not touched.writes or any(_removes(message) for message in walk(node)):
        return None
    everything = frozenset({ALL})
    return RowChange(Verb.MIXED, touched.writes[0], own_reads=everything, other_reads=everything)


def _led_by_with(node: Any, touched: Reach) -> RowChange | None:
    """What the part in WITH does, if the rest writes nothing but what came of it.

    Again it does something to rows which the part finds again, so to those that it updates. Of
    an UPDATE of all rows by one that is inserted, the rows tell more.
    """
    part = leader(node)
    if part is None:
        return _mixed(node, touched)
    match type_name(part):
        case "InsertStmt" if type_name(node) == "UpdateStmt":
            mixed = _mixed(node, touched)
            return mixed and (_sets_all(node, mixed) if updates_all(node, part) else mixed)
        case "InsertStmt":
            return replace(_insert(part), settled=False, spreads=True)
        case "UpdateStmt":
            return replace(_update(part), settled=False, spreads=True, differs="")
        case _:
            return replace(_delete(part), spreads=True)


def _sets_all(node: Any, mixed: RowChange) -> RowChange:
    return replace(
        mixed,
        table=table(node.relation),
        writes=frozenset(item.res_target.name for item in node.target_list),
        spreads=True,
        rows=rows_picked(node.relation, ()),
        row=quoted(alias_of(node.relation)),
    )


def _removes(message: Any) -> bool:
    match type_name(message):
        case "MergeWhenClause":
            return enum_name(message, "command_type") == "CMD_DELETE"
        case name:
            return name in {"CopyStmt", "DeleteStmt", "RefreshMatViewStmt", "TruncateStmt"}


# --- UPDATE and DELETE -----------------------------------------------------------


class _Picked(NamedTuple):
    """What choosing the rows reads, and the constants it asks for."""

    picks: Mapping[str, frozenset[str | None]]
    row: Names
    """Read of the row itself, beside `picks`."""
    beyond: Names
    """Read by subqueries and in other tables."""


def _picked(node: Any, sources: Iterable[Any]) -> _Picked:
    own, alias = table(node.relation), alias_of(node.relation)
    aliases = aliases_of(node)
    picks: dict[str, frozenset[str | None]] = {}
    rest = []
    for condition in conditions(node.where_clause):
        column, constants = asks_for(condition, alias)
        if column and column not in picks:
            picks[column] = constants
        else:
            rest.append(condition)
    subqueries = [m for part in rest for m in walk(part) if type_name(m) == "SubLink"]
    return _Picked(
        picks,
        names(rest, own=own, alias=alias, aliases=aliases),
        names([*sources, *subqueries, node.with_clause], own=own, alias=alias, aliases=aliases),
    )


def _update(node: Any) -> RowChange:
    own, alias = table(node.relation), alias_of(node.relation)
    picked = _picked(node, node.from_clause)
    targets = [item.res_target for item in node.target_list]
    given = [target.val for target in targets]
    values = names(given, own=own, alias=alias, aliases=aliases_of(node))
    writes = frozenset(target.name for target in targets)
    computing = picked.beyond | values
    again = picked.beyond.own.union(*(_reads_anew(target, own, node) for target in targets))
    volatile = is_volatile(given)
    fleeting = is_volatile([node.where_clause, *node.from_clause, node.with_clause])
    alone = not any(target.indirection for target in targets)  # x[1] = ... keeps the rest of x
    read = picked.row | computing
    return RowChange(
        Verb.UPDATE,
        own,
        writes=writes,
        picked_by=frozenset(picked.picks) | picked.row.own | picked.beyond.own,
        own_reads=read.own,
        reads=read.tables,
        other_reads=read.others,
        settled=alone and not volatile and not fleeting and again.isdisjoint({ALL, *writes}),
        volatile=volatile,
        fleeting=fleeting,
        steady=is_steady(node, node.from_clause),
        firm=is_firm(given) and not node.from_clause,
        picks=picked.picks,
        gives=dict(_given(targets)),
        rows=rows_picked(node, node.from_clause),
        row=quoted(alias),
        differs=same_as_set(targets, alias) if alone else "",
    )


def _delete(node: Any) -> RowChange:
    own = table(node.relation)
    picked = _picked(node, node.using_clause)
    read = picked.row | picked.beyond
    keyed = told_apart_by(node)
    fleeting = keyed != CTID and is_volatile([node])
    steady = bool(keyed) or is_steady(node, node.using_clause)
    reads_itself = own[-1] in {name[-1] for name in picked.beyond.tables}
    return RowChange(
        Verb.DELETE,
        own,
        picked_by=frozenset(picked.picks) | read.own,
        own_reads=read.own,
        reads=read.tables,
        other_reads=read.others,
        # Rows that were left had no partner among all rows, so they have none among fewer.
        settled=not fleeting and (steady or not reads_itself),
        fleeting=fleeting,
        steady=steady,
        keyed=keyed,
        picks=picked.picks,
        rows=rows_picked(node, node.using_clause),
        row=quoted(alias_of(node.relation)),
    )


def _reads_anew(target: Any, own: Table, node: Any) -> frozenset[str]:
    """The own columns whose change would give the target another value the next time."""
    alias = alias_of(node.relation)
    read = names([target.val], own=own, alias=alias, aliases=aliases_of(node)).own
    return read - {target.name} if is_idempotent(target.val, target.name, alias) else read


def _given(targets: Sequence[Any]) -> Iterable[tuple[str, str | None]]:
    for target in targets:
        found = constant(target.val)
        if found and not target.indirection:
            yield target.name, found[0]


# --- INSERT ----------------------------------------------------------------------


def _insert(node: Any) -> RowChange:
    own = table(node.relation)
    query, conflict = node.select_stmt.select_stmt, node.on_conflict_clause
    read = names([node.select_stmt, node.with_clause], own=own, alias="", aliases=aliases_of(node))
    columns = tuple(column.res_target.name for column in node.cols)
    fixed = fixed_columns(columns, query) if columns else ()
    key, settled = None, False
    if node.HasField("on_conflict_clause"):
        elements = [item.index_elem for item in conflict.infer.index_elems]
        key = tuple(element.name for element in elements)
        settled = merges(node, columns, fixed) and set(key) <= set(fixed) and "" not in key
    return RowChange(
        Verb.INSERT,
        own,
        writes=frozenset(target.res_target.name for target in conflict.target_list),
        own_reads=frozenset(key or ()),
        reads=read.tables,
        other_reads=read.own | read.others,
        settled=settled and own[-1] not in {name[-1] for name in read.tables},
        volatile=is_volatile([query]),
        steady=is_steady(query, query.from_clause),
        rows=rows_given(node, columns),
        columns=tuple(map(quoted, columns)),
        fixed=tuple(map(quoted, fixed)),
        key=None if key is None else tuple(map(quoted, key)),
    )


# --- the others ------------------------------------------------------------------


def _truncate(node: Any) -> RowChange:
    relation = inner(node.relations[0])
    rows = rows_picked(relation, ())
    return RowChange(
        Verb.TRUNCATE, table(relation), settled=True, rows=rows, row=quoted(alias_of(relation))
    )


def _set_sequence(node: Any) -> RowChange:
    read = names([node], own=(), alias="", aliases=aliases_of(node))
    calls = [m for m in walk(node) if type_name(m) == "FuncCall"]
    only_sets = all(call.funcname[-1].string.sval != "nextval" for call in calls)
    sets = [call for call in calls if call.funcname[-1].string.sval == "setval"]
    return RowChange(
        Verb.SET_SEQUENCE,
        (),
        reads=read.tables,
        other_reads=read.own | read.others,
        settled=only_sets
        and read.own.isdisjoint({ALL, "is_called", "last_value"})  # of a sequence itself
        and not any(is_volatile(call.args) for call in sets),
    )
