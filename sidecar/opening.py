"""Opens the database for a command: waits until it is ready, reads the ledger, gets the lock."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from sidecar import history, lock, wait
from sidecar.db import Session, connect
from sidecar.errors import NotReadyError
from sidecar.model import Ledger
from sidecar.queries import SET_SEARCH_PATH, UNLIMITED, UNLIMITED_SINCE_14

if TYPE_CHECKING:
    from sidecar.config import Config
    from sidecar.log import Log
    from sidecar.whereabouts import Witness

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class World:
    """Time and log are handed in, so that tests can hand in others."""

    clock: Callable[[], float]
    sleep: Callable[[float], None]
    log: Log


@dataclass(frozen=True, slots=True)
class Opened:
    """A ready database: the session on it, what the server said, the ledger if there is one."""

    session: Session
    server: history.Server
    schema: str | None
    ledger: Ledger | None
    search_path: str

    def reread(self) -> Ledger | None:
        """The ledger as it is now."""
        return history.read_ledger(self.session, self.schema) if self.schema else None


@contextmanager
def opened(config: Config, world: World) -> Iterator[Opened]:
    """A database that is ready, hung up at the end.

    Where the backend goes another way (DATABASE_URL beside DIRECT_URL), that way must work
    too. Raises `NotReadyError` at the deadline, `ConfigError` where the ledger is ambiguous.
    """
    if config.backend_target != config.target:
        ready(config.backend_target.probe_conninfo, config, world)[0].close()
    session, server = ready(config.target.probe_conninfo, config, world)
    try:
        wanted, url_schema = config.ledger_schema, config.target.schema
        schema = history.ledger_schema(server, wanted=wanted, url_schema=url_schema)
        ledger = history.read_ledger(session, schema) if schema else None
        if ledger is not None:
            history.refuse_strange_ledger(ledger, wanted=wanted, url_schema=url_schema)
        path = history.search_path(server, schema, target=config.target)
        yield Opened(session, server, schema, ledger, path)
    finally:
        session.close()


def ready(
    conninfo: Mapping[str, str], config: Config, world: World
) -> tuple[Session, history.Server]:
    """A session that works, and what the server says of itself; waits as configured."""
    return _waited(lambda: _probe(conninfo, allow_standby=config.allow_standby), config, world)


def located(config: Config, world: World) -> Config:
    """The settings with the address at which a host reaches PostgreSQL's compose service.

    They stay as they are without SIDECAR_POSTGRES_SERVICE, in a container, and where the names
    of the URLs mean something. Waits until the published port answers, as `ready` does: it may
    be another after each start. Raises `EngineError` where project or port are not certain.
    """
    if not config.postgres_service:
        return config
    from sidecar.whereabouts import finder

    find = finder(config, world.log)
    if find is None:
        return config

    def reached() -> Config:
        moved = find()
        conninfo = moved.target.probe_conninfo
        _probe(conninfo, allow_standby=config.allow_standby)[0].close()
        return moved

    moved = _waited(reached, config, world)
    for warning in moved.target.warnings[len(config.target.warnings) :]:
        world.log.info(warning)
    return moved


def _waited(probe: Callable[[], T], config: Config, world: World) -> T:
    """What `probe` gives, called as configured until it does; its failures are explained."""
    witnesses: list[Witness] = []

    def explained() -> T:
        try:
            return probe()
        except NotReadyError as error:
            if not config.postgres_service:
                raise
            if not witnesses:
                from sidecar.whereabouts import Witness

                witnesses.append(Witness(config, world.log))
            raise witnesses[0].explained(error) from error

    return wait.until_ready(
        explained,
        timeout_s=config.wait_timeout_s,
        login_grace_s=config.login_grace_s,
        clock=world.clock,
        sleep=world.sleep,
        on_progress=lambda progress: world.log.info(
            "waiting for PostgreSQL",
            cause=progress.cause,
            tries=progress.tries,
            waited_s=round(progress.waited_s, 1),
            left_s=round(progress.left_s, 1),
        ),
    )


def _probe(conninfo: Mapping[str, str], *, allow_standby: bool) -> tuple[Session, history.Server]:
    session = connect(conninfo)
    server = history.read_server(session)
    if server.read_only and not allow_standby:
        session.close()
        what = "is a standby in recovery" if server.in_recovery else "only takes reads"
        raise NotReadyError(
            f"{conninfo.get('host', '')}:{conninfo.get('port', '')}: the server {what}",
            next_steps=("Point DATABASE_URL at the primary, or set SIDECAR_ALLOW_STANDBY=true.",),
        )
    return session, server


@contextmanager
def waited_lock(config: Config, world: World, database: Opened) -> Iterator[None]:
    """Prisma's lock, once nobody works on a migration any more; given back at the end.

    Raises `BusyError` at the deadline, `HaltError` behind a pooler where no lock holds.
    """
    own_session(config, database)
    session = database.session
    folder = history.read_folder(config.migrations_dir)
    scripts = [file.text for file in folder.files if file.text]
    lock.poll_until(
        lambda: lock.try_lock(session),
        timeout_s=config.busy_timeout_s,
        clock=world.clock,
        sleep=world.sleep,
        who=lambda: lock.holders(session),
    )
    try:
        lock.poll_until(
            lambda: not lock.executing(session, scripts),
            timeout_s=config.busy_timeout_s,
            clock=world.clock,
            sleep=world.sleep,
            who=lambda: lock.executing(session, scripts),
        )
        yield
    finally:
        lock.unlock(session)


def own_session(config: Config, database: Opened) -> None:
    """Make the session fit for work: no pooler in between, no limits made for requests.

    Raises `HaltError` where a pooler hands out server connections per transaction.
    """
    session = database.session
    lock.refuse_transaction_pooler(session, config.target.probe_conninfo)
    session.execute(UNLIMITED)
    if session.server_version >= 140000:  # noqa: PLR2004 (PostgreSQL 14)
        session.execute(UNLIMITED_SINCE_14)
    session.query(SET_SEARCH_PATH, (database.search_path,))
