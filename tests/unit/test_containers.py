"""What the engine says of containers, as values; and how we know which one we are."""

from __future__ import annotations

from typing import Any

import pytest

from sidecar.containers import (
    Binding,
    Container,
    container_of,
    last_words,
    own_ids,
    processes_of,
)

ID = "4a61c8d7" * 8
OTHER = "9f3e2b10" * 8

DOCKER = f"""\
1420 1310 0:53 / / rw,relatime - overlay overlay rw,workdir=/var/lib/docker/overlay2/{OTHER}/work
1437 1420 254:0 /var/lib/docker/containers/{ID}/resolv.conf /etc/resolv.conf rw - ext4 /dev/vda rw
1438 1420 254:0 /var/lib/docker/containers/{ID}/hostname /etc/hostname rw - ext4 /dev/vda rw
1439 1420 254:0 /var/lib/docker/containers/{ID}/hosts /etc/hosts rw - ext4 /dev/vda rw
"""
ROOTLESS = DOCKER.replace("/var/lib/docker", "/home/ada/.local/share/docker")
PODMAN = (
    f"99 98 0:42 /containers/storage/overlay-containers/{ID}/userdata/hostname /etc/hostname"
    " rw - tmpfs tmpfs rw\n"
)
ANOTHERS_LOGS = f"77 76 254:0 /var/lib/docker/containers/{OTHER} /logs ro - ext4 /dev/vda rw\n"
KUBERNETES = (
    "88 87 254:0 /var/lib/kubelet/pods/0f8a1b52-7a6e-4a4e-9a58-0d5dbd6e8f51/etc-hosts /etc/hosts"
    " rw - ext4 /dev/vda rw\n"
)


@pytest.mark.parametrize(
    ("cgroup", "mountinfo", "hostname", "expected"),
    [
        pytest.param(f"5:memory:/docker/{ID}\n", "", "db", (ID,), id="cgroup v1"),
        pytest.param(f"0::/system.slice/docker-{ID}.scope\n", "", "db", (ID,), id="systemd"),
        pytest.param("0::/\n", DOCKER, "chosen", (ID,), id="cgroup v2"),
        pytest.param("0::/\n", ROOTLESS, "chosen", (ID,), id="rootless"),
        pytest.param("0::/\n", PODMAN, "chosen", (ID,), id="podman"),
        pytest.param("0::/\n", "", ID[:12], (ID[:12],), id="host name"),
        pytest.param("0::/\n", DOCKER, ID[:12], (ID, ID[:12]), id="both"),
        pytest.param(f"1:cpu:/docker/{OTHER}\n", DOCKER, "x", (OTHER, ID), id="borrowed network"),
        pytest.param("0::/\n", ANOTHERS_LOGS, "deadbeef", (), id="others' logs are mounted"),
        pytest.param("0::/user.slice\n", "", "workstation", (), id="a host"),
        pytest.param("0::/\n", KUBERNETES, "web-0", (), id="Kubernetes"),
        pytest.param("", "", "", (), id="no /proc"),
    ],
)
def test_which_container_we_may_be(
    cgroup: str, mountinfo: str, hostname: str, expected: tuple[str, ...]
) -> None:
    """Under every engine, the surest first, and none on a host."""
    assert own_ids(cgroup=cgroup, mountinfo=mountinfo, hostname=hostname) == expected


# --- inspected ---------------------------------------------------------------------------

V1 = {
    "com.docker.compose.project": "demo",
    "com.docker.compose.service": "backend_dev",
    "com.docker.compose.oneoff": "False",
    "com.docker.compose.container-number": "1",
    "com.docker.compose.version": "1.29.2",
}
V2 = {**V1, "com.docker.compose.version": "2.40.3", "com.docker.compose.image": "sha256:0"}


def inspected(**parts: Any) -> dict[str, Any]:
    """The answer for a running container; `parts` replace its parts."""
    return {
        "Id": ID,
        "Name": "/demo-backend_dev-1",
        "RestartCount": 2,
        "State": {
            "Status": "running",
            "ExitCode": 0,
            "OOMKilled": False,
            "Error": "",
            "StartedAt": "2026-03-01T12:00:00.123456789Z",
        },
        "Config": {"Labels": V2},
        "HostConfig": {"NetworkMode": "demo_default", "PortBindings": {}},
        "NetworkSettings": {
            "Ports": {},
            "Networks": {"demo_default": {"Aliases": ["backend_dev"]}},
        },
        **parts,
    }


@pytest.mark.parametrize("labels", [V1, V2])
def test_a_container_of_either_compose(labels: dict[str, str]) -> None:
    """Both say by the same labels what a container is."""
    assert container_of(inspected(Config={"Labels": labels})) == Container(
        id=ID,
        name="demo-backend_dev-1",
        project="demo",
        service="backend_dev",
        status="running",
        started_at="2026-03-01T12:00:00.123456789Z",
        restarts=2,
        names=frozenset({"demo-backend_dev-1", "backend_dev"}),
    )


def test_a_container_without_compose() -> None:
    """It has no project, whatever it is called."""
    absent: tuple[dict[str, str] | None, ...] = (None, {})
    for labels in absent:
        found = container_of(inspected(Config={"Labels": labels}))
        assert (found.project, found.service, found.one_off) == ("", "", False)


@pytest.mark.parametrize("value", ["True", "true"])
def test_a_container_of_compose_run(value: str) -> None:
    """One that somebody started for himself is marked."""
    labels = {**V2, "com.docker.compose.oneoff": value}
    assert container_of(inspected(Config={"Labels": labels})).one_off


@pytest.mark.parametrize(
    ("health", "expected"),
    [
        (None, ("", "")),
        ({"Status": "none"}, ("", "")),
        ({"Status": "starting", "Log": []}, ("starting", "")),
        ({"Status": "starting", "Log": None}, ("starting", "")),
        (
            {"Status": "unhealthy", "Log": [{"Output": "first"}, {"Output": "last\n"}]},
            ("unhealthy", "last\n"),
        ),
    ],
)
def test_health(health: dict[str, Any] | None, expected: tuple[str, str]) -> None:
    """Its word and the last check's output, if there is a healthcheck at all."""
    state = {"Status": "running", "Health": health}
    found = container_of(inspected(State=state))
    assert (found.health, found.health_says) == expected


@pytest.mark.parametrize(("given", "seconds"), [(None, 10), (0, 0), (45, 45)])
def test_its_own_grace_is_kept(given: int | None, seconds: int) -> None:
    """`stop_grace_period` of the compose file; 10 s is the engine's own."""
    config: dict[str, Any] = {"Labels": {}, "StopTimeout": given}
    assert container_of(inspected(Config=config)).stop_timeout_s == seconds


def test_ports() -> None:
    """Published ones as they are now, declared ones whether it runs or not; TCP alone."""
    found = container_of(
        inspected(
            HostConfig={"NetworkMode": "host", "PortBindings": {"5432/tcp": [{}], "53/udp": [{}]}},
            NetworkSettings={
                "Ports": {
                    "5432/tcp": [
                        {"HostIp": "0.0.0.0", "HostPort": "5434"},  # noqa: S104 (an answer)
                        {"HostIp": "::", "HostPort": "5434"},
                    ],
                    "53/udp": [{"HostIp": "", "HostPort": "53"}],
                    "8080/tcp": None,
                }
            },
        )
    )
    bindings = [Binding("0.0.0.0", 5434), Binding("::", 5434)]  # noqa: S104 (an answer)
    assert found.published == tuple((5432, binding) for binding in bindings)
    assert (found.declared, found.on_host_network) == (frozenset({5432}), True)


# --- its words ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ""),
        ("\n\n", ""),
        ("one\r\n\ntwo \tx\n", "one | two x"),
        ("1\n2\n3\n4\n", "2 | 3 | 4"),
        ("x" * 999, "x" * 200),
        ("postgresql://ada:s3cret@db/shop", "postgresql://***@db/shop"),
        ("POSTGRES_PASSWORD=hunter2 given", "POSTGRES_PASSWORD=*** given"),
        ('"password": "hunter2"', '"password": ***'),
        ("the correct%20horse ran", "the *** ran"),
        ("\x1b[31mred\x1b[0m", "\x1b[31mred\x1b[0m"),
    ],
)
def test_last_words(text: str, expected: str) -> None:
    """Three lines on one, cut, without our secrets and what looks like others."""
    assert last_words(text, hide=["correct horse", "correct%20horse"]) == expected


def test_processes() -> None:
    """The column of commands, as `ps` calls it here and there."""
    rows = [["70", "1", "initdb --no-sync"]]
    assert processes_of({"Titles": ["PID", "PPID", "CMD"], "Processes": rows}) == (rows[0][2],)
    assert processes_of({"Titles": ["PID", "PPID", "COMMAND"], "Processes": rows}) == (rows[0][2],)
    assert processes_of({"Titles": ["PID"], "Processes": [["1"]]}) == ()
    assert processes_of({"Titles": None, "Processes": None}) == ()
