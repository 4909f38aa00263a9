"""Migrations that do not fit into one transaction: repaired exactly, whatever stops them.

Each shape is stopped at each place where it can stop, and each repair is killed between its
transactions; a full dump is compared with that of a clean run.
"""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest

from sidecar import app
from sidecar.db import connect
from sidecar.demo import SCHEMA
from sidecar.embedded import bundled_bindir
from sidecar.execute import Limits, Repair, carry_out
from sidecar.model import FindingName, OutcomeName, Plan
from sidecar.plan_sql import plan_sql
from sidecar.script import parse
from tests import incident
from tests.command import Said, config_of, said
from tests.incident import BEFORE, Migration
from tests.postgres import Database, Server, fresh_database
from tests.running import settings, start, until_at

LEDGER = f"{SCHEMA}._prisma_migrations"

ROWS = """
INSERT INTO momentum.mm_board (id, name, created_at)
VALUES ('b1', 'Platform', '2025-12-01'), ('b2', 'On call', '2025-12-02');
INSERT INTO momentum.mm_issue (board_id, title)
SELECT 'b1', 'issue ' || n FROM generate_series(1, 3) n;
"""

SHAPES = {
    "index alone": """
CREATE INDEX CONCURRENTLY "mm_issue_title_idx" ON "mm_issue" ("title");
""",
    "indexes among others": """
ALTER TABLE "mm_issue" ADD COLUMN "due" DATE;
CREATE INDEX CONCURRENTLY "mm_issue_due_idx" ON "mm_issue" ("due");
ALTER TABLE "mm_issue" ADD COLUMN "closed" DATE;
CREATE UNIQUE INDEX CONCURRENTLY IF NOT EXISTS "mm_issue_key" ON "mm_issue" ("id", "title");
COMMENT ON INDEX "mm_issue_due_idx" IS 'by day';
""",
    "index dropped and made": """
DROP INDEX CONCURRENTLY "mm_issue_board_id_idx";
CREATE INDEX CONCURRENTLY "mm_issue_board_id_idx" ON "mm_issue" ("board_id", "id");
""",
    "index without a name": """
CREATE INDEX CONCURRENTLY ON "mm_issue" ("done");
ALTER TABLE "mm_issue" ADD COLUMN "due" DATE;
""",
    "index made anew": """
ALTER TABLE "mm_issue" ADD COLUMN "due" DATE;
REINDEX INDEX CONCURRENTLY "mm_issue_board_id_idx";
REINDEX TABLE CONCURRENTLY "mm_board";
ALTER TABLE "mm_issue" ADD COLUMN "closed" DATE;
""",
    "settings and indexes": """
SET search_path TO "momentum", public;
CREATE TABLE "tag" ("name" TEXT);
SET ROLE pg_monitor;
RESET ROLE;
CREATE INDEX CONCURRENTLY "tag_name_idx" ON "tag" ("name");
ALTER TABLE "tag" ADD COLUMN "color" TEXT;
""",
    "vacuum": """
ALTER TABLE "mm_issue" ADD COLUMN "due" DATE;
VACUUM (ANALYZE) "mm_issue";
ALTER TABLE "mm_issue" ADD COLUMN "closed" DATE;
VACUUM "mm_board";
""",
    "value used as default": """
ALTER TYPE "BoardVisibility" ADD VALUE 'GUESTS';
ALTER TABLE "mm_board" ALTER COLUMN "visibility" SET DEFAULT 'GUESTS';
""",
    "values used in a check": """
ALTER TYPE "BoardVisibility" ADD VALUE IF NOT EXISTS 'GUESTS';
ALTER TYPE "BoardVisibility" ADD VALUE 'O''NEIL' AFTER 'GUESTS';
ALTER TABLE "mm_board" ADD COLUMN "closed" BOOLEAN NOT NULL DEFAULT false;
ALTER TABLE "mm_board" ADD CONSTRAINT "mm_board_open" CHECK ("visibility" <> 'GUESTS');
CREATE INDEX "mm_board_neil" ON "mm_board" ("id") WHERE "visibility" = 'O''NEIL';
""",
    "value used in a block": """
ALTER TYPE "BoardVisibility" ADD VALUE 'GUESTS';
BEGIN;
ALTER TABLE "mm_board" ADD COLUMN "due" DATE;
ALTER TABLE "mm_board" ALTER COLUMN "visibility" SET DEFAULT 'GUESTS';
COMMIT;
""",
    "value used by rows": """
ALTER TYPE "BoardVisibility" ADD VALUE 'GUESTS';
UPDATE "mm_board" SET "visibility" = 'GUESTS' WHERE "id" = 'b1';
ALTER TABLE "mm_board" ADD COLUMN "due" DATE;
""",
    "block with its own setting": """
CREATE TABLE "one" ("id" INT);
BEGIN;
SET LOCAL search_path TO public;
CREATE TABLE "two" ("id" INT);
COMMIT;
CREATE TABLE "three" ("id" INT);
""",
    "savepoints": """
BEGIN;
CREATE TABLE "one" ("id" INT);
SAVEPOINT "a";
CREATE TABLE "two" ("id" INT);
ROLLBACK TO SAVEPOINT "a";
CREATE TABLE "three" ("id" INT);
RELEASE SAVEPOINT "a";
COMMIT;
CREATE TABLE "four" ("id" INT);
""",
    "block taken back": """
BEGIN;
SET LOCAL search_path TO public;
CREATE TABLE "never" ("id" INT);
UPDATE momentum."mm_issue" SET "title" = 'x';
ROLLBACK;
CREATE TABLE "one" ("id" INT);
CREATE INDEX CONCURRENTLY "one_id_idx" ON "one" ("id");
""",
    "two blocks": """
BEGIN;
CREATE TABLE "one" ("id" INT);
INSERT INTO "one" VALUES (1);
COMMIT;
CREATE INDEX CONCURRENTLY "one_id_idx" ON "one" ("id");
BEGIN;
CREATE TEMPORARY TABLE "scratch" ON COMMIT DROP AS SELECT * FROM "one";
CREATE TABLE "two" AS SELECT * FROM "scratch";
COMMIT;
CREATE TABLE "scratch" ("id" INT);
""",
}

OPEN = {("value used by rows", 1), ("value used by rows", 2)}
"""Whether the UPDATE ran is another matter: here it is only left alone."""


def _migration(shape: str) -> Migration:
    return Migration("20251220100000_" + shape.replace(" ", "_"), SHAPES[shape].lstrip())


STATES = [
    (shape, k)
    for shape in SHAPES
    for k in parse(_migration(shape).sql).boundaries
    if (shape, k) not in OPEN
]


@pytest.fixture(scope="session")
def clean_dump() -> Callable[[Server, str], str]:
    """The dump of a clean run of the shape, made once for each server."""
    dumps: dict[tuple[int, str], str] = {}

    def dump(server: Server, shape: str) -> str:
        if (server.port, shape) not in dumps:
            with fresh_database(server) as database:
                with database.connect() as connection:
                    incident.clean_run(connection, BEFORE)
                    database.execute(ROWS)
                    row = incident.start(connection, _migration(shape))
                    _run(connection, _migration(shape).statements)
                    incident.finish(connection, row)
                dumps[server.port, shape] = _dump(database)
        return dumps[server.port, shape]

    return dump


def _run(connection: incident.Connection, statements: tuple[str, ...]) -> None:
    """One session, whose settings one statement leaves to the next."""
    incident.run(connection, "SELECT", SCHEMA)  # sets the search path
    for statement in statements:
        connection.execute(statement)


def _dump(database: Database) -> str:
    return database.dump(exclude_tables=(LEDGER,))


def _stopped(database: Database, failed: Migration, statements: int, path: Path) -> dict[str, str]:
    """Leave the database after so many statements; the settings to repair it with."""
    folder = incident.write_migrations(path / "migrations", (*BEFORE, failed))
    with database.connect() as connection:
        incident.clean_run(connection, BEFORE)
        database.execute(ROWS)
        incident.start(connection, failed)
        _run(connection, failed.statements[:statements])
    return settings(database, folder, SIDECAR_POLICY="forward")


@pytest.mark.parametrize(("shape", "statements"), STATES)
def test_repaired_exactly(
    latest_database: Database,
    clean_dump: Callable[[Server, str], str],
    tmp_path: Path,
    shape: str,
    statements: int,
) -> None:
    """Wherever it stopped, it ends as a clean run leaves it."""
    environ = _stopped(latest_database, _migration(shape), statements, tmp_path)
    done = said(app.run, environ)
    assert done.outcome is not None, done.what
    assert (done.code, done.outcome.name) == (0, OutcomeName.REPAIRED), done.what
    assert _dump(latest_database) == clean_dump(latest_database.server, shape)


# --- killed on the way -----------------------------------------------------------

SEGMENTS = {
    "index alone": 3,
    "indexes among others": 5,
    "index dropped and made": 4,
    "index without a name": 3,
    "index made anew": 4,
    "settings and indexes": 3,
    "vacuum": 5,
    "value used as default": 2,
    "values used in a check": 2,
    "value used in a block": 2,
    "value used by rows": 2,
    "block with its own setting": 2,
    "savepoints": 1,
    "block taken back": 3,
    "two blocks": 4,
}
"""How many times a repair of the whole script commits: as seldom as can be."""


def _planned(environ: dict[str, str]) -> Plan:
    """The plan which `run` would carry out."""
    seen = said(app.inspect, environ)
    assert seen.outcome is not None, seen.what
    plan = seen.outcome.migrations[0].decision
    assert isinstance(plan, Plan), plan
    return plan


def _carry_out_in_part(plan: Plan, environ: dict[str, str], segments: int) -> None:
    """Leave what a repair leaves that is killed after so many segments."""
    conninfo = config_of(environ).target.probe_conninfo
    session = connect(conninfo)
    try:
        session.query("SELECT set_config('search_path', %s, false)", (SCHEMA,))
        repair = Repair(session, conninfo, SCHEMA, Limits(5, 0, 30), _never, _never)
        carry_out(replace(plan, segments=plan.segments[:segments]), repair)
    finally:
        session.close()


def _never(_: object) -> None:
    raise AssertionError("nothing is tried again")


@pytest.mark.parametrize(
    ("shape", "segments"), [(s, n) for s, total in SEGMENTS.items() for n in range(1, total)]
)
def test_killed_between_two_segments(
    latest_database: Database,
    clean_dump: Callable[[Server, str], str],
    tmp_path: Path,
    shape: str,
    segments: int,
) -> None:
    """What a killed repair committed is found by the next run, which does the rest."""
    environ = _stopped(latest_database, _migration(shape), 0, tmp_path)
    plan = _planned(environ)
    assert len(plan.segments) == SEGMENTS[shape]
    _carry_out_in_part(plan, environ, segments)
    done = said(app.run, environ)
    assert (done.code, done.what) == (0, f"repaired and proven: {_migration(shape).name}")
    assert _dump(latest_database) == clean_dump(latest_database.server, shape)


def test_every_shape_is_killed() -> None:
    """A new shape needs its number of segments."""
    assert SEGMENTS.keys() == SHAPES.keys()


@pytest.mark.parametrize(
    ("shape", "query"),
    [
        ("index alone", "CREATE INDEX CONCURRENTLY%"),
        ("value used as default", 'ALTER TABLE "mm_board"%'),
    ],
)
def test_killed_in_the_middle(
    latest_database: Database,
    clean_dump: Callable[[Server, str], str],
    tmp_path: Path,
    shape: str,
    query: str,
) -> None:
    """SIGKILL while a later segment waits: the next run repairs."""
    environ = _stopped(latest_database, _migration(shape), 0, tmp_path)
    with psycopg.connect(latest_database.conninfo) as blocker:
        blocker.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        blocker.execute("SELECT FROM momentum.mm_issue, momentum.mm_board")
        with start(environ) as running:
            until_at(latest_database, query)
            running.send(signal.SIGKILL)
            running.process.wait()
    done = said(app.run, environ)
    assert done.code == 0, done.what
    assert _dump(latest_database) == clean_dump(latest_database.server, shape)


@pytest.mark.parametrize(
    "shape", ["indexes among others", "settings and indexes", "block taken back"]
)
def test_the_script_of_a_plan(
    latest_database: Database,
    clean_dump: Callable[[Server, str], str],
    tmp_path: Path,
    shape: str,
) -> None:
    """psql carries the same segments out, and leaves what a clean run leaves."""
    environ = _stopped(latest_database, _migration(shape), 0, tmp_path)
    seen = said(app.inspect, environ)
    assert seen.outcome is not None
    script = tmp_path / "plan.sql"
    script.write_text(plan_sql(seen.outcome, search_path=SCHEMA), encoding="utf-8")
    psql = [str(bundled_bindir() / "psql"), "-X", "-v", "ON_ERROR_STOP=1", "-f", str(script)]
    done = subprocess.run(
        [*psql, latest_database.conninfo], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert _dump(latest_database) == clean_dump(latest_database.server, shape)
    ended = said(app.run, environ).outcome
    assert ended is not None
    assert ended.name is OutcomeName.HEALTHY


# --- what an interrupted CONCURRENTLY leaves --------------------------------------

REMAINS = {
    "index alone": (0, 1, "DROP INDEX CONCURRENTLY IF EXISTS momentum.mm_issue_title_idx"),
    "indexes among others": (3, 4, "DROP INDEX CONCURRENTLY IF EXISTS momentum.mm_issue_key"),
    "index dropped and made": (0, 1, ""),
    "index without a name": (0, 1, "DROP INDEX CONCURRENTLY IF EXISTS momentum.mm_issue_done_idx"),
    "index made anew": (
        1, 2, "DROP INDEX CONCURRENTLY IF EXISTS momentum.mm_issue_board_id_idx_ccnew"
    ),
}  # fmt: skip
"""Shape: statements before the one that is interrupted, its number, and how remains go."""


@contextmanager
def _old_snapshot(database: Database, reads: str = "momentum.mm_issue") -> Iterator[int]:
    """A transaction that reads a table, which every CONCURRENTLY waits for; gives its pid."""
    with psycopg.connect(database.conninfo) as connection:
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        connection.execute(f"SELECT FROM {reads}")
        yield connection.info.backend_pid


@pytest.mark.parametrize("shape", REMAINS)
def test_remains_are_recognised(
    latest_database: Database,
    clean_dump: Callable[[Server, str], str],
    tmp_path: Path,
    shape: str,
) -> None:
    """An INVALID index shows what was interrupted; it is dropped, and the statement run again."""
    before, interrupted, drop = REMAINS[shape]
    migration = _migration(shape)
    environ = _stopped(latest_database, migration, before, tmp_path)
    with latest_database.connect() as connection, _old_snapshot(latest_database):
        incident.run(connection, "SET lock_timeout = '20ms'", SCHEMA)
        with pytest.raises(psycopg.errors.LockNotAvailable):
            connection.execute(migration.statements[interrupted - 1])
    assert latest_database.execute("SELECT count(*) FROM pg_index WHERE NOT indisvalid") == [(1,)]
    plan = _planned(environ)
    assert [s.sql for s in plan.steps if s.sql.startswith("DROP INDEX CONCURRENTLY IF")] == (
        [drop] if drop else []
    )
    done = said(app.run, environ)
    assert done.code == 0, done.what
    assert _dump(latest_database) == clean_dump(latest_database.server, shape)


def test_remains_are_no_bookkeeping(latest_database: Database, tmp_path: Path) -> None:
    """Policy `ledger` does not hand a script to Prisma which would fail on an INVALID index."""
    migration = _migration("index alone")
    environ = _stopped(latest_database, migration, 0, tmp_path)
    with latest_database.connect() as connection, _old_snapshot(latest_database):
        incident.run(connection, "SET lock_timeout = '20ms'", SCHEMA)
        with pytest.raises(psycopg.errors.LockNotAvailable):
            connection.execute(migration.statements[0])
    done = said(app.run, environ | {"SIDECAR_POLICY": "ledger"})
    assert (done.code, done.finding.name) == (3, FindingName.NOTHING_APPLIED)
    assert "DROP INDEX CONCURRENTLY IF EXISTS momentum.mm_issue_title_idx" in done.what


# --- the cause is still there ----------------------------------------------------

UNIQUE = Migration(
    "20251220100000_unique",
    """\
ALTER TABLE "mm_issue" ADD COLUMN "due" DATE;
CREATE UNIQUE INDEX CONCURRENTLY "mm_issue_title_key" ON "mm_issue" ("title");
ALTER TABLE "mm_issue" ADD COLUMN "closed" DATE;
""",
)


def _invalid(database: Database) -> list[tuple[object, ...]]:
    return database.execute("SELECT indexrelid::regclass FROM pg_index WHERE NOT indisvalid")


def test_duplicates_under_a_unique_index(latest_database: Database, tmp_path: Path) -> None:
    """Exit 4 says what stays; once the cause is gone the next run goes on from there."""
    environ = _stopped(latest_database, UNIQUE, 0, tmp_path)
    latest_database.execute("UPDATE momentum.mm_issue SET title = 'same' WHERE id < 3")
    failed = said(app.run, environ)
    assert (failed.code, _committed(failed)) == (4, (1,))
    assert "could not create unique index" in failed.what
    assert "statements committed by this repair, which stay: 1" in failed.what
    assert failed.next_steps[-1] == "Remove the cause, then start again."
    assert _invalid(latest_database) == []
    latest_database.execute("UPDATE momentum.mm_issue SET title = 'other' WHERE id = 1")
    plan = _planned(environ)
    assert [step.index for step in plan.steps if step.index] == [2, 3]
    assert said(app.run, environ).code == 0


def _committed(ended: Said) -> tuple[int, ...]:
    assert ended.outcome is not None, ended.what
    return ended.outcome.migrations[0].committed


@pytest.mark.parametrize(("reads", "stays"), [("pg_class", 0), ("momentum.mm_issue", 1)])
def test_a_lock_that_does_not_come(
    latest_database: Database, tmp_path: Path, reads: str, stays: int
) -> None:
    """CONCURRENTLY waits no longer than for any lock, names who blocks, says what it leaves."""
    environ = _stopped(latest_database, _migration("index alone"), 0, tmp_path)
    quick = {"SIDECAR_LOCK_TIMEOUT": "300ms", "SIDECAR_REPAIR_TIMEOUT": "1s"}
    with _old_snapshot(latest_database, reads) as pid:
        failed = said(app.run, environ | quick)
    assert (failed.code, _committed(failed)) == (4, ())
    assert f"pid {pid}, " in failed.what
    assert len(_invalid(latest_database)) == stays
    assert ("INVALID, until the next run drops it" in failed.what) == bool(stays)
    assert said(app.run, environ).code == 0


def test_what_may_have_run_in_part_is_left_alone(latest_database: Database, tmp_path: Path) -> None:
    """A DO block that commits as it goes leaves no trace of how far it came."""
    block = "DO $$ BEGIN UPDATE mm_issue SET title = title || '!'; COMMIT; END $$"
    shape = Migration("20251220100000_do", f'ALTER TABLE "mm_issue" ADD "due" DATE;\n{block};\n')
    environ = _stopped(latest_database, shape, 1, tmp_path)
    assert said(app.run, environ).code == 3
