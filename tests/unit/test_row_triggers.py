"""Triggers: which of them only fill in a row, and to which questions they do not matter."""

from __future__ import annotations

from dataclasses import replace

import pytest

from sidecar.calm_triggers import may_fire_again, named, spares
from sidecar.model import Change, Effect, FactKey, Facts, RowChange
from sidecar.row_triggers import Course, Trigger, triggers_of
from sidecar.trigger_functions import filling
from tests.unit.builders import script_of

TABLE, OTHER = FactKey("table", "public.t", ""), FactKey("table", "public.u", "")
TRIGGER = FactKey("trigger", "g", "public.t")
FUNCTION = FactKey("function", "public.f()", "")


def function(body: str, *, declare: str = "", returns: str = "trigger", name: str = "f") -> str:
    """As `pg_get_functiondef` prints it."""
    return (
        f"CREATE OR REPLACE FUNCTION public.{name}()\n RETURNS {returns}\n LANGUAGE plpgsql\n"
        f" SET search_path TO ''\nAS $function$ {declare}\nBEGIN {body}\nEND; $function$\n"
    )


def trigger(when: str = "BEFORE UPDATE", each: str = "ROW", run: str = "public.f()") -> str:
    """As `pg_get_triggerdef` prints it."""
    return f"CREATE TRIGGER g {when} ON public.t FOR EACH {each} EXECUTE FUNCTION {run}"


TOUCH = function("NEW.updated_at = now(); RETURN NEW;")

# --- bodies ----------------------------------------------------------------------

CALM: dict[str, tuple[str, str, set[str]]] = {
    "the hour": ("NEW.updated_at = now(); RETURN NEW;", "", {"updated_at"}),
    "the hour, on a copy": (
        '_new := NEW; _new."updatedAt" := CURRENT_TIMESTAMP; RETURN _new;',
        "DECLARE _new record;", {"updatedAt"},
    ),
    "nothing": ("-- return what came\n RETURN new;", "", set()),
    "words to look for": (
        ("new.search := setweight(to_tsvector('simple', coalesce(new.title, '')), 'A')"
        " || to_tsvector('simple', new.body); return new;"), "", {"search"},
    ),
    "a check": ("IF NEW.a < 0 THEN RAISE EXCEPTION 'no %', NEW.a; END IF; RETURN NEW;", "", set()),
    "by cases": (
        ("CASE NEW.a WHEN 1 THEN NEW.b := 1; ELSE NEW.c := 2; END CASE;"
        " IF TG_OP = 'UPDATE' THEN NEW.d := OLD.d; ELSIF true THEN NEW.e := 1; END IF;"
         " RETURN NEW;"),
        "", {"b", "c", "d", "e"},
    ),
    "loops": (
        ("FOR r IN SELECT * FROM jsonb_each(NEW.j) LOOP n := n + 1; END LOOP;"
        " FOR i IN 1..3 LOOP NULL; END LOOP; WHILE n > 9 LOOP n := n - 1; END LOOP;"
        " FOREACH e IN ARRAY NEW.tags LOOP EXIT WHEN e = ''; END LOOP; NEW.n := n; RETURN NEW;"),
        "DECLARE r record; n integer := 0; e text;", {"n"},
    ),
    "a loop over a column": (
        ("FOREACH NEW.b IN ARRAY NEW.tags LOOP NULL; END LOOP;"
        " FOR NEW.c IN SELECT 1 LOOP NULL; END LOOP; RETURN NEW;"), "", {"b", "c"},
    ),
    "select into": ("SELECT 1, 2 INTO NEW.a, v; RETURN NEW;", "DECLARE v integer;", {"a"}),
    "another table": ("SELECT name INTO NEW.a FROM u; RETURN NEW;", "", {"a"}),
    "an error caught": (
        "BEGIN NEW.a := NEW.b::integer; EXCEPTION WHEN others THEN NEW.c := true; END; RETURN NEW;",
        "", {"a", "c"},
    ),
    "types of the project": (
        "v := NEW.b; NEW.a := v; RETURN NEW;", "DECLARE v public.status; w u.name%TYPE;", {"a"},
    ),
}  # fmt: skip

NOT_CALM: dict[str, tuple[str, str]] = {
    "returns nothing at times": ("IF NEW.a = 1 THEN RETURN NULL; END IF; RETURN NEW;", ""),
    "returns the old row": ("RETURN OLD;", ""),
    "returns one of both": ("RETURN COALESCE(NEW, OLD);", ""),
    "returns a variable": ("RETURN v;", "DECLARE v record;"),
    "returns a copy made late": (
        "IF NEW.a THEN _new := NEW; END IF; RETURN _new;", "DECLARE _new record;"),
    "returns a copy of the old row": ("_new := OLD; RETURN _new;", "DECLARE _new record;"),
    "returns both": (
        "_new := NEW; IF NEW.a THEN RETURN NEW; END IF; RETURN _new;", "DECLARE _new record;"),
    "replaces the copy": ("_new := NEW; _new := OLD; RETURN _new;", "DECLARE _new record;"),
    "hides the row": ("RETURN NEW;", "DECLARE new record;"),
    "hides it within": ("DECLARE new record; BEGIN new.a := 1; END; RETURN NEW;", ""),
    "hides its name": ("me.a := 1; RETURN NEW;", "DECLARE me ALIAS FOR new;"),
    "replaces the row": ("NEW := OLD; RETURN NEW;", ""),
    "selects the whole row": ("SELECT * INTO NEW FROM u; RETURN NEW;", ""),
    "sets the old row": ("OLD.a := 1; RETURN NEW;", ""),
    "writes": ("UPDATE u SET a = 1; RETURN NEW;", ""),
    "writes and reads": ("INSERT INTO u VALUES (1) RETURNING a INTO NEW.a; RETURN NEW;", ""),
    "writes within": (("WITH w AS (DELETE FROM u RETURNING a) SELECT a INTO NEW.a FROM w;"
                      " RETURN NEW;"), ""),
    "locks": ("PERFORM 1 FROM u FOR SHARE; RETURN NEW;", ""),
    "counts": ("NEW.a := nextval('s'); RETURN NEW;", ""),
    "sets the session": ("PERFORM set_config('a.b', 'c', true); RETURN NEW;", ""),
    "calls": ("PERFORM audit(NEW.a); RETURN NEW;", ""),
    "calls for a value": ("NEW.a := public.slug(NEW.b); RETURN NEW;", ""),
    "calls for an index": ("NEW.a[g(1)] := 1; RETURN NEW;", ""),
    "calls in a message": ("RAISE NOTICE '%', g(1); RETURN NEW;", ""),
    "calls at the start": ("RETURN NEW;", "DECLARE v integer := g(1);"),
    "calls at an end": ("FOR i IN 1..g(2) LOOP NULL; END LOOP; RETURN NEW;", ""),
    "runs a text": ("EXECUTE 'x'; RETURN NEW;", ""),
    "runs a text for rows": (
        "FOR r IN EXECUTE 'x' LOOP NULL; END LOOP; RETURN NEW;", "DECLARE r record;"),
    "opens a cursor": ("OPEN c; RETURN NEW;", "DECLARE c CURSOR FOR SELECT 1;"),
    "notifies": ("NOTIFY x; RETURN NEW;", ""),
    "never ends": ("NEW.a := 1;", ""),
    "is not PL/pgSQL": ("NEW.a :=", ""),
}  # fmt: skip

PLACES = [
    "IF v THEN {} END IF;", "IF v THEN NULL; ELSIF w THEN {} END IF;",
    "IF v THEN NULL; ELSE {} END IF;", "CASE v WHEN true THEN {} END CASE;",
    "CASE WHEN v THEN NULL; ELSE {} END CASE;", "LOOP {} END LOOP;", "WHILE v LOOP {} END LOOP;",
    "FOR i IN 1..2 LOOP {} END LOOP;", "FOR r IN SELECT 1 LOOP {} END LOOP;",
    "FOREACH v IN ARRAY NEW.tags LOOP {} END LOOP;", "DECLARE x integer; BEGIN {} END;",
    "BEGIN NULL; EXCEPTION WHEN others THEN {} END;",
]  # fmt: skip


@pytest.mark.parametrize("case", CALM)
def test_a_function_that_fills_in_columns(case: str) -> None:
    """It is known which."""
    body, declare, sets = CALM[case]
    fills = filling(function(body, declare=declare))
    assert fills is not None
    assert fills.sets == sets


@pytest.mark.parametrize("case", NOT_CALM)
def test_a_function_that_may_do_more(case: str) -> None:
    """Or leave the row out, or give it another one's values."""
    body, declare = NOT_CALM[case]
    assert filling(function(body, declare=declare)) is None


@pytest.mark.parametrize("place", PLACES)
def test_no_corner_of_a_body_goes_unseen(place: str) -> None:
    """What stands in any branch counts as what stands in the open."""
    declare = "DECLARE v boolean; w boolean; r record;"

    def within(step: str) -> str:
        return function(place.format(step) + " RETURN NEW;", declare=declare)

    fills = filling(within("NEW.hidden := 1;"))
    assert fills is not None
    assert fills.sets == {"hidden"}
    for step in ("PERFORM g(1);", "RETURN NULL;", "RETURN OLD;", "NEW := OLD;"):
        assert filling(within(step)) is None, step


def test_functions_that_are_no_triggers_in_plpgsql() -> None:
    """Another language, or another use, is not looked into."""
    assert filling(function("RETURN NEW;", returns="record")) is None
    assert filling(TOUCH.replace("plpgsql", "plv8")) is None
    assert filling("CREATE FUNCTION public.f() RETURNS trigger LANGUAGE c AS 'lib', 'f'") is None
    assert filling("CREATE FUNCTION public.f() RETURNS trigger LANGUAGE sql RETURN NULL") is None
    assert filling("CREATE FUNCTION public.f(") is None


# --- triggers --------------------------------------------------------------------


def course(definition: str = TOUCH, made: str | None = None, **more: str | Facts) -> Course:
    """One trigger on `t`, of the history; `facts` are more of them."""
    facts = more.get("facts", {})
    assert not isinstance(facts, str)
    live = {TABLE: "TABLE", OTHER: "TABLE", TRIGGER: made or trigger(), FUNCTION: definition}
    return Course(live | dict(facts), (), 0, live | dict(facts))


def the_trigger(known: Course) -> Trigger:
    """What is known of it."""
    return triggers_of(("public", "t"), known)[TRIGGER]


def change(sql: str) -> RowChange:
    """What a statement does."""
    found = script_of(sql).statements[0].change
    assert found is not None
    return found


def test_a_trigger_that_fills_in() -> None:
    """Before each row that comes or changes."""
    for when in ("BEFORE UPDATE", "BEFORE INSERT", "BEFORE INSERT OR UPDATE OF a, b"):
        fills = the_trigger(course(made=trigger(when))).fills
        assert fills is not None
        assert fills.sets == fills.timed == {"updated_at"}


@pytest.mark.parametrize(
    "made",
    [
        trigger("AFTER UPDATE"),
        trigger("INSTEAD OF UPDATE"),
        trigger("BEFORE DELETE"),
        trigger("BEFORE UPDATE OR DELETE"),
        trigger(each="STATEMENT"),
        trigger(run="public.g()"),
        trigger(run="other.f()"),
        trigger() .replace("EXECUTE", "WHEN ((public.is_odd(new.a))) EXECUTE"),
        "CREATE TRIGGER g",
    ],
)  # fmt: skip
def test_a_trigger_that_may_do_anything(made: str) -> None:
    """After or instead of the row, for rows that go, with a function that is not known."""
    assert the_trigger(course(made=made)).fills is None


AROUND: dict[str, Facts] = {
    "a key that tells others": {
        FactKey("constraint", "k", "public.u"):
            "FOREIGN KEY (at) REFERENCES public.t(id, updated_at) ON UPDATE CASCADE"},
    "parts": {TABLE: "TABLE PARTITION BY RANGE (updated_at)"},
    "a part": {TABLE: "TABLE PARTITION OF public.p DEFAULT"},
    "an heir": {TABLE: "TABLE INHERITS public.p"},
}  # fmt: skip


@pytest.mark.parametrize("case", AROUND)
def test_what_it_sets_may_be_passed_on(case: str) -> None:
    """By a foreign key, or to another part of the table."""
    assert the_trigger(course(facts=AROUND[case])).fills is None


def test_what_it_reads_must_be_tables() -> None:
    """A view may call anything."""
    reads = function("SELECT a INTO NEW.a FROM public.u; RETURN NEW;")
    assert the_trigger(course(reads)).fills is not None
    view = FactKey("view", "public.u", "")
    assert the_trigger(course(reads, facts={view: "SELECT g()"})).fills is None
    assert the_trigger(course(reads.replace("public.u", "public.x"))).fills is None


def test_what_is_computed_of_it_counts() -> None:
    """A generated column changes with those that it is made of."""
    computed = FactKey("column", "day", "public.t")
    facts = {computed: "date GENERATED ALWAYS AS (updated_at::date) STORED"}
    fills = the_trigger(course(facts=facts)).fills
    assert fills is not None
    assert fills.sets == {"updated_at", "day"}
    of_it = the_trigger(course(made=trigger("BEFORE UPDATE OF day"), facts=facts))
    assert of_it.fires(change("UPDATE t SET a = 1"))


TO_ANY, BAD = function("NEW.b := 1; RETURN NEW;"), function("RETURN NULL;")
EFFECTS: dict[str, tuple[Effect, bool]] = {
    "made": ((Change(FUNCTION, None, TOUCH),), True),
    "replaced": ((Change(FUNCTION, TO_ANY, TOUCH),), True),
    "replaced, and skipped": ((Change(FUNCTION, BAD, TOUCH),), False),
    "dropped, and is there": ((Change(FUNCTION, TOUCH, None),), False),
    "replaced, and is another": ((Change(FUNCTION, None, TO_ANY),), False),
    "its trigger made": ((Change(TRIGGER, None, trigger()),), True),
    "its trigger made for others": ((Change(TRIGGER, None, trigger("BEFORE INSERT")),), False),
}  # fmt: skip


@pytest.mark.parametrize("case", EFFECTS)
def test_all_that_it_was_in_the_course_of_the_script_counts(case: str) -> None:
    """What has changed while it was open which statements ran, is not known at all."""
    effect, calm = EFFECTS[case]
    known = course()
    before = the_trigger(Course({}, (effect, ()), 1, known.live))
    assert (before.fills is not None) == calm
    if case == "replaced" and before.fills:
        assert before.fills.sets == {"updated_at", "b"}
    assert the_trigger(Course({}, ((), effect), 1, known.live)).fills is None


def test_what_somebody_else_replaced_is_not_known() -> None:
    """The history has it otherwise; of what it never had, what there is must do."""
    known = course()
    assert the_trigger(replace(known, base={**known.base, FUNCTION: BAD})).fills is None
    by_hand = {k: v for k, v in known.base.items() if k not in {TRIGGER, FUNCTION}}
    assert the_trigger(replace(known, base=by_hand)).fills is not None


def test_functions_of_the_library() -> None:
    """PostgreSQL's own for text search, and that of an extension."""
    search = trigger(run="tsvector_update_trigger('search', 'pg_catalog.simple', 'a', 'b')")
    fills = the_trigger(course(made=search)).fills
    assert fills is not None
    assert fills.sets == {"search"}
    assert fills.new == {"a", "b"}
    touch = trigger(run="extensions.moddatetime('updated_at')")
    assert the_trigger(course(made=touch)).fills is None
    there = {FactKey("extension", "moddatetime", ""): "VERSION '1.0' SCHEMA extensions"}
    fills = the_trigger(course(made=touch, facts=there)).fills
    assert fills is not None
    assert fills.sets == fills.timed == {"updated_at"}
    own = {FactKey("function", "extensions.moddatetime()", ""): BAD}
    assert the_trigger(course(made=touch, facts=there | own)).fills is None


# --- what fires it, and what it spares -------------------------------------------

FIRED: dict[str, tuple[str, str, bool]] = {
    "update": ("BEFORE UPDATE", "UPDATE t SET a = 1", True),
    "insert, of update": ("BEFORE UPDATE", "INSERT INTO t (a) VALUES (1)", False),
    "update, of insert": ("AFTER INSERT", "UPDATE t SET a = 1", False),
    "update of it": ("BEFORE UPDATE OF a", "UPDATE t SET a = 1, b = 2", True),
    "update of another": ("BEFORE UPDATE OF c", "UPDATE t SET a = 1", False),
    "upsert": (
        "BEFORE UPDATE OF b",
        "INSERT INTO t (a, b) VALUES (1, 2) ON CONFLICT (a) DO UPDATE SET b = excluded.b", True,
    ),
    "delete": ("BEFORE UPDATE", "DELETE FROM t", True),
    "more than is told": (
        "AFTER INSERT", "WITH w AS (INSERT INTO u VALUES (1)) UPDATE t SET a = 1", True,
    ),
    "disabled": ("BEFORE UPDATE", "UPDATE t SET a = 1", False),
}  # fmt: skip


@pytest.mark.parametrize("case", FIRED)
def test_which_statements_fire_it(case: str) -> None:
    """Where it is not told, any does."""
    when, sql, fires = FIRED[case]
    made = trigger(when) + (" DISABLED" if case == "disabled" else "")
    assert the_trigger(course(made=made)).fires(change(sql)) == fires


def test_what_somebody_disabled_may_have_been_fired() -> None:
    """Only the history, or the script, tells since when it is."""
    known = course(made=trigger() + " DISABLED")
    update = change("UPDATE t SET a = 1")
    assert the_trigger(replace(known, base={})).fires(update)
    assert the_trigger(replace(known, base={**known.base, TRIGGER: trigger()})).fires(update)


def test_it_spares_the_columns_that_it_does_not_set() -> None:
    """Not even a whole row is safe from one that sets a column."""
    triggers = triggers_of(("t",), course())
    assert spares(triggers, {"a", "b"}) == {TRIGGER}
    assert spares(triggers, ()) == {TRIGGER}
    assert spares(triggers, {"updated_at"}) == spares(triggers, {"*"}) == frozenset()
    unknown = triggers_of(("t",), course(BAD))
    assert spares(unknown, ()) == frozenset()
    assert spares(unknown, (), change("INSERT INTO t (a) VALUES (1)")) == {TRIGGER}


def test_the_columns_of_a_statement() -> None:
    """All that it names counts; an INSERT that names none gives all of them."""
    assert named(change("UPDATE t SET a = b WHERE c = 1 AND d > 2")) == {"a", "b", "c", "d"}
    assert named(change('INSERT INTO t ("a B", c) VALUES (1, 2)')) == {"a B", "c"}
    assert "*" in named(change("INSERT INTO t VALUES (1, 2)"))


# --- fired once more -------------------------------------------------------------

SET_A, SET_B = "UPDATE t SET a = 1", "UPDATE t SET b = 2 WHERE b IS NULL"
EACH = "BEFORE INSERT OR UPDATE"
AGAIN: dict[str, tuple[str, str, list[str], bool]] = {
    "the hour": ("NEW.at = now();", "BEFORE UPDATE", [SET_A, SET_B], True),
    "the hour, read": ("NEW.at = now();", EACH, ["UPDATE t SET a = 1 WHERE at IS NULL"], False),
    "the hour, set": ("NEW.at = now();", EACH, ["UPDATE t SET at = NULL"], False),
    "the hour, copied": (
        "NEW.at = now();", EACH, [SET_A, "INSERT INTO u (x) SELECT at FROM t"], False),
    "the hour, copied as all": (
        "NEW.at = now();", EACH, [SET_A, "INSERT INTO u (x) SELECT t FROM t"], False),
    "from the row": ("NEW.s = lower(NEW.a);", EACH, [SET_A], True),
    "from what another sets": ("NEW.s = lower(NEW.a);", EACH, [SET_A, SET_B], False),
    "from what none sets": ("NEW.s = lower(NEW.c);", EACH, [SET_A, SET_B], True),
    "from the row, not for each": ("NEW.s = lower(NEW.a);", "BEFORE UPDATE", [SET_A], False),
    "from the row, at times": ("NEW.s = lower(NEW.a);", EACH + " OF a", [SET_A], False),
    "by what fired it": ("IF TG_OP = 'UPDATE' THEN NEW.s = 1; END IF;", EACH, [SET_A], False),
    "not fired": ("NEW.n = NEW.n + 1;", "BEFORE INSERT", [SET_A], True),
    "a count": ("NEW.n = NEW.n + 1;", EACH, [SET_A], False),
    "a count of old": ("NEW.n = OLD.n + 1;", EACH, [SET_A], False),
    "what it was": ("NEW.was = OLD.a;", EACH, [SET_A], False),
    "what it was elsewhere": (
        "IF NEW.c <> OLD.c THEN NEW.at = now(); END IF;", "BEFORE UPDATE", [SET_A], True),
    "a change of what is set": (
        "IF NEW.a <> OLD.a THEN NEW.at = now(); END IF;", "BEFORE UPDATE", [SET_A], False),
    "the whole row": ("NEW.s = md5(NEW::text);", EACH, [SET_A], False),
    "part of a column": ("NEW.s.x = 1;", EACH, [SET_A], False),
    "another table": ("SELECT x INTO NEW.s FROM public.u;", EACH, [SET_A], False),
    "chance": ("NEW.s = gen_random_uuid();", EACH, [SET_A], False),
    "who asks": ("NEW.s = current_user;", EACH, [SET_A], False),
    "a setting": ("NEW.s = current_setting('a.b', true);", EACH, [SET_A], False),
    "the hour decides": ("IF now() > '2030-01-01' THEN NEW.s = 1; END IF;", EACH, [SET_A], False),
    "an upsert": (
        "NEW.at = now();", "BEFORE UPDATE",
        ["INSERT INTO t (id, a) VALUES (1, 2) ON CONFLICT (id) DO UPDATE SET a = excluded.a"],
        False),
    "rows unless there": (
        "NEW.at = now();", EACH, ["INSERT INTO t (id) VALUES (1) ON CONFLICT (id) DO NOTHING"],
        True),
    "a block": ("NEW.at = now();", EACH, ["DO $$ BEGIN UPDATE t SET a = 1; END $$"], False),
}  # fmt: skip


def fired_again(known: Course, *statements: str, made: tuple[str, ...] = ()) -> bool:
    """Whether its triggers do not matter where these statements run once more."""
    triggers = triggers_of(("t",), known)
    changes = [change(sql) for sql in statements]
    columns = [(("public", "t"), name) for name in made]
    return may_fire_again(triggers, ("t",), changes, columns, known.live) == triggers.keys()


@pytest.mark.parametrize("case", AGAIN)
def test_what_may_be_filled_in_again(case: str) -> None:
    """What gives the same again, or the time of now, and what nobody looks at."""
    body, when, statements, may = AGAIN[case]
    known = course(function(body + " RETURN NEW;"), trigger(when))
    assert fired_again(known, *statements) == may


def test_a_column_of_the_scripts_own_is_nobody_elses() -> None:
    """What fills it in at times only, fills in what nobody has set since."""
    at_times = course(function("NEW.s = lower(NEW.a); RETURN NEW;"), trigger("BEFORE UPDATE OF a"))
    assert fired_again(at_times, SET_A, made=("s",))
    assert not fired_again(at_times, SET_A, made=("a",))


@pytest.mark.parametrize(
    ("condition", "may"),
    [
        ("(old.* IS DISTINCT FROM new.*)", True),
        ("(new.* IS DISTINCT FROM old.*)", True),
        ("(new.c IS NOT NULL)", True),
        ("(old.a IS DISTINCT FROM new.a)", False),
        ("(old.* IS NOT DISTINCT FROM new.*)", False),
        ("(new.at IS NULL)", False),
        ("(now() > '2030-01-01')", False),
        ("(pg_trigger_depth() = 0)", False),
    ],
)
def test_a_condition_must_be_as_it_was(condition: str, *, may: bool) -> None:
    """A row that stays as it is fires fewer of them, but for such as ask for that."""
    made = trigger().replace("EXECUTE", f"WHEN ({condition}) EXECUTE")
    known = course(function("NEW.at = now(); RETURN NEW;"), made)
    assert fired_again(known, SET_A) == may


@pytest.mark.parametrize(
    ("second", "may"),
    [
        ("NEW.b2 = NEW.c;", True),
        ("NEW.s = upper(NEW.c);", False),
        ("NEW.b2 = NEW.s;", False),
        ("NEW.b2 = OLD.s;", False),
        ("RETURN NULL;", False),
    ],
)
def test_triggers_must_keep_out_of_each_others_way(second: str, *, may: bool) -> None:
    """What one reads the other does not set, nor do both set the same."""
    key, called = FactKey("trigger", "h", "public.t"), FactKey("function", "public.h()", "")
    more = {
        key: trigger(EACH, run="public.h()").replace("TRIGGER g", "TRIGGER h"),
        called: function(second + " RETURN NEW;", name="h"),
    }
    first = function("NEW.s = lower(NEW.c); RETURN NEW;")
    assert fired_again(course(first, trigger(EACH), facts=more), SET_A) == may


@pytest.mark.parametrize(
    ("one", "other", "may"),
    [
        ("NEW.s = 1;", "NEW.s = 2;", False),
        ("NEW.s = 1;", "NEW.b2 = 2;", True),
        ("NEW.s = now();", "NEW.s = NULL;", False),
    ],
)
def test_the_last_of_two_must_not_be_the_other_one(one: str, other: str, *, may: bool) -> None:
    """Of two statements each may fire its own, and only one of them find its rows again."""
    key, called = FactKey("trigger", "h", "public.t"), FactKey("function", "public.h()", "")
    more = {
        key: trigger("BEFORE UPDATE OF b", run="public.h()"),
        called: function(other + " RETURN NEW;", name="h"),
    }
    known = course(function(one + " RETURN NEW;"), trigger("BEFORE UPDATE OF a"), facts=more)
    assert fired_again(known, SET_A, SET_B, made=("s", "b2")) == may


def test_a_view_may_show_what_it_sets_under_another_name() -> None:
    """So no statement that is run again may read one."""
    copies = "INSERT INTO w (x) SELECT shown FROM public.v"
    view = {FactKey("view", "public.v", ""): "SELECT at AS shown FROM t"}
    body = function("NEW.at = now(); RETURN NEW;")
    assert fired_again(course(body), SET_A, copies)
    assert not fired_again(course(body, facts=view), SET_A, copies)
