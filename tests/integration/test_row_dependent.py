"""Blocks and functions that change the schema as rows tell them to: a shadow has no rows.

Each script is stopped after each statement, by a kill and by an error. It ends as a clean run
leaves it, or untouched; nothing is run twice, nothing is left out.
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
    "CREATE TABLE t (id INTEGER PRIMARY KEY, n INTEGER NOT NULL, c TEXT);\n"
    "CREATE TABLE cfg (name TEXT);\n",
)
ROWS = "INSERT INTO t VALUES (1, 1, NULL), (2, 1, 'a'), (3, 1, 'a'); INSERT INTO cfg VALUES ('y')"

SCRIPTS = {
    "a guard of rows, done later anyway": """
ALTER TABLE t ADD COLUMN x INT;
DO $$ BEGIN IF NOT EXISTS (SELECT 1 FROM t WHERE c IS NULL) THEN
  ALTER TABLE t ALTER COLUMN c SET NOT NULL; END IF; END $$;
UPDATE t SET n = n + 1;
UPDATE t SET c = '' WHERE c IS NULL;
ALTER TABLE t ALTER COLUMN c SET NOT NULL;
""",
    "a branch": """
DO $$ BEGIN IF NOT EXISTS (SELECT 1 FROM t) THEN ALTER TABLE t ADD COLUMN y INT;
  ELSE UPDATE t SET n = n + 1; END IF; END $$;
UPDATE t SET n = n + 1;
ALTER TABLE t ADD COLUMN IF NOT EXISTS y INT;
""",
    "a loop over rows, done again": """
ALTER TABLE t ADD COLUMN x INT;
DO $$ DECLARE r RECORD; BEGIN FOR r IN SELECT name FROM cfg LOOP
  EXECUTE format('ALTER TABLE t ADD COLUMN IF NOT EXISTS %I INT', r.name); END LOOP; END $$;
UPDATE t SET n = n + 1;
ALTER TABLE t ADD COLUMN IF NOT EXISTS y INT;
ALTER TABLE t ADD COLUMN z INT;
""",
    "a function": """
CREATE FUNCTION fix() RETURNS void LANGUAGE plpgsql AS $$ BEGIN
  IF NOT EXISTS (SELECT 1 FROM t WHERE c IS NULL) THEN
    ALTER TABLE t ALTER COLUMN c SET NOT NULL; END IF; END $$;
SELECT fix();
UPDATE t SET n = n + 1;
UPDATE t SET c = '' WHERE c IS NULL;
ALTER TABLE t ALTER COLUMN c SET NOT NULL;
""",
    "rows that refuse": """
DO $$ BEGIN CREATE UNIQUE INDEX uq ON t (c);
  EXCEPTION WHEN unique_violation THEN UPDATE t SET n = n + 10; END $$;
UPDATE t SET n = n + 1;
UPDATE t SET c = id::text;
CREATE UNIQUE INDEX IF NOT EXISTS uq ON t (c);
""",
    "what a guard of the catalog decides": """
DO $$ BEGIN IF NOT EXISTS (SELECT 1 FROM information_schema.columns
    WHERE table_name = 't' AND column_name = 'y') THEN
  ALTER TABLE t ADD COLUMN y INT; END IF; END $$;
UPDATE t SET y = n;
ALTER TABLE t ALTER COLUMN y SET NOT NULL;
""",
}
EXACT = {"what a guard of the catalog decides"}
PAST = Past((INIT,), (ROWS,))


@pytest.mark.parametrize(
    ("name", "state"),
    [(name, state) for name, script in SCRIPTS.items() for state in states_of(script.lstrip())],
    ids=str,
)
def test_no_statement_is_run_twice_or_left_out(
    latest_database: Database, tmp_path: Path, name: str, state: State
) -> None:
    """What the shadow shows of such a block is no evidence."""
    ended = end_of(state, PAST, latest_database, tmp_path)
    if ended.said.code == ExitCode.OK:
        assert ended.exact, ended.said.what
    else:
        assert ended.said.code in {ExitCode.HALTED, ExitCode.REPAIR_FAILED}, ended.said.what
        assert ended.untouched
        assert name not in EXACT, ended.said.what
