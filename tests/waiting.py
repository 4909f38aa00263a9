"""Waiting for what a test needs to be true; there is no other waiting in the tests."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

Answer = TypeVar("Answer")


def until(holds: Callable[[], Answer], timeout_s: float = 60, *, every_s: float = 0.01) -> Answer:
    """Ask again and again until the answer is true; it. AssertionError at the deadline."""
    deadline = time.monotonic() + timeout_s
    while not (answer := holds()):
        assert time.monotonic() < deadline, f"not within {timeout_s:.0f} s: {holds}"
        time.sleep(every_s)
    return answer


def is_running(pid: int) -> bool:
    """Whether a process is alive, and not only waiting to be collected by its parent."""
    with suppress(FileNotFoundError, ProcessLookupError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False
