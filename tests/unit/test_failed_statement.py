"""The logged violation names what it violated; what makes that is what failed."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest

from sidecar.attempt_window import FAR
from sidecar.error_log import LoggedError
from sidecar.failed_statement import by_violation
from sidecar.model import FactKey, Facts, Window
from sidecar.row_proofs import Question, RowEvidence
from tests.unit.builders import Made, replay, script_of, state_after, table

BASE: Facts = {table("t"): "TABLE", FactKey("column", "a", "public.t"): "integer"}
COLUMN = FactKey("column", "c", "public.t")
INDEX = FactKey("index", 'public."t_c_Key"', "public.t")

ADD = ("ALTER TABLE t ADD COLUMN c TEXT", {COLUMN: "text"})
FILL = "UPDATE t SET c = lower(b)"
BLOCK = "DO $$ BEGIN UPDATE t SET c = lower(b); END $$"
UNIQUE = ('CREATE UNIQUE INDEX "t_c_Key" ON t (c)', {INDEX: "CREATE UNIQUE INDEX"})
REQUIRED = ("ALTER TABLE t ALTER COLUMN c SET NOT NULL", {COLUMN: "text NOT NULL DEFAULT 'x'"})

DUPLICATE = LoggedError("23505", "SQLSTATE 23505", constraint="t_c_Key", table="t")
NULL = LoggedError("23502", "SQLSTATE 23502", table="t", column="c")
ADAPTER = LoggedError("", "Unique constraint failed: t_c_Key", constraint="t_c_Key")

WINDOW = Window("9", oldest=40, youngest=10, sharp=True)
DATED = RowEvidence(WINDOW, ages={COLUMN: 40})

Written = str | tuple[str, Made]


def question(
    *statements: Written, error: LoggedError, live: Facts | None = None, low: int = 1
) -> Question:
    """Open is all from `low` on; nothing after the first `low` statements shows."""
    texts = [s if isinstance(s, str) else s[0] for s in statements]
    replayed = replay(*(None if isinstance(s, str) else s[1] for s in statements), base=BASE)
    end = max(i for i, s in enumerate(statements, start=1) if isinstance(s, str))
    now = state_after(replayed, low) | dict(live or {})
    candidates = tuple(range(low, end + 1))
    return Question(candidates, script_of(*texts), replayed.effects, BASE, now, error=error)


@dataclass(frozen=True)
class Told:
    """A question, and the candidates that the error leaves."""

    question: Question
    left: tuple[int, ...]
    rows: RowEvidence = DATED


TOLD = {
    "a key that only the last makes": Told(question(ADD, FILL, UNIQUE, error=DUPLICATE), (2,)),
    "after a block as well": Told(question(ADD, BLOCK, UNIQUE, error=DUPLICATE), (2,)),
    "after several": Told(question(ADD, FILL, BLOCK, FILL, UNIQUE, error=DUPLICATE), (4,)),
    "in the words of an adapter": Told(question(ADD, FILL, UNIQUE, error=ADAPTER), (2,)),
    "NOT NULL": Told(question(ADD, FILL, REQUIRED, error=NULL), (2,)),
    "one of many that come later": Told(
        question(ADD, FILL, REQUIRED, UNIQUE, error=DUPLICATE), (2,)
    ),
    "the key was there": Told(
        question(ADD, FILL, UNIQUE, error=DUPLICATE, live={INDEX: "CREATE UNIQUE INDEX"}), (1, 2)
    ),
    "another column": Told(question(ADD, FILL, REQUIRED, error=replace(NULL, column="b")), (1, 2)),
    "another table's column": Told(
        question(ADD, FILL, REQUIRED, error=replace(NULL, table="u")), (1, 2)
    ),
    "a column that has no NULL anyway": Told(
        question(
            ("ALTER TABLE t ADD COLUMN c TEXT NOT NULL DEFAULT ''", {COLUMN: "text NOT NULL"}),
            FILL,
            REQUIRED,
            error=NULL,
        ),
        (1, 2),
    ),
    "nothing named": Told(
        question(ADD, FILL, UNIQUE, error=LoggedError("23505", "SQLSTATE 23505")), (1, 2)
    ),
    "a block that may have made the key, and taken it back": Told(
        question(
            ADD,
            """DO $$ BEGIN EXECUTE 'CREATE UNIQUE INDEX "t_c_Key" ON t (c)'; END $$""",
            UNIQUE,
            error=DUPLICATE,
        ),
        (1, 2),
    ),
    "one message, perhaps": Told(
        question(ADD, FILL, "COMMIT", FILL, UNIQUE, error=DUPLICATE), (1, 2, 3, 4)
    ),
    "nothing before shows": Told(question(FILL, UNIQUE, error=DUPLICATE, low=0), (0, 1)),
    "what shows is not dated": Told(
        question(ADD, FILL, UNIQUE, error=DUPLICATE), (1, 2), RowEvidence(WINDOW)
    ),
    "what shows is not what opens the window": Told(
        question(ADD, FILL, UNIQUE, error=DUPLICATE),
        (1, 2),
        RowEvidence(replace(WINDOW, oldest=FAR), ages={COLUMN: 40}),
    ),
    "ids are of no use": Told(
        question(ADD, FILL, UNIQUE, error=DUPLICATE), (1, 2), RowEvidence(ages={COLUMN: 40})
    ),
    "what shows may have been made beforehand": Told(
        question(
            ("ALTER TABLE t ADD COLUMN IF NOT EXISTS c TEXT", {COLUMN: "text"}),
            FILL,
            UNIQUE,
            error=DUPLICATE,
        ),
        (1, 2),
    ),
}


@pytest.mark.parametrize("case", TOLD)
def test_all_before_the_one_that_failed_ran(case: str) -> None:
    """Only where statements were committed one by one, and nothing else can have said it."""
    told = TOLD[case]
    left, said = by_violation(told.question, told.rows)
    assert left == told.left
    assert bool(said) == (left != told.question.candidates), "nothing is dropped without a word"
