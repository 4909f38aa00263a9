"""Which data statements may be run again; tests/integration/test_harmless.py runs them."""

from __future__ import annotations

import pytest

from sidecar.harmless import private, repeatable
from sidecar.live_tables import understood
from sidecar.model import FactKey, Facts
from tests.unit.builders import script_of, table

FACTS: Facts = {
    table("t"): "TABLE",
    table("u"): "TABLE",
    table("part"): "TABLE PARTITION OF t FOR VALUES FROM (1) TO (2)",
    FactKey("view", "public.v", ""): "AS SELECT a FROM public.u;",
    FactKey("column", "s", "public.t"): "text NOT NULL",
    FactKey("column", "ci", "public.t"): "citext",
    FactKey("column", "g", "public.t"): "integer GENERATED ALWAYS AS ((a + 1)) STORED",
    FactKey("constraint", "t_up_fkey", "public.t"): (
        "FOREIGN KEY (up) REFERENCES public.t(id) ON UPDATE CASCADE ON DELETE SET NULL"
    ),
    FactKey("constraint", "t_u_fkey", "public.t"): (
        "FOREIGN KEY (u_id) REFERENCES public.u(id) ON UPDATE CASCADE ON DELETE RESTRICT"
    ),
}


def may_repeat(*statements: str, inert: tuple[int, ...] = ()) -> bool:
    """Whether these statements may be run although the first few of them have run."""
    script = understood(script_of(*statements), FACTS)
    return repeatable(script.statements, inert=inert)


REPEATABLE: dict[str, tuple[str, ...]] = {
    "none": (),
    "a constant": ("UPDATE t SET a = 1",),
    "another column": ("UPDATE t SET slug = lower(name) WHERE slug IS NULL",),
    "words mapped in turn": (
        "UPDATE t SET s = 'A' WHERE s = 'one'",
        "UPDATE t SET s = 'B' WHERE s = 'two'",
        "UPDATE t SET s = 'C' WHERE s IN ('three', 'four')",
    ),
    "a default, then the exceptions": (
        "UPDATE t SET a = 1",
        "UPDATE t SET a = 2 WHERE b = 1",
        "UPDATE t SET a = 3 WHERE b = 2",
    ),
    "filled in two ways": (
        "UPDATE t SET a = u.a FROM u WHERE u.id = t.u_id AND t.a IS NULL",
        "UPDATE t SET a = 0 WHERE a IS NULL",
    ),
    "other columns of the same rows": ("UPDATE t SET a = b", "UPDATE t SET c = 1"),
    "other columns of the table read": ("UPDATE t SET a = u.a FROM u", "UPDATE u SET b = 1"),
    "rows that go, twice": ("DELETE FROM t WHERE a = 1",),
    "rows unless there": (
        "INSERT INTO t (id, a) VALUES (1, 2) ON CONFLICT (id) DO NOTHING",
        "INSERT INTO t (id, a) SELECT id, a FROM u ON CONFLICT (id) DO NOTHING",
    ),
    "rows that are there or not": (
        "INSERT INTO t (id, a, b) VALUES (1, 2, 3) ON CONFLICT (id) DO UPDATE SET a = 2, b = 3",
        "INSERT INTO t (id, a) VALUES (1, 5), (2, 5) ON CONFLICT (id) DO UPDATE SET a = excluded.a",
        "INSERT INTO t (id, s) VALUES (3, gen_random_uuid()) ON CONFLICT (id) DO NOTHING",
    ),
    "emptied": ("TRUNCATE t",),
    "refreshed at the end": ("UPDATE t SET a = 1", "REFRESH MATERIALIZED VIEW m"),
    "a counter behind its rows": (
        "UPDATE t SET a = 1",
        "SELECT setval('q', (SELECT max(id) FROM t))",
    ),
}


@pytest.mark.parametrize("case", REPEATABLE)
def test_may_be_run_again(case: str) -> None:
    """Each finds what the first run found, and nothing between has changed that."""
    assert may_repeat(*REPEATABLE[case])


TRAPS: dict[str, tuple[str, ...]] = {
    "a counter": ("UPDATE t SET a = a + 1",),
    "handed on": ("UPDATE t SET s = 'c' WHERE s = 'b'", "UPDATE t SET s = 'b' WHERE s = 'a'"),
    "handed on, in a type that ignores case": (
        "UPDATE t SET ci = 'c' WHERE ci = 'B'",
        "UPDATE t SET ci = 'b' WHERE ci = 'a'",
    ),
    "handed on, in a type that is not known": (
        "UPDATE t SET x = 'c' WHERE x = '1.0'",
        "UPDATE t SET x = '1' WHERE x = 'a'",
    ),
    "handed on in another sort": (
        "UPDATE t SET a = 9 WHERE a = 1",
        "UPDATE t SET a = '01' WHERE a = 2",
    ),
    "moved, then emptied": ("UPDATE t SET a = b", "UPDATE t SET b = NULL"),
    "a default that is not set again": (
        "UPDATE t SET a = 1",
        "UPDATE t SET a = 2 WHERE b = 1",
        "UPDATE t SET b = 2",
    ),
    "a default for rows that are no longer picked": (
        "UPDATE t SET a = 1 WHERE c = 1",
        "UPDATE t SET a = 2, b = 2 WHERE b = 1",
    ),
    "computed from what follows": (
        "UPDATE t SET a = (SELECT count(*) FROM u)",
        "DELETE FROM u WHERE b = 1",
    ),
    "a value of the table read": ("UPDATE t SET a = u.a FROM u", "UPDATE u SET a = 1"),
    "joined by a column that is written": (
        "UPDATE t SET a = (SELECT count(*) FROM u AS x JOIN u AS y USING (k))",
        "UPDATE u SET k = 1",
    ),
    "an own value through a computed one": ("UPDATE t SET a = g",),
    "an own value through a view": ("UPDATE u SET a = v.a + 1 FROM v",),
    "part of a table as another": (
        "UPDATE t SET a = 1 WHERE b = 1",
        "UPDATE part SET b = 1",
    ),
    "roots that go": ("DELETE FROM t WHERE up IS NULL",),
    "rows whose children change": (
        "UPDATE t SET a = 1 WHERE up IS NULL",
        "DELETE FROM t WHERE b = 1",
    ),
    "a key that is passed on": (
        "UPDATE t SET a = 1 WHERE u_id = 5",
        "UPDATE u SET id = 5 WHERE id = 7",
    ),
    "a key that is passed on to the same table": (
        "UPDATE t SET a = 1 WHERE up = 5",
        "UPDATE t SET id = 5 WHERE id = 7",
    ),
    "rows that go elsewhere": ("UPDATE t SET a = 1 WHERE u_id IS NULL", "DELETE FROM u"),
    "rows that come back": (
        "INSERT INTO t (id) VALUES (1) ON CONFLICT (id) DO NOTHING",
        "DELETE FROM t WHERE id = 1",
    ),
    "keys that are set": (
        "INSERT INTO t (id, a) VALUES (1, 2) ON CONFLICT (id) DO NOTHING",
        "INSERT INTO t (a, id) VALUES (2, 7) ON CONFLICT (a) DO UPDATE SET id = excluded.id",
    ),
    "any key of a row that is set": (
        "INSERT INTO t (s) VALUES ('x') ON CONFLICT DO NOTHING",
        "INSERT INTO t (id, s) VALUES (1, 'y') ON CONFLICT (id) DO UPDATE SET s = excluded.s",
    ),
    "rows that are picked later": (
        "UPDATE t SET a = 1",
        "INSERT INTO t (id, a) VALUES (1, 5) ON CONFLICT (id) DO NOTHING",
    ),
    "a view read, then refreshed": ("UPDATE t SET a = m.a FROM m", "REFRESH MATERIALIZED VIEW m"),
    "a view refreshed in between": ("REFRESH MATERIALIZED VIEW m", "UPDATE t SET a = 1"),
    "merged": ("MERGE INTO t USING u ON t.id = u.id WHEN MATCHED THEN UPDATE SET a = 1",),
    "unknown": ("UPDATE t SET a = my_function(b)",),
}


@pytest.mark.parametrize("case", TRAPS)
def test_may_not_be_run_again(case: str) -> None:
    """A second run would find, or leave, something else."""
    assert not may_repeat(*TRAPS[case])


def test_what_left_nothing_may_be_run_but_not_beside_what_disturbs_it() -> None:
    """An inert statement needs not be settled; what follows it must still leave it alone."""
    assert may_repeat("UPDATE t SET a = a + 1", inert=(1,))
    assert may_repeat("UPDATE t SET a = a + 1", "UPDATE t SET b = 1", inert=(1,))
    assert not may_repeat("UPDATE t SET a = a + 1", "UPDATE t SET a = 1", inert=(1,))
    assert not may_repeat("UPDATE t SET a = a + 1", "UPDATE t SET a = a + 1", inert=(1,))


def test_values_given_anew_are_not_copied() -> None:
    """What has a copy elsewhere must not be given another value."""
    chance = "UPDATE t SET a = random()"
    assert may_repeat(chance, inert=(1,))
    assert not may_repeat(chance, "UPDATE u SET a = t.a FROM t", inert=(1,))
    assert not may_repeat(chance, "UPDATE t SET c = 1 WHERE b = 2", inert=(1,))


def test_private_is_what_this_migration_made() -> None:
    """Every column must be one of those made, by its own spelling, of a table of that name."""
    made = {(("public", "t"), "a"), (("public", "t"), "b")}
    assert private(("t",), {"a", "b"}, made)
    assert private(("public", "t"), {"a"}, made)
    assert not private(("t",), {"a", "c"}, made)
    assert not private(("app", "t"), {"a"}, made)
    assert not private(("u",), {"a"}, made)
    assert not private(("t",), (), made)
