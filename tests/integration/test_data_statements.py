"""Data statements, which leave no trace in the catalog: known from the rows, or left alone.

Each script is stopped after each statement, by a kill (nothing logged) and by an error (the
log closes the attempt). It ends as a clean run leaves it, or untouched; what is refused is
listed with the words of the reason.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sidecar import app
from sidecar.demo import SCHEMA
from sidecar.model import OutcomeName
from sidecar.script import parse
from tests import incident
from tests.command import said
from tests.incident import BEFORE, Migration, Mode
from tests.postgres import Database, Server, fresh_database
from tests.running import settings

LEDGER = f"{SCHEMA}._prisma_migrations"

UUID = re.compile(r"\b[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\b")
"""What is new each time; one is as good as another."""

ROWS = """
INSERT INTO momentum.mm_board (id, name, created_at)
VALUES ('b1', 'Platform', '2025-12-01'), ('b2', 'On call', '2025-12-02');
INSERT INTO momentum.mm_issue (board_id, title)
SELECT 'b' || 1 + n % 2, 'issue ' || n FROM generate_series(1, 4) n;
"""

SHAPES = {
    "backfill of a new column": """
ALTER TABLE "mm_issue" ADD COLUMN "slug" TEXT;
UPDATE "mm_issue" SET "slug" = 'issue-' || "id" WHERE "slug" IS NULL;
ALTER TABLE "mm_issue" ALTER COLUMN "slug" SET NOT NULL;
""",
    "data first": """
UPDATE "mm_issue" SET "title" = 'none' WHERE "title" IS NULL OR "title" = 'issue 1';
ALTER TABLE "mm_issue" ADD COLUMN "seen" BOOLEAN;
""",
    "data only": """
UPDATE "mm_issue" SET "title" = upper("title");
""",
    "counter": """
ALTER TABLE "mm_issue" ADD COLUMN "n" INTEGER NOT NULL DEFAULT 0;
UPDATE "mm_issue" SET "id" = "id" + 1000;
ALTER TABLE "mm_issue" ADD COLUMN "m" INTEGER;
""",
    "values mapped in turn": """
ALTER TABLE "mm_issue" ADD COLUMN "old" TEXT;
UPDATE "mm_issue" SET "title" = 'A' WHERE "title" = 'issue 1';
UPDATE "mm_issue" SET "title" = 'B' WHERE "title" = 'issue 2';
UPDATE "mm_issue" SET "title" = 'C' WHERE "title" IN ('issue 3', 'issue 4');
ALTER TABLE "mm_issue" DROP COLUMN "old";
""",
    "swap": """
ALTER TABLE "mm_issue" ADD COLUMN "old" TEXT;
UPDATE "mm_issue" SET "title" = 'issue 9' WHERE "title" = 'issue 2';
UPDATE "mm_issue" SET "title" = 'issue 2' WHERE "title" = 'issue 1';
ALTER TABLE "mm_issue" DROP COLUMN "old";
""",
    "rows moved to a table of its own": """
CREATE TABLE "label" ("id" SERIAL PRIMARY KEY, "issue_id" INTEGER NOT NULL, "text" TEXT NOT NULL);
INSERT INTO "label" ("issue_id", "text") SELECT "id", "title" FROM "mm_issue" ORDER BY "id";
ALTER TABLE "mm_issue" DROP COLUMN "title";
""",
    "two inserts into a table of its own": """
CREATE TABLE "kind" ("name" TEXT PRIMARY KEY, "rank" INTEGER NOT NULL);
INSERT INTO "kind" ("name", "rank") VALUES ('bug', 1), ('wish', 2);
INSERT INTO "kind" ("name", "rank") VALUES ('chore', 3);
ALTER TABLE "mm_issue" ADD COLUMN "kind" TEXT REFERENCES "kind" ("name");
UPDATE "mm_issue" SET "kind" = 'bug';
""",
    "insert into an old table": """
ALTER TABLE "mm_board" ADD COLUMN "home" BOOLEAN;
INSERT INTO "mm_board" ("id", "name", "created_at") VALUES ('b3', 'Inbox', '2025-12-03');
ALTER TABLE "mm_board" ADD COLUMN "away" BOOLEAN;
""",
    "insert without a key": """
INSERT INTO "mm_issue" ("board_id", "title") VALUES ('b1', 'welcome');
ALTER TABLE "mm_board" ADD COLUMN "away" BOOLEAN;
INSERT INTO "mm_issue" ("board_id", "title") VALUES ('b2', 'welcome');
""",
    "insert unless there": """
INSERT INTO "mm_board" ("id", "name", "created_at")
  VALUES ('b2', 'x', '2025-12-03'), ('b4', 'y', '2025-12-03') ON CONFLICT ("id") DO NOTHING;
ALTER TABLE "mm_board" ADD COLUMN "away" BOOLEAN;
""",
    "insert, or set the same": """
ALTER TABLE "mm_board" ADD COLUMN "open" BOOLEAN NOT NULL DEFAULT true;
INSERT INTO "mm_board" ("id", "name", "created_at", "open")
  VALUES ('b2', 'x', '2025-12-03', false), ('b4', 'y', '2025-12-03', false)
  ON CONFLICT ("id") DO UPDATE SET "name" = EXCLUDED."name", "open" = false;
ALTER TABLE "mm_board" ADD COLUMN "away" BOOLEAN;
""",
    "all but one of each board": """
DELETE FROM "mm_issue" WHERE "id" NOT IN (SELECT min("id") FROM "mm_issue" GROUP BY "board_id");
CREATE UNIQUE INDEX "mm_issue_board" ON "mm_issue" ("board_id");
WITH ranked AS (SELECT "id", row_number() OVER (ORDER BY "title") AS n FROM "mm_issue")
DELETE FROM "mm_issue" WHERE "id" IN (SELECT "id" FROM ranked WHERE n > 1);
ALTER TABLE "mm_issue" ADD COLUMN "x" TEXT;
""",
    "rows moved at once": """
CREATE TABLE "done" ("id" INTEGER PRIMARY KEY, "title" TEXT NOT NULL);
WITH gone AS (DELETE FROM "mm_issue" WHERE "board_id" = 'b1' RETURNING "id", "title")
INSERT INTO "done" ("id", "title") SELECT "id", "title" FROM gone;
ALTER TABLE "mm_issue" ADD COLUMN "x" TEXT;
""",
    "a board for all, at once": """
ALTER TABLE "mm_issue" ADD COLUMN "home" TEXT;
WITH one AS (INSERT INTO "mm_board" ("id", "name", "created_at")
  VALUES ('b8', 'Home', '2025-12-03') RETURNING "id")
UPDATE "mm_issue" SET "home" = one."id" FROM one;
ALTER TABLE "mm_issue" ALTER COLUMN "home" SET NOT NULL;
""",
    "insert guarded by a query": """
ALTER TABLE "mm_board" ADD COLUMN "away" BOOLEAN;
INSERT INTO "mm_board" ("id", "name", "created_at") SELECT 'b5', 'z', '2025-12-03'
  WHERE NOT EXISTS (SELECT FROM "mm_board" WHERE "id" = 'b5');
""",
    "joined update": """
ALTER TABLE "mm_issue" ADD COLUMN "board" TEXT;
UPDATE "mm_issue" AS i SET "board" = b."name" FROM "mm_board" AS b WHERE b."id" = i."board_id";
ALTER TABLE "mm_issue" ALTER COLUMN "board" SET NOT NULL;
""",
    "rows removed": """
ALTER TABLE "mm_issue" ADD COLUMN "x" TEXT;
DELETE FROM "mm_issue" WHERE "title" = 'issue 3';
ALTER TABLE "mm_issue" DROP COLUMN "x";
""",
    "all rows removed": """
ALTER TABLE "mm_issue" ADD COLUMN "x" TEXT;
TRUNCATE "mm_issue";
ALTER TABLE "mm_issue" ADD COLUMN "y" TEXT;
""",
    "anonymous block": """
ALTER TABLE "mm_issue" ADD COLUMN "x" TEXT;
DO $$ BEGIN UPDATE "mm_issue" SET "title" = "title" || '!'; END $$;
ALTER TABLE "mm_issue" DROP COLUMN "x";
""",
    "check before it begins": """
DO $$ BEGIN IF EXISTS (SELECT FROM "mm_issue" WHERE "title" IS NULL) THEN RAISE EXCEPTION 'no';
  END IF; END $$;
ALTER TABLE "mm_issue" ADD COLUMN "x" TEXT;
""",
    "counter set": """
ALTER TABLE "mm_issue" ADD COLUMN "x" TEXT;
SELECT setval('mm_issue_id_seq', (SELECT max("id") FROM "mm_issue"));
ALTER TABLE "mm_issue" ADD COLUMN "y" TEXT;
""",
    "block of data": """
ALTER TABLE "mm_issue" ADD COLUMN "x" TEXT;
BEGIN;
UPDATE "mm_issue" SET "title" = "title" || '!';
INSERT INTO "mm_board" ("id", "name", "created_at") VALUES ('b6', 'q', '2025-12-03');
COMMIT;
ALTER TABLE "mm_issue" ADD COLUMN "y" TEXT;
""",
    "a table made anew": """
CREATE TABLE "new_issue" ("id" INTEGER PRIMARY KEY, "title" TEXT NOT NULL, "kind" TEXT);
INSERT INTO "new_issue" ("id", "title") SELECT "id", upper("title") FROM "mm_issue";
DROP TABLE "mm_issue";
ALTER TABLE "new_issue" RENAME TO "mm_issue";
""",
    "keys cast to text": """
CREATE TABLE "member" ("id" TEXT PRIMARY KEY, "board" TEXT NOT NULL UNIQUE, "since" DATE NOT NULL);
INSERT INTO "member" ("id", "board", "since") SELECT gen_random_uuid(), "id", CURRENT_DATE
  FROM "mm_board" ON CONFLICT ("board") DO NOTHING;
INSERT INTO "member" ("id", "board", "since") VALUES (gen_random_uuid(), 'b7', '2025-12-03');
ALTER TABLE "mm_board" ADD COLUMN "members" INTEGER;
""",
    "two columns filled in turn": """
ALTER TABLE "mm_issue" ADD COLUMN "old" JSONB, ADD COLUMN "tags" TEXT[] NOT NULL DEFAULT '{}';
UPDATE "mm_issue" SET "old" = jsonb_build_object('title', "title") WHERE "title" <> 'issue 1';
UPDATE "mm_issue" SET "tags" = ARRAY["title"] WHERE "title" <> 'issue 2';
ALTER TABLE "mm_issue" DROP COLUMN "title";
""",
    "filled in portions": """
ALTER TABLE "mm_issue" ADD COLUMN "slug" TEXT, ADD COLUMN "n" INTEGER NOT NULL DEFAULT 0;
DO $$ BEGIN LOOP
  UPDATE "mm_issue" SET "slug" = 'issue-' || "id" WHERE "id" IN (
    SELECT "id" FROM "mm_issue" WHERE "slug" IS NULL LIMIT 2);
  EXIT WHEN NOT FOUND;
END LOOP; END $$;
UPDATE "mm_issue" SET "n" = "n" + 1;
ALTER TABLE "mm_issue" ALTER COLUMN "slug" SET NOT NULL;
""",
    "filled by a function of its own": """
CREATE FUNCTION "slug_of"(title TEXT) RETURNS TEXT LANGUAGE plpgsql AS
  $$ BEGIN RETURN lower(replace(title, ' ', '-')); END $$;
ALTER TABLE "mm_issue" ADD COLUMN "slug" TEXT;
UPDATE "mm_issue" SET "slug" = "slug_of"("title");
ALTER TABLE "mm_issue" ALTER COLUMN "slug" SET NOT NULL;
DROP FUNCTION "slug_of";
""",
    "rows merged": """
CREATE TABLE "tag" ("board" TEXT PRIMARY KEY, "n" INTEGER NOT NULL);
INSERT INTO "tag" SELECT "board_id", count(*) FROM "mm_issue" GROUP BY 1;
UPDATE "tag" SET "n" = "n" * 10;
ALTER TABLE "mm_issue" ADD COLUMN "y" TEXT;
""",
    "temporary table": """
CREATE TEMP TABLE "lengths" AS SELECT "id", length("title") AS n FROM "mm_issue";
ALTER TABLE "mm_issue" ADD COLUMN "length" INTEGER;
UPDATE "mm_issue" AS i SET "length" = l.n FROM "lengths" AS l WHERE l."id" = i."id";
DROP TABLE "lengths";
ALTER TABLE "mm_issue" ALTER COLUMN "length" SET NOT NULL;
ALTER TABLE "mm_issue" ADD COLUMN "other" TEXT;
""",
    "temporary table filled and left": """
CREATE TEMP TABLE "names" ("old" TEXT PRIMARY KEY, "new" TEXT NOT NULL);
INSERT INTO "names" VALUES ('b1', 'one'), ('b2', 'two');
ALTER TABLE "mm_issue" ADD COLUMN "board" TEXT;
UPDATE "mm_issue" AS i SET "board" = n."new" FROM "names" AS n WHERE n."old" = i."board_id";
ALTER TABLE "mm_issue" ALTER COLUMN "board" SET NOT NULL;
CREATE INDEX "mm_issue_board_name" ON "mm_issue" ("board");
""",
    "temporary table of what changes": """
CREATE TEMP TABLE "old" AS SELECT "id", "title" FROM "mm_issue";
ALTER TABLE "mm_issue" ADD COLUMN "x" TEXT;
UPDATE "mm_issue" AS i SET "title" = o."title" || '!' FROM "old" AS o WHERE o."id" = i."id";
DROP TABLE "old";
ALTER TABLE "mm_issue" ADD COLUMN "y" TEXT;
""",
    "temporary table that outlives its source": """
CREATE TEMP TABLE "kept" AS SELECT "id", "title" FROM "mm_issue";
ALTER TABLE "mm_issue" DROP COLUMN "title";
ALTER TABLE "mm_issue" ADD COLUMN "title" VARCHAR(80);
UPDATE "mm_issue" AS i SET "title" = k."title" FROM "kept" AS k WHERE k."id" = i."id";
ALTER TABLE "mm_issue" ALTER COLUMN "title" SET NOT NULL;
""",
    "by way of a column": """
ALTER TABLE "mm_issue" ADD COLUMN "tmp" TEXT;
UPDATE "mm_issue" SET "tmp" = 'x-' || "title";
UPDATE "mm_issue" SET "title" = "tmp";
ALTER TABLE "mm_issue" DROP COLUMN "tmp";
ALTER TABLE "mm_issue" ADD COLUMN "y" TEXT;
""",
    "by way of a column, after a table": """
CREATE TABLE "label" ("id" SERIAL PRIMARY KEY);
ALTER TABLE "mm_issue" ADD COLUMN "tmp" TEXT;
UPDATE "mm_issue" SET "tmp" = 'x-' || "title";
UPDATE "mm_issue" SET "title" = "tmp";
ALTER TABLE "mm_issue" DROP COLUMN "tmp";
ALTER TABLE "mm_issue" ADD COLUMN "y" TEXT;
""",
    "a column less, then rows": """
ALTER TABLE "mm_issue" DROP COLUMN "done";
UPDATE "mm_issue" SET "id" = "id" + 1000;
INSERT INTO "mm_board" ("id", "name", "created_at")
  VALUES ('b7', 'x', '2025-12-03'), ('b8', 'y', '2025-12-03');
ALTER TABLE "mm_issue" ADD COLUMN "y" TEXT;
""",
}

OPEN = "neither the catalog nor the rows show whether these statements ran: "
KILLED, ERROR = Mode.KILLED, Mode.ERROR_LOGGED

GONE = "temporary objects (kept) are gone with their session; statement 2 (line 2, ALTER TABLE)"

REFUSED = {
    # Somebody else may have written all these rows at that time; twice is not once.
    ("counter", 2, KILLED): OPEN + "2 (line 2, UPDATE)",
    ("counter", 2, ERROR): OPEN + "2 (line 2, UPDATE)",
    ("rows merged", 3, KILLED): OPEN + "2 (line 2, INSERT), 3 (line 3, UPDATE)",
    ("rows merged", 3, ERROR): OPEN + "2 (line 2, INSERT), 3 (line 3, UPDATE)",
    # `b -> c` then `a -> b`: what is a `b` now may have been an `a`.
    ("swap", 3, KILLED): OPEN + "2 (line 2, UPDATE), 3 (line 3, UPDATE)",
    ("swap", 3, ERROR): OPEN + "2 (line 2, UPDATE), 3 (line 3, UPDATE)",
    # Nothing visible before it opens the window, and such rows may be anybody's.
    ("insert without a key", 0, ERROR): OPEN + "1 (line 1, INSERT)",
    ("insert without a key", 1, ERROR): OPEN + "1 (line 1, INSERT)",
    # One row, such as the application may have written since.
    ("insert without a key", 1, KILLED): OPEN + "1 (line 1, INSERT)",
    ("insert without a key", 3, KILLED): OPEN + "3 (line 3, INSERT)",
    # A column that came and went leaves no fact, and the rows show only one end.
    ("swap", 4, KILLED): OPEN + "1 (line 1, ALTER TABLE)",
    ("values mapped in turn", 5, KILLED): OPEN + "1 (line 1, ALTER TABLE)",
    ("rows removed", 3, KILLED): OPEN + "1 (line 1, ALTER TABLE)",
    ("anonymous block", 3, KILLED): OPEN + "1 (line 1, ALTER TABLE)",
    # After a kill a column that was dropped may have been removed by hand.
    ("by way of a column", 4, KILLED): OPEN + "1 (line 1, ALTER TABLE)",
    ("by way of a column, after a table", 5, KILLED): OPEN + "2 (line 2, ALTER TABLE)",
    # After an error the attempt is known to its end, but not from its beginning.
    ("by way of a column", 4, ERROR): OPEN + "1 (line 1, ALTER TABLE)",
    # All rows may have been written since, by whomever.
    ("by way of a column", 2, KILLED): OPEN + "3 (line 3, UPDATE)",
    ("by way of a column, after a table", 3, KILLED): OPEN + "4 (line 4, UPDATE)",
    ("a column less, then rows", 2, KILLED): OPEN + "2 (line 2, UPDATE)",
    ("a column less, then rows", 2, ERROR): OPEN + "2 (line 2, UPDATE)",
    # What a temporary table held, which was made from what is other now, nobody knows.
    ("temporary table of what changes", 3, KILLED): OPEN + "3 (line 3, UPDATE)",
    ("temporary table of what changes", 3, ERROR): OPEN + "3 (line 3, UPDATE)",
    ("temporary table of what changes", 4, KILLED): OPEN + "3 (line 3, UPDATE)",
    ("temporary table of what changes", 4, ERROR): OPEN + "3 (line 3, UPDATE)",
    ("temporary table that outlives its source", 2, KILLED): GONE,
    ("temporary table that outlives its source", 2, ERROR): GONE,
    ("temporary table that outlives its source", 3, KILLED): GONE,
    ("temporary table that outlives its source", 3, ERROR): GONE,
    ("temporary table that outlives its source", 4, KILLED): OPEN + "4 (line 4, UPDATE)",
    ("temporary table that outlives its source", 4, ERROR): OPEN + "4 (line 4, UPDATE)",
    # A block is not looked into: rows were written, and by whom is not known.
    ("anonymous block", 2, KILLED): OPEN + "2 (line 2, DO)",
    ("anonymous block", 2, ERROR): OPEN + "2 (line 2, DO)",
}
"""States that are left to a person, by shape, statements and mode, with words of the reason."""


def _migration(shape: str) -> Migration:
    return Migration("20251220100000_" + shape.replace(" ", "_").lower(), SHAPES[shape].lstrip())


def _states() -> Iterator[tuple[str, int, Mode]]:
    for shape in SHAPES:
        script = parse(_migration(shape).sql)
        for k in script.boundaries:
            yield shape, k, Mode.KILLED
            if k < len(script.statements):
                yield shape, k, Mode.ERROR_LOGGED


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
                    incident.run(connection, _migration(shape).sql, SCHEMA)
                dumps[server.port, shape] = database.dump(exclude_tables=(LEDGER,))
        return dumps[server.port, shape]

    return dump


@pytest.mark.parametrize(("shape", "statements", "mode"), list(_states()))
def test_repaired_exactly_or_left_alone(
    latest_database: Database,
    clean_dump: Callable[[Server, str], str],
    tmp_path: Path,
    shape: str,
    statements: int,
    mode: Mode,
) -> None:
    """A script with data statements ends as a clean run leaves it, or untouched with a reason."""
    database, failed = latest_database, _migration(shape)
    folder = incident.write_migrations(tmp_path / "migrations", (*BEFORE, failed))
    _leave(database, failed, statements, mode)
    before = database.dump()
    done = said(app.run, settings(database, folder, SIDECAR_POLICY="forward"))
    assert done.outcome is not None, done.what
    reason = REFUSED.get((shape, statements, mode))
    if reason is None:
        assert (done.code, done.outcome.name) == (0, OutcomeName.REPAIRED), done.what
        after = database.dump(exclude_tables=(LEDGER,))
        assert UUID.sub("new", after) == UUID.sub("new", clean_dump(database.server, shape))
    else:
        assert (done.code, done.outcome.name) == (3, OutcomeName.HALTED)
        assert reason in done.what
        assert database.dump() == before


@pytest.mark.parametrize(
    ("state", "known"),
    [
        (("counter", 2, KILLED), "assume-run"),
        (("insert without a key", 0, ERROR), "assume-not-run"),
        (("insert without a key", 1, ERROR), "assume-run"),
        (("swap", 3, KILLED), "assume-run"),
    ],
)
def test_what_a_person_knows_settles_the_rest(
    latest_database: Database,
    clean_dump: Callable[[Server, str], str],
    tmp_path: Path,
    state: tuple[str, int, Mode],
    known: str,
) -> None:
    """SIDECAR_DATA_STATEMENTS says what nothing shows; the audit says on whose word it rests."""
    shape, statements, mode = state
    database, failed = latest_database, _migration(shape)
    folder = incident.write_migrations(tmp_path / "migrations", (*BEFORE, failed))
    _leave(database, failed, statements, mode)
    done = said(app.run, settings(database, folder, SIDECAR_DATA_STATEMENTS=known))
    assert done.code == 0, done.what
    assert database.dump(exclude_tables=(LEDGER,)) == clean_dump(database.server, shape)
    logs = f"SELECT logs FROM {LEDGER} WHERE finished_at IS NOT NULL ORDER BY started_at DESC"
    assert f"policy: data_statements is {known}" in database.execute(logs)[0][0]


def _leave(database: Database, failed: Migration, statements: int, mode: Mode) -> None:
    with database.connect() as connection:
        incident.clean_run(connection, BEFORE)
        database.execute(ROWS)
        row = incident.start(connection, failed)
        for statement in parse(failed.sql).statements[:statements]:
            incident.run(connection, statement.sql, SCHEMA)
        if mode is Mode.ERROR_LOGGED:
            log = incident.native_log(failed.name, "57014", incident.CANCELLED)
            incident.log_error(connection, row, log)
