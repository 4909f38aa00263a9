"""Speed and size, as `make bench` prints them: one table, exit code 1 where a limit is missed.

Times are compared, not stated: what is measured and what it is measured against run in turns
(A B A B ...), and the figure is the median of the ratios, so that a slow or busy machine
changes little. Where a requirement is in seconds or megabytes it is measured as that.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from figures import Figure, note_load, table

from sidecar import db, snapshot
from sidecar.embedded import bundled_bindir
from tests import incident
from tests.incident import Migration
from tests.postgres import PASSWORD, Database, Server, fresh_database, running_server
from tests.prisma_cli import PrismaProject, batch_deploy

POSTGRESQL = 17
SCHEMA = "public"
COMMAND = Path(sys.executable).with_name("migration-sidecar")


# --- scenes: a database and a migrations folder --------------------------------------


@dataclass(frozen=True, slots=True)
class Scene:
    """A database with a history and its folder, in a Prisma project where one is needed."""

    database: Database
    folder: Path

    @property
    def environ(self) -> dict[str, str]:
        """The whole environment of the measured programs."""
        return {
            "PATH": os.environ["PATH"],
            "DATABASE_URL": self.database.url(schema=SCHEMA),
            "SIDECAR_MIGRATIONS_DIR": str(self.folder),
        }

    def sidecar(self, *arguments: str, code: int = 0) -> str:
        """Run the command to its end, which must be this exit code; its standard output."""
        done = subprocess.run(
            [COMMAND, *arguments], env=self.environ, capture_output=True, text=True, check=False
        )
        if done.returncode != code:
            raise SystemExit(f"{arguments} ended with {done.returncode}: {done.stderr}")
        return done.stdout

    def diagnose(self) -> dict[str, Any]:
        """`status --json` of the one failed migration; raises where the finding is not known."""
        report = json.loads(self.sidecar("status", "--json", code=3))
        (found,) = report["migrations"]
        assert found["finding"] == "partly-applied", found
        return dict(found)


@dataclass(frozen=True, slots=True)
class Bench:
    """A directory and a server, for the length of the bench."""

    path: Path
    server: Server

    @contextmanager
    def scene(
        self,
        history: tuple[Migration, ...],
        failed: Migration | None = None,
        *,
        applied: int = 0,
        before: str = "",
    ) -> Iterator[Scene]:
        """A scene whose history is deployed, and of `failed` the first statements.

        `before` is SQL that runs between the two.
        """
        folder = Path(tempfile.mkdtemp(dir=self.path)) / "migrations"
        incident.write_migrations(folder, (*history, *((failed,) if failed else ())))
        with fresh_database(self.server) as database, database.connect() as connection:
            incident.create_ledger(connection, SCHEMA)
            for migration in history:
                batch_deploy(connection, migration.name, migration.sql, schema=SCHEMA)
            if before:
                connection.execute(before)
            if failed:
                incident.start(connection, failed, SCHEMA)
                for statement in failed.statements[:applied]:
                    connection.execute(statement)
            connection.execute("VACUUM ANALYZE")
            yield Scene(database, folder)


@contextmanager
def running() -> Iterator[Bench]:
    """The bench; everything it made is gone at the end."""
    with (
        tempfile.TemporaryDirectory() as path,
        running_server(POSTGRESQL) as server,
    ):
        server.restart(fsync="on", max_wal_size="1GB", shared_buffers="128MB", log_connections="on")
        yield Bench(Path(path), server)


def history(length: int) -> tuple[Migration, ...]:
    """Migrations of three statements each, as `prisma migrate dev` writes them."""
    return tuple(Migration(f"2025{n:010}_step", _script(n)) for n in range(length))


def _script(number: int) -> str:
    columns = "".join(f'    "c{n}" TEXT,\n' for n in range(6))
    reference = f"t{max(0, number - 1)}"
    return (
        f'-- CreateTable\nCREATE TABLE "t{number}" (\n    "id" SERIAL NOT NULL,\n'
        f'    "parent_id" INTEGER NOT NULL,\n{columns}\n'
        f'    CONSTRAINT "t{number}_pkey" PRIMARY KEY ("id")\n);\n\n'
        f'-- CreateIndex\nCREATE INDEX "t{number}_parent_id_idx" ON "t{number}"("parent_id");\n\n'
        f'-- AddForeignKey\nALTER TABLE "t{number}" ADD CONSTRAINT "t{number}_parent_id_fkey" '
        f'FOREIGN KEY ("parent_id") REFERENCES "{reference}"("id");\n'
    )


FAILED = Migration(
    "20990101000000_failed",
    "CREATE TYPE \"mood\" AS ENUM ('good', 'bad');\n"
    'ALTER TABLE "t0" ADD COLUMN "mood" "mood";\n'
    'CREATE INDEX "t0_mood_idx" ON "t0"("mood");\n'
    'ALTER TABLE "t0" ADD CONSTRAINT "t0_c1_check" CHECK ("c1" <> \'\');\n',
)


# --- measuring ----------------------------------------------------------------------


def seconds(work: Callable[[], object]) -> float:
    """How long the work takes."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def in_turns(*works: Callable[[], object], times: int) -> list[tuple[float, ...]]:
    """Seconds of each work, measured in turns after one round that does not count."""
    for work in works:
        work()
    return [tuple(seconds(work) for work in works) for _ in range(times)]


def ratio(rounds: Sequence[tuple[float, ...]], *, of: int = 0, to: int = 1) -> float:
    """The median over the rounds of one work's time by another's."""
    return statistics.median(times[of] / times[to] for times in rounds)


def start(*command: str | Path, environ: dict[str, str]) -> None:
    """Run a program to its end; it must succeed."""
    subprocess.run(command, env=environ, check=True, capture_output=True)


# --- the figures --------------------------------------------------------------------


def healthy(bench: Bench) -> Iterator[Figure]:
    """A start with nothing to repair: against the least that any client of PostgreSQL does."""
    with bench.scene(history(100)) as scene:
        url = scene.database.url()
        least = f"import psycopg; psycopg.connect({url!r}).execute('select 1')"
        rounds = in_turns(
            lambda: scene.sidecar("run"),
            lambda: start(sys.executable, "-c", least, environ=scene.environ),
            times=30,
        )
        yield Figure("healthy run / psycopg, connect, select 1", ratio(rounds), "x", 1.3)
        yield Figure("healthy run: peak memory", _peak_memory_mb(scene), "MB", 70)
        yield Figure("healthy run: connections", _connections(bench.server, scene), "", 1)


def halted(bench: Bench) -> Iterator[Figure]:
    """A run which needs a person, against a healthy one: what each restart of a pod costs."""
    migrations = history(100)
    by_hand = "ALTER TYPE \"mood\" ADD VALUE 'ugly'"
    with (
        bench.scene(migrations) as well,
        bench.scene(migrations, FAILED, applied=1) as failed,
    ):
        failed.database.execute(by_hand)
        before = _wal_bytes(bench.server)
        rounds = in_turns(
            lambda: failed.sidecar("run", code=3),
            lambda: well.sidecar("run"),
            times=10,
        )
        written = (_wal_bytes(bench.server) - before) / len(rounds) / 1024**2
        yield Figure("halted run / healthy run", ratio(rounds), "x")
        yield Figure("halted run: WAL, for the shadow", written, "MB")


def _wal_bytes(server: Server) -> int:
    return int(server.run_sql("SELECT pg_current_wal_lsn() - '0/0'")[0][0])


_LAUNCHER = """
import os, sys
child = os.posix_spawn(sys.argv[1], sys.argv[1:], os.environ)
_, status, usage = os.wait4(child, 0)
print(usage.ru_maxrss)
sys.exit(os.waitstatus_to_exitcode(status))
"""
"""A child's peak counts what its parent held when it was made: so from a small parent."""


def _peak_memory_mb(scene: Scene) -> float:
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", _LAUNCHER, COMMAND, "run"],
        env=scene.environ,
        check=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    unit = 1024**2 if sys.platform == "darwin" else 1024
    return int(done.stdout.splitlines()[-1]) / unit


def _connections(server: Server, scene: Scene) -> int:
    before = server.log.count("connection received")
    scene.sidecar("run")
    return server.log.count("connection received") - before


def healthy_beside_prisma(bench: Bench) -> Iterator[Figure]:
    """A start with nothing to repair, against `prisma migrate deploy` with nothing to deploy."""
    migrations = history(100)
    with bench.scene(migrations) as scene:
        project = PrismaProject.create(bench.path / "app", scene.database.url(schema=SCHEMA))
        for migration in migrations:
            project.write_migration(migration.name, migration.sql)

        def deploy() -> None:
            exit_code, output = project.deploy()
            assert exit_code == 0, output
            assert "No pending migrations" in output, output

        rounds = in_turns(deploy, lambda: scene.sidecar("run"), times=7)
        name = "prisma migrate deploy / healthy run"
        yield Figure(name, ratio(rounds), "x", 3, at_least=True)


def diagnosis(bench: Bench) -> Iterator[Figure]:
    """A finding after 300 migrations, against psql replaying the same files.

    psql's database is made for its turn, not timed, as the shadow is for ours: on some file
    systems files are dearer where others were just removed, and that must meet both alike.
    """
    migrations = history(300)

    def turn(scene: Scene) -> tuple[float, float]:
        bench.server.run_sql("CHECKPOINT")  # what others wrote is not ours to flush
        ours = seconds(scene.diagnose)
        with fresh_database(bench.server) as fresh:
            return ours, seconds(lambda: _psql(scene, fresh, migrations))

    with bench.scene(migrations, FAILED, applied=2) as scene:
        turn(scene)
        rounds = [turn(scene) for _ in range(5)]
    yield Figure("diagnosis after 300 migrations / psql -f", ratio(rounds), "x", 2)
    yield Figure("  diagnosis", statistics.median(ours for ours, _ in rounds), "s")
    yield Figure("  psql -f", statistics.median(psql for _, psql in rounds), "s")


def _psql(scene: Scene, database: Database, migrations: tuple[Migration, ...]) -> None:
    files = (("-f", scene.folder / m.name / "migration.sql") for m in migrations)
    start(
        bundled_bindir() / "psql",
        *("-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", database.url()),
        *(word for pair in files for word in pair),
        environ={"PATH": os.environ["PATH"], "PGPASSWORD": PASSWORD},
    )


def one_snapshot(bench: Bench) -> Iterator[Figure]:
    """The whole catalog once, at 100 tables of 10 columns, 3 indexes and 2 foreign keys each."""
    with fresh_database(bench.server) as database, database.connect() as connection:
        for number in range(100):
            connection.execute(_wide_table(number))
        first = statistics.median(_snapshots_s(database, 1)[0] for _ in range(9))
        later = statistics.median(_snapshots_s(database, 22)[1:])
        yield Figure("one snapshot at 100 tables", 1000 * later, "ms", 30)
        yield Figure("  the first of a session", 1000 * first, "ms")


def _wide_table(number: int) -> str:
    columns = ", ".join(f"c{n} integer DEFAULT 0" for n in range(7))
    keys = "".join(
        f"ALTER TABLE w{number} ADD CONSTRAINT w{number}_{end} FOREIGN KEY ({end}_id)"
        f" REFERENCES w{max(0, number - 1)};\n"
        for end in ("a", "b")
    )
    indexes = "".join(f"CREATE INDEX w{number}_i{n} ON w{number} (c{n});\n" for n in range(2))
    return (
        f"CREATE TABLE w{number} (id serial PRIMARY KEY, a_id int, b_id int, {columns});\n"
        + indexes
        + keys
    )


def _snapshots_s(database: Database, times: int) -> list[float]:
    """Seconds of each snapshot of a new session; the first finds its caches cold and no plan."""
    session = db.connect({"conninfo": database.conninfo})
    try:
        version = session.server_version
        return [
            seconds(lambda: snapshot.read(session, server_version=version)) for _ in range(times)
        ]
    finally:
        session.close()


def growth_with_history(bench: Bench) -> Iterator[Figure]:
    """What one more migration costs, late in a long history against early in it."""
    lengths = (100, 200, 400)
    with ExitStack() as stack:
        scenes = [
            stack.enter_context(bench.scene(history(length), FAILED, applied=2))
            for length in lengths
        ]
        rounds = in_turns(*(scene.diagnose for scene in scenes), times=5)
    short, middle, long = (statistics.median(column) for column in zip(*rounds, strict=True))
    early = (middle - short) / (lengths[1] - lengths[0])
    late = (long - middle) / (lengths[2] - lengths[1])
    yield Figure("a migration more: 200 to 400 / 100 to 200", late / early, "x", 1.5)


def independence_of_rows(bench: Bench) -> Iterator[Figure]:
    """A finding where the touched table holds a million rows, against an empty one."""
    rows = (
        "ALTER TABLE t0 DISABLE TRIGGER ALL;"
        "INSERT INTO t0 (parent_id, c1) SELECT n, 'x' FROM generate_series(1, 1000000) n;"
        "ALTER TABLE t0 ENABLE TRIGGER ALL"
    )
    with (
        bench.scene(history(20), FAILED, applied=2, before=rows) as full,
        bench.scene(history(20), FAILED, applied=2) as empty,
    ):
        rounds = in_turns(full.diagnose, empty.diagnose, times=9)
        yield Figure("diagnosis: 1,000,000 rows / no rows", ratio(rounds), "x", 1.2)


def independence_of_tables(bench: Bench) -> Iterator[Figure]:
    """50 statements in a schema of 4,000 tables that they do not touch but for 50."""
    tables = [_wide_table(number) for number in range(4000)]
    migrations = tuple(
        Migration(f"2025{n:010}_tables", "".join(tables[n : n + 50])) for n in range(0, 4000, 50)
    )
    changes = "".join(f"ALTER TABLE w{80 * n} ADD COLUMN extra text;\n" for n in range(50))
    failed = Migration(FAILED.name, changes)
    with bench.scene(migrations, failed, applied=25) as scene:
        scene.database.execute("VACUUM ANALYZE")  # a live database had weeks for that
        bench.server.run_sql("CHECKPOINT")
        yield Figure("50 statements at 4,000 tables", seconds(scene.diagnose), "s", 15)
        yield Figure(
            "  one snapshot there", statistics.median(_snapshots_s(scene.database, 4)[1:]), "s"
        )


FIGURES = (
    healthy,
    healthy_beside_prisma,
    halted,
    diagnosis,
    one_snapshot,
    growth_with_history,
    independence_of_rows,
    independence_of_tables,
)


def main() -> int:
    """Measure and print everything, or the figures named as arguments; 1 if a limit is missed."""
    wanted = [measure for measure in FIGURES if measure.__name__ in sys.argv[1:]] or FIGURES
    note_load()
    with running() as bench:
        return table(figure for measure in wanted for figure in measure(bench))


if __name__ == "__main__":
    sys.exit(main())
