"""Why PostgreSQL refused a step: words without values, and the next command to type."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar import causes
from sidecar.causes import Cause, Denied, Place, explain, refused, told
from sidecar.errors import DatabaseError, LockTimeoutError, Named
from sidecar.model import Step, StepKind

MORE = Named("shop", "Item", "", "item_key")


def error(sqlstate: str, what: str = "no", detail: str = "", hint: str = "") -> DatabaseError:
    """What PostgreSQL said."""
    return DatabaseError(what, sqlstate=sqlstate, detail=detail, hint=hint)


def place(sql: str = "", **more: object) -> Place:
    """Where it was refused."""
    known: dict[str, object] = {"role": "app", "statement_timeout_s": 0.0}
    return Place(sql, **{**known, **more})  # type: ignore[arg-type]


# --- values ----------------------------------------------------------------------

QUOTES = {
    "syntax": ("22P02", 'invalid input syntax for type integer: "{}"', ""),
    "enum": ("22P02", 'invalid input value for enum "Level": "{}"', ""),
    "range": ("22003", 'value "{}" is out of range for type integer', ""),
    "date": ("22008", 'date/time field value out of range: "{}"', ""),
    "json": ("22P02", "invalid input syntax for type json", 'Token "{}" is invalid.'),
    "German": ("22P02", "ungültige Eingabesyntax für Typ integer: „{}“", ""),
    "French": ("22P02", "syntaxe en entrée invalide pour le type integer : « {} »", ""),
    "Japanese": ("22P02", "integer 型の入力構文が不正です: 「{}」", ""),
    "key": ("23505", "could not create unique index", "Key (lower(code))=({}) is duplicated."),
    "key that is there": ("23505", "duplicate key value", "Key (a, b)=({}, 1) already exists."),
    "partner": ("23503", "violates foreign key", 'Key (t)=({}) is not present in table "team".'),
    "row": ("23514", "violates check constraint", "Failing row contains (1, {}, null)."),
    "partition": ("23514", "no partition", "Partition key of the failing row contains (a) = ({})."),
    "exclusion": ("23P01", "conflicts", "Key (a)=({}) conflicts with existing key (a)=({})."),
    "view": ("44000", "violates check option", "Failing row contains ({})."),
    "raised": ("P0001", "own words", "row {}"),
}
VALUES = st.text(min_size=1).map(lambda text: f"s3cret{text}s3cret")


@pytest.mark.parametrize("name", QUOTES)
@given(value=VALUES)
def test_no_value_is_told_unless_asked_for(name: str, value: str) -> None:
    """Whatever stands in a row, quotes and brackets and all, is left out."""
    sqlstate, what, detail = QUOTES[name]
    said = error(sqlstate, what.replace("{}", value), detail.replace("{}", value))
    assert "s3cret" not in told(said, show_values=False)
    assert f"[SQLSTATE {sqlstate}]" in told(said, show_values=False)
    assert value in told(said, show_values=True)
    assert causes.hides_values(said)


TOLD = {
    'invalid input value for enum "Level": "x"': 'invalid input value for enum "Level": "***"',
    'value "9" is out of range for type integer': 'value "***" is out of range for type integer',
    "division by zero": "division by zero",
}


@pytest.mark.parametrize("what", TOLD)
def test_names_are_told(what: str) -> None:
    """Types and enums are no values."""
    assert told(error("22P02", what), show_values=False) == f"{TOLD[what]} [SQLSTATE 22P02]"


def test_the_rest_is_told_as_it_is() -> None:
    """Details which name objects, and hints, help; a masked key still names its columns."""
    dependent = error("2BP01", "cannot drop", "view v depends on table t", "Use DROP ... CASCADE.")
    assert told(dependent, show_values=False) == (
        "cannot drop (view v depends on table t Use DROP ... CASCADE.) [SQLSTATE 2BP01]"
    )
    assert not causes.hides_values(dependent)
    key = error("23505", "duplicate", "Key (email)=(a@b) already exists.")
    assert "Key (email)=(***) already exists." in told(key, show_values=False)


# --- where -----------------------------------------------------------------------

STATEMENT = Step(StepKind.STATEMENT, "SELECT 1", "", index=3, line=9)
WHERE = {
    "statement 3 (line 9) failed: no [SQLSTATE XX000]": STATEMENT,
    "`DROP TABLE t` failed: no [SQLSTATE XX000]": Step(StepKind.UNDO, "DROP TABLE t", ""),
    "COMMIT failed: no [SQLSTATE XX000]": None,
}


@pytest.mark.parametrize("what", WHERE)
def test_the_failure_names_the_place(what: str) -> None:
    """A statement by number and line, another step by its SQL, or the COMMIT."""
    failure = refused(WHERE[what], error("XX000"))
    assert (failure.what, failure.step) == (what, WHERE[what])
    assert failure.next_steps == ("Remove the cause, then start again.",)


def test_a_lock_names_who_has_it() -> None:
    """A lock that did not come is its own kind of failure, which knows the blockers."""
    failure = refused(STATEMENT, error("55P03"), blockers=("pid 7, application 'a'",))
    assert isinstance(failure, LockTimeoutError)
    assert failure.blockers == ("pid 7, application 'a'",)
    assert failure.what == (
        "statement 3 (line 9) waited too long for a lock, held by: pid 7, application 'a'"
    )


# --- causes ----------------------------------------------------------------------

CAUSES = {
    "53100": ("disk", "SELECT oid::regclass"),
    "53200": ("memory", "SELECT name, setting"),
    "53300": ("no connection left", "SELECT usename"),
    "53400": ("a limit", "SHOW temp_file_limit;"),
    "42P01": ("not there", "Find its name"),
    "42703": ("not there", "Find its name"),
    "42704": ("not there", "Find its name"),
    "42883": ("not there", "Find its name"),
    "3F000": ("not there", "Find its name"),
    "42P07": ("beside the history", "If it may go, drop it"),
    "42710": ("beside the history", "If it may go, drop it"),
    "25006": ("only takes reads", "Point DATABASE_URL"),
}


@pytest.mark.parametrize("sqlstate", CAUSES)
def test_the_cause_by_its_code(sqlstate: str) -> None:
    """Each code says what it means here, and what to do first."""
    says, first = CAUSES[sqlstate]
    cause = explain(error(sqlstate), place())
    assert says in cause.says
    assert cause.next_steps[0].startswith(first)


def test_what_is_not_known_is_left_to_postgresql() -> None:
    """Its words, with their hint, stand alone."""
    assert explain(error("XX000", hint="Try."), place()) == Cause()


@pytest.mark.parametrize("sqlstate", ["23505", "23502", "23503", "23514", "23P01"])
def test_a_constraint_is_named_with_its_table(sqlstate: str) -> None:
    """PostgreSQL's message often names only one of them."""
    named = DatabaseError("no", sqlstate=sqlstate, named=MORE)
    assert explain(named, place()).says == 'the constraint is "item_key" of "shop"."Item"'
    assert explain(error(sqlstate), place()) == Cause()


@pytest.mark.parametrize("sqlstate", ["55P03", "40P01"])
def test_blockers_can_be_ended(sqlstate: str) -> None:
    """Each with its command; whoever's query pretends to be a blocker is none."""
    blockers = ("pid 7, application 'pid 8, x'", "pid 12, application ''")
    steps = explain(error(sqlstate), place(blockers=blockers)).next_steps
    assert [step for step in steps if "pg_terminate_backend" in step] == [
        "SELECT pg_terminate_backend(7); -- if it may be ended",
        "SELECT pg_terminate_backend(12); -- if it may be ended",
    ]
    assert "SIDECAR_REPAIR_TIMEOUT" in steps[-1]


def test_a_cancelled_statement() -> None:
    """Our own limit is named; without one it was somebody else's."""
    ours = explain(error("57014"), place(statement_timeout_s=1.5))
    assert "1.5 s (SIDECAR_STATEMENT_TIMEOUT)" in ours.says
    assert ours.next_steps
    assert "somebody cancelled it" in explain(error("57014"), place()).says


EXTENSIONS = {
    'CREATE EXTENSION IF NOT EXISTS "vector"': ('"vector"', "pgvector"),
    "create extension postgis with schema x": ('"postgis"', "PostGIS"),
    'CREATE EXTENSION "uuid-ossp"': ('"uuid-ossp"', "postgresql-contrib"),
}


@pytest.mark.parametrize("sql", EXTENSIONS)
@pytest.mark.parametrize("sqlstate", ["0A000", "58P01"])
def test_an_extension_that_is_not_installed(sql: str, sqlstate: str) -> None:
    """Its name, and the package to install on the server."""
    name, package = EXTENSIONS[sql]
    cause = explain(error(sqlstate), place(sql))
    assert cause.says == f"the extension {name} is not installed on the database server"
    assert package in cause.next_steps[0]


def test_other_things_that_are_not_supported() -> None:
    """The code is that of many things; only CREATE EXTENSION speaks of an extension."""
    assert explain(error("0A000"), place("ALTER TABLE t ADD x int")) == Cause()


# --- rights ----------------------------------------------------------------------

DENIED = {
    "permission denied for table my table": Denied(owner=False, kind="table", name="my table"),
    "permission denied for schema public": Denied(owner=False, kind="schema", name="public"),
    "permission denied for materialized view m": Denied(
        owner=False, kind="materialized view", name="m"
    ),
    "must be owner of type level": Denied(owner=True, kind="type", name="level"),
    'must be member of role "boss"': Denied(owner=False, kind="role", name="boss"),
    'must be able to SET ROLE "boss"': Denied(owner=False, kind="role", name="boss"),
    'permission denied to create extension "x"': None,
    "keine Berechtigung für Tabelle item": None,
}


@pytest.mark.parametrize("what", DENIED)
def test_what_a_right_is_missing_on(what: str) -> None:
    """Read from the message, where it is English; of no other code."""
    assert causes.denied(error("42501", what)) == DENIED[what]
    assert causes.denied(error("42P01", what)) is None


OTHERS = [
    (Denied(owner=True, kind="table", name="s.item"), 'ALTER TABLE s.item OWNER TO "app";'),
    (Denied(owner=True, kind="relation", name="s.item"), 'ALTER TABLE s.item OWNER TO "app";'),
    (
        Denied(owner=True, kind="materialized view", name="s.m"),
        'ALTER MATERIALIZED VIEW s.m OWNER TO "app";',
    ),
    (Denied(owner=False, kind="role", name='"boss"'), 'GRANT "boss" TO "app";'),
    (Denied(owner=False, kind="database", name='"d"'), 'GRANT CREATE ON DATABASE "d" TO "app";'),
    (Denied(owner=False, kind="function", name="f"), 'GRANT EXECUTE ON FUNCTION f TO "app";'),
]


@pytest.mark.parametrize(("asked", "command"), OTHERS)
def test_the_command_that_gives_the_right(asked: Denied, command: str) -> None:
    """It is complete, with the name of the role."""
    assert explain(error("42501"), place(denied=asked)).next_steps == (command,)


ON_ROWS = {
    "TRUNCATE TABLE item": "TRUNCATE",
    "DELETE FROM ONLY item": "SELECT, DELETE",
    'INSERT INTO "item"("id") VALUES (1)': "SELECT, INSERT",
    "update s.item set x = 1": "SELECT, UPDATE",
    "INSERT INTO items SELECT 1 FROM item": "SELECT",
    "CREATE TRIGGER t AFTER INSERT ON item": "TRIGGER",
    "CREATE TABLE x (y int REFERENCES item)": "REFERENCES",
    "CREATE VIEW v AS SELECT FROM item": "SELECT",
}


@pytest.mark.parametrize("sql", ON_ROWS)
def test_a_right_on_rows_is_no_more_than_needed(sql: str) -> None:
    """To write the table for whoever writes it, to read it for whoever reads it."""
    asked = Denied(owner=False, kind="table", name="s.item")
    cause = explain(error("42501"), place(sql, denied=asked))
    assert cause.next_steps == (f'GRANT {ON_ROWS[sql]} ON s.item TO "app";',)


def test_rights_on_extensions_and_others() -> None:
    """Where no GRANT would do, or the message was not understood, that is said."""
    made = explain(error("42501"), place("CREATE EXTENSION hstore"))
    assert made.next_steps == ("CREATE EXTENSION IF NOT EXISTS hstore; -- as a superuser",)
    other = explain(error("42501"), place("ALTER TABLE t ADD x int"))
    assert other.says == 'the role "app" lacks a right'
