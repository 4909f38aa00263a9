"""The one door to PostgreSQL: only this module knows psycopg.

It offers a `Session` (one autocommit connection), turns driver errors into the
errors of this package, and explains refused connections by the server's own
SQLSTATE instead of by its (translated) text.
"""

from __future__ import annotations

import logging
import os
import re
import select
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any, cast

import psycopg
from psycopg import pq, sql
from psycopg.conninfo import make_conninfo

from sidecar.errors import ConnectionLostError, DatabaseError, Named, NotReadyError

logging.getLogger("psycopg").addHandler(logging.NullHandler())
"""What the driver would say (of a ROLLBACK on a line that broke) is no line of our log."""

Row = tuple[Any, ...]

_EXPLAIN_LIMIT_S = 5.0
_CANCEL_LIMIT_S = 1.0
_GRACE_ONLY = frozenset({"28P01", "28000", "3D000", "42501"})
"""Refusals that time rarely heals: password, pg_hba, missing database, no CONNECT right."""

_POOLER = "08P01"
"""With which PgBouncer refuses whatever it refuses, in words of its own (`src/objects.c`)."""

_LOST = frozenset({"57P01", "57P02", "57P05", "25P03", "25P04"})
"""Errors with which the server ends a session: shutdown, crash, its idle timeouts."""

_CAUSES: Mapping[str, str] = {
    "28P01": "wrong password for user {user}",
    "28000": "user {user} may not log in from here (pg_hba.conf, or the role does not exist)",
    "3D000": "database {dbname} does not exist",
    "42501": "user {user} lacks the CONNECT privilege on database {dbname}",
    "53300": "too many connections",
    "57P03": "the server is starting up, shutting down or recovering",
    "55000": "database {dbname} does not accept connections",
}


class Session:
    """One autocommit connection; what it cannot do, nobody else in the package can."""

    def __init__(self, connection: psycopg.Connection[Row]) -> None:
        self._connection = connection

    @property
    def server_version(self) -> int:
        """Like 150018; see PostgreSQL's `server_version_num`."""
        return self._connection.info.server_version

    @property
    def backend_pid(self) -> int:
        """The pid the protocol announced; behind a pooler it is not the server process's."""
        return self._connection.info.backend_pid

    @property
    def broken(self) -> bool:
        """True once the line to the server is gone."""
        return self._connection.closed

    @property
    def in_transaction(self) -> bool:
        """True inside a transaction block, failed or not."""
        return self._connection.info.transaction_status in {
            pq.TransactionStatus.INTRANS,
            pq.TransactionStatus.INERROR,
        }

    def query(self, statement: str, params: Sequence[object] | None = None) -> list[Row]:
        """Rows of one statement of ours. Raises `DatabaseError`, `ConnectionLostError`."""
        with self._translated():
            cursor = self._connection.execute(statement, params)
            return cursor.fetchall() if cursor.description else []

    def execute(self, script: str) -> None:
        """Send text as one simple-query message, as Prisma's batch engine does.

        Several statements form one implicit transaction unless they say otherwise
        (PostgreSQL, chapter "Message Flow"). Raises `DatabaseError`.
        """
        with self._translated():
            self._connection.execute(script, prepare=False)

    def update(self, statement: str, params: Sequence[object] | None = None) -> int:
        """Run one statement and return the number of rows it affected. Raises `DatabaseError`."""
        with self._translated():
            return self._connection.execute(statement, params).rowcount

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """A transaction that commits at the end of the block and rolls back on any exception."""
        with self._translated(), self._connection.transaction():
            yield

    @contextmanager
    def undone(self) -> Iterator[None]:
        """A transaction (inside one: a savepoint) that is always rolled back."""
        with self._translated(), self._connection.transaction(force_rollback=True):
            yield

    def cancel(self) -> None:
        """Have the server stop what another thread runs on this session; never raises."""
        with suppress(psycopg.Error):
            self._connection.cancel_safe(timeout=_CANCEL_LIMIT_S)

    def close(self) -> None:
        """Hang up; never raises."""
        self._connection.close()

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except psycopg.Error as exc:
            what = exc.diag.message_primary or (str(exc).splitlines() or [type(exc).__name__])[0]
            if self.broken or exc.sqlstate in _LOST:
                self._connection.close()
                raise ConnectionLostError(f"the connection was lost: {what}") from exc
            raise _refused(what, exc) from exc


def connect(conninfo: Mapping[str, str]) -> Session:
    """An open session in autocommit mode. Raises `NotReadyError` with the cause in words."""
    try:
        connection: psycopg.Connection[Row] = psycopg.connect(
            **cast("dict[str, Any]", dict(conninfo)), autocommit=True, prepare_threshold=None
        )
    except psycopg.OperationalError as exc:
        raise _not_ready(conninfo, exc) from None  # libpq's text may quote what was typed
    return Session(connection)


def identifier(*names: str) -> str:
    """Quoted, dotted identifier: `identifier('a', 'B')` is `"a"."B"`."""
    return sql.Identifier(*names).as_string(None)


def literal(value: str) -> str:
    """A string literal that is safe whatever `standard_conforming_strings` says."""
    return sql.Literal(value).as_string(None)


def _refused(what: str, exc: psycopg.Error) -> DatabaseError:
    diag = exc.diag
    names = (diag.schema_name, diag.table_name, diag.column_name, diag.constraint_name)
    return DatabaseError(
        what,
        sqlstate=exc.sqlstate or "",
        detail=diag.message_detail or "",
        hint=diag.message_hint or "",
        named=Named(*(name or "" for name in names)),
    )


def _not_ready(conninfo: Mapping[str, str], exc: psycopg.OperationalError) -> NotReadyError:
    timed_out = isinstance(exc, psycopg.errors.ConnectionTimeout)
    sqlstate = None if timed_out else _login_sqlstate(conninfo)  # silence explains nothing
    where = f"{conninfo.get('host', '')}:{conninfo.get('port', '')}"
    if sqlstate is None:
        return NotReadyError(f"{where}: {_unreachable(exc)}")
    if sqlstate == _POOLER:
        says, hint = _unreachable(exc), "Add pgbouncer=true to the URL, or set DIRECT_URL"
        forever = "startup parameter" in says
        steps = (hint,) if forever else ()
        return NotReadyError(
            f"{where}: {says}", sqlstate=sqlstate, permanent=forever, next_steps=steps
        )
    cause = _CAUSES.get(sqlstate, "the server refused the connection (SQLSTATE {sqlstate})").format(
        user=conninfo.get("user", ""), dbname=conninfo.get("dbname", ""), sqlstate=sqlstate
    )
    return NotReadyError(f"{where}: {cause}", sqlstate=sqlstate, permanent=sqlstate in _GRACE_ONLY)


def _unreachable(exc: psycopg.OperationalError) -> str:
    """libpq's own sentence on the network failure; it holds host names and no secrets."""
    if isinstance(exc, psycopg.errors.ConnectionTimeout):
        return "no answer in time"
    first = str(exc).strip().splitlines()[0] if str(exc).strip() else "no connection"
    return re.sub(r"^(connection failed: )?(connection to server .*? failed: )?", "", first)


def _login_sqlstate(conninfo: Mapping[str, str]) -> str | None:
    """The SQLSTATE with which the server refuses this login, or None if it does not answer.

    libpq keeps the code of a failed login to itself, so the login is tried once more with
    libpq's protocol trace going to memory, and the ErrorResponse is read from there
    (PostgreSQL, "libpq Control Functions", PQtrace). The trace never leaves this function.
    """
    if not hasattr(os, "memfd_create"):
        return None
    trace = os.memfd_create("login")
    try:
        _traced_login(conninfo, trace)
        os.lseek(trace, 0, os.SEEK_SET)
        text = os.read(trace, 1 << 16).decode("utf-8", "replace")
    finally:
        os.close(trace)
    found = re.search(r'\tB\t\d+\tErrorResponse\t.*? C "([0-9A-Z]{5})"', text)
    return found.group(1) if found else None


def _traced_login(conninfo: Mapping[str, str], trace: int) -> None:
    deadline = time.monotonic() + _EXPLAIN_LIMIT_S
    connection = pq.PGconn.connect_start(make_conninfo(**cast("Any", dict(conninfo))).encode())
    try:
        connection.trace(trace)
        while connection.status != pq.ConnStatus.BAD and time.monotonic() < deadline:
            state = connection.connect_poll()
            if state not in {pq.PollingStatus.READING, pq.PollingStatus.WRITING}:
                break
            reading = [connection.socket] if state == pq.PollingStatus.READING else []
            writing = [] if reading else [connection.socket]
            select.select(reading, writing, [], max(0.0, deadline - time.monotonic()))
        connection.untrace()
    finally:
        connection.finish()
