"""The search of tests/deep with a small fixed budget: the same worlds each time."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.deep.search import search
from tests.deep.tally import Tally
from tests.deep.world import End, Stage
from tests.postgres import Server

EXAMPLES = 32
SHARDS = 2
"""Tests run side by side; about half a second for each example."""


@pytest.fixture
def stage(latest: Server) -> Iterator[Stage]:
    """Template databases on one server."""
    stage = Stage(latest)
    yield stage
    stage.close()


@pytest.mark.parametrize("shard", range(SHARDS))
def test_exact_or_untouched(stage: Stage, shard: int) -> None:
    """Any failed migration ends as a clean run leaves it, or untouched with an explanation."""
    tally = Tally()
    search(stage, tally, examples=EXAMPLES, seeded=shard)
    print(*tally.lines(), sep="\n")  # noqa: T201 (shown where the test fails, and by -rP)
    assert tally.total >= EXAMPLES * 3 // 4  # the same world twice counts once
    assert tally.of(End.EXACT) >= EXAMPLES // 6, "the worlds are not worth trying"
