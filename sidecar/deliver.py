"""Where the texts go: the report file, the termination message, a person's screen.

I/O only. A report that cannot be written does not change how a run ends, so the two
writers of files raise nothing for a full disk or a path that is not there.
"""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TextIO

__all__ = ["print_human", "write_report", "write_termination"]

_MODE = 0o644
"""Others in the pod read the report, often under another user id."""

_CANNOT_REPLACE = frozenset({errno.EACCES, errno.EPERM, errno.EROFS, errno.EBUSY})
"""A directory that we may not write to, or (EBUSY) a file that is itself a mount."""

_COLOURS: Mapping[str, str] = {
    r"(?m)^\S+: [a-z-]+ \(": "bold",
    r"(?m)^ {2,}\d+ +\d+ +applied\b": "green",
    r"(?m)^ {2,}\d+ +\d+ +missing\b": "yellow",
    r"(?m)^ {2,}\d+ +\d+ +unknown\b": "magenta",
    r"(?m)^next: .*$": "cyan",
    r"(?m)^warning: .*$": "yellow",
}


def write_report(path: str, data: bytes) -> str | None:
    """Put `data` at `path`, whole or not at all; the problem in words, or None.

    What cannot be replaced is written in place: a file which is mounted or whose directory
    is read-only, and what is no ordinary file (/dev/stdout).
    """
    try:
        target = Path(path)
        if target.exists() and not target.is_file():
            target.write_bytes(data)
        else:
            _replace(target.resolve(), data)
    except (OSError, ValueError, RuntimeError) as error:  # RuntimeError: a loop of symlinks
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        return f"the report was not written to {path}: {reason}"
    return None


def write_termination(path: str, data: bytes) -> None:
    """Put `data` at `path` where Kubernetes made that file; elsewhere do nothing."""
    with suppress(OSError, ValueError), Path(path).open("r+b") as file:
        file.truncate()
        file.write(data)


def print_human(text: str, stream: TextIO) -> None:
    """Write `text` to `stream`; the same text in colours if that is a terminal."""
    if not stream.isatty():
        stream.write(text)
        return
    from rich.console import Console
    from rich.text import Text

    coloured = Text(text)
    for pattern, style in _COLOURS.items():
        coloured.highlight_regex(pattern, style)
    Console(file=stream).print(coloured, end="", soft_wrap=True)


def _replace(path: Path, data: bytes) -> None:
    try:
        _write_and_rename(path, data)
    except OSError as error:
        if error.errno not in _CANNOT_REPLACE or not path.exists():
            raise
        path.write_bytes(data)


def _write_and_rename(path: Path, data: bytes) -> None:
    handle, name = tempfile.mkstemp(prefix=f".{path.name[:50]}.", dir=path.parent)
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            os.fchmod(handle, _MODE)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
