"""Reading what rows show: transaction ids and counts, on real rows."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, replace
from typing import Any

import psycopg
import pytest

from sidecar.attempt_window import FAR, window
from sidecar.db import Session
from sidecar.embedded import bundled_bindir
from sidecar.id_reader import counter, marks, nothing_committed
from sidecar.model import FactKey, Ledger, LedgerRow, Marks, MigrationName, Seen, Window
from sidecar.row_reader import seen
from tests import incident
from tests.postgres import Database, fresh_database
from tests.unit.builders import OTHER, ledger_row, script_of

OLDEST_AND_NEWEST = pytest.mark.parametrize("server", [13, 18], indirect=True)

T, A = FactKey("table", "public.t", ""), FactKey("column", "a", "public.t")
KEY, INDEX = FactKey("constraint", "t_pkey", "public.t"), FactKey("index", "public.t_a", "public.t")
ENUM, VIEW = FactKey("type", "public.e", ""), FactKey("view", "public.v", "")

TABLE = "CREATE TABLE t (id INTEGER PRIMARY KEY, a INTEGER, s TEXT)"
OLD_ROWS = "INSERT INTO t VALUES (1, 1, 'x'), (2, 2, 'y'), (3, NULL, 'z')"
COUNT = "UPDATE t SET a = a + 1"
LINES = "INSERT INTO t (id, s) VALUES (8, 'p'), (9, 'q')"


@dataclass(frozen=True, slots=True)
class Attempt:
    """A database with a ledger in which a migration is being tried."""

    database: Database

    def do(self, *statements: str) -> None:
        """Run each in a transaction of its own (a text of several is one)."""
        with self.database.connect() as connection:
            for statement in statements:
                connection.execute(statement)

    def begin(self, name: str = "mine") -> None:
        """Write the row of an attempt."""
        self.do(
            "INSERT INTO _prisma_migrations (id, checksum, migration_name)"
            f" VALUES ('{name}', '', '{name}')"
        )

    def fail(self) -> None:
        """Write its error, as the engine does."""
        self.do("UPDATE _prisma_migrations SET logs = 'no' WHERE id = 'mine'")

    def session(self, user: str | None = None) -> Session:
        """A session like the program's own."""
        connection = self.database.connect()
        if user:
            connection.execute(f"SET SESSION AUTHORIZATION {user}")
        return Session(connection)

    def marks(self, *keys: FactKey, bare: Collection[FactKey] = ()) -> Marks:
        """The ages of the ledger's rows and of these facts."""
        return marks(self.session(), Ledger("public", ()), keys, bare)

    def window(self) -> Window:
        """Since the attempt began."""
        read = self.marks()
        return Window(read.now, read.ledger["mine"], -FAR, sharp=True, bounded=False)

    def quiet(self) -> bool:
        """Whether nobody has committed anything since the attempt began."""
        read, session = self.marks(), self.session()
        since = read.ledger["mine"]
        return nothing_committed(session, read, "mine", since=since, until=counter(session))

    def closed(self, since: Window) -> Window:
        """The window that opened then and closed with the error."""
        youngest = self.marks().ledger["mine"]
        late = self.marks()
        passed = int(late.now) - int(since.now)
        return replace(since, youngest=youngest - passed, bounded=True)

    def seen(
        self,
        sql: str,
        within: Window | None,
        *,
        key: tuple[str, ...] = (),
        start: dict[str, str] | None = None,
        path: str = "public",
        user: str | None = None,
    ) -> Seen:
        """What the rows show of this one statement."""
        statements = script_of(sql).statements
        change, keys = statements[0].change, {1: key} if key else {}
        starts = {1: {**dict.fromkeys(change.writes if change else (), "NULL"), **(start or {})}}
        found = seen(
            self.session(user), statements, within, keys=keys, starts=starts, search_path=path
        )
        return found[1]


def started(database: Database) -> Attempt:
    """An empty ledger with one migration before."""
    attempt = Attempt(database)
    attempt.do(incident.LEDGER)
    attempt.begin("before")
    return attempt


@pytest.fixture
def attempt(latest_database: Database) -> Attempt:
    """On one version."""
    return started(latest_database)


@pytest.fixture
def any_attempt(database: Database) -> Attempt:
    """On the versions that a test asks for."""
    return started(database)


# --- ages ------------------------------------------------------------------------


@OLDEST_AND_NEWEST
def test_ages_tell_the_order_of_what_was_written(any_attempt: Attempt) -> None:
    """Rows of the ledger and of the catalog, whatever has happened since."""
    any_attempt.do(TABLE, "CREATE INDEX t_a ON t (a)", "CREATE TYPE e AS ENUM ('a')")
    any_attempt.begin()
    any_attempt.do("CREATE VIEW v AS SELECT 1 AS one")
    found = any_attempt.marks(T, A, KEY, INDEX, ENUM, VIEW)
    facts, ledger = found.facts, found.ledger
    assert facts[T] == facts[A]
    assert facts.keys().isdisjoint({KEY, INDEX})  # REINDEX CONCURRENTLY writes them anew
    order = [ledger["before"], facts[T], facts[ENUM], ledger["mine"], facts[VIEW], 0]
    assert order == sorted(set(order), reverse=True)
    assert found.key is not None
    assert found.key > ledger["before"]
    assert not found.wrapped


def _fails(attempt: Attempt) -> None:
    with pytest.raises(psycopg.errors.DivisionByZero):
        attempt.do("INSERT INTO t SELECT 1 / one FROM generate_series(-1, 0) AS one")


def _elsewhere(attempt: Attempt) -> None:
    with attempt.database.server.connect() as connection:
        connection.execute("COMMENT ON DATABASE postgres IS 'of another database'")


@OLDEST_AND_NEWEST
@pytest.mark.parametrize(
    ("happened", "expected"),
    [
        (lambda _attempt: None, True),
        (lambda attempt: attempt.do("SELECT count(*) FROM t"), True),
        (lambda attempt: attempt.do("DELETE FROM t WHERE false"), True),
        (_fails, True),
        (lambda attempt: attempt.fail(), True),
        (lambda attempt: attempt.do("INSERT INTO t VALUES (1)"), False),
        (lambda attempt: attempt.do("DO $$ BEGIN EXECUTE 'CREATE TABLE u ()'; END $$"), False),
        (lambda attempt: attempt.do("SELECT setval('s', 5)"), False),
        (_elsewhere, False),
    ],
    ids=["nothing", "read", "no row", "failed", "logged", "insert", "block", "setval", "elsewhere"],
)
def test_nothing_was_committed_where_no_id_was_used_up_in_vain(
    any_attempt: Attempt, happened: Callable[[Attempt], None], *, expected: bool
) -> None:
    """What is read or fails leaves nothing; what is written leaves an id, wherever it was."""
    any_attempt.do("CREATE TABLE t (a INTEGER)", "CREATE SEQUENCE s")
    any_attempt.begin()
    happened(any_attempt)
    assert any_attempt.quiet() is expected


def test_what_is_still_at_work_counts_as_committed(attempt: Attempt) -> None:
    """It may commit while the rows are looked at."""
    attempt.do("CREATE TABLE t (a INTEGER)")
    attempt.begin()
    with attempt.database.connect() as connection, connection.transaction():
        connection.execute("INSERT INTO t VALUES (1)")
        _fails(attempt)
        assert not attempt.quiet()


def test_a_fact_that_is_not_there_has_no_age(attempt: Attempt) -> None:
    """Nor has one without a catalog row of its own."""
    assert attempt.marks(T, INDEX, VIEW, FactKey("privilege", "x", "y")).facts == {}


def test_names_in_capitals_and_with_blanks_are_dated(attempt: Attempt) -> None:
    """They come quoted, as facts have them."""
    attempt.do('CREATE SCHEMA "My App"', 'CREATE TABLE "My App"."T x" ("A ""b" INTEGER)')
    key = FactKey("column", '"A ""b"', '"My App"."T x"')
    assert set(attempt.marks(key).facts) == {key}


@OLDEST_AND_NEWEST
def test_freezing_and_rewriting_by_maintenance_keep_the_age(any_attempt: Attempt) -> None:
    """VACUUM FREEZE, VACUUM FULL and CLUSTER leave a row's transaction id as it is."""
    any_attempt.do(TABLE, OLD_ROWS)
    any_attempt.begin()
    any_attempt.do("UPDATE t SET a = 5 WHERE id = 1")
    for maintenance in ("VACUUM FREEZE t", "VACUUM FULL t", "CLUSTER t USING t_pkey"):
        any_attempt.do(maintenance)
        found = any_attempt.seen("UPDATE t SET a = a + 1", any_attempt.window())
        assert (found.picked, found.older, found.fresh) == (3, 2, 1), maintenance


@OLDEST_AND_NEWEST
def test_a_column_without_a_default_is_dated_whatever_rewrote_its_table(
    any_attempt: Attempt,
) -> None:
    """No rewriting touches its row in the catalog; it may that of one with a default."""
    bare = FactKey("column", "b", "public.t")
    any_attempt.do(TABLE, OLD_ROWS, "ALTER TABLE t ALTER a TYPE BIGINT", "ALTER TABLE t ADD b INT")
    any_attempt.begin()
    for maintenance in ("SELECT 1", "VACUUM FULL t", "CLUSTER t USING t_pkey", "VACUUM FREEZE"):
        any_attempt.do(maintenance)
        assert any_attempt.marks(bare).facts == {}, maintenance
        read = any_attempt.marks(bare, bare=[bare])
        assert read.facts[bare] > read.ledger["mine"], maintenance


@OLDEST_AND_NEWEST
def test_a_dropped_column_keeps_the_age_of_its_drop(any_attempt: Attempt) -> None:
    """Whatever maintenance and other changes do to its table."""
    any_attempt.do(TABLE, "ALTER TABLE t ADD b INT DEFAULT 7, ADD c INT", OLD_ROWS)
    any_attempt.do("ALTER TABLE t DROP b")
    any_attempt.begin()
    any_attempt.do("ALTER TABLE t DROP c", "ALTER TABLE t ALTER a TYPE BIGINT", "ANALYZE t")
    for maintenance in ("SELECT 1", "VACUUM FREEZE", "VACUUM FULL t", "VACUUM FULL pg_attribute"):
        any_attempt.do(maintenance)
        read = any_attempt.marks(A)
        mine, found = read.ledger["mine"], read.dropped["public.t"]
        young, old = sorted(found.ages)
        assert young < mine < old < found.table, maintenance


def test_a_table_that_lost_no_column_says_so(attempt: Attempt) -> None:
    """And one that is not there says nothing."""
    attempt.do(TABLE)
    read = attempt.marks(A, FactKey("column", "a", "public.nowhere"))
    assert {table: found.ages for table, found in read.dropped.items()} == {"public.t": frozenset()}


def test_a_changed_type_makes_all_rows_new(attempt: Attempt) -> None:
    """ALTER COLUMN TYPE writes the table anew: no row is older, and its columns have no date."""
    attempt.do(TABLE, OLD_ROWS)
    attempt.begin()
    attempt.do("ALTER TABLE t ALTER a TYPE BIGINT")
    assert attempt.marks(A).facts == {}
    found = attempt.seen(COUNT, attempt.window())
    assert (found.older, found.fresh) == (0, 3)


def test_reading_uses_no_transaction_id(attempt: Attempt) -> None:
    """It leaves no trace, not even that."""
    attempt.do(TABLE, OLD_ROWS)
    attempt.begin()
    within = attempt.window()
    attempt.seen(COUNT, within)
    attempt.seen(LINES, within, key=('"id"',))
    assert attempt.marks().now == within.now


# --- updates and deletes ---------------------------------------------------------


@OLDEST_AND_NEWEST
@pytest.mark.parametrize("sql", [COUNT, "DELETE FROM t", "TRUNCATE t"])
def test_rows_that_nobody_wrote_are_older(any_attempt: Attempt, sql: str) -> None:
    """The statement has not run."""
    any_attempt.do(TABLE, OLD_ROWS)
    any_attempt.begin()
    found = any_attempt.seen(sql, any_attempt.window())
    pending = 2 if sql == COUNT else 3  # of NULL, one more is NULL again
    assert (found.picked, found.pending, found.older, found.fresh) == (3, pending, 3, 0)


@OLDEST_AND_NEWEST
def test_rows_that_the_statement_wrote_are_of_one_writer(any_attempt: Attempt) -> None:
    """All within the window, none older."""
    any_attempt.do(TABLE, OLD_ROWS)
    any_attempt.begin()
    any_attempt.do(COUNT)
    found = any_attempt.seen(COUNT, any_attempt.window())
    assert (found.picked, found.older, found.writers, found.fresh) == (3, 0, 1, 3)


def test_subtransactions_have_ids_of_their_own(attempt: Attempt) -> None:
    """What one transaction wrote in two savepoints looks like two writers."""
    attempt.do(TABLE, OLD_ROWS)
    attempt.begin()
    attempt.do(f"BEGIN; {COUNT} WHERE id = 1; SAVEPOINT s; {COUNT} WHERE id > 1; COMMIT")
    assert attempt.seen(COUNT, attempt.window()).writers == 2


def test_a_second_writer_is_counted(attempt: Attempt) -> None:
    """One row changed by somebody else within the window."""
    attempt.do(TABLE, OLD_ROWS)
    attempt.begin()
    attempt.do(COUNT, "UPDATE t SET s = s WHERE id = 2")
    found = attempt.seen(COUNT, attempt.window())
    assert (found.older, found.writers) == (0, 2)


def test_rows_written_after_the_window_are_nobodys(attempt: Attempt) -> None:
    """Then it is not said how many wrote them; and they still count as written since."""
    attempt.do(TABLE, OLD_ROWS)
    attempt.begin()
    within = attempt.window()
    attempt.do(COUNT)
    attempt.fail()
    assert attempt.seen(COUNT, attempt.closed(within)).writers == 1
    attempt.do("UPDATE t SET s = s")
    found = attempt.seen(COUNT, attempt.closed(within))
    assert (found.older, found.writers, found.fresh) == (0, None, 3)


def test_a_transaction_that_began_before_leaves_rows_that_look_old(attempt: Attempt) -> None:
    """Its id is older than the attempt, whenever it writes: few such rows prove nothing."""
    attempt.do(TABLE, OLD_ROWS)
    rival = attempt.database.connect()
    rival.execute("BEGIN; SELECT pg_current_xact_id()")
    attempt.begin()
    attempt.do(COUNT)
    rival.execute("UPDATE t SET s = 'rival' WHERE id = 1; COMMIT")
    found = attempt.seen(COUNT, attempt.window())
    assert (found.picked, found.older) == (3, 1)


PENDING = {
    "other values": ("UPDATE t SET a = 1", 2),
    "the same values": ("UPDATE t SET s = s", 0),
    "NULL for NULL": ("UPDATE t SET a = NULL WHERE id = 3", 0),
    "of a join": ("UPDATE t SET a = o.a FROM t AS o WHERE o.id = t.id", 0),
    "a type that ignores case": ("UPDATE odd SET c = lower(c)", 1),
    "a number of another scale": ("UPDATE odd SET n = 1.0", 1),
    "a number of the column's type": ("UPDATE odd SET n = 1.00", 0),
    "a number that is padded": ("UPDATE odd SET p = 1.5", 0),
    "a number that is rounded": ("UPDATE odd SET p = 1.50004", 0),
    "a number that is another": ("UPDATE odd SET p = 1.50005", 1),
    "a computed number": ("UPDATE odd SET p = n * 3 / 2", 0),
    "JSON": ("""UPDATE odd SET j = '{"a": 1}'""", 0),
    "other JSON": ("""UPDATE odd SET j = '{"a":1}'""", 1),
    "JSON by its meaning": ("""UPDATE odd SET b = '{"a":1}'""", 0),
    "an enum": ("UPDATE odd SET e = 'a'", 0),
    "a day": ("UPDATE odd SET d = '2020-1-2'", 0),
    "a domain's own text": ("UPDATE odd SET w = 'yes'", 0),
    "a generated column": ("UPDATE odd SET n = g", 1),
}
ODD = """
CREATE EXTENSION citext;
CREATE TYPE e AS ENUM ('a', 'b');
CREATE TABLE odd (
    c CITEXT, n NUMERIC, j JSON, b JSONB, e e, d DATE, w BOOLEAN,
    p NUMERIC(9, 4) DEFAULT 1.5, g NUMERIC GENERATED ALWAYS AS (n + 1) STORED
);
INSERT INTO odd VALUES ('ABC', 1.00, '{"a": 1}', '{"a": 1}', 'a', '2020-01-02', true)
"""


@pytest.mark.parametrize("case", PENDING)
def test_rows_that_would_become_others(attempt: Attempt, case: str) -> None:
    """Compared as text in the column's type: what a dump would show."""
    sql, pending = PENDING[case]
    attempt.do(TABLE, OLD_ROWS, ODD)
    assert attempt.seen(sql, None).pending == pending


# --- what a statement before it left ---------------------------------------------

ALL, SOME = "UPDATE t SET a = 5", "UPDATE t SET s = 'q' WHERE id < 3"


@pytest.mark.parametrize(
    ("ran", "expected"),
    [
        ((), None),
        ((ALL,), 2),
        ((ALL, SOME), None),
        ((ALL, "UPDATE t SET s = 'q' WHERE id = 1"), None),
        (("UPDATE t SET a = 5 WHERE id > 1",), None),
        ((ALL + "; " + SOME,), 0),
    ],
    ids=["neither", "the first", "both", "another", "in part", "at once"],
)
def test_rows_are_seen_as_the_statement_before_left_them(
    attempt: Attempt, ran: tuple[str, ...], expected: int | None
) -> None:
    """One transaction wrote all rows that the first picks; the second would write some of them."""
    attempt.do(TABLE, OLD_ROWS)
    attempt.begin()
    attempt.do(*ran)
    script = script_of(ALL, SOME)
    none: dict[int, Any] = {1: {}, 2: {}}
    found = seen(
        attempt.session(), script.statements, attempt.window(), keys={}, starts=none,
        search_path="public",
    )  # fmt: skip
    assert found[2].left == expected


# --- inserts ---------------------------------------------------------------------


@OLDEST_AND_NEWEST
def test_the_rows_of_an_insert_that_ran_are_matched(any_attempt: Attempt) -> None:
    """One transaction wrote just these; its age is told."""
    any_attempt.do(TABLE, OLD_ROWS)
    any_attempt.begin()
    found = any_attempt.seen(LINES, any_attempt.window(), key=('"id"',))
    assert (found.picked, found.pending, found.same) == (2, 2, 0)
    assert (found.fresh, found.matched) == (0, None)
    any_attempt.do(LINES)
    within = any_attempt.window()
    found = any_attempt.seen(LINES, within, key=('"id"',))
    assert (found.picked, found.pending, found.same) == (2, 0, 2)
    assert (found.fresh, found.matched) == (2, within.oldest - 1)


def test_new_uuids_do_not_hide_the_rows_of_an_insert(attempt: Attempt) -> None:
    """It casts them to TEXT itself, which a query for its rows does not."""
    attempt.do("CREATE TABLE m (id TEXT PRIMARY KEY, a INTEGER UNIQUE)", TABLE, OLD_ROWS)
    attempt.begin()
    insert = "INSERT INTO m (id, a) SELECT gen_random_uuid(), id FROM t"
    found = attempt.seen(insert, attempt.window(), key=('"a"',))
    assert (found.picked, found.pending, found.fresh) == (3, 3, 0)
    attempt.do(insert)
    within = attempt.window()
    found = attempt.seen(insert, within, key=('"a"',))
    assert (found.pending, found.same, found.matched) == (0, 3, within.oldest - 1)


def test_columns_that_have_been_set_are_told_from_those_that_hold_their_default(
    attempt: Attempt,
) -> None:
    """Compared in the column's own type; where nothing is known of a default, nothing is told."""
    attempt.do(TABLE, OLD_ROWS)
    attempt.begin()
    attempt.do("ALTER TABLE t ADD x TEXT[] NOT NULL DEFAULT '{}', ADD y JSON DEFAULT '{}'")
    sql, start = "UPDATE t SET x = ARRAY['a'] WHERE id = 1", {"x": "'{}'::text[]"}
    assert attempt.seen(sql, None, start=start).filled == 0
    attempt.do(sql)
    assert attempt.seen(sql, None, start=start).filled == 1
    assert attempt.seen(sql, None).filled == 3
    json = {"y": "'{}'::json"}
    assert attempt.seen("UPDATE t SET y = NULL", None, start=json).filled is None


NOT_MATCHED: dict[str, tuple[str, ...]] = {
    "one row more": ("BEGIN; " + LINES + "; INSERT INTO t (id) VALUES (7); COMMIT",),
    "one row less": ("INSERT INTO t (id, s) VALUES (8, 'p')",),
    "another value": ("INSERT INTO t (id, s) VALUES (8, 'p'), (9, 'other')",),
    "in two transactions": (
        "INSERT INTO t (id, s) VALUES (8, 'p')",
        "INSERT INTO t (id, s) VALUES (9, 'q')",
    ),
    "changed since": (LINES, "UPDATE t SET a = 5 WHERE id = 8"),
    "in a subtransaction": (
        f"BEGIN; {LINES.partition(', (9')[0]}; SAVEPOINT s; INSERT INTO t VALUES (9, 1, 'q'); END",
    ),
}


@pytest.mark.parametrize("case", NOT_MATCHED)
def test_rows_that_are_not_just_those_are_not_matched(attempt: Attempt, case: str) -> None:
    """Somebody else may have written them."""
    attempt.do(TABLE, OLD_ROWS)
    attempt.begin()
    attempt.do(*NOT_MATCHED[case])
    assert attempt.seen(LINES, attempt.window()).matched is None


def test_the_same_rows_twice_are_not_matched(attempt: Attempt) -> None:
    """Which of the two was it."""
    attempt.do("CREATE TABLE t (a INTEGER)")
    attempt.begin()
    attempt.do("INSERT INTO t (a) VALUES (1)", "INSERT INTO t (a) VALUES (1)")
    assert attempt.seen("INSERT INTO t (a) VALUES (1)", attempt.window()).matched is None


def test_a_null_in_the_key_is_never_there(attempt: Attempt) -> None:
    """NULL equals nothing: such rows would come again each time."""
    attempt.do("CREATE TABLE t (a INTEGER UNIQUE)", "INSERT INTO t VALUES (NULL), (1)")
    found = attempt.seen("INSERT INTO t (a) VALUES (NULL), (1)", None, key=('"a"',))
    assert (found.picked, found.pending, found.same) == (2, None, None)


@OLDEST_AND_NEWEST
def test_values_of_every_sort_of_type_are_compared(any_attempt: Attempt) -> None:
    """JSON has no equality, a generated column no value, a default another one each time."""
    any_attempt.do(ODD, "ALTER TABLE odd ADD id UUID DEFAULT gen_random_uuid(), ADD f CHAR(3)")
    any_attempt.begin()
    sql = """INSERT INTO odd (c, n, j, b, e, d, w, f)
VALUES ('x', 2.5, '{"b": [1]}', '{"b":[1]}', 'b', '2021-02-03', 'no', 'f')"""
    any_attempt.do(sql)
    assert any_attempt.seen(sql, any_attempt.window()).matched is not None


# --- values as the columns hold them ---------------------------------------------

KINDS = """
CREATE EXTENSION citext;
CREATE TYPE e AS ENUM ('a', 'b');
CREATE TYPE pair AS (s VARCHAR(3), n NUMERIC(5, 2));
CREATE DOMAIN short AS VARCHAR(3);
CREATE DOMAIN shorts AS VARCHAR(3)[];
CREATE DOMAIN cents AS NUMERIC(5, 2) NOT NULL;
CREATE DOMAIN doc AS JSON
"""
HELD: dict[str, tuple[str, str]] = {
    "a decimal of Prisma": ("NUMERIC(65, 30)", "0.00001"),
    "a rounded number": ("NUMERIC(5, 2)", "1.234"),
    "a number for an integer": ("INTEGER", "10.0 / 4"),
    "a number for a float": ("REAL", "0.1"),
    "numbers": ("NUMERIC(5, 2)[]", "'{{1.234}, {NULL}}'"),
    "a typed number": ("cents", "1.234"),
    "a moment": ("TIMESTAMP(3)", "'2024-01-01T00:00:00.1239Z'"),
    "a moment of a zone": ("TIMESTAMP(3)", "TIMESTAMPTZ '2024-01-01 10:00:00.1239+05'"),
    "a moment in a zone": ("TIMESTAMPTZ(0)", "'2024-01-01 10:00:00.5+05'"),
    "a day of a moment": ("DATE", "TIMESTAMP '2024-01-01 10:00:00'"),
    "a time": ("TIME(0)", "'10:00:00.6'"),
    "an interval": ("INTERVAL MINUTE", "'1 day 02:03:04'"),
    "blanks beyond its length": ("VARCHAR(3)", "'ab     '"),
    "blanks before its end": ("CHAR(3)", "'a'"),
    "blanks in a list": ("VARCHAR(3)[]", "ARRAY['ab     ', NULL, '']"),
    "blanks for a domain": ("short", "'abc    '"),
    "blanks for domains": ("short[]", "ARRAY['abc    ']"),
    "blanks for a domain of a list": ("shorts", "'{\"abc    \"}'"),
    "bits": ("BIT(3)", "B'101'"),
    "up to some bits": ("BIT VARYING(5)", "B'101'"),
    "a composite": ("pair", "ROW('abc', 1.234)"),
    "text of a number": ("TEXT", "7"),
    "text of an enum": ("TEXT", "'a'::e"),
    "a text that ignores case": ("CITEXT", "'Ab'"),
    "an enum": ("e", "'a'"),
    "enums": ("e[]", "'{a,b}'"),
    "JSON": ("JSON", """'{"b":1, "a": 2}'"""),
    "JSON by its meaning": ("JSONB", """'{"b":1, "a": 2}'"""),
    "JSON that is null": ("JSONB", "'null'"),
    "JSON of a domain": ("doc", "'[1,  2]'"),
    "bytes": ("BYTEA", r"'\x00ff'"),
    "a yes": ("BOOLEAN", "'yes'"),
    "quotes": ("VARCHAR(9)", r"""'"\{''e'"""),
}


def _kind(attempt: Attempt, type_name: str) -> None:
    attempt.do(KINDS, f'CREATE TABLE "K" (gone TEXT, id INTEGER PRIMARY KEY, "A b" {type_name})')
    attempt.do('ALTER TABLE "K" DROP gone')
    attempt.begin()


@OLDEST_AND_NEWEST
@pytest.mark.parametrize("case", HELD)
def test_what_was_given_is_the_same_as_what_is_held(any_attempt: Attempt, case: str) -> None:
    """As PostgreSQL itself put it into the column: padded, rounded, without blanks."""
    type_name, value = HELD[case]
    insert, update = f'INSERT INTO "K" (id, "A b") VALUES (1, {value})', 'UPDATE "K" SET "A b" = '
    _kind(any_attempt, type_name)
    any_attempt.do(insert)
    within = any_attempt.window()
    found = any_attempt.seen(insert, within, key=('"id"',))
    assert (found.pending, found.same, found.matched) == (0, 1, within.oldest - 1)
    assert any_attempt.seen(f'INSERT INTO "K" SELECT 1, {value}', within).matched is not None
    assert any_attempt.seen(update + value, within).pending == 0
    any_attempt.do('ALTER TABLE "K" ADD other TEXT', 'DELETE FROM "K"')
    any_attempt.do(f'INSERT INTO "K" VALUES (1, {OTHERS.get(type_name, "NULL")})')
    found = any_attempt.seen(insert, within, key=('"id"',))
    assert (found.pending, found.same, found.matched) == (0, 0, None)
    assert any_attempt.seen(update + value, within).pending == 1


OTHERS = {"cents": "1.24"}

REFUSED: dict[str, tuple[str, str, str]] = {
    "a longer text": ("VARCHAR(3)", "'abcd'", "'abc'"),
    "a longer text with blanks": ("CHAR(3)", "'abcd'", "'abc'"),
    "a longer text in a list": ("VARCHAR(3)[]", "'{abcd}'", "'{abc}'"),
    "a longer text for a domain": ("short", "'abcd'", "'abc'"),
    "longer texts for domains": ("short[]", "ARRAY['abcd']", "'{abc}'"),
    "longer texts for a domain": ("shorts", "ARRAY['abcd']", "'{abc}'"),
    "a longer text in a composite": ("pair", "ROW('abcd', 1)", "'(abc,1)'"),
    "more bits": ("BIT(3)", "B'1011'", "B'101'"),
    "fewer bits": ("BIT(3)", "B'1'", "B'100'"),
    "more bits than allowed": ("BIT VARYING(3)", "B'1011'", "B'101'"),
    "a larger number": ("NUMERIC(5, 2)", "1000", "999.99"),
}


@OLDEST_AND_NEWEST
@pytest.mark.parametrize("case", REFUSED)
def test_what_the_column_refuses_is_the_same_as_nothing(any_attempt: Attempt, case: str) -> None:
    """Even where a cast would make of it just what is there."""
    type_name, value, there = REFUSED[case]
    insert = f'INSERT INTO "K" (id, "A b") VALUES (1, {value})'
    _kind(any_attempt, type_name)
    with pytest.raises(psycopg.errors.DataError):
        any_attempt.do(insert)
    any_attempt.do(f'INSERT INTO "K" VALUES (1, {there})')
    found = any_attempt.seen(insert, any_attempt.window(), key=('"id"',))
    assert (found.picked, found.same, found.matched) == (1, None, None)
    update = any_attempt.seen(f'UPDATE "K" SET "A b" = {value}', any_attempt.window())
    assert (update.picked, update.pending) == (1, None)


GIVEN: dict[str, tuple[str, int]] = {
    "NULL first": ("INSERT INTO p (id, n) VALUES (1, NULL), (2, 0.5), (3, '7')", 3),
    "a default": ("INSERT INTO p (id, n, w) VALUES (1, 0.5, DEFAULT)", 1),
    "no names": ("INSERT INTO p VALUES (1, 0.5, 'x'), (2, 1, 'y')", 2),
    "no names and no rows": ("INSERT INTO p SELECT id, a, s FROM t WHERE false", 0),
    "a query": ("INSERT INTO p (w, n, id) SELECT a, a / 3.0, id FROM t", 3),
    "queries": ("INSERT INTO p (id, n) SELECT 1, 2.5 UNION ALL SELECT id + 5, a FROM t", 4),
    "a query by name": ("WITH x AS (SELECT 1 AS i) INSERT INTO p (id, n) SELECT i, 0.1 FROM x", 1),
    "an upsert": (
        "INSERT INTO p AS q (id, n) VALUES (1, 0.5) ON CONFLICT (id) DO UPDATE SET n = EXCLUDED.n",
        1,
    ),
}


@OLDEST_AND_NEWEST
@pytest.mark.parametrize("case", GIVEN)
def test_rows_are_held_however_they_are_given(any_attempt: Attempt, case: str) -> None:
    """As values, in a query, by a named query, and without the names of the columns."""
    insert, rows = GIVEN[case]
    made = "CREATE TABLE p (id INTEGER PRIMARY KEY, n NUMERIC(65, 30), w VARCHAR(5) DEFAULT 'w')"
    any_attempt.do(TABLE, OLD_ROWS, made)
    any_attempt.begin()
    key = () if "no names" in case else ('"id"',)
    found = any_attempt.seen(insert, any_attempt.window(), key=key)
    assert (found.picked, found.pending, found.same) == (rows, rows, 0) or not key
    any_attempt.do(insert)
    found = any_attempt.seen(insert, any_attempt.window(), key=key)
    assert (found.pending, found.same) == ((0, rows) if key else (None, None))
    assert (found.matched is not None) is (rows > 0)
    any_attempt.do("UPDATE p SET n = n + 1")
    assert any_attempt.seen(insert, any_attempt.window(), key=key).matched is None


def test_values_are_rounded_before_they_are_looked_up(attempt: Attempt) -> None:
    """A key of TIMESTAMP(3) is there under the milliseconds that it holds."""
    attempt.do("CREATE TABLE k (at TIMESTAMP(3) PRIMARY KEY, s VARCHAR(3))")
    insert = "INSERT INTO k (at, s) VALUES ('2024-01-01 00:00:00.1239', 'a')"
    attempt.do(insert)
    found = attempt.seen(insert, None, key=('"at"',))
    assert (found.picked, found.pending, found.same) == (1, 0, 1)


def test_values_are_held_by_the_table_below_a_view(attempt: Attempt) -> None:
    """Whose columns have the same types, one that is computed among them."""
    table = "CREATE TABLE k (n NUMERIC(9, 4), g NUMERIC(9, 3) GENERATED ALWAYS AS (n) STORED)"
    attempt.do(table, "CREATE VIEW v AS SELECT n FROM k", "INSERT INTO k VALUES (0.5), (1.5)")
    assert attempt.seen("UPDATE v SET n = 0.5", None).pending == 1
    assert attempt.seen("UPDATE k SET n = g", None).pending == 0


# --- where nothing can be read, nothing is said ----------------------------------


def test_what_cannot_be_asked_stays_open(attempt: Attempt) -> None:
    """A table that is gone, a column that is, a view without transaction ids."""
    attempt.do(TABLE, OLD_ROWS, "CREATE VIEW v AS SELECT * FROM t")
    attempt.begin()
    within = attempt.window()
    assert _nothing_is_said(attempt.seen("UPDATE gone SET a = a + 1", within))
    assert attempt.seen("UPDATE t SET a = a + gone", within).pending is None
    assert _nothing_is_said(attempt.seen("INSERT INTO gone VALUES (1)", within))
    found = attempt.seen("UPDATE v SET a = a + 1", within)
    assert (found.older, found.writers, found.fresh) == (None, None, None)


@pytest.mark.parametrize("how", ["no right", "row security"])
def test_rows_that_may_not_be_seen_are_not_counted(attempt: Attempt, how: str) -> None:
    """Not as though they were not there."""
    role = attempt.database.role(owner=False).name
    attempt.do(TABLE, OLD_ROWS, f"GRANT USAGE ON SCHEMA public TO {role}")
    attempt.begin()
    if how == "row security":
        attempt.do(f"GRANT SELECT ON t TO {role}", "ALTER TABLE t ENABLE ROW LEVEL SECURITY")
    assert _nothing_is_said(attempt.seen(COUNT, attempt.window(), user=role))
    assert attempt.seen(LINES, attempt.window(), user=role).fresh is None


def _nothing_is_said(found: Seen) -> bool:
    counts = (found.picked, found.pending, found.same, found.older, found.writers, found.fresh)
    return counts == (None,) * 6 and found.matched is None


# --- other shapes of tables and names --------------------------------------------


@OLDEST_AND_NEWEST
def test_the_rows_of_partitions_and_heirs_are_their_parents(any_attempt: Attempt) -> None:
    """Counted through the parent, and alone where the statement says ONLY."""
    any_attempt.do(
        "CREATE TABLE t (id INTEGER, a INTEGER) PARTITION BY LIST (id)",
        "CREATE TABLE t1 PARTITION OF t FOR VALUES IN (1)",
        "CREATE TABLE t2 PARTITION OF t DEFAULT",
        "INSERT INTO t VALUES (1, 1), (2, 2)",
        "CREATE TABLE p (a INTEGER)",
        "CREATE TABLE c () INHERITS (p)",
        "INSERT INTO p VALUES (1)",
        "INSERT INTO c VALUES (2), (3)",
    )
    any_attempt.begin()
    any_attempt.do("INSERT INTO t VALUES (3, 3)")
    within = any_attempt.window()
    found = any_attempt.seen(COUNT, within)
    assert (found.picked, found.older, found.fresh) == (3, 2, 1)
    assert any_attempt.seen("INSERT INTO t (id, a) VALUES (3, 3)", within).matched is not None
    assert any_attempt.seen("UPDATE p SET a = a + 1", within).picked == 3
    assert any_attempt.seen("UPDATE ONLY p SET a = a + 1", within).picked == 1


def test_names_mean_what_they_mean_to_the_script(attempt: Attempt) -> None:
    """Unqualified ones are looked up in its search path; capitals and blanks are kept."""
    attempt.do(
        'CREATE SCHEMA "My App"',
        'CREATE TABLE "My App"."Order" ("Id" INTEGER UNIQUE, "full name" TEXT)',
        "INSERT INTO \"My App\".\"Order\" VALUES (1, 'a'), (2, 'b')",
        'CREATE TABLE "Order" ("Id" INTEGER, "full name" TEXT)',
    )
    attempt.begin()
    path = '"My App"'
    sql = 'UPDATE "Order" SET "full name" = "full name" || 1 WHERE "Id" > 1'
    found = attempt.seen(sql, attempt.window(), path=path)
    assert (found.picked, found.older, found.fresh) == (1, 1, 0)
    assert attempt.seen(sql, attempt.window()).picked == 0
    sql = """INSERT INTO "Order" ("Id", "full name") VALUES (2, 'b'), (3, 'c')"""
    found = attempt.seen(sql, attempt.window(), path=path, key=('"Id"',))
    assert (found.picked, found.pending, found.same) == (2, 1, 1)


# --- restored databases ----------------------------------------------------------


@pytest.fixture
def other_database(latest_database: Database) -> Iterator[Database]:
    """A second one on the same server."""
    with fresh_database(latest_database.server) as database:
        yield database


RESTORED = {
    "--format=plain": "the ledger was restored: its rows are of one transaction",
    "--inserts": "the ledger was restored: its key is younger than its rows",
}


@pytest.mark.parametrize("how", RESTORED)
@pytest.mark.parametrize("failed", [False, True], ids=["killed", "error"])
def test_a_restored_dump_is_recognised(
    attempt: Attempt, other_database: Database, how: str, failed: bool
) -> None:
    """Its transaction ids are those of the restore, and say nothing of the attempt."""
    attempt.do(TABLE, OLD_ROWS)
    attempt.begin()
    attempt.do(COUNT)
    if failed:
        attempt.fail()
    _copy(attempt.database, other_database, how)
    assert _window_of(attempt, failed=failed) == replace(
        _sharp(attempt, failed=failed), now=attempt.marks().now
    )
    assert _window_of(Attempt(other_database), failed=failed) == RESTORED[how]


def _copy(source: Database, target: Database, how: str) -> None:
    dump = [str(bundled_bindir() / "pg_dump"), how, "--dbname", source.conninfo]
    text = subprocess.run(dump, check=True, capture_output=True).stdout
    restore = [
        str(bundled_bindir() / "psql"),
        "--no-psqlrc",
        "--set=ON_ERROR_STOP=1",
        target.conninfo,
    ]
    subprocess.run(restore, input=text, check=True, capture_output=True)


def _rows(*, failed: bool) -> tuple[LedgerRow, LedgerRow]:
    before = ledger_row(id="before", name=OTHER, finished=True)
    mine = ledger_row(id="mine", name=MigrationName("mine"), logs="no" if failed else None)
    return before, mine


def _window_of(attempt: Attempt, *, failed: bool) -> Window | str:
    rows = _rows(failed=failed)
    return window(rows[1], rows, attempt.marks(), ((),), (0, 1))


def _sharp(attempt: Attempt, *, failed: bool) -> Window:
    read = attempt.marks()
    if failed:
        return Window(read.now, read.ledger["before"], read.ledger["mine"], sharp=False)
    return Window(read.now, read.ledger["mine"], -FAR, sharp=True, bounded=False)
