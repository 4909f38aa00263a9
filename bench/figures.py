"""The figures of the benches and their table: a line each, and whether its limit is kept."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import NamedTuple

QUIET_LOAD = 1.0
"""Above this the neighbours are measured, too."""


class Figure(NamedTuple):
    """One line of the table; a limit of None is for information."""

    name: str
    value: float
    unit: str
    limit: float | None = None
    at_least: bool = False

    @property
    def ok(self) -> bool:
        """Whether the limit is kept."""
        if self.limit is None:
            return True
        return self.value >= self.limit if self.at_least else self.value <= self.limit


def note_load() -> None:
    """Say so where the machine is busy; before anything of ours loads it."""
    if os.getloadavg()[0] > QUIET_LOAD:
        print(f"note: the machine is busy (load {os.getloadavg()[0]:.1f}); figures will scatter")


def table(figures: Iterable[Figure]) -> int:
    """Print each figure as it comes, then a verdict; 1 where a limit is missed, else 0."""
    missed = 0
    for figure in figures:
        _show(figure)
        missed += not figure.ok
    print(f"{missed} missed" if missed else "every limit is kept")
    return int(missed > 0)


def _show(figure: Figure) -> None:
    limit = ""
    if figure.limit is not None:
        limit = f"{'>=' if figure.at_least else '<='} {figure.limit:g} {figure.unit}"
    verdict = "" if figure.limit is None else "ok" if figure.ok else "MISSED"
    value = f"{figure.value:.2f} {figure.unit}"
    print(f"{figure.name:<44} {value:>12}   {limit:<10} {verdict}".rstrip(), flush=True)
