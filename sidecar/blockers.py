"""Sees who blocks us while we wait: afterwards PostgreSQL no longer knows."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from types import TracebackType
from typing import Self

from sidecar.db import connect
from sidecar.errors import ConnectionLostError, DatabaseError, NotReadyError
from sidecar.lock import describe
from sidecar.queries import BLOCKERS

_LOOK_EVERY_S = 0.1


class BlockerWatch:
    """Looks, from a second connection, at what blocks backend `pid` as long as it is entered.

    It only watches: where that connection cannot be had, nothing is seen and nothing fails.
    """

    def __init__(self, conninfo: Mapping[str, str], pid: int) -> None:
        self._conninfo = conninfo
        self._pid = pid
        self._seen: tuple[str, ...] = ()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="blockers", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._over.set()
        self._thread.join(timeout=1.0)

    def seen(self) -> tuple[str, ...]:
        """The blockers last seen, a sentence each; empty where none was seen."""
        return self._seen

    def _watch(self) -> None:
        if self._over.wait(_LOOK_EVERY_S):
            return  # most repairs are over before anybody could block them
        try:
            session = connect(self._conninfo)
        except NotReadyError:
            return
        try:
            while not self._over.wait(_LOOK_EVERY_S):
                rows = session.query(BLOCKERS, (self._pid,))
                self._seen = tuple(describe(row) for row in rows) or self._seen
        except (DatabaseError, ConnectionLostError):
            return
        finally:
            session.close()
