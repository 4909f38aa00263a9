"""From a finding and the policy to the steps, and what no plan may ever hold."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.model import (
    Action,
    FactKey,
    FindingName,
    Hazard,
    LedgerRow,
    MigrationFile,
    Nature,
    Plan,
    Policy,
    Preset,
    Refusal,
    Segment,
    StepKind,
)
from sidecar.plan import Situation, decide
from tests.unit.builders import (
    NAME,
    OTHER,
    adapter_log,
    finding_of,
    ledger_row,
    made_by,
    native_log,
    replay,
    script_of,
    situation,
    table,
)

FORWARD, REBUILD = Policy(Preset.FORWARD), Policy(Preset.REBUILD)
THREE = script_of("CREATE TABLE t1 ()", "CREATE TABLE t2 ()", "CREATE TABLE t3 ()")


T = "CREATE TABLE t ()"
HAS_CRON = """
SELECT EXISTS (SELECT FROM pg_extension WHERE extname = 'pg_cron') INTO has;
IF NOT has THEN RAISE WARNING 'the extension is not there'; END IF;
PERFORM set_config('my.has_cron', has::text, false);"""


def do(body: str) -> str:
    """A block of PL/pgSQL."""
    return f"DO $$ DECLARE has BOOLEAN; BEGIN {body} END $$"


def planned(known: Situation, policy: Policy = FORWARD) -> Plan:
    """The plan, where there must be one."""
    decision = decide(known, policy)
    assert isinstance(decision, Plan), decision
    return decision


def refused(known: Situation, policy: Policy = FORWARD) -> Refusal:
    """The refusal, where there must be one."""
    decision = decide(known, policy)
    assert isinstance(decision, Refusal), decision
    return decision


def run(plan: Plan) -> list[int]:
    """The numbers of the user's statements which a plan runs."""
    return [step.index for step in plan.steps if step.index is not None]


def found(name: str, applied: int | None = None) -> Situation:
    """The script of three statements with this finding, after as many of them."""
    known = situation(THREE, after=applied or 0)
    return replace(known, finding=finding_of(FindingName(name), applied))


# finding: (applied, and for each preset the action, with the statements that are run)
TABLE: dict[str, tuple[int | None, dict[str, tuple[str, list[int] | None]]]] = {
    "running": (None, {"forward": ("halt", None), "rebuild": ("halt", None)}),
    "nothing-applied": (
        0,
        {
            "forward": ("reapply", [1, 2, 3]),
            "rebuild": ("reapply", [1, 2, 3]),
            "ledger": ("mark-rolled-back", []),
            "observe": ("halt", None),
        },
    ),
    "partly-applied": (
        2,
        {
            "forward": ("resume", [3]),
            "rebuild": ("rebuild", [1, 2, 3]),
            "ledger": ("halt", None),
            "observe": ("halt", None),
        },
    ),
    "fully-applied": (
        3,
        {
            "forward": ("mark-applied", []),
            "ledger": ("mark-applied", []),
            "observe": ("halt", None),
        },
    ),
    # the policy would allow it; what to undo is not known
    "diverged": (None, {"forward": ("halt", None), "rebuild": ("rebuild", None)}),
    "undetermined": (None, {"forward": ("halt", None), "rebuild": ("halt", None)}),
    "script-missing": (None, {"forward": ("halt", None), "ledger": ("halt", None)}),
}
CASES = [
    (finding, preset, *expected)
    for finding, (_, presets) in TABLE.items()
    for preset, expected in presets.items()
]


def test_the_table_names_every_finding_and_every_action() -> None:
    """A new finding or action needs its own row here."""
    assert set(TABLE) == set(FindingName)
    assert {action for _, _, action, _ in CASES} == set(Action)


@pytest.mark.parametrize(("finding", "preset", "action", "statements"), CASES)
def test_what_is_done_for_a_finding(
    finding: str, preset: str, action: str, statements: list[int] | None
) -> None:
    """Each finding has its action under each preset, as a plan or as a refusal with its reason."""
    decision = decide(found(finding, TABLE[finding][0]), Policy(Preset(preset)))
    assert (decision.finding, decision.action) == (finding, action)
    assert decision.migration == NAME
    if isinstance(decision, Plan):
        assert run(decision) == statements
    else:
        assert statements is None
        assert decision.reason


# --- what is run -----------------------------------------------------------------


def test_a_plan_says_everything_about_each_statement() -> None:
    """A step has the user's own SQL, its number and line, why, and what it endangers."""
    (step, *_) = planned(found("partly-applied", 2)).steps
    assert (step.kind, step.sql) == (StepKind.STATEMENT, "CREATE TABLE t3 ()")
    assert (step.index, step.line, step.hazard) == (3, 3, Hazard.LOCKS)
    assert step.reason == "missing"


@pytest.mark.parametrize(
    ("sql", "hazard"),
    [
        ("CREATE TABLE x ()", "locks"),
        ("DROP TABLE x", "drops"),
        ("ALTER TABLE x ADD a int", "locks"),
        ("ALTER TABLE x DROP a", "drops"),
        ("ALTER TABLE x ADD a int,\nDROP b", "drops"),
        ("ALTER TABLE x ADD a int,drop b", "drops"),
        ("ALTER TABLE x ADD dropped int", "locks"),
        ("DELETE FROM x", "data"),
        ("TRUNCATE x", "data"),
        ("SET a.b = 'c'", "none"),
        ("SELECT 1", "none"),
    ],
)
def test_hazards(sql: str, hazard: str) -> None:
    """What a careful person would want to know stands beside each statement."""
    script = script_of(sql)
    known = situation(script, finding=finding_of(FindingName.NOTHING_APPLIED, 0))
    assert planned(known).steps[0].hazard == hazard


def test_settings_of_the_session_are_made_again() -> None:
    """A resume sets what the script had set before, and runs nothing else twice."""
    script = script_of(
        "SET a.b = 'c'", "CREATE TABLE t2 ()", "SELECT set_config('d.e', 'f', false)",
        "CREATE TABLE t4 ()", "CREATE TABLE t5 ()",
    )  # fmt: skip
    plan = planned(situation(script, after=4))
    assert run(plan) == [1, 3, 5]
    assert [step.reason for step in plan.steps[:3]][2] == "missing"


@pytest.mark.parametrize(
    "sql",
    [
        do(HAS_CRON),
        do("SET search_path = s;"),
        do("IF current_user = 'app' THEN RESET ROLE; END IF;"),
        do("PERFORM set_config('a.b', current_setting('c.d', true), false);"),
        "SELECT set_config('a.b', (SELECT count(*) FROM pg_roles)::text, false)",
    ],
)
def test_a_setting_behind_a_guard_is_made_again(sql: str) -> None:
    """What it looks at is as it was, so that it sets the same."""
    assert run(planned(situation(script_of(sql, T, T), after=2))) == [1, 3]


MAPPED = "CREATE TEMP TABLE m AS SELECT a, b FROM s"


@pytest.mark.parametrize(
    ("statements", "after", "expected"),
    [
        ((MAPPED, T, "TABLE m", "DROP TABLE m", T), 2, [1, 3, 4, 5]),
        ((MAPPED, "SET a.b = c", T, "TABLE m"), 3, [1, 2, 4]),
        ((MAPPED, T, "DROP TABLE m", T), 2, [4]),
        ((MAPPED, T, "DROP TABLE m", T, T), 4, [5]),
        ((MAPPED, T, T), 2, [3]),
        ((MAPPED, T, "DISCARD TEMP", T, T), 4, [5]),
        (("PREPARE p AS SELECT 1", "EXECUTE p", "DEALLOCATE p", T, T), 4, [5]),
        (('PREPARE "P" AS SELECT 1', T, "DEALLOCATE ALL", T, T), 4, [5]),
        (("DISCARD PLANS", T, T), 2, [3]),
    ],
)
def test_of_temporary_objects_only_what_is_needed_is_made_again(
    statements: tuple[str, ...], after: int, expected: list[int]
) -> None:
    """In its place among the settings; what would only drop what is gone is left out."""
    finding = finding_of(FindingName.PARTLY_APPLIED, after)
    known = situation(script_of(*statements), after=after, finding=finding)
    assert run(planned(known)) == expected


def test_what_the_server_alone_shows_hinders_nothing_behind_us() -> None:
    """Roles are in no database; that it ran is known from what comes after it."""
    assert run(planned(situation(script_of("CREATE ROLE x", T, T), after=2))) == [3]


def test_transaction_control_is_left_out() -> None:
    """The repair has transactions of its own."""
    script = script_of(
        "BEGIN", "CREATE TABLE t2 ()", "COMMIT", "START TRANSACTION", "CREATE TABLE t5 ()", "END"
    )
    assert run(planned(situation(script))) == [2, 5]
    assert run(planned(situation(script, after=3))) == [5]


@pytest.mark.parametrize(
    ("statements", "after", "word"),
    [
        (("CREATE TABLE t1 ()", "ALTER ROLE x LOGIN"), 0, "server"),
        (("CREATE TABLE t1 ()", "ALTER SYSTEM SET work_mem = 1"), 0, "server"),
        (("CREATE TABLE t1 ()", "CREATE DATABASE x"), 0, "server"),
        (("CREATE TABLE t1 ()", "COPY x FROM STDIN"), 0, "psql"),
        (("CREATE TABLE t1 ()", "DISCARD ALL"), 0, "Prisma's lock"),
        (("CREATE TABLE t1 ()", "BEGIN", "CREATE TABLE t3 ()", "ROLLBACK"), 0, "takes back"),
        (("CREATE TABLE t1 ()", "ROLLBACK"), 0, "takes back"),
        (("CREATE TABLE t1 ()", "CREATE TEMP TABLE x ()", "CREATE TABLE t3 ()"), 3, ""),
        (("CREATE TEMP TABLE x ()", "DELETE FROM y", T, "TABLE x"), 3, "temporary"),
        (("PREPARE x AS SELECT 1", "CREATE TABLE t2 ()", "CREATE TABLE t3 ()"), 2, "temporary"),
        (("PREPARE x AS SELECT 1", "DEALLOCATE y", T, T), 3, "temporary"),
        (('PREPARE "ALL" AS SELECT 1', 'DEALLOCATE "all"', T, T), 3, "temporary"),
        (("LOAD 'x'", T, T), 2, "temporary"),
        (("DISCARD ALL", T, T), 2, "temporary"),
        (("SET LOCAL search_path = s", "CREATE TABLE t2 ()"), 0, "transaction"),
        ((do("SET LOCAL search_path = s;"), "CREATE TABLE t2 ()"), 0, "transaction"),
        ((do("PERFORM set_config('a.b', 'c', true);"), "CREATE TABLE t2 ()"), 0, "transaction"),
        ((do("SET LOCAL a.b = c; UPDATE x SET a = 1;"), "CREATE TABLE t2 ()"), 0, "transaction"),
        ((do("CREATE TEMP TABLE x ();"), "CREATE TABLE t2 ()", "SELECT 1"), 2, "temporary"),
        ((do("SET a.b = c; SET LOCAL d.e = f;"), T, T), 2, "for one alone"),
        ((do("CREATE TYPE e AS ENUM (); SET a.b = c;"), T, T), 2, "besides"),
        ((do("UPDATE x SET a = 1; PERFORM set_config('a.b', 'c', f());"), T, T), 2, "besides"),
        (("SELECT set_config('a.b', (SELECT max(c) FROM x), false)", T, T), 2, "other now"),
        (("SELECT set_config('a.b', now()::text, false)", T, T), 2, "other now"),
        ((do("PERFORM set_config('a.b', current_date::text, false);"), T, T), 2, "other now"),
        ((do(HAS_CRON), "CREATE EXTENSION pg_cron", T), 2, "the script changes that"),
        (("ALTER DATABASE x SET timezone = 'UTC'", T, T), 2, "begin with"),
        (("DO 'BEGIN COMMIT; END'", "CREATE TABLE t2 ()"), 0, "commits as it goes"),
        (("SET a.b = c", "DO 'BEGIN COMMIT; END'", "CREATE TABLE t3 ()"), 0, "commits as it goes"),
    ],
)
def test_a_script_that_cannot_be_run_safely_is_refused(
    statements: tuple[str, ...], after: int, word: str
) -> None:
    """The refusal names the statement, and says that nothing can be done here."""
    script = script_of(*statements)
    name = FindingName.PARTLY_APPLIED if after else FindingName.NOTHING_APPLIED
    if after == len(statements):
        name = FindingName.FULLY_APPLIED
    known = situation(script, after=after, finding=finding_of(name, after))
    if not word:  # its end is behind it
        assert planned(known).action is Action.MARK_APPLIED
        return
    refusal = refused(known)
    assert refusal.action is not Action.HALT
    assert word in refusal.reason
    assert refusal.next_steps


# --- what commits together -------------------------------------------------------

CIC, VACUUM, VALUE = (
    "CREATE INDEX CONCURRENTLY i ON t (a)",
    "VACUUM t",
    "ALTER TYPE e ADD VALUE 'x'",
)
USE = "ALTER TABLE t ALTER a SET DEFAULT 'x'"

TOGETHER: dict[str, tuple[tuple[str, ...], int, list[str]]] = {
    "plain": ((T, T, T), 1, ["2 3 ledger"]),
    "nothing missing but a solo": ((T, CIC), 1, ["mark", "2 alone", "ledger"]),
    "in the middle": ((T, CIC, T), 0, ["1 mark", "2 alone", "3 ledger"]),
    "behind us": ((T, CIC, T), 2, ["3 ledger"]),
    "two": ((CIC, VACUUM, T), 0, ["mark", "1 alone", "2 alone", "3 ledger"]),
    "settings made again": (("SET a.b = c", CIC), 1, ["1 mark", "2 alone", "ledger"]),
    "values only": ((VALUE, "ALTER TYPE e ADD VALUE 'y' AFTER 'x'"), 0, ["1 2 ledger"]),
    "value not used": ((VALUE, T, "ALTER TABLE t ADD b int DEFAULT 1"), 0, ["1 2 3 ledger"]),
    "value used": ((VALUE, T, USE), 0, ["1 2 mark", "3 ledger"]),
    "value used, there already": ((VALUE, T, USE), 1, ["2 3 ledger"]),
    "value perhaps in rows": ((VALUE, "UPDATE t SET a = b"), 0, ["1 mark", "2 ledger"]),
    "value perhaps in a function": ((VALUE, "SELECT f()"), 0, ["1 mark", "2 ledger"]),
    "value perhaps converted": (
        (VALUE, "ALTER TABLE t ALTER a TYPE e USING a::e"), 0, ["1 mark", "2 ledger"],
    ),
    "value perhaps copied": ((VALUE, "CREATE TABLE c AS TABLE t"), 0, ["1 mark", "2 ledger"]),
    "value not readable": ((r"ALTER TYPE e ADD VALUE E'\x41'", T), 0, ["1 mark", "2 ledger"]),
    "value used in its own block": (("BEGIN", VALUE, USE, "COMMIT"), 0, ["2 3 ledger"]),
    "value used in a block": (
        (VALUE, "BEGIN", T, USE, "COMMIT"), 0, ["1 mark", "3 4 ledger"],
    ),
    "values, one commit": (
        (VALUE, "ALTER TYPE e ADD VALUE 'y'", USE, "ALTER TABLE t ALTER b SET DEFAULT 'y'"),
        0, ["1 2 mark", "3 4 ledger"],
    ),
    "value and index": ((VALUE, CIC, USE), 0, ["1 mark", "2 alone", "3 ledger"]),
    "local setting": (
        ("BEGIN", "SET LOCAL search_path = s", T, "COMMIT", T), 0, ["2 3 mark", "5 ledger"],
    ),
    "local setting in the last block": (
        (T, "BEGIN", "SET LOCAL search_path = s", T, "COMMIT"), 0, ["1 3 4 ledger"],
    ),
    "local limit": (
        ("BEGIN", "SET LOCAL lock_timeout = 1", T, "COMMIT", T), 0, ["2 3 5 ledger"],
    ),
    "local setting by a function": (
        ("BEGIN", "SELECT set_config('role', 'x', true)", "COMMIT", T), 0, ["2 mark", "4 ledger"],
    ),
    "temporary in its block": (
        ("BEGIN", "CREATE TEMP TABLE x () ON COMMIT DROP", "COMMIT", T), 0, ["2 mark", "4 ledger"],
    ),
    "block taken back": (
        ("BEGIN", "SET LOCAL search_path = s", T, "ROLLBACK", T), 0, ["1 2 3 4 5 ledger"],
    ),
    "savepoints": (
        ("BEGIN", "SAVEPOINT a", T, "ROLLBACK TO a", "RELEASE a", "COMMIT"), 0, ["2 3 4 5 ledger"],
    ),
}  # fmt: skip
"""Statements, how many are applied, and for each segment what is in it."""


@pytest.mark.parametrize("case", TOGETHER)
def test_what_commits_together(case: str) -> None:
    """Everything in one transaction, except where it cannot be; the ledger in the last one."""
    statements, after, segments = TOGETHER[case]
    script = script_of(*statements)
    name = FindingName.PARTLY_APPLIED if after else FindingName.NOTHING_APPLIED
    plan = planned(situation(script, after=after, finding=finding_of(name, after)))
    assert [shown(segment) for segment in plan.segments] == segments
    assert plan.segments[-1].expected == plan.expected


def shown(segment: Segment) -> str:
    """The statements of a segment, and what else it is about."""
    kinds = {step.kind for step in segment.steps} & {StepKind.MARK, StepKind.LEDGER}
    return " ".join([*map(str, segment.statements), *kinds, *["alone"] * segment.alone])


def test_a_block_that_the_script_takes_back_is_a_savepoint() -> None:
    """It runs, for what it counts and for its errors, and leaves what the script leaves."""
    script = script_of("BEGIN", "CREATE TABLE x ()", "ROLLBACK", T)
    plan = planned(situation(script, finding=finding_of(FindingName.NOTHING_APPLIED, 0)))
    first, _, back, *_ = (step.sql for step in plan.steps)
    assert first.startswith("SAVEPOINT ")
    assert back.startswith("ROLLBACK TO SAVEPOINT ")


def test_each_segment_expects_what_the_script_has_there() -> None:
    """A surprise ends the repair where it happens."""
    plan = planned(
        situation(script_of(T, CIC, T), finding=finding_of(FindingName.NOTHING_APPLIED, 0))
    )
    there = [{key.identity for key, value in s.expected.items() if value} for s in plan.segments]
    assert there == [
        {"public.t1"},
        {"public.t1", "public.t2"},
        {"public.t1", "public.t2", "public.t3"},
    ]


def test_a_mark_tells_how_many_statements_are_committed() -> None:
    """It goes into the row of the last attempt, above what stood there, if that still failed."""
    rows = (ledger_row(id="first"), ledger_row(id="o'clock"))
    plan = planned(situation(script_of(T, CIC, T), after=1, rows=rows))
    (mark,) = (step.sql for step in plan.steps if step.kind is StepKind.MARK)
    assert "'migration-sidecar: 1 of 3 statements of " in mark
    assert mark.endswith("WHERE id = 'o''clock' AND finished_at IS NULL AND rolled_back_at IS NULL")


@pytest.mark.parametrize(
    "statements",
    [
        ("BEGIN", "SET LOCAL search_path = s", "CREATE TABLE t3 ()", "COMMIT"),
        ("BEGIN", "SET LOCAL lock_timeout = '1s'", "CREATE TABLE t3 ()", "COMMIT", "SELECT 1"),
        ("SET LOCAL statement_timeout = 0", "CREATE TABLE t2 ()"),
        ("SET search_path = s", "CREATE TABLE t2 ()"),
        ("SELECT set_config('search_path', '', false)", "CREATE TABLE t2 ()"),
    ],
)
def test_a_setting_that_lasts_as_long_as_in_the_script(statements: tuple[str, ...]) -> None:
    """A script in one block, a time limit, a setting of the session: it is as in the script."""
    known = situation(script_of(*statements), finding=finding_of(FindingName.NOTHING_APPLIED, 0))
    assert len(planned(known).segments) == 1


def test_a_local_setting_of_a_finished_block_is_not_made_again() -> None:
    """SET LOCAL ended with its block; a later UPDATE must not meet another search path."""
    script = script_of(
        "BEGIN", "SET LOCAL search_path = s", "CREATE TABLE t3 ()", "COMMIT", "CREATE TABLE t5 ()"
    )
    assert run(planned(situation(script, after=4))) == [5]


def test_what_a_finished_part_could_not_do_again_does_not_matter() -> None:
    """Only the missing statements must fit into the transaction."""
    script = script_of("CREATE INDEX CONCURRENTLY t1 ON x (a)", "CREATE TABLE t2 ()")
    assert run(planned(situation(script, after=1))) == [2]


# --- rebuild ---------------------------------------------------------------------


def test_rebuild_undoes_and_runs_everything() -> None:
    """What the migration created goes first, then the whole script runs."""
    plan = planned(found("partly-applied", 2), REBUILD)
    undone = [step.sql for step in plan.steps if step.kind is StepKind.UNDO]
    assert undone[-1] == "DROP TABLE public.t1"
    assert "DROP TABLE public.t2" in undone
    assert run(plan) == [1, 2, 3]
    assert plan.steps[-1].kind is StepKind.LEDGER


def test_rebuild_keeps_rows() -> None:
    """A table that holds rows is moved aside, not dropped."""
    known = replace(found("partly-applied", 2), occupied=frozenset({"public.t1"}))
    plan = planned(known, REBUILD)
    assert not any(step.sql == "DROP TABLE public.t1" for step in plan.steps)
    assert any(step.kind is StepKind.QUARANTINE for step in plan.steps)


def test_rebuild_is_refused_where_something_was_changed() -> None:
    """What the migration altered cannot be put back from facts."""
    script = script_of("ALTER TABLE u SET (fillfactor = 50)", "CREATE TABLE t2 ()")
    base = {table("u"): "TABLE"}
    replayed = replay({table("u"): "TABLE WITH (fillfactor=50)"}, "t2", base=base)
    refusal = refused(situation(script, replayed, after=1), REBUILD)
    assert "public.u" in refusal.reason


@pytest.mark.parametrize(
    ("data", "again"),
    [
        ("INSERT INTO public.t1 VALUES (1)", True),
        ("INSERT INTO u VALUES (1)", False),
        ("UPDATE u SET a = a + 1", False),
        ("SELECT setval('q', 5)", False),
        ("DO 'BEGIN PERFORM f(); END'", False),
        ("UPDATE other.t1 SET a = 1", False),
        ("UPDATE t1 SET a = 1", False),
    ],
)
def test_rebuild_is_refused_where_rows_would_be_changed_twice(data: str, *, again: bool) -> None:
    """What ran goes with the tables it made; rows elsewhere stay as it left them."""
    script = script_of("CREATE TABLE t1 ()", data, "CREATE TABLE t2 ()", "CREATE TABLE t3 ()")
    base = {table("u"): "TABLE", FactKey("table", "other.t1", ""): "TABLE"}
    replayed = replay("t1", None, "t2", "t3", base=base)
    asked = situation(script, replayed, after=3)
    assert isinstance(decide(asked, REBUILD), Plan if again else Refusal)


@pytest.mark.parametrize(
    "logs",
    [
        native_log("42P07"),
        native_log("42710"),
        adapter_log('Error querying the database: ERROR: relation "t1" already exists'),
    ],
)
def test_rebuild_is_refused_where_an_object_was_there_before(logs: str) -> None:
    """Then the facts do not show who made it, and it may be in use: neither drop nor move it."""
    known = situation(THREE, after=1, rows=(ledger_row(logs=logs),))
    assert "was there before" in refused(known, REBUILD).reason
    assert run(planned(known, FORWARD)) == [2, 3]


# --- the ledger ------------------------------------------------------------------


def ledger_sql(plan: Plan) -> list[str]:
    """The changes of the ledger in a plan."""
    return [step.sql for step in plan.steps if step.kind is StepKind.LEDGER]


def test_only_failed_rows_of_that_migration_are_touched() -> None:
    """As `prisma migrate resolve`: each failed attempt ends, one applied row is written."""
    rows = (
        ledger_row(id="rolled-back", rolled_back=True),
        ledger_row(id="first"),
        ledger_row(id="of-another", name=OTHER),
        ledger_row(id="second"),
        ledger_row(id="done", name=OTHER, finished=True),
    )
    update, again, insert = ledger_sql(planned(situation(THREE, after=1, rows=rows)))
    assert "WHERE id = 'first' AND finished_at IS NULL AND rolled_back_at IS NULL" in update
    assert "WHERE id = 'second' AND" in again
    assert insert.startswith('INSERT INTO "public"."_prisma_migrations"')
    assert "'" + "ab" * 32 + "'" in insert
    assert f"'{NAME}'" in insert


def test_an_applied_migration_gets_no_second_row() -> None:
    """Where another attempt was finished, only the failed one ends."""
    rows = (ledger_row(), ledger_row(id="done", finished=True))
    (only,) = ledger_sql(planned(situation(THREE, after=3, rows=rows)))
    assert only.startswith("UPDATE")


def test_mark_rolled_back_writes_no_applied_row_and_expects_no_change() -> None:
    """The work is left to `prisma migrate deploy`."""
    plan = planned(found("nothing-applied", 0), Policy(Preset.LEDGER))
    assert len(plan.steps) == len(ledger_sql(plan)) == 1
    assert plan.expected == plan.before


def test_a_plan_expects_what_a_clean_run_leaves() -> None:
    """The proof compares the touched facts with the state after the whole script."""
    plan = planned(found("partly-applied", 2))
    assert plan.before == {table("t1"): "TABLE", table("t2"): "TABLE", table("t3"): None}
    assert plan.expected == dict.fromkeys(plan.before, "TABLE")


def test_the_audit_stands_in_the_logs_of_the_new_row() -> None:
    """What, why, on which evidence and by which plan, as JSON that Prisma never reads."""
    plan = planned(found("partly-applied", 2))
    text = ledger_sql(plan)[-1].split("'{", 1)[1].split("}'", 1)[0]
    audit = json.loads("{" + text.replace("''", "'") + "}")
    assert (audit["finding"], audit["action"], audit["applied"]) == (plan.finding, plan.action, 2)
    assert audit["fingerprint"] == plan.fingerprint


def test_quotes_in_names_do_not_end_a_literal() -> None:
    """A migration's name is data, whatever it holds."""
    known = situation(THREE, after=3, rows=(ledger_row(id="o'clock"),))
    assert "WHERE id = 'o''clock' AND" in ledger_sql(planned(known))[0]


def test_the_tables_that_may_change_are_those_of_the_statements_that_run() -> None:
    """What ran already is no excuse for other rows to change."""
    script = script_of("DELETE FROM a", "CREATE TABLE t2 ()", 'UPDATE "B".c SET d = 1')
    known = situation(script, after=2, finding=finding_of(FindingName.PARTLY_APPLIED, 2))
    plan = planned(known)
    assert (plan.writes, plan.reach_known) == (('"B".c',), True)
    unknown = script_of("CREATE TABLE t1 ()", "SELECT f()")
    known = situation(unknown, after=1, finding=finding_of(FindingName.PARTLY_APPLIED, 1))
    assert not planned(known).reach_known


# --- the fingerprint -------------------------------------------------------------

BASE = situation(THREE, after=1)
OTHER_FACTS = {**BASE.live, table("elsewhere"): "TABLE"}
Change = Callable[[Situation], Situation]


def _with_rows(*rows: LedgerRow) -> Change:
    return lambda known: replace(known, ledger=replace(known.ledger, rows=rows))


MOVED: dict[str, Change] = {
    "another attempt": _with_rows(ledger_row(id="row-2")),
    "one attempt more": _with_rows(ledger_row(), ledger_row(id="row-2")),
    "another file": lambda known: replace(known, file=MigrationFile(NAME, "", "cd" * 32)),
    "another ledger": lambda known: replace(known, table='"other"."_prisma_migrations"'),
    "another fact": lambda known: replace(known, live={table("t1"): "TABLE OF x"}),
    "a fact less": lambda known: replace(known, live={}),
    "other steps": lambda known: replace(known, finding=finding_of(FindingName.PARTLY_APPLIED, 2)),
    "another script": lambda known: replace(
        known, script=script_of("CREATE TABLE t1 ()", "CREATE TABLE t2 ()", "CREATE TABLE x ()")
    ),
}
SAME: dict[str, Change] = {
    "nothing": lambda known: known,
    "drift elsewhere": lambda known: replace(known, live=OTHER_FACTS),
    "another migration's attempt": _with_rows(ledger_row(), ledger_row(id="x", name=OTHER)),
    "an attempt that is over": _with_rows(ledger_row(id="x", rolled_back=True), ledger_row()),
    "what was logged": _with_rows(ledger_row(logs="no")),
}


@pytest.mark.parametrize("change", MOVED)
def test_the_fingerprint_changes_with_what_the_plan_rests_on(change: str) -> None:
    """The attempts, the file, the touched facts, the steps: approval of one is of no other."""
    assert planned(MOVED[change](BASE)).fingerprint != planned(BASE).fingerprint


def test_the_fingerprint_changes_with_the_action() -> None:
    """`resume` and `rebuild` are two plans."""
    assert planned(BASE, REBUILD).fingerprint != planned(BASE).fingerprint


@pytest.mark.parametrize("change", SAME)
def test_the_fingerprint_is_stable_otherwise(change: str) -> None:
    """Time, drift elsewhere and other migrations do not void an approval."""
    assert planned(SAME[change](BASE)).fingerprint == planned(BASE).fingerprint


# --- laws ------------------------------------------------------------------------

STATEMENTS = {
    "catalog": "CREATE TABLE x ()",
    "data": "UPDATE u SET a = a + 1",
    "session": "SET a.b = 'c'",
    "local": "SET LOCAL a.b = 'c'",
    "temporary": "CREATE TEMP TABLE y ()",
    "begin": "BEGIN",
    "commit": "COMMIT",
    "rollback": "ROLLBACK",
    "solo": "CREATE INDEX CONCURRENTLY i ON x (a)",
    "value": "ALTER TYPE e ADD VALUE 'v'",
    "use": "ALTER TABLE x ALTER a SET DEFAULT 'v'",
}
policies = st.builds(
    Policy,
    st.sampled_from(Preset),
    by_finding=st.dictionaries(st.sampled_from(FindingName), st.sampled_from(Action)),
)
ledger_rows = st.lists(
    st.builds(
        ledger_row,
        id=st.uuids().map(str),
        name=st.sampled_from([NAME, OTHER]),
        finished=st.booleans(),
        rolled_back=st.booleans(),
    ),
    max_size=4,
)


@st.composite
def situations(draw: st.DrawFn) -> Situation:
    """Any short script that stopped anywhere, with any ledger."""
    kinds = draw(st.lists(st.sampled_from([*STATEMENTS]), max_size=6))
    script = script_of(*(STATEMENTS[kind] for kind in kinds))
    k = draw(st.sampled_from(script.boundaries))
    total = len(script.statements)
    name = FindingName.PARTLY_APPLIED if 0 < k < total else FindingName.NOTHING_APPLIED
    finding = finding_of(FindingName.FULLY_APPLIED if k == total else name, k)
    if draw(st.booleans()):
        names = ("diverged", "undetermined", "running", "script-missing")
        finding = finding_of(FindingName(draw(st.sampled_from(names))))
    rows = (*draw(ledger_rows), ledger_row())
    occupied = frozenset(draw(st.sets(st.sampled_from(["public.t1", "public.t2"]))))
    replayed = replay(*made_by(script))
    return situation(script, replayed, after=k, finding=finding, rows=rows, occupied=occupied)


@given(situations(), policies)
def test_no_plan_runs_a_statement_twice(known: Situation, policy: Policy) -> None:
    """What took effect is run again only after a rebuild undid it; settings are no effect."""
    decision = decide(known, policy)
    if isinstance(decision, Refusal) or decision.action is Action.REBUILD:
        return
    statements = known.script.statements if known.script else ()
    again = [statements[i - 1] for i in run(decision) if i <= (known.finding.applied or 0)]
    assert all(statement.nature is Nature.SESSION for statement in again)


@given(situations())
def test_a_plan_runs_each_missing_statement_once_and_in_order(known: Situation) -> None:
    """Nothing is left out, nothing comes in another order."""
    decision = decide(known, FORWARD)
    if isinstance(decision, Refusal) or decision.action is Action.MARK_APPLIED:
        return
    statements = known.script.statements[known.finding.applied or 0 :] if known.script else ()
    missing = [s.index for s in statements if s.nature is not Nature.CONTROL]
    there = [
        index for index in run(decision) if script_statement(known, index) is not Nature.CONTROL
    ]
    assert there[len(there) - len(missing) :] == missing
    assert run(decision) == sorted(set(run(decision)))


def script_statement(known: Situation, index: int) -> Nature:
    """What sort of statement has this number."""
    assert known.script is not None
    return known.script.statements[index - 1].nature


@given(situations(), policies)
def test_what_runs_alone_is_alone_and_all_else_is_not(known: Situation, policy: Policy) -> None:
    """And the ledger changes in the last transaction, after a mark in each one before."""
    decision = decide(known, policy)
    if isinstance(decision, Refusal):
        return
    statements = known.script.statements if known.script else ()
    *before, last = decision.segments
    for segment in decision.segments:
        solo = [statements[index - 1].solo for index in segment.statements]
        assert segment.alone == any(solo)
        assert len(segment.steps) == 1 or not segment.alone
    assert all(s.alone or s.steps[-1].kind is StepKind.MARK for s in before)
    assert last.steps[-1].kind is StepKind.LEDGER
    assert not any(step.kind is StepKind.MARK for step in last.steps)


@given(situations(), policies)
def test_no_plan_touches_another_ledger_row(known: Situation, policy: Policy) -> None:
    """Only failed rows of this very migration end; the ledger comes last."""
    decision = decide(known, policy)
    if isinstance(decision, Refusal):
        return
    mine = {r.id for r in known.ledger.rows if r.failed and r.migration_name == NAME}
    updates = [sql for sql in ledger_sql(decision) if sql.startswith("UPDATE")]
    assert sorted(sql.split("WHERE id = '")[1].split("'")[0] for sql in updates) == sorted(mine)
    updates = [sql for sql in updates if " SET rolled_back_at " in sql]
    kinds = [step.kind is StepKind.LEDGER for step in decision.steps]
    assert kinds == sorted(kinds)


@given(situations(), policies)
def test_every_decision_can_be_read(known: Situation, policy: Policy) -> None:
    """A plan or a refusal; each step with SQL and a reason, each refusal with what to do next."""
    decision = decide(known, policy)
    if isinstance(decision, Plan):
        assert decision.steps
        assert all(step.sql and step.reason for step in decision.steps)
    else:
        assert decision.reason
        assert decision.next_steps
