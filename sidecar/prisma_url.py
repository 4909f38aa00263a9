"""Prisma's connection URLs, taken apart as Prisma's engine takes them apart.

Only delimiters are known here, not what a parameter means (that is `dsn`). It is done by hand,
on the rules of whatwg.org's URL (which the engine's `url` crate follows) and those of
prisma-engines, quaint/src/connector/postgres/url.rs: the standard library's `urlsplit` quotes
the URL, with its password, in errors, and refuses characters in a password that Prisma accepts.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import parse_qsl, unquote

__all__ = ["Notes", "Parts", "cut", "decode"]

_URL: Final = re.compile(
    r"(?P<scheme>[a-z][a-z0-9+.-]*)://(?P<authority>[^/?#]*)"
    r"(?P<path>[^?#]*)(?:\?(?P<query>[^#]*))?(?:#(?P<fragment>.*))?",
    re.IGNORECASE | re.DOTALL,
)
_LOCAL: Final = re.compile(r"(localhost|127\.0\.0\.1|\[::1\])(:[0-9]*)?", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Notes:
    """What is wrong with the value of one setting, gathered; never holds parts of the value."""

    variable: str
    mistakes: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def mistake(self, text: str) -> None:
        self.mistakes.append(f"{self.variable}: {text}")

    def warn(self, text: str) -> None:
        self.warnings.append(f"{self.variable}: {text}")


@dataclass(frozen=True, slots=True)
class Parts:
    """A URL cut at its delimiters; userinfo and path still percent-encoded."""

    userinfo: str = field(repr=False)
    address: str
    path: str
    params: Mapping[str, str] = field(repr=False)


def cut(url: str, notes: Notes) -> Parts | None:
    """Return the parts of a connection URL, or None with the reason among `notes.mistakes`.

    What .env and secret files leave around the URL is no part of it; a local
    `prisma+postgres://` URL is replaced by the one it carries.
    """
    match = _URL.fullmatch(_clean(url))
    scheme = match["scheme"].lower() if match else ""
    if match and scheme in {"postgresql", "postgres"}:
        return _cut(match, notes)
    if match and scheme == "prisma+postgres" and _LOCAL.fullmatch(match["authority"]):
        return _cut_inner(match["query"] or "", notes)
    if scheme in {"prisma", "prisma+postgres"}:
        notes.mistake(
            f"{scheme}:// goes through Prisma's proxy, which runs no migrations; give the direct"
            " postgresql:// URL of the database, in DIRECT_URL if the backend keeps this one"
        )
    else:
        notes.mistake("must be a URL like postgresql://USER:PASSWORD@HOST:5432/DATABASE")
    return None


def decode(encoded: str) -> str:
    """Return the text, percent-decoded; unchanged where that is not UTF-8, as Prisma does."""
    try:
        return unquote(encoded, errors="strict")
    except UnicodeDecodeError:
        return encoded


def _clean(url: str) -> str:
    """Return the URL without spaces and quotes around it, and line ends and tabs in it.

    The latter as in the "basic URL parser" of whatwg.org; a wrapped secret file still works.
    """
    text = url.strip("\ufeff \t\r\n\v\f")
    if len(text) > 1 and text[0] == text[-1] and text[0] in "\"'":
        text = text[1:-1].strip()
    return re.sub(r"[\t\r\n]", "", text)


def _cut(match: re.Match[str], notes: Notes) -> Parts | None:
    """Return the parts of a postgresql:// URL; see `cut`."""
    query = match["query"] or ""
    if not match.string.isascii() and any("\ud800" <= char <= "\udfff" for char in match.string):
        notes.mistake("is not valid UTF-8")
        return None
    if "@" in match["path"] + query + (match["fragment"] or ""):
        # Otherwise half a password is taken for a host or a parameter, and printed as such.
        notes.mistake(
            "has an @ after the first / ? or #; in user and password write / as %2F, ? as %3F"
            " and # as %23, elsewhere write @ as %40"
        )
        return None
    userinfo, _, address = match["authority"].rpartition("@")
    pairs = parse_qsl(query, keep_blank_values=True)  # also turns + into a space, as Prisma does
    params = dict(pairs)  # the last of several counts, as in Prisma
    if len(params) < len(pairs):
        notes.warn("a parameter is given more than once; the last one counts")
    return Parts(userinfo, address, match["path"], params)


def _cut_inner(query: str, notes: Notes) -> Parts | None:
    """Unwrap the local URL that `prisma dev` prints: its api_key carries the real one."""
    inner = _URL.fullmatch(_inner_url(dict(parse_qsl(query)).get("api_key", "")))
    if inner and inner["scheme"].lower() in {"postgresql", "postgres"}:
        return _cut(inner, notes)
    notes.mistake(
        "the api_key of this prisma+postgres:// URL holds no databaseUrl; give the postgres:// URL"
        " that `prisma dev` shows under its key t"
    )
    return None


def _inner_url(api_key: str) -> str:
    """Return `databaseUrl` of the base64url JSON in an api_key, '' where there is none."""
    try:
        content = json.loads(base64.urlsafe_b64decode(api_key + "=="))
    except ValueError:  # base64, UTF-8 and JSON errors alike; their texts may quote the key
        return ""
    url = content.get("databaseUrl") if isinstance(content, dict) else None
    return url if isinstance(url, str) else ""
