"""Statements whose WITH writes: what is known of the part from which all the rest comes."""

from __future__ import annotations

import pytest

from sidecar.model import COLUMNS, RowChange, Verb
from tests.unit.builders import script_of


def change_of(sql: str) -> RowChange | None:
    """What is known of this statement."""
    (statement,) = script_of(sql).statements
    return statement.change


MOVED = "WITH x AS (DELETE FROM t WHERE a = 1 RETURNING id) "
MADE = "WITH x AS (INSERT INTO t (id, a) VALUES (1, 2) RETURNING id) "
SET = "WITH x AS (UPDATE t SET a = 1 WHERE b = 2 RETURNING id) "

LED: dict[str, tuple[str, Verb, bool]] = {
    "rows moved": (MOVED + "INSERT INTO u SELECT id FROM x", Verb.DELETE, True),
    "rows moved, joined": (
        MOVED + "INSERT INTO u SELECT v.id FROM v JOIN x ON v.id = x.id LEFT JOIN w ON w.id = 1",
        Verb.DELETE,
        True,
    ),
    "rows moved, counted in groups": (
        MOVED + "INSERT INTO u SELECT id, count(*) FROM x GROUP BY id",
        Verb.DELETE,
        True,
    ),
    "rows gone, and those that named them": (
        MOVED + "DELETE FROM u USING x WHERE u.t_id = x.id",
        Verb.DELETE,
        True,
    ),
    "rows gone, and added elsewhere": (
        MOVED + "UPDATE u SET n = n + 1 FROM x WHERE u.t_id = x.id",
        Verb.DELETE,
        True,
    ),
    "rows made for rows": (MADE + "INSERT INTO u SELECT id FROM x", Verb.INSERT, False),
    "rows set, and noted": (SET + "INSERT INTO u SELECT id FROM x", Verb.UPDATE, False),
}


@pytest.mark.parametrize("case", LED)
def test_the_part_in_with_speaks_for_the_whole(case: str) -> None:
    """It is one command; only what finds nothing again, rows that are gone, may be repeated."""
    sql, verb, settled = LED[case]
    change = change_of(sql)
    assert change is not None
    assert (change.verb, change.table, change.settled) == (verb, ("t",), settled)
    assert change.spreads
    assert change.differs == ""


def test_of_rows_that_are_all_set_to_what_was_inserted_the_values_tell() -> None:
    """A new column that nothing else fills shows them, whatever the table of the new rows."""
    change = change_of(MADE + "UPDATE u SET t_id = x.id FROM x")
    assert change is not None
    assert (change.verb, change.table) == (Verb.MIXED, ("u",))
    assert change.writes == {"t_id"}
    assert change.rows == f"SELECT {COLUMNS} FROM u"
    assert change.spreads


SOME = (
    MADE + "UPDATE u SET t_id = x.id FROM x WHERE u.a = 1",
    MADE + "UPDATE u SET t_id = x.id FROM x, v",
    MADE.replace(" RETURNING", " ON CONFLICT DO NOTHING RETURNING")
    + "UPDATE u SET t_id = x.id FROM x",
    MADE.replace("VALUES (1, 2)", "SELECT id, a FROM v") + "UPDATE u SET t_id = x.id FROM x",
)


@pytest.mark.parametrize("sql", SOME)
def test_where_it_may_leave_rows_as_they_are_they_tell_nothing(sql: str) -> None:
    """A row that is older, or has no value, may be one that it did not pick."""
    change = change_of(sql)
    assert change is not None
    assert (change.verb, change.writes, change.rows) == (Verb.MIXED, frozenset(), "")


NOT_LED = (
    "INSERT INTO u SELECT count(*) FROM x",
    "INSERT INTO u SELECT 1 WHERE NOT EXISTS (SELECT FROM x)",
    "INSERT INTO u SELECT id FROM v WHERE id IN (SELECT id FROM x)",
    "INSERT INTO u SELECT v.id FROM v LEFT JOIN x ON v.id = x.id",
    "INSERT INTO u SELECT v.id FROM x RIGHT JOIN v ON v.id = x.id",
    "INSERT INTO u SELECT v.id FROM x FULL JOIN v ON v.id = x.id",
    "INSERT INTO u SELECT id FROM x UNION ALL SELECT 1",
    "INSERT INTO u SELECT count(*) FROM x GROUP BY GROUPING SETS ((id), ())",
    "INSERT INTO u VALUES (1)",
    "INSERT INTO u SELECT id FROM s.x",
    "UPDATE u SET a = 1",
    "DELETE FROM u WHERE id NOT IN (SELECT id FROM x)",
    "INSERT INTO s.t SELECT id FROM x",
    "MERGE INTO u USING x ON u.id = x.id WHEN MATCHED THEN UPDATE SET a = 1",
)


@pytest.mark.parametrize("rest", NOT_LED)
def test_what_may_write_without_it_is_not_led(rest: str) -> None:
    """It writes rows where there are none, or to the same table."""
    assert change_of(MOVED + rest) is None


def test_a_query_beside_the_part_is_not_followed() -> None:
    """The part may read it, and it stands elsewhere."""
    both = (
        "WITH y AS (SELECT 1 AS id), x AS (DELETE FROM t USING y WHERE t.id = y.id RETURNING t.id)"
    )
    assert change_of(f"{both} INSERT INTO u SELECT id FROM x") is None
