"""Readers of the evidence which the catalog cannot give; each small, pure, and separate.

A reader narrows the candidates: the numbers k for which "exactly the first k statements
took effect" fits the facts. `diagnose` combines them; adding a source means adding a
reader here and a line there.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from sidecar.model import Effect, Evidence, LedgerRow, Nature, Script

_ANSI = re.compile(r"\x1b\[[0-9;]*m")
_CODE = re.compile(r"^Database error code: ([0-9A-Z]{5})$", re.MULTILINE)
_STATE = re.compile(r'code: SqlState\((?:E)?"?([0-9A-Z]{5})"?\)')
_ADAPTER = re.compile(
    r"^(Unique constraint failed|Null constraint failed|Foreign key constraint failed"
    r"|No such table|Error accessing result set|Error querying the database: ERROR)\b",
    re.MULTILINE,
)
_LINE_LOST = frozenset({"08", "57", "25"})
"""SQLSTATE classes after which the fate of the last statement is unknown (or not about it)."""


@dataclass(frozen=True, slots=True)
class LoggedError:
    """What the `logs` of a failed row say: `sqlstate` is '' where the adapter wrote none."""

    sqlstate: str
    says: str


def logged_error(logs: str | None) -> LoggedError | None:
    """The error of a statement that PostgreSQL refused, or None where `logs` prove none.

    Reads the format of the native engine (`Database error code: ...`, `SqlState(...)`) and
    of driver adapters, which write no code (prisma-engines, sql-schema-connector
    `apply_migration.rs`; driver-adapter errors). A lost connection is no proof.
    """
    text = _ANSI.sub("", logs or "")
    found = _CODE.search(text) or _STATE.search(text)
    if found:
        code = found.group(1)
        return None if code[:2] in _LINE_LOST else LoggedError(code, f"SQLSTATE {code}")
    adapter = _ADAPTER.search(text)
    if adapter is None:
        return None
    line = text[adapter.start() :].splitlines()[0]
    return LoggedError("", line[:200])


def by_steps_count(row: LedgerRow, *, total: int) -> tuple[int, Evidence] | None:
    """The engine counts 1 only after the whole script succeeded (apply_migrations.rs)."""
    if row.applied_steps_count < 1:
        return None
    says = f"applied_steps_count is {row.applied_steps_count}: the whole script completed"
    return total, Evidence("ledger", says)


def by_logged_error(
    candidates: tuple[int, ...], error: LoggedError | None, *, total: int
) -> tuple[tuple[int, ...], Evidence | None]:
    """A statement was refused, so the script did not complete: the last candidate falls."""
    if error is None or total not in candidates:
        return candidates, None
    rest = tuple(k for k in candidates if k != total)
    if not rest:
        says = f"the logs record an error ({error.says}), yet every effect is there"
        return candidates, Evidence("logs", says, against=True)
    says = f"the logs record an error ({error.says}): the script did not complete"
    return rest, Evidence("logs", says)


def by_equivalence(
    candidates: tuple[int, ...], script: Script, effects: tuple[Effect, ...]
) -> tuple[int, ...]:
    """One of each run of candidates between which nothing can have happened.

    That is so where each statement between them either cannot leave a trace or is a catalog
    change which, in that state, changes no fact (CREATE TABLE IF NOT EXISTS of a table
    that is there). Of such a run the end speaks: all, else none, else the most.
    """
    runs: list[list[int]] = []
    for k in candidates:
        if runs and _nothing_between(runs[-1][-1], k, script, effects):
            runs[-1].append(k)
        else:
            runs.append([k])
    total = len(script.statements)
    return tuple(0 if run[0] == 0 and run[-1] != total else run[-1] for run in runs)


def _nothing_between(low: int, high: int, script: Script, effects: tuple[Effect, ...]) -> bool:
    return all(
        statement.nature is not Nature.DATA and not effects[statement.index - 1]
        for statement in script.statements[low:high]
    )
