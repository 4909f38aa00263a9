"""The incident, made by real Prisma, repaired by the sidecar, and agreed by real Prisma."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.command import ROOT, Ended, command, process_environ
from tests.incident import ADD_ISSUES, BEFORE, FAILED, HISTORY, SCHEMA, Connection
from tests.postgres import LATEST, Database, Servers, available_majors, fresh_database
from tests.prisma_cli import PrismaProject, batch_deploy, native_split_deploy

pytestmark = pytest.mark.prisma

Copy = Callable[[Database], Database]
PATIENCE_S = 30
BOARD = "INSERT INTO momentum.mm_board (id, name) VALUES ('b1', 'Platform')"


class Cause(NamedTuple):
    """Something outside the migration that makes it fail, and how it is put right."""

    plant: str
    remove: str


TARGET_MISSING = Cause(
    "ALTER TABLE momentum.mm_board RENAME TO gone", "ALTER TABLE momentum.gone RENAME TO mm_board"
)
TYPE_IN_THE_WAY = Cause(
    'CREATE TYPE momentum."ScheduleFrequency" AS ENUM ()',
    'DROP TYPE momentum."ScheduleFrequency"',
)


@pytest.fixture(scope="module")
def ready(servers: Servers) -> Iterator[Database]:
    """A database that real Prisma has deployed everything on but the last migration."""
    majors = available_majors()
    with fresh_database(servers[LATEST if LATEST in majors else majors[-1]]) as database:
        database.execute("CREATE SCHEMA momentum")
        yield database


@pytest.fixture(scope="module")
def deployed(ready: Database, tmp_path_factory: pytest.TempPathFactory) -> Database:
    """The same after the deploy of the history before the incident, with a row in it."""
    project = PrismaProject.create(tmp_path_factory.mktemp("before"), ready.url(schema=SCHEMA))
    for migration in BEFORE:
        project.write_migration(migration.name, migration.sql)
    assert project.deploy().exit_code == 0
    ready.execute(BOARD)
    return ready


def _failed(deployed: Database, path: Path, cause: Cause) -> Database:
    database = deployed.clone()  # gone with the original
    database.execute(cause.plant)
    assert _project(path, database).deploy().exit_code == 1
    database.execute(cause.remove)
    return database


@pytest.fixture(scope="module")
def partly(deployed: Database, tmp_path_factory: pytest.TempPathFactory) -> Database:
    """Real Prisma failed at the foreign key, whose target was missing; now it is there again."""
    return _failed(deployed, tmp_path_factory.mktemp("partly"), TARGET_MISSING)


@pytest.fixture(scope="module")
def nothing(deployed: Database, tmp_path_factory: pytest.TempPathFactory) -> Database:
    """Real Prisma failed at the first statement, as a type was in the way; now it is not."""
    return _failed(deployed, tmp_path_factory.mktemp("nothing"), TYPE_IN_THE_WAY)


@pytest.fixture(scope="module")
def clean(deployed: Database) -> str:
    """What a database without an incident holds, but for the ledger."""
    database = deployed.clone()
    for statement in FAILED.statements:
        database.execute(statement)
    return _content(database)


@pytest.fixture
def copy() -> Iterator[Copy]:
    """Makes copies of a database for one test."""
    with ExitStack() as stack:
        yield lambda original: stack.enter_context(
            fresh_database(original.server, template=original.name)
        )


@pytest.fixture(autouse=True)
def nothing_stays(deployed: Database) -> Iterator[None]:
    """Whatever a test does, no shadow and no session of the sidecar outlives it."""
    yield
    found = deployed.server.run_sql(
        "SELECT datname FROM pg_database WHERE datname LIKE 'migration!_sidecar!_%' ESCAPE '!'"
        " UNION ALL SELECT application_name FROM pg_stat_activity"
        " WHERE application_name = 'migration-sidecar'"
    )
    assert found == []


def _project(path: Path, database: Database) -> PrismaProject:
    """A project with the incident's whole history, for this database."""
    project = PrismaProject.create(path, database.url(schema=SCHEMA))
    for migration in HISTORY:
        project.write_migration(migration.name, migration.sql)
    return project


def _environ(project: PrismaProject, **variables: str) -> dict[str, str]:
    own = {
        "DATABASE_URL": project.database_url,
        "SIDECAR_MIGRATIONS_DIR": str(project.migrations),
    }
    return own | variables


def _sidecar(project: PrismaProject, *arguments: str, **variables: str) -> Ended:
    return command(*arguments, environ=_environ(project, **variables))


def _content(database: Database) -> str:
    """The whole database, rows and all, without the ledger."""
    return database.dump(exclude_tables=["momentum._prisma_migrations"])


def _ledger(database: Database) -> list[tuple[Any, ...]]:
    """All attempts without what differs from run to run: new ids, times, and the new row's logs."""
    return database.execute(
        "SELECT migration_name, checksum, finished_at IS NOT NULL, rolled_back_at IS NOT NULL,"
        " started_at = finished_at, applied_steps_count, length(id),"
        " CASE WHEN finished_at IS NULL THEN id END, CASE WHEN finished_at IS NULL THEN logs END,"
        " logs IS NULL"
        " FROM momentum._prisma_migrations ORDER BY started_at"
    )


def _agrees(project: PrismaProject) -> None:
    """Real Prisma has nothing to do and nothing to complain of."""
    exit_code, output = project.deploy()
    assert (exit_code, "No pending migrations" in output) == (0, True), output
    exit_code, output = project.status()
    assert (exit_code, "up to date" in output) == (0, True), output


# --- the repair, beside the hand repair ---------------------------------------------


def _resume_by_hand(project: PrismaProject, database: Database) -> None:
    """What a person does who knows that only the foreign key is missing."""
    database.execute(FAILED.statements[3])
    assert project.resolve(applied=FAILED.name).exit_code == 0


def _rebuild_by_hand(project: PrismaProject, database: Database) -> None:
    """The hand repair of the incident, step by step."""
    assert project.resolve(rolled_back=FAILED.name).exit_code == 0
    database.execute("DROP TABLE momentum.mm_scheduled_issue")
    database.execute('DROP TYPE momentum."ScheduleFrequency"')
    assert project.resolve(applied=FAILED.name).exit_code == 0
    database.execute(FAILED.sql)


@pytest.mark.parametrize(
    ("policy", "by_hand"), [("forward", _resume_by_hand), ("rebuild", _rebuild_by_hand)]
)
def test_repair_is_what_the_hand_repair_leaves(
    copy: Copy,
    partly: Database,
    clean: str,
    tmp_path: Path,
    policy: str,
    by_hand: Callable[[PrismaProject, Database], None],
) -> None:
    """Database and ledger end as by hand with `migrate resolve`; then Prisma is content."""
    ours, twin = copy(partly), copy(partly)
    project = _project(tmp_path / "ours", ours)
    ended = _sidecar(project, "run", SIDECAR_POLICY=policy)
    assert ended.code == 0, ended.err
    by_hand(_project(tmp_path / "twin", twin), twin)
    assert _content(ours) == _content(twin) == clean
    assert _ledger(ours) == _ledger(twin)
    _agrees(project)
    assert _sidecar(project, "run").code == 0
    assert _ledger(ours) == _ledger(twin)


def test_ledger_policy_leaves_the_work_to_prisma(
    copy: Copy, nothing: Database, clean: str, tmp_path: Path
) -> None:
    """Nothing was applied: the row is marked rolled back, and the next real deploy applies it."""
    ours, twin = copy(nothing), copy(nothing)
    project = _project(tmp_path / "ours", ours)
    ended = _sidecar(project, "run", SIDECAR_POLICY="ledger")
    assert ended.code == 0, ended.err
    assert _project(tmp_path / "twin", twin).resolve(rolled_back=FAILED.name).exit_code == 0
    assert _ledger(ours) == _ledger(twin)
    exit_code, output = project.deploy()
    assert exit_code == 0, output
    assert _content(ours) == clean
    _agrees(project)


def test_forward_applies_what_left_nothing(
    copy: Copy, nothing: Database, clean: str, tmp_path: Path
) -> None:
    """Nothing was applied: the whole script runs, and Prisma finds it applied."""
    ours = copy(nothing)
    project = _project(tmp_path / "ours", ours)
    ended = _sidecar(project, "run")
    assert ended.code == 0, ended.err
    assert _content(ours) == clean
    _agrees(project)


@pytest.mark.parametrize("policy", ["observe", "ledger"])
def test_halt_changes_nothing(copy: Copy, partly: Database, tmp_path: Path, policy: str) -> None:
    """Where the policy allows no repair the database stays as it is: Prisma still says P3009."""
    ours = copy(partly)
    project = _project(tmp_path / "ours", ours)
    before = ours.dump()
    assert _sidecar(project, "run", SIDECAR_POLICY=policy).code == 3
    assert ours.dump() == before
    exit_code, output = project.deploy()
    assert (exit_code, "P3009" in output) == (1, True)


# --- the engines of other days ------------------------------------------------------


def _batch(connection: Connection) -> None:
    batch_deploy(connection, FAILED.name, FAILED.sql)


def _split(connection: Connection) -> None:
    native_split_deploy(connection, FAILED)


ENGINES = {"batch": _batch, "split": _split}


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("policy", ["forward", "rebuild"])
def test_repair_after_a_native_engine(
    copy: Copy, deployed: Database, clean: str, tmp_path: Path, engine: str, policy: str
) -> None:
    """A batch left nothing, statements one by one left three: repaired, and Prisma is content."""
    ours = copy(deployed)
    ours.execute(TARGET_MISSING.plant)
    ENGINES[engine](ours.connect())
    ours.execute(TARGET_MISSING.remove)
    project = _project(tmp_path / "ours", ours)
    ended = _sidecar(project, "run", SIDECAR_POLICY=policy)
    assert ended.code == 0, ended.err
    assert _content(ours) == clean
    _agrees(project)


@pytest.mark.parametrize(("engine", "code"), [("batch", 0), ("split", 3)])
def test_ledger_policy_after_a_native_engine(
    copy: Copy, deployed: Database, clean: str, tmp_path: Path, engine: str, code: int
) -> None:
    """A batch that left nothing is Prisma's again; half a migration is nobody's: exit 3."""
    ours = copy(deployed)
    ours.execute(TARGET_MISSING.plant)
    ENGINES[engine](ours.connect())
    ours.execute(TARGET_MISSING.remove)
    project = _project(tmp_path / "ours", ours)
    assert _sidecar(project, "run", SIDECAR_POLICY="ledger").code == code
    assert project.deploy().exit_code == (1 if code else 0)
    assert (_content(ours) == clean) is (code == 0)


# --- our resolve beside Prisma's ----------------------------------------------------

ATTEMPT = (
    "INSERT INTO momentum._prisma_migrations"
    " (id, checksum, migration_name, started_at, finished_at, rolled_back_at, logs,"
    " applied_steps_count) VALUES ('{}', 'f', '{}', '2026-01-01 00:00:{}+00', {}, {}, 'log', {})"
)
LATER = "'2026-01-02'"


def _attempt(second: int, *, finished: bool = False, undone: bool = False, steps: int = 0) -> str:
    times = [LATER if happened else "NULL" for happened in (finished, undone)]
    return ATTEMPT.format(f"attempt-{second}", FAILED.name, f"{second:02}", *times, steps)


class Situation(NamedTuple):
    """What the ledger holds of the migration that is resolved, and whether its folder is there."""

    attempts: tuple[str, ...] = ()
    folder: bool = True
    other: str = ""


SITUATIONS = {
    "never attempted": Situation(),
    "failed": Situation((_attempt(1),)),
    "failed, all steps done": Situation((_attempt(1, steps=1),)),
    "applied": Situation((_attempt(1, finished=True, steps=1),)),
    "rolled back": Situation((_attempt(1, undone=True),)),
    "finished and rolled back": Situation((_attempt(1, finished=True, undone=True),)),
    "failed twice": Situation((_attempt(1), _attempt(2))),
    "failed after it was rolled back": Situation((_attempt(1, undone=True), _attempt(2))),
    "failed after it was applied": Situation((_attempt(1, finished=True), _attempt(2))),
    "failed, folder missing": Situation((_attempt(1),), folder=False),
    "never attempted, folder missing": Situation(folder=False),
    "failed, another failed too": Situation(
        (_attempt(1), ATTEMPT.format("other", ADD_ISSUES.name, "09", "NULL", "NULL", 0))
    ),
    "no ledger": Situation(("DROP TABLE momentum._prisma_migrations",)),
    "no schema": Situation(("DROP SCHEMA momentum CASCADE",)),
    "foreign provider": Situation((_attempt(1),), other='provider = "mysql"\n'),
}


@pytest.mark.parametrize("flag", ["applied", "rolled_back"])
@pytest.mark.parametrize("situation", SITUATIONS)
def test_resolve_does_what_prismas_does(
    copy: Copy, deployed: Database, tmp_path: Path, situation: str, flag: str
) -> None:
    """Same rows afterwards, or the same refusal under the same code, and then nothing changed."""
    given = SITUATIONS[situation]
    ours, twin = copy(deployed), copy(deployed)
    for database in (ours, twin):
        for statement in given.attempts:
            database.execute(statement)
    project, theirs = _project(tmp_path / "ours", ours), _project(tmp_path / "twin", twin)
    for each in (project, theirs):
        _arrange(each, given)
    before = _everything(ours)
    exit_code, output = theirs.resolve(**{flag: FAILED.name})
    ended = _sidecar(project, "resolve", f"--{flag.replace('_', '-')}", FAILED.name)
    assert (ended.code == 0) is (exit_code == 0), (output, ended.err)
    if exit_code:
        event: str = ended.lines[0]["event"]
        assert event.partition(":")[0].lower() in output.lower()
        assert _everything(ours) == before
    else:
        assert _everything(ours) == _everything(twin)


def _arrange(project: PrismaProject, given: Situation) -> None:
    if given.other:
        (project.migrations / "migration_lock.toml").write_text(given.other)
    if not given.folder:
        (project.migrations / FAILED.name).rename(project.path / FAILED.name)


def _everything(database: Database) -> tuple[str, list[tuple[Any, ...]]]:
    """The database's structure, and the ledger's rows if there is a ledger."""
    [(exists,)] = database.execute("SELECT to_regclass('momentum._prisma_migrations') IS NOT NULL")
    return database.dump(data=False), _ledger(database) if exists else []


# --- somebody is at work ------------------------------------------------------------


def _until(database: Database, query: str, *params: object) -> None:
    """Wait until the query, asked again and again, finds a row."""
    deadline = time.monotonic() + PATIENCE_S
    while not database.execute(query, params or None):
        assert time.monotonic() < deadline, query
        time.sleep(0.02)


AT_THE_FOREIGN_KEY = (
    "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND state = 'active'"
    " AND wait_event_type = 'Lock' AND query LIKE '%ALTER TABLE%mm!_scheduled!_issue%' ESCAPE '!'"
)
SIDECAR_TRIES = (
    "SELECT 1 FROM pg_stat_activity WHERE datname = current_database()"
    " AND application_name = 'migration-sidecar' AND query LIKE '%pg!_try!_advisory!_lock%'"
    " ESCAPE '!'"
)


@contextmanager
def _deploying(project: PrismaProject) -> Iterator[subprocess.Popen[str]]:
    """A real deploy, which is gone at the end whatever happens."""
    with project.start("deploy") as process:
        try:
            yield process
        finally:
            process.kill()


@contextmanager
def _sidecar_running(project: PrismaProject, **variables: str) -> Iterator[subprocess.Popen[str]]:
    """`migration-sidecar run`, started and not waited for."""
    with subprocess.Popen(
        [sys.executable, "-m", "sidecar", "run"],
        cwd=ROOT,
        env=process_environ(_environ(project, **variables)),
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


@contextmanager
def _at_the_foreign_key(
    database: Database, project: PrismaProject
) -> Iterator[tuple[subprocess.Popen[str], Connection]]:
    """A real deploy in the middle of its last statement, and the session which holds it up."""
    blocker = database.connect()
    blocker.execute("BEGIN; LOCK TABLE momentum.mm_board IN SHARE ROW EXCLUSIVE MODE")
    with _deploying(project) as process:
        _until(database, AT_THE_FOREIGN_KEY)
        yield process, blocker


class Orphan(NamedTuple):
    """How the backend of a killed deploy ends, and what is found afterwards."""

    end: str
    finding: str


ORPHANS = {
    "runs on and commits": Orphan("COMMIT", "fully-applied"),
    "is terminated": Orphan(
        f"SELECT pg_terminate_backend(pid) FROM ({AT_THE_FOREIGN_KEY}) t; COMMIT",
        "partly-applied",
    ),
}


@pytest.mark.parametrize("orphan", ORPHANS)
def test_killed_deploy_is_judged_when_its_backend_has_ended(
    copy: Copy, deployed: Database, clean: str, tmp_path: Path, orphan: str
) -> None:
    """The server works on for a dead client: the sidecar waits, then finds what really happened."""
    ours = copy(deployed)
    project = _project(tmp_path / "ours", ours)
    report = tmp_path / "report.json"
    with _at_the_foreign_key(ours, project) as (deploy, blocker):
        deploy.kill()
        deploy.wait()
        with _sidecar_running(project, SIDECAR_REPORT_FILE=str(report)) as sidecar:
            _until(ours, SIDECAR_TRIES)
            assert sidecar.poll() is None
            blocker.execute(ORPHANS[orphan].end)
            _, log = sidecar.communicate(timeout=PATIENCE_S)
    assert sidecar.returncode == 0, log
    [found] = json.loads(report.read_text())["migrations"]
    assert found["finding"] == ORPHANS[orphan].finding
    assert _content(ours) == clean
    _agrees(project)


def test_killed_deploy_in_a_slow_statement(copy: Copy, deployed: Database, tmp_path: Path) -> None:
    """A sleeping statement outlives its client as well; what stood after it never ran."""
    ours = copy(deployed)
    project = PrismaProject.create(tmp_path / "ours", ours.url(schema=SCHEMA))
    for migration in BEFORE:
        project.write_migration(migration.name, migration.sql)
    slow = "CREATE TABLE momentum.slow AS SELECT pg_sleep(2) IS NULL AS slept"
    project.write_migration(FAILED.name, f"{slow};\nCREATE TABLE momentum.after (id int);\n")
    report = tmp_path / "report.json"
    with _deploying(project) as deploy:
        _until(
            ours,
            "SELECT 1 FROM pg_stat_activity WHERE wait_event = 'PgSleep'"
            " AND datname = current_database()",
        )
        deploy.kill()
        deploy.wait()
        ended = _sidecar(project, "run", SIDECAR_REPORT_FILE=str(report))
    assert ended.code == 0, ended.err
    [found] = json.loads(report.read_text())["migrations"]
    assert [statement["state"] for statement in found["statements"]] == ["applied", "missing"]
    assert ours.execute("SELECT count(*) FROM momentum.slow") == [(1,)]
    _agrees(project)


def test_running_deploy_is_left_alone(
    copy: Copy, deployed: Database, clean: str, tmp_path: Path
) -> None:
    """A migration that is still running looks failed and is not: found running, then healthy."""
    ours = copy(deployed)
    project = _project(tmp_path / "ours", ours)
    with _at_the_foreign_key(ours, project) as (deploy, blocker):
        status = _sidecar(project, "status", "--json")
        [found] = json.loads(status.out)["migrations"]
        assert (status.code, found["finding"]) == (3, "running")
        busy = _sidecar(project, "run", SIDECAR_BUSY_TIMEOUT="100ms")
        assert busy.code == 5, busy.err
        with _sidecar_running(project) as sidecar:
            _until(ours, SIDECAR_TRIES)
            blocker.execute("COMMIT")
            output, _ = deploy.communicate(timeout=PATIENCE_S)
            _, log = sidecar.communicate(timeout=PATIENCE_S)
    assert (deploy.returncode, sidecar.returncode) == (0, 0), (output, log)
    assert json.loads(log.splitlines()[-1])["outcome"] == "healthy"
    assert _content(ours) == clean
    _agrees(project)
