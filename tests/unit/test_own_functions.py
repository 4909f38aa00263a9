"""Functions of the project's own: which of them only compute, whatever they are marked as."""

from __future__ import annotations

import pytest

from sidecar.model import FactKey, Facts, Nature
from sidecar.own_functions import quiet
from sidecar.script import parse
from tests.unit.builders import replay

NAME = FactKey("function", "public.f(text)", "")
OTHER = FactKey("function", "old.f(integer)", "")


def _plpgsql(body: str, *, declare: str = "", returns: str = "text") -> str:
    return (
        f"CREATE OR REPLACE FUNCTION public.f(v text)\n RETURNS {returns}\n LANGUAGE plpgsql\n"
        f"AS $function$ {declare} BEGIN {body} END $function$\n"
    )


def _sql(body: str) -> str:
    return (
        "CREATE OR REPLACE FUNCTION public.f(v text)\n RETURNS text\n LANGUAGE sql\n"
        f"AS $function$ {body} $function$\n"
    )


COMPUTES = {
    "an expression": _sql("SELECT lower(regexp_replace(v, '[^a-z]+', '-', 'g'))"),
    "by chance": _plpgsql(
        "FOR i IN 1..8 LOOP r := r || substr('abc', 1 + floor(random() * 3)::int, 1); END LOOP;"
        " RETURN r;",
        declare="DECLARE r text := '';",
    ),
    "or NULL where that fails": _plpgsql(
        "IF v IS NULL OR v !~ '^[0-9]+$' THEN RETURN NULL; END IF; RETURN v::int::text;"
        " EXCEPTION WHEN others THEN RETURN NULL;"
    ),
}
DOES_MORE = {
    "writes": _sql("INSERT INTO t VALUES (1) RETURNING a"),
    "writes first": _sql("DELETE FROM t; SELECT v"),
    "writes and returns": _plpgsql("UPDATE t SET a = 1; RETURN v;"),
    "reads a table": _sql("SELECT a FROM t"),
    "reads one for a default": _plpgsql("RETURN n;", declare="DECLARE n int := (TABLE t);"),
    "calls another": _sql("SELECT g(v)"),
    "counts": _sql("SELECT nextval('s')::text"),
    "changes the session": _plpgsql("PERFORM set_config('a.b', v, false); RETURN v;"),
    "changes the catalog": _plpgsql("CREATE TABLE x (a int); RETURN v;"),
    "runs a text": _plpgsql("EXECUTE v; RETURN v;"),
    "runs a text for rows": _plpgsql("FOR r IN EXECUTE v LOOP NULL; END LOOP; RETURN v;"),
    "opens a cursor": _plpgsql(
        "OPEN c; RETURN v;", declare="DECLARE c CURSOR FOR DELETE FROM t RETURNING a;"
    ),
    "gives rows": _plpgsql("RETURN QUERY DELETE FROM t RETURNING a;", returns="SETOF text"),
    "notifies": _plpgsql("NOTIFY x; RETURN v;"),
    "is written in C": "CREATE FUNCTION public.f(text) RETURNS text LANGUAGE c AS 'lib', 'f'",
    "has a body that is parsed": (
        "CREATE FUNCTION public.f(v text) RETURNS text LANGUAGE sql RETURN lower(v)"
    ),
    "cannot be read": "CREATE FUNCTION public.f(",
}
SCRIPT = "ALTER TABLE t ADD COLUMN c TEXT;\nUPDATE t SET c = f(a);"


def _names(base: Facts, live: Facts | None = None, text: str = SCRIPT) -> frozenset[str]:
    return quiet(parse(text), replay(None, None, base=base), base if live is None else live)


@pytest.mark.parametrize("case", COMPUTES)
def test_a_function_that_only_computes_is_known(case: str) -> None:
    """By its bare name, and by that with its schema."""
    assert _names({NAME: COMPUTES[case]}) == {"f", "public.f"}


@pytest.mark.parametrize("case", DOES_MORE)
def test_a_function_that_may_do_more_is_not(case: str) -> None:
    """It writes, reads what others write, or runs what cannot be looked at."""
    assert _names({NAME: DOES_MORE[case]}) == frozenset()


@pytest.mark.parametrize("case", DOES_MORE)
def test_all_functions_of_that_name_must_only_compute(case: str) -> None:
    """Which of them is meant, the types of the arguments decide; and it may have been replaced."""
    good, bad = next(iter(COMPUTES.values())), DOES_MORE[case]
    assert _names({NAME: good, OTHER: bad}) == frozenset()
    assert _names({NAME: good}, {NAME: bad}) == frozenset()
    within = replay({NAME: bad}, {NAME: None}, base={NAME: good})
    assert quiet(parse(SCRIPT), within, {NAME: good}) == frozenset()


def test_a_function_that_came_and_went_with_the_script_is_known() -> None:
    """It is in no database any more."""
    good = next(iter(COMPUTES.values()))
    within = replay({NAME: good}, {NAME: None}, base={})
    assert quiet(parse(SCRIPT), within, {}) == {"f", "public.f"}


def test_an_aggregate_is_not_looked_into() -> None:
    """Its parts are functions with names of their own."""
    good = next(iter(COMPUTES.values()))
    aggregate = FactKey("aggregate", "public.f(text)", "")
    assert _names({NAME: good, aggregate: "sfunc = g"}) == frozenset()


def test_nothing_is_looked_up_where_every_statement_is_understood() -> None:
    """Most scripts call no function of their own."""
    text = SCRIPT.replace("f(a)", "lower(a)")
    assert _names({NAME: next(iter(COMPUTES.values()))}, text=text) == frozenset()


def test_a_statement_that_calls_it_is_understood_but_for_its_values() -> None:
    """They may be other ones the next time, as far as anybody knows."""
    update = parse(SCRIPT, quiet=frozenset({"f"})).statements[1]
    assert update.reach_known
    assert update.nature is Nature.DATA
    assert update.change is not None
    assert (update.change.volatile, update.change.settled) == (True, False)
    picked = parse("UPDATE t SET c = 1 WHERE f(a)", quiet=frozenset({"f"})).statements[0]
    assert picked.change is not None
    assert picked.change.fleeting
    assert not parse(SCRIPT).statements[1].reach_known
