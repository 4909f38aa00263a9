"""The shadow database: a throw-away place where the history is replayed.

The ladder: a database given by URL, a new database on the same server, a private server.
Whatever is made is dropped again, also when we are told to stop; what a killed run left
behind is recognised by name and comment and dropped by the next run, which holds the lock.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from enum import StrEnum
from typing import assert_never

from sidecar import embedded
from sidecar.db import Session, connect, identifier, literal
from sidecar.errors import ConfigError, DatabaseError, NotReadyError, ShadowError
from sidecar.model import LOCK_KEY
from sidecar.queries import (
    DATABASE_LOCALE,
    GIVEN_KEEPS,
    GIVEN_RESET,
    ROLES,
    SERVER_IDENTITY,
    SHADOW_LEFTOVERS,
    TRY_LOCK,
    USER_OBJECTS,
    USER_SCHEMAS,
)
from sidecar.signals import SIGNALS

PREFIX = "migration_sidecar_shadow_"
MARK = "migration-sidecar shadow"
_MARK_SCHEMA = "migration_sidecar_shadow"
_CONNECTIONS = 2
"""One for us, one for us again while the server still notices that the first has gone."""

_WAYS = (
    "ALTER ROLE <role> CREATEDB;",
    "or set SHADOW_DATABASE_URL to an empty database on a server of the same major version",
    "or use the image that carries a private PostgreSQL (extra 'embedded')",
)


class Rung(StrEnum):
    """Where a shadow may come from; `auto` tries the rungs of the ladder in order."""

    AUTO = "auto"
    URL = "url"
    SERVER = "server"
    EMBEDDED = "embedded"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class Live:
    """The database which is shadowed: the session on it, and how to reach its server."""

    session: Session
    conninfo: Mapping[str, str]
    database_oid: int
    search_path: str
    url_schema: str | None


@dataclass(frozen=True, slots=True)
class Shadow:
    """An empty database that only we use.

    `comparable` is False where its server is of another major version, which may spell
    the same definition differently. `origin` says in words where it came from.
    """

    session: Session
    comparable: bool
    origin: str


@contextmanager
def shadow(
    live: Live, *, rung: Rung, url: Mapping[str, str] | None, embedded_dir: str | None = None
) -> Iterator[Shadow]:
    """An empty shadow for `live`, gone at the end. Raises `ShadowError` if no rung holds.

    `embedded_dir` has a private PostgreSQL in place of the extra's. Raises `ConfigError` where
    the given shadow is the live database itself or is in use.
    """
    reasons = ["shadow databases are switched off"] if rung is Rung.NONE else []
    for step in _ladder(rung, url):
        with ExitStack() as stack:
            try:
                made = stack.enter_context(_open(step, live, url, embedded_dir))
            except ShadowError as exc:
                reasons.append(exc.what)
                continue
            yield made
            return
    raise ShadowError("no shadow database: " + "; ".join(reasons), next_steps=_WAYS)


def _ladder(rung: Rung, url: Mapping[str, str] | None) -> tuple[Rung, ...]:
    match rung:
        case Rung.AUTO:
            return (Rung.URL,) if url is not None else (Rung.SERVER, Rung.EMBEDDED)
        case Rung.NONE:
            return ()
        case _:
            return (rung,)


def _open(
    rung: Rung, live: Live, url: Mapping[str, str] | None, embedded_dir: str | None
) -> AbstractContextManager[Shadow]:
    match rung:
        case Rung.URL:
            return _given(live, url or {})
        case Rung.SERVER:
            return _on_server(live)
        case Rung.EMBEDDED:
            return _private(live, embedded_dir)
        case Rung.AUTO | Rung.NONE:
            raise AssertionError(rung)
        case _:
            assert_never(rung)


# --- a new database on the same server -------------------------------------------


@contextmanager
def _on_server(live: Live) -> Iterator[Shadow]:
    remove_leftovers(live)
    name = f"{PREFIX}{live.database_oid}_{secrets.token_hex(4)}"
    try:
        _create_database(live.session, name)
        session = _connected({**live.conninfo, "dbname": name})
        try:
            yield Shadow(session, comparable=True, origin="a new database on the same server")
        finally:
            session.close()
    finally:
        with SIGNALS.shielded():
            _drop_database(live, name)


def remove_leftovers(live: Live) -> None:
    """Drop what killed runs for this very database left; the caller holds the lock."""
    prefix = f"{PREFIX}{live.database_oid}_"
    for (name,) in live.session.query(SHADOW_LEFTOVERS, (prefix, MARK)):
        _drop_database(live, name)


def _create_database(session: Session, name: str) -> None:
    try:
        session.execute(f"CREATE DATABASE {identifier(name)} {_locale_options(session)}")
        session.execute(f"COMMENT ON DATABASE {identifier(name)} IS {literal(MARK)}")
    except DatabaseError as exc:
        if exc.sqlstate == "42501":
            what = "the role may not create databases (it lacks CREATEDB)"
            raise ShadowError(what) from exc
        raise ShadowError(f"CREATE DATABASE failed: {exc.what} ({exc.sqlstate})") from exc


def _locale_options(session: Session) -> str:
    """Same encoding and locale as the live database; template0 is free of local additions."""
    row, encoding = session.query(DATABASE_LOCALE)[0]
    options = [
        "TEMPLATE template0",
        f"ENCODING {literal(encoding)}",
        f"LC_COLLATE {literal(row['datcollate'])}",
        f"LC_CTYPE {literal(row['datctype'])}",
        f"CONNECTION LIMIT {_CONNECTIONS}",
    ]
    provider = {"i": "icu", "b": "builtin"}.get(row.get("datlocprovider", "c"))
    locale = row.get("datlocale") or row.get("daticulocale")  # renamed in PostgreSQL 17
    if provider and locale:
        name = "ICU_LOCALE" if provider == "icu" else "BUILTIN_LOCALE"
        options += [f"LOCALE_PROVIDER {provider}", f"{name} {literal(locale)}"]
    return " ".join(options)


def _drop_database(live: Live, name: str) -> None:
    """Drop it if it exists; where the server cannot be reached, the next run will."""
    statement = f"DROP DATABASE IF EXISTS {identifier(name)} WITH (FORCE)"
    try:
        if not live.session.broken:
            live.session.execute(statement)
            return
        again = connect(live.conninfo)
        try:
            again.execute(statement)
        finally:
            again.close()
    except (DatabaseError, NotReadyError):
        return


def _connected(conninfo: Mapping[str, str]) -> Session:
    try:
        return connect(conninfo)
    except NotReadyError as exc:
        raise ShadowError(f"the shadow database cannot be reached: {exc.what}") from exc


# --- a database given by URL -----------------------------------------------------


@contextmanager
def _given(live: Live, url: Mapping[str, str]) -> Iterator[Shadow]:
    session = _connected(url)
    try:
        _refuse_the_live_database(live, session)
        if not session.query(TRY_LOCK, (LOCK_KEY,))[0][0]:
            raise ShadowError("the database of SHADOW_DATABASE_URL is in use by another run")
        _refuse_what_is_not_ours(session)
        _mark(session)
        try:
            same = _major(session) == _major(live.session)
            yield Shadow(session, comparable=same, origin="the database of SHADOW_DATABASE_URL")
        finally:
            with SIGNALS.shielded():
                _wipe(session)
    finally:
        session.close()


def _refuse_the_live_database(live: Live, session: Session) -> None:
    """Strings lie (localhost, 127.0.0.1, a service name), so the servers are asked."""
    if session.query(SERVER_IDENTITY) == live.session.query(SERVER_IDENTITY):
        raise ConfigError(
            ("SHADOW_DATABASE_URL leads to the database it should be a shadow of",),
            next_steps=("Create another, empty database and name that one.",),
        )


def _refuse_what_is_not_ours(session: Session) -> None:
    schemas = {name for (name,) in session.query(USER_SCHEMAS)}
    if _MARK_SCHEMA in schemas:
        _wipe(session)  # left by a killed run: only we make this schema
        return
    foreign = [name for (name,) in session.query(USER_OBJECTS, (3,))]
    if foreign or schemas - {"public"}:
        held = ", ".join([*foreign, *sorted(schemas - {"public"})][:3])
        raise ConfigError(
            (f"the database of SHADOW_DATABASE_URL is not empty (it holds {held})",),
            next_steps=("Name an empty database; nothing was changed in this one.",),
        )


def _mark(session: Session) -> None:
    """Say that what comes is ours, and what was there before; in one message, so both or none."""
    keeps = json.dumps([item for (item,) in session.query(GIVEN_KEEPS)])
    comment = f"COMMENT ON SCHEMA {_MARK_SCHEMA} IS {literal(keeps)}"
    session.execute(f"CREATE SCHEMA {_MARK_SCHEMA}; {comment}")


def _wipe(session: Session) -> None:
    """Leave the given database as empty as it came; the mark goes last."""
    if session.broken:
        return
    for statement in ("ROLLBACK", "RESET SESSION AUTHORIZATION", "RESET ALL"):
        session.execute(statement)
    for (statement,) in session.query(GIVEN_RESET):
        session.execute(statement)
    session.execute(f"DROP SCHEMA {_MARK_SCHEMA} CASCADE")


# --- a private server ------------------------------------------------------------


@contextmanager
def _private(live: Live, embedded_dir: str | None) -> Iterator[Shadow]:
    if embedded_dir is None and not embedded.available():
        raise ShadowError("no private PostgreSQL is installed (extra 'embedded')")
    with embedded.private_server(using=embedded.installation(embedded_dir)) as server:
        session = _connected(server.conninfo("postgres"))
        try:
            _copy_roles(live.session, session)
            same = _major(session) == _major(live.session)
            yield Shadow(session, comparable=same, origin="a private PostgreSQL")
        finally:
            session.close()


def _copy_roles(source: Session, private: Session) -> None:
    """Scripts grant to roles, which a private server does not know; names are enough."""
    known = {name for (name,) in private.query(ROLES)}
    for (name,) in source.query(ROLES):
        if name not in known:
            private.execute(f"CREATE ROLE {identifier(name)}")


def _major(session: Session) -> int:
    return session.server_version // 10000
