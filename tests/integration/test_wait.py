"""Waiting, on real servers: every way in which PostgreSQL is not ready, and how it ends."""

from __future__ import annotations

import json
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import psycopg
import pytest

from sidecar import app
from sidecar.db import connect
from sidecar.errors import NotReadyError
from tests.command import ROOT, Said, config_of, process_environ, said
from tests.postgres import (
    LATEST,
    Database,
    Server,
    available_majors,
    fresh_database,
    running_server,
)
from tests.waiting import until

SHORT = {"SIDECAR_WAIT_TIMEOUT": "300ms", "SIDECAR_LOGIN_GRACE": "300ms"}
PATIENT = {"SIDECAR_WAIT_TIMEOUT": "60s", "SIDECAR_LOGIN_GRACE": "60s"}


@pytest.fixture(scope="module")
def own() -> Iterator[Server]:
    """A server which these tests may stop, fill and turn into a standby."""
    with running_server(LATEST if LATEST in available_majors() else available_majors()[-1]) as it:
        yield it


@pytest.fixture
def database(own: Server) -> Iterator[Database]:
    """A fresh database on it."""
    with fresh_database(own) as fresh:
        yield fresh


def waited(url: str, **variables: str) -> Said:
    """How `wait` ends within a third of a second, unless told otherwise."""
    return said(app.wait_only, {"DATABASE_URL": url, **SHORT, **variables})


def waited_meanwhile(url: str, do: Callable[[], object]) -> Said:
    """How a patient `wait` ends if `do` happens during its first pause."""
    once = [do]

    def sleep(seconds: float) -> None:
        if once:
            once.pop()()
        time.sleep(min(seconds, 0.05))

    return said(app.wait_only, {"DATABASE_URL": url, **PATIENT}, sleep=sleep)


def assert_not_ready(ended: Said, *says: str) -> None:
    """It ended with 124, these words, the promise, a next step, and a line while waiting."""
    assert ended.code == 124, ended.what
    for text in ("PostgreSQL was not ready after", *says, "Nothing was changed"):
        assert text in ended.what, ended.what
    assert ended.next_steps
    assert "waiting for PostgreSQL" in ended.log


def test_ready_at_once_says_nothing_but_that(database: Database) -> None:
    """A server that is up costs no line of waiting."""
    ended = waited(database.url())
    assert (ended.code, ended.what, ended.log) == (0, "PostgreSQL is ready", "")


# --- not ready ----------------------------------------------------------------------


def test_refused() -> None:
    """Nobody listens: tried until the deadline, then the cause in words."""
    assert_not_ready(waited("postgresql://u@127.0.0.1:1/d"), "127.0.0.1:1", "Connection refused")


def test_socket_missing(tmp_path: Path) -> None:
    """The directory of the socket is there, the server is not."""
    assert_not_ready(waited(f"postgresql://u@localhost/d?host={tmp_path}"), str(tmp_path))


def test_name_does_not_resolve() -> None:
    """A service whose name is not known yet is waited for."""
    assert_not_ready(waited("postgresql://u@no-such-host.invalid/d"), "no-such-host.invalid")


def test_silence_ends_with_connect_timeout() -> None:
    """A black hole takes the connection and never answers: one try of connect_timeout ends it."""
    with socket.create_server(("127.0.0.1", 0)) as hole:
        began = time.monotonic()
        ended = waited(f"postgresql://u@127.0.0.1:{hole.getsockname()[1]}/d?connect_timeout=2")
    assert (ended.code, "no answer in time" in ended.what) == (124, True)
    assert time.monotonic() - began < 4


def test_somebody_else_listens() -> None:
    """A port where no PostgreSQL answers is not ready, whatever it says."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        program = (
            "import socket, sys\n"
            "with socket.socket(fileno=int(sys.argv[1])) as server:\n"
            "    while True:\n"
            "        talk = server.accept()[0]\n"
            "        talk.recv(9), talk.sendall(b'HTTP/1.1 400 Bad Request\\r\\n'), talk.close()\n"
        )
        number = other.fileno()
        with subprocess.Popen(
            [sys.executable, "-c", program, str(number)], pass_fds=[number]
        ) as it:
            ended = waited(f"postgresql://u@127.0.0.1:{other.getsockname()[1]}/d")
            it.kill()
    assert_not_ready(ended)


def test_shutting_down(own: Server, database: Database) -> None:
    """57P03: a server on its way down or up refuses, and is waited for."""
    session, process = own.connect(database.name), own.process
    assert process is not None
    with closing(session):
        process.send_signal(signal.SIGTERM)  # smart: it waits for our session, lets nobody in
        until(lambda: "received smart shutdown request" in own.log)
        ended = waited(database.url())
    process.wait(10)
    own.restart()
    assert_not_ready(ended, "starting up, shutting down or recovering")


def test_starting_up(own: Server, database: Database) -> None:
    """57P03 again: a server that recovers and does not take sessions yet."""
    with standby(own, hot_standby="off") as port:
        ended = waited(database.url().replace(f":{own.port}/", f":{port}/"))
    assert_not_ready(ended, "starting up, shutting down or recovering")


def test_too_many_connections(own: Server, database: Database) -> None:
    """53300: all connections are taken."""
    role = database.role()
    url = database.url(user=role.name, password=role.password)
    own.restart(max_connections="8", superuser_reserved_connections="3")
    try:
        with ExitStack() as held:
            with pytest.raises(psycopg.OperationalError, match="reserved"):  # noqa: PT012
                while True:
                    held.enter_context(psycopg.connect(url))
            ended = waited(url)
        served = waited(url, **PATIENT)
    finally:
        own.restart()
    assert_not_ready(ended, "too many connections")
    assert served.code == 0


def test_read_only_server_is_not_ready(database: Database) -> None:
    """A server that takes only reads is no place for migrations, unless that is allowed."""
    database.execute(f"ALTER DATABASE {database.name} SET default_transaction_read_only = on")
    assert_not_ready(waited(database.url()), "the server only takes reads")
    assert waited(database.url(), SIDECAR_ALLOW_STANDBY="true").code == 0


def test_standby_is_not_ready(own: Server, database: Database) -> None:
    """A standby answers, but cannot be written to; SIDECAR_ALLOW_STANDBY says it will do."""
    with standby(own) as port:
        url = database.url().replace(f":{own.port}/", f":{port}/")
        ended = waited(url)
        allowed = waited(url, SIDECAR_ALLOW_STANDBY="true")
    assert_not_ready(ended, "is a standby in recovery")
    assert "Point DATABASE_URL at the primary" in ended.next_steps[0]
    assert allowed.code == 0


class standby:  # noqa: N801 (used as a block)
    """A copy of the server's data, in recovery for ever, for the length of the block."""

    def __init__(self, server: Server, **settings: str) -> None:
        self._server, self._settings = server, {"listen_addresses": "127.0.0.1", **settings}

    def __enter__(self) -> int:
        cluster = self._server.cluster
        with socket.create_server(("127.0.0.1", 0)) as free:
            port: int = free.getsockname()[1]
        self._home = cluster.home / "standby"
        self._server.stop()
        shutil.copytree(cluster.data, self._home)
        self._server.start()
        (self._home / "standby.signal").touch()
        for path in (self._home, *self._home.rglob("*")):
            shutil.chown(path, cluster.home.owner(), cluster.home.group())
        settings = {"port": str(port), "unix_socket_directories": "", **self._settings}
        options = [f"--{name}={value}" for name, value in settings.items()]
        self._log = (cluster.home / "standby.log").open("wb+")
        self._process = subprocess.Popen(
            [cluster.programs / "postgres", "-D", str(self._home), *options],
            stdout=self._log,
            stderr=subprocess.STDOUT,
            cwd=cluster.home,
            env={"LC_ALL": "C", "TZ": "UTC"},
            user=cluster.home.owner(),
        )
        until(lambda: b"entering standby mode" in Path(self._log.name).read_bytes())
        until(lambda: is_reached(port))
        return port

    def __exit__(self, *_: object) -> None:
        self._process.send_signal(signal.SIGINT)
        self._process.wait(10)
        self._log.close()
        shutil.rmtree(self._home)


def is_reached(port: int) -> bool:
    """Whether somebody accepts connections there."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


# --- a short grace ------------------------------------------------------------------


def test_wrong_password_has_a_short_grace(database: Database) -> None:
    """A wrong password is not waited for a whole minute: the grace, then a clear error."""
    began = time.monotonic()
    ended = waited(database.url(password="wrong"), SIDECAR_WAIT_TIMEOUT="60s")  # noqa: S106
    assert_not_ready(ended, "wrong password for user postgres")
    assert "waiting longer does not help" in ended.next_steps[0]
    assert 0.3 <= time.monotonic() - began < 5


def test_wrong_user_has_a_short_grace(database: Database) -> None:
    """A role that does not exist is told like a wrong password, as PostgreSQL tells it."""
    ended = waited(database.url(user="nobody_there"), SIDECAR_WAIT_TIMEOUT="60s")
    assert_not_ready(ended, "wrong password for user nobody_there")


def test_missing_database_has_a_short_grace(database: Database) -> None:
    """A database that does not exist: the grace, then a clear error."""
    url = database.url().replace(database.name, "not_yet")
    ended = waited(url, SIDECAR_WAIT_TIMEOUT="60s")
    assert_not_ready(ended, "database not_yet does not exist")


def test_no_right_to_connect_has_a_short_grace(database: Database) -> None:
    """A role without CONNECT: the grace, then the privilege by its name."""
    role = database.role(owner=False)
    database.execute(f"REVOKE CONNECT ON DATABASE {database.name} FROM public")
    url = database.url(user=role.name, password=role.password)
    ended = waited(url, SIDECAR_WAIT_TIMEOUT="60s")
    assert_not_ready(ended, f"user {role.name} lacks the CONNECT privilege")


def test_a_database_that_takes_nobody_is_waited_for(database: Database) -> None:
    """ALLOW_CONNECTIONS false, as while a dump is loaded, is not for ever."""
    name, server = database.name, database.server
    server.run_sql(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
    assert_not_ready(waited(database.url()), "does not accept connections")
    allow = f"ALTER DATABASE {name} ALLOW_CONNECTIONS true"
    assert waited_meanwhile(database.url(), lambda: server.run_sql(allow)).code == 0


# --- it becomes ready ---------------------------------------------------------------


def test_a_server_that_starts_meanwhile_is_found(own: Server, database: Database) -> None:
    """The server comes up during the wait: exit 0."""
    own.stop()
    ended = waited_meanwhile(database.url(), own.start)
    assert (ended.code, ended.what) == (0, "PostgreSQL is ready")
    assert "Connection refused" in ended.log


def test_a_database_that_is_made_meanwhile_is_found(database: Database) -> None:
    """The database is created within the grace, as by an entrypoint script: exit 0."""
    name = f"{database.name}_later"
    url = database.url().replace(database.name, name)
    try:
        ended = waited_meanwhile(
            url, lambda: database.server.run_sql(f"CREATE DATABASE {name} TEMPLATE template0")
        )
    finally:
        database.server.run_sql(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
    assert ended.code == 0
    assert "does not exist" in ended.log


def test_a_password_that_arrives_meanwhile_is_found(database: Database) -> None:
    """The role's password is set within the grace: exit 0."""
    role = database.role()
    change = f"ALTER ROLE {role.name} PASSWORD 'later'"
    url = database.url(user=role.name, password="later")  # noqa: S106
    ended = waited_meanwhile(url, lambda: database.execute(change))
    assert ended.code == 0
    assert "wrong password" in ended.log


def test_the_way_of_the_backend_is_waited_for_too(database: Database) -> None:
    """With DIRECT_URL, `run` still asks whether DATABASE_URL works: the backend uses that."""
    environ = {
        "DATABASE_URL": "postgresql://u@127.0.0.1:1/d",
        "DIRECT_URL": database.url(),
        "SIDECAR_MIGRATIONS_DIR": "nowhere",
    }
    assert_not_ready(said(app.run, {**environ, **SHORT}), "127.0.0.1:1")


# --- signals ------------------------------------------------------------------------


@pytest.mark.parametrize(("signum", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_ends_a_wait_at_once(signum: signal.Signals, code: int) -> None:
    """Whoever stops the container does not wait for our deadline."""
    environ = {"DATABASE_URL": "postgresql://u@127.0.0.1:1/d", "SIDECAR_WAIT_TIMEOUT": "60s"}
    with subprocess.Popen(
        [sys.executable, "-m", "sidecar", "wait"],
        env=process_environ(environ),
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stderr is not None
        assert json.loads(process.stderr.readline())["event"] == "waiting for PostgreSQL"
        told = time.monotonic()
        process.send_signal(signum)
        last = process.stderr.read().splitlines()[-1]
        assert process.wait(10) == code
    assert time.monotonic() - told < 2
    assert json.loads(last)["exit_code"] == code


# --- classification -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("case", "sqlstate", "permanent"),
    [
        ("password", "28P01", True),
        ("database", "3D000", True),
        ("connect", "42501", True),
        ("limit", "53300", False),
        ("closed", "55000", False),
        ("port", None, False),
    ],
)
def test_the_cause_is_the_servers_code_not_its_words(
    database: Database, case: str, sqlstate: str | None, *, permanent: bool
) -> None:
    """Servers speak many languages: what is told apart is the SQLSTATE of the refusal."""
    role, name = database.role(owner=False), database.name
    url = database.url(user=role.name, password=role.password)
    refusals = {
        "connect": f"REVOKE CONNECT ON DATABASE {name} FROM public",
        "limit": f"ALTER DATABASE {name} CONNECTION LIMIT 0",
        "closed": f"ALTER DATABASE {name} ALLOW_CONNECTIONS false",
    }
    if case in refusals:
        database.server.run_sql(refusals[case])
    wrong = {
        "password": (role.password, "wrong"),
        "database": (f"/{name}", "/absent"),
        "port": (f":{database.server.port}/", ":1/"),
    }
    url = url.replace(*wrong.get(case, ("", "")))
    with pytest.raises(NotReadyError) as caught:
        connect(config_of({"DATABASE_URL": url}).target.conninfo)
    assert (caught.value.sqlstate, caught.value.permanent) == (sqlstate, permanent)
