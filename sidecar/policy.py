"""Which action a policy allows for which finding. Pure: it looks at names only.

What an action means for one migration is decided in `plan`; here it is only said whether
it may be taken at all.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from sidecar.model import Action, DataStatements, FindingName, MigrationName, Policy, Preset

__all__ = ["PRESETS", "SOUND", "action_for", "assumption_for"]

SOUND: Mapping[FindingName, frozenset[Action]] = MappingProxyType(
    {
        # Somebody else is at work: whatever we did would race with it.
        FindingName.RUNNING: frozenset({Action.HALT}),
        # `resume` and `rebuild` would be `reapply` under another name, and `mark-applied`
        # would hide that the whole migration is missing.
        FindingName.NOTHING_APPLIED: frozenset(
            {Action.REAPPLY, Action.MARK_ROLLED_BACK, Action.HALT}
        ),
        # `reapply` and `mark-rolled-back` run the done statements again: at best "already
        # exists", at worst a repeated UPDATE. `mark-applied` loses the missing ones.
        FindingName.PARTLY_APPLIED: frozenset({Action.RESUME, Action.REBUILD, Action.HALT}),
        # Only the bookkeeping is missing. `rebuild` would take down what is already right,
        # with rows that a backend may have written since.
        FindingName.FULLY_APPLIED: frozenset({Action.MARK_APPLIED, Action.HALT}),
        # No prefix of the script matches, so there is no point to resume from, and neither
        # "applied" nor "rolled back" would be true.
        FindingName.DIVERGED: frozenset({Action.REBUILD, Action.HALT}),
        # Evidence is missing, so every other action would be a guess.
        FindingName.UNDETERMINED: frozenset({Action.HALT}),
        # Without the script nobody can say what it left behind, so no end state could be
        # proven, not even that of `mark-rolled-back`: a person looks, and then says so with
        # `migration-sidecar resolve --rolled-back NAME`.
        FindingName.SCRIPT_MISSING: frozenset({Action.HALT}),
    }
)
"""The actions whose end state can be proven for a finding; a policy may choose no other.

A wrong repair is worse than a refusal: what is not listed here ends in `halt`, and
`config` rejects it where it can see it.
"""

_FORWARD = {
    FindingName.NOTHING_APPLIED: Action.REAPPLY,
    FindingName.PARTLY_APPLIED: Action.RESUME,
    FindingName.FULLY_APPLIED: Action.MARK_APPLIED,
}

PRESETS: Mapping[Preset, Mapping[FindingName, Action]] = MappingProxyType(
    {
        Preset.FORWARD: _FORWARD,
        Preset.REBUILD: {
            **_FORWARD,
            FindingName.PARTLY_APPLIED: Action.REBUILD,
            FindingName.DIVERGED: Action.REBUILD,
        },
        Preset.LEDGER: {
            FindingName.NOTHING_APPLIED: Action.MARK_ROLLED_BACK,
            FindingName.FULLY_APPLIED: Action.MARK_APPLIED,
        },
        Preset.OBSERVE: {},
    }
)
"""What each preset does; a finding that is not listed halts."""


def action_for(policy: Policy, finding_name: FindingName, migration: MigrationName) -> Action:
    """The action for one finding: the migration's own, else the finding's, else the preset's.

    `halt` wherever the chosen action is not sound for the finding: an action named for a
    migration was chosen before anybody knew what would be found. `observe` promises never
    to write, so it halts whatever the overrides say: the switch that makes a deployment
    safe at once, without taking its policy file apart.
    """
    if policy.preset is Preset.OBSERVE:
        return Action.HALT
    by_preset = PRESETS[policy.preset].get(finding_name, Action.HALT)
    by_finding = policy.by_finding.get(finding_name, by_preset)
    chosen = policy.by_migration.get(migration, by_finding)
    return chosen if chosen in SOUND[finding_name] else Action.HALT


def assumption_for(policy: Policy, migration: MigrationName) -> DataStatements:
    """What somebody who knows has said of data statements that nothing shows; never of `observe`.

    The migration's own word counts before the general one.
    """
    if policy.preset is Preset.OBSERVE:
        return DataStatements.HALT
    return policy.data_statements_of.get(migration, policy.data_statements)
