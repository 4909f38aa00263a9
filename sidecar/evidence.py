"""Readers of the evidence which the catalog cannot give; each small, pure, and separate.

A reader narrows the candidates: the numbers k for which "exactly the first k statements
took effect" fits the facts. `diagnose` combines them; adding a source means adding a
reader here and a line there.
"""

from __future__ import annotations

import re

from sidecar.error_log import LoggedError
from sidecar.model import Effect, Evidence, LedgerRow, Nature, Script, Statement

_MAY_CHANGE_ROWS = re.compile(r"\b(USING|RESTART)\b|\bDROP\b.*\bADD\b", re.IGNORECASE | re.DOTALL)
"""In an ALTER that leaves the definition as it was: rows are computed anew, or a counter is."""

_UNSEEN = re.compile(r"\b(OWNER\s+TO|GRANT|REVOKE|SECURITY\s+LABEL|OPTIONS)\b", re.IGNORECASE)
"""In a change that no fact shows; to make it once more is harmless, to leave it out is not."""


_ROWLESS = frozenset(
    "comment constraint function index policy privilege procedure rule statistics trigger".split()
) | {"view"}
"""Kinds of facts about which nothing but the definition is to be known."""


def by_steps_count(row: LedgerRow, *, total: int) -> tuple[int, Evidence] | None:
    """The engine counts 1 only after the whole script succeeded (apply_migrations.rs).

    Any other number, and one beside an error, was not written by it.
    """
    if row.applied_steps_count != 1 or row.logs:
        return None
    says = f"applied_steps_count is {row.applied_steps_count}: the whole script completed"
    return total, Evidence("ledger", says)


def by_logged_error(
    candidates: tuple[int, ...], error: LoggedError | None, script: Script
) -> tuple[tuple[int, ...], Evidence | None]:
    """A statement was refused, so the script did not complete: the last candidate falls."""
    total = len(script.statements)
    if error is None or total not in candidates:
        return candidates, None
    rest = tuple(k for k in candidates if k != total)
    if not rest:
        says = f"the logs record an error ({error.says}), yet every effect is there"
        return candidates, Evidence("logs", says, against=True)
    if not error.sqlstate and _cut_in_a_comment(script):
        return candidates, None
    says = f"the logs record an error ({error.says}): the script did not complete"
    return rest, Evidence("logs", says)


def _cut_in_a_comment(script: Script) -> bool:
    """Whether a driver adapter's error may be that of a mere piece of a comment.

    Adapters cut at every `;` (adapter-pg, `executeScript`). After a cut in a comment the
    piece before it has run, even if it lacks its WHERE, and the rest is what fails.
    """
    tail = script.text[script.statements[-1].end :] if script.statements else script.text
    data = (s.sql for s in script.statements if s.nature is Nature.DATA)
    inside = any(";" in sql and ("--" in sql or "/*" in sql) for sql in data)
    return inside or ";" in tail.lstrip("; \t\r\n")


def by_equivalence(
    candidates: tuple[int, ...], script: Script, effects: tuple[Effect, ...], *, drifted: bool
) -> tuple[int, ...]:
    """One of each run of candidates between which nothing can have happened.

    That is so where each statement between them either cannot leave a trace or is a catalog
    change which, in that state, changes no fact (CREATE TABLE IF NOT EXISTS of a table
    that is there), or none in the end (an index removed and made again). Of such a run the
    end of the script speaks, else the least: to repeat what changes nothing is harmless. The
    end does not speak where a statement may do more than it did on the shadow: in a database
    that has `drifted` from the history, and in a block, which may ask for what no fact shows.
    """
    runs: list[list[int]] = []
    for k in candidates:
        if runs and _nothing_between(runs[-1][-1], k, script, effects):
            runs[-1].append(k)
        else:
            runs.append([k])
    return tuple(_speaker(run, script, drifted=drifted) for run in runs)


def _speaker(run: list[int], script: Script, *, drifted: bool) -> int:
    between = script.statements[run[0] : run[-1]]
    unseen = any(may_do_more(s, drifted=drifted) or _is_unseen(s) for s in between)
    return run[-1] if run[-1] == len(script.statements) and not unseen else run[0]


def _is_unseen(statement: Statement) -> bool:
    return statement.nature is Nature.CATALOG and bool(_UNSEEN.search(statement.sql))


def may_do_more(statement: Statement, *, drifted: bool) -> bool:
    """Whether what changed nothing on the shadow may change something in the live database."""
    return statement.nature is Nature.CATALOG and (drifted or statement.kind == "DO")


def _nothing_between(low: int, high: int, script: Script, effects: tuple[Effect, ...]) -> bool:
    return all(keeps_rows(statement, effects) for statement in script.statements[low:high])


def keeps_rows(statement: Statement, effects: tuple[Effect, ...]) -> bool:
    """Whether it changed no row, nor what holds rows: if the facts are the same again, all is.

    An index that goes and comes again is the same one, a column is not.
    """
    if changes_nothing(statement, effects):
        return True
    return (
        statement.nature is Nature.CATALOG
        and statement.kind != "DO"
        and not (statement.kind.startswith("ALTER") and _MAY_CHANGE_ROWS.search(statement.sql))
        and all(
            change.key.kind in _ROWLESS
            or (change.key.kind == "table" and None not in {change.before, change.after})
            for change in effects[statement.index - 1]
        )
    )


def changes_nothing(statement: Statement, effects: tuple[Effect, ...]) -> bool:
    """Whether, in the state that it met, the statement can have changed no fact and no row."""
    return (
        statement.nature is not Nature.DATA
        and not effects[statement.index - 1]
        and not (statement.kind.startswith("ALTER") and _MAY_CHANGE_ROWS.search(statement.sql))
    )
