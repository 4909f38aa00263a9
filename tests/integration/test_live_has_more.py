"""The live database has objects that no migration made, and PostgreSQL makes them follow.

Partitions made at run time, indexes and views made by hand: a repair changes them as a clean
run would, and its proof knows that; what does not follow from the migration is still caught.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import pytest

from sidecar import plan
from sidecar.model import Decision, OutcomeName, Policy, Refusal, Step, StepKind
from sidecar.script import parse
from tests import incident
from tests.command import Scene, unchanged
from tests.incident import Migration
from tests.postgres import Database, Server, Servers, available_majors, fresh_database

LEDGER = "public._prisma_migrations"

INIT = Migration(
    "20250101000000_init",
    """
CREATE TYPE "Role" AS ENUM ('ADMIN', 'USER');
CREATE TABLE "team" ("id" INTEGER PRIMARY KEY);
CREATE TABLE "User" (
  "id" INTEGER PRIMARY KEY, "email" TEXT, "old" TEXT, "score" INTEGER, "team_id" INTEGER,
  "seq" INTEGER
);
CREATE TABLE "aud" ("line" TEXT);
CREATE TABLE "ev" ("id" INTEGER NOT NULL, "at" DATE NOT NULL, "k" TEXT, "team_id" INTEGER)
  PARTITION BY RANGE ("at");
CREATE INDEX "ev_id" ON "ev" ("id");
CREATE TABLE "ev_24" PARTITION OF "ev" FOR VALUES FROM ('2024-01-01') TO ('2025-01-01');
CREATE TABLE "base" ("id" INTEGER, "k" TEXT);
CREATE FUNCTION "touch"() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NEW; END $$;
""".lstrip(),
)

ROWS = """
INSERT INTO "team" VALUES (1);
INSERT INTO "User" VALUES (1, 'a@b', 'o', 5, 1, 1);
INSERT INTO "ev" VALUES (1, '2024-05-05', 'a', 1);
"""

PARTITIONS = """
CREATE TABLE "ev_25" PARTITION OF "ev" FOR VALUES FROM ('2025-01-01') TO ('2026-01-01');
CREATE TABLE "ev_26" PARTITION OF "ev" FOR VALUES FROM ('2026-01-01') TO ('2027-01-01')
  PARTITION BY LIST ("id");
CREATE TABLE "ev_26_1" PARTITION OF "ev_26" FOR VALUES IN (1, 2);
CREATE INDEX "ev_25_by_hand" ON "ev_25" ("k", "at");
CREATE INDEX "ev_26_1_by_hand" ON "ev_26_1" ("k");
INSERT INTO "ev" VALUES (2, '2025-05-05', 'b', 1), (2, '2026-05-05', 'c', 1);
"""

HEIRS = """
CREATE TABLE "heir" ("own" TEXT) INHERITS ("base");
CREATE TABLE "heir_of_heir" () INHERITS ("heir");
INSERT INTO "base" VALUES (1, 'a');
INSERT INTO "heir" VALUES (2, 'b', 'o');
"""

ON_USER = """
CREATE INDEX "by_hand" ON "User" ("email");
CREATE INDEX "by_hand_old" ON "User" (lower("old")) WHERE "score" > 0;
COMMENT ON INDEX "by_hand_old" IS 'asked for by support';
CREATE STATISTICS "stats_by_hand" ON "email", "old" FROM "User";
ALTER TABLE "User" ADD CONSTRAINT "check_by_hand" CHECK ("score" >= 0);
CREATE TRIGGER "trigger_by_hand" BEFORE UPDATE OF "score" ON "User"
  FOR EACH ROW EXECUTE FUNCTION "touch"();
CREATE POLICY "policy_by_hand" ON "User" USING ("score" > 1);
GRANT SELECT ON "User" TO PUBLIC;
GRANT UPDATE ("email") ON "User" TO PUBLIC;
COMMENT ON COLUMN "User"."email" IS 'where to write';
CREATE SEQUENCE "seq_by_hand" OWNED BY "User"."seq";
"""

VIEWS = """
CREATE VIEW "report" AS SELECT "id", "score" FROM "User";
CREATE VIEW "report_of_report" AS SELECT max("score") AS "best" FROM "report";
CREATE MATERIALIZED VIEW "kept" AS SELECT "id", "score" AS "points" FROM "User";
CREATE UNIQUE INDEX "kept_id" ON "kept" ("id");
COMMENT ON VIEW "report" IS 'for sales';
"""

USERS_OF_TYPE = """
CREATE TABLE "by_hand_too" ("id" INTEGER PRIMARY KEY, "role" "Role" DEFAULT 'USER',
  "user_id" INTEGER REFERENCES "User" ("id"));
CREATE FUNCTION "is_admin"(r "Role") RETURNS boolean LANGUAGE sql AS $$ SELECT r = 'ADMIN' $$;
COMMENT ON FUNCTION "is_admin" IS 'by hand';
INSERT INTO "by_hand_too" VALUES (1, 'ADMIN', 1);
"""


class Live(NamedTuple):
    """What was made beside the history, and the migration that stopped."""

    by_hand: str
    sql: str


WORLDS = {
    "partitions: columns": Live(
        PARTITIONS,
        """
ALTER TABLE "ev" ADD COLUMN "src" TEXT, ADD COLUMN "n" INTEGER NOT NULL DEFAULT 3;
ALTER TABLE "ev" ALTER COLUMN "src" SET DEFAULT 'x';
ALTER TABLE "ev" RENAME COLUMN "k" TO "key";
ALTER TABLE "ev" DROP COLUMN "key";
""",
    ),
    "partitions: rewritten": Live(
        PARTITIONS,
        """
ALTER TABLE "ev" ADD COLUMN "drawn" BOOLEAN DEFAULT random() < 2;
ALTER TABLE "ev" ALTER COLUMN "team_id" TYPE BIGINT;
""",
    ),
    "partitions: indexes": Live(
        PARTITIONS,
        """
CREATE INDEX "ev_k" ON "ev" ("k");
CREATE INDEX "ev_k_at" ON "ev" ("k", "at");
ALTER INDEX "ev_k" RENAME TO "ev_key";
DROP INDEX "ev_id";
""",
    ),
    "partitions: constraints": Live(
        PARTITIONS,
        """
ALTER TABLE "ev" ALTER COLUMN "k" SET NOT NULL;
ALTER TABLE "ev" ADD CONSTRAINT "ev_pkey" PRIMARY KEY ("id", "at");
ALTER TABLE "ev" ADD CONSTRAINT "k_check" CHECK ("k" <> '');
ALTER TABLE "ev" ADD CONSTRAINT "ev_team" FOREIGN KEY ("team_id") REFERENCES "team" ("id");
CREATE TABLE "seen" ("id" INTEGER, "at" DATE, FOREIGN KEY ("id", "at") REFERENCES "ev");
ALTER TABLE "ev" DROP CONSTRAINT "k_check";
DROP TABLE "seen";
ALTER TABLE "ev" DROP CONSTRAINT "ev_pkey";
""",
    ),
    "partitions: triggers and names": Live(
        PARTITIONS,
        """
CREATE TRIGGER "ev_touch" AFTER INSERT ON "ev" FOR EACH ROW EXECUTE FUNCTION "touch"();
ALTER TABLE "ev" RENAME TO "event";
DROP TRIGGER "ev_touch" ON "event";
UPDATE "event" SET "k" = 'z' WHERE "k" = 'b';
""",
    ),
    "partitions: dropped": Live(
        PARTITIONS,
        """
ALTER TABLE "team" ADD COLUMN "a" TEXT;
DROP TABLE "ev";
""",
    ),
    "heirs": Live(
        HEIRS,
        """
ALTER TABLE "base" ADD COLUMN "src" TEXT;
ALTER TABLE "base" ADD CONSTRAINT "base_check" CHECK ("id" > 0);
ALTER TABLE "base" ALTER COLUMN "k" SET NOT NULL;
ALTER TABLE "base" RENAME COLUMN "k" TO "key";
ALTER TABLE "base" DROP COLUMN "src";
ALTER TABLE "base" RENAME TO "root";
""",
    ),
    "columns dropped": Live(
        ON_USER,
        """
ALTER TABLE "User" DROP COLUMN "old", ADD COLUMN "new" TEXT;
ALTER TABLE "User" DROP COLUMN "seq";
ALTER TABLE "User" DROP COLUMN "email";
""",
    ),
    "column dropped and made again": Live(
        ON_USER,
        """
ALTER TABLE "User" DROP COLUMN "old";
ALTER TABLE "User" ADD COLUMN "old" TEXT;
""",
    ),
    "column renamed": Live(
        ON_USER,
        """
ALTER TABLE "User" RENAME COLUMN "score" TO "points";
ALTER TABLE "User" RENAME COLUMN "email" TO "Mail";
ALTER TABLE "User" ALTER COLUMN "Mail" TYPE VARCHAR(50);
""",
    ),
    "table renamed": Live(
        ON_USER + VIEWS + USERS_OF_TYPE,
        """
ALTER TABLE "User" RENAME TO "users";
ALTER TABLE "users" ADD COLUMN "new" TEXT;
""",
    ),
    "table moved": Live(
        ON_USER + VIEWS + USERS_OF_TYPE,
        """
CREATE SCHEMA "sales";
ALTER TABLE "User" SET SCHEMA "sales";
ALTER SCHEMA "sales" RENAME TO "crm";
ALTER TABLE "crm"."User" ADD COLUMN "new" TEXT;
""",
    ),
    "tables swapped": Live(
        ON_USER,
        """
CREATE TABLE "User_new" ("id" INTEGER PRIMARY KEY, "email" TEXT);
ALTER TABLE "User" RENAME TO "User_old";
ALTER TABLE "User_new" RENAME TO "User";
DROP TABLE "User_old";
""",
    ),
    "table dropped": Live(
        ON_USER + VIEWS + USERS_OF_TYPE,
        """
ALTER TABLE "team" ADD COLUMN "a" TEXT;
DROP TABLE "User" CASCADE;
""",
    ),
    "views over a renamed column": Live(
        VIEWS,
        """
ALTER TABLE "User" RENAME COLUMN "score" TO "points";
ALTER TABLE "User" RENAME COLUMN "id" TO "user_id";
ALTER TABLE "User" DROP COLUMN "points" CASCADE;
""",
    ),
    "type renamed": Live(
        USERS_OF_TYPE,
        """
ALTER TYPE "Role" RENAME VALUE 'USER' TO 'MEMBER';
ALTER TYPE "Role" RENAME TO "Position";
ALTER TABLE "team" ADD COLUMN "position" "Position";
""",
    ),
    "rows in a block": Live(
        "",
        """
ALTER TABLE "team" ADD COLUMN "a" TEXT;
DO $$ BEGIN CREATE MATERIALIZED VIEW "mv" AS SELECT "id" FROM "team"; END $$;
DO $$ BEGIN
  IF to_regclass('copied') IS NULL THEN CREATE TABLE "copied" AS TABLE "team"; END IF;
END $$;
DO $$ BEGIN EXECUTE 'CREATE TABLE "again" AS TABLE "team"'; END $$;
ALTER TABLE "team" ADD COLUMN "b" TEXT;
""",
    ),
}

ON_OLD_AND_NEW = (
    "partitions: columns",
    "partitions: indexes",
    "partitions: constraints",
    "partitions: triggers and names",
    "heirs",
    "table renamed",
)


def _migration(world: str) -> Migration:
    return Migration("20250201000000_more", WORLDS[world].sql.lstrip())


def _statements(migration: Migration) -> tuple[str, ...]:
    """Blocks have semicolons of their own at the ends of lines."""
    return tuple(statement.sql for statement in parse(migration.sql).statements)


def _live(database: Database, by_hand: str) -> None:
    with database.connect() as connection:
        incident.create_ledger(connection, "public")
        row = incident.start(connection, INIT, "public")
        incident.run(connection, INIT.sql, "public")
        incident.finish(connection, row, "public")
        incident.run(connection, ROWS + by_hand, "public")


def _failed(database: Database, migration: Migration, statements: int) -> None:
    with database.connect() as connection:
        incident.start(connection, migration, "public")
        for statement in _statements(migration)[:statements]:
            incident.run(connection, statement, "public")


def _dump(database: Database) -> str:
    return database.dump(exclude_tables=(LEDGER,))


def _clean_dump(server: Server, world: str) -> str:
    with fresh_database(server) as database:
        _live(database, WORLDS[world].by_hand)
        _failed(database, _migration(world), len(_statements(_migration(world))))
        return _dump(database)


@pytest.fixture(scope="session")
def clean_dump() -> Callable[[Server, str], str]:
    """The dump of a clean run in the world, made once for each server."""
    dumps: dict[tuple[int, str], str] = {}

    def dump(server: Server, world: str) -> str:
        key = server.port, world
        if key not in dumps:
            dumps[key] = _clean_dump(server, world)
        return dumps[key]

    return dump


def _states(worlds: Iterable[str]) -> list[tuple[str, int]]:
    return [(w, k) for w in worlds for k in range(len(_statements(_migration(w))) + 1)]


def _check(
    server: Server, clean: Callable[[Server, str], str], home: Path, world: str, statements: int
) -> None:
    migration = _migration(world)
    with fresh_database(server) as database:
        _live(database, WORLDS[world].by_hand)
        _failed(database, migration, statements)
        folder = incident.write_migrations(home / "migrations", (INIT, migration))
        done = Scene(database, folder).run(SIDECAR_POLICY="forward")
        assert done.outcome is not None, done.what
        assert (done.code, done.outcome.name) == (0, OutcomeName.REPAIRED), done.what
        assert _dump(database) == clean(server, world)


@pytest.mark.parametrize(("world", "statements"), _states(WORLDS))
def test_what_only_the_live_database_has_follows(
    latest: Server,
    clean_dump: Callable[[Server, str], str],
    tmp_path: Path,
    world: str,
    statements: int,
) -> None:
    """The repair ends as a clean run of the same database, by the dump."""
    _check(latest, clean_dump, tmp_path, world, statements)


@pytest.mark.parametrize(("world", "statements"), _states(ON_OLD_AND_NEW))
@pytest.mark.parametrize("major", {available_majors()[0], available_majors()[-1]})
def test_on_the_oldest_and_the_newest_server(
    servers: Servers,
    clean_dump: Callable[[Server, str], str],
    tmp_path: Path,
    major: int,
    world: str,
    statements: int,
) -> None:
    """What partitions inherit, and how the catalog says so, differs between versions."""
    _check(servers[major], clean_dump, tmp_path, world, statements)


FOR_A_WHILE = Live(
    "",
    """
CREATE FUNCTION "note"() RETURNS trigger LANGUAGE plpgsql AS
  $$ BEGIN INSERT INTO "aud" VALUES (NEW."id"); RETURN NULL; END $$;
CREATE TRIGGER "noting" AFTER UPDATE ON "team" FOR EACH ROW EXECUTE FUNCTION "note"();
UPDATE "team" SET "id" = "id" + 1;
DROP TRIGGER "noting" ON "team";
DROP FUNCTION "note";
ALTER TABLE "team" ADD COLUMN "a" TEXT;
""",
)


@pytest.mark.parametrize("statements", [1, 2])
def test_a_trigger_that_is_dropped_again_fired(
    latest_database: Database, tmp_path: Path, statements: int
) -> None:
    """It stands in no snapshot of the repair's own, and writes to a table all the same."""
    database, migration = latest_database, Migration("20250201000000_more", FOR_A_WHILE.sql)
    folder = incident.write_migrations(tmp_path / "migrations", (INIT, migration))
    _live(database, FOR_A_WHILE.by_hand)
    with database.connect() as connection:
        row = incident.start(connection, migration, "public")
        for statement in _statements(migration)[:statements]:
            incident.run(connection, statement, "public")
        log = incident.native_log(migration.name, "57014", incident.CANCELLED)
        incident.log_error(connection, row, log, "public")
    done = Scene(database, folder).run(SIDECAR_POLICY="forward")
    assert done.code == 0, done.what
    assert database.execute('SELECT "line" FROM "aud"') == [("2",)]
    assert database.execute('SELECT "id", "a" FROM "team"') == [(2, None)]


# --- what does not follow --------------------------------------------------------

ON_EV = Live(
    PARTITIONS,
    """
ALTER TABLE "ev" ADD COLUMN "src" TEXT;
CREATE INDEX "ev_k" ON "ev" ("k");
""",
)
ON_COLUMNS = Live(
    ON_USER,
    """
ALTER TABLE "User" ADD COLUMN "new" TEXT;
ALTER TABLE "User" DROP COLUMN "old";
""",
)
RENAMED = Live(
    ON_USER + VIEWS,
    """
ALTER TABLE "User" RENAME COLUMN "score" TO "points";
ALTER TABLE "User" RENAME TO "users";
""",
)

STRAYS = [
    (ON_EV, """ALTER TABLE "ev_25" ALTER COLUMN "k" SET DEFAULT 'a bug'"""),
    (ON_EV, """ALTER TABLE "ev_25" ALTER COLUMN "src" SET DEFAULT 'a bug'"""),
    (ON_EV, 'ALTER TABLE "ev_25" ADD CHECK ("id" > 0)'),
    (ON_EV, 'CREATE INDEX "stray" ON "ev_25" ("src")'),
    (ON_EV, 'DROP INDEX "ev_25_by_hand"'),
    (ON_EV, 'DROP TABLE "ev_25"'),
    (ON_EV, 'ALTER TABLE "ev" DETACH PARTITION "ev_25"'),
    (ON_EV, 'CREATE TABLE "stray" PARTITION OF "ev" DEFAULT'),
    (ON_EV, 'DELETE FROM "ev_25"'),
    (ON_EV, 'TRUNCATE "ev_25"'),
    (ON_COLUMNS, 'DROP INDEX "by_hand"'),
    (ON_COLUMNS, 'CREATE INDEX "stray" ON "User" ("new")'),
    (ON_COLUMNS, 'DROP TRIGGER "trigger_by_hand" ON "User"'),
    (ON_COLUMNS, 'ALTER TABLE "User" DROP CONSTRAINT "check_by_hand"'),
    (ON_COLUMNS, """COMMENT ON INDEX "by_hand" IS 'a bug'"""),
    (ON_COLUMNS, 'REVOKE SELECT ON "User" FROM PUBLIC'),
    (ON_COLUMNS, 'DROP POLICY "policy_by_hand" ON "User"'),
    (RENAMED, 'DROP INDEX "by_hand"'),
    (RENAMED, 'CREATE INDEX "stray" ON "User" ("points")'),
    (RENAMED, 'ALTER POLICY "policy_by_hand" ON "User" USING ("points" > 2)'),
    (RENAMED, """COMMENT ON COLUMN "User"."email" IS 'a bug'"""),
    (RENAMED, 'DROP VIEW "report_of_report"'),
    (RENAMED, 'CREATE OR REPLACE VIEW "report" AS SELECT "id", 1 AS "score" FROM "User"'),
]
"""What a bug in the steps could do, in a world in which PostgreSQL itself does something alike."""


@pytest.mark.parametrize(("live", "stray"), STRAYS, ids=[stray for _, stray in STRAYS])
def test_what_does_not_follow_is_caught(
    latest_database: Database,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    live: Live,
    stray: str,
) -> None:
    """A step too many, and the proof fails and everything is rolled back."""
    _plant(monkeypatch, stray)
    database, migration = latest_database, Migration("20250201000000_more", live.sql.lstrip())
    folder = incident.write_migrations(tmp_path / "migrations", (INIT, migration))
    _live(database, live.by_hand)
    _failed(database, migration, 0)
    with unchanged(database):
        done = Scene(database, folder).run(SIDECAR_POLICY="forward")
    assert done.code == 4, done.what
    assert "the proof failed" in done.what


def _plant(patch: pytest.MonkeyPatch, stray: str) -> None:
    """Plans get this step, which no statement asks for, after the first."""
    real = plan.decide

    def changed(situation: plan.Situation, policy: Policy) -> Decision:
        decision = real(situation, policy)
        assert not isinstance(decision, Refusal), decision
        (segment,) = decision.segments
        first, *rest = segment.steps
        steps = (first, Step(StepKind.STATEMENT, stray, "a bug"), *rest)
        return replace(decision, segments=(replace(segment, steps=steps),))

    patch.setattr(plan, "decide", changed)
