"""Reads when the rows of ledger and catalog were written, in transaction ids.

An age is `age(xmin)`: the number of transactions begun since the row was written, which
PostgreSQL computes wraparound-safe (PostgreSQL, "Routine Vacuuming", "Preventing Transaction
ID Wraparound Failures"). Freezing a row keeps its xmin since PostgreSQL 9.4.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

from sidecar.db import Session, identifier
from sidecar.model import Drops, FactKey, Ledger, Marks

_DATED = frozenset(
    {"column", "constraint", "function", "materialized view", "policy", "procedure"}
    | {"sequence", "table", "trigger", "type", "view"}
)
"""Kinds of facts whose catalog row can be found by name."""

_NOW = """
SELECT next, (next & 4294967295)::text, pg_catalog.age((next & 4294967295)::text::xid)
  FROM (SELECT pg_catalog.pg_snapshot_xmax(pg_catalog.pg_current_snapshot())::text::bigint)
       AS s(next)
"""
"""The next transaction id, its age, and whether ids have wrapped around."""

_AGE = "SELECT pg_catalog.age(%s::xid)"

_OTHERS = """
SELECT EXISTS (SELECT FROM pg_catalog.generate_series(%s::bigint, %s::bigint) AS s(id)
                WHERE id <> %s::bigint
                  AND pg_catalog.pg_xact_status(id::text::xid8) IS DISTINCT FROM 'aborted')
"""
_FEW = 100_000
"""More transactions than this are not looked at one by one."""

_AGE_OF_PRIMARY_KEY = """
SELECT pg_catalog.age(xmin) FROM pg_catalog.pg_index WHERE indrelid = %s::regclass AND indisprimary
"""
"""A restored dump makes the keys of a table after its rows."""

_DROPPED = """
SELECT k."on", pg_catalog.age(t.xmin), pg_catalog.age(a.xmin)
  FROM unnest(%s::text[]) k("on") JOIN pg_catalog.pg_type t ON t.typrelid = to_regclass(k."on")
  LEFT JOIN pg_catalog.pg_attribute a
         ON a.attrelid = t.typrelid AND a.attisdropped AND a.attnum > 0
"""
"""A dropped column keeps its row of the catalog, which nothing writes after the drop (PostgreSQL,
"pg_attribute"; `RemoveAttributeById` in its heap.c)."""


_AT_LEAST = """
WITH k AS (SELECT * FROM unnest(%s::text[], %s::text[], %s::text[]) k(kind, identity, "on"))
SELECT k.*, pg_catalog.age(r.xmin)
  FROM k JOIN pg_catalog.pg_class r ON r.oid = to_regclass(k.identity)
 WHERE k.kind IN ('index', 'table')
UNION ALL
SELECT k.*, pg_catalog.age(a.xmin)
  FROM k JOIN pg_catalog.pg_attribute a ON a.attrelid = to_regclass(k."on")
                                       AND quote_ident(a.attname) = k.identity
 WHERE k.kind = 'column'
UNION ALL
SELECT k.*, (SELECT min(pg_catalog.age(e.xmin)) FROM pg_catalog.pg_enum e WHERE e.enumtypid = t.oid)
  FROM k JOIN pg_catalog.pg_type t ON t.oid = to_regtype(k.identity)
 WHERE k.kind = 'type' AND t.typtype = 'e'
UNION ALL
SELECT k.*, pg_catalog.age(n.xmin)
  FROM k JOIN pg_catalog.pg_namespace n ON quote_ident(n.nspname) = k.identity
 WHERE k.kind = 'schema'
UNION ALL
SELECT k.*, pg_catalog.age(e.xmin)
  FROM k JOIN pg_catalog.pg_extension e ON quote_ident(e.extname) = k.identity
 WHERE k.kind = 'extension'
UNION ALL
SELECT k.*, pg_catalog.age(c.xmin)
  FROM k JOIN pg_catalog.pg_constraint c ON c.conrelid = to_regclass(k."on")
                                        AND quote_ident(c.conname) = k.identity
 WHERE k.kind = 'constraint'
"""
"""Other changes, GRANT and REINDEX write these rows too: what they tell of may be older still."""


def marks(
    session: Session,
    ledger: Ledger,
    keys: Collection[FactKey],
    bare: Collection[FactKey] = frozenset(),
) -> Marks:
    """The ages of the ledger's rows, and of the catalog rows behind `keys`.

    `bare` are those columns among them which were added without a default.

    All in one transaction, in which `age` counts from the same point.
    """
    table = identifier(ledger.schema, "_prisma_migrations")
    with session.undone():
        counter, now, base = session.query(_NOW)[0]
        rows = session.query(f"SELECT id::text, pg_catalog.age(xmin) FROM {table}")  # noqa: S608 (quoted)
        keyed = session.query(_AGE_OF_PRIMARY_KEY, (table,))
        facts = _ages(session, keys, base, bare)
        dropped = _dropped(session, {key.on for key in keys if key.kind == "column"}, base)
    return Marks(
        now=now,
        ledger={row: age - base for row, age in rows},
        key=keyed[0][0] - base if keyed else None,
        facts=facts,
        counter=counter,
        dropped=dropped,
    )


def _dropped(session: Session, tables: Collection[str], base: int) -> dict[str, Drops]:
    found: dict[str, Drops] = {}
    for table, made, age in session.query(_DROPPED, (sorted(tables),)):
        known = found.get(table, Drops(made - base, frozenset()))
        new = frozenset[int]() if age is None else frozenset({age - base})
        found[table] = replace(known, ages=known.ages | new)
    return found


def at_least(session: Session, read: Marks, keys: Collection[FactKey]) -> dict[FactKey, int]:
    """How old these facts are at least, as in `read`, of which others may write the rows too."""
    with session.undone():
        base = session.query(_AGE, (read.now,))[0][0]
        rows = session.query(_AT_LEAST, _columns(keys))
        return {FactKey(*key): age - base for *key, age in rows if age is not None}


def youngest(session: Session, read: Marks, keys: Collection[FactKey]) -> int | None:
    """The age of the youngest of these objects, as in `read`; columns only if no other is young.

    Young is what is not older than all rows of the ledger.
    """
    found: list[int] = []
    for kinds in ({"table", "type"}, {"column"}):
        with session.undone():
            base = session.query(_AGE, (read.now,))[0][0]
            found += _ages(session, [key for key in keys if key.kind in kinds], base).values()
        if found and min(found) < max(read.ledger.values()):
            break
    return min(found, default=None)


def counter(session: Session) -> int:
    """The transaction id that comes next, in 64 bits."""
    return int(session.query(_NOW)[0][0])


def nothing_committed(session: Session, read: Marks, row: str, *, since: int, until: int) -> bool:
    """Whether every transaction younger than the age `since` and before the id `until` failed.

    But for the one that wrote the ledger's row `row`. It holds for all databases of the
    server; ids of which nothing is known any more count as committed, and so do those still
    at work (PostgreSQL, "Transaction ID and Snapshot Information Functions").
    """
    first = read.counter - since + 1
    if until - first > _FEW:
        return False
    own = read.counter - read.ledger[row]
    return not session.query(_OTHERS, (first, until - 1, own))[0][0]


def _ages(
    session: Session,
    keys: Collection[FactKey],
    base: int,
    bare: Collection[FactKey] = frozenset(),
) -> dict[FactKey, int]:
    """Of the catalog rows behind `keys`, where they can be found; `base` is the age of `now`."""
    query = Path(__file__).with_name("ages.sql").read_text(encoding="utf-8")
    wanted = [key for key in keys if key.kind in _DATED]
    columns = (*_columns(wanted), [key in bare for key in wanted])
    return {FactKey(*key): age - base for *key, age in session.query(query, columns)}


def _columns(keys: Collection[FactKey]) -> list[list[str]]:
    """The kinds, identities and "on" of facts."""
    return [list(part) for part in zip(*keys, strict=True)] or [[], [], []]
