"""The README's tables say what the program says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from sidecar.errors import ExitCode
from sidecar.model import Action, FindingName, Preset
from sidecar.policy import PRESETS
from sidecar.settings import SETTINGS, Setting

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in README.splitlines()
    if line.startswith("|")
]


def row_with(text: str) -> list[str]:
    """The one row whose first cell holds `text` in code marks."""
    rows = [row for row in ROWS if f"`{text}`" in row[0]]
    assert len(rows) == 1, f"{text} has {len(rows)} rows"
    return rows[0]


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda setting: setting.key)
def test_every_setting_is_in_the_table_with_its_default(setting: Setting) -> None:
    """The table of settings names each variable and what holds where it is not set."""
    assert row_with(setting.variable)[1] == (f"`{setting.default}`" if setting.default else "")
    if setting.file_variant:
        row_with(f"{setting.variable}_FILE")


def test_the_table_names_no_setting_that_does_not_exist() -> None:
    """Whoever sets a variable of the table sets something."""
    known = {setting.variable for setting in SETTINGS}
    assert set(re.findall(r"`(SIDECAR_[A-Z_]+)", README)) <= known


def test_every_exit_code_is_in_the_table() -> None:
    """The table of exit codes names each code, and no other."""
    cells = [row[0] for row in ROWS if re.fullmatch(r"\d+(, \d+)*", row[0])]
    assert {int(code) for cell in cells for code in cell.split(",")} == set(ExitCode)


@pytest.mark.parametrize("finding", sorted({*FindingName} - {FindingName.RUNNING}))
def test_the_table_of_findings_is_what_the_presets_do(finding: FindingName) -> None:
    """Each finding's row has the action of every preset."""
    expected = [PRESETS[preset].get(finding, Action.HALT) for preset in Preset]
    assert row_with(finding)[2:] == expected
