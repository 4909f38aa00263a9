"""What `rebuild` takes back: exactly what the failed migration created. Pure.

The effects of the statements that ran say what came into being; it is dropped in reverse
order and without CASCADE, so that anything the facts did not show stops the repair instead
of disappearing. A table that holds rows is moved aside, never dropped. What the
migration changed or removed cannot be put back from facts, and is named instead.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass

from sidecar.model import Change, Effect, FactKey, Hazard, Step, StepKind

QUARANTINE = "migration_sidecar_quarantine"
_NAME_LIMIT = 54
"""Bytes of the old name that stay in the new one; with `_` and 8 digits it has at most 63."""

_ORDER = (
    "event trigger",
    "publication",
    "trigger",
    "policy",
    "rule",
    "view",
    "materialized view",
    "constraint",
    "index",
    "statistics",
    "column",
    "table",
    "sequence",
    "function",
    "procedure",
    "aggregate",
    "type",
    "extension",
    "schema",
)
"""Kinds we know how to drop, what depends on others first."""

_VANISHES_WITH_ITS_OWNER = frozenset({"index", "sequence"})
_SET_AGAIN_BY_THE_SCRIPT = frozenset({"comment", "privilege", "default privilege"})
_LAST_NAME = re.compile(r'("(?:[^"]|"")*"|[^".]+)$')


_GIVES_VALUES = re.compile(r"\b(DEFAULT|GENERATED)\b")
"""In the definition of a column: then rows hold values there that nobody wrote."""

_BACK = "bring them back with: "


@dataclass(frozen=True, slots=True)
class Undo:
    """The steps back, or in `obstacles` why there is no way back."""

    steps: tuple[Step, ...]
    obstacles: tuple[str, ...]


def undo(effects: tuple[Effect, ...], *, occupied: Collection[str], tag: str) -> Undo:
    """Steps which undo `effects`, those of the statements that ran, in their order.

    `occupied` are the created tables that hold rows, named as facts name them; `tag` makes
    names in the quarantine unique.
    """
    net = _net_changes(effects)
    created = {key for key, change in net.items() if change.before is None}
    whole = {key.identity for key in created if not key.on}
    parts = {key: change for key, change in net.items() if key.on not in whole}
    obstacles = sorted(_obstacles(parts))
    if obstacles:
        return Undo((), tuple(obstacles))
    moved = sorted(key.identity for key in created if key.identity in occupied)
    steps = list(_quarantine_steps(net, moved, tag)) if moved else []
    for key in reversed(_creation_order(effects, parts)):
        if key.identity not in moved and not (moved and key.kind == "type"):
            steps.extend(_drop(key))
    return Undo(tuple(steps), ())


def ways_back(steps: Iterable[Step]) -> tuple[str, ...]:
    """How the rows which these steps moved aside come back, a sentence for each table."""
    moved = (step.reason for step in steps if step.kind is StepKind.QUARANTINE)
    return tuple(dict.fromkeys(reason for reason in moved if _BACK in reason))


def created_tables(effects: tuple[Effect, ...]) -> tuple[str, ...]:
    """The tables these statements created and left, as facts name them."""
    net = _net_changes(effects)
    return tuple(
        sorted(k.identity for k, c in net.items() if k.kind == "table" and c.before is None)
    )


def _net_changes(effects: tuple[Effect, ...]) -> Mapping[FactKey, Change]:
    """From before the first effect to after the last, what is different."""
    net: dict[FactKey, Change] = {}
    for change in (change for effect in effects for change in effect):
        before = net[change.key].before if change.key in net else change.before
        net[change.key] = Change(change.key, before, change.after)
    return {key: change for key, change in net.items() if change.before != change.after}


def _obstacles(parts: Mapping[FactKey, Change]) -> Iterator[str]:
    for key, change in parts.items():
        if key.kind in _SET_AGAIN_BY_THE_SCRIPT:
            continue
        if change.after is None:
            yield f"{key} was removed and cannot be put back"
        elif change.before is not None:
            yield f"{key} was changed and cannot be put back"
        elif key.kind == "column" and _GIVES_VALUES.search(change.after):
            yield f"{key} was created with values; which are the application's cannot be told"
        elif key.kind not in _ORDER and key.kind != "not-null":
            yield f"{key} was created; undoing that kind is not supported"


def _creation_order(effects: tuple[Effect, ...], parts: Mapping[FactKey, Change]) -> list[FactKey]:
    """Created facts that need a DROP, oldest first; within a statement dependents last."""
    ordered: dict[FactKey, None] = {}
    for effect in effects:
        keys = [c.key for c in effect if c.key in parts and c.key.kind in _ORDER]
        for key in sorted(keys, key=lambda key: -_ORDER.index(key.kind)):
            ordered.setdefault(key)
    return list(ordered)


def _drop(key: FactKey) -> Iterator[Step]:
    """DROP for one fact; what could hold rows is locked and must be empty first."""
    guard = ""
    match key.kind:
        case "constraint":
            sql = f"ALTER TABLE {key.on} DROP CONSTRAINT {key.identity}"
        case "column":
            sql = f"ALTER TABLE {key.on} DROP COLUMN {key.identity}"
            guard = f"SELECT EXISTS (SELECT FROM {key.on} WHERE {key.identity} IS NOT NULL)"
        case "trigger" | "policy" | "rule":
            sql = f"DROP {key.kind.upper()} {key.identity} ON {key.on}"
        case "function" | "procedure" | "aggregate":
            sql = f"DROP ROUTINE {key.identity}"
        case "table":
            sql = f"DROP TABLE {key.identity}"
            guard = f"SELECT EXISTS (SELECT FROM {key.identity})"
        case kind:
            optional = "IF EXISTS " if kind in _VANISHES_WITH_ITS_OWNER else ""
            sql = f"DROP {kind.upper()} {optional}{key.identity}"
    if guard:
        lock = f"LOCK TABLE {key.on or key.identity} IN ACCESS EXCLUSIVE MODE"
        yield Step(StepKind.UNDO, lock, "nobody may add rows meanwhile", Hazard.LOCKS)
    reason = f"this migration created it: {key}"
    yield Step(StepKind.UNDO, sql, reason, Hazard.DROPS, must_be_empty=guard)


# --- quarantine ------------------------------------------------------------------


def _quarantine_steps(net: Mapping[FactKey, Change], moved: list[str], tag: str) -> Iterator[Step]:
    """Move tables with rows aside, and the types they may use with them."""
    reason = "what must go but holds rows is kept there"
    types = [k.identity for k, c in sorted(net.items()) if k.kind == "type" and c.before is None]
    yield Step(StepKind.QUARANTINE, f"CREATE SCHEMA IF NOT EXISTS {QUARANTINE}", reason)
    for table in moved:
        for key, change in sorted(net.items()):
            if key.on == table and (change.after or "").startswith("FOREIGN KEY"):
                yield Step(
                    StepKind.QUARANTINE,
                    f"ALTER TABLE {table} DROP CONSTRAINT {key.identity}",
                    "rows in quarantine must not bind the rows of other tables",
                    Hazard.LOCKS,
                )
        yield from _move("TABLE", table, tag, reason=_restoring(net, table, types, tag))
    for identity in types:
        yield from _move("TYPE", identity, tag, reason="columns of the kept rows are of this type")


def _restoring(net: Mapping[FactKey, Change], table: str, types: list[str], tag: str) -> str:
    """Why the table is kept, with the SQL that brings its rows back into the rebuilt one.

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
        f"INSERT INTO {table} ({', '.join(values)}){given} "
        f"SELECT {', '.join(values.values())} FROM {QUARANTINE}.{_new_name(table, tag)[1]};"
    )
    counted = [n for n, d in columns.items() if "nextval(" in d or "AS IDENTITY" in d]
    return f"keeps the rows of {table}; {_BACK}{sql}" + "".join(
        f" SELECT setval(pg_get_serial_sequence({literal(table)}, {literal(_plain(name))}), "
        f"max({name})) FROM {table};"
        for name in counted  # or the next row would get a number that is taken
    )


def _plain(identity: str) -> str:
    return identity[1:-1].replace('""', '"') if identity.startswith('"') else identity


def literal(value: str) -> str:
    """A string literal, for a session with `standard_conforming_strings` on."""
    return "'" + value.replace("'", "''") + "'"


def _new_name(identity: str, tag: str) -> tuple[str, str]:
    """The schema with its dot, and the object's name in quarantine, both quoted."""
    found = _LAST_NAME.search(identity)
    bare = found.group(1) if found else identity
    short = _plain(bare).encode()[:_NAME_LIMIT].decode(errors="ignore")
    unique = hashlib.sha256(f"{tag} {identity}".encode()).hexdigest()[:8]
    name = '"' + f"{short}_{unique}".replace('"', '""') + '"'
    return identity[: -len(bare)], name


def _move(what: str, identity: str, tag: str, *, reason: str) -> Iterator[Step]:
    schema, name = _new_name(identity, tag)
    yield Step(StepKind.QUARANTINE, f"ALTER {what} {identity} RENAME TO {name}", reason)
    yield Step(
        StepKind.QUARANTINE,
        f"ALTER {what} {schema}{name} SET SCHEMA {QUARANTINE}",
        reason,
        Hazard.LOCKS,
    )
