"""SIGTERM and SIGINT: raised once and at once, but never in the middle of a shielded block."""

from __future__ import annotations

import signal
import subprocess
import sys
from contextlib import suppress

import pytest

from sidecar.signals import Interrupted, Signals

TERM, INT = signal.SIGTERM, signal.SIGINT


def send(signals: Signals, signum: signal.Signals = TERM) -> None:
    """What the interpreter does when the signal comes, without a process to end."""
    signals._handle(signum, None)  # noqa: SLF001 (what `install` installs)


@pytest.mark.parametrize("signum", [TERM, INT])
def test_a_signal_is_raised_at_once(signum: signal.Signals) -> None:
    """As a KeyboardInterrupt, on which psycopg cancels the running statement."""
    with pytest.raises(Interrupted) as caught:
        send(Signals(), signum)
    assert isinstance(caught.value, KeyboardInterrupt)
    assert caught.value.signum == signum
    assert str(caught.value) == signum.name


def test_only_the_first_signal_counts() -> None:
    """What unwinds is not torn by an impatient second one."""
    signals = Signals()
    with pytest.raises(Interrupted):
        send(signals, TERM)
    send(signals, INT)
    with signals.shielded():
        send(signals, TERM)


def test_a_shielded_block_is_finished_first() -> None:
    """COMMIT and cleaning up are not torn; the signal that came first is raised at the end."""
    signals, done = Signals(), []

    def commit() -> None:
        with signals.shielded():
            send(signals, INT)
            send(signals, TERM)
            done.append("all of it")

    with pytest.raises(Interrupted) as caught:
        commit()
    assert done == ["all of it"]
    assert caught.value.signum == INT


def test_shields_can_be_nested() -> None:
    """Only the end of the outermost raises."""
    signals, done = Signals(), []

    def clean_up() -> None:
        with signals.shielded():
            with signals.shielded():
                send(signals)
            done.append("after the inner")

    with pytest.raises(Interrupted):
        clean_up()
    assert done == ["after the inner"]


def test_a_shield_without_a_signal_changes_nothing() -> None:
    """Afterwards signals are raised at once again."""
    signals = Signals()
    with suppress(ValueError), signals.shielded():
        raise ValueError
    with pytest.raises(Interrupted):
        send(signals)


def test_a_failing_block_does_not_hide_the_signal() -> None:
    """A refused COMMIT is tried again only by somebody who was not told to stop."""
    signals = Signals()

    def commit() -> None:
        with signals.shielded():
            send(signals)
            raise ValueError

    with pytest.raises(Interrupted) as caught:
        commit()
    assert isinstance(caught.value.__context__, ValueError)


IN_A_PROCESS = """
import os, signal
from sidecar.signals import SIGNALS, Interrupted
SIGNALS.install()
try:
    os.kill(os.getpid(), signal.{name})
    signal.pause()
except Interrupted as exc:
    raise SystemExit(128 + exc.signum)
"""


@pytest.mark.parametrize("signum", [TERM, INT])
def test_installed_for_the_process(signum: signal.Signals) -> None:
    """Both signals unwind the program, which then says by which one."""
    code = IN_A_PROCESS.format(name=signum.name)
    done = subprocess.run([sys.executable, "-c", code], check=False, timeout=10)
    assert done.returncode == 128 + signum
