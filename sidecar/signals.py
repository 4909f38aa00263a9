"""SIGTERM and SIGINT as one exception that unwinds everything: cancel, roll back, drop, exit.

The exception is a KeyboardInterrupt because psycopg, on exactly that, cancels the running
statement on the server before it lets go. A `shielded` block finishes first: it is for
COMMIT and for cleaning up, which are short and must not be torn.
"""

from __future__ import annotations

import os
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

_UNWINDING_LIMIT_S = 4.5
"""Under the 5 s in which we promise to be gone, and the 10 s that Docker grants."""


class Interrupted(KeyboardInterrupt):
    """We were told to stop; `signum` says by which signal."""

    def __init__(self, signum: int) -> None:
        super().__init__(signal.Signals(signum).name)
        self.signum = signum


class Signals:
    """Turns the first SIGTERM or SIGINT into `Interrupted`; later ones change nothing."""

    def __init__(self) -> None:
        self._received: int | None = None
        self._depth = 0
        self._raised = False
        self._before: dict[int, Any] = {}

    def install(self) -> None:
        """Take over both signals for the rest of the process."""
        for signum in (signal.SIGTERM, signal.SIGINT):
            self._before[signum] = signal.signal(signum, self._handle)
        heard, wakeup = socket.socketpair()
        wakeup.settimeout(0)  # as set_wakeup_fd demands
        signal.set_wakeup_fd(wakeup.detach(), warn_on_full_buffer=False)
        threading.Thread(
            target=_last_resort, args=(heard,), name="last resort", daemon=True
        ).start()

    def restore(self) -> None:
        """Give both back as we got them, ignored or not, to the program that comes after us.

        One that came before this is raised, not lost.
        """
        for signum, before in self._before.items():
            ignored = before == signal.SIG_IGN
            signal.signal(signum, signal.SIG_IGN if ignored else signal.SIG_DFL)

    @contextmanager
    def shielded(self) -> Iterator[None]:
        """Let the block finish; a signal that came meanwhile is raised at its end."""
        self._depth += 1
        try:
            yield
        finally:
            self._depth -= 1
            self._raise_if_due()  # before an error of the block, which might be tried again

    def _handle(self, signum: int, _frame: FrameType | None) -> None:
        if self._received is None:
            self._received = signum
        self._raise_if_due()

    def _raise_if_due(self) -> None:
        if self._received is not None and self._depth == 0 and not self._raised:
            self._raised = True
            raise Interrupted(self._received)


def _last_resort(heard: socket.socket) -> None:
    """End the process where unwinding takes too long: a name look-up in C hears no exception.

    The server rolls back when the line breaks, and the next run drops the shadow.
    """
    signum = heard.recv(1)[0]
    if not threading.Event().wait(_UNWINDING_LIMIT_S):
        os._exit(128 + signum)


SIGNALS = Signals()
"""The process has one set of signals; `cli` installs it, nothing happens before."""
