"""Which data statements may be run again, although they perhaps ran before. Pure.

A statement may be repeated where a second run finds and leaves everything as the first one
left it. Several in a row may be repeated where, besides, none of them changes what an earlier
one reads: `b -> c` then `a -> b`, repeated, would make every `a` a `c`.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from itertools import combinations

from sidecar.model import RowChange, Statement, Table, Verb
from sidecar.table_names import same_table

_WHOLE_ROWS = frozenset({Verb.INSERT, Verb.DELETE, Verb.TRUNCATE})


def repeatable(statements: Sequence[Statement], *, inert: Collection[int]) -> bool:
    """Whether all of them may be run although the first few of them have run already.

    `inert` are the statements that, if they ran, left nothing: they need not be settled.
    """
    changes = [statement.change for statement in statements]
    if not all(
        change is not None and (change.settled or statement.index in inert)
        for change, statement in zip(changes, statements, strict=True)
    ):
        return False
    known = [change for change in changes if change is not None]
    return not any(
        disturbs(later, earlier) or _copies(later, earlier)
        for earlier, later in combinations(known, 2)
    ) and not any(_is_reset(known[:n], one, known[n + 1 :]) for n, one in enumerate(known))


def _is_reset(before: Sequence[RowChange], one: RowChange, after: Sequence[RowChange]) -> bool:
    """Whether some before would reset what `one` no longer sets: some after unpicked its rows."""
    same = [other.writes for other in before if same_table(other.table, one.table)]
    resets = [writes for writes in same if not writes.isdisjoint(one.writes)]
    if not resets:
        return False
    kept = one.picks.keys() - frozenset.intersection(*resets)
    return any(same_table(o.table, one.table) and o.writes & kept for o in after)


def _copies(later: RowChange, earlier: RowChange) -> bool:
    """Whether `later` reads values that `earlier` would give anew, and other ones."""
    if not earlier.volatile:
        return False
    if same_table(later.table, earlier.table) and later.verb is not Verb.INSERT:
        return True
    return any(same_table(earlier.table, table) for table in later.reads)


def disturbs(later: RowChange, earlier: RowChange) -> bool:
    """Whether `earlier`, run again after `later`, could do something else than before it."""
    if Verb.MIXED in {later.verb, earlier.verb}:
        return True
    if later.verb is Verb.REFRESH and any(same_table(later.table, one) for one in earlier.reads):
        return True
    if later.verb in {Verb.SET_SEQUENCE, Verb.REFRESH}:
        return earlier.verb is Verb.SET_SEQUENCE and later.verb is Verb.SET_SEQUENCE
    if earlier.verb is Verb.REFRESH:
        return True  # what its query reads stands in the catalog
    elsewhere = any(same_table(later.table, table) for table in earlier.reads)
    if elsewhere and _changes_what_is_read(later, earlier.other_reads):
        return True
    if later.spreads:
        return True
    if not same_table(later.table, earlier.table):
        return _cascades(later)
    return _disturbs_own_rows(later, earlier)


def _changes_what_is_read(later: RowChange, names: frozenset[str]) -> bool:
    return later.verb in _WHOLE_ROWS or "*" in names or not later.writes.isdisjoint(names)


def _cascades(later: RowChange) -> bool:
    """Foreign keys may pass on that rows went."""
    return later.verb in {Verb.DELETE, Verb.TRUNCATE}


def _disturbs_own_rows(later: RowChange, earlier: RowChange) -> bool:
    """The same for two statements on the same table."""
    if later.verb in {Verb.DELETE, Verb.TRUNCATE}:
        return earlier.verb in {Verb.INSERT, Verb.TRUNCATE} or not later.settled
    if later.verb is Verb.INSERT or earlier.verb in {Verb.INSERT, Verb.TRUNCATE}:
        return not (earlier.verb is later.verb is Verb.INSERT and _keep_keys(later, earlier))
    if not later.writes.isdisjoint(earlier.own_reads) or "*" in earlier.own_reads:
        return True
    if not all(_leaves_unpicked(later, earlier, column) for column in later.writes):
        return True
    return _depends_on_more(later, earlier)


def _keep_keys(later: RowChange, earlier: RowChange) -> bool:
    """Whether neither of two INSERTs changes by what rows the other finds its own again."""
    if not later.writes | earlier.writes:
        return True
    keyed = bool(later.key and earlier.key)
    crossed = later.writes & earlier.own_reads | earlier.writes & later.own_reads
    return keyed and not crossed


def _leaves_unpicked(later: RowChange, earlier: RowChange, column: str) -> bool:
    """Whether `later` never makes a row one that `earlier` picks by this column.

    Constants of different sorts (1 and '01') may be the same to the column's type.
    """
    if column not in earlier.picks:
        return True
    if column not in later.gives:
        return False
    given = later.gives[column]
    picked = earlier.picks[column] - {None}
    if given is None:
        return None not in earlier.picks[column]
    sorts = {constant.split(" ")[0] for constant in (given, *picked) if constant}
    return len(sorts) == 1 and given not in picked


def _depends_on_more(later: RowChange, earlier: RowChange) -> bool:
    """Where both write a column, `earlier` resets it, and `later` must then set it again.

    It does so if what it picks by is reset as well, or never changes.
    """
    if later.writes.isdisjoint(earlier.writes):
        return False
    read = later.own_reads | later.picks.keys()
    return not read.isdisjoint(later.writes - earlier.writes)


def private(table: Table, columns: Collection[str], made: Collection[tuple[Table, str]]) -> bool:
    """Whether all these columns are of those `made`: nobody else has ever seen them."""
    return bool(columns) and all(
        any(same_table(table, owner) and name == column for owner, name in made)
        for column in columns
    )
