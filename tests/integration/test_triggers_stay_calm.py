"""Data statements on tables whose triggers only fill in a column or two.

Each script is stopped after each statement, by a kill and by an error. It ends as a clean run
leaves it, but for the hour that a trigger writes down; or the database stays untouched.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from sidecar import app
from sidecar.demo import SCHEMA
from sidecar.model import OutcomeName
from sidecar.script import parse
from tests import incident
from tests.command import said
from tests.incident import Migration, Mode
from tests.postgres import Database, Server, fresh_database
from tests.running import settings

LEDGER = f"{SCHEMA}._prisma_migrations"
HOUR = re.compile(r"\b\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d+")
"""What `now()` gives; the rows begin with hours without fractions."""

TABLES = """
CREATE TABLE "profile" (
  "id" INTEGER PRIMARY KEY, "role" TEXT, "version" INTEGER NOT NULL DEFAULT 0,
  "search" TSVECTOR, "updated_at" TIMESTAMP NOT NULL DEFAULT '2020-01-01'
);
CREATE TABLE "request" ("id" INTEGER PRIMARY KEY, "body" JSONB);
CREATE FUNCTION "fill_in"() RETURNS TRIGGER AS $$
%s $$ LANGUAGE plpgsql;
CREATE TRIGGER "filled_in" BEFORE %s ON "profile" FOR EACH ROW EXECUTE FUNCTION "fill_in"();
"""

ROWS = """
INSERT INTO momentum.profile (id, role) SELECT n, CASE WHEN n % 2 = 0 THEN 'old' ELSE 'user' END
  FROM generate_series(1, 4) n;
INSERT INTO momentum.request VALUES (1, '{"list": ["a", "b"]}'), (2, NULL), (3, '{"list": []}');
"""

TOUCH = """BEGIN
  -- The hour of each change.
  NEW."updated_at" = now();
  RETURN NEW;
END;"""


class World(NamedTuple):
    """A trigger of `profile`, what fires it, and the script that stopped."""

    fills: str
    fired: str
    script: str


WORLDS = {
    "the hour, and a new column": World(TOUCH, "UPDATE", """
ALTER TABLE "profile" ADD COLUMN IF NOT EXISTS "is_admin" BOOLEAN NOT NULL DEFAULT false;
UPDATE "profile" SET "is_admin" = true, "role" = 'admin' WHERE "role" = 'old';
CREATE INDEX "profile_role_idx" ON "profile" ("role");
"""),
    "the hour, and values in turn": World(
        "DECLARE _new RECORD; BEGIN _new := NEW; _new.updated_at = clock_timestamp();"
        " RETURN _new; END;", "INSERT OR UPDATE", """
UPDATE "profile" SET "role" = 'admin' WHERE "role" = 'old';
UPDATE "profile" SET "role" = 'member' WHERE "role" = 'user';
CREATE INDEX "profile_role_idx" ON "profile" ("role");
"""),
    "words to look for": World(
        "BEGIN IF NEW.role IS NULL THEN NEW.search = NULL; ELSE"
        " NEW.search := setweight(to_tsvector('simple', NEW.role), 'A'); END IF; RETURN NEW; END;",
        "INSERT OR UPDATE", """
ALTER TABLE "profile" ADD COLUMN "note" TEXT;
UPDATE "profile" SET "note" = 'was ' || "id", "role" = 'admin' WHERE "role" = 'old';
ALTER TABLE "profile" ALTER COLUMN "version" SET DEFAULT 1;
UPDATE "profile" SET "role" = 'member' WHERE "role" = 'user';
ALTER TABLE "profile" DROP COLUMN "note";
"""),
    "made by the script itself": World(TOUCH, "UPDATE", """
ALTER TABLE "request" ADD COLUMN "examples" JSONB;
CREATE OR REPLACE FUNCTION "sum_up"() RETURNS TRIGGER AS $$
DECLARE item JSONB; n INTEGER := 0; found JSONB := '[]';
BEGIN
  FOR item IN SELECT value FROM jsonb_array_elements(NEW."body"->'list') LOOP
    n := n + 1;
    found := found || jsonb_build_object('n', n, 'text', item);
  END LOOP;
  NEW."examples" := jsonb_build_object('examples', found);
  RETURN NEW;
END;
$$ LANGUAGE plpgsql;
CREATE TRIGGER "sums_up" BEFORE INSERT OR UPDATE OF "body" ON "request"
  FOR EACH ROW EXECUTE FUNCTION "sum_up"();
UPDATE "request" SET "body" = "body" WHERE "body" IS NOT NULL;
UPDATE "profile" SET "role" = "role" WHERE "role" IS NOT NULL;
CREATE INDEX "request_examples_idx" ON "request" USING GIN ("examples");
"""),
    "a counter of changes": World(
        "BEGIN NEW.version = OLD.version + 1; RETURN NEW; END;", "UPDATE", """
ALTER TABLE "profile" ADD COLUMN "x" TEXT;
UPDATE "profile" SET "role" = 'admin' WHERE "id" > 2;
ALTER TABLE "profile" ADD COLUMN "y" TEXT;
"""),
    "some rows are left out": World(
        "BEGIN IF NEW.id = 4 THEN RETURN NULL; END IF; RETURN NEW; END;", "UPDATE", """
ALTER TABLE "profile" ADD COLUMN "x" TEXT;
UPDATE "profile" SET "role" = 'admin' WHERE "id" > 2;
UPDATE "profile" SET "role" = 'root' WHERE "id" = 4;
ALTER TABLE "profile" ADD COLUMN "y" TEXT;
"""),
    "what it sets is picked by": World(TOUCH, "UPDATE", """
ALTER TABLE "profile" ADD COLUMN "x" TEXT;
UPDATE "profile" SET "role" = 'admin' WHERE "updated_at" < '2021-01-01' AND "id" < 3;
UPDATE "profile" SET "role" = 'late' WHERE "updated_at" > '2021-01-01';
ALTER TABLE "profile" ADD COLUMN "y" TEXT;
"""),
}  # fmt: skip

KILLED, ERROR = Mode.KILLED, Mode.ERROR_LOGGED
OPEN = {
    (world, k, mode)
    for world, numbers in {
        "a counter of changes": (2,),
        "some rows are left out": (2, 3),
        "what it sets is picked by": (2, 3),
    }.items()
    for k in numbers
    for mode in (KILLED, ERROR)
}
"""States that are left to a person: what has run does not show, and twice is not once."""


def _failed(world: str) -> Migration:
    name = "20251220100000_" + re.sub(r"\W+", "_", world)
    return Migration(name, WORLDS[world].script.lstrip())


def _before(world: str) -> tuple[Migration, ...]:
    fills = WORLDS[world].fills.replace(";\n", "; ")  # where a line ends, the file is cut
    tables = TABLES % (fills, WORLDS[world].fired)
    return (*incident.BEFORE, Migration("20251201100000_profiles", tables.lstrip()))


def _states() -> Iterator[tuple[str, int, Mode]]:
    for world in WORLDS:
        script = parse(_failed(world).sql)
        for k in script.boundaries:
            yield world, k, KILLED
            if k < len(script.statements):
                yield world, k, ERROR


@pytest.fixture(scope="session")
def clean_dump() -> Callable[[Server, str], str]:
    """The dump of a clean run, made once for each world and server."""
    dumps: dict[tuple[int, str], str] = {}

    def dump(server: Server, world: str) -> str:
        if (server.port, world) not in dumps:
            with fresh_database(server) as database:
                with database.connect() as connection:
                    incident.clean_run(connection, _before(world))
                    database.execute(ROWS)
                    incident.run(connection, _failed(world).sql, SCHEMA)
                dumps[server.port, world] = _content(database)
        return dumps[server.port, world]

    return dump


def _content(database: Database) -> str:
    return HOUR.sub("an hour", database.dump(exclude_tables=(LEDGER,)))


@pytest.mark.parametrize(("world", "statements", "mode"), list(_states()))
def test_repaired_exactly_or_left_alone(
    latest_database: Database,
    clean_dump: Callable[[Server, str], str],
    tmp_path: Path,
    world: str,
    statements: int,
    mode: Mode,
) -> None:
    """What a trigger fills in is as after a clean run; one that does more stops the repair."""
    database, failed = latest_database, _failed(world)
    folder = incident.write_migrations(tmp_path / "migrations", (*_before(world), failed))
    with database.connect() as connection:
        incident.clean_run(connection, _before(world))
        database.execute(ROWS)
        row = incident.start(connection, failed)
        for statement in parse(failed.sql).statements[:statements]:
            incident.run(connection, statement.sql, SCHEMA)
        if mode is ERROR:
            log = incident.native_log(failed.name, "57014", incident.CANCELLED)
            incident.log_error(connection, row, log)
    before = database.dump()
    done = said(app.run, settings(database, folder, SIDECAR_POLICY="forward"))
    assert done.outcome is not None, done.what
    if (world, statements, mode) not in OPEN:
        assert (done.code, done.outcome.name) == (0, OutcomeName.REPAIRED), done.what
        assert _content(database) == clean_dump(database.server, world)
    else:
        assert (done.code, done.outcome.name) == (3, OutcomeName.HALTED)
        assert database.dump() == before
