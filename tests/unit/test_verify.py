"""The proof before COMMIT: whatever is not as after a clean run, it says so."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.model import Action, Change, FactKey, Facts, FindingName, Plan, Proof
from sidecar.quarantine import QUARANTINE
from sidecar.verify import Rows, prove
from tests.unit.builders import NAME, facts, table

LEDGER = "public._prisma_migrations"
TOUCHED = {
    table("made"): "TABLE",
    FactKey("column", "a", "public.made"): "integer",
    table("gone"): None,
}
OTHERS = facts("old", "_prisma_migrations")
AFTER = {**OTHERS, **{key: value for key, value in TOUCHED.items() if value is not None}}
FILES = {"public.old": (1, 1), "public.made": (2, 2), LEDGER: (3, 3)}
PLAN = Plan(
    NAME,
    FindingName.PARTLY_APPLIED,
    Action.RESUME,
    segments=(),
    fingerprint="",
    before=dict.fromkeys(TOUCHED),
    expected=TOUCHED,
)


def proof(  # noqa: PLR0913 (one for each thing that is compared)
    plan: Plan = PLAN,
    *,
    before: Facts = OTHERS,
    after: Facts = AFTER,
    changed: Mapping[str, int] | None = None,
    earlier: Mapping[str, int] | None = None,
    files: Mapping[str, tuple[int, int]] = FILES,
    counts: bool = True,
) -> Proof:
    """The proof of a repair that did just what it should, but for what is given."""
    return prove(
        plan,
        before=before,
        after=after,
        rows_before=Rows(earlier or {}, FILES),
        rows_after=Rows({LEDGER: 2, **(changed or {})} if counts else None, files),
        ledger=LEDGER,
    )


def test_what_is_as_after_a_clean_run_is_proven() -> None:
    """Nothing else changed, and the ledger's own rows do not count; it says what was compared."""
    proven = proof()
    assert proven.holds
    assert (proven.touched_facts, proven.other_facts, proven.tables_counted) == (3, 2, 3)


# --- facts -----------------------------------------------------------------------

NEW = FactKey("view", "public.v", "")
VALUES = st.sampled_from([None, "TABLE", "TABLE OF x"])


@given(st.sampled_from([*TOUCHED, *OTHERS, NEW]), VALUES)
def test_any_fact_that_is_otherwise_is_reported(key: FactKey, value: str | None) -> None:
    """One touched fact unlike a clean run's, or one other fact changed: the proof fails."""
    after: dict[FactKey, str] = {**AFTER}
    after.pop(key, None)
    if value is not None:
        after[key] = value
    proven = proof(after=after)
    assert proven.holds == (after == AFTER)
    told = [str(difference.key) for difference in proven.differences] + list(proven.violations)
    assert proven.holds or any(str(key) in one for one in told)


@pytest.mark.parametrize(
    ("key", "allowed"),
    [
        (FactKey("privilege", "app: SELECT", "table public.made"), True),
        (FactKey("privilege", "app: SELECT", "table public.made_elsewhere"), False),
        (FactKey("privilege", "app: SELECT", "table public.old"), False),
        (FactKey("privilege", "app: SELECT", "table public.candidate"), False),
        (FactKey("privilege", "app: SELECT", f"table {QUARANTINE}.made_1"), True),
        (FactKey("table", f"{QUARANTINE}.made_1", ""), True),
        (FactKey("column", "a", f"{QUARANTINE}.made_1"), True),
        (FactKey("schema", QUARANTINE, ""), True),
        (FactKey("table", f"{QUARANTINE}2.made", ""), False),
        (FactKey("comment", "table", "public.made"), False),
    ],
)
def test_additions_that_a_repair_brings_along(key: FactKey, *, allowed: bool) -> None:
    """The quarantine, and default privileges on what the migration made; nothing more."""
    assert proof(after={**AFTER, key: "x"}).holds is allowed
    assert not proof(before={**OTHERS, key: "x"}, after={**AFTER, key: "y"}).holds
    assert not proof(before={**OTHERS, key: "x"}).holds


def test_default_privileges_of_an_identity_column() -> None:
    """Its sequence is no fact of its own, but gets privileges of its own."""
    column = FactKey("column", "id", "public.made")
    identity = "integer GENERATED ALWAYS AS IDENTITY (SEQUENCE NAME public.made_id_seq AS integer)"
    privilege = FactKey("privilege", "app: USAGE", "sequence public.made_id_seq")
    plan = replace(PLAN, expected={**TOUCHED, column: identity})
    assert proof(plan, after={**AFTER, column: identity, privilege: "granted"}).holds
    assert not proof(after={**AFTER, privilege: "granted"}).holds


# --- rows ------------------------------------------------------------------------


def links(*more: tuple[FactKey, str]) -> dict[FactKey, str]:
    """The facts of a database in which these, too, stand."""
    return {**OTHERS, **dict(more)}


def fk(on: str, to: str, rule: str = " ON DELETE CASCADE") -> tuple[FactKey, str]:
    """A foreign key."""
    return FactKey("constraint", "f", on), f"FOREIGN KEY (a) REFERENCES {to}(id){rule}"


def part(of: str, name: str, how: str = "PARTITION OF") -> tuple[FactKey, str]:
    """A table that holds rows of others."""
    return FactKey("table", name, ""), f"TABLE {how} {of} FOR VALUES IN (1)"


SET_NULL = " ON UPDATE RESTRICT ON DELETE SET NULL"

# id: what the statements write, which table changed, the catalog, may it?
ROWS: dict[str, tuple[tuple[str, ...], str, dict[FactKey, str], bool]] = {
    "nothing is written": ((), "public.old", {}, False),
    "it is written": (("public.old",), "public.old", {}, True),
    "without its schema": (("old",), "public.old", {}, True),
    "another": (("public.old",), "public.other", {}, False),
    "the same name elsewhere": (("public.old",), "shop.old", {}, False),
    "quoted": (('"App"."My.Table"',), '"App"."My.Table"', {}, True),
    "quoted for no need": (('"old"',), "public.old", {}, True),
    "a part of a quoted name": (('"my.old"',), "public.old", {}, False),
    "the other way round": (("old",), 'public."my.old"', {}, False),
    "another case": (('"Old"',), "public.old", {}, False),
    "cascade": (("old",), "public.b", links(fk("public.b", "public.old")), True),
    "set null": (("old",), "public.b", links(fk("public.b", "public.old", SET_NULL)), True),
    "no cascade": (("old",), "public.b", links(fk("public.b", "public.old", "")), False),
    "restrict": (
        ("old",),
        "public.b",
        links(fk("public.b", "public.old", " ON DELETE RESTRICT")),
        False,
    ),
    "cascade from elsewhere": (
        ("public.old",),
        "public.b",
        links(fk("public.b", "shop.old")),
        False,
    ),
    "cascade upwards": (("b",), "public.old", links(fk("public.b", "public.old")), False),
    "cascade of a cascade": (
        ("old",),
        "public.c",
        links(fk("public.b", "public.old"), fk("public.c", "public.b")),
        True,
    ),
    "cascade in a ring": (
        ("old",),
        "public.old",
        links(fk("public.b", "public.old"), fk("public.old", "public.b")),
        True,
    ),
    "cascade from a quoted name": (
        ('public."My (old) one"',),
        "public.b",
        links(fk("public.b", 'public."My (old) one"')),
        True,
    ),
    "partition": (("old",), "public.p1", links(part("public.old", "public.p1")), True),
    "partition of a partition": (
        ("old",),
        "public.p2",
        links(part("public.old", "public.p1"), part("public.p1", "public.p2")),
        True,
    ),
    "cascade into a partition": (
        ("old",),
        "public.p1",
        links(fk("public.b", "public.old"), part("public.b", "public.p1")),
        True,
    ),
    "second of two parents": (
        ("old",),
        "public.p1",
        links(part("public.x, public.old", "public.p1", "INHERITS")),
        True,
    ),
    "parent of the written": (("p1",), "public.old", links(part("public.old", "public.p1")), False),
    "trigger": (
        ("old",),
        "public.b",
        links((FactKey("trigger", "g", "public.old"), "CREATE TRIGGER")),
        True,
    ),
    "trigger elsewhere": (
        ("public.old",),
        "public.b",
        links((FactKey("trigger", "g", "shop.old"), "CREATE TRIGGER")),
        False,
    ),
    "trigger behind a cascade": (
        ("old",),
        "public.c",
        links(fk("public.b", "public.old"), (FactKey("trigger", "g", "public.b"), "")),
        True,
    ),
    "rule": (("old",), "public.b", links((FactKey("rule", "r", "public.old"), "DO ALSO")), True),
    "view": (("v",), "public.old", links((FactKey("view", "public.v", ""), "AS SELECT")), True),
}


@pytest.mark.parametrize("name", ROWS)
def test_rows_change_only_where_the_migration_writes(name: str) -> None:
    """Statements reach the tables they name, what foreign keys and partitions pass on, and code."""
    writes, changed, catalog, allowed = ROWS[name]
    before = catalog or OTHERS
    after = {**before, **{k: v for k, v in TOUCHED.items() if v is not None}}
    plan = replace(PLAN, writes=writes)
    proven = proof(plan, before=before, after=after, changed={changed: 3})
    assert proven.holds is allowed
    assert allowed or any(f"3 rows of {changed}" in told for told in proven.violations)


@pytest.mark.parametrize(
    ("between", "changed", "allowed"),
    [
        (FactKey("trigger", "g", "public.old"), "public.b", True),
        (FactKey("trigger", "g", "shop.old"), "public.b", False),
        (fk("public.b", "public.old")[0], "public.b", True),
        (fk("public.b", "public.old")[0], "public.c", False),
    ],
)
def test_what_was_there_for_a_while_passes_changes_on(
    between: FactKey, changed: str, *, allowed: bool
) -> None:
    """A trigger or a foreign key that the script makes and drops again worked in between."""
    text = fk("public.b", "public.old")[1]
    effects = ((Change(between, None, text),), (), (Change(between, text, None),))
    plan = replace(PLAN, writes=("public.old",), effects=effects)
    assert proof(plan, changed={changed: 1}).holds is allowed


NEW_COLUMN, OWN = FactKey("column", "a", "public.made"), FactKey("column", "a", "public.p1")
HEIR = dict([part("public.made", "public.p1")])


def test_only_what_the_shadow_never_had_may_follow() -> None:
    """A partition gets the column of its parent; one that the shadow knows is compared with it."""
    before, after = {**OTHERS, **HEIR}, {**AFTER, **HEIR, OWN: "integer INHERITED"}
    plan = replace(PLAN, effects=((Change(NEW_COLUMN, None, "integer"),),))
    assert proof(plan, before=before, after=after).holds
    assert not proof(replace(plan, known=frozenset({OWN})), before=before, after=after).holds
    assert not proof(before=before, after=after).holds


@pytest.mark.parametrize(
    ("before", "after", "holds"),
    [
        (None, "integer DEFAULT 3", True),
        (None, "integer GENERATED ALWAYS AS (b) STORED", True),
        ("text", "integer", True),
        (None, "integer", False),
        ("text", None, False),
    ],
)
def test_the_storage_of_a_partition_is_replaced_only_with_its_columns(
    before: str | None, after: str | None, *, holds: bool
) -> None:
    """A column that is filled or gets another type rewrites the rows of partitions too."""
    plan = replace(PLAN, effects=((Change(NEW_COLUMN, before, after),),))
    was = {**OTHERS, **dict([part("public.made", "public.old")])}
    now = {**AFTER, **dict([part("public.made", "public.old")])}
    assert proof(plan, before=was, after=now, files={**FILES, "public.old": (1, 9)}).holds is holds


def test_rows_of_a_statement_that_calls_code_are_its_own_affair() -> None:
    """Where a function or DO writes, its reach is the user's own."""
    assert proof(replace(PLAN, reach_known=False), changed={"public.old": 3}).holds


def test_rows_that_this_session_wrote_earlier_do_not_count() -> None:
    """The server's counters go on from transaction to transaction."""
    assert proof(earlier={"public.old": 3}, changed={"public.old": 3}).holds
    assert not proof(earlier={"public.old": 3}, changed={"public.old": 4}).holds


def test_a_server_that_does_not_count_rows() -> None:
    """With `track_counts` off the rows cannot be judged; the facts still are."""
    assert proof(counts=False).holds
    assert not proof(counts=False, after=OTHERS).holds


@pytest.mark.parametrize(
    ("writes", "changed", "holds"),
    [
        ((), "public.old", False),
        ((), "public.made", True),
        (("old",), "public.old", True),
        (("shop.old",), "public.old", False),
    ],
)
def test_storage_is_replaced_only_where_the_migration_works(
    writes: tuple[str, ...], changed: str, *, holds: bool
) -> None:
    """A new file means a rewrite or TRUNCATE: of a touched or written table only."""
    files = {**FILES, changed: (FILES[changed][0], 99)}
    assert proof(replace(PLAN, writes=writes), files=files).holds is holds


NAMES = ("public.a", "public.b", 'public."a"', "shop.a", 'shop."B"', "a", '"B"')


@given(
    st.sets(st.sampled_from(NAMES)),
    st.dictionaries(st.sampled_from(NAMES[:5]), st.integers(1, 9), max_size=3),
)
def test_any_other_table_with_changed_rows_is_reported(
    writes: set[str], changed: dict[str, int]
) -> None:
    """A row too many anywhere, outside what is written, and the proof fails."""

    def plain(name: str) -> str:
        return name.replace('"', "")

    written = {plain(name) for name in writes}
    elsewhere = {t for t in changed if not {plain(t), plain(t).split(".")[1]} & written}
    proven = proof(replace(PLAN, writes=tuple(sorted(writes))), changed=changed)
    assert proven.holds == (not elsewhere)
    assert all(any(name in told for told in proven.violations) for name in elsewhere)
