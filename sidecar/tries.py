"""Trying again: how long to go on failing, and the failures of a repair that may pass."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from sidecar.errors import RepairError

T = TypeVar("T")

_MAY_PASS = frozenset({"55P03", "40P01", "40001"})
"""lock_not_available, deadlock_detected, serialization_failure (PostgreSQL, Appendix A)."""


class Patience:
    """The time to go on runs from the first failure since there was progress.

    What a try itself may take is not limited: building an index may take an hour, and
    the lock that is missing after it deserves another try like any other.
    """

    def __init__(self, limit_s: float) -> None:
        self._limit_s = limit_s
        self._since: float | None = None

    def is_over(self, now: float, *, progress: bool = False) -> bool:
        """Whether a failure at `now` (monotonic seconds) is the last; 0 seconds allow one try."""
        if progress or self._since is None:
            self._since = now
        return now - self._since >= self._limit_s


def tried(
    do: Callable[[], T],
    *,
    limit_s: float,
    sleep: Callable[[float], None],
    on_retry: Callable[[RepairError], None],
) -> T:
    """What `do` returns, tried again while the cause of its `RepairError` may pass."""
    from tenacity import RetryCallState, Retrying, retry_if_exception, wait_random_exponential

    patience = Patience(limit_s)

    def told(state: RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome else None
        if isinstance(error, RepairError):
            on_retry(error)

    tries = Retrying(
        retry=retry_if_exception(_may_pass),
        stop=lambda state: patience.is_over(state.outcome_timestamp or 0.0),
        wait=wait_random_exponential(multiplier=0.2, max=5),
        sleep=sleep,
        before_sleep=told,
        reraise=True,
    )
    return tries(do)


def _may_pass(error: BaseException) -> bool:
    return isinstance(error, RepairError) and error.sqlstate in _MAY_PASS
