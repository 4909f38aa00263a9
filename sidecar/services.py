"""Restarts the compose services that were asked for, after a repair, and watches them come up.

A backend that was running, or crash-looping on P3009, all along has its old view of the
database; one that is stopped or was never started is left alone. Nothing here can touch the
repair: it is committed and proven before the first container is asked to stop.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from sidecar.compose import (
    Verdict,
    Watched,
    left_words,
    may_restart,
    service_names,
    state_words,
    verdict,
)
from sidecar.containers import Container
from sidecar.errors import EngineError, ExitCode, UnclearError
from sidecar.model import Outcome, OutcomeName, ServiceOutcome, ServiceResult
from sidecar.surroundings import Place, look_around

if TYPE_CHECKING:
    from sidecar.config import Config
    from sidecar.opening import World

__all__ = ["Restarts", "asked"]

_LOOK_EVERY_S = 0.5


def asked(config: Config, world: World) -> Restarts:
    """What will be restarted after a repair; called before anything is changed.

    Raises `EngineError` where the engine or our project cannot be had and the settings say
    that it must (SIDECAR_DOCKER_REQUIRED); otherwise that becomes a warning of the outcome.
    """
    names = config.restart_services or ()
    try:
        place = look_around(config)
        with place.engine.idle_afterwards():
            project = place.project_with(names[0])
        if place.own and place.own.project == project and place.own.service in names:
            raise UnclearError(
                f"SIDECAR_RESTART_SERVICES names our own service {place.own.service}"
            )
    except EngineError as error:
        if config.docker_required:
            error.what = f"{error.what}; no repair was begun"
            raise
        world.log.warning("the services will not be restarted", cause=error.what)
        return Restarts(config, world, None, "", error.what)
    return Restarts(config, world, place, project)


@dataclass(frozen=True, slots=True)
class Restarts:
    """The restarts that were asked for; without a `place` the `problem` says why there are none."""

    config: Config
    world: World
    place: Place | None
    project: str
    problem: str = ""

    def after(self, outcome: Outcome) -> Outcome:
        """The outcome with what became of the services; only a repair has them restarted."""
        if outcome.name is not OutcomeName.REPAIRED:
            return outcome
        names = ", ".join(self.config.restart_services or ())
        if self.place is None:
            return _unrestarted(outcome, names, self.problem)
        self.world.log.info("repaired; restarting", services=names, project=self.project)
        try:
            with self.place.engine.idle_afterwards():
                services = self._restarted(self.place)
        except EngineError as error:
            return _unrestarted(outcome, names, error.what, fatal=self.config.docker_required)
        return _told(outcome, services)

    def _restarted(self, place: Place) -> tuple[ServiceOutcome, ...]:
        """Restart all, then watch all: a backend may need another to come up."""
        left, started = [], []
        for service in self.config.restart_services or ():
            found = place.members(self.project, service)
            left += [_left(container) for container in found if not may_restart(container)]
            left += [] if found else [self._unknown(place, service)]
            for container in filter(may_restart, found):
                self.world.log.info("restarting", service=service, container=container.name)
                problem = place.engine.restart(container)
                if problem:
                    left.append(_failed(container, f"could not be restarted: {problem}"))
                else:
                    started.append(container)
        return (*left, *self._watched(place, started))

    def _unknown(self, place: Place, service: str) -> ServiceOutcome:
        there = ", ".join(service_names(place.engine.labels(), self.project))
        says = f"the project {self.project} has no container of it (but of: {there or 'none'})"
        return ServiceOutcome(service, "", ServiceResult.LEFT_ALONE, says)

    def _watched(self, place: Place, started: Sequence[Container]) -> list[ServiceOutcome]:
        """Look at each until it is up or down, or the time is over."""
        began, done = self.world.clock(), dict[str, ServiceOutcome]()
        watched: dict[str, Watched] = {}
        while True:
            now = self.world.clock()
            over = now - began >= self.config.restart_timeout_s
            for container in started:
                if container.id in done:
                    continue
                end = self._looked(place, container, watched, now=now, over=over)
                if end:
                    done[container.id] = end
            if len(done) == len(started):
                return [done[container.id] for container in started]
            self.world.sleep(_LOOK_EVERY_S)

    def _looked(
        self,
        place: Place,
        container: Container,
        watched: dict[str, Watched],
        *,
        now: float,
        over: bool,
    ) -> ServiceOutcome | None:
        """How it ended, or None while that is open; `watched` remembers what was seen."""
        try:
            at = place.engine.container(container.id)
        except EngineError as error:
            return _failed(container, f"restarted, but cannot be watched: {error.what}")
        if at is None:
            return _failed(container, "was removed meanwhile")
        watched[at.id] = Watched.at(now, at, watched.get(at.id))
        match verdict(at, watched[at.id], now):
            case Verdict.UP:
                says = "healthy again" if at.health else "running again"
                self.world.log.info(says, service=at.service, container=at.name)
                return ServiceOutcome(at.service, at.name, ServiceResult.RESTARTED, says)
            case Verdict.WAITING if not over:
                return None
            case _:
                words = place.last_words(at)
                says = state_words(at)
                says += f" after {self.config.restart_timeout_s:g} s" if over else ""
                return _failed(at, says + (f"; its last words: {words}" if words else ""))


def _left(container: Container) -> ServiceOutcome:
    says = left_words(container)
    return ServiceOutcome(container.service, container.name, ServiceResult.LEFT_ALONE, says)


def _failed(container: Container, says: str) -> ServiceOutcome:
    return ServiceOutcome(container.service, container.name, ServiceResult.FAILED, says)


def _told(outcome: Outcome, services: tuple[ServiceOutcome, ...]) -> Outcome:
    failed = [each for each in services if each.result is ServiceResult.FAILED]
    if not failed:
        return replace(outcome, services=services)
    names = ", ".join(dict.fromkeys(each.service for each in failed))
    steps = tuple(f"docker logs {each.container}" for each in failed)
    return replace(
        outcome,
        services=services,
        exit_code=ExitCode.RESTART_FAILED,
        summary=f"{outcome.summary}; the database is repaired, but {names} did not come up again",
        next_steps=(*steps, *outcome.next_steps),
    )


def _unrestarted(outcome: Outcome, names: str, problem: str, *, fatal: bool = False) -> Outcome:
    """Repaired, and the services have to be restarted by hand."""
    steps = (f"docker compose restart {names.replace(',', '')}", *outcome.next_steps)
    says = f"{names} not restarted: {problem}"
    if not fatal:
        return replace(outcome, warnings=(*outcome.warnings, says), next_steps=steps)
    summary = f"{outcome.summary}; the database is repaired, but {says}"
    return replace(outcome, exit_code=ExitCode.RESTART_FAILED, summary=summary, next_steps=steps)
