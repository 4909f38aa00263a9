"""From the text of a setting to its value, or a `ConfigError` that says what is wrong. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Protocol

from sidecar.errors import ConfigError
from sidecar.given import shown

__all__ = [
    "Parser",
    "as_boolean",
    "as_duration",
    "as_is",
    "as_limit",
    "as_name",
    "as_names",
    "as_text",
    "choice",
]


class Parser(Protocol):
    """Makes a value of a text; `variable` is the name to blame in a `ConfigError`."""

    def __call__(self, text: str, /, *, variable: str) -> object: ...


_DURATION = re.compile(
    r"(?:([0-9]{1,12})h)?(?:([0-9]{1,12})m)?(?:([0-9]{1,12})s)?(?:([0-9]{1,12})ms)?"
)
_UNIT_MS = (3_600_000, 60_000, 1_000, 1)
_MAX_MS = 2_147_483_647
"""PostgreSQL keeps its timeouts as 32-bit milliseconds (manual, chapter "Setting Parameters")."""

_TRUTH = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}


def as_text(text: str, /, *, variable: str) -> str:
    """`text` itself; the parser of paths and names."""
    if "\0" in text:
        raise ConfigError((f"{variable}: holds a NUL character",))
    if "://" in text:  # it may hold a password, and paths and names are logged
        raise ConfigError((f"{variable}: is a URL, where a path or name belongs",))
    return text


def as_boolean(text: str, /, *, variable: str) -> bool:
    """True for true, 1, yes; False for false, 0, no; in any case of letters."""
    truth = _TRUTH.get(text.lower())
    if truth is None:
        raise ConfigError((f"{variable}: {shown(text)} is not one of: {', '.join(_TRUTH)}",))
    return truth


def as_duration(text: str, /, *, variable: str) -> float:
    """Seconds of '500ms', '5s', '2m', '1h' or '1m30s'; exact to the millisecond."""
    match = _DURATION.fullmatch(text)
    if not text or match is None:
        raise ConfigError((f"{variable}: {shown(text)} {_duration_hint(text)}",))
    counts = (int(count or 0) for count in match.groups())
    total = sum(count * unit for count, unit in zip(counts, _UNIT_MS, strict=True))
    if total > _MAX_MS:
        raise ConfigError((f"{variable}: {shown(text)} is too long; the most is 596h",))
    return total / 1000


def _duration_hint(text: str) -> str:
    if re.fullmatch("[0-9]{1,12}", text):
        return f"has no unit; write {text}s or {text}ms"
    if text.startswith("-"):
        return "is negative; a duration is zero or more, such as 5s"
    return "is no duration; write whole numbers with units, such as 500ms, 5s, 2m, 1h or 1m30s"


def as_limit(text: str, /, *, variable: str) -> float:
    """A duration above zero: PostgreSQL reads `lock_timeout = 0` as "wait for ever"."""
    seconds = as_duration(text, variable=variable)
    if seconds == 0:
        raise ConfigError((f"{variable}: 0 would wait for ever; write at least 1ms",))
    return seconds


def as_names(text: str, /, *, variable: str) -> tuple[str, ...]:
    """The names of compose services in 'a,b'; each once, in the order given."""
    names = tuple(dict.fromkeys(re.split(r"[,\s]+", text.strip(", \t\r\n"))))
    for name in names:
        if not re.fullmatch(r"[a-zA-Z0-9._-]+", name):
            raise ConfigError((f"{variable}: {shown(name)} is no name of a compose service",))
    return names


def as_name(text: str, /, *, variable: str) -> str:
    """One name of a compose service or project."""
    names = as_names(text, variable=variable)
    if len(names) > 1:
        raise ConfigError((f"{variable}: {shown(text)} is more than one name",))
    return names[0]


def as_is(text: str, /, *, variable: str) -> str:  # noqa: ARG001 (a parser)
    """`text` itself, a URL too: a variable of Docker's own, judged only where it is used."""
    return text


def choice(members: Iterable[str]) -> Parser:
    """A parser that accepts exactly these members, as text, and returns the member."""
    by_text = {str(member): member for member in members}

    def parse(text: str, /, *, variable: str) -> str:
        if text not in by_text:
            allowed = ", ".join(by_text)
            raise ConfigError((f"{variable}: {shown(text)} is not one of: {allowed}",))
        return by_text[text]

    return parse
