"""Why a repair is not made, in words for somebody who was just woken up. Pure.

Each refusal says what was found, that nothing was changed, and what to type next.
"""

from __future__ import annotations

from typing import assert_never

from sidecar.model import Action, Finding, FindingName, Policy, Preset, Refusal

_SHOWN = 3


def halted(finding: Finding, policy: Policy) -> Refusal:
    """The policy (or its absence of an answer) stops here."""
    reason = _found(finding)
    if policy.preset is Preset.OBSERVE:
        reason += "; policy observe never writes"
    return Refusal(finding.migration, finding.name, Action.HALT, reason, _next_steps(finding))


def refused(finding: Finding, action: Action, problem: str) -> Refusal:
    """The policy would have allowed `action`, but it cannot be done safely."""
    reason = f"{_found(finding)}; {action} is not possible: {problem}"
    return Refusal(finding.migration, finding.name, action, reason, _by_hand(finding))


def _found(finding: Finding) -> str:
    match finding.name:
        case FindingName.RUNNING:
            return "a migrator is at work on it"
        case FindingName.NOTHING_APPLIED:
            return "none of its statements took effect"
        case FindingName.PARTLY_APPLIED:
            return f"its first {finding.applied} statements took effect, the others did not"
        case FindingName.FULLY_APPLIED:
            return "all of its statements took effect; only the bookkeeping is missing"
        case FindingName.DIVERGED:
            shown = [
                f"{d.key} is {d.found or 'absent'} and should be {d.expected or 'absent'}"
                for d in finding.differences[:_SHOWN]
            ]
            more = len(finding.differences) - len(shown)
            return (
                "the objects it touches match no state it could have left: "
                + "; ".join(shown)
                + (f"; and {more} more" if more else "")
            )
        case FindingName.UNDETERMINED:
            return "what happened cannot be known: " + "; ".join(finding.missing)
        case FindingName.SCRIPT_MISSING:
            return "; ".join(item.says for item in finding.evidence)
        case _:
            assert_never(finding.name)


def _next_steps(finding: Finding) -> tuple[str, ...]:
    name = finding.migration
    match finding.name:
        case FindingName.RUNNING:
            return ("Wait for it to end, then start again.",)
        case FindingName.NOTHING_APPLIED:
            return ("SIDECAR_POLICY=forward migration-sidecar run", *_by_hand(finding))
        case FindingName.PARTLY_APPLIED:
            return (
                "SIDECAR_POLICY=forward migration-sidecar plan",
                "SIDECAR_POLICY=forward migration-sidecar run",
            )
        case FindingName.FULLY_APPLIED:
            return (f"migration-sidecar resolve --applied {name}",)
        case FindingName.UNDETERMINED if finding.only_data_open:
            return (
                "If you know that these statements did not run:",
                "SIDECAR_DATA_STATEMENTS=assume-not-run migration-sidecar run",
                "If you know that they did:",
                "SIDECAR_DATA_STATEMENTS=assume-run migration-sidecar run",
                *_by_hand(finding),
            )
        case FindingName.DIVERGED | FindingName.UNDETERMINED:
            return ("migration-sidecar status", *_by_hand(finding))
        case FindingName.SCRIPT_MISSING:
            return (
                f"Start with an image whose migrations folder has {name},",
                f"or, if it left nothing behind: migration-sidecar resolve --rolled-back {name}",
            )
        case _:
            assert_never(finding.name)


def _by_hand(finding: Finding) -> tuple[str, ...]:
    return (
        f"Finish {finding.migration}/migration.sql by hand, then:",
        f"migration-sidecar resolve --applied {finding.migration}",
    )
