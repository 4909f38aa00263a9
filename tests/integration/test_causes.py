"""The cause is still there: exit 4, nothing changed, and words which lead a person on.

The query that is printed finds just the rows in the way; once they are put right, the next
run repairs. No value of a row is told unless it is asked for.
"""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from sidecar import offenders
from tests.command import Said, Scene, unchanged
from tests.incident import Migration
from tests.integration.test_ledger_and_folder import outcome
from tests.postgres import Database, Role

INIT = Migration(
    "1_init",
    """\
CREATE TYPE level AS ENUM ('LOW', 'HIGH', 'SECRET');
CREATE TABLE team (id text PRIMARY KEY, region text, UNIQUE (id, region));
CREATE TABLE item (id int PRIMARY KEY, code text, team_id text, size text, big bigint,
  level level, region text, CONSTRAINT code_known CHECK (code <> 'never'));
CREATE UNIQUE INDEX item_size_key ON item (size);
CREATE TABLE bare (code text, n int);
""",
)

ROWS = """
INSERT INTO team VALUES ('t1', 'north');
INSERT INTO item VALUES
  (1, 'secret', 't1', '10', 1, 'LOW', 'north'),
  (2, 'secret', 'secret', 'secret', 2, 'SECRET', NULL),
  (3, 'Secret', NULL, NULL, 3000000000, 'HIGH', NULL), (4, NULL, 't1', NULL, 4, NULL, 'south');
INSERT INTO bare VALUES ('secret', 1), ('secret', 2), (NULL, NULL);
"""


@dataclass(frozen=True, slots=True)
class Case:
    """A statement that meets rows, what is said of them, and which rows the query finds.

    `shown` is what stands there too once values may be told; `cure` puts the rows right.
    """

    sql: str
    sqlstate: str
    says: str
    finds: list[tuple[Any, ...]]
    shown: str
    cure: str
    since: int = 0


CASES = {
    "unique index": Case(
        "CREATE UNIQUE INDEX k ON item (code)",
        "23505",
        'rows of public.item that share their ("code") with another: 2 (1 value)',
        [("secret", 2)],
        "first: (secret,2)",
        "UPDATE item SET code = 'other' WHERE id = 1",
    ),
    "unique constraint": Case(
        "ALTER TABLE bare ADD CONSTRAINT k UNIQUE (code)",
        "23505",
        'rows of public.bare that share their ("code") with another: 2 (1 value)',
        [("secret", 2)],
        "first: (secret,2)",
        "DELETE FROM bare",
    ),
    "unique over an expression, in part": Case(
        'CREATE UNIQUE INDEX k ON item (lower(code) COLLATE "C" DESC, (1)) WHERE id < 4',
        "23505",
        "with another: 3 (1 value)",
        [("secret", 1, 3)],
        "first: (secret,1,3)",
        "UPDATE item SET code = id",
    ),
    "unique with equal NULLs": Case(
        "CREATE UNIQUE INDEX k ON item (region) NULLS NOT DISTINCT",
        "23505",
        'that share their ("region") with another: 2 (1 value)',
        [(None, 2)],
        "first: (,2)",
        "UPDATE item SET region = id",
        since=15,
    ),
    "NOT NULL": Case(
        "ALTER TABLE item ALTER COLUMN code SET NOT NULL",
        "23502",
        'rows of public.item with NULL in "code": 1',
        [(4,)],
        "first: (4)",
        "UPDATE item SET code = 'x' WHERE code IS NULL",
    ),
    "primary key": Case(
        "ALTER TABLE bare ADD PRIMARY KEY (n)",
        "23502",
        'rows of public.bare with NULL in "n": 1',
        [("(0,3)",)],
        'first: ("(0,3)")',
        "DELETE FROM bare",
    ),
    "a new column without a default": Case(
        'ALTER TABLE item ADD COLUMN more int, ADD COLUMN "New one" text NOT NULL',
        "23502",
        'that would have NULL in the new column "New one" (it has no DEFAULT): 4',
        [(1,), (2,), (3,), (4,)],
        "first: (1), (2), (3), (4)",
        "DELETE FROM item",
    ),
    "foreign key": Case(
        "ALTER TABLE item ADD CONSTRAINT f FOREIGN KEY (team_id) REFERENCES team (id)",
        "23503",
        'rows of public.item whose ("team_id") is not in "public"."team" ("id"): 1',
        [(2, "secret")],
        "first: (2,secret)",
        "UPDATE item SET team_id = NULL WHERE id = 2",
    ),
    "foreign key of two columns": Case(
        "ALTER TABLE item ADD FOREIGN KEY (team_id, region) REFERENCES team (id, region)",
        "23503",
        'whose ("team_id", "region") is not in "public"."team" ("id", "region"): 1',
        [(4, "t1", "south")],
        "first: (4,t1,south)",
        "DELETE FROM item WHERE id = 4",
    ),
    "foreign key, in full": Case(
        "ALTER TABLE item ADD FOREIGN KEY (team_id, region) REFERENCES team (id, region)"
        " MATCH FULL",
        "23503",
        'whose ("team_id", "region") is not in "public"."team" ("id", "region"): 2',
        [(2, "secret", None), (4, "t1", "south")],
        "first: (2,secret,), (4,t1,south)",
        "DELETE FROM item WHERE id IN (2, 4)",
    ),
    "a foreign key made valid": Case(
        "ALTER TABLE item ADD CONSTRAINT f FOREIGN KEY (team_id) REFERENCES team NOT VALID;\n"
        "ALTER TABLE item VALIDATE CONSTRAINT f",
        "23503",
        'rows of public.item whose ("team_id") is not in "public"."team" ("id"): 1',
        [(2, "secret")],
        "first: (2,secret)",
        "UPDATE item SET team_id = NULL WHERE id = 2",
    ),
    "check": Case(
        "ALTER TABLE item ADD CONSTRAINT c CHECK (code = lower(code) OR id > 3)",
        "23514",
        "rows of public.item that violate CHECK (code = lower(code) OR id > 3): 1",
        [(3,)],
        "first: (3)",
        "UPDATE item SET code = lower(code)",
    ),
    "text to integer": Case(
        "ALTER TABLE item ALTER COLUMN size TYPE integer USING (size::integer)",
        "22P02",
        "rows of public.item with a value in size that is no integer: 1",
        [(2, "secret")],
        "first: (2,secret)",
        "UPDATE item SET size = NULL WHERE id = 2",
    ),
    "text to date": Case(
        "ALTER TABLE bare ALTER COLUMN code TYPE date USING code::date",
        "22007",
        "rows of public.bare with a value in code that is no date: 2",
        [("(0,1)", "secret"), ("(0,2)", "secret")],
        'first: ("(0,1)",secret), ("(0,2)",secret)',
        "DELETE FROM bare",
        since=16,
    ),
    "too long": Case(
        "ALTER TABLE item ALTER COLUMN code TYPE varchar(5)",
        "22001",
        "rows of public.item with a value in code that is no character varying(5): 3",
        [(1, "secret"), (2, "secret"), (3, "Secret")],
        "first: (1,secret), (2,secret), (3,Secret)",
        "UPDATE item SET code = 'short  '",
    ),
    "too big": Case(
        "ALTER TABLE item ALTER COLUMN big TYPE integer",
        "22003",
        "rows of public.item with a value in big that is no integer: 1",
        [(3, 3000000000)],
        "first: (3,3000000000)",
        "DELETE FROM item WHERE id = 3",
    ),
    "a value that the new enum has not": Case(
        "CREATE TYPE level_new AS ENUM ('LOW', 'HIGH');\n"
        "ALTER TABLE item ALTER COLUMN level TYPE level_new USING (level::text::level_new);\n"
        "ALTER TYPE level RENAME TO level_old;\n"
        "ALTER TYPE level_new RENAME TO level;\n"
        "DROP TYPE level_old",
        "22P02",
        "with a value in level that is no public.level: 1",
        [(2, "SECRET")],
        "first: (2,SECRET)",
        "UPDATE item SET level = 'HIGH' WHERE id = 2",
    ),
}
SECRETS = ("secret", "Secret", "SECRET", "3000000000", "south", "t1")


@pytest.fixture
def scene(latest_database: Database, tmp_path: Path) -> Scene:
    """A database of its own, and a folder that tests fill."""
    return Scene(latest_database, tmp_path / "migrations")


def planted(scene: Scene, sql: str) -> Scene:
    """The same, with rows and a failed migration of which nothing ran."""
    scene.plant(0, Migration("2_more", f"{sql};\n"), INIT)
    scene.database.execute(ROWS)
    return scene


def told(ended: Said) -> str:
    """All that a run says."""
    assert ended.outcome is not None, ended.what
    return "\n".join((ended.what, *ended.next_steps, ended.log, str(ended.outcome.summary)))


@pytest.mark.parametrize("name", CASES)
def test_rows_in_the_way(database: Database, tmp_path: Path, name: str) -> None:
    """They are counted, the query finds just them, no value is told; put right, it repairs."""
    case = CASES[name]
    if database.server.major < case.since:
        return
    scene = planted(Scene(database, tmp_path / "migrations"), case.sql)
    with unchanged(database):
        ended = scene.run()
        shown = scene.run(SIDECAR_SHOW_VALUES="true")
    assert outcome(ended) == outcome(shown) == (4, "repair-failed"), ended.what
    assert f"[SQLSTATE {case.sqlstate}]" in ended.what
    assert case.says in ended.what
    assert case.shown in shown.what
    assert not [secret for secret in SECRETS if secret in told(ended)]
    query = ended.next_steps[0]
    assert sorted(database.execute(query), key=str) == sorted(case.finds, key=str)
    assert query == shown.next_steps[0]
    assert ended.next_steps[-1] == "Remove the cause, then start again."
    database.execute(case.cure)
    assert outcome(scene.run()) == (0, "repaired")


# --- rows that a statement gives -------------------------------------------------

FIRST = "ALTER TABLE bare ADD COLUMN first int;\n"
"""So that the catalog shows that nothing ran."""
GIVEN = {
    "a key that is there already": (
        FIRST + "INSERT INTO item (id, size) VALUES (5, 'five'), (6, 'secret')",
        "Key (size)=(***) already exists.",
        'the constraint is "item_size_key" of "public"."item"',
    ),
    "a check that was there before": (
        FIRST + "UPDATE item SET code = 'never' WHERE code = 'secret'",
        "",
        'the constraint is "code_known" of "public"."item"',
    ),
    "a value that does not convert": (
        FIRST + "UPDATE item SET big = code::bigint WHERE id = 1",
        'invalid input syntax for type bigint: "***"',
        "",
    ),
    "a deferred key": (
        (
            "ALTER TABLE item ADD FOREIGN KEY (region) REFERENCES team (id) DEFERRABLE INITIALLY"
            " DEFERRED NOT VALID;\nUPDATE item SET region = 'secret' WHERE id = 4"
        ),
        "COMMIT failed:",
        "Key (region)=(***) is not present",
    ),
    "rows that the migration makes itself": (
        (
            "CREATE TABLE made (code text);\n"
            "INSERT INTO made SELECT 'secret' FROM item;\n"
            "CREATE UNIQUE INDEX made_key ON made (code)"
        ),
        "Key (code)=(***) is duplicated.",
        'the constraint is "made_key" of "public"."made"',
    ),
    "rows of an old table that the migration makes itself": (
        (
            "ALTER TABLE bare ADD COLUMN more int;\n"
            "INSERT INTO team SELECT id, 'secret' FROM item;\n"
            "CREATE UNIQUE INDEX region_key ON team (region)"
        ),
        "Key (region)=(***) is duplicated.",
        'no rows of public.team that share their ("region") with another now: the migration itself',
    ),
    "a backfill that left a row out": (
        (
            "ALTER TABLE item ADD COLUMN more text;\nUPDATE item SET more = code;\n"
            "ALTER TABLE item ALTER COLUMN more SET NOT NULL"
        ),
        'column "more" of relation "item" contains null values',
        'the column is "more" of "public"."item"',
    ),
}


@pytest.mark.parametrize("name", GIVEN)
def test_rows_that_a_statement_gives(scene: Scene, name: str) -> None:
    """There is nothing to look for in the tables: table and constraint are named, no value."""
    sql, says, more = GIVEN[name]
    planted(scene, sql)
    with unchanged(scene.database):
        ended = scene.run()
        shown = scene.run(SIDECAR_SHOW_VALUES="true")
    assert outcome(ended) == (4, "repair-failed")
    assert says in ended.what
    assert more in ended.what
    assert not [step for step in ended.next_steps if step.startswith("SELECT")]
    assert not [secret for secret in SECRETS if secret in told(ended)]
    masked = [step for step in ended.next_steps if "SIDECAR_SHOW_VALUES=true" in step]
    assert bool(masked) == (ended.what != shown.what)


HELD_WHEN_LOOKED_AT = Migration(
    "2_held",
    "CREATE FUNCTION held(int) RETURNS bool LANGUAGE plpgsql AS $$ BEGIN"
    " IF current_setting('transaction_read_only') = 'on' THEN PERFORM pg_sleep(60); END IF;"
    " RETURN false; END $$;\n",
)


def test_the_look_is_short(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """It ends by a limit of its own; the query is told all the same."""
    monkeypatch.setattr(offenders, "LOOK_AT_MOST", "100ms")
    check = Migration("3_check", "ALTER TABLE item ADD CONSTRAINT c CHECK (held(id));\n")
    scene.plant(0, check, INIT, HELD_WHEN_LOOKED_AT)
    scene.database.execute(ROWS)
    ended = scene.run()
    assert "CHECK (public.held(id)) could not be counted within 100ms" in ended.what
    assert ended.next_steps[0] == "SELECT r.id FROM public.item AS r WHERE NOT (public.held(id));"


def test_few_rows_are_told(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """Many rows are not counted to the end, and the first of them are told."""
    monkeypatch.setattr(offenders, "COUNT_AT_MOST", 3)
    planted(scene, "ALTER TABLE item ADD CONSTRAINT c CHECK (id > 100)")
    scene.database.execute("INSERT INTO item SELECT n FROM generate_series(5, 50) AS n")
    ended = scene.run(SIDECAR_SHOW_VALUES="true")
    assert "CHECK (id > 100): more than 3; first: (1), (2), (3), (4), (5);" in ended.what


def test_row_security_hides_no_row(scene: Scene) -> None:
    """Rows which the role may not see are not counted as none."""
    role = scene.database.role(createdb=True)
    planted(scene, "ALTER TABLE item ALTER COLUMN code SET NOT NULL")
    scene.database.execute(
        f"ALTER TABLE item OWNER TO {role.name}; ALTER TABLE item FORCE ROW LEVEL SECURITY;"
        f"ALTER TABLE item ENABLE ROW LEVEL SECURITY; GRANT ALL ON SCHEMA public TO {role.name};"
        f"GRANT ALL ON _prisma_migrations TO {role.name}"
    )
    ended = scene.run(**login(scene, role))
    assert outcome(ended) == (4, "repair-failed")
    assert 'with NULL in "code" could not be counted' in ended.what


# --- rights ----------------------------------------------------------------------

USE = "GRANT USAGE, CREATE ON SCHEMA public TO {role}"
BOOKS = "GRANT SELECT, INSERT, UPDATE ON _prisma_migrations TO {role}"


@dataclass(frozen=True, slots=True)
class Right:
    """A statement, the rights that the role has, and the command that gives what is missing."""

    sql: str
    has: tuple[str, ...]
    command: str


RIGHTS = {
    "table": Right(
        "ALTER TABLE item ADD COLUMN more int",
        (USE, BOOKS),
        'ALTER TABLE public.item OWNER TO "{role}";',
    ),
    "type": Right(
        "ALTER TYPE level ADD VALUE 'MORE'",
        (USE, BOOKS),
        'ALTER TYPE public.level OWNER TO "{role}";',
    ),
    "schema": Right(
        "CREATE TABLE more (id int)",
        ("GRANT USAGE ON SCHEMA public TO {role}", BOOKS),
        'GRANT USAGE, CREATE ON SCHEMA "public" TO "{role}";',
    ),
    "reference": Right(
        "CREATE TABLE more (id text REFERENCES team (id))",
        (USE, BOOKS),
        'GRANT REFERENCES ON public.team TO "{role}";',
    ),
    "rows that are read": Right(
        "CREATE TABLE more AS SELECT id FROM team",
        (USE, BOOKS),
        'GRANT SELECT ON public.team TO "{role}";',
    ),
    "rows that are written": Right(
        "CREATE TABLE more (id int);\nUPDATE bare SET code = 'x' WHERE n = 1",
        (USE, BOOKS),
        'GRANT SELECT, UPDATE ON public.bare TO "{role}";',
    ),
    "sequence": Right(
        "CREATE TABLE more (id int);\nSELECT setval('counter', 7)",
        (USE, BOOKS),
        'GRANT USAGE, SELECT, UPDATE ON SEQUENCE public.counter TO "{role}";',
    ),
    "ledger": Right(
        "CREATE TABLE more (id int)",
        (USE, "GRANT SELECT ON _prisma_migrations TO {role}"),
        'GRANT SELECT, INSERT, UPDATE ON public._prisma_migrations TO "{role}";',
    ),
}


def login(scene: Scene, role: Role) -> dict[str, str]:
    """The settings with which this role logs in."""
    url = scene.database.url(user=role.name, password=role.password, schema="public")
    return {"DATABASE_URL": url}


@pytest.mark.parametrize("name", RIGHTS)
def test_a_right_that_is_missing(scene: Scene, name: str) -> None:
    """The command that gives it is told; once it is given, the next run repairs."""
    right, role = RIGHTS[name], scene.database.role(createdb=True, owner=False)
    counter = Migration("1_seq", "CREATE SEQUENCE counter;\n")
    scene.plant(0, Migration("2_more", f"{right.sql};\n"), INIT, counter)
    for grant in right.has:
        scene.database.execute(grant.format(role=role.name))
    with unchanged(scene.database):
        ended = scene.run(**login(scene, role))
    assert outcome(ended) == (4, "repair-failed")
    assert "[SQLSTATE 42501]" in ended.what
    assert ended.next_steps[0] == right.command.format(role=role.name)
    scene.database.execute(ended.next_steps[0])
    assert outcome(scene.run(**login(scene, role))) == (0, "repaired")


# --- others, limits, drift -------------------------------------------------------


def test_who_is_in_the_way(scene: Scene) -> None:
    """The session which blocks is named, with the command that ends it; then it repairs."""
    planted(scene, "ALTER TABLE bare ADD COLUMN more int")
    limits = {"SIDECAR_LOCK_TIMEOUT": "500ms", "SIDECAR_REPAIR_TIMEOUT": "0s"}
    with closing(scene.database.server.connect(scene.database.name)) as holder:
        holder.execute("BEGIN; LOCK TABLE bare")
        ended = scene.run(**limits)
        assert outcome(ended) == (4, "repair-failed")
        pid = holder.info.backend_pid
        assert f"held by: pid {pid}," in ended.what
        assert ended.next_steps[0] == f"SELECT pg_terminate_backend({pid}); -- if it may be ended"
        scene.database.execute(ended.next_steps[0])
        assert outcome(scene.run()) == (0, "repaired")


SLEEPS = "CREATE TABLE more AS SELECT pg_sleep(9) IS NULL AS x FROM item"
LIMITS = {
    "statement_timeout": (
        SLEEPS,
        {"SIDECAR_STATEMENT_TIMEOUT": "100ms"},
        "it may run for 0.1 s (SIDECAR_STATEMENT_TIMEOUT)",
        "Set SIDECAR_STATEMENT_TIMEOUT higher",
    ),
    "the script's own": (
        "SET statement_timeout = '100ms';\n" + SLEEPS,
        {},
        "the script sets a statement_timeout of its own",
        "Remove the cause",
    ),
    "temp_file_limit": (
        "CREATE TABLE more AS SELECT n FROM item, generate_series(1, 99999) n ORDER BY 1 DESC",
        {},
        "a limit in the configuration of the server",
        "SHOW temp_file_limit;",
    ),
    "what it needs is gone": (
        "ALTER TABLE gone ADD COLUMN more int",
        {},
        "what it needs is not there",
        "Find its name in the migrations folder",
    ),
}


@pytest.mark.parametrize("name", LIMITS)
def test_what_is_no_matter_of_rows(scene: Scene, name: str) -> None:
    """Limits are named with their settings, and a database behind its history for what it is."""
    sql, variables, says, next_step = LIMITS[name]
    gone = Migration("1_gone", "CREATE TABLE gone (id int);\n")
    scene.plant(0, Migration("2_more", f"{sql};\n"), INIT, gone)
    scene.database.execute(f"{ROWS}; DROP TABLE gone")
    with unchanged(scene.database):
        for setting in ("temp_file_limit", "work_mem"):
            scene.database.execute(f"ALTER DATABASE {scene.database.name} SET {setting} = '64kB'")
        ended = scene.run(**variables)
        scene.database.execute(f"ALTER DATABASE {scene.database.name} RESET ALL")
    assert outcome(ended) == (4, "repair-failed"), ended.what
    assert says in ended.what
    assert ended.next_steps[0].startswith(next_step)
