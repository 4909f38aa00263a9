"""The report: what a run found and did, as JSON whose schema is shipped and tested.

Pure: values in, bytes out; `deliver` writes them. Import it only where a report is asked for:
msgspec costs a healthy run too much. The classes are the contract with whoever reads the
report, so they are kept apart from `model`, which may change. `report.schema.json` is made
from them, and a test fails where it is not what they say; to write it anew:
SIDECAR_TEST_WRITE_GOLDEN=1 pytest tests/unit/test_report.py
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import UTC, datetime
from hashlib import sha256
from typing import Literal

import msgspec
from msgspec import Struct

from sidecar.model import (
    Action,
    Difference,
    Finding,
    FindingName,
    Hazard,
    MigrationOutcome,
    Outcome,
    OutcomeName,
    Plan,
    Proof,
    Refusal,
    Script,
    ServiceResult,
    Statement,
    StatementState,
    StepKind,
)
from sidecar.text import next_steps, statement_states

__all__ = ["Report", "build", "encode", "schema"]


class ServerReport(Struct, frozen=True):
    """The PostgreSQL that was looked at; `version` is empty where none answered."""

    version: str


class EvidenceReport(Struct, frozen=True):
    """One observation; `against` marks what spoke against the finding."""

    source: str
    says: str
    against: bool


class StatementReport(Struct, frozen=True):
    """One statement of the migration and what was found of it, before any repair."""

    index: int
    line: int
    kind: str
    state: StatementState
    sql_sha256: str


class DifferenceReport(Struct, frozen=True):
    """A fact that is not as it should be; null stands for "absent"."""

    kind: str
    identity: str
    on: str
    expected: str | None
    found: str | None


class StepReport(Struct, frozen=True):
    """One thing the repair does; `index` and `line` are the statement's, where it is one.

    Steps with the same `segment` commit together; one that is `alone` runs outside a transaction.
    """

    kind: StepKind
    sql: str
    reason: str
    hazard: Hazard
    index: int | None
    line: int | None
    segment: int
    alone: bool


class PlanReport(Struct, frozen=True):
    """The steps, in order, and the fingerprint that `--approve` takes."""

    fingerprint: str
    steps: tuple[StepReport, ...]


class ProofReport(Struct, frozen=True):
    """What was compared before COMMIT; if it does not hold, there was none."""

    holds: bool
    touched_facts: int
    other_facts: int
    tables_counted: int
    differences: tuple[DifferenceReport, ...]
    violations: tuple[str, ...]


class MigrationReport(Struct, frozen=True):
    """One failed migration. `done` is true once its repair is committed.

    `committed` are the statements that a repair committed before it failed; they stay.
    `applied` is the number of statements that took effect, where known; `candidates` are the
    numbers that could not be told apart. `reason` says why nothing was or will be done.
    """

    name: str
    finding: FindingName
    evidence: tuple[EvidenceReport, ...]
    applied: int | None
    candidates: tuple[int, ...]
    missing: tuple[str, ...]
    differences: tuple[DifferenceReport, ...]
    action: Action | None
    reason: str
    done: bool
    committed: tuple[int, ...]
    statements: tuple[StatementReport, ...]
    plan: PlanReport | None
    proof: ProofReport | None


class ServiceReport(Struct, frozen=True):
    """One container of a service that was to be restarted; empty where there is none."""

    service: str
    container: str
    result: ServiceResult
    says: str


class Report(Struct, frozen=True):
    """One run of migration-sidecar. `started_at` is UTC, `duration_s` in seconds."""

    schema_version: Literal[1]
    outcome: OutcomeName
    exit_code: int
    started_at: datetime
    duration_s: float
    summary: str
    server: ServerReport
    policy: str
    migrations: tuple[MigrationReport, ...]
    services: tuple[ServiceReport, ...]
    warnings: tuple[str, ...]
    next_steps: tuple[str, ...]


def build(outcome: Outcome, *, started_at: datetime, duration_s: float) -> Report:
    """The report on `outcome`; `started_at` must be aware of its time zone."""
    return Report(
        schema_version=1,
        outcome=outcome.name,
        exit_code=int(outcome.exit_code),
        started_at=started_at.astimezone(UTC),
        duration_s=round(duration_s, 3),
        summary=outcome.summary,
        server=ServerReport(outcome.server_version),
        policy=outcome.policy,
        migrations=tuple(_migration(migration) for migration in outcome.migrations),
        services=tuple(
            ServiceReport(each.service, each.container, each.result, each.says)
            for each in outcome.services
        ),
        warnings=outcome.warnings,
        next_steps=next_steps(outcome),
    )


def encode(report: Report) -> bytes:
    """The report as one line of JSON, valid under the shipped schema."""
    try:
        return msgspec.json.encode(report) + b"\n"
    except UnicodeEncodeError:  # a file name that is not UTF-8: escape what cannot be encoded
        return json.dumps(msgspec.to_builtins(report)).encode() + b"\n"


def schema() -> bytes:
    """The JSON schema of the report, as shipped in `report.schema.json`."""
    head = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Report of migration-sidecar",
    }
    text = msgspec.json.encode(head | msgspec.json.schema(Report))
    return msgspec.json.format(text, indent=2) + b"\n"


def _migration(migration: MigrationOutcome) -> MigrationReport:
    finding, decision = migration.finding, migration.decision
    plan = decision if isinstance(decision, Plan) else None
    return MigrationReport(
        name=finding.migration,
        finding=finding.name,
        evidence=tuple(EvidenceReport(e.source, e.says, e.against) for e in finding.evidence),
        applied=finding.applied,
        candidates=finding.candidates,
        missing=finding.missing,
        differences=_differences(finding.differences),
        action=decision.action if decision else None,
        reason=decision.reason if isinstance(decision, Refusal) else "",
        done=migration.done,
        committed=migration.committed,
        statements=_statements(finding, migration.script),
        plan=_plan(plan) if plan else None,
        proof=_proof(migration.proof) if migration.proof else None,
    )


def _statements(finding: Finding, script: Script | None) -> tuple[StatementReport, ...]:
    if script is None:
        return ()
    states = statement_states(finding, script)
    return tuple(
        _statement(statement, state)
        for statement, state in zip(script.statements, states, strict=True)
    )


def _statement(statement: Statement, state: StatementState) -> StatementReport:
    return StatementReport(
        index=statement.index,
        line=statement.line,
        kind=statement.kind,
        state=state,
        sql_sha256=sha256(statement.sql.encode()).hexdigest(),
    )


def _plan(plan: Plan) -> PlanReport:
    steps = tuple(
        StepReport(
            kind=step.kind,
            sql=step.sql,
            reason=step.reason,
            hazard=step.hazard,
            index=step.index,
            line=step.line,
            segment=number,
            alone=segment.alone,
        )
        for number, segment in enumerate(plan.segments, 1)
        for step in segment.steps
    )
    return PlanReport(plan.fingerprint, steps)


def _differences(differences: Iterable[Difference]) -> tuple[DifferenceReport, ...]:
    return tuple(DifferenceReport(*d.key, expected=d.expected, found=d.found) for d in differences)


def _proof(proof: Proof) -> ProofReport:
    return ProofReport(
        holds=proof.holds,
        touched_facts=proof.touched_facts,
        other_facts=proof.other_facts,
        tables_counted=proof.tables_counted,
        differences=_differences(proof.differences),
        violations=proof.violations,
    )
