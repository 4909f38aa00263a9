"""The driver behind its one door."""

from __future__ import annotations

import subprocess
import sys

from tests.command import ROOT, process_environ


def test_the_driver_does_not_speak() -> None:
    """Standard error is our log, line by line; a warning of the driver would be in between."""
    speaks = "import logging, sidecar.db; logging.getLogger('psycopg').warning('it broke')"
    done = subprocess.run(
        [sys.executable, "-c", speaks],
        cwd=ROOT,
        env=process_environ({}),
        capture_output=True,
        check=True,
    )
    assert done.stderr == b""
