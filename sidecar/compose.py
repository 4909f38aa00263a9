"""Which compose project is ours, and what its services are doing. Pure decisions.

A project is never guessed from a name. It is the one that was set, or that of our own
container, or on a host that whose compose file lies in this folder or one above it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

from sidecar.containers import PROJECT, SERVICE, WORKING_DIR, Container
from sidecar.errors import UnclearError

__all__ = [
    "Verdict",
    "Watched",
    "left_words",
    "may_restart",
    "members",
    "project_of_folder",
    "service_names",
    "state_words",
    "verdict",
]

Labels = Mapping[str, str]

STEADY_S = 5.0
"""A container without a healthcheck that ran so long without starting anew counts as up."""


# --- which project -------------------------------------------------------------------


def project_of_folder(service: str, folders: Sequence[str], known: Iterable[Labels]) -> str:
    """The project with `service` that was made in the first of these folders which has one.

    `known` are the labels of all containers. Raises `UnclearError` if there is none, or more
    than one (`docker compose -p`), with the projects to choose from.
    """
    made_in: dict[str, set[str]] = {}
    for labels in known:
        if labels.get(SERVICE) == service and labels.get(PROJECT):
            made_in.setdefault(labels.get(WORKING_DIR, ""), set()).add(labels[PROJECT])
    here = next((made_in[folder] for folder in folders if folder in made_in), set())
    if len(here) == 1:
        return next(iter(here))
    choice = sorted(here or set().union(*made_in.values()))
    problem = (
        f"the projects {', '.join(choice)} of this folder all have a service {service}"
        if here
        else f"no compose project of this folder has a container of the service {service}"
    )
    steps = [f"SIDECAR_COMPOSE_PROJECT={name}" for name in choice]
    steps += [] if here else [f"or start it from the folder of its compose file ({folders[0]}?)"]
    raise UnclearError(problem, next_steps=tuple(steps))


def members(containers: Iterable[Container], service: str) -> list[Container]:
    """The containers of a service, without those of `docker compose run`."""
    return [c for c in containers if c.service == service and not c.one_off]


def service_names(known: Iterable[Labels], project: str) -> list[str]:
    """The services of which the project has containers."""
    found = {labels.get(SERVICE, "") for labels in known if labels.get(PROJECT) == project}
    return sorted(found - {""})


# --- what to restart -----------------------------------------------------------------


def may_restart(container: Container) -> bool:
    """Whether it runs or crash-loops. What is stopped was stopped on purpose, or had ended."""
    return container.status in {"running", "restarting"}


def left_words(container: Container) -> str:
    """Why a container is left alone."""
    if container.status == "created":
        return "not started yet; it starts on the repaired database"
    return f"left alone: it {state_words(container)}"


class Verdict(Enum):
    """How a restarted container is doing."""

    UP = "up"
    WAITING = "waiting"
    DOWN = "down"


@dataclass(frozen=True, slots=True)
class Watched:
    """A restarted container: which of its starts is watched, and since when (our clock)."""

    start: tuple[str, int]
    since: float

    @classmethod
    def at(cls, now: float, container: Container, before: Watched | None = None) -> Watched:
        """What is watched now: the same start as before, or a new one from now on."""
        start = (container.started_at, container.restarts)
        return before if before and before.start == start else cls(start, now)


def verdict(container: Container, watched: Watched, now: float) -> Verdict:
    """Healthy, or without a healthcheck steadily running, is up; ended for good is down."""
    match container.status:
        case "running" if container.health == "healthy":
            return Verdict.UP
        case "running" if not container.health and now - watched.since >= STEADY_S:
            return Verdict.UP
        case "exited" | "dead" | "removing":
            return Verdict.DOWN
        case _:
            return Verdict.WAITING


def state_words(container: Container) -> str:
    """The state as the end of a sentence: 'has ended with exit code 1', 'is healthy'."""
    ended = f"with exit code {container.exit_code}"
    ended += " (out of memory)" if container.out_of_memory else ""
    match container.status:
        case "running" if container.health:
            return (
                "is still starting" if container.health == "starting" else f"is {container.health}"
            )
        case "running" if container.restarts:
            return f"keeps ending (started {container.restarts + 1} times)"
        case "running":
            return "runs"
        case "restarting":
            return f"keeps ending {ended} (started {container.restarts + 1} times)"
        case "exited" | "dead":
            return f"has ended {ended}" + (f": {container.error}" if container.error else "")
        case "created":
            return "was made and not started" + (f": {container.error}" if container.error else "")
        case "removing":
            return "is being removed"
        case other:
            return f"is {other}"
