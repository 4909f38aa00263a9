"""Strings and names as SQL spells them. Pure."""

from __future__ import annotations


def literal(value: str) -> str:
    """A string literal, for a session with `standard_conforming_strings` on."""
    return "'" + value.replace("'", "''") + "'"


def plain(identity: str) -> str:
    """One identifier, unquoted."""
    return identity[1:-1].replace('""', '"') if identity.startswith('"') else identity
