"""What may be run again is run again, on real rows: it must change nothing.

The statements are of every kind that `harmless` takes for repeatable, and of those that look
like them: constants that a type holds for equal, columns computed from others, keys that pass
on what happened to them, views, subqueries on the table itself.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache

import psycopg
import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from sidecar import script, snapshot
from sidecar.db import Session
from sidecar.harmless import repeatable
from sidecar.live_tables import understood
from sidecar.model import Facts, Script, Statement
from tests.postgres import Database, Row

EXAMPLES = 1500

TABLES = """
CREATE TABLE u (id INTEGER PRIMARY KEY, a INTEGER, b INTEGER, s TEXT, n NUMERIC(4, 1), w BOOLEAN);
CREATE TABLE t (
    id INTEGER PRIMARY KEY, a INTEGER, b INTEGER, s TEXT, n NUMERIC(4, 1), w BOOLEAN,
    g INTEGER GENERATED ALWAYS AS (a + 1) STORED,
    u_id INTEGER REFERENCES u ON DELETE SET NULL ON UPDATE CASCADE,
    up INTEGER REFERENCES t ON DELETE SET NULL ON UPDATE CASCADE
);
CREATE VIEW v AS SELECT id, a + 1 AS a, s FROM u;
"""

ROWS = """
SELECT jsonb_agg(t ORDER BY id)::text FROM t
UNION ALL SELECT jsonb_agg(u ORDER BY id)::text FROM u
"""

CONSTANTS = {
    "a": ("0", "1", "2", "'1'", "'01'", "NULL"),
    "b": ("0", "1", "2", "NULL"),
    "s": ("'x'", "'y'", "'X'", "'z'", "NULL"),
    "n": ("1", "1.0", "'1.0'", "'1.04'", "2", "NULL"),
    "w": ("true", "'t'", "'yes'", "false", "'0'", "NULL"),
}
COLUMNS = tuple(CONSTANTS)
OTHER = {"t": "u", "u": "t"}


def _values(table: str) -> list[tuple[str, str]]:
    """Columns and what an UPDATE may give them; `o` is the row of the other table beside it."""
    other = OTHER[table]
    one = f"{other}.id = {table}.id"
    found = [(c, value) for c, values in CONSTANTS.items() for value in values]
    for c in COLUMNS[:4]:
        queries = (
            f"SELECT max({other}.{c}) FROM {other}",
            f"SELECT {other}.{c} FROM {other} WHERE {one}",
            f"SELECT max(x.{c}) FROM {table} AS x WHERE x.id <> {table}.id",
        )
        found += [(c, f"({query})") for query in queries]
        found.append((c, f"o.{c}"))
    numbers = [
        *(f"{table}.{c}" for c in ("id", "a", "b")),
        *((f"{table}.g", f"{table}.up") if table == "t" else ()),
        f"{table}.a + 1",
        f"coalesce({table}.a, 0) + coalesce({table}.b, 1)",
        f"CASE WHEN {table}.a IS NULL THEN 1 ELSE {table}.b END",
        f"length(({table})::text)",
        f"(SELECT count(*) FROM {table} AS x WHERE x.b = 1)",
        f"(SELECT count(*) FROM {other} JOIN {other} AS x USING (b))",
        f"(SELECT count(*) FROM {other} NATURAL JOIN (SELECT 1 AS a) AS x)",
        f"(SELECT sum(v.a) FROM v WHERE v.id = {table}.id)",
        f"(SELECT length({other}::text) FROM {other} WHERE {one})",
    ]
    found += [(c, value) for c in ("a", "b") for value in numbers]
    found += [("s", f"{table}.s || 'x'"), ("s", f"upper({table}.s)"), ("id", f"{table}.id + 10")]
    found += [("u_id", value) for value in ("1", "2", "NULL")] if table == "t" else []
    return found


def _conditions(table: str) -> list[str]:
    """Conditions on a row of `table`."""
    other = OTHER[table]
    found = []
    for column, constants in CONSTANTS.items():
        some = [value for value in constants if value != "NULL"]
        found += [f"{table}.{column} = {value}" for value in some]
        found += [f"{table}.{column} IN ({some[0]}, {some[-1]})", f"{table}.{column} <> {some[1]}"]
        found += [f"{table}.{column} IS NULL", f"{table}.{column} IS NOT NULL"]
    found += [f"{table}.id = 1", f"{table}.id > 1", f"{table}.a = {table}.b"]
    found += [f"({table}.a = 1 OR {table}.s = 'x')", f"{table}.a IS DISTINCT FROM 1"]
    found += [f"(SELECT min(x.ctid) FROM {table} AS x) = {table}.ctid"]
    found += [f"{table}.id = (SELECT x.id FROM {table} AS x LIMIT 1)"]
    found += [f"{table}.id = (SELECT x.id FROM {table} AS x ORDER BY x.a LIMIT 1)"]
    found += [f"EXISTS (SELECT FROM {other} WHERE {other}.id = {table}.id AND {other}.a = 1)"]
    found += [f"NOT EXISTS (SELECT FROM {other} WHERE {other}.b = {table}.b)"]
    found += [f"{table}.id IN (SELECT {other}.b FROM {other})"]
    found += [f"NOT EXISTS (SELECT FROM {table} AS x WHERE x.a = {table}.a AND x.id < {table}.id)"]
    found += [f"{table}.id IN (SELECT v.a FROM v)"]
    return found + (["t.g = 2", "t.up IS NULL", "t.u_id IS NULL", "t.u_id = 1"] * (table == "t"))


VALUES = {table: _values(table) for table in OTHER}
CONDITIONS = {table: _conditions(table) for table in OTHER}


@st.composite
def updates(draw: st.DrawFn, table: str) -> str:
    """One or two columns set, of the rows that fulfil up to two conditions."""
    value = st.sampled_from(VALUES[table])
    targets = draw(st.lists(value, min_size=1, max_size=2, unique_by=lambda pair: pair[0]))
    beside = any(value.startswith("o.") for _, value in targets)
    found = [f"o.id = {table}.id"] if beside else []
    found += draw(st.lists(st.sampled_from(CONDITIONS[table]), max_size=2))
    source = f" FROM {OTHER[table]} AS o" if beside else ""
    where = f" WHERE {' AND '.join(found)}" if found else ""
    return f"UPDATE {table} SET {', '.join(f'{c} = {v}' for c, v in targets)}{source}{where}"


GROUPED = (
    "DELETE FROM {t} WHERE id NOT IN (SELECT min(x.id) FROM {t} AS x GROUP BY x.a)",
    "DELETE FROM {t} WHERE b = 1 AND id NOT IN (SELECT max(x.id) FROM {t} AS x GROUP BY x.a)",
    "DELETE FROM {t} USING {t} AS x WHERE x.a = {t}.a AND x.id < {t}.id",
    (
        "WITH r AS (SELECT id, row_number() OVER (PARTITION BY s ORDER BY b) AS n FROM {t}) "
        "DELETE FROM {t} WHERE id IN (SELECT id FROM r WHERE n > 1)"
    ),
    "DELETE FROM {t} WHERE id NOT IN (SELECT x.a FROM {t} AS x WHERE x.a IS NOT NULL)",
)


@st.composite
def deletes(draw: st.DrawFn, table: str) -> str:
    """Rows that fulfil up to two conditions, or that have a partner in the other table.

    Or all but one of each group.
    """
    if draw(st.integers(0, 3)) == 0:
        return draw(st.sampled_from(GROUPED)).format(t=table)
    beside = draw(st.booleans())
    found = [f"o.id = {table}.id", f"o.a = {table}.a"] if beside else []
    found += draw(st.lists(st.sampled_from(CONDITIONS[table]), max_size=2))
    source = f" USING {OTHER[table]} AS o" if beside else ""
    where = f" WHERE {' AND '.join(found)}" if found else ""
    return f"DELETE FROM {table}{source}{where}"


@st.composite
def inserts(draw: st.DrawFn, table: str) -> str:
    """One or two rows, or some of the other table's, with every sort of ON CONFLICT."""
    other, column = OTHER[table], draw(st.sampled_from(COLUMNS))
    constant = st.sampled_from(CONSTANTS[column])
    condition = st.sampled_from(CONDITIONS[other])
    source = draw(
        st.sampled_from(
            (
                f"VALUES ({draw(st.integers(1, 4))}, {draw(constant)})",
                f"VALUES (2, {draw(constant)}), (4, {draw(constant)})",
                f"SELECT id, {column} FROM {other}",
                f"SELECT id + 2, {column} FROM {other} WHERE {draw(condition)}",
                f"SELECT max(id) + 1, NULL FROM {table}",
            )
        )
    )
    conflict = draw(
        st.sampled_from(
            (
                " ON CONFLICT (id) DO NOTHING",
                f" ON CONFLICT (id) DO UPDATE SET {column} = EXCLUDED.{column}",
                f" ON CONFLICT (id) DO UPDATE SET {column} = {draw(constant)}",
                f" ON CONFLICT (id) DO UPDATE SET {column} = {draw(constant)}, w = true",
                " ON CONFLICT (id) DO UPDATE SET b = EXCLUDED.a",
                f" ON CONFLICT (id) DO UPDATE SET b = {table}.b + 1",
                f" ON CONFLICT (id) DO UPDATE SET s = EXCLUDED.s WHERE {table}.a = 1",
                " ON CONFLICT (id) DO UPDATE SET b = (SELECT count(*) FROM u)",
                "",
            )
        )
    )
    return f"INSERT INTO {table} (id, {column}) {source}{conflict}"


def statements() -> st.SearchStrategy[str]:
    """One statement on one of the tables; most are updates."""
    makers: Sequence[Callable[[str], st.SearchStrategy[str]]] = (
        updates, updates, updates, deletes, inserts,
    )  # fmt: skip
    return st.one_of([maker(table) for maker in makers for table in OTHER])


def _row(*more: Sequence[str]) -> st.SearchStrategy[str]:
    columns = [*CONSTANTS.values(), *more]
    return st.tuples(*map(st.sampled_from, columns)).map(", ".join)


def _rows(table: str, row: st.SearchStrategy[str], more: str = "") -> st.SearchStrategy[str]:
    """Two or three rows, whose ids count from 1."""
    into = f"INSERT INTO {table} (id, {', '.join(COLUMNS)}{more}) VALUES "
    return st.lists(row, min_size=2, max_size=3).map(
        lambda rows: into + ", ".join(f"({n}, {row})" for n, row in enumerate(rows, start=1))
    )


LINKS = (("NULL", "1", "2"), ("NULL", "1"))


@cache
def _parsed(text: str) -> Statement:
    return script.parse(text).statements[0]


class Bench:
    """Two tables, what the catalog says of them, and a session that runs and takes back."""

    def __init__(self, database: Database) -> None:
        database.execute(TABLES)
        self._connection: psycopg.Connection[Row] = database.connect()
        session = Session(self._connection)
        self._facts: Facts = snapshot.read(session, server_version=session.server_version)

    def repeatable(self, texts: Sequence[str]) -> bool:
        """Whether they are taken for harmless to repeat."""
        found = [replace(_parsed(text), index=n) for n, text in enumerate(texts, start=1)]
        whole = Script(text="", statements=tuple(found))
        return repeatable(understood(whole, self._facts).statements, inert=())

    def ends(self, rows: str, runs: Sequence[Sequence[str]]) -> list[list[Row]] | str:
        """How the tables end after each run from these rows, or why one cannot be run."""
        parts = [f"{'; '.join(run)}; {ROWS}; ROLLBACK TO here" for run in runs]
        found = []
        try:
            cursor = self._connection.execute(f"BEGIN; {rows}; SAVEPOINT here; {'; '.join(parts)}")
            while cursor.nextset():
                if cursor.description:
                    found.append(cursor.fetchall())
        except psycopg.DatabaseError as exc:
            return str(exc)
        finally:
            self._connection.execute("ROLLBACK")
        return found


@pytest.fixture
def bench(latest_database: Database) -> Bench:
    """The two tables in a database of the test's own."""
    return Bench(latest_database)


@settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    rows=st.tuples(_rows("u", _row()), _rows("t", _row(*LINKS), ", u_id, up")).map("; ".join),
    texts=st.lists(statements(), min_size=1, max_size=4),
)
def test_what_is_repeatable_can_be_run_again_from_any_point(
    bench: Bench, rows: str, texts: list[str]
) -> None:
    """The first few, and then all of them, leave the same rows as all of them once."""
    while texts and not bench.repeatable(texts):
        texts = texts[:-1]
    event(f"repeatable: {len(texts)}")
    if not texts:
        return
    clean = bench.ends(rows, [texts])
    if isinstance(clean, str):
        event("cannot run at all")
        return
    begun = [texts[:k] + texts for k in range(1, len(texts) + 1)]
    assert bench.ends(rows, begun) == clean * len(begun), ";\n".join([rows, *texts])
