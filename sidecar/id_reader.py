"""Reads when the rows of ledger and catalog were written, in transaction ids.

An age is `age(xmin)`: the number of transactions begun since the row was written, which
PostgreSQL computes wraparound-safe (PostgreSQL, "Routine Vacuuming", "Preventing Transaction
ID Wraparound Failures"). Freezing a row keeps its xmin since PostgreSQL 9.4.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from sidecar.db import Session, identifier
from sidecar.model import FactKey, Ledger, Marks

_DATED = frozenset(
    {"column", "constraint", "function", "materialized view", "policy", "procedure"}
    | {"sequence", "table", "trigger", "type", "view"}
)
"""Kinds of facts whose catalog row can be found by name."""

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
        facts = session.query(_ages_of_facts(), columns)
    return Marks(
        now=now,
        ledger={row: age - base for row, age in rows},
        key=keyed[0][0] - base if keyed else None,
        facts={FactKey(kind, identity, on): age - base for kind, identity, on, age in facts},
        wrapped=wrapped,
    )


def _ages_of_facts() -> str:
    return Path(__file__).with_name("ages.sql").read_text(encoding="utf-8")
