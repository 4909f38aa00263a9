"""What the Docker Engine says of a container, as values; and which container we are. Pure.

The JSON is that of `GET /containers/{id}/json`, stable since Engine API 1.24. Compose, v1 and
v2 alike, says by labels to which project and service a container belongs; names differ
between the two and may be chosen freely, so nothing here looks at them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

__all__ = [
    "ONE_OFF",
    "PROJECT",
    "SERVICE",
    "WORKING_DIR",
    "Binding",
    "Container",
    "container_of",
    "last_words",
    "own_ids",
    "processes_of",
]

PROJECT: Final = "com.docker.compose.project"
SERVICE: Final = "com.docker.compose.service"
WORKING_DIR: Final = "com.docker.compose.project.working_dir"
ONE_OFF: Final = "com.docker.compose.oneoff"
"""'True' for `docker compose run`: a container of somebody's own, never one of the service."""

_ID: Final = r"(?<![0-9a-f])([0-9a-f]{64})(?![0-9a-f])"
_SHORT_ID: Final = r"[0-9a-f]{12}|[0-9a-f]{64}"
_OUR_MOUNTS: Final = frozenset({"/etc/hostname", "/etc/hosts", "/etc/resolv.conf"})
"""What an engine mounts into each container out of a directory named after its id."""

_CREDENTIALS: Final = r"(?<=://)[^\s/@]*(?=@)"
_ASSIGNED: Final = r"(?i)(password|passwd|secret|token|api_?key)(['\"]?\s*[=:]\s*)\S+"
_LINES: Final = 3
_LINE_LENGTH: Final = 200


@dataclass(frozen=True, slots=True)
class Binding:
    """One published port: where it listens on the engine's machine."""

    address: str
    port: int


@dataclass(frozen=True, slots=True)
class Container:
    """One container at one moment.

    `status` is the engine's word: created, running, paused, restarting, removing, exited, dead.
    `health` is starting, healthy or unhealthy, or '' without a healthcheck; `health_says` the
    output of its last check. `started_at` and `restarts` tell one start from another.
    `published` are the ports as they are now, by the container's own port; `declared` those
    that it was made to publish, running or not. `names` are those it has on its networks.
    """

    id: str
    name: str
    project: str
    service: str
    status: str
    one_off: bool = False
    exit_code: int = 0
    out_of_memory: bool = False
    error: str = ""
    health: str = ""
    health_says: str = ""
    started_at: str = ""
    restarts: int = 0
    stop_timeout_s: int = 10
    on_host_network: bool = False
    published: tuple[tuple[int, Binding], ...] = ()
    declared: frozenset[int] = frozenset()
    names: frozenset[str] = frozenset()


def container_of(said: Mapping[str, Any]) -> Container:
    """The value of an inspected container."""
    config, state = said["Config"], said["State"]
    host, network = said.get("HostConfig") or {}, said.get("NetworkSettings") or {}
    labels, health = config.get("Labels") or {}, state.get("Health") or {}
    checks = health.get("Log") or [{}]
    name = said["Name"].lstrip("/")
    return Container(
        id=said["Id"],
        name=name,
        project=labels.get(PROJECT, ""),
        service=labels.get(SERVICE, ""),
        status=state["Status"],
        one_off=labels.get(ONE_OFF, "").lower() == "true",
        exit_code=state.get("ExitCode", 0),
        out_of_memory=state.get("OOMKilled", False),
        error=state.get("Error", ""),
        health="" if health.get("Status") in {None, "none"} else health["Status"],
        health_says=checks[-1].get("Output", ""),
        started_at=state.get("StartedAt", ""),
        restarts=said.get("RestartCount", 0),
        stop_timeout_s=10 if config.get("StopTimeout") is None else config["StopTimeout"],
        on_host_network=host.get("NetworkMode") == "host",
        published=tuple(_published(network.get("Ports") or {})),
        declared=frozenset(_tcp(port) for port in host.get("PortBindings") or {}) - {0},
        names=frozenset(_names(name, network.get("Networks") or {})),
    )


def _published(ports: Mapping[str, Any]) -> Iterable[tuple[int, Binding]]:
    for port, bindings in ports.items():
        for binding in bindings or ():
            if _tcp(port) and binding.get("HostPort"):
                yield _tcp(port), Binding(binding.get("HostIp", ""), int(binding["HostPort"]))


def _tcp(port: str) -> int:
    """The number of '5432/tcp', 0 for another protocol."""
    number, _, protocol = port.partition("/")
    return int(number) if protocol in {"", "tcp"} else 0


def _names(name: str, networks: Mapping[str, Any]) -> Iterable[str]:
    yield name
    for network in networks.values():
        yield from network.get("Aliases") or ()
        yield from network.get("DNSNames") or ()


# --- which container we are ----------------------------------------------------------


def own_ids(*, cgroup: str, mountinfo: str, hostname: str) -> tuple[str, ...]:
    """The ids that our own container may have, the surest first; empty on a host.

    `cgroup` and `mountinfo` are the files of /proc/self. The first names the container under
    cgroup v1 only; the second by the files that the engine mounts into each container; the host
    name is the id, shortened, unless somebody chose another. The engine is asked which is one.
    """
    found = re.findall(_ID, cgroup)
    for line in mountinfo.splitlines():
        fields = line.split(" ")
        if len(fields) > 4 and fields[4] in _OUR_MOUNTS:  # noqa: PLR2004 (proc(5), mountinfo)
            found += re.findall(_ID, fields[3])
    if re.fullmatch(_SHORT_ID, hostname):
        found.append(hostname)
    return tuple(dict.fromkeys(found))


# --- what it prints --------------------------------------------------------------------


def last_words(text: str, *, hide: Iterable[str]) -> str:
    """The last lines of a container's output as one line, without secrets; '' if it said nothing.

    `hide` are the secrets we know; what looks like one is left out as well.
    """
    for secret in hide:
        text = text.replace(secret, "***")
    text = re.sub(_CREDENTIALS, "***", text)
    text = re.sub(_ASSIGNED, r"\1\2***", text)
    lines = [" ".join(line.split()) for line in text.splitlines() if line.strip()]
    return " | ".join(line[:_LINE_LENGTH] for line in lines[-_LINES:])


def processes_of(said: Mapping[str, Any]) -> tuple[str, ...]:
    """The command lines of `GET /containers/{id}/top`, whose columns are those of `ps`."""
    titles = said.get("Titles") or []
    if "CMD" not in titles and "COMMAND" not in titles:
        return ()
    column = titles.index("CMD" if "CMD" in titles else "COMMAND")
    return tuple(row[column] for row in said.get("Processes") or ())
