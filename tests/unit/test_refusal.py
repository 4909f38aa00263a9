"""What is said where nothing is done: what was found, why, and what to type next."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.model import (
    Action,
    Difference,
    Evidence,
    Finding,
    FindingName,
    Policy,
    Preset,
    Refusal,
)
from sidecar.refusal import halted, refused
from tests.unit.builders import NAME, OTHER, finding_of, table

FORWARD, OBSERVE = Policy(Preset.FORWARD), Policy(Preset.OBSERVE)


def drifted(count: int) -> Finding:
    """A diverged migration with as many differences."""
    differences = tuple(Difference(table(f"t{n}"), "TABLE", None) for n in range(count))
    return Finding(FindingName.DIVERGED, NAME, (), differences=differences)


# finding, words of the reason, words of the next steps
SAID = {
    "running": (finding_of(FindingName.RUNNING), "a migrator is at work", "Wait"),
    "nothing-applied": (finding_of(FindingName.NOTHING_APPLIED, 0), "none of its", "forward"),
    "partly-applied": (finding_of(FindingName.PARTLY_APPLIED, 2), "first 2", "forward"),
    "fully-applied": (finding_of(FindingName.FULLY_APPLIED, 3), "bookkeeping", "--applied"),
    "diverged": (drifted(1), "table public.t0 is absent and should be TABLE", "status"),
    "undetermined": (finding_of(FindingName.UNDETERMINED), "more", "by hand"),
    "script-missing": (finding_of(FindingName.SCRIPT_MISSING), "seen", "--rolled-back"),
}


@pytest.mark.parametrize("name", FindingName)
def test_each_finding_has_its_words(name: FindingName) -> None:
    """What was found and what to do are said for each finding."""
    finding, reason, step = SAID[name]
    refusal = halted(finding, FORWARD)
    assert (refusal.migration, refusal.finding, refusal.action) == (NAME, name, Action.HALT)
    assert reason in refusal.reason
    assert any(step in one for one in refusal.next_steps)


@pytest.mark.parametrize("name", FindingName)
def test_observe_says_that_it_never_writes(name: FindingName) -> None:
    """Whoever set `observe` is reminded of it."""
    assert "observe never writes" in halted(SAID[name][0], OBSERVE).reason
    assert "observe" not in halted(SAID[name][0], FORWARD).reason


def test_a_long_list_of_differences_is_cut() -> None:
    """Three are shown, the others counted."""
    reason = halted(drifted(5), FORWARD).reason
    assert reason.count("should be") == 3
    assert "2 more" in reason
    assert "more" not in halted(drifted(3), FORWARD).reason


def test_what_cannot_be_done_is_said_with_its_cause() -> None:
    """The policy would have allowed it: the action and the obstacle stand in the reason."""
    finding = finding_of(FindingName.PARTLY_APPLIED, 2)
    refusal = refused(finding, Action.RESUME, "statement 3 cannot run inside a transaction")
    assert refusal.action is Action.RESUME
    assert "resume is not possible: statement 3 cannot" in refusal.reason
    assert any(f"resolve --applied {NAME}" in step for step in refusal.next_steps)


# --- laws ------------------------------------------------------------------------

evidence = st.lists(st.builds(Evidence, st.just("catalog"), st.text(min_size=1)), min_size=1)
findings = st.builds(
    Finding,
    st.sampled_from(FindingName),
    st.sampled_from([NAME, OTHER]),
    evidence.map(tuple),
    applied=st.none() | st.integers(0, 9),
    differences=st.lists(
        st.builds(Difference, st.just(table("t")), st.none() | st.text(), st.none() | st.text())
    ).map(tuple),
    missing=st.lists(st.text()).map(tuple),
)
refusals = st.builds(halted, findings, st.sampled_from([FORWARD, OBSERVE])) | st.builds(
    refused, findings, st.sampled_from(Action), st.text()
)


@given(refusals)
def test_a_refusal_never_leaves_anybody_alone(refusal: Refusal) -> None:
    """A reason, the migration, and at least one thing to do next, whatever was found."""
    assert refusal.migration in {NAME, OTHER}
    assert refusal.reason.strip()
    assert refusal.next_steps
    assert all(step.strip() for step in refusal.next_steps)
    waits = refusal.finding is FindingName.RUNNING
    general = refusal.finding is FindingName.PARTLY_APPLIED
    assert waits or general or any(refusal.migration in step for step in refusal.next_steps)
