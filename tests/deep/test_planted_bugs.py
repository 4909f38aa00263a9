"""Bugs planted on purpose are caught: a harness that sees nothing would call everything well.

Each world is judged twice, with the program as it is and with the bug in it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any

import pytest

from sidecar import (
    attempt_window,
    error_log,
    evidence,
    examine,
    harmless,
    id_reader,
    mark,
    new_columns,
    outcomes,
    plan,
    row_evidence,
    row_proofs,
    row_queries,
    script,
    verify,
)
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
    Window,
)
from sidecar.row_changes import row_change
from tests.deep.past import Extra, Past
from tests.deep.world import AT_LAST, End, How, Rival, Stage, World, try_world

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
    patch.setattr(error_log, "logged_error", lambda _: None)
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


# --- in what is known of data statements ----------------------------------------------


def _disturbs_never(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(harmless, "disturbs", lambda *_: False)


def _settles_all(patch: pytest.MonkeyPatch) -> None:
    def settled(node: Any, touched: Any) -> Any:
        change = row_change(node, touched)
        return change and replace(change, settled=True)

    patch.setattr(script, "row_change", settled)


def _change_the_window(patch: pytest.MonkeyPatch, **values: Any) -> None:
    real = attempt_window.window

    def changed(*args: Any) -> Any:
        found = real(*args)
        return replace(found, **values) if isinstance(found, Window) else found

    patch.setattr(attempt_window, "window", changed)


def _opens_the_window_late(patch: pytest.MonkeyPatch) -> None:
    _change_the_window(patch, oldest=0)


def _opens_the_window_early(patch: pytest.MonkeyPatch) -> None:
    _change_the_window(patch, oldest=attempt_window.FAR)


def _takes_every_window_for_sharp(patch: pytest.MonkeyPatch) -> None:
    _change_the_window(patch, sharp=True)


def _finds_rows_older(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(row_proofs, "_rows_are_older", lambda *_: "a bug")


def _finds_rows_its_own(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(row_proofs, "_rows_are_its_own", lambda *_: "a bug")


def _finds_rows_left(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(row_proofs, "_rows_are_left", lambda *_: "a bug")


def _calls_a_busy_server_quiet(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(id_reader, "nothing_committed", lambda *_, **__: True)


def _finds_columns_filled(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(row_evidence, "is_set", lambda *_: "a bug")


def _finds_columns_empty(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(row_evidence, "is_unset", lambda *_: "a bug")


def _takes_all_columns_for_new(patch: pytest.MonkeyPatch) -> None:
    for module in (row_evidence, row_proofs, new_columns):
        patch.setattr(module, "private", lambda *_: True)


def _forgets_the_application(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(row_evidence, "_is_overtaken", lambda *_: False)


def _calls_all_vacuous(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(row_evidence, "_is_vacuous", lambda *_: True)


def _sees_no_trigger(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(row_evidence, "watched", lambda *_, **__: False)


def _forgets_settings(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(examine, "read_alike", lambda found: len(found.statements))


def _takes_twins_for_one(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(examine, "qualified", lambda found, _: found)


def _looks_up_nothing(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(row_evidence, "understood", lambda found, _: found)


def _notes_too_little(patch: pytest.MonkeyPatch) -> None:
    real = mark.committed
    patch.setattr(mark, "committed", lambda *args: (real(*args) or 1) - 1)


def _undoes_what_rows_do_not_forget(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(plan, "changed_for_good", lambda *_, **__: "")


def _takes_numbers_to_look_at_them(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(row_queries, "_does_more", lambda _: False)


def _counts_no_rows(patch: pytest.MonkeyPatch) -> None:
    _deletes_other_rows(patch)
    patch.setattr(verify, "_row_violations", lambda *_: [])


def _compares_no_other_facts(patch: pytest.MonkeyPatch) -> None:
    stray = replace(_STRAY, sql="COMMENT ON TABLE \"Log\" IS 'a bug'")
    _change_the_steps(patch, lambda step: (stray, step) if step.sql == ANOTHER else (step,))
    patch.setattr(verify, "_allowed", lambda *_: True)


@dataclass(frozen=True, slots=True)
class Planted:
    """A bug, a world that shows it, how that ends without it, and what the judge says of it."""

    bug: Plant
    world: World
    healthy: frozenset[End]
    says: str


EXACT, REFUSED, FAILED = frozenset({End.EXACT}), frozenset({End.REFUSED}), frozenset({End.FAILED})
GOOD = EXACT | REFUSED

_LIVE = """UPDATE "Post" SET "state" = 'live' WHERE "state" = 'pending'"""
_DRAFT = """UPDATE "Post" SET "state" = 'pending' WHERE "state" = 'draft'"""
_SEEN = """UPDATE "Post" SET "views" = "views" + 100 WHERE "state" = 'live'"""
_PENDING = """UPDATE "Post" SET "state" = 'pending' WHERE "id" = 2"""
_TOUCH = 'UPDATE "Post" SET "title" = "title"'
_TWO = """INSERT INTO "Log" VALUES ('a', 1), ('b', 2)"""
_BY_TWO = """INSERT INTO "Log" VALUES ('x', 1), ('y', 2)"""
_FILL = 'UPDATE "Post" SET "c" = "views"'
_DOUBLE = 'UPDATE "Post" SET "views" = "views" + "c"'
_NUMBERED = """INSERT INTO "Log" VALUES ('numbered', nextval('ticket'))"""
_KEPT = 'CREATE TABLE "Kept" ("n" INTEGER)'
_NOBODY = """UPDATE "User" SET "score" = 1 WHERE "email" = 'nobody'"""
_PATH = 'SET search_path = "other"'
_MINE = ('CREATE SCHEMA "mine"', 'CREATE TABLE "mine"."Log" ("line" TEXT, "n" INTEGER)')
_CONCURRENTLY = 'CREATE INDEX CONCURRENTLY "i" ON "Post"("views")'

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
        _disturbs_never,
        World((_LIVE, _DRAFT, NEW_COLUMN), how=How.ERROR, reach=2),
        REFUSED,
        "live",
    ),
    Planted(_settles_all, World((ONE_MORE, NEW_COLUMN), how=How.ERROR, reach=1), REFUSED, "post"),
    Planted(_opens_the_window_late, World((NEW_COLUMN, ONE_MORE), reach=2), REFUSED, "post"),
    Planted(
        _opens_the_window_early,
        World((_TWO,), reach=0, rivals=(Rival(-1, _TWO),)),
        EXACT,
        "-b",
    ),
    Planted(
        _takes_every_window_for_sharp,
        World((_TWO, NEW_COLUMN), how=How.ERROR, reach=0, rivals=(Rival(-1, _TWO),)),
        REFUSED,
        "-b",
    ),
    Planted(_finds_rows_older, World((ONE_MORE,), reach=1), REFUSED, "post"),
    Planted(
        _finds_rows_its_own,
        World((NEW_COLUMN, ONE_MORE, ANOTHER), reach=1, rivals=(Rival(1, _TOUCH),)),
        REFUSED,
        "post",
    ),
    Planted(_finds_rows_left, World((ONE_MORE,), reach=1), REFUSED, "post"),
    Planted(_calls_a_busy_server_quiet, World((ONE_MORE,), reach=1), REFUSED, "post"),
    Planted(
        _finds_columns_filled,
        World((NEW_COLUMN, _FILL), reach=1, rivals=(Rival(1, _TOUCH),)),
        REFUSED,
        "post",
    ),
    Planted(
        _finds_columns_empty,
        World((NEW_COLUMN, _FILL), reach=2, rivals=(Rival(AT_LAST, _DOUBLE),)),
        EXACT,
        "post",
    ),
    Planted(
        _takes_all_columns_for_new,
        World(('UPDATE "Post" SET "rank" = 5',), rivals=(Rival(0, _TOUCH),)),
        REFUSED,
        "post",
    ),
    Planted(
        _forgets_the_application,
        World((_LIVE,), reach=1, rivals=(Rival(1, _SEEN), Rival(AT_LAST, _PENDING))),
        REFUSED,
        "live",
    ),
    Planted(
        _calls_all_vacuous,
        World((ONE_MORE, NEW_COLUMN), rivals=(Rival(0, _TOUCH),)),
        REFUSED,
        "post",
    ),
    Planted(
        _sees_no_trigger,
        World((_NOBODY,), past=Past(extra=Extra.SWALLOWS_ROWS), rivals=(Rival(0, _TOUCH),)),
        REFUSED,
        "UPDATE of users",
    ),
    Planted(
        _forgets_settings,
        World((_PATH, ONE_MORE), reach=2, past=Past(extra=Extra.HAS_TWINS)),
        REFUSED,
        "draft",
    ),
    Planted(
        _takes_twins_for_one,
        World((*_MINE, _TWO, ANOTHER), reach=2, rivals=(Rival(2, _BY_TWO),)),
        GOOD,
        "-b",
    ),
    Planted(
        _looks_up_nothing,
        World(
            ('UPDATE "Post" SET "title" = "loud"', NEW_COLUMN),
            how=How.ERROR,
            reach=1,
            past=Past(extra=Extra.COMPUTES_COLUMNS),
        ),
        REFUSED,
        "!!",
    ),
    Planted(_notes_too_little, World((ONE_MORE, _CONCURRENTLY, ANOTHER), cuts=1), EXACT, "post"),
    Planted(
        _undoes_what_rows_do_not_forget,
        World((ONE_MORE, _KEPT, NEW_COLUMN), reach=2, policy="rebuild"),
        REFUSED,
        "post 1 of 1",
    ),
    Planted(_takes_numbers_to_look_at_them, World((_NUMBERED, NEW_COLUMN), reach=1), REFUSED, ""),
    Planted(_counts_no_rows, World((NEW_COLUMN, ANOTHER), reach=1), EXACT, "line"),
    Planted(_compares_no_other_facts, World((NEW_COLUMN, ANOTHER), reach=1), EXACT, "a bug"),
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
