"""Every fault at every step of every kind of plan: whole or untouched, and the next run ends it.

Gates in the database (triggers that ask for an advisory lock named after the statement) hold a
run wherever a test wants it; PostgreSQL shows when it has come there. One test is one row of the
table in docs/faults.md, which it must equal word for word.
"""

from __future__ import annotations

import re
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from psycopg.conninfo import conninfo_to_dict

from sidecar import app
from sidecar.blockers import BlockerWatch
from sidecar.demo import SCHEMA
from sidecar.model import Plan, Step, StepKind
from tests import incident
from tests.command import ROOT, Said, said, shadows
from tests.golden import VARIABLE, WRITES
from tests.incident import BEFORE, FAILED, Migration, Mode
from tests.postgres import (
    LATEST,
    Database,
    Role,
    Server,
    Servers,
    available_majors,
    fresh_database,
)
from tests.running import APPLICATION, Running, settings, start
from tests.tcp_proxy import proxy
from tests.waiting import until

pytestmark = pytest.mark.faults

PAGE = ROOT / "docs" / "faults.md"
LEDGER = f"{SCHEMA}._prisma_migrations"
QUARANTINE = "migration_sidecar_quarantine"

HELD_ON_A_SHADOW = Migration(
    "20251201000000_held",
    """\
DO $$ BEGIN
  IF current_setting('fault.full_at', true) = hashtext('replaying')::text
  THEN RAISE 'No space left on device' USING ERRCODE = 'disk_full'; END IF; WHILE
    current_database() LIKE 'migration_sidecar_shadow_%'
    AND EXISTS (SELECT FROM pg_stat_activity WHERE application_name = 'holder: replaying') LOOP
    PERFORM pg_sleep(0.02), pg_stat_clear_snapshot(); END LOOP; END $$;
""",
)
PAST = (*BEFORE, HELD_ON_A_SHADOW)

GATES = f"""
CREATE FUNCTION public.gate(name text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  IF current_setting('fault.full_at', true) = hashtext(left(name, 100))::text THEN
    RAISE 'No space left on device' USING ERRCODE = 'disk_full'; END IF;
  PERFORM pg_advisory_xact_lock_shared(hashtext(left(name, 100))); END $$;
CREATE FUNCTION public.gate_of_ddl() RETURNS event_trigger LANGUAGE plpgsql AS
$$ BEGIN PERFORM public.gate(current_query()); END $$;
CREATE FUNCTION public.gate_of_ledger() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN PERFORM public.gate(current_query()); RETURN NEW; END $$;
CREATE FUNCTION public.gate_of_commit() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN PERFORM public.gate('COMMIT after ' || tg_op); RETURN NULL; END $$;
CREATE EVENT TRIGGER gate ON ddl_command_start EXECUTE FUNCTION public.gate_of_ddl();
CREATE TRIGGER gate BEFORE INSERT OR UPDATE ON {LEDGER}
  FOR EACH ROW EXECUTE FUNCTION public.gate_of_ledger();
CREATE CONSTRAINT TRIGGER gate_of_commit AFTER INSERT OR UPDATE ON {LEDGER}
  DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION public.gate_of_commit();
"""
"""Every DDL statement, every change of the ledger and every COMMIT goes through a gate."""

INDEXES = Migration(
    "20251220100000_indexes",
    """\
ALTER TABLE "mm_issue" ADD COLUMN "due" DATE;
CREATE INDEX CONCURRENTLY "mm_issue_due_idx" ON "mm_issue" ("due");
ALTER TABLE "mm_issue" ADD COLUMN "closed" DATE;
CREATE UNIQUE INDEX CONCURRENTLY "mm_issue_key" ON "mm_issue" ("id", "title");
COMMENT ON INDEX "mm_issue_due_idx" IS 'by day';
""",
)

ROWS = """
INSERT INTO momentum.mm_board (id, name, created_at) VALUES ('b1', 'Platform', '2025-12-01');
INSERT INTO momentum.mm_issue (board_id, title) SELECT 'b1', 'issue ' || n
  FROM generate_series(1, 3) n;
"""
QUARANTINED = """
INSERT INTO momentum.mm_scheduled_issue (id, board_id, title, next_run_at)
VALUES ('s1', 'b1', 'standup', '2025-12-09');
"""


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of plan: the state it is made for, and the points at which it is stopped."""

    points: tuple[str, ...]
    failed: Migration = FAILED
    statements: int = 0
    mode: Mode = Mode.KILLED
    rows: str = ""
    policy: str = "forward"


SHADOW = ("making the shadow", "replaying")
UPDATE, MARK, INSERT = "UPDATE of the ledger", "mark in the ledger", "INSERT into the ledger"
COMMIT_UPDATE, COMMIT_INSERT = "COMMIT after UPDATE", "COMMIT after INSERT"
SCRIPT = ("CREATE TABLE", "CREATE INDEX", "ALTER TABLE")

KINDS = {
    "resume in one transaction": Kind(
        points=(*SHADOW, *SCRIPT, UPDATE, INSERT, COMMIT_INSERT), statements=1
    ),
    "resume in several": Kind(
        points=(
            "ALTER TABLE",
            MARK,
            COMMIT_UPDATE,
            "CREATE INDEX CONCURRENTLY",
            "ALTER TABLE",
            MARK,
            "CREATE UNIQUE INDEX CONCURRENTLY",
            "COMMENT ON INDEX",
            UPDATE,
            INSERT,
            COMMIT_INSERT,
        ),
        failed=INDEXES,
    ),
    "mark applied": Kind(
        points=(UPDATE, INSERT, COMMIT_INSERT), statements=4, mode=Mode.BATCH_COMMITTED
    ),
    "mark rolled back": Kind(points=(UPDATE, COMMIT_UPDATE), policy="ledger"),
    "rebuild with quarantine": Kind(
        points=(
            "CREATE SCHEMA",
            "ALTER INDEX RENAME",
            "ALTER TABLE RENAME",
            "ALTER TABLE SET SCHEMA",
            "ALTER TYPE RENAME",
            "ALTER TYPE SET SCHEMA",
            "CREATE TYPE",
            *SCRIPT,
            UPDATE,
            INSERT,
            COMMIT_INSERT,
        ),
        statements=2,
        rows=QUARANTINED,
        policy="rebuild",
    ),
}
NO_STEPS = {*SHADOW, COMMIT_UPDATE, COMMIT_INSERT}
POINTS = [(name, number) for name, kind in KINDS.items() for number in range(len(kind.points))]


def point_of(step: Step) -> str:
    """The name of a step in the table."""
    if step.kind is StepKind.MARK:
        return MARK
    if step.kind is StepKind.LEDGER:
        return UPDATE if step.sql.startswith("UPDATE") else INSERT
    (words,) = re.findall(r"^(?:(?!CONCURRENTLY)[A-Z]+\s+)+(?:CONCURRENTLY)?", step.sql)
    done = re.findall(r"RENAME|SET SCHEMA", step.sql) if step.kind is StepKind.QUARANTINE else []
    return " ".join([*words.removesuffix("IF NOT EXISTS ").split(), *done])


# --- the world of a kind ------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Point:
    """A point of a plan, and the name of its gate (of a step: its SQL)."""

    name: str
    gate: str


@dataclass(frozen=True, slots=True)
class State:
    """A database and its ledger, without what differs from run to run."""

    dump: str
    ledger: tuple[tuple[Any, ...], ...]

    @classmethod
    def of(cls, database: Database) -> State:
        """What is there now."""
        query = (
            "SELECT migration_name, checksum, finished_at IS NOT NULL, rolled_back_at IS NOT NULL,"
            f" applied_steps_count FROM {LEDGER} ORDER BY started_at, finished_at"
        )
        dump = database.dump(exclude_tables=(LEDGER,))
        return cls(dump, tuple(database.execute(query)))


@dataclass(frozen=True, slots=True)
class World:
    """The template of a kind's database, its plan, and every state that may be seen of it."""

    kind: Kind
    role: Role
    template: Database
    folder: Path
    steps: tuple[Step, ...]
    untouched: State
    whole: State
    between: tuple[str, ...]

    @contextmanager
    def database(self) -> Iterator[Database]:
        """A fresh copy, which belongs to the role that repairs."""
        with owned(self.template.server, self.role, self.template.name) as database:
            yield database

    def state(self, database: Database) -> str:
        """In words; fails where it is a third: neither untouched, nor whole, nor a step between."""
        now = State.of(database)
        if now == self.untouched:
            return "untouched"
        if now == self.whole:
            return "whole"
        assert now.ledger == self.untouched.ledger
        assert now.dump in self.between
        return f"{self.between.index(now.dump) + 1} of {len(self.between) + 1} statements"

    def environ(self, database: Database, **variables: str) -> dict[str, str]:
        """Settings of a run that has patience."""
        patient = {
            "DATABASE_URL": database.url(
                user=self.role.name, password=self.role.password, schema=SCHEMA
            ),
            "SIDECAR_POLICY": self.kind.policy,
            "SIDECAR_LOCK_TIMEOUT": "60s",
            "SIDECAR_BUSY_TIMEOUT": "60s",
            "SIDECAR_SHADOW": "server",
        }
        return settings(database, self.folder, **patient | variables)

    def point(self, number: int) -> Point:
        """The point of this number: a step of the plan, or a moment before or after them."""
        name = self.kind.points[number]
        if name in NO_STEPS:
            return Point(name, name)
        before = sum(other not in NO_STEPS for other in self.kind.points[:number])
        return Point(name, self.steps[before].sql)

    def run_again(self, database: Database) -> str:
        """What the next run says; afterwards all is as after an undisturbed repair."""
        ended = said(app.run, self.environ(database))
        assert ended.code == 0, ended.what
        self.assert_whole(database)
        return outcome(ended)

    def assert_whole(self, database: Database) -> None:
        """Everything is as after an undisturbed repair, and no shadow is left."""
        assert State.of(database) == self.whole
        assert shadows(database) == []


def outcome(ended: Said) -> str:
    """The report's word for how it ended."""
    assert ended.outcome is not None, ended.what
    return str(ended.outcome.name)


@contextmanager
def owned(server: Server, role: Role, template: str = "template1") -> Iterator[Database]:
    """A fresh database that belongs to the role."""
    with fresh_database(server, template=template) as database:
        server.run_sql(f"ALTER DATABASE {database.name} OWNER TO {role.name}")
        yield database


@dataclass(slots=True)
class Worlds:
    """The worlds by kind, each made when first asked for."""

    server: Server
    path: Path
    stack: ExitStack
    made: dict[str, World] = field(default_factory=dict)

    def __getitem__(self, name: str) -> World:
        if name not in self.made:
            self.made[name] = self._make(KINDS[name])
        return self.made[name]

    def _make(self, kind: Kind) -> World:
        role = self.stack.enter_context(self.server.role(createdb=True))
        template = self.stack.enter_context(owned(self.server, role))
        folder = incident.write_migrations(self.path / role.name, (*PAST, kind.failed))
        self._plant(template, role, kind)
        untouched = State.of(template)
        world = World(kind, role, template, folder, (), untouched, untouched, ())
        with world.database() as copy:
            planned = said(app.inspect, world.environ(copy))
            assert planned.outcome is not None, planned.what
            plan = planned.outcome.migrations[0].decision
            assert isinstance(plan, Plan), planned.what
            ended = said(app.run, world.environ(copy))
            assert (ended.code, outcome(ended)) == (0, "repaired"), ended.what
            whole = State.of(copy)
            if kind.policy != "ledger":
                copy.execute(f"DROP SCHEMA IF EXISTS {QUARANTINE} CASCADE")
                assert State.of(copy).dump == self._clean(role, kind)
        between = self._between(world) if plan.segments[1:] else ()
        return World(kind, role, template, folder, plan.steps, untouched, whole, between)

    def _plant(self, database: Database, role: Role, kind: Kind) -> None:
        with database.server.connect(database.name) as connection:
            connection.execute(f"SET SESSION AUTHORIZATION {role.name}")
            incident.plant(
                connection,
                statements=kind.statements,
                mode=kind.mode,
                before=PAST,
                failed=kind.failed,
            )
        database.execute(ROWS + kind.rows)
        database.execute(GATES)

    def _clean(self, role: Role, kind: Kind) -> str:
        """The dump of a clean run; the rows that were put into quarantine are not in it."""
        with owned(self.server, role) as database:
            with database.server.connect(database.name) as connection:
                connection.execute(f"SET SESSION AUTHORIZATION {role.name}")
                incident.clean_run(connection, (*PAST, kind.failed))
            database.execute(ROWS)
            database.execute(GATES)
            return database.dump(exclude_tables=(LEDGER,))

    def _between(self, world: World) -> tuple[str, ...]:
        """The dumps after each statement of the script but the last."""
        dumps = []
        with world.database() as copy, copy.server.connect(copy.name) as connection:
            connection.execute(f"SET SESSION AUTHORIZATION {world.role.name}")
            for statement in world.kind.failed.statements:
                incident.run(connection, statement, SCHEMA)
                dumps.append(copy.dump(exclude_tables=(LEDGER,)))
        return tuple(dumps[:-1])


@pytest.fixture(scope="module")
def worlds(servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Worlds]:
    """One world for each kind of plan."""
    majors = available_majors()
    server = servers[LATEST if LATEST in majors else majors[-1]]
    with ExitStack() as stack:
        yield Worlds(server, tmp_path_factory.mktemp("migrations"), stack)


# --- the faults ---------------------------------------------------------------------

AT_THE_GATE = """
SELECT pid FROM pg_stat_activity
 WHERE application_name = %s AND usename = %s
   AND (wait_event = 'advisory' OR wait_event_type = 'Lock' AND query LIKE 'CREATE DATABASE%%'
        OR wait_event = 'PgSleep')
"""


@dataclass(frozen=True, slots=True)
class Held:
    """A run that waits at a point."""

    world: World
    database: Database
    running: Running

    def sql(self, query: str, *params: object) -> list[tuple[Any, ...]]:
        """Run it as superuser."""
        return self.database.server.run_sql(query, params or None)

    def let_go(self) -> None:
        """The holder holds no more."""
        self.sql(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE application_name LIKE 'holder%'"
        )

    def terminate(self) -> None:
        """An administrator ends all sessions that the run has now."""
        query = "SELECT pid, pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = %s"
        ended = [pid for pid, _ in self.sql(query, self.world.role.name)]
        until(lambda: not self.sql("SELECT pid FROM pg_stat_activity WHERE pid = ANY(%s)", ended))

    def gone(self) -> bool:
        """Whether no session of the run is left."""
        query = "SELECT pid FROM pg_stat_activity WHERE usename = %s"
        return not self.sql(query, self.world.role.name)

    def repaired(self) -> str:
        """How the same run ends, which must be well."""
        done = self.running.wait()
        assert done.code == 0, done.log
        self.world.assert_whole(self.database)
        assert self.running.logged("starting over")
        return f"starts over: {done.outcome}"


@contextmanager
def holder(database: Database, point: Point) -> Iterator[None]:
    """A session that keeps the gate of this point shut."""
    with closing(database.server.connect(database.name)) as session:
        name = f"holder: {point.gate[:40]}"
        session.execute("SELECT set_config('application_name', %s, false)", [name])
        if point.name == "making the shadow":
            session.execute("BEGIN")
            session.execute("LOCK TABLE pg_database IN SHARE MODE")
        else:
            session.execute("SELECT pg_advisory_lock(hashtext(left(%s, 100)))", [point.gate])
        yield


@contextmanager
def held(world: World, point: Point, *, port: int | None = None) -> Iterator[Held]:
    """A run on a fresh copy, which has come to the point; `port` leads to the server, too."""
    with world.database() as database, holder(database, point):
        environ = world.environ(database)
        direct = f":{database.server.port}/"
        environ["DATABASE_URL"] = environ["DATABASE_URL"].replace(
            direct, f":{port}/" if port else direct
        )
        with start(environ) as running:
            until(lambda: _there(world, running))
            yield Held(world, database, running)


def _there(world: World, running: Running) -> bool:
    assert running.process.poll() is None, running.log
    query = [APPLICATION, world.role.name]
    return bool(world.template.server.run_sql(AT_THE_GATE, query))


def killed(world: World, point: Point) -> str:
    """SIGKILL of the sidecar; the server works on until it sees that nobody listens."""
    with held(world, point) as at:
        at.running.send(signal.SIGKILL)
        at.running.wait()
        at.let_go()
        until(at.gone)
        state = world.state(at.database)
        return f"{state}; next run: {world.run_again(at.database)}"


def terminated(world: World, point: Point) -> str:
    """`pg_terminate_backend` on every session of the run."""
    with held(world, point) as at:
        at.terminate()
        at.let_go()
        return at.repaired()


def crashed(world: World, point: Point) -> str:
    """`pg_ctl stop -m immediate`, and a start."""
    with held(world, point) as at:
        at.database.server.restart("immediate")
        return at.repaired()


def cut(world: World, point: Point) -> str:
    """The network breaks; the server notices only when it has something to say."""
    with proxy(world.template.server.port) as line, held(world, point, port=line.port) as at:
        line.cut()
        at.let_go()
        return at.repaired()


def crowded_out(world: World, point: Point) -> str:
    """The session is ended, and then no connection is to be had for a while (53300)."""
    limit = f"ALTER ROLE {world.role.name} CONNECTION LIMIT"
    with held(world, point) as at:
        try:
            at.sql(f"{limit} 0")
            at.terminate()
            until(lambda: at.running.logged("waiting for PostgreSQL"))
            at.let_go()
        finally:
            at.sql(f"{limit} -1")
        assert "too many connections" in str(at.running.log)
        return at.repaired()


def full(world: World, point: Point) -> str:
    """The statement is refused with 53100, disk_full."""
    if point.name == "making the shadow":
        return "-"  # no gate stands before CREATE DATABASE
    role, name = world.role.name, point.gate[:100]
    sql = world.template.server.run_sql
    [(key,)] = sql("SELECT hashtext(%s)::text", [name])
    with world.database() as database:
        sql(f"ALTER ROLE {role} SET fault.full_at = '{key}'")
        try:
            ended = said(app.run, world.environ(database))
        finally:
            sql(f"ALTER ROLE {role} RESET fault.full_at")
        assert ended.code == 0 or "No space left on device" in ended.what
        assert shadows(database) == []
        state = world.state(database)
        return f"exit {ended.code}, {state}; next run: {world.run_again(database)}"


FAULTS: dict[str, Callable[[World, Point], str]] = {
    "SIGKILL": killed,
    "session terminated": terminated,
    "server crashes": crashed,
    "connection cut": cut,
    "no connection left": crowded_out,
    "disk full": full,
}


# --- the table ----------------------------------------------------------------------


def first_cells(name: str, number: int) -> str:
    """How the row of this point begins."""
    return f"| {name} | {number + 1}. {KINDS[name].points[number]} |"


HEAD = f"| plan | stopped at | {' | '.join(FAULTS)} |\n|{'---|' * (len(FAULTS) + 2)}\n"
TABLE = re.compile(rf"(?<={re.escape(HEAD)})(?:\|.*\n)*")


def rows() -> list[str]:
    """The rows of the table in the page."""
    found = TABLE.search(PAGE.read_text(encoding="utf-8"))
    assert found, f"{PAGE} has no table that begins with\n{HEAD}"
    return found[0].splitlines()


def write(row: str) -> None:
    """Put a row in its place in the page, and take out those that belong to no point."""
    old = [*rows(), row]
    places = [first_cells(name, number) for name, number in POINTS]
    kept = [last[-1] for place in places if (last := [r for r in old if r.startswith(place)])]
    text = PAGE.read_text(encoding="utf-8")
    new = TABLE.sub(lambda _: "".join(f"{row}\n" for row in kept), text)
    PAGE.write_text(new, encoding="utf-8")


@pytest.mark.parametrize(("name", "number"), POINTS)
def test_every_fault_at_this_point(worlds: Worlds, name: str, number: int) -> None:
    """Each fault leaves it untouched, whole, or between two statements that commit alone.

    The next run (or the same, where it survives) ends where an undisturbed one ends. What
    each fault came to is a row of the table in the page.
    """
    point = worlds[name].point(number)
    cells = [fault(worlds[name], point) for fault in FAULTS.values()]
    row = f"{first_cells(name, number)} {' | '.join(cells)} |"
    print(row)  # noqa: T201 (shown with `pytest -rP`)
    if WRITES:
        write(row)
    assert row in rows(), f"accept the new row with {VARIABLE}=1"


@pytest.mark.parametrize("name", KINDS)
def test_the_points_are_the_steps_of_the_plan(worlds: Worlds, name: str) -> None:
    """No step of a plan is left out, so a new one needs its row."""
    points = [point for point in KINDS[name].points if point not in NO_STEPS]
    assert points == [point_of(step) for step in worlds[name].steps]


def test_the_table_has_a_row_for_each_point() -> None:
    """And no other."""
    assert len(rows()) == len(POINTS)
    for row, (name, number) in zip(rows(), POINTS, strict=True):
        assert row.startswith(first_cells(name, number))


# --- what really runs out ---------------------------------------------------------------


def test_no_room_for_sorting(worlds: Worlds) -> None:
    """An index too large for `temp_file_limit`: what is committed is said, and found again."""
    world = worlds["resume in several"]
    alter = f"ALTER ROLE {world.role.name}"
    with world.database() as database:
        more = "SELECT 'b1', repeat(md5(n::text), 4) FROM generate_series(1, 30000) n"
        database.execute(f"INSERT INTO momentum.mm_issue (board_id, title) {more}")
        database.execute(f"{alter} SET temp_file_limit = '64kB'")
        database.execute(f"{alter} SET maintenance_work_mem = '1MB'")
        try:
            ended = said(app.run, world.environ(database))
        finally:
            database.execute(f"{alter} RESET ALL")
        assert (ended.code, "[SQLSTATE 53400]" in ended.what) == (4, True), ended.what
        assert "statements committed by this repair, which stay: 1;" in ended.what
        assert database.execute("SELECT indexrelid FROM pg_index WHERE NOT indisvalid") == []
        assert outcome(said(app.run, world.environ(database))) == "repaired"


def test_no_connection_for_the_shadow(worlds: Worlds) -> None:
    """One connection is to be had, a repair needs two: untouched, and the cause is said."""
    world = worlds["resume in one transaction"]
    limit = f"ALTER ROLE {world.role.name} CONNECTION LIMIT"
    with world.database() as database:
        database.execute(f"{limit} 1")
        try:
            ended = said(app.run, world.environ(database))
        finally:
            database.execute(f"{limit} -1")
        assert (ended.code, ended.finding.name) == (3, "undetermined")
        assert "too many connections" in str(ended.finding.missing)
        assert world.state(database) == "untouched"
        assert world.run_again(database) == "repaired"


def test_the_watch_of_blockers_loses_its_line(latest_database: Database) -> None:
    """Who watches for blockers ends in silence when its session ends: it only watches."""
    name = "watch of blockers"
    conninfo = {**conninfo_to_dict(latest_database.conninfo), "application_name": name}
    ended = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = %s"
    with BlockerWatch({key: str(value) for key, value in conninfo.items()}, 0) as watch:
        until(lambda: latest_database.execute(ended, [name]))
        until(lambda: all(thread.name != "blockers" for thread in threading.enumerate()))
    assert watch.seen() == ()
