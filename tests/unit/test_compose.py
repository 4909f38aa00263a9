"""Which project is ours, who is restarted, and what a restarted container's state means."""

from __future__ import annotations

from dataclasses import replace

import pytest

from sidecar.compose import (
    STEADY_S,
    Verdict,
    Watched,
    left_words,
    may_restart,
    members,
    project_of_folder,
    service_names,
    state_words,
    verdict,
)
from sidecar.containers import PROJECT, SERVICE, WORKING_DIR, Container
from sidecar.errors import ExitCode, UnclearError

FOLDERS = ("/home/ada/shop/api", "/home/ada/shop", "/home/ada", "/home", "/")
C = Container(id="1" * 64, name="shop-api-1", project="shop", service="api", status="running")


def labels(project: str, folder: str, service: str = "db") -> dict[str, str]:
    """What compose writes on a container."""
    return {PROJECT: project, SERVICE: service, WORKING_DIR: folder}


# --- which project ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("known", "expected"),
    [
        ([labels("shop", "/home/ada/shop")], "shop"),
        ([labels("api", "/home/ada/shop/api"), labels("shop", "/home/ada/shop")], "api"),
        ([labels("shop", "/home/ada/shop"), labels("shop", "/home/ada/shop")], "shop"),
        ([labels("shop", "/home/ada/shop"), labels("eve", "/home/eve/shop")], "shop"),
        ([labels("web", "/home/ada/shop/api", "web"), labels("shop", "/home/ada/shop")], "shop"),
    ],
)
def test_the_nearest_folder_with_the_service_counts(
    known: list[dict[str, str]], expected: str
) -> None:
    """The working directory, or one above it, as for compose itself."""
    assert project_of_folder("db", FOLDERS, known) == expected


@pytest.mark.parametrize(
    ("known", "says", "steps"),
    [
        ([], "no compose project of this folder has a container of the service db", ()),
        (
            [labels("eve", "/home/eve/shop")],
            "no compose project of this folder",
            ("SIDECAR_COMPOSE_PROJECT=eve",),
        ),
        (
            [labels("shop", "/home/ada/shop/api/deeper")],
            "no compose project of this folder",
            ("SIDECAR_COMPOSE_PROJECT=shop",),
        ),
        (
            [labels("two", "/home/ada/shop"), labels("one", "/home/ada/shop")],
            "the projects one, two of this folder all have a service db",
            ("SIDECAR_COMPOSE_PROJECT=one", "SIDECAR_COMPOSE_PROJECT=two"),
        ),
        ([{SERVICE: "db", WORKING_DIR: "/home/ada/shop"}], "no compose project", ()),
    ],
)
def test_anything_else_is_refused_with_the_choice(
    known: list[dict[str, str]], says: str, steps: tuple[str, ...]
) -> None:
    """No project, somebody else's, or two of one folder: a person says which."""
    with pytest.raises(UnclearError) as caught:
        project_of_folder("db", FOLDERS, known)
    assert says in caught.value.what
    assert caught.value.next_steps[: len(steps)] == steps
    assert caught.value.exit_code is ExitCode.USAGE


def test_members_and_names() -> None:
    """Scaled services count whole, what somebody ran for himself does not."""
    second, mine = replace(C, name="shop-api-2"), replace(C, one_off=True)
    other = replace(C, service="web")
    assert members([C, second, mine, other], "api") == [C, second]
    known = [labels("shop", "/x", "db"), labels("shop", "/x", "api"), labels("eve", "/y", "web")]
    assert service_names(known, "shop") == ["api", "db"]


# --- states ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("container", "restarted", "words"),
    [
        (C, True, "runs"),
        (replace(C, health="healthy"), True, "is healthy"),
        (replace(C, health="unhealthy"), True, "is unhealthy"),
        (replace(C, health="starting"), True, "is still starting"),
        (replace(C, restarts=2), True, "keeps ending (started 3 times)"),
        (
            replace(C, status="restarting", exit_code=1, restarts=3),
            True,
            "keeps ending with exit code 1 (started 4 times)",
        ),
        (replace(C, status="created"), False, "was made and not started"),
        (replace(C, status="created", error="no port"), False, "was made and not started: no port"),
        (replace(C, status="exited", exit_code=3), False, "has ended with exit code 3"),
        (
            replace(C, status="exited", exit_code=137, out_of_memory=True),
            False,
            "has ended with exit code 137 (out of memory)",
        ),
        (
            replace(C, status="dead", exit_code=1, error="broken"),
            False,
            "has ended with exit code 1: broken",
        ),
        (replace(C, status="paused"), False, "is paused"),
        (replace(C, status="removing"), False, "is being removed"),
    ],
)
def test_every_state_has_its_words_and_its_answer(
    container: Container, restarted: bool, words: str
) -> None:
    """Restarted is what runs or crash-loops; the rest is left alone, and it is said why."""
    assert state_words(container) == words
    assert may_restart(container) is restarted
    if container.status == "created":
        assert left_words(container) == "not started yet; it starts on the repaired database"
    else:
        assert left_words(container) == f"left alone: it {words}"


@pytest.mark.parametrize(
    ("container", "after_s", "expected"),
    [
        (replace(C, health="healthy"), 0.0, Verdict.UP),
        (replace(C, health="starting"), 99.0, Verdict.WAITING),
        (replace(C, health="unhealthy"), 99.0, Verdict.WAITING),
        (C, STEADY_S - 0.1, Verdict.WAITING),
        (C, STEADY_S, Verdict.UP),
        (replace(C, status="restarting"), 99.0, Verdict.WAITING),
        (replace(C, status="paused"), 99.0, Verdict.WAITING),
        (replace(C, status="exited"), 0.0, Verdict.DOWN),
        (replace(C, status="exited", health="healthy"), 0.0, Verdict.DOWN),
        (replace(C, status="dead"), 0.0, Verdict.DOWN),
        (replace(C, status="removing"), 0.0, Verdict.DOWN),
    ],
)
def test_up_down_or_not_known_yet(container: Container, after_s: float, expected: Verdict) -> None:
    """Healthy at once; without a healthcheck after running steadily; ended is the end."""
    assert verdict(container, Watched.at(100.0, container), 100.0 + after_s) is expected


def test_steadiness_begins_anew_with_each_start() -> None:
    """A container that the engine started again meanwhile has not run steadily."""
    first = Watched.at(0.0, C)
    assert Watched.at(4.0, C, first) == first
    for again in (replace(C, started_at="later"), replace(C, restarts=1)):
        watched = Watched.at(4.0, again, first)
        assert watched.since == 4.0
        assert verdict(again, watched, 4.0 + STEADY_S - 0.1) is Verdict.WAITING
