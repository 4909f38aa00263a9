"""Worlds made by hand to mislead: each ends well at every boundary."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.deep.tally import Tally
from tests.deep.traps import REPEATS, RIVALS, STORED, states
from tests.deep.world import End, Stage, World, try_world

pytestmark = pytest.mark.deep

TRAPS = REPEATS | RIVALS | STORED


@pytest.mark.parametrize("trap", TRAPS)
def test_no_trap_catches(
    stage: Stage, record_property: Callable[[str, object], None], trap: str
) -> None:
    """Killed or in error after any statement, or lost after all: exact or untouched."""
    tally = Tally()
    wrong: list[str] = []
    for world in states(TRAPS[trap]):
        verdict = try_world(stage, world)
        tally.add(verdict)
        if verdict.end is End.WRONG:
            wrong.append(_shown(world, verdict.why))
    record_property("tally", [(end, why, n) for (end, why), n in tally.counts.items()])
    assert not wrong, "\n\n".join(wrong)


def _shown(world: World, why: str) -> str:
    return f"\n{world}\n{why}"
