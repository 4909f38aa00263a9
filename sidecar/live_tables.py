"""What the catalog adds to a data statement that the parse tree cannot know. Pure.

Views, generated columns, cascading keys and the types of columns all make a statement do
more than it says. What is not an ordinary table is not claimed to be understood.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace

from sidecar.model import TEXT, FactKey, Facts, RowChange, Script, Statement, Table, Verb
from sidecar.table_names import parts, same_table

_VIEWS = frozenset({"view", "materialized view"})
_WORDS = re.compile(r"(text|character varying(\(\d+\))?|uuid)(?= |$)(?!.*\bCOLLATE\b)")
"""Types in which two texts are equal only if they are the same."""

_REFERENCES = re.compile(
    r"FOREIGN KEY .* REFERENCES ((?:\"(?:[^\"]|\"\")*\"|[^\s\"(])+)\(([^()]*)\)"
)


def understood(script: Script, facts: Facts) -> Script:
    """The script, its changes of rows seen with what `facts`, those of the live database, add."""
    return replace(
        script, statements=tuple(_understood(statement, facts) for statement in script.statements)
    )


def _understood(statement: Statement, facts: Facts) -> Statement:
    change = statement.change
    if change is None or change.verb in {Verb.MIXED, Verb.REFRESH}:
        return statement
    change = _with_typed_picks(change, facts)
    if _reads_computed(change, facts) or _sees_views(change, facts):
        change = replace(change, settled=False, picked_by=change.picked_by | change.writes)
    if change.verb is Verb.UPDATE and _is_referenced(change, facts):
        change = replace(change, spreads=True)
    return replace(statement, change=change)


def _with_typed_picks(change: RowChange, facts: Facts) -> RowChange:
    """Picking by a text is plain reading where the column's type may hold others for equal."""
    loose = {
        column
        for column, constants in change.picks.items()
        if any((constant or "").startswith(TEXT) for constant in constants)
        and not _compares_exactly(change.table, column, facts)
    }
    if not loose:
        return change
    picks = {column: found for column, found in change.picks.items() if column not in loose}
    return replace(change, picks=picks, own_reads=change.own_reads | loose)


def _compares_exactly(table: Table, column: str, facts: Facts) -> bool:
    for key, definition in _columns(table, facts):
        if parts(key.identity) == (column,):
            enums = (name for name, text in facts.items() if name.kind == "type" and _is_enum(text))
            is_enum = any(re.match(re.escape(e.identity) + "(?= |$)", definition) for e in enums)
            return is_enum or bool(_WORDS.match(definition))
    return False


def _is_enum(definition: str) -> bool:
    return definition.startswith("ENUM (")


def _reads_computed(change: RowChange, facts: Facts) -> bool:
    """Whether it reads a column that PostgreSQL computes from others."""
    read = change.own_reads | change.picked_by | change.picks.keys()
    return any(
        "GENERATED ALWAYS AS (" in definition and (parts(key.identity)[0] in read or "*" in read)
        for key, definition in _columns(change.table, facts)
    )


def _sees_views(change: RowChange, facts: Facts) -> bool:
    named = [change.table, *change.reads] if change.table else list(change.reads)
    views = [parts(key.identity) for key in facts if key.kind in _VIEWS]
    return any(same_table(name, view) for name in named for view in views)


def _is_referenced(change: RowChange, facts: Facts) -> bool:
    """Whether foreign keys refer to columns that it sets: they may be told (ON UPDATE)."""
    return any(
        same_table(change.table, parts(found[1]))
        and not change.writes.isdisjoint(parts(name)[0] for name in found[2].split(", "))
        for key, definition in facts.items()
        if key.kind == "constraint" and (found := _REFERENCES.match(definition))
    )


def _columns(table: Table, facts: Facts) -> Iterator[tuple[FactKey, str]]:
    for key, definition in facts.items():
        if key.kind == "column" and same_table(table, parts(key.on)):
            yield key, definition
