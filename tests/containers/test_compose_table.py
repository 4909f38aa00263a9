"""The table of docs/compose.md is complete."""

from __future__ import annotations

import pytest

from tests.containers import test_compose, test_compose_variants
from tests.containers.compose import Version
from tests.containers.compose_scenarios import SCENARIOS
from tests.containers.compose_table import PAGE, rows

pytestmark = pytest.mark.compose

MODULES = (test_compose, test_compose_variants)
"""Importing them fills SCENARIOS, in the order of the table."""


def test_the_table_has_a_row_for_each_scenario() -> None:
    """And no other; a version that a scenario is not run with has a dash."""
    seen = rows(PAGE.read_text(encoding="utf-8"))
    assert list(seen) == list(SCENARIOS)
    for title, versions in SCENARIOS.items():
        for version in Version:
            assert (seen[title][version] == "-") == (version not in versions), title
