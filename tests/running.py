"""The command as a process that a test watches, signals and kills; and conditions to wait for.

Nothing here sleeps for a guessed time: a test waits until PostgreSQL or the log shows that
the process has come to the point which the test is about.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from sidecar.demo import SCHEMA
from tests.command import ROOT, process_environ
from tests.postgres import Database
from tests.waiting import until

APPLICATION = "migration-sidecar"
"""The application_name of the program's sessions."""

_PATIENCE_S = 60.0

_AT = """
SELECT count(*)::int FROM pg_stat_activity
 WHERE application_name = %s AND query LIKE %s
   AND (wait_event_type IN ('Lock', 'Timeout') OR state = 'idle' AND query LIKE '%%try_advisory%%')
"""
"""Prisma's lock is polled, so there the session is idle between two tries."""


class Done(NamedTuple):
    """A run that ended: its exit code, its log lines and its report, if it wrote one."""

    code: int
    log: list[dict[str, Any]]
    report: dict[str, Any]

    @property
    def outcome(self) -> str:
        """The report's word for how it ended."""
        return str(self.report["outcome"])

    @property
    def summary(self) -> str:
        """The report's sentence."""
        return str(self.report["summary"])


@dataclass(frozen=True, slots=True)
class Running:
    """A run in progress; `home` holds its log and its report."""

    process: subprocess.Popen[bytes]
    home: Path

    @property
    def log(self) -> list[dict[str, Any]]:
        """The lines it has written so far."""
        text = (self.home / "log").read_text(encoding="utf-8")
        return [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]

    def logged(self, event: str) -> bool:
        """Whether such a line is there already."""
        return any(line["event"] == event for line in self.log)

    def send(self, signum: signal.Signals) -> None:
        """Send it a signal."""
        self.process.send_signal(signum)

    def wait(self, timeout_s: float = _PATIENCE_S) -> Done:
        """Its end; fails where that takes longer."""
        code = self.process.wait(timeout_s)
        report = self.home / "report.json"
        return Done(code, self.log, json.loads(report.read_bytes()) if report.exists() else {})


def settings(database: Database, folder: Path, **variables: str) -> dict[str, str]:
    """The program's environment for this database and migrations folder, then `variables`."""
    own = {
        "DATABASE_URL": database.url(schema=SCHEMA),
        "SIDECAR_MIGRATIONS_DIR": str(folder),
    }
    return own | variables


@contextmanager
def start(environ: Mapping[str, str]) -> Iterator[Running]:
    """`migration-sidecar run`, started; what is left of it at the end is killed."""
    with tempfile.TemporaryDirectory(prefix="sidecar-run-") as home:
        report = {"SIDECAR_REPORT_FILE": str(Path(home) / "report.json")}
        with (Path(home) / "log").open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "sidecar", "run"],
                env=process_environ(report | dict(environ)),
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=log,
            )
        try:
            yield Running(process, Path(home))
        finally:
            process.kill()
            process.wait()


def run(environ: Mapping[str, str]) -> Done:
    """`migration-sidecar run` from start to end."""
    with start(environ) as running:
        return running.wait()


def until_at(database: Database, query: str, *, runs: int = 1) -> None:
    """Wait until so many runs are kept waiting in a query like this one (LIKE)."""
    until(lambda: database.server.run_sql(_AT, [APPLICATION, query])[0][0] == runs)
