"""How long a repair is tried again: the time runs from the first failure without progress."""

from __future__ import annotations

import io
from collections.abc import Callable

import pytest

from sidecar import app
from sidecar.config import Config
from sidecar.errors import ConnectionLostError, RepairError
from sidecar.log import Log
from sidecar.model import Outcome
from sidecar.opening import World
from sidecar.tries import Patience, tried
from tests.settings import loaded


def test_time_runs_from_the_first_failure() -> None:
    """However long the tries themselves took."""
    patience = Patience(10)
    assert [patience.is_over(now) for now in (5000.0, 5009.9, 5010.0)] == [False, False, True]


def test_progress_starts_it_anew() -> None:
    """Only tries that did not get further count."""
    patience = Patience(10)
    assert not patience.is_over(0)
    assert not patience.is_over(100, progress=True)
    assert not patience.is_over(109)
    assert patience.is_over(110)


def test_no_time_is_one_try() -> None:
    """A limit of 0 seconds means: do not try again."""
    assert Patience(0).is_over(7)


def run(*codes: str | None, limit_s: float = 60) -> tuple[list[str | None], int]:
    """Tries that fail with these codes, the last (None) succeeds; what was retried, and tries."""
    left, told = list(codes), []

    def do() -> None:
        code = left.pop(0)
        if code is not None:
            raise RepairError("no", sqlstate=code)

    tried(
        do,
        limit_s=limit_s,
        sleep=lambda _: None,
        on_retry=lambda error: told.append(error.sqlstate),
    )
    return told, len(codes) - len(left)


def test_what_may_pass_is_tried_again() -> None:
    """Locks, deadlocks and serialization failures pass; each retry is told."""
    codes = ("55P03", "40P01", "40001")
    assert run(*codes, None) == (list(codes), 4)


@pytest.mark.parametrize("code", ["23505", "42501", "57014", "53100"])
def test_what_stays_is_not(code: str) -> None:
    """A cause that does not go by itself ends it at once."""
    with pytest.raises(RepairError):
        run(code, None)


def test_without_time_there_is_one_try() -> None:
    """The failure is the last one's own."""
    with pytest.raises(RepairError) as failed:
        run("55P03", None, limit_s=0)
    assert failed.value.sqlstate == "55P03"


# --- a lost connection -----------------------------------------------------------


def lost(monkeypatch: pytest.MonkeyPatch, ledgers: list[str | None]) -> int:
    """How many runs there are, each of which takes 100 s and then loses its connection.

    Each finds such a ledger; None: it does not come so far.
    """
    now, runs = [0.0], 0

    def run_once(_config: Config, _world: World, found: Callable[[object], None]) -> Outcome:
        nonlocal runs
        ledger = ledgers[runs]
        if ledger is not None:
            found(ledger)
        runs += 1
        now[0] += 100
        raise ConnectionLostError("gone")

    monkeypatch.setattr("sidecar.app._run_once", run_once)
    log = Log(io.StringIO(), log_format="json", level="debug")
    world = World(clock=lambda: now[0], sleep=lambda _: None, log=log)
    with pytest.raises(ConnectionLostError):
        app.run(loaded({"repair_timeout": "150s"}), world)
    return runs


LOST: dict[str, tuple[list[str | None], int]] = {
    "no progress": (["a", "a", "a", "a"], 3),
    "progress in the second try": (["a", "a", "b", "b", "b", "b"], 5),
    "progress in each": (["a", "b", "c", "d", "d", "d", "d"], 6),
    "it never comes so far": ([None, None, None, None], 3),
    "it does not come so far again": (["a", "b", None, None, None, None], 4),
}


@pytest.mark.parametrize("name", LOST)
def test_a_lost_connection_without_progress(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """What a try committed shows in the ledger that the next one finds; only that is progress."""
    ledgers, runs = LOST[name]
    assert lost(monkeypatch, ledgers) == runs
