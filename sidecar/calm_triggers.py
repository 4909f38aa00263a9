"""Which triggers do not matter to a question about rows. Pure.

A trigger that only fills in the rows of a statement hides nothing where it sets other columns than
those the question rests on. If it does the same again, the statement can be run again.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from itertools import combinations

from sidecar.harmless import private
from sidecar.model import FactKey, Facts, RowChange, Table, Verb
from sidecar.names_read import ALL
from sidecar.row_triggers import Triggers, relations_of
from sidecar.sql_text import plain
from sidecar.table_names import parts, same_table
from sidecar.trigger_functions import Filling

HIDES = frozenset({"trigger", "rule"})
"""Kinds of facts that make a change of rows do more than its statement says."""


def watched(
    facts: Facts,
    table: Table,
    *,
    sees: re.Pattern[str] | None = None,
    calm: Collection[FactKey] = (),
) -> bool:
    """Whether more may happen to its rows than a statement says, or less where `sees` says so.

    Triggers and rules make it so, but for `calm` ones, and that it is no ordinary table but a view
    or a foreign one.
    """
    relations = list(relations_of(table, facts))
    ordinary = all(k.kind == "table" and "FOREIGN TABLE" not in text for k, text in relations)
    return not (relations and ordinary) or any(
        key.kind == "rule" or (key not in calm and (not sees or sees.search(text)))
        for key, text in facts.items()
        if key.kind in HIDES and key.on and same_table(table, parts(key.on))
    )


def spares(
    triggers: Triggers, columns: Collection[str], change: RowChange | None = None
) -> frozenset[FactKey]:
    """Those that leave out no row, write to no other, and leave these columns alone.

    Of a `change` also those that it does not fire.
    """
    return frozenset(
        key
        for key, trigger in triggers.items()
        if (change is not None and not trigger.fires(change))
        or (trigger.fills is not None and not _meets(trigger.fills.sets, columns))
    )


def named(change: RowChange) -> frozenset[str]:
    """The columns by which a statement picks, and that it reads, sets or gives; '*' for all."""
    given = {*change.columns, *change.fixed, *(change.key or ())}
    own = change.writes | change.picked_by | change.picks.keys() | change.own_reads
    whole = change.verb not in {Verb.UPDATE, Verb.DELETE} and not change.columns
    every = {ALL} if whole else frozenset()
    return own | change.gives.keys() | change.other_reads | {plain(one) for one in given} | every


def may_fire_again(
    triggers: Triggers,
    table: Table,
    changes: Sequence[RowChange],
    made: Collection[tuple[Table, str]],
    facts: Facts,
) -> frozenset[FactKey]:
    """Those which do not matter if all these statements are run once more.

    Either none of them fires it, or all that are fired give each row what they gave it, or the
    time of now, as a later run of the whole would have. `made` are columns of the script's own.
    """
    mine = [change for change in changes if same_table(change.table, table)]
    firing = {k: t for k, t in triggers.items() if any(map(t.fires, mine))}
    fills = [trigger.fills for trigger in firing.values() if trigger.fills is not None]
    alike = (
        len(fills) == len(firing)
        and _are_settled(fills, mine)
        and not any(_meets(one.sets, named(change)) for one in fills for change in changes)
        and not any(_is_view(name, facts) for change in changes for name in change.reads)
        and (_keep_themselves(triggers) or all(_are_private(one, table, made) for one in fills))
    )
    return frozenset(triggers if alike else triggers.keys() - firing.keys())


def _are_settled(fills: Sequence[Filling], changes: Sequence[RowChange]) -> bool:
    """Whether they would fill in the same again, but for the time.

    An upsert gives another row the second time: it updates what it has inserted.
    """
    sets = frozenset[str]().union(*(one.sets for one in fills))
    new, old = (frozenset[str]().union(*(getattr(o, row) for o in fills)) for row in ("new", "old"))
    writes = frozenset[str]().union(*(change.writes for change in changes))
    return not (
        any(one.fickle or one.tables for one in fills)
        or any(not one.sets.isdisjoint(other.sets) for one, other in combinations(fills, 2))
        or _meets(sets, new)
        or _meets(sets | writes, old)
        or (len(changes) > 1 and _meets(writes, new))
        or any(change.verb is Verb.INSERT and change.writes for change in changes)
    )


def _keep_themselves(triggers: Triggers) -> bool:
    """Whether no row can have other values in the columns that they set, whoever wrote it."""
    fills = [t.fills for t in triggers.values() if t.fills is not None and t.always]
    apart = not any(not a.sets.isdisjoint(b.sets) for a, b in combinations(fills, 2))
    return len(fills) == len(triggers) and apart


def _is_view(name: Table, facts: Facts) -> bool:
    return any(key.kind != "table" for key, _ in relations_of(name, facts))


def _are_private(fills: Filling, table: Table, made: Collection[tuple[Table, str]]) -> bool:
    """Whether nobody else can have set, since, what they would set again, but for the time."""
    lasting = fills.sets - fills.timed
    return not lasting or private(table, lasting, made)


def _meets(one: Collection[str], other: Collection[str]) -> bool:
    """Whether two sets of columns have one in common; '*' is every column."""
    return bool(one and other) and (ALL in other or not set(one).isdisjoint(other))
