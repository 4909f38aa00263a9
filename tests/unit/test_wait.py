"""Waiting for PostgreSQL, with a clock that costs no time."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from sidecar.errors import ExitCode, NotReadyError
from sidecar.wait import WaitProgress, until_ready

REFUSED = NotReadyError("connection refused by db:5432")
BAD_PASSWORD = NotReadyError(
    "password authentication failed for user app", sqlstate="28P01", permanent=True
)


class Interrupt(KeyboardInterrupt):
    """Stands for a signal which arrives while we sleep."""


@dataclass
class FakeTime:
    """A clock that only `sleep` and the probe move on."""

    now: float = 1000.0
    slept: list[float] = field(default_factory=list)

    def clock(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        assert seconds >= 0
        self.slept.append(seconds)
        self.now += seconds


@dataclass
class Server:
    """Answers `ready` from `ready_at` on; before it, raises what `answer` says for the time."""

    time: FakeTime
    ready_at: float = float("inf")
    answer: Callable[[float], NotReadyError] = lambda _: REFUSED
    probe_s: float = 0.0
    tried_at: list[float] = field(default_factory=list)

    def __call__(self) -> str:
        since = self.time.now - 1000.0
        self.tried_at.append(since)
        self.time.now += self.probe_s
        if since >= self.ready_at:
            return "ready"
        raise self.answer(since)


def wait(
    server: Callable[[], str],
    time: FakeTime,
    *,
    timeout_s: float = 60.0,
    login_grace_s: float = 10.0,
    heard: list[WaitProgress] | None = None,
) -> str:
    """What `until_ready` gives for this server on this clock."""
    return until_ready(
        server,
        timeout_s=timeout_s,
        login_grace_s=login_grace_s,
        clock=time.clock,
        sleep=time.sleep,
        on_progress=(heard if heard is not None else []).append,
    )


def test_ready_at_once() -> None:
    """A server that answers is not slept for and not reported on."""
    time, heard = FakeTime(), list[WaitProgress]()
    assert wait(Server(time, ready_at=0), time, heard=heard) == "ready"
    assert (time.slept, heard) == ([], [])


def test_a_healthy_start_does_not_import_tenacity() -> None:
    """The first try costs nothing but itself; only a failed one imports tenacity."""
    code = """
import sys
from sidecar.errors import NotReadyError
from sidecar.wait import until_ready

answers = {"left": int(sys.argv[1])}
def probe():
    if answers["left"]:
        answers["left"] -= 1
        raise NotReadyError("starting up")
until_ready(probe, timeout_s=60, login_grace_s=1, clock=lambda: 0.0, sleep=lambda s: None,
            on_progress=lambda p: None)
print("tenacity" in sys.modules)
"""
    said = [
        subprocess.run(
            [sys.executable, "-c", code, failures],
            capture_output=True,
            text=True,
            check=True,
            cwd=Path(__file__).parents[2],
        ).stdout.strip()
        for failures in ("0", "1")
    ]
    assert said == ["False", "True"]


@given(timeout_s=st.floats(0, 3600), probe_s=st.floats(0, 10), ready_at=st.floats(0, 7200))
def test_the_deadline_is_kept(timeout_s: float, probe_s: float, ready_at: float) -> None:
    """No try begins after the deadline and no pause ends after it, however slow the answers."""
    time = FakeTime()
    server = Server(time, ready_at=ready_at, probe_s=probe_s)
    with suppress(NotReadyError):
        wait(server, time, timeout_s=timeout_s)
    assert server.tried_at[0] == 0
    assert server.tried_at[-1] <= timeout_s + 1e-6
    assert sum(time.slept) <= timeout_s + 1e-6


@given(timeout_s=st.floats(0, 3600), ready_at=st.floats(0, 7200))
def test_a_server_ready_in_time_is_found(timeout_s: float, ready_at: float) -> None:
    """It is found if it was ready by the deadline, and only then."""
    assume(abs(timeout_s - ready_at) > 0.01)
    time = FakeTime()
    try:
        found = wait(Server(time, ready_at=ready_at), time, timeout_s=timeout_s) == "ready"
    except NotReadyError:
        found = False
    assert found == (ready_at < timeout_s)


def test_one_try_without_any_time() -> None:
    """A timeout of 0 means: try once."""
    time = FakeTime()
    server = Server(time)
    with pytest.raises(NotReadyError, match="and 1 try;"):
        wait(server, time, timeout_s=0)
    assert (server.tried_at, time.slept) == ([0.0], [])


def test_the_last_try_falls_on_the_deadline() -> None:
    """The last pause is cut to the time left, so no part of the allowed wait is wasted."""
    time = FakeTime()
    server = Server(time)
    with pytest.raises(NotReadyError):
        wait(server, time, timeout_s=30)
    assert server.tried_at[-1] == pytest.approx(30)


def test_pauses_grow_to_a_limit() -> None:
    """Pauses start small, never spin, and stay below two seconds however long it takes."""
    time = FakeTime()
    with pytest.raises(NotReadyError):
        wait(Server(time), time, timeout_s=600)
    assert time.slept[0] <= 0.1
    assert min(time.slept[:-1]) >= 0.05
    assert 1.0 < max(time.slept) <= 2.0
    assert len(time.slept) > 300


def test_what_it_says_when_the_time_is_up() -> None:
    """The error names the last cause, tries, seconds, what was not touched and what to do."""
    time = FakeTime()
    server = Server(
        time,
        answer=lambda since: (
            REFUSED
            if since < 5
            else NotReadyError(
                "the database system is starting up", sqlstate="57P03", next_steps=("look here",)
            )
        ),
    )
    with pytest.raises(NotReadyError) as caught:
        wait(server, time, timeout_s=20)
    error = caught.value
    assert error.what == (
        f"PostgreSQL was not ready after 20.0 s and {len(server.tried_at)} tries; "
        "the last cause: the database system is starting up. Nothing was changed"
    )
    assert (error.sqlstate, error.permanent) == ("57P03", False)
    assert error.next_steps[0] == "look here"
    assert "SIDECAR_WAIT_TIMEOUT (it was 20s)" in error.next_steps[-1]


def test_a_wrong_password_gets_a_short_grace() -> None:
    """A wrong password or missing database ends the wait after the grace, not the timeout."""
    time = FakeTime()
    server = Server(time, answer=lambda _: BAD_PASSWORD)
    with pytest.raises(NotReadyError) as caught:
        wait(server, time, timeout_s=60, login_grace_s=10)
    assert server.tried_at[-1] == pytest.approx(10)
    assert caught.value.permanent
    assert caught.value.sqlstate == "28P01"
    assert caught.value.exit_code is ExitCode.NOT_READY
    assert "DATABASE_URL" in caught.value.next_steps[0]


def test_the_grace_is_counted_from_the_first_such_answer() -> None:
    """Time spent on a server that was still starting is not taken from the grace."""
    time = FakeTime()
    server = Server(time, answer=lambda since: REFUSED if since < 20 else BAD_PASSWORD)
    with pytest.raises(NotReadyError):
        wait(server, time, timeout_s=60, login_grace_s=10)
    first_refusal = next(at for at in server.tried_at if at >= 20)
    assert server.tried_at[-1] == pytest.approx(first_refusal + 10)


def test_a_server_that_restarts_gets_a_new_grace() -> None:
    """An answer of another sort in between ends the run of wrong passwords."""
    time = FakeTime()
    server = Server(
        time, ready_at=25, answer=lambda since: REFUSED if 8 < since < 16 else BAD_PASSWORD
    )
    assert wait(server, time, timeout_s=60, login_grace_s=10) == "ready"


def test_a_secret_that_comes_in_time() -> None:
    """Within the grace a wrong password is not the end."""
    time = FakeTime()
    assert wait(Server(time, ready_at=5, answer=lambda _: BAD_PASSWORD), time) == "ready"


@pytest.mark.parametrize(("timeout_s", "grace_s", "end"), [(5, 10, 5), (10, 0, 0)])
def test_the_grace_never_prolongs_the_wait(timeout_s: float, grace_s: float, end: float) -> None:
    """The wait ends at whichever comes first, the deadline or the end of the grace."""
    time = FakeTime()
    server = Server(time, answer=lambda _: BAD_PASSWORD)
    with pytest.raises(NotReadyError) as caught:
        wait(server, time, timeout_s=timeout_s, login_grace_s=grace_s)
    assert server.tried_at[-1] == pytest.approx(end)
    assert caught.value.permanent


def test_progress_is_told_at_sensible_intervals() -> None:
    """The first failure is told at once, then one line about every five seconds."""
    time, heard = FakeTime(), list[WaitProgress]()
    with pytest.raises(NotReadyError):
        wait(Server(time), time, timeout_s=60, heard=heard)
    assert heard[0] == WaitProgress(REFUSED.what, 1, 0.0, 60.0, permanent=False)
    gaps = [b.waited_s - a.waited_s for a, b in pairwise(heard)]
    assert all(5 <= gap <= 7 for gap in gaps)
    assert all(p.waited_s + p.left_s == pytest.approx(60) for p in heard)
    assert heard[-1].tries > heard[0].tries


def test_progress_on_a_wrong_password_counts_the_grace() -> None:
    """The time left that is told is the time that will really be waited."""
    time, heard = FakeTime(), list[WaitProgress]()
    with pytest.raises(NotReadyError):
        wait(Server(time, answer=lambda _: BAD_PASSWORD), time, heard=heard)
    assert heard[0].permanent
    assert heard[0].left_s == pytest.approx(10)


@pytest.mark.parametrize("during", ["first try", "later try", "sleep", "progress"])
def test_a_signal_ends_it_at_once(during: str) -> None:
    """SIGTERM and SIGINT raise out of whatever runs, and not one more try is made."""
    time, tries = FakeTime(), list[str]()

    def probe() -> str:
        tries.append("try")
        if during == ("first try" if len(tries) == 1 else "later try"):
            raise Interrupt
        raise REFUSED

    def interrupt(_: object) -> None:
        raise Interrupt

    with pytest.raises(Interrupt):
        until_ready(
            probe,
            timeout_s=60,
            login_grace_s=10,
            clock=time.clock,
            sleep=interrupt if during == "sleep" else time.sleep,
            on_progress=interrupt if during == "progress" else lambda _: None,
        )
    assert len(tries) == (2 if during == "later try" else 1)


def test_other_errors_are_not_retried() -> None:
    """A mistake in the settings is not waited for."""
    time = FakeTime()

    def probe() -> str:
        raise ValueError("bad port")

    with pytest.raises(ValueError, match="bad port"):
        wait(probe, time)
    assert time.slept == []
