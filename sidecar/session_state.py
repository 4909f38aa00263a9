"""What statements leave in their session, and which of it a repair's own session can have. Pure.

A setting can be made again, if it comes out the same: one that a script reads from what it
has changed since, or from the clock, would not. Temporary tables: see `lost_tables`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from sidecar.model import Nature, Script, Statement
from sidecar.pure_functions import CHANGING

_SETTINGS = frozenset({"SET", "RESET", "SELECT", "LISTEN", "UNLISTEN"})
"""Kinds that set the session (SELECT by set_config) and hold nothing in it."""

_LOCAL = re.compile(
    r"SET\s+LOCAL\s+(?!lock_timeout|statement_timeout)|.*set_config\s*\(.*,\s*'?(t|true|on)\b",
    re.IGNORECASE | re.DOTALL,
)
"""A setting that ends with its transaction and may change what statements mean."""

_WITH_ITS_BLOCK = re.compile(
    r"SET\s+(CONSTRAINTS|TRANSACTION)\b|.*\bON\s+COMMIT\s+(DROP|DELETE)\b",
    re.IGNORECASE | re.DOTALL,
)
"""Other things of a session that COMMIT ends or makes different."""

_DROPPED_AT_COMMIT = re.compile(r".*\bON\s+COMMIT\s+DROP\b", re.IGNORECASE | re.DOTALL)

_HELD = re.compile(r"\b(TEMP|TEMPORARY|PREPARE|LOAD|LISTEN|pg_temp)\b", re.IGNORECASE)
"""In a DO: more than a setting."""

_SET = re.compile(
    r"(?:^|\b(?:BEGIN|THEN|ELSE|LOOP)\b)\s*(?:SET|RESET)\s+"
    r"(?P<local>LOCAL\s+(?!lock_timeout|statement_timeout)|CONSTRAINTS\b|TRANSACTION\b)?",
    re.IGNORECASE,
)
_SET_CONFIG = re.compile(r"\bset_config\s*\(", re.IGNORECASE)
_LAST_ARGUMENT = re.compile(r",\s*'*(t|true|on|f|false|off)'*\s*\)\s*$", re.IGNORECASE)

_PREPARED = re.compile(
    r"(?:PREPARE|DEALLOCATE(?:\s+PREPARE)?)\s+(?P<name>\w+|\"[^\"]+\")", re.IGNORECASE
)
_FORGETS = re.compile(r"DISCARD\s+(PLANS|SEQUENCES|TEMP(ORARY)?)\b", re.IGNORECASE)
"""A new session has none of this either."""

_DEFAULTS = re.compile(r"ALTER\s+\w+\b.*\b(SET|RESET)\b", re.IGNORECASE | re.DOTALL)

_READ = re.compile(r'\b(?:FROM|JOIN)\s+(?:pg_catalog\.)?([\w."(]+)', re.IGNORECASE)
_STEADY = frozenset({"pg_available_extensions", "pg_extension", "pg_roles"})
_STIRS = re.compile(r"\b(CREATE|ALTER|DROP)\s+(EXTENSION|GROUP|ROLE|USER)\b", re.IGNORECASE)
"""What changes the relations of `_STEADY`."""

_FLEETING = re.compile(
    rf"\b(({'|'.join(sorted(CHANGING))})\s*\(|(current|local)_?(date|time|timestamp)\b)",
    re.IGNORECASE,
)


def makes_temporary(statement: Statement) -> bool:
    """Whether it leaves more in the session than a setting, which can simply be made again."""
    return (
        statement.nature is Nature.SESSION
        and statement.kind not in _SETTINGS
        and (statement.kind != "DO" or bool(_HELD.search(statement.sql)))
        and not _DROPPED_AT_COMMIT.match(statement.sql)
    )


def holds_more(statements: Iterable[Statement]) -> bool:
    """Whether after these the session holds more than settings and temporary tables."""
    prepared: set[str] = set()
    for statement in statements:
        if not makes_temporary(statement) or statement.temporary is not None:
            continue
        named = _PREPARED.match(statement.sql)
        name = _folded(named["name"]) if named else ""
        if statement.kind == "PREPARE" and name:
            prepared.add(name)
        elif statement.kind == "DEALLOCATE":
            prepared = set() if name == "all" else prepared - {name}
        elif not _FORGETS.match(statement.sql):
            return True
    return bool(prepared)


def _folded(name: str) -> str:
    return name if name.startswith('"') else name.lower()


def lasts_for_a_transaction(statement: Statement) -> bool:
    """Whether it sets something, which statements may need, until its transaction ends."""
    if statement.kind == "DO":  # whatever else it does
        return True in _local_and_not(statement.sql)
    return statement.nature is Nature.SESSION and bool(_LOCAL.match(statement.sql))


def ends_with_its_block(statement: Statement) -> bool:
    """Whether COMMIT, which a repair may have elsewhere, ends or changes what it set."""
    session = statement.nature is Nature.SESSION
    return lasts_for_a_transaction(statement) or (
        session and bool(_WITH_ITS_BLOCK.match(statement.sql))
    )


def can_be_made_again(statement: Statement) -> bool:
    """Whether it is a setting of the session, and nothing else."""
    return statement.nature is Nature.SESSION and not (
        makes_temporary(statement) or ends_with_its_block(statement)
    )


def changes_defaults(statement: Statement) -> bool:
    """Whether sessions that began before it, as the script's own, have other settings."""
    return statement.elsewhere and bool(_DEFAULTS.match(statement.sql))


def not_again(statement: Statement, script: Script) -> str:
    """Why the session that it left cannot be made again, or ''."""
    if statement.kind not in {"DO", "SELECT"}:
        return ""
    if statement.nature in {Nature.DATA, Nature.CATALOG}:
        alone = statement.kind == "SELECT" or False not in _local_and_not(statement.sql)
        return "" if alone else "set the session besides, and cannot be run again for that alone"
    if statement.nature is not Nature.SESSION:
        return ""
    if statement.kind == "DO" and len(_local_and_not(statement.sql)) > 1:
        return "set the session and its transaction, and cannot be run again for one alone"
    if not can_be_made_again(statement):
        return ""
    read = {name.lower() for name in _READ.findall(statement.sql)}
    if _FLEETING.search(statement.sql) or (read and not read <= _STEADY):
        return "set the session to what it read or made up, which may be other now"
    if read and _STIRS.search(script.text):
        return "set the session to what it read, and the script changes that"
    return ""


def _local_and_not(sql: str) -> set[bool]:
    """Of the settings in a DO: True for one of its transaction, False for one of the session."""
    return {local for piece in sql.split(";") for local in _settings_of(piece)}


def _settings_of(piece: str) -> Iterator[bool]:
    for found in _SET.finditer(piece):
        yield found["local"] is not None
    calls = len(_SET_CONFIG.findall(piece))
    last = _LAST_ARGUMENT.search(piece)
    if calls == 1 and last:
        yield last[1].lower() in {"t", "true", "on"}
    elif calls:
        yield from (True, False)  # whatever it is
