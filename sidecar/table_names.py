"""Tables by name, as a script writes them and as facts spell them, and their keys. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from sidecar.model import Facts, Table
from sidecar.sql_text import plain

_KEY = re.compile(
    r"(?:PRIMARY KEY|UNIQUE) \(([^()]*)\)|CREATE UNIQUE INDEX .* USING btree \(([^()]*)\)$"
)
_PART = re.compile(r'"(?:[^"]|"")*"|[^".]+')


def same_table(one: Table, other: Table) -> bool:
    """Whether both names can mean the same table; one may lack its schema."""
    return bool(one) and one[-min(len(one), len(other)) :] == other[-min(len(one), len(other)) :]


def parts(name: str) -> Table:
    """A dotted name's identifiers, unquoted."""
    return tuple(map(plain, _PART.findall(name)))


def meet(names: Iterable[str], others: Iterable[str]) -> bool:
    """Whether two lists of dotted names may have a table in common."""
    known = [parts(name) for name in others]
    return any(same_table(parts(name), other) for name in names for other in known)


def unique_keys(table: Table, facts: Facts) -> Iterator[tuple[str, ...]]:
    """The columns, unquoted, of each primary key, unique constraint and index of a table."""
    for key, definition in sorted(facts.items()):
        if key.kind in {"constraint", "index"} and same_table(table, parts(key.on)):
            found = _KEY.match(definition)
            if found:
                yield tuple(_column(name) for name in (found[1] or found[2]).split(", "))


def _column(name: str) -> str:
    return (parts(name) or ("",))[0]
