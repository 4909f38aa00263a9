"""More than one attempt: the migration failed, was marked as rolled back, and failed again.

What the first attempt left stays, and the second begins anew. Prisma goes on from there as the
second attempt went; where nothing is done twice by that, it is also what one clean run leaves.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import pytest

from sidecar import app
from tests import incident
from tests.command import said
from tests.deep.tally import Tally
from tests.deep.traps import ANOTHER, KEPT, LINE, NEW, TWO, UP
from tests.deep.world import (
    NAME,
    Stage,
    World,
    difference,
    dump,
    running,
    settings,
    without_quarantine,
)
from tests.incident import Migration
from tests.postgres import Database

pytestmark = pytest.mark.deep

GUARDED = 'ALTER TABLE "Post" ADD COLUMN IF NOT EXISTS "c" INTEGER'
SCRIPTS = (
    (NEW, UP),
    (UP, NEW),
    (LINE, NEW, UP),
    (GUARDED, UP, ANOTHER),
    (GUARDED, 'UPDATE "Post" SET "c" = "views"', 'ALTER TABLE "Post" ALTER "c" SET NOT NULL'),
    (KEPT.replace("TABLE", "TABLE IF NOT EXISTS"), TWO, ANOTHER),
    (GUARDED, LINE),
)
OTHER_NAME = "20250402000000_another"


def _run(world: World, database: Database, statements: Sequence[str]) -> tuple[int, str]:
    """How many succeeded, each sent alone, and what is logged of the next."""
    with running(world, database, ()) as run:
        done, error = run.one_by_one(tuple(statements))
    says = f"ERROR: {error.diag.message_primary}" if error else ""
    return done, says and incident.native_log(NAME, (error and error.sqlstate) or "", says)


def _attempt(world: World, database: Database, migration: Migration, reach: int) -> int:
    """An attempt that ends after so many statements, or before; returns after how many."""
    with database.connect() as books:
        row = incident.start(books, migration, world.past.schema)
        done, logs = _run(world, database, migration.statements[:reach])
        if logs:
            incident.log_error(books, row, logs, world.past.schema)
    return done


def _after(stage: Stage, world: World, *parts: Sequence[str]) -> str:
    """What is there when these have run; '' where one of them cannot."""
    with stage.database(world.past) as database:
        for statements in parts:
            if _run(world, database, statements)[1]:
                return ""
        return without_quarantine(dump(database))


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: " / ".join(s[:20] for s in script))
def test_a_second_attempt(stage: Stage, script: tuple[str, ...]) -> None:
    """It ends as it would with Prisma, as one clean run, or untouched."""
    world, ends = World(script), Tally()
    for first, second in product(range(len(script) + 1), repeat=2):
        with stage.database(world.past) as database:
            _attempt(world, database, world.migration, first)
            database.execute(
                "UPDATE _prisma_migrations SET rolled_back_at = now() WHERE finished_at IS NULL"
            )
            reached = _attempt(world, database, world.migration, second)
            before = dump(database)
            with settings(world, database) as environ:
                done = said(app.run, environ)
            after = dump(database)
        ends.counts[str(done.code), ""] += 1
        if done.code != 0:
            assert difference(before, after) == "", (first, second)
            continue
        as_prisma = _after(stage, world, script[:first], script[:reached], script[reached:])
        assert without_quarantine(after) in {as_prisma, _after(stage, world, script)}, (
            f"attempts of {first} and {second}: {done.what}"
        )
    assert ends.counts["0", ""], "none is repaired"


TWO_SCRIPTS = (
    ((NEW, UP), (ANOTHER, LINE)),
    ((UP, NEW), (UP, ANOTHER)),
    ((LINE, NEW), (LINE, ANOTHER)),
)


@pytest.mark.parametrize("scripts", TWO_SCRIPTS, ids=str)
def test_two_migrations_failed(
    stage: Stage, scripts: tuple[tuple[str, ...], tuple[str, ...]]
) -> None:
    """Each is judged with the other as a rival: all of it, the first alone, or nothing."""
    one, two = scripts
    world = World(one)
    other = Migration(OTHER_NAME, ";\n".join(two) + ";\n")
    for first, second in product(range(len(one) + 1), range(len(two) + 1)):
        with stage.database(world.past) as database:
            _attempt(world, database, world.migration, first)
            _attempt(world, database, other, second)
            with settings(world, database, other) as environ:
                said(app.run, environ)
            after = without_quarantine(dump(database))
        parts = (one[:first], two[:second], one[first:], two[second:])
        allowed = {_after(stage, world, *parts[:n]) for n in (2, 3, 4)}
        assert after in allowed, (first, second)
