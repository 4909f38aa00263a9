"""Pods without a cluster: `podman kube play`, on a database of their own.

podman takes a Pod and runs its init containers as a kubelet does. What it does not do is done
here: it writes no termination message (a file of ours stands at /dev/termination-log), and
restarts a failed init container without a pause (so the pods are of `restartPolicy: Never`).
"""

from __future__ import annotations

import base64
import copy
import json
import os
import shutil
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.containers import images, manifests
from tests.containers.engine import Ended, Engine, command, wait_until
from tests.containers.manifests import Object
from tests.containers.pods_build import SIDECAR, Images
from tests.containers.pods_incident import OWNER, PSQL, SERVER, url

CONFIG = Path(__file__).with_name("podman.conf")
LABEL = "migration-sidecar.test"


class PodmanMissingError(Exception):
    """podman is not on the PATH, or cannot run here; the text says what to install."""


@dataclass(frozen=True, slots=True)
class Podman:
    """podman's command line, with a configuration that works without systemd."""

    images: Images

    def __call__(
        self, *arguments: str, check: bool = True, stdin: str | None = None, timeout_s: float = 120
    ) -> Ended:
        """Run it; CalledProcessError where it fails, unless told not to check."""
        return command(
            *("podman", *arguments),
            environ={"CONTAINERS_CONF": str(CONFIG)},
            check=check,
            stdin=stdin,
            timeout_s=timeout_s,
        )


def usable_podman(engine: Engine, wanted: Images) -> Podman:
    """A podman that has the images of the engine. Raises PodmanMissingError."""
    if shutil.which("podman") is None or shutil.which("runc") is None:
        raise PodmanMissingError(
            "podman or runc is missing; on Debian or Ubuntu: apt-get install"
            " --no-install-recommends podman runc crun netavark aardvark-dns catatonit"
        )
    if os.geteuid() != 0:
        raise PodmanMissingError("these tests use podman as root: its network needs no more then")
    podman = Podman(
        Images(*(f"localhost/{tag}" for tag in (wanted.sidecar, wanted.backend, wanted.postgres)))
    )
    with images.alone("podman"):
        _load(engine, podman, wanted)
    return podman


def _load(engine: Engine, podman: Podman, wanted: Images) -> None:
    """Bring the images over; the two have separate stores, and tags are hashes."""
    tags = [wanted.sidecar, wanted.backend, wanted.postgres]
    lacking = [
        tag for tag in tags if podman("image", "exists", f"localhost/{tag}", check=False).code
    ]
    if lacking:
        engine.docker("save", "--output", archive := f"/var/tmp/{uuid.uuid4().hex}.tar", *lacking)  # noqa: S108
        try:
            podman("load", "--quiet", "--input", archive, timeout_s=300)
        finally:
            Path(archive).unlink()


# --- a database and the pods on it -------------------------------------------------------


@dataclass(slots=True)
class Stage:
    """A network with a PostgreSQL `postgres`, the Secrets of the manifests, and pods.

    What is made carries the name of the stage, and is removed at the end.
    """

    podman: Podman
    name: str
    folder: Path

    def sql(self, script: str) -> str:
        """Run a script as superuser, statement by statement; what it printed, unaligned."""
        container = ("exec", "--interactive", f"{self.name}-postgres")
        return self.podman(*container, *PSQL, stdin=script).out.strip()

    def play(self, built: Sequence[Object]) -> Played:
        """Start the pod of a Deployment or Job, with the ConfigMaps that it needs."""
        log = self.folder / f"termination-log-{uuid.uuid4().hex[:6]}"
        log.touch()
        log.chmod(0o666)  # as the kubelet makes it
        name = f"{self.name}-{uuid.uuid4().hex[:6]}"
        (workload,) = (item for item in built if item["kind"] in {"Deployment", "Job"})
        maps = [item for item in built if item["kind"] == "ConfigMap"]
        pod = _for_podman(workload, stage=self.name, name=name, log=log)
        file = self.folder / f"{name}.yaml"
        file.write_text(yaml.safe_dump_all([*maps, pod]))
        ended = self.podman("kube", "play", "--network", self.name, str(file), check=False)
        return Played(self.podman, name, ended, log)


@dataclass(frozen=True, slots=True)
class Played:
    """A pod that was started, or not."""

    podman: Podman
    name: str
    ended: Ended
    log: Path

    @property
    def said(self) -> str:
        """What podman and the init containers wrote, for a test that fails."""
        names = ("copy-migrations", SIDECAR)
        return self.ended.said + "".join(
            self.podman("logs", f"{self.name}-{name}", check=False).said for name in names
        )

    @property
    def message(self) -> str:
        """The termination message of the sidecar."""
        data = self.log.read_bytes()
        assert len(data) <= 4096
        return data.decode()

    def state(self, container: str) -> tuple[str, int]:
        """`running`, `created`, `exited` ..., and the exit code."""
        template = "{{.State.Status}} {{.State.ExitCode}}"
        said = self.podman("inspect", "--format", template, f"{self.name}-{container}").out
        status, code = said.split()
        return status, int(code)

    def logs(self, container: str = SIDECAR) -> str:
        """What a container has written."""
        return self.podman("logs", f"{self.name}-{container}").said

    def wait(self, container: str = SIDECAR) -> int:
        """Wait until a container has ended; its exit code."""
        return int(self.podman("wait", f"{self.name}-{container}").out)

    def answer(self) -> str:
        """What the backend serves, as soon as it does."""
        asked = "from urllib.request import urlopen; print(urlopen('http://127.0.0.1:3000').status)"
        request = ("exec", f"{self.name}-backend", "python3", "-c", asked)
        wait_until(lambda: self.podman(*request, check=False).code == 0, timeout_s=30)
        return self.podman(*request).out.strip()


@contextmanager
def stage(podman: Podman, folder: Path, *, server: bool = True) -> Iterator[Stage]:
    """A stage for the length of the block; `server` is False for one without PostgreSQL."""
    made = Stage(podman, f"sidecar-test-{uuid.uuid4().hex[:8]}", folder)
    try:
        podman("network", "create", "--label", f"{LABEL}={made.name}", made.name)
        for secret, role in (("migration-sidecar-database", None), ("backend-database", OWNER)):
            value = url("postgres", role) if role else url("postgres")
            encoded = base64.b64encode(value.encode()).decode()
            name = f"{made.name}-{secret}"
            podman("secret", "create", name, "-", stdin=json.dumps({"url": encoded}))
        if server:
            _start_postgres(made)
        yield made
    finally:
        _remove(made)


def _start_postgres(made: Stage) -> None:
    options = ("--network", made.name, "--network-alias", "postgres", "--detach")
    environ = [f"--env={name}={value}" for name, value in SERVER.items()]
    name = f"{made.name}-postgres"
    made.podman("run", "--name", name, *options, *environ, made.podman.images.postgres)
    ready = ("exec", name, "pg_isready", "--quiet", "--host", "127.0.0.1")
    wait_until(lambda: made.podman(*ready, check=False).code == 0)


def _remove(made: Stage) -> None:
    podman = made.podman
    filtered = ("--filter", f"name={made.name}")
    pods = podman("pod", "ls", *filtered, "--quiet", check=False).out.split()
    for kind, names in (
        ("pod", pods),
        ("container", [f"{made.name}-postgres"]),
    ):
        if names:
            options = ("--force", "--time", "0", *(("--volumes",) if kind == "container" else ()))
            podman(kind, "rm", *options, *names, check=False)
    for secret in ("migration-sidecar-database", "backend-database"):
        podman("secret", "rm", f"{made.name}-{secret}", check=False)
    podman("network", "rm", "--force", made.name, check=False)


def _for_podman(workload: Object, *, stage: str, name: str, log: Path) -> Object:
    """A Pod of the workload's template, with Secrets of the stage and a file for the message.

    Without `ports`, which podman would publish on this machine; its emptyDir is a volume that
    all pods share, unless it has a name of its own.
    """
    pod: Any = copy.deepcopy(manifests.pod_of(workload))
    pod["restartPolicy"] = "Never"
    for item in (*pod.get("initContainers", ()), *pod["containers"]):
        item.pop("ports", None)
        item.pop("readinessProbe", None)  # names a port
        for variable in item.get("env", ()):
            reference = variable.get("valueFrom", {}).get("secretKeyRef")
            if reference:
                reference["name"] = f"{stage}-{reference['name']}"
    sidecar = manifests.container(pod, SIDECAR)
    sidecar["volumeMounts"].append({"name": "log", "mountPath": "/dev/termination-log"})
    pod["volumes"].append({"name": "log", "hostPath": {"path": str(log), "type": "File"}})
    annotations = {"io.podman.annotations.init.container.type": "always"}  # keeps their logs
    metadata = {"name": name, "labels": {"app": name}, "annotations": annotations}
    for named in (*pod["volumes"], *_mounts(pod)):
        named["name"] = f"{name}-{named['name']}"
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": pod}


def _mounts(pod: Object) -> list[Object]:
    containers = (*pod.get("initContainers", ()), *pod["containers"])
    return [mount for item in containers for mount in item.get("volumeMounts", ())]
