"""Looks, after a repair that PostgreSQL refused, at what stands in its way; it only reads.

The repair is rolled back by then, and each look is over within seconds: nobody waits for it,
and where it cannot be answered the rest of the explanation stands without it.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import NamedTuple

from sidecar import causes, offending
from sidecar.causes import Denied
from sidecar.db import Session
from sidecar.errors import ConnectionLostError, DatabaseError, RepairError
from sidecar.model import COLUMNS, Plan
from sidecar.sql_text import quoted

COUNT_AT_MOST = 10_000
LOOK_AT_MOST = "5s"
_SAMPLES = 5
_SAMPLE_WIDTH = 80

_LIMITS = """
SET LOCAL transaction_read_only = on;
SET LOCAL statement_timeout = '{limit}';
SET LOCAL row_security = off
"""
"""Row security must fail and not hide rows."""

_PRIMARY_KEY = """
SELECT quote_ident(a.attname)
  FROM pg_catalog.pg_index i
  JOIN pg_catalog.pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = ANY (i.indkey)
 WHERE i.indrelid = %s::regclass AND i.indisprimary
 ORDER BY array_position(i.indkey::int2[], a.attnum)
"""

_FULL_NAME = """
SELECT format('%%I.%%I', n.nspname, c.relname)
  FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
 WHERE c.oid = to_regclass(quote_ident(%s))
UNION ALL
SELECT format('%%I.%%I', n.nspname, t.typname)
  FROM pg_catalog.pg_type t JOIN pg_catalog.pg_namespace n ON n.oid = t.typnamespace
 WHERE t.oid = to_regtype(quote_ident(%s)) AND to_regclass(quote_ident(%s)) IS NULL
"""
"""Errors of rights name objects without their schema."""


@dataclass(frozen=True, slots=True)
class Asked:
    """For whom, and how much may be told: as whom we are logged in, and the settings."""

    role: str
    statement_timeout_s: float
    show_values: bool


class _Found(NamedTuple):
    """What the look at the rows adds; `query` is '' where there is nothing to see."""

    says: str
    query: str


def explain(failure: RepairError, plan: Plan, session: Session, asked: Asked) -> None:
    """Add to a failure its cause and the commands that lead on; the repair is rolled back.

    Raises nothing: what cannot be found out is left out.
    """
    error = failure.refused
    if error is None or session.broken:
        return
    found = _found(failure, error, plan, session, asked)
    place = causes.Place(
        sql=failure.step.sql if failure.step else "",
        role=asked.role,
        statement_timeout_s=asked.statement_timeout_s,
        blockers=failure.blockers,
        denied=_denied(session, error),
    )
    cause = causes.explain(error, place)
    queries = [one.query for one in found if one.query]
    hidden = not asked.show_values and (queries or causes.hides_values(error))
    steps = [
        *queries,
        *cause.next_steps,
        *([f"To see the values: {causes.SHOW_VALUES}"] if hidden else []),
        causes.START_AGAIN,
    ]
    says = "; ".join(one.says for one in found) or cause.says
    failure.explained(says, tuple(steps))


# --- rows ------------------------------------------------------------------------


def _found(
    failure: RepairError, error: DatabaseError, plan: Plan, session: Session, asked: Asked
) -> list[_Found]:
    segment = next((s for s in plan.segments if failure.step in s.steps), plan.segments[-1])
    attempt = offending.Attempt(
        sql=failure.step.sql if failure.step else "",
        before=plan.before,
        expected=segment.expected,
        server_version=session.server_version,
    )
    looks = (
        _look(session, rows, show_values=asked.show_values)
        for rows in offending.offenders(error, attempt)
    )
    converts = error.sqlstate.startswith("22")  # there "none" may only mean: asked too simply
    return [found for found in looks if found and (found.query or not converts)]


def _look(session: Session, rows: offending.Offenders, *, show_values: bool) -> _Found | None:
    """What is found of such rows; None where the question makes no sense after the rollback."""
    query = ""
    try:
        with session.undone():
            session.execute(_LIMITS.format(limit=LOOK_AT_MOST))
            query = _query(session, rows)
            counted = _count(session, rows, query)
            if not counted[0]:
                says = f"no rows of {rows.table} {rows.which} now: the migration itself makes them"
                return _Found(says, "")
            samples = _samples(session, query) if show_values else ""
    except ConnectionLostError:
        return None
    except DatabaseError as exc:
        if not query or (exc.sqlstate.startswith("42") and exc.sqlstate != "42501"):
            return None  # it needs what the repair made, which is rolled back
        why = f"within {LOOK_AT_MOST}" if exc.sqlstate == "57014" else f"({exc.what})"
        return _Found(f"rows of {rows.table} {rows.which} could not be counted {why}", f"{query};")
    first = f"; first: {samples}" if show_values else ""
    return _Found(f"rows of {rows.table} {rows.which}: {_number(*counted)}{first}", f"{query};")


def _query(session: Session, rows: offending.Offenders) -> str:
    """The whole query: a row is told by its primary key, or else by its place."""
    keys = session.query(_PRIMARY_KEY, (rows.table,))
    columns = ", ".join(f"r.{key}" for (key,) in keys) or "r.ctid"
    return rows.query.replace(COLUMNS, columns, 1)


def _count(session: Session, rows: offending.Offenders, query: str) -> tuple[int, int | None]:
    """How many, at most one more than will be counted; of groups the rows in them, and they."""
    limited = f"FROM ({query} LIMIT {COUNT_AT_MOST + 1}) AS q"
    if COLUMNS in rows.query:
        return session.query(f"SELECT count(*) {limited}")[0][0], None
    total, groups = session.query(f"SELECT sum(times)::bigint, count(*) {limited}")[0]
    return total or 0, groups


def _number(count: int, groups: int | None) -> str:
    if (groups or count) > COUNT_AT_MOST:
        return f"more than {COUNT_AT_MOST}"
    if groups is None:
        return f"{count}"
    return f"{count} ({groups} value{'s' if groups > 1 else ''})"


def _samples(session: Session, query: str) -> str:
    found = session.query(
        f"SELECT left(q::text, {_SAMPLE_WIDTH}) FROM ({query} LIMIT {_SAMPLES}) AS q"  # noqa: S608
    )
    return ", ".join(text for (text,) in found)


# --- rights ----------------------------------------------------------------------


def _denied(session: Session, error: DatabaseError) -> Denied | None:
    """What a right is missing on, by its full name as SQL needs it."""
    asked = causes.denied(error)
    if asked is None or asked.kind in {"function", "procedure"}:
        return asked
    full = ""
    if asked.kind in {*causes.RELATIONS, "type"}:
        with suppress(DatabaseError, ConnectionLostError), session.undone():
            rows = session.query(_FULL_NAME, (asked.name,) * 3)
            full = rows[0][0] if rows else ""
    return asked._replace(name=full or quoted(asked.name))
