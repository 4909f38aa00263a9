"""Facts that are as a script makes them, and were so before it ran."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from sidecar.made_before import as_if_there, in_question, made_before
from sidecar.model import FactKey, Facts, Marks
from tests.unit.builders import (
    Made,
    ledger_row,
    native_log,
    replay,
    script_of,
    state_after,
    table,
)

BASE: Facts = {table("t"): "TABLE", FactKey("column", "n", "public.t"): "integer"}
COLUMN, OTHER = (FactKey("column", name, "public.t") for name in "xy")
INDEX = FactKey("index", "public.t_n", "public.t")
N = FactKey("column", "n", "public.t")

ADD = ("ALTER TABLE t ADD COLUMN x INTEGER", {COLUMN: "integer"})
COUNT = "UPDATE t SET n = n + 1"
GUARDED = ("ALTER TABLE t ADD COLUMN IF NOT EXISTS y INTEGER", {OTHER: "integer"})
INDEXED = ("CREATE INDEX IF NOT EXISTS t_n ON t (n)", {INDEX: "CREATE INDEX"})
PLAIN = ("ALTER TABLE t ADD COLUMN y INTEGER", {OTHER: "integer"})
REQUIRED = ("ALTER TABLE t ALTER COLUMN n SET NOT NULL", {N: "integer NOT NULL"})

POLICY = FactKey("policy", "p", "public.t")
DROPPED = "DROP POLICY IF EXISTS p ON t"
MADE_ANEW = ("CREATE POLICY p ON t", {POLICY: "FOR ALL"})

Written = str | tuple[str, Made]


@dataclass(frozen=True)
class Told:
    """A script, how old its facts are, and which were there before the attempt, 100 ago."""

    script: tuple[Written, ...]
    ages: dict[FactKey, int]
    found: set[FactKey] = field(default_factory=set)
    logged: bool = False
    at_least: dict[FactKey, int] = field(default_factory=dict)


TOLD = {
    "older than the attempt": Told((COUNT, GUARDED), {OTHER: 200}, {OTHER}),
    "of the attempt": Told((COUNT, GUARDED), {OTHER: 90}),
    "of no age": Told((COUNT, GUARDED), {}, {OTHER}),
    "older than its earlier work": Told((ADD, COUNT, GUARDED), {COLUMN: 80, OTHER: 90}, {OTHER}),
    "as old as its earlier work": Told((ADD, COUNT, GUARDED), {COLUMN: 80, OTHER: 80}),
    "an index that is no younger": Told((COUNT, INDEXED), {}, {INDEX}, at_least={INDEX: 150}),
    "an index that may be older": Told((COUNT, INDEXED), {}, at_least={INDEX: 50}),
    "altered before": Told((COUNT, REQUIRED), {N: 300}, {N}),
    "after an error, before the last migration": Told(
        (COUNT, GUARDED), {OTHER: 600}, {OTHER}, logged=True
    ),
    "after an error, since the last migration, perhaps": Told(
        (COUNT, GUARDED), {OTHER: 200}, {OTHER}, logged=True
    ),
    "after an error, and after what is surely its own": Told(
        (ADD, COUNT, GUARDED), {COLUMN: 90, OTHER: 80}, logged=True
    ),
    "what the script drops first": Told((COUNT, DROPPED, MADE_ANEW), {POLICY: 200}, {POLICY}),
    "what would have failed speaks against the ids": Told(
        (COUNT, PLAIN, INDEXED), {OTHER: 200}, at_least={INDEX: 200}
    ),
}


@pytest.mark.parametrize("case", TOLD)
def test_what_is_older_was_made_before(case: str) -> None:
    """Only of statements that find it done; where no ids say so, they are believed."""
    told = TOLD[case]
    script = script_of(*(s if isinstance(s, str) else s[0] for s in told.script))
    made: list[Made] = [None if isinstance(s, str) else s[1] for s in told.script]
    replayed = replay(*made, base=BASE)
    row = ledger_row(id="mine", logs=native_log("57014") if told.logged else None)
    marks = Marks("9", {"mine": 100, "before": 500}, 1000, told.ages, 9)
    live = state_after(replayed, len(told.script))
    assert made_before(row, marks, told.at_least, replayed, script, live) == told.found


QUESTIONS: dict[str, tuple[tuple[Written, ...], Facts, set[FactKey]]] = {
    "after a change of rows": ((COUNT, GUARDED), {OTHER: "integer"}, {OTHER}),
    "before it, it may be run again": ((GUARDED, COUNT), {OTHER: "integer"}, set()),
    "it is not there": ((COUNT, GUARDED), {}, set()),
    "it is other": ((COUNT, REQUIRED), {N: "integer"}, set()),
    "it is gone": ((COUNT, ("DROP INDEX IF EXISTS t_n", {INDEX: None})), {}, {INDEX}),
    "it would have failed": ((COUNT, PLAIN), {OTHER: "integer"}, set()),
    "it could not have gone twice": ((COUNT, ("DROP INDEX t_n", {INDEX: None})), {}, set()),
    "no change of rows": ((GUARDED, INDEXED), {OTHER: "integer"}, set()),
}


@pytest.mark.parametrize("case", QUESTIONS)
def test_where_it_matters(case: str) -> None:
    """What is as the statement makes it, though it may never have run."""
    written, live, expected = QUESTIONS[case]
    script = script_of(*(s if isinstance(s, str) else s[0] for s in written))
    made: list[Made] = [None if isinstance(s, str) else s[1] for s in written]
    base = {**BASE, INDEX: "CREATE INDEX"} if " gone" in case else BASE
    assert in_question(script, replay(*made, base=base).effects, live) == expected


def test_the_replay_in_a_database_where_it_was_there() -> None:
    """The statement has no effect then; one that changes the same fact later has."""
    required = ("ALTER TABLE t ALTER COLUMN y SET NOT NULL", {OTHER: "integer NOT NULL"})
    replayed = replay(ADD[1], GUARDED[1], required[1], base=BASE)
    live = {**BASE, OTHER: "integer"}
    seen = as_if_there(replayed, {OTHER}, live)
    assert seen.base == live
    assert [len(effect) for effect in seen.effects] == [1, 0, 1]
    assert state_after(seen, 3) == state_after(replayed, 3)
    assert as_if_there(replayed, (), live) is replayed
