"""What was there before the attempt, and is no evidence that it ran. Pure.

`ADD COLUMN IF NOT EXISTS`, `CREATE OR REPLACE` and the like do nothing, and say nothing, where
somebody has done the same beforehand (`db push`, by hand). A fact that only such a statement makes
shows that it ran, and all before it, unless it may be older than the attempt.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace

from sidecar.attempt_window import began, brought, written_by
from sidecar.model import (
    Change,
    Effect,
    FactKey,
    Facts,
    LedgerRow,
    Marks,
    Nature,
    Replay,
    Script,
    Statement,
)
from sidecar.table_names import parts

_ASKS_FIRST = re.compile(r"\bIF\s+(NOT\s+)?EXISTS\b|\bOR\s+REPLACE\b", re.IGNORECASE)
_DROPS_IF_THERE = re.compile(r"\bDROP\b.*\bIF\s+EXISTS\b", re.IGNORECASE | re.DOTALL)


def asks_first(statement: Statement) -> bool:
    """Whether it does nothing where its work is done; of a block it is taken for granted."""
    return statement.kind == "DO" or bool(_ASKS_FIRST.search(statement.sql))


def in_question(script: Script, effects: tuple[Effect, ...], live: Facts) -> frozenset[FactKey]:
    """The facts of statements that may have found their work done, after a change of rows.

    They are as the statements make them. Without a change of rows before them it does not
    matter: they may be run again.
    """
    asked = (effects[s.index - 1] for s in _later(script) if _may_find_it_done(s, script, effects))
    return frozenset(change.key for effect in asked for change in _done(effect, live))


def made_before(
    row: LedgerRow,
    marks: Marks,
    at_least: Mapping[FactKey, int],
    replay: Replay,
    script: Script,
    live: Facts,
) -> frozenset[FactKey]:
    """Those of the facts in question which are older than the attempt, or may be.

    Older than its row in the ledger; or than what it made before them, for sure. After an
    error it is not known when it began, and where nothing before them is surely its own they
    may be older; so may what has no date, as nothing has that is gone. `at_least` are ages
    of facts that may be older still. Nothing where ids contradict each other: what only this
    attempt can have made is older than it.
    """
    if row.id not in marks.ledger:
        return frozenset()
    since = opened = began(row, marks)
    sure = not row.logs
    found: set[FactKey] = set()
    for statement, effect in zip(script.statements, replay.effects, strict=True):
        done = {change.key for change in _done(effect, live)}
        known = [
            marks.facts[key] for key in written_by(effect) | brought(effect) if key in marks.facts
        ]
        if _may_find_it_done(statement, script, replay.effects):
            known += [at_least[key] for key in done if key in at_least]
            if not (sure and known) or any(age > since for age in known):
                found |= done
        elif known:
            if max(known) > opened:
                return frozenset()
            since, sure = min(since, max(known)), True
    return in_question(script, replay.effects, live) & found


def as_if_there(replay: Replay, before: Collection[FactKey], live: Facts) -> Replay:
    """The replay as it would be in a database where these facts were as they are now.

    Up to the statement that leaves them so there is nothing to do; what comes after it stays.
    """
    if not before:
        return replay
    numbered = list(enumerate(replay.effects))
    until = {c.key: n for n, effect in numbered for c in _done(effect, live) if c.key in before}
    base = {key: text for key, text in replay.base.items() if key not in before}
    return replace(
        replay,
        base={**base, **{key: live[key] for key in before if key in live}},
        effects=tuple(
            tuple(change for change in effect if n > until.get(change.key, -1))
            for n, effect in numbered
        ),
    )


def _later(script: Script) -> tuple[Statement, ...]:
    """The statements after the first change of rows."""
    data = [s.index for s in script.statements if s.nature is Nature.DATA]
    return tuple(s for s in script.statements if data and s.index >= data[0])


def _done(effect: Effect, live: Facts) -> Iterator[Change]:
    """What is as the statement leaves it, also what is gone."""
    return (change for change in effect if live.get(change.key) == change.after)


def _may_find_it_done(statement: Statement, script: Script, effects: tuple[Effect, ...]) -> bool:
    """Whether it would not have failed if somebody had done the same before it.

    So it is also for what the script itself drops first, if it is there.
    """
    effect = effects[statement.index - 1]
    if asks_first(statement):
        return True
    made = brought(effect)
    if not made:  # what is altered in place can be so already; what is gone could not go again
        return bool(effect) and all(None not in {c.before, c.after} for c in effect)
    dropped = [
        s.sql for s in script.statements[: statement.index - 1] if _DROPS_IF_THERE.search(s.sql)
    ]
    return any(parts(key.identity)[-1] in sql for key in made for sql in dropped)
