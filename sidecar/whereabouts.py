"""Asks the engine about PostgreSQL's container: why it does not answer, and where a host finds it.

Both only after a connection could not be had, so a healthy start never comes here. That the
engine itself is away ends a wait only where the settings say so.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from sidecar.dsn import Target, at_address
from sidecar.errors import EngineError, NotReadyError, UnclearError
from sidecar.postgres_container import (
    Explanation,
    address_of,
    chosen,
    explanation,
    phase,
    talks,
)
from sidecar.surroundings import Place, look_around

if TYPE_CHECKING:
    from sidecar.config import Config
    from sidecar.log import Log

__all__ = ["Witness", "finder"]


class Witness:
    """Explains failed connections by the state of the container, as long as the engine answers."""

    def __init__(self, config: Config, log: Log) -> None:
        self._config = config
        self._log = log
        self._service = config.postgres_service or ""
        self._place: Place | None = None
        self._gone = not self._service

    def explained(self, error: NotReadyError) -> NotReadyError:
        """The error with what the container's state says, if it says anything.

        Where the container has ended, the wait gets only the grace of causes that time does
        not heal. Raises `EngineError` where the engine must be there and is not.
        """
        if self._gone or error.sqlstate is not None:  # a server that answers explains itself
            return error
        try:
            self._place = self._place or look_around(self._config)
            with self._place.engine.idle_afterwards():
                said = state(self._place, self._service)
        except EngineError as problem:
            if self._config.docker_required:
                raise
            self._gone = True
            self._log.warning("the container cannot be asked", cause=problem.what)
            return error
        return NotReadyError(
            f"{error.what}; {said.says}",
            permanent=error.permanent or said.hopeless,
            next_steps=(*said.next_steps, *error.next_steps),
        )


def state(place: Place, service: str) -> Explanation:
    """What the container of the service tells. Raises `EngineError`."""
    project = place.project_with(service)
    container = chosen(place.members(project, service))
    running = container is not None and container.status == "running"
    busy = phase(place.engine.processes(container.id)) if container and running else ""
    words = place.last_words(container) if container and talks(container) else ""
    return explanation(container, project=project, service=service, busy=busy, words=words)


# --- on a host -----------------------------------------------------------------------


def finder(config: Config, log: Log) -> Callable[[], Config] | None:
    """What finds the settings with the address of the published port; None if not needed.

    It is needed on a host alone, and where a URL names the service (or its container) by a
    name that means nothing there. Raises `UnclearError` where the project is not certain, and
    `EngineError` where the engine must be there and is not.
    """
    targets = (config.target, config.backend_target, config.shadow_target)
    lost = {target.host for target in targets if target and not _resolves(target.host)}
    service = config.postgres_service or ""
    if not lost:
        return None
    try:
        place = look_around(config)
        if place.own is not None:
            return None  # in a container the name will mean something once the server is up
        with place.engine.idle_afterwards():
            project = place.project_with(service)
    except EngineError as problem:
        if config.docker_required or isinstance(problem, UnclearError):
            raise
        log.warning("the published port cannot be found", cause=problem.what)
        return None
    return lambda: _moved(config, place, project, lost)


def _moved(config: Config, place: Place, project: str, lost: set[str]) -> Config:
    """The settings with each lost host as it is reached now. Raises `NotReadyError`."""
    service = config.postgres_service or ""
    with place.engine.idle_afterwards():
        container = chosen(place.members(project, service))

    def moved(target: Target) -> Target:
        if target.host not in lost or container is None:
            return target
        if target.host not in {service, *container.names}:
            return target
        address = address_of(container, target.port, engine_host=place.engine.host)
        if address is None:
            raise NotReadyError(f"{target.host}:{target.port} is not published at the moment")
        says = (
            f"{target.host}:{target.port} was reached as {address.host}:{address.port}, which"
            f" {container.name} of the compose project {project} publishes"
        )
        return at_address(target, *address, says=says)

    if container is None:
        raise NotReadyError(f"{service} is not there at the moment")
    backend = moved(config.backend_target)
    return replace(
        config,
        backend_target=backend,
        target=backend if config.target == config.backend_target else moved(config.target),
        shadow_target=moved(config.shadow_target) if config.shadow_target else None,
    )


def _resolves(host: str) -> bool:
    """Whether the name means an address here; directories of sockets and addresses do."""
    if host.startswith(("/", "@")):
        return True
    try:
        ipaddress.ip_address(host)
    except ValueError:
        try:
            return bool(socket.getaddrinfo(host, None))
        except (OSError, UnicodeError):
            return False
    return True
