"""Scripts that make roles, which are the server's, or set their session from within a block.

Each is stopped at every boundary. It ends as a clean run leaves it, database and roles, or
untouched with a reason; a shadow on the same server never makes or changes a role.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from sidecar import app
from sidecar.demo import SCHEMA
from sidecar.script import parse
from tests import incident
from tests.command import Said, said
from tests.incident import BEFORE, Migration
from tests.postgres import Database, Server, fresh_database
from tests.running import settings

LEDGER = f"{SCHEMA}._prisma_migrations"

GUARDED = """DO $$ BEGIN
  IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = '{role}') THEN
    CREATE ROLE {role} NOLOGIN;
    GRANT pg_monitor TO {role};
  END IF;
END $$;
"""
CAUGHT = """DO $$ BEGIN
  CREATE ROLE {role}; EXCEPTION WHEN duplicate_object THEN RAISE NOTICE 'there';
END $$;
"""
GRANTS = """GRANT USAGE ON SCHEMA momentum TO {role};
GRANT SELECT ON ALL TABLES IN SCHEMA momentum TO {role};
ALTER DEFAULT PRIVILEGES IN SCHEMA momentum GRANT SELECT ON TABLES TO {role};
"""
ADD = 'ALTER TABLE "mm_board" ADD COLUMN "{column}" INTEGER;\n'
A, B, C = (ADD.replace("{column}", column) for column in "abc")

ABSENT = "would change roles or settings of the whole server"
LEFT_OUT = "CREATE ROLE) was not run there: it changes the whole server"


THERE, NEW = True, False


@dataclass(frozen=True)
class World:
    """A script, whether its role is there before, and why which boundaries are refused."""

    sql: str
    there: bool
    refused: dict[int, str]


WORLDS = {
    "guarded, there": World(A + GUARDED + GRANTS + B, THERE, {}),
    "guarded, new": World(A + GUARDED + GRANTS + B, NEW, {0: ABSENT, 1: ABSENT}),
    "caught, there": World(CAUGHT + GRANTS + A, THERE, {}),
    "caught, new": World(CAUGHT + GRANTS + A, NEW, {0: ABSENT}),
    "guarded last, there": World(A + GUARDED, THERE, {}),
    "guarded last, new": World(A + GUARDED, NEW, {0: ABSENT, 1: ABSENT}),
    "put together": World(
        A + "DO $$ BEGIN EXECUTE format('GRANT CONNECT ON DATABASE %I TO {role}', "
        "current_database()); END $$;\n" + B, THERE, {},
    ),
    "unguarded, new": World(
        A + "CREATE ROLE {role} NOLOGIN;\n" + GRANTS + B, NEW,
        {0: LEFT_OUT, 1: LEFT_OUT, 2: "2 (line 2, CREATE ROLE)"},
    ),
    "unguarded last": World(
        A + "CREATE ROLE {role};\n", NEW, dict.fromkeys(range(3), "2 (line 2, CREATE ROLE)"),
    ),
    "about a role": World(
        A + "COMMENT ON ROLE {role} IS 'the backend';\nALTER ROLE {role} NOINHERIT;\n"
        "GRANT pg_monitor TO {role};\n" + B + C, THERE,
        dict.fromkeys(range(5), "2 (line 2, COMMENT)"),
    ),
    "in a block": World(
        "BEGIN;\nCREATE ROLE {role};\n" + A + "COMMIT;\n" + GRANTS + B, NEW,
        {0: LEFT_OUT},
    ),
    "defaults of a role": World(
        A + "ALTER ROLE {role} SET statement_timeout = '5s';\n" + B + C, THERE,
        {
            **dict.fromkeys(range(3), "2 (line 2, ALTER ROLE)"),
            3: "changed the settings that sessions since then begin with",
        },
    ),
    "defaults of a role, in a block of PL/pgSQL": World(
        A + "DO $$ BEGIN ALTER ROLE {role} SET statement_timeout = '5s'; END $$;\n" + B, THERE,
        dict.fromkeys(range(4), ABSENT),
    ),
    "made by a function": World(
        "CREATE FUNCTION make() RETURNS void LANGUAGE plpgsql AS "
        "$$ BEGIN EXECUTE 'CREATE ' || 'ROLE {role}'; END $$;\nSELECT make();\n" + A, NEW,
        dict.fromkeys(range(2), ABSENT),
    ),
}  # fmt: skip

STATES = [
    (world, k)
    for world, it in WORLDS.items()
    for k in parse(it.sql.replace("{role}", "r")).boundaries
    if world != "made by a function" or k < 2
]


@pytest.fixture
def role(latest: Server) -> Iterator[str]:
    """The name of a role that a test's scripts may make; it is gone when its databases are."""
    yield from _name_on(latest)


@pytest.fixture
def role_there(server: Server) -> Iterator[str]:
    """The same on every supported version in turn; this role is there."""
    for name in _name_on(server):
        server.run_sql(f"CREATE ROLE {name}")
        yield name


def _name_on(server: Server) -> Iterator[str]:
    name = f"made_{uuid.uuid4().hex[:12]}"
    yield name
    server.run_sql(f"DROP ROLE IF EXISTS {name}")


def migration(sql: str, role: str) -> Migration:
    """The script that fails, about this role."""
    return Migration("20251220100000_roles", sql.replace("{role}", role))


def plant(
    database: Database, failed: Migration, statements: int, rows: str = "", owner: str = "DEFAULT"
) -> None:
    """The history, and so many statements of the failed migration, with a session of its own."""
    if owner != "DEFAULT":
        database.execute(f"ALTER DATABASE {database.name} OWNER TO {owner}")
    with database.connect() as connection:
        connection.execute(f"SET SESSION AUTHORIZATION {owner}")
        incident.clean_run(connection, BEFORE)
        connection.execute(rows)
        incident.start(connection, failed)
        for statement in parse(failed.sql).statements[:statements]:
            connection.execute(statement.sql)
        connection.execute("SELECT pg_current_xact_id()")  # somebody is at work on the server


def repair(database: Database, failed: Migration, home: Path, **variables: str) -> Said:
    """What `run` does about it."""
    folder = incident.write_migrations(home / "migrations", (*BEFORE, failed))
    return said(app.run, settings(database, folder, **variables))


def clean_dump(server: Server, failed: Migration, rows: str = "") -> str:
    """What a clean run of the failed migration leaves."""
    with fresh_database(server) as database:
        plant(database, failed, len(parse(failed.sql).statements), rows)
        return dump(database)


def dump(database: Database) -> str:
    """The database but its ledger, and what the server knows of roles."""
    roles = database.execute(
        "SELECT r.rolname, r.rolinherit, r.rolcanlogin, r.rolconfig, "
        "shobj_description(r.oid, 'pg_authid'), ARRAY(SELECT m.roleid::regrole::text "
        "FROM pg_auth_members m WHERE m.member = r.oid) FROM pg_roles r "
        "WHERE r.rolname LIKE 'made%' ORDER BY 1"
    )
    return f"{database.dump(exclude_tables=(LEDGER,))}\n{roles}"


@pytest.mark.parametrize(("world", "statements"), STATES)
def test_a_role_is_never_made_by_us_and_hinders_nothing_once_it_is_there(
    role: str, latest_database: Database, tmp_path: Path, world: str, statements: int
) -> None:
    """Repaired exactly, or untouched with a reason; what is past hinders nothing."""
    database, it = latest_database, WORLDS[world]
    failed = migration(it.sql, role)
    make = f"CREATE ROLE {role}; COMMENT ON ROLE {role} IS 'before'" if it.there else "SELECT 1"
    database.server.run_sql(make)
    clean = clean_dump(database.server, failed)
    database.server.run_sql(f"DROP ROLE IF EXISTS {role}")
    database.server.run_sql(make)
    plant(database, failed, statements)
    before = dump(database), database.dump()
    done = repair(database, failed, tmp_path)
    if statements in it.refused:
        assert done.code == 3, done.what
        assert it.refused[statements] in done.what
        assert (dump(database), database.dump()) == before
    else:
        assert done.code == 0, done.what
        assert dump(database) == clean


@pytest.mark.parametrize("statements", range(7))
def test_a_role_that_may_make_no_roles(
    role_there: str, database: Database, tmp_path: Path, statements: int
) -> None:
    """On every version of PostgreSQL, and as it is run in production: the role is there."""
    login, failed = database.role(createdb=True), migration(A + GUARDED + GRANTS + B, role_there)
    with fresh_database(database.server) as other:
        plant(other, failed, 6, owner=login.name)
        clean = dump(other)
    plant(database, failed, statements, owner=login.name)
    url = database.url(user=login.name, password=login.password, schema=SCHEMA)
    done = repair(database, failed, tmp_path, DATABASE_URL=url)
    assert (done.code, dump(database)) == (0, clean), done.what


def test_who_knows_that_it_ran_says_so(
    role: str, latest_database: Database, tmp_path: Path
) -> None:
    """A role that is there was made by somebody: by the script, for all that can be seen."""
    failed = migration(A + "CREATE ROLE {role};\n" + GRANTS, role)
    clean = clean_dump(latest_database.server, failed)
    latest_database.server.run_sql(f"DROP ROLE {role}")
    plant(latest_database, failed, 2)
    done = repair(latest_database, failed, tmp_path, SIDECAR_DATA_STATEMENTS="assume-run")
    assert (done.code, dump(latest_database)) == (0, clean), done.what


def test_a_guard_that_opens_in_the_live_database_alone(
    role: str, latest_database: Database, tmp_path: Path
) -> None:
    """What the shadow could not show is taken back before COMMIT: no role is made."""
    guard = "DO $$ BEGIN IF EXISTS (SELECT FROM pg_class WHERE relname = 'by_hand') THEN"
    failed = migration(A + guard + " CREATE ROLE {role}; END IF; END $$;\n", role)
    plant(latest_database, failed, 1)
    latest_database.execute("CREATE TABLE momentum.by_hand ()")
    before = dump(latest_database), latest_database.dump()
    done = repair(latest_database, failed, tmp_path)
    assert done.code == 4, done.what
    assert ABSENT in done.what
    assert (dump(latest_database), latest_database.dump()) == before


def test_a_guarded_role_in_the_history(
    role: str, latest_database: Database, tmp_path: Path
) -> None:
    """What else its block did is there in the shadow, so that a change of it is seen."""
    revoke, grants = "REVOKE SELECT ON mm_board FROM {role};", "GRANT SELECT ON mm_board TO {role};"
    database, failed = latest_database, migration(A + revoke, role)
    guarded = GUARDED.replace("END IF;", f"END IF; {grants}")
    past = Migration("20251219100000_role", guarded.replace("{role}", role))
    with database.connect() as connection:
        incident.clean_run(connection, BEFORE)
        row = incident.start(connection, past)
        connection.execute(past.sql)
        incident.finish(connection, row)
        incident.start(connection, failed)
        connection.execute(parse(failed.sql).statements[0].sql)
    folder = incident.write_migrations(tmp_path / "migrations", (*BEFORE, past, failed))
    done = said(app.run, settings(database, folder))
    assert done.code == 0, done.what
    granted = "SELECT has_table_privilege(%s, 'momentum.mm_board', 'SELECT')"
    assert database.execute(granted, [role]) == [(False,)]


# --- settings --------------------------------------------------------------------

PATH = "DO $$ BEGIN PERFORM set_config('search_path', 'audit', false); END $$;\n"
FLAG = """DO $$ DECLARE has BOOLEAN; BEGIN
  SELECT EXISTS (SELECT FROM pg_extension WHERE extname = 'pg_cron') INTO has;
  PERFORM set_config('my.has_cron', has::text, false);
END $$;
"""
USES_FLAG = """UPDATE "mm_issue" SET "flag" = current_setting('my.has_cron') WHERE "flag" IS NULL;
"""
LOCAL = "DO $$ BEGIN SET LOCAL search_path = audit; END $$;\n"
TABLES = 'CREATE TABLE "one" (id INT);\nCREATE TABLE "two" (id INT);\n'
AUDIT = "CREATE SCHEMA audit;\n"
FLAGS = 'ALTER TABLE "mm_issue" ADD COLUMN "flag" TEXT;\n'

SETTINGS = {
    "a path": (AUDIT + PATH + TABLES, {}),
    "a path by SET": (AUDIT + "DO $$ BEGIN SET search_path = audit; END $$;\n" + TABLES, {}),
    "a flag": (FLAG + A + FLAGS + USES_FLAG + B, {}),
    "a local path": (
        AUDIT + LOCAL + TABLES,
        dict.fromkeys(range(3), "sets what its engine's transaction had"),
    ),
    "a local path, in its block": (AUDIT + "BEGIN;\n" + LOCAL + 'CREATE TABLE "one" (id INT);\n'
                                   "COMMIT;\n" + 'CREATE TABLE "two" (id INT);\n', {}),
    "a local flag, beside a change of rows": (
        "DO $$ BEGIN PERFORM set_config('DateStyle', 'German', true); "
        "UPDATE mm_issue SET title = title || '!'; END $$;\n" + FLAGS
        + "UPDATE mm_issue SET flag = '2025-12-01'::date::text WHERE flag IS NULL;\n",
        dict.fromkeys((0, 1), "1 (line 1, DO)"),
    ),
    "a function that is not there, behind a guard": (
        A + "DO $$ BEGIN IF EXISTS (SELECT FROM pg_extension WHERE extname = 'pg_cron') THEN "
        "PERFORM cron.schedule('a', '* * * * *', 'SELECT 1'); END IF; END $$;\n" + B + C,
        dict.fromkeys((1, 2), "2 (line 2, DO)"),
    ),
    "a temporary table": (
        "DO $$ BEGIN CREATE TEMP TABLE pick (id INT); END $$;\n" + A + B,
        dict.fromkeys((2,), "made temporary objects"),
    ),
    "what a statement changes since": (
        "SELECT set_config('my.n', (SELECT max(id)::text FROM mm_issue), false);\n"
        "INSERT INTO mm_issue (board_id, title) VALUES ('b1', 'new');\n"
        + FLAGS + USES_FLAG.replace("my.has_cron", "my.n") + B,
        dict.fromkeys(range(3), "2 (line 2, INSERT)")
        | dict.fromkeys((3, 4), "may be other now"),
    ),
}  # fmt: skip
ROWS = """
INSERT INTO momentum.mm_board (id, name, created_at) VALUES ('b1', 'Platform', '2025-12-01');
INSERT INTO momentum.mm_issue (board_id, title) VALUES ('b1', 'one'), ('b1', 'two');
"""


@pytest.mark.parametrize(
    ("case", "statements"),
    [(case, k) for case, (sql, _) in SETTINGS.items() for k in parse(sql).boundaries],
)
def test_settings_made_in_a_block(
    latest_database: Database, tmp_path: Path, case: str, statements: int
) -> None:
    """They are made again where they come out the same, and the refusal says what they are."""
    sql, refused = SETTINGS[case]
    database, failed = latest_database, migration(sql, "")
    clean = clean_dump(database.server, failed, ROWS)
    plant(database, failed, statements, ROWS)
    before = database.dump()
    done = repair(database, failed, tmp_path)
    if statements in refused:
        assert (done.code, database.dump()) == (3, before), done.what
        assert refused[statements] in done.what
    else:
        assert done.code == 0, done.what
        assert dump(database) == clean
