"""Which statements mean the same in a session that is not the script's own."""

from __future__ import annotations

import pytest

from sidecar.row_evidence import read_alike
from tests.unit.builders import script_of

MADE, UP = "CREATE TEMP TABLE m AS SELECT a FROM t", "UPDATE t SET b = 1"


@pytest.mark.parametrize(
    ("statements", "alike"),
    [
        ((UP, UP), 2),
        ((UP, "SET lock_timeout = '1s'", UP), 3),
        ((UP, "SET search_path = s", UP), 1),
        ((UP, MADE, "INSERT INTO m VALUES (1)", UP, "DROP TABLE m", UP), 6),
        ((MADE, "SET search_path = s", UP), 1),
        ((MADE, "ALTER TABLE m RENAME TO t", UP), 1),
        (("CREATE TEMP TABLE t (a int) ON COMMIT DELETE ROWS", UP), 0),
        (("DO $$ BEGIN CREATE TEMP TABLE t (a int); END $$", UP), 0),
        ((MADE, "BEGIN", "DROP TABLE m", "ROLLBACK", UP), 0),
    ],
)
def test_until_the_script_sets_its_session(statements: tuple[str, ...], alike: int) -> None:
    """Temporary tables that are known change nothing but for what names them."""
    assert read_alike(script_of(*statements)) == alike
