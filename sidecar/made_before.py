"""What was there before the attempt, and is no evidence that it ran. Pure.

`ADD COLUMN IF NOT EXISTS`, `CREATE OR REPLACE` and the like do nothing, and say nothing, where
somebody has done the same beforehand (`db push`, by hand). A fact that only such a statement makes
shows that it ran, and all before it, unless the fact is older than the attempt.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from sidecar.attempt_window import FAR, brought, written_by
from sidecar.model import (
    Effect,
    FactKey,
    Facts,
    LedgerRow,
    Marks,
    Nature,
    Script,
    Statement,
)

_FINDS_IT_DONE = re.compile(r"\bIF\s+NOT\s+EXISTS\b|\bOR\s+REPLACE\b", re.IGNORECASE)


def in_question(script: Script, effects: tuple[Effect, ...], live: Facts) -> frozenset[FactKey]:
    """The facts as statements make them that may have found it done, after a change of rows.

    Without one before them it does not matter: they may be run again.
    """
    data = [s.index for s in script.statements if s.nature is Nature.DATA]
    if not data:
        return frozenset()
    later = [s for s in script.statements if s.index >= data[0]]
    return frozenset(
        change.key
        for s in later
        if _may_find_it_done(s, effects[s.index - 1])
        for change in effects[s.index - 1]
        if change.after is not None and live.get(change.key) == change.after
    )


def made_before(
    row: LedgerRow,
    marks: Marks,
    at_least: Mapping[FactKey, int],
    script: Script,
    effects: tuple[Effect, ...],
) -> frozenset[FactKey]:
    """Those facts of such statements which are older than the attempt, or than its earlier work.

    `at_least` are ages of facts that may be older still. Nothing where ids contradict each
    other: what only this attempt can have made is older than it.
    """
    mine = marks.ledger.get(row.id)
    if mine is None:
        return frozenset()
    before = [age for other, age in marks.ledger.items() if other != row.id and age > mine]
    began = min(before, default=FAR) if row.logs else mine
    ages = {**at_least, **marks.facts}
    found: set[FactKey] = set()
    since = began
    for statement, effect in zip(script.statements, effects, strict=True):
        known = {key: ages[key] for key in _made(effect) if key in ages}
        if _may_find_it_done(statement, effect):
            if any(age > since for age in known.values()):
                found |= _made(effect)
        elif known:
            if max(known.values()) > began:
                return frozenset()
            since = min(since, max(known.values()))
    return frozenset(found)


def _made(effect: Effect) -> frozenset[FactKey]:
    return written_by(effect) | brought(effect)


def _may_find_it_done(statement: Statement, effect: Effect) -> bool:
    """Whether it would not have failed if somebody had done the same before it."""
    if statement.kind == "DO" or _FINDS_IT_DONE.search(statement.sql):
        return True
    return bool(effect) and not brought(effect)
