"""Prisma's advisory lock, held the way that harms nobody.

The lock is tried, never waited for: a blocked waiter keeps a snapshot open, and another
migrator's CREATE INDEX CONCURRENTLY then deadlocks with it. It is a session lock on an
autocommit connection, so nothing of ours stays open while it is held.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager

from sidecar.db import Session, connect
from sidecar.errors import BusyError, HaltError
from sidecar.model import LOCK_KEY
from sidecar.queries import BACKEND_PID, LOCK_HOLDERS, MIGRATORS, TRY_LOCK, UNLOCK

_POLL_S = 0.25
_LOOKS = 8


def try_lock(session: Session) -> bool:
    """Try Prisma's lock once; whether this session holds it now."""
    return bool(session.query(TRY_LOCK, (LOCK_KEY,))[0][0])


def unlock(session: Session) -> None:
    """Give the lock back; a session that is gone has given it back already."""
    if not session.broken and not session.in_transaction:
        session.query(UNLOCK, (LOCK_KEY,))


@contextmanager
def tried_lock(session: Session) -> Iterator[bool]:
    """Whether the lock could be had at the first try; given back at the end."""
    held = try_lock(session)
    try:
        yield held
    finally:
        if held:
            unlock(session)


def holders(session: Session) -> tuple[str, ...]:
    """Who holds Prisma's lock in this database, a sentence each."""
    return tuple(describe(row) for row in session.query(LOCK_HOLDERS, (LOCK_KEY,)))


def executing(session: Session, scripts: Collection[str]) -> tuple[str, ...]:
    """Backends that work on one of these scripts, a sentence each.

    The lock can be switched off in Prisma, and the backend of a killed client runs on, so
    the statements in flight are looked at too. `pg_stat_activity` cuts queries
    (`track_activity_query_size`), so the shown text must be a piece of a script.
    """
    seen = []
    for row in session.query(MIGRATORS):
        text = row[5].strip().rstrip(";").strip()
        if len(text) > len("COMMIT") and any(text in script for script in scripts):
            seen.append(describe(row))
    return tuple(seen)


def refuse_transaction_pooler(session: Session, conninfo: Mapping[str, str]) -> None:
    """Raise `HaltError` where a pooler hands out server connections per transaction.

    There a session lock would stay behind on somebody else's connection. Behind a pooler
    the announced pid is not the server's; if then two open connections meet the same
    server process, or one meets several, it pools transactions.
    """
    mine = {session.query(BACKEND_PID)[0][0]}
    if mine == {session.backend_pid}:
        return
    second = connect(conninfo)
    theirs = set()
    try:
        for _ in range(_LOOKS):  # among other clients, one look may miss it
            theirs.add(second.query(BACKEND_PID)[0][0])
            mine.add(session.query(BACKEND_PID)[0][0])
    finally:
        second.close()
    if mine & theirs or len(mine) > 1 or len(theirs) > 1:
        what = "the URL leads to a pooler in transaction mode, where Prisma's lock cannot be held"
        raise HaltError(
            f"{what}; nothing was changed",
            next_steps=("Set DIRECT_URL to the database's own address and start again.",),
        )


def poll_until(
    condition: Callable[[], bool],
    *,
    timeout_s: float,
    clock: Callable[[], float],
    sleep: Callable[[float], None],
    who: Callable[[], tuple[str, ...]],
) -> None:
    """Poll until `condition`; raises `BusyError` naming `who` at the deadline."""
    deadline = clock() + timeout_s
    while not condition():
        left = deadline - clock()
        if left <= 0:
            names = "; ".join(who()) or "unknown"
            what = f"another migrator was still at work after {timeout_s:g} s: {names}"
            raise BusyError(
                f"{what}; nothing was changed",
                next_steps=("Wait for it to end, then start again.",),
            )
        sleep(min(_POLL_S, left))


def describe(row: tuple[object, ...]) -> str:
    """`pid 42, app 'x', user u, active for 3 s: CREATE INDEX ...`."""
    pid, application, user, state, age, query = row
    shown = " ".join(str(query).split())[:120]
    if "password" in str(query).lower():
        shown = "(not shown: it speaks of a password)"
    return f"pid {pid}, application {application!r}, user {user}, {state} for {age:.0f} s: {shown}"
