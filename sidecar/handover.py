"""Becomes the program that was to start after us: `run -- CMD ARGS...`. No Python stays.

What the program gets is what we got: environment, working directory, standard streams, open
files of whoever started us, signals as they were. What is ours is gone before: sessions are
closed, and every file and socket that Python opens is closed on exec (PEP 446).
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

from sidecar.errors import CommandError

__all__ = ["become", "inherited_environment", "refuse_if_absent"]

_PYTHONS_OWN = ("SIGPIPE", "SIGXFSZ", "SIGXFZ")
"""What Python ignores from its start (Python, "signal"); an ignored signal survives exec."""


def refuse_if_absent(command: Sequence[str], environ: Mapping[bytes, bytes]) -> None:
    """Raise `CommandError` if there is no such program, before anything is done for it."""
    name, path = command[0], os.fsdecode(environ.get(b"PATH", os.fsencode(os.defpath)))
    if shutil.which(name, path=path):
        return
    found = shutil.which(name, mode=os.F_OK, path=path)
    problem = f"{found} is not executable" if found else f"{name} is not found"
    raise CommandError(f"{problem}; nothing was done", found=bool(found))


def become(command: Sequence[str], environ: Mapping[bytes, bytes]) -> NoReturn:
    """Replace this process by the command; only a `CommandError` comes back.

    The file is looked for on the PATH of `environ`, as a shell would.
    """
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    for name in _PYTHONS_OWN:
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_DFL)
    try:
        os.execvpe(command[0], list(command), environ)  # noqa: S606 (no shell is wanted)
    except OSError as error:
        found = not isinstance(error, FileNotFoundError)
        reason = error.strerror or type(error).__name__
        raise CommandError(f"{command[0]} cannot be executed: {reason}", found=found) from error


def inherited_environment(now: Mapping[bytes, bytes]) -> Mapping[bytes, bytes]:
    """The environment as this process was started with; `now` where that cannot be read.

    Python may add to its own: LC_CTYPE, where the locale is C (PEP 538).
    """
    try:
        entries = Path("/proc/self/environ").read_bytes().split(b"\0")
    except OSError:
        return now
    pairs = (entry.partition(b"=") for entry in entries if b"=" in entry[1:])
    return {name: value for name, _, value in pairs}
