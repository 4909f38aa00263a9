"""The property itself, for a search of any length."""

from __future__ import annotations

import time

from hypothesis import HealthCheck, Phase, given, seed
from hypothesis import settings as hypothesis_settings

from tests.deep.states import worlds
from tests.deep.tally import Tally
from tests.deep.world import End, Stage, World, try_world

SHRINK_S = 30.0
"""How long smaller worlds are looked for, once one has ended wrongly."""


def search(
    stage: Stage,
    tally: Tally,
    *,
    examples: int,
    seeded: int,
    restored: bool = False,
    until: float = float("inf"),
) -> None:
    """Try so many worlds, the same for the same seed; fails with the smallest that ends wrongly.

    After `until`, in monotonic time, no more are tried; what has failed keeps failing.
    """
    known: dict[World, str] = {}
    stops, failed = until, False

    @seed(seeded)
    @hypothesis_settings(
        max_examples=examples,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.generate, Phase.shrink],
        print_blob=False,
        report_multiple_bugs=False,
    )
    @given(worlds(restored=restored))
    def ends_well(world: World) -> None:
        nonlocal stops, failed
        if world not in known:
            if time.monotonic() > stops:
                return
            verdict = try_world(stage, world)
            tally.add(verdict)
            known[world] = verdict.why if verdict.end is End.WRONG else ""
        if known[world] and not failed:
            failed, stops = True, time.monotonic() + SHRINK_S
        assert not known[world], f"\n{world}\n{known[world]}"

    ends_well()
