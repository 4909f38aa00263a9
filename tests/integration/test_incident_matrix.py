"""The incident in every state it can be found in, under every policy, on every PostgreSQL.

A repaired database is compared with that of a clean run by a full dump, a halted one with
itself. What is expected follows the tables in docs/architecture.md.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from sidecar import __version__, app
from sidecar.demo import SCHEMA
from sidecar.model import Action, FindingName, OutcomeName, Preset
from sidecar.report import MigrationReport, Report, build
from tests import incident
from tests.command import said
from tests.incident import FAILED, Mode
from tests.postgres import ALL_MAJORS, LATEST, Database, Server, fresh_database
from tests.running import run, settings

LEDGER = f"{SCHEMA}._prisma_migrations"

APPLICATION_ROWS = """
INSERT INTO momentum.mm_board (id, name, created_at)
VALUES ('b1', 'Platform', '2025-12-01'), ('b2', 'On call', '2025-12-02');
INSERT INTO momentum.mm_issue (board_id, title)
SELECT 'b1', 'issue ' || n FROM generate_series(1, 3) n;
"""


class State(NamedTuple):
    """How the incident is found."""

    mode: Mode
    statements: int

    @property
    def finding(self) -> FindingName:
        """What design and README call it."""
        if self.statements == 0:
            return FindingName.NOTHING_APPLIED
        done = self.statements == len(FAILED.statements)
        return FindingName.FULLY_APPLIED if done else FindingName.PARTLY_APPLIED


class Ending(NamedTuple):
    """How a run must end."""

    code: int
    outcome: OutcomeName
    action: Action


STATES = (
    *(State(Mode.KILLED, k) for k in range(5)),
    *(State(Mode.ERROR_LOGGED, k) for k in range(4)),
    State(Mode.BATCH_ROLLED_BACK, 0),
    State(Mode.BATCH_COMMITTED, 4),
)

NOTHING, PARTLY, FULLY = (
    FindingName.NOTHING_APPLIED,
    FindingName.PARTLY_APPLIED,
    FindingName.FULLY_APPLIED,
)
ACTIONS = {
    Preset.FORWARD: {
        NOTHING: Action.REAPPLY,
        PARTLY: Action.RESUME,
        FULLY: Action.MARK_APPLIED,
    },
    Preset.REBUILD: {
        NOTHING: Action.REAPPLY,
        PARTLY: Action.REBUILD,
        FULLY: Action.MARK_APPLIED,
    },
    Preset.LEDGER: {
        NOTHING: Action.MARK_ROLLED_BACK,
        PARTLY: Action.HALT,
        FULLY: Action.MARK_APPLIED,
    },
    Preset.OBSERVE: dict.fromkeys((NOTHING, PARTLY, FULLY), Action.HALT),
}


def _ending(policy: Preset, finding: FindingName) -> Ending:
    action = ACTIONS[policy][finding]
    if action is Action.HALT:
        return Ending(3, OutcomeName.HALTED, action)
    return Ending(0, OutcomeName.REPAIRED, action)


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The incident's migrations folder."""
    return incident.write_migrations(tmp_path_factory.mktemp("incident") / "migrations")


Dump = Callable[..., str]


@pytest.fixture(scope="session")
def clean_dump() -> Dump:
    """Dumps of a clean run with the application's rows: `clean_dump(server, schema=None)`."""
    dumps: dict[int, dict[str | None, str]] = {}

    def dump(server: Server, schema: str | None = None) -> str:
        if server.port not in dumps:
            with fresh_database(server) as database:
                with database.connect() as connection:
                    incident.clean_run(connection)
                database.execute(APPLICATION_ROWS)
                dumps[server.port] = {name: _dump(database, name) for name in (None, SCHEMA)}
        return dumps[server.port][schema]

    return dump


def _dump(database: Database, schema: str | None = None) -> str:
    return database.dump(schema, exclude_tables=(LEDGER,))


def _plant(database: Database, state: State) -> str:
    """Leave the incident in that state, with rows of the application; the failed row's id."""
    with database.connect() as connection:
        row = incident.plant(connection, statements=state.statements, mode=state.mode)
    database.execute(APPLICATION_ROWS)
    return row


def _run(database: Database, folder: Path, policy: Preset) -> Report:
    """The report of a run in this process."""
    done = said(app.run, settings(database, folder, SIDECAR_POLICY=policy))
    assert done.outcome is not None, done.what
    return build(done.outcome, started_at=datetime.now(UTC), duration_s=0)


def _ledger(database: Database) -> dict[str, dict[str, Any]]:
    """The ledger's rows by id."""
    rows = database.execute(f"SELECT to_jsonb(m) FROM {LEDGER} m ORDER BY started_at")
    return {row["id"]: row for (row,) in rows}


ONE_OF_EACH = {State(Mode.KILLED, k) for k in (0, 1, 4)}
"""A state of each finding: enough, away from `latest`, for the policies that run no SQL of it."""


def _cases() -> Iterator[object]:
    for major, state, policy in product(ALL_MAJORS, STATES, Preset):
        runs_sql = policy in {Preset.FORWARD, Preset.REBUILD}
        if runs_sql or major == LATEST or state in ONE_OF_EACH:
            name = f"pg{major}-{policy}-{state.mode.name.lower()}-{state.statements}"
            yield pytest.param(major, policy, state, id=name)


@pytest.mark.parametrize(("server", "policy", "state"), [*_cases()], indirect=["server"])
def test_incident_ends_as_the_policy_says(
    database: Database,
    folder: Path,
    clean_dump: Dump,
    policy: Preset,
    state: State,
) -> None:
    """What is repaired equals a clean run, what is halted is untouched, and once is enough."""
    row = _plant(database, state)
    expected = _ending(policy, state.finding)
    ledger = _ledger(database)
    untouched = expected.action in {Action.HALT, Action.MARK_ROLLED_BACK}
    before = _dump(database) if untouched else clean_dump(database.server)
    report = _run(database, folder, policy)
    (migration,) = report.migrations
    assert (report.exit_code, report.outcome, migration.action) == expected
    assert (migration.finding, migration.applied) == (state.finding, state.statements)
    if expected.action is Action.HALT:
        assert _ledger(database) == ledger
    else:
        assert migration.done
        assert migration.proof is not None
        assert migration.proof.holds
        repaired = _ledger(database)
        _assert_resolved(ledger, repaired, row=row, migration=migration)
        _assert_nothing_to_do(database, folder, policy)
        assert _ledger(database) == repaired
    assert _dump(database) == before


def _assert_resolved(
    before: dict[str, dict[str, Any]],
    after: dict[str, dict[str, Any]],
    *,
    row: str,
    migration: MigrationReport,
) -> None:
    """The ledger is as `prisma migrate resolve` leaves it; the audit is in the new row."""
    after = dict(after)
    assert after[row]["rolled_back_at"] is not None
    for id_, old in before.items():
        changed = {"rolled_back_at": after[row]["rolled_back_at"]} if id_ == row else {}
        assert after.pop(id_) == old | changed
    if migration.action is Action.MARK_ROLLED_BACK:
        assert not after
        return
    (new,) = after.values()
    assert str(uuid.UUID(new["id"])) == new["id"]
    assert (new["migration_name"], new["checksum"]) == (FAILED.name, FAILED.checksum)
    assert (new["applied_steps_count"], new["rolled_back_at"]) == (0, None)
    assert new["started_at"] == new["finished_at"] is not None
    assert new["started_at"] > before[row]["started_at"]
    _assert_audit(json.loads(new["logs"]), migration)


def _assert_audit(audit: dict[str, Any], migration: MigrationReport) -> None:
    assert migration.plan is not None
    assert audit == {
        "tool": "migration-sidecar",
        "version": __version__,
        "finding": migration.finding,
        "applied": migration.applied,
        "action": migration.action,
        "fingerprint": migration.plan.fingerprint,
        "evidence": [f"{item.source}: {item.says}" for item in migration.evidence],
    }
    assert audit["evidence"]


def _assert_nothing_to_do(database: Database, folder: Path, policy: Preset) -> None:
    again = _run(database, folder, policy)
    assert (again.exit_code, again.outcome, again.migrations) == (0, OutcomeName.HEALTHY, ())


# --- the same through the command ------------------------------------------------


@pytest.mark.parametrize("policy", Preset)
def test_command_ends_and_reports_like_the_application(
    latest_database: Database, folder: Path, policy: Preset
) -> None:
    """The process exits with the code of the report, and its last lines are the summary."""
    _plant(latest_database, State(Mode.KILLED, 1))
    done = run(settings(latest_database, folder, SIDECAR_POLICY=policy))
    expected = _ending(policy, PARTLY)
    assert (done.code, done.report["exit_code"]) == (expected.code, expected.code)
    assert (done.outcome, done.report["migrations"][0]["action"]) == expected[1:]
    assert done.log[-1]["exit_code"] == expected.code
    assert done.log[-1]["outcome"] == expected.outcome


# --- rows in what must be rebuilt ------------------------------------------------

SCHEDULED_ROWS = """
INSERT INTO momentum.mm_scheduled_issue (id, board_id, title, frequency, next_run_at, enabled)
VALUES ('s1', 'b1', 'rotate keys', 'MONTHLY', '2026-01-01', true),
       ('s2', 'b2', 'say "hello"', 'DAILY', '2026-01-02 03:04:05.678', false)
"""
SCHEDULED = "SELECT * FROM momentum.mm_scheduled_issue ORDER BY id"


@pytest.mark.parametrize("statements", [2, 3])
def test_rebuild_moves_rows_aside_and_says_how_they_come_back(
    database: Database, folder: Path, clean_dump: Dump, statements: int
) -> None:
    """Rows in a table that is rebuilt are quarantined; the SQL in the report restores them."""
    _plant(database, State(Mode.KILLED, statements))
    database.execute(SCHEDULED_ROWS)
    rows = database.execute(SCHEDULED)
    report = _run(database, folder, Preset.REBUILD)
    assert (report.exit_code, report.outcome) == (0, OutcomeName.REPAIRED)
    assert database.execute(SCHEDULED) == []
    assert _dump(database, SCHEMA) == clean_dump(database.server, SCHEMA)
    (restore,) = _restoring(report)
    database.execute(restore)
    assert database.execute(SCHEDULED) == rows
    _assert_nothing_to_do(database, folder, Preset.REBUILD)


def test_forward_leaves_rows_where_they_are(latest_database: Database, folder: Path) -> None:
    """A table that already holds rows is completed under them."""
    _plant(latest_database, State(Mode.KILLED, 2))
    latest_database.execute(SCHEDULED_ROWS)
    rows = latest_database.execute(SCHEDULED)
    assert _run(latest_database, folder, Preset.FORWARD).exit_code == 0
    assert latest_database.execute(SCHEDULED) == rows


def test_rebuild_of_a_complete_migration_keeps_its_rows(
    latest_database: Database, folder: Path
) -> None:
    """Where only the bookkeeping is missing, nothing is rebuilt and nothing moved."""
    _plant(latest_database, State(Mode.KILLED, 4))
    latest_database.execute(SCHEDULED_ROWS)
    before = _dump(latest_database)
    assert _run(latest_database, folder, Preset.REBUILD).exit_code == 0
    assert _dump(latest_database) == before


def _restoring(report: Report) -> Iterator[str]:
    """The SQL that brings rows back, as the report's next steps (and so the log) name it."""
    for step in report.next_steps:
        _, found, sql = step.partition("keeps the rows of momentum.mm_scheduled_issue; ")
        assert found
        yield sql.removeprefix("bring them back with: ")
