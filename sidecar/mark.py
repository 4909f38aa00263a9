"""How far a repair of several transactions has come, noted in the failed ledger row. Pure.

The note is written into `logs`, which Prisma never reads, by the very transaction that it is
about. So it is as true as what that transaction committed, also for data statements, of
which the catalog shows nothing.
"""

from __future__ import annotations

import hashlib
import re
from itertools import takewhile

from sidecar.model import Evidence, LedgerRow, Script, Step, StepKind
from sidecar.sql_text import literal

_MARK = re.compile(r"migration-sidecar: (\d+) of (\d+) statements of ([0-9a-f]{64}) are committed")


def mark(table: str, row: LedgerRow, script: Script, committed: int) -> Step:
    """Notes in the ledger row that the first `committed` statements are there.

    What the row's `logs` said before stays below.
    """
    total = len(script.statements)
    says = f"migration-sidecar: {committed} of {total} statements of {_print(script)} are committed"
    return Step(
        StepKind.MARK,
        f"UPDATE {table} SET logs = {literal(says)} || coalesce(chr(10) || logs, '') "  # noqa: S608
        f"WHERE id = {literal(row.id)} AND finished_at IS NULL AND rolled_back_at IS NULL",
        "a later run will know how far this one came",
    )


def committed(row: LedgerRow, script: Script) -> int | None:
    """What the latest mark in the row says of this very script, or None."""
    found = _MARK.match(row.logs or "")
    return int(found[1]) if found and found[3] == _print(script) else None


def narrowed(
    candidates: tuple[int, ...], noted: int, script: Script
) -> tuple[tuple[int, ...], Evidence]:
    """The candidates which agree with a mark, and what it says.

    After a mark only statements that run alone can have followed, or there would be a later
    one; more than that, somebody else has done.
    """
    alone = takewhile(lambda statement: statement.solo, script.statements[noted:])
    last = noted + sum(1 for _ in alone)
    own = tuple(k for k in candidates if noted <= k <= last)
    later = tuple(k for k in candidates if k >= noted)
    says = f"an earlier repair noted that it committed the first {noted} statements"
    if not later:
        return candidates, Evidence("ledger", f"{says}, which the catalog denies", against=True)
    return own or later, Evidence("ledger", says)


def _print(script: Script) -> str:
    return hashlib.sha256(script.text.encode()).hexdigest()
