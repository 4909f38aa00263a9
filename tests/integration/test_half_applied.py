"""Migrations of many shapes, stopped after each statement: repaired exactly or left alone.

There is no third way. What is refused is listed with its reason, so that a repair which
becomes possible, or impossible, shows here.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from sidecar import app
from sidecar.demo import SCHEMA
from sidecar.model import OutcomeName
from sidecar.script import parse
from tests import incident
from tests.command import said
from tests.incident import BEFORE, Migration
from tests.postgres import Database, Server, fresh_database
from tests.running import settings

LEDGER = f"{SCHEMA}._prisma_migrations"

ROWS = """
INSERT INTO momentum.mm_board (id, name, created_at)
VALUES ('b1', 'Platform', '2025-12-01'), ('b2', 'On call', '2025-12-02');
INSERT INTO momentum.mm_issue (board_id, title)
SELECT 'b1', 'issue ' || n FROM generate_series(1, 3) n;
"""

SHAPES = {
    "column with default": """
ALTER TABLE "mm_issue" ADD COLUMN "priority" INTEGER NOT NULL DEFAULT 3;
ALTER TABLE "mm_issue" ADD COLUMN "labels" TEXT[] DEFAULT ARRAY[]::TEXT[];
ALTER TABLE "mm_issue" ALTER COLUMN "done" DROP DEFAULT;
""",
    "enum value alone": """
ALTER TYPE "BoardVisibility" ADD VALUE 'GUESTS';
""",
    "view, function and trigger": """
CREATE VIEW "open_issue" AS SELECT "id", "title" FROM "mm_issue" WHERE NOT "done";
CREATE FUNCTION "touch"() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NEW; END $$;
CREATE TRIGGER "touch_issue" BEFORE UPDATE ON "mm_issue" FOR EACH ROW EXECUTE FUNCTION "touch"();
""",
    "enum made anew in a block": """
BEGIN;
CREATE TYPE "BoardVisibility_new" AS ENUM ('PRIVATE', 'TEAM', 'PUBLIC', 'LINK');
ALTER TABLE "mm_board" ALTER COLUMN "visibility" DROP DEFAULT;
ALTER TABLE "mm_board" ALTER COLUMN "visibility" TYPE "BoardVisibility_new"
  USING ("visibility"::text::"BoardVisibility_new");
ALTER TYPE "BoardVisibility" RENAME TO "BoardVisibility_old";
ALTER TYPE "BoardVisibility_new" RENAME TO "BoardVisibility";
DROP TYPE "BoardVisibility_old";
ALTER TABLE "mm_board" ALTER COLUMN "visibility" SET DEFAULT 'PRIVATE';
COMMIT;
ALTER TABLE "mm_board" ADD COLUMN "link" TEXT;
""",
    "column renamed": """
ALTER TABLE "mm_issue" RENAME COLUMN "title" TO "headline";
ALTER TABLE "mm_issue" RENAME CONSTRAINT "mm_issue_board_id_fkey" TO "mm_issue_board_fkey";
ALTER INDEX "mm_issue_board_id_idx" RENAME TO "mm_issue_board_idx";
""",
    "column dropped and added": """
ALTER TABLE "mm_issue" DROP COLUMN "done";
ALTER TABLE "mm_issue" ADD COLUMN "done" TIMESTAMP(3);
""",
    "another schema": """
CREATE SCHEMA IF NOT EXISTS "audit";
CREATE TABLE "audit"."event" ("id" BIGSERIAL NOT NULL, CONSTRAINT "event_pkey" PRIMARY KEY ("id"));
CREATE INDEX "event_id_idx" ON "audit"."event" ("id" DESC);
""",
    "privileges and comments": """
GRANT SELECT ON "mm_board" TO PUBLIC;
COMMENT ON TABLE "mm_board" IS 'it''s a board';
COMMENT ON COLUMN "mm_board"."name" IS 'shown';
REVOKE SELECT ON "mm_board" FROM PUBLIC;
GRANT SELECT ("id", "name") ON "mm_board" TO PUBLIC;
""",
    "guarded block": """
DO $$ BEGIN CREATE TYPE "Level" AS ENUM ('LOW'); EXCEPTION WHEN duplicate_object THEN null; END $$;
ALTER TABLE "mm_issue" ADD COLUMN "level" "Level";
""",
    "if not exists": """
CREATE TABLE IF NOT EXISTS "mm_board" ("id" TEXT);
ALTER TABLE "mm_issue" ADD COLUMN IF NOT EXISTS "due" DATE;
CREATE INDEX IF NOT EXISTS "mm_issue_due_idx" ON "mm_issue" ("due");
DROP TABLE IF EXISTS "never_was";
""",
    "row security": """
ALTER TABLE "mm_board" ENABLE ROW LEVEL SECURITY;
CREATE POLICY "everybody" ON "mm_board" USING (true);
ALTER TABLE "mm_board" FORCE ROW LEVEL SECURITY;
""",
    "partitioned table": """
CREATE TABLE "log" ("at" DATE NOT NULL, "line" TEXT) PARTITION BY RANGE ("at");
CREATE TABLE "log_2025" PARTITION OF "log" FOR VALUES FROM ('2025-01-01') TO ('2026-01-01');
CREATE INDEX "log_at_idx" ON "log" ("at");
CREATE TABLE "log_2026" PARTITION OF "log" FOR VALUES FROM ('2026-01-01') TO ('2027-01-01');
""",
    "sequence": """
CREATE SEQUENCE "ticket" START 100 INCREMENT 5;
ALTER TABLE "mm_issue" ADD COLUMN "ticket" BIGINT;
ALTER TABLE "mm_issue" ALTER COLUMN "ticket" SET DEFAULT nextval('"ticket"');
ALTER SEQUENCE "ticket" OWNED BY "mm_issue"."ticket";
""",
    "materialized view": """
CREATE MATERIALIZED VIEW "count_by_board" AS
  SELECT "board_id", count(*) AS n FROM "mm_issue" GROUP BY 1;
CREATE UNIQUE INDEX "count_by_board_key" ON "count_by_board" ("board_id");
""",
    "generated column": """
ALTER TABLE "mm_issue" ADD COLUMN "shout" TEXT GENERATED ALWAYS AS (upper("title")) STORED;
CREATE INDEX "mm_issue_shout_idx" ON "mm_issue" ("shout");
""",
    "unique index and foreign key": """
CREATE UNIQUE INDEX "mm_board_name_key" ON "mm_board" ("name");
CREATE TABLE "alias" ("name" TEXT NOT NULL, "of" TEXT NOT NULL);
ALTER TABLE "alias" ADD CONSTRAINT "alias_of_fkey"
  FOREIGN KEY ("of") REFERENCES "mm_board" ("name");
""",
    "backfill": """
ALTER TABLE "mm_issue" ADD COLUMN "slug" TEXT;
UPDATE "mm_issue" SET "slug" = 'issue-' || "id";
ALTER TABLE "mm_issue" ALTER COLUMN "slug" SET NOT NULL;
""",
    "rows of its own": """
CREATE TABLE "kind" ("name" TEXT NOT NULL, CONSTRAINT "kind_pkey" PRIMARY KEY ("name"));
INSERT INTO "kind" VALUES ('bug'), ('wish');
ALTER TABLE "mm_issue" ADD COLUMN "kind" TEXT REFERENCES "kind" ("name");
""",
    "column made again": """
ALTER TABLE "mm_issue" DROP COLUMN "done";
ALTER TABLE "mm_issue" ADD COLUMN "done" BOOLEAN NOT NULL DEFAULT false;
""",
    "values converted in place": """
ALTER TABLE "mm_issue" ALTER COLUMN "title" TYPE TEXT USING upper("title");
ALTER TABLE "mm_issue" ADD COLUMN "shouting" BOOLEAN NOT NULL DEFAULT true;
""",
    "sequence restarted": """
ALTER SEQUENCE "mm_issue_id_seq" RESTART WITH 1000;
ALTER TABLE "mm_issue" ADD COLUMN "old" BOOLEAN;
""",
    "owner changed": """
ALTER TABLE "mm_issue" ADD COLUMN "owned" BOOLEAN;
ALTER TABLE "mm_board" OWNER TO pg_monitor;
""",
    "owner's own right": """
ALTER TABLE "mm_issue" ADD COLUMN "safe" BOOLEAN;
REVOKE TRUNCATE ON "mm_board" FROM CURRENT_USER;
""",
    "view refreshed": """
CREATE MATERIALIZED VIEW "titles" AS SELECT "title" FROM "mm_issue" WITH NO DATA;
REFRESH MATERIALIZED VIEW "titles";
REFRESH MATERIALIZED VIEW "titles";
""",
}


OPEN = "neither the catalog nor the rows show whether these statements ran: "
USING = OPEN + "1 (line 1, ALTER TABLE)"
RESTART = OPEN + "1 (line 1, ALTER SEQUENCE)"

REFUSED = {
    # The definition is the same before and after, and only the values tell.
    ("values converted in place", 1): USING,
    ("sequence restarted", 1): RESTART,
}
"""States that are left to a person, by shape and statements, with words of the reason."""


def _migration(shape: str) -> Migration:
    return Migration("20251220100000_" + shape.replace(" ", "_"), SHAPES[shape].lstrip())


STATES = [(shape, k) for shape in SHAPES for k in parse(_migration(shape).sql).boundaries]


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
                    incident.apply(connection, _migration(shape))
                dumps[server.port, shape] = _dump(database)
        return dumps[server.port, shape]

    return dump


def _dump(database: Database) -> str:
    return database.dump(exclude_tables=(LEDGER,))


@pytest.mark.parametrize(("shape", "statements"), STATES)
def test_repaired_exactly_or_left_alone(
    latest_database: Database,
    clean_dump: Callable[[Server, str], str],
    tmp_path: Path,
    shape: str,
    statements: int,
) -> None:
    """A half-applied migration ends as a clean run leaves it, or untouched with a reason."""
    database, failed = latest_database, _migration(shape)
    folder = incident.write_migrations(tmp_path / "migrations", (*BEFORE, failed))
    with database.connect() as connection:
        incident.clean_run(connection, BEFORE)
        database.execute(ROWS)
        incident.start(connection, failed)
        for statement in failed.statements[:statements]:
            incident.run(connection, statement, SCHEMA)
    reason = REFUSED.get((shape, statements))
    before = database.dump() if reason else ""
    done = said(app.run, settings(database, folder, SIDECAR_POLICY="forward"))
    assert done.outcome is not None, done.what
    if reason is None:
        assert (done.code, done.outcome.name) == (0, OutcomeName.REPAIRED), done.what
        assert _dump(database) == clean_dump(database.server, shape)
    else:
        assert (done.code, done.outcome.name) == (3, OutcomeName.HALTED)
        assert reason in done.what
        assert database.dump() == before


def test_most_states_are_repaired() -> None:
    """The list of refusals names real states only, and is the small part of all."""
    refused, repaired = set(REFUSED), set(STATES) - set(REFUSED)
    assert refused < set(STATES)
    assert (len(repaired), len(refused)) == (87, 2)
