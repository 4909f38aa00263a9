"""The table of docs/compose.md: what each scenario ended in, cell by cell, as a test saw it."""

from __future__ import annotations

import fcntl
import re
from collections.abc import Callable
from pathlib import Path

from tests.command import ROOT
from tests.containers.compose import Version
from tests.golden import VARIABLE, WRITES

PAGE = ROOT / "docs" / "compose.md"
ROW = re.compile(r"^\| (?P<title>[^|]*) \| (?P<v2>[^|]*) \| (?P<v1>[^|]*) \|$", re.MULTILINE)


def rows(text: str) -> dict[str, dict[Version, str]]:
    """The cells by scenario and version."""
    below = text.partition("| scenario |")[2]
    return {
        row["title"]: {version: row[version.value] for version in Version}
        for row in ROW.finditer(below)
        if not row["title"].startswith("---")
    }


def is_in_the_table(title: str, version: Version, cell: str) -> None:
    """Assert that the table says so, or write it if that was asked for."""
    if WRITES:
        _write(title, version, cell)
    shown = rows(PAGE.read_text(encoding="utf-8")).get(title, {}).get(version)
    assert shown == cell, f"accept the new cell with {VARIABLE}=1"


def _write(title: str, version: Version, cell: str) -> None:
    def new(row: re.Match[str]) -> str:
        if row["title"] != title:
            return row[0]
        cells = {one: row[one.value] for one in Version} | {version: cell}
        return f"| {title} | {' | '.join(cells.values())} |"

    def changed(text: str) -> str:
        head, bar, below = text.partition("| scenario |")
        return head + bar + ROW.sub(new, below)

    rewrite(PAGE, changed)


def rewrite(page: Path, change: Callable[[str], str]) -> None:
    """Change a page of the documents; one worker at a time."""
    with page.open("r+", encoding="utf-8") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        text = change(file.read())
        file.seek(0)
        file.write(text)
        file.truncate()
