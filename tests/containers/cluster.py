"""The cluster of KUBECONFIG: a namespace of our own in it, with a PostgreSQL and a rollout.

The cluster must be able to run the images. One that shares this Docker Engine (kind would need
`kind load docker-image`) has them; for any other, push them and name them by the variables
SIDECAR_TEST_K8S_SIDECAR, SIDECAR_TEST_K8S_BACKEND, SIDECAR_TEST_K8S_POSTGRES.
"""

from __future__ import annotations

import base64
import json
import os
import shutil
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import yaml

from tests.containers.engine import Ended, command, wait_until
from tests.containers.manifests import Object
from tests.containers.pods_build import SIDECAR
from tests.containers.pods_incident import OWNER, PSQL, SERVER, url
from tests.waiting import Answer

GIVEN = {
    what: os.environ.get(f"SIDECAR_TEST_K8S_{what.upper()}", "")
    for what in ("sidecar", "backend", "postgres")
}
"""Read before the tests scrub the environment."""


class ClusterMissingError(Exception):
    """There is no cluster to talk to; the text says what is missing."""


@dataclass(frozen=True, slots=True)
class Cluster:
    """A namespace of a test's own, through kubectl."""

    namespace: str

    def __call__(
        self, *arguments: str, check: bool = True, stdin: str | None = None, timeout_s: float = 120
    ) -> Ended:
        """Run kubectl in the namespace; CalledProcessError where it fails, unless told not to."""
        options = ("--namespace", self.namespace) if self.namespace else ()
        return command(
            *("kubectl", *options, *arguments), check=check, stdin=stdin, timeout_s=timeout_s
        )

    def apply(self, objects: Sequence[Object]) -> None:
        """Bring the objects in; a server of another version may leave out what it does not know."""
        self("apply", "--validate=false", "--filename", "-", stdin=yaml.safe_dump_all(objects))

    def get(self, kind: str, *arguments: str) -> list[Object]:
        """The objects of a kind, oldest first."""
        said = self("get", kind, "--sort-by=.metadata.creationTimestamp", "--output=json")
        found: list[Object] = json.loads(said.out)["items"]
        wanted = dict(argument.split("=") for argument in arguments)
        return [
            item for item in found if wanted.items() <= item["metadata"].get("labels", {}).items()
        ]

    def sql(self, script: str) -> str:
        """Run a script as superuser in the PostgreSQL of the namespace; what it printed."""
        return self("exec", "--stdin", "postgres", "--", *PSQL, stdin=script).out.strip()

    def describe(self, pod: str) -> str:
        """What a person would see."""
        return self("describe", "pod", pod).out


def refuse_without_one() -> None:
    """Raise ClusterMissingError unless kubectl reaches the cluster of KUBECONFIG."""
    if shutil.which("kubectl") is None:
        raise ClusterMissingError("kubectl is missing; Debian has it from trixie on")
    if not os.environ.get("KUBECONFIG"):
        raise ClusterMissingError(
            "KUBECONFIG is not set: these tests make namespaces in a cluster, and take none by"
            " accident; set it to the file of a cluster that is meant for tests"
        )
    said = Cluster("")("version", "--request-timeout=10s", check=False)
    if said.code:
        raise ClusterMissingError(f"the cluster of KUBECONFIG does not answer: {said.err.strip()}")


@contextmanager
def namespace() -> Iterator[Cluster]:
    """A restricted namespace for the length of the block."""
    cluster = Cluster(f"sidecar-test-{uuid.uuid4().hex[:8]}")
    cluster("create", "namespace", cluster.namespace)
    restricted = "pod-security.kubernetes.io/enforce=restricted"
    cluster("label", "namespace", cluster.namespace, restricted)
    try:
        yield cluster
    finally:
        cluster("delete", "pods", "--all", "--grace-period=0", "--force", check=False)
        Cluster("")("delete", "namespace", cluster.namespace, "--wait=false")


def start_postgres(cluster: Cluster, image: str) -> str:
    """A PostgreSQL `postgres`; its address, once it answers there."""
    own = {
        "runAsUser": 999,  # of the official image
        "runAsNonRoot": True,
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    container = {
        "name": "postgres",
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "env": [{"name": key, "value": value} for key, value in SERVER.items()],
        # While it sets the database up nothing listens over TCP.
        "readinessProbe": {"tcpSocket": {"port": 5432}, "periodSeconds": 1},
        "resources": {"requests": {"cpu": "500m"}},  # else it starves beside other work
        "securityContext": own,
    }
    pod = {"containers": [container], "automountServiceAccountToken": False}
    cluster.apply(
        [{"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "postgres"}, "spec": pod}]
    )
    cluster("wait", "--for=condition=Ready", "pod/postgres", "--timeout=180s", timeout_s=200)
    return cluster("get", "pod", "postgres", "--output=jsonpath={.status.podIP}").out.strip()


def secrets(host: str) -> list[Object]:
    """The two Secrets of the manifests, for the PostgreSQL at that address."""
    return [
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": name},
            "data": {"url": base64.b64encode(value.encode()).decode()},
        }
        for name, value in (
            ("migration-sidecar-database", url(host)),
            ("backend-database", url(host, OWNER)),
        )
    ]


def status_of(pod: Object, name: str) -> Object:
    """The status of one container, initial or not."""
    status = pod["status"]
    found = (*status.get("initContainerStatuses", ()), *status.get("containerStatuses", ()))
    matching: list[Object] = [item for item in found if item["name"] == name]
    return matching[0]


def ended(pod: Object, name: str = SIDECAR) -> Object | None:
    """How the container ended last: `exitCode`, `message`; None if it has not yet."""
    status: Any = status_of(pod, name)
    for state in (status["state"], status.get("lastState", {})):
        if "terminated" in state:
            found: Object = state["terminated"]
            return found
    return None


def until(holds: Callable[[], Answer], *, timeout_s: float = 120) -> Answer:
    """Wait until it holds; asked twice a second, since each question is a process."""
    return wait_until(holds, timeout_s=timeout_s, every_s=0.5)
