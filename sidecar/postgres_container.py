"""What the container of PostgreSQL tells about a wait, and where a host finds it. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from sidecar.compose import state_words
from sidecar.containers import Binding, Container
from sidecar.errors import UnclearError

__all__ = ["Address", "Explanation", "address_of", "chosen", "explanation", "phase", "talks"]

_LOCAL = frozenset({"", "localhost", "127.0.0.1", "::1"})
_EVERYWHERE = frozenset({"", "0.0.0.0", "::"})  # noqa: S104 (compared with, not bound to)
_BEST = ("running", "restarting", "paused", "created", "exited")


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why PostgreSQL does not answer; `hopeless` where nothing will start it without a person."""

    says: str
    hopeless: bool
    next_steps: tuple[str, ...]


class Address(NamedTuple):
    """Where a published port is reached from here; `addr` pins the name to one address."""

    host: str
    port: int
    addr: str = ""


def chosen(containers: Sequence[Container]) -> Container | None:
    """The container to look at: the one that is nearest to running."""
    order = {status: number for number, status in enumerate(_BEST)}
    return min(containers, key=lambda c: order.get(c.status, len(order)), default=None)


def talks(container: Container) -> bool:
    """Whether its output says why it is not ready."""
    return container.restarts > 0 or container.status in {"restarting", "exited", "dead"}


def phase(processes: Iterable[str]) -> str:
    """What a first start is busy with, by its processes; '' if it is not one.

    The official image runs `initdb`, then a server that listens to nobody for the scripts of
    /docker-entrypoint-initdb.d (docker-library/postgres, docker-entrypoint.sh).
    """
    for command in processes:
        words = command.split()
        if words and words[0].rsplit("/", 1)[-1] in {"initdb", "initdb:"}:
            return "is still in initdb, its first start"
        if "listen_addresses=" in words or "listen_addresses=''" in words:
            return "is still running its init scripts, its first start"
    return ""


def explanation(
    container: Container | None, *, project: str, service: str, busy: str = "", words: str = ""
) -> Explanation:
    """Why the service does not answer; `busy` is its `phase`, `words` what it last printed."""
    if container is None:
        says = f"the project {project} has no container of the service {service}"
        return Explanation(says, hopeless=False, next_steps=(f"docker compose up -d {service}",))
    says = f"its container {container.name} {busy or state_words(container)}"
    if container.health == "unhealthy" and container.health_says.strip():
        says += f" ({' '.join(container.health_says.split())[:200]})"
    steady = container.status == "running" and not (busy or container.restarts)
    if container.health == "healthy" or (steady and not container.health):
        says += ", so look at the host, the port and the network of the URL"
    if words:
        says += f"; its last words: {words}"
    return Explanation(
        says,
        hopeless=container.status in {"exited", "dead"},
        next_steps=() if container.health == "healthy" else (f"docker logs {container.name}",),
    )


def address_of(container: Container, port: int, *, engine_host: str) -> Address | None:
    """Where `port` of the container is reached from the host; None if not yet, while it starts.

    `engine_host` is the machine of the engine, '' for this one. Raises `UnclearError` where
    the container was made without publishing it.
    """
    local = engine_host in _LOCAL
    here = "localhost" if local else engine_host
    if container.on_host_network:
        return Address(here, port)
    bindings = [binding for inner, binding in container.published if inner == port]
    reachable = [b for b in bindings if local or b.address not in _LOCAL - {""}]
    if reachable:
        return _best(reachable, here, local=local)
    if bindings:
        raise UnclearError(
            f"{container.name} publishes {port} on {bindings[0].address} of {engine_host} only,"
            " which cannot be reached from here"
        )
    if port not in container.declared:
        raise UnclearError(
            f"the service {container.service} of the project {container.project} does not"
            f" publish its port {port}",
            next_steps=(
                f'ports: ["127.0.0.1:5434:{port}"] in the compose file, or',
                "run the sidecar inside the project: docker compose run --rm migration-sidecar",
            ),
        )
    return None


def _best(bindings: Sequence[Binding], here: str, *, local: bool) -> Address:
    """IPv4 first, and pinned: behind another address of `localhost` may be somebody else."""
    binding = min(bindings, key=lambda b: ":" in b.address)
    everywhere = binding.address in _EVERYWHERE
    if not local:
        return Address(here if everywhere else binding.address, binding.port)
    loopback = "::1" if ":" in binding.address else "127.0.0.1"
    if everywhere or binding.address == loopback:
        return Address(here, binding.port, loopback)
    return Address(binding.address, binding.port)
