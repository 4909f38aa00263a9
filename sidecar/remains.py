"""What an interrupted CONCURRENTLY leaves: an index that is not valid. Pure.

`CREATE INDEX CONCURRENTLY` and `REINDEX CONCURRENTLY` leave one that must be dropped before
they can be tried again, `DROP INDEX CONCURRENTLY` leaves its own, which it drops when it is
run once more (PostgreSQL, chapters "CREATE INDEX", "REINDEX": "... CONCURRENTLY").
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from sidecar.model import Effect, FactKey, Facts, Hazard, Script, Statement, Step, StepKind
from sidecar.sql_text import last_name, plain

State = Mapping[FactKey, str | None]

_NOT_VALID = re.compile(r" INVALID( NOT READY)?$")
_OF_A_REINDEX = re.compile(r"_cc(?:new|old)\d*$")
"""The names which REINDEX CONCURRENTLY gives, possibly cut before them at 63 bytes."""

_WHOLE = re.compile(r"REINDEX\b.*?\b(SCHEMA|DATABASE|SYSTEM)\b", re.IGNORECASE | re.DOTALL)


def begun(
    script: Script, states: tuple[State, ...], effects: tuple[Effect, ...], live: Facts
) -> tuple[int, ...]:
    """The k for which exactly k statements took effect and the next one was interrupted.

    Such remains prove more than a state without them: everything before that statement ran.
    """
    return tuple(
        k
        for k in script.boundaries
        if k < len(script.statements)
        and (seen := seen_of(script.statements[k], effects[k], live))
        and all(live.get(key) == value for key, value in states[k].items() if key not in seen)
    )


def seen_of(statement: Statement, effect: Effect, live: Facts) -> tuple[FactKey, ...]:
    """The invalid indexes in `live` which this statement leaves when it is interrupted."""
    if not statement.solo:
        return ()
    wanted = {change.key: change.after or change.before for change in effect}
    return left_by(statement.sql, wanted, live)


def to_drop(statement: Statement, effect: Effect, live: Facts) -> tuple[FactKey, ...]:
    """Those of them that must go before it is run again; it removes no other by itself."""
    removed = {change.key for change in effect if change.after is None}
    return tuple(key for key in seen_of(statement, effect, live) if key not in removed)


def left_by(sql: str, wanted: State, facts: Facts) -> tuple[FactKey, ...]:
    """The invalid indexes in `facts` that `sql`, interrupted, leaves of the `wanted` ones."""
    own = (
        key
        for key, definition in wanted.items()
        if key.kind == "index" and definition and _unfinished(facts.get(key)) == definition
    )
    return tuple(sorted((*own, *_of_reindex(sql, facts))))


def drop(key: FactKey) -> Step:
    """The step that drops such an index without keeping anybody from the table."""
    return Step(
        StepKind.UNDO,
        f"DROP INDEX CONCURRENTLY IF EXISTS {key.identity}",
        "it is INVALID: an interrupted CONCURRENTLY left it, and no query uses it",
        Hazard.DROPS,
    )


def _unfinished(definition: str | None) -> str | None:
    """The definition of an invalid index as it would be if it were valid; else None."""
    whole, marks = _NOT_VALID.subn("", definition or "")
    return whole if marks else None


def _of_reindex(sql: str, facts: Facts) -> list[FactKey]:
    """Copies that belong to an index, or a table, which this REINDEX names."""
    if not sql.upper().startswith("REINDEX"):
        return []
    return [
        key
        for key, definition in facts.items()
        if key.kind == "index"
        and _OF_A_REINDEX.search(_bare(key.identity))
        and (whole := _unfinished(definition))
        and (original := _original(key, whole, facts))
        and (_named(sql, original) or _named(sql, key.on))
    ]


def _original(copy: FactKey, whole: str, facts: Facts) -> str:
    """The index of which this is a copy: the same but for its name; '' if there is none."""
    stem = _OF_A_REINDEX.sub("", _bare(copy.identity))
    return next(
        (
            key.identity
            for key, definition in facts.items()
            if key.kind == "index"
            and key.on == copy.on
            and key != copy
            and _bare(key.identity).startswith(stem)
            and definition.partition(" ON ")[2] == whole.partition(" ON ")[2]
        ),
        "",
    )


def _named(sql: str, identity: str) -> bool:
    name = re.escape(_bare(identity).replace('"', '""'))
    return bool(_WHOLE.match(sql) or re.search(rf"(?<![\w$]){name}(?![\w$])", sql, re.IGNORECASE))


def _bare(identity: str) -> str:
    """The last part of a qualified name, without quotes."""
    return plain(last_name(identity))
