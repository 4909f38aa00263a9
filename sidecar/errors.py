"""What can go wrong, and the exit code each way ends with.

Every error says what happened, what was *not* touched, and what to type next;
the boundary in `cli` prints these and nothing else. Secrets never enter an
error: callers pass hosts and names, not connection strings.
"""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from sidecar.model import Proof, Step

__all__ = [
    "BusyError",
    "CommandError",
    "ConfigError",
    "ConnectionLostError",
    "DatabaseError",
    "EngineError",
    "ExitCode",
    "HaltError",
    "LockTimeoutError",
    "Named",
    "NotReadyError",
    "ProofError",
    "RepairError",
    "ResolveError",
    "ShadowError",
    "SidecarError",
    "UnclearError",
]


class ExitCode(IntEnum):
    """The process's promise to whoever started it; 0 means: the backend may start."""

    OK = 0
    BUG = 1
    USAGE = 2
    HALTED = 3
    REPAIR_FAILED = 4
    BUSY = 5
    RESTART_FAILED = 6
    NOT_READY = 124
    NOT_EXECUTABLE = 126
    NOT_FOUND = 127
    INTERRUPTED = 130
    TERMINATED = 143


class SidecarError(Exception):
    """Root of all expected failures.

    `what` is one sentence; `next_steps` are commands or actions, most useful first.
    """

    exit_code: ExitCode = ExitCode.BUG

    def __init__(self, what: str, *, next_steps: tuple[str, ...] = ()) -> None:
        super().__init__(what)
        self.what = what
        self.next_steps = next_steps


class ConfigError(SidecarError):
    """The settings are unusable; carries every mistake, not only the first."""

    exit_code = ExitCode.USAGE

    def __init__(self, mistakes: tuple[str, ...], *, next_steps: tuple[str, ...] = ()) -> None:
        super().__init__("; ".join(mistakes), next_steps=next_steps)
        self.mistakes = mistakes


class NotReadyError(SidecarError):
    """PostgreSQL did not accept us; retried until the deadline.

    `sqlstate` is the server's own code where it answered, else None.
    `permanent` marks causes that time rarely heals (password, database name):
    they are retried for a short grace only.
    """

    exit_code = ExitCode.NOT_READY

    def __init__(
        self,
        what: str,
        *,
        sqlstate: str | None = None,
        permanent: bool = False,
        next_steps: tuple[str, ...] = (),
    ) -> None:
        super().__init__(what, next_steps=next_steps)
        self.sqlstate = sqlstate
        self.permanent = permanent


class ConnectionLostError(NotReadyError):
    """The line to the server broke in the middle; what was not committed is rolled back there."""


class BusyError(SidecarError):
    """Another migrator held Prisma's lock, or worked, until the deadline."""

    exit_code = ExitCode.BUSY


class EngineError(SidecarError):
    """What was asked of the Docker Engine cannot be had; the database is as it was."""

    exit_code = ExitCode.USAGE


class UnclearError(EngineError):
    """The engine answers, and what is meant is not certain, so nothing is assumed."""


class CommandError(SidecarError):
    """The program after `--` cannot be executed; the codes are those of a shell (POSIX, 2.8.2)."""

    def __init__(self, what: str, *, found: bool) -> None:
        super().__init__(what)
        self.exit_code = ExitCode.NOT_EXECUTABLE if found else ExitCode.NOT_FOUND


class HaltError(SidecarError):
    """A person is needed; the database is unchanged."""

    exit_code = ExitCode.HALTED


class ShadowError(HaltError):
    """No shadow database could be made, or the history could not be replayed on it."""


class RepairError(SidecarError):
    """A repair was tried, failed and was rolled back, but for the statements `committed`.

    Where PostgreSQL refused something, `refused` is its error, `step` what it refused (None:
    the COMMIT), and `blockers` are those who were seen to be in the way, a sentence each.
    """

    exit_code = ExitCode.REPAIR_FAILED

    def __init__(
        self, what: str, *, sqlstate: str | None = None, next_steps: tuple[str, ...] = ()
    ) -> None:
        super().__init__(what, next_steps=next_steps)
        self.sqlstate = sqlstate
        self.committed: tuple[int, ...] = ()
        self.refused: DatabaseError | None = None
        self.step: Step | None = None
        self.blockers: tuple[str, ...] = ()

    def explained(self, says: str, next_steps: tuple[str, ...]) -> None:
        """Say more about the cause, and what to do about it."""
        self.what = f"{self.what}; {says}" if says else self.what
        self.next_steps = next_steps

    def left(self, committed: tuple[int, ...], says: str) -> None:
        """Say what the failed repair leaves behind: the numbers of statements, and a clause."""
        self.committed = committed
        self.what = f"{self.what}; {says}"


class LockTimeoutError(RepairError):
    """A lock was not obtained within `lock_timeout`; `blockers` name who holds it."""

    def __init__(self, what: str, *, blockers: tuple[str, ...] = ()) -> None:
        super().__init__(what, sqlstate="55P03")
        self.blockers = blockers


class ProofError(RepairError):
    """The repaired database was not what a clean run leaves.

    `proof` is the `model.Proof` that does not hold.
    """

    def __init__(self, proof: Proof) -> None:
        found = [
            *(f"{d.key} would be {d.found!r}, not {d.expected!r}" for d in proof.differences),
            *proof.violations,
        ]
        more = f"; and {len(found) - 3} more" if len(found) > 3 else ""  # noqa: PLR2004
        super().__init__(
            f"the proof failed: {'; '.join(found[:3])}{more}",
            next_steps=("migration-sidecar plan",),
        )
        self.proof = proof


class ResolveError(SidecarError):
    """`resolve` was refused for the reason Prisma gives; `code` is Prisma's (P3008...)."""

    exit_code = ExitCode.HALTED

    def __init__(self, code: str, what: str) -> None:
        super().__init__(f"{code}: {what}")
        self.code = code


class Named(NamedTuple):
    """The objects that PostgreSQL names in an error, unquoted; '' where it names none.

    (PostgreSQL, "Error and Notice Message Fields")
    """

    schema: str = ""
    table: str = ""
    column: str = ""
    constraint: str = ""


class DatabaseError(SidecarError):
    """PostgreSQL refused a statement of ours; `sqlstate` is its code ('' if the line broke).

    `what` and `detail` may hold values of rows, `hint` holds none.
    """

    def __init__(
        self,
        what: str,
        *,
        sqlstate: str = "",
        detail: str = "",
        hint: str = "",
        named: Named = Named(),  # noqa: B008 (it is frozen)
    ) -> None:
        super().__init__(what)
        self.sqlstate = sqlstate
        self.detail = detail
        self.hint = hint
        self.named = named
