"""A setting's text as it was given, and how messages speak of it. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

__all__ = ["Given", "shown", "unknown"]

_SHOWN = 80


@dataclass(frozen=True, slots=True)
class Given:
    """A text and where it was given: ('60s', 'environment', 'SIDECAR_WAIT_TIMEOUT').

    `name` is what a mistake in it is blamed on. The text may be a secret.
    """

    text: str = field(repr=False)
    where: str
    name: str = ""

    @property
    def source(self) -> str:
        """'flag --x', 'environment X', 'file PATH key' or 'default'."""
        return f"{self.where} {self.name}".rstrip()


def shown(text: str) -> str:
    """`text` quoted for a message, unless it looks like a URL in the wrong place.

    A URL may hold a password, and nobody would look for one in the settings that are shown.
    """
    if "://" in text:
        return "(a URL, not shown)"
    return repr(text if len(text) <= _SHOWN else f"{text[:_SHOWN]}...")


def unknown(kind: str, name: str, known: Iterable[str]) -> str:
    """The mistake of a name that does not exist, with the nearest one that does."""
    from difflib import get_close_matches

    by_lower = {candidate.lower(): candidate for candidate in known}
    nearest = get_close_matches(name.lower(), by_lower, n=1)
    hint = f"; did you mean {by_lower[nearest[0]]}?" if nearest else ""
    return f"unknown {kind} {name}{hint}"
