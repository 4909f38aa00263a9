"""Others at work on the same database: migrators, dead clients' backends, sidecars, poolers."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import psycopg
import pytest

from sidecar.demo import SCHEMA
from sidecar.model import LOCK_KEY, FindingName
from tests import incident, pgbouncer
from tests.command import Scene, unchanged
from tests.incident import BEFORE, FAILED
from tests.integration.test_ledger_and_folder import outcome
from tests.postgres import PASSWORD, Database, fresh_database
from tests.running import start, until_at
from tests.tcp_proxy import proxy
from tests.waiting import until

SIDECARS = 50
LEDGER = f"{SCHEMA}._prisma_migrations"


@pytest.fixture
def scene(latest_database: Database, tmp_path: Path) -> Scene:
    """A database of its own, and a folder that tests fill."""
    environ = {"DATABASE_URL": latest_database.url(schema=SCHEMA), "SIDECAR_BUSY_TIMEOUT": "60s"}
    return Scene(latest_database, tmp_path / "migrations", environ)


def assert_clean(scene: Scene) -> None:
    """The database is as an undisturbed deploy leaves it."""
    with fresh_database(scene.database.server) as clean:
        with clean.connect() as connection:
            incident.clean_run(connection)
        dumps = [each.dump(exclude_tables=(LEDGER,)) for each in (scene.database, clean)]
    assert dumps[0] == dumps[1]


@contextmanager
def blocked(database: Database) -> Iterator[psycopg.Connection[tuple[object, ...]]]:
    """A session that keeps the foreign key waiting until it commits."""
    with closing(database.server.connect(database.name)) as blocker:
        blocker.execute("BEGIN; LOCK TABLE momentum.mm_board IN SHARE ROW EXCLUSIVE MODE")
        yield blocker


# --- a backend whose client is dead ---------------------------------------------------

ORPHANS = (
    "SELECT pid FROM pg_stat_activity WHERE application_name = 'prisma' AND wait_event = 'relation'"
)
POLLS = """
SELECT pid FROM pg_stat_activity
 WHERE application_name = 'migration-sidecar' AND state = 'idle'
   AND (query LIKE '%try_advisory%' OR query LIKE '%pg_stat_activity%')
"""


@contextmanager
def orphan(scene: Scene, *, lock: bool) -> Iterator[None]:
    """The whole script in one message of a client that is gone; the server works on.

    `lock` False: Prisma's lock is switched off (PRISMA_SCHEMA_DISABLE_ADVISORY_LOCK).
    """
    database = scene.database
    where = f"host=127.0.0.1 user=postgres password='{PASSWORD}' dbname={database.name}"
    with proxy(database.server.port) as line:
        client = psycopg.connect(
            f"{where} port={line.port} application_name=prisma", autocommit=True
        )
        if lock:
            client.execute("SELECT pg_advisory_lock(%s)", [LOCK_KEY])
        client.pgconn.send_query(FAILED.sql.encode())
        client.pgconn.flush()
        until(lambda: database.execute(ORPHANS))
        line.cut()
        client.close()
        yield


@pytest.mark.parametrize("lock", [True, False], ids=["lock", "no-lock"])
def test_a_backend_without_a_client_is_waited_for(scene: Scene, *, lock: bool) -> None:
    """It is found running, with the lock or by its statement; then its COMMIT is seen."""
    scene.plant(0, FAILED, *BEFORE, schema=SCHEMA)
    with blocked(scene.database) as blocker, orphan(scene, lock=lock):
        seen = scene.status()
        assert (seen.code, seen.finding.name) == (3, FindingName.RUNNING)
        assert "application 'prisma'" in seen.finding.evidence[0].says
        busy = scene.run(SIDECAR_BUSY_TIMEOUT="100ms")
        assert (busy.code, "application 'prisma'" in busy.what) == (5, True)
        with start(scene.given()) as running:
            until(lambda: scene.database.execute(POLLS))
            blocker.execute("COMMIT")
            done = running.wait()
    assert (done.code, done.outcome) == (0, "repaired")
    assert done.report["migrations"][0]["finding"] == FindingName.FULLY_APPLIED
    assert_clean(scene)


# --- many sidecars --------------------------------------------------------------------


@pytest.mark.slow
def test_one_of_very_many_repairs(scene: Scene) -> None:
    """Fifty replicas start at once: exactly one repairs, and all backends may start."""
    scene.plant(1, FAILED, *BEFORE, schema=SCHEMA)
    with ExitStack() as stack:
        with closing(scene.database.server.connect(scene.database.name)) as holder:
            holder.execute("SELECT pg_advisory_lock(%s)", [LOCK_KEY])
            runs = [stack.enter_context(start(scene.given())) for _ in range(SIDECARS)]
            until_at(scene.database, "SELECT pg_try_advisory%", runs=SIDECARS)
        done = [running.wait() for running in runs]
    assert [ended.code for ended in done] == [0] * SIDECARS
    ended = sorted(ended.outcome for ended in done)
    assert ended == ["healthy"] * (SIDECARS - 1) + ["repaired"]
    assert_clean(scene)


def test_two_images_with_different_histories(scene: Scene, tmp_path: Path) -> None:
    """An older image lacks the script: untouched, exit 3. After the newer one's run: healthy."""
    scene.plant(1, FAILED, *BEFORE, schema=SCHEMA)
    older = Scene(
        scene.database, incident.write_migrations(tmp_path / "older", BEFORE), scene.environ
    )
    with unchanged(scene.database):
        halted = older.run()
        assert (outcome(halted), halted.finding.name) == (
            (3, "halted"),
            FindingName.SCRIPT_MISSING,
        )
    assert outcome(scene.run()) == (0, "repaired")
    ended = older.run()
    assert outcome(ended) == (0, "healthy")
    assert any("ahead of this image" in warning for warning in ended.warnings)
    assert_clean(scene)


# --- poolers --------------------------------------------------------------------------

needs_pgbouncer = pytest.mark.skipif(
    not (pgbouncer.program() or pgbouncer.REQUIRED), reason="pgbouncer is not installed"
)


@contextmanager
def traffic(url: str, clients: int) -> Iterator[None]:
    """So many clients that keep the pooler's sessions going round."""
    over = threading.Event()

    def work() -> None:
        with psycopg.connect(url, autocommit=True, prepare_threshold=None) as client:
            while not over.is_set():
                client.execute("SELECT pg_sleep(0.001)")

    threads = [threading.Thread(target=work) for _ in range(clients)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        over.set()
        for thread in threads:
            thread.join()


@needs_pgbouncer
@pytest.mark.parametrize("clients", [0, 6])
@pytest.mark.parametrize("mode", ["transaction", "statement"])
def test_a_pooler_that_shares_sessions(scene: Scene, mode: str, clients: int) -> None:
    """Where no lock can be held nothing is done, also among other clients: exit 3 says why."""
    scene.plant(1, FAILED, *BEFORE, schema=SCHEMA)
    with (
        unchanged(scene.database),
        pgbouncer.pgbouncer(scene.database, mode) as url,
        traffic(url, clients),
    ):
        ended = scene.run(DATABASE_URL=f"{url}?schema={SCHEMA}&pgbouncer=true")
    assert ended.code == 3
    assert "the URL leads to a pooler in transaction mode" in ended.what
    assert ended.next_steps[0].startswith("Set DIRECT_URL")


@needs_pgbouncer
def test_a_pooler_that_takes_no_options(scene: Scene) -> None:
    """Without `pgbouncer=true` the pooler refuses the connection: exit 124 says what to do."""
    scene.plant(1, FAILED, *BEFORE, schema=SCHEMA)
    with pgbouncer.pgbouncer(scene.database, "session") as url, unchanged(scene.database):
        ended = scene.run(DATABASE_URL=f"{url}?schema={SCHEMA}")
    assert ended.code == 124
    assert "unsupported startup parameter: options" in ended.what
    assert "pgbouncer=true" in ended.next_steps[0]


@needs_pgbouncer
def test_past_the_pooler(scene: Scene) -> None:
    """DIRECT_URL leads past it: repaired, and the backend's own way was tried as well."""
    scene.plant(1, FAILED, *BEFORE, schema=SCHEMA)
    direct = scene.environ["DATABASE_URL"]
    with pgbouncer.pgbouncer(scene.database, "transaction") as url:
        pooled = f"{url}?schema={SCHEMA}&pgbouncer=true"
        assert outcome(scene.run(DATABASE_URL=pooled, DIRECT_URL=direct)) == (0, "repaired")
    assert_clean(scene)


@needs_pgbouncer
def test_a_pooler_that_keeps_sessions_apart(scene: Scene) -> None:
    """In session mode the lock holds, and everything works as without a pooler."""
    scene.plant(1, FAILED, *BEFORE, schema=SCHEMA)
    with pgbouncer.pgbouncer(scene.database, "session") as url:
        pooled = f"{url}?schema={SCHEMA}&pgbouncer=true"
        ended = scene.run(DATABASE_URL=pooled)
        assert outcome(ended) == (0, "repaired"), ended.what
        assert outcome(scene.run(DATABASE_URL=pooled)) == (0, "healthy")
    assert_clean(scene)
