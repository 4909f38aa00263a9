"""The program as its users meet it: the command in a process, or the same thing in this one.

A `Scene` is a database, a migrations folder and the settings; tests plant a situation in it
and then either start the command (exit codes, output, signals) or call the application with
the same settings (about ten times faster; the boundary in `cli` is left out).
"""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from sidecar import app
from sidecar.config import Config, load
from sidecar.errors import SidecarError
from sidecar.log import Log
from sidecar.model import Finding, Outcome
from sidecar.opening import World
from tests.incident import Migration, Mode, plant, write_migrations
from tests.postgres import Database, Role

ROOT = Path(__file__).parents[1]
QUICK = {"SIDECAR_WAIT_TIMEOUT": "10s", "SIDECAR_LOGIN_GRACE": "0s", "SIDECAR_BUSY_TIMEOUT": "1s"}
Command = Callable[[Config, World], Outcome]


class Ended(NamedTuple):
    """A process that ended: exit code, standard output, standard error."""

    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[dict[str, Any]]:
        """The log lines, which off a terminal are JSON one by one."""
        return [json.loads(line) for line in self.err.splitlines()]


class Said(NamedTuple):
    """How a run in this process ended; `outcome` is None where an error ended it."""

    code: int
    what: str
    next_steps: tuple[str, ...]
    log: str
    outcome: Outcome | None

    @property
    def finding(self) -> Finding:
        """The finding on the only failed migration."""
        assert self.outcome is not None, self.what
        (migration,) = self.outcome.migrations
        return migration.finding

    @property
    def warnings(self) -> tuple[str, ...]:
        """What the run warned of."""
        assert self.outcome is not None, self.what
        return self.outcome.warnings


@dataclass(frozen=True, slots=True)
class Scene:
    """A database, its migrations folder and the environment of the program."""

    database: Database
    folder: Path
    environ: dict[str, str] = field(default_factory=dict)

    def plant(
        self,
        statements: int,
        failed: Migration,
        *before: Migration,
        mode: Mode = Mode.KILLED,
        schema: str = "public",
        role: Role | None = None,
    ) -> str:
        """Write the folder and leave the database after so many statements of `failed`.

        What is made belongs to `role`, or else to the superuser.
        """
        write_migrations(self.folder, (*before, failed))
        with self.database.connect() as connection:
            connection.execute(f"SET SESSION AUTHORIZATION {role.name if role else 'DEFAULT'}")
            return plant(
                connection,
                statements=statements,
                mode=mode,
                before=before,
                failed=failed,
                schema=schema,
            )

    def given(self, **variables: str) -> dict[str, str]:
        """The settings: quick timeouts, this database and folder, then `variables`."""
        own = {
            "DATABASE_URL": self.database.url(schema="public"),
            "SIDECAR_MIGRATIONS_DIR": str(self.folder),
        }
        return {**QUICK, **own, **self.environ, **variables}

    def command(self, *arguments: str, **variables: str) -> Ended:
        """Start the real command and wait for its end."""
        return command(*arguments, environ=self.given(**variables))

    def run(self, do: Command = app.run, /, **variables: str) -> Said:
        """Do the same as a command, in this process."""
        return said(do, self.given(**variables))

    def status(self, **variables: str) -> Said:
        """What `status` finds."""
        return self.run(app.inspect, **variables)


def command(*arguments: str, environ: Mapping[str, str], program: str = "") -> Ended:
    """Run `migration-sidecar` in a process of its own, with this environment alone.

    `program` is Python to run in its place: one that breaks something, then calls `main`.
    """
    how = ("-c", program) if program else ("-m", "sidecar")
    done = subprocess.run(
        [sys.executable, *how, *arguments],
        env=process_environ(environ),
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    return Ended(done.returncode, done.stdout, done.stderr)


def process_environ(environ: Mapping[str, str]) -> dict[str, str]:
    """What a process needs from the machine, and the settings."""
    return {"PATH": os.environ["PATH"], "PYTHONUTF8": "1", **environ}


def config_of(environ: Mapping[str, str]) -> Config:
    """The settings as the command would read them."""
    return load({}, environ, read_text=lambda path: Path(path).read_text(encoding="utf-8"))


def said(
    do: Command, environ: Mapping[str, str], *, sleep: Callable[[float], None] = time.sleep
) -> Said:
    """Do it in this process and say how it ended; `sleep` may do something meanwhile."""
    stream = io.StringIO()
    log = Log(stream, log_format="json", level="debug")
    world = World(clock=time.monotonic, sleep=sleep, log=log)
    try:
        outcome = do(config_of(environ), world)
    except SidecarError as error:
        return Said(
            int(error.exit_code), error.what, error.next_steps, stream.getvalue(), outcome=None
        )
    steps = outcome.next_steps
    return Said(int(outcome.exit_code), outcome.summary, steps, stream.getvalue(), outcome)


@contextmanager
def unchanged(database: Database) -> Iterator[None]:
    """Assert that the block leaves the whole database, rows and all, as it was."""
    before = database.dump()
    yield
    assert database.dump() == before


def shadows(database: Database) -> list[str]:
    """The shadow databases on its server which were made for it."""
    oid = database.execute("SELECT oid FROM pg_database WHERE datname = current_database()")[0][0]
    rows = database.execute(
        "SELECT datname FROM pg_database WHERE starts_with(datname, %s)",
        [f"migration_sidecar_shadow_{oid}_"],
    )
    return [row[0] for row in rows]
