"""What the logs of a failed row prove of the error, in all their formats."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.error_log import logged_error, object_existed
from tests.unit.builders import adapter_log, native_log

UNIQUE = "Unique constraint failed: mm_board_name_key"
EXISTS = 'Error querying the database: ERROR: relation "t" already exists'

# id: the logs, the SQLSTATE that they prove ('' without a code), None where they prove nothing
LOGS = {
    "none": (None, None),
    "empty": ("", None),
    "baseline": ("by hand", None),
    "native": (native_log("23505"), "23505"),
    "native-letters": (native_log("0A000"), "0A000"),
    "native-in-colour": ("\x1b[1mDatabase error code: 42P07\x1b[0m\n", "42P07"),
    "native-crlf": (native_log("23505").replace("\n", "\r\n"), "23505"),
    "native-old": ('db error: ERROR\nDbError { code: SqlState("55P04") }', "55P04"),
    "native-state-only": ("DbError { code: SqlState(E42704), detail: None }", "42704"),
    "line-lost": (native_log("08006"), None),
    "shutdown": (native_log("57P01"), None),
    "cancelled": (native_log("57014"), "57014"),
    "aborted-block": (native_log("25P02"), None),
    "no-database-error": (native_log("none", "connection closed"), None),
    "none-although-the-message-has-one": (
        native_log("none", "Database error code: 23505"),
        None,
    ),
    "first-code-is-the-engine's": (
        native_log("22023", "ERROR: he wrote\nDatabase error code: 57P01"),
        "22023",
    ),
    "code-in-a-sentence": ("it said Database error code: 23505 yesterday", None),
    "adapter-unique": (adapter_log(UNIQUE), ""),
    "adapter-null": (adapter_log("Null constraint failed: "), ""),
    "adapter-foreign-key": (adapter_log("Foreign key constraint failed: f"), ""),
    "adapter-no-table": (adapter_log("No such table: momentum.mm_board"), ""),
    "adapter-no-column": (adapter_log("Error accessing result set, column not found: z"), ""),
    "adapter-other": (adapter_log(EXISTS), ""),
    "adapter-in-colour": (adapter_log(f"\x1b[31m{EXISTS}\x1b[0m"), ""),
    "adapter-line-lost": (
        adapter_log("Error querying the database: FATAL: terminating connection"),
        None,
    ),
    "adapter-quoted": (adapter_log(f"somebody wrote: {UNIQUE}"), None),
}


@pytest.mark.parametrize("case", LOGS)
def test_the_logs_prove_a_refused_statement_only_where_they_say_so(case: str) -> None:
    """An error of a statement is read in all formats; a lost connection is no proof."""
    logs, expected = LOGS[case]
    found = logged_error(logs)
    assert (found.sqlstate if found else None) == expected
    assert found is None or found.says


@given(st.text())
def test_no_text_breaks_the_reading_of_logs(text: str) -> None:
    """Whatever stands in `logs`, it is an error or it is none."""
    assert logged_error(text) is None or logged_error(text) == logged_error(text)


@pytest.mark.parametrize(
    ("logs", "expected"),
    [
        (None, False),
        (native_log("42P07"), True),
        (native_log("42701"), True),
        (native_log("42710"), True),
        (native_log("42P06"), True),
        (native_log("42723"), True),
        (native_log("42P01"), False),
        (native_log("23505", "ERROR: already exists"), False),
        (adapter_log(EXISTS), True),
        (adapter_log(UNIQUE), False),
    ],
)
def test_an_object_that_was_there_before(logs: str | None, *, expected: bool) -> None:
    """After "already exists" the facts do not show who made the object."""
    assert object_existed(logged_error(logs)) is expected


def db_error(code: str, **fields: str) -> str:
    """Logs with the fields that PostgreSQL sends, as the native engine prints them."""
    named = "".join(f'{name}: Some("{value}"), ' for name, value in fields.items())
    return (
        f"Database error code: {code}\n\nDbError {{ code: SqlState(E{code}), {named}line: None }}"
    )


# id: the logs; constraint, table and column that they name
VIOLATED = {
    "unique": (
        db_error("23505", schema="public", table="User", constraint="User_email_key"),
        ("User_email_key", "User", ""),
    ),
    "not null": (db_error("23502", table="User", column="name"), ("", "User", "name")),
    "no violation": (db_error("42701", table="User", column="name"), ("", "", "")),
    "not by name": (native_log("23505"), ("", "", "")),
    "escaped": (db_error("23505", constraint='User\\"s'), ("", "", "")),
    "quoted in the message": (
        native_log("23505", 'he wrote constraint: Some("x")'),
        ("", "", ""),
    ),
    "adapter, unique": (adapter_log(UNIQUE), ("mm_board_name_key", "", "")),
    "adapter, foreign key": (adapter_log("Foreign key constraint failed: f"), ("f", "", "")),
    "adapter, null": (adapter_log("Null constraint failed: "), ("", "", "")),
}


@pytest.mark.parametrize("case", VIOLATED)
def test_what_was_violated_is_read(case: str) -> None:
    """By the fields of the error, never by its words, which may be of any language."""
    logs, expected = VIOLATED[case]
    error = logged_error(logs)
    assert error is not None
    assert (error.constraint, error.table, error.column) == expected
