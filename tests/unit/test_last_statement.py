"""A statement that still finds something to do was not the last that ran."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest

from sidecar.attempt_window import FAR
from sidecar.last_statement import not_the_last
from sidecar.live_tables import understood
from sidecar.model import FactKey, Facts, Seen, Window
from sidecar.row_proofs import Question, RowEvidence
from tests.unit.builders import replay, script_of, table

FACTS: Facts = {
    table("t"): "TABLE",
    table("u"): "TABLE",
    FactKey("column", "code", "public.t"): "text NOT NULL",
}
TRIGGER = {FactKey("trigger", "g", "public.t"): "CREATE TRIGGER g BEFORE DELETE ON public.t"}
LOGGED = Window("9", oldest=40, youngest=10, sharp=False)
KILLED = Window("9", oldest=40, youngest=-FAR, sharp=True, bounded=False)

DELETE = "DELETE FROM t WHERE u_id IN (SELECT id FROM u WHERE code = 'x')"
UPDATE = "UPDATE t SET a = 'y' WHERE a = 'x'"
MERGE = "INSERT INTO t (id, a) SELECT id, 'x' FROM u ON CONFLICT (id) DO NOTHING"
GUARD = "INSERT INTO t (code) SELECT 'x' WHERE NOT EXISTS (SELECT FROM t WHERE code = 'x')"
LINE = "INSERT INTO t (a) VALUES (1), (2)"

WORK = Seen(picked=2, pending=2, overtaken=0, fresh=3)
NONE = Seen(picked=2, pending=0, overtaken=0, fresh=3)


@dataclass(frozen=True)
class Told:
    """A statement, what is seen of it, and whether it may have been the last."""

    sql: str
    seen: Seen
    may: bool
    window: Window | None = LOGGED
    live: Facts | None = None


TOLD = {
    "rows that it would remove": Told(DELETE, WORK, may=False),
    "none that it would remove": Told(DELETE, NONE, may=True),
    "rows that it would change": Told(UPDATE, WORK, may=False),
    "rows of its key that are missing": Told(MERGE, WORK, may=False),
    "some of them only": Told(MERGE, replace(WORK, pending=1), may=True),
    "the row that it asks for is missing": Told(GUARD, WORK, may=False),
    "it is there": Told(GUARD, replace(NONE, picked=0), may=True),
    "nothing was written where it gives rows": Told(LINE, replace(WORK, fresh=0), may=False),
    "something was": Told(LINE, WORK, may=True),
    "a second run would do more": Told("UPDATE t SET n = n + 1", WORK, may=True),
    "other values each time": Told("UPDATE t SET a = random()", WORK, may=True),
    "other rows each time": Told("DELETE FROM t WHERE at < now()", WORK, may=True),
    "fewer rows elsewhere may give it work": Told(
        "DELETE FROM t WHERE NOT EXISTS (SELECT FROM u WHERE u.id = t.u_id)", WORK, may=True
    ),
    "somebody has written since": Told(DELETE, replace(WORK, overtaken=1), may=True),
    "nobody knows who wrote since": Told(DELETE, replace(WORK, overtaken=None), may=True),
    "after a kill": Told(DELETE, WORK, may=True, window=KILLED),
    "ids are of no use": Told(DELETE, WORK, may=True, window=None),
    "a trigger may have kept the rows": Told(DELETE, WORK, may=True, live=TRIGGER),
    "not counted": Told(DELETE, Seen(overtaken=0), may=True),
}


@pytest.mark.parametrize("case", TOLD)
def test_what_has_work_left_was_not_the_last(case: str) -> None:
    """Where the attempt has ended with an error, and nobody has written after it."""
    told = TOLD[case]
    live = {**FACTS, **(told.live or {})}
    script = understood(script_of(told.sql, "UPDATE u SET n = n + 1"), live)
    question = Question((0, 1), script, replay(None, None, base=FACTS).effects, FACTS, live)
    left, said = not_the_last(question, (0, 1), RowEvidence(told.window, seen={1: told.seen}))
    assert left == ((0, 1) if told.may else (0,))
    assert bool(said) is not told.may, "nothing is dropped without a word"


def test_each_is_asked_for_itself() -> None:
    """What comes later may have been the last all the same, and the first stays in any case."""
    script = script_of(UPDATE, "UPDATE t SET n = n + 1", DELETE)
    question = Question((0, 1, 2, 3), script, replay(*[None] * 3).effects, FACTS, FACTS)
    seen = {1: WORK, 2: WORK, 3: WORK}
    left, _ = not_the_last(question, question.candidates, RowEvidence(LOGGED, seen=seen))
    assert left == (0, 2)


def test_of_a_block_its_last_change_of_rows_speaks() -> None:
    """Between two candidates stands all that is committed together."""
    script = script_of("BEGIN", LINE, DELETE, "COMMIT")
    question = Question((0, 4), script, replay(*[None] * 4).effects, FACTS, FACTS)
    left, _ = not_the_last(question, (0, 4), RowEvidence(LOGGED, seen={2: NONE, 3: WORK}))
    assert left == (0,)
