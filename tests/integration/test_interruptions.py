"""Whatever stops a run, at whatever point: nothing is left half-done, and the next run ends it.

Another session, the holder, keeps the run at a known statement; when PostgreSQL shows that
it has come there, it is stopped. No test waits for a guessed time.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest

from sidecar.demo import SCHEMA
from sidecar.model import LOCK_KEY
from sidecar.shadow import MARK, PREFIX
from tests import incident
from tests.command import shadows
from tests.incident import BEFORE, FAILED, Migration, Mode
from tests.postgres import Database, fresh_database
from tests.running import Running, run, settings, start, until_at
from tests.waiting import until

LEDGER = f"{SCHEMA}._prisma_migrations"
PROMISED_S = 5.0
"""At most so long after SIGTERM or SIGINT the program is gone."""

HELD_ON_A_SHADOW = Migration(
    "20251201000000_held",
    """\
DO $$ BEGIN
  WHILE current_database() LIKE 'migration_sidecar_shadow_%'
        AND EXISTS (SELECT FROM pg_stat_activity WHERE application_name = 'holder') LOOP
    PERFORM pg_sleep(0.02), pg_stat_clear_snapshot(); END LOOP; END $$;
""",
)

HELD_AT_COMMIT = Migration(
    "20251201000000_held",
    f"""\
CREATE FUNCTION held() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN PERFORM pg_advisory_xact_lock(4711); RETURN NULL; END $$;
CREATE CONSTRAINT TRIGGER held AFTER INSERT ON {LEDGER}
  DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION held();
""",
)


@dataclass(frozen=True, slots=True)
class Stop:
    """Where a run is held: what the holder does, and the query (LIKE) that then waits."""

    holds: str
    query: str
    before: tuple[Migration, ...] = BEFORE


STOPS = {
    "at Prisma's lock": Stop(f"SELECT pg_advisory_lock({LOCK_KEY})", "SELECT pg_try_advisory%"),
    "at CREATE DATABASE": Stop("LOCK TABLE pg_database IN SHARE MODE", "CREATE DATABASE%"),
    "in the replay": Stop("SELECT", "%DO $$ BEGIN%", (*BEFORE, HELD_ON_A_SHADOW)),
    "at ALTER TABLE": Stop(
        "LOCK TABLE momentum.mm_board IN ROW EXCLUSIVE MODE", "%ADD CONSTRAINT%"
    ),
    "at the ledger": Stop(f"SELECT FROM {LEDGER} WHERE finished_at IS NULL FOR UPDATE", "UPDATE%"),
    "at COMMIT": Stop("SELECT pg_advisory_lock(4711)", "COMMIT", (*BEFORE, HELD_AT_COMMIT)),
}
BEFORE_COMMIT = [name for name in STOPS if name != "at COMMIT"]
IN_THE_REPAIR = ["at ALTER TABLE", "at the ledger"]
CONNECTED = ["in the replay", *IN_THE_REPAIR]


@dataclass(frozen=True, slots=True)
class Scene:
    """The incident after its first statement, as it is, and what a clean run makes of it."""

    database: Database
    folder: Path
    stop: Stop
    clean: str
    broken: str

    def settings(self, **variables: str) -> dict[str, str]:
        """Patient settings: what ends a run is the test."""
        patient = {"SIDECAR_LOCK_TIMEOUT": "60s", "SIDECAR_BUSY_TIMEOUT": "60s"}
        return settings(self.database, self.folder, **patient | variables)

    @contextmanager
    def held(self) -> Iterator[int]:
        """The holder, whose pid this is, holds; afterwards it is gone."""
        with closing(self.database.server.connect(self.database.name)) as holder:
            holder.execute("SET application_name = 'holder'")
            holder.execute("BEGIN")
            holder.execute(self.stop.holds)
            yield holder.info.backend_pid

    def let_go(self) -> None:
        """The holder holds no more."""
        query = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = %s"
        self.database.server.run_sql(query, ["holder"])

    @contextmanager
    def stopped(self, **variables: str) -> Iterator[Running]:
        """A run that has come to the point and waits there."""
        with self.held(), start(self.settings(**variables)) as running:
            until_at(self.database, self.stop.query)
            yield running

    def assert_unchanged(self) -> None:
        """Every row and every object is as it was."""
        assert self.database.dump() == self.broken

    def assert_repaired(self) -> None:
        """Everything is as after a clean run, the ledger says so once, no shadow is left."""
        query = (
            "SELECT rolled_back_at IS NOT NULL, finished_at IS NOT NULL"
            f" FROM {LEDGER} WHERE migration_name = %s ORDER BY started_at"
        )
        assert self.database.execute(query, [FAILED.name]) == [(True, False), (False, True)]
        assert _dump(self.database) == self.clean
        assert shadows(self.database) == []

    def assert_converges(self) -> None:
        """The next run ends where a clean run ends."""
        done = run(self.settings())
        assert done.code == 0, done.log
        self.assert_repaired()


@pytest.fixture
def scene(request: pytest.FixtureRequest, latest_database: Database, tmp_path: Path) -> Scene:
    """The incident, killed after one statement; the parameter is the point to stop at."""
    stop = STOPS[getattr(request, "param", "at ALTER TABLE")]
    folder = incident.write_migrations(tmp_path / "migrations", (*stop.before, FAILED))
    with fresh_database(latest_database.server) as other:
        with other.connect() as connection:
            incident.clean_run(connection, (*stop.before, FAILED))
        clean = _dump(other)
    with latest_database.connect() as connection:
        incident.plant(connection, statements=1, mode=Mode.KILLED, before=stop.before)
    return Scene(latest_database, folder, stop, clean, latest_database.dump())


def _dump(database: Database) -> str:
    return database.dump(exclude_tables=(LEDGER,))


TOLD, NAMES = [signal.SIGTERM, signal.SIGINT], ["term", "int"]


# --- signals ---------------------------------------------------------------------


@pytest.mark.parametrize("signum", TOLD, ids=NAMES)
@pytest.mark.parametrize("scene", BEFORE_COMMIT, indirect=True)
def test_told_to_stop(scene: Scene, signum: signal.Signals) -> None:
    """SIGTERM and SIGINT end a run within 5 s with 143 and 130; nothing changed, nothing left."""
    with scene.stopped() as running:
        running.send(signum)
        assert running.wait(PROMISED_S).code == 128 + signum
    scene.assert_unchanged()
    assert shadows(scene.database) == []
    scene.assert_converges()


@pytest.mark.parametrize("signum", TOLD, ids=NAMES)
def test_told_to_stop_while_postgresql_is_down(scene: Scene, signum: signal.Signals) -> None:
    """A run that waits for PostgreSQL ends at once, too."""
    scene.database.server.stop()
    with start(scene.settings()) as running:
        until(lambda: running.logged("waiting for PostgreSQL"))
        running.send(signum)
        assert running.wait(PROMISED_S).code == 128 + signum
    scene.database.server.start()
    scene.assert_unchanged()


@pytest.mark.parametrize("scene", BEFORE_COMMIT, indirect=True)
def test_killed(scene: Scene) -> None:
    """SIGKILL before COMMIT changes nothing; the next run removes what was left and repairs."""
    with scene.stopped() as running:
        running.send(signal.SIGKILL)
        assert running.wait().code == -signal.SIGKILL
    scene.assert_unchanged()
    scene.assert_converges()


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGKILL], ids=["term", "kill"])
@pytest.mark.parametrize("scene", ["at COMMIT"], indirect=True)
def test_stopped_in_commit(scene: Scene, signum: signal.Signals) -> None:
    """Once COMMIT is on its way the repair is whole, whatever happens to the program."""
    with scene.stopped() as running:
        running.send(signum)
        killed = signum is signal.SIGKILL
        assert running.wait(PROMISED_S).code == (-signum if killed else 128 + signum)
    until(lambda: _attempts(scene) == 2)
    scene.assert_repaired()
    assert run(scene.settings()).outcome == "healthy"
    scene.assert_repaired()


def _attempts(scene: Scene) -> int:
    query = f"SELECT count(*)::int FROM {LEDGER} WHERE migration_name = %s"
    count: int = scene.database.execute(query, [FAILED.name])[0][0]
    return count


# --- the line breaks -------------------------------------------------------------

TERMINATE = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
 WHERE application_name = 'migration-sidecar' AND query LIKE %s AND state = 'active'
"""


@pytest.mark.parametrize("scene", CONNECTED, indirect=True)
def test_backend_is_terminated(scene: Scene) -> None:
    """A run whose session is ended by an administrator starts over and repairs."""
    with scene.stopped() as running:
        scene.database.server.run_sql(TERMINATE, [scene.stop.query])
        until(lambda: running.logged("starting over"))
        scene.assert_unchanged()
        scene.let_go()
        assert running.wait().code == 0
    scene.assert_repaired()


@pytest.mark.parametrize("scene", CONNECTED, indirect=True)
def test_server_crashes(scene: Scene) -> None:
    """A run outlives a crash and restart of the server, and repairs."""
    with scene.stopped() as running:
        scene.database.server.restart("immediate")
        assert running.wait().code == 0
    scene.assert_repaired()


def test_server_stays_away(scene: Scene) -> None:
    """Where the server does not come back in time the backend may not start: exit 124."""
    with scene.stopped(SIDECAR_WAIT_TIMEOUT="1s") as running:
        scene.database.server.stop("immediate")
        done = running.wait()
    assert (done.code, done.outcome) == (124, "not-ready")
    scene.database.server.start()
    scene.assert_unchanged()
    scene.assert_converges()


# --- leftovers -------------------------------------------------------------------


def test_only_our_own_leftovers_are_removed(latest_database: Database, tmp_path: Path) -> None:
    """Shadows which killed runs left for this database go; what only looks like one stays."""
    database, role = latest_database, latest_database.role(createdb=True)
    login = {"user": role.name, "password": role.password}
    with psycopg.connect(database.url(**login), autocommit=True) as connection:
        incident.plant(connection, statements=1, mode=Mode.KILLED)
    query = "SELECT oid::int FROM pg_database WHERE datname = current_database()"
    oid = database.execute(query)[0][0]
    ours = [(f"{PREFIX}{oid}_0", role.name, MARK), (f"{PREFIX}{oid}_1", role.name, None)]
    others = [
        (f"{PREFIX}{oid}_2", role.name, "payroll"),
        (f"{PREFIX}{oid}_3", "postgres", MARK),
        (f"{PREFIX}{oid}0_4", role.name, MARK),
        (f"old_{PREFIX}{oid}_5", role.name, MARK),
    ]
    folder = incident.write_migrations(tmp_path / "migrations")
    url = database.url(schema=SCHEMA, **login)
    with _databases(database, [*ours, *others]) as left:
        done = run(settings(database, folder, DATABASE_URL=url))
        assert (done.code, done.outcome) == (0, "repaired")
        assert left() == {name for name, *_ in others}


@contextmanager
def _databases(
    database: Database, wanted: list[tuple[str, str, str | None]]
) -> Iterator[Callable[[], set[str]]]:
    """Databases by name, owner and comment; gives what is left of them."""
    sql = database.server.run_sql
    try:
        for name, owner, comment in wanted:
            sql(f'CREATE DATABASE "{name}" OWNER {owner}')
            sql(f"""COMMENT ON DATABASE "{name}" IS {f"'{comment}'" if comment else "NULL"}""")
        query = "SELECT datname FROM pg_database WHERE position(%s in datname) > 0"
        yield lambda: {name for (name,) in sql(query, [PREFIX])}
    finally:
        for name, *_ in wanted:
            sql(f'DROP DATABASE IF EXISTS "{name}"')


# --- the locks -------------------------------------------------------------------


@pytest.mark.parametrize("scene", ["at Prisma's lock"], indirect=True)
def test_one_of_many_repairs(scene: Scene) -> None:
    """Of five runs at once exactly one repairs; the others find it done; all exit 0."""
    with ExitStack() as stack:
        with scene.held():
            runs = [stack.enter_context(start(scene.settings())) for _ in range(5)]
            until_at(scene.database, scene.stop.query, runs=5)
        done = [running.wait() for running in runs]
    assert [ended.code for ended in done] == [0] * 5
    assert sorted(ended.outcome for ended in done) == ["healthy"] * 4 + ["repaired"]
    scene.assert_repaired()


@pytest.mark.parametrize("scene", ["at Prisma's lock"], indirect=True)
def test_another_migrator_stays(scene: Scene) -> None:
    """Who still holds Prisma's lock at the deadline is named, and nothing is done: exit 5."""
    with scene.held() as pid:
        done = run(scene.settings(SIDECAR_BUSY_TIMEOUT="300ms"))
    assert (done.code, done.outcome) == (5, "busy")
    assert f"pid {pid}, application 'holder'" in done.summary
    scene.assert_unchanged()


@pytest.mark.parametrize("scene", ["at Prisma's lock"], indirect=True)
def test_another_migrator_ends_in_time(scene: Scene) -> None:
    """A run that met another migrator repairs once that one is gone."""
    with scene.stopped() as running:
        scene.let_go()
        assert running.wait().outcome == "repaired"
    scene.assert_repaired()


@pytest.mark.parametrize("scene", IN_THE_REPAIR, indirect=True)
def test_blocked_until_the_deadline(scene: Scene) -> None:
    """Who blocks a repair until its deadline is named, and it is rolled back: exit 4."""
    limits = {"SIDECAR_LOCK_TIMEOUT": "800ms", "SIDECAR_REPAIR_TIMEOUT": "1s"}
    with scene.held() as pid:
        done = run(scene.settings(**limits))
    assert (done.code, done.outcome) == (4, "repair-failed")
    assert f"pid {pid}, application 'holder'" in done.summary
    scene.assert_unchanged()
    scene.assert_converges()


@pytest.mark.parametrize("scene", IN_THE_REPAIR, indirect=True)
def test_blocked_for_a_while(scene: Scene) -> None:
    """A repair that met a lock is tried again, and succeeds once the lock is free."""
    with scene.held(), start(scene.settings(SIDECAR_LOCK_TIMEOUT="100ms")) as running:
        until(lambda: running.logged("trying again"))
        scene.let_go()
        assert running.wait().outcome == "repaired"
    scene.assert_repaired()
