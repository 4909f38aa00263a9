"""What a data statement does to rows, as its parse tree tells."""

from __future__ import annotations

from typing import Any

import pytest

from sidecar.model import COLUMNS, HELD, RowChange, Verb
from sidecar.row_queries import alike, shows_its_rows
from tests.unit.builders import script_of

T = ("t",)
ALL = frozenset({"*"})


def change_of(sql: str) -> RowChange | None:
    """What is known of this statement."""
    (statement,) = script_of(sql).statements
    return statement.change


def known(sql: str) -> RowChange:
    """What is known of this statement, of which something is."""
    change = change_of(sql)
    assert change is not None
    return change


PARTS: dict[str, tuple[str, dict[str, Any]]] = {
    "a constant for a constant": (
        "UPDATE t SET s = 'b' WHERE s IN ('a', 'c') AND n = 1 AND w IS NULL",
        {
            "verb": Verb.UPDATE,
            "table": T,
            "writes": {"s"},
            "picks": {"s": {"text a", "text c"}, "n": {"number 1"}, "w": {None}},
            "gives": {"s": "text b"},
            "own_reads": set(),
            "reads": set(),
            "settled": True,
        },
    ),
    "one column asked for twice": (
        "UPDATE t SET a = 1 WHERE b = 1 AND b = 2",
        {"picks": {"b": {"number 1"}}, "own_reads": {"b"}, "picked_by": {"b"}},
    ),
    "another condition is a reading": (
        "UPDATE t SET a = 1 WHERE b > 1 OR c = 2",
        {"picks": {}, "own_reads": {"b", "c"}, "picked_by": {"b", "c"}},
    ),
    "a join": (
        "UPDATE s.t AS x SET a = o.b FROM u AS o WHERE o.id = x.u_id",
        {
            "table": ("s", "t"),
            "writes": {"a"},
            "own_reads": {"u_id"},
            "reads": {("u",)},
            "other_reads": {"b", "id"},
            "row": '"x"',
        },
    ),
    "a join that names no column": (
        "UPDATE t SET a = x.b FROM u JOIN x USING (k) WHERE u.id = t.id",
        {"own_reads": {"id", "k"}, "other_reads": {"b", "id", "k"}},
    ),
    "another table under its name": (
        "UPDATE t SET a = (SELECT max(t.b) FROM u AS t)",
        {"own_reads": {"b"}, "other_reads": {"b"}, "reads": {("u",)}},
    ),
    "a natural join": (
        "UPDATE t SET a = x.b FROM u NATURAL JOIN x",
        {"other_reads": {"*", "b"}},
    ),
    "the table once more": (
        "UPDATE t SET a = o.b FROM t AS o WHERE o.id = t.up",
        {"own_reads": {"b", "id", "up"}, "reads": {T}, "settled": True},
    ),
    "a subquery": (
        "UPDATE t SET a = (SELECT max(b) FROM u)",
        {"own_reads": {"b"}, "reads": {("u",)}, "other_reads": {"b"}},
    ),
    "rows by where they lie": (
        "UPDATE t SET a = 1 WHERE ctid IN (SELECT min(ctid) FROM t)",
        {"own_reads": ALL, "settled": False},
    ),
    "delete": (
        "DELETE FROM t WHERE a = 1 AND b < 3",
        {"verb": Verb.DELETE, "picks": {"a": {"number 1"}}, "own_reads": {"b"}, "settled": True},
    ),
    "insert": (
        "INSERT INTO t (a, b, c) VALUES (1, now(), 2), (3, now(), random())",
        {
            "verb": Verb.INSERT,
            "columns": ('"a"', '"b"', '"c"'),
            "fixed": ('"a"',),
            "key": None,
            "settled": False,
        },
    ),
    "insert from a query": (
        "INSERT INTO t (a, b) SELECT gen_random_uuid(), name FROM u",
        {"fixed": ('"b"',), "reads": {("u",)}, "other_reads": {"name"}, "volatile": True},
    ),
    "insert of rows cut off": (
        "INSERT INTO t (a) SELECT id FROM u ORDER BY name LIMIT 1",
        {"fixed": ()},
    ),
    "insert unless there": (
        "INSERT INTO t (id, a) VALUES (1, 2) ON CONFLICT (id) DO NOTHING",
        {"key": ('"id"',), "writes": set(), "settled": True},
    ),
    "insert or update": (
        "INSERT INTO t (id, a) VALUES (1, 2) ON CONFLICT (id) DO UPDATE SET a = excluded.a",
        {"key": ('"id"',), "writes": {"a"}, "settled": True},
    ),
    "truncate": ("TRUNCATE t", {"verb": Verb.TRUNCATE, "table": T, "settled": True}),
    "refresh": ("REFRESH MATERIALIZED VIEW v", {"verb": Verb.REFRESH, "settled": True}),
    "a counter set": (
        "SELECT setval('q', (SELECT max(id) FROM t))",
        {"verb": Verb.SET_SEQUENCE, "table": (), "reads": {T}, "settled": True},
    ),
    "merge": (
        "MERGE INTO t USING u ON t.id = u.id WHEN MATCHED THEN UPDATE SET a = 1",
        {"verb": Verb.MIXED, "own_reads": ALL, "settled": False},
    ),
    "another write to the same table": (
        "WITH x AS (UPDATE t SET a = a + 1 RETURNING id) UPDATE t SET b = 1",
        {"verb": Verb.MIXED, "settled": False},
    ),
}


AGAIN = {
    "a": True,
    "lower(a)": True,
    "lower(trim(a))": True,
    "t.a": True,
    "COALESCE(a, 'x')": True,
    "COALESCE(a, b)": True,
    "NULLIF(a, '')": True,
    "GREATEST(0, a)": True,
    "array_remove(a, 'x')": True,
    "date_trunc('day', a)": True,
    "jsonb_set(a, '{x,y}', '1')": True,
    "jsonb_set(a, '{x}'::text[], to_jsonb(b))": True,
    "jsonb_set(a, '{x,-5}', '1')": False,
    "jsonb_set(a, '{x, 5}', '1')": False,
    "jsonb_set(a, b, '1')": False,
    "jsonb_set(a, '{x}', a)": False,
    "a + 1": False,
    "a || 'x'": False,
    "COALESCE(b, a)": False,
    "COALESCE(a, a + 1)": False,
    "COALESCE(a, (SELECT t.a FROM t AS t LIMIT 1))": False,
    "COALESCE(a, random())": False,
    "GREATEST(a, a + 1)": False,
    "lower(a || 'X')": False,
    "btrim(lower(a), 'x')": False,
    "replace(a, 'x', 'xx')": False,
    "COALESCE(to_jsonb(t), a)": False,
    "COALESCE(a, t.*)": False,
}
"""What a is set to, and whether the second time finds it as it is."""


@pytest.mark.parametrize("value", AGAIN)
def test_a_column_set_from_itself_may_settle(value: str) -> None:
    """Only where the expression gives of its own result the same."""
    assert known(f"UPDATE t SET a = {value} WHERE a <> 'z'").settled is AGAIN[value]
    assert not known(f"UPDATE t SET a = {value}, b = a").settled
    assert not known(f"UPDATE t SET a = b, b = {value}").settled


def test_a_limit_in_exists_is_idle() -> None:
    """One row answers; a limit of none, and one elsewhere, is not."""
    asks = "UPDATE t SET a = 1 WHERE EXISTS (SELECT 1 FROM u WHERE u.id = t.id {})"
    assert not known(asks.format("LIMIT 1")).fleeting
    assert known(asks.format("LIMIT 1")).rows == known(asks.format("")).rows
    assert known(asks.format("LIMIT 0")).fleeting
    assert known(asks.format("LIMIT 1 OFFSET 2")).fleeting
    assert known("UPDATE t SET a = 1 WHERE id IN (SELECT id FROM u LIMIT 1)").fleeting


@pytest.mark.parametrize("case", PARTS)
def test_parts(case: str) -> None:
    """Each part of a change is what the statement says, names unquoted, columns quoted in SQL."""
    sql, expected = PARTS[case]
    change = known(sql)
    assert {name: getattr(change, name) for name in expected} == expected


NOT_SETTLED = (
    "UPDATE t SET a = a + 1",
    "UPDATE t SET a = b, b = a",
    "UPDATE t SET (a, b) = (b, 1)",
    "UPDATE t SET a = now()",
    "UPDATE t SET a = DEFAULT",
    "UPDATE t SET a = CURRENT_DATE",
    "UPDATE t SET a = 'now'::timestamp",
    "UPDATE t SET a = nextval('q')",
    "UPDATE t SET a = 1 WHERE b < now()",
    "UPDATE t SET a = 1 FROM (SELECT random() AS r) AS x WHERE x.r > t.b",
    "UPDATE t SET a[1] = 2",
    "UPDATE t SET a.b = 2",
    "UPDATE t SET a = to_jsonb(t)",
    "UPDATE t AS x SET a = to_jsonb(x)",
    "UPDATE t SET a = (SELECT to_jsonb(y) FROM t AS y WHERE y.id = t.up)",
    "UPDATE t SET a = (SELECT x.a FROM t AS x WHERE x.id = t.up)",
    "UPDATE t SET a = (SELECT x.a FROM t AS x WHERE x.id = 1), b = (SELECT x.b FROM u AS x)",
    "UPDATE t SET a = length(x::text) FROM t AS x WHERE t.b IN (SELECT x.b FROM u AS x)",
    "UPDATE t SET a = (SELECT count(*) FROM t AS x NATURAL JOIN u)",
    "UPDATE t SET a = (SELECT max(b) FROM t AS x JOIN u USING (a))",
    "UPDATE t SET a = 1 WHERE id = (SELECT x.id FROM t AS x LIMIT 1)",
    "UPDATE t SET a = 1 WHERE id = (SELECT x.id FROM t AS x ORDER BY b LIMIT 1)",
    "UPDATE t SET a = (SELECT id FROM u LIMIT 1)",
    "UPDATE t SET a = 1 WHERE xmin::text::int > 5",
    "DELETE FROM t WHERE a = (SELECT min(a) FROM t)",
    "DELETE FROM t USING t AS x WHERE x.a = t.a AND x.ctid < t.ctid AND x.b < 2",
    "DELETE FROM t WHERE id NOT IN (SELECT x.up FROM t AS x)",
    "DELETE FROM t WHERE a < now()",
    "INSERT INTO t VALUES (1)",
    "INSERT INTO t DEFAULT VALUES",
    "INSERT INTO t (id) VALUES (gen_random_uuid()) ON CONFLICT (id) DO NOTHING",
    "INSERT INTO t (a) VALUES (1) ON CONFLICT (id) DO NOTHING",
    "INSERT INTO t (id) VALUES ('A') ON CONFLICT (lower(id)) DO NOTHING",
    "INSERT INTO t (id) VALUES (1) ON CONFLICT ON CONSTRAINT k DO NOTHING",
    "INSERT INTO t (id) SELECT max(id) + 1 FROM t ON CONFLICT (id) DO NOTHING",
    "INSERT INTO t (id, a) VALUES (1, 2) ON CONFLICT (id) DO UPDATE SET a = t.a + 1",
    "INSERT INTO t (id, a) VALUES (1, 2) ON CONFLICT (id) DO UPDATE SET a = 3",
    "INSERT INTO t (id, a) VALUES (1, 2) ON CONFLICT (id) DO UPDATE SET a = excluded.id",
    "INSERT INTO t (id, a) VALUES (1, 2) ON CONFLICT (id) DO UPDATE SET a = excluded.a + 1",
    "INSERT INTO t (id, a) VALUES (1, 2) ON CONFLICT (id) DO UPDATE SET b = excluded.b",
    "INSERT INTO t (id, a) VALUES (1, 2) ON CONFLICT (id) DO UPDATE SET b = (SELECT 1 FROM u)",
    "INSERT INTO t (id, a) VALUES (1, now()) ON CONFLICT (id) DO UPDATE SET a = 'now'",
    "INSERT INTO t (id, a) VALUES (1, b'1') ON CONFLICT (id) DO UPDATE SET a = b'1'",
    "INSERT INTO t (id, a) VALUES (1, 'x ') ON CONFLICT (id) DO UPDATE SET a = 'x'",
    "INSERT INTO t (id, a) VALUES (1, 2), (2, 3) ON CONFLICT (id) DO UPDATE SET a = 2",
    "INSERT INTO t (id, a) VALUES (1, NULL) ON CONFLICT (id) DO UPDATE SET a = now()",
    "INSERT INTO t (id, a) VALUES (1, DEFAULT) ON CONFLICT (id) DO UPDATE SET a = now()",
    "INSERT INTO t (id) VALUES (1) ON CONFLICT (id) DO UPDATE SET a = now()",
    "INSERT INTO t (id, a) VALUES (1, random()) ON CONFLICT (id) DO UPDATE SET a = excluded.a",
    "INSERT INTO t (id, a) SELECT id, b FROM u ON CONFLICT (id) DO UPDATE SET a = 2",
    "INSERT INTO t (id, a) SELECT id, 2 FROM t ON CONFLICT (id) DO UPDATE SET a = 2",
    "INSERT INTO t (id, a) SELECT 1, 2 UNION SELECT 2, 3 ON CONFLICT (id) DO UPDATE SET a = 2",
    (
        "INSERT INTO t (id, a) VALUES (1, now() - '1 day'::interval)"
        " ON CONFLICT (id) DO UPDATE SET a = now()"
    ),
    "SELECT nextval('q')",
    "SELECT setval('q', nextval('q') + 10)",
    "SELECT setval('q', (SELECT last_value + 10 FROM q))",
    "SELECT setval('q', extract(epoch FROM now())::int)",
)


@pytest.mark.parametrize("sql", NOT_SETTLED)
def test_what_a_second_run_would_change_again_is_not_settled(sql: str) -> None:
    """A value that depends on itself, on the clock, on chance or on where rows lie."""
    assert not known(sql).settled


def test_a_delete_that_found_partners_in_its_own_table_finds_no_more() -> None:
    """What is left had no partner among all the rows, so it has none among fewer."""
    assert known("DELETE FROM t USING t AS x WHERE x.a = t.a AND x.id < t.id").settled
    assert known("DELETE FROM t WHERE a IN (SELECT x.b FROM t AS x)").settled
    among = "EXISTS (SELECT FROM t AS x WHERE x.a = t.a AND x.id < t.id)"
    assert known(f"DELETE FROM t WHERE {among}").settled
    assert not known(f"DELETE FROM t WHERE NOT {among}").settled


def test_a_query_of_a_with_is_no_table() -> None:
    """It is known from there on, and in its own text a table of that name is meant."""
    found = known("WITH x AS (SELECT id FROM u) UPDATE t SET a = 1 WHERE id IN (SELECT id FROM x)")
    assert found.reads == {("u",)}
    found = known("WITH u AS (SELECT id FROM u) UPDATE t SET a = 1 FROM u WHERE t.id = u.id")
    assert found.reads == {("u",)}
    found = known("WITH x AS (TABLE y), y AS (TABLE x) UPDATE t SET a = 1 FROM y")
    assert found.reads == {("y",)}
    found = known("WITH RECURSIVE x AS (TABLE y), y AS (TABLE x) UPDATE t SET a = 1 FROM y")
    assert found.reads == set()
    found = known("UPDATE t SET a = 1 FROM (WITH x AS (TABLE u) TABLE x) AS y, x")
    assert found.reads == {("u",), ("x",)}
    found = known("WITH x AS (TABLE u) UPDATE t SET a = 1 FROM s.x")
    assert found.reads == {("u",), ("s", "x")}
    found = known("WITH x AS (TABLE u) INSERT INTO t (id) WITH z AS (TABLE x) TABLE z")
    assert found.reads == {("u",)}


MERGED = (
    "INSERT INTO t (id, a) VALUES (1, 2) ON CONFLICT (id) DO UPDATE SET a = excluded.a",
    "INSERT INTO t (id, a) VALUES (1, 2), (2, 2) ON CONFLICT (id) DO UPDATE SET a = 2",
    "INSERT INTO t (id, a) SELECT id, true FROM u ON CONFLICT (id) DO UPDATE SET a = true",
    "INSERT INTO t (id, a) VALUES (1, now()) ON CONFLICT (id) DO UPDATE SET a = excluded.a",
    "INSERT INTO t (id, a) VALUES (1, now()) ON CONFLICT (id) DO UPDATE SET a = CURRENT_TIMESTAMP",
    (
        "INSERT INTO t (id, a) SELECT id, LOCALTIMESTAMP(3) FROM u"
        " ON CONFLICT (id) DO UPDATE SET a = now()::timestamp"
    ),
)


@pytest.mark.parametrize("sql", MERGED)
def test_an_upsert_that_gives_what_a_new_row_is_given_is_settled(sql: str) -> None:
    """Constants, and the time: a later run of the whole would give that of then."""
    assert known(sql).settled


UNKNOWN = (
    "UPDATE t SET a = my_function(b)",
    "DELETE FROM t WHERE my_function(b)",
    "INSERT INTO t SELECT * FROM my_function()",
    "CALL my_procedure()",
    "TRUNCATE t CASCADE",
    "TRUNCATE t RESTART IDENTITY",
    "TRUNCATE t, u",
    "WITH x AS (DELETE FROM t RETURNING id) INSERT INTO t SELECT id FROM x",
    "WITH x AS (DELETE FROM t RETURNING id) INSERT INTO u SELECT id FROM t",
    "MERGE INTO t USING u ON t.id = u.id WHEN MATCHED THEN DELETE",
    "ALTER SEQUENCE q RESTART WITH 7",
)


@pytest.mark.parametrize("sql", UNKNOWN)
def test_nothing_is_claimed_of_what_may_do_more(sql: str) -> None:
    """A function of anybody's, rows of several tables that go, a counter reset."""
    assert change_of(sql) is None


QUERIES = {
    "UPDATE t SET a = 1 WHERE b = 2": f"SELECT {COLUMNS} FROM t WHERE b = 2",
    'UPDATE "S"."T x" AS o SET a = 1': f'SELECT {COLUMNS} FROM "S"."T x" o',
    "UPDATE ONLY t SET a = u.b FROM u WHERE u.id = t.id": (
        f"SELECT {COLUMNS} FROM ONLY t, u WHERE u.id = t.id"
    ),
    "DELETE FROM t USING u WHERE u.id = t.id": f"SELECT {COLUMNS} FROM t, u WHERE u.id = t.id",
    "WITH x AS (SELECT 1 AS i) DELETE FROM t USING x WHERE x.i = t.i": (
        f"WITH x AS (SELECT 1 AS i) SELECT {COLUMNS} FROM t, x WHERE x.i = t.i"
    ),
    "TRUNCATE t": f"SELECT {COLUMNS} FROM t",
    "INSERT INTO t (a) SELECT b FROM u": f'SELECT {COLUMNS} FROM (SELECT b FROM u) AS given("a")',
    "INSERT INTO t (a, b) SELECT gen_random_uuid(), u.b FROM u": (
        f'SELECT {COLUMNS} FROM (SELECT NULL, u.b FROM u) AS given("a", "b")'
    ),
    "INSERT INTO t (a, b) VALUES (gen_random_uuid(), 'x')": (
        f'SELECT {COLUMNS} FROM (VALUES (NULL, \'x\')) AS given("a", "b")'
    ),
    "INSERT INTO t (a, b) SELECT DISTINCT gen_random_uuid(), u.b FROM u": (
        f'SELECT {COLUMNS} FROM (SELECT DISTINCT gen_random_uuid(), u.b FROM u) AS given("a", "b")'
    ),
    "INSERT INTO t VALUES (1, 'x'), (2, DEFAULT)": (
        f"SELECT {COLUMNS} FROM (VALUES (1, 'x'), (2, NULL)) AS given"
    ),
    "INSERT INTO t DEFAULT VALUES": "",
    "INSERT INTO t (a) SELECT nextval('q') FROM u": "",
    "INSERT INTO t VALUES (1, nextval('q'))": "",
    "DELETE FROM t WHERE a = nextval('q')": "",
    "UPDATE t SET a = 1 WHERE set_config('x.y', '1', false) = '1'": "",
    "UPDATE t SET a = nextval('q') WHERE b": f"SELECT {COLUMNS} FROM t WHERE b",
}


@pytest.mark.parametrize("sql", QUERIES)
def test_the_rows_are_asked_for_in_the_words_of_the_statement(sql: str) -> None:
    """The query takes its tables, names and conditions as they are, unless asking would do more."""
    assert known(sql).rows == QUERIES[sql]


def test_a_picked_row_differs_by_what_it_would_be_given_as_text() -> None:
    """Equal is not the same: 1.0 is 1.00, and a case-blind text equals itself in capitals."""
    change = known("UPDATE t AS x SET a = 1, b = x.c WHERE x.d")
    assert change.differs == (
        f'"x"."a"::text IS DISTINCT FROM {HELD}"a"{HELD}1{HELD}::text OR '
        f'"x"."b"::text IS DISTINCT FROM {HELD}"b"{HELD}x.c{HELD}::text'
    )


ALIKE = {
    "INSERT INTO t (id, a) VALUES (1, 2) ON CONFLICT (id) DO NOTHING": (True, "id a"),
    "INSERT INTO t (id, a) VALUES (1, 2) ON CONFLICT (id) DO UPDATE SET a = 2": (True, "a"),
    "INSERT INTO t (id, a) VALUES (1, 2) ON CONFLICT (id) DO UPDATE SET a = 3": (False, "a"),
    "INSERT INTO t (id, a) VALUES (1, 2) ON CONFLICT (id) DO UPDATE SET a = t.a": (False, "a"),
    "INSERT INTO t (id) VALUES (1) ON CONFLICT (id) DO UPDATE SET b = t.b + 1": (False, "b?"),
    "INSERT INTO t (id, a, b) VALUES (1, 2, now())"
    " ON CONFLICT (id) DO UPDATE SET a = 2, b = now()": (False, "a b?"),
    "INSERT INTO t (id, b) VALUES (1, random())": (True, "id"),
    "INSERT INTO t VALUES (1)": (True, ""),
    "INSERT INTO t VALUES (random())": (False, ""),
}
"""Whether all that each sets is compared, and what is; with ? only that there is a value."""


@pytest.mark.parametrize("sql", ALIKE)
def test_a_row_is_compared_by_what_on_conflict_sets(sql: str) -> None:
    """Where it sets more than can be compared, like rows do not show that it wrote them."""
    shows, compared = ALIKE[sql]
    change = known(sql)
    assert shows_its_rows(change) is shows
    parts = [
        f'there."{name[0]}" IS NOT NULL'
        if name.endswith("?")
        else f'there."{name}"::text IS NOT DISTINCT FROM given."{name}"::text'
        for name in compared.split()
    ]
    assert alike(change) == (" AND ".join(parts) or "true")


@pytest.mark.parametrize(
    "sql",
    [
        "UPDATE t SET (a, b) = (SELECT 1, 2)",
        "UPDATE t SET a = DEFAULT",
        "UPDATE t SET a = nextval('q')",
    ],
)
def test_where_it_cannot_be_said_nothing_is(sql: str) -> None:
    """Values that stand elsewhere, or that to ask for would be to take, are not compared."""
    assert known(sql).differs == ""
