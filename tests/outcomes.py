"""One outcome of every sort, for the tests of what is said about them."""

from __future__ import annotations

from dataclasses import replace

from sidecar.model import (
    Action,
    Difference,
    Evidence,
    FactKey,
    Finding,
    FindingName,
    Hazard,
    MigrationName,
    MigrationOutcome,
    Nature,
    Outcome,
    OutcomeName,
    Plan,
    Proof,
    Refusal,
    Script,
    Segment,
    Statement,
    Step,
    StepKind,
)

NAME = MigrationName("20251208175358_add_scheduled_issues")

TABLE = """\
CREATE TABLE "momentum"."mm_scheduled_issue" (
    "id" TEXT NOT NULL,

\t"board_id" TEXT NOT NULL -- whose board
)"""

STATEMENTS = (
    ("CREATE TYPE", """CREATE TYPE "momentum"."ScheduleFrequency" AS ENUM ('DAILY', 'WEEKLY')"""),
    ("CREATE TABLE", TABLE),
    ("CREATE INDEX", 'CREATE INDEX "by_board" ON "momentum"."mm_scheduled_issue"("board_id")'),
    ("UPDATE", 'UPDATE "momentum"."mm_board" SET "name" = "name" || 1 -- once'),
)


def script() -> Script:
    """The incident's script, one statement every five lines."""
    statements = tuple(
        Statement(
            index=index,
            line=index * 5 - 3,
            start=0,
            end=len(sql),
            sql=sql,
            kind=kind,
            nature=Nature.DATA if kind == "UPDATE" else Nature.CATALOG,
        )
        for index, (kind, sql) in enumerate(STATEMENTS, 1)
    )
    return Script(text=";\n".join(sql for _, sql in STATEMENTS), statements=statements)


def finding(name: FindingName) -> Finding:
    """A finding of this name, with the evidence that belongs to it."""
    bare = Finding(
        name,
        NAME,
        (
            Evidence("catalog", "the touched objects are as after statement 1"),
            Evidence("logs", "SQLSTATE 42P01 at line 7\nis not known", against=True),
        ),
    )
    match name:
        case FindingName.NOTHING_APPLIED:
            return replace(bare, applied=0)
        case FindingName.PARTLY_APPLIED:
            return replace(bare, applied=1)
        case FindingName.FULLY_APPLIED:
            return replace(bare, applied=len(STATEMENTS))
        case FindingName.DIVERGED:
            return replace(bare, differences=DIFFERENCES)
        case FindingName.UNDETERMINED:
            missing = ("no trace of statement 2 or 3: give SHADOW_DATABASE_URL",)
            return replace(bare, candidates=(1, 3), missing=missing)
        case _:
            return bare


DIFFERENCES = (
    Difference(FactKey("column", "board_id", "momentum.mm_scheduled_issue"), "text", "uuid"),
    Difference(FactKey("index", "by_board", "momentum.mm_scheduled_issue"), None, "btree (id)"),
    Difference(FactKey("table", "momentum.mm_scheduled_issue", ""), "permanent", None),
)


def together(*steps: Step) -> tuple[Segment, ...]:
    """These steps in one transaction."""
    return (Segment(steps),)


PLAN = Plan(
    migration=NAME,
    finding=FindingName.PARTLY_APPLIED,
    action=Action.RESUME,
    segments=together(
        Step(StepKind.STATEMENT, STATEMENTS[1][1], "missing", Hazard.LOCKS, index=2, line=7),
        Step(StepKind.STATEMENT, STATEMENTS[3][1], "missing", Hazard.DATA, index=4, line=17),
        Step(StepKind.LEDGER, "UPDATE m SET rolled_back_at = now();", "the attempt is over"),
    ),
    fingerprint="0123456789abcdef",
)

REBUILD = replace(
    PLAN,
    action=Action.REBUILD,
    segments=together(
        Step(StepKind.QUARANTINE, "ALTER TABLE t SET SCHEMA q", "it holds rows"),
        Step(StepKind.UNDO, 'DROP TYPE "momentum"."ScheduleFrequency"', "made here", Hazard.DROPS),
    ),
)

REFUSAL = Refusal(
    NAME,
    FindingName.DIVERGED,
    Action.HALT,
    "the objects it touches match no state it could have left",
    ("migration-sidecar plan --policy rebuild", "psql: look at momentum.mm_scheduled_issue"),
)

PROOF = Proof(touched_facts=12, other_facts=345, tables_counted=6)
FAILED_PROOF = replace(PROOF, differences=DIFFERENCES[:1], violations=("table t lost 3 rows",))


def refused(name: FindingName) -> MigrationOutcome:
    """A failed migration with this finding that nothing is done to."""
    known = None if name is FindingName.SCRIPT_MISSING else script()
    return MigrationOutcome(finding(name), known, replace(REFUSAL, finding=name))


def planned(
    plan: Plan = PLAN, *, proof: Proof | None = None, done: bool = False
) -> MigrationOutcome:
    """The incident with a plan for it."""
    return MigrationOutcome(finding(plan.finding), script(), plan, proof, done)


OUTCOMES = (
    Outcome(
        OutcomeName.HEALTHY,
        0,
        "No migration is failed: the backend may start",
        server_version="17.2",
        policy="forward",
    ),
    Outcome(
        OutcomeName.REPAIRED,
        0,
        "1 failed migration was repaired: the backend may start",
        server_version="17.2",
        policy="forward",
        migrations=(planned(proof=PROOF, done=True),),
        warnings=("the folder holds a file that is no migration",),
    ),
    Outcome(
        OutcomeName.HALTED,
        3,
        "7 failed migrations need a person",
        server_version="17.2",
        policy="forward",
        migrations=tuple(refused(name) for name in FindingName),
        next_steps=("migration-sidecar status",),
    ),
    Outcome(
        OutcomeName.REPAIR_FAILED,
        4,
        "the repair of 1 migration failed",
        server_version="17.2",
        policy="forward",
        migrations=(planned(proof=FAILED_PROOF),),
        next_steps=("migration-sidecar plan",),
    ),
    Outcome(
        OutcomeName.BUSY,
        5,
        "another migrator held the lock for 60 s",
        server_version="17.2",
        policy="forward",
        migrations=(MigrationOutcome(finding(FindingName.RUNNING), None),),
        next_steps=("wait for pid 42, then: migration-sidecar run",),
    ),
    Outcome(
        OutcomeName.NOT_READY,
        124,
        "PostgreSQL was not ready after 60.0 s and 40 tries",
        next_steps=("migration-sidecar wait",),
    ),
    Outcome(OutcomeName.ERROR, 1, "unexpected error: KeyError", next_steps=("report it",)),
)

BY_NAME = {outcome.name: outcome for outcome in OUTCOMES}
TWO_PLANS = replace(
    BY_NAME[OutcomeName.HALTED],
    summary="2 plans wait for approval\nand one is refused",
    migrations=(planned(), planned(REBUILD), refused(FindingName.DIVERGED)),
)
