"""DO blocks, as the migrations of real projects write them, and what they are taken for."""

from __future__ import annotations

import pytest

from sidecar.model import Nature, Statement, Verb
from tests.unit.builders import script_of


def block(body: str, declared: str = "") -> Statement:
    """The one statement of a script that is this block."""
    return only(f"DO $$ {declared} BEGIN {body} END $$")


def only(sql: str) -> Statement:
    """The one statement of this script."""
    (statement,) = script_of(sql).statements
    return statement


CATALOG = {
    "a type unless there": """
IF NOT EXISTS (SELECT 1 FROM pg_type WHERE typname = 'Role') THEN
  CREATE TYPE "Role" AS ENUM ('ADMIN', 'USER');
END IF;""",
    "a foreign key unless there": """
ALTER TABLE "Post" ADD CONSTRAINT "Post_authorId_fkey" FOREIGN KEY ("authorId")
  REFERENCES "User" ("id");
EXCEPTION WHEN duplicate_object THEN null;""",
    "a column unless there": """
IF NOT EXISTS (SELECT FROM information_schema.columns
               WHERE table_name = 'Post' AND column_name = 'slug') THEN
  ALTER TABLE "Post" ADD COLUMN "slug" TEXT;
END IF;""",
    "an enum value unless there": """
IF NOT EXISTS (SELECT 1 FROM pg_enum e JOIN pg_type t ON t.oid = e.enumtypid
               WHERE t.typname = 'Role' AND e.enumlabel = 'OWNER') THEN
  ALTER TYPE "Role" ADD VALUE 'OWNER';
END IF;""",
    "put together": """
EXECUTE format('ALTER TABLE %I ADD COLUMN "x" INTEGER', 'Post');""",
    "put together by hand": """
EXECUTE 'DROP INDEX IF EXISTS ' || quote_ident('Post_idx') || ';';""",
    "a policy put together": """
EXECUTE 'CREATE POLICY p ON "Post" USING ("authorId" = 1)';""",
    "a role unless there": """
IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'app') THEN
  CREATE ROLE app; ALTER ROLE app SET timezone = 'UTC'; COMMENT ON ROLE app IS 'x';
END IF;""",
    "many, of the catalog": """
FOR r IN SELECT conname FROM pg_catalog.pg_constraint WHERE conrelid = '"Post"'::regclass LOOP
  EXECUTE 'ALTER TABLE "Post" DROP CONSTRAINT ' || quote_ident(r.conname);
END LOOP;""",
    "a right": """GRANT SELECT ON "Post" TO PUBLIC; RAISE NOTICE 'granted';""",
}


@pytest.mark.parametrize("case", CATALOG)
def test_a_guarded_change_of_the_catalog_is_one(case: str) -> None:
    """Its effect is a matter of facts, as that of the statement it guards."""
    found = block(CATALOG[case], declared="DECLARE r RECORD;")
    assert (found.nature, found.reach_known, found.writes) == (Nature.CATALOG, True, ())


FILLED = {
    "a table": 'CREATE TABLE "Copy" AS SELECT 1;',
    "a view": """
IF NOT EXISTS (SELECT FROM pg_matviews WHERE matviewname = 'Copy') THEN
  CREATE MATERIALIZED VIEW "Copy" AS SELECT "id" FROM "Post";
END IF;""",
    "by a text": """EXECUTE 'CREATE TABLE "Copy" AS SELECT 1';""",
}


@pytest.mark.parametrize("case", FILLED)
def test_what_is_filled_when_it_is_made_is_written(case: str) -> None:
    """It is a change of the catalog, whose rows are those of its query."""
    found = block(FILLED[case])
    assert (found.nature, found.reach_known) == (Nature.CATALOG, True)
    assert found.writes == ('"Copy"',)


NOTHING = {
    "a check of rows": """
IF EXISTS (SELECT FROM "Post" WHERE "slug" IS NULL) THEN RAISE EXCEPTION 'no slug'; END IF;""",
    "a check of a count": """
SELECT count(*) INTO n FROM "Post"; ASSERT n > 0; n := n + 1;""",
    "nothing": "NULL;",
    "a notice": "RAISE NOTICE 'here %', 1 + 1;",
}


@pytest.mark.parametrize("case", NOTHING)
def test_a_mere_check_leaves_no_trace(case: str) -> None:
    """It raises or it does nothing."""
    found = block(NOTHING[case], declared="DECLARE n INTEGER := 0;")
    assert (found.nature, found.reach_known, found.change) == (Nature.NOTHING, True, None)


ADDS = {
    "an update": 'UPDATE "Post" SET "views" = "views" + 1;',
    "an update unless": """
IF NOT EXISTS (SELECT FROM "Post" WHERE "id" = 1) THEN
  INSERT INTO "Post" ("id") VALUES (1);
END IF;""",
    "row by row": """
FOR r IN SELECT id FROM "User" LOOP
  UPDATE "Post" SET "x" = r.id WHERE "authorId" = r.id;
END LOOP;""",
    "a column and its values": """
ALTER TABLE "Post" ADD COLUMN "x" INTEGER; UPDATE "Post" SET "x" = 1;""",
    "with an exception": """
BEGIN INSERT INTO "Post" ("id") VALUES (1); EXCEPTION WHEN unique_violation THEN null; END;""",
}


@pytest.mark.parametrize("case", ADDS)
def test_what_adds_or_changes_rows_names_its_tables(case: str) -> None:
    """Nothing more is claimed of it: it is never settled, and removes nothing."""
    found = block(ADDS[case], declared="DECLARE r RECORD;")
    assert (found.nature, found.reach_known, found.writes) == (Nature.DATA, True, ('"Post"',))
    assert found.change is not None
    assert (found.change.verb, found.change.settled) == (Verb.MIXED, False)


REMOVES = {
    "a delete": 'DELETE FROM "Post";',
    "a move": 'INSERT INTO "Post" SELECT 1; DELETE FROM "Post" WHERE "id" = 2;',
    "emptied": 'TRUNCATE "Post";',
}


@pytest.mark.parametrize("case", REMOVES)
def test_where_rows_go_nothing_is_claimed(case: str) -> None:
    """That no row is new does not show that such a block did not run."""
    found = block(REMOVES[case])
    assert (found.nature, found.writes, found.change) == (Nature.DATA, ('"Post"',), None)


UNKNOWN = {
    "a function of anybody's": "PERFORM refresh_everything();",
    "in an expression": "n := my_function(1);",
    "a procedure": "CALL my_procedure();",
    "text from elsewhere": "EXECUTE (SELECT command FROM jobs);",
    "text of a variable": "EXECUTE n;",
    "text that changes rows": """EXECUTE format('UPDATE %I SET x = x + 1', 'Post');""",
    "two statements in one text": """
EXECUTE 'COMMENT ON TABLE "Post" IS NULL; UPDATE "Post" SET "x" = 1';""",
    "a second statement put behind": """
EXECUTE 'ALTER TABLE ' || 'x' || ' ADD y int; UPDATE ' || 'x' || ' SET y = z + 1';""",
    "a counter set by text": """
EXECUTE 'ALTER SEQUENCE "Post_id_seq" RESTART WITH ' || 100;""",
    "a column computed anew by text": """
EXECUTE 'ALTER TABLE "Post" ALTER COLUMN "x" TYPE INTEGER USING "x" * 2';""",
    "a column computed anew": """
ALTER TABLE "Post" ALTER COLUMN "x" TYPE INTEGER USING "x" * 2;""",
    "the catalog by rows": """
IF EXISTS (SELECT FROM "Post") THEN ALTER TABLE "Post" ADD COLUMN "x" INTEGER; END IF;""",
    "a counter by rows": """
EXECUTE 'CREATE SEQUENCE q START ' || (SELECT max(id) FROM "Post");""",
    "a function by a text": """EXECUTE 'CREATE TABLE "Copy" AS SELECT anything()';""",
    "a commit": 'UPDATE "Post" SET "x" = 1; COMMIT;',
    "what other databases hold": "DROP OWNED BY app;",
    "another database": "CREATE DATABASE other;",
}


@pytest.mark.parametrize("case", UNKNOWN)
def test_what_could_do_anything_counts_as_doing_it(case: str) -> None:
    """It may write to tables which it does not name."""
    found = block(UNKNOWN[case], declared="DECLARE n TEXT;")
    assert (found.nature, found.reach_known, found.change) == (Nature.DATA, False, None)


@pytest.mark.parametrize(
    "sql", ["DO LANGUAGE plpython3u $$ x = 1 $$", "DO $$ BEGIN this is not $$"]
)
def test_what_cannot_be_read_is_unknown(sql: str) -> None:
    """Another language, and text that PL/pgSQL refuses."""
    assert not only(sql).reach_known


def test_settings_and_a_counter() -> None:
    """What only a session or a sequence shows is told apart from the catalog's changes."""
    assert block("PERFORM set_config('search_path', 'app', false);").nature is Nature.SESSION
    moved = block("PERFORM setval('q', 7);")
    assert (moved.nature, moved.change) == (Nature.DATA, None)
