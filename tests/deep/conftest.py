"""The stage for worlds, the budget of a long search, and its summary."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import pytest

from tests.deep.tally import Tally
from tests.deep.world import Stage
from tests.postgres import Server

_TALLY = pytest.StashKey[Tally]()
SECONDS = 120.0
"""How long each of the parallel searches runs unless `--deep-seconds` says otherwise."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """The budget of `make test-deep`."""
    group = parser.getgroup("deep")
    group.addoption("--deep-seconds", type=float, default=SECONDS, help="for each search")
    group.addoption("--deep-seed", type=int, default=0, help="where the searches begin")


def pytest_configure(config: pytest.Config) -> None:
    """One tally for the whole run."""
    config.stash[_TALLY] = Tally()


@pytest.hookimpl(tryfirst=True)
def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """The counts of all searches, of xdist's workers too."""
    tally = config.stash[_TALLY]
    for reports in terminalreporter.stats.values():
        for report in reports:
            for name, counts in getattr(report, "user_properties", ()):
                if name == "tally" and getattr(report, "when", "") == "call":
                    tally.counts += Counter({(end, why): n for end, why, n in counts})
    for line in tally.lines() if tally.total else ():
        terminalreporter.write_line(line)


@pytest.fixture
def stage(latest: Server) -> Iterator[Stage]:
    """Template databases on one server."""
    stage = Stage(latest)
    yield stage
    stage.close()
