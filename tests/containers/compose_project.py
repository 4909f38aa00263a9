"""A user's project: a folder with compose files, `.env` and migrations, and the stack it runs."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import psycopg

from sidecar.demo import DATABASE, SCHEMA, USER
from sidecar.embedded import bundled_bindir
from tests.command import ROOT
from tests.containers.compose import Version, program
from tests.containers.engine import Container, Ended, Engine, command, wait_until
from tests.postgres import Row, normalised, run_sql

PASSWORD = "correct5horse"  # noqa: S105 (of servers that live for one test)
PATIENCE_S = 120.0
POSTGRES, SIDECAR, BACKEND = "postgres_dev", "migration-sidecar", "backend_dev"

OVERRIDE = """\
services:
  postgres_dev: {{labels: ["{label}"]}}
  migration-sidecar: {{labels: ["{label}"]}}
  backend_dev: {{labels: ["{label}"], ports: ["127.0.0.1::3000"]}}
networks:
  default: {{labels: ["{label}"]}}
volumes:
  postgres_dev: {{labels: ["{label}"]}}
"""
"""What the tests add to a stack: their label, and a port on which to ask the backend."""


class State(NamedTuple):
    """What became of a service's container: a word, and when it was last started."""

    word: str
    started_at: str = ""


@dataclass(frozen=True, slots=True)
class Project:
    """One stack. `files` are its compose files, in order."""

    engine: Engine
    version: Version
    folder: Path
    name: str
    files: tuple[str, ...]

    # --- commands ----------------------------------------------------------------------

    def compose(self, *arguments: str) -> Ended:
        """Run a compose command in the folder; its exit code is for the test to judge."""
        return command(*self._words(arguments), check=False, cwd=self.folder)

    @contextmanager
    def started(self, *arguments: str) -> Iterator[subprocess.Popen[str]]:
        """Start a compose command; what is left of it after the block is killed."""
        with subprocess.Popen(
            self._words(arguments),
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        ) as process:
            try:
                yield process
            finally:
                process.kill()

    def _words(self, arguments: Sequence[str]) -> tuple[str, ...]:
        files = (word for file in self.files for word in ("--file", file))
        return (*program(self.version), "--project-name", self.name, *files, *arguments)

    def write(self, name: str, text: str) -> None:
        """Write a file of the project, over an older one if there is one."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def given(self, **variables: str) -> None:
        """Add lines to `.env`, as a user does."""
        with (self.folder / ".env").open("a") as file:
            file.writelines(f"{name}={value}\n" for name, value in variables.items())

    def with_files(self, *files: str) -> Project:
        """The same stack with other compose files."""
        return replace(self, files=files)

    def start_postgres(self) -> None:
        """Start the database alone and wait until it takes connections from the host."""
        ended = self.compose("up", "-d", POSTGRES)
        assert ended.code == 0, ended.said
        self.until_postgres_answers()

    def remove(self) -> None:
        """Kill and delete everything that the project has on the engine."""
        ours = ("--quiet", "--filter", f"label=com.docker.compose.project={self.name}")
        for kind, listed, remove in (
            ("container", ("ls", "--all"), ("rm", "--force", "--volumes")),
            ("network", ("ls",), ("rm",)),
            ("volume", ("ls",), ("rm", "--force")),
        ):
            if names := self.engine.docker(kind, *listed, *ours).out.split():
                self.engine.docker(kind, *remove, *names, check=False)

    # --- containers --------------------------------------------------------------------

    def container(self, service: str, number: int = 1) -> Container | None:
        """The service's container, running or not, if it has one."""
        labels = {
            "project": self.name,
            "service": service,
            "container-number": number,
            "oneoff": "False",  # no `compose run`
        }
        filters = (f"--filter=label=com.docker.compose.{k}={v}" for k, v in labels.items())
        found = self.engine.docker("ps", "--all", "--quiet", *filters).out.split()
        return Container(self.engine, found[0]) if found else None

    def numbered(self, service: str, number: int) -> Container:
        """A container of the service, which is there."""
        container = self.container(service, number)
        assert container, f"{service} has no container {number}"
        return container

    def __getitem__(self, service: str) -> Container:
        """The service's container, which is there."""
        return self.numbered(service, 1)

    def state(self, service: str, number: int = 1) -> State:
        """What became of the service."""
        container = self.container(service, number)
        if container is None:
            return State("not created")
        seen = json.loads(container.inspect("{{json .State}}"))
        words = {"exited": f"exit {seen['ExitCode']}", "created": "never started"}
        return State(words.get(seen["Status"], seen["Status"]), seen["StartedAt"])

    def until(self, service: str, word: str) -> None:
        """Wait until the service is in this state."""
        wait_until(lambda: self.state(service).word == word, timeout_s=PATIENCE_S, every_s=0.5)

    def logs(self, service: str = SIDECAR) -> str:
        """What the service has said since its container was made."""
        return self[service].logs

    # --- answers -----------------------------------------------------------------------

    def port(self, service: str, inside: int, number: int = 1) -> int:
        """The port of the host where it answers now (it may change when it is restarted)."""
        ports = json.loads(
            self.numbered(service, number).inspect("{{json .NetworkSettings.Ports}}")
        )
        return int(ports[f"{inside}/tcp"][0]["HostPort"])

    def ask_backend(self, number: int = 1) -> dict[str, Any]:
        """What the backend answers over HTTP, as soon as it does; fails if it ends before."""
        container, port = self.numbered(BACKEND, number), self.port(BACKEND, 3000, number)

        def answer() -> dict[str, Any] | None:
            with suppress(urllib.error.URLError, ConnectionError):
                address = f"http://127.0.0.1:{port}/"
                with urllib.request.urlopen(address, timeout=5) as response:
                    seen: dict[str, Any] = json.load(response)
                    return seen
            status = container.inspect("{{.State.Status}}")
            assert status == "running", f"the backend: {status}\n{container.logs}"
            return None

        return wait_until(answer, timeout_s=PATIENCE_S, every_s=0.5) or {}

    def conninfo(self, database: str = DATABASE) -> str:
        """The database's address for a person on the host."""
        port = self.port(POSTGRES, 5432)
        return f"host=127.0.0.1 port={port} user={USER} password={PASSWORD} dbname={database}"

    @contextmanager
    def connection(self, database: str = DATABASE) -> Iterator[psycopg.Connection[Row]]:
        """An autocommit connection from the host, for the length of the block."""
        with psycopg.connect(self.conninfo(database), autocommit=True) as connection:
            yield connection

    def execute(self, query: str) -> list[Row]:
        """Run SQL; the rows of the last result, or none."""
        with self.connection() as connection:
            return run_sql(connection, query)

    def until_postgres_answers(self) -> None:
        """Wait until a connection from the host succeeds."""

        def answers() -> bool:
            with suppress(psycopg.OperationalError), self.connection():
                return True
            return False

        wait_until(answers, timeout_s=PATIENCE_S, every_s=0.3)

    def dump(self, database: str = DATABASE, *, data: bool = True) -> str:
        """The whole database as `pg_dump` prints it."""
        options = () if data else ("--schema-only",)
        address = f"--dbname={self.conninfo(database)}"
        return normalised(command(str(bundled_bindir() / "pg_dump"), address, *options).out)

    # --- how it ended ------------------------------------------------------------------

    def seen(self, ended: Ended | None = None, number: int = 1) -> str:
        """One line: the exit code of `up`, and what became of the sidecar and the backend.

        The backend `serves` if it answers over HTTP.
        """
        sidecar = self.state(SIDECAR).word
        if sidecar.startswith("exit"):
            outcomes = re.findall(r" outcome=(\S+)", self.logs())
            sidecar += f" ({outcomes[-1]})" if outcomes else ""
        backend = self.state(BACKEND, number).word
        if backend == "running":
            self.ask_backend(number)
            backend = "serves"
        code = [f"exit {ended.code}"] if ended else []
        return "; ".join([*code, f"sidecar {sidecar}", f"backend {backend}"])


@contextmanager
def project(
    engine: Engine,
    version: Version,
    folder: Path,
    *,
    images: dict[str, str],
    migrations: Path,
    example: Path = ROOT / "compose.example.yml",
) -> Iterator[Project]:
    """A project made from the example as a user makes it; all of it is removed at the end.

    Its database is at some free port of the host, not at 5434: several of them run at once.
    """
    name = engine.name("stack")
    made = Project(engine, version, folder, name, ("compose.yml", "tests.yml"))
    shutil.copy(example, folder / "compose.yml")
    shutil.copytree(migrations, folder / "prisma" / "migrations")
    made.write("tests.yml", OVERRIDE.format(label=engine.label))
    made.given(POSTGRES_PASSWORD=PASSWORD, POSTGRES_PORT="0", **images)
    try:
        yield made
    finally:
        made.remove()


__all__ = ["BACKEND", "PASSWORD", "POSTGRES", "SCHEMA", "SIDECAR", "Project", "State", "project"]
