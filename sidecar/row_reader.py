"""Reads what rows show of a failed migration's data statements: transaction ids and counts.

It only reads, in one transaction that is rolled back. What cannot be read (no right, a
table that is gone, no operator to compare with) is left open, never an error.

An age is `age(xmin)`: the number of transactions begun since the row was written, which
PostgreSQL computes wraparound-safe (PostgreSQL, "Routine Vacuuming", "Preventing Transaction
ID Wraparound Failures"). Freezing a row keeps its xmin since PostgreSQL 9.4.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

from sidecar.db import Session, identifier
from sidecar.errors import DatabaseError
from sidecar.model import (
    COLUMNS,
    FactKey,
    Ledger,
    Marks,
    RowChange,
    Seen,
    Statement,
    Verb,
    Window,
)
from sidecar.queries import SET_SEARCH_PATH

_DATED = frozenset({"column", "constraint", "index", "materialized view", "table", "type", "view"})
"""Kinds of facts whose catalog row can be found by name."""

_TIME_LIMIT = "SET LOCAL statement_timeout = '120s'; SET LOCAL row_security = off"
"""Row security must fail and not hide rows; a count that takes longer is not worth the wait."""

_NOW = """
SELECT (next & 4294967295)::text, pg_catalog.age((next & 4294967295)::text::xid), next >> 32 > 0
  FROM (SELECT pg_catalog.pg_snapshot_xmax(pg_catalog.pg_current_snapshot())::text::bigint)
       AS s(next)
"""
"""The next transaction id, its age, and whether ids have wrapped around."""

_AGE_OF_PRIMARY_KEY = """
SELECT pg_catalog.age(xmin) FROM pg_catalog.pg_index WHERE indrelid = %s::regclass AND indisprimary
"""
"""A restored dump makes the keys of a table after its rows."""

_AGES_OF_FACTS = """
WITH k AS (SELECT * FROM unnest(%s::text[], %s::text[], %s::text[]) k(kind, identity, "on"))
SELECT k.*, pg_catalog.age(a.xmin)
  FROM k JOIN pg_catalog.pg_attribute a ON a.attrelid = to_regclass(k."on")
                                       AND quote_ident(a.attname) = k.identity
 WHERE k.kind = 'column'
UNION ALL
SELECT k.*, pg_catalog.age(c.xmin)
  FROM k JOIN pg_catalog.pg_constraint c ON c.conrelid = to_regclass(k."on")
                                        AND quote_ident(c.conname) = k.identity
 WHERE k.kind = 'constraint'
UNION ALL
SELECT k.*, pg_catalog.age(t.xmin)
  FROM k JOIN pg_catalog.pg_type t ON t.typrelid = to_regclass(k.identity)
 WHERE k.kind = 'table' AND t.typtype = 'c'
UNION ALL
SELECT k.*, pg_catalog.age(i.xmin)
  FROM k JOIN pg_catalog.pg_index i ON i.indexrelid = to_regclass(k.identity)
 WHERE k.kind = 'index'
UNION ALL
SELECT k.*, pg_catalog.age(t.xmin)
  FROM k JOIN pg_catalog.pg_type t ON t.oid = to_regtype(k.identity)
 WHERE k.kind = 'type'
UNION ALL
SELECT k.*, pg_catalog.age(r.xmin)
  FROM k JOIN pg_catalog.pg_rewrite r ON r.ev_class = to_regclass(k.identity)
 WHERE k.kind IN ('view', 'materialized view')
"""
"""Of facts that have a catalog row of their own, how old it is in transactions."""


def marks(session: Session, ledger: Ledger, keys: Collection[FactKey]) -> Marks:
    """The ages of the ledger's rows, and of the catalog rows behind `keys`.

    All in one transaction, in which `age` counts from the same point.
    """
    table = identifier(ledger.schema, "_prisma_migrations")
    wanted = [key for key in keys if key.kind in _DATED]
    columns = [list(part) for part in zip(*wanted, strict=True)] or [[], [], []]
    with session.undone():
        now, base, wrapped = session.query(_NOW)[0]
        rows = session.query(f"SELECT id, pg_catalog.age(xmin) FROM {table}")  # noqa: S608 (quoted)
        keyed = session.query(_AGE_OF_PRIMARY_KEY, (table,))
        facts = session.query(_AGES_OF_FACTS, columns)
    return Marks(
        now=now,
        ledger={row: age - base for row, age in rows},
        key=keyed[0][0] - base if keyed else None,
        facts={FactKey(kind, identity, on): age - base for kind, identity, on, age in facts},
        wrapped=wrapped,
    )


def seen(
    session: Session,
    statements: Sequence[Statement],
    window: Window | None,
    *,
    keys: Mapping[int, tuple[str, ...]],
    search_path: str,
) -> dict[int, Seen]:
    """By statement index what the rows show; under the search path of the scripts.

    Without a window only what needs no transaction ids is counted. `keys` are the unique
    columns by which the rows of an INSERT are looked up. Once an INSERT is seen to have run,
    the window for the further INSERTs into its table opens after it.
    """
    found: dict[int, Seen] = {}
    windows: dict[tuple[str, ...], Window] = {}
    with session.undone():
        session.execute(_TIME_LIMIT)
        session.query(SET_SEARCH_PATH, (search_path,))
        for statement in statements:
            mine = windows.get(statement.writes, window)
            one = _seen(session, statement, mine, keys.get(statement.index, ()))
            found[statement.index] = one
            if mine and one.matched is not None and _keeps_what_it_gave(statement, statements):
                windows[statement.writes] = replace(mine, oldest=one.matched - 1)
    return found


def _keeps_what_it_gave(statement: Statement, statements: Sequence[Statement]) -> bool:
    """Whether, had another statement written to its table, the rows would not match any more."""
    return all(
        other.reach_known
        and (
            set(other.writes).isdisjoint(statement.writes)
            or (other.change is not None and _would_show(other.change, statement.change))
        )
        for other in statements
    )


def _would_show(other: RowChange, given: RowChange | None) -> bool:
    """More rows do, and other values in columns that were compared."""
    if other.verb is Verb.INSERT:
        return not other.writes
    compared = {column[1:-1].replace('""', '"') for column in given.fixed} if given else set()
    known = other.writes <= compared or bool(given and not given.columns)
    return other.verb is Verb.UPDATE and known and not other.volatile


def _seen(
    session: Session, statement: Statement, window: Window | None, key: tuple[str, ...]
) -> Seen:
    change = statement.change
    fresh = _fresh(session, statement, window) if window and statement.reach_known else None
    if change is None or not change.rows:
        return Seen(fresh=fresh)
    if change.verb is Verb.INSERT:
        picked, pending, same = _given(session, change, key)
        matched = _matched(session, change, window)
        return Seen(picked, pending, same, fresh=fresh, matched=matched)
    picked, pending, older, writers = _picked(session, change, window)
    return Seen(picked, pending, None, older, writers, fresh)


def _fresh(session: Session, statement: Statement, window: Window) -> int | None:
    """Rows of all the tables it writes that were written in the window."""
    counts = [
        _one_row(
            session,
            f"SELECT count(*) FROM {table} AS t WHERE {_inside('t', window)}",  # noqa: S608
        )
        for table in statement.writes
    ]
    known = [count[0] for count in counts if count]
    return sum(known) if known and len(known) == len(counts) else None


def _picked(
    session: Session, change: RowChange, window: Window | None
) -> tuple[int | None, int | None, int | None, int | None]:
    """picked, pending, older and writers of `Seen`."""
    counts = ["count(*)"]
    if window:
        age = _age(change.row, window)
        counts.append(f"count(*) FILTER (WHERE {age} > {window.oldest})")
        after = f"{age} < {window.oldest} AND {age} > {window.youngest}"
        counts.append(
            f"CASE WHEN bool_and({after}) THEN count(DISTINCT {change.row}.xmin::text) END"
        )
    row = _one_row(session, change.rows.replace(COLUMNS, ", ".join(counts), 1))
    picked, older, writers = (*(row or ()), None, None, None)[:3]
    pending = picked
    if change.differs:
        counted = f"count(*) FILTER (WHERE {change.differs})"
        pending = (_one_row(session, change.rows.replace(COLUMNS, counted, 1)) or (None,))[0]
    return picked, pending, older, writers


def _given(
    session: Session, change: RowChange, key: tuple[str, ...]
) -> tuple[int | None, int | None, int | None]:
    """picked, pending and same of `Seen` for an INSERT."""
    row = _one_row(session, change.rows.replace(COLUMNS, "count(*)", 1))
    picked = row[0] if row else None
    if not key:
        return picked, None, None
    by_key = " AND ".join(f"there.{column} = given.{column}" for column in key)
    whole = " AND ".join(
        f"there.{column}::text IS NOT DISTINCT FROM given.{column}::text" for column in change.fixed
    )
    unknown = " OR ".join(f"given.{column} IS NULL" for column in key)
    there = f"EXISTS (SELECT FROM {identifier(*change.table)} AS there WHERE"
    counts = (
        f"count(*) FILTER (WHERE NOT {there} {by_key})), "
        f"count(*) FILTER (WHERE {there} {by_key} AND {whole})), "
        f"count(*) FILTER (WHERE {unknown})"
    )
    row = _one_row(session, change.rows.replace(COLUMNS, counts, 1))
    if row is None or row[2]:
        return picked, None, None  # NULL equals nothing: such rows are always new
    return picked, row[0], row[1]


def _matched(session: Session, change: RowChange, window: Window | None) -> int | None:
    """The age of the one transaction in the window that wrote just the rows it gives now.

    Compared are the columns whose values do not change from run to run, as text.
    """
    whole = not change.columns and not change.volatile
    if window is None or not (change.fixed or whole) or change.table in change.reads:
        return None
    groups = _rows(
        session,
        f"SELECT xmin::text, max({_age('t', window)}) FROM {identifier(*change.table)} AS t "  # noqa: S608
        f"WHERE {_inside('t', window)} GROUP BY 1 LIMIT 20",
    )
    ages = [age for xid, age in groups if _is_written_by(session, change, str(xid))]
    return ages[0] if len(ages) == 1 else None


def _is_written_by(session: Session, change: RowChange, xid: str) -> bool:
    given = ", ".join(f"given.{column}::text" for column in change.fixed) or "given::text"
    there = ", ".join(f"there.{column}::text" for column in change.fixed) or "there::text"
    table = identifier(*change.table)
    written = f"SELECT {there} FROM {table} AS there WHERE there.xmin = '{xid}'"  # noqa: S608
    wanted = change.rows.replace(COLUMNS, given, 1)
    row = _one_row(
        session,
        f"WITH wanted AS MATERIALIZED ({wanted}), written AS MATERIALIZED ({written}) "  # noqa: S608
        "SELECT (SELECT count(*) FROM wanted), "
        "(SELECT count(*) FROM (TABLE wanted EXCEPT ALL TABLE written) AS a), "
        "(SELECT count(*) FROM (TABLE written EXCEPT ALL TABLE wanted) AS b)",
    )
    return row is not None and row[0] > 0 and row[1:] == (0, 0)


def _age(row: str, window: Window) -> str:
    """Its age as `Marks` has it, whatever has begun since."""
    return f"(pg_catalog.age({row}.xmin) - pg_catalog.age('{window.now}'::xid))"


def _inside(row: str, window: Window) -> str:
    age = _age(row, window)
    return f"{age} <= {window.oldest} AND {age} > {window.youngest}"


def _one_row(session: Session, query: str) -> tuple[Any, ...] | None:
    rows = _rows(session, query)
    return rows[0] if rows else None


def _rows(session: Session, query: str) -> list[tuple[Any, ...]]:
    """The rows, or none where it cannot be answered."""
    try:
        with session.undone():
            return session.query(query)
    except DatabaseError:
        return []
