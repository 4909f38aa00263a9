"""Docker Compose v2 and v1, from where the machine has them or from Debian."""

from __future__ import annotations

import os
import shutil
from enum import StrEnum
from functools import cache

from tests.containers import debian
from tests.containers.engine import command

GIVEN_V2 = os.environ.get("SIDECAR_TEST_COMPOSE")
"""A compose v2 of your choice. Read before the tests scrub the environment."""

PLUGIN = "usr/libexec/docker/cli-plugins/docker-compose"


class ComposeMissingError(Exception):
    """A version of compose is not here; the text says what to install."""


class Version(StrEnum):
    """The two programs, which differ in how they end and in what they print."""

    V2 = "v2"
    V1 = "v1"


@cache
def program(version: Version) -> tuple[str, ...]:
    """The words that a command of that version begins with. Raises ComposeMissingError."""
    return _v2() if version is Version.V2 else _v1()


def _v1() -> tuple[str, ...]:
    found = shutil.which("docker-compose")
    if found and _says(found).startswith("1.29."):
        return (found,)
    raise ComposeMissingError(
        "compose v1 (docker-compose 1.29) is missing; on Debian 12: apt-get install docker-compose"
    )


def _v2() -> tuple[str, ...]:
    if GIVEN_V2:
        return (GIVEN_V2,)
    if _says("docker", "compose"):
        return ("docker", "compose")
    if debian.is_at_hand():
        return (str(debian.program("docker-compose", PLUGIN)),)
    raise ComposeMissingError(
        "compose v2 is missing: install Docker's plugin, or name it in SIDECAR_TEST_COMPOSE"
    )


def _says(*words: str) -> str:
    """The version that a compose command prints, or nothing where there is no such command."""
    ended = command(*words, "version", "--short", check=False)
    return "" if ended.code else ended.out.strip()
