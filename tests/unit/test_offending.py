"""Which rows stand in the way: asked only of what the repair was to make, by its definition."""

from __future__ import annotations

import pytest

from sidecar.errors import DatabaseError, Named
from sidecar.model import COLUMNS, FactKey
from sidecar.offending import Attempt, Offenders, offenders

TABLE = 's."T"'
INDEX = FactKey("index", "s.k", TABLE)
CONSTRAINT = FactKey("constraint", "k", TABLE)
COLUMN = FactKey("column", '"C"', TABLE)
ROWS = f"SELECT {COLUMNS} FROM {TABLE} AS r"
ALTER = f'ALTER TABLE {TABLE} ALTER COLUMN "C" TYPE x'


def asked(
    sqlstate: str,
    key: FactKey,
    after: str,
    before: str | None = None,
    *,
    sql: str = "",
    version: int = 170000,
) -> list[Offenders]:
    """What is looked for where a fact was to become `after`."""
    named = Named("s", "T", "C", "k")
    error = DatabaseError("no", sqlstate=sqlstate, named=named)
    return list(offenders(error, Attempt(sql, {key: before}, {key: after}, version)))


UNIQUE = f"CREATE UNIQUE INDEX k ON {TABLE} USING btree"
QUERIES = {
    f"{UNIQUE} (a)": (
        f'SELECT "a", count(*) AS times FROM {TABLE} AS r WHERE "a" IS NOT NULL'
        " GROUP BY 1 HAVING count(*) > 1 ORDER BY count(*) DESC"
    ),
    f'{UNIQUE} (a, "b""c" text_pattern_ops DESC NULLS LAST) NULLS NOT DISTINCT WHERE (NOT x)': (
        f'SELECT "a", "b""c", count(*) AS times FROM {TABLE} AS r WHERE (NOT x)'
        " GROUP BY 1, 2 HAVING count(*) > 1 ORDER BY count(*) DESC"
    ),
    f"{UNIQUE} (lower(a) COLLATE s.coll) INCLUDE (z)": (
        f'SELECT (lower(a)) COLLATE "s"."coll", count(*) AS times FROM {TABLE} AS r'
        ' WHERE (lower(a)) COLLATE "s"."coll" IS NOT NULL'
        " GROUP BY 1 HAVING count(*) > 1 ORDER BY count(*) DESC"
    ),
}


@pytest.mark.parametrize("definition", QUERIES)
def test_duplicates(definition: str) -> None:
    """Rows are equal as the index compares them, in the part of the table that it covers."""
    (found,) = asked("23505", INDEX, definition)
    assert (found.table, found.query) == (TABLE, QUERIES[definition])


def test_orphans() -> None:
    """A row whose key is NULL needs no partner."""
    (found,) = asked("23503", CONSTRAINT, "FOREIGN KEY (a) REFERENCES s.p(id) ON DELETE CASCADE")
    assert found.query == (
        f'SELECT {COLUMNS}, r."a" FROM {TABLE} AS r WHERE (r."a" IS NOT NULL)'
        ' AND NOT EXISTS (SELECT FROM "s"."p" AS p WHERE p."id" = r."a")'
    )


def test_a_check() -> None:
    """A row for which it is NULL passes (PostgreSQL, "Check Constraints")."""
    (found,) = asked("23514", CONSTRAINT, "CHECK (((a > 0) OR (b ~ ')'::text)))")
    assert found.query == f"{ROWS} WHERE NOT (a > 0 OR b ~ ')'::text)"


def test_nulls() -> None:
    """Of a column that was there; a new one is all NULL, if the statement itself adds it."""
    (found,) = asked("23502", COLUMN, "text NOT NULL", "text")
    assert found.query == f'{ROWS} WHERE r."C" IS NULL'
    (added,) = asked(
        "23502", COLUMN, "text NOT NULL", sql=f'ALTER TABLE {TABLE} ADD "C" text NOT NULL'
    )
    assert added.query == ROWS
    altered = f'ALTER TABLE {TABLE} ALTER "C" SET NOT NULL'
    assert asked("23502", COLUMN, "text NOT NULL", sql=altered) == []


TYPES = {
    ("text", "character varying(3)"): "length(rtrim(r.\"C\"::text, ' ')) > 3",
    ("bigint", "smallint"): 'round(r."C"::numeric) NOT BETWEEN -32768 AND 32767',
    ("text NOT NULL DEFAULT 'date'::text", 's."It\'s"'): (
        "NOT pg_input_is_valid(r.\"C\"::text, 's.\"It''s\"')"
    ),
}


@pytest.mark.parametrize(("before", "after"), TYPES)
def test_values_that_do_not_fit(before: str, after: str) -> None:
    """By the new type, whatever else belongs to the column."""
    (found,) = asked("22P02", COLUMN, f"{after} NOT NULL DEFAULT 1", before, sql=ALTER)
    condition = TYPES[before, after]
    assert found.query == (
        f'SELECT {COLUMNS}, r."C" FROM {TABLE} AS r WHERE r."C" IS NOT NULL AND {condition}'
    )


FOREIGN = "FOREIGN KEY (a) REFERENCES s.p(id)"
NOT_ASKED = {
    "it was there before": ("23505", INDEX, f"{UNIQUE} (a)", f"{UNIQUE} (a)", ""),
    "it is another one": ("23505", INDEX._replace(identity="s.other"), f"{UNIQUE} (a)", None, ""),
    "another table's": ("23514", CONSTRAINT._replace(on="s.t"), "CHECK ((a > 0))", None, ""),
    "old rows may stay": ("23503", CONSTRAINT, f"{FOREIGN} NOT VALID", None, ""),
    "nobody can read it": ("23514", CONSTRAINT, "CHECK ((a > 0)) IN A NEW WAY", None, ""),
    "an exclusion": ("23514", CONSTRAINT, "EXCLUDE USING gist (a WITH &&)", None, ""),
    "it was NOT NULL": ("23502", COLUMN, "text NOT NULL", "integer NOT NULL", ""),
    "the type stays": ("22P02", COLUMN, "text NOT NULL", "text", ALTER),
    "another statement": ("22P02", COLUMN, "integer", "text", 'UPDATE "T" SET "C" = 1'),
    "a script": ("22P02", COLUMN, "integer", "text", f"{ALTER}; SELECT 1"),
    "no SQL": ("22P02", COLUMN, "integer", "text", "ALTER TABLE"),
    "another column": ("22P02", COLUMN, "integer", "text", ALTER.replace('"C"', "c")),
    "another cause": ("42501", COLUMN, "text NOT NULL", "text", ""),
}


@pytest.mark.parametrize("why", NOT_ASKED)
def test_what_is_not_asked(why: str) -> None:
    """Where no row of a table is the cause, or what is demanded is not known for sure."""
    sqlstate, key, after, before, sql = NOT_ASKED[why]
    assert asked(sqlstate, key, after, before, sql=sql) == []


def test_older_servers_are_not_asked_what_they_do_not_know() -> None:
    """Whether a text is a date can be asked since PostgreSQL 16, a number always."""
    assert asked("22007", COLUMN, "date", "text", sql=ALTER, version=150000) == []
    assert asked("22007", COLUMN, "date", "text", sql=ALTER, version=160000) != []
    assert asked("22P02", COLUMN, "integer", "text", sql=ALTER, version=130000) != []
