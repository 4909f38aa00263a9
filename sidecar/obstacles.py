"""Why a script, or the rest of it, can be run in no way that is safe. Pure."""

from __future__ import annotations

from sidecar.lost_tables import lost
from sidecar.model import Control, Facts, Nature, Replay, Script, Statement
from sidecar.session_state import (
    changes_defaults,
    holds_more,
    lasts_for_a_transaction,
    not_again,
)
from sidecar.table_names import meet
from sidecar.undo import created_tables

_HOLD_ROWS = frozenset({"table", "view", "materialized view"})


def obstacle(script: Script, replay: Replay, live: Facts, *, start: int, applied: int) -> str:
    """Why the statements after the first `start` cannot be run, or ''.

    `applied` statements had taken effect when the finding was made.
    """
    for statement in script.statements[start:]:
        if problem := _own_obstacle(statement, script, start):
            return f"statement {statement} {problem}"
    if begun := _perhaps_begun(script, replay, applied):
        return f"statement {begun} commits as it goes, and no fact shows whether it began"
    if holds_more(script.statements[:start]):
        return "the statements that ran made temporary objects, gone with their session"
    if problem := lost(script, replay.effects, live, start=start).problem:
        return problem
    for statement in script.statements[:start]:
        if changes_defaults(statement):
            return f"statement {statement} changed the settings that sessions since then begin with"
        if problem := not_again(statement, script):
            return f"statement {statement} {problem}"
    return ""


def changed_for_good(script: Script, replay: Replay, live: Facts, *, applied: int) -> str:
    """Why the first `applied` statements cannot be run once more although they are undone, or ''.

    Rows go with the tables that they made; what they did to other rows stays.
    """
    watched = {key.on for key in live if key.kind in {"rule", "trigger"}}
    own = set(created_tables(replay.effects[:applied])) - watched
    others = {key.identity for key in live if key.kind in _HOLD_ROWS} - own
    for statement in script.statements[:applied]:
        known = statement.reach_known and statement.writes
        if statement.nature is Nature.DATA and (not known or meet(statement.writes, others)):
            return f"statement {statement} changed what stays, and would change it once more"
    return ""


def _own_obstacle(statement: Statement, script: Script, start: int) -> str:
    if statement.forbidden:
        return f"can never be run here: {statement.forbidden}"
    if statement.kind == "DISCARD" and statement.solo:
        return "would give back Prisma's lock in the middle of the repair"
    if statement.control is Control.ROLLBACK and _takes_back_more(statement, script, start):
        return "takes back what precedes its block with some engines of Prisma, not with others"
    last = statement.index == len(script.statements)
    if lasts_for_a_transaction(statement) and statement.block is None and not last:
        return "sets what its engine's transaction had: that of some was the whole script"
    return ""


def _takes_back_more(rollback: Statement, script: Script, start: int) -> bool:
    """Whether statements of no block come before it, as part of the same message.

    There BEGIN takes what precedes it into its block, and ROLLBACK takes it back (PostgreSQL,
    chapter "Message Flow", "Multiple Statements in a Simple Query").
    """
    for statement in reversed(script.statements[start : rollback.index - 1]):
        if statement.block is not None and statement.block == rollback.block:
            continue
        if statement.control or statement.solo:
            return False
        if statement.nature is not Nature.NOTHING:
            return True
    return False


def _perhaps_begun(script: Script, replay: Replay, applied: int) -> Statement | None:
    """A data statement with COMMIT inside which may have run in part, as far as facts show."""
    for statement in script.statements[applied:]:
        if statement.nature is Nature.DATA:
            return statement if statement.solo else None
        if replay.effects[statement.index - 1]:
            return None  # its effect would show, and everything after it comes later
    return None
