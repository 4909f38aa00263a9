"""The image's size, speed and memory, as `make bench-image` prints them; exit 1 over a limit.

Times are taken inside a running container, so that the start of a container is in none of
them. The sidecar and the least that any program must do (import psycopg, connect, select)
run in turns, and the figure is the median of the ratios.
"""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from figures import Figure, note_load, table

from tests.containers import images
from tests.containers.engine import Container, Engine, running_engine
from tests.containers.image_server import OWNER, ImageServer, image_server
from tests.containers.images import Target
from tests.incident import Mode, clean_run, plant, write_migrations

PAIRS = 25
STARTS = 9
MEGA = 1_000_000

LOCKED = ("--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges")
TMP = ("--tmpfs", "/tmp")  # noqa: S108 (in the container)

ALTERNATELY = """
import json, os, subprocess, sys, time

FLOOR = [sys.executable, "-c", "import os, psycopg\\n"
         "with psycopg.connect(os.environ['FLOOR_URL']) as c: c.execute('select 1')"]

def measured(command):
    start = time.perf_counter()
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, used = os.wait4(child.pid, 0)
    assert os.waitstatus_to_exitcode(status) == 0, command
    return time.perf_counter() - start, used.ru_maxrss / 1024

print(json.dumps([(*measured(FLOOR), *measured(["migration-sidecar"]))
                  for _ in range(int(sys.argv[1]))]))
"""

SHADOW_STARTS = """
import json, sys, time
import psycopg
from sidecar import embedded

def started():
    start = time.perf_counter()
    with embedded.private_server(using=embedded.installation("/opt/postgres")) as server:
        with psycopg.connect(**server.conninfo()) as connection:
            connection.execute("select 1")
        return time.perf_counter() - start

print(json.dumps([started() for _ in range(int(sys.argv[1]))]))
"""


class Bench(NamedTuple):
    """What everything is measured with."""

    engine: Engine
    server: ImageServer
    slim: str
    embedded: str
    folder: Path

    def options(self) -> tuple[str, ...]:
        """Without rights, on the database, with the migrations."""
        mount = f"{self.folder}:/app/prisma/migrations:ro"
        return self.server.options(*LOCKED, "--volume", mount)


@contextmanager
def running() -> Iterator[Bench]:
    """The bench; everything it made but the images is gone at the end."""
    with running_engine() as engine, tempfile.TemporaryDirectory() as path:
        slim, embedded = (images.sidecar_image(engine, target) for target in Target)
        Path(path).chmod(0o755)
        folder = write_migrations(Path(path, "migrations"))
        with image_server(engine, embedded) as server:
            yield Bench(engine, server, slim, embedded, folder)


def sizes(bench: Bench) -> Iterator[Figure]:
    """Uncompressed, as the engine counts them."""
    tags = (images.base_image(bench.engine), bench.slim, bench.embedded)
    said = bench.engine.docker("image", "inspect", "--format", "{{.Size}}", *tags)
    base, slim, embedded = (int(size) / MEGA for size in said.out.split())
    yield Figure("base", base, "MB")
    yield Figure("slim", slim, "MB")
    yield Figure("slim adds to its base", slim - base, "MB", 40)
    yield Figure("embedded", embedded, "MB")
    yield Figure("embedded adds to slim", embedded - slim, "MB")


def healthy(bench: Bench) -> Iterator[Figure]:
    """The run that finds nothing to do, beside the least that any program must do."""
    with bench.server.connect(user=OWNER) as connection:
        clean_run(connection)
    floor_url = bench.server.url().partition("?")[0]
    options = (*bench.options(), "--env", f"FLOOR_URL={floor_url}", "--entrypoint", "sleep")
    with bench.engine.container(bench.slim, "infinity", options=options) as container:
        asked(container, ALTERNATELY, 3)  # warms the page cache
        rounds = asked(container, ALTERNATELY, PAIRS)
    yield Figure("psycopg: import, connect, select 1", ms(row[0] for row in rounds), "ms")
    yield Figure("healthy run", ms(row[2] for row in rounds), "ms")
    ratio = statistics.median(row[2] / row[0] for row in rounds)
    yield Figure("healthy run / psycopg", ratio, "x", 1.3)
    yield Figure("healthy run, peak memory", max(row[3] for row in rounds), "MiB", 70)


def repair(bench: Bench) -> Iterator[Figure]:
    """The incident, repaired by a role that may create its shadow."""
    with bench.server.connect() as connection:
        connection.execute(f"DROP SCHEMA momentum CASCADE; ALTER ROLE {OWNER} CREATEDB")
    with bench.server.connect(user=OWNER) as connection:
        plant(connection, statements=1, mode=Mode.KILLED)
    options = (
        *bench.options(),
        "--env",
        f"FLOOR_URL={bench.server.url().partition('?')[0]}",
        "--entrypoint",
        "sleep",
    )
    with bench.engine.container(bench.slim, "infinity", options=options) as container:
        ((_, _, _, memory),) = asked(container, ALTERNATELY, 1)
    yield Figure("repair of the incident, peak memory", memory, "MiB", 70)


def shadow(bench: Bench) -> Iterator[Figure]:
    """From nothing to an answer of the private server, in an account without a name."""
    options = (*LOCKED, *TMP, "--user", "1234567", "--network", "none", "--entrypoint", "sleep")
    with bench.engine.container(bench.embedded, "infinity", options=options) as container:
        starts = asked(container, SHADOW_STARTS, STARTS)
    yield Figure("private shadow is up", statistics.median(starts), "s", 0.6)


def asked(container: Container, program: str, times: int) -> Any:
    """What a Python program in the container prints as JSON."""
    return json.loads(container.exec("python", "-c", program, str(times)).out)


def ms(seconds: Iterator[float]) -> float:
    """Their median in milliseconds."""
    return statistics.median(seconds) * 1000


def main() -> int:
    """Measure everything and print the table; 1 where a limit is missed."""
    note_load()
    with running() as bench:
        parts = (sizes, healthy, repair, shadow)
        return table(figure for part in parts for figure in part(bench))


if __name__ == "__main__":
    sys.exit(main())
