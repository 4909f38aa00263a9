"""Real Prisma makes the failure, and says what this project takes from it for granted."""

from __future__ import annotations

import hashlib
from typing import Any

import psycopg
import pytest

from tests import incident
from tests.incident import FAILED, Migration
from tests.postgres import Database
from tests.prisma_cli import PrismaProject, batch_deploy, native_split_deploy

pytestmark = pytest.mark.prisma

LEDGER = """
SELECT checksum, finished_at, logs, rolled_back_at, started_at, applied_steps_count
FROM momentum._prisma_migrations WHERE migration_name = %s ORDER BY started_at
"""
OBJECTS = """
SELECT 'type ' || typname FROM pg_type WHERE typname = 'ScheduleFrequency'
UNION ALL SELECT 'class ' || relname FROM pg_class
WHERE relname LIKE 'mm!_scheduled!_issue%' ESCAPE '!' ORDER BY 1
"""
MISSING_TARGET = 'DROP TABLE momentum.mm_issue; ALTER TABLE momentum.mm_board RENAME TO "gone"'


@pytest.fixture
def failed(incident_project: PrismaProject, latest_database: Database) -> PrismaProject:
    """The project after a real deploy stopped at the missing table `mm_board`."""
    latest_database.execute("CREATE SCHEMA momentum")
    later = incident_project.migrations / FAILED.name
    later.rename(incident_project.path / FAILED.name)
    assert incident_project.deploy().exit_code == 0
    latest_database.execute(MISSING_TARGET)
    (incident_project.path / FAILED.name).rename(later)
    assert incident_project.deploy().exit_code == 1
    return incident_project


def _rows(database: Database) -> list[tuple[Any, ...]]:
    return database.execute(LEDGER, [FAILED.name])


def test_deploy_applies_the_history(
    incident_project: PrismaProject, latest_database: Database
) -> None:
    """An undisturbed deploy ends like `clean_run`, and the next one has nothing to do."""
    assert incident_project.deploy().exit_code == 0
    exit_code, output = incident_project.deploy()
    assert (exit_code, "No pending migrations" in output) == (0, True)
    exit_code, output = incident_project.status()
    assert (exit_code, "up to date" in output) == (0, True)
    deployed = latest_database.dump(data=False)
    latest_database.execute("DROP SCHEMA momentum CASCADE")
    incident.clean_run(latest_database.connect())
    assert deployed == latest_database.dump(data=False)


def test_failed_deploy_leaves_the_statements_before(
    failed: PrismaProject, latest_database: Database
) -> None:
    """Where the foreign key's target is missing, what stands before it stays; the row is failed."""
    assert latest_database.execute(OBJECTS) == [
        ("class mm_scheduled_issue",),
        ("class mm_scheduled_issue_board_id_idx",),
        ("class mm_scheduled_issue_pkey",),
        ("type ScheduleFrequency",),
    ]
    [(checksum, finished_at, logs, rolled_back_at, _, steps)] = _rows(latest_database)
    assert checksum == hashlib.sha256(FAILED.sql.encode()).hexdigest()
    assert (finished_at, rolled_back_at, steps) == (None, None, 0)
    assert "external connector error" in logs
    assert "mm_board" in logs
    assert FAILED.name in failed.status().output


def test_next_deploy_says_p3009(failed: PrismaProject) -> None:
    """The backend's next start ends with P3009 and exit code 1."""
    exit_code, output = failed.deploy()
    assert exit_code == 1
    assert "P3009" in output
    assert FAILED.name in output


def test_resolve_rolled_back_marks_the_row(
    failed: PrismaProject, latest_database: Database
) -> None:
    """`--rolled-back` sets rolled_back_at and nothing else."""
    [before] = _rows(latest_database)
    exit_code, output = failed.resolve(rolled_back=FAILED.name)
    assert exit_code == 0, output
    [after] = _rows(latest_database)
    assert after[3] is not None
    assert after[:3] + after[4:] == before[:3] + before[4:]


def test_resolve_applied_adds_a_row(failed: PrismaProject, latest_database: Database) -> None:
    """`--applied` rolls the failed row back and adds one with logs '' and no steps."""
    exit_code, output = failed.resolve(applied=FAILED.name)
    assert exit_code == 0, output
    old, new = _rows(latest_database)
    assert (old[1] is None, old[3] is not None) == (True, True)
    checksum, finished_at, logs, rolled_back_at, started_at, steps = new
    assert checksum == hashlib.sha256(FAILED.sql.encode()).hexdigest()
    assert finished_at == started_at
    assert (logs, rolled_back_at, steps) == ("", None, 0)
    assert failed.deploy().exit_code == 0


@pytest.mark.parametrize(
    ("flags", "code"),
    [
        ({"applied": incident.INIT.name}, "P3008"),
        ({"rolled_back": "20990101000000_never"}, "P3011"),
        ({"rolled_back": incident.INIT.name}, "P3012"),
        ({"applied": "20990101000000_never"}, "P3017"),
    ],
)
def test_resolve_refuses(
    incident_project: PrismaProject, latest_database: Database, flags: dict[str, str], code: str
) -> None:
    """The refusals that our own `resolve` repeats, under the same codes."""
    incident.clean_run(latest_database.connect())
    exit_code, output = incident_project.resolve(**flags)
    assert exit_code == 1
    assert code in output


def test_a_finished_command_holds_no_lock(
    incident_project: PrismaProject, latest_database: Database
) -> None:
    """The driver ends with its command: nobody waits for Prisma's lock afterwards."""
    assert incident_project.deploy().exit_code == 0
    assert latest_database.execute("SELECT pg_try_advisory_lock(72707369)") == [(True,)]


BROKEN = Migration(
    "20260101000000_broken", "CREATE TABLE one (id int);\nCREATE TABLE two (id nix);\n"
)


def test_batch_engine_leaves_nothing(latest_database: Database) -> None:
    """The emulated engine of 7.3 and before: all or nothing, and the error in the log."""
    connection = latest_database.connect()
    incident.create_ledger(connection)
    batch_deploy(connection, BROKEN.name, BROKEN.sql)
    assert latest_database.execute("SELECT to_regclass('momentum.one') IS NULL") == [(True,)]
    [(logs,)] = latest_database.execute("SELECT logs FROM momentum._prisma_migrations")
    assert "Database error code: 42704" in logs
    assert "position: Some(Original(" in logs


def test_splitting_engine_leaves_the_statements_before(latest_database: Database) -> None:
    """The emulated engine of 7.4 and after: what stands before the failing statement stays."""
    connection = latest_database.connect()
    incident.create_ledger(connection)
    native_split_deploy(connection, BROKEN)
    assert latest_database.execute("SELECT to_regclass('momentum.one')::text") == [
        ("momentum.one",)
    ]
    [(logs,)] = latest_database.execute("SELECT logs FROM momentum._prisma_migrations")
    assert "Database error code: 42704" in logs


@pytest.mark.parametrize("engine", ["batch", "split"])
def test_emulated_engines_finish_a_good_script(latest_database: Database, engine: str) -> None:
    """A script without a fault ends applied, with one step, in either engine; Prisma agrees."""
    connection = latest_database.connect()
    incident.create_ledger(connection)
    for migration in incident.HISTORY:
        if engine == "batch":
            batch_deploy(connection, migration.name, migration.sql)
        else:
            native_split_deploy(connection, migration)
    assert latest_database.execute(
        "SELECT count(*) FROM momentum._prisma_migrations"
        " WHERE finished_at > started_at AND logs IS NULL AND applied_steps_count = 1"
    ) == [(3,)]


def test_batch_in_a_transaction_of_its_own_logs_nothing(latest_database: Database) -> None:
    """A script with BEGIN that fails takes the log down with it (25P02)."""
    connection = latest_database.connect()
    incident.create_ledger(connection)
    batch_deploy(connection, BROKEN.name, f"BEGIN;\n{BROKEN.sql}COMMIT;\n")
    assert connection.info.transaction_status is psycopg.pq.TransactionStatus.IDLE
    assert latest_database.execute("SELECT logs FROM momentum._prisma_migrations") == [(None,)]
