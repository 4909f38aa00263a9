"""The plan as a script for psql; PostgreSQL's own parser reads it here."""

from __future__ import annotations

from dataclasses import replace

import postgast
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.model import LOCK_KEY, FindingName, OutcomeName, Step, StepKind
from sidecar.plan_sql import plan_sql
from tests.golden import golden
from tests.outcomes import BY_NAME, PLAN, REFUSAL, TWO_PLANS, planned, refused, together

ODD_TEXT = st.text(st.characters(codec=None) | st.sampled_from("\n\r\x00\x1b\x85\u2028-'$;"))


def kinds(sql: str) -> list[str]:
    """What PostgreSQL's parser finds in the script, empty statements left out."""
    found = [statement.stmt.WhichOneof("node") for statement in postgast.parse(sql).stmts]
    return [str(kind) for kind in found if kind]


def one_step(step: Step) -> str:
    """The script of a plan with this step alone."""
    plan = replace(PLAN, segments=together(step))
    return plan_sql(replace(TWO_PLANS, migrations=(planned(plan),)))


def test_the_script() -> None:
    """One transaction for each plan, comments for what is refused."""
    golden("plan-sql", plan_sql(TWO_PLANS, search_path='"$user", o\'hara', lock_timeout_s=2.5))


def test_the_script_can_be_parsed() -> None:
    """Every step stands in the script as a statement of its own, inside its transaction."""
    found = kinds(plan_sql(TWO_PLANS))
    opening = ["transaction_stmt", *["variable_set_stmt"] * 2, "do_stmt"]
    assert found == [
        *opening,
        *("create_stmt", "update_stmt"),
        *["variable_set_stmt"] * 2,
        *("do_stmt", "transaction_stmt"),
        *opening,
        *("alter_object_schema_stmt", "drop_stmt", "transaction_stmt"),
    ]


def test_it_takes_the_lock_without_waiting() -> None:
    """A script run by hand keeps other migrators out, and fails where one is at work."""
    script = plan_sql(TWO_PLANS)
    assert script.count(f"pg_try_advisory_xact_lock({LOCK_KEY})") == 2
    assert "pg_advisory_" not in script


@pytest.mark.parametrize(("given_s", "written"), [(5, "5000ms"), (0.25, "250ms"), (0.0001, "1ms")])
def test_locks_are_never_waited_for_without_end(given_s: float, written: str) -> None:
    """lock_timeout is what was configured and never 0, which would mean no limit."""
    assert f"lock_timeout = '{written}'" in plan_sql(TWO_PLANS, lock_timeout_s=given_s)


def test_a_step_that_could_lose_rows_is_guarded() -> None:
    """What `run` asks before it drops a table, the script asks too."""
    step = Step(
        StepKind.UNDO, "DROP TABLE t", "made here", must_be_empty="SELECT EXISTS (SELECT FROM t)"
    )
    script = one_step(step)
    assert "IF (SELECT EXISTS (SELECT FROM t)) THEN" in script
    assert script.index("EXISTS") < script.index("DROP TABLE")
    assert kinds(script)[-3:] == ["do_stmt", "drop_stmt", "transaction_stmt"]


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT 1",
        "SELECT 1;",
        "SELECT 1 -- it ends here",
        "SELECT 1; -- it ends here",
        "SELECT '--'",
        "SELECT 1 /* ; */",
        "\n  SELECT 1\n",
    ],
)
def test_every_step_ends_with_a_semicolon(sql: str) -> None:
    """A comment at the end of a statement swallows neither its end nor the next one."""
    assert kinds(one_step(Step(StepKind.STATEMENT, sql, "missing")))[-2:] == [
        "select_stmt",
        "transaction_stmt",
    ]


@pytest.mark.parametrize("audit", ["$do$", "$do$ $_do$", "it''s", "a;b"])
def test_no_text_in_the_ledger_breaks_the_script(audit: str) -> None:
    """The audit quotes evidence; whatever stands in it, it stays a literal."""
    sql = f"INSERT INTO m VALUES ('{audit}')"
    script = one_step(Step(StepKind.LEDGER, sql, "applied"))
    assert sql in script
    assert kinds(script)[-2:] == ["do_stmt", "transaction_stmt"]


def test_what_is_refused_is_a_comment() -> None:
    """Where nothing may be done the script does nothing, and says why."""
    script = plan_sql(BY_NAME[OutcomeName.HALTED])
    assert kinds(script) == []
    assert script.count("-- nothing is done: ") == len(FindingName)


@given(odd=ODD_TEXT)
def test_no_text_becomes_a_statement(odd: str) -> None:
    """A reason or a step's text with a line break in it cannot smuggle in SQL."""
    step = replace(PLAN.steps[0], reason=odd)
    migration = refused(FindingName.DIVERGED)
    refusal = replace(REFUSAL, reason=odd, next_steps=(odd,))
    outcome = replace(
        TWO_PLANS,
        summary=odd,
        migrations=(
            planned(replace(PLAN, segments=together(step))),
            replace(migration, decision=refusal),
        ),
    )
    plain = replace(
        TWO_PLANS, migrations=(planned(replace(PLAN, segments=together(*PLAN.steps[:1]))),)
    )
    assert kinds(plan_sql(outcome)) == kinds(plan_sql(plain))
