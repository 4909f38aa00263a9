"""Temporary tables of a session that is gone: not needed, made again, or a reason to refuse."""

from __future__ import annotations

import pytest

from sidecar.lost_tables import Lost, lost
from sidecar.model import FactKey, Facts
from tests.unit.builders import Made, replay, script_of, state_after, table

POST, LOG = FactKey("table", 'public."Post"', ""), FactKey("table", 'public."Log"', "")
ENUM = FactKey("type", "public.e", "")
INDEX = FactKey("index", "public.i", POST.identity)
BASE: Facts = {POST: "TABLE", LOG: "TABLE"}


def column(
    name: str, on: FactKey = POST, text: str | None = "integer"
) -> dict[FactKey, str | None]:
    """What ADD COLUMN does to the facts; with None what DROP COLUMN does."""
    return {FactKey("column", name, on.identity): text}


MAKE = 'CREATE TEMP TABLE m AS SELECT "id", "n" FROM "Post"'
ADD = ('ALTER TABLE "Post" ADD COLUMN "c" INTEGER', column("c"))
USE = 'UPDATE "Post" SET "c" = m."n" FROM m WHERE m."id" = "Post"."id"'
DROP = "DROP TABLE m"
MORE = ('ALTER TABLE "Post" ADD COLUMN "d" INTEGER', column("d"))

Given = str | tuple[str, Made]


def found(start: int, *statements: Given, base: Facts | None = None) -> Lost:
    """What is to be done where the first `start` statements are not run again."""
    texts = [s if isinstance(s, str) else s[0] for s in statements]
    made = [None if isinstance(s, str) else s[1] for s in statements]
    replayed = replay(*made, base=base or BASE)
    script = script_of(*texts)
    return lost(script, replayed.effects, state_after(replayed, start), start=start)


NOTHING: dict[str, tuple[int, tuple[Given, ...]]] = {
    "none was made": (1, (ADD, USE)),
    "it is dropped": (4, (MAKE, ADD, USE, DROP, MORE)),
    "all are taken back": (4, (MAKE, ADD, USE, "DISCARD TEMP", MORE)),
    "nothing names it any more": (3, (MAKE, ADD, USE, MORE)),
    "it was made in a block that was taken back": (
        5, ("BEGIN", MAKE, "ROLLBACK", ADD, "SELECT 1", MORE, DROP),
    ),
    "it went with its block": (
        4, ("BEGIN", "CREATE TEMP TABLE m ON COMMIT DROP AS SELECT 1", "COMMIT", ADD, "TABLE m"),
    ),
    "all is run": (0, (MAKE, ADD, USE)),
}  # fmt: skip


@pytest.mark.parametrize("name", NOTHING)
def test_nothing_is_to_be_done(name: str) -> None:
    """What the rest does not mention may be gone."""
    start, statements = NOTHING[name]
    assert found(start, *statements) == Lost()


@pytest.mark.parametrize("drop", [DROP, "DROP TABLE IF EXISTS m", "DROP TABLE pg_temp.m"])
def test_a_drop_of_what_is_gone_is_left_out(drop: str) -> None:
    """It would fail, or find a lasting table of that name."""
    assert found(3, MAKE, ADD, USE, drop, MORE) == Lost(idle=frozenset({4}))


def test_a_drop_of_two_of_which_one_is_there_is_run() -> None:
    """Then both are made again."""
    other = "CREATE TEMP TABLE k (a int)"
    assert found(2, MAKE, ADD, other, "DROP TABLE m, k") == Lost(again=frozenset({1}))


FILL = 'INSERT INTO m SELECT "id", "n" FROM "Post"'
AGAIN: dict[str, tuple[int, tuple[Given, ...], set[int]]] = {
    "right after it": (1, (MAKE, USE), {1}),
    "a column later": (2, (MAKE, ADD, USE, DROP), {1}),
    "filled, changed, indexed": (
        5,
        ("CREATE TEMP TABLE m (id INT, n INT)", FILL, "UPDATE m SET n = 1", "CREATE INDEX ON m (n)",
         ADD, USE),
        {1, 2, 3, 4},
    ),
    "from nothing": (3, ("CREATE TEMP TABLE m AS VALUES (1)", ADD, MORE, USE), {1}),
    "from another that is there": (
        3, (MAKE, "CREATE TEMP TABLE k AS TABLE m", ADD, "TABLE k"), {1, 2},
    ),
    "only what is needed": (3, (MAKE, "CREATE TEMP TABLE k AS SELECT 1", ADD, USE), {1}),
    "by chance": (2, ("CREATE TEMP TABLE m AS SELECT random() AS n", ADD, USE), {1}),
    "from a query with a name": (
        2, ("CREATE TEMP TABLE m AS WITH p AS (SELECT 1) TABLE p", ADD, USE), {1},
    ),
    "an index on its source": (
        2, (MAKE, ('CREATE INDEX i ON "Post" ("n")', {INDEX: "INDEX"}), USE), {1},
    ),
    "another table": (2, (MAKE, ("CREATE TABLE t (a int)", "t"), USE), {1}),
    "from one of its name": (
        2, ('CREATE TEMP TABLE "Post" AS SELECT 1 AS n FROM "Post"', ("CREATE TYPE e AS ENUM ()",
            {ENUM: "ENUM"}), 'SELECT n FROM "Post"'), {1},
    ),
    "a savepoint took back its drop": (
        6, (MAKE, "BEGIN", "SAVEPOINT a", DROP, "ROLLBACK TO a", "COMMIT", USE), {1},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", AGAIN)
def test_what_is_needed_is_made_again(name: str) -> None:
    """As long as nothing came of it, and its sources are as they were but for rows since."""
    start, statements, again = AGAIN[name]
    assert found(start, *statements) == Lost(again=frozenset(again))


NEVER: dict[str, tuple[int, tuple[Given, ...]]] = {
    "rows came of it": (3, (MAKE, ADD, USE, "INSERT INTO l SELECT n FROM m")),
    "other rows were written": (2, (MAKE, 'DELETE FROM "Post"', USE)),
    "rows were written in another table": (2, (MAKE, 'INSERT INTO "Log" VALUES (1)', USE)),
    "a table came of it": (2, (MAKE, ("CREATE TABLE t AS TABLE m", "t"), USE)),
    "a block ran": (2, (MAKE, "DO $$ BEGIN ALTER TABLE x ADD y int; END $$", USE)),
    "its source is gone": (2, (MAKE, ('DROP TABLE "Post"', {POST: None}), USE)),
    "its source has another name": (
        2, (MAKE, ('ALTER TABLE "Post" RENAME TO "P"', {POST: None, table("P"): "TABLE"}), USE),
    ),
    "a column it reads was altered": (
        2, (MAKE, ('ALTER TABLE "Post" ALTER "n" TYPE INT', column("n")), USE),
    ),
    "it reads all columns": (2, ('CREATE TEMP TABLE m AS TABLE "Post"', ADD, USE)),
    "a column it reads was computed anew": (
        2, (MAKE, 'ALTER TABLE "Post" ALTER "n" TYPE INT USING "n" * 2', USE),
    ),
    "another table of that name": (
        2, (MAKE, ('CREATE TABLE s."Post" ()', {FactKey("table", 's."Post"', ""): "TABLE"}), USE),
    ),
    "its source has new parts": (
        2,
        (MAKE, ("CREATE TABLE q ()", {table("q"): 'TABLE PARTITION OF public."Post"'}), USE),
    ),
    "a type was altered": (
        2, (MAKE, ("ALTER TYPE e RENAME VALUE 'a' TO 'b'", {ENUM: "ENUM"}), USE),
    ),
    "a view may show it": (2, (MAKE, "CREATE VIEW v AS TABLE m", "SELECT * FROM v")),
    "one that it was made from is gone": (
        3, (MAKE, "CREATE TEMP TABLE k AS TABLE m", DROP, "TABLE k"),
    ),
    "it ends with its transaction": (
        2, ("CREATE TEMP TABLE m (n int) ON COMMIT DELETE ROWS", ADD, USE),
    ),
    "a counter moves": (2, ("CREATE TEMP TABLE m AS SELECT nextval('s') AS n", ADD, USE)),
    "a function of the project": (2, ("CREATE TEMP TABLE m AS SELECT f() AS n", ADD, USE)),
    "from the catalog": (2, ("CREATE TEMP TABLE m AS SELECT oid FROM pg_class", ADD, USE)),
    "renamed": (3, (MAKE, "ALTER TABLE m RENAME TO k", ADD, "TABLE k")),
    "what follows may do anything": (3, (MAKE, ADD, USE, "SELECT f()")),
    "what follows puts its text together": (
        3, (MAKE, ADD, USE, "DO $$ BEGIN EXECUTE 'ALTER TABLE ' || x || ' ADD y int'; END $$"),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", NEVER)
def test_what_cannot_be_made_again_is_a_reason(name: str) -> None:
    """It says which table, and what speaks against it."""
    start, statements = NEVER[name]
    base = {**BASE, ENUM: "ENUM ()", **_present(column("n"))}
    result = found(start, *statements, base=base)
    assert "gone with their session" in result.problem
    assert not result.again


def _present(facts: dict[FactKey, str | None]) -> dict[FactKey, str]:
    return dict.fromkeys(facts, "bigint")


def test_a_view_as_its_source_is_not_followed() -> None:
    """What it shows rests on tables which the statement does not name."""
    view = FactKey("view", 'public."Post"', "")
    assert (
        "Post is no table" in found(2, MAKE, ADD, USE, base={LOG: "TABLE", view: "SELECT"}).problem
    )


def test_a_function_that_names_it_may_need_it() -> None:
    """A trigger of the rest may call it, and would find no table."""
    body = {FactKey("function", "public.f()", ""): "CREATE FUNCTION f() ... INSERT INTO m ..."}
    statements = (MAKE, USE, ADD, MORE)
    assert found(3, *statements) == Lost()
    assert found(3, *statements, base={**BASE, **body}).problem
