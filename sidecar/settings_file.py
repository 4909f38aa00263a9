"""What the TOML files say: settings, and the policy's `[findings]` and `[migrations]`. Pure.

The main file may hold all of it, a policy file the two tables only:

    wait_timeout = "2m"

    [findings]
    partly-applied = "rebuild"

    [migrations."20251208175358_add_scheduled_issues"]
    action = "resume"
    data_statements = "assume-not-run"
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import NamedTuple, TypeVar

from sidecar.given import Given, unknown
from sidecar.model import FindingName, MigrationName
from sidecar.settings import key_of_finding

__all__ = ["FileContent", "add_file"]

_FINDINGS = {str(name): key_of_finding(name) for name in FindingName if name != "running"}
"""The names in `[findings]` and the settings they are; nothing can be set for `running`."""

Key = TypeVar("Key", bound=str)


class FileContent(NamedTuple):
    """Settings by key (`on_partly_applied` for a finding's action).

    And by migration its action, and what to assume of its data statements.
    """

    settings: dict[str, Given]
    migrations: dict[MigrationName, Given]
    data_statements: dict[MigrationName, Given]


def add_file(
    content: FileContent, text: str, *, path: str, keys: Collection[str], mistakes: list[str]
) -> None:
    """Add what the file at `path` gives; `keys` are the settings it may hold beside the tables.

    Whatever cannot be used is left out and named in `mistakes`.
    """
    for key, value in _document(text, path=path, mistakes=mistakes).items():
        if key == "findings":
            _add_findings(content, value, path=path, mistakes=mistakes)
        elif key == "migrations":
            _add_migrations(content, value, path=path, mistakes=mistakes)
        elif key in keys:
            given = _given(value, name=f"{path} {key}", mistakes=mistakes)
            _put(content.settings, key, given, mistakes=mistakes)
        else:
            mistakes.append(f"{path}: {unknown('key', key, (*keys, 'findings', 'migrations'))}")


def _put(into: dict[Key, Given], key: Key, given: Given | None, *, mistakes: list[str]) -> None:
    """Add what a file gives; the same thing given twice is a mistake: neither is meant more."""
    if given is None:
        return
    if key in into:
        mistakes.append(f"{into[key].name} and {given.name} set the same thing; keep one")
    into.setdefault(key, given)


def _document(text: str, *, path: str, mistakes: list[str]) -> Mapping[str, object]:
    import tomllib

    try:
        return tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        mistakes.append(f"{path}: not valid TOML: {error}")
        return {}


def _given(value: object, *, name: str, mistakes: list[str]) -> Given | None:
    """The value as the text it would be in the environment; None with a mistake if it has none."""
    if isinstance(value, bool):
        value = str(value).lower()
    elif isinstance(value, int | float):
        value = str(value)
    if isinstance(value, str) and value.strip():
        return Given(value.strip(), "file", name)
    mistakes.append(f"{name}: must be a text, and not an empty one")
    return None


def _table(value: object, *, name: str, mistakes: list[str]) -> Iterator[tuple[str, object]]:
    if isinstance(value, dict):
        yield from value.items()
    else:
        mistakes.append(f"{name}: must be a table")


def _add_findings(content: FileContent, value: object, *, path: str, mistakes: list[str]) -> None:
    for finding, action in _table(value, name=f"{path} findings", mistakes=mistakes):
        if finding not in _FINDINGS:
            mistakes.append(f"{path}: {unknown('finding', finding, _FINDINGS)}")
            continue
        given = _given(action, name=f"{path} findings.{finding}", mistakes=mistakes)
        _put(content.settings, _FINDINGS[finding], given, mistakes=mistakes)


def _add_migrations(content: FileContent, value: object, *, path: str, mistakes: list[str]) -> None:
    for name, table in _table(value, name=f"{path} migrations", mistakes=mistakes):
        where = f'{path} migrations."{name}"'
        into = {"action": content.migrations, "data_statements": content.data_statements}
        for key, value_of_key in _table(table, name=where, mistakes=mistakes):
            if key not in into:
                mistakes.append(f"{where}: {unknown('key', key, into)}")
                continue
            given = _given(value_of_key, name=f"{where}.{key}", mistakes=mistakes)
            _put(into[key], MigrationName(name), given, mistakes=mistakes)
