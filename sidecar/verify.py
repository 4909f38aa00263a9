"""The proof that is demanded before COMMIT. Pure.

Three things must hold inside the transaction of the repair: what the migration touches is
as a clean run leaves it; nothing else in the catalog changed; no row changed in a table
that the migration's own statements do not write.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from sidecar.consequences import Lineage, consequences
from sidecar.model import Change, Difference, FactKey, Facts, Plan, Proof, Table
from sidecar.quarantine import QUARANTINE
from sidecar.table_names import parts

Said = tuple[tuple[FactKey, str], ...]
"""Facts of several moments: one key may be there with several definitions."""

_FOLLOWS_AN_OBJECT = frozenset({"privilege"})
"""Facts which default privileges of the live database add to a new object by themselves."""

_RUNS_CODE = frozenset({"trigger", "rule", "view"})
_FILLED = re.compile(r" (?:DEFAULT|GENERATED) ")
_NAME = r'(?:"(?:[^"]|"")*"|[^\s"(),])+'
_PASSED_FROM = re.compile(
    rf"REFERENCES ({_NAME})\(.*ON (?:DELETE|UPDATE) (?:CASCADE|SET)"
    rf"|(?:PARTITION OF|INHERITS) ({_NAME}(?:, {_NAME})*)",
    re.DOTALL,
)
_IDENTITY_SEQUENCE = re.compile(rf"SEQUENCE NAME ({_NAME}) ")


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows written by this transaction and the storage of every table, by the facts' names.

    `changed` is None where the server does not count (`track_counts` off).
    """

    changed: Mapping[str, int] | None
    files: Mapping[str, tuple[int, int]]
    """Table -> (oid, relfilenode): a new file under an old oid means rewritten or truncated."""


UNCOUNTED = Rows(changed=None, files={})
"""Outside a transaction nothing tells our own rows from those of others."""


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
    owners = _stand_alone(plan.expected)
    changed = [
        Change(key, before.get(key), after.get(key))
        for key in sorted(others)
        if before.get(key) != after.get(key)
    ]
    said = _ever_said(plan, before, after)
    lineage = Lineage(said)
    unknown = tuple(change for change in changed if change.key not in plan.known)
    followed = consequences(unknown, plan.effects, lineage)
    violations = [
        f"{change.key} changed from {change.before!r} to {change.after!r}"
        for change in changed
        if change.key not in followed and not _allowed(change.key, before, owners)
    ]
    rewritten = {change.key.on for effect in plan.effects for change in effect if _rewrites(change)}
    touched |= {table for table in rows_before.files if lineage.ancestors(table) & rewritten}
    violations += _row_violations(plan, said, rows_before, rows_after, touched, ledger)
    return Proof(
        touched_facts=len(plan.expected),
        other_facts=len(others),
        tables_counted=len(rows_after.files),
        differences=differences,
        violations=tuple(violations),
    )


def _ever_said(plan: Plan, before: Facts, after: Facts) -> Said:
    """All facts before, after and between: a trigger may be made, fire, and be dropped again."""
    changes = [change for effect in plan.effects for change in effect]
    between = [(c.key, text) for c in changes for text in (c.before, c.after) if text is not None]
    return (*before.items(), *after.items(), *between)


def _rewrites(change: Change) -> bool:
    """Whether the rows of its table, and of partitions and heirs, may have to be written anew."""
    if change.key.kind != "column" or change.after is None:
        return False
    return change.before is not None or bool(_FILLED.search(change.after))


def _allowed(key: FactKey, before: Facts, owners: set[str]) -> bool:
    """Additions to the quarantine, and default privileges on what the migration touches."""
    if key in before:
        return False
    if QUARANTINE in {key.identity.split(".")[0], key.on.split(".")[0]}:
        return True
    return key.kind in _FOLLOWS_AN_OBJECT and (key.on in owners or f" {QUARANTINE}." in key.on)


def _stand_alone(expected: Mapping[FactKey, str | None]) -> set[str]:
    """The objects of these facts as privileges spell them, identity sequences included."""
    whole = {f"{key.kind} {key.identity}" for key in expected if not key.on}
    texts = (text for text in expected.values() if text)
    return whole | {f"sequence {n}" for text in texts for n in _IDENTITY_SEQUENCE.findall(text)}


def _row_violations(
    plan: Plan, facts: Said, before: Rows, after: Rows, touched: set[str], ledger: str
) -> list[str]:
    """Rows that changed where no data statement of the migration writes.

    Where a statement calls code (a function, DO), its reach is the user's own and not judged.
    """
    written = _reach(plan.writes, facts)
    if not plan.reach_known or after.changed is None or written is None:
        return []
    earlier = before.changed or {}  # the session's counts are kept until they are reported
    written |= _reach((ledger,), facts) or {parts(ledger)}  # it may be partitioned
    violations = [
        f"{count - earlier.get(table, 0)} rows of {table} changed, which the migration never writes"
        for table, count in sorted(after.changed.items())
        if count != earlier.get(table, 0) and not _among(parts(table), written)
    ]
    violations += [
        f"the storage of {table} was replaced, which the migration does not touch"
        for table, (oid, file) in sorted(before.files.items())
        if after.files.get(table, (oid, file)) != (oid, file)
        and table not in touched
        and not _among(parts(table), written)  # TRUNCATE, REFRESH MATERIALIZED VIEW
    ]
    return violations


def _reach(writes: tuple[str, ...], facts: Said) -> set[Table] | None:
    """Tables that writing to `writes` may change, or None where code decides.

    Foreign keys pass changes on (CASCADE, SET NULL, SET DEFAULT), and partitions hold the
    rows of their parent; a view passes them to the tables of its query.
    """
    reached = {parts(name) for name in writes}
    code = {parts(key.on or key.identity) for key, _ in facts if key.kind in _RUNS_CODE}
    links = [
        (parts(key.on or key.identity), tuple(_sources(text)))
        for key, text in facts
        if key.kind in {"constraint", "table"}
    ]
    more = reached
    while more:
        more = {
            table
            for table, sources in links
            if table not in reached and any(_among(source, reached) for source in sources)
        }
        reached = reached | more
    return None if any(_among(name, reached) for name in code) else reached


def _sources(definition: str) -> Iterator[Table]:
    """The tables whose changes are passed on to the one with this definition."""
    for found in _PASSED_FROM.finditer(definition):
        yield from map(parts, re.findall(_NAME, found[1] or found[2]))


def _among(table: Table, names: set[Table]) -> bool:
    """Whether one of the names, some without their schema, can mean this table."""
    return table in names or table[-1:] in names
