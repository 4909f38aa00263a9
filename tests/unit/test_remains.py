"""Which invalid indexes show that a CONCURRENTLY was interrupted, and which do not."""

from __future__ import annotations

import pytest

from sidecar.model import FactKey, Facts
from sidecar.remains import begun, left_by, to_drop
from sidecar.touched import touched_states
from tests.unit.builders import Made, replay, script_of

ON = "momentum.issue"
SQL = "CREATE INDEX i ON momentum.issue USING btree (title)"
INDEX = FactKey("index", "momentum.i", ON)
COLUMN = FactKey("column", "due", ON)
HALF = f"{SQL} INVALID"
DEAD = f"{SQL} INVALID NOT READY"


def copy(name: str, definition: str = SQL) -> dict[FactKey, str]:
    """An invalid index with this name, as REINDEX leaves it, of the index `i`."""
    bare = name.rpartition(".")[2]
    changed = definition.replace("INDEX i ", f"INDEX {bare} ")
    return {FactKey("index", name, ON): f"{changed} INVALID"}


ADD: tuple[str, Made] = ("ALTER TABLE issue ADD due date", {COLUMN: "date"})
CREATE: tuple[str, Made] = ("CREATE INDEX CONCURRENTLY i ON issue (title)", {INDEX: SQL})
PLAIN: tuple[str, Made] = ("CREATE INDEX i ON issue (title)", {INDEX: SQL})
DROP: tuple[str, Made] = ("DROP INDEX CONCURRENTLY i", {INDEX: None})
REINDEX: tuple[str, Made] = ("REINDEX INDEX CONCURRENTLY i", None)
COUNT: tuple[str, Made] = ("UPDATE issue SET n = n + 1", None)

CASES: dict[str, tuple[tuple[tuple[str, Made], ...], Facts, Facts, tuple[int, ...], int]] = {
    "none": ((CREATE,), {}, {}, (), 0),
    "valid": ((CREATE,), {}, {INDEX: SQL}, (), 0),
    "half made": ((CREATE,), {}, {INDEX: HALF}, (0,), 1),
    "half made, after data": ((ADD, COUNT, CREATE), {}, {COLUMN: "date", INDEX: HALF}, (2,), 1),
    "half made, something else is missing": ((ADD, CREATE), {}, {INDEX: HALF}, (), 0),
    "half made, something else is there": (
        (CREATE, ADD), {}, {COLUMN: "date", INDEX: HALF}, (), 0,
    ),
    "of another definition": ((CREATE,), {}, {INDEX: HALF.replace("title", "id")}, (), 0),
    "not of CONCURRENTLY": ((PLAIN,), {}, {INDEX: HALF}, (), 0),
    "half dropped": ((DROP,), {INDEX: SQL}, {INDEX: DEAD}, (0,), 0),
    "half made anew": ((REINDEX, ADD), {INDEX: SQL}, {INDEX: SQL, **copy("momentum.i_ccnew")},
                       (0,), 1),
    "half made anew, twice": (
        (REINDEX,), {INDEX: SQL},
        {INDEX: SQL, **copy("momentum.i_ccnew"), **copy("momentum.i_ccold1")}, (0,), 2,
    ),
    "a copy of something else": (
        (REINDEX,), {INDEX: SQL},
        {INDEX: SQL, **copy("momentum.j_ccnew")}, (), 0,
    ),
    "a copy with another definition": (
        (REINDEX,), {INDEX: SQL},
        {INDEX: SQL, **copy("momentum.i_ccnew", SQL.replace("title", "id"))}, (), 0,
    ),
}  # fmt: skip
"""Statements with what they make, facts before, facts now, k, and how many must be dropped."""


@pytest.mark.parametrize("case", CASES)
def test_what_was_interrupted(case: str) -> None:
    """Remains of exactly that statement, all else as before it; anything more is none of ours."""
    statements, base, live, expected, drops = CASES[case]
    script = script_of(*(sql for sql, _ in statements))
    replayed = replay(*(made for _, made in statements), base=base)
    found = begun(script, touched_states(replayed), replayed.effects, live)
    assert found == expected
    for k in found:
        assert len(to_drop(script.statements[k], replayed.effects[k], live)) == drops


@pytest.mark.parametrize(
    ("sql", "found"),
    [
        ("REINDEX INDEX CONCURRENTLY momentum.i", 1),
        ("reindex (verbose) table concurrently ISSUE", 1),
        ("REINDEX SCHEMA CONCURRENTLY momentum", 1),
        ("REINDEX TABLE CONCURRENTLY issues", 0),
        ("REINDEX INDEX CONCURRENTLY ii", 0),
        ("CREATE INDEX CONCURRENTLY x ON issue (i)", 0),
    ],
)
def test_whose_a_copy_is(sql: str, found: int) -> None:
    """A copy belongs to a REINDEX that names its index, its table, or everything."""
    facts = {INDEX: SQL, **copy("momentum.i_ccnew")}
    assert len(left_by(sql, {}, facts)) == found
