"""Blocks whose effect on the catalog depends on rows, and those where only the catalog is asked."""

from __future__ import annotations

import pytest

from sidecar.model import FactKey
from sidecar.row_dependent import dependent, uncertain
from tests.unit.builders import replay, script_of, table

ADD = "ALTER TABLE t ADD COLUMN a INTEGER"
UNIQUE = "CREATE UNIQUE INDEX k ON t (a)"


def block(*body: str, declare: str = "") -> str:
    """A DO of these statements."""
    return f"DO $$ DECLARE n INTEGER; r RECORD; {declare} BEGIN {' '.join(body)} END $$"


def caught(condition: str, sql: str = UNIQUE) -> str:
    """A DO that catches this condition."""
    return block(f"{sql}; EXCEPTION WHEN {condition} THEN NULL;")


BLOCKS = {
    "rows": (block(f"IF NOT EXISTS (SELECT FROM t WHERE a IS NULL) THEN {ADD}; END IF;"), True),
    "a count": (block("SELECT count(*) INTO n FROM t;", f"IF n = 0 THEN {ADD}; END IF;"), True),
    "a loop over rows": (
        block("FOR r IN SELECT name FROM t LOOP EXECUTE 'DROP TABLE ' || r.name; END LOOP;"),
        True,
    ),
    "what was found": (block("UPDATE t SET a = 1;", f"IF FOUND THEN {ADD}; END IF;"), True),
    "how many": (
        block(
            "UPDATE t SET a = 1; GET DIAGNOSTICS n = ROW_COUNT;", f"IF n > 0 THEN {ADD}; END IF;"
        ),
        True,
    ),
    "a row that it wrote": (
        block("UPDATE t SET a = 1 RETURNING a INTO n;", f"IF n > 0 THEN {ADD}; END IF;"),
        True,
    ),
    "a text's answer": (
        block("EXECUTE 'SELECT count(*) FROM t' INTO n;", f"IF n > 0 THEN {ADD}; END IF;"),
        True,
    ),
    "how many the catalog believes": (
        block("IF (SELECT reltuples FROM pg_class LIMIT 1) > 0", f"THEN {ADD}; END IF;"),
        True,
    ),
    "which database it is": (
        block(f"IF current_database() LIKE 'prod%' THEN {ADD}; END IF;"),
        True,
    ),
    "of this database, whichever it is": (
        block(
            "IF EXISTS (SELECT FROM information_schema.tables "
            f"WHERE table_catalog = current_database()) THEN {ADD}; END IF;"
        ),
        False,
    ),
    "a function's answer": (block(f"IF f() THEN {ADD}; END IF;"), True),
    "rows may refuse": (caught("unique_violation"), True),
    "rows may refuse, whatever it is": (caught("OTHERS"), True),
    "rows cannot refuse it": (caught("OTHERS", ADD), False),
    "it was there": (caught("duplicate_object OR duplicate_table"), False),
    "it was there, by code": (caught("SQLSTATE '42P07'"), False),
    "the catalog": (
        block(f"IF NOT EXISTS (SELECT 1 FROM pg_constraint) THEN {ADD}; END IF;"),
        False,
    ),
    "the catalog, spelled out": (
        block(f"IF EXISTS (SELECT FROM information_schema.columns) THEN {ADD}; END IF;"),
        False,
    ),
    "a name": (block(f"IF to_regclass('t') IS NULL THEN {ADD}; END IF;"), False),
    "rows are only changed": (block(f"UPDATE t SET a = 1; {ADD};"), False),
    "the catalog is not changed": (
        block("IF NOT EXISTS (SELECT FROM t) THEN INSERT INTO t VALUES (1); END IF;"),
        False,
    ),
    "another language": ("DO LANGUAGE plperl $$ spi_exec_query('DROP TABLE t') $$", True),
    "no block": (ADD, False),
}


@pytest.mark.parametrize("case", BLOCKS)
def test_what_a_block_asks(case: str) -> None:
    """Rows, which no shadow has; or the catalog, which the shadow has as well."""
    sql, expected = BLOCKS[case]
    script = script_of(sql)
    assert dependent(script, replay(None)) == (script.statements if expected else ())


FUNCTION = FactKey("function", "public.fix()", "")
BODY = "CREATE FUNCTION public.fix() RETURNS void LANGUAGE plpgsql AS $$ BEGIN {} END $$"


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (f"IF EXISTS (SELECT FROM t) THEN {ADD}; END IF;", True),
        (f"{ADD};", False),
        ("DELETE FROM t;", False),
    ],
)
def test_a_function_is_looked_into(body: str, *, expected: bool) -> None:
    """One of the history, or of the script itself."""
    text = BODY.format(body)
    script = script_of("SELECT fix()")
    assert bool(dependent(script, replay(None, base={FUNCTION: text}))) is expected
    script = script_of("SELECT 1", "SELECT public.fix()")
    assert bool(dependent(script, replay({FUNCTION: text}, None))) is expected


COLUMN, OTHER = FactKey("column", "a", "public.t"), FactKey("column", '"B"', "public.u")


def test_what_it_names_is_uncertain() -> None:
    """A fact, or what is on a table that it names; of other spellings too."""
    altered = "ALTER TABLE t ALTER COLUMN a SET NOT NULL"
    script = script_of(BLOCKS["rows"][0], altered, 'ALTER TABLE u ADD COLUMN "B" INTEGER')
    base = {table("t"): "TABLE", COLUMN: "integer"}
    effects = replay(None, {COLUMN: "integer NOT NULL"}, {OTHER: "integer"}, base=base).effects
    assert uncertain(script.statements[:1], script, effects) == {COLUMN}
    assert uncertain((), script, effects) == frozenset()
    assert uncertain(script_of("SELECT fix()").statements, script, effects) == {COLUMN, OTHER}


def test_what_would_have_failed_if_it_had_been_there_is_certain() -> None:
    """Unless the block may have removed it, or another would have found it done."""
    effects = replay(None, {COLUMN: "integer"}, base={table("t"): "TABLE"}).effects
    rows = BLOCKS["rows"][0]
    for do, add, expected in (
        (rows, ADD, set[FactKey]()),
        (rows, ADD.replace("COLUMN", "COLUMN IF NOT EXISTS"), {COLUMN}),
        (rows.replace(ADD, "ALTER TABLE t DROP COLUMN a"), ADD, {COLUMN}),
    ):
        script = script_of(do, add)
        assert uncertain(script.statements[:1], script, effects) == expected


def test_a_text_put_together_may_name_what_others_ask_for_first() -> None:
    """A statement that finds it made says nothing; one that would fail tells by itself."""
    loop = block("FOR r IN SELECT name FROM cfg LOOP EXECUTE 'DROP TABLE ' || r.name; END LOOP;")
    plain = 'ALTER TABLE u ADD COLUMN "B" INTEGER'
    guarded = 'ALTER TABLE u ADD COLUMN IF NOT EXISTS "B" INTEGER'
    effects = replay(None, {OTHER: "integer"}).effects
    for sql, expected in ((plain, frozenset[FactKey]()), (guarded, {OTHER})):
        script = script_of(loop, sql)
        assert uncertain(script.statements[:1], script, effects) == expected
