"""The property itself, for a search of any length."""

from __future__ import annotations

from hypothesis import HealthCheck, Phase, given, seed
from hypothesis import settings as hypothesis_settings

from tests.deep.states import worlds
from tests.deep.tally import Tally
from tests.deep.world import End, Stage, World, try_world


def search(
    stage: Stage, tally: Tally, *, examples: int, seeded: int, restored: bool = False
) -> None:
    """Try so many worlds, the same for the same seed; fails with the smallest that ends wrongly."""

    @seed(seeded)
    @hypothesis_settings(
        max_examples=examples,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.generate, Phase.shrink],
        print_blob=False,
    )
    @given(worlds(restored=restored))
    def ends_well(world: World) -> None:
        verdict = try_world(stage, world)
        tally.add(verdict)
        assert verdict.end is not End.WRONG, f"\n{world}\n{verdict.why}"

    ends_well()
