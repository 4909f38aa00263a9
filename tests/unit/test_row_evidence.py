"""What the rows say of statements that the catalog leaves open: proofs, and worlds beside them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from sidecar.attempt_window import FAR
from sidecar.error_log import LoggedError
from sidecar.model import Effect, FactKey, Facts, Nature, Replay, Seen, Window
from sidecar.new_columns import start_values
from sidecar.row_evidence import insert_keys, narrow
from sidecar.row_proofs import Question, RowEvidence
from tests.unit.builders import Made, replay, script_of, state_after, table

OLD: Facts = {
    table("t"): "TABLE",
    table("u"): "TABLE",
    FactKey("column", "id", "public.t"): "integer NOT NULL",
    FactKey("constraint", "t_pkey", "public.t"): "PRIMARY KEY (id)",
}
COLUMN = FactKey("column", "c", "public.t")
TRIGGER = FactKey("trigger", "g", "public.t")
BEFORE_EACH = "CREATE TRIGGER g BEFORE UPDATE ON public.t FOR EACH ROW EXECUTE FUNCTION f()"
AFTER_EACH = BEFORE_EACH.replace("BEFORE", "AFTER")

SHARP = Window("9", oldest=40, youngest=10, sharp=True)
BLUNT = replace(SHARP, sharp=False)
KILLED = Window("9", oldest=40, youngest=-FAR, sharp=True, bounded=False)
LOST = replace(SHARP, bounded=False)

COUNT = "UPDATE t SET a = a + 1"
LINE = "INSERT INTO t (a) VALUES (1), (2)"
ADD = "ALTER TABLE t ADD COLUMN c INTEGER"


def question(
    *statements: str | tuple[str, Made], live: Facts | None = None, low: int = -1
) -> Question:
    """The open statements are the data statements at the end, or all after the first `low`.

    A statement may come with the facts that it makes. `live` is added to those of now.
    """
    texts = [s if isinstance(s, str) else s[0] for s in statements]
    made: list[Made] = [None if isinstance(s, str) else s[1] for s in statements]
    script = script_of(*texts)
    if low < 0:
        low = max((s.index for s in script.statements if s.nature is not Nature.DATA), default=0)
    replayed = replay(*made, base=OLD)
    candidates = tuple(k for k in script.boundaries if k >= low)
    now = state_after(replayed, len(texts)) | dict(live or {})
    return Question(candidates, script, replayed.effects, OLD, now)


def left(
    asked: Question,
    *seen: Seen,
    window: Window | None = SHARP,
    ages: dict[FactKey, int] | None = None,
) -> tuple[int, ...]:
    """The candidates that remain, where this was seen of the open statements."""
    low = asked.candidates[0]
    found = dict(enumerate(seen, start=low + 1))
    keys = insert_keys(asked.script.statements, asked.live)
    remain, said = narrow(asked, RowEvidence(window, "", found, ages or {}, keys))
    proven = any(not evidence.against for evidence in said)
    assert proven == (remain != asked.candidates), "nothing is dropped without a word"
    return remain


# --- it did not run --------------------------------------------------------------


def test_rows_older_than_the_attempt_were_not_written_by_it() -> None:
    """The statement would have written them, and nothing has."""
    assert left(question(COUNT), Seen(picked=4, pending=4, older=4, fresh=0)) == (0,)


NOT_PROVEN: dict[str, tuple[Question, Seen]] = {
    "few of them": (question(COUNT), Seen(picked=4, pending=4, older=1, fresh=3)),
    "not counted": (question(COUNT), Seen(picked=4, pending=4, older=None, fresh=4)),
    "picked by the clock": (
        question(COUNT + " WHERE b < now()"), Seen(picked=4, pending=4, older=4, fresh=4),
    ),
    "picked by another table": (
        question(COUNT + " FROM u WHERE u.id = t.id"), Seen(picked=4, pending=4, older=4, fresh=4),
    ),
    "a trigger may have kept them": (
        question(COUNT, live={TRIGGER: BEFORE_EACH}), Seen(picked=4, pending=4, older=4, fresh=4),
    ),
    "a rule may have turned it aside": (
        question(LINE, live={FactKey("rule", "r", "public.t"): "CREATE RULE r"}),
        Seen(picked=2, fresh=0),
    ),
    "a trigger may have sent them elsewhere": (
        question(LINE, live={TRIGGER: BEFORE_EACH.replace("UPDATE", "INSERT")}),
        Seen(picked=2, fresh=0),
    ),
    "a foreign table has no ids": (
        question(COUNT, live={table("t"): "FOREIGN TABLE SERVER s"}),
        Seen(picked=4, pending=4, older=4, fresh=4),
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", NOT_PROVEN)
def test_where_they_may_be_old_although_it_ran_it_stays_open(case: str) -> None:
    """A transaction begun before, another choice of rows, a trigger that skips some."""
    asked, seen = NOT_PROVEN[case]
    assert left(asked, seen) == (0, 1)


def test_a_trigger_that_comes_after_keeps_no_row_as_it_was() -> None:
    """It sees the rows once they are written."""
    asked = question(COUNT, live={TRIGGER: AFTER_EACH})
    assert left(asked, Seen(picked=4, pending=4, older=4, fresh=0)) == (0,)


def test_an_insert_of_which_no_row_is_there_did_not_run() -> None:
    """No row of its table is as young as the attempt."""
    assert left(question(LINE), Seen(picked=2, fresh=0)) == (0,)
    assert left(question(LINE), Seen(picked=2, fresh=1)) == (0, 1)
    assert left(question(LINE), Seen(picked=None, fresh=0), window=None) == (0, 1)


# --- none of them ran ------------------------------------------------------------

ANYTHING = "DO $$ BEGIN EXECUTE 'DELETE FROM ' || 't'; END $$"


def test_where_nothing_was_committed_since_none_of_them_ran() -> None:
    """Each of them would have taken a transaction id, whatever it does."""
    asked = question(ANYTHING, COUNT, low=0)
    assert narrow(asked, RowEvidence(SHARP, quiet=True))[0] == (0,)
    assert narrow(asked, RowEvidence(SHARP, quiet=False))[0] == (0, 1, 2)


OTHER = FactKey("column", "d", "public.t")
MORE = ("ALTER TABLE t ADD COLUMN d INTEGER", {OTHER: "integer"})
ONE, TWO = {COLUMN: 40, OTHER: 40}, {COLUMN: 50, OTHER: 40}
TOGETHER: dict[str, tuple[tuple[str | tuple[str, Made], ...], dict[FactKey, int], int, bool]] = {
    "one message perhaps": (((ADD, {COLUMN: "integer"}), COUNT), ONE, 2, False),
    "one message surely": (((ADD, {COLUMN: "integer"}), MORE, COUNT), ONE, 3, False),
    "each by itself": (((ADD, {COLUMN: "integer"}), MORE, COUNT), TWO, 3, True),
    "short of the end": (
        ((ADD, {COLUMN: "integer"}), COUNT, ("CREATE TABLE n ()", "n")), ONE, 2, True,
    ),
    "short of an end without effect": (
        ((ADD, {COLUMN: "integer"}), COUNT, "DROP TABLE IF EXISTS x"), ONE, 2, False,
    ),
    "after a block": (("BEGIN", (ADD, {COLUMN: "integer"}), "COMMIT", COUNT), ONE, 4, True),
    "after a block, and more": (
        ("BEGIN", "COMMIT", (ADD, {COLUMN: "integer"}), MORE, COUNT), TWO, 5, False,
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", TOGETHER)
def test_what_shares_the_transaction_of_the_last_effect_leaves_no_id(case: str) -> None:
    """A script that is sent as one message commits once, with all that it did."""
    statements, ages, last, apart = TOGETHER[case]
    made = question(*statements)
    now = state_after(Replay(OLD, made.effects, comparable=True), last)
    asked = replace(made, candidates=(last - 1, last), live=now)
    remain = narrow(asked, RowEvidence(SHARP, ages=ages, quiet=True))[0]
    assert remain == ((last - 1,) if apart else (last - 1, last))


def test_a_sequence_may_move_without_a_transaction_id() -> None:
    """Only some of its steps are logged."""
    asked = question("SELECT nextval('s')", low=0)
    assert narrow(asked, RowEvidence(SHARP, quiet=True))[0] == (0, 1)


# --- it ran ----------------------------------------------------------------------


def test_rows_just_as_it_gives_them_are_its_own() -> None:
    """One transaction of the attempt wrote them, and nothing else."""
    assert left(question(LINE), Seen(picked=2, fresh=2, matched=20)) == (1,)
    assert left(question(LINE), Seen(picked=2, fresh=2, matched=20), window=BLUNT) == (0, 1)


@pytest.mark.parametrize("window", [SHARP, KILLED, LOST, BLUNT])
def test_one_row_may_be_anybodys(window: Window) -> None:
    """Somebody may have inserted the same one by hand."""
    one = question("INSERT INTO t (a) VALUES (1)")
    seen = Seen(picked=1, fresh=1, matched=20)
    assert left(one, seen, window=window) == (0, 1)


REWRITES: dict[str, tuple[tuple[str, Made], bool]] = {
    "a type": (("ALTER TABLE t ALTER id TYPE bigint", {
        FactKey("column", "id", "public.t"): "bigint NOT NULL"}), False),
    "a computed default": (
        ("ALTER TABLE t ADD c uuid DEFAULT gen_random_uuid()",
         {COLUMN: "uuid DEFAULT gen_random_uuid()"}), False),
    "a column": ((ADD, {COLUMN: "integer"}), True),
    "another table": (
        ("ALTER TABLE u ADD c int", {FactKey("column", "c", "public.u"): "int"}), True,
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", REWRITES)
def test_rows_of_the_opening_transaction_may_have_been_written_anew(case: str) -> None:
    """A table that it rewrote has all rows from then; in one message it may be the insert's."""
    altered, known = REWRITES[case]
    asked = question(altered, LINE)
    assert left(asked, Seen(picked=2, fresh=2, matched=40)) == ((2,) if known else (1, 2))
    assert left(asked, Seen(picked=2, fresh=2, matched=39)) == (2,)


MADE = ("CREATE TABLE n (a INTEGER)", "n")


def test_rows_in_a_table_that_nobody_else_knows() -> None:
    """The migration made it, and no other statement writes to it."""
    asked = question(MADE, "INSERT INTO n SELECT a FROM t")
    assert left(asked, Seen(picked=2, fresh=2)) == (2,)
    assert left(asked, Seen(picked=2, fresh=0, stirred=0)) == (1,)


def test_rows_in_such_a_table_need_no_sharp_window() -> None:
    """Whatever came between, an index or a key: only an insert before it would matter."""
    made = "INSERT INTO n (a) VALUES (1), (2)"
    index = "CREATE INDEX ON n (a)"
    found = Seen(picked=2, fresh=2, matched=20)
    assert left(question(MADE, index, made), found, window=BLUNT) == (3,)
    assert left(question(MADE, made, index, made), found, window=BLUNT) == (3, 4)
    assert left(question(MADE, index, FILL), Seen(picked=2, fresh=2), window=BLUNT) == (3,)


def test_several_that_left_nothing_did_not_run() -> None:
    """However much they would disturb each other."""
    both = question(MADE, "INSERT INTO n SELECT a FROM t", "UPDATE n SET a = a + 1 WHERE a > 0")
    none = Seen(picked=2, fresh=0, stirred=1)
    assert left(both, none, none) == (1,)
    assert left(both, none, replace(none, fresh=1)) == (1, 2, 3)


def test_an_empty_table_does_not_show_that_rows_were_there_to_copy() -> None:
    """A later statement may have made them ones that are picked: then both of them ran."""
    later = "UPDATE t SET a = a + 1 WHERE a > 0"
    asked = question(MADE, "INSERT INTO n SELECT a FROM t WHERE a > 9", later)
    found, busy = Seen(picked=2, fresh=0, stirred=2), Seen(picked=2, pending=2, fresh=2)
    assert left(asked, found, busy) == (1, 2, 3)
    assert left(asked, replace(found, stirred=0), busy) == (1,)


FILL = "INSERT INTO n SELECT a FROM t"
SHARED: dict[str, tuple[str | tuple[str, Made], ...]] = {
    "filled when made": (("CREATE TABLE n AS SELECT a FROM t", "n"), FILL),
    "written twice": (MADE, FILL, "UPDATE n SET a = 1"),
    "written by anybody's function": (MADE, FILL, "SELECT fill()"),
    "a trigger": (MADE, ("COMMENT ON TABLE n IS 'watched'", {TRIGGER: AFTER_EACH}), FILL),
    "only renamed": (("ALTER TABLE u RENAME TO t", {table("t"): "TABLE (a)"}), LINE),
}


@pytest.mark.parametrize("case", SHARED)
def test_rows_that_something_else_may_have_written(case: str) -> None:
    """They are not the insert's for sure."""
    asked = question(*SHARED[case])
    busy = Seen(picked=2, fresh=2)
    assert left(asked, *[busy] * (len(asked.candidates) - 1)) == asked.candidates


def test_rows_that_one_transaction_wrote_together_are_of_the_update() -> None:
    """In a table that the migration made: all that it picks, and nothing older."""
    asked = question(MADE, "UPDATE n SET a = a + 1")
    assert left(asked, Seen(picked=4, pending=4, older=0, writers=1, fresh=4)) == (2,)


NOT_ITS_OWN: dict[str, tuple[Question, Seen, Window]] = {
    "one row": (question(COUNT), Seen(picked=1, pending=1, older=0, writers=1, fresh=1), SHARP),
    "two writers": (question(COUNT), Seen(picked=4, pending=4, older=0, writers=2, fresh=4), SHARP),
    "written since": (
        question(COUNT), Seen(picked=4, pending=4, older=0, writers=None, fresh=4), SHARP,
    ),
    "still open": (question(COUNT), Seen(picked=4, pending=4, older=0, writers=1, fresh=4), KILLED),
    "lost to a rival": (
        question(COUNT), Seen(picked=4, pending=4, older=0, writers=1, fresh=4), LOST,
    ),
    "opens somewhere": (
        question(COUNT), Seen(picked=4, pending=4, older=0, writers=1, fresh=4), BLUNT,
    ),
    "picked by what it sets": (
        question("UPDATE t SET a = a + 1 WHERE a < 9"),
        Seen(picked=4, pending=4, older=0, writers=1, fresh=4), SHARP,
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", NOT_ITS_OWN)
def test_rows_that_somebody_else_may_have_written_together(case: str) -> None:
    """Then it may not have run, and running it twice would be wrong as well."""
    asked, seen, window = NOT_ITS_OWN[case]
    assert left(asked, seen, window=window) == (0, 1)


@pytest.mark.parametrize(
    ("first", "live"),
    [
        ("UPDATE t SET b = b + 1", {}),
        ("DELETE FROM u WHERE a = random()", {}),
        ("SELECT my_function()", {}),
        ("UPDATE u SET a = a + 1", {FactKey("trigger", "g", "public.u"): AFTER_EACH}),
        ("UPDATE u SET id = id + 1", {
            FactKey("constraint", "f", "public.t"):
            "FOREIGN KEY (u) REFERENCES public.u(id) ON UPDATE CASCADE"}),
    ],
    ids=["the same table", "rows that go", "a function", "a trigger", "keys passed on"],
)  # fmt: skip
def test_an_open_statement_before_may_have_written_the_same_rows(first: str, live: Facts) -> None:
    """One transaction wrote them all, and it may have been that one's."""
    asked = question(first, COUNT, live=live)
    both = Seen(picked=4, pending=4, older=0, writers=1, fresh=4)
    assert left(asked, replace(both, writers=None), both) == (0, 1, 2)


# --- the catalog's own rows ------------------------------------------------------

DANCE: tuple[str | tuple[str, Made], ...] = (
    ("ALTER TABLE t ALTER id DROP NOT NULL", {FactKey("column", "id", "public.t"): "integer"}),
    COUNT,
    (
        "ALTER TABLE t ALTER id SET NOT NULL",
        {FactKey("column", "id", "public.t"): "integer NOT NULL"},
    ),
)
ID = FactKey("column", "id", "public.t")


def _dance() -> Question:
    """The facts before the first statement and after the last are the same."""
    return replace(question(*DANCE, low=0), candidates=(0, 3))


@pytest.mark.parametrize(
    ("age", "window", "expected"),
    [
        (60, SHARP, (0,)),
        (30, SHARP, (3,)),
        (30, KILLED, (3,)),
        (40, SHARP, (0, 3)),
        (30, BLUNT, (0, 3)),
    ],
)
def test_a_column_that_was_altered_and_put_back(
    age: int, window: Window, expected: tuple[int, ...]
) -> None:
    """Its catalog row tells whether anybody has touched it since the attempt began."""
    busy = Seen(picked=4, pending=4, older=None, fresh=4)
    assert left(_dance(), Seen(), busy, window=window, ages={ID: age}) == expected


def test_row_security_switched_off_and_on_is_not_in_the_row_of_its_type() -> None:
    """The catalog row behind a table's fact is as old as the table."""
    switched: tuple[str | tuple[str, Made], ...] = (
        ("ALTER TABLE t ENABLE ROW LEVEL SECURITY", {table("t"): "TABLE ROW LEVEL SECURITY"}),
        COUNT,
        ("ALTER TABLE t DISABLE ROW LEVEL SECURITY", {table("t"): "TABLE"}),
    )
    asked = replace(question(*switched, low=0), candidates=(0, 3))
    busy = Seen(picked=4, pending=4, older=None, fresh=4)
    assert left(asked, Seen(), busy, ages={table("t"): 900}) == (0, 3)


def test_a_column_that_an_earlier_statement_wrote_proves_no_later_one() -> None:
    """It is young, but by the statement before the open ones."""
    asked = replace(question(DANCE[2], *DANCE, low=1), candidates=(1, 4))
    busy = Seen(picked=4, pending=4, older=None, fresh=4)
    effects: tuple[Effect, ...] = (asked.effects[1], *asked.effects[1:])
    asked = replace(asked, effects=effects)
    assert left(asked, Seen(), busy, ages={ID: 30}) == (1, 4)


def test_a_contradiction_proves_nothing() -> None:
    """A line that was inserted and taken away since, then lines that can be seen."""
    asked = question("INSERT INTO u (a) VALUES (1)", LINE)
    ran = Seen(picked=2, fresh=2, matched=20)
    assert left(asked, Seen(picked=1, fresh=1), ran) == (2,)
    assert left(asked, Seen(picked=1, fresh=0), ran) == (0, 1, 2)


# --- it does not matter ----------------------------------------------------------

VACUOUS: dict[str, tuple[str, Seen]] = {
    "no row": (COUNT, Seen(picked=0, pending=0)),
    "no other value": ("UPDATE t SET a = b", Seen(picked=4, pending=0)),
    "nothing to remove": ("DELETE FROM t WHERE a = 1", Seen(picked=0, pending=0)),
    "there by its key": (
        "INSERT INTO t (id, a) VALUES (1, 2) ON CONFLICT (id) DO NOTHING",
        Seen(picked=1, pending=0, same=0),
    ),
    "there, just so": ("INSERT INTO t (id, a) VALUES (1, 2)", Seen(picked=1, pending=0, same=1)),
}


@pytest.mark.parametrize("case", VACUOUS)
def test_what_would_change_nothing_now_is_stepped_over(case: str) -> None:
    """To have run it and not to have run it are the same, transaction ids or not."""
    sql, seen = VACUOUS[case]
    assert left(question(sql), seen, window=None) == (1,)


def test_a_row_that_refused_the_insert_is_not_its_own() -> None:
    """The logs have a duplicate key: to step over the INSERT could hide that it never ran."""
    asked, seen = question("INSERT INTO t (id, a) VALUES (1, 2)"), Seen(1, 0, same=1, fresh=1)
    assert left(asked, seen, window=None) == (1,)
    for error in (LoggedError("23505", "duplicate"), LoggedError("", "Unique constraint failed")):
        assert left(replace(asked, error=error), seen, window=None) == (0, 1)
    two = replace(question("INSERT INTO t (id, a) VALUES (1, 2), (2, 2)"), error=error)
    together = Seen(2, 0, same=2, fresh=2, matched=30)
    assert left(two, together, window=BLUNT) == (1,)


NOT_VACUOUS: dict[str, tuple[str, Seen, Facts, Window | None]] = {
    "values anew each time": (
        "UPDATE t SET a = random() WHERE b = 1", Seen(picked=4, pending=0), {}, None,
    ),
    "a trigger that counts": (
        "UPDATE t SET a = a", Seen(picked=4, pending=0), {TRIGGER: BEFORE_EACH}, None,
    ),
    "a view": ("UPDATE v SET a = a", Seen(picked=4, pending=0),
               {FactKey("view", "public.v", ""): "AS SELECT"}, None),
    "there, but other": (
        "INSERT INTO t (id, a) VALUES (1, 2)", Seen(picked=1, pending=0, same=0), {}, None,
    ),
    "there long before": (  # it would have failed with 23505, and will again
        "INSERT INTO t (id, a) VALUES (1, 2)",
        Seen(picked=1, pending=0, same=1, fresh=0), {}, SHARP,
    ),
    "there long before, with others since": (
        "INSERT INTO t (id, a) VALUES (1, 2)",
        Seen(picked=1, pending=0, same=1, older=1, fresh=1), {}, replace(SHARP, sharp=False),
    ),
    "there, and to be changed": (
        "INSERT INTO t (id, a) VALUES (1, 2) ON CONFLICT (id) DO UPDATE SET a = t.a + 1",
        Seen(picked=1, pending=0, same=1), {}, None,
    ),
    "not counted": (COUNT, Seen(), {}, None),
}  # fmt: skip


@pytest.mark.parametrize("case", NOT_VACUOUS)
def test_what_may_change_something_is_not_stepped_over(case: str) -> None:
    """Though no row would differ, or though the rows are there."""
    sql, seen, live, window = NOT_VACUOUS[case]
    assert left(question(sql, live=live), seen, window=window) != (1,)


# --- it may be run again ---------------------------------------------------------

AGAIN: dict[str, tuple[str, Seen, Window | None]] = {
    "a constant": ("UPDATE t SET a = 1", Seen(picked=4, pending=4, stirred=0), None),
    "unless there": (
        "INSERT INTO t (id, a) VALUES (1, 2), (2, 3) ON CONFLICT (id) DO NOTHING",
        Seen(picked=2, pending=1, same=1, stirred=0), None,
    ),
    "unless there, by any key": (
        "INSERT INTO t (id, a) VALUES (1, 2), (2, 3) ON CONFLICT DO NOTHING",
        Seen(picked=2, pending=1, same=1, stirred=0), None,
    ),
    "not there": (
        "INSERT INTO t (id, a) VALUES (1, 2)", Seen(picked=1, pending=1, same=0, stirred=0), None,
    ),
    "nothing written": (COUNT, Seen(picked=4, pending=4, fresh=0, stirred=0), SHARP),
}  # fmt: skip


@pytest.mark.parametrize("case", AGAIN)
def test_what_is_harmless_is_run_again(case: str) -> None:
    """Whether it ran or not."""
    sql, seen, window = AGAIN[case]
    assert left(question(sql), seen, window=window) == (0,)


NOT_AGAIN: dict[str, tuple[str, Seen, Facts]] = {
    "a counter": (COUNT, Seen(picked=4, pending=4, fresh=4, stirred=0), {}),
    "NULL in its key": (
        "INSERT INTO t (id) VALUES (NULL) ON CONFLICT (id) DO NOTHING",
        Seen(picked=1, stirred=0), {},
    ),
    "no key": (
        "INSERT INTO u (a) VALUES (1) ON CONFLICT DO NOTHING", Seen(picked=1, stirred=0), {},
    ),
    "a trigger that logs": (
        "UPDATE t SET a = 1", Seen(picked=4, pending=4, stirred=0), {TRIGGER: AFTER_EACH},
    ),
    "some there": (
        "INSERT INTO t (id) VALUES (1), (2)", Seen(picked=2, pending=1, same=1, stirred=0), {},
    ),
    "rows that others wrote since": (
        "UPDATE t SET a = 1", Seen(picked=4, pending=1, overtaken=1), {},
    ),
    "rows that came since": (
        "DELETE FROM t WHERE a = 1", Seen(picked=1, pending=1, overtaken=1), {},
    ),
    "rows since it was emptied": ("TRUNCATE t", Seen(picked=1, pending=1, overtaken=1), {}),
    "a counter in use": ("SELECT setval('q', 5)", Seen(), {}),
    "a view": ("UPDATE v SET a = 1", Seen(picked=4, pending=4, stirred=0),
               {FactKey("view", "public.v", ""): "AS SELECT"}),
    "no table that is known": ("UPDATE other SET a = 1", Seen(picked=4, pending=4, stirred=0), {}),
}  # fmt: skip


@pytest.mark.parametrize("case", NOT_AGAIN)
def test_what_is_not_harmless_stays_open(case: str) -> None:
    """Run again it may do something more."""
    sql, seen, live = NOT_AGAIN[case]
    assert left(question(sql, live=live), seen) == (0, 1)


PRIVATE: dict[str, tuple[str, bool]] = {
    "chance": ("UPDATE t SET c = random()", True),
    "chance, where still empty": ("UPDATE t SET c = random() WHERE c IS NULL", True),
    "an old column too": ("UPDATE t SET c = 1, a = random()", False),
    "its own value": ("UPDATE t SET c = c + random()", False),
    "its own value in the whole row": ("UPDATE t SET c = length(t::text)", False),
    "rows of chance": ("UPDATE t SET c = 1 WHERE random() < 0.5", False),
}


@pytest.mark.parametrize("case", PRIVATE)
def test_a_column_that_nobody_has_seen_may_get_other_values(case: str) -> None:
    """The migration made it; but what depends on its value, or adds up, may not be repeated."""
    sql, again = PRIVATE[case]
    asked = question((ADD, {COLUMN: "integer"}), sql)
    busy = Seen(picked=4, pending=4, fresh=4, stirred=0)
    assert left(asked, busy) == ((1,) if again else (1, 2))


NAME = FactKey("column", "n", "public.t")
DOMAIN = {FactKey("type", "public.five", ""): "DOMAIN integer DEFAULT 5"}
FILLED: dict[str, tuple[tuple[str, Made], str, Facts, bool]] = {
    "new": ((ADD, {COLUMN: "integer"}), "c = a + c", {}, True),
    "with a default": ((ADD, {COLUMN: "integer NOT NULL DEFAULT 1"}), "c = a + c", {}, True),
    "with another default each time": (
        (ADD, {COLUMN: "integer DEFAULT nextval('s'::regclass)"}), "c = a + c", {}, False,
    ),
    "counted": ((ADD, {COLUMN: "integer GENERATED ALWAYS AS IDENTITY"}), "c = a + c", {}, False),
    "with its domain's default": ((ADD, {COLUMN: "public.five"}), "c = a + c", DOMAIN, False),
    "beside an old one": ((ADD, {COLUMN: "integer"}), "c = a, a = a + 1", {}, False),
    "renamed": (
        ("ALTER TABLE t RENAME a TO n", {FactKey("column", "id", "public.t"): None, NAME: "text"}),
        "n = n || 1", {}, False,
    ),
    "of a renamed table": (
        ("ALTER TABLE x RENAME TO t", {table("u"): None, COLUMN: "integer"}),
        "c = c + 1", {}, False,
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", FILLED)
def test_a_new_column_that_has_values_was_filled(case: str) -> None:
    """All rows had the same one from the start, and nothing but this statement sets it."""
    altered, targets, live, known = FILLED[case]
    asked = question(altered, f"UPDATE t SET {targets}", live=live)
    assert left(asked, Seen(picked=4, pending=4, filled=4), window=None) == (
        (2,) if known else (1, 2)
    )


def test_a_block_that_sets_only_new_columns_is_known_by_them() -> None:
    """However it goes about it: a block that adds rows, or sets an old column, is not."""
    added = (ADD, {COLUMN: "integer"})
    for body, known in {
        "FOR i IN 1..9 LOOP UPDATE t SET c = i WHERE id = i; END LOOP": True,
        "UPDATE t SET c = 1, a = 2": False,
        "UPDATE t SET c = 1; INSERT INTO t (c) VALUES (2)": False,
        "UPDATE t SET c = 1; UPDATE u SET a = 2": False,
        "EXECUTE 'UPDATE t SET c = 1'": False,
    }.items():
        asked = question(added, f"DO $$ BEGIN {body}; END $$")
        assert left(asked, Seen(filled=4), window=None) == ((2,) if known else (1, 2)), body


FILL_NEW = "UPDATE t SET c = a WHERE b > 0"
UNSET = Seen(picked=4, pending=4, older=1, fresh=3, overtaken=3, filled=0)
EMPTY: dict[str, tuple[str, str, Seen, bool]] = {
    "one row is older": ("integer", FILL_NEW, UNSET, True),
    "all have the default": ("integer NOT NULL DEFAULT 0", FILL_NEW, UNSET, True),
    "none is older": ("integer", FILL_NEW, replace(UNSET, older=0), False),
    "a default that differs": ("uuid DEFAULT gen_random_uuid()", FILL_NEW, UNSET, False),
    "picked by the clock": ("integer", "UPDATE t SET c = a WHERE b < now()", UNSET, False),
    "picked by another table": ("integer", f"{FILL_NEW} AND id IN (TABLE u)", UNSET, False),
    "beside an old column": ("integer", "UPDATE t SET c = a, a = 7 WHERE b > 0", UNSET, False),
    "not counted": ("integer", FILL_NEW, replace(UNSET, filled=None), False),
}


@pytest.mark.parametrize("case", EMPTY)
def test_a_new_column_that_nothing_has_set_was_not_filled(case: str) -> None:
    """A row that is older than the attempt would have been filled; the others were written since.

    They may be the application's, which knows nothing of the column.
    """
    column, sql, seen, known = EMPTY[case]
    asked = question((ADD, {COLUMN: column}), "UPDATE t SET a = 1 WHERE b > 1", sql, low=2)
    assert left(asked, seen) == ((2,) if known else (2, 3))


@pytest.mark.parametrize("known", [True, False])
def test_a_block_before_it_may_have_filled_it_too(known: bool) -> None:
    """Not so one that is seen to set other columns of the table, and no more."""
    before = f"DO $$ BEGIN UPDATE t SET {'b' if known else 'c'} = 1; END $$"
    asked = question((ADD, {COLUMN: "integer"}), before, FILL_NEW, low=2)
    assert left(asked, UNSET) == ((2,) if known else (2, 3))


def test_a_new_column_may_have_been_emptied_again() -> None:
    """By a statement that may have run as well."""
    asked = question(
        (ADD, {COLUMN: "integer"}), "UPDATE t SET a = 1", FILL_NEW, "UPDATE t SET c = NULL", low=2
    )
    one = replace(UNSET, older=0, left=4)
    for seen in (UNSET, one):
        assert left(asked, seen, replace(seen, older=0, left=None)) == (2, 3, 4)


ONE_WRITER = replace(UNSET, older=0, left=4, stirred=0)
FROM_ELSEWHERE = {
    "a value": ("integer", "(SELECT u.a FROM u WHERE u.id = t.id)", True),
    "an expression": ("integer", "(SELECT u.a + t.a FROM u WHERE u.id = t.id)", True),
    "a sum": ("integer", "(SELECT sum(u.a) FROM u WHERE u.id = t.id)", True),
    "with a default": ("integer DEFAULT 0", "(SELECT u.a FROM u WHERE u.id = t.id)", False),
    "a number made NULL": ("integer", "(SELECT nullif(count(*), 2) FROM u)", False),
    "for want of it": ("integer", "CASE WHEN (SELECT u.a FROM u) IS NULL THEN 1 END", False),
    "without another": (
        "integer", "(SELECT u.a FROM u WHERE NOT EXISTS (SELECT FROM u AS v WHERE v.a > u.a))",
        False,
    ),
    "the last one": ("integer", "(SELECT u.a FROM u ORDER BY u.b DESC LIMIT 1)", False),
    "each one once": ("integer", "(SELECT DISTINCT u.a FROM u)", False),
    "of groups": ("integer", "(SELECT max(u.a) FROM u GROUP BY u.b HAVING count(*) < 2)", False),
}  # fmt: skip


@pytest.mark.parametrize("case", FROM_ELSEWHERE)
def test_a_new_column_that_rows_elsewhere_would_have_filled_was_not(case: str) -> None:
    """They are as old as the attempt; that more of them have gone since would not explain it."""
    column, value, known = FROM_ELSEWHERE[case]
    before = question((ADD, {COLUMN: column}), "UPDATE t SET a = 1", f"UPDATE t SET c = {value}")
    asked = replace(before, candidates=(2, 3))
    assert left(asked, ONE_WRITER) == ((2,) if known else (2, 3))
    assert left(asked, replace(ONE_WRITER, stirred=1)) == (2, 3)
    assert left(asked, ONE_WRITER, window=KILLED) == (2, 3)  # the writer may be anybody


def test_rows_that_went_do_not_empty_a_column() -> None:
    """What a DELETE leaves of them is as it was."""
    drop = "DELETE FROM t WHERE c IS NULL"
    asked = question((ADD, {COLUMN: "integer"}), "UPDATE t SET a = 1", FILL_NEW, drop, low=2)
    gone = Seen(picked=4, pending=4, older=0, writers=1, fresh=4)
    assert left(asked, replace(UNSET, older=0, left=4), gone) == (2,)


LEFT = Seen(picked=2, pending=2, older=0, fresh=4, overtaken=2, left=2)
AS_LEFT: dict[str, tuple[tuple[str, ...], Seen, tuple[Window, ...]]] = {
    "rows to be removed": (("DELETE FROM t WHERE c IS NULL",), LEFT, (SHARP, KILLED)),
    "by an old column": (("DELETE FROM t WHERE a IS NULL",), LEFT, (SHARP,)),
    "by both": (("DELETE FROM t WHERE c = a",), LEFT, (SHARP,)),
    "rows to be counted on": (("UPDATE t SET c = c + 9 WHERE c < 0",), LEFT, ()),
    "none left": (("DELETE FROM t WHERE c IS NULL",), replace(LEFT, left=0), ()),
    "by the clock": (("DELETE FROM t WHERE c < extract(epoch FROM now())",), LEFT, ()),
    "by other rows": (("DELETE FROM t WHERE c IN (SELECT u.id FROM u)",), LEFT, ()),
    "emptied afterwards": (
        ("DELETE FROM t WHERE c IS NULL", "UPDATE t SET c = NULL WHERE a = 1"), LEFT, (),
    ),
    "other columns afterwards": (
        ("DELETE FROM t WHERE c IS NULL", "UPDATE t SET a = 1"), LEFT, (SHARP, KILLED),
    ),
    "anything afterwards": (("DELETE FROM t WHERE c IS NULL", "SELECT fill()"), LEFT, ()),
}  # fmt: skip


@pytest.mark.parametrize("window", [SHARP, KILLED, LOST], ids=["error", "kill", "lost"])
@pytest.mark.parametrize("case", AS_LEFT)
def test_rows_as_the_statement_before_left_them_were_not_touched_since(
    case: str, window: Window
) -> None:
    """The one before wrote all of them at once, and nobody else can have after it.

    After a kill somebody may; then only columns count that nobody else knows.
    """
    sqls, seen, known = AS_LEFT[case]
    asked = question((ADD, {COLUMN: "integer"}), *sqls, low=1)
    others = [Seen(picked=4, pending=4, older=0, fresh=4)] * (len(sqls) - 1)
    found = dict(enumerate([seen, *others], start=2))
    proven = any(window is each or (not window.bounded and each is KILLED) for each in known)
    assert (narrow(asked, RowEvidence(window, "", found))[0] == (1,)) == proven


@pytest.mark.parametrize(
    ("sql", "known"),
    [
        ("ALTER TABLE t DROP COLUMN id, ADD COLUMN c INTEGER", True),
        ("ALTER TABLE t RENAME COLUMN id TO c", False),
        ("DO $$ BEGIN ALTER TABLE t RENAME COLUMN id TO c; END $$", False),
    ],
)
def test_a_column_that_comes_with_another_gone_is_new_unless_it_is_renamed(
    sql: str, *, known: bool
) -> None:
    """Facts of a rename look alike; only the statement tells."""
    swapped = {FactKey("column", "id", "public.t"): None, COLUMN: "integer"}
    asked = question((sql, swapped), "UPDATE t SET c = 1", low=1)
    assert left(asked, Seen(picked=4, pending=4, overtaken=4, filled=4)) == (
        (2,) if known else (1, 2)
    )


STARTS = {
    "integer": "NULL",
    "text NOT NULL": "NULL",
    "boolean NOT NULL DEFAULT false": "false",
    "numeric(10,2) DEFAULT -1.50": "-1.50",
    "text DEFAULT 'a ''b'::text": "'a ''b'::text",
    'public."Mode" NOT NULL DEFAULT \'x y\'::public."Mode"': "'x y'::public.\"Mode\"",
    "text[] NOT NULL DEFAULT '{}'::text[]": "'{}'::text[]",
    "text[] DEFAULT ARRAY[]::text[]": "ARRAY[]::text[]",
    "timestamp(3) without time zone DEFAULT CURRENT_TIMESTAMP": "",
    "text DEFAULT lower('A'::text)": "",
    "integer DEFAULT (1 + 1)": "",
    "text DEFAULT ('a'::text || 'b'::text)": "",
    "timestamp with time zone DEFAULT ('now'::text)::timestamp with time zone": "",
    "integer GENERATED ALWAYS AS (a + 1) STORED": "",
    "integer GENERATED BY DEFAULT AS IDENTITY (SEQUENCE NAME s)": "",
    "public.five": "",
}


@pytest.mark.parametrize("definition", STARTS)
def test_what_a_column_holds_until_it_is_set(definition: str) -> None:
    """One value for all rows, as SQL; a domain may have a default of its own."""
    facts = {COLUMN: definition, **DOMAIN}
    wanted = {1: {"c": STARTS[definition]} if STARTS[definition] else {}}
    assert start_values(script_of("UPDATE t SET c = 1").statements, facts) == wanted


# --- one statement, several tables ------------------------------------------------

ONE_EACH = "DELETE FROM t WHERE id NOT IN (SELECT min(id) FROM t GROUP BY a)"
MOVED = "WITH x AS (DELETE FROM t WHERE a = 1 RETURNING id) INSERT INTO u SELECT id FROM x"
MADE_TOO = (
    "WITH x AS (INSERT INTO t (id, a) VALUES (1, 2) RETURNING id) INSERT INTO u SELECT id FROM x"
)
MADE_ALL = "WITH x AS (INSERT INTO t (id) VALUES (1) RETURNING id) UPDATE u SET b = x.id FROM x"
SET_TOO = "WITH x AS (UPDATE t SET a = 1 RETURNING id) UPDATE u SET b = 1 FROM x WHERE x.id = u.id"
AFTER_ALL = "CREATE TRIGGER g AFTER INSERT ON public.u FOR EACH STATEMENT EXECUTE FUNCTION f()"

TOGETHER_TOLD: dict[str, tuple[str, Seen, Facts, tuple[int, ...]]] = {
    "all but one, and all rows are older": (
        ONE_EACH, Seen(picked=2, pending=2, older=2, stirred=0, new=0, fresh=0), {}, (0,),
    ),
    "all but one, and a row came since": (
        ONE_EACH, Seen(picked=2, pending=2, older=2, stirred=1, new=0, overtaken=1), {}, (0, 1),
    ),
    "all but one, told apart by no key": (
        ONE_EACH, Seen(picked=2, pending=2, older=2, stirred=0, new=0, overtaken=0),
        {FactKey("constraint", "t_pkey", "public.t"): "UNIQUE (id)"}, (0, 1),
    ),
    "rows to move are older": (MOVED, Seen(picked=2, pending=2, older=2, fresh=4), {}, (0,)),
    "no row to move": (MOVED, Seen(picked=0, pending=0, older=0, fresh=4), {}, (1,)),
    "no row to move, which a trigger sees": (
        MOVED, Seen(picked=0, pending=0, older=0, fresh=4),
        {FactKey("trigger", "g", "public.u"): AFTER_ALL}, (0, 1),
    ),
    "rows to move that nobody wrote since": (
        MOVED, Seen(picked=2, pending=2, older=0, fresh=4, stirred=0, overtaken=0), {}, (0,),
    ),
    "the same, where each is logged": (
        MOVED, Seen(picked=2, pending=2, older=0, fresh=4, stirred=0, overtaken=0),
        {FactKey("trigger", "g", "public.u"): AFTER_EACH}, (0, 1),
    ),
    "rows to move that came since": (
        MOVED, Seen(picked=2, pending=2, older=0, fresh=4, stirred=0, overtaken=2), {}, (0, 1),
    ),
    "a row that is made has gone, what came of it has not": (
        MADE_TOO, Seen(picked=1, pending=1, same=0, fresh=1, stirred=0), {}, (0, 1),
    ),
    "a row that is made was there, and others were written": (
        MADE_TOO, Seen(picked=1, pending=0, same=1, older=0, fresh=3, stirred=0), {}, (0, 1),
    ),
    "a row that is made, as one transaction left it": (
        MADE_TOO, Seen(picked=1, pending=0, same=1, fresh=2, matched=30), {}, (1,),
    ),
    "nothing made, nothing set": (MADE_TOO, Seen(picked=1, pending=1, fresh=0), {}, (0,)),
    "rows that would all be set are older": (
        MADE_ALL, Seen(picked=3, pending=3, older=3, fresh=2), {}, (0,),
    ),
    "no row to set, and one to make": (
        MADE_ALL, Seen(picked=0, pending=0, older=0, fresh=2, stirred=0), {}, (0, 1),
    ),
    "rows that would be set as they are, and others too": (
        SET_TOO, Seen(picked=3, pending=3, older=0, fresh=5, stirred=0, overtaken=3), {}, (0, 1),
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", TOGETHER_TOLD)
def test_what_is_certain_of_a_part_is_certain_of_all(case: str) -> None:
    """And nothing more: not that all is done, nor that all may be done again."""
    sql, seen, live, expected = TOGETHER_TOLD[case]
    assert left(question(sql, live=live), seen, window=KILLED) == expected


def test_rows_of_two_new_tables_are_not_counted_as_those_of_one() -> None:
    """As many rows as the first would have may be in the second."""
    both = "WITH x AS (INSERT INTO n (a) VALUES (1), (2) RETURNING a) INSERT INTO u SELECT a FROM x"
    alone = "INSERT INTO n (a) VALUES (1), (2)"
    seen = Seen(picked=2, fresh=2, stirred=0)
    assert left(question(MADE, alone), seen) == (2,)
    assert left(question(MADE, both), seen) == (1, 2)


# --- the keys by which rows are looked up ----------------------------------------

KEYS: dict[str, tuple[str, str, tuple[str, ...] | None]] = {
    "primary": ("PRIMARY KEY (id)", "INSERT INTO t (id, a) VALUES (1, 2)", ('"id"',)),
    "unique": ("UNIQUE (a, b)", "INSERT INTO t (b, a) VALUES (1, 2)", ('"a"', '"b"')),
    "quoted": ('UNIQUE ("x y")', 'INSERT INTO t ("x y") VALUES (1)', ('"x y"',)),
    "not given": ("PRIMARY KEY (id)", "INSERT INTO t (a) VALUES (2)", None),
    "given anew each time": (
        "PRIMARY KEY (id)", "INSERT INTO t (id) VALUES (gen_random_uuid())", None,
    ),
    "another one named": (
        "PRIMARY KEY (id)",
        "INSERT INTO t (id, a) VALUES (1, 2) ON CONFLICT (a) DO NOTHING", None,
    ),
    "a check": ("CHECK (a > 0)", "INSERT INTO t (a) VALUES (1)", None),
}  # fmt: skip


@pytest.mark.parametrize("case", KEYS)
def test_the_keys_of_an_insert(case: str) -> None:
    """Unique columns that it gives the same each time, and the ones it names if it does."""
    definition, sql, expected = KEYS[case]
    facts = {FactKey("constraint", "k", "public.t"): definition}
    assert insert_keys(script_of(sql).statements, facts).get(1) == expected


@pytest.mark.parametrize(
    "definition",
    [
        "CREATE UNIQUE INDEX i ON public.t USING btree (a) WHERE (b IS NULL)",
        "CREATE UNIQUE INDEX i ON public.t USING btree (lower(a))",
        "CREATE UNIQUE INDEX i ON public.t USING btree (a) INVALID",
        "CREATE UNIQUE INDEX i ON public.t USING btree (a) INCLUDE (b)",
        "CREATE INDEX i ON public.t USING btree (a)",
    ],
)
def test_an_index_that_does_not_keep_its_columns_unique_is_no_key(definition: str) -> None:
    """Partial, of an expression, or invalid."""
    facts = {FactKey("index", "public.i", "public.t"): definition}
    assert insert_keys(script_of("INSERT INTO t (a) VALUES (1)").statements, facts) == {}
