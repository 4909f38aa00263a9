"""The report as JSON, and its schema."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from hashlib import sha256
from pathlib import Path
from typing import Any

import jsonschema  # type: ignore[import-untyped]
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar import report
from sidecar.model import (
    Finding,
    FindingName,
    MigrationOutcome,
    Outcome,
    OutcomeName,
)
from tests.golden import same_as_file
from tests.outcomes import BY_NAME, NAME, OUTCOMES, STATEMENTS, TWO_PLANS, finding, script

SCHEMA = Path(report.__file__).parent / "report.schema.json"
STARTED = datetime(2026, 3, 1, 13, 0, tzinfo=timezone(timedelta(hours=1)))


def reported(outcome: Outcome) -> Any:
    """The report on `outcome`, as whoever reads the file gets it."""
    made = report.build(outcome, started_at=STARTED, duration_s=1.23456)
    return json.loads(report.encode(made))


def test_the_shipped_schema_is_what_the_report_says() -> None:
    """The schema that is shipped describes the report that is written, not an older one."""
    same_as_file(SCHEMA, report.schema().decode())


def test_there_is_an_outcome_of_every_name() -> None:
    """The samples of these tests leave no outcome out."""
    assert set(BY_NAME) == set(OutcomeName)


@pytest.mark.parametrize("outcome", [*OUTCOMES, TWO_PLANS], ids=lambda o: o.name)
def test_every_outcome_is_valid_under_the_shipped_schema(outcome: Outcome) -> None:
    """A reader who trusts the schema can read every report."""
    schema = json.loads(SCHEMA.read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.Draft202012Validator(schema).validate(reported(outcome))


@pytest.mark.parametrize("spoil", report.Report.__struct_fields__)
def test_the_schema_refuses_what_is_no_report(spoil: str) -> None:
    """Each field of the report is required and has a type."""
    schema = json.loads(SCHEMA.read_text(encoding="utf-8"))
    whole = reported(BY_NAME[OutcomeName.REPAIRED])
    for broken in (
        {key: value for key, value in whole.items() if key != spoil},
        {**whole, spoil: None},
    ):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(broken, schema)


def test_what_stands_in_the_report() -> None:
    """Outcome, exit code, times, server, policy, and one entry for each failed migration."""
    got = reported(BY_NAME[OutcomeName.REPAIRED])
    (migration,) = got.pop("migrations")
    assert got == {
        "schema_version": 1,
        "outcome": "repaired",
        "exit_code": 0,
        "started_at": "2026-03-01T12:00:00Z",
        "duration_s": 1.235,
        "summary": "1 failed migration was repaired: the backend may start",
        "server": {"version": "17.2"},
        "policy": "forward",
        "services": [],
        "warnings": ["the folder holds a file that is no migration"],
        "next_steps": [],
    }
    assert migration["name"] == NAME
    assert (migration["finding"], migration["action"]) == ("partly-applied", "resume")
    assert migration["evidence"][1]["against"] is True
    assert (migration["done"], migration["proof"]["holds"]) == (True, True)
    assert migration["plan"]["fingerprint"] == "0123456789abcdef"
    assert migration["plan"]["steps"][0] == {
        "kind": "statement",
        "sql": STATEMENTS[1][1],
        "reason": "missing",
        "hazard": "locks",
        "index": 2,
        "line": 7,
        "segment": 1,
        "alone": False,
    }
    assert migration["statements"][1] == {
        "index": 2,
        "line": 7,
        "kind": "CREATE TABLE",
        "state": "missing",
        "sql_sha256": sha256(STATEMENTS[1][1].encode()).hexdigest(),
    }


def test_what_was_refused_stands_there_with_its_reason() -> None:
    """A migration nothing is done to has a reason, and no plan."""
    entries = {m["finding"]: m for m in reported(BY_NAME[OutcomeName.HALTED])["migrations"]}
    diverged = entries["diverged"]
    assert (diverged["action"], diverged["plan"], diverged["proof"]) == ("halt", None, None)
    assert "match no state" in diverged["reason"]
    assert diverged["differences"][2] == {
        "kind": "table",
        "identity": "momentum.mm_scheduled_issue",
        "on": "",
        "expected": "permanent",
        "found": None,
    }
    undetermined = entries["undetermined"]
    assert (undetermined["applied"], undetermined["candidates"]) == (None, [1, 3])
    assert undetermined["missing"]
    assert entries["script-missing"]["statements"] == []


def test_a_failed_proof_says_what_did_not_hold() -> None:
    """Why a repair was rolled back can be read in the report."""
    (migration,) = reported(BY_NAME[OutcomeName.REPAIR_FAILED])["migrations"]
    assert migration["done"] is False
    assert migration["proof"]["holds"] is False
    assert migration["proof"]["violations"] == ["table t lost 3 rows"]
    assert migration["proof"]["differences"][0]["found"] == "uuid"


def test_a_file_name_that_is_not_utf8_does_not_spoil_the_report() -> None:
    """Whatever is in the folder, the report is valid JSON."""
    outcome = replace(BY_NAME[OutcomeName.HEALTHY], warnings=("odd name: \udcff",))
    assert reported(outcome)["warnings"] == ["odd name: \udcff"]


@given(
    summary=st.text(),
    warnings=st.lists(st.text()).map(tuple),
    name=st.sampled_from(OutcomeName),
    applied=st.none() | st.integers(0, 4),
    found=st.sampled_from(FindingName),
    duration_s=st.floats(0, 1e6),
)
def test_any_outcome_is_valid(
    *,
    summary: str,
    warnings: tuple[str, ...],
    name: OutcomeName,
    applied: int | None,
    found: FindingName,
    duration_s: float,
) -> None:
    """The schema holds for every combination, not only for the likely ones."""
    migration = MigrationOutcome(replace(finding(found), applied=applied), script())
    outcome = Outcome(name, 3, summary, migrations=(migration,), warnings=warnings)
    made = report.build(outcome, started_at=datetime.now(UTC), duration_s=duration_s)
    jsonschema.validate(
        json.loads(report.encode(made)), json.loads(SCHEMA.read_text(encoding="utf-8"))
    )


def test_a_finding_without_a_script() -> None:
    """A script that cannot be read has no statements to report, and nothing else is missing."""
    lost = MigrationOutcome(Finding(FindingName.SCRIPT_MISSING, NAME, ()), None)
    (migration,) = reported(replace(BY_NAME[OutcomeName.HALTED], migrations=(lost,)))["migrations"]
    assert (migration["statements"], migration["action"], migration["reason"]) == ([], None, "")
