"""Replays the history and then the failed migration on a shadow, and notes each effect.

Nothing here decides anything. A statement of the *history* that cannot run on an empty
database is left out: only the facts that the failed migration touches are ever compared,
and a hole there shows as a difference, never as a match.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from sidecar import script as scripts
from sidecar.calm_triggers import HIDES
from sidecar.db import Session, identifier, literal
from sidecar.errors import DatabaseError
from sidecar.model import (
    Effect,
    FactKey,
    Ledger,
    LedgerRow,
    MigrationFile,
    Replay,
    Script,
    Statement,
    Verb,
)
from sidecar.queries import COPY_LEDGER, CREATE_LEDGER, SERVER_STATE, UNLIMITED
from sidecar.shadow import Live, Shadow
from sidecar.snapshot import Tracker

_BY_STATEMENTS = re.compile(
    r"\b(concurrently|commit|rollback|end|roles?|user|group|database|system|subscription"
    r"|tablespace|owned|copy|prepared|reassign)\b",
    re.IGNORECASE,
)
"""Words of scripts that one message might leave half-done, or that might reach further than
this database; the parser then looks at each statement."""

_FAILS_FOR_WANT_OF_ROWS = frozenset({"INSERT", "UPDATE", "DELETE", "MERGE", "TRUNCATE", "SELECT"})

_REACHES_OUT = re.compile(
    r"\b(create|alter|drop)\s+(database|system|tablespace|subscription)\b"
    r"|\bgrant\b[^;]*\bon\s+(parameter|tablespace)\b",
    re.IGNORECASE,
)
_ROLES = re.compile(r"\b(create|alter|drop)\s+(role|user|group)\b", re.IGNORECASE)
"""In a DO: mostly behind a guard, so that where the role is there it does nothing."""


class _ServerChangedError(Exception):
    """A statement changed what the shadow's server has beside it, and was taken back."""


@dataclass(frozen=True, slots=True)
class Past:
    """What is replayed before the failed migration: the ledger, and the scripts in order.

    Extensions are those of the live database, with their schemas.
    """

    ledger: Ledger
    files: tuple[MigrationFile, ...]
    extensions: tuple[tuple[str, str], ...]


def replay(shadow: Shadow, live: Live, past: Past, script: Script) -> Replay:
    """The facts after `past`, and what each statement of `script` changes.

    The session on the live database is left alone: it is read meanwhile.
    """
    session = shadow.session
    _prepare(session, live, past, script)
    for file in past.files:
        _replay_file(session, file.text or "", live.search_path)
    _fresh_session(session, live.search_path)
    tracker = Tracker(session, server_version=session.server_version)
    base = tracker.full()
    coded = _runs_code(base)
    effects: list[Effect] = []
    problem = ""
    for statement in script.statements:
        if statement.elsewhere:  # its place in the script shows whether it ran, if it can be known
            effects.append(())
            continue
        if problem := _never_run(statement):
            break
        rows_only = _changes_rows(statement) and not coded
        try:
            effects.append(_effect(session, tracker, statement, rows_only=rows_only))
            coded = coded or _runs_code(change.key for change in effects[-1])
        except _ServerChangedError:
            problem = (
                f"statement {statement} would change roles or settings of the whole server; where "
                "a guard of its own asks for them, make them by hand and start again"
            )
            break
        except DatabaseError as exc:
            problem = f"statement {statement} fails on the shadow: {exc.what} ({exc.sqlstate})"
            problem += _left_out(script.statements[: statement.index - 1])
            break
    if not problem and (missed := tracker.after_statement(full=True)):
        problem = f"the replay lost sight of {missed[0].key}"
    return Replay(base, _net(script, effects), comparable=shadow.comparable, problem=problem)


def _left_out(statements: tuple[Statement, ...]) -> str:
    named = ", ".join(f"statement {s}" for s in statements if s.elsewhere)
    return f"; {named} was not run there: it changes the whole server" if named else ""


def _net(script: Script, effects: list[Effect]) -> tuple[Effect, ...]:
    """The effects, of which a block that the script takes back has none."""
    undone = script.undone_blocks
    return tuple(
        () if statement.block in undone else effect
        for statement, effect in zip(script.statements, effects, strict=False)
    )


def _changes_rows(statement: Statement) -> bool:
    verb = statement.change.verb if statement.change and statement.reach_known else None
    return verb in {Verb.INSERT, Verb.UPDATE, Verb.DELETE}


def _runs_code(keys: Iterable[FactKey]) -> bool:
    """Whether there is a trigger or a rule, so that a change of rows may do anything besides."""
    return any(key.kind in HIDES for key in keys)


def _effect(session: Session, tracker: Tracker, statement: Statement, *, rows_only: bool) -> Effect:
    """Run one statement in its own transaction, or inside the block the script opened.

    `rows_only`: it changes nothing but rows, so that no fact needs to be looked for.
    """
    if statement.control is not None:
        session.execute(statement.sql)
        taken_back = "ROLLBACK" in statement.kind  # ROLLBACK TO too
        return tracker.after_statement(full=True) if taken_back else ()
    if statement.solo:
        session.execute(statement.sql)
        return tracker.after_statement(full=True)
    if session.in_transaction:
        return _effect_in_transaction(session, tracker, statement, rows_only=rows_only)
    with session.transaction():
        return _effect_in_transaction(session, tracker, statement, rows_only=rows_only)


def _effect_in_transaction(
    session: Session, tracker: Tracker, statement: Statement, *, rows_only: bool
) -> Effect:
    """Rows are missing on a shadow, so a change of rows may fail there; it shows no fact."""
    try:
        with session.transaction(), _server_unchanged(session, statement):
            session.execute(statement.sql)
    except DatabaseError:
        if statement.kind not in _FAILS_FOR_WANT_OF_ROWS or not statement.reach_known:
            raise
        return ()
    return () if rows_only else tracker.after_statement()


@contextmanager
def _server_unchanged(session: Session, statement: Statement) -> Iterator[None]:
    """Raises `_ServerChangedError` where the block, in a transaction, changed more than the shadow.

    Only what runs code can: the server is that of the live database, and roles are its own.
    """
    if statement.kind != "DO" and statement.reach_known:
        yield
        return
    before = session.query(SERVER_STATE)
    yield
    if session.query(SERVER_STATE) != before:
        raise _ServerChangedError


def _never_run(statement: Statement) -> str:
    """Why a statement is not even tried, or ''.

    `forbidden` is what the parser knows; a DO block may hide the same in its text. One that
    commits as it goes cannot be taken back.
    """
    block = statement.kind == "DO" and statement.sql
    hidden = block and (_REACHES_OUT.search(block) or (statement.solo and _ROLES.search(block)))
    why = statement.forbidden or ("it acts on the whole server" if hidden else "")
    return f"statement {statement.index} (line {statement.line}) is never run: {why}" if why else ""


# --- what a shadow needs first ---------------------------------------------------


def _prepare(session: Session, live: Live, past: Past, script: Script) -> None:
    session.execute("SET synchronous_commit = off; SET client_min_messages = error")
    for schema in {live.url_schema, past.ledger.schema} - {None, "public"}:
        session.execute(f"CREATE SCHEMA IF NOT EXISTS {identifier(str(schema))}")
    _create_extensions(session, past, script)
    table = identifier(past.ledger.schema, "_prisma_migrations")
    session.execute(CREATE_LEDGER.format(ledger=table))
    columns = [list(column) for column in zip(*map(_values, past.ledger.rows), strict=True)]
    session.update(COPY_LEDGER.format(ledger=table), columns)


def _values(row: LedgerRow) -> tuple[object, ...]:
    return (
        row.id,
        row.checksum,
        row.migration_name,
        row.started_at,
        row.finished_at,
        row.rolled_back_at,
        row.logs,
        row.applied_steps_count,
    )


def _create_extensions(session: Session, past: Past, script: Script) -> None:
    """Extensions that stand in no script were made beside the history: scripts rely on them."""
    texts = (*(file.text or "" for file in past.files), script.text)
    created = {name for text in texts for name in scripts.created_extensions(text)}
    for name, schema in past.extensions:
        if name in created:
            continue
        try:
            if schema not in {"pg_catalog", "public"}:
                session.execute(f"CREATE SCHEMA IF NOT EXISTS {identifier(schema)}")
            session.execute(
                f"CREATE EXTENSION IF NOT EXISTS {identifier(name)} SCHEMA {identifier(schema)}"
            )
        except DatabaseError:
            continue  # if a script needs it, its replay says so


def _fresh_session(session: Session, search_path: str) -> None:
    """Each deploy is a session of its own: settings of one script do not reach the next."""
    _leave_transaction(session)
    session.execute(_fresh(search_path))


def _leave_transaction(session: Session) -> None:
    if session.in_transaction:
        session.execute("ROLLBACK")


def _fresh(search_path: str) -> str:
    path = f"SELECT set_config('search_path', {literal(search_path)}, false)"
    return (
        f"RESET SESSION AUTHORIZATION; RESET ALL; SET synchronous_commit = off; {UNLIMITED}; {path}"
    )


# --- the history -----------------------------------------------------------------


def _replay_file(session: Session, text: str, search_path: str) -> None:
    """Run one script of the history, as one message where that is the same and safe."""
    _leave_transaction(session)
    statements = _statements(text) if _BY_STATEMENTS.search(text) else ()
    if not any(s.solo or s.control or _never_run(s) or _mentions_roles(s) for s in statements):
        try:
            session.execute(f"{_fresh(search_path)};\n{text}")  # a long history has many of these
        except DatabaseError:
            pass
        else:
            return
    _fresh_session(session, search_path)
    for statement in statements or _statements(text):
        _replay_statement(session, statement)


def _statements(text: str) -> tuple[Statement, ...]:
    try:
        return scripts.parse(text).statements
    except scripts.ScriptError:
        return ()


def _replay_statement(session: Session, statement: Statement) -> None:
    if _never_run(statement) or (_mentions_roles(statement) and session.in_transaction):
        return  # hardly a fact of a database comes from it
    try:
        if not _mentions_roles(statement):
            session.execute(statement.sql)
            return
        with session.transaction(), _server_unchanged(session, statement):
            session.execute(statement.sql)
    except (DatabaseError, _ServerChangedError):
        if statement.block is None:
            _leave_transaction(session)


def _mentions_roles(statement: Statement) -> bool:
    return statement.kind == "DO" and bool(_ROLES.search(statement.sql))
