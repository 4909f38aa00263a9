"""What PostgreSQL does by itself is known as such, and nothing else is."""

from __future__ import annotations

import pytest

from sidecar.consequences import Lineage, consequences
from sidecar.model import Change, Effect, FactKey

TREE = {
    FactKey("table", "public.ev", ""): "TABLE PARTITION BY RANGE (at)",
    FactKey("table", "public.ev_1", ""): "TABLE PARTITION OF public.ev FOR VALUES IN (1)",
    FactKey("table", "public.ev_1a", ""): "UNLOGGED TABLE PARTITION OF public.ev_1 DEFAULT",
    FactKey("table", "public.both", ""): 'TABLE INHERITS public.other, public."My, base"',
}
LINEAGE = Lineage(TREE.items())

T, OTHER, U = "public.t", "public.o", 'public."Users"'


def one(kind: str, name: str, on: str, before: str | None, after: str | None) -> Change:
    """A change of one fact."""
    return Change(FactKey(kind, name, on), before, after)


def index(name: str, on: str, before: str | None, after: str | None) -> Change:
    """An index by its columns."""
    made = [
        x
        and f"CREATE INDEX {name} ON {on} USING btree ({x.partition(' ')[0]})"
        + "".join(x.partition(" ")[1:])
        for x in (before, after)
    ]
    return one("index", f"public.{name}", on, *made)


RENAMED = (
    one("table", T, "", "TABLE", None),
    one("table", U, "", None, "TABLE"),
    one("column", "a", T, "integer", None),
    one("column", "a", U, None, "integer"),
)
RENAMED_COLUMN = (one("column", "a", T, "text", None), one("column", "b", T, None, "text"))
DROPPED_COLUMN = (one("column", "a", T, "text", None),)
DROPPED = (one("table", T, "", "TABLE", None), *DROPPED_COLUMN)
NEW_COLUMN = (one("column", "a", "public.ev", None, "text DEFAULT 'x'::text"),)
NEW_INDEX = (index("ev_k", "public.ev", None, "k"),)
NEW_KEY = (one("constraint", "ev_pkey", "public.ev", None, "PRIMARY KEY (id)"),)
NEW_TRIGGER = (one("trigger", "g", "public.ev", None, "CREATE TRIGGER g"),)
TYPE = (one("type", "public.s", "", "ENUM ('A')", "ENUM ('B')"),)
DEFAULT = "public.s DEFAULT 'A'::public.s", "public.s DEFAULT 'B'::public.s"
VIEW = f"AS  SELECT a\n   FROM {T};"
VIEWS = one("view", "public.v", "", VIEW, None), one("column", "a", "public.v", "text", None)
HALVES = index("i", T, "a", None), index("i", U, None, "a")

FOLLOWS: dict[str, tuple[Effect, Effect]] = {
    "an index with its column": (DROPPED_COLUMN, (index("i", T, "a", None),)),
    "its comment too": (
        DROPPED_COLUMN,
        (index("i", T, "a", None), one("comment", "index public.i", T, "slow", None)),
    ),
    "views with a table": (DROPPED, VIEWS),
    "an index with a new name of its column": (RENAMED_COLUMN, (index("i", T, "a", "b"),)),
    "a view over a column with a new name": (
        RENAMED_COLUMN,
        (one("view", "public.v", "", VIEW, f"AS  SELECT b AS a\n   FROM {T};"),),
    ),
    "a right to a column": (
        RENAMED_COLUMN,
        (
            one("privilege", "app: SELECT", f"column {T}.a", "granted", None),
            one("privilege", "app: SELECT", f"column {T}.b", None, "granted"),
        ),
    ),
    "a comment on a column": (
        RENAMED_COLUMN,
        (one("comment", "column a", T, "x", None), one("comment", "column b", T, None, "x")),
    ),
    "an index with a new name of its table": (RENAMED, HALVES),
    "a key to a table with a new name": (
        RENAMED,
        (
            one(
                "constraint",
                "f",
                OTHER,
                f"FOREIGN KEY (x) REFERENCES {T}(a)",
                f"FOREIGN KEY (x) REFERENCES {U}(a)",
            ),
        ),
    ),
    "a publication of a table": (
        RENAMED,
        (
            one("publication table", T, "live", "exists", None),
            one("publication table", U, "live", None, "exists"),
        ),
    ),
    "a default with a label": (TYPE, (one("column", "s", OTHER, *DEFAULT),)),
    "a column on partitions": (
        NEW_COLUMN,
        tuple(
            one("column", "a", on, None, "text DEFAULT 'x'::text INHERITED")
            for on in ("public.ev_1", "public.ev_1a")
        ),
    ),
    "an index on partitions": (
        NEW_INDEX,
        (
            index("ev_1_k_idx", "public.ev_1", None, "k PARTITION OF public.ev_k"),
            index("ev_1a_k_idx", "public.ev_1a", None, "k PARTITION OF public.ev_1_k_idx"),
        ),
    ),
    "an index that is attached": (
        NEW_INDEX,
        (index("i", "public.ev_1", "k", "k PARTITION OF public.ev_k"),),
    ),
    "an index that is attached to a copy": (
        NEW_INDEX,
        (
            index("ev_1_k_idx", "public.ev_1", None, "k PARTITION OF public.ev_k"),
            index("i", "public.ev_1a", "k", "k PARTITION OF public.ev_1_k_idx"),
        ),
    ),
    "a key by another name": (
        NEW_KEY,
        (one("constraint", "ev_1_pkey", "public.ev_1", None, "PRIMARY KEY (id) INHERITED"),),
    ),
    "a trigger": (
        NEW_TRIGGER,
        (one("trigger", "g", "public.ev_1", None, "CREATE TRIGGER g INHERITED"),),
    ),
    "the second of two parents": (
        (one("column", "a", 'public."My, base"', "text", None),),
        (one("column", "a", "public.both", "text INHERITED", None),),
    ),
}

STAYS: dict[str, tuple[Effect, Effect]] = {
    "an index of another column": (DROPPED_COLUMN, (index("i", T, "c", None),)),
    "an index of another table": (DROPPED_COLUMN, (index("i", OTHER, "a", None),)),
    "an index of a column that was made": (
        (one("column", "a", T, None, "text"),),
        (index("i", T, "a", None),),
    ),
    "an index of a column that was altered": (
        (one("column", "a", T, "text", "integer"),),
        (index("i", T, "a", None),),
    ),
    "a new index of a new column": (
        (one("column", "a", T, None, "text"),),
        (index("i", T, None, "a"),),
    ),
    "a new index of a new table": (
        (one("table", T, "", None, "TABLE"),),
        (index("i", T, None, "a"),),
    ),
    "an index that does not move along": (RENAMED, HALVES[:1]),
    "an index that comes with a new name": (RENAMED, HALVES[1:]),
    "an index that moves and is another": (RENAMED, (HALVES[0], index("i", U, None, "c"))),
    "an index with another column as well": (RENAMED_COLUMN, (index("i", T, "a", "b,c"),)),
    "a view of other rows": (
        RENAMED_COLUMN,
        (one("view", "public.v", "", VIEW, f"AS  SELECT b AS a\n   FROM {T}\n  WHERE false;"),),
    ),
    "a comment with other words": (
        RENAMED_COLUMN,
        (one("comment", "column a", T, "x", None), one("comment", "column b", T, None, "y")),
    ),
    "a column of a table with the same name elsewhere": (
        (one("column", "a", "shop.ev", None, "text"),),
        (one("column", "a", "public.ev_1", None, "text INHERITED"),),
    ),
    "a column with a default of its own": (
        NEW_COLUMN,
        (one("column", "a", "public.ev_1", None, "text DEFAULT 'y'::text INHERITED"),),
    ),
    "another column": (
        NEW_COLUMN,
        (one("column", "c", "public.ev_1", None, "text DEFAULT 'x'::text INHERITED"),),
    ),
    "a column of the parent": (
        (one("column", "a", "public.ev_1", None, "text"),),
        (one("column", "a", "public.ev", None, "text"),),
    ),
    "an index of the partition alone": (NEW_INDEX, (index("i", "public.ev_1", None, "k"),)),
    "an index of another": (
        NEW_INDEX,
        (index("i", "public.ev_1", None, "k PARTITION OF public.ev_other"),),
    ),
    "another key": (
        NEW_KEY,
        (one("constraint", "c", "public.ev_1", None, "PRIMARY KEY (k) INHERITED"),),
    ),
    "a table whose rows are guarded": (
        (one("table", T, "", "TABLE", "TABLE ROW LEVEL SECURITY"),),
        (one("policy", "p", T, None, "USING (true)"),),
    ),
    "a right after a right": (
        (one("privilege", "app: SELECT", f"table {T}", None, "granted"),),
        (one("privilege", "app: INSERT", f"table {T}", None, "granted"),),
    ),
    "what only a function's text names": (
        DROPPED,
        (one("function", "public.f()", "", f"CREATE\nAS $f$ SELECT a FROM {T} $f$", None),),
    ),
    "a column that the parent had": (
        (one("column", "a", "public.ev", "text", "text NOT NULL"),),
        (one("column", "a", "public.ev_1", None, "text NOT NULL INHERITED"),),
    ),
    "a partition whose rows are guarded": (
        (one("table", "public.ev", "", "TABLE", "TABLE ROW LEVEL SECURITY"),),
        (
            one(
                "table",
                "public.ev_1",
                "",
                TREE[FactKey("table", "public.ev_1", "")],
                TREE[FactKey("table", "public.ev_1", "")] + " ROW LEVEL SECURITY",
            ),
        ),
    ),
    "a key of a table that is no heir": (
        (one("constraint", "f", T, None, f"FOREIGN KEY (b) REFERENCES {T}(a)"),),
        (one("constraint", "f", OTHER, None, f"FOREIGN KEY (b) REFERENCES {T}(a)"),),
    ),
    "an index of a partition on its new column": (
        NEW_COLUMN,
        (index("i", "public.ev_1", None, "a"),),
    ),
    "a comment that goes alone from a table with a new name": (
        RENAMED,
        (one("comment", "column a", T, "x", None),),
    ),
    "a comment that names what went": (
        DROPPED,
        (one("comment", "table", OTHER, f"see {T}", None),),
    ),
    "a column of what moves with its schema": (
        (one("schema", "s", "", "exists", None), one("schema", "z", "", None, "exists")),
        (
            one("table", "s.t", "", "TABLE", None),
            one("table", "z.t", "", None, "TABLE"),
            one("column", "a", "s.t", "text", None),
        ),
    ),
    "a policy of the parent": (
        (one("policy", "p", "public.ev", None, "USING (true)"),),
        (one("policy", "p", "public.ev_1", None, "USING (true)"),),
    ),
    "a right after a comment": (
        (one("comment", "table", T, "x", None),),
        (one("privilege", "app: SELECT", f"table {T}", "granted", None),),
    ),
    "nothing at all": ((), (index("i", T, "a", None),)),
}


def _following(effects: Effect, own: Effect) -> frozenset[FactKey]:
    return consequences(own, (effects,), LINEAGE)


@pytest.mark.parametrize("case", FOLLOWS)
def test_it_follows(case: str) -> None:
    """Each of the changes is a consequence of the statement's."""
    effects, own = FOLLOWS[case]
    assert _following(effects, own) == {change.key for change in own}


@pytest.mark.parametrize("case", STAYS)
def test_it_does_not_follow(case: str) -> None:
    """Nothing that the statement did is a reason for any of the changes."""
    effects, own = STAYS[case]
    assert not _following(effects, own) & {own[-1].key}


@pytest.mark.parametrize("case", FOLLOWS)
def test_without_the_statement_nothing_follows(case: str) -> None:
    """What only the live database has is no reason for itself."""
    _, own = FOLLOWS[case]
    assert not _following((), own)


def test_a_table_that_is_swapped_out_takes_its_indexes() -> None:
    """Renamed and then dropped is dropped, although another has its name in the end."""
    new = one("table", "public.new", "", "TABLE", None), one("table", T, "", None, "TABLE")
    column = one("column", "a", T, "text", None), one("column", "a", OTHER, None, "text")
    out = one("table", T, "", "TABLE", None), one("table", OTHER, "", None, "TABLE"), *column
    drop = (one("table", OTHER, "", "TABLE", None),)
    own = (index("i", T, "a", None),)
    assert consequences(own, (out, new, drop), LINEAGE)
    assert not consequences(own, (out, new), LINEAGE)


def test_an_index_goes_with_its_column_though_the_table_moves_later() -> None:
    """What went before the table had its other name went for good."""
    own = (index("i", T, "c", None),)
    assert consequences(own, ((one("column", "c", T, "text", None),), RENAMED), LINEAGE)


def test_what_all_statements_did_together_counts() -> None:
    """A partition's column is as the last of them left it."""
    first = (one("column", "a", "public.ev", None, "text"),)
    last = (one("column", "a", "public.ev", "text", "text NOT NULL"),)
    own = (one("column", "a", "public.ev_1", None, "text NOT NULL INHERITED"),)
    assert consequences(own, (first, last), LINEAGE)
    assert not consequences(own, (first,), LINEAGE)
