"""Worlds made by hand to mislead: each ends well at every boundary."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

import pytest

from tests.deep import traps
from tests.deep.tally import Tally
from tests.deep.traps import LIMITS, SHAPES, states
from tests.deep.world import End, Stage, World, try_world

pytestmark = pytest.mark.deep

TRAPS = {
    f"{group}: {name}": world
    for group in (
        *("REPEATS", "RIVALS", "STORED", "BUSY", "RENEWED"),
        *("VALUES", "NAMES", "HIDDEN", "CUT", "REBUILT"),
    )
    for name, world in getattr(traps, group).items()
}

Record = Callable[[str, object], None]


@pytest.mark.parametrize("trap", TRAPS)
def test_no_trap_catches(stage: Stage, record_property: Record, trap: str) -> None:
    """Killed or in error after any statement, or lost after all: exact or untouched."""
    _tried(stage, record_property, states(TRAPS[trap]))


@pytest.mark.parametrize("shape", SHAPES)
def test_what_people_write_is_repaired(stage: Stage, record_property: Record, shape: str) -> None:
    """The shapes of real scripts are repaired at every boundary but the known ones."""
    world, refused = SHAPES[shape]
    tally = _tried(stage, record_property, states(world))
    assert tally.of(End.REFUSED) == refused, "\n".join(tally.lines())
    assert tally.of(End.FAILED) == 0


@pytest.mark.parametrize("limit", LIMITS)
def test_a_known_limit(stage: Stage, limit: str) -> None:
    """What nothing in the database tells is repaired as if it had not been."""
    world = replace(LIMITS[limit], reach=len(LIMITS[limit].script))
    assert try_world(stage, world).end is End.WRONG, "it is known now: move it to the traps"


def _tried(stage: Stage, record_property: Record, worlds: Iterable[World]) -> Tally:
    tally = Tally()
    wrong: list[str] = []
    for world in worlds:
        verdict = try_world(stage, world)
        tally.add(verdict)
        if verdict.end is End.WRONG:
            wrong.append(f"\n{world}\n{verdict.why}")
    record_property("tally", [(end, why, n) for (end, why), n in tally.counts.items()])
    assert not wrong, "\n\n".join(wrong)
    return tally
