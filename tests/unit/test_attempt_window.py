"""When an attempt can have written rows: ages in transactions, greater is older."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from sidecar.attempt_window import (
    FAR,
    bare_columns,
    dropped_by,
    drops_within,
    window,
    with_drops,
    written_by,
)
from sidecar.model import Change, Drops, Effect, FactKey, LedgerRow, Marks, Window
from tests.unit.builders import OTHER, ledger_row, native_log, table

T, U = table("t"), table("u")
A, B = FactKey("column", "a", "public.t"), FactKey("column", "b", "public.t")
KEY = FactKey("constraint", "t_pkey", "public.t")
CHECK = FactKey("constraint", "t_check", "public.t")
INDEX = FactKey("index", "public.i", "public.t")
ENUM = FactKey("type", "public.e", "")
VIEW = FactKey("view", "public.v", "")
FUNCTION = FactKey("function", "public.f()", "")

KILLED = ledger_row(id="mine")
ERROR = ledger_row(id="mine", logs=native_log("57014"))
BEFORE = ledger_row(id="before", name=OTHER, finished=True)
LEDGER = {"before": 100, "mine": 50}
AFTER_AN_ERROR = {"before": 100, "mine": 10}


def makes(*keys: FactKey) -> Effect:
    """An effect that brings these facts into being."""
    return tuple(Change(key, None, "made") for key in keys)


def alters(*keys: FactKey) -> Effect:
    """An effect that changes these facts."""
    return tuple(Change(key, "before", "after") for key in keys)


def drops(*keys: FactKey) -> Effect:
    """An effect that ends these facts."""
    return tuple(Change(key, "before", None) for key in keys)


def seen(  # noqa: PLR0913 (one for each thing that it looks at)
    row: LedgerRow,
    *effects: Effect,
    ages: dict[FactKey, int] | None = None,
    ledger: dict[str, int] | None = None,
    key: int | None = 1000,
    wrapped: bool = False,
    rows: tuple[LedgerRow, ...] = (),
    candidates: tuple[int, ...] = (),
    history: int | None = None,
) -> Any:
    """The window for the statements after these effects; by default one data statement."""
    counts = candidates or (len(effects), len(effects) + 1)
    default = LEDGER if row.logs is None else AFTER_AN_ERROR
    marks = Marks(
        "7", default if ledger is None else ledger, key, ages or {}, 2**32 + 7 if wrapped else 7
    )
    marks = replace(marks, history=history)
    return window(row, (BEFORE, *rows, row), marks, [*effects, (), ()], counts)


def opened(at: int, *, sharp: bool = True) -> Window:
    """The window of a killed attempt, which is still open."""
    return Window("7", at, -FAR, sharp=sharp, bounded=False)


def closed(at: int, *, sharp: bool = True, bounded: bool = True) -> Window:
    """The window of an attempt whose error was logged 10 transactions ago."""
    return Window("7", at, 10, sharp=sharp, bounded=bounded)


def test_after_a_kill_it_opens_with_the_failed_row() -> None:
    """That row was inserted before the first statement, and nobody has written it since."""
    assert seen(KILLED) == opened(50)


def test_after_an_error_it_closes_there_and_opens_vaguely() -> None:
    """The row of the migration before may be weeks older than the attempt."""
    assert seen(ERROR) == closed(100, sharp=False)
    assert seen(ERROR, ledger={"mine": 10}) == closed(FAR, sharp=False)


@pytest.mark.parametrize("row", [KILLED, ERROR])
def test_the_last_visible_effect_opens_it(row: LedgerRow) -> None:
    """Its catalog rows are of the transaction right before the open statements."""
    made = seen(row, makes(T, A), makes(INDEX), ages={T: 40, A: 40, INDEX: 30})
    assert made == (opened(30) if row is KILLED else closed(30))


def test_what_later_statements_write_too_does_not_date_an_earlier_one() -> None:
    """A column that the open range alters may have been written by it."""
    effects = (makes(T), makes(A), (), alters(A))
    ages = {T: 40, A: 20}
    assert seen(KILLED, *effects, ages=ages, candidates=(2, 4)) == opened(40, sharp=False)


@pytest.mark.parametrize(
    "effect",
    [alters(T), alters(ENUM), alters(VIEW), alters(INDEX)],
    ids=["row security", "a new label", "an option", "a parameter"],
)
def test_rows_that_the_statement_did_not_write_do_not_open_it(effect: Effect) -> None:
    """They may be as old as the table: all that was written since would be in the window."""
    ages = {T: 90, U: 90, A: 90, ENUM: 90, VIEW: 90, INDEX: 90}
    assert seen(ERROR, effect, ages=ages) == closed(100, sharp=False)
    assert seen(KILLED, effect, ages=ages) == opened(50, sharp=False)


def test_a_table_under_another_name_is_dated_by_itself_alone() -> None:
    """The rows of its columns are as old as they were."""
    renamed = (*drops(T, A), *makes(U, A._replace(on="public.u")))
    ages = {U: 30, A._replace(on="public.u"): 90}
    assert seen(ERROR, renamed, ages=ages) == closed(30)


def test_what_cannot_be_dated_leaves_the_one_before_it_blunt() -> None:
    """Between them another data statement may have written the same rows."""
    ages = {A: 30, T: 90}
    assert seen(ERROR, makes(A), alters(T), ages=ages) == closed(30, sharp=False)


def test_what_an_earlier_attempt_made_does_not_open_it() -> None:
    """CREATE TABLE IF NOT EXISTS found it there: older than the row of that attempt."""
    earlier = ledger_row(id="earlier", rolled_back=True)
    ledger = {"before": 300, "earlier": 100, "mine": 10}
    found = seen(ERROR, makes(T), ages={T: 200}, ledger=ledger, rows=(earlier,))
    assert found == closed(100, sharp=False)
    ages = {A: 30, T: 200}
    found = seen(ERROR, makes(A), makes(T), ages=ages, ledger=ledger, rows=(earlier,))
    assert found == closed(30, sharp=False)


NO_USE: dict[str, tuple[LedgerRow, dict[str, Any], str]] = {
    "the row is gone": (KILLED, {"ledger": {}}, "the failed row is gone"),
    "two failed attempts": (
        KILLED,
        {"rows": (ledger_row(id="earlier"),), "ledger": {"earlier": 60, "mine": 50}},
        "it was attempted more than once",
    ),
    "restored by COPY": (
        KILLED,
        {"ledger": {"before": 50, "mine": 50}},
        "the ledger was restored: its rows are of one transaction",
    ),
    "restored row by row": (
        KILLED,
        {"key": 5},
        "the ledger was restored: its key is younger than its rows",
    ),
    "made before the attempt": (
        KILLED,
        {"effects": (makes(T),), "ages": {T: 60}},
        "objects that it made are older than its row in the ledger",
    ),
    "made after the error": (
        ERROR,
        {"effects": (makes(T),), "ages": {T: 5}},
        "objects that it made are younger than its error in the ledger",
    ),
}


@pytest.mark.parametrize("case", NO_USE)
def test_where_ids_are_no_use_it_says_why(case: str) -> None:
    """A restored dump, a contradiction: then nothing may rest on transaction ids."""
    row, given, why = NO_USE[case]
    effects = given.pop("effects", ()) if "effects" in (given := dict(given)) else ()
    assert seen(row, *effects, **given) == why


def test_a_ledger_without_a_key_can_still_be_dated() -> None:
    """Some were made by hand."""
    assert seen(KILLED, key=None) == opened(50)


def test_a_column_that_is_added_bare() -> None:
    """Without a default, and not computed: no row of its table is ever filled in for it."""
    plain, given, computed = (FactKey("column", name, "public.t") for name in "abc")
    made = {plain: "text NOT NULL", given: "text DEFAULT 'a'", computed: "text GENERATED ALWAYS"}
    added = tuple(Change(key, None, text) for key, text in made.items())
    altered = (Change(FactKey("column", "d", "public.t"), "text", "text NOT NULL"),)
    assert bare_columns([added, altered]) == {plain}


def test_once_ids_have_wrapped_around_it_is_never_sharp() -> None:
    """A frozen row of long ago may then look young."""
    assert seen(KILLED, makes(T), ages={T: 40}, wrapped=True) == opened(40, sharp=False)
    assert seen(ERROR, makes(T), ages={T: 40}, wrapped=True) == closed(40, sharp=False)


@pytest.mark.parametrize("code", ["40P01", "40001", "55P03"])
def test_where_somebody_else_won_the_rows_may_be_theirs(code: str) -> None:
    """A deadlock, a lock that was waited for: the same rows were written at that time."""
    row = ledger_row(id="mine", logs=native_log(code))
    assert seen(row, makes(T), ages={T: 40}) == closed(40, bounded=False)


WRITTEN: dict[str, tuple[Effect, set[FactKey]]] = {
    "made": (makes(T, A, B, KEY, INDEX), {T, A, B, KEY, INDEX}),
    "altered": (alters(A), {A}),
    "altered, with its constraint": ((*alters(A), *makes(KEY, INDEX)), {A, KEY, INDEX}),
    "replaced": (alters(FUNCTION), {FUNCTION}),
    "a column renamed": ((*drops(A), *makes(B), *alters(CHECK)), {B}),
    "an index renamed": ((*drops(INDEX), *makes(INDEX._replace(identity="public.j"))), set()),
    "a type renamed": (
        (*drops(ENUM), *makes(ENUM._replace(identity="public.f")), *alters(A)),
        {ENUM._replace(identity="public.f")},
    ),
    "a table renamed": ((*drops(T, A), *makes(U, A._replace(on="public.u"))), {U}),
    "a label renamed": (alters(ENUM, A), set()),
    "row security": (alters(T), set()),
    "dropped": (drops(A, KEY), set()),
    "nothing": ((), set()),
}


@pytest.mark.parametrize("case", WRITTEN)
def test_which_catalog_rows_a_statement_has_surely_written(case: str) -> None:
    """A fact can change with the catalog row of another."""
    effect, expected = WRITTEN[case]
    assert written_by(effect) == expected


def test_a_ledger_that_was_written_late_dates_nothing() -> None:
    """What this migration made is older than the row of the one before it."""
    ledger = {"before": 100, "mine": 10}
    assert "older than the migration before" in seen(ERROR, makes(T), ages={T: 200}, ledger=ledger)
    assert seen(ERROR, makes(T), ages={T: 90}, ledger=ledger) == closed(90)


def test_a_ledger_younger_than_all_that_it_tells_of_dates_nothing() -> None:
    """Its rows came one after the other, with no migration's work between them."""
    first, second = (ledger_row(id=i, name=OTHER, steps=1, finished=True) for i in ("a", "b"))
    for gap in (1, 3):
        ledger = {"a": 100 + gap, "b": 100, "mine": 10}
        late = seen(ERROR, (), ledger=ledger, rows=(first, second), history=300)
        assert "written after all" in late
        assert seen(ERROR, (), ledger=ledger, rows=(first, second), history=100) == closed(
            100, sharp=False
        )


def test_only_the_first_migration_may_have_made_what_has_a_date() -> None:
    """Indexes and rows have none; the ledger is no less true for that."""
    first, second = (ledger_row(id=i, name=OTHER, steps=1, finished=True) for i in ("a", "b"))
    ledger = {"a": 104, "b": 100, "mine": 10}
    assert seen(ERROR, (), ledger=ledger, rows=(first, second), history=300) == closed(
        100, sharp=False
    )
    alone = {"a": 200, "mine": 10}
    assert seen(ERROR, (), ledger=alone, rows=(first,), history=300) == closed(200, sharp=False)


# --- columns that are gone -------------------------------------------------------

TABLE = T.identity
GONE = FactKey("dropped column", "a", TABLE)


def dropping(
    *ages: int, row: LedgerRow = KILLED, table: int = 900, rows: tuple[LedgerRow, ...] = ()
) -> Marks:
    """The marks, completed, where columns of a table were dropped so long ago."""
    ledger = LEDGER if row.logs is None else AFTER_AN_ERROR
    marks = Marks("7", ledger, 1000, {}, 7, dropped={TABLE: Drops(table, frozenset(ages))})
    return with_drops(row, (BEFORE, *rows, row), marks, [drops(A)])


@pytest.mark.parametrize("row", [KILLED, ERROR])
def test_a_column_that_is_gone_dates_its_drop(row: LedgerRow) -> None:
    """What is left of it in the catalog was written by the drop, and by nothing since."""
    marks = dropping(30, 2000, row=row)
    assert marks.facts == {GONE: 30}
    opening = window(row, (BEFORE, row), marks, [drops(A), (), ()], (1, 2))
    assert opening == (opened(30) if row is KILLED else closed(30))


def test_a_column_of_that_name_again_has_an_age_of_its_own() -> None:
    """It does not date the drop, nor the drop it."""
    marks = replace(dropping(30), facts={A: 20, GONE: 30})
    opening = window(KILLED, (BEFORE, KILLED), marks, [drops(A), makes(B), (), ()], (1, 3))
    assert opening == opened(30)


@pytest.mark.parametrize(
    "marks",
    [
        dropping(),
        dropping(60),
        dropping(30, 20),
        dropping(30, 5, row=ERROR),
        dropping(30, table=40),
        dropping(30, rows=(ledger_row(id="earlier", rolled_back=True),)),
    ],
    ids=["none", "before it", "two", "one by hand", "a copied table", "a second attempt"],
)
def test_a_drop_that_may_be_another_one_dates_nothing(marks: Marks) -> None:
    """No name leads from what is left to the column that it was."""
    assert marks.facts == {}


def test_all_drops_since_the_attempt_began_are_told() -> None:
    """After an error those by hand too, which may have removed what the script had added."""
    assert drops_within(KILLED, dropping(49, 51, 3)) == {TABLE: {49, 3}}
    assert drops_within(ERROR, dropping(99, 101, 3, row=ERROR)) == {TABLE: {99, 3}}
    assert drops_within(KILLED, dropping(30, table=40)) == {}


@pytest.mark.parametrize(
    ("effect", "gone"),
    [
        (drops(A), {GONE}),
        (drops(A, KEY), {GONE}),
        (drops(A) + makes(B), set()),
        (drops(A, T), set()),
        (alters(A), set()),
    ],
    ids=["a column", "with its constraint", "renamed", "with its table", "altered"],
)
def test_what_a_statement_drops(effect: Effect, gone: set[FactKey]) -> None:
    """A column that got another name is still there, and one of a dropped table left nothing."""
    assert dropped_by(effect) == gone
