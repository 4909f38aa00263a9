"""What stands in the ledger and in the folder, in every odd form, on a real database."""

from __future__ import annotations

from pathlib import Path

import pytest

from sidecar import app
from sidecar.errors import ExitCode
from sidecar.model import FindingName
from tests import incident
from tests.command import Said, Scene, unchanged
from tests.incident import Migration, Mode, write_migrations
from tests.postgres import Database, Role, fresh_database

INIT = Migration("1_init", "CREATE TABLE item (id int PRIMARY KEY, code text);\n")
TAGS = Migration(
    "2_tags",
    "CREATE TABLE tag (id int);\nCREATE INDEX tag_id ON tag (id);\n"
    "CREATE VIEW tags AS TABLE tag;\n",
)
MORE = Migration("3_more", "CREATE TABLE more (id int);\nCREATE INDEX more_id ON more (id);\n")

HEALTHY, HALTED, USAGE = ExitCode.OK, ExitCode.HALTED, ExitCode.USAGE


@pytest.fixture
def scene(latest_database: Database, tmp_path: Path) -> Scene:
    """A database of its own and a folder that tests fill."""
    return Scene(latest_database, tmp_path / "migrations")


def outcome(ended: Said) -> tuple[int, str]:
    """Exit code and outcome of a run that has an outcome."""
    assert ended.outcome is not None, ended.what
    return ended.code, ended.outcome.name


def assert_like_a_clean_run(scene: Scene, *migrations: Migration, role: Role | None = None) -> None:
    """Rows, objects and privileges, all but the ledger, are those of an undisturbed deploy.

    The deploy is done by `role`, or else by the superuser.
    """
    with fresh_database(scene.database.server) as clean:
        with clean.connect() as connection:
            if role:
                connection.execute(f"ALTER DATABASE {clean.name} OWNER TO {role.name}")
                connection.execute(f"SET SESSION AUTHORIZATION {role.name}")
            incident.clean_run(connection, migrations, "public")
        ledger = ["*._prisma_migrations"]
        assert scene.database.dump(exclude_tables=ledger) == clean.dump(exclude_tables=ledger)


# --- nothing to repair --------------------------------------------------------------


def test_no_ledger_and_an_empty_database(scene: Scene) -> None:
    """A fresh database is healthy: the first deploy is Prisma's."""
    write_migrations(scene.folder, (INIT,))
    with unchanged(scene.database):
        ended = scene.run()
    assert (outcome(ended), ended.warnings) == ((0, "healthy"), ())
    assert "fresh database" in ended.what


def test_tables_without_a_ledger(scene: Scene) -> None:
    """Tables that no migration made: healthy, with the P3005 that Prisma will say."""
    write_migrations(scene.folder, (INIT,))
    scene.database.execute("CREATE TABLE item ()")
    ended = scene.run()
    assert outcome(ended) == (0, "healthy")
    assert ["P3005" in warning for warning in ended.warnings] == [True]


@pytest.mark.parametrize(
    "other",
    [
        "CREATE VIEW v AS SELECT 1",
        "CREATE TYPE t AS ENUM ('a')",
        "CREATE TABLE p (id int) PARTITION BY RANGE (id)",
        "CREATE SCHEMA s CREATE TABLE t ()",
    ],
)
def test_what_is_no_table_of_ours_is_no_p3005(scene: Scene, other: str) -> None:
    """P3005 is about ordinary tables in the schema of the ledger, as in Prisma."""
    write_migrations(scene.folder, (INIT,))
    scene.database.execute(other)
    assert (scene.run().warnings, scene.run().code) == ((), 0)


def test_prisma_8_is_not_applicable(scene: Scene) -> None:
    """Prisma 8 has another system, without P3009: not applicable, exit 0."""
    write_migrations(scene.folder, (INIT,))
    scene.database.execute("CREATE SCHEMA prisma_contract; CREATE TABLE prisma_contract.marker ()")
    scene.database.execute("CREATE TABLE item ()")
    ended = scene.run()
    assert (outcome(ended), ended.warnings) == ((0, "healthy"), ())
    assert "not applicable" in ended.what


def test_prisma_8_beside_a_failed_migration(scene: Scene) -> None:
    """During the move to Prisma 8 the old ledger still counts while a row of it is failed."""
    scene.plant(1, TAGS, INIT)
    scene.database.execute("CREATE SCHEMA prisma_contract; CREATE TABLE prisma_contract.marker ()")
    assert outcome(scene.run()) == (0, "repaired")


def test_database_ahead_of_the_image(scene: Scene) -> None:
    """Applied migrations that the folder does not know: a warning that names them."""
    write_migrations(scene.folder, (INIT,))
    with scene.database.connect() as connection:
        incident.clean_run(connection, (INIT, TAGS), "public")
    ended = scene.run()
    assert outcome(ended) == (0, "healthy")
    assert any("ahead of this image" in w and TAGS.name in w for w in ended.warnings)


def test_pending_migrations_are_prismas(scene: Scene) -> None:
    """What was never attempted is counted and left alone."""
    write_migrations(scene.folder, (INIT, TAGS))
    with scene.database.connect() as connection:
        incident.clean_run(connection, (INIT,), "public")
    ended = scene.run()
    assert ended.what == "no failed migration; 1 applied, 1 pending"


# --- where the ledger is ------------------------------------------------------------


def failed_in(scene: Scene, schema: str) -> None:
    """TAGS stopped after one statement, all in this schema."""
    scene.plant(1, TAGS, INIT, schema=schema)


@pytest.fixture
def two_ledgers(scene: Scene) -> Scene:
    """A failed migration in `app`, and another project's ledger in `blog`."""
    failed_in(scene, "app")
    with scene.database.connect() as connection:
        incident.clean_run(connection, (INIT,), "blog")
    return Scene(scene.database, scene.folder, {"DATABASE_URL": scene.database.url()})


def test_several_ledgers_are_named(two_ledgers: Scene) -> None:
    """Which one is ours is not guessed: exit 2 names them and the setting."""
    with unchanged(two_ledgers.database):
        ended = two_ledgers.run()
    assert ended.code == USAGE
    assert "app, blog" in ended.what
    assert "SIDECAR_LEDGER_SCHEMA" in ended.next_steps[0]


@pytest.mark.parametrize(("schema", "name"), [("app", "halted"), ("blog", "healthy")])
def test_the_setting_chooses_among_ledgers(two_ledgers: Scene, schema: str, name: str) -> None:
    """SIDECAR_LEDGER_SCHEMA says which ledger is ours."""
    ended = two_ledgers.run(SIDECAR_LEDGER_SCHEMA=schema, SIDECAR_POLICY="observe")
    assert outcome(ended)[1] == name


@pytest.mark.parametrize(("schema", "name"), [("app", "repaired"), ("blog", "healthy")])
def test_the_schema_of_the_url_chooses(two_ledgers: Scene, schema: str, name: str) -> None:
    """`?schema=` says which ledger is ours, as it does to Prisma."""
    ended = two_ledgers.run(DATABASE_URL=two_ledgers.database.url(schema=schema))
    assert outcome(ended)[1] == name


def test_the_search_path_of_the_role_chooses(two_ledgers: Scene) -> None:
    """Without `?schema=` the search path decides, as for Prisma's unqualified name."""
    database = two_ledgers.database
    role = database.role(createdb=True)
    database.execute(
        f"ALTER ROLE {role.name} SUPERUSER; ALTER ROLE {role.name} SET search_path = app"
    )
    url = database.url(user=role.name, password=role.password)
    assert outcome(two_ledgers.run(DATABASE_URL=url)) == (0, "repaired")


def test_the_only_ledger_is_found_wherever_it_is(scene: Scene) -> None:
    """One ledger outside the search path is ours: nothing else can be meant."""
    failed_in(scene, "app")
    ended = scene.status(DATABASE_URL=scene.database.url())
    assert outcome(ended) == (3, "halted")


def test_a_ledger_in_public_for_tables_elsewhere(scene: Scene) -> None:
    """Prisma's multiSchema keeps the ledger in public; the tables are in schemas of their own."""
    init = Migration("1_init", 'CREATE SCHEMA "a b";\nCREATE TABLE "a b".item (id int);\n')
    tags = Migration(
        "2_tags", 'CREATE TABLE "a b".tag (id int);\nCREATE INDEX tag_id ON "a b".tag (id);\n'
    )
    scene.plant(1, tags, init)
    assert outcome(scene.run()) == (0, "repaired")
    assert_like_a_clean_run(scene, init, tags)


def test_failed_migrations_of_another_schema_than_the_url_says(scene: Scene) -> None:
    """They are an adapter's or another application's: exit 2; named, they are repaired there."""
    scene.plant(1, TAGS, INIT)
    scene.database.execute("CREATE SCHEMA app")
    url = scene.database.url(schema="app")
    with unchanged(scene.database):
        ended = scene.run(DATABASE_URL=url)
    assert ended.code == ExitCode.USAGE
    assert "another application's" in ended.what
    assert outcome(scene.run(DATABASE_URL=url, SIDECAR_LEDGER_SCHEMA="public")) == (0, "repaired")
    assert scene.database.execute(
        "SELECT DISTINCT schemaname FROM pg_tables WHERE schemaname IN ('app', 'public')"
    ) == [("public",)]


def test_another_tenants_ledger_is_not_ours(scene: Scene) -> None:
    """With `?schema=` a failed migration in a third schema is nobody's business here: healthy."""
    failed_in(scene, "shop")
    ended = scene.run(DATABASE_URL=scene.database.url(schema="app"))
    assert outcome(ended) == (0, "healthy")


def test_a_schema_name_that_needs_quotes(scene: Scene) -> None:
    """A schema may be called anything."""
    failed_in(scene, "My app, déjà; vu")
    url = scene.database.url(schema="My app, déjà; vu")
    assert outcome(scene.run(DATABASE_URL=url)) == (0, "repaired")


def test_a_view_of_that_name_is_no_ledger(scene: Scene) -> None:
    """A view called _prisma_migrations is nobody's ledger."""
    write_migrations(scene.folder, (INIT,))
    scene.database.execute("CREATE VIEW _prisma_migrations AS SELECT 1 AS id")
    assert outcome(scene.run()) == (0, "healthy")


def test_a_partitioned_ledger_is_a_ledger(scene: Scene) -> None:
    """Whoever partitioned the ledger still has it read."""
    scene.plant(1, TAGS, INIT)
    scene.database.execute(
        """
        CREATE TABLE parted (LIKE _prisma_migrations INCLUDING DEFAULTS) PARTITION BY HASH (id);
        CREATE TABLE part PARTITION OF parted FOR VALUES WITH (MODULUS 1, REMAINDER 0);
        INSERT INTO parted TABLE _prisma_migrations;
        DROP TABLE _prisma_migrations;
        ALTER TABLE parted RENAME TO _prisma_migrations;
        """
    )
    assert outcome(scene.run()) == (0, "repaired")


def test_a_table_of_that_name_with_other_columns(scene: Scene) -> None:
    """A table that is not Prisma's is named, and a person asked: exit 3."""
    write_migrations(scene.folder, (INIT,))
    scene.database.execute("CREATE TABLE _prisma_migrations (id text)")
    with unchanged(scene.database):
        ended = scene.run()
    assert ended.code == HALTED
    assert '"public"."_prisma_migrations" is not the table of Prisma' in ended.what


@pytest.mark.parametrize(
    ("sql", "named"),
    [
        (
            """ALTER TABLE _prisma_migrations ALTER applied_steps_count DROP NOT NULL;
            UPDATE _prisma_migrations SET applied_steps_count = NULL""",
            "has no applied_steps_count",
        ),
        (
            """ALTER TABLE _prisma_migrations DROP CONSTRAINT _prisma_migrations_pkey;
            UPDATE _prisma_migrations SET id = 'x'""",
            "several rows",
        ),
    ],
    ids=["a value missing", "an id shared"],
)
def test_rows_that_no_engine_writes(scene: Scene, sql: str, named: str) -> None:
    """What Prisma always keeps so is named where it is not, and a person asked: exit 3."""
    scene.plant(1, TAGS, INIT)
    scene.database.execute(sql)
    with unchanged(scene.database):
        ended = scene.run()
    assert ended.code == HALTED
    assert named in ended.what


def test_ids_of_the_type_uuid(scene: Scene) -> None:
    """Somebody changed the column's type; the values are the same."""
    scene.plant(1, TAGS, INIT)
    scene.database.execute("ALTER TABLE _prisma_migrations ALTER id TYPE uuid USING id::uuid")
    ended = scene.run(app.run)
    assert outcome(ended) == (0, "repaired")


# --- the folder ---------------------------------------------------------------------


def test_a_missing_folder(scene: Scene) -> None:
    """No folder is an empty one to Prisma: healthy, with a warning."""
    with scene.database.connect() as connection:
        incident.clean_run(connection, (INIT,), "public")
    ended = scene.run()
    assert outcome(ended) == (0, "healthy")
    assert ended.warnings == (f"the migrations folder {scene.folder} does not exist",)


def test_a_path_that_is_no_folder(scene: Scene) -> None:
    """A file where the folder should be cannot be read, and that is said."""
    scene.folder.write_text("")
    ended = scene.run()
    assert outcome(ended) == (0, "healthy")
    assert any("cannot be read" in warning for warning in ended.warnings)


@pytest.mark.parametrize("damage", ["folder", "file", "directory", "link"])
def test_a_failed_migration_whose_script_is_not_there(scene: Scene, damage: str) -> None:
    """No folder, no migration.sql, a directory in its place, or only a link to the folder."""
    scene.plant(1, TAGS, INIT)
    here, file = scene.folder / TAGS.name, scene.folder / TAGS.name / "migration.sql"
    file.unlink()
    if damage == "folder":
        here.rmdir()
    elif damage == "directory":
        file.mkdir()
    elif damage == "link":
        here.rename(scene.folder.parent / "elsewhere")
        (scene.folder.parent / "elsewhere" / "migration.sql").write_text(TAGS.sql)
        here.symlink_to(scene.folder.parent / "elsewhere")
    with unchanged(scene.database):
        ended = scene.run()
    assert outcome(ended) == (3, "halted")
    assert ended.finding.name is FindingName.SCRIPT_MISSING


def rewritten(scene: Scene, statements: int, content: bytes) -> Said:
    """A run where Prisma read a script of these very bytes and was killed on the way."""
    text = content.decode("utf-8", "replace")
    scene.plant(statements, Migration(TAGS.name, TAGS.sql), INIT)
    (scene.folder / TAGS.name / "migration.sql").write_bytes(content)
    scene.database.execute(
        "UPDATE _prisma_migrations SET checksum = %s WHERE finished_at IS NULL",
        [Migration(TAGS.name, text).checksum],
    )
    return scene.run()


@pytest.mark.parametrize(
    "content",
    [
        TAGS.sql.replace("\n", "\r\n").encode(),
        ("\ufeff" + TAGS.sql).encode(),
        ("-- r\u00e9sum\u00e9\n" + TAGS.sql).encode(),
        b"-- caf\xe9, not UTF-8\n" + TAGS.sql.encode(),
    ],
    ids=["CRLF", "BOM", "UTF-8", "latin-1"],
)
def test_scripts_as_editors_leave_them(scene: Scene, content: bytes) -> None:
    """Line ends, a BOM and other encodings are read as Prisma reads them, and repaired."""
    assert outcome(rewritten(scene, 1, content)) == (0, "repaired")
    assert_like_a_clean_run(scene, INIT, TAGS)


@pytest.mark.parametrize("content", [b"", b"-- nothing yet\n", b" \n\t", b";;\n"])
def test_a_script_without_statements(scene: Scene, content: bytes) -> None:
    """An empty script that failed took full effect: there is nothing that could be missing."""
    write_migrations(scene.folder, (INIT,))
    empty = Migration("2_empty", content.decode())
    (scene.folder / empty.name).mkdir()
    (scene.folder / empty.name / "migration.sql").write_bytes(content)
    with scene.database.connect() as connection:
        incident.clean_run(connection, (INIT,), "public")
        incident.start(connection, empty, "public")
    assert outcome(scene.run()) == (0, "repaired")
    assert outcome(scene.run()) == (0, "healthy")


def test_a_script_with_a_syntax_error(scene: Scene) -> None:
    """What PostgreSQL's parser refuses is not judged: the line is named."""
    broken = Migration("2_broken", "CREATE TABLE tag (id int);\nCREATE TABEL oops (id int);\n")
    scene.plant(1, broken, INIT)
    with unchanged(scene.database):
        ended = scene.run()
    assert ended.finding.name is FindingName.UNDETERMINED
    assert "line 2" in ended.finding.missing[0]


# --- edited after the failure -------------------------------------------------------


def edited(scene: Scene, left: int) -> Said:
    """A run where the file was corrected after its first text had left so many statements."""
    scene.plant(left, TAGS, INIT)
    corrected = TAGS.sql.replace("tag", "label")
    (scene.folder / TAGS.name / "migration.sql").write_text(corrected)
    return scene.run()


def test_an_edited_script_whose_old_text_left_nothing(scene: Scene) -> None:
    """Nothing is there of the old text, so the new text is run."""
    assert outcome(edited(scene, 0)) == (0, "repaired")
    assert_like_a_clean_run(scene, INIT, Migration(TAGS.name, TAGS.sql.replace("tag", "label")))


def test_an_edited_script_whose_old_text_left_something(scene: Scene) -> None:
    """What the old text left is in no file any more: a person must look."""
    ended = edited(scene, 1)
    assert outcome(ended) == (3, "halted")
    assert ended.finding.name is FindingName.UNDETERMINED
    assert "table public.tag" in ended.finding.missing[0]


@pytest.mark.parametrize("legacy", [False, True])
def test_checksums_of_other_line_ends_are_no_edit(scene: Scene, *, legacy: bool) -> None:
    """Git turned the line ends, or an old Prisma wrote the checksum: not an edited file."""
    scene.plant(1, TAGS, INIT)
    scene.database.execute("CREATE TABLE explained_by_nothing ()")
    crlf = Migration(TAGS.name, TAGS.sql.replace("\n", "\r\n")).checksum
    stored = "".join(f"{byte:x}" for byte in bytes.fromhex(TAGS.checksum)) if legacy else crlf
    scene.database.execute(
        "UPDATE _prisma_migrations SET checksum = %s WHERE finished_at IS NULL", [stored]
    )
    assert outcome(scene.run()) == (0, "repaired")


# --- rows ---------------------------------------------------------------------------


def again(scene: Scene, *, finished: bool = False, rolled_back: bool = False) -> None:
    """Another row of TAGS, later than all others."""
    with scene.database.connect() as connection:
        row = incident.start(connection, TAGS, "public")
        if finished:
            incident.finish(connection, row, "public")
    if rolled_back:
        scene.database.execute(
            "UPDATE _prisma_migrations SET rolled_back_at = now() WHERE id = %s", [row]
        )


def states(scene: Scene) -> list[tuple[bool, bool]]:
    """(finished, rolled back) of each row of TAGS, in order."""
    rows = scene.database.execute(
        "SELECT finished_at IS NOT NULL, rolled_back_at IS NOT NULL FROM _prisma_migrations"
        " WHERE migration_name = %s ORDER BY started_at",
        [TAGS.name],
    )
    return [(row[0], row[1]) for row in rows]


def test_the_same_migration_failed_twice(scene: Scene) -> None:
    """Both failed rows are rolled back, one applied row is written, as `resolve` does."""
    scene.plant(1, TAGS, INIT)
    again(scene)
    ended = scene.run()
    assert ended.outcome is not None
    assert (outcome(ended), len(ended.outcome.migrations)) == ((0, "repaired"), 1)
    assert states(scene) == [(False, True), (False, True), (True, False)]
    assert_like_a_clean_run(scene, INIT, TAGS)


def test_rolled_back_rows_before(scene: Scene) -> None:
    """Attempts that somebody resolved long ago do not matter."""
    scene.plant(1, TAGS, INIT)
    scene.database.execute(
        "UPDATE _prisma_migrations SET rolled_back_at = now() WHERE finished_at IS NULL"
    )
    assert outcome(scene.run()) == (0, "healthy")
    again(scene)
    assert outcome(scene.run()) == (0, "repaired")
    assert states(scene) == [(False, True), (False, True), (True, False)]


def test_an_applied_and_a_failed_row_of_one_name(scene: Scene) -> None:
    """P3009 counts any failed row: it is rolled back, and no second applied row is written."""
    scene.plant(3, TAGS, INIT)
    scene.database.execute(
        "UPDATE _prisma_migrations SET finished_at = now() WHERE finished_at IS NULL"
    )
    again(scene)
    assert outcome(scene.run()) == (0, "repaired")
    assert states(scene) == [(True, False), (False, True)]
    assert_like_a_clean_run(scene, INIT, TAGS)


def test_several_failed_migrations_are_repaired_in_order(scene: Scene) -> None:
    """Two migrations failed (the lock was off): both are repaired, the earlier one first."""
    scene.plant(1, TAGS, INIT)
    write_migrations(scene.folder.parent / "two", (INIT, TAGS, MORE))
    with scene.database.connect() as connection:
        incident.start(connection, MORE, "public")
        incident.run(connection, MORE.statements[0], "public")
    ended = scene.run(SIDECAR_MIGRATIONS_DIR=str(scene.folder.parent / "two"))
    assert ended.outcome is not None
    names = [migration.finding.migration for migration in ended.outcome.migrations]
    assert (outcome(ended), names) == ((0, "repaired"), [TAGS.name, MORE.name])
    assert_like_a_clean_run(scene, INIT, TAGS, MORE)


def test_the_second_of_two_halts_after_the_first_is_repaired(scene: Scene) -> None:
    """Exit 3, and the report says which one is committed and which one is not."""
    scene.plant(1, TAGS, INIT)
    write_migrations(scene.folder.parent / "two", (INIT, TAGS, MORE))
    with scene.database.connect() as connection:
        incident.start(connection, MORE, "public")
        incident.run(connection, "CREATE TABLE more (id text)", "public")
    ended = scene.run(SIDECAR_MIGRATIONS_DIR=str(scene.folder.parent / "two"))
    assert ended.outcome is not None
    assert outcome(ended) == (3, "halted")
    done = [(item.finding.name, item.done) for item in ended.outcome.migrations]
    assert done == [(FindingName.PARTLY_APPLIED, True), (FindingName.DIVERGED, False)]


def test_an_applied_migration_whose_folder_is_gone(scene: Scene) -> None:
    """Squashed or removed files of the past matter only where they touch the same objects."""
    other = Migration("0_other", "CREATE TABLE other (id int);\n")
    scene.plant(1, TAGS, other, INIT)
    (scene.folder / other.name / "migration.sql").unlink()
    (scene.folder / other.name).rmdir()
    assert outcome(scene.run()) == (0, "repaired")
    assert_like_a_clean_run(scene, other, INIT, TAGS)


def test_a_folder_that_is_gone_and_was_built_upon(scene: Scene) -> None:
    """Where the failed migration needs what the missing file made, nothing is guessed."""
    index = Migration("2_index", "CREATE TABLE tag (id int);\nCREATE INDEX code ON item (code);\n")
    scene.plant(1, index, INIT)
    (scene.folder / INIT.name / "migration.sql").unlink()
    (scene.folder / INIT.name).rmdir()
    with unchanged(scene.database):
        ended = scene.run()
    assert outcome(ended) == (3, "halted")
    assert ended.finding.name is FindingName.UNDETERMINED
    assert "statement 2" in ended.finding.missing[0]


def test_the_script_ran_to_its_end(scene: Scene) -> None:
    """`applied_steps_count` 1 without `finished_at`: only the last update was lost."""
    scene.plant(3, TAGS, INIT, mode=Mode.KILLED)
    scene.database.execute(
        "UPDATE _prisma_migrations SET applied_steps_count = 1 WHERE finished_at IS NULL"
    )
    ended = scene.run(app.run)
    assert outcome(ended) == (0, "repaired")
    assert ended.finding.name is FindingName.FULLY_APPLIED
    assert any("whole script completed" in item.says for item in ended.finding.evidence)
