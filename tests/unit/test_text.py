"""What people read: summary, termination message, status and plan."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar import pages, text
from sidecar.model import (
    Evidence,
    FindingName,
    Hazard,
    MigrationName,
    MigrationOutcome,
    Outcome,
    OutcomeName,
    Refusal,
    StatementState,
    StepKind,
)
from tests.golden import golden
from tests.outcomes import (
    BY_NAME,
    NAME,
    OUTCOMES,
    PLAN,
    TWO_PLANS,
    finding,
    planned,
    refused,
    script,
    together,
)

EACH_OUTCOME = pytest.mark.parametrize("outcome", OUTCOMES, ids=[o.name for o in OUTCOMES])

APPLIED, MISSING, UNKNOWN = StatementState

ODD_TEXT = st.text(
    st.characters(codec=None) | st.sampled_from("\n\r\x00\x1b\x85\u2028\udcff-'$"), max_size=400
)


@EACH_OUTCOME
def test_the_last_lines_of_the_log(outcome: Outcome) -> None:
    """The summary says what happened, what was not touched, and the next command."""
    golden(f"summary-{outcome.name}", "\n".join(text.summary_lines(outcome)) + "\n")


@EACH_OUTCOME
def test_the_termination_message(outcome: Outcome) -> None:
    """What Kubernetes shows begins with the outcome, the migration and the next step."""
    golden(f"termination-{outcome.name}", text.termination_message(outcome).decode() + "\n")


@EACH_OUTCOME
def test_status(outcome: Outcome) -> None:
    """`status` shows finding, evidence and the state of each statement."""
    golden(f"status-{outcome.name}", pages.human_status(outcome))


def test_plan() -> None:
    """`plan` shows what is done and missing, then each step with SQL, reason and hazard."""
    golden("plan", pages.human_plan(TWO_PLANS))


def test_a_healthy_run_says_one_line() -> None:
    """Nothing failed: one line, which is all that a healthy start logs."""
    assert text.summary_lines(BY_NAME[OutcomeName.HEALTHY]) == (
        "No migration is failed: the backend may start. Nothing was changed.",
    )


def test_what_was_committed_before_a_failure_is_said() -> None:
    """A migration whose repair stands is never said to be rolled back."""
    first = planned(done=True)
    outcome = replace(BY_NAME[OutcomeName.REPAIR_FAILED], migrations=(first, planned()))
    said = "\n".join(text.summary_lines(outcome))
    assert f"Committed before this: {NAME}. Nothing else was changed." in said
    assert "the database is as it was" not in said


def test_a_reason_is_said_once() -> None:
    """The first line has it; the line of the migration says the finding, and what was done."""
    reason = "its table was altered by hand"
    refusal = Refusal(NAME, FindingName.DIVERGED, PLAN.action, reason)
    halted = MigrationOutcome(finding(FindingName.DIVERGED), None, refusal)
    outcome = Outcome(OutcomeName.HALTED, 3, f"halted at {NAME}: {reason}", migrations=(halted,))
    assert text.summary_lines(outcome)[1].endswith("; nothing done")
    assert text.termination_message(outcome).decode().count(reason) == 1
    elsewhere = replace(outcome, summary="halted")
    assert text.summary_lines(elsewhere)[1].endswith(f"; nothing done: {reason}")


@pytest.mark.parametrize("name", list(FindingName))
def test_every_finding_has_its_words(name: FindingName) -> None:
    """Each finding is named as in the documentation and explained in a few words."""
    line = text.finding_line(MigrationOutcome(finding(name), refused(name).script))
    assert line.startswith(f"{NAME}: {name} (")
    assert "None" not in line


@pytest.mark.parametrize("kind", list(StepKind))
@pytest.mark.parametrize("hazard", list(Hazard))
def test_every_step_is_shown(kind: StepKind, hazard: Hazard) -> None:
    """Whatever a plan holds, its SQL, reason and hazard are shown."""
    step = replace(PLAN.steps[0], kind=kind, hazard=hazard, reason="because", sql="SELECT 'x'")
    outcome = replace(TWO_PLANS, migrations=(planned(replace(PLAN, segments=together(step))),))
    shown = pages.human_plan(outcome)
    assert "because" in shown
    assert "SELECT 'x'" in shown
    assert ("[" in shown) == (hazard is not Hazard.NONE)


@given(
    summary=ODD_TEXT,
    names=st.lists(ODD_TEXT, max_size=60),
    reason=ODD_TEXT,
    steps=st.lists(ODD_TEXT, min_size=1, max_size=60),
)
def test_the_termination_message_fits(
    summary: str, names: list[str], reason: str, steps: list[str]
) -> None:
    """At most 4096 bytes of valid UTF-8, and the essential always gets through."""
    migrations = tuple(
        MigrationOutcome(
            replace(finding(FindingName.DIVERGED), migration=MigrationName(name)),
            None,
            Refusal(MigrationName(name), FindingName.DIVERGED, PLAN.action, reason),
        )
        for name in names
    )
    outcome = Outcome(
        OutcomeName.HALTED, 3, summary, migrations=migrations, next_steps=tuple(steps)
    )
    message = text.termination_message(outcome)
    assert len(message) <= text.TERMINATION_LIMIT
    lines = message.decode().split("\n")
    assert lines[0].startswith("halted (exit 3): ")
    assert lines[1 + bool(names)].startswith("next: ")
    if names:
        assert ": diverged (" in lines[1] or len(text.one_line(names[0]).encode()) > 300


def test_the_termination_message_fits_among_many_containers() -> None:
    """Ten containers leave 1228 bytes: outcome, finding, next step; then what they left out."""
    name = MigrationName("20251208175358_" + "x" * 240)
    reason = "because " * 60
    refusal = Refusal(name, FindingName.DIVERGED, PLAN.action, reason)
    found = replace(finding(FindingName.DIVERGED), migration=name)
    outcome = Outcome(
        OutcomeName.HALTED,
        3,
        "summary " * 60,
        migrations=(MigrationOutcome(found, None, refusal),),
        next_steps=("step " * 100, "another"),
    )
    message = text.termination_message(outcome)
    head, diverged, step = message[: 12 * 1024 // 10].decode(errors="ignore").split("\n")[:3]
    assert head.startswith("halted (exit 3): summary")
    assert diverged.startswith(f"{name}: diverged (")
    assert step.startswith("next: step")
    assert all(line.endswith("…") for line in (head, diverged, step))
    assert reason.strip() in message.decode()


@pytest.mark.parametrize("letter", ["a", "ä", "€", "𝄞"])
@pytest.mark.parametrize("shift", range(4))
def test_no_character_is_cut_in_two(letter: str, shift: int) -> None:
    """A long message in any script ends with a whole character, close to the limit."""
    steps = tuple("x" * shift + letter * 1500 + str(i) for i in range(9))
    message = text.termination_message(Outcome(OutcomeName.ERROR, 1, "bug", next_steps=steps))
    assert text.TERMINATION_LIMIT - 4 < len(message) <= text.TERMINATION_LIMIT
    assert message.decode().rstrip(letter) != message.decode()


@given(odd=ODD_TEXT)
def test_odd_names_cannot_forge_lines(odd: str) -> None:
    """No name or evidence starts a line of its own or moves a terminal's cursor."""
    odd_finding = replace(
        finding(FindingName.DIVERGED),
        migration=MigrationName(odd),
        evidence=(Evidence("logs", odd),),
        missing=(odd,),
    )
    migration = replace(refused(FindingName.DIVERGED), finding=odd_finding)
    outcome = replace(
        BY_NAME[OutcomeName.HALTED], summary=odd, migrations=(migration,), warnings=(odd,)
    )
    plain = replace(
        outcome,
        summary="s",
        warnings=("w",),
        migrations=(
            replace(
                migration,
                finding=replace(
                    odd_finding,
                    migration=NAME,
                    evidence=(Evidence("logs", "e"),),
                    missing=("m",),
                ),
            ),
        ),
    )
    for render in (pages.human_status, pages.human_plan):
        assert len(render(outcome).split("\n")) == len(render(plain).split("\n"))
        assert all(line.isprintable() for line in render(outcome).split("\n"))
    for lines in (text.summary_lines(outcome), text.summary_lines(plain)):
        assert len(lines) == len(text.summary_lines(plain))
        assert all(line.isprintable() for line in lines)


@pytest.mark.parametrize(
    ("name", "states"),
    [
        (FindingName.NOTHING_APPLIED, [MISSING] * 4),
        (FindingName.PARTLY_APPLIED, [APPLIED, MISSING, MISSING, MISSING]),
        (FindingName.FULLY_APPLIED, [APPLIED] * 4),
        (FindingName.UNDETERMINED, [APPLIED, UNKNOWN, UNKNOWN, MISSING]),
        (FindingName.DIVERGED, [UNKNOWN] * 4),
        (FindingName.RUNNING, [UNKNOWN] * 4),
        (FindingName.SCRIPT_MISSING, [UNKNOWN] * 4),
    ],
)
def test_the_state_of_each_statement(name: FindingName, states: list[StatementState]) -> None:
    """Applied up to k, missing beyond, unknown where the candidates differ or nothing is known."""
    assert list(text.statement_states(finding(name), script())) == states


@given(st.sets(st.integers(0, 4), min_size=1))
def test_candidates_never_claim_too_much(candidates: set[int]) -> None:
    """A statement is called applied, or missing, only if it is under every candidate."""
    open_finding = replace(finding(FindingName.UNDETERMINED), candidates=tuple(candidates))
    for index, state in enumerate(text.statement_states(open_finding, script()), 1):
        under_each = {APPLIED if index <= k else MISSING for k in candidates}
        assert {state} == (under_each if len(under_each) == 1 else {UNKNOWN})


def test_next_steps_come_once() -> None:
    """The run's own steps come first, then each refusal's, and none is said twice."""
    assert text.next_steps(BY_NAME[OutcomeName.HALTED]) == (
        "migration-sidecar status",
        "migration-sidecar plan --policy rebuild",
        "psql: look at momentum.mm_scheduled_issue",
    )


def test_the_summary_does_not_import_the_report() -> None:
    """Who asks for no report file pays neither for its classes nor for its encoder."""
    code = "import sys, sidecar.text; print(*({'msgspec', 'sidecar.report'} & set(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[2],
    )
    assert done.stdout.strip() == ""
