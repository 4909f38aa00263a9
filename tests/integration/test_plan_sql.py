"""The script of `plan --sql`, run with psql as its first line says."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest

from sidecar.embedded import bundled_bindir
from sidecar.model import LOCK_KEY, Hazard, Plan, Step, StepKind
from sidecar.plan_sql import plan_sql
from tests.outcomes import PLAN, TWO_PLANS, planned, together
from tests.postgres import Database

RESOLVE = (
    "UPDATE public.ledger SET rolled_back_at = now() WHERE id = 'a' AND rolled_back_at IS NULL"
)
INSERT = (
    """INSERT INTO public.ledger (id, logs) VALUES ('b', '{"says": "it''s $do$; -- \\ odd"}')"""
)
REPAIR = replace(
    PLAN,
    segments=together(
        Step(
            StepKind.UNDO, "DROP TABLE old", "made here", must_be_empty="SELECT EXISTS (TABLE old)"
        ),
        Step(
            StepKind.STATEMENT, "SET standard_conforming_strings = off", "missing", index=1, line=1
        ),
        Step(StepKind.STATEMENT, "CREATE TABLE made (id int) -- here", "missing", Hazard.LOCKS),
        Step(StepKind.LEDGER, RESOLVE, "the failed attempt is over"),
        Step(StepKind.LEDGER, INSERT, "the migration is applied"),
    ),
)


@pytest.fixture
def planted(latest_database: Database) -> Database:
    """A ledger with a failed row, and a table that the migration made, in a schema of its own."""
    latest_database.execute("CREATE TABLE ledger (id text, logs text, rolled_back_at timestamptz)")
    latest_database.execute("INSERT INTO ledger VALUES ('a')")
    latest_database.execute('CREATE SCHEMA "My-App"')
    latest_database.execute('CREATE TABLE "My-App".old ()')
    return latest_database


def run(database: Database, plan: Plan, folder: Path) -> subprocess.CompletedProcess[str]:
    """What psql makes of the plan's script."""
    outcome = replace(TWO_PLANS, migrations=(planned(plan),))
    script = folder / "plan.sql"
    script.write_text(plan_sql(outcome, search_path='"My-App"'), encoding="utf-8")
    psql = str(bundled_bindir() / "psql")
    command = [psql, "-X", "-v", "ON_ERROR_STOP=1", "-f", str(script), database.conninfo]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def ledger(database: Database) -> list[tuple[str, bool, str | None]]:
    """Each row's id, whether it is rolled back, and its logs."""
    rows = database.execute("SELECT id, rolled_back_at IS NOT NULL, logs FROM ledger ORDER BY id")
    return [(row[0], row[1], row[2]) for row in rows]


def test_the_script_repairs(planted: Database, tmp_path: Path) -> None:
    """psql carries out every step, in the search_path the plan was made with."""
    done = run(planted, REPAIR, tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert planted.execute("""SELECT to_regclass('"My-App".made') IS NOT NULL""") == [(True,)]
    assert ledger(planted) == [
        ("a", True, None),
        ("b", False, """{"says": "it's $do$; -- \\ odd"}"""),
    ]


def test_a_second_run_changes_nothing(planted: Database, tmp_path: Path) -> None:
    """The ledger row must be as it was found; where it is not, all is rolled back."""
    again = replace(REPAIR, segments=together(*REPAIR.steps[2:]))
    planted.execute("UPDATE ledger SET rolled_back_at = now()")
    before = ledger(planted)
    done = run(planted, again, tmp_path)
    assert done.returncode != 0
    assert "the ledger row is not as it was found" in done.stderr
    assert planted.execute("""SELECT to_regclass('"My-App".made') IS NULL""") == [(True,)]
    assert ledger(planted) == before


def test_rows_that_appeared_are_not_lost(planted: Database, tmp_path: Path) -> None:
    """A table that was empty when the plan was made is not dropped with rows in it."""
    planted.execute('INSERT INTO "My-App".old DEFAULT VALUES')
    done = run(planted, REPAIR, tmp_path)
    assert done.returncode != 0
    assert "rows appeared that the next step would lose" in done.stderr
    assert planted.execute('SELECT count(*) FROM "My-App".old') == [(1,)]


def test_another_migrator_is_not_disturbed(planted: Database, tmp_path: Path) -> None:
    """While Prisma holds its lock the script fails at once and changes nothing."""
    with psycopg.connect(planted.conninfo, autocommit=True) as prisma:
        prisma.execute("SELECT pg_advisory_lock(%s)", (LOCK_KEY,))
        done = run(planted, REPAIR, tmp_path)
    assert done.returncode != 0
    assert "another migrator holds the lock" in done.stderr
    assert ledger(planted) == [("a", False, None)]
