"""Waiting for another migrator: polled with a deadline, and named when it comes."""

from __future__ import annotations

from contextlib import nullcontext, suppress
from dataclasses import dataclass, field
from itertools import cycle
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar import lock
from sidecar.db import Session
from sidecar.errors import BusyError, ExitCode, HaltError
from sidecar.lock import describe, executing, poll_until, refuse_transaction_pooler

ROW = (42, "app", "ada", "active", 2.6, "CREATE  INDEX\n i ON t (a)")


class Time:
    """A clock that only sleeping moves on; each sleep is noted."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.slept: list[float] = []

    def clock(self) -> float:
        """Seconds since whenever."""
        return self.now

    def sleep(self, seconds: float) -> None:
        """Let the time pass."""
        self.slept.append(seconds)
        self.now += seconds


def poll(time: Time, answers: list[bool], *, timeout_s: float, who: tuple[str, ...] = ()) -> None:
    """Poll for these answers, the last one for ever."""
    rest = iter(answers[:-1])
    poll_until(
        lambda: next(rest, answers[-1]),
        timeout_s=timeout_s,
        clock=time.clock,
        sleep=time.sleep,
        who=lambda: who,
    )


def test_what_is_free_is_not_waited_for() -> None:
    """The condition is asked once, also where there is no time at all."""
    time = Time()
    poll(time, [True], timeout_s=0)
    assert time.slept == []


def test_polled_until_it_is_free() -> None:
    """A short sleep between two tries."""
    time = Time()
    poll(time, [False, False, True], timeout_s=60)
    assert time.slept == [0.25, 0.25]


def test_at_the_deadline_the_other_is_named() -> None:
    """Exit 5: who is at work, that nothing was changed, and what to do."""
    time = Time()
    with pytest.raises(BusyError) as caught:
        poll(time, [False], timeout_s=1.6, who=("pid 1", "pid 2"))
    assert caught.value.exit_code is ExitCode.BUSY
    assert "after 1.6 s: pid 1; pid 2; nothing was changed" in caught.value.what
    assert caught.value.next_steps


def test_somebody_who_cannot_be_seen_is_still_said() -> None:
    """A role without the right to look at others' sessions gets a sentence all the same."""
    with pytest.raises(BusyError, match="unknown"):
        poll(Time(), [False], timeout_s=0)


@given(st.floats(0, 1000), st.lists(st.booleans(), min_size=1, max_size=20))
def test_the_deadline_is_never_overrun(timeout_s: float, answers: list[bool]) -> None:
    """However it goes, all sleeps together are no longer than the limit."""
    time = Time()
    with suppress(BusyError):
        poll(time, answers, timeout_s=timeout_s)
    assert time.now - 1000.0 <= timeout_s + 1e-6
    assert all(0 < seconds <= 0.25 for seconds in time.slept)


# --- who it is -------------------------------------------------------------------


def test_a_backend_in_one_sentence() -> None:
    """Process, program, user, what it does and since when; the query on one line."""
    assert describe(ROW) == (
        "pid 42, application 'app', user ada, active for 3 s: CREATE INDEX i ON t (a)"
    )


def test_a_long_query_is_cut() -> None:
    """It is there to be recognised, not to be read."""
    assert describe((*ROW[:5], "x" * 500)).endswith(": " + "x" * 120)


@given(st.text(), st.text())
def test_a_sentence_has_one_line(application: str, query: str) -> None:
    """Whatever others call themselves."""
    assert len(describe((1, application, "ada", "idle", 0.0, query)).splitlines()) == 1


class Answering:
    """A session on which these queries are seen in flight."""

    def __init__(self, *queries: str) -> None:
        self.rows = [(*ROW[:5], query) for query in queries]

    def query(self, _statement: str, _params: object = None) -> list[tuple[Any, ...]]:
        """The backends."""
        return self.rows


SCRIPT = "-- first\nCREATE TABLE t (a int);\n\nUPDATE u SET a = a + 1;\nCOMMIT;\n"


@pytest.mark.parametrize(
    ("query", "at_work"),
    [
        ("CREATE TABLE t (a int)", True),
        ("CREATE TABLE t (a int);", True),
        ("  UPDATE u SET a = a + 1 ; ", True),
        (SCRIPT, True),
        (SCRIPT[:40], True),
        ("CREATE TABLE t (b int)", False),
        ("SELECT * FROM t", False),
        ("COMMIT", False),
        ("BEGIN", False),
        ("", False),
        (";", False),
    ],
)
def test_a_backend_at_work_on_a_script(query: str, *, at_work: bool) -> None:
    """What runs is a piece of a script, perhaps cut off; what every program says is not."""
    session = cast("Session", Answering("SELECT 1", query))
    assert len(executing(session, [SCRIPT])) == at_work
    assert executing(session, []) == ()


def test_no_password_is_read_out_of_a_query() -> None:
    """What others run is shown, but not if it speaks of a password."""
    query = "ALTER ROLE ada PASSWORD 'correct horse'"
    assert "correct" not in describe((7, "psql", "ada", "active", 1.0, query))


# --- poolers ---------------------------------------------------------------------


@dataclass
class Line:
    """A connection that was announced `pid`, and meets these server processes in turn."""

    backend_pid: int
    meets: tuple[int, ...]
    closed: bool = False
    turns: Any = field(init=False)

    def __post_init__(self) -> None:
        self.turns = cycle(self.meets)

    def query(self, _statement: str, _params: object = None) -> list[tuple[Any, ...]]:
        """Where it is now."""
        return [(next(self.turns),)]

    def close(self) -> None:
        """Hang up."""
        self.closed = True


@pytest.mark.parametrize(
    ("mine", "other", "shared"),
    [
        (Line(7, (7,)), None, False),
        (Line(-5, (7,)), Line(-6, (8,)), False),
        (Line(-5, (7,)), Line(-6, (7,)), True),
        (Line(-5, (7, 7, 9)), Line(-6, (8,)), True),
        (Line(-5, (7,)), Line(-6, (8, 8, 9)), True),
    ],
    ids=["direct", "session", "one for both", "mine moves", "the other moves"],
)
def test_a_pooler_that_shares_sessions(
    monkeypatch: pytest.MonkeyPatch, mine: Line, other: Line | None, *, shared: bool
) -> None:
    """Two connections on one process, or one on several: refused. A direct one opens no second."""
    monkeypatch.setattr(lock, "connect", lambda _: other)
    with pytest.raises(HaltError, match="transaction mode") if shared else nullcontext():
        refuse_transaction_pooler(cast("Session", mine), {})
    assert other is None or other.closed
