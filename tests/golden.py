"""Texts compared with files, so that a change of wording is seen in a review."""

from __future__ import annotations

import os
from pathlib import Path

FOLDER = Path(__file__).parent / "golden"
VARIABLE = "SIDECAR_TEST_WRITE_GOLDEN"
WRITES = os.environ.get(VARIABLE) == "1"
"""Read here, because no test sees a variable of this name: conftest removes them."""


def golden(name: str, text: str) -> None:
    """Assert that `text` is what tests/golden/NAME.txt holds."""
    same_as_file(FOLDER / f"{name}.txt", text)


def same_as_file(path: Path, text: str) -> None:
    """Assert that `text` is what the file holds, or write it if that was asked for."""
    if WRITES:
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
    assert path.exists(), f"{path} is missing; write it with {VARIABLE}=1"
    assert text == path.read_text(encoding="utf-8"), f"accept the new text with {VARIABLE}=1"
