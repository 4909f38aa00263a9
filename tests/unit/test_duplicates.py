"""Which DELETEs leave so many of each group; tests/integration/test_duplicates.py runs them."""

from __future__ import annotations

import pytest

from sidecar.live_tables import understood
from sidecar.model import CTID, FactKey, Facts, RowChange
from tests.unit.builders import script_of, table

KEY = FactKey("constraint", "t_pkey", "public.t")
KEYED: Facts = {table("t"): "TABLE", KEY: "PRIMARY KEY (id)"}

RANKED = "SELECT id, row_number() OVER (PARTITION BY a ORDER BY b) AS n FROM t"

KEPT: dict[str, tuple[str, str]] = {
    "the least of each group": (
        "DELETE FROM t WHERE id NOT IN (SELECT min(id) FROM t GROUP BY a, lower(b))",
        "id",
    ),
    "the greatest, among some": (
        (
            "DELETE FROM t AS x WHERE x.c = 1 AND NOT x.id IN"
            " (SELECT max(y.id) FROM t AS y WHERE y.c = 1 GROUP BY y.a)"
        ),
        "id",
    ),
    "wrapped, as MySQL wants it": (
        (
            "DELETE FROM t WHERE id NOT IN"
            " (SELECT k.m FROM (SELECT min(id) AS m FROM t GROUP BY a) AS k)"
        ),
        "id",
    ),
    "the first of each": (
        "DELETE FROM t WHERE id NOT IN (SELECT DISTINCT ON (a) id FROM t ORDER BY a, b DESC)",
        "id",
    ),
    "ranked": (f"DELETE FROM t WHERE id IN (SELECT id FROM ({RANKED}) AS r WHERE r.n > 1)", "id"),
    "ranked before": (
        f"WITH r AS ({RANKED}) DELETE FROM t WHERE id IN (SELECT id FROM r WHERE n >= 2)",
        "id",
    ),
    "ranked and chosen before": (
        (
            f"WITH r AS ({RANKED}), gone AS (SELECT id FROM r WHERE n <> 1)"
            " DELETE FROM t WHERE id IN (SELECT id FROM gone)"
        ),
        "id",
    ),
    "ranked beside": (
        f"DELETE FROM t AS x USING ({RANKED}) AS r WHERE r.id = x.id AND n > 1",
        "id",
    ),
    "ranked before and beside": (
        (
            "WITH r AS (SELECT *, rank() OVER (PARTITION BY a ORDER BY b) AS n FROM t)"
            " DELETE FROM t USING r WHERE t.id = r.id AND r.n > 3"
        ),
        "id",
    ),
    "by their places": (
        "DELETE FROM t WHERE ctid NOT IN (SELECT min(ctid) FROM t GROUP BY a)",
        CTID,
    ),
    "by their places, in pairs": (
        "DELETE FROM t AS x USING t AS y WHERE x.ctid < y.ctid AND x.a = y.a AND x.b = y.b",
        CTID,
    ),
    "by their places, ranked": (
        (
            "WITH r AS (SELECT ctid, row_number() OVER (PARTITION BY a) AS n FROM t)"
            " DELETE FROM t WHERE ctid IN (SELECT ctid FROM r WHERE n > 1)"
        ),
        CTID,
    ),
}


def seen_with(sql: str, facts: Facts) -> RowChange:
    """What is known of the statement in a database with these facts."""
    (statement,) = understood(script_of(sql), facts).statements
    assert statement.change is not None
    return statement.change


@pytest.mark.parametrize("case", KEPT)
def test_rows_that_were_left_are_not_picked_again(case: str) -> None:
    """Nor if more rows have gone since, as long as the column tells rows apart."""
    sql, key = KEPT[case]
    change = seen_with(sql, KEYED)
    assert change.keyed == key
    assert (change.settled, change.steady, change.fleeting) == (True, True, False)
    assert change.reads == {("t",)}


SHARED: dict[str, Facts] = {
    "no key": {table("t"): "TABLE"},
    "another key": {table("t"): "TABLE", KEY: "PRIMARY KEY (a)"},
    "a key of two columns": {table("t"): "TABLE", KEY: "PRIMARY KEY (id, a)"},
    "unique, but NULL": {table("t"): "TABLE", KEY: "UNIQUE (id)"},
    "rows of heirs": {**KEYED, table("heir"): "TABLE INHERITS (public.t)"},
}


@pytest.mark.parametrize("case", SHARED)
def test_two_rows_may_be_alike_in_the_column(case: str) -> None:
    """Then of the rows that were left one may be picked, once another has gone."""
    change = seen_with(KEPT["ranked"][0], SHARED[case])
    assert (change.settled, change.steady) == (False, False)


@pytest.mark.parametrize(
    "definition", ["TABLE PARTITION BY RANGE (a)", "TABLE INHERITS (public.u)"]
)
def test_rows_of_several_tables_may_lie_in_the_same_place(definition: str) -> None:
    """Each part has a first page."""
    change = seen_with(KEPT["by their places"][0], {table("t"): definition})
    assert (change.settled, change.steady, change.fleeting) == (False, False, True)


OTHERS = (
    "DELETE FROM t WHERE id NOT IN (SELECT min(id) FROM u GROUP BY a)",
    "DELETE FROM t WHERE id NOT IN (SELECT min(id) FROM s.t GROUP BY a)",
    "DELETE FROM t WHERE id NOT IN (SELECT min(a) FROM t GROUP BY a)",
    "DELETE FROM t WHERE id NOT IN (SELECT avg(id) FROM t GROUP BY a)",
    "DELETE FROM t WHERE id NOT IN (SELECT min(id) FILTER (WHERE b > 1) FROM t GROUP BY a)",
    "DELETE FROM t WHERE id NOT IN (SELECT min(id) FROM t GROUP BY a HAVING count(*) > 1)",
    "DELETE FROM t WHERE id NOT IN (SELECT min(id) FROM t GROUP BY a LIMIT 3)",
    "DELETE FROM t WHERE id NOT IN (SELECT min(id) FROM t GROUP BY GROUPING SETS ((a), (b)))",
    "DELETE FROM t WHERE id NOT IN (SELECT min(id) FROM t WHERE random() < 0.5 GROUP BY a)",
    "DELETE FROM t WHERE id NOT IN (SELECT min(x.id) FROM t AS x WHERE x.b = t.b GROUP BY x.a)",
    "DELETE FROM t WHERE id NOT IN (SELECT min(x.id) FROM t AS x, u GROUP BY x.a)",
    "DELETE FROM t WHERE id NOT IN (SELECT min(id) FROM t GROUP BY a UNION SELECT 1)",
    "DELETE FROM t WHERE id NOT IN (SELECT id FROM (SELECT min(id) FROM t GROUP BY a) AS x)",
    "DELETE FROM t WHERE id NOT IN (SELECT id FROM (SELECT min(id) FROM t GROUP BY a) AS x (m))",
    "DELETE FROM t WHERE id NOT IN (SELECT min(id) FROM t GROUP BY a) AND b IN (SELECT b FROM u)",
    "DELETE FROM t WHERE id NOT IN (SELECT min(id) FROM t GROUP BY a) OR b = 1",
    "DELETE FROM t WHERE c = 1 AND ctid NOT IN (SELECT min(ctid) FROM t GROUP BY a)",
    "DELETE FROM t WHERE c = 1 AND id NOT IN (SELECT DISTINCT ON (a) id FROM t ORDER BY a, b)",
    "DELETE FROM t WHERE id NOT IN (SELECT DISTINCT id FROM t)",
    "DELETE FROM t WHERE id IN (SELECT min(id) FROM t GROUP BY a)",
    (
        "WITH t AS (SELECT 1 AS id, 2 AS a) DELETE FROM t WHERE id NOT IN"
        " (SELECT min(id) FROM t GROUP BY a)"
    ),
    f"DELETE FROM t WHERE id IN (SELECT id FROM ({RANKED}) AS r WHERE r.n = 1)",
    f"DELETE FROM t WHERE id IN (SELECT id FROM ({RANKED}) AS r WHERE r.n >= 1)",
    f"DELETE FROM t WHERE id IN (SELECT id FROM ({RANKED}) AS r WHERE r.n <> 2)",
    f"DELETE FROM t WHERE id IN (SELECT id FROM ({RANKED}) AS r WHERE r.n < 2)",
    f"DELETE FROM t WHERE id IN (SELECT id FROM ({RANKED}) AS r)",
    f"DELETE FROM t WHERE id IN (SELECT n FROM ({RANKED}) AS r WHERE r.n > 1)",
    f"DELETE FROM t WHERE c = 1 AND id IN (SELECT id FROM ({RANKED}) AS r WHERE r.n > 1)",
    f"DELETE FROM t USING ({RANKED}) AS r WHERE t.id = r.id AND r.n > 1 AND t.c = 1",
    f"DELETE FROM t USING ({RANKED}) AS r WHERE t.id = r.id",
    f"DELETE FROM t USING ({RANKED}) AS r WHERE t.id > r.id AND r.n > 1",
    f"DELETE FROM t USING ({RANKED}) AS r, u WHERE t.id = r.id AND r.n > 1",
    f"DELETE FROM t USING ({RANKED}) AS r WHERE t.a = r.id AND r.n > 1",
    (
        "DELETE FROM t WHERE id IN (SELECT id FROM (SELECT id, row_number() OVER"
        " (PARTITION BY random() ORDER BY b) AS n FROM t) AS r WHERE r.n > 1)"
    ),
    (
        "DELETE FROM t WHERE id IN (SELECT id FROM (SELECT id, rank() OVER"
        " (PARTITION BY a ORDER BY random()) AS n FROM t) AS r WHERE r.n > 1)"
    ),
    (
        "DELETE FROM t WHERE id IN (SELECT id FROM (SELECT id, count(*) OVER (PARTITION BY a) AS n"
        " FROM t) AS r WHERE r.n > 1)"
    ),
    (
        "DELETE FROM t WHERE id IN (SELECT id FROM (SELECT id, row_number() OVER w AS n FROM t"
        " WINDOW w AS (PARTITION BY a)) AS r WHERE r.n > 1)"
    ),
    "DELETE FROM t AS x USING t AS y WHERE x.ctid < y.ctid",
    "DELETE FROM t AS x USING t AS y WHERE x.ctid < y.ctid AND x.a = y.b",
    "DELETE FROM t AS x USING t AS y WHERE x.ctid <> y.ctid AND x.a = y.a",
    "DELETE FROM t AS x USING t AS y WHERE x.ctid < y.ctid AND x.a = y.a AND x.b = 1",
    "DELETE FROM t AS x USING u AS y WHERE x.ctid < y.ctid AND x.a = y.a",
    "DELETE FROM ONLY t AS x USING ONLY t AS y WHERE x.ctid < y.ctid AND x.a = y.a",
)


@pytest.mark.parametrize("sql", OTHERS)
def test_of_other_deletes_nothing_of_the_kind_is_known(sql: str) -> None:
    """They keep too many, choose anew, look elsewhere, or at rows that one cannot follow."""
    (statement,) = script_of(sql).statements
    assert statement.change is not None
    assert statement.change.keyed == ""
