"""Log lines: JSON off a terminal, readable text on one, in UTC, without secrets.

structlog renders every line but one. Importing it costs as much as the whole healthy path
may, so that waits for the first line which will really be written, and the summary, the
only line of a healthy run, is rendered here in the same shape (a test compares the two).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal, TextIO
from urllib.parse import quote

if TYPE_CHECKING:
    from structlog import BoundLogger
    from structlog.typing import EventDict

__all__ = ["Log", "LogFormat", "LogLevel"]

LogLevel = Literal["debug", "info", "warning", "error"]
LogFormat = Literal["auto", "json", "text"]

_RANK: Mapping[LogLevel, int] = {"debug": 10, "info": 20, "warning": 30, "error": 40}


class Log:
    """Writes events to `stream`; a line that cannot be written never stops the program.

    `auto` means text on a terminal, else JSON. Lines below `level` cost nothing. `hide`
    holds the secrets: wherever one appears in an event or a field, as it is or
    percent-encoded as in a URL, `***` is written. That is the last line of defence;
    callers do not log secrets. `now` gives the UTC time.
    """

    def __init__(
        self,
        stream: TextIO,
        *,
        log_format: LogFormat = "auto",
        level: LogLevel = "info",
        hide: tuple[str, ...] = (),
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._stream = stream
        self.is_json = log_format == "json" or (log_format == "auto" and not stream.isatty())
        self._threshold = _RANK[level]
        forms = {form for secret in hide for form in (secret, quote(secret, safe="")) if form}
        self._hide = sorted(forms, key=len, reverse=True)  # a secret may contain another
        self._now = now
        self._logger: BoundLogger | None = None

    def debug(self, event: str, **fields: Any) -> None:
        """Write what only helps to find a fault in us."""
        self._write("debug", event, fields)

    def info(self, event: str, **fields: Any) -> None:
        """Write what happened as expected."""
        self._write("info", event, fields)

    def warning(self, event: str, **fields: Any) -> None:
        """Write what somebody should look at, though we went on."""
        self._write("warning", event, fields)

    def error(self, event: str, **fields: Any) -> None:
        """Write why we stop; `exc_info=error` adds the traceback."""
        self._write("error", event, fields)

    def summary(self, text: str, /, *, level: LogLevel = "info", **fields: Any) -> None:
        """Write one of the last lines; whatever the threshold, and without structlog."""
        record = self._record(level, text, fields)
        line = json.dumps(record) if self.is_json else _as_text(record)
        with suppress(OSError):
            print(line, file=self._stream, flush=True)

    def _write(self, level: LogLevel, event: str, fields: dict[str, Any]) -> None:
        if _RANK[level] < self._threshold:
            return
        if self._logger is None:
            self._logger = self._make_logger()
        with suppress(OSError):
            getattr(self._logger, level)(event, **fields)

    def _make_logger(self) -> BoundLogger:
        import structlog

        renderer = (
            structlog.processors.JSONRenderer()
            if self.is_json
            else structlog.dev.ConsoleRenderer(
                colors=False, exception_formatter=structlog.dev.plain_traceback
            )
        )
        logger: BoundLogger = structlog.wrap_logger(
            structlog.PrintLogger(self._stream),
            processors=[structlog.processors.format_exc_info, self._process, renderer],
            wrapper_class=structlog.BoundLogger,
        )
        return logger

    def _process(self, _: Any, level: str, fields: EventDict) -> EventDict:
        return self._record(level, fields.pop("event"), fields)

    def _record(self, level: str, event: str, fields: Mapping[str, Any]) -> dict[str, Any]:
        stamp = self._now().astimezone(UTC).isoformat(timespec="microseconds")
        return {
            "timestamp": stamp.replace("+00:00", "Z"),
            "level": level,
            "event": self._clean(event),
            **{key: self._clean(value) for key, value in fields.items()},
        }

    def _clean(self, value: Any) -> Any:
        """Return `value` as plain JSON types, with every secret replaced."""
        match value:
            case None | bool() | float():
                return value
            case int():
                return int(value)  # not an IntEnum, which text would show as <ExitCode.OK: 0>
            case Mapping():
                return {self._clean(str(key)): self._clean(held) for key, held in value.items()}
            case list() | tuple() | set() | frozenset():
                return [self._clean(held) for held in value]
            case _:
                text = str(value)
                for secret in self._hide:
                    text = text.replace(secret, "***")
                return text


def _as_text(record: Mapping[str, Any]) -> str:
    """The line structlog's ConsoleRenderer gives without colours (structlog.dev)."""
    rest = dict(record)
    stamp, level, event = rest.pop("timestamp"), rest.pop("level"), rest.pop("event")
    pairs = (f"{key}={_value_as_text(rest[key])}" for key in sorted(rest))
    return " ".join((f"{stamp} [{level:<9}] {event:<30}", *pairs)).rstrip(" ")


def _value_as_text(value: Any) -> str:
    is_plain = isinstance(value, str) and not set(value) & set(" \t=\r\n\"'")
    return value if is_plain else repr(value)
