"""What a repair notes of itself, and what is made of the note."""

from __future__ import annotations

import pytest

from sidecar.diagnose import diagnose
from sidecar.mark import committed, mark, narrowed
from tests.unit.builders import case, ledger_row, native_log, replay, script_of

T, CIC, UPDATE = (
    "CREATE TABLE t ()",
    "CREATE INDEX CONCURRENTLY i ON t (a)",
    "UPDATE t SET a = a + 1",
)
SCRIPT = script_of(T, UPDATE, CIC, "VACUUM", UPDATE)


def noted(number: int, below: str = "") -> str:
    """The logs of a row with this mark."""
    text = mark("m", ledger_row(), SCRIPT, number).sql.split("'")[1]
    return f"{text}\n{below}" if below else text


def test_the_latest_mark_counts() -> None:
    """Marks stand one above the other, and above what the engine wrote."""
    logs = noted(2, noted(0, native_log("23505")))
    assert committed(ledger_row(logs=logs), SCRIPT) == 2


@pytest.mark.parametrize("logs", [None, "", native_log("23505"), f"x {noted(2)}"])
def test_no_mark(logs: str | None) -> None:
    """What is not written by a repair is no mark."""
    assert committed(ledger_row(logs=logs), SCRIPT) is None


def test_a_mark_is_of_one_text_only() -> None:
    """The numbers of another file's statements mean nothing."""
    assert committed(ledger_row(logs=noted(2)), script_of(T, CIC)) is None


@pytest.mark.parametrize(
    ("candidates", "number", "left"),
    [
        ((0, 1, 2), 1, (1,)),  # a transaction would have left a later mark
        ((1, 2, 3, 4, 5), 2, (2, 3, 4)),  # what runs alone may have followed
        ((3, 5), 1, (3, 5)),  # somebody went on by hand: no less, at least
        ((5,), 2, (5,)),
    ],
)
def test_candidates_that_agree_with_a_mark(
    candidates: tuple[int, ...], number: int, left: tuple[int, ...]
) -> None:
    """A mark is as true as what was committed with it."""
    found, said = narrowed(candidates, number, SCRIPT)
    assert (found, said.against) == (left, False)


def test_a_mark_that_the_catalog_denies() -> None:
    """Somebody took back what was committed: that is for a person."""
    found, said = narrowed((0, 1), 3, SCRIPT)
    assert (found, said.against) == ((0, 1), True)


def test_a_mark_tells_of_data_what_the_catalog_cannot() -> None:
    """And the error that was logged before it is history."""
    row = ledger_row(logs=noted(2, native_log("23505")))
    found = diagnose(case(SCRIPT, replay("t1", None, "t3", None, None), after=2, row=row))
    assert (found.name, found.applied) == ("partly-applied", 2)
