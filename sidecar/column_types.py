"""How columns would hold the values that a data statement gives them. Pure.

A NUMERIC(65,30) pads its numbers, a TIMESTAMP(3) rounds, a VARCHAR(5) refuses what is longer:
only a value of just the column's type can be compared with what is there.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import NamedTuple

from sidecar.model import COLUMNS, HELD, RowChange, Verb
from sidecar.sql_text import quoted

COLUMN_TYPES = """
SELECT a.attname, format_type(a.atttypid, a.atttypmod),
       t.typcategory IN ('A', 'C', 'S', 'V') AND a.atttypid <> 'pg_catalog.text'::regtype
FROM pg_catalog.pg_attribute AS a JOIN pg_catalog.pg_type AS t ON t.oid = a.atttypid
WHERE a.attrelid = {}::regclass AND a.attnum > 0
ORDER BY a.attnum
"""
"""Of a table, by its quoted name as a literal: columns, types, whether a cast may cut values off.

So it does with texts, bits, and what holds some: arrays, composite types and domains over them.
A column that was dropped has no type.
"""


class ColumnType(NamedTuple):
    """A column's type in PostgreSQL's words, and whether a cast to it may cut a value off."""

    name: str
    cuts: bool

    def held(self, value: str) -> str:
        """SQL of a value as an INSERT would put it into the column; it fails where that would.

        A cast to VARCHAR(5) cuts a text that is too long, where an INSERT refuses it unless only
        blanks are lost (PostgreSQL, "Character Types"). So does the type's input function,
        which has the same rules; a record made of JSON is read with it.
        """
        if not self.cuts:
            return f"CAST(({value}) AS {self.name})"
        text = f"pg_catalog.json_build_object('v', ({value})::text)"
        return f"(SELECT r.v FROM pg_catalog.json_to_record({text}) AS r(v {self.name}))"  # noqa: S608


_NO_TYPE = ColumnType("migration_sidecar_no_type", cuts=False)
"""Of a column that is not there: whatever asks for its value fails, and stays open."""


def column_types(rows: Iterable[tuple[str, str, bool]]) -> dict[str, ColumnType]:
    """What COLUMN_TYPES answered, by the quoted name."""
    return {quoted(name): ColumnType(kind, cuts) for name, kind, cuts in rows}


def typed(change: RowChange, types: dict[str, ColumnType]) -> RowChange:
    """The same change of some rows, its values as the columns of its table would hold them."""
    if change.verb is Verb.INSERT:
        return replace(change, rows=_rows(change, types))
    return replace(change, differs=_filled_in(change.differs, types))


def _rows(change: RowChange, types: dict[str, ColumnType]) -> str:
    columns = change.columns or tuple(types)
    values = ", ".join(f"{_type(c, types).held(f'given.{c}')} AS {c}" for c in columns)
    given = change.rows.replace(COLUMNS, values, 1)
    if not change.columns:
        given += f"({', '.join(columns)})"
    return f"SELECT {COLUMNS} FROM ({given}) AS given"  # noqa: S608 (names are quoted)


def _filled_in(template: str, types: dict[str, ColumnType]) -> str:
    """HELD, a column, HELD, a value, HELD: each such made the value that the column would hold."""
    text, *marked = template.split(HELD)
    for column, value, after in zip(marked[::3], marked[1::3], marked[2::3], strict=True):
        text += _type(column, types).held(value) + after
    return text


def _type(column: str, types: dict[str, ColumnType]) -> ColumnType:
    return types.get(column, _NO_TYPE)
