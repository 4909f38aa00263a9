"""The facts that a migration touches, before its first statement and after each. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from sidecar.model import Effect, FactKey, Facts, Replay

State = Mapping[FactKey, str | None]
"""The touched facts only; None where a fact is absent."""


def touched_states(replay: Replay) -> tuple[State, ...]:
    """The touched facts before the first statement and after each; length statements + 1."""
    touched = {change.key for effect in replay.effects for change in effect}
    state: State = restrict(replay.base, dict.fromkeys(touched))
    states: list[State] = [state]
    for effect in replay.effects:
        state = _after(state, effect)
        states.append(state)
    return tuple(states)


def restrict(facts: Facts, keys: Mapping[FactKey, object]) -> dict[FactKey, str | None]:
    """`facts` for exactly `keys`, with None for the absent."""
    return {key: facts.get(key) for key in keys}


def _after(state: State, effect: Effect) -> State:
    if not effect:
        return state
    return {**state, **{change.key: change.after for change in effect}}
