"""The proof that is demanded before COMMIT. Pure.

Three things must hold inside the transaction of the repair: what the migration touches is
as a clean run leaves it; nothing else in the catalog changed; no row changed in a table
that the migration's own statements do not write.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from sidecar.model import Difference, FactKey, Facts, Plan, Proof
from sidecar.undo import QUARANTINE

_FOLLOWS_AN_OBJECT = frozenset({"privilege"})
"""Facts which default privileges of the live database add to a new object by themselves."""

_PASSES_ON = frozenset({"constraint", "table", "trigger", "rule"})
_PASSED_FROM = (
    re.compile(r"REFERENCES (\S+?)\(.*ON (?:DELETE|UPDATE) (?:CASCADE|SET)"),
    re.compile(r"(?:PARTITION OF|INHERITS) \(?([^\s,)]+)"),
)


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows written by this transaction and the storage of every table, by the facts' names.

    `changed` is None where the server does not count (`track_counts` off).
    """

    changed: Mapping[str, int] | None
    files: Mapping[str, tuple[int, int]]
    """Table -> (oid, relfilenode): a new file under an old oid means rewritten or truncated."""


def prove(
    plan: Plan, *, before: Facts, after: Facts, rows_before: Rows, rows_after: Rows, ledger: str
) -> Proof:
    """What differs from a clean run, and what changed that should not have.

    `ledger` is the quoted name of the ledger, whose rows the repair itself writes.
    """
    differences = tuple(
        Difference(key, expected=value, found=after.get(key))
        for key, value in sorted(plan.expected.items())
        if after.get(key) != value
    )
    others = {key for key in (*before, *after) if key not in plan.expected}
    touched = {name for key in plan.expected for name in (key.identity, key.on) if name}
    violations = [
        f"{key} changed from {before.get(key)!r} to {after.get(key)!r}"
        for key in sorted(others)
        if before.get(key) != after.get(key) and not _allowed(key, before, touched)
    ]
    violations += _row_violations(
        plan, {**before, **after}, rows_before, rows_after, touched, ledger
    )
    return Proof(
        touched_facts=len(plan.expected),
        other_facts=len(others),
        tables_counted=len(rows_after.files),
        differences=differences,
        violations=tuple(violations),
    )


def _allowed(key: FactKey, before: Facts, touched: set[str]) -> bool:
    """Additions to the quarantine, and default privileges on what the migration touches."""
    if key in before:
        return False
    if QUARANTINE in {key.identity.split(".")[0], key.on.split(".")[0]}:
        return True
    return key.kind in _FOLLOWS_AN_OBJECT and any(name in key.on for name in touched)


def _row_violations(
    plan: Plan, facts: Facts, before: Rows, after: Rows, touched: set[str], ledger: str
) -> list[str]:
    """Rows that changed where no data statement of the migration writes.

    Where a statement calls code (a function, DO), its reach is the user's own and not judged.
    """
    written = _reach(plan.writes, facts)
    if not plan.reach_known or after.changed is None or written is None:
        return []
    earlier = before.changed or {}  # the session's counts are kept until they are reported
    violations = [
        f"{count - earlier.get(table, 0)} rows of {table} changed, which the migration never writes"
        for table, count in sorted(after.changed.items())
        if count != earlier.get(table, 0) and table != ledger and _bare(table) not in written
    ]
    violations += [
        f"the storage of {table} was replaced, which the migration does not touch"
        for table, (oid, file) in sorted(before.files.items())
        if after.files.get(table, (oid, file)) != (oid, file) and table not in touched
    ]
    return violations


def _reach(writes: tuple[str, ...], facts: Facts) -> set[str] | None:
    """Tables (bare names) that writing to `writes` may change, or None where code decides.

    Foreign keys pass changes on (CASCADE, SET NULL, SET DEFAULT), and partitions hold the
    rows of their parent.
    """
    reached = {_bare(name) for name in writes}
    followers = [(key, text) for key, text in facts.items() if key.kind in _PASSES_ON]
    grown = True
    while grown:
        if any(
            key.kind in {"trigger", "rule"} and _bare(key.on) in reached for key, _ in followers
        ):
            return None
        more = {
            _bare(key.on or key.identity)
            for key, text in followers
            if any(_bare(n) in reached for form in _PASSED_FROM for n in form.findall(text))
        }
        grown = not more <= reached
        reached |= more
    return reached


def _bare(name: str) -> str:
    return name.rsplit(".", 1)[-1].strip('"').lower()
