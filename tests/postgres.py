"""Real PostgreSQL servers for the tests: children of the test run, gone with it.

Versions 13 to 18 come from npm (tests/node.py); where node is missing only the server of
the extra `embedded` is there. `pg_dump` is the extra's and reads all of them.
"""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import tempfile
import uuid
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote, urlencode

import psycopg
from psycopg import sql
from psycopg.conninfo import make_conninfo

from sidecar.cluster import Cluster
from sidecar.embedded import bundled_bindir
from tests import node

ALL_MAJORS = (13, 15, 17, 18)
BUNDLED_MAJOR = 18
LATEST = 17
PASSWORD = "correct horse"  # noqa: S105 (of a server that lives for a minute on loopback)

SETTINGS = {
    "fsync": "off",  # the machine does not crash; a server that does loses nothing by it
    "listen_addresses": "127.0.0.1",
    "log_line_prefix": "%m [%p] %q%u@%d ",
    "max_connections": "60",
    "password_encryption": "scram-sha-256",
    "shared_buffers": "32MB",
}

STOP_SIGNALS = {
    "smart": signal.SIGTERM,
    "fast": signal.SIGINT,
    "immediate": signal.SIGQUIT,
}

Row = tuple[Any, ...]


_SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 (a directory of mode 0700 is made in it)


def available_majors() -> tuple[int, ...]:
    """The versions that tests can run on here, oldest first."""
    return node.postgres_majors() if node.is_present() else (BUNDLED_MAJOR,)


def bindir(major: int) -> Path:
    """Where that version's binaries are."""
    return node.postgres_bindir(major) if node.is_present() else bundled_bindir()


class Role(NamedTuple):
    """A login of a test's own."""

    name: str
    password: str


@dataclass(slots=True)
class Server:
    """One real server: superuser `postgres`, trusted on its socket, SCRAM over TCP."""

    cluster: Cluster
    settings: dict[str, str]
    process: subprocess.Popen[bytes] | None = None

    @property
    def major(self) -> int:
        return self.cluster.major

    @property
    def host(self) -> str:
        return "127.0.0.1"

    @property
    def port(self) -> int:
        return self.cluster.port

    @property
    def socket_dir(self) -> Path:
        return self.cluster.home

    @property
    def log(self) -> str:
        """Everything the server has logged so far."""
        return self.cluster.log.read_text(errors="replace")

    def start(self, **settings: str) -> None:
        """Start it and wait until it accepts connections; `settings` count for this start."""
        self.process = self.cluster.start(self.settings | settings)

    def stop(self, mode: str = "fast") -> None:
        """Stop it and wait; `mode` is pg_ctl's: smart, fast or immediate."""
        if self.process:
            self.cluster.stop(self.process, STOP_SIGNALS[mode])
        self.process = None

    def restart(self, mode: str = "fast", **settings: str) -> None:
        """Stop it and start it on the same port."""
        self.stop(mode)
        self.start(**settings)

    def conninfo(self, database: str = "postgres", **more: str) -> str:
        """A superuser's libpq connection string over the socket."""
        return make_conninfo(
            host=str(self.socket_dir), port=self.port, user="postgres", dbname=database, **more
        )

    def connect(self, database: str = "postgres", **more: str) -> psycopg.Connection[Row]:
        """An autocommit superuser connection; the caller closes it."""
        return psycopg.connect(self.conninfo(database, **more), autocommit=True)

    def run_sql(
        self, query: str, params: Sequence[Any] | None = None, *, database: str = "postgres"
    ) -> list[Row]:
        """Run it as superuser in autocommit; the rows of the last result, or none."""
        with self.connect(database) as connection:
            return run_sql(connection, query, params)

    @contextmanager
    def role(self, *, createdb: bool = False, superuser: bool = False) -> Iterator[Role]:
        """A login role with a password; what it owns in `postgres` goes with it."""
        role = Role(f"role_{uuid.uuid4().hex[:12]}", uuid.uuid4().hex)
        name = sql.Identifier(role.name)
        options = f"{'' if createdb else 'NO'}CREATEDB {'' if superuser else 'NO'}SUPERUSER"
        create = sql.SQL("CREATE ROLE {} LOGIN PASSWORD {} " + options)
        with self.connect() as connection:
            connection.execute(create.format(name, sql.Literal(role.password)))
        try:
            yield role
        finally:
            with self.connect() as connection:
                connection.execute(sql.SQL("DROP OWNED BY {} CASCADE").format(name))
                connection.execute(sql.SQL("DROP ROLE {}").format(name))


@dataclass(slots=True)
class Database:
    """A fresh database of a test's own, dropped when the test ends, whoever is in it."""

    server: Server
    name: str
    resources: ExitStack = field(default_factory=ExitStack)

    @property
    def conninfo(self) -> str:
        """A superuser's libpq connection string over the socket."""
        return self.server.conninfo(self.name)

    def url(
        self,
        *,
        user: str = "postgres",
        password: str = PASSWORD,
        schema: str | None = None,
        **parameters: str,
    ) -> str:
        """A connection URL as Prisma writes it, over TCP and with a password."""
        query = urlencode(({"schema": schema} if schema else {}) | parameters, quote_via=quote)
        login = f"{quote(user, safe='')}:{quote(password, safe='')}"
        address = f"{self.server.host}:{self.server.port}"
        return f"postgresql://{login}@{address}/{quote(self.name)}" + (f"?{query}" if query else "")

    def connect(self, **more: str) -> psycopg.Connection[Row]:
        """An autocommit superuser connection, closed with the database at the latest."""
        return self.resources.enter_context(self.server.connect(self.name, **more))

    def execute(self, query: str, params: Sequence[Any] | None = None) -> list[Row]:
        """Run it as superuser in autocommit; the rows of the last result, or none."""
        return self.server.run_sql(query, params, database=self.name)

    def role(self, *, createdb: bool = False, owner: bool = True) -> Role:
        """A login without superuser's rights, for this test; `owner` gives it the database."""
        role = self.resources.enter_context(self.server.role(createdb=createdb))
        if owner:
            change = sql.SQL("ALTER DATABASE {} OWNER TO {}")
            with self.server.connect() as connection:
                connection.execute(
                    change.format(sql.Identifier(self.name), sql.Identifier(role.name))
                )
        return role

    def clone(self) -> Database:
        """A copy of the database as it is now; nobody else may be connected to this one."""
        return self.resources.enter_context(fresh_database(self.server, template=self.name))

    def dump(
        self, schema: str | None = None, *, exclude_tables: Sequence[str] = (), data: bool = True
    ) -> str:
        """The whole database as `pg_dump` prints it, without what differs from run to run."""
        command = [str(bundled_bindir() / "pg_dump"), "--dbname", self.conninfo]
        command += ["--schema", schema] if schema else []
        command += [] if data else ["--schema-only"]
        command += [f"--exclude-table={pattern}" for pattern in exclude_tables]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        return normalised(done.stdout)


_NOISE = re.compile(
    r"^(--.*|\\(un)?restrict .*|SET .*;|SELECT pg_catalog\.set_config\(.*)$\n?", re.MULTILINE
)


def normalised(dump: str) -> str:
    """A dump without comment lines, session settings and repeated empty lines."""
    return re.sub(r"\n{2,}", "\n\n", _NOISE.sub("", dump)).strip() + "\n"


def run_sql(
    connection: psycopg.Connection[Row], query: str, params: Sequence[Any] | None = None
) -> list[Row]:
    """Run it; the rows of the last result, or none. Without `params` it may be a script."""
    cursor = connection.execute(query, params)  # tests write their own SQL
    while cursor.nextset():
        pass
    return cursor.fetchall() if cursor.description else []


@contextmanager
def running_server(major: int, *, in_memory: bool = False) -> Iterator[Server]:
    """A server of that version for the length of the block (about a second to make).

    `in_memory` keeps its files in shared memory where there is plenty: making and dropping
    databases by the hundred is file work, which a disk makes the slowest part of the tests.
    """
    cluster = Cluster.create(
        _SHARED_MEMORY if in_memory and _has_room(_SHARED_MEMORY) else None,
        bindir=bindir(major),
        port=_free_port(),
        prefix="sidecar-test-pg-",
    )
    server = Server(cluster, dict(SETTINGS))
    try:
        with tempfile.NamedTemporaryFile("w", dir=cluster.home, suffix=".pw") as password:
            password.write(PASSWORD)
            password.flush()
            Path(password.name).chmod(0o644)  # the directory itself is closed to others
            cluster.initialise("--auth-host=scram-sha-256", f"--pwfile={password.name}")
        server.start()
        yield server
    finally:
        server.stop("immediate")
        cluster.remove()


@contextmanager
def fresh_database(server: Server, *, template: str = "template1") -> Iterator[Database]:
    """An empty database (or a copy of `template`), dropped WITH FORCE at the end."""
    name = f"test_{uuid.uuid4().hex[:16]}"
    create = sql.SQL("CREATE DATABASE {} TEMPLATE {}")
    with server.connect() as connection:
        connection.execute(create.format(sql.Identifier(name), sql.Identifier(template)))
    database = Database(server, name)
    try:
        yield database
    finally:
        if server.process is None:
            server.start()
        drop = sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name))
        with server.connect() as connection:
            connection.execute(drop)
        database.resources.close()


class Servers:
    """The servers of a test session: each is started when first asked for, and kept."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        self._running: dict[int, Server] = {}

    def __getitem__(self, major: int) -> Server:
        if major not in self._running:
            self._running[major] = self._stack.enter_context(running_server(major, in_memory=True))
        server = self._running[major]
        if server.process is None or server.process.poll() is not None:
            server.restart()  # a test before this one ended it
        return server

    def close(self) -> None:
        """Stop them all and remove their data."""
        self._stack.close()


def _has_room(directory: Path) -> bool:
    """Whether files may be made there, programs started (see `embedded`), and 4 GiB are free."""
    if not os.access(directory, os.W_OK):
        return False
    there = os.statvfs(directory)
    return not there.f_flag & os.ST_NOEXEC and there.f_bavail * there.f_frsize > 4 << 30


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port
