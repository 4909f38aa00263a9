"""How a run ended is told to machines line by line, and to people once."""

from __future__ import annotations

import io
import json
from datetime import UTC, datetime
from typing import Literal

import pytest

from sidecar import telling
from sidecar.log import Log
from sidecar.model import OutcomeName
from tests.outcomes import BY_NAME
from tests.settings import ENVIRON, loaded


def told(log_format: Literal["json", "text"]) -> list[str]:
    """The last lines of a halted run."""
    stream = io.StringIO()
    config = loaded(environ={**ENVIRON, "SIDECAR_TERMINATION_LOG": "/absent/x"})
    to = telling.Telling(config, Log(stream, log_format=log_format))
    started = datetime(2026, 1, 5, tzinfo=UTC)
    telling.tell(to, BY_NAME[OutcomeName.HALTED], started=started, duration_s=1.0)
    return stream.getvalue().splitlines()


def test_each_line_for_machines_has_the_outcome() -> None:
    """They are filtered one by one."""
    lines = [json.loads(line) for line in told("json")]
    assert {(line["outcome"], line["exit_code"]) for line in lines} == {("halted", 3)}
    assert len(lines) > 2


def test_people_read_the_outcome_once() -> None:
    """In the first line; the others are sentences and commands to copy."""
    first, *others = told("text")
    assert first.endswith("exit_code=3 outcome=halted")
    assert others
    assert not any("exit_code=" in line for line in others)


@pytest.mark.parametrize("log_format", ["json", "text"])
def test_both_say_the_same(log_format: Literal["json", "text"]) -> None:
    """Every next step is there, in either form."""
    wanted = BY_NAME[OutcomeName.HALTED].next_steps
    assert all(any(step in line for line in told(log_format)) for step in wanted)
