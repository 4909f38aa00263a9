"""Whatever stops a run, at whatever point: nothing is half-done, and the next run ends it.

Another session holds the run at a known statement, by a lock or a sleep of the history;
when PostgreSQL shows that it is there, it is stopped.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from sidecar.demo import SCHEMA
from sidecar.model import LOCK_KEY
from tests import incident
from tests.command import shadows
from tests.incident import BEFORE, FAILED, Migration, Mode
from tests.postgres import Database, fresh_database
from tests.running import Done, Running, run, sessions, settings, start, until, until_at

LEDGER = f"{SCHEMA}._prisma_migrations"
GONE_WITHIN_S = 5.0
"""What the program promises; a tenth of it is for the test's own waiting."""

SLOW = Migration(
    "20251201000000_slow_on_a_shadow",
    "SELECT pg_sleep(60) WHERE current_database() LIKE 'migration_sidecar_shadow_%';\n",
)


@dataclass(frozen=True, slots=True)
class Scene:
    """The incident after its first statement, and what a clean run makes of it."""

    database: Database
    folder: Path
    clean: str

    def settings(self, **variables: str) -> dict[str, str]:
        """Patient settings: what stops a run is the test."""
        patient = {"SIDECAR_LOCK_TIMEOUT": "60s", "SIDECAR_BUSY_TIMEOUT": "60s"}
        return settings(self.database, self.folder, **patient | variables)

    def assert_converges(self) -> None:
        """The next run ends where a clean run ends, and leaves no shadow behind."""
        done = run(self.settings())
        assert done.code == 0, done.log
        assert _dump(self.database) == self.clean
        assert shadows(self.database) == []
        assert self.attempts() == [(True, False), (False, True)]

    def attempts(self) -> list[tuple[bool, bool]]:
        """The failed migration's rows in order: rolled back? finished?"""
        query = (
            f"SELECT rolled_back_at IS NOT NULL, finished_at IS NOT NULL FROM {LEDGER}"
            " WHERE migration_name = %s ORDER BY started_at"
        )
        return [(row[0], row[1]) for row in self.database.execute(query, [FAILED.name])]


@pytest.fixture
def scene(latest_database: Database, tmp_path: Path) -> Scene:
    """The incident, killed after one statement."""
    return _scene(latest_database, tmp_path, BEFORE)


def _scene(database: Database, path: Path, before: tuple[Migration, ...]) -> Scene:
    folder = incident.write_migrations(path / "migrations", (*before, FAILED))
    with fresh_database(database.server) as other:
        with other.connect() as connection:
            incident.clean_run(connection, (*before, FAILED))
        clean = _dump(other)
    with database.connect() as connection:
        incident.plant(connection, statements=1, mode=Mode.KILLED, before=before)
    return Scene(database, folder, clean)


def _dump(database: Database) -> str:
    return database.dump(exclude_tables=(LEDGER,))


# --- where a run can be held -----------------------------------------------------


@contextmanager
def _held(database: Database, statement: str) -> Iterator[None]:
    """Another session is in a transaction which has done this."""
    with database.server.connect(database.name, application_name="holder") as holder:
        holder.execute("BEGIN")
        holder.execute(statement)
        yield


Point = Callable[[Database, Running], AbstractContextManager[None]]


@dataclass(frozen=True, slots=True)
class Stop:
    """A point where a run is held: what holds it, and the query it then waits in (LIKE)."""

    holds: str
    query: str
    before: tuple[Migration, ...] = BEFORE


STOPS = {
    "prisma-lock": Stop(f"SELECT pg_advisory_lock({LOCK_KEY})", "SELECT pg_try_advisory_lock%"),
    "create-shadow": Stop("LOCK TABLE pg_database IN SHARE MODE", "CREATE DATABASE%"),
    "replay": Stop("SELECT 1", "SELECT pg_sleep%", (*BEFORE, SLOW)),
    "alter-table": Stop("UPDATE momentum.mm_board SET name = name", "%ADD CONSTRAINT%"),
    "ledger": Stop(f"SELECT FROM {LEDGER} WHERE finished_at IS NULL FOR UPDATE", "UPDATE%"),
}
IN_THE_REPAIR = ("alter-table", "ledger")
ON_THE_SERVER = ("create-shadow", "replay", *IN_THE_REPAIR)


@contextmanager
def _stopped_at(scene: Scene, stop: Stop) -> Iterator[Running]:
    """A run that has come to that point and waits there."""
    with _held(scene.database, stop.holds), start(scene.settings()) as running:
        until_at(scene.database, stop.query)
        yield running


@pytest.fixture
def at(request: pytest.FixtureRequest, latest_database: Database, tmp_path: Path) -> Stop:
    stop = STOPS[request.param]
    return stop
