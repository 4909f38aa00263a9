"""What a rebuild takes back: what the migration created, nothing else, and no rows."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.model import Change, Effect, FactKey, Hazard, Step, StepKind
from sidecar.quarantine import QUARANTINE, ways_back
from sidecar.undo import created_tables, undo

T, U = "public.t", "public.u"
KEY_T, KEY_U = FactKey("table", T, ""), FactKey("table", U, "")
FOREIGN_KEY = "FOREIGN KEY (a) REFERENCES public.u(a) ON DELETE CASCADE"


def made(kind: str, identity: str, on: str = "", text: str = "x") -> Change:
    """A fact that came into being."""
    return Change(FactKey(kind, identity, on), None, text)


def undone(*effects: Effect, occupied: tuple[str, ...] = ()) -> list[str]:
    """The SQL that takes these effects back."""
    back = undo(effects, occupied=occupied, tag="tag")
    assert back.obstacles == ()
    return [step.sql for step in back.steps]


def obstacles(*effects: Effect) -> tuple[str, ...]:
    """Why these effects cannot be taken back; then there is no step at all."""
    back = undo(effects, occupied=(), tag="tag")
    assert bool(back.obstacles) != bool(back.steps)
    return back.obstacles


# --- what is dropped -------------------------------------------------------------

DROPS = [
    (made("event trigger", "e"), "DROP EVENT TRIGGER e"),
    (made("publication", "p"), "DROP PUBLICATION p"),
    (made("trigger", "g", T), f"DROP TRIGGER g ON {T}"),
    (made("policy", "p", T), f"DROP POLICY p ON {T}"),
    (made("rule", "r", T), f"DROP RULE r ON {T}"),
    (made("view", "public.v"), "DROP VIEW public.v"),
    (made("materialized view", "public.v"), "DROP MATERIALIZED VIEW public.v"),
    (made("constraint", "c", T), f"ALTER TABLE {T} DROP CONSTRAINT c"),
    (made("index", "public.i", T), "DROP INDEX IF EXISTS public.i"),
    (made("statistics", "public.s", T), "DROP STATISTICS public.s"),
    (made("column", '"Board"', T), f'ALTER TABLE {T} DROP COLUMN "Board"'),
    (made("table", 'momentum."T"'), 'DROP TABLE momentum."T"'),
    (made("sequence", "public.s"), "DROP SEQUENCE IF EXISTS public.s"),
    (made("function", "public.f(a integer)"), "DROP ROUTINE public.f(a integer)"),
    (made("procedure", "public.f()"), "DROP ROUTINE public.f()"),
    (made("aggregate", "public.f(integer)"), "DROP ROUTINE public.f(integer)"),
    (made("type", 'public."Kind"'), 'DROP TYPE public."Kind"'),
    (made("extension", "citext"), "DROP EXTENSION citext"),
    (made("schema", "momentum"), "DROP SCHEMA momentum"),
]


@pytest.mark.parametrize(("change", "sql"), DROPS, ids=[c.key.kind for c, _ in DROPS])
def test_what_was_created_is_dropped(change: Change, sql: str) -> None:
    """One DROP for each kind, by its full name."""
    assert undone((change,))[-1] == sql


def test_the_last_made_goes_first() -> None:
    """Dependents go before what they depend on, within a statement as between statements."""
    script = (
        (made("schema", "momentum"),),
        (made("type", "momentum.kind"),),
        (made("table", "momentum.t"), made("sequence", "momentum.s")),
        (made("view", "momentum.v"), made("function", "momentum.f()")),
    )
    drops = [sql for sql in undone(*script) if sql.startswith("DROP")]
    assert drops == [
        "DROP VIEW momentum.v",
        "DROP ROUTINE momentum.f()",
        "DROP TABLE momentum.t",
        "DROP SEQUENCE IF EXISTS momentum.s",
        "DROP TYPE momentum.kind",
        "DROP SCHEMA momentum",
    ]


def test_parts_go_with_their_whole() -> None:
    """A created table takes its columns, indexes and constraints along."""
    parts = (made("column", "a", T), made("index", "public.i", T), made("not-null", "n", T))
    assert undone((made("table", T), *parts))[-1] == f"DROP TABLE {T}"
    assert len(undone((made("table", T), *parts))) == 2


def test_what_came_and_went_leaves_nothing_to_do() -> None:
    """Only the net change counts."""
    came, went = made("table", T), Change(KEY_T, "x", None)
    assert undone((came,), (went,)) == []
    assert undone((came,), (went,), (came,))[-1] == f"DROP TABLE {T}"
    assert created_tables(((came,), (went,))) == ()
    assert created_tables(((came,), (made("table", U), made("view", "public.v")))) == (T, U)


@pytest.mark.parametrize("kind", ["comment", "privilege", "default privilege"])
def test_what_the_script_sets_again_is_left_as_it_is(kind: str) -> None:
    """Comments and privileges are the same after the second run."""
    assert undone((Change(FactKey(kind, "a", T), "x", "y"),)) == []
    assert undone((Change(FactKey(kind, "a", T), "x", None),)) == []


@pytest.mark.parametrize(
    ("change", "word"),
    [
        (Change(KEY_T, "TABLE", None), "removed"),
        (Change(KEY_T, "TABLE", "TABLE OF x"), "changed"),
        (Change(FactKey("column", "a", T), "integer", "bigint"), "changed"),
        (Change(FactKey("column", "a", T), "integer", None), "removed"),
        (Change(FactKey("column", "a", T), None, "integer DEFAULT 0"), "created with values"),
        (Change(FactKey("type", "public.e", ""), "ENUM ('a')", "ENUM ('a', 'b')"), "changed"),
        (made("cast", "(a AS b)"), "not supported"),
    ],
)
def test_what_cannot_be_put_back_is_named(change: Change, word: str) -> None:
    """Facts do not bring back what was altered or removed; then nothing is undone at all."""
    (obstacle,) = obstacles((change, made("table", U)))
    assert str(change.key) in obstacle
    assert word in obstacle


# --- rows ------------------------------------------------------------------------


@pytest.mark.parametrize("change", [made("table", T), made("column", "a", T)])
def test_what_may_hold_rows_must_be_empty(change: Change) -> None:
    """The table is locked first, then looked at, and only then the DROP comes."""
    lock, drop = undo(((change,),), occupied=(), tag="tag").steps
    assert lock.sql == f"LOCK TABLE {T} IN ACCESS EXCLUSIVE MODE"
    assert drop.must_be_empty.startswith(f"SELECT EXISTS (SELECT FROM {T}")
    assert drop.hazard is Hazard.DROPS


def moves(*effects: Effect, occupied: tuple[str, ...]) -> list[Step]:
    """The steps that move things aside."""
    steps = undo(effects, occupied=occupied, tag="tag").steps
    return [step for step in steps if step.kind is StepKind.QUARANTINE]


def new_names(steps: list[Step]) -> list[str]:
    """The names that the moved things get, unquoted."""
    found = [re.search(r'RENAME TO "((?:[^"]|"")*)"$', step.sql) for step in steps]
    return [name[1].replace('""', '"') for name in found if name]


def test_a_table_with_rows_is_moved_aside() -> None:
    """It keeps its rows, under a name of its own, and the plan says how they come back."""
    columns = (made("column", "a", T, "integer"), made("column", "kind", T, "public.kind"))
    effects = ((made("type", "public.kind"),), (made("table", T), *columns))
    steps = moves(*effects, occupied=(T,))
    assert steps[0].sql == f"CREATE SCHEMA IF NOT EXISTS {QUARANTINE}"
    renamed = [step.sql for step in steps if "RENAME TO" in step.sql]
    assert [sql.split(" RENAME")[0] for sql in renamed] == [
        f"ALTER TABLE {T}",
        "ALTER TYPE public.kind",
    ]
    (back,) = ways_back(steps)
    assert (
        f"INSERT INTO {T} (a, kind) SELECT a, kind::text::public.kind FROM ONLY {QUARANTINE}."
        in back
    )
    assert not any("DROP T" in sql for sql in undone(*effects, occupied=(T,)))


def test_rows_of_the_script_itself_come_again_by_themselves() -> None:
    """What is said of a table that it filled says so, before the SQL; of others nothing."""
    effect = (made("table", T), made("column", "a", T), made("table", U), made("column", "a", U))
    both = ways_back(undo((effect,), occupied=(T, U), tag="tag", filled=(U,)).steps)
    assert [text.partition("; bring them back with: ")[0] for text in both] == [
        f"keeps the rows of {T}",
        f"keeps the rows of {U}, of which the script puts its own in again: leave them out",
    ]


def test_rows_in_quarantine_bind_no_others() -> None:
    """Their foreign keys go, or a DELETE in a live table would wait for them."""
    effect = (made("table", T), made("constraint", "f", T, FOREIGN_KEY))
    assert undone(effect, occupied=(T,))[0] == f"ALTER TABLE {T} DROP CONSTRAINT f"


@pytest.mark.parametrize("occupied", [(), (T,)])
@pytest.mark.parametrize(
    ("made_last", "tie"),
    [
        (made("table", U), made("constraint", "f", T, FOREIGN_KEY)),
        (made("function", "public.f()"), made("trigger", "g", T)),
        (made("function", "public.f()"), made("policy", "p", T)),
    ],
)
def test_a_table_is_untied_from_what_came_after_it(
    made_last: Change, tie: Change, occupied: tuple[str, ...]
) -> None:
    """Or DROP without CASCADE would fail: the table is the older one, and goes last."""
    sql = undone((made("table", T),), (made_last,), (tie,), occupied=occupied)
    assert sql[0].endswith(("DROP CONSTRAINT f", f"g ON {T}", f"p ON {T}"))
    inherited = Change(tie.key, None, f"{FOREIGN_KEY} INHERITED")
    assert sql[0] not in undone((made("table", T),), (made_last,), (inherited,))


def test_what_goes_along_with_a_table_gets_names_of_its_own() -> None:
    """Or the next table that is put aside could not come in."""
    identity = (
        'integer NOT NULL GENERATED ALWAYS AS IDENTITY (SEQUENCE NAME public."a s" AS bigint)'
    )
    effect = (
        made("table", T),
        made("index", "public.i", T),
        made("sequence", "public.s", "", f"AS integer OWNED BY {T}.a"),
        made("sequence", "public.u", "", f"AS integer OWNED BY {U}.a"),
        made("column", "a", T, identity),
    )
    begin = {step.sql.rpartition("_")[0] for step in moves(effect, occupied=(T,))}
    assert {
        'ALTER INDEX public.i RENAME TO "i',
        'ALTER SEQUENCE public.s RENAME TO "s',
        'ALTER SEQUENCE public."a s" RENAME TO "a s',
    } < begin
    assert not any("public.u" in sql for sql in begin)


def test_a_table_without_rows_is_still_dropped() -> None:
    """Only what holds rows is kept."""
    sql = undone((made("table", T),), (made("table", U),), occupied=(T,))
    assert f"DROP TABLE {U}" in sql
    assert f"DROP TABLE {T}" not in sql


LONG = "ä" * 31  # 62 bytes


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("public.items", "shop.items"),
        (f'public."{LONG}a"', f'public."{LONG}b"'),
        ('public."a.b"', 'public."c.b"'),
        ('public."x"', 'public."X"'),
    ],
)
def test_names_in_quarantine_are_unique(one: str, other: str) -> None:
    """Tables of equal names, or equal beginnings, from one migration do not meet there."""
    steps = moves((made("table", one), made("table", other)), occupied=(one, other))
    assert len(set(new_names(steps))) == 2


@pytest.mark.parametrize(
    ("identity", "begins"),
    [
        ("public.items", "items_"),
        ('momentum."Scheduled Issue"', "Scheduled Issue_"),
        ('public."a.b"', "a.b_"),
        ('"s.t"."a.b"', "a.b_"),
        ('public."say ""hi"""', 'say "hi"_'),
        ('"q""".t', "t_"),
    ],
)
def test_names_keep_their_beginning(identity: str, begins: str) -> None:
    """Dots and quotes in names are part of the name."""
    steps = moves((made("table", identity),), occupied=(identity,))
    assert new_names(steps)[0].startswith(begins)
    schema = identity[: -len(_last(identity))]
    assert steps[-1].sql.startswith(f'ALTER TABLE {schema}"')
    assert steps[-1].sql.endswith(f" SET SCHEMA {QUARANTINE}")


def _last(identity: str) -> str:
    parts = re.findall(r'"(?:[^"]|"")*"|[^".]+', identity)
    return str(parts[-1])


@given(st.text(min_size=1).filter(lambda name: "\0" not in name and name.isprintable()))
def test_a_name_in_quarantine_is_never_cut_by_postgresql(name: str) -> None:
    """PostgreSQL cuts at 63 bytes, not characters: what makes the name unique must stay."""
    identity = 'public."' + name.replace('"', '""') + '"'
    (new,) = new_names(moves((made("table", identity),), occupied=(identity,)))
    assert len(new.encode()) <= 63
    assert re.search("_[0-9a-f]{8}$", new)


# --- laws ------------------------------------------------------------------------

KINDS = [change.key for change, _ in DROPS]
keys = st.sampled_from([*KINDS, KEY_T, KEY_U, FactKey("column", "b", U), FactKey("cast", "c", "")])
texts = st.sampled_from([None, "x", FOREIGN_KEY])


@st.composite
def effects(draw: st.DrawFn) -> tuple[Effect, ...]:
    """What statements might do, each starting from what the one before left."""
    state: dict[FactKey, str | None] = draw(st.dictionaries(keys, texts, max_size=4))
    made = []
    for wanted in draw(st.lists(st.dictionaries(keys, texts, max_size=4), max_size=4)):
        changed = [Change(k, state.get(k), v) for k, v in wanted.items() if state.get(k) != v]
        made.append(tuple(changed))
        state |= wanted
    return tuple(made)


@given(effects(), st.sets(st.sampled_from([T, U, 'momentum."T"'])))
def test_only_what_was_created_goes_and_no_rows(
    script: tuple[Effect, ...], occupied: set[str]
) -> None:
    """No CASCADE, no DROP of a table with rows, no DROP of what was there before."""
    back = undo(script, occupied=occupied, tag="tag")
    assert not (back.steps and back.obstacles)
    first: dict[FactKey, str | None] = {}
    for change in (change for effect in script for change in effect):
        first.setdefault(change.key, change.before)
    created = {
        f"this migration created it: {key}" for key, before in first.items() if before is None
    }
    for step in back.steps:
        assert "CASCADE" not in step.sql.upper()
        assert not any(step.sql == f"DROP TABLE {table}" for table in occupied)
        if step.sql.startswith("DROP"):
            assert step.reason in created
        if step.sql.startswith("DROP TABLE"):
            assert step.must_be_empty
