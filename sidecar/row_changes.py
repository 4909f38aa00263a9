"""What a data statement does to rows: from the parse tree to a `RowChange`, or to none.

Only plain statements on one table are understood; of all others nothing is claimed. The
trees are the protobuf messages of PostgreSQL's own parser, named as in `nodes/parsenodes.h`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from sidecar.idempotent import is_idempotent
from sidecar.model import RowChange, Table, Verb
from sidecar.names_read import ALL, Names, aliases_of, is_volatile, names, table, walk
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


def row_change(node: Any, touched: Reach) -> RowChange | None:
    """What the statement does to the rows of one table; None where that is not all, or unknown."""
    if not touched.known:
        return None
    forget_idle_limits(node)
    if sum(type_name(message) in _WRITERS for message in walk(node)) > 1:
        return _mixed(node, touched)  # WITH, in which others write
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


_WRITERS = frozenset({"DeleteStmt", "InsertStmt", "MergeStmt", "UpdateStmt"})


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
    own, alias = table(node.relation), _alias(node.relation)
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
    own, alias = table(node.relation), _alias(node.relation)
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
    fleeting = is_volatile([node])
    return RowChange(
        Verb.DELETE,
        own,
        picked_by=frozenset(picked.picks) | read.own,
        own_reads=read.own,
        reads=read.tables,
        other_reads=read.others,
        settled=not fleeting and own[-1] not in {name[-1] for name in picked.beyond.tables},
        fleeting=fleeting,
        steady=is_steady(node, node.using_clause),
        picks=picked.picks,
        rows=rows_picked(node, node.using_clause),
        row=quoted(_alias(node.relation)),
    )


def _reads_anew(target: Any, own: Table, node: Any) -> frozenset[str]:
    """The own columns whose change would give the target another value the next time."""
    alias = _alias(node.relation)
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
    fixed = _fixed(columns, query) if columns else ()
    key, settled = None, False
    if node.HasField("on_conflict_clause"):
        elements = [item.index_elem for item in conflict.infer.index_elems]
        key = tuple(element.name for element in elements)
        settled = _merges(node, fixed) and set(key) <= set(fixed) and "" not in key
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


def _merges(node: Any, fixed: Sequence[str]) -> bool:
    """Whether a row that is there already ends the same each time."""
    conflict = node.on_conflict_clause
    if enum_name(conflict, "action") == "ONCONFLICT_NOTHING":
        return not conflict.infer.conname
    targets = [item.res_target for item in conflict.target_list]
    # A row is given when it is new just what it would be given again.
    return (
        not conflict.infer.conname
        and not conflict.HasField("where_clause")
        and all(
            not target.indirection
            and target.name in fixed
            and [part.string.sval for part in target.val.column_ref.fields]
            == ["excluded", target.name]
            for target in targets
        )
    )


def _fixed(columns: tuple[str, ...], query: Any) -> tuple[str, ...]:
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


# --- the others ------------------------------------------------------------------


def _truncate(node: Any) -> RowChange:
    relation = inner(node.relations[0])
    rows = rows_picked(relation, ())
    return RowChange(
        Verb.TRUNCATE, table(relation), settled=True, rows=rows, row=quoted(_alias(relation))
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


def _alias(relation: Any) -> str:
    return str(relation.alias.aliasname or relation.relname)
