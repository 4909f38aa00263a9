"""What was tried and how it ended, in numbers that a person reads at the end of a run."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from tests.deep.world import End, Verdict

_DETAIL = re.compile(r"\(.*?\)|\".*?\"|`.*?`|'.*?'|\d+(, )?")
_SHOWN = 90

Key = tuple[str, str]
"""An end, and why."""


@dataclass(slots=True)
class Tally:
    """Counts by end and reason."""

    counts: Counter[Key] = field(default_factory=Counter)

    def add(self, verdict: Verdict) -> None:
        """Count one."""
        end = verdict.end.value + (", as every run must be" if verdict.clean_fails else "")
        first = verdict.why.partition("\n")[0]
        known = first.removeprefix("halted at ").partition(": ")[2] or first
        why = first if verdict.end is End.EXACT else " ".join(_DETAIL.sub("…", known).split())
        self.counts[end, why[:_SHOWN]] += 1

    @property
    def total(self) -> int:
        return self.counts.total()

    def of(self, end: End) -> int:
        """How many ended so."""
        return sum(count for (name, _), count in self.counts.items() if name.startswith(end.value))

    def lines(self) -> Iterable[str]:
        """The totals, then each end with its reasons, most frequent first."""
        yield f"states tried: {self.total}"
        for end in End:
            yield f"  {end.value}: {self.of(end)}"
        for (end_name, why), count in self.counts.most_common():
            yield f"{count:6} {end_name}: {why}"
