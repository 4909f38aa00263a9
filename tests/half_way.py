"""One half-way state of a migration: make it, run the program, say how it ended."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from sidecar import app
from sidecar.script import parse
from tests import incident
from tests.command import Said, said
from tests.incident import Migration
from tests.postgres import Database, fresh_database
from tests.running import settings

LEDGER = "public._prisma_migrations"


@dataclass(frozen=True)
class Past:
    """What was there before: migrations, then rows and what hands did, then migrations again."""

    before: tuple[Migration, ...]
    by_hand: tuple[str, ...]
    after: tuple[Migration, ...] = ()


@dataclass(frozen=True)
class State:
    """The first `k` statements of a script ran, each committed; `logged`: the next one failed."""

    script: str
    k: int
    logged: bool

    def __str__(self) -> str:
        return f"{self.k}-{'error' if self.logged else 'killed'}"


@dataclass(frozen=True)
class Ended:
    """How the program ended, and what it left."""

    said: Said
    exact: bool
    untouched: bool


def states_of(script: str) -> Iterator[State]:
    """All that can persist."""
    *boundaries, last = parse(script).boundaries
    for k in boundaries:
        yield from (State(script, k, logged=False), State(script, k, logged=True))
    yield State(script, last, logged=False)


_CLEAN: dict[tuple[Past, str], str] = {}


def end_of(
    state: State, past: Past, database: Database, path: Path, *, policy: str = "forward"
) -> Ended:
    """Leave an empty database in this state, run the program on it, and compare."""
    failed = Migration("9_failed", state.script)
    statements = [statement.sql for statement in parse(failed.sql).statements]
    _plant(database, past)
    wanted = _clean(database, past, failed.sql, statements)
    with database.connect() as connection:
        row = incident.start(connection, failed, "public")
        for statement in statements[: state.k]:
            incident.run(connection, statement, "public")
        if state.logged:
            log = incident.native_log(failed.name, "57014", incident.CANCELLED)
            incident.log_error(connection, row, log, "public")
    before = database.dump(exclude_tables=(LEDGER,))
    folder = path / "migrations"
    incident.write_migrations(folder, (*past.before, *past.after, failed))
    url = database.url(schema="public")
    done = said(app.run, settings(database, folder, DATABASE_URL=url, SIDECAR_POLICY=policy))
    after = database.dump(exclude_tables=(LEDGER,))
    return Ended(done, exact=after == wanted, untouched=after == before)


def _plant(database: Database, past: Past) -> None:
    with database.connect() as connection:
        incident.clean_run(connection, past.before, "public")
        for sql in past.by_hand:
            connection.execute(sql)
        for migration in past.after:
            incident.apply(connection, migration, "public")


def _clean(database: Database, past: Past, script: str, statements: list[str]) -> str:
    """What a clean run makes of this past; the same for all states of a script."""
    if (past, script) not in _CLEAN:
        with fresh_database(database.server, template=database.name) as clean:
            with clean.connect() as connection:
                for statement in statements:
                    incident.run(connection, statement, "public")
            _CLEAN[past, script] = clean.dump(exclude_tables=(LEDGER,))
    return _CLEAN[past, script]
