"""What `logs` of a failed row tell of the error that ended its attempt. Pure.

Two formats are read: that of the native engine (`Database error code: ...`, and the fields of
its `DbError`) and that of driver adapters, which write no code (prisma-engines,
sql-schema-connector `apply_migration.rs`; driver-adapter errors).
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_ANSI = re.compile(r"\x1b\[[0-9;]*m")
_CODE = re.compile(r"^Database error code: ([0-9A-Z]{5}|none)$", re.MULTILINE)
_STATE = re.compile(r'code: SqlState\((?:E)?"?([0-9A-Z]{5})"?\)')
_FIELD = re.compile(r'\b(table|column|constraint): Some\("([^"\\]+)"\)')
_ADAPTER = re.compile(
    r"^(Unique constraint failed|Null constraint failed|Foreign key constraint failed"
    r"|No such table|Error accessing result set|Error querying the database: ERROR)\b",
    re.MULTILINE,
)
_ADAPTER_NAMES = re.compile(r"(?:Unique|Foreign key) constraint failed: (\S.*)")

_NO_PROOF = ("08", "57P", "25", "none")
"""Beginnings of SQLSTATEs (and "none") after which the fate of the last statement is unknown."""

_EXISTED = frozenset({"42P06", "42P07", "42701", "42710", "42723"})
"""duplicate_schema, _table, _column, _object, _function (Appendix A)."""

_DUPLICATE = "Unique constraint failed"

_VIOLATION = "23"
"""The class of integrity constraint violations; only they name what was violated."""


@dataclass(frozen=True, slots=True)
class LoggedError:
    """What the `logs` of a failed row say: `sqlstate` is '' where the adapter wrote none.

    Of a violation, `constraint` names the constraint or index that refused, or `table` and
    `column` the column that may not be NULL; unquoted, '' where the logs do not tell.
    """

    sqlstate: str
    says: str
    constraint: str = ""
    table: str = ""
    column: str = ""


def logged_error(logs: str | None) -> LoggedError | None:
    """The error of a statement that PostgreSQL refused, or None where `logs` prove none.

    A lost connection is no proof.
    """
    text = _ANSI.sub("", logs or "")
    found = _CODE.search(text) or _STATE.search(text)
    if found:
        code = found.group(1)
        return None if code.startswith(_NO_PROOF) else _native(code, text)
    adapter = _ADAPTER.search(text)
    if adapter is None:
        return None
    line = text[adapter.start() :].splitlines()[0]
    named = _ADAPTER_NAMES.fullmatch(line.rstrip())
    return LoggedError("", line[:200], constraint=named[1] if named else "")


def _native(code: str, text: str) -> LoggedError:
    fields = dict(_FIELD.findall(text.rpartition("DbError {")[2]))
    if not code.startswith(_VIOLATION):
        fields = {}
    return LoggedError(code, f"SQLSTATE {code}", **fields)


def is_duplicate(error: LoggedError | None) -> bool:
    """Whether a unique key refused a row."""
    return error is not None and (
        error.sqlstate == "23505" or (not error.sqlstate and error.says.startswith(_DUPLICATE))
    )


def object_existed(error: LoggedError | None) -> bool:
    """Whether what the script was to create was there before: then facts do not show who made it.

    Adapters leave only the server's text; where that is not English, this says no.
    """
    if error is None:
        return False
    return error.sqlstate in _EXISTED or (not error.sqlstate and "already exists" in error.says)
