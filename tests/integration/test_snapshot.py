from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from psycopg.conninfo import conninfo_to_dict

from sidecar import db
from sidecar.errors import ConnectionLostError, DatabaseError
from sidecar.model import Effect, FactKey, Facts
from sidecar.snapshot import Tracker, diff, read, read_meanwhile, read_rooted
from tests.postgres import Database
from tests.waiting import until

Connect = Callable[[], db.Session]


@pytest.fixture
def connect(database: Database) -> Iterator[Connect]:
    """Sessions on the fresh database, closed at the end."""
    opened: list[db.Session] = []

    def new() -> db.Session:
        opened.append(session_on(database))
        return opened[-1]

    yield new
    for session in opened:
        session.close()


@pytest.fixture
def role(database: Database) -> str:
    """A role that things can be granted to."""
    return database.role(owner=False).name


def session_on(database: Database) -> db.Session:
    """A superuser's session, as the product opens it."""
    info = conninfo_to_dict(database.conninfo)
    return db.connect({name: str(value) for name, value in info.items()})


def facts_of(session: db.Session) -> Facts:
    """The whole snapshot."""
    return read(session, server_version=session.server_version)


def run_tracked(session: db.Session, tracker: Tracker, statement: str) -> Effect:
    """Run it as a replay does; the tracked effect, which must be the true one."""
    before = tracker.facts()  # true, by the last line of the call before
    with session.transaction():
        session.execute(statement)
        effect = tracker.after_statement()
    after = facts_of(session)
    assert effect == diff(before, after), statement
    assert tracker.facts() == after, statement
    return effect


# --- each kind of fact -----------------------------------------------------------

BASE = """
    CREATE SCHEMA s;
    CREATE TABLE s.base (id int PRIMARY KEY, a text, b int NOT NULL DEFAULT 0);
    CREATE TABLE s.child (id int PRIMARY KEY, base_id int);
    CREATE TABLE s.parted (id int, at date) PARTITION BY RANGE (at);
    CREATE TABLE s.part (id int, at date);
    CREATE VIEW s.seen AS SELECT id, a FROM s.base;
    CREATE TYPE s.mood AS ENUM ('sad', 'ok');
    CREATE DOMAIN s.dom AS int;
    CREATE FUNCTION s.fn() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
    CREATE FUNCTION s.on_ddl() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END';
    CREATE FOREIGN DATA WRAPPER wrap;
    CREATE SERVER srv FOREIGN DATA WRAPPER wrap;
"""


class Case(NamedTuple):
    """How one kind of fact comes, changes and goes; what is made has `zz` in its name."""

    kind: str
    create: str
    alter: str
    drop: str
    since: int = 13


CASES = [
    Case("schema", "CREATE SCHEMA zz", "COMMENT ON SCHEMA zz IS 'c'", "DROP SCHEMA zz"),
    Case(
        "extension",
        "CREATE SCHEMA zz; CREATE EXTENSION citext SCHEMA zz",
        "ALTER EXTENSION citext SET SCHEMA s",
        "DROP EXTENSION citext; DROP SCHEMA zz",
    ),
    Case(
        "type",
        "CREATE TYPE s.zz AS ENUM ('a', 'it''s')",
        "ALTER TYPE s.zz ADD VALUE 'b' BEFORE 'a'",
        "DROP TYPE s.zz",
    ),
    Case(
        "type",
        "CREATE TYPE s.zz AS ENUM ('a'); CREATE TABLE s.zz_t (a s.zz DEFAULT 'a')",
        "ALTER TYPE s.zz RENAME VALUE 'a' TO 'b'",
        "DROP TABLE s.zz_t; DROP TYPE s.zz",
    ),
    Case(
        "type",
        """CREATE DOMAIN s.zz AS varchar(20) COLLATE "C" DEFAULT 'x' NOT NULL""",
        "ALTER DOMAIN s.zz DROP NOT NULL",
        "DROP DOMAIN s.zz",
    ),
    Case(
        "type",
        "CREATE DOMAIN s.zz AS int DEFAULT 1",
        "ALTER DOMAIN s.zz SET DEFAULT 2",
        "DROP DOMAIN s.zz",
    ),
    Case(
        "constraint",
        "ALTER DOMAIN s.dom ADD CONSTRAINT zz CHECK (VALUE > 0) NOT VALID",
        "ALTER DOMAIN s.dom VALIDATE CONSTRAINT zz",
        "ALTER DOMAIN s.dom DROP CONSTRAINT zz",
    ),
    Case(
        "type",
        'CREATE TYPE s.zz AS (a int, b text COLLATE "C")',
        "ALTER TYPE s.zz DROP ATTRIBUTE a, ADD ATTRIBUTE c numeric(5, 2)",
        "DROP TYPE s.zz",
    ),
    Case(
        "attribute",
        "CREATE TYPE s.zz AS (a int)",
        "ALTER TYPE s.zz RENAME ATTRIBUTE a TO b",
        "DROP TYPE s.zz",
    ),
    Case(
        "type",
        "CREATE TYPE s.zz AS RANGE (SUBTYPE = float8, SUBTYPE_DIFF = float8mi)",
        "COMMENT ON TYPE s.zz IS 'c'",
        "DROP TYPE s.zz",
    ),
    Case("type", "CREATE TYPE s.zz", "CREATE TYPE s.zz AS ENUM ('a')", "DROP TYPE s.zz"),
    Case(
        "type",
        """CREATE TYPE s.zz;
           CREATE FUNCTION s.zz_in(cstring) RETURNS s.zz LANGUAGE internal IMMUTABLE STRICT
               AS 'int4in';
           CREATE FUNCTION s.zz_out(s.zz) RETURNS cstring LANGUAGE internal IMMUTABLE STRICT
               AS 'int4out';
           CREATE TYPE s.zz (INPUT = s.zz_in, OUTPUT = s.zz_out, LIKE = int4)""",
        "ALTER TYPE s.zz SET (ANALYZE = array_typanalyze)",
        "DROP TYPE s.zz CASCADE",
    ),
    Case(
        "sequence",
        "CREATE SEQUENCE s.zz AS int INCREMENT 2 MAXVALUE 99 CYCLE",
        "ALTER SEQUENCE s.zz OWNED BY s.base.b",
        "DROP SEQUENCE s.zz",
    ),
    Case("sequence", "CREATE SEQUENCE s.zz", "ALTER SEQUENCE s.zz CACHE 7", "DROP SEQUENCE s.zz"),
    Case(
        "table",
        "CREATE UNLOGGED TABLE s.zz (a int) WITH (fillfactor = 70)",
        "ALTER TABLE s.zz SET LOGGED",
        "DROP TABLE s.zz",
    ),
    Case(
        "table",
        "CREATE TABLE s.zz (a text)",
        "ALTER TABLE s.zz SET (toast.autovacuum_enabled = false)",
        "DROP TABLE s.zz",
    ),
    Case(
        "table",
        "CREATE TABLE s.zz (a int)",
        "ALTER TABLE s.zz ENABLE ROW LEVEL SECURITY",
        "DROP TABLE s.zz",
    ),
    Case(
        "table",
        "CREATE TABLE s.zz (a int)",
        "ALTER TABLE s.zz FORCE ROW LEVEL SECURITY",
        "DROP TABLE s.zz",
    ),
    Case(
        "table",
        "CREATE TABLE s.zz (a int NOT NULL UNIQUE)",
        "ALTER TABLE s.zz REPLICA IDENTITY USING INDEX zz_a_key",
        "DROP TABLE s.zz",
    ),
    Case(
        "table",
        "CREATE TABLE s.zz (c int) INHERITS (s.base)",
        "ALTER TABLE s.zz NO INHERIT s.base",
        "DROP TABLE s.zz",
    ),
    Case(
        "table",
        "CREATE TABLE s.zz PARTITION OF s.parted FOR VALUES FROM ('2020-01-01') TO ('2021-01-01')",
        "ALTER TABLE s.parted DETACH PARTITION s.zz",
        "DROP TABLE s.zz",
    ),
    Case(
        "table",
        "CREATE TABLE s.zz (a int, b int) PARTITION BY HASH (a, (b + 1))",
        "CREATE TABLE s.zz_1 PARTITION OF s.zz FOR VALUES WITH (MODULUS 2, REMAINDER 0)",
        "DROP TABLE s.zz",
    ),
    Case(
        "table",
        "CREATE TYPE s.zz_row AS (a int); CREATE TABLE s.zz OF s.zz_row",
        "ALTER TABLE s.zz NOT OF",
        "DROP TABLE s.zz; DROP TYPE s.zz_row",
    ),
    Case(
        "table",
        "CREATE FOREIGN TABLE s.zz (a int OPTIONS (x 'y')) SERVER srv OPTIONS (k 'v')",
        "ALTER FOREIGN TABLE s.zz OPTIONS (SET k 'w')",
        "DROP FOREIGN TABLE s.zz",
    ),
    *(
        Case("column", "ALTER TABLE s.base ADD COLUMN zz " + column, "ALTER TABLE s.base " + alter,
             "ALTER TABLE s.base DROP COLUMN zz", since)
        for column, alter, since in (
            ("int", "ALTER zz TYPE bigint", 13),
            ("varchar(10)", "ALTER zz TYPE varchar(20)", 13),
            ("int", "ALTER zz SET NOT NULL", 13),
            ("int DEFAULT 1", "ALTER zz SET DEFAULT 2", 13),
            ("int DEFAULT 1", "ALTER zz DROP DEFAULT", 13),
            ("text", 'ALTER zz TYPE text COLLATE "C"', 13),
            ("text", "ALTER zz SET STORAGE EXTERNAL", 13),
            ("text", "ALTER zz SET COMPRESSION pglz", 14),
            ("text", "ALTER zz SET STATISTICS 7", 13),
            ("int", "ALTER zz SET (n_distinct = 5)", 13),
            ("int GENERATED ALWAYS AS IDENTITY (START 5)", "ALTER zz SET GENERATED BY DEFAULT", 13),
            ("int GENERATED ALWAYS AS IDENTITY", "ALTER zz SET INCREMENT 3", 13),
            ("int GENERATED ALWAYS AS IDENTITY", "ALTER zz DROP IDENTITY", 13),
            ("int GENERATED ALWAYS AS (b * 2) STORED", "ALTER zz DROP EXPRESSION", 13),
            ("int GENERATED ALWAYS AS (b * 2)", "ALTER zz SET EXPRESSION AS (b * 3)", 18),
        )
    ),
    Case(
        "constraint",
        "ALTER TABLE s.base ADD CONSTRAINT zz CHECK (b > 0) NOT VALID",
        "ALTER TABLE s.base VALIDATE CONSTRAINT zz",
        "ALTER TABLE s.base DROP CONSTRAINT zz",
    ),
    Case(
        "constraint",
        """ALTER TABLE s.child ADD CONSTRAINT zz FOREIGN KEY (base_id) REFERENCES s.base
           ON DELETE CASCADE DEFERRABLE INITIALLY DEFERRED""",
        "ALTER TABLE s.child ALTER CONSTRAINT zz NOT DEFERRABLE",
        "ALTER TABLE s.child DROP CONSTRAINT zz",
    ),
    Case(
        "constraint",
        "ALTER TABLE s.child ADD CONSTRAINT zz FOREIGN KEY (base_id) REFERENCES s.base",
        "ALTER TABLE s.child ALTER CONSTRAINT zz NOT ENFORCED",
        "ALTER TABLE s.child DROP CONSTRAINT zz",
        since=18,
    ),
    Case(
        "not-null",
        "CREATE TABLE s.zz (a int CONSTRAINT zz_a NOT NULL)",
        "ALTER TABLE s.zz ALTER CONSTRAINT zz_a NO INHERIT",
        "DROP TABLE s.zz",
        since=18,
    ),
    Case(
        "constraint",
        "ALTER TABLE s.base ADD CONSTRAINT zz EXCLUDE USING btree (b WITH =)",
        "COMMENT ON CONSTRAINT zz ON s.base IS 'c'",
        "ALTER TABLE s.base DROP CONSTRAINT zz",
    ),
    Case(
        "index",
        "CREATE INDEX zz ON s.base USING btree (lower(a) DESC) INCLUDE (b) WHERE b > 1",
        "ALTER INDEX s.zz ALTER COLUMN 1 SET STATISTICS 9",
        "DROP INDEX s.zz",
    ),
    Case("index", "CREATE INDEX zz ON s.base (a)", "CLUSTER s.base USING zz", "DROP INDEX s.zz"),
    Case(
        "index",
        "CREATE INDEX zz ON s.base (a)",
        "ALTER INDEX s.zz SET (fillfactor = 50)",
        "DROP INDEX s.zz",
    ),
    Case(
        "view",
        "CREATE VIEW s.zz AS SELECT id FROM s.base",
        "CREATE OR REPLACE VIEW s.zz AS SELECT id, a FROM s.base",
        "DROP VIEW s.zz",
    ),
    Case(
        "view",
        "CREATE VIEW s.zz AS SELECT id FROM s.base WHERE id > 0",
        "ALTER VIEW s.zz SET (check_option = local)",
        "DROP VIEW s.zz",
    ),
    Case(
        "view",
        "CREATE VIEW s.zz AS SELECT id FROM s.base",
        "ALTER VIEW s.zz ALTER id SET DEFAULT 4",
        "DROP VIEW s.zz",
    ),
    Case(
        "materialized view",
        "CREATE MATERIALIZED VIEW s.zz AS SELECT id FROM s.base WITH NO DATA",
        "REFRESH MATERIALIZED VIEW s.zz",
        "DROP MATERIALIZED VIEW s.zz",
    ),
    Case(
        "function",
        "CREATE FUNCTION s.zz(a int, b text DEFAULT 'x') RETURNS int LANGUAGE sql AS 'SELECT 1'",
        """CREATE OR REPLACE FUNCTION s.zz(a int, b text DEFAULT 'x') RETURNS int
           LANGUAGE sql STABLE SECURITY DEFINER SET work_mem = '1MB' AS 'SELECT 2'""",
        "DROP FUNCTION s.zz",
    ),
    Case(
        "procedure",
        "CREATE PROCEDURE s.zz(INOUT a int) LANGUAGE sql AS 'SELECT 1'",
        "ALTER PROCEDURE s.zz SET SCHEMA public",
        "DROP PROCEDURE public.zz",
    ),
    Case(
        "function",
        "CREATE FUNCTION s.zz() RETURNS int LANGUAGE internal WINDOW AS 'window_row_number'",
        "ALTER FUNCTION s.zz COST 7",
        "DROP FUNCTION s.zz",
    ),
    Case(
        "aggregate",
        "CREATE AGGREGATE s.zz(int) (SFUNC = int4pl, STYPE = int, INITCOND = '0')",
        "CREATE OR REPLACE AGGREGATE s.zz(int) (SFUNC = int4mul, STYPE = int, INITCOND = '1')",
        "DROP AGGREGATE s.zz(int)",
    ),
    Case(
        "trigger",
        "CREATE TRIGGER zz BEFORE UPDATE OF a ON s.base FOR EACH ROW EXECUTE FUNCTION s.fn()",
        "ALTER TABLE s.base DISABLE TRIGGER zz",
        "DROP TRIGGER zz ON s.base",
    ),
    Case(
        "trigger",
        """CREATE CONSTRAINT TRIGGER zz AFTER INSERT ON s.base DEFERRABLE FOR EACH ROW
           EXECUTE FUNCTION s.fn()""",
        "ALTER TRIGGER zz ON s.base RENAME TO zz2; ALTER TABLE s.base ENABLE ALWAYS TRIGGER zz2",
        "DROP TRIGGER zz2 ON s.base",
    ),
    Case(
        "event trigger",
        """CREATE EVENT TRIGGER zz ON sql_drop WHEN TAG IN ('DROP TABLE')
           EXECUTE FUNCTION s.on_ddl()""",
        "ALTER EVENT TRIGGER zz DISABLE",
        "DROP EVENT TRIGGER zz",
    ),
    Case(
        "policy",
        "CREATE POLICY zz ON s.base AS RESTRICTIVE FOR UPDATE TO PUBLIC USING (b > 0)",
        "ALTER POLICY zz ON s.base TO CURRENT_USER WITH CHECK (b > 1)",
        "DROP POLICY zz ON s.base",
    ),
    Case(
        "rule",
        "CREATE RULE zz AS ON DELETE TO s.base DO INSTEAD NOTHING",
        "ALTER TABLE s.base DISABLE RULE zz",
        "DROP RULE zz ON s.base",
    ),
    Case(
        "statistics",
        "CREATE STATISTICS s.zz (ndistinct) ON a, b FROM s.base",
        "ALTER STATISTICS s.zz SET STATISTICS 5",
        "DROP STATISTICS s.zz",
    ),
    Case(
        "publication",
        "CREATE PUBLICATION zz FOR TABLE s.base",
        "ALTER PUBLICATION zz SET (publish = 'insert')",
        "DROP PUBLICATION zz",
    ),
    Case(
        "publication table",
        "CREATE PUBLICATION zz FOR TABLE s.base, s.child",
        "ALTER PUBLICATION zz DROP TABLE s.base",
        "DROP PUBLICATION zz",
    ),
    Case(
        "publication table",
        "CREATE PUBLICATION zz FOR TABLE s.base (id, b) WHERE (id > 0)",
        "ALTER PUBLICATION zz SET TABLE s.base (id) WHERE (id > 1)",
        "DROP PUBLICATION zz",
        since=15,
    ),
    Case(
        "publication schema",
        "CREATE PUBLICATION zz FOR TABLES IN SCHEMA s",
        "ALTER PUBLICATION zz DROP TABLES IN SCHEMA s",
        "DROP PUBLICATION zz",
        since=15,
    ),
    Case(
        "operator",
        "CREATE FUNCTION s.zz(int, int) RETURNS bool LANGUAGE internal IMMUTABLE AS 'int4eq';"
        "CREATE OPERATOR s.=== (FUNCTION = s.zz, LEFTARG = int, RIGHTARG = int)",
        "ALTER OPERATOR s.=== (int, int) SET (RESTRICT = eqsel)",
        "DROP FUNCTION s.zz CASCADE",
    ),
    Case(
        "operator class",
        """CREATE OPERATOR CLASS s.zz FOR TYPE int USING btree AS
           OPERATOR 1 <, FUNCTION 1 btint4cmp(int, int)""",
        "ALTER OPERATOR CLASS s.zz USING btree RENAME TO zz2",
        "DROP OPERATOR FAMILY s.zz USING btree",
    ),
    Case(
        "operator family",
        "CREATE OPERATOR FAMILY s.zz USING btree",
        "ALTER OPERATOR FAMILY s.zz USING btree ADD OPERATOR 1 < (int, bigint)",
        "ALTER OPERATOR FAMILY s.zz USING btree DROP OPERATOR 1 (int, bigint);"
        "DROP OPERATOR FAMILY s.zz USING btree",
    ),
    Case(
        "cast",
        "CREATE TYPE s.zz AS ENUM ('a'); CREATE CAST (text AS s.zz) WITH INOUT AS ASSIGNMENT",
        "COMMENT ON CAST (text AS s.zz) IS 'c'",
        "DROP CAST (text AS s.zz); DROP TYPE s.zz",
    ),
    Case(
        "collation",
        'CREATE COLLATION s.zz FROM "C"',
        "ALTER COLLATION s.zz RENAME TO zz2",
        "DROP COLLATION s.zz2",
    ),
    Case(
        "conversion",
        "CREATE CONVERSION s.zz FOR 'LATIN1' TO 'UTF8' FROM iso8859_1_to_utf8",
        "ALTER CONVERSION s.zz SET SCHEMA public",
        "DROP CONVERSION public.zz",
    ),
    Case(
        "text search configuration",
        "CREATE TEXT SEARCH CONFIGURATION s.zz (COPY = pg_catalog.simple)",
        "ALTER TEXT SEARCH CONFIGURATION s.zz ALTER MAPPING FOR word WITH english_stem, simple",
        "DROP TEXT SEARCH CONFIGURATION s.zz",
    ),
    Case(
        "text search configuration",
        "CREATE TEXT SEARCH CONFIGURATION s.zz (COPY = pg_catalog.simple)",
        "ALTER TEXT SEARCH CONFIGURATION s.zz DROP MAPPING FOR word",
        "DROP TEXT SEARCH CONFIGURATION s.zz",
    ),
    Case(
        "text search dictionary",
        "CREATE TEXT SEARCH DICTIONARY s.zz (TEMPLATE = simple, ACCEPT = true)",
        "ALTER TEXT SEARCH DICTIONARY s.zz (ACCEPT = false)",
        "DROP TEXT SEARCH DICTIONARY s.zz",
    ),
    Case(
        "text search parser",
        """CREATE TEXT SEARCH PARSER s.zz (START = prsd_start, GETTOKEN = prsd_nexttoken,
               END = prsd_end, LEXTYPES = prsd_lextype)""",
        "ALTER TEXT SEARCH PARSER s.zz RENAME TO zz2",
        "DROP TEXT SEARCH PARSER s.zz2",
    ),
    Case(
        "text search template",
        "CREATE TEXT SEARCH TEMPLATE s.zz (LEXIZE = dsimple_lexize, INIT = dsimple_init)",
        "ALTER TEXT SEARCH TEMPLATE s.zz RENAME TO zz2",
        "DROP TEXT SEARCH TEMPLATE s.zz2",
    ),
    Case(
        "language",
        "CREATE TRUSTED LANGUAGE zz HANDLER plpgsql_call_handler",
        "GRANT USAGE ON LANGUAGE zz TO {role}",
        "DROP LANGUAGE zz",
    ),
    Case(
        "transform",
        """CREATE LANGUAGE zz HANDLER plpgsql_call_handler; CREATE TRANSFORM FOR int LANGUAGE zz
           (FROM SQL WITH FUNCTION prsd_lextype(internal))""",
        """CREATE OR REPLACE TRANSFORM FOR int LANGUAGE zz
           (TO SQL WITH FUNCTION int4recv(internal))""",
        "DROP LANGUAGE zz CASCADE",
    ),
    Case(
        "access method",
        "CREATE ACCESS METHOD zz TYPE INDEX HANDLER gisthandler",
        "COMMENT ON ACCESS METHOD zz IS 'c'",
        "DROP ACCESS METHOD zz",
    ),
    Case(
        "foreign data wrapper",
        "CREATE FOREIGN DATA WRAPPER zz OPTIONS (a 'b')",
        "ALTER FOREIGN DATA WRAPPER zz OPTIONS (SET a 'c')",
        "DROP FOREIGN DATA WRAPPER zz",
    ),
    Case(
        "server",
        "CREATE SERVER zz TYPE 't' VERSION '1' FOREIGN DATA WRAPPER wrap OPTIONS (host 'h')",
        "ALTER SERVER zz VERSION '2'",
        "DROP SERVER zz",
    ),
    Case(
        "user mapping",
        "CREATE SERVER zz FOREIGN DATA WRAPPER wrap; CREATE USER MAPPING FOR PUBLIC SERVER zz",
        "CREATE USER MAPPING FOR {role} SERVER zz",
        "DROP USER MAPPING FOR {role} SERVER zz; DROP SERVER zz CASCADE",
    ),
    Case(
        "default privilege",
        "CREATE SCHEMA zz; ALTER DEFAULT PRIVILEGES IN SCHEMA zz GRANT SELECT ON TABLES TO {role}",
        "ALTER DEFAULT PRIVILEGES IN SCHEMA zz GRANT INSERT ON TABLES TO {role} WITH GRANT OPTION",
        "DROP SCHEMA zz",
    ),
    *(
        Case(
            "privilege",
            f"{create}; GRANT {privilege} ON {what} TO PUBLIC",
            f"GRANT {privilege} ON {what} TO {{role}} WITH GRANT OPTION",
            drop,
        )
        for create, privilege, what, drop in (
            ("CREATE SCHEMA zz", "USAGE", "SCHEMA zz", "DROP SCHEMA zz"),
            ("CREATE TABLE s.zz (a int)", "INSERT", "s.zz", "DROP TABLE s.zz"),
            ("CREATE TABLE s.zz (a int)", "UPDATE (a)", "s.zz", "DROP TABLE s.zz"),
            ("CREATE VIEW s.zz AS SELECT 1", "SELECT", "s.zz", "DROP VIEW s.zz"),
            ("CREATE SEQUENCE s.zz", "USAGE", "SEQUENCE s.zz", "DROP SEQUENCE s.zz"),
            ("CREATE SERVER zz FOREIGN DATA WRAPPER wrap", "USAGE", "FOREIGN SERVER zz",
             "DROP SERVER zz"),
            ("CREATE TABLE s.zz (a int GENERATED ALWAYS AS IDENTITY)", "USAGE",
             "SEQUENCE s.zz_a_seq", "DROP TABLE s.zz"),
        )
    ),
    Case(
        "privilege",
        "CREATE FUNCTION s.zz() RETURNS int LANGUAGE sql AS 'SELECT 1';"
        "REVOKE EXECUTE ON FUNCTION s.zz FROM PUBLIC",
        "GRANT EXECUTE ON FUNCTION s.zz TO PUBLIC",
        "DROP FUNCTION s.zz",
    ),
    Case(
        "privilege",
        "CREATE TYPE s.zz AS ENUM ('a'); REVOKE USAGE ON TYPE s.zz FROM PUBLIC",
        "GRANT USAGE ON TYPE s.zz TO {role}",
        "DROP TYPE s.zz",
    ),
    *(
        Case("comment", f"COMMENT ON {what} IS 'zz'", f"COMMENT ON {what} IS 'zz2'",
             f"COMMENT ON {what} IS NULL")
        for what in (
            "SCHEMA s", "TABLE s.base", "COLUMN s.base.a", "VIEW s.seen", "COLUMN s.seen.id",
            "CONSTRAINT base_pkey ON s.base", "INDEX s.base_pkey", "TYPE s.mood", "DOMAIN s.dom",
            "FUNCTION s.fn()", "EVENT TRIGGER watch", "SERVER srv", "FOREIGN DATA WRAPPER wrap",
            "EXTENSION hstore", "TABLE s.parted",
        )
    ),
]  # fmt: skip

MORE_BASE = (
    "CREATE EXTENSION hstore; COMMENT ON EXTENSION hstore IS NULL; "
    "CREATE EVENT TRIGGER watch ON ddl_command_end EXECUTE FUNCTION s.on_ddl()"
)


def test_every_kind_comes_changes_and_goes(connect: Connect, role: str) -> None:
    """Making a thing adds only facts that name it, altering it shows, dropping it leaves none."""
    session = connect()
    session.execute(BASE + MORE_BASE)
    tracker = Tracker(session, server_version=session.server_version)
    start = tracker.full()
    for case in CASES:
        if session.server_version // 10000 < case.since:
            continue
        made = run_tracked(session, tracker, case.create.format(role=role))
        assert case.kind in {change.key.kind for change in made}, case
        for change in made:
            assert change.before is None, (case, change)
            assert "zz" in f"{change.key} {change.after}" or case.kind == "extension", change
        assert run_tracked(session, tracker, case.alter.format(role=role)), case
        run_tracked(session, tracker, case.drop.format(role=role))
        assert diff(start, tracker.facts()) == (), case


# --- statement by statement ------------------------------------------------------

STORY = Path(__file__).with_name("snapshot_story.sql")


def test_tracker_sees_what_a_whole_snapshot_sees(connect: Connect, role: str) -> None:
    """After each of a long line of statements the tracked facts are those of the database."""
    session = connect()
    session.execute(BASE)
    tracker = Tracker(session, server_version=session.server_version)
    tracker.full()
    comment, *statements = STORY.read_text(encoding="utf-8").format(role=role).splitlines()
    assert comment.startswith("--")
    for statement in statements:
        run_tracked(session, tracker, statement)


def test_tracker_within_one_transaction(connect: Connect) -> None:
    """In an explicit block each statement's effect is its own, savepoints or not."""
    session = connect()
    tracker = Tracker(session, server_version=session.server_version)
    tracker.full()
    session.execute("BEGIN")
    session.execute("CREATE TABLE t (a int)")
    first = tracker.after_statement()
    session.execute("SAVEPOINT p; ALTER TABLE t RENAME TO u; RELEASE p")
    second = tracker.after_statement()
    session.execute("DROP TABLE u")
    third = tracker.after_statement()
    session.execute("COMMIT")
    assert [change.key for change in first] == [
        FactKey("column", "a", "public.t"),
        FactKey("table", "public.t", ""),
    ]
    assert {change.key.identity for change in second} == {"a", "public.t", "public.u"}
    assert all(change.after is None for change in third)
    assert tracker.facts() == facts_of(session)


def test_tracker_after_statements_outside_transactions(connect: Connect) -> None:
    """What cannot run in a transaction is seen by reading everything again."""
    session = connect()
    session.execute("CREATE TABLE t (a int); INSERT INTO t VALUES (1), (1)")
    tracker = Tracker(session, server_version=session.server_version)
    tracker.full()
    session.execute("CREATE INDEX CONCURRENTLY i ON t (a)")
    (made,) = tracker.after_statement(full=True)
    assert made.key == FactKey("index", "public.i", "public.t")
    with pytest.raises(DatabaseError):
        session.execute("CREATE UNIQUE INDEX CONCURRENTLY u ON t (a)")
    (broken,) = tracker.after_statement(full=True)
    assert " INVALID" in str(broken.after)


def test_nothing_changed(connect: Connect) -> None:
    """A statement that only reads has no effect."""
    session = connect()
    session.execute(BASE)
    tracker = Tracker(session, server_version=session.server_version)
    tracker.full()
    assert run_tracked(session, tracker, "SELECT * FROM s.base") == ()


@pytest.mark.parametrize("forget", ["DEALLOCATE ALL", "DISCARD ALL"])
def test_scripts_that_forget_what_is_prepared(connect: Connect, forget: str) -> None:
    """Queries that a script threw away are prepared again."""
    session = connect()
    session.execute(BASE)
    tracker = Tracker(session, server_version=session.server_version)
    tracker.full()
    for old, new in (("s.mood", "feeling"), ("s.feeling", "mood")):  # asks for dependents too
        run_tracked(session, tracker, f"ALTER TYPE {old} RENAME TO {new}")
        session.execute(forget)


# --- while something else goes on ------------------------------------------------


def test_facts_are_read_meanwhile(connect: Connect) -> None:
    """The block goes on while the facts are read; at its end they are the whole snapshot."""
    session, other = connect(), connect()
    session.execute(BASE)
    with read_meanwhile(session, server_version=session.server_version) as reading:
        facts = facts_of(other)
        assert reading.result() == facts


def test_leaving_early_stops_the_reading(connect: Connect) -> None:
    """Even one that waits for a lock; the session is fit for the next statement at once."""
    session, other = connect(), connect()
    with blocked_reading(session, other) as reading:
        pass
    assert isinstance(reading.exception(), DatabaseError)
    assert not session.in_transaction
    assert session.query("SELECT 1") == [(1,)]


def test_a_connection_lost_meanwhile_is_told_at_the_end(connect: Connect) -> None:
    """Whoever asks for the facts hears why there are none."""
    session, other = connect(), connect()
    with blocked_reading(session, other) as reading:
        other.query("SELECT pg_terminate_backend(%s)", (session.backend_pid,))
        with pytest.raises(ConnectionLostError):
            reading.result()


@contextmanager
def blocked_reading(session: db.Session, other: db.Session) -> Iterator[Future[Facts]]:
    """A reading by `session` that waits for a lock of `other`, for the length of the block."""
    session.execute(BASE)
    with other.undone():
        other.execute("LOCK TABLE s.base")  # the definition of a view is read under its lock
        with read_meanwhile(session, server_version=session.server_version) as reading:
            until(lambda: is_waiting(other, session))
            yield reading


def is_waiting(observer: db.Session, session: db.Session) -> bool:
    """Whether the session waits for a lock that the observer holds."""
    (blocked,) = observer.query("SELECT pg_blocking_pids(%s)", (session.backend_pid,))[0]
    return observer.backend_pid in blocked


# --- the same words in every session ---------------------------------------------


def _build_everything(session: db.Session, role: str) -> None:
    """One thing of each kind, and all of the story's that lasts."""
    session.execute(BASE + MORE_BASE)
    made = set[str]()
    for case in CASES:
        if case.kind not in made | {"comment"} and session.server_version // 10000 >= case.since:
            name = f"zz{len(made)}"
            session.execute(case.create.format(role=role).replace("zz", name))
            made.add(case.kind)


@pytest.mark.parametrize(
    "settings",
    [
        "SET search_path = s, public, pg_catalog",
        "SET timezone = 'Asia/Kolkata'; SET datestyle = 'SQL, DMY'; SET intervalstyle = iso_8601",
        "SET quote_all_identifiers = on; SET extra_float_digits = -5; SET bytea_output = escape",
        "CREATE TEMP TABLE pg_class (oid oid); SET standard_conforming_strings = off",
    ],
)
def test_facts_do_not_depend_on_the_session(connect: Connect, role: str, settings: str) -> None:
    """Search path, time zone, date style, quoting and the like change no fact."""
    session = connect()
    _build_everything(session, role)
    session.execute("""
        CREATE TABLE s.touchy (at timestamptz DEFAULT '2024-01-01 12:00+00', f float8 DEFAULT 0.1,
            i interval DEFAULT '1 day 2 hours', b bytea DEFAULT '\\x00ff', d date DEFAULT 'epoch');
        CREATE TABLE s.slice PARTITION OF s.parted FOR VALUES FROM ('2030-02-01') TO ('2030-03-01')
    """)
    other = connect()
    other.execute(settings)
    assert facts_of(other) == facts_of(session)


def test_facts_do_not_depend_on_the_role(connect: Connect, role: str) -> None:
    """An ordinary role reads the same facts as a superuser."""
    session = connect()
    _build_everything(session, role)
    everything = facts_of(session)
    session.execute(f"SET ROLE {role}")
    assert facts_of(session) == everything


def test_reading_leaves_the_session_as_it_was(connect: Connect) -> None:
    """A snapshot changes no setting, in a transaction or outside."""
    session = connect()
    session.execute("SET search_path = s, public; SET jit = on")
    facts_of(session)
    with session.transaction():
        facts_of(session)
        inside = session.query("SELECT current_setting('search_path'), current_setting('jit')")
    assert inside == [("s, public", "on")]
    assert session.query("SELECT current_setting('search_path')") == [("s, public",)]


class Recording:
    """A session that remembers what it was asked and what it answered last."""

    def __init__(self, session: db.Session) -> None:
        self._session = session
        self.queries = 0
        self.last: list[tuple[Any, ...]] = []

    def query(self, statement: str, params: Sequence[object] | None = None) -> list[db.Row]:
        self.queries += 1
        self.last = self._session.query(statement, params)
        return self.last

    def undone(self) -> AbstractContextManager[None]:
        return self._session.undone()


def test_keys_are_unique(connect: Connect, role: str) -> None:
    """No two facts share a key, every fact says something, and two queries read them all."""
    session = connect()
    _build_everything(session, role)
    recording = Recording(session)
    facts = read(recording, server_version=session.server_version)
    assert len(facts) == len(recording.last) > 80
    assert all(facts.values())
    assert recording.queries == 3, "settings, PREPARE, EXECUTE"
    read(recording, server_version=session.server_version)
    assert recording.queries == 3 + 2, "planned once"


def test_facts_by_root(connect: Connect, role: str) -> None:
    """Asked for one root, exactly its facts come; together the roots hold everything."""
    session = connect()
    _build_everything(session, role)
    version = session.server_version
    by_root = read_rooted(session, server_version=version, roots=None)
    everything = {key: text for facts in by_root.values() for key, text in facts.items()}
    assert everything == read(session, server_version=version)
    for root, facts in by_root.items():
        assert read_rooted(session, server_version=version, roots=[root]) == {root: facts}
    assert read_rooted(session, server_version=version, roots=by_root) == by_root
    assert read_rooted(session, server_version=version, roots=[]) == {}


# --- what belongs in, and what does not ------------------------------------------

ODD_NAMES = (
    "Upper",
    "with space",
    "dot.ted",
    'qu"ote',
    "prüfung",
    "select",
    "per%cent",
    "$1",
    "a'b",
)


def test_odd_names_survive_quoting(connect: Connect) -> None:
    """A fact's identity can be put back into SQL, whatever the name is made of."""
    session = connect()
    for name in ODD_NAMES:
        quoted = db.identifier(name)
        session.execute(
            f"CREATE SCHEMA {quoted}; CREATE TABLE {quoted}.{quoted} ({quoted} int PRIMARY KEY);"
            f"COMMENT ON COLUMN {quoted}.{quoted}.{quoted} IS 'c'"
        )
    tracker = Tracker(session, server_version=session.server_version)
    facts = tracker.full()
    for key in [key for key in facts if key.kind == "column"]:
        assert FactKey("comment", f"column {key.identity}", key.on) in facts
        effect = run_tracked(session, tracker, f"ALTER TABLE {key.on} DROP COLUMN {key.identity}")
        assert key in {change.key for change in effect}
        assert run_tracked(session, tracker, f"DROP TABLE {key.on}")
    for key in [key for key in facts if key.kind == "schema" and key.identity != "public"]:
        assert run_tracked(session, tracker, f"DROP SCHEMA {key.identity}")


def test_members_of_extensions_are_left_out(connect: Connect) -> None:
    """An extension is one fact and its comment; what it brings is its own business."""
    session = connect()
    before = facts_of(session)
    session.execute("CREATE EXTENSION hstore; CREATE EXTENSION citext; CREATE EXTENSION pg_trgm")
    made = diff(before, facts_of(session))
    assert [change.key.kind for change in made] == ["comment"] * 3 + ["extension"] * 3


def test_foreign_keys_to_partitions_are_one_fact(connect: Connect) -> None:
    """PostgreSQL's own copies of a foreign key, one for each partition referenced, are no facts."""
    session = connect()
    session.execute("""
        CREATE TABLE p (id int PRIMARY KEY) PARTITION BY RANGE (id);
        CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (1) TO (2);
        CREATE TABLE p2 PARTITION OF p FOR VALUES FROM (2) TO (3);
        CREATE TABLE c (p int CONSTRAINT c_p REFERENCES p)
    """)
    keys = [key for key in facts_of(session) if key.on == "public.c"]
    assert FactKey("constraint", "c_p", "public.c") in keys
    assert [key.kind for key in keys].count("constraint") == 1


def test_system_and_temporary_objects_are_left_out(connect: Connect) -> None:
    """Nothing in pg_catalog, information_schema, pg_toast or pg_temp is a fact."""
    session = connect()
    session.execute("""
        CREATE TEMP TABLE scratch (a text DEFAULT 'x', b serial);
        CREATE TABLE t (long text);
        CREATE FUNCTION pg_temp.f() RETURNS int LANGUAGE sql AS 'SELECT 1'
    """)
    assert {key.identity for key in facts_of(session) if key.kind != "comment"} - {"plpgsql"} == {
        "public", "public.t", "long",
    }  # fmt: skip


def test_no_secret_is_read(connect: Connect) -> None:
    """Options of user mappings are not read, and passwords in other options are masked."""
    session = connect()
    session.execute("""
        CREATE FOREIGN DATA WRAPPER w OPTIONS (password 'hunter2');
        CREATE SERVER s FOREIGN DATA WRAPPER w
            OPTIONS (host 'h', passwd 'hunter2', api_key 'hunter2');
        CREATE FOREIGN TABLE t (a int OPTIONS (token 'hunter2')) SERVER s
            OPTIONS (secret 'hunter2');
        CREATE USER MAPPING FOR PUBLIC SERVER s OPTIONS (user 'u', password 'hunter2')
    """)
    facts = facts_of(session)
    assert "hunter2" not in str(facts)
    assert FactKey("user mapping", "PUBLIC", "s") in facts


@pytest.mark.slow
def test_whatever_pg_dump_prints_is_a_fact(latest_database: Database) -> None:
    """A statement that changes the dump of the schema changes the facts."""
    role = latest_database.role(owner=False).name
    with closing(session_on(latest_database)) as session:
        session.execute(BASE + MORE_BASE)
        dump, facts = latest_database.dump(data=False), facts_of(session)
        changed = 0
        for statement in _statements(session, role):
            session.execute(statement)
            dump_after, facts_after = latest_database.dump(data=False), facts_of(session)
            assert dump == dump_after or facts != facts_after, statement
            changed += dump != dump_after
            dump, facts = dump_after, facts_after
    assert changed > 150


def _statements(session: db.Session, role: str) -> list[str]:
    return [
        text.format(role=role)
        for case in CASES
        if session.server_version // 10000 >= case.since
        for text in (case.create, case.alter, case.drop)
    ]


def test_numbers_of_the_servers_own_are_no_definition(connect: Connect) -> None:
    """What newer minor releases (17.12) keep among a column's options differs everywhere."""
    session = connect()
    session.execute("CREATE TABLE t (a int, b int); ALTER TABLE t ALTER b SET (n_distinct = 5)")
    before = facts_of(session)
    change = "UPDATE pg_attribute SET attoptions = ARRAY['pg_attver=6370176'] || attoptions"
    session.execute("SET allow_system_table_mods = on")
    session.execute(f"{change} WHERE attrelid = 't'::regclass AND attnum > 0")
    assert diff(before, facts_of(session)) == ()
