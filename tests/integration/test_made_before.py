"""What `db push` or a hand made beforehand does not show that a migration ran.

A statement with `IF NOT EXISTS` finds its work done and goes on, so that a clean run succeeds.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from sidecar.errors import ExitCode
from tests.half_way import Past, State, end_of, states_of
from tests.incident import Migration
from tests.postgres import Database

INIT = Migration(
    "1_init",
    "CREATE TYPE mood AS ENUM ('sad');\n"
    "CREATE TABLE t (id INTEGER PRIMARY KEY, n INTEGER, old INTEGER);\n",
)
OTHER = Migration("2_other", "CREATE TABLE u (id INTEGER);\n")
ROWS = "INSERT INTO t VALUES (1, 1), (2, 1), (3, 7)"
COUNT = "UPDATE t SET n = n + 1;\n"

# name: what was made beforehand, the script, whether all of it is repaired
MADE = {
    "a backfill between guards": (
        "ALTER TABLE t ADD COLUMN tags TEXT[] NOT NULL DEFAULT '{}'; CREATE INDEX t_n ON t (n)",
        (
            "ALTER TABLE t ADD COLUMN IF NOT EXISTS tags TEXT[] NOT NULL DEFAULT '{}';\n"
            "UPDATE t SET tags = ARRAY[id::text] WHERE cardinality(tags) = 0;\n"
            "CREATE INDEX IF NOT EXISTS t_n ON t (n);\n"
        ),
    ),
    "a column": (
        "ALTER TABLE t ADD COLUMN y INTEGER",
        (
            f"ALTER TABLE t ADD COLUMN x INTEGER;\n{COUNT}"
            "ALTER TABLE t ADD COLUMN IF NOT EXISTS y INTEGER;\n"
            "ALTER TABLE t ADD COLUMN z INTEGER;\n"
        ),
    ),
    "an index": (
        "CREATE INDEX t_n ON t (n)",
        (
            f"ALTER TABLE t ADD COLUMN x INTEGER;\n{COUNT}"
            "CREATE INDEX IF NOT EXISTS t_n ON t (n);\nALTER TABLE t ADD COLUMN z INTEGER;\n"
        ),
    ),
    "a constraint behind a guard": (
        "ALTER TABLE t ADD CONSTRAINT k UNIQUE (id, n)",
        (
            f"ALTER TABLE t ADD COLUMN x INTEGER;\n{COUNT}"
            "DO $$ BEGIN IF NOT EXISTS (SELECT 1 FROM pg_constraint WHERE conname = 'k') THEN "
            "ALTER TABLE t ADD CONSTRAINT k UNIQUE (id, n); END IF; END $$;\n"
            "ALTER TABLE t ADD COLUMN z INTEGER;\n"
        ),
    ),
    "a function": (
        "CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1'",
        (
            f"{COUNT}CREATE OR REPLACE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1';\n"
            "ALTER TABLE t ADD COLUMN z INTEGER;\n"
        ),
    ),
    "NOT NULL": (
        "ALTER TABLE t ALTER COLUMN n SET NOT NULL",
        f"{COUNT}ALTER TABLE t ALTER COLUMN n SET NOT NULL;\nALTER TABLE t ADD COLUMN z INTEGER;\n",
    ),
    "an enum's value beside a column": (
        "ALTER TABLE t ADD COLUMN y INTEGER; ALTER TYPE mood ADD VALUE 'glad'",
        (
            "ALTER TABLE t ADD COLUMN IF NOT EXISTS y INTEGER;\n"
            "UPDATE t SET n = n * 100;\n"
            "ALTER TYPE mood ADD VALUE IF NOT EXISTS 'glad';\n"
        ),
    ),
    "a policy that is made anew": (
        "CREATE POLICY p ON t",
        (
            f"{COUNT}DROP POLICY IF EXISTS p ON t;\nCREATE POLICY p ON t;\n"
            "ALTER TABLE t ADD COLUMN z INTEGER;\n"
        ),
    ),
    "nothing": (
        "SELECT 1",
        (
            "ALTER TABLE t ADD COLUMN IF NOT EXISTS x INTEGER;\nUPDATE t SET x = n;\n"
            "CREATE INDEX IF NOT EXISTS t_n ON t (n);\nALTER TABLE t ADD COLUMN z INTEGER;\n"
        ),
    ),
}


def past(made: str, *, late: bool) -> Past:
    """Somebody had made this before the last migration, or after it."""
    return Past((INIT, OTHER), (ROWS, made)) if late else Past((INIT,), (ROWS, made), (OTHER,))


LATE = ("a backfill between guards", "an enum's value beside a column")


@pytest.mark.parametrize(
    ("name", "late", "state"),
    [
        (name, late, state)
        for name, (_, script) in MADE.items()
        for late in {False, name in LATE}
        for state in states_of(script)
    ],
    ids=str,
)
def test_it_is_no_evidence(
    latest_database: Database, tmp_path: Path, name: str, state: State, *, late: bool
) -> None:
    """Exactly as a clean run leaves this database, or untouched; no change of rows is left out."""
    ended = end_of(state, past(MADE[name][0], late=late), latest_database, tmp_path)
    if ended.said.code == ExitCode.OK:
        assert ended.exact, ended.said.what
    else:
        assert (ended.said.code, ended.untouched) == (ExitCode.HALTED, True), ended.said.what
        assert (name, state.logged) != ("nothing", False), ended.said.what


def test_a_rebuild_does_not_undo_it(latest_database: Database, tmp_path: Path) -> None:
    """It is not the migration's own."""
    made, script = MADE["a column"]
    ended = end_of(
        State(script, 1, logged=False),
        past(made, late=False),
        latest_database,
        tmp_path,
        policy="rebuild",
    )
    assert (ended.said.code, ended.untouched) == (ExitCode.HALTED, True), ended.said.what
