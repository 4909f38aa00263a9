"""Waiting for PostgreSQL: call a probe until it answers or the time is up.

Time is an argument here, so a test needs no seconds and a signal ends a wait at once: it
raises out of `sleep` (or the probe) and nothing in this module catches it. tenacity is
imported only after the first try has failed; a healthy start does not pay for it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from sidecar.errors import NotReadyError

__all__ = ["WaitProgress", "until_ready"]

T = TypeVar("T")

_FIRST_PAUSE_S = 0.1
_SHORTEST_PAUSE_S = 0.05
_LONGEST_PAUSE_S = 2.0
"""Full jitter below this: one second is lost on average after PostgreSQL gets ready, and a
hundred waiting replicas knock a hundred times a second, which costs a starting server little."""

_PROGRESS_EVERY_S = 5.0
_NO_TIME_S = 0.001
"""Less than this is no time left; a clock's rounding must not buy one more try."""


@dataclass(frozen=True, slots=True)
class WaitProgress:
    """How the wait stands: the last cause in words, tries so far, seconds gone and left."""

    cause: str
    tries: int
    waited_s: float
    left_s: float
    permanent: bool


def until_ready(
    probe: Callable[[], T],
    *,
    timeout_s: float,
    login_grace_s: float,
    clock: Callable[[], float],
    sleep: Callable[[float], None],
    on_progress: Callable[[WaitProgress], None],
) -> T:
    """Return what `probe` returns, calling it until it no longer raises `NotReadyError`.

    There is always one try, and none begins after `timeout_s`; the last pause is cut so that
    the last try falls on the deadline. A cause marked `permanent` gets only `login_grace_s`
    from the first of an unbroken run of such answers: a secret may still be on its way, or
    the server still be creating its databases. `on_progress` hears of the first failure at
    once and then about every 5 s.

    Raises NotReadyError with the last cause, tries and seconds when the time is up. Any
    other exception, a signal's among them, passes straight through.
    """
    started = clock()
    try:
        return probe()
    except NotReadyError as error:
        wait = _Wait(
            started=started,
            timeout_s=timeout_s,
            login_grace_s=login_grace_s,
            clock=clock,
            on_progress=on_progress,
            last=error,
        )
        return _retry(probe, wait=wait, sleep=sleep)


def _retry(probe: Callable[[], T], *, wait: _Wait, sleep: Callable[[float], None]) -> T:
    from tenacity import Retrying, retry_if_exception_type
    from tenacity.wait import wait_random_exponential

    made_already = [wait.last]

    def attempt() -> T:
        try:
            if made_already:  # tenacity's first attempt is the one which has been made
                raise made_already.pop()
            return probe()
        except NotReadyError as error:
            wait.note(error)
            raise

    jitter = wait_random_exponential(
        multiplier=_FIRST_PAUSE_S, max=_LONGEST_PAUSE_S, min=_SHORTEST_PAUSE_S
    )
    retrying = Retrying(
        retry=retry_if_exception_type(NotReadyError),
        wait=lambda state: max(0.0, min(jitter(state), wait.left_s())),
        stop=lambda _: wait.left_s() < _NO_TIME_S,
        before_sleep=lambda _: wait.tell(),
        sleep=sleep,
        reraise=True,
    )
    try:
        return retrying(attempt)
    except NotReadyError as error:
        raise wait.gave_up() from error


@dataclass(slots=True)
class _Wait:
    """How one wait stands after at least one failed try; `last` is the latest answer."""

    started: float
    timeout_s: float
    login_grace_s: float
    clock: Callable[[], float]
    on_progress: Callable[[WaitProgress], None]
    last: NotReadyError
    tries: int = 0
    permanent_since: float | None = None
    next_progress_at: float = float("-inf")

    def note(self, error: NotReadyError) -> None:
        self.last = error
        self.tries += 1
        if not error.permanent:
            self.permanent_since = None
        elif self.permanent_since is None:
            self.permanent_since = self.clock()

    def left_s(self) -> float:
        ends = self.started + self.timeout_s
        if self.permanent_since is not None:
            ends = min(ends, self.permanent_since + self.login_grace_s)
        return ends - self.clock()

    def tell(self) -> None:
        now = self.clock()
        if now < self.next_progress_at:
            return
        self.next_progress_at = now + _PROGRESS_EVERY_S
        self.on_progress(
            WaitProgress(
                cause=self.last.what,
                tries=self.tries,
                waited_s=now - self.started,
                left_s=self.left_s(),
                permanent=self.last.permanent,
            )
        )

    def gave_up(self) -> NotReadyError:
        waited_s = self.clock() - self.started
        tries = "1 try" if self.tries == 1 else f"{self.tries} tries"
        return NotReadyError(
            f"PostgreSQL was not ready after {waited_s:.1f} s and {tries}; "
            f"the last cause: {self.last.what}. Nothing was changed",
            sqlstate=self.last.sqlstate,
            permanent=self.last.permanent,
            next_steps=(*self.last.next_steps, *self._next_steps()),
        )

    def _next_steps(self) -> tuple[str, ...]:
        if self.last.permanent and self.last.sqlstate is None:  # its container has ended
            return ("Remove the cause, start PostgreSQL, then try: migration-sidecar wait",)
        if self.last.permanent:
            return (
                "Correct user, password or database in DATABASE_URL: waiting longer does not help",
                "Then try: migration-sidecar wait",
            )
        return (
            "Look whether PostgreSQL is up and reachable from here: migration-sidecar wait",
            f"If it only needs longer, raise SIDECAR_WAIT_TIMEOUT (it was {self.timeout_s:g}s)",
        )
