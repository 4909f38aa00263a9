"""DELETEs that keep so many of each group, on real rows: of what they left, they pick nothing."""

from __future__ import annotations

from itertools import combinations

import pytest

from tests.postgres import Database
from tests.unit.test_duplicates import KEPT

TABLE = "CREATE TABLE t (id INTEGER PRIMARY KEY, a INTEGER, b TEXT, c INTEGER)"
ROWS = """
INSERT INTO t SELECT n, nullif(n % 3, 2), chr(65 + n % 2), nullif(n % 2, 0)
  FROM generate_series(1, 30) AS n
"""
FEWER = "TRUNCATE t; INSERT INTO t SELECT * FROM kept WHERE NOT id = ANY (%s::int[]) ORDER BY {}"


@pytest.mark.parametrize("case", KEPT)
def test_nothing_is_picked_of_what_was_left_nor_of_a_part_of_it(
    latest_database: Database, case: str
) -> None:
    """Whichever rows have gone since, and wherever those that stay have moved to."""
    sql, _ = KEPT[case]
    with latest_database.connect() as connection:
        connection.execute(f"{TABLE}; {ROWS}")
        assert connection.execute(sql).rowcount > 0
        connection.execute("CREATE TABLE kept AS SELECT * FROM t")
        left = [row[0] for row in connection.execute("SELECT id FROM t")]
        assert left
        for count in range(min(len(left), 3)):
            for gone in combinations(left, count):
                for order in ("id", "id DESC", "md5(id::text)"):
                    text = FEWER.format(order).replace("%s", f"'{{{','.join(map(str, gone))}}}'")
                    connection.execute(text)
                    assert connection.execute(sql).rowcount == 0, (gone, order)
