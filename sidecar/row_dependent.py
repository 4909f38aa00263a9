"""Blocks and functions that change the catalog as rows tell them to. Pure.

`IF NOT EXISTS (SELECT FROM users WHERE email IS NULL) THEN ALTER TABLE ...` does one thing on a
shadow, which has no rows, and perhaps another in the live database. What such a block names shows
then neither that a statement ran nor that it did not. Guards that ask the catalog are no such
thing: a shadow answers them as the live database did.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Any

from sidecar.anonymous_blocks import as_statement, reads_rows, steps
from sidecar.led_by_with import WRITERS
from sidecar.made_before import asks_first
from sidecar.model import Effect, FactKey, Replay, Script, Statement
from sidecar.names_read import walk
from sidecar.script import one_statement, plpgsql
from sidecar.sql_text import plain
from sidecar.statement_kinds import traits
from sidecar.statement_reach import type_name
from sidecar.table_names import parts

_CHANGES_THE_CATALOG = re.compile(r"\b(ALTER|COMMENT|CREATE|DROP|EXECUTE)\b", re.IGNORECASE)
_PUT_TOGETHER = re.compile(r"\bEXECUTE\b", re.IGNORECASE)
_TAKES_AWAY = re.compile(r"\b(DROP|RENAME)\b", re.IGNORECASE)
_WORD = re.compile(r'"(?:[^"]|"")*"|[\w$]+')

_ROWS_MAY_REFUSE = re.compile(
    r"\b(UNIQUE|NOT\s+NULL|PRIMARY|REFERENCES|CHECK|EXCLUDE|TYPE|VALIDATE)\b", re.IGNORECASE
)
_OF_THE_CATALOG = re.compile(
    r"(duplicate|undefined)_(?!.*violation)\w+|invalid_schema_name|42\w{3}|3F000"
)
"""Conditions that an empty table meets as a full one does."""

_TELLS_OF_ROWS = re.compile(
    r"\b(FOUND|reltuples|relpages|pg_stat\w*|pg_sequences|last_value)\b"
    r"|\bcurrent_database\s*\(\s*\)\s*(=|<>|!=|~|(NOT\s+)?(I?LIKE|IN)\b)\s*\(?\s*'",
    re.IGNORECASE,
)
"""What a shadow answers in another way, without a table of the project's being named."""

_ASKS_OTHERWISE = frozenset(
    f"PLpgSQL_stmt_{kind}" for kind in ("getdiag", "dynfors", "call", "open", "return_query")
)
_CALLED = frozenset({"function", "procedure"})


def dependent(script: Script, replay: Replay) -> tuple[Statement, ...]:
    """The statements whose effect on the catalog may be other in a database with rows."""
    asked = [s for s in script.statements if s.kind in {"CALL", "DO", "SELECT"}]
    if not asked:
        return ()
    functions = {
        key: definition
        for key, definition in _definitions(replay)
        if key.kind in _CALLED and definition and _CHANGES_THE_CATALOG.search(definition)
    }
    return tuple(s for s in asked if _is_dependent(s, functions.items()))


def uncertain(
    statements: Iterable[Statement], script: Script, effects: tuple[Effect, ...]
) -> frozenset[FactKey]:
    """The facts that such statements may have changed in ways which the shadow does not show.

    Those that a block names, and if it puts a text together also those that another statement
    would find made, since it asks for them first; of a function, all. What a statement makes
    without asking is its own, unless it may be gone again: it would have failed before.
    """
    touched = {change.key for effect in effects for change in effect}
    asking = {c.key for s in script.statements if asks_first(s) for c in effects[s.index - 1]}
    altered = {c.key for effect in effects for c in effect if c.before is not None}
    found: set[FactKey] = set()
    for statement in statements:
        if statement.kind != "DO":
            return frozenset(touched)  # a function names what it changes elsewhere
        words = {
            word for name in _WORD.findall(statement.sql) for word in (plain(name), name.lower())
        }
        named = {key for key in touched if not words.isdisjoint(_called(key))}
        if _PUT_TOGETHER.search(statement.sql):
            named |= asking
        found |= named if _TAKES_AWAY.search(statement.sql) else named & (asking | altered)
    return frozenset(found)


def _definitions(replay: Replay) -> Iterator[tuple[FactKey, str]]:
    within = ((c.key, c.after) for effect in replay.effects for c in effect)
    return ((key, text) for key, text in chain(replay.base.items(), within) if text)


def _called(key: FactKey) -> Iterator[str]:
    for name in (key.identity.partition("(")[0], key.on):
        yield from parts(name)[-1:]


def _is_dependent(statement: Statement, functions: Iterable[tuple[FactKey, str]]) -> bool:
    if statement.kind == "DO":
        return bool(_CHANGES_THE_CATALOG.search(statement.sql)) and _asks_rows(statement.sql)
    if statement.reach_known:
        return False
    words = {plain(word) for word in _WORD.findall(statement.sql)}
    return any(
        not words.isdisjoint(_called(key)) and _asks_rows(definition)
        for key, definition in functions
    )


def _asks_rows(text: str) -> bool:
    """Whether a block or a function may do this or that as rows are; yes where it is not known."""
    try:
        nodes = list(steps(plpgsql(text)))
        queries = [one_statement(query) for query in _queries(nodes)]
    except ValueError:
        return True
    kinds = {name for name, _ in nodes}
    if "PLpgSQL_stmt_block" not in kinds or any(map(_gives_back, queries)):
        return True  # it is of another language; or what it has written decides
    if kinds & _ASKS_OTHERWISE or _TELLS_OF_ROWS.search(text):
        return True
    caught = [value["condname"] for name, value in nodes if name == "PLpgSQL_condition"]
    if not all(map(_OF_THE_CATALOG.fullmatch, caught)) and _ROWS_MAY_REFUSE.search(text):
        return True
    asked = [query for query in queries if type_name(query) == "SelectStmt"]
    return reads_rows(asked) or not all(traits(q, words=("", "")).reach_known for q in asked)


def _queries(nodes: Iterable[tuple[str, Any]]) -> Iterator[str]:
    """What it asks for a value or for rows, each as one statement."""
    for name, value in nodes:
        if name == "PLpgSQL_stmt_dynexecute" and value.get("into"):
            raise ValueError(name)
        if name == "PLpgSQL_expr":
            yield as_statement(value)


def _gives_back(query: Any) -> bool:
    """Whether it tells of the rows that it writes."""
    return any(m.HasField("returning_clause") for m in walk(query) if type_name(m) in WRITERS)
