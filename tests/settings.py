"""Settings for tests: given as mappings, files included; nothing is read from the machine."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from sidecar.config import Config, EffectiveSetting, effective, load
from sidecar.errors import ConfigError, ExitCode

URL = "postgresql://ada:s3cret@db:5433/shop"
ENVIRON = {"DATABASE_URL": URL}
Flags = Mapping[str, str | None]


class Files(dict[str, str]):
    """A file system in a dictionary; reading what is not there fails as `open` does."""

    def read(self, path: str) -> str:
        """The text of the file at `path`."""
        if path not in self:
            raise FileNotFoundError(2, "No such file or directory", path)
        return self[path]


def loaded(
    flags: Flags | None = None,
    environ: Mapping[str, str] = ENVIRON,
    files: Mapping[str, str] | None = None,
) -> Config:
    """The configuration of these inputs."""
    return load(flags or {}, environ, read_text=Files(files or {}).read)


def shown(
    flags: Flags | None = None,
    environ: Mapping[str, str] = ENVIRON,
    files: Mapping[str, str] | None = None,
) -> dict[str, EffectiveSetting]:
    """What `migration-sidecar config` shows, by key."""
    rows = effective(flags or {}, environ, read_text=Files(files or {}).read)
    return {row.key: row for row in rows}


def mistakes(
    flags: Flags | None = None,
    environ: Mapping[str, str] = ENVIRON,
    files: Mapping[str, str] | None = None,
) -> tuple[str, ...]:
    """Everything that is wrong with these inputs."""
    with pytest.raises(ConfigError) as caught:
        loaded(flags, environ, files)
    assert caught.value.exit_code is ExitCode.USAGE
    return caught.value.mistakes
