"""Where we are: the engine that was asked for, our own container in it, our compose project."""

from __future__ import annotations

import socket
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from sidecar import compose
from sidecar.containers import Container, last_words, own_ids

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sidecar.config import Config
    from sidecar.engine import Engine

__all__ = ["Place", "look_around", "own_container_ids"]


@dataclass(frozen=True, slots=True)
class Place:
    """An engine that answers, and our own container if we are in one of its containers."""

    engine: Engine
    own: Container | None
    folders: tuple[str, ...]
    project_set: str | None
    hide: tuple[str, ...]

    def project_with(self, service: str) -> str:
        """Our compose project. Raises `UnclearError` where that is not certain."""
        if self.project_set:
            return self.project_set
        if self.own and self.own.project:
            return self.own.project
        known: list[Mapping[str, str]] = self.engine.labels()
        return compose.project_of_folder(service, self.folders, known)

    def members(self, project: str, service: str) -> list[Container]:
        """The containers of a service of a project. Raises `EngineError`."""
        return compose.members(self.engine.containers(project, service), service)

    def last_words(self, container: Container) -> str:
        """What it printed last, on one line and without secrets."""
        return last_words(self.engine.output(container.id), hide=self.hide)


def look_around(config: Config) -> Place:
    """The engine of the settings and our place in it. Raises `EngineError`."""
    from sidecar.engine import Way, connected

    way = Way(
        config.docker_host or "", config.docker_tls_verify or "", config.docker_cert_path or ""
    )
    engine = connected(way)
    with engine.idle_afterwards():
        found = [engine.container(each) for each in own_container_ids()]
    here = Path.cwd().resolve()
    return Place(
        engine=engine,
        own=next((container for container in found if container), None),
        folders=tuple(str(folder) for folder in (here, *here.parents)),
        project_set=config.compose_project,
        hide=config.secrets,
    )


def own_container_ids() -> tuple[str, ...]:
    """The ids that our own container may have; see `containers.own_ids`."""
    return own_ids(
        cgroup=_text("/proc/self/cgroup"),
        mountinfo=_text("/proc/self/mountinfo"),
        hostname=socket.gethostname(),
    )


def _text(path: str) -> str:
    with suppress(OSError):
        return Path(path).read_text(encoding="utf-8", errors="replace")
    return ""
