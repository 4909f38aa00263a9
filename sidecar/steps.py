"""Which steps a repair takes with a script, and which of them commit together. Pure.

One transaction holds everything, but where PostgreSQL or the script itself does not allow it:
around a statement that only runs alone, after a block with settings of its own, and between
a new value of an enum and its first use. Each such place is one at which the script itself
could have stopped, so that a repair which is killed there leaves nothing new to find.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import assert_never

from sidecar import remains
from sidecar.lost_tables import Lost, lost
from sidecar.model import (
    Control,
    Effect,
    FactKey,
    Facts,
    Hazard,
    Nature,
    Script,
    Segment,
    Statement,
    Step,
    StepKind,
)
from sidecar.session_state import can_be_made_again, ends_with_its_block

State = Mapping[FactKey, str | None]

_LABEL = re.compile(
    r"ALTER\s+TYPE\b.*?\bADD\s+VALUE\s+(?:IF\s+NOT\s+EXISTS\s+)?'((?:[^']|'')*)'",
    re.IGNORECASE | re.DOTALL,
)
_COMPUTES_ROWS = re.compile(r"ALTER\b.*\bUSING\b", re.IGNORECASE | re.DOTALL)
_FILLS = frozenset({"CREATE TABLE AS", "CREATE MATERIALIZED VIEW", "SELECT INTO"})

_SAVEPOINT = "migration_sidecar_block"


@dataclass(frozen=True, slots=True)
class Work:
    """A script of which the statements after the first `start` are to be run.

    `front` are the steps before them; `applied` statements had taken effect when it was found
    as `live` (`start` is less after an undoing); `states` and `effects` are the replay's.
    `mark` makes the step that notes how many statements are committed.
    """

    script: Script
    states: tuple[State, ...]
    effects: tuple[Effect, ...]
    live: Facts
    applied: int
    start: int
    front: tuple[Step, ...]
    mark: Callable[[int], Step]

    @property
    def lost(self) -> Lost:
        """What is done about temporary tables of the session that the script had."""
        return lost(self.script, self.effects, self.live, start=self.start)

    @property
    def left(self) -> tuple[FactKey, ...]:
        """The invalid indexes which the statement that was interrupted left."""
        return self._of_interrupted(remains.seen_of)

    @property
    def to_drop(self) -> tuple[FactKey, ...]:
        """Those of them that must be dropped first."""
        return self._of_interrupted(remains.to_drop)

    def _of_interrupted(
        self, of: Callable[[Statement, Effect, Facts], tuple[FactKey, ...]]
    ) -> tuple[FactKey, ...]:
        k = self.applied
        if k == len(self.script.statements):
            return ()
        return of(self.script.statements[k], self.effects[k], self.live)

    def expected(self, k: int, *, dropped: bool = True) -> State:
        """The touched facts after the first `k` statements, remains that are not gone included."""
        gone = self.to_drop if dropped else ()
        rest = {
            key: self.live.get(key)
            for key in self.left
            if key not in gone and (key in self.to_drop or k <= self.applied)
        }
        return {**dict.fromkeys(self.to_drop), **self.states[k], **rest}


def segments(work: Work, ledger: tuple[Step, ...]) -> tuple[Segment, ...]:
    """All that is done, with the change of the ledger in the last transaction.

    Each transaction before that ends with a mark.
    """
    parts = list(_parts(work))
    if parts[-1].alone:
        parts.append(_Part(parts[-1].reached, (), expected=parts[-1].expected))
    ends = [(work.mark(part.reached),) for part in parts[:-1]] + [ledger]
    return tuple(
        Segment(
            part.steps if part.alone else (*part.steps, *end),
            alone=part.alone,
            expected=part.expected,
        )
        for part, end in zip(parts, ends, strict=True)
    )


@dataclass(frozen=True, slots=True)
class _Part:
    """What will be a segment, and the number of statements that are committed after it."""

    reached: int
    steps: tuple[Step, ...]
    expected: State
    alone: bool = False


def _parts(work: Work) -> Iterator[_Part]:
    front = (*work.front, *_settings(work))
    first, *rest = _of_script(work) or [_Part(work.start, (), work.expected(work.start))]
    if work.to_drop:
        expected = {**work.expected(work.applied, dropped=False)}
        yield _Part(work.applied, (), {**expected})
        for key in work.to_drop:
            expected[key] = None
            yield _Part(work.applied, (remains.drop(key),), {**expected}, alone=True)
    if not first.alone:
        yield replace(first, steps=(*front, *first.steps))
    else:
        if front or not work.to_drop:  # the ledger is written to before anything that stays
            yield _Part(work.start, front, work.expected(work.start))
        yield first
    yield from rest


def _of_script(work: Work) -> list[_Part]:
    """The missing statements, cut where the repair commits; parts that do nothing left out."""
    statements, idle = work.script.statements, work.lost.idle
    parts = []
    for low, high in pairwise((work.start, *_stops(work.script, work.start))):
        alone = high == low + 1 and statements[low].solo
        missing = [s for s in statements[low:high] if s.index not in idle]
        steps = tuple(_missing(missing, work.script.undone_blocks))
        if steps:
            parts.append(_Part(high, steps, work.expected(high), alone=alone))
    return parts


# --- where the repair commits ----------------------------------------------------


def _stops(script: Script, start: int) -> tuple[int, ...]:
    """The k > `start` after which it commits, as few as can be; the last is the script's end."""
    stops = {len(script.statements)}
    new_values = []
    for statement in script.statements[start:]:
        if statement.solo:
            stops |= {statement.index - 1, statement.index}
        elif statement.block in script.undone_blocks:
            continue  # nothing of it lasts, as in the script
        elif statement.block is not None and ends_with_its_block(statement):
            stops.add(max(s.index for s in script.statements if s.block == statement.block))
        elif statement.adds_enum_value:
            new_values.append((_before_first_use(statement, script), statement.index))
    for last, first in sorted(new_values):
        if not any(first <= k <= last for k in stops):
            stops.add(last)
    return tuple(sorted(k for k in stops if k > start))


def _before_first_use(adding: Statement, script: Script) -> int:
    """The last k at which a new value of an enum can be committed before its use (55P04).

    Not inside the block that adds it: what uses it there, no run of the script can do.
    """
    found = _LABEL.match(adding.sql)
    for statement in script.statements[adding.index :]:
        same_block = statement.block is not None and statement.block == adding.block
        if not same_block and _may_use(statement, found[1] if found else ""):
            block = (s.index for s in script.statements if s.block == statement.block)
            return (statement.index if statement.block is None else min(block)) - 1
    return len(script.statements)


def _may_use(statement: Statement, label: str) -> bool:
    """Whether the value may be needed: named in the text, or met in rows or behind a function."""
    match statement.nature:
        case Nature.CONTROL:
            return False
        case Nature.DATA:
            return True
        case Nature.CATALOG | Nature.SESSION | Nature.NOTHING:
            return (
                not statement.reach_known
                or statement.kind in _FILLS
                or bool(_COMPUTES_ROWS.match(statement.sql))
                or (label in statement.sql and not statement.adds_enum_value)
            )
        case _:
            assert_never(statement.nature)


# --- the steps -------------------------------------------------------------------


def _settings(work: Work) -> Iterator[Step]:
    """What the session lacks of what the statements before left in theirs, made again."""
    again = work.lost.again
    for statement in work.script.statements[: work.start]:
        if can_be_made_again(statement):
            yield _step(statement, "sets the session as the script had it")
        elif statement.index in again:
            yield _step(statement, "makes a temporary table again, which went with its session")


def _missing(statements: Iterable[Statement], undone: frozenset[int]) -> Iterator[Step]:
    for statement in statements:
        taken_back = statement.block in undone
        match statement.control:
            case None | Control.SAVEPOINT:
                yield _step(statement, "missing")
            case Control.BEGIN if taken_back:
                sql = f"SAVEPOINT {_SAVEPOINT}"
                yield replace(_step(statement, "the script takes this block back"), sql=sql)
            case Control.ROLLBACK if taken_back:
                sql = f"ROLLBACK TO SAVEPOINT {_SAVEPOINT}; RELEASE SAVEPOINT {_SAVEPOINT}"
                yield replace(_step(statement, "the script takes this block back"), sql=sql)
            case Control.BEGIN | Control.COMMIT | Control.ROLLBACK:
                pass  # the repair has transactions of its own
            case _:
                assert_never(statement.control)


def _step(statement: Statement, reason: str) -> Step:
    return Step(
        StepKind.STATEMENT,
        statement.sql,
        reason,
        _hazard(statement),
        index=statement.index,
        line=statement.line,
    )


def _hazard(statement: Statement) -> Hazard:
    match statement.nature:
        case Nature.DATA:
            return Hazard.DATA
        case Nature.CATALOG:
            drops = re.search(r"\bDROP\b", statement.sql, re.IGNORECASE)
            return Hazard.DROPS if drops else Hazard.LOCKS
        case Nature.SESSION | Nature.CONTROL | Nature.NOTHING:
            return Hazard.NONE
        case _:
            assert_never(statement.nature)
