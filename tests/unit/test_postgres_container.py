"""What PostgreSQL's container tells of a wait, and the address a host reaches it at."""

from __future__ import annotations

from dataclasses import replace

import pytest

from sidecar.containers import Binding, Container
from sidecar.errors import UnclearError
from sidecar.postgres_container import Address, address_of, chosen, explanation, phase, talks

C = Container(id="1" * 64, name="shop-db-1", project="shop", service="db", status="running")
EVERYWHERE = "0.0.0.0"  # noqa: S104 (an answer of the engine)
ALL4, ALL6 = Binding(EVERYWHERE, 5434), Binding("::", 5434)


# --- why it is not ready ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("processes", "expected"),
    [
        (["bash /usr/local/bin/docker-entrypoint.sh postgres", "initdb --username=app"], "initdb"),
        (["/usr/lib/postgresql/17/bin/initdb -D /data"], "initdb"),
        (["postgres -c listen_addresses= -p 5432", "postgres: checkpointer"], "init scripts"),
        (["/usr/bin/postgres -D /data -c listen_addresses=''"], "init scripts"),
        (["postgres", "postgres: checkpointer"], ""),
        (["postgres -c listen_addresses=*"], ""),
        (["psql -c 'select initdb'"], ""),
        (["", " "], ""),
        ([], ""),
    ],
)
def test_a_first_start_is_known_by_its_processes(processes: list[str], expected: str) -> None:
    """initdb, then a server that listens to nobody: facts, in no language."""
    found = phase(processes)
    assert (expected in found) if expected else not found


CASES = [
    (None, "", "", "the project shop has no container of the service db", False),
    (C, "", "", "its container shop-db-1 runs, so look at the host, the port", False),
    (replace(C, health="healthy"), "", "", "is healthy, so look at the host, the port", False),
    (C, "is still in initdb", "", "its container shop-db-1 is still in initdb", False),
    (replace(C, health="starting"), "", "", "its container shop-db-1 is still starting", False),
    (
        replace(C, health="unhealthy", health_says="no\nresponse\n"),
        "",
        "",
        "its container shop-db-1 is unhealthy (no response)",
        False,
    ),
    (replace(C, status="paused"), "", "", "its container shop-db-1 is paused", False),
    (replace(C, status="created"), "", "", "was made and not started", False),
    (
        replace(C, status="restarting", exit_code=1, restarts=4),
        "",
        "FATAL: no",
        "keeps ending with exit code 1 (started 5 times); its last words: FATAL: no",
        False,
    ),
    (
        replace(C, status="exited", exit_code=1),
        "",
        "FATAL: no",
        "has ended with exit code 1; its last words: FATAL: no",
        True,
    ),
    (replace(C, status="dead", exit_code=1), "", "", "has ended with exit code 1", True),
]


@pytest.mark.parametrize(("container", "busy", "words", "says", "hopeless"), CASES)
def test_each_state_explains_the_wait(
    container: Container | None, busy: str, words: str, says: str, hopeless: bool
) -> None:
    """The state in words; only what nothing will start again makes waiting hopeless."""
    found = explanation(container, project="shop", service="db", busy=busy, words=words)
    assert says in found.says
    assert found.hopeless is hopeless
    healthy = container is not None and container.health == "healthy"
    command = "docker logs shop-db-1" if container else "docker compose up -d db"
    assert found.next_steps == (() if healthy else (command,))


def test_advice_on_the_address_is_given_only_where_the_server_is_up() -> None:
    """A server that is still starting is no reason to doubt the URL."""
    doubts = [
        c
        for c, busy, *_ in CASES
        if c and "look at" in explanation(c, project="p", service="s", busy=busy).says
    ]
    assert doubts == [C, replace(C, health="healthy")]


@pytest.mark.parametrize(
    ("statuses", "expected"),
    [
        (["exited", "running"], "running"),
        (["created", "restarting"], "restarting"),
        (["dead", "exited"], "exited"),
        (["removing"], "removing"),
    ],
)
def test_of_several_the_one_nearest_to_running(statuses: list[str], expected: str) -> None:
    """An old container beside the new one does not confuse."""
    found = chosen([replace(C, status=status) for status in statuses])
    assert found is not None
    assert found.status == expected
    assert chosen([]) is None


def test_whose_output_is_quoted() -> None:
    """Only what ended has said why."""
    assert not talks(C)
    assert talks(replace(C, restarts=1))
    assert talks(replace(C, status="exited"))


# --- where a host finds it ----------------------------------------------------------------


def at(*bindings: Binding) -> Container:
    """A container that publishes 5432 so."""
    return replace(C, published=tuple((5432, each) for each in bindings))


@pytest.mark.parametrize(
    ("container", "engine", "expected"),
    [
        (at(ALL4), "", Address("localhost", 5434, "127.0.0.1")),
        (at(ALL6, ALL4), "", Address("localhost", 5434, "127.0.0.1")),
        (
            at(Binding("::", 32769), Binding(EVERYWHERE, 32768)),
            "",
            ("localhost", 32768, "127.0.0.1"),
        ),
        (at(ALL6), "", Address("localhost", 5434, "::1")),
        (at(Binding("127.0.0.1", 5434)), "", Address("localhost", 5434, "127.0.0.1")),
        (at(Binding("", 5434)), "", Address("localhost", 5434, "127.0.0.1")),
        (at(Binding("192.168.1.4", 5434)), "", Address("192.168.1.4", 5434)),
        (at(ALL4), "127.0.0.1", Address("localhost", 5434, "127.0.0.1")),
        (at(ALL4), "build.lan", Address("build.lan", 5434)),
        (at(Binding("10.0.0.5", 5434)), "build.lan", Address("10.0.0.5", 5434)),
        (replace(C, on_host_network=True), "", Address("localhost", 5432)),
        (replace(C, on_host_network=True), "build.lan", Address("build.lan", 5432)),
        (replace(C, status="exited", declared=frozenset({5432})), "", None),
    ],
)
def test_the_address(container: Container, engine: str, expected: Address | None) -> None:
    """IPv4 first and pinned to it: behind ::1 may be somebody else's server."""
    assert address_of(container, 5432, engine_host=engine) == expected


@pytest.mark.parametrize(
    ("container", "engine", "says"),
    [
        (C, "", "the service db of the project shop does not publish its port 5432"),
        (replace(C, declared=frozenset({80})), "", "does not publish its port 5432"),
        (replace(at(ALL4), published=((80, ALL4),)), "", "does not publish its port 5432"),
        (at(Binding("127.0.0.1", 5434)), "build.lan", "on 127.0.0.1 of build.lan only"),
    ],
)
def test_what_no_waiting_helps_is_refused(container: Container, engine: str, says: str) -> None:
    """Not published, or published where we are not."""
    with pytest.raises(UnclearError) as caught:
        address_of(container, 5432, engine_host=engine)
    assert says in caught.value.what
