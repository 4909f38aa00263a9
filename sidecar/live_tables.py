"""What the catalog adds to a data statement that the parse tree cannot know. Pure.

Views, generated columns, cascading keys and the types of columns all make a statement do
more than it says. What is not an ordinary table is not claimed to be understood.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace

from sidecar.model import CTID, TEXT, FactKey, Facts, RowChange, Script, Statement, Table, Verb
from sidecar.table_names import parts, same_table

_VIEWS = frozenset({"view", "materialized view"})
_HEIRS = re.compile(r"(UNLOGGED )?(FOREIGN )?TABLE (OF \S+ )?(PARTITION OF|INHERITS) ")
_WORDS = re.compile(r"(text|character varying(\(\d+\))?)(?= |$)(?!.*\bCOLLATE\b)")
"""Types in which two texts are equal only if they are the same."""

REFERENCES = re.compile(
    r"FOREIGN KEY \((.*)\) REFERENCES ((?:\"(?:[^\"]|\"\")*\"|[^\s\"(])+)\((.*?)\)"
)
"""A foreign key: its own columns, the table that it refers to, and the columns there."""


def understood(script: Script, facts: Facts) -> Script:
    """The script, its changes of rows seen with what `facts`, those of the live database, add."""
    return replace(
        script, statements=tuple(_understood(statement, facts) for statement in script.statements)
    )


def qualified(script: Script, schema: str) -> Script:
    """The script, the bare names of tables in its changes of rows taken for those of `schema`."""

    def full(table: Table) -> Table:
        return (schema, *table) if len(table) == 1 else table

    def of(statement: Statement) -> Statement:
        if (change := statement.change) is None:
            return statement
        reads = frozenset(map(full, change.reads))
        return replace(statement, change=replace(change, table=full(change.table), reads=reads))

    return replace(script, statements=tuple(map(of, script.statements)))


def _understood(statement: Statement, facts: Facts) -> Statement:
    change = statement.change
    if change is None or change.verb in {Verb.MIXED, Verb.REFRESH}:
        return statement
    change = _with_typed_picks(change, facts)
    if _reads_computed(change, facts) or _sees_views(statement, change, facts):
        change = replace(change, settled=False, picked_by=change.picked_by | change.writes)
    if change.keyed and not _tells_apart(change, facts):
        change = replace(change, settled=False, steady=False, fleeting=True)
    if change.verb is Verb.UPDATE and _is_referenced(change, facts):
        change = replace(change, spreads=True)
    if told := _told_in_its_own_table(change, facts):
        alone = told.isdisjoint(change.own_reads | change.picks.keys())
        alone = alone and "*" not in change.own_reads
        change = replace(change, spreads=True, settled=change.settled and alone)
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


def _sees_views(statement: Statement, change: RowChange, facts: Facts) -> bool:
    named = [change.table, *change.reads] if change.table else list(change.reads)
    named += map(parts, statement.writes)
    views = [parts(key.identity) for key, text in facts.items() if _is_part(key, text)]
    return any(same_table(name, view) for name in named for view in views)


def _is_part(key: FactKey, definition: str) -> bool:
    """A view, a partition, an heir: its rows are those of another table too."""
    return key.kind in _VIEWS or (key.kind == "table" and bool(_HEIRS.match(definition)))


def _tells_apart(change: RowChange, facts: Facts) -> bool:
    """Whether no two rows can be alike in the column `keyed`, those of heirs and parts included."""
    shared = any(
        (same_table(change.table, parts(key.identity)) and "PARTITION" in text)
        or "INHERITS" in text
        for key, text in facts.items()
        if key.kind == "table"
    )
    texts = (
        t
        for k, t in facts.items()
        if k.kind == "constraint"
        if same_table(change.table, parts(k.on))
    )
    found = (re.match(r"PRIMARY KEY \(([^,]*)\)", text) for text in texts)
    return not shared and (
        change.keyed == CTID or any(parts(f[1]) == (change.keyed,) for f in found if f)
    )


def _is_referenced(change: RowChange, facts: Facts) -> bool:
    """Whether foreign keys refer to columns that it sets: they may be told (ON UPDATE)."""
    return any(
        same_table(change.table, parts(found[2]))
        and not change.writes.isdisjoint(parts(name)[0] for name in found[3].split(", "))
        for key, definition in facts.items()
        if key.kind == "constraint" and (found := REFERENCES.match(definition))
    )


def _told_in_its_own_table(change: RowChange, facts: Facts) -> frozenset[str]:
    """The columns that change in other rows of the table when a row goes, or gets another key."""
    if change.verb is not Verb.DELETE and not change.spreads:
        return frozenset()
    action = " ON DELETE SET " if change.verb is Verb.DELETE else " ON UPDATE "
    return frozenset(
        parts(name)[0]
        for key, definition in facts.items()
        if key.kind == "constraint"
        and action in definition
        and same_table(change.table, parts(key.on))
        if (found := REFERENCES.match(definition)) and same_table(parts(key.on), parts(found[2]))
        for name in found[1].split(", ")
    )


def _columns(table: Table, facts: Facts) -> Iterator[tuple[FactKey, str]]:
    for key, definition in facts.items():
        if key.kind == "column" and same_table(table, parts(key.on)):
            yield key, definition
