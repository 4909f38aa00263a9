"""A real PgBouncer before a test's server, where the machine has one (CI must)."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg

from tests.postgres import PASSWORD, Database
from tests.waiting import until

REQUIRED = bool(os.environ.get("CI"))

_SETTINGS = """\
[databases]
* = host={host} port={port}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {own_port}
unix_socket_dir =
auth_type = plain
auth_file = {users}
pool_mode = {mode}
{user}
"""


def program() -> str | None:
    """Where PgBouncer is; Debian keeps it out of the PATH of ordinary users."""
    return shutil.which("pgbouncer", path=f"{os.environ['PATH']}:/usr/sbin")


@contextmanager
def pgbouncer(database: Database, mode: str) -> Iterator[str]:
    """The URL that leads to the database through a pooler in that mode."""
    found = program()
    assert found, "pgbouncer is not installed"
    with tempfile.TemporaryDirectory(prefix="sidecar-bouncer-") as home, socket.socket() as probe:
        Path(home).chmod(0o755)
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
        probe.close()
        users = Path(home) / "users"
        users.write_text(f'"postgres" "{PASSWORD}"\n')
        given = Path(home) / "pgbouncer.ini"
        given.write_text(
            _SETTINGS.format(
                host=database.server.host,
                port=database.server.port,
                own_port=port,
                users=users,
                mode=mode,
                user="user = nobody" if os.geteuid() == 0 else "",
            )
        )
        with subprocess.Popen([found, "-q", str(given)]) as process:
            try:
                url = database.url().replace(f":{database.server.port}/", f":{port}/")
                until(lambda: _answers(url))
                yield url
            finally:
                process.kill()


def _answers(url: str) -> bool:
    try:
        psycopg.connect(url).close()
    except psycopg.OperationalError:
        return False
    return True
