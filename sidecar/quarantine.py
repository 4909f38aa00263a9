"""Where rows go when a table that the failed migration created must go. Pure.

Rows are never dropped: the table is moved to a schema of its own, under a name that nothing else
has there, and the plan says with which SQL its rows come back into the rebuilt table.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from graphlib import CycleError, TopologicalSorter

from sidecar.model import Change, FactKey, Hazard, Step, StepKind
from sidecar.sql_text import last_name, literal, plain, quoted

QUARANTINE = "migration_sidecar_quarantine"
_NAME_LIMIT = 54
"""Bytes of the old name that stay in the new one; with `_` and 8 digits it has at most 63."""
_IDENTITY_SEQUENCE = re.compile(
    r'AS IDENTITY \(SEQUENCE NAME ((?:"(?:[^"]|"")*"|[^". ]+)\.(?:"(?:[^"]|"")*"|[^". ]+)) '
)
_COUNTED_BY = re.compile(r"DEFAULT nextval\(('(?:[^']|'')+')::regclass\)")
_CALLS = re.compile(r" DEFAULT .*\(")
_BACK = "bring them back with: "


def referenced_first(net: Mapping[FactKey, Change], tables: list[str]) -> list[str]:
    """The order in which foreign keys let their rows come back, if there is one."""
    keys = [(key.on, change.after or "") for key, change in net.items() if key.on in tables]
    graph = {
        table: [
            other
            for other in tables
            if other != table and any(on == table and _refers(text, other) for on, text in keys)
        ]
        for table in tables
    }
    try:
        return list(TopologicalSorter(graph).static_order())
    except CycleError:
        return tables


def _refers(definition: str, table: str) -> bool:
    return definition.startswith("FOREIGN KEY") and f" REFERENCES {table}(" in definition


def moves_aside(
    net: Mapping[FactKey, Change], *, moved: list[str], tag: str, filled: Collection[str]
) -> Iterator[Step]:
    """The steps that move these tables aside, and the types they may use with them.

    `net` are the changes that the migration made, `filled` and `tag` are as in `undo`.
    """
    reason = "what must go but holds rows is kept there"
    types = [k.identity for k, c in sorted(net.items()) if k.kind == "type" and c.before is None]
    yield Step(StepKind.QUARANTINE, f"CREATE SCHEMA IF NOT EXISTS {QUARANTINE}", reason)
    for table in moved:
        for sql in _separating(net, table, tag):
            yield Step(StepKind.QUARANTINE, sql, "what is kept there is nobody else's")
        own = ", of which the script puts its own in again: leave them out" * (table in filled)
        back = f"keeps the rows of {table}{own}; {_BACK}{_restoring(net, table, types, tag)}"
        yield from _move("TABLE", table, tag, reason=back)
    for identity in types:
        yield from _move("TYPE", identity, tag, reason="columns of the kept rows are of this type")


def _separating(net: Mapping[FactKey, Change], table: str, tag: str) -> Iterator[str]:
    """Rename the indexes and sequences, which go where the table goes (PostgreSQL, "ALTER TABLE").

    Defaults that call something go: it may have to be dropped.
    """
    for key, change in sorted(net.items()):
        text, along = change.after or "", ""
        if (key.kind, key.on) == ("index", table):
            along = f"INDEX {key.identity}"
        elif (key.kind, key.on) == ("column", table):
            if _CALLS.search(text):
                yield f"ALTER TABLE {table} ALTER COLUMN {key.identity} DROP DEFAULT"
            elif found := _IDENTITY_SEQUENCE.search(text):
                along = f"SEQUENCE {found[1]}"
        elif key.kind == "sequence" and f" OWNED BY {table}." in text:
            along = f"SEQUENCE {key.identity}"
        if along:
            name = _new_name(along.partition(" ")[2], tag)[1]
            yield f"ALTER {along} RENAME TO {name}"


def _restoring(net: Mapping[FactKey, Change], table: str, types: list[str], tag: str) -> str:
    """The SQL that brings its rows back into the rebuilt table.

    Columns of a type that moves along are cast by way of text to the rebuilt type of its
    name; generated columns compute themselves.
    """
    columns = {
        key.identity: c.after or ""
        for key, c in sorted(net.items())
        if key.on == table and key.kind == "column"
    }
    values: dict[str, str] = {}
    for name, definition in columns.items():
        if "GENERATED ALWAYS AS (" in definition:
            continue
        forms = (re.match(re.escape(one) + r"(\[\])*(?= |$)", definition) for one in types)
        cast = next((f"::text::{form.group()}" for form in forms if form), "")
        values[name] = name + cast
    given = (
        " OVERRIDING SYSTEM VALUE"
        if any("GENERATED ALWAYS AS IDENTITY" in d for d in columns.values())
        else ""
    )
    sql = (
        f"INSERT INTO {table} ({', '.join(values)}){given} "  # noqa: S608 (as facts quote them)
        f"SELECT {', '.join(values.values())} FROM ONLY {QUARANTINE}.{_new_name(table, tag)[1]};"
    )
    for name, definition in columns.items():  # or the next row would get a number that is taken
        if counted := _sequence_of(table, name, definition):
            last = f"greatest(nextval({counted}), max({name}))"
            sql += f" SELECT setval({counted}, {last}) FROM {table};"  # noqa: S608 (the same)
    return sql


def _sequence_of(table: str, column: str, definition: str) -> str:
    """The SQL that names the sequence which numbers the rows, or ''."""
    if "AS IDENTITY" in definition:
        return f"pg_get_serial_sequence({literal(table)}, {literal(plain(column))})"
    found = _COUNTED_BY.search(definition)
    return found[1] if found else ""


def _new_name(identity: str, tag: str) -> tuple[str, str]:
    """The schema with its dot, and the object's name in quarantine, both quoted."""
    bare = last_name(identity)
    short = plain(bare).encode()[:_NAME_LIMIT].decode(errors="ignore")
    unique = hashlib.sha256(f"{tag} {identity}".encode()).hexdigest()[:8]
    return identity[: -len(bare)], quoted(f"{short}_{unique}")


def _move(what: str, identity: str, tag: str, *, reason: str) -> Iterator[Step]:
    schema, name = _new_name(identity, tag)
    yield Step(StepKind.QUARANTINE, f"ALTER {what} {identity} RENAME TO {name}", reason)
    yield Step(
        StepKind.QUARANTINE,
        f"ALTER {what} {schema}{name} SET SCHEMA {QUARANTINE}",
        reason,
        Hazard.LOCKS,
    )


def ways_back(steps: Iterable[Step]) -> tuple[str, ...]:
    """How the rows which these steps moved aside come back, a sentence for each table."""
    moved = (step.reason for step in steps if step.kind is StepKind.QUARANTINE)
    return tuple(dict.fromkeys(reason for reason in moved if _BACK in reason))
