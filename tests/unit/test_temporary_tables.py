"""What reads a temporary table of its script reads what that was made from."""

from __future__ import annotations

import pytest

from sidecar.model import RowChange, Statement, Temporary
from tests.unit.builders import script_of

MADE = 'CREATE TEMP TABLE m AS SELECT "id", "title" FROM "Post"'


def use(*statements: str) -> Temporary:
    """What the last statement does to temporary tables."""
    found = last(*statements).temporary
    assert found is not None
    return found


def last(*statements: str) -> Statement:
    """The last statement of a script."""
    return script_of(*statements).statements[-1]


def change(*statements: str) -> RowChange:
    """What the last statement of a script does to rows."""
    found = last(*statements).change
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("sql", "reads", "columns"),
    [
        (MADE, {("Post",)}, {"id", "title"}),
        ("CREATE TEMP TABLE m (a int)", set(), set()),
        ("CREATE TEMP TABLE m (LIKE s.t)", {("s", "t")}, {"*"}),
        ("CREATE TEMP TABLE m AS TABLE t", {("t",)}, {"*"}),
        ("SELECT t.a INTO TEMP m FROM t", {("t",)}, {"a"}),
        ('CREATE TEMP TABLE "Post" AS SELECT "id" FROM "Post"', {("Post",)}, {"id"}),
    ],
)
def test_what_a_temporary_table_is_made_from(
    sql: str, reads: set[tuple[str, ...]], columns: set[str]
) -> None:
    """All tables and columns that its query names, and not the table itself."""
    found = use(sql)
    assert (set(found.reads), set(found.columns), found.drops) == (reads, columns, False)


@pytest.mark.parametrize(
    ("sql", "again", "volatile"),
    [
        (MADE, True, False),
        ("CREATE TEMP TABLE m AS SELECT gen_random_uuid() AS id FROM t", True, True),
        ("CREATE TEMP TABLE m (a TIMESTAMP DEFAULT now())", True, True),
        ("CREATE TEMP TABLE m AS SELECT f(a) FROM t", False, True),
        ("CREATE TEMP TABLE m AS SELECT nextval('s') FROM t", False, True),
        ("CREATE TEMP TABLE m (a int DEFAULT f())", False, True),
        ("CREATE TEMP TABLE m (a int) ON COMMIT DELETE ROWS", False, False),
        ("CREATE TEMP TABLE m ON COMMIT DROP AS SELECT 1", False, False),
        ("CREATE TEMP TABLE m () INHERITS (t)", False, False),
        ("CREATE TEMP VIEW m AS SELECT 1", False, False),
    ],
)
def test_what_can_be_done_once_more_in_another_session(
    sql: str, again: bool, volatile: bool
) -> None:
    """Nothing that calls what may write, moves a counter, or ends with its transaction."""
    found = use(sql)
    assert (found.again, found.volatile) == (again, volatile)


@pytest.mark.parametrize(
    ("statement", "drops", "names"),
    [
        ("INSERT INTO m SELECT 1, 'a'", False, {"m"}),
        ("ALTER TABLE m ADD b int", False, {"m"}),
        ("ALTER TABLE m RENAME TO n", False, {"m", "n"}),
        ("DROP TABLE m", True, {"m"}),
        ("DROP TABLE IF EXISTS pg_temp.m", True, {"m"}),
    ],
)
def test_what_is_about_a_temporary_table(statement: str, drops: bool, names: set[str]) -> None:
    """Filled, altered or dropped: all of the same table."""
    found = use(MADE, statement)
    assert (found.drops, set(found.names)) == (drops, names)


@pytest.mark.parametrize("statement", ["UPDATE m SET a = f()", 'DELETE FROM "Post"', "SELECT 1"])
def test_what_is_about_more_is_told_of_none(statement: str) -> None:
    """Only what has no effect but on temporary tables."""
    assert last(MADE, statement).temporary is None


JOIN = "FROM m WHERE m.id = u.id"


@pytest.mark.parametrize(
    ("statements", "settled"),
    [
        ((MADE, f'UPDATE "User" u SET "name" = m.title {JOIN}'), True),
        ((MADE, f'UPDATE "Post" u SET "slug" = m.title {JOIN}'), True),
        ((MADE, f'UPDATE "Post" u SET "title" = m.title {JOIN}'), False),
        (('CREATE TEMP TABLE m AS TABLE "Post"', f'UPDATE "Post" u SET "a" = m.b {JOIN}'), False),
        ((MADE, "CREATE TEMP TABLE n AS SELECT id, title FROM m",
          'UPDATE "Post" u SET "title" = n.title FROM n WHERE n.id = u.id'), False),
        ((MADE, "DROP TABLE m", f'UPDATE "Post" u SET "title" = m.title {JOIN}'), False),
        ((MADE, 'DELETE FROM "Post" WHERE "id" NOT IN (SELECT id FROM m)'), False),
        ((MADE, 'DELETE FROM "Log" WHERE "id" NOT IN (SELECT id FROM m)'), True),
        (("CREATE TEMP TABLE m AS SELECT id, random() AS r FROM t",
          f'UPDATE "User" u SET "a" = m.r {JOIN}'), False),
        (("DO $$ BEGIN CREATE TEMP TABLE m AS SELECT * FROM t; END $$",
          f'UPDATE "User" u SET "a" = m.r {JOIN}'), False),
        ((MADE, 'UPDATE "Post" SET "title" = \'a\''), True),
    ],
)  # fmt: skip
def test_a_statement_is_settled_only_if_what_it_reads_would_be_made_the_same(
    statements: tuple[str, ...], settled: bool
) -> None:
    """Run again, it meets a temporary table that is made again, from what it has changed."""
    assert change(*statements).settled is settled


def test_what_is_behind_a_temporary_table_counts_as_read() -> None:
    """A later statement that changes it would disturb."""
    found = change(MADE, 'UPDATE "User" u SET "name" = m.title FROM m')
    assert {("Post",), ("m",)} <= found.reads
    assert {"id", "title"} <= found.other_reads
    assert (found.rows, found.differs) == ("", "")


def test_nothing_else_is_seen_differently() -> None:
    """Rows of lasting tables are asked for as ever."""
    alone, beside = 'UPDATE "Post" SET "title" = \'a\'', script_of(MADE, "UPDATE a SET b = 1")
    assert change(MADE, alone) == change(alone)
    assert beside.statements[-1].change == change("UPDATE a SET b = 1")
