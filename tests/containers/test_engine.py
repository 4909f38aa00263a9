"""The door to the engine: what it needs to be allowed, and how it says that it is shut."""

from __future__ import annotations

from pathlib import Path

import pytest

from sidecar.containers import PROJECT
from sidecar.engine import Engine as Door
from sidecar.engine import Way, connected
from sidecar.errors import EngineError
from tests.containers.engine import Engine
from tests.containers.filter_proxy import filter_proxy, listed
from tests.containers.services import SLEEPS, project, started_at

pytestmark = pytest.mark.services


def test_the_documented_calls_are_all_it_needs(
    engine: Engine, base_image: str, tmp_path: Path
) -> None:
    """A proxy that lets through the table of docs/docker.md, and nothing else, is enough."""
    says = ("sh", "-c", "echo hello; exec sleep 600")
    with filter_proxy(listed()) as url, project(engine, tmp_path) as ours:
        made = ours.service("backend", base_image, *says)
        before, door = started_at(made), connected(Way(url))
        with door.idle_afterwards():
            (found,) = door.containers(ours.name, "backend")
            assert ours.name in {labels[PROJECT] for labels in door.labels()}
            assert any("sleep 600" in command for command in door.processes(found.id))
            assert door.output(found.id) == "hello\n"
            door.restart(found)
        assert started_at(made) != before


@pytest.mark.parametrize(("method", "path"), listed()[1:])
def test_each_of_them_is_named_where_it_is_refused(
    method: str, path: str, engine: Engine, base_image: str, tmp_path: Path
) -> None:
    """Without one of them the sentence says which, or the log's last words are left out."""
    allowed = [row for row in listed() if row != (method, path)]
    with filter_proxy(allowed) as url, project(engine, tmp_path) as ours:
        ours.service("backend", base_image, *SLEEPS)
        door = connected(Way(url))
        with door.idle_afterwards():
            if path.endswith("/logs"):
                (found,) = door.containers(ours.name, "backend")
                assert door.output(found.id) == ""
                return
            with pytest.raises(EngineError) as caught:
                _use(door, ours.name)
    assert f"{url} does not allow this: /v1." in caught.value.what
    assert caught.value.what.endswith(path.rpartition("}")[2])


def _use(door: Door, name: str) -> None:
    (found,) = door.containers(name, "backend")
    door.processes(found.id)
    door.restart(found)


def test_a_name_is_no_id(engine: Engine, base_image: str) -> None:
    """A container that is called like the beginning of an id is not taken for it."""
    name = "feedfacecafe"
    engine.docker("create", "--name", name, "--label", engine.label, base_image, "true")
    door = connected(Way())
    with door.idle_afterwards():
        assert door.container(name) is None
        assert door.container("0" * 64) is None
    engine.docker("rm", name)
