"""Strings and names as SQL spells them. Pure."""

from __future__ import annotations

import re

_LAST_NAME = re.compile(r'("(?:[^"]|"")*"|[^".]+)$')


def literal(value: str) -> str:
    """A string literal, for a session with `standard_conforming_strings` on."""
    return "'" + value.replace("'", "''") + "'"


def quoted(identifier: str) -> str:
    """An identifier in quotes, which is safe whatever it holds."""
    return '"' + identifier.replace('"', '""') + '"'


def last_name(identity: str) -> str:
    """The last part of a dotted name, spelled as there."""
    found = _LAST_NAME.search(identity)
    return found[1] if found else identity


def plain(identity: str) -> str:
    """One identifier, unquoted."""
    return identity[1:-1].replace('""', '"') if identity.startswith('"') else identity
