"""A stack made from compose.example.yml, through its life and its accidents, with real Prisma.

Each test is a row of the table in docs/compose.md, which says what `up`, the sidecar and the
backend ended with.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

import psycopg
import pytest

from tests import incident
from tests.containers.compose import Version
from tests.containers.compose_project import (
    BACKEND,
    PATIENCE_S,
    POSTGRES,
    SIDECAR,
    Project,
    State,
)
from tests.containers.compose_scenarios import BOTH, Saw, scenario
from tests.containers.engine import Ended, wait_until
from tests.incident import BEFORE, FAILED, SCHEMA, Mode
from tests.postgres import run_sql

pytestmark = pytest.mark.compose

V2 = Version.V2
PRISMA_IS_CONTENT = (
    "No pending migrations to apply.",
    "All migrations have been successfully applied.",
)
IN_THE_WAY = "CREATE TABLE momentum.mm_scheduled_issue (id text)"
LOSE_THE_BOOKKEEPING = f"""
UPDATE {SCHEMA}._prisma_migrations SET finished_at = NULL, applied_steps_count = 0
 WHERE migration_name = '{FAILED.name}'
"""
CHANGED_BY_HAND = """ALTER TYPE momentum."ScheduleFrequency" RENAME VALUE 'DAILY' TO 'EVERY_DAY'"""

SETUP = """\
services:
  postgres_dev:
    volumes: ["./setup.sh:/docker-entrypoint-initdb.d/setup.sh:ro"]
"""
WITHOUT_HEALTH = """\
services:
  migration-sidecar:
    environment: {{SIDECAR_WAIT_TIMEOUT: "{wait}"}}
    depends_on: {{postgres_dev: {{condition: service_started}}}}
"""
IMPATIENT = """\
services:
  postgres_dev: {healthcheck: {retries: 2}}
"""
WAITS_FOR_A_LOCK = """
SELECT count(*) FROM pg_stat_activity
 WHERE application_name = 'migration-sidecar' AND wait_event_type = 'Lock'
"""


# --- what a stack can be brought to ---------------------------------------------------


def plant(stack: Project, *, statements: int = 1, mode: Mode = Mode.KILLED) -> None:
    """Leave the database as the incident left it, with a row of the application's."""
    stack.start_postgres()
    with stack.connection() as connection:
        incident.plant(connection, statements=statements, mode=mode)
        connection.execute("INSERT INTO momentum.mm_board (id, name) VALUES ('b1', 'Platform')")


def clean_schema(stack: Project) -> str:
    """What an undisturbed deploy of the history leaves, on the same server."""
    with stack.connection() as connection:
        connection.execute("CREATE DATABASE clean")
    with stack.connection("clean") as connection:
        incident.clean_run(connection)
    return stack.dump("clean", data=False)


def attempts(stack: Project) -> list[tuple[Any, ...]]:
    """Whether each attempt at the failed migration finished, and whether it is rolled back."""
    return stack.execute(
        "SELECT finished_at IS NOT NULL, rolled_back_at IS NOT NULL"
        f" FROM {SCHEMA}._prisma_migrations WHERE migration_name = '{FAILED.name}'"
        " ORDER BY started_at, finished_at NULLS FIRST"
    )


FAILED_ONLY = [(False, False)]
REPAIRED = [(False, True), (True, False)]


def assert_repaired(stack: Project) -> None:
    """Whole, recorded, nothing lost, and real Prisma agrees."""
    assert stack.ask_backend() == {"applied": 3, "boards": 1}
    assert attempts(stack) == REPAIRED
    assert stack.dump(data=False) == clean_schema(stack)
    assert stack.execute("SELECT id FROM momentum.mm_board") == [("b1",)]
    assert any(words in stack.logs(BACKEND) for words in PRISMA_IS_CONTENT)


@contextmanager
def lock_held(stack: Project) -> Iterator[None]:
    """Somebody holds a lock that the foreign key of the repair must wait for."""
    with closing(psycopg.connect(stack.conninfo())) as holder:
        holder.execute("LOCK TABLE momentum.mm_board IN SHARE MODE")
        yield


def until_it_waits_for_a_lock(stack: Project) -> None:
    """Wait until the repair stands at the lock."""
    with stack.connection() as connection:
        wait_until(lambda: run_sql(connection, WAITS_FOR_A_LOCK) != [(0,)], timeout_s=PATIENCE_S)


def with_file(stack: Project, name: str, text: str) -> Project:
    """The same project with one more compose file."""
    stack.write(name, text)
    return stack.with_files(*stack.files, name)


# --- nothing is wrong ---------------------------------------------------------------


@scenario("a fresh database", *BOTH)
@pytest.mark.usefixtures("empty_postgres")
def test_fresh(stack: Project, saw: Saw) -> None:
    """The sidecar finds nothing to do, Prisma deploys everything, the backend serves."""
    ended = stack.compose("up", "-d")
    saw(stack.seen(ended))
    assert "a fresh database, nothing to repair" in stack.logs()
    assert stack.ask_backend() == {"applied": 3, "boards": 0}
    assert stack.dump(data=False) == clean_schema(stack)


@scenario("a healthy database: `down`, then `up -d`", *BOTH)
def test_healthy_restart(stack: Project, saw: Saw) -> None:
    """The data survives, and the sidecar has nothing to do."""
    stack.compose("up", "-d")
    stack.ask_backend()
    before = stack.dump()
    assert stack.compose("down").code == 0
    ended = stack.compose("up", "-d")
    saw(stack.seen(ended))
    assert "no failed migration; 3 applied, 0 pending" in stack.logs()
    assert stack.dump() == before


@scenario("`up -d` again while all runs", *BOTH)
def test_second_up(stack: Project, saw: Saw) -> None:
    """The sidecar runs again and does nothing; the backend is not touched."""
    stack.compose("up", "-d")
    stack.ask_backend()
    sidecar, backend = stack.state(SIDECAR), stack.state(BACKEND)
    ended = stack.compose("up", "-d")
    saw(stack.seen(ended))
    assert stack.state(SIDECAR).started_at > sidecar.started_at
    assert stack.state(BACKEND) == backend


@scenario("`stop`, then `start`", *BOTH)
def test_stop_and_start(stack: Project, saw: Saw) -> None:
    """The backend waits for the sidecar again."""
    stack.compose("up", "-d")
    stack.ask_backend()
    before = stack.state(SIDECAR)
    assert stack.compose("stop", "-t", "1").code == 0
    ended = stack.compose("start")
    saw(stack.seen(ended))
    assert before.started_at < stack.state(SIDECAR).started_at < stack.state(BACKEND).started_at


@scenario("a migration fails by hand, then `restart backend_dev`", *BOTH)
def test_restart_asks_nobody(stack: Project, saw: Saw) -> None:
    """`restart` does not ask the sidecar: the backend meets P3009 by itself."""
    stack.compose("up", "-d")
    stack.ask_backend()
    before = stack.state(SIDECAR)
    stack.execute(LOSE_THE_BOOKKEEPING)
    ended = stack.compose("restart", "-t", "1", BACKEND)
    stack.until(BACKEND, "exit 1")
    saw(stack.seen(ended))
    assert "P3009" in stack.logs(BACKEND)
    assert stack.state(SIDECAR) == before


@scenario("`up --exit-code-from migration-sidecar` on a healthy database", *BOTH)
def test_exit_code_from(stack: Project, saw: Saw) -> None:
    """The end of the sidecar, a success, ends the whole stack: the wrong tool for that."""
    stack.compose("up", "-d")
    stack.ask_backend()
    stack.compose("stop", "-t", "1")
    stack.compose("up", "--exit-code-from", SIDECAR)
    saw("; ".join(f"{name} {stack.state(name).word}" for name in (SIDECAR, POSTGRES)))


# --- the incident --------------------------------------------------------------------


@scenario("the incident, made by real Prisma; policy forward", *BOTH)
def test_incident(stack: Project, saw: Saw) -> None:
    """Prisma fails after the enum and says P3009 from then on; `up -d` ends it."""
    stack.start_postgres()
    with stack.connection() as connection:
        incident.clean_run(connection, BEFORE)
        connection.execute("INSERT INTO momentum.mm_board (id, name) VALUES ('b1', 'Platform')")
    stack.execute(IN_THE_WAY)
    first = stack.compose("run", "--rm", "--no-deps", BACKEND)
    assert (first.code, "already exists" in first.said) == (1, True), first.said
    stack.execute("DROP TABLE momentum.mm_scheduled_issue")
    second = stack.compose("run", "--rm", "--no-deps", BACKEND)
    assert (second.code, "P3009" in second.said) == (1, True), second.said
    ended = stack.compose("up", "-d")
    saw(stack.seen(ended))
    assert "partly-applied (1 of 4 statements took effect)" in stack.logs()
    assert_repaired(stack)
    status = stack[BACKEND].exec("node", "node_modules/prisma/build/index.js", "migrate", "status")
    assert "Database schema is up to date!" in status.said


@scenario("the incident, policy rebuild", V2)
def test_rebuild(stack: Project, saw: Saw) -> None:
    """The enum is dropped, the whole script runs."""
    plant(stack)
    stack.given(SIDECAR_POLICY="rebuild")
    ended = stack.compose("up", "-d")
    saw(stack.seen(ended))
    assert "rebuild: committed and proven" in stack.logs()
    assert_repaired(stack)


@scenario("the incident, policy ledger", V2)
def test_ledger(stack: Project, saw: Saw) -> None:
    """Bookkeeping alone cannot mend a half-applied migration."""
    plant(stack)
    stack.given(SIDECAR_POLICY="ledger")
    before = stack.dump()
    ended = stack.compose("up", "-d")
    saw(stack.seen(ended))
    assert stack.dump() == before


@scenario("a migration that took no effect, policy ledger", V2)
def test_ledger_of_nothing(stack: Project, saw: Saw) -> None:
    """It is marked as rolled back, and Prisma applies it."""
    plant(stack, statements=0, mode=Mode.BATCH_ROLLED_BACK)
    stack.given(SIDECAR_POLICY="ledger")
    ended = stack.compose("up", "-d")
    saw(stack.seen(ended))
    assert_repaired(stack)


@scenario("the incident, policy observe", *BOTH)
def test_observe(stack: Project, saw: Saw) -> None:
    """Nothing is written, and the backend does not start."""
    plant(stack)
    stack.given(SIDECAR_POLICY="observe")
    before = stack.dump()
    ended = stack.compose("up", "-d")
    saw(stack.seen(ended))
    assert "policy observe never writes" in stack.logs()
    assert stack.dump() == before


@scenario("halted: somebody changed the half-made type by hand", *BOTH)
def test_halted(stack: Project, saw: Saw) -> None:
    """The backend never starts; the log says why and what to type, and that works here."""
    plant(stack)
    stack.execute(CHANGED_BY_HAND)
    before = stack.dump()
    ended = stack.compose("up", "-d")
    saw(stack.seen(ended))
    log = stack.logs()
    assert f"{FAILED.name}: diverged" in log
    assert "EVERY_DAY" in log
    assert "Nothing was changed." in log
    assert "next: migration-sidecar" in log
    looked = stack.compose("run", "--rm", SIDECAR, "status")
    assert (looked.code, "diverged" in looked.out) == (3, True), looked.said
    assert stack.dump() == before


def fail_while_it_runs(stack: Project) -> State:
    """All up, and then a migration is failed that policy forward refuses; the backend's state."""
    stack.compose("up", "-d")
    stack.ask_backend()
    stack.execute(LOSE_THE_BOOKKEEPING)
    stack.execute(CHANGED_BY_HAND)
    return stack.state(BACKEND)


@scenario("refused while the backend runs: `up -d`", *BOTH)
def test_a_running_backend_keeps_running(stack: Project, saw: Saw) -> None:
    """A refusal stops nothing that serves."""
    before = fail_while_it_runs(stack)
    ended = stack.compose("up", "-d")
    saw(stack.seen(ended))
    assert stack.state(BACKEND) == before


@scenario("the same with a setting of the sidecar changed", *BOTH)
def test_a_changed_sidecar(stack: Project, saw: Saw) -> None:
    """v2 makes the backend anew with it, before the sidecar has spoken."""
    fail_while_it_runs(stack)
    stack.given(SIDECAR_POLICY="observe")
    ended = stack.compose("up", "-d")
    saw(stack.seen(ended))


@scenario("the same, asked first: `run --rm migration-sidecar && up -d`", *BOTH)
def test_asked_first(stack: Project, saw: Saw) -> None:
    """The way to change something without losing the backend that serves."""
    before = fail_while_it_runs(stack)
    stack.given(SIDECAR_POLICY="observe")
    ended = stack.compose("run", "--rm", SIDECAR)
    saw(stack.seen(ended))
    assert "policy observe never writes" in ended.said
    assert stack.state(BACKEND) == before


@scenario("the incident, `up -d --scale backend_dev=2`", V2)
def test_scale(stack: Project, saw: Saw) -> None:
    """One sidecar repairs, both backends serve."""
    plant(stack)
    ended = stack.compose("up", "-d", "--scale", "backend_dev=2")
    saw(stack.seen(ended))
    assert stack.ask_backend(2) == stack.ask_backend(1)
    assert_repaired(stack)


# --- PostgreSQL is in trouble ----------------------------------------------------------


@scenario("PostgreSQL needs a while for its set-up", *BOTH)
@pytest.mark.usefixtures("empty_postgres")
def test_slow_setup(stack: Project, saw: Saw) -> None:
    """The health check looks past the temporary server; the sidecar starts after it."""
    stack.write("setup.sh", "sleep 3\n")
    stack = with_file(stack, "setup.yml", SETUP)
    ended = stack.compose("up", "-d")
    saw(stack.seen(ended))
    assert "waiting" not in stack.logs()


@scenario("the same without a health check", V2)
@pytest.mark.usefixtures("empty_postgres")
def test_slow_setup_without_health(stack: Project, saw: Saw) -> None:
    """The sidecar itself waits until PostgreSQL answers over TCP."""
    stack.write("setup.sh", "sleep 3\n")
    stack = with_file(stack, "setup.yml", SETUP)
    stack = with_file(stack, "health.yml", WITHOUT_HEALTH.format(wait="60s"))
    ended = stack.compose("up", "-d")
    saw(stack.seen(ended))
    assert "waiting" in stack.logs()


@scenario("PostgreSQL does not become healthy", *BOTH)
@pytest.mark.usefixtures("empty_postgres")
def test_never_healthy(stack: Project, saw: Saw) -> None:
    """`up` says so; neither the sidecar nor the backend is started."""
    stack.write("setup.sh", "sleep 3600\n")
    stack = with_file(with_file(stack, "setup.yml", SETUP), "impatient.yml", IMPATIENT)
    ended = stack.compose("up", "-d")
    saw(stack.seen(ended))
    assert "unhealthy" in ended.said
    assert "postgres_dev" in ended.said


@scenario("PostgreSQL does not answer, no health check", *BOTH)
@pytest.mark.usefixtures("empty_postgres")
def test_never_ready(stack: Project, saw: Saw) -> None:
    """The sidecar gives up after SIDECAR_WAIT_TIMEOUT and says what the last try met."""
    stack.write("setup.sh", "sleep 3600\n")
    stack = with_file(stack, "setup.yml", SETUP)
    stack = with_file(stack, "health.yml", WITHOUT_HEALTH.format(wait="2s"))
    ended = stack.compose("up", "-d")
    saw(stack.seen(ended))
    assert "Connection refused" in stack.logs()
    assert "migration-sidecar wait" in stack.logs()


@scenario("PostgreSQL restarts in the middle of a repair", V2)
def test_restart_in_the_middle(stack: Project, saw: Saw) -> None:
    """The sidecar starts over, and ends what it began."""
    plant(stack)
    with stack.started("up", "-d") as up:
        with lock_held(stack):
            until_it_waits_for_a_lock(stack)
            assert stack.compose("restart", "-t", "5", POSTGRES).code == 0
        output, _ = up.communicate(timeout=PATIENCE_S)
        ended = Ended(up.returncode, output, "")
    stack.until_postgres_answers()
    saw(stack.seen(ended))
    assert "starting over" in stack.logs()
    assert_repaired(stack)


@scenario("SIGTERM to `up` during a repair", *BOTH)
def test_sigterm(stack: Project, saw: Saw) -> None:
    """The sidecar gets it, rolls back and leaves nothing behind."""
    plant(stack)
    before = stack.dump()
    ended = interrupted(stack)
    saw(stack.seen(ended))
    assert stack.state(BACKEND).word in {"not created", "never started"}
    stack.start_postgres()
    assert stack.dump() == before
    shadows = "SELECT datname FROM pg_database WHERE datname LIKE 'migration!_sidecar%' ESCAPE '!'"
    assert stack.execute(shadows) == []


@scenario("the next `up -d` after that", *BOTH)
def test_up_after_sigterm(stack: Project, saw: Saw) -> None:
    """It converges."""
    plant(stack)
    interrupted(stack)
    ended = stack.compose("up", "-d")
    saw(stack.seen(ended))
    assert_repaired(stack)


def interrupted(stack: Project) -> Ended:
    """How `up` in the foreground ends that is told to at the moment of the repair.

    v2 may return while the engine is still stopping what it had asked it to stop.
    """
    with stack.started("up") as up, lock_held(stack):
        until_it_waits_for_a_lock(stack)
        up.send_signal(signal.SIGTERM)
        output, _ = up.communicate(timeout=PATIENCE_S)
    stack.until(SIDECAR, "exit 143")
    assert stack.compose("stop").code == 0
    return Ended(up.returncode, output, "")
