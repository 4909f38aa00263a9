"""From facts to a finding: what happened, and never a guess."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.diagnose import (
    Case,
    diagnose,
    running,
    script_missing,
    undetermined,
    without_shadow,
)
from sidecar.model import (
    Evidence,
    FactKey,
    Facts,
    Finding,
    FindingName,
    LedgerRow,
    Nature,
    Replay,
    Script,
)
from sidecar.touched import touched_states
from tests.unit.builders import (
    NAME,
    Made,
    adapter_log,
    case,
    facts,
    ledger_row,
    made_by,
    native_log,
    replay,
    script_of,
    state_after,
    table,
)

THREE = ("CREATE TABLE t1 ()", "CREATE TABLE t2 ()", "CREATE TABLE t3 ()")
DATA_LAST = ("CREATE TABLE t1 ()", "INSERT INTO u VALUES (1)")
DATA_MIDDLE = ("CREATE TABLE t1 ()", "UPDATE u SET a = a + 1", "CREATE TABLE t3 ()")
DATA_FIRST = ("UPDATE u SET a = a + 1", "CREATE TABLE t2 ()", "CREATE TABLE t3 ()")
BLOCK = ("BEGIN", "UPDATE u SET a = 1", "CREATE TABLE t3 ()", "COMMIT", "CREATE TABLE t5 ()")
REFUSED = native_log("23505")
EXISTED = native_log("42P07")


@dataclass(frozen=True)
class Told:
    """A script that stopped after `after` statements, and what must be found."""

    statements: tuple[str, ...]
    after: int
    finding: str
    applied: int | None = None
    logs: str | None = None
    steps: int = 0
    edited: bool = False
    live: Facts | None = None
    candidates: tuple[int, ...] = ()
    made: tuple[Made, ...] | None = None
    comparable: bool = True
    problem: str = ""

    def case(self) -> Case:
        """All that is known of it."""
        script = script_of(*self.statements)
        made = made_by(script) if self.made is None else self.made
        replayed = replay(*made, comparable=self.comparable, problem=self.problem)
        row = ledger_row(logs=self.logs, steps=self.steps)
        return case(script, replayed, after=self.after, live=self.live, row=row, edited=self.edited)


AGAIN: tuple[Made, ...] = ("a", {table("a"): None}, "a")
MADE_AGAIN = ("CREATE TABLE a ()", "DROP TABLE a", "CREATE TABLE a ()")

TOLD = {
    # the facts alone
    "nothing": Told(THREE, 0, "nothing-applied", 0),
    "one": Told(THREE, 1, "partly-applied", 1),
    "two": Told(THREE, 2, "partly-applied", 2),
    "all": Told(THREE, 3, "fully-applied", 3),
    "drift elsewhere": Told(THREE, 1, "partly-applied", 1, live=facts("t1", "drifted")),
    "another definition": Told(THREE, 1, "diverged", live=facts(t1="TABLE OF x")),
    "out of order": Told(THREE, 1, "diverged", live=facts("t2")),
    "another major version": Told(
        THREE, 1, "undetermined", live=facts(t1="TABLE OF x"), comparable=False
    ),
    "another major version that agrees": Told(THREE, 1, "partly-applied", 1, comparable=False),
    "replay stopped": Told(THREE, 1, "undetermined", problem="statement 2 fails on the shadow"),
    # scripts that do nothing
    "empty script": Told((), 0, "fully-applied", 0),
    "empty script, error": Told((), 0, "fully-applied", 0, logs=REFUSED),
    "no effect": Told(("SELECT 1", "SET a.b = 'c'"), 0, "fully-applied", 2),
    "no effect, error": Told(("SELECT 1", "SELECT 1/0"), 0, "nothing-applied", 0, logs=REFUSED),
    # states that come back
    "made again, absent": Told(MADE_AGAIN, 0, "undetermined", candidates=(0, 2), made=AGAIN),
    "made again, there": Told(MADE_AGAIN, 1, "undetermined", candidates=(1, 3), made=AGAIN),
    "made again, there, error": Told(MADE_AGAIN, 1, "partly-applied", 1, logs=REFUSED, made=AGAIN),
    "made again, counted": Told(MADE_AGAIN, 3, "fully-applied", 3, steps=1, made=AGAIN),
    # data statements
    "data last, killed": Told(DATA_LAST, 1, "undetermined", candidates=(1, 2)),
    "data last, refused": Told(DATA_LAST, 1, "partly-applied", 1, logs=REFUSED),
    "data last, counted": Told(DATA_LAST, 2, "fully-applied", 2, steps=1),
    "data last, line lost": Told(
        DATA_LAST, 1, "undetermined", candidates=(1, 2), logs=native_log("57P01")
    ),
    "data middle, killed": Told(DATA_MIDDLE, 1, "undetermined", candidates=(1, 2)),
    "data middle, refused": Told(DATA_MIDDLE, 1, "undetermined", candidates=(1, 2), logs=REFUSED),
    "data middle, passed": Told(DATA_MIDDLE, 3, "fully-applied", 3),
    "data first, killed": Told(DATA_FIRST, 0, "undetermined", candidates=(0, 1)),
    "data first, passed": Told(DATA_FIRST, 2, "partly-applied", 2),
    "data, every effect, yet an error": Told(
        DATA_MIDDLE, 3, "undetermined", candidates=(3,), logs=REFUSED
    ),
    "every effect, yet an error": Told(THREE, 3, "fully-applied", 3, logs=EXISTED),
    "data in a block": Told(BLOCK, 4, "partly-applied", 4),
    "data in a block, rolled back": Told(BLOCK, 0, "nothing-applied", 0),
    # who made what is there
    "an object was there, data before it": Told(
        DATA_FIRST, 2, "undetermined", candidates=(2,), logs=EXISTED
    ),
    "an object was there, adapter": Told(
        DATA_FIRST,
        2,
        "undetermined",
        candidates=(2,),
        logs=adapter_log('Error querying the database: ERROR: relation "t2" already exists'),
    ),
    "an object was there, no data": Told(THREE, 1, "partly-applied", 1, logs=EXISTED),
    # the ledger against the catalog
    "counted, yet not there": Told(THREE, 1, "undetermined", candidates=(1,), steps=1),
    # a file that was edited after the failure
    "edited": Told(THREE, 1, "partly-applied", 1, edited=True),
    "edited, more is there": Told(
        THREE, 0, "undetermined", edited=True, live=facts("t1", "of_the_old_text")
    ),
    "edited, with data": Told(DATA_LAST, 1, "undetermined", edited=True, logs=REFUSED),
    "edited, data before what is there": Told(DATA_FIRST, 2, "undetermined", edited=True),
    "edited, counted, with data": Told(DATA_LAST, 2, "undetermined", edited=True, steps=1),
}


@pytest.mark.parametrize("name", TOLD)
def test_what_is_found(name: str) -> None:
    """The facts decide; where they cannot, the logs and the ledger; where those cannot, nobody."""
    told = TOLD[name]
    found = diagnose(told.case())
    assert (found.name, found.applied) == (told.finding, told.applied)
    assert found.candidates == told.candidates
    assert found.migration == NAME
    assert found.evidence or found.missing


def named(name: FindingName) -> Finding:
    """A finding of this name, made by the function that makes it."""
    match name:
        case FindingName.RUNNING:
            return running(ledger_row(), ("pid 1",))
        case FindingName.SCRIPT_MISSING:
            return script_missing(ledger_row(), "no folder")
        case _:
            told = next(told for told in TOLD.values() if told.finding == name)
            return diagnose(told.case())


@pytest.mark.parametrize("name", FindingName)
def test_every_finding_has_a_row(name: FindingName) -> None:
    """Each finding of the glossary is made by something, and says on what it rests."""
    found = named(name)
    assert found.name is name
    assert found.evidence or found.missing


def test_diverged_names_the_object_and_both_definitions() -> None:
    """The differences are those to the nearest prefix."""
    found = diagnose(TOLD["another definition"].case())
    (difference,) = found.differences
    assert (difference.key, difference.found) == (table("t1"), "TABLE OF x")
    assert difference.expected in {None, "TABLE"}


def test_undetermined_names_the_statements_in_question() -> None:
    """The open question is which statements ran: by number, line and kind."""
    (missing,) = diagnose(TOLD["data middle, killed"].case()).missing
    assert "2 (line 2, UPDATE)" in missing
    assert "CREATE TABLE" not in missing


def test_what_an_earlier_attempt_may_have_left_decides_for_no_data() -> None:
    """It does not show that this attempt came so far; without data statements that is all one."""
    data, none = TOLD["data first, passed"].case(), TOLD["one"].case()
    assert diagnose(replace(data, earlier=True)).name is FindingName.UNDETERMINED
    assert diagnose(replace(none, earlier=True)) == diagnose(none)


def test_of_an_edited_file_the_finding_says_so() -> None:
    """That the file is not the one that was run is part of the evidence."""
    found = diagnose(TOLD["edited"].case())
    assert [item.source for item in found.evidence] == ["catalog", "folder"]


@pytest.mark.parametrize(
    ("base", "live", "expected"),
    [
        ({"old": "TABLE"}, {"old": "TABLE"}, "nothing-applied"),
        ({"old": "TABLE"}, {"old": "TABLE OF x"}, "undetermined"),
        ({"old": "TABLE"}, {}, "undetermined"),
        ({}, {"new": "TABLE"}, "undetermined"),
    ],
)
def test_of_an_edited_file_nothing_may_be_left(
    base: dict[str, str], live: dict[str, str], expected: str
) -> None:
    """What the earlier text made, changed or dropped, and the new one does not know, is drift."""
    script = script_of(*THREE)
    replayed = replay(*made_by(script), base=facts(**base))
    found = diagnose(case(script, replayed, live=facts(**live), edited=True))
    assert found.name == expected


def test_of_an_edited_file_comments_and_privileges_do_not_count() -> None:
    """They are set on other occasions than migrations too."""
    script = script_of(*THREE)
    comment = FactKey("comment", "table", "public.old")
    privilege = FactKey("privilege", "app: SELECT", "table public.old")
    live = {comment: "ours", privilege: "granted"}
    found = diagnose(case(script, replay(*made_by(script)), live=live, edited=True))
    assert found.name is FindingName.NOTHING_APPLIED


# --- without a shadow ------------------------------------------------------------


@pytest.mark.parametrize(
    ("steps", "live", "expected"),
    [
        (0, facts("t1", "t2", "t3"), "undetermined"),
        (1, facts("t1", "t2", "t3"), "fully-applied"),
        (1, facts("t1", "t3"), "undetermined"),
        (1, {}, "undetermined"),
    ],
)
def test_without_a_shadow_only_the_ledger_speaks(steps: int, live: Facts, expected: str) -> None:
    """A counted step is proof if the relations are there by name; all else stays open."""
    row, script = ledger_row(steps=steps), script_of(*THREE)
    found = without_shadow(row, script, live, "no CREATEDB", edited=False)
    assert found.name == expected
    assert expected != "undetermined" or found.missing == ("no CREATEDB",)


def test_without_a_shadow_an_edited_file_proves_nothing() -> None:
    """The step that was counted is that of another text."""
    row, live = ledger_row(steps=1), facts("t1", "t2", "t3")
    found = without_shadow(row, script_of(*THREE), live, "no CREATEDB", edited=True)
    assert found.name is FindingName.UNDETERMINED


def test_what_was_seen_goes_with_an_undetermined_finding() -> None:
    """Evidence that was there is shown also where it did not suffice."""
    seen = (Evidence("catalog", "3 facts compared"),)
    found = undetermined(ledger_row(), "more", seen, (1, 2))
    assert (found.evidence, found.candidates, found.missing) == (seen, (1, 2), ("more",))


# --- laws ------------------------------------------------------------------------

KINDS = {
    "catalog": "CREATE TABLE IF NOT EXISTS x ()",
    "data": "UPDATE u SET a = a + 1",
    "session": "SET a.b = 'c'",
    "nothing": "SELECT 1",
}
NAMES = tuple(map(table, "abcd"))
DEFINITIONS = st.sampled_from(["TABLE", "TABLE OF x", None])
changes = st.dictionaries(st.sampled_from(NAMES), DEFINITIONS, max_size=2)
snapshots = st.dictionaries(st.sampled_from(NAMES), st.sampled_from(["TABLE", "TABLE OF x"]))
logs = st.sampled_from(
    [None, "", REFUSED, EXISTED, native_log("57P01"), adapter_log("No such table: x")]
)


@st.composite
def replays(draw: st.DrawFn) -> tuple[Script, Replay]:
    """A script of up to six statements of any nature, in blocks or not, with any effects."""
    statements: list[str] = []
    made: list[Made] = []
    for kind in draw(st.lists(st.sampled_from([*KINDS, "block"]), max_size=6)):
        inner = draw(st.lists(st.sampled_from([*KINDS]), max_size=3)) if kind == "block" else [kind]
        some = [draw(changes) if each in {"catalog", "data"} else None for each in inner]
        ends = ("BEGIN", "COMMIT") if kind == "block" else ()
        statements += [*ends[:1], *(KINDS[each] for each in inner), *ends[1:]]
        made += [*(None for _ in ends[:1]), *some, *(None for _ in ends[1:])]
    return script_of(*statements), replay(*made, base=draw(snapshots))


rows = st.builds(ledger_row, logs=logs, steps=st.sampled_from([0, 0, 0, 1]))
PREFIX = {FindingName.NOTHING_APPLIED, FindingName.PARTLY_APPLIED, FindingName.FULLY_APPLIED}


@given(
    replays(), snapshots, rows, st.booleans(), st.booleans(), st.sampled_from(["", "it stopped"])
)
def test_a_finding_is_made_whatever_is_seen(
    seen: tuple[Script, Replay],
    live: Facts,
    row: LedgerRow,
    edited: bool,
    alike: bool,
    problem: str,
) -> None:
    """`diagnose` never raises, and says what it rests on."""
    script, replayed = seen
    known = case(script, replace(replayed, comparable=alike, problem=problem), live=live)
    found = diagnose(replace(known, row=row, edited=edited))
    assert found.migration == NAME
    assert found.evidence or found.missing
    assert (found.name in PREFIX) == (found.applied is not None)


@given(
    st.lists(st.sampled_from(["catalog", "data"]), min_size=1, max_size=6), st.booleans(), st.data()
)
def test_where_all_states_differ_the_facts_tell_the_number(
    kinds: list[str], block: bool, data: st.DataObject
) -> None:
    """Stopped at k, with every state unlike the others: the finding is k."""
    ends = ("BEGIN", "COMMIT") if block else ()
    script = script_of(*ends[:1], *(KINDS[kind] for kind in kinds), *ends[1:])
    made = [f"t{number}" for number, _ in enumerate(kinds)]
    replayed = replay(*(None for _ in ends[:1]), *made, *(None for _ in ends[1:]))
    k = data.draw(st.sampled_from(script.boundaries))
    assert diagnose(case(script, replayed, after=k)).applied == k


@given(replays(), st.data(), st.booleans(), rows)
def test_a_fact_unlike_all_states_is_never_a_prefix(
    seen: tuple[Script, Replay], data: st.DataObject, alike: bool, row: LedgerRow
) -> None:
    """One touched fact that no prefix has: diverged, or undetermined between versions."""
    script, replayed = seen
    touched = sorted({change.key for effect in replayed.effects for change in effect})
    if not touched:
        return
    k = data.draw(st.integers(0, len(script.statements)))
    live = {**state_after(replayed, k), data.draw(st.sampled_from(touched)): "something else"}
    known = case(script, replace(replayed, comparable=alike), live=live)
    expected = FindingName.DIVERGED if alike else FindingName.UNDETERMINED
    assert diagnose(replace(known, row=row)).name is expected


@given(replays(), st.data(), rows)
def test_data_between_two_fitting_states_is_never_guessed(
    seen: tuple[Script, Replay], data: st.DataObject, row: LedgerRow
) -> None:
    """Where two numbers fit with a data statement between them, other evidence must speak."""
    script, replayed = seen
    live = state_after(replayed, data.draw(st.sampled_from(script.boundaries)))
    states = touched_states(replayed)
    restricted = {key: live.get(key) for key in states[0]}
    fits = [k for k in script.boundaries if states[k] == restricted]
    found = diagnose(replace(case(script, replayed, live=live), row=row))
    if found.applied is None:
        return
    apart = [k for k in fits if _data_between(script, found.applied, k)]
    spoke = {item.source for item in found.evidence} & {"logs", "ledger"}
    assert not apart or spoke


def _data_between(script: Script, one: int, other: int) -> bool:
    low, high = sorted((one, other))
    return any(s.nature is Nature.DATA for s in script.statements[low:high])


@given(replays(), st.data(), st.booleans())
def test_drift_elsewhere_leaves_the_more_to_do(
    seen: tuple[Script, Replay], data: st.DataObject, changed: bool
) -> None:
    """Facts which the migration does not touch change a finding in one thing alone.

    What did nothing on the shadow is run again, as it may do something here.
    """
    script, replayed = seen
    k = data.draw(st.sampled_from(script.boundaries))
    drift = {table("elsewhere"): "TABLE OF y" if changed else "TABLE"}
    live = state_after(replayed, k)
    here = diagnose(case(script, replayed, live=live))
    drifted = diagnose(case(script, replayed, live={**live, **drift}))
    if drifted.applied is None or here.applied is None:
        assert drifted.name is here.name
    else:
        again = range(drifted.applied, here.applied)
        assert drifted.applied <= here.applied
        assert not any(replayed.effects[n] for n in again)
