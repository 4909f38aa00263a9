"""Bugs planted on purpose are caught: a harness that sees nothing would call everything well.

Each world is judged twice, with the program as it is and with the bug in it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any

import pytest

from sidecar import evidence, outcomes, plan
from sidecar.errors import ExitCode
from sidecar.examine import Examiner
from sidecar.model import (
    Decision,
    Evidence,
    OutcomeName,
    Policy,
    Proof,
    Refusal,
    Segment,
    Step,
    StepKind,
)
from tests.deep.world import End, How, Stage, World, try_world

Plant = Callable[[pytest.MonkeyPatch], None]

ONE_MORE = 'UPDATE "Post" SET "views" = "views" + 1'
NEW_COLUMN = 'ALTER TABLE "Post" ADD COLUMN "c" INTEGER'
ANOTHER = 'ALTER TABLE "User" ADD COLUMN "d" TEXT'


def _says_it_did_not_run(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(evidence, "by_equivalence", lambda candidates, *_, **__: candidates[:1])


def _says_it_ran(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(evidence, "by_equivalence", lambda candidates, *_, **__: candidates[-1:])


def _counts_a_step_that_was_not(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(evidence, "by_steps_count", lambda _, total: (total, Evidence("ledger", "1")))


def _takes_an_error_for_none(patch: pytest.MonkeyPatch) -> None:
    """Its way then: the end of the script speaks."""
    patch.setattr(evidence, "logged_error", lambda _: None)
    _says_it_ran(patch)


def _proves_nothing(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Proof, "holds", property(lambda _: True))


def _change_the_steps(patch: pytest.MonkeyPatch, change: Callable[[Step], Iterable[Step]]) -> None:
    real = plan.decide

    def changed(situation: plan.Situation, policy: Policy) -> Decision:
        decision = real(situation, policy)
        if isinstance(decision, Refusal):
            return decision
        return replace(decision, segments=tuple(map(segment, decision.segments)))

    def segment(of: Segment) -> Segment:
        return replace(of, steps=tuple(chain.from_iterable(map(change, of.steps))))

    patch.setattr(plan, "decide", changed)


def _leaves_a_statement_out(patch: pytest.MonkeyPatch) -> None:
    _change_the_steps(patch, lambda step: () if step.sql == ANOTHER else (step,))
    _proves_nothing(patch)


def _runs_a_statement_twice(patch: pytest.MonkeyPatch) -> None:
    _change_the_steps(patch, lambda step: (step, step) if step.sql == ONE_MORE else (step,))


_STRAY = Step(StepKind.STATEMENT, 'DELETE FROM "Log"', "a bug")


def _deletes_other_rows(patch: pytest.MonkeyPatch) -> None:
    _change_the_steps(patch, lambda step: (_STRAY, step) if step.sql == ANOTHER else (step,))


def _deletes_other_rows_unseen(patch: pytest.MonkeyPatch) -> None:
    _deletes_other_rows(patch)
    _proves_nothing(patch)


def _forgets_the_new_ledger_row(patch: pytest.MonkeyPatch) -> None:
    def is_it(step: Step) -> bool:
        return step.kind is StepKind.LEDGER and step.sql.startswith("INSERT")

    _change_the_steps(patch, lambda step: () if is_it(step) else (step,))


def _writes_while_it_refuses(patch: pytest.MonkeyPatch) -> None:
    real = Examiner.examine

    def writing(self: Examiner, *args: Any, **more: Any) -> Any:
        self.live.session.execute('UPDATE "Log" SET "n" = 0')
        return real(self, *args, **more)

    patch.setattr(Examiner, "examine", writing)


def _calls_a_failure_a_success(patch: pytest.MonkeyPatch) -> None:
    patch.setitem(outcomes._CODES, OutcomeName.REPAIR_FAILED, ExitCode.OK)  # noqa: SLF001


@dataclass(frozen=True, slots=True)
class Planted:
    """A bug, a world that shows it, how that ends without it, and what the judge says of it."""

    bug: Plant
    world: World
    healthy: frozenset[End]
    says: str


EXACT, REFUSED, FAILED = frozenset({End.EXACT}), frozenset({End.REFUSED}), frozenset({End.FAILED})
GOOD = EXACT | REFUSED

BUGS = (
    Planted(_says_it_did_not_run, World((ONE_MORE, NEW_COLUMN), reach=1), GOOD, "post 1 of 1"),
    Planted(_says_it_ran, World((NEW_COLUMN, ONE_MORE), reach=1), GOOD, "post 1 of 1"),
    Planted(_counts_a_step_that_was_not, World((ONE_MORE,), reach=0), GOOD, "post 1 of 1"),
    Planted(
        _takes_an_error_for_none, World((ONE_MORE,), how=How.ERROR, reach=0), EXACT, "post 1 of 1"
    ),
    Planted(_leaves_a_statement_out, World((NEW_COLUMN, ANOTHER), reach=1), EXACT, "d text"),
    Planted(
        _runs_a_statement_twice, World((ONE_MORE,), how=How.ERROR, reach=0), EXACT, "post 1 of 1"
    ),
    Planted(_deletes_other_rows_unseen, World((NEW_COLUMN, ANOTHER), reach=1), EXACT, "line"),
    Planted(_forgets_the_new_ledger_row, World((NEW_COLUMN,), reach=0), EXACT, "ledger's rows"),
    Planted(_writes_while_it_refuses, World((ONE_MORE, ONE_MORE), reach=1), REFUSED, "line"),
    Planted(
        _calls_a_failure_a_success,
        World((NEW_COLUMN, 'ALTER TABLE "Post" ALTER COLUMN "c" SET NOT NULL'), reach=0),
        FAILED,
        "though no clean run can succeed",
    ),
)


@pytest.mark.deep
@pytest.mark.parametrize("planted", BUGS, ids=lambda planted: planted.bug.__name__.strip("_"))
def test_a_planted_bug_is_caught(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, planted: Planted
) -> None:
    """The judge calls the end wrong and shows what is, and has nothing to say without the bug."""
    as_it_is = try_world(stage, planted.world)
    assert as_it_is.end in planted.healthy, as_it_is.why
    planted.bug(monkeypatch)
    verdict = try_world(stage, planted.world)
    assert verdict.end is End.WRONG
    assert planted.says in verdict.why


@pytest.mark.deep
def test_the_proof_itself_catches_a_stray_statement(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A repair that changes rows it should not is rolled back by the program's own proof."""
    _deletes_other_rows(monkeypatch)
    verdict = try_world(stage, World((NEW_COLUMN, ANOTHER), reach=1))
    assert verdict.end is End.FAILED
    assert "which the migration never writes" in verdict.why
