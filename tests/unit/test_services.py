"""Restarting and watching, with an engine that a test makes up and a clock that costs nothing."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, cast

import pytest

from sidecar.containers import Container
from sidecar.errors import EngineError
from sidecar.log import Log
from sidecar.model import Outcome, OutcomeName, ServiceOutcome
from sidecar.opening import World
from sidecar.services import Restarts
from sidecar.surroundings import Place
from tests.settings import ENVIRON, loaded

C = Container(id="1", name="shop-api-1", project="shop", service="api", status="running")
REPAIRED = Outcome(OutcomeName.REPAIRED, 0, "repaired and proven: x", next_steps=("look",))
LATER = replace(C, started_at="later")

Then = Callable[[float], Container | EngineError | None]


@dataclass
class MadeUp:
    """An engine: `found` are the containers before, `then` what the first is after so long."""

    found: list[Container]
    then: Then = lambda _: LATER
    refuses: str = ""
    gone: EngineError | None = None
    now: float = 0.0
    restarted: list[str] = field(default_factory=list)

    def containers(self, _project: str, service: str) -> list[Container]:
        if self.gone:
            raise self.gone
        return [container for container in self.found if container.service == service]

    def restart(self, container: Container) -> str:
        self.restarted.append(container.name)
        return self.refuses

    def container(self, _container_id: str) -> Container | None:
        seen = self.then(self.now)
        if isinstance(seen, EngineError):
            raise seen
        return seen

    def output(self, _container_id: str) -> str:
        return "words"

    def labels(self) -> list[dict[str, str]]:
        return []

    def idle_afterwards(self) -> MadeUp:
        return self

    def __enter__(self) -> None:
        pass

    def __exit__(self, *_: object) -> None:
        pass

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def after(engine: MadeUp, outcome: Outcome = REPAIRED, **variables: str) -> Outcome:
    """What becomes of an outcome where `api` is to be restarted."""
    config = loaded(environ={**ENVIRON, "SIDECAR_RESTART_SERVICES": "api", **variables})
    world = World(clock=lambda: engine.now, sleep=engine.sleep, log=Log(io.StringIO()))
    place = Place(cast("Any", engine), None, (), None, ())
    return Restarts(config, world, place, "shop").after(outcome)


def only(outcome: Outcome) -> tuple[str, str]:
    """Result and words of the only container."""
    service: ServiceOutcome
    (service,) = outcome.services
    return str(service.result), service.says


@pytest.mark.parametrize("name", sorted({*OutcomeName} - {OutcomeName.REPAIRED}))
def test_only_a_repair_restarts(name: OutcomeName) -> None:
    """Healthy, halted or failed: nobody is asked to stop."""
    engine, outcome = MadeUp([C]), Outcome(name, 0, "")
    assert after(engine, outcome) == outcome
    assert engine.restarted == []


def starting_until(seconds: float, then: Container) -> Then:
    """A healthcheck that takes so long."""
    return lambda now: replace(C, health="starting") if now < seconds else then


@pytest.mark.parametrize(
    ("then", "expected", "took_s"),
    [
        (starting_until(20, replace(C, health="healthy")), ("restarted", "healthy again"), 20),
        (lambda _: LATER, ("restarted", "running again"), 5),
        (
            lambda now: replace(LATER, started_at=str(min(now, 30.0) // 4)),
            ("restarted", "running again"),
            33,
        ),
        (
            starting_until(20, replace(C, health="unhealthy")),
            ("failed", "is unhealthy after 60 s; its last words: words"),
            60,
        ),
        (
            lambda now: replace(LATER, started_at=str(now // 4), restarts=int(now // 4)),
            ("failed", "keeps ending (started 16 times) after 60 s; its last words: words"),
            60,
        ),
        (
            lambda _: replace(C, status="exited", exit_code=1),
            ("failed", "has ended with exit code 1; its last words: words"),
            0,
        ),
        (lambda _: None, ("failed", "was removed meanwhile"), 0),
        (
            lambda now: EngineError("it is gone") if now > 2 else LATER,
            ("failed", "restarted, but cannot be watched: it is gone"),
            2.5,
        ),
    ],
)
def test_it_is_watched_until_up_down_or_the_deadline(
    then: Then, expected: tuple[str, str], took_s: float
) -> None:
    """Every way in which it can go on, and when that is known."""
    engine = MadeUp([C], then)
    outcome = after(engine)
    assert only(outcome) == expected
    assert engine.now == pytest.approx(took_s, abs=1.0)
    failed = expected[0] == "failed"
    assert outcome.exit_code == (6 if failed else 0)
    assert outcome.name is OutcomeName.REPAIRED
    says = "; the database is repaired, but api did not come up again"
    assert outcome.summary == REPAIRED.summary + (says if failed else "")
    assert outcome.next_steps == (("docker logs shop-api-1",) if failed else ()) + ("look",)


def test_a_restart_that_the_engine_cannot_do_is_a_failure_of_that_container() -> None:
    """The others are restarted and watched all the same."""
    engine = MadeUp([C, replace(C, name="shop-api-2")], refuses="the engine says: no such port")
    outcome = after(engine)
    assert engine.restarted == ["shop-api-1", "shop-api-2"]
    assert outcome.exit_code == 6
    says = "could not be restarted: the engine says: no such port"
    assert [service.says for service in outcome.services] == [says, says]


@pytest.mark.parametrize(("required", "code"), [("false", 0), ("true", 6)])
def test_an_engine_that_went_away(required: str, code: int) -> None:
    """Between the look before the repair and now: repaired all the same, and it is said."""
    engine = MadeUp([C], gone=EngineError("no Docker Engine listens"))
    outcome = after(engine, SIDECAR_DOCKER_REQUIRED=required)
    says = "api not restarted: no Docker Engine listens"
    assert outcome.exit_code == code
    assert outcome.next_steps == ("docker compose restart api", "look")
    if code:
        assert outcome.summary == f"{REPAIRED.summary}; the database is repaired, but {says}"
    else:
        assert outcome.warnings == (says,)


def test_nothing_runs() -> None:
    """No container, or none that runs: nothing is restarted, nothing has failed."""
    stopped = replace(C, status="exited", exit_code=143)
    for engine, says in (
        (MadeUp([]), "the project shop has no container of it (but of: none)"),
        (MadeUp([stopped]), "left alone: it has ended with exit code 143"),
        (
            MadeUp([replace(C, status="created")]),
            "not started yet; it starts on the repaired database",
        ),
    ):
        outcome = after(engine)
        assert (outcome.exit_code, only(outcome)) == (0, ("left-alone", says))
        assert engine.restarted == []
