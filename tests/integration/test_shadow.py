"""Where a shadow comes from, and histories that are hard to replay."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote

import pytest
from psycopg import Connection

from sidecar import script as scripts
from sidecar.db import Row, Session
from sidecar.errors import ExitCode
from sidecar.model import FindingName, Ledger, LedgerRow, MigrationName
from sidecar.replay import Past, replay
from sidecar.shadow import MARK, PREFIX, Live, Shadow
from tests import running
from tests.command import Said, Scene, shadows, unchanged
from tests.incident import Migration
from tests.integration.test_ledger_and_folder import assert_like_a_clean_run, outcome
from tests.postgres import Database, Role, Server, Servers, fresh_database
from tests.waiting import until

INIT = Migration("1_init", "CREATE TABLE item (id int PRIMARY KEY, code text NOT NULL);\n")
TAGS = Migration(
    "2_tags", "CREATE TABLE tag (id int NOT NULL);\nCREATE INDEX tag_id ON tag (id);\n"
)


@pytest.fixture
def scene(latest_database: Database, tmp_path: Path) -> Scene:
    """A database of its own, and a folder that tests fill."""
    return Scene(latest_database, tmp_path / "migrations")


@pytest.fixture
def given(latest: Server) -> Iterator[Database]:
    """An empty database to name in SHADOW_DATABASE_URL."""
    with fresh_database(latest) as database:
        yield database


def planted_by(scene: Scene, *, createdb: bool) -> tuple[Role, dict[str, str]]:
    """Plant as a plain role that owns the database; the role, and the settings to log in as it."""
    role = scene.database.role(createdb=createdb)
    scene.plant(1, TAGS, INIT, role=role)
    url = scene.database.url(user=role.name, password=role.password, schema="public")
    return role, {"DATABASE_URL": url}


# --- the ladder ---------------------------------------------------------------------


def test_a_role_with_createdb_needs_nothing_else(database: Database, tmp_path: Path) -> None:
    """CREATEDB is enough: a shadow on the same server, gone afterwards."""
    scene = Scene(database, tmp_path / "migrations")
    _, login = planted_by(scene, createdb=True)
    ended = scene.run(**login, SIDECAR_SHADOW="server")
    assert outcome(ended) == (0, "repaired")
    assert shadows(database) == []


def test_without_createdb_the_private_server_serves(database: Database, tmp_path: Path) -> None:
    """A private PostgreSQL 18: repaired where it compares, else undetermined and untouched."""
    scene = Scene(database, tmp_path / "migrations")
    role, login = planted_by(scene, createdb=False)
    if database.server.major == 18:
        assert outcome(scene.run(**login)) == (0, "repaired")
        assert_like_a_clean_run(scene, INIT, TAGS, role=role)
        return
    with unchanged(database):
        ended = scene.run(**login)
    assert outcome(ended) == (3, "halted")
    assert ended.finding.name is FindingName.UNDETERMINED
    assert "another major version" in ended.finding.missing[0]


def test_a_private_server_of_another_version_is_no_guess(scene: Scene) -> None:
    """Where both versions spell the touched facts alike, another version is good enough."""
    add = Migration("2_add", "ALTER TABLE item ADD COLUMN a int;\nCREATE INDEX a ON item (a);\n")
    scene.plant(1, add, INIT)
    assert outcome(scene.run(SIDECAR_SHADOW="embedded")) == (0, "repaired")
    assert_like_a_clean_run(scene, INIT, add)


@pytest.mark.parametrize("rung", ["none", "server"])
def test_without_a_shadow_the_three_ways_are_named(scene: Scene, rung: str) -> None:
    """No shadow, no finding: the missing right is named, and the three ways to a shadow."""
    _, login = planted_by(scene, createdb=False)
    with unchanged(scene.database):
        ended = scene.run(**login, SIDECAR_SHADOW=rung)
    assert outcome(ended) == (3, "halted")
    assert ended.finding.name is FindingName.UNDETERMINED
    (missing,) = ended.finding.missing
    for way in ("CREATEDB", "SHADOW_DATABASE_URL", "private PostgreSQL"):
        assert way in missing
    assert ("switched off" if rung == "none" else "lacks CREATEDB") in missing


# --- SHADOW_DATABASE_URL ------------------------------------------------------------


def with_given(scene: Scene, url: str) -> Said:
    """A run with this SHADOW_DATABASE_URL."""
    return scene.run(SHADOW_DATABASE_URL=url)


@pytest.mark.parametrize("spelling", ["same", "localhost", "socket"])
def test_the_live_database_is_no_shadow(scene: Scene, spelling: str) -> None:
    """However it is spelled, the database itself is refused: exit 2, nothing touched."""
    scene.plant(1, TAGS, INIT)
    url, server = scene.database.url(), scene.database.server
    url = {
        "same": url,
        "localhost": url.replace("127.0.0.1", "localhost"),
        "socket": f"{url}?host={quote(str(server.socket_dir), safe='')}",
    }[spelling]
    with unchanged(scene.database):
        ended = with_given(scene, url)
    assert ended.code == ExitCode.USAGE
    assert "SHADOW_DATABASE_URL leads to the database it should be a shadow of" in ended.what


@pytest.mark.parametrize(
    "held",
    [
        "CREATE TABLE t (id int)",
        "CREATE TYPE t AS ENUM ('a')",
        "CREATE FUNCTION f() RETURNS int LANGUAGE sql RETURN 1",
        "CREATE SCHEMA app",
    ],
)
def test_a_database_in_use_is_no_shadow(scene: Scene, given: Database, held: str) -> None:
    """A database which holds anything is refused and left alone: exit 2."""
    scene.plant(1, TAGS, INIT)
    given.execute(held.replace("RETURN 1", "AS 'SELECT 1'"))
    with unchanged(scene.database), unchanged(given):
        ended = with_given(scene, given.url())
    assert ended.code == ExitCode.USAGE
    assert "is not empty" in ended.what


def test_a_given_database_is_used_and_left_empty(scene: Scene, given: Database) -> None:
    """An empty database serves, run after run, and is as empty afterwards."""
    with unchanged(given):
        for _ in range(2):
            scene.plant(1, TAGS, INIT)
            assert outcome(with_given(scene, given.url())) == (0, "repaired")
            scene.database.execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
            remove(scene.folder)


def remove(folder: Path) -> None:
    """Empty the folder."""
    for path in sorted(folder.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()


def test_a_given_database_serves_a_plain_role(database: Database, tmp_path: Path) -> None:
    """A role that owns both databases and may do nothing else can use it, on every version."""
    scene = Scene(database, tmp_path / "migrations")
    role = database.role(createdb=False)
    with fresh_database(database.server) as given:
        for each in (database, given):
            each.execute(f"ALTER DATABASE {each.name} OWNER TO {role.name}")
            each.execute(f"GRANT ALL ON SCHEMA public TO {role.name}")
        scene.plant(1, TAGS, INIT, role=role)
        urls = {
            name: each.url(user=role.name, password=role.password)
            for name, each in (("DATABASE_URL", database), ("SHADOW_DATABASE_URL", given))
        }
        with unchanged(given):
            assert outcome(scene.run(**urls)) == (0, "repaired")
            assert outcome(scene.run(**urls)) == (0, "healthy")


def test_extensions_of_a_given_database_stay(scene: Scene, given: Database) -> None:
    """What an administrator installed there, because the role may not, is not taken away."""
    citext = Migration("1_init", "CREATE TABLE item (id int PRIMARY KEY, code citext NOT NULL);\n")
    for database in (scene.database, given):
        database.execute("CREATE EXTENSION citext")
    scene.plant(1, TAGS, citext)
    with unchanged(given):
        assert outcome(with_given(scene, given.url())) == (0, "repaired")


def test_what_a_killed_run_left_in_a_given_database_goes(scene: Scene, given: Database) -> None:
    """A run was killed in the middle of its replay: the next one removes what that left there."""
    given.execute("CREATE EXTENSION citext")
    waits = Migration("2_waits", "CREATE TABLE more ();\nSELECT pg_advisory_lock(4711);\n")
    scene.plant(1, TAGS, INIT, waits)
    with unchanged(given):
        with given.connect() as holder:
            holder.execute("SELECT pg_advisory_lock(4711)")
            with running.start(scene.given(SHADOW_DATABASE_URL=given.url())) as run:
                running.until_at(given, "%pg_advisory_lock(4711)%")
                run.send(signal.SIGKILL)
                run.wait()
        ours = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'migration-sidecar'"
        until(lambda: given.execute(ours) == [(0,)])
        assert given.execute("SELECT to_regclass('item') IS NOT NULL") == [(True,)]
        assert outcome(with_given(scene, given.url())) == (0, "repaired")


def test_default_privileges_of_a_given_database(scene: Scene, given: Database) -> None:
    """They would change what the replay makes, so a database that has them is not empty."""
    scene.plant(1, TAGS, INIT)
    given.execute("ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO PUBLIC")
    ended = with_given(scene, given.url())
    assert (ended.code, "default privileges" in ended.what) == (ExitCode.USAGE, True)


def test_rights_on_public_are_put_back(scene: Scene, given: Database) -> None:
    """What the history grants or revokes on the schema itself does not stay."""
    rights = Migration(
        "1_init",
        "REVOKE ALL ON SCHEMA public FROM PUBLIC;\nGRANT CREATE ON SCHEMA public TO PUBLIC;\n"
        "CREATE TYPE kind AS (a int);\nCREATE DOMAIN code AS citext;\n"
        "CREATE TABLE item (id int GENERATED ALWAYS AS IDENTITY, b bigserial, k kind, c code);\n"
        "CREATE STATISTICS s ON id, b FROM item;\nCREATE VIEW v AS TABLE item;\n"
        "CREATE FUNCTION f(item) RETURNS int LANGUAGE sql AS 'SELECT 1';\n"
        "CREATE AGGREGATE total(int) (sfunc = int4pl, stype = int);\n"
        "CREATE OPERATOR #-# (leftarg = int, rightarg = int, function = int4pl);\n"
        "CREATE TEXT SEARCH CONFIGURATION words (copy = simple);\n"
        'CREATE COLLATION alike FROM "C";\nCREATE SCHEMA more;\n',
    )
    for database in (scene.database, given):
        database.execute("CREATE EXTENSION citext")
    scene.plant(1, TAGS, rights)
    with unchanged(given):
        assert outcome(with_given(scene, given.url())) == (0, "repaired")
    assert given.execute("SELECT count(*) FROM pg_type WHERE typname = 'kind'") == [(0,)]


def test_a_given_database_that_cannot_be_reached(scene: Scene) -> None:
    """A wrong URL of the shadow is said, and nothing is done."""
    scene.plant(1, TAGS, INIT)
    with unchanged(scene.database):
        ended = with_given(scene, "postgresql://u@127.0.0.1:1/d")
    assert outcome(ended) == (3, "halted")
    assert "the shadow database cannot be reached" in ended.finding.missing[0]


# --- leftovers on the server --------------------------------------------------------


def test_shadows_of_killed_runs_are_dropped(scene: Scene) -> None:
    """The next run drops what killed runs for this very database left, and nothing else."""
    scene.plant(1, TAGS, INIT)
    server = scene.database.server
    oid = scene.database.execute("SELECT oid FROM pg_database WHERE datname = current_database()")
    mine, bare = f"{PREFIX}{oid[0][0]}_dead", f"{PREFIX}{oid[0][0]}_bare"
    others = [f"{PREFIX}1_other", f"{PREFIX}{oid[0][0]}_foreign"]
    try:
        for name in (mine, bare, *others):
            server.run_sql(f"CREATE DATABASE {name} TEMPLATE template0")
        server.run_sql(f"COMMENT ON DATABASE {mine} IS '{MARK}'")
        server.run_sql(f"COMMENT ON DATABASE {others[1]} IS 'somebody needs this'")
        assert outcome(scene.run()) == (0, "repaired")
        left = server.run_sql(
            "SELECT datname FROM pg_database WHERE starts_with(datname, %s)", [PREFIX]
        )
        assert sorted(name for (name,) in left if name in (mine, bare, *others)) == sorted(others)
    finally:
        for name in (mine, bare, *others):
            server.run_sql(f"DROP DATABASE IF EXISTS {name}")


# --- histories ----------------------------------------------------------------------

ENUM = "CREATE TYPE mood AS ENUM ('sad');\n"
HISTORIES = {
    "CREATE EXTENSION": (
        'CREATE EXTENSION IF NOT EXISTS "citext";\nCREATE EXTENSION "pgcrypto";\n'
        "CREATE TABLE item (code citext, salt text DEFAULT gen_salt('md5'));\n"
    ),
    "extension in a schema": (
        "CREATE SCHEMA ext;\nCREATE EXTENSION citext SCHEMA ext;\n"
        "CREATE TABLE item (code ext.citext NOT NULL);\n"
    ),
    "CONCURRENTLY": (
        "CREATE TABLE item (code text);\nCREATE INDEX CONCURRENTLY item_code ON item (code);\n"
        "DROP INDEX CONCURRENTLY item_code;\n"
    ),
    "enum value used at once": (
        f"{ENUM}ALTER TYPE mood ADD VALUE 'glad';\nCREATE TABLE item (code mood DEFAULT 'glad');\n"
    ),
    "blocks": (
        "BEGIN;\nCREATE TABLE item (code text);\nCOMMIT;\n"
        "BEGIN;\nALTER TABLE item ADD COLUMN more int;\nCOMMIT;\n"
    ),
    "a block that is taken back": (
        "CREATE TABLE item (code text);\nBEGIN;\nDROP TABLE item;\nROLLBACK;\n"
    ),
    "baseline of pg_dump": (
        "SET statement_timeout = 0;\nSET client_encoding = 'UTF8';\n"
        "SELECT pg_catalog.set_config('search_path', '', false);\nSET row_security = off;\n"
        "CREATE TABLE public.item (code text);\n"
    ),
    "reads the ledger": (
        "CREATE TABLE item (code text);\n"
        "INSERT INTO item SELECT migration_name FROM _prisma_migrations;\n"
    ),
    "needs rows": (
        "CREATE TABLE item (code text);\n"
        "INSERT INTO item SELECT 'x' FROM item HAVING count(*) > 0 AND 1 / count(*) > 0;\n"
    ),
    "a role that is on the server": (
        "CREATE TABLE item (code text);\nGRANT SELECT ON item TO PUBLIC;\n"
        "ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO PUBLIC;\n"
    ),
    "functions and triggers": (
        "CREATE TABLE item (code text);\n"
        "CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NEW; END $$;\n"
        "CREATE TRIGGER t BEFORE INSERT ON item FOR EACH ROW EXECUTE FUNCTION f();\n"
    ),
}


@pytest.mark.parametrize("history", HISTORIES)
def test_histories_that_are_hard_to_replay(scene: Scene, history: str) -> None:
    """What one message cannot hold, or an empty database cannot run, is replayed all the same."""
    init = Migration("1_init", HISTORIES[history])
    user = Migration(
        "2_use",
        "ALTER TABLE item ADD COLUMN more2 int;\nCREATE INDEX item_code_idx ON item (code);\n",
    )
    scene.plant(1, user, init)
    assert outcome(scene.run()) == (0, "repaired")
    assert_like_a_clean_run(scene, init, user)


def test_an_enum_value_of_the_history_is_used_later(scene: Scene) -> None:
    """A value that one migration adds and the failed one uses."""
    init, add = Migration("1_init", ENUM), Migration("2_add", "ALTER TYPE mood ADD VALUE 'glad';\n")
    use = Migration(
        "3_use",
        "CREATE TABLE item (code mood DEFAULT 'glad');\nCREATE INDEX i ON item (code);\n",
    )
    scene.plant(1, use, init, add)
    assert outcome(scene.run()) == (0, "repaired")
    assert_like_a_clean_run(scene, init, add, use)


def test_an_extension_beside_the_history(scene: Scene) -> None:
    """What an administrator installed by hand is installed on the shadow too."""
    scene.database.execute("CREATE EXTENSION citext")
    citext = Migration("1_init", "CREATE TABLE item (code citext NOT NULL);\n")
    scene.plant(1, TAGS, citext)
    assert outcome(scene.run()) == (0, "repaired")


def test_an_extension_that_the_shadow_lacks(servers: Servers, tmp_path: Path) -> None:
    """The private server has no pgcrypto: the statement that needs it is named, nothing is done."""
    with fresh_database(servers[18]) as database:
        scene = Scene(database, tmp_path / "migrations")
        salted = Migration(
            "2_salted",
            "CREATE TABLE tag ();\nALTER TABLE tag ADD salt text DEFAULT gen_salt('md5');\n",
        )
        scene.plant(1, salted, Migration("1_init", 'CREATE EXTENSION "pgcrypto";\n'))
        with unchanged(database):
            ended = scene.run(SIDECAR_SHADOW="embedded")
    assert ended.finding.name is FindingName.UNDETERMINED
    assert "statement 2 (line 2, ALTER TABLE) fails on the shadow" in ended.finding.missing[0]


MAKES_A_TABLE = (
    """\
CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS
  $$ BEGIN CREATE TABLE made (); RETURN NEW; END $$""",
    "CREATE TRIGGER t AFTER INSERT ON item FOR EACH ROW EXECUTE FUNCTION f()",
)


@pytest.mark.parametrize("of_the_script", [False, True])
def test_what_a_trigger_makes_is_an_effect(scene: Scene, *, of_the_script: bool) -> None:
    """A change of rows shows in the catalog where code hangs on it, old or new."""
    insert = "INSERT INTO item VALUES ('x')"
    index = "CREATE INDEX item_code_idx ON item (code)"
    item = "CREATE TABLE item (code text)"
    own = MAKES_A_TABLE if of_the_script else ()
    init = Migration("1_init", ";\n".join((item, *(() if own else MAKES_A_TABLE))) + ";\n")
    use = Migration("2_use", ";\n".join((*own, insert, index)) + ";\n")
    scene.plant(len(own) + 1, use, init)
    assert scene.status().finding.applied == len(own) + 1
    assert outcome(scene.run()) == (0, "repaired")
    assert_like_a_clean_run(scene, init, use)


# --- the last look ------------------------------------------------------------------


class Watched(Session):
    """A session that calls somebody after each message it sends."""

    def __init__(self, connection: Connection[Row], then: Callable[[str], object]) -> None:
        super().__init__(connection)
        self._then = then

    def execute(self, script: str) -> None:
        super().execute(script)
        self._then(script)


@pytest.mark.parametrize(
    "planted", ["DROP TABLE item", "ALTER TABLE item DROP CONSTRAINT item_pkey", ""]
)
def test_a_replay_that_lost_sight_of_something_says_so(
    latest_database: Database, planted: str
) -> None:
    """What the transactions of the replay do not show (here: another session) is found at last."""

    def meddle(message: str) -> None:
        if message.startswith("CREATE INDEX") and planted:
            latest_database.execute(planted)

    script = scripts.parse(TAGS.sql)
    rows = (LedgerRow("1", "", MigrationName(TAGS.name), datetime.now(UTC), None, None, None, 0),)
    past = Past(Ledger("public", rows), (), ())
    latest_database.execute(INIT.sql)
    with latest_database.connect() as connection:
        session = Watched(connection, meddle)
        live = Live(session, {}, database_oid=0, search_path="public", url_schema=None)
        replayed = replay(Shadow(session, comparable=True, origin=""), live, past, script)
    assert replayed.problem.startswith("the replay lost sight of ") == bool(planted)
    assert len(replayed.effects) == len(script.statements)
