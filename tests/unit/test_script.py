from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.errors import ExitCode
from sidecar.model import Control, Nature, Statement
from sidecar.script import ScriptError, created_extensions, parse

CATALOG, DATA, SESSION, NOTHING = Nature.CATALOG, Nature.DATA, Nature.SESSION, Nature.NOTHING


def only(sql: str) -> Statement:
    """The one statement of a script."""
    (statement,) = parse(sql).statements
    return statement


@dataclass(frozen=True)
class Case:
    """One statement and what must be known of it; the defaults are those of plain DDL."""

    sql: str
    kind: str
    nature: Nature = CATALOG
    writes: tuple[str, ...] = ()
    solo: bool = False
    forbidden: bool = False
    reach_known: bool = True


CASES = (
    # definitions: the catalog shows them
    Case("CREATE TABLE t (a int DEFAULT my_func())", "CREATE TABLE"),
    Case("CREATE UNLOGGED TABLE t (a int)", "CREATE TABLE"),
    Case("CREATE UNIQUE INDEX i ON t (a)", "CREATE INDEX"),
    Case("CREATE OR REPLACE VIEW v AS SELECT my_func()", "CREATE VIEW"),
    Case("CREATE TYPE e AS ENUM ('a')", "CREATE TYPE"),
    Case("CREATE TYPE c AS (a int)", "CREATE TYPE"),
    Case("CREATE TYPE r AS RANGE (subtype = int4)", "CREATE TYPE"),
    Case("ALTER TYPE e RENAME VALUE 'a' TO 'b'", "ALTER TYPE"),
    Case("CREATE DOMAIN d AS int", "CREATE DOMAIN"),
    Case("CREATE SEQUENCE s", "CREATE SEQUENCE"),
    Case("CREATE SCHEMA s CREATE TABLE t (a int)", "CREATE SCHEMA"),
    Case("CREATE EXTENSION IF NOT EXISTS citext", "CREATE EXTENSION"),
    Case("CREATE FUNCTION f() RETURNS int LANGUAGE sql AS $$ DELETE FROM t $$", "CREATE FUNCTION"),
    Case("CREATE PROCEDURE p() LANGUAGE sql AS ''", "CREATE PROCEDURE"),
    Case("CREATE CONSTRAINT TRIGGER g AFTER INSERT ON t FOR EACH ROW EXECUTE FUNCTION f()",
         "CREATE TRIGGER"),
    Case("CREATE EVENT TRIGGER g ON ddl_command_end EXECUTE FUNCTION f()", "CREATE EVENT TRIGGER"),
    Case("CREATE RULE r AS ON INSERT TO t DO (DELETE FROM u; SELECT 1)", "CREATE RULE"),
    Case("CREATE POLICY p ON t", "CREATE POLICY"),
    Case("CREATE FOREIGN DATA WRAPPER w", "CREATE FOREIGN DATA WRAPPER"),
    Case("CREATE TEXT SEARCH CONFIGURATION c (COPY = simple)", "CREATE TEXT SEARCH CONFIGURATION"),
    Case("ALTER TABLE t ADD COLUMN a timestamptz DEFAULT now()", "ALTER TABLE"),
    Case("ALTER TABLE ONLY t RENAME COLUMN a TO b", "ALTER TABLE"),
    Case("ALTER TABLE t ALTER a SET DEFAULT my_func()", "ALTER TABLE"),
    Case("ALTER INDEX i RENAME TO j", "ALTER INDEX"),
    Case("ALTER MATERIALIZED VIEW m SET SCHEMA s", "ALTER MATERIALIZED VIEW"),
    Case("ALTER SEQUENCE s RESTART 5 INCREMENT 2", "ALTER SEQUENCE"),
    Case("ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO r", "ALTER DEFAULT PRIVILEGES"),
    Case("DROP TABLE IF EXISTS a.b, c CASCADE", "DROP TABLE"),
    Case("DROP INDEX i", "DROP INDEX"),
    Case("DROP FUNCTION f(int)", "DROP FUNCTION"),
    Case("COMMENT ON TABLE t IS 'x'", "COMMENT"),
    Case("GRANT SELECT ON t TO r", "GRANT"),
    Case("REVOKE SELECT ON t FROM r", "REVOKE"),
    Case("SECURITY LABEL ON TABLE t IS 'x'", "SECURITY LABEL"),
    Case("IMPORT FOREIGN SCHEMA a FROM SERVER b INTO c", "IMPORT FOREIGN SCHEMA"),
    # definitions that evaluate expressions for rows which exist
    Case("ALTER TABLE t ADD COLUMN a text DEFAULT my_func()", "ALTER TABLE", reach_known=False),
    Case("ALTER TABLE t ALTER a TYPE int USING my_func(a)", "ALTER TABLE", writes=("t",),
         reach_known=False),
    # definitions that hold rows
    Case("CREATE TABLE n AS SELECT 1", "CREATE TABLE AS", writes=("n",)),
    Case("CREATE TABLE n AS EXECUTE q", "CREATE TABLE AS", writes=("n",), reach_known=False),
    Case("SELECT a INTO s.n FROM t", "SELECT INTO", writes=("s.n",)),
    Case("SELECT 1 INTO n UNION SELECT 2", "SELECT INTO", writes=("n",)),
    Case("CREATE MATERIALIZED VIEW m AS SELECT my_func()", "CREATE MATERIALIZED VIEW",
         writes=("m",), reach_known=False),
    # rows
    Case("INSERT INTO t VALUES (1, lower('A'), gen_random_uuid())", "INSERT", DATA, ("t",)),
    Case('INSERT INTO "My"."order" SELECT nextval(\'s\')', "INSERT", DATA, ('"My"."order"',)),
    Case("INSERT INTO t SELECT my_func()", "INSERT", DATA, ("t",), reach_known=False),
    Case("UPDATE s.t SET a = coalesce(a, 1)", "UPDATE", DATA, ("s.t",)),
    Case("UPDATE t SET a = (SELECT public.my_func())", "UPDATE", DATA, ("t",), reach_known=False),
    Case("UPDATE t SET a = extensions.uuid_generate_v4()", "UPDATE", DATA, ("t",)),
    Case("UPDATE t SET a = public.lower(a)", "UPDATE", DATA, ("t",), reach_known=False),
    Case("WITH d AS (DELETE FROM a RETURNING *) INSERT INTO b SELECT * FROM d", "INSERT", DATA,
         ("b", "a")),
    Case("DELETE FROM t", "DELETE", DATA, ("t",)),
    Case("MERGE INTO t USING s ON t.a = s.a WHEN MATCHED THEN DELETE", "MERGE", DATA, ("t",)),
    Case("TRUNCATE a, s.b RESTART IDENTITY", "TRUNCATE", DATA, ("a", "s.b")),
    Case("TRUNCATE a CASCADE", "TRUNCATE", DATA, ("a",), reach_known=False),
    Case("COPY t FROM '/tmp/x'", "COPY", DATA, ("t",)),
    Case("REFRESH MATERIALIZED VIEW m", "REFRESH MATERIALIZED VIEW", DATA, ("m",)),
    Case("DO $$ BEGIN DELETE FROM t; END $$", "DO", DATA, ("t",)),
    Case("DO $$ BEGIN COMMIT AND CHAIN; END $$", "DO", DATA, solo=True, reach_known=False),
    Case("DO $$ BEGIN CREATE TEMP TABLE x (a int) ON COMMIT DROP; END $$", "DO", SESSION),
    Case("CALL p(1)", "CALL", DATA, reach_known=False),
    Case("EXECUTE q", "EXECUTE", DATA, reach_known=False),
    Case("WITH d AS (DELETE FROM t RETURNING *) SELECT * FROM d", "SELECT", DATA, ("t",)),
    Case("SELECT setval('s', 5)", "SELECT", DATA),
    Case("ALTER SEQUENCE s RESTART WITH 5", "ALTER SEQUENCE", DATA),
    Case("ALTER TABLE t ALTER id RESTART WITH 5", "ALTER TABLE", DATA),
    Case("SELECT my_func()", "SELECT", DATA, reach_known=False),
    Case("SELECT * FROM my_func()", "SELECT", DATA, reach_known=False),
    Case("EXPLAIN ANALYZE DELETE FROM t", "EXPLAIN", DATA, ("t",)),
    # the session
    Case("SET search_path TO s", "SET", SESSION),
    Case("SET LOCAL lock_timeout = 1", "SET", SESSION),
    Case("RESET ALL", "RESET", SESSION),
    Case("SET ROLE r", "SET", SESSION),
    Case("SET CONSTRAINTS ALL DEFERRED", "SET", SESSION),
    Case("SELECT pg_catalog.set_config('search_path', '', false)", "SELECT", SESSION),
    Case("DISCARD ALL", "DISCARD", SESSION, solo=True),
    Case("DISCARD PLANS", "DISCARD", SESSION),
    Case("PREPARE q AS DELETE FROM t", "PREPARE", SESSION),
    Case("LISTEN c", "LISTEN", SESSION),
    Case("DECLARE c CURSOR FOR SELECT 1", "DECLARE", SESSION),
    Case("CREATE TEMP TABLE x (a int)", "CREATE TABLE", SESSION),
    Case("CREATE TABLE pg_temp.x (a int)", "CREATE TABLE", SESSION),
    Case("CREATE TEMPORARY TABLE x AS SELECT 1", "CREATE TABLE AS", SESSION, ("x",)),
    Case("SELECT 1 INTO TEMP x", "SELECT INTO", SESSION, ("x",)),
    Case("CREATE FUNCTION pg_temp.f() RETURNS int LANGUAGE sql AS ''", "CREATE FUNCTION", SESSION),
    Case("INSERT INTO pg_temp.x VALUES (1)", "INSERT", SESSION, ("pg_temp.x",)),
    Case("DROP TABLE pg_temp.x", "DROP TABLE", SESSION),
    # no trace
    Case("SELECT 1", "SELECT", NOTHING),
    Case("VALUES (1)", "SELECT", NOTHING),
    Case("(SELECT now(), count(*), coalesce(a, 'b') FROM t)", "SELECT", NOTHING),
    Case("SELECT a FROM t FOR UPDATE", "SELECT", NOTHING),
    Case("LOCK TABLE t", "LOCK", NOTHING),
    Case("SHOW ALL", "SHOW", NOTHING),
    Case("NOTIFY c", "NOTIFY", NOTHING),
    Case("ANALYZE t", "ANALYZE", NOTHING),
    Case("EXPLAIN DELETE FROM t", "EXPLAIN", NOTHING),
    Case("EXPLAIN (ANALYZE false) DELETE FROM t", "EXPLAIN", NOTHING),
    Case("CLUSTER t USING i", "CLUSTER", NOTHING),
    Case("REINDEX TABLE t", "REINDEX", NOTHING),
    # refused inside a transaction block
    Case("CREATE INDEX CONCURRENTLY i ON t (a)", "CREATE INDEX", solo=True),
    Case("DROP INDEX CONCURRENTLY i", "DROP INDEX", solo=True),
    Case("REINDEX INDEX CONCURRENTLY i", "REINDEX", NOTHING, solo=True),
    Case("REINDEX (CONCURRENTLY false) INDEX i", "REINDEX", NOTHING),
    Case("REINDEX SCHEMA s", "REINDEX", NOTHING, solo=True),
    Case("VACUUM t", "VACUUM", NOTHING, solo=True),
    Case("CLUSTER", "CLUSTER", NOTHING, solo=True),
    Case("ALTER TABLE a DETACH PARTITION b CONCURRENTLY", "ALTER TABLE", solo=True),
    Case("ALTER TABLE a DETACH PARTITION b", "ALTER TABLE"),
    # never run by a repair
    Case("ALTER SYSTEM SET a = 1", "ALTER SYSTEM", DATA, solo=True, forbidden=True),
    Case("CREATE DATABASE d", "CREATE DATABASE", DATA, solo=True, forbidden=True),
    Case("DROP DATABASE d", "DROP DATABASE", DATA, solo=True, forbidden=True),
    Case("ALTER DATABASE d SET TABLESPACE p", "ALTER DATABASE", DATA, solo=True, forbidden=True),
    Case("ALTER DATABASE d SET a = 1", "ALTER DATABASE", DATA, forbidden=True),
    Case("COMMENT ON DATABASE d IS 'x'", "COMMENT", DATA, forbidden=True),
    Case("GRANT CONNECT ON DATABASE d TO r", "GRANT", DATA, forbidden=True),
    Case("CREATE TABLESPACE p LOCATION '/x'", "CREATE TABLESPACE", DATA, solo=True, forbidden=True),
    Case("DROP TABLESPACE p", "DROP TABLESPACE", DATA, solo=True, forbidden=True),
    Case("CREATE ROLE r", "CREATE ROLE", DATA, forbidden=True),
    Case("ALTER ROLE r RENAME TO q", "ALTER ROLE", forbidden=True),
    Case("GRANT r TO q", "GRANT", DATA, forbidden=True),
    Case("DROP OWNED BY r", "DROP OWNED", forbidden=True),
    Case("REASSIGN OWNED BY r TO q", "REASSIGN OWNED", forbidden=True),
    Case("CREATE SUBSCRIPTION s CONNECTION '' PUBLICATION p", "CREATE SUBSCRIPTION",
         solo=True, forbidden=True),
    Case("COPY t FROM STDIN", "COPY", DATA, ("t",), forbidden=True),
    Case("COPY t FROM PROGRAM 'x'", "COPY", DATA, ("t",), forbidden=True),
    Case("COPY t TO '/tmp/x'", "COPY", NOTHING, forbidden=True),
    Case("COPY t TO STDOUT", "COPY", NOTHING, forbidden=True),
)  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.sql)
def test_properties_of_statements(case: Case) -> None:
    """Each statement's name, trace, targets and obstacles are told from its parse tree."""
    found = only(case.sql)
    assert (found.kind, found.nature, found.writes) == (case.kind, case.nature, case.writes)
    assert (found.solo, bool(found.forbidden)) == (case.solo, case.forbidden)
    assert found.reach_known is case.reach_known
    assert (found.control, found.block, found.adds_enum_value) == (None, None, False)


@pytest.mark.parametrize(
    ("sql", "elsewhere"),
    [
        ("CREATE ROLE r", True),
        ("ALTER ROLE r SET a = 1", True),
        ("GRANT r TO q", True),
        ("COMMENT ON ROLE r IS 'x'", True),
        ("ALTER ROLE r RENAME TO q", False),  # facts name roles
        ("DROP OWNED BY r", False),
        ("REASSIGN OWNED BY r TO q", False),
        ("DROP SUBSCRIPTION s", False),
        ("GRANT SELECT ON t TO r", False),
    ],
)
def test_what_only_the_server_shows_is_marked(sql: str, elsewhere: bool) -> None:
    """Once it ran, nothing of it is missing in a shadow, which is a database of that server."""
    assert only(sql).elsewhere is elsewhere


def test_new_enum_value_is_marked() -> None:
    """A new value of an enum is marked, because it cannot be used before a COMMIT."""
    assert only("ALTER TYPE e ADD VALUE IF NOT EXISTS 'x' BEFORE 'y'").adds_enum_value


@pytest.mark.parametrize(
    ("script", "natures"),
    [
        ("CREATE TEMP TABLE x (a int); CREATE INDEX ON x (a); INSERT INTO x VALUES (1)",
         [SESSION, SESSION, SESSION]),
        ("CREATE TEMP TABLE x (a int); DROP TABLE x; INSERT INTO x VALUES (2)",
         [SESSION, SESSION, DATA]),
        ("CREATE TEMP TABLE x (a int); CREATE TABLE x (a int); INSERT INTO public.x VALUES (1)",
         [SESSION, CATALOG, DATA]),
        ("CREATE TEMP TABLE x (a int); INSERT INTO x SELECT my_func()", [SESSION, DATA]),
        ("CREATE TEMP TABLE x (a int); WITH d AS (DELETE FROM x RETURNING *) INSERT INTO y TABLE d",
         [SESSION, DATA]),
        ("CREATE TEMP TABLE x ON COMMIT DROP AS SELECT 1; DELETE FROM x", [SESSION, DATA]),
        ("CREATE TEMP TABLE x (a int); ALTER TABLE x RENAME TO y; DELETE FROM x",
         [SESSION, SESSION, DATA]),
        ("CREATE TEMP TABLE x (a int); DISCARD TEMP; DELETE FROM x", [SESSION, SESSION, DATA]),
    ],
)  # fmt: skip
def test_own_temporary_tables(script: str, natures: list[Nature]) -> None:
    """What happens only to the script's own temporary tables is gone with the session."""
    assert [statement.nature for statement in parse(script).statements] == natures


@pytest.mark.parametrize("levels", [60, 5000])
def test_deep_expressions(levels: int) -> None:
    """A statement too deep to be looked into is split off exactly and never taken for harmless."""
    deep = "||".join(["b"] * levels)
    update, index, view, table, after = parse(
        f"UPDATE t SET a = {deep};\nCREATE INDEX CONCURRENTLY i ON t (({deep}));\n"
        f"CREATE VIEW v AS SELECT {deep};\n"
        f"CREATE TEMP TABLE x AS SELECT {deep};\nSELECT 1"
    ).statements
    assert (update.kind, update.nature, update.reach_known) == ("UPDATE", DATA, False)
    assert (index.kind, index.nature, index.solo) == ("CREATE INDEX", CATALOG, True)
    assert (view.kind, view.nature, view.line) == ("CREATE VIEW", CATALOG, 3)
    assert (table.kind, table.nature) == ("CREATE TABLE", SESSION)
    assert (after.sql, after.line, after.reach_known) == ("SELECT 1", 5, True)


# --- offsets -------------------------------------------------------------------------

SPLITS: dict[str, tuple[str, list[tuple[int, str]]]] = {
    "empty": ("", []),
    "comments only": ("-- nothing; here\n/* nor ; here */\n", []),
    "semicolons only": (" ;; ; ", []),
    "empty statements": (";;SELECT 1;;;\n;SELECT 2;;", [(1, "SELECT 1"), (2, "SELECT 2")]),
    "no last semicolon": ("SELECT 1;\nSELECT 2\n", [(1, "SELECT 1"), (2, "SELECT 2")]),
    "comments around": (
        "-- CreateTable\n/* a; */ SELECT 1 -- b;\n;\n-- c\nSELECT 2 /* d */",
        [(2, "SELECT 1"), (5, "SELECT 2")],
    ),
    "comment within": (
        "SELECT 1 -- ;\n, 2; SELECT 3",
        [(1, "SELECT 1 -- ;\n, 2"), (2, "SELECT 3")],
    ),
    "comment repeats it": ("-- SELECT 1\nSELECT 1", [(2, "SELECT 1")]),
    "nested comment": ("/* /* ; */ é; */ SELECT 1", [(1, "SELECT 1")]),
    "dollar quotes": (
        "DO $é$ BEGIN\n NULL; END; $é$;\nSELECT $$;$$",
        [(1, "DO $é$ BEGIN\n NULL; END; $é$"), (3, "SELECT $$;$$")],
    ),
    "escaped strings": (
        "SELECT E'\\';\\n'; SELECT 'a'';'; SELECT 'x\n;\ny' ; SELECT 4",
        [(1, "SELECT E'\\';\\n'"), (1, "SELECT 'a'';'"), (1, "SELECT 'x\n;\ny'"), (3, "SELECT 4")],
    ),
    "several bytes a character": (
        "-- é€𝄞\nSELECT 'é€𝄞' AS \"ü;\";\n-- 漢字\nSELECT 2",
        [(2, "SELECT 'é€𝄞' AS \"ü;\""), (4, "SELECT 2")],
    ),
    "CRLF": ("-- a\r\nSELECT\r\n 1;\r\n\r\nSELECT 2;\r\n", [(2, "SELECT\r\n 1"), (5, "SELECT 2")]),
    "byte order mark": ("\ufeffSELECT 1;\nSELECT 2", [(1, "SELECT 1"), (2, "SELECT 2")]),
    "byte order mark alone": ("\ufeff", []),
    "BEGIN ATOMIC": (
        "CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT 1; SELECT 2; END; SELECT 3",
        [
            (1, "CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT 1; SELECT 2; END"),
            (1, "SELECT 3"),
        ],
    ),
    "rule": (
        "CREATE RULE r AS ON INSERT TO t DO (SELECT 1; SELECT 2); SELECT 3",
        [(1, "CREATE RULE r AS ON INSERT TO t DO (SELECT 1; SELECT 2)"), (1, "SELECT 3")],
    ),
}


def assert_exact(text: str, expected: list[tuple[int, str]]) -> None:
    """These statements are found, on these lines, and where their offsets say."""
    statements = parse(text).statements
    assert [(statement.line, statement.sql) for statement in statements] == expected
    assert [statement.index for statement in statements] == list(range(1, len(expected) + 1))
    for statement in statements:
        assert text[statement.start : statement.end] == statement.sql


@pytest.mark.parametrize("name", SPLITS)
def test_statements_are_cut_exactly(name: str) -> None:
    """Each statement is found with its exact text, its place in the file and its line."""
    assert_exact(*SPLITS[name])


STATEMENTS = st.sampled_from(
    [
        "SELECT 1",
        "SELECT 'é;'",
        'CREATE TABLE "Ü;" (\n  a int -- ;\n)',
        "DO $$ BEGIN\r\n NULL; END $$",
        "INSERT INTO t VALUES (E'\\';', '--', '/*')",
        "CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT 1; END",
        "BEGIN",
        "COMMIT",
        "(SELECT 1) UNION SELECT 2",
        "WITH a AS (SELECT 1) DELETE FROM t",
    ]
)
NOISE = st.lists(
    st.sampled_from([" ", "\n", "\r\n", "\t", "-- é; 'x\n", "/* ; 漢 /* */ $$ \n*/", "--\n"]),
    max_size=4,
).map("".join)
SEPARATORS = st.tuples(NOISE, st.sampled_from([";", ";;", "; ;"]), NOISE).map("".join)


@given(
    before=NOISE,
    pairs=st.lists(st.tuples(STATEMENTS, SEPARATORS), max_size=8),
    last=st.none() | st.tuples(STATEMENTS, NOISE),
    mark=st.sampled_from(["", "\ufeff"]),
)
def test_any_mixture_is_taken_apart_again(
    before: str, pairs: list[tuple[str, str]], last: tuple[str, str] | None, mark: str
) -> None:
    """Statements joined by any comments, line ends and semicolons come back as they were."""
    text, expected = mark + before, []
    for sql, separator in [*pairs, *([last] if last else [])]:
        expected.append((1 + text.count("\n"), sql))
        text += sql + separator
    assert_exact(text, expected)


@given(st.text(alphabet=st.sampled_from("a1 ;'\"$-/*\\\n\réE()\ufeff\0"), max_size=40))
def test_any_text_is_split_or_refused(text: str) -> None:
    """No text makes the parser fail in another way than by saying which line is wrong."""
    try:
        statements = parse(text).statements
    except ScriptError as error:
        wrong = error.line
    else:
        wrong = 1
        assert all(text[found.start : found.end] == found.sql for found in statements)
    assert 1 <= wrong <= 1 + text.count("\n")


# --- blocks --------------------------------------------------------------------------

BLOCKS = [
    # script, block of each statement, boundaries
    ("SELECT 1; SELECT 2", [None, None], (0, 1, 2)),
    ("BEGIN; SELECT 2; COMMIT; SELECT 4", [1, 1, 1, None], (0, 3, 4)),
    ("SELECT 1; START TRANSACTION; END", [None, 1, 1], (0, 1, 3)),
    ("BEGIN; COMMIT; BEGIN; SELECT 4; COMMIT", [1, 1, 2, 2, 2], (0, 2, 5)),
    ("BEGIN; BEGIN; COMMIT; SELECT 4", [1, 1, 1, None], (0, 3, 4)),
    ("SELECT 1; COMMIT; SELECT 3", [None, None, None], (0, 1, 2, 3)),
    ("BEGIN; SAVEPOINT a; RELEASE a; COMMIT", [1, 1, 1, 1], (0, 4)),
    ("BEGIN; SAVEPOINT a; ROLLBACK TO a; SELECT 4; COMMIT", [1, 1, 1, 1, 1], (0, 5)),
    ("BEGIN; SELECT 2; ROLLBACK; SELECT 4", [1, 1, 1, None], (0, 3, 4)),
    ("BEGIN; PREPARE TRANSACTION 'x'; SELECT 3", [1, 1, None], (0, 2, 3)),
]


@pytest.mark.parametrize(("text", "blocks", "boundaries"), BLOCKS)
def test_blocks(text: str, blocks: list[int | None], boundaries: tuple[int, ...]) -> None:
    """Explicit transactions are numbered; nothing persists between their BEGIN and their end."""
    script = parse(text)
    assert [statement.block for statement in script.statements] == blocks
    assert script.boundaries == boundaries


@pytest.mark.parametrize(
    ("sql", "kind", "control", "forbidden"),
    [
        ("BEGIN ISOLATION LEVEL SERIALIZABLE", "BEGIN", Control.BEGIN, True),
        ("START TRANSACTION", "START TRANSACTION", Control.BEGIN, True),
        ("COMMIT WORK", "COMMIT", Control.COMMIT, False),
        ("END", "COMMIT", Control.COMMIT, False),
        ("ABORT", "ROLLBACK", Control.ROLLBACK, False),
        ("ROLLBACK", "ROLLBACK", Control.ROLLBACK, False),
        ("SAVEPOINT a", "SAVEPOINT", Control.SAVEPOINT, False),
        ("RELEASE a", "RELEASE", Control.SAVEPOINT, False),
        ("ROLLBACK TO a", "ROLLBACK TO", Control.SAVEPOINT, False),
        ("COMMIT AND CHAIN", "COMMIT", Control.COMMIT, True),
        ("PREPARE TRANSACTION 'x'", "PREPARE TRANSACTION", Control.ROLLBACK, True),
        ("COMMIT PREPARED 'x'", "COMMIT PREPARED", Control.COMMIT, True),
        ("ROLLBACK PREPARED 'x'", "ROLLBACK PREPARED", Control.ROLLBACK, True),
    ],
)
def test_transaction_control(sql: str, kind: str, control: Control, forbidden: bool) -> None:
    """Transaction control is told apart, and what outlives or hides a transaction is refused."""
    found = only(sql)
    assert (found.kind, found.nature, found.control) == (kind, Nature.CONTROL, control)
    assert bool(found.forbidden) is forbidden
    assert found.solo is ("PREPARED" in kind)


def test_block_left_open_is_refused() -> None:
    """A BEGIN without COMMIT is refused, because PostgreSQL rolls its block back in the end."""
    first, begin, inside = parse("BEGIN; COMMIT; BEGIN; SELECT 4").statements[1:]
    assert (first.forbidden, inside.forbidden) == ("", "")
    assert "never committed" in begin.forbidden


# --- refusals ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "line", "word"),
    [
        ("SELECT 1;\nSELEC 2;\n", 2, "SELEC"),
        ("-- é€\r\nSELECT 'é';\r\n\r\n  SELEC 2", 4, "SELEC"),
        ("\ufeff\nSELEC 2", 2, "SELEC"),
        ("SELECT 1;\n\ufeffSELECT 2", 2, "SELECT"),
        ("SELECT 1;\n\\connect other\n", 2, "\\"),
        ("COPY t FROM STDIN;\n1\ta\n\\.\n", 2, "1"),
        ("<<<<<<< HEAD\nSELECT 1;\n", 1, "<<"),
        ("CREATE TABLE t (\n  a int", 2, "end of input"),
        ("SELECT 1;\nSELECT 'a;\n", 2, "unterminated"),
        ("SELECT 1;\n/* a", 2, "unterminated"),
        ("SELECT 1;\nDROP TABLE t;\0", 2, "zero byte"),
        ("SELECT " + "(" * 20_000, 1, "memory exhausted"),
    ],
)
def test_refused_text(text: str, line: int, word: str) -> None:
    """Text which PostgreSQL's parser refuses is an error that names the line and the reason."""
    with pytest.raises(ScriptError) as caught:
        parse(text)
    assert caught.value.line == line
    assert word in caught.value.message
    assert str(caught.value) == f"line {line}: {caught.value.message}"
    assert caught.value.exit_code is ExitCode.HALTED


# --- extensions ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ('CREATE EXTENSION IF NOT EXISTS "uuid-ossp" SCHEMA public; create extension CITEXT',
         ("uuid-ossp", "citext")),
        ("-- CREATE EXTENSION citext;\nDROP EXTENSION hstore; SELECT 'CREATE EXTENSION x'", ()),
        ("this is no SQL", ()),
    ],
)  # fmt: skip
def test_created_extensions(text: str, names: tuple[str, ...]) -> None:
    """The extensions which a script needs are named without parsing scripts that need none."""
    assert created_extensions(text) == names


@pytest.mark.parametrize(
    ("sql", "creates"),
    [
        ("CREATE TABLE t (a int)", ("t",)),
        ('CREATE TABLE "App".t PARTITION OF u FOR VALUES IN (1)', ('"App".t',)),
        ("CREATE TABLE t AS SELECT 1", ("t",)),
        ("SELECT 1 INTO t", ("t",)),
        ("CREATE VIEW v AS SELECT 1", ("v",)),
        ("CREATE MATERIALIZED VIEW v AS SELECT 1", ("v",)),
        ("CREATE SEQUENCE s", ("s",)),
        ("CREATE TEMP TABLE t (a int)", ()),
        ("CREATE INDEX i ON t (a)", ()),
        ("ALTER TABLE t ADD COLUMN a int", ()),
        ("INSERT INTO t VALUES (1)", ()),
    ],
)
def test_the_lasting_relations_that_a_statement_creates(sql: str, creates: tuple[str, ...]) -> None:
    """Without a shadow they must at least be there by name."""
    assert only(sql).creates == creates
