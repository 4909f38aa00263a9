"""What `rebuild` takes back: exactly what the failed migration created. Pure.

The effects of the statements that ran say what came into being; it is dropped in reverse
order and without CASCADE, so that anything the facts did not show stops the repair instead
of disappearing. A table that holds rows is moved aside, never dropped. What the
migration changed or removed cannot be put back from facts, and is named instead.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

from sidecar.model import Change, Effect, FactKey, Hazard, Step, StepKind
from sidecar.quarantine import moves_aside, referenced_first

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

_TIES = frozenset({"policy", "rule", "statistics", "trigger"})
_VANISHES_WITH_ITS_OWNER = frozenset({"index", "sequence"})
_SET_AGAIN_BY_THE_SCRIPT = frozenset({"comment", "privilege", "default privilege"})


_GIVES_VALUES = re.compile(r"\b(DEFAULT|GENERATED)\b")
"""In the definition of a column: then rows hold values there that nobody wrote."""


@dataclass(frozen=True, slots=True)
class Undo:
    """The steps back, or in `obstacles` why there is no way back."""

    steps: tuple[Step, ...]
    obstacles: tuple[str, ...]


def undo(
    effects: tuple[Effect, ...],
    *,
    occupied: Collection[str],
    tag: str,
    filled: Collection[str] = (),
) -> Undo:
    """Steps which undo `effects`, those of the statements that ran, in their order.

    `occupied` are the created tables that hold rows, named as facts name them, and `filled`
    those of them whose rows may be the script's own; `tag` makes names in the quarantine unique.
    """
    net = _net_changes(effects)
    created = {key for key, change in net.items() if change.before is None}
    whole = {key.identity for key in created if not key.on}
    parts = {key: change for key, change in net.items() if key.on not in whole}
    obstacles = sorted(_obstacles(parts))
    if obstacles:
        return Undo((), tuple(obstacles))
    moved = referenced_first(net, sorted(k.identity for k in created if k.identity in occupied))
    tables = {key.identity for key in created if key.kind == "table"}
    ties = {key: net[key] for key in sorted(created) if _ties(key, net[key], tables)}
    steps = [step for key in ties if not _inherited(ties[key]) for step in _drop(key)]
    left = {key: change for key, change in net.items() if key not in ties}
    steps += moves_aside(left, moved=moved, tag=tag, filled=filled) if moved else []
    for key in reversed(_creation_order(effects, parts)):
        if key.identity not in moved and not (moved and key.kind == "type"):
            steps.extend(_drop(key))
    return Undo(tuple(steps), ())


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


def _ties(key: FactKey, change: Change, tables: Collection[str]) -> bool:
    """Whether it makes a created table depend on what may have come later, and goes before that.

    Rows in quarantine must not bind those of other tables either.
    """
    text = change.after or ""
    computed = key.kind == "index" and text.count("(") > 1
    checks = key.kind == "constraint" and text.startswith(("CHECK", "FOREIGN KEY"))
    return key.on in tables and (computed or checks or key.kind in _TIES)


def _inherited(change: Change) -> bool:
    """Whether a partition has it from its parent: it goes with that."""
    text = change.after or ""
    return text.endswith("INHERITED") or " PARTITION OF " in text


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
