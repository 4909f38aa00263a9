"""Columns that came and went: what is left of them in the catalog, and what that proves."""

from __future__ import annotations

from dataclasses import replace

import pytest

from sidecar.attempt_window import FAR
from sidecar.model import FactKey, Facts, Window
from sidecar.passing_columns import dropped_nothing, dropped_some
from sidecar.row_evidence import narrow
from sidecar.row_proofs import Question, RowEvidence
from tests.unit.builders import Made, replay, script_of, state_after, table

T, TMP = table("t"), FactKey("column", "tmp", "public.t")
BASE: Facts = {T: "TABLE"}
BOUNDED = Window("9", oldest=40, youngest=10, sharp=True)
KILLED = Window("9", oldest=40, youngest=-FAR, sharp=True, bounded=False)

ADD: tuple[str, Made] = ("ALTER TABLE t ADD COLUMN tmp TEXT", {TMP: "text"})
FILL = "UPDATE t SET tmp = a || 'x'"
BACK = "UPDATE t SET a = tmp"
DROP: tuple[str, Made] = ("ALTER TABLE t DROP COLUMN tmp", {TMP: None})
SCRIPT: tuple[str | tuple[str, Made], ...] = (ADD, FILL, BACK, DROP)


def question(*statements: str | tuple[str, Made], base: Facts = BASE) -> Question:
    """None of these ran, or all of them."""
    texts = [s if isinstance(s, str) else s[0] for s in statements]
    replayed = replay(*(None if isinstance(s, str) else s[1] for s in statements), base=base)
    live = state_after(replayed, len(texts))
    return Question((0, len(texts)), script_of(*texts), replayed.effects, base, live)


def seen(*ages: int, window: Window | None = BOUNDED) -> RowEvidence:
    """So long ago columns of the table were dropped, since the attempt began."""
    return RowEvidence(window, drops={"public.t": frozenset(ages)})


@pytest.mark.parametrize("window", [BOUNDED, KILLED, replace(BOUNDED, sharp=False)])
def test_where_no_column_was_dropped_none_came_and_went(window: Window) -> None:
    """It is not there, so it was never added."""
    remain, said = narrow(question(*SCRIPT), seen(window=window))
    assert remain == (0,)
    assert "no column of public.t was dropped" in said[0].says


def test_within_an_attempt_that_is_known_a_drop_is_its_own() -> None:
    """From its first effect to its error."""
    remain, said = narrow(question(*SCRIPT), seen(30))
    assert remain == (4,)
    assert "a column of public.t was dropped" in said[0].says


@pytest.mark.parametrize(
    "rows",
    [
        seen(30, window=KILLED),
        seen(5),
        seen(40),
        seen(60),
        seen(30, window=replace(BOUNDED, sharp=False)),
        seen(30, window=None),
        RowEvidence(BOUNDED),
    ],
    ids=["killed", "after the error", "with the first", "before", "vague", "no ids", "no table"],
)
def test_else_a_drop_proves_nothing(rows: RowEvidence) -> None:
    """After a kill somebody may have cleaned up by hand what the script had added."""
    asked = question(*SCRIPT)
    drop = asked.script.statements[3]
    assert not dropped_some(asked, drop, rows)
    assert not dropped_nothing(asked, drop, rows)


@pytest.mark.parametrize(
    "other",
    [
        ("ALTER TABLE t DROP b, ADD b INT", None),
        ("DO $$ BEGIN EXECUTE 'ALTER TABLE t ' || x; END $$", None),
        ("SELECT f()", None),
    ],
)
def test_another_statement_may_have_dropped_it(other: tuple[str, Made]) -> None:
    """Then the catalog does not say which of them ran."""
    asked = question(*SCRIPT, other)
    assert not dropped_some(asked, asked.script.statements[3], seen(30))


@pytest.mark.parametrize(
    "more",
    [
        ("DROP TABLE t", {T: None}),
        ("ALTER TABLE t RENAME TO u", {T: None, table("u"): "TABLE"}),
        ("ALTER TABLE s RENAME TO t", {table("s"): None, T: "TABLE 2"}),
    ],
)
def test_a_table_that_is_another_one_has_no_past(more: tuple[str, Made]) -> None:
    """What was dropped in one of its name went with it."""
    base = {T: "TABLE", table("s"): "TABLE"} if "TO t" in more[0] else BASE
    made = more[1]
    if "TO t" in more[0] and isinstance(made, dict):
        base = {table("s"): "TABLE"}
    asked = question(*SCRIPT, (more[0], made), base=base)
    assert not dropped_nothing(asked, asked.script.statements[3], seen())
