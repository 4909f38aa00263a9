"""Rows that a rebuild puts aside: nothing there stands in the way of the next ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests import incident
from tests.command import Said, Scene
from tests.incident import Migration
from tests.postgres import Database

NAME = "20260101000000_orders"
LONG = "n" * 63

TABLE = """
CREATE TYPE "Kind" AS ENUM ('new', 'old');
CREATE TABLE "Order" (
    "id" SERIAL PRIMARY KEY,
    "no" INTEGER GENERATED ALWAYS AS IDENTITY,
    "kind" "Kind" NOT NULL DEFAULT 'new',
    "Key of it" TEXT UNIQUE
);
CREATE INDEX "Order by kind" ON "Order" ("kind");
"""
OTHER = f"""
CREATE TABLE "{LONG}" ("id" BIGSERIAL PRIMARY KEY);
CREATE INDEX "{LONG[1:]}" ON "{LONG}" ("id");
"""
LAST = 'CREATE TABLE "Last" ("id" INTEGER);\n'
ROWS = f"""
INSERT INTO "Order" ("kind", "Key of it") VALUES ('old', 'a'), ('new', 'b');
INSERT INTO "{LONG}" DEFAULT VALUES;
"""
ALL = ('SELECT * FROM "Order" ORDER BY "id"', f'SELECT * FROM "{LONG}"')
DROPPED = f"""
DROP TABLE "Order", "{LONG}", "Last";
DROP TYPE "Kind";
DELETE FROM _prisma_migrations;
"""


@pytest.fixture
def scene(latest_database: Database, tmp_path: Path) -> Scene:
    """The folder of a migration that makes tables, and an empty ledger."""
    incident.write_migrations(tmp_path / "migrations", (_MIGRATION,))
    with latest_database.connect() as connection:
        incident.create_ledger(connection, "public")
    return Scene(latest_database, tmp_path / "migrations")


_MIGRATION = Migration(NAME, f"{TABLE}{OTHER}{LAST}".lstrip())


def _rebuilt(scene: Scene) -> tuple[Said, list[list[Any]]]:
    """The migration stops before its last table, rows come in, and it is rebuilt."""
    with scene.database.connect() as connection:
        incident.start(connection, _MIGRATION, "public")
        for statement in _MIGRATION.statements[:-1]:
            incident.run(connection, statement, "public")
    scene.database.execute(ROWS)
    rows = [scene.database.execute(query) for query in ALL]
    done = scene.run(SIDECAR_POLICY="rebuild")
    assert done.code == 0, done.what
    assert [scene.database.execute(query) for query in ALL] == [[], []]
    return done, rows


def _restore(scene: Scene, done: Said) -> None:
    """Do what the next steps say."""
    steps = [step for step in done.next_steps if "bring them back with: " in step]
    assert len(steps) == len(ALL)
    for step in steps:
        scene.database.execute(step.partition("bring them back with: ")[2])


def test_the_same_tables_can_be_put_aside_again(scene: Scene) -> None:
    """Their indexes and sequences have other names there; the rows of each time come back."""
    first, rows = _rebuilt(scene)
    scene.database.execute(DROPPED)
    second, _ = _rebuilt(scene)
    _restore(scene, second)
    assert [scene.database.execute(query) for query in ALL] == rows
    scene.database.execute(f'TRUNCATE "Order", "{LONG}"')
    _restore(scene, first)
    assert [scene.database.execute(query) for query in ALL] == rows


def test_after_the_rows_are_back_the_next_ones_are_counted_on(scene: Scene) -> None:
    """No sequence gives a number that a row has which came back."""
    done, rows = _rebuilt(scene)
    _restore(scene, done)
    scene.database.execute(ROWS.replace("'a'", "'c'").replace("'b'", "'d'"))
    for query, before in zip(ALL, rows, strict=True):
        after = scene.database.execute(query)
        assert after[: len(before)] == before
        assert len(after) == 2 * len(before)


SHAPES: dict[str, tuple[str, str]] = {
    "foreign keys both ways, and a trigger": (
        """
CREATE TABLE "T" ("id" SERIAL PRIMARY KEY, "b" INTEGER);
CREATE TABLE "U" ("id" SERIAL PRIMARY KEY, "a" INTEGER REFERENCES "T" ("id"));
ALTER TABLE "T" ADD FOREIGN KEY ("b") REFERENCES "U" ("id");
CREATE FUNCTION "note"() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
CREATE TRIGGER "notes" BEFORE INSERT ON "T" FOR EACH ROW EXECUTE FUNCTION "note"();
""",
        'INSERT INTO "T" DEFAULT VALUES',
    ),
    "a foreign key to itself": (
        """
CREATE TABLE "T" ("id" INTEGER PRIMARY KEY, "p" INTEGER);
ALTER TABLE "T" ADD CONSTRAINT "fk" FOREIGN KEY ("p") REFERENCES "T" ("id");
""",
        'INSERT INTO "T" VALUES (1, 2), (2, 1)',
    ),
    "a foreign key to a later table": (
        """
CREATE TABLE "T" ("id" INTEGER PRIMARY KEY, "u" INTEGER);
CREATE TABLE "U" ("id" INTEGER PRIMARY KEY);
ALTER TABLE "T" ADD CONSTRAINT "fk" FOREIGN KEY ("u") REFERENCES "U" ("id");
""",
        'INSERT INTO "U" VALUES (1); INSERT INTO "T" VALUES (1, 1)',
    ),
    "a sequence of its own": (
        """
CREATE SEQUENCE "s";
CREATE TABLE "T" ("id" INTEGER DEFAULT nextval('s') PRIMARY KEY);
""",
        'INSERT INTO "T" DEFAULT VALUES',
    ),
    "functions in a default, a policy, a check and an index": (
        """
CREATE FUNCTION "one"() RETURNS int IMMUTABLE LANGUAGE sql AS 'SELECT 1';
CREATE TABLE "T" ("id" INTEGER DEFAULT one() PRIMARY KEY);
CREATE FUNCTION "is"(int) RETURNS bool IMMUTABLE LANGUAGE sql AS 'SELECT $1 > 0';
ALTER TABLE "T" ADD CHECK ("is"("id"));
CREATE POLICY "p" ON "T" USING ("is"("id"));
CREATE INDEX "i" ON "T" ("is"("id"));
""",
        'INSERT INTO "T" DEFAULT VALUES',
    ),
    "views": (
        """
CREATE TABLE "T" ("id" INTEGER PRIMARY KEY);
CREATE VIEW "V" AS SELECT * FROM "T";
CREATE MATERIALIZED VIEW "M" AS SELECT * FROM "T";
""",
        'INSERT INTO "T" VALUES (1)',
    ),
    "partitions": (
        """
CREATE TABLE "T" ("id" INTEGER PRIMARY KEY, "x" TEXT) PARTITION BY RANGE ("id");
CREATE TABLE "U" PARTITION OF "T" FOR VALUES FROM (1) TO (9);
CREATE INDEX "i" ON "T" (lower("x"));
""",
        """INSERT INTO "T" VALUES (1, 'a')""",
    ),
    "types of all sorts": (
        """
CREATE DOMAIN "D" AS INTEGER CHECK (VALUE > 0);
CREATE TYPE "C" AS ("a" INTEGER);
CREATE TYPE "E" AS ENUM ('x');
CREATE TABLE "T" ("id" "D" PRIMARY KEY, "c" "C", "e" "E"[]);
""",
        """INSERT INTO "T" VALUES (1, ROW(1), '{x}')""",
    ),
    "computed columns and statistics": (
        """
CREATE TABLE "T" ("id" INTEGER PRIMARY KEY, "g" INTEGER GENERATED ALWAYS AS ("id" * 2) STORED);
CREATE STATISTICS "st" ON "id", "g" FROM "T";
""",
        'INSERT INTO "T" VALUES (1)',
    ),
}


@pytest.mark.parametrize("rows", [False, True], ids=["empty", "rows"])
@pytest.mark.parametrize("shape", SHAPES)
def test_nothing_that_the_migration_made_stands_in_the_way(
    latest_database: Database, tmp_path: Path, shape: str, *, rows: bool
) -> None:
    """Whatever points at what, it is rebuilt, and the steps in their order bring rows back."""
    scene = Scene(latest_database, tmp_path / "migrations")
    text, insert = SHAPES[shape]
    migration = Migration(NAME, f"{text}{LAST}".lstrip())
    scene.plant(len(migration.statements) - 1, migration)
    latest_database.execute(insert if rows else "SELECT")
    before = latest_database.execute('SELECT * FROM "T"')
    done = scene.run(SIDECAR_POLICY="rebuild")
    assert done.code == 0, done.what
    assert latest_database.execute('SELECT * FROM "T"') == []
    back = [step.partition("bring them back with: ")[2] for step in done.next_steps]
    for sql in filter(None, back):
        latest_database.execute(sql)
    assert latest_database.execute('SELECT * FROM "T"') == before
    assert any(back) == rows


FILLED = """
CREATE TABLE "Filled" ("id" SERIAL PRIMARY KEY, "by" TEXT);
INSERT INTO "Filled" ("by") VALUES ('the script');
CREATE TABLE "Empty" ("id" SERIAL PRIMARY KEY, "by" TEXT);
CREATE TABLE "Last" ("id" INTEGER);
""".lstrip()


def test_rows_of_the_script_itself_are_said_to_be_there_again(
    latest_database: Database, tmp_path: Path
) -> None:
    """Or who brings rows back would have them twice."""
    scene = Scene(latest_database, tmp_path / "migrations")
    scene.plant(3, Migration(NAME, FILLED))
    for table in ("Filled", "Empty"):
        latest_database.execute(f"""INSERT INTO "{table}" ("by") VALUES ('the application')""")
    done = scene.run(SIDECAR_POLICY="rebuild")
    assert done.code == 0, done.what
    assert latest_database.execute('SELECT "by" FROM "Filled"') == [("the script",)]
    kept = [step for step in done.next_steps if "keeps the rows of" in step]
    assert {("leave them out" in step, "Filled" in step) for step in kept} == {
        (True, True),
        (False, False),
    }
