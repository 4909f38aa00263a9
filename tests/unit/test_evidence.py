"""What the ledger and the logs prove, and what they do not."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from sidecar.error_log import LoggedError
from sidecar.evidence import by_equivalence, by_logged_error, by_steps_count
from sidecar.model import FactKey
from tests.unit.builders import ledger_row, replay, script_of, table

UNIQUE = "Unique constraint failed: mm_board_name_key"


def test_a_counted_step_means_the_whole_script() -> None:
    """`applied_steps_count` is 0 until the whole script succeeded."""
    assert by_steps_count(ledger_row(), total=4) is None
    counted = by_steps_count(ledger_row(steps=1), total=4)
    assert counted is not None
    assert counted[0] == 4
    assert counted[1].source == "ledger"
    assert by_steps_count(ledger_row(steps=3), total=4) is None  # no engine counts so
    assert by_steps_count(ledger_row(steps=1, logs="no"), total=4) is None


CODED = LoggedError("23505", "SQLSTATE 23505")
UNCODED = LoggedError("", UNIQUE)
PLAIN = "CREATE TABLE a (); INSERT INTO a VALUES (1);"


@dataclass(frozen=True)
class Error:
    """A script of two statements, the candidates, and what is left of them."""

    text: str
    candidates: tuple[int, ...]
    error: LoggedError | None
    left: tuple[int, ...]
    against: bool = False


ERRORS = {
    "no error": Error(PLAIN, (1, 2), None, (1, 2)),
    "the end falls": Error(PLAIN, (1, 2), CODED, (1,)),
    "of an adapter too": Error(PLAIN, (1, 2), UNCODED, (1,)),
    "nothing to say": Error(PLAIN, (0, 1), CODED, (0, 1)),
    "contradiction": Error(PLAIN, (2,), CODED, (2,), against=True),
    "comment cut at the end": Error(PLAIN + " -- one; two", (1, 2), UNCODED, (1, 2)),
    "comment cut, line engine": Error(PLAIN + " -- one; two", (1, 2), CODED, (1,)),
    "empty pieces": Error(PLAIN + ";;\n;", (1, 2), UNCODED, (1,)),
    "comment not cut": Error(PLAIN + " -- done", (1, 2), UNCODED, (1,)),
    "comment cut inside": Error(
        "CREATE TABLE a (); UPDATE a SET b = b + 1 -- once; really\nWHERE c",
        (1, 2),
        UNCODED,
        (1, 2),
    ),
    "block comment cut inside": Error(
        "CREATE TABLE a (); UPDATE a SET b = b + 1 /* ; */ WHERE c", (1, 2), UNCODED, (1, 2)
    ),
    "string cut": Error("CREATE TABLE a (); INSERT INTO a VALUES ('x;y');", (1, 2), UNCODED, (1,)),
}


@pytest.mark.parametrize("name", ERRORS)
def test_a_refused_statement_means_that_the_script_did_not_complete(name: str) -> None:
    """The last candidate falls, unless a mere piece of a comment may be what failed."""
    row = ERRORS[name]
    left, said = by_logged_error(row.candidates, row.error, script_of(text=row.text))
    assert left == row.left
    assert (said is not None) == (left != row.candidates or row.against)
    assert said is None or said.against is row.against


SAME = {
    "a harmless one at the end": (("CREATE TABLE a ()", "SELECT 1"), (1, 2), (2,)),
    "nothing but harmless ones": (("SELECT 1", "SELECT 2"), (0, 1, 2), (2,)),
    "an empty script": ((), (0,), (0,)),
    "from none, short of the end": (("SELECT 1", "CREATE TABLE a ()"), (0, 1), (0,)),
    "in the middle": (
        ("CREATE TABLE a ()", "SET x.y = 'z'", "CREATE TABLE b ()"),
        (1, 2),
        (1,),
    ),
    "data between": (("CREATE TABLE a ()", "DELETE FROM a"), (1, 2), (1, 2)),
    "data before": (("DELETE FROM a", "SELECT 1"), (0, 1, 2), (0, 2)),
    "unknown function": (("CREATE TABLE a ()", "SELECT f()"), (1, 2), (1, 2)),
    "a change that was made": (("CREATE TABLE IF NOT EXISTS a ()",), (0, 1), (1,)),
    "an owner at the end": (("CREATE TABLE a ()", "ALTER TABLE a OWNER TO b"), (1, 2), (1,)),
    "an owner alone": (("ALTER TABLE a OWNER TO b",), (0, 1), (0,)),
    "rows computed anew": (
        ("ALTER TABLE a ALTER b TYPE numeric USING b * 100",),
        (0, 1),
        (0, 1),
    ),
    "a column made anew": (
        ("ALTER TABLE a DROP COLUMN b, ADD COLUMN b int",),
        (0, 1),
        (0, 1),
    ),
    "a counter set": (("ALTER SEQUENCE s MINVALUE 1 RESTART WITH 5",), (0, 1), (0, 1)),
    "temporary objects": (
        ("CREATE TABLE a ()", "CREATE TEMP TABLE b ()", "INSERT INTO b DEFAULT VALUES"),
        (1, 2),
        (1,),
    ),
}


@pytest.mark.parametrize("name", SAME)
def test_candidates_between_which_nothing_happened_are_one(name: str) -> None:
    """Only what can leave no trace, or repeats without one, is ever left to the likelier end."""
    statements, candidates, expected = SAME[name]
    script = script_of(*statements)
    made = ["a" if "CREATE TABLE a" in s else None for s in statements]
    assert by_equivalence(candidates, script, replay(*made).effects, drifted=False) == expected


INDEX, KEY = FactKey("index", "public.i", "public.a"), FactKey("constraint", "k", "public.a")
CAME_AND_WENT: dict[str, tuple[str, dict[FactKey, str | None], bool]] = {
    "an index": ("DROP INDEX i", {INDEX: None}, True),
    "a key": ("ALTER TABLE a DROP CONSTRAINT k", {KEY: None}, True),
    "row security": ("ALTER TABLE a NO FORCE ROW LEVEL SECURITY", {table("a"): "TABLE x"}, True),
    "a table": ("DROP TABLE a", {table("a"): None}, False),
    "a column": ("ALTER TABLE a DROP COLUMN b", {FactKey("column", "b", "public.a"): None}, False),
    "a key, and rows": (
        "ALTER TABLE a DROP CONSTRAINT k, ALTER b TYPE text USING upper(b)", {KEY: None}, False,
    ),
    "in a block": ("DO $$ BEGIN EXECUTE 'DROP INDEX i'; END $$", {INDEX: None}, False),
}  # fmt: skip


@pytest.mark.parametrize("name", CAME_AND_WENT)
def test_what_holds_no_rows_may_go_and_come_again(name: str) -> None:
    """It is the same one afterwards; a table or a column is empty."""
    gone, change, one = CAME_AND_WENT[name]
    base = {INDEX: "INDEX", KEY: "KEY", table("a"): "TABLE"}
    base[FactKey("column", "b", "public.a")] = "text"
    back = {key: base[key] for key in change}
    script = script_of(gone, "CREATE INDEX i ON a (b)", "CREATE TABLE c ()")
    effects = replay(change, back, "c", base=base).effects
    expected = (0,) if one else (0, 2)
    assert by_equivalence((0, 2), script, effects, drifted=False) == expected


def test_a_statement_that_changed_facts_separates() -> None:
    """States that come back (create, drop, create) stay apart."""
    script = script_of("CREATE TABLE a ()", "DROP TABLE a", "CREATE TABLE a ()")
    effects = replay("a", {table("a"): None}, "a").effects
    assert by_equivalence((0, 2), script, effects, drifted=False) == (0, 2)
    assert by_equivalence((1, 3), script, effects, drifted=False) == (1, 3)
