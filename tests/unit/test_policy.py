"""Which action is allowed for which finding, and which no policy can allow."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.model import Action, FindingName, MigrationName, Policy, Preset
from sidecar.policy import PRESETS, SOUND, action_for

NAME = MigrationName("20251208175358_add_scheduled_issues")
OTHER = MigrationName("20260101000000_other")

ACTING_PRESETS = sorted({*Preset} - {Preset.OBSERVE})

# finding: forward, rebuild, ledger, observe
EXPECTED = {
    "running": ("halt", "halt", "halt", "halt"),
    "nothing-applied": ("reapply", "reapply", "mark-rolled-back", "halt"),
    "partly-applied": ("resume", "rebuild", "halt", "halt"),
    "fully-applied": ("mark-applied", "mark-applied", "mark-applied", "halt"),
    "diverged": ("halt", "rebuild", "halt", "halt"),
    "undetermined": ("halt", "halt", "halt", "halt"),
    "script-missing": ("halt", "halt", "halt", "halt"),
}
PRESET_ORDER = ("forward", "rebuild", "ledger", "observe")

# Every pair of finding and action that may be carried out beside `halt`.
ALLOWED = {
    ("nothing-applied", "reapply"),
    ("nothing-applied", "mark-rolled-back"),
    ("partly-applied", "resume"),
    ("partly-applied", "rebuild"),
    ("fully-applied", "mark-applied"),
    ("diverged", "rebuild"),
}

policies = st.builds(
    Policy,
    st.sampled_from(Preset),
    by_finding=st.dictionaries(st.sampled_from(FindingName), st.sampled_from(Action)),
    by_migration=st.dictionaries(st.sampled_from([NAME, OTHER]), st.sampled_from(Action)),
)


def test_the_table_below_names_every_preset_and_finding() -> None:
    """A new preset or finding needs its own row here."""
    assert set(EXPECTED) == set(FindingName)
    assert set(PRESET_ORDER) == set(Preset) == set(PRESETS)


@pytest.mark.parametrize("finding", EXPECTED)
@pytest.mark.parametrize("preset", PRESET_ORDER)
def test_each_preset_does_what_the_readme_says(preset: str, finding: str) -> None:
    """Each preset has one action for each finding; whatever is not named halts."""
    expected = EXPECTED[finding][PRESET_ORDER.index(preset)]
    assert action_for(Policy(Preset(preset)), FindingName(finding), NAME) == expected


@pytest.mark.parametrize("action", Action)
@pytest.mark.parametrize("finding", FindingName)
def test_only_actions_whose_result_can_be_proven_are_sound(
    finding: FindingName, action: Action
) -> None:
    """A wrong repair is worse than a refusal: these pairs and no others, and always `halt`."""
    allowed = action == "halt" or (str(finding), str(action)) in ALLOWED
    assert (action in SOUND[finding]) == allowed


@pytest.mark.parametrize("action", Action)
@pytest.mark.parametrize("finding", FindingName)
@pytest.mark.parametrize("preset", ACTING_PRESETS)
def test_an_action_for_a_finding_beats_the_preset(
    preset: Preset, finding: FindingName, action: Action
) -> None:
    """Each finding can be set alone; a pair that is not sound halts."""
    policy = Policy(preset, by_finding={finding: action})
    expected = action if action in SOUND[finding] else Action.HALT
    assert action_for(policy, finding, NAME) is expected


@pytest.mark.parametrize("action", Action)
@pytest.mark.parametrize("finding", FindingName)
@pytest.mark.parametrize("preset", ACTING_PRESETS)
def test_an_action_for_a_migration_beats_everything(
    preset: Preset, finding: FindingName, action: Action
) -> None:
    """A migration can be set by name; it halts where the action does not fit what was found."""
    sound = sorted(SOUND[finding])
    policy = Policy(preset, by_finding={finding: sound[-1]}, by_migration={NAME: action})
    expected = action if action in SOUND[finding] else Action.HALT
    assert action_for(policy, finding, NAME) is expected
    assert action_for(policy, finding, OTHER) is sound[-1]


@given(policies, st.sampled_from(FindingName), st.sampled_from([NAME, OTHER]))
def test_no_policy_takes_an_unsound_action(
    policy: Policy, finding: FindingName, migration: MigrationName
) -> None:
    """Whatever is configured, the action is one whose result can be proven for the finding."""
    assert action_for(policy, finding, migration) in SOUND[finding]


@given(policies, st.sampled_from(FindingName))
def test_observe_never_writes(policy: Policy, finding: FindingName) -> None:
    """`observe` halts whatever else is set."""
    observing = Policy(Preset.OBSERVE, policy.by_finding, policy.by_migration)
    assert action_for(observing, finding, NAME) is Action.HALT
