"""An attempt that ended with a violation: the error tells which statement it was, and what ran.

The statements are sent one by one, as Prisma does from 7.4 on, until PostgreSQL refuses one.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest

from sidecar.demo import SCHEMA
from sidecar.model import FindingName
from tests import incident
from tests.command import Scene, unchanged
from tests.incident import BEFORE, Connection, Migration
from tests.integration.test_ledger_and_folder import outcome
from tests.postgres import Database

ROWS = """
INSERT INTO momentum.mm_board (id, name, created_at)
VALUES ('b1', 'Platform', '2025-12-01'), ('b2', 'On call', '2025-12-02');
INSERT INTO momentum.mm_issue (board_id, title) VALUES ('b1', 'a'), ('b2', 'b'), ('b2', 'c');
"""
TITLES = "SELECT title FROM momentum.mm_issue ORDER BY id"

START = """
ALTER TABLE "mm_issue" ADD COLUMN "board" TEXT;
UPDATE "mm_issue" SET "title" = "title" || '!';
DO $$ BEGIN UPDATE "mm_issue" SET "title" = "title" || '?'; END $$;
"""


@dataclass(frozen=True)
class End:
    """The statement that fails, its SQLSTATE, and what a person does about the cause."""

    sql: str
    sqlstate: str
    cure: str


ENDS = {
    "unique": End(
        'CREATE UNIQUE INDEX "mm_issue_board_id_key" ON "mm_issue" ("board_id")',
        "23505",
        "DELETE FROM mm_issue WHERE title LIKE 'c%'",
    ),
    "not null": End(
        'ALTER TABLE "mm_issue" ALTER COLUMN "board" SET NOT NULL',
        "23502",
        "UPDATE mm_issue SET board = 'b1'",
    ),
    "foreign key": End(
        'ALTER TABLE "mm_issue" ADD CONSTRAINT "of_title" FOREIGN KEY ("title") '
        'REFERENCES "mm_board" ("id")',
        "23503",
        "INSERT INTO mm_board (id, name, created_at) SELECT title, title, now() FROM mm_issue",
    ),
    "check": End(
        """ALTER TABLE "mm_issue" ADD CONSTRAINT "known" CHECK ("title" < 'c')""",
        "23514",
        "DELETE FROM mm_issue WHERE title LIKE 'c%'",
    ),
}
ADAPTER = {
    "23505": "Unique constraint failed",
    "23503": "Foreign key constraint failed",
}


def _migration(end: End) -> Migration:
    return Migration("20251216100000_tighten", f"{START}{end.sql};\n")


def _logs(name: str, error: psycopg.Error, *, adapter: bool) -> str:
    """What the engine writes of the error, from the fields that the server has sent."""
    told = error.diag
    if adapter:
        line = f"{ADAPTER[error.sqlstate or '']}: {told.constraint_name}"
        return f"external connector error\n{line}\n   0: sql_schema_connector::apply_migration\n"
    fields = {"table": told.table_name, "column": told.column_name}
    fields["constraint"] = told.constraint_name
    shown = ", ".join(f'{k}: Some("{v}")' if v else f"{k}: None" for k, v in fields.items())
    error_line = f"ERROR: {told.message_primary}"
    return incident.native_log(name, error.sqlstate or "", error_line).replace(
        "   0: sql", f"DbError {{ code: SqlState(E{error.sqlstate}), {shown} }}\n\n   0: sql", 1
    )


def _attempt(
    connection: Connection, migration: Migration, *, at_once: bool, adapter: bool
) -> psycopg.Error:
    """Run the script until it fails, as one message or one by one, and log the error."""
    incident.create_ledger(connection)
    for earlier in BEFORE:
        incident.apply(connection, earlier)
    incident.run(connection, ROWS, SCHEMA)
    row = incident.start(connection, migration)
    *before, last = [migration.sql] if at_once else migration.statements
    for message in before:
        incident.run(connection, message, SCHEMA)
    with pytest.raises(psycopg.Error) as failed:
        incident.run(connection, last, SCHEMA)
    logs = _logs(migration.name, failed.value, adapter=adapter)
    incident.log_error(connection, row, logs)
    return failed.value


def _scene(database: Database, path: Path, migration: Migration) -> Scene:
    folder = incident.write_migrations(path / "migrations", (*BEFORE, migration))
    return Scene(database, folder, {"DATABASE_URL": database.url(schema=SCHEMA)})


@pytest.mark.parametrize(
    ("end", "adapter"),
    [*((end, False) for end in ENDS), ("unique", True), ("foreign key", True)],
)
def test_what_ran_before_the_statement_that_failed_is_not_run_again(
    latest_database: Database, tmp_path: Path, end: str, *, adapter: bool
) -> None:
    """No row could tell: two statements that no second run leaves alone, one of them a block."""
    migration = _migration(ENDS[end])
    with latest_database.connect() as connection:
        error = _attempt(connection, migration, at_once=False, adapter=adapter)
        assert error.sqlstate == ENDS[end].sqlstate
        incident.run(connection, ENDS[end].cure, SCHEMA)  # what keeps the repair from its end
        titles = connection.execute(TITLES).fetchall()
    scene = _scene(latest_database, tmp_path, migration)
    finding = scene.status().finding
    assert (finding.name, finding.applied) == (FindingName.PARTLY_APPLIED, 3)
    assert any("which only a later statement makes" in said.says for said in finding.evidence)
    assert outcome(scene.run()) == (0, "repaired")
    assert latest_database.execute(TITLES) == titles
    assert all(title.endswith("!?") for (title,) in titles)


def test_after_one_message_nothing_ran(latest_database: Database, tmp_path: Path) -> None:
    """The same error, yet it took back all that came before it."""
    end = ENDS["unique"]
    migration = _migration(end)
    with latest_database.connect() as connection:
        _attempt(connection, migration, at_once=True, adapter=False)
        incident.run(connection, end.cure, SCHEMA)
    scene = _scene(latest_database, tmp_path, migration)
    assert scene.status().finding.name is FindingName.NOTHING_APPLIED
    assert outcome(scene.run()) == (0, "repaired")
    assert latest_database.execute(TITLES) == [("a!?",), ("b!?",)]


def test_what_somebody_made_afterwards_does_not_show_that_it_ran(
    latest_database: Database, tmp_path: Path
) -> None:
    """One message, taken back; then the first statement by hand: nobody can know the rest."""
    end = ENDS["unique"]
    migration = _migration(end)
    with latest_database.connect() as connection:
        _attempt(connection, migration, at_once=True, adapter=False)
        incident.run(connection, migration.statements[0], SCHEMA)
    scene = _scene(latest_database, tmp_path, migration)
    with unchanged(latest_database):
        halted = scene.run()
    assert outcome(halted) == (3, "halted")
    assert halted.finding.name is FindingName.UNDETERMINED


def test_a_row_that_was_there_before_is_not_taken_for_that_of_a_refused_insert(
    latest_database: Database, tmp_path: Path
) -> None:
    """Its key refused the INSERT, as the logs say: nothing shows that it ever ran."""
    migration = Migration(
        "20251216100000_seed",
        'INSERT INTO "mm_board" ("id", "name") VALUES (\'b1\', \'Platform\');\n'
        'ALTER TABLE "mm_board" ADD COLUMN "away" BOOLEAN;\n',
    )
    with latest_database.connect() as connection:
        incident.create_ledger(connection)
        for earlier in BEFORE:
            incident.apply(connection, earlier)
        incident.run(connection, ROWS, SCHEMA)
        row = incident.start(connection, migration)
        with pytest.raises(psycopg.errors.UniqueViolation) as failed:
            incident.run(connection, migration.statements[0], SCHEMA)
        incident.log_error(connection, row, _logs(migration.name, failed.value, adapter=False))
    scene = _scene(latest_database, tmp_path, migration)
    assert scene.status().finding.applied != 1
    with unchanged(latest_database):
        assert scene.run().code in {3, 4}
