"""Triggers that only fill in the rows of one statement: what they leave as it would be. Pure.

Most tables with an `updated_at`, or a column to search in, have one. It is run BEFORE each row,
leaves none out, writes to no other, and sets columns which the statement mostly does not touch.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from operator import or_
from typing import Any

from sidecar.live_tables import REFERENCES
from sidecar.model import Effect, FactKey, Facts, RowChange, Table, Verb
from sidecar.row_queries import expression
from sidecar.script import one_statement
from sidecar.statement_reach import enum_name, inner, type_name
from sidecar.table_names import parts, same_table
from sidecar.trigger_functions import Filling, filling, looks

_ADDED = re.compile(r"( DISABLED| ENABLED ALWAYS| ENABLED REPLICA)?( INHERITED)?$")
"""What facts add to the words of `pg_get_triggerdef`."""
_BEFORE, _EVENTS = 1 << 1, {4: "INSERT", 8: "DELETE", 16: "UPDATE", 32: "TRUNCATE"}
"""Bits of PostgreSQL's catalog/pg_trigger.h."""
_FILLS_IN = frozenset({"INSERT", "UPDATE"})
_SHARES_ROWS = re.compile(r"\b(FOREIGN TABLE|PARTITION|INHERITS)\b")


@dataclass(frozen=True, slots=True)
class Trigger:
    """What fires a trigger, and what it fills in: None where it may do anything.

    `columns` are those of UPDATE OF, none for any update; `off`: nothing fires it now.
    `always`: whoever writes a row, with whatever words, has it filled in.
    """

    events: frozenset[str] = frozenset()
    columns: frozenset[str] = frozenset()
    off: bool = False
    fills: Filling | None = None
    always: bool = False

    def fires(self, change: RowChange) -> bool:
        """Whether the statement may fire it, by itself or by foreign keys."""
        if self.off:
            return False
        if change.verb not in {Verb.INSERT, Verb.UPDATE} or change.spreads:
            return True
        updates = change.verb is Verb.UPDATE or bool(change.writes)
        updated = not self.columns or not self.columns.isdisjoint(change.writes)
        inserts = change.verb is Verb.INSERT and "INSERT" in self.events
        return inserts or (updates and updated and "UPDATE" in self.events)


Triggers = Mapping[FactKey, Trigger]


@dataclass(frozen=True, slots=True)
class Course:
    """What is known of the facts: before the script, by its statements that may have run, now.

    From number `opens` on, it is not known whether a statement ran.
    """

    base: Facts
    effects: Sequence[Effect]
    opens: int
    live: Facts

    def is_sure(self, key: FactKey) -> bool:
        """Whether a fact is now what it was all the time since the open statements began."""
        before = [c.after for effect in self.effects[: self.opens] for c in effect if c.key == key]
        known = before[-1] if before else self.base.get(key, self.live.get(key))
        since = any(c.key == key for effect in self.effects[self.opens :] for c in effect)
        return known == self.live.get(key) and not since

    def is_known(self, key: FactKey) -> bool:
        """Whether the history or the script made it."""
        return key in self.base or any(c.key == key for effect in self.effects for c in effect)

    def versions(self, key: FactKey) -> list[str]:
        """All definitions that it has or, in the course of the script, had."""
        changes = [c for effect in self.effects for c in effect if c.key == key]
        texts = [self.live.get(key), *(text for c in changes for text in (c.before, c.after))]
        return sorted({text for text in texts if text})


def triggers_of(table: Table, course: Course) -> Triggers:
    """The triggers of a table; one that the script or somebody else replaced may do anything."""
    keys = [k for k in course.live if k.kind == "trigger" and same_table(table, parts(k.on))]
    return {key: _trigger(key, course) for key in keys}


# --- what a trigger is -----------------------------------------------------------


def _trigger(key: FactKey, course: Course) -> Trigger:
    table, live = parts(key.on), course.live
    node = _tree(live[key])
    if node is None or not course.is_sure(key) or _shares_rows(table, live):
        return _ANYTHING
    fills = _of_all(_version(text, course) for text in course.versions(key))
    if fills is not None and _stays_within(fills, table, live):
        fills |= Filling(_computed(table, live, of=fills.sets))
    else:
        fills = None
    columns = frozenset(column.string.sval for column in node.columns)
    if not columns.isdisjoint(_computed(table, live)):
        columns = frozenset()  # of which the statement names others
    events = frozenset(name for bit, name in _EVENTS.items() if node.events & bit)
    off = _is_off(live[key]) and course.is_known(key)
    asks = columns or node.HasField("when_clause") or fills is None or fills.told or fills.old
    always = events >= _FILLS_IN and not asks and not _is_off(live[key])
    return Trigger(events, columns, off, fills, always)


_ANYTHING = Trigger(frozenset(_EVENTS.values()))


def _tree(definition: str) -> Any | None:
    try:
        node = one_statement(_ADDED.sub("", definition))
    except ValueError:
        return None
    return node if type_name(node) == "CreateTrigStmt" else None


def _is_off(definition: str) -> bool:
    """Whether it is disabled, or for replicas alone."""
    found = _ADDED.search(definition)
    return found is not None and found[1] in {" DISABLED", " ENABLED REPLICA"}


def _of_all(versions: Iterable[Filling | None]) -> Filling | None:
    known = list(versions)
    fills = [one for one in known if one is not None]
    return reduce(or_, fills) if fills and len(fills) == len(known) else None


def _version(definition: str, course: Course) -> Filling | None:
    """What a trigger of this definition fills in."""
    node = _tree(definition)
    if node is None or not node.row or node.timing != _BEFORE or node.isconstraint:
        return None
    events = {name for bit, name in _EVENTS.items() if node.events & bit}
    if not events <= _FILLS_IN:
        return None  # of a row that goes, there is no NEW to return
    names = tuple(part.string.sval for part in node.funcname)
    arguments = [argument.string.sval for argument in node.args]
    fills = _of_library(names, arguments, course.live) or _of_project(names, course)
    if fills is None or not node.HasField("when_clause") or _is_for_changes(node.when_clause):
        return fills
    try:
        looked, by_clock = looks(one_statement(f"SELECT {expression(node.when_clause)}"))
    except ValueError:
        return None
    return fills | looked | Filling(fickle=by_clock)


def _of_project(names: Table, course: Course) -> Filling | None:
    keys = {k for k in course.live if k.kind == "function" and k.identity.endswith("()")}
    keys |= {c.key for effect in course.effects for c in effect if c.key.kind == "function"}
    mine = [k for k in keys if parts(k.identity.removesuffix("()")) == names]
    if len(mine) != 1 or not course.is_sure(mine[0]):
        return None
    return _of_all(map(filling, course.versions(mine[0])))


def _of_library(names: Table, arguments: Sequence[str], live: Facts) -> Filling | None:
    """PostgreSQL's own for text search, and that of its extension moddatetime."""
    match names, arguments:
        case ("tsvector_update_trigger",), [column, _, *read] if read:
            return Filling(frozenset({column}), new=frozenset(read))
        case (_, "moddatetime"), [column] if FactKey("extension", "moddatetime", "") in live:
            own = any(k.kind == "function" and parts(k.identity[:-2]) == names for k in live)
            column_only = frozenset({column})
            return None if own else Filling(column_only, timed=column_only)
        case _:
            return None


def _is_for_changes(condition: Any) -> bool:
    """Whether it is OLD.* IS DISTINCT FROM NEW.*: a row that stays the same does not fire it."""
    node = inner(condition)
    if type_name(node) != "A_Expr" or enum_name(node, "kind") != "AEXPR_DISTINCT":
        return False
    sides = [list(side.column_ref.fields) for side in (node.lexpr, node.rexpr)]
    whole = [
        row.string.sval for row, *rest in sides if [r.HasField("a_star") for r in rest] == [True]
    ]
    return sorted(whole) == ["new", "old"]


# --- what stands around it -------------------------------------------------------


def _shares_rows(table: Table, facts: Facts) -> bool:
    """Whether its rows are those of a part or heir too, or may move from one to another."""
    return any(_SHARES_ROWS.search(text) for _, text in relations_of(table, facts))


def _stays_within(fills: Filling, table: Table, facts: Facts) -> bool:
    """Whether no foreign key passes on what it sets, and all that it reads are tables."""
    referred = {
        parts(name)[0]
        for key, text in facts.items()
        if key.kind == "constraint" and (found := REFERENCES.match(text))
        if same_table(table, parts(found[2]))
        for name in found[3].split(", ")
    }
    kinds = [{key.kind for key, _ in relations_of(name, facts)} for name in fills.tables]
    return fills.sets.isdisjoint(referred) and all(kind == {"table"} for kind in kinds)


def _computed(table: Table, facts: Facts, *, of: Collection[str] | None = None) -> frozenset[str]:
    """The columns that PostgreSQL computes, of these others or of any."""
    texts = None if of is None else [name.replace('"', '""') for name in of]
    return frozenset(
        parts(key.identity)[0]
        for key, text in facts.items()
        if key.kind == "column" and " GENERATED ALWAYS AS (" in text
        if same_table(table, parts(key.on)) and (texts is None or any(t in text for t in texts))
    )


def relations_of(table: Table, facts: Facts) -> Iterator[tuple[FactKey, str]]:
    """The facts of tables and views of that name."""
    for key, text in facts.items():
        if key.kind in _RELATIONS and same_table(table, parts(key.identity)):
            yield key, text


_RELATIONS = frozenset({"table", "view", "materialized view"})
