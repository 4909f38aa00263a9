"""The incident as planted: the states that the repairs are tested on."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import incident
from tests.incident import FAILED, Mode
from tests.postgres import Database

OBJECTS = """
SELECT (SELECT count(*) FROM pg_type WHERE typname = 'ScheduleFrequency'),
       (SELECT count(*) FROM pg_class WHERE relname = 'mm_scheduled_issue'),
       (SELECT count(*) FROM pg_class WHERE relname = 'mm_scheduled_issue_board_id_idx'),
       (SELECT count(*) FROM pg_constraint WHERE conname = 'mm_scheduled_issue_board_id_fkey')
"""
ROWS = "SELECT migration_name, finished_at IS NULL, logs IS NULL, applied_steps_count"
LEDGER = f"{ROWS} FROM momentum._prisma_migrations ORDER BY started_at"

CASES = [(Mode.KILLED, k) for k in range(5)]
CASES += [(Mode.ERROR_LOGGED, k) for k in range(4)]
CASES += [(Mode.BATCH_ROLLED_BACK, 0), (Mode.BATCH_COMMITTED, 4)]


@pytest.mark.parametrize(("mode", "statements"), CASES)
def test_plant_leaves_exactly_the_first_statements(
    latest_database: Database, mode: Mode, statements: int
) -> None:
    """After the incident the first k objects are there, and the row is neither done nor undone."""
    with latest_database.connect() as connection:
        incident.plant(connection, statements=statements, mode=mode)
    assert sum(latest_database.execute(OBJECTS)[0]) == statements
    logged = mode in (Mode.ERROR_LOGGED, Mode.BATCH_ROLLED_BACK)
    assert latest_database.execute(LEDGER) == [
        *[(migration.name, False, True, 1) for migration in incident.BEFORE],
        (FAILED.name, True, not logged, 0),
    ]


def test_clean_run_is_what_the_files_say(latest_database: Database, tmp_path: Path) -> None:
    """The state that repairs are compared with comes from the very files on disk."""
    with latest_database.connect() as connection:
        incident.clean_run(connection)
    assert latest_database.execute(OBJECTS) == [(1, 1, 1, 1)]
    folder = incident.write_migrations(tmp_path / "migrations")
    assert (folder / FAILED.name / "migration.sql").read_text() == FAILED.sql
