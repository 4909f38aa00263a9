"""`resolve`, case by case as `prisma migrate resolve` behaves.

A ledger is written as a word, a letter for each row of the migration in their order: F failed,
A applied, R rolled back before it finished, X finished and rolled back.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest

from sidecar import resolve
from sidecar.model import LOCK_KEY, MigrationName
from tests import incident
from tests.command import Said, Scene, unchanged
from tests.incident import Migration, write_migrations
from tests.postgres import Database

NAME = MigrationName("2_tags")
INIT = Migration("1_init", "CREATE TABLE item (id int);\n")
TAGS = Migration(NAME, "CREATE TABLE tag (id int);\nSELECT 1/0;\n")

LETTERS = {(False, False): "F", (True, False): "A", (False, True): "R", (True, True): "X"}


@pytest.fixture
def scene(latest_database: Database, tmp_path: Path) -> Scene:
    """A database of its own, and a folder with both migrations."""
    write_migrations(tmp_path / "migrations", (INIT, TAGS))
    return Scene(latest_database, tmp_path / "migrations")


def applied(scene: Scene, name: str = NAME) -> Said:
    """`resolve --applied`."""
    return scene.run(partial(resolve.applied, name=MigrationName(name)))


def rolled_back(scene: Scene, name: str = NAME) -> Said:
    """`resolve --rolled-back`."""
    return scene.run(partial(resolve.rolled_back, name=MigrationName(name)))


def with_rows(scene: Scene, letters: str) -> None:
    """A ledger where INIT is applied and NAME has these rows."""
    with scene.database.connect() as connection:
        incident.clean_run(connection, (INIT,), "public")
        for letter in letters:
            row = incident.start(connection, TAGS, "public")
            incident.log_error(connection, row, "why it failed", "public")
            if letter in "AX":
                incident.finish(connection, row, "public")
            if letter in "RX":
                change = "UPDATE _prisma_migrations SET rolled_back_at = now() WHERE id = %s"
                incident.run(connection, change, "public", row)


def rows(scene: Scene) -> str:
    """The rows of NAME, in letters."""
    found = scene.database.execute(
        "SELECT finished_at IS NOT NULL, rolled_back_at IS NOT NULL FROM _prisma_migrations"
        " WHERE migration_name = %s ORDER BY started_at",
        [NAME],
    )
    return "".join(LETTERS[row[0], row[1]] for row in found)


@pytest.mark.parametrize(
    ("before", "after"),
    [("", "A"), ("F", "RA"), ("FF", "RRA"), ("R", "RA"), ("RF", "RRA"), ("RR", "RRA")],
)
def test_applied_writes_a_row(scene: Scene, before: str, after: str) -> None:
    """Failed rows are rolled back, an applied one is added; never attempted is fine too."""
    with_rows(scene, before)
    assert applied(scene).code == 0
    assert rows(scene) == after
    assert scene.database.execute("SELECT to_regclass('tag') IS NULL") == [(True,)]


@pytest.mark.parametrize("before", ["A", "X", "FA", "AF", "RA", "XF"])
def test_applied_twice_is_p3008(scene: Scene, before: str) -> None:
    """A row that has finished, rolled back or not, refuses a second one."""
    with_rows(scene, before)
    with unchanged(scene.database):
        ended = applied(scene)
    assert (ended.code, ended.what[:6]) == (3, "P3008:")


@pytest.mark.parametrize(
    ("before", "after"),
    [("F", "R"), ("FF", "RR"), ("RF", "RR"), ("FA", "RA"), ("AF", "AR"), ("R", "R"), ("RA", "RA")],
)
def test_rolled_back_marks_what_failed(scene: Scene, before: str, after: str) -> None:
    """Failed rows are rolled back; where an attempt is unfinished it is no error to repeat it."""
    with_rows(scene, before)
    assert rolled_back(scene).code == 0
    assert rows(scene) == after


@pytest.mark.parametrize(("before", "code"), [("", "P3011:"), ("A", "P3012:"), ("XA", "P3012:")])
def test_rolled_back_refuses(scene: Scene, before: str, code: str) -> None:
    """Never attempted is P3011; where every attempt has finished it is P3012."""
    with_rows(scene, before)
    with unchanged(scene.database):
        ended = rolled_back(scene)
    assert (ended.code, ended.what[:6]) == (3, code)


def test_the_applied_row_is_prismas(scene: Scene) -> None:
    """The new row holds what Prisma writes; the failed one keeps its logs."""
    with_rows(scene, "F")
    assert applied(scene).code == 0
    query = """
    SELECT length(id), checksum, logs, applied_steps_count, started_at = finished_at,
           started_at <= now()
      FROM _prisma_migrations WHERE migration_name = %s ORDER BY started_at
    """
    failed, new = scene.database.execute(query, [NAME])
    assert (failed[2], failed[3]) == ("why it failed", 0)
    assert new == (36, TAGS.checksum, "", 0, True, True)


@pytest.mark.parametrize("tables", ["", "CREATE TABLE item ()"])
def test_applied_without_a_ledger_is_a_baseline(scene: Scene, tables: str) -> None:
    """Prisma makes the table first, whether or not the database is empty."""
    scene.database.execute(tables or "SELECT")
    assert applied(scene).code == 0
    assert rows(scene) == "A"
    query = """
    SELECT attname, format_type(atttypid, atttypmod), attnotnull, atthasdef
      FROM pg_attribute WHERE attnum > 0 AND attrelid = to_regclass(%s) ORDER BY attnum
    """
    with scene.database.connect() as connection:
        incident.create_ledger(connection, "as_prisma_makes_it")
    theirs = scene.database.execute(query, ["as_prisma_makes_it._prisma_migrations"])
    assert scene.database.execute(query, ["public._prisma_migrations"]) == theirs


def test_rolled_back_without_a_ledger_has_no_code(scene: Scene) -> None:
    """Prisma calls it an invariant violation; nothing is created."""
    with unchanged(scene.database):
        ended = rolled_back(scene)
    assert (ended.code, "there is no _prisma_migrations" in ended.what) == (3, True)


@pytest.mark.parametrize("missing", ["folder", "script", "name"])
def test_applied_needs_the_script(scene: Scene, missing: str) -> None:
    """Without folder or script, or with half a name, it is P3017."""
    with_rows(scene, "F")
    script = scene.folder / NAME / "migration.sql"
    if missing != "name":
        script.unlink()
    if missing == "folder":
        script.parent.rmdir()
    with unchanged(scene.database):
        ended = applied(scene, "2" if missing == "name" else NAME)
    assert (ended.code, ended.what[:6]) == (3, "P3017:")


def test_rolled_back_needs_no_folder(scene: Scene) -> None:
    """The ledger alone is asked, and the lock file is not."""
    with_rows(scene, "F")
    (scene.folder / NAME / "migration.sql").unlink()
    (scene.folder / "migration_lock.toml").write_text('provider = "mysql"\n')
    assert rolled_back(scene).code == 0
    assert rows(scene) == "R"


@pytest.mark.parametrize(
    ("lock_file", "code"),
    [
        ('provider = "mysql"\n', 3),
        ('provider="postgresql"\n', 3),
        ("# nothing\n", 3),
        ('# by Prisma\nprovider = "postgresql"\n', 0),
        (None, 0),
    ],
)
def test_applied_reads_the_lock_file_as_prisma_does(
    scene: Scene, lock_file: str | None, code: int
) -> None:
    """Another provider, or one not written as Prisma writes it, is P3019; no file is fine."""
    with_rows(scene, "F")
    path = scene.folder / "migration_lock.toml"
    path.unlink()
    if lock_file is not None:
        path.write_text(lock_file)
    ended = applied(scene)
    assert (ended.code, ended.what.startswith("P3019:")) == (code, code == 3)
    assert rows(scene) == ("F" if code else "RA")


@pytest.mark.parametrize("flag", ["--applied", "--rolled-back"])
def test_the_lock_is_respected(scene: Scene, flag: str) -> None:
    """While another migrator holds Prisma's lock nothing is written: exit 5."""
    with_rows(scene, "F")
    with scene.database.connect() as migrator:
        migrator.execute("SELECT pg_advisory_lock(%s)", (LOCK_KEY,))
        ended = scene.command("resolve", flag, NAME, SIDECAR_BUSY_TIMEOUT="100ms")
    assert ended.code == 5
    assert rows(scene) == "F"


def test_the_lock_file_is_looked_at_before_the_lock(scene: Scene) -> None:
    """P3019 comes first, as in Prisma: no waiting for what will be refused anyway."""
    (scene.folder / "migration_lock.toml").write_text('provider = "mysql"\n')
    with scene.database.connect() as migrator:
        migrator.execute("SELECT pg_advisory_lock(%s)", (LOCK_KEY,))
        assert applied(scene).what[:6] == "P3019:"


def test_the_command_says_what_it_did(scene: Scene) -> None:
    """Exit 0 and one line; a refusal is exit 3 with Prisma's code and nothing changed."""
    with_rows(scene, "F")
    ended = scene.command("resolve", "--applied", NAME)
    assert (ended.code, ended.lines[-1]["event"]) == (0, f"{NAME} is recorded as applied")
    again = scene.command("resolve", "--applied", NAME)
    assert (again.code, again.lines[-1]["outcome"]) == (3, "halted")
    assert any(line["event"].startswith("P3008:") for line in again.lines)
    assert rows(scene) == "RA"
