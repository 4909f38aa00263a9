"""Any failed migration ends as a clean run leaves it, or untouched (`make test-deep`)."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from tests.deep.search import search
from tests.deep.tally import Tally
from tests.deep.world import Stage

pytestmark = pytest.mark.deep

_AT_ONCE = 40
"""Examples of one search; the next begins with a seed of its own."""


@pytest.mark.parametrize("shard", range(2))
def test_exact_or_untouched(
    request: pytest.FixtureRequest,
    record_property: Callable[[str, object], None],
    stage: Stage,
    shard: int,
) -> None:
    """Exact or untouched, never a third: searched for as long as the options say."""
    tally = Tally()
    deadline = time.monotonic() + request.config.getoption("--deep-seconds")
    seeded = request.config.getoption("--deep-seed") * 1_000_000 + shard * 10_000
    try:
        while time.monotonic() < deadline:
            search(
                stage,
                tally,
                examples=_AT_ONCE,
                seeded=seeded,
                restored=True,
                until=deadline,
            )
            seeded += 1
    finally:
        record_property("tally", [(end, why, n) for (end, why), n in tally.counts.items()])
