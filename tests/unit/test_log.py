"""The log: shape, level, time, secrets, and what it may cost."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any, get_args
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.errors import ExitCode
from sidecar.log import Log, LogFormat, LogLevel
from sidecar.model import OutcomeName

NOON = datetime(2026, 3, 1, 12, 0, 0, 250, tzinfo=UTC)
FORMATS: tuple[LogFormat, ...] = ("json", "text")
LEVELS: tuple[LogLevel, ...] = get_args(LogLevel)


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


class Gone(io.StringIO):
    """A stream whose reader has hung up."""

    def write(self, _: str) -> int:
        raise BrokenPipeError


def log_to(stream: io.StringIO, **settings: Any) -> Log:
    """A log whose clock stands still."""
    return Log(stream, now=lambda: NOON, **settings)


FIELDS: dict[str, Any] = {
    "outcome": OutcomeName.HEALTHY,
    "exit_code": ExitCode.OK,
    "duration_s": 0.25,
    "migrations": ("a", "b c"),
    "server": {"version": "17.2"},
    "empty": "",
    "nothing": None,
    "sure": True,
    "quoted": 'say "hi"',
    "lines": "one\ntwo",
    "pair": "a=b",
    "path": Path("prisma/migrations"),
    "umlaut": "Jänner",
}


@pytest.mark.parametrize("log_format", FORMATS)
@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("fields", [{}, FIELDS], ids=["no fields", "fields"])
@pytest.mark.parametrize("text", ["Nothing failed.", "A sentence that is longer than the column."])
def test_the_summary_has_the_shape_of_every_other_line(
    log_format: LogFormat, level: LogLevel, fields: dict[str, Any], text: str
) -> None:
    """The last line differs from those structlog writes in nothing that a parser could see."""
    ours, theirs = io.StringIO(), io.StringIO()
    log_to(ours, log_format=log_format, level="debug").summary(text, level=level, **fields)
    write = getattr(log_to(theirs, log_format=log_format, level="debug"), level)
    write(text, **fields)
    assert ours.getvalue() == theirs.getvalue()


@given(
    text=st.text(),
    fields=st.dictionaries(
        st.from_regex(r"[a-z_]{1,8}", fullmatch=True).filter(
            lambda key: key not in {"event", "level", "stack", "exception", "exc_info", "logger"}
        ),
        st.text() | st.integers() | st.booleans() | st.none() | st.lists(st.text()),
    ),
)
def test_the_same_shape_for_any_values(text: str, fields: dict[str, Any]) -> None:
    """Field by field and character by character the two ways to write a line agree."""
    for log_format in FORMATS:
        ours, theirs = io.StringIO(), io.StringIO()
        log_to(ours, log_format=log_format).summary(text, **fields)
        log_to(theirs, log_format=log_format).info(text, **fields)
        assert ours.getvalue() == theirs.getvalue()


def test_json_lines() -> None:
    """Off a terminal each line is one JSON object: time, level and event first."""
    stream = io.StringIO()
    log_to(stream).info("waiting", left_s=3)
    log_to(stream).summary("Nothing failed.", exit_code=ExitCode.OK)
    first, last = (json.loads(line) for line in stream.getvalue().splitlines())
    assert list(first) == ["timestamp", "level", "event", "left_s"]
    assert last == {
        "timestamp": "2026-03-01T12:00:00.000250Z",
        "level": "info",
        "event": "Nothing failed.",
        "exit_code": 0,
    }


def test_text_on_a_terminal() -> None:
    """On a terminal a line is read by people."""
    stream = Terminal()
    log_to(stream).warning("no lock", pid=42, why="held by app")
    assert stream.getvalue() == (
        "2026-03-01T12:00:00.000250Z [warning  ] no lock                        "
        "pid=42 why='held by app'\n"
    )


@pytest.mark.parametrize(
    ("stream", "log_format", "begins"),
    [
        (io.StringIO, "auto", "{"),
        (Terminal, "auto", "2026"),
        (io.StringIO, "text", "2026"),
        (Terminal, "json", "{"),
    ],
)
def test_a_format_that_was_asked_for_wins(
    stream: type[io.StringIO], log_format: LogFormat, begins: str
) -> None:
    """`auto` asks the stream; `json` and `text` do not."""
    out = stream()
    log_to(out, log_format=log_format).info("waiting")
    assert out.getvalue().startswith(begins)


@pytest.mark.parametrize("threshold", LEVELS)
def test_only_lines_of_the_level_are_written(threshold: LogLevel) -> None:
    """Lines below the level are left out; the summary never is."""
    stream = io.StringIO()
    log = log_to(stream, level=threshold)
    for level in LEVELS:
        getattr(log, level)(f"at {level}")
    log.summary("the end")
    written = [json.loads(line)["event"] for line in stream.getvalue().splitlines()]
    assert written == [f"at {level}" for level in LEVELS[LEVELS.index(threshold) :]] + ["the end"]


def test_times_are_utc() -> None:
    """Whatever the clock's zone, the line says UTC in RFC 3339."""
    stream = io.StringIO()
    vienna = NOON.astimezone(timezone(timedelta(hours=1)))
    Log(stream, now=lambda: vienna).summary("the end")
    assert json.loads(stream.getvalue())["timestamp"] == "2026-03-01T12:00:00.000250Z"


def test_real_clock() -> None:
    """Without an injected clock a line carries the present time."""
    stream = io.StringIO()
    Log(stream).summary("the end")
    written = datetime.fromisoformat(json.loads(stream.getvalue())["timestamp"])
    assert abs(datetime.now(UTC) - written) < timedelta(minutes=5)


SECRET = "p@ss wörd/1"  # noqa: S105 - an example


@pytest.mark.parametrize("log_format", FORMATS)
@pytest.mark.parametrize(
    "value",
    [
        SECRET,
        f"postgresql://app:{SECRET}@db/app",
        f"postgresql://app:{quote(SECRET, safe='')}@db/app",
        [SECRET, {"url": SECRET}],
        {SECRET: 1},
        ValueError(f"cannot log in with {SECRET}"),
    ],
)
@pytest.mark.parametrize("how", ["event", "field", "summary", "traceback"])
def test_no_secret_is_written(log_format: LogFormat, value: Any, how: str) -> None:
    """A registered secret appears in no line, however deep it is hidden in a field."""
    stream = io.StringIO()
    log = log_to(stream, log_format=log_format, hide=(SECRET,))
    match how:
        case "event":
            log.info(str(value))
        case "field":
            log.info("connecting", value=value)
        case "summary":
            log.summary(str(value), value=value)
        case _:
            log.error("a bug", exc_info=ValueError(value))
    written = stream.getvalue()
    assert "***" in written
    for form in (SECRET, repr(SECRET), json.dumps(SECRET), quote(SECRET, safe="")):
        assert form.strip("\"'") not in written


def test_a_secret_inside_another() -> None:
    """A longer secret is replaced whole, so no end of it remains; an empty one hides nothing."""
    stream = io.StringIO()
    log_to(stream, hide=("", "abc", "abcdef")).summary("abcdef abc xyz")
    assert json.loads(stream.getvalue())["event"] == "*** *** xyz"


@pytest.mark.parametrize("log_format", FORMATS)
def test_a_traceback_on_request(log_format: LogFormat) -> None:
    """A bug's traceback can be logged for whoever has to find it."""
    stream = io.StringIO()
    try:
        FIELDS["lost"]
    except KeyError as error:
        log_to(stream, log_format=log_format).error("a bug", exc_info=error)
    assert "Traceback (most recent call last)" in stream.getvalue()
    assert "KeyError: 'lost'" in stream.getvalue()


def test_a_reader_that_hangs_up_does_not_stop_a_repair() -> None:
    """A line that cannot be written is lost, and nothing else is."""
    log = log_to(Gone())
    log.info("going on")
    log.summary("the end")


def test_a_healthy_run_does_not_import_structlog() -> None:
    """Neither the summary nor a line below the level imports structlog; a written line does."""
    code = """
import sys
from sidecar.log import Log

log = Log(sys.stderr, level="warning")
log.info("below the level")
log.summary("Nothing failed.", exit_code=0)
print("structlog" in sys.modules)
log.warning("at the level")
print("structlog" in sys.modules)
"""
    ran = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[2],
    )
    assert ran.stdout.split() == ["False", "True"]
    assert len(ran.stderr.splitlines()) == 2
