"""The manifests of deploy/kubernetes in a real cluster: rollouts, restarts, messages.

Runs against whatever KUBECONFIG gives, in namespaces of its own which enforce the restricted
profile (see `cluster`).
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.containers import cluster as clusters
from tests.containers import manifests
from tests.containers.cluster import GIVEN, Cluster, ended, status_of, until
from tests.containers.manifests import Object
from tests.containers.pods_build import SIDECAR, Build, Images, built_images, changed
from tests.containers.pods_incident import BY_HAND, LEDGER_STATE, OBJECTS, planted
from tests.incident import FAILED, SCHEMA

pytestmark = [pytest.mark.k8s, pytest.mark.xdist_group("cluster")]

AFTER_THE_INCIDENT = "3|2|0"
REPAIRED = "4|3|1"
FAILS_AGAIN = f"""
UPDATE {SCHEMA}._prisma_migrations SET finished_at = NULL, applied_steps_count = 0
 WHERE migration_name = '{FAILED.name}';
{BY_HAND};
"""
ONE = {"op": "replace", "path": "/spec/replicas", "value": 1}


@pytest.fixture(scope="session")
def tags(request: pytest.FixtureRequest) -> Images:
    """The images: those which are named by variables, or ours built here."""
    clusters.refuse_without_one()
    if all(GIVEN.values()):
        return Images(**GIVEN)
    engine = request.getfixturevalue("engine")
    return built_images(engine, request.getfixturevalue("sidecar_image"))


@pytest.fixture
def cluster(tags: Images) -> Iterator[Cluster]:
    """A namespace with a PostgreSQL and the Secrets that lead to it."""
    with clusters.namespace() as made:
        made.apply(clusters.secrets(clusters.start_postgres(made, tags.postgres)))
        yield made


@pytest.fixture
def build(tags: Images, tmp_path: Path) -> Build:
    """Builds kustomizations with our images in them."""
    return Build(tags, tmp_path)


def backends(cluster: Cluster) -> list[Object]:
    """The pods of the Deployment, oldest first."""
    return cluster.get("pods", "app.kubernetes.io/name=backend")


def halted(cluster: Cluster, *, older: frozenset[str] = frozenset()) -> Object:
    """A pod, not of the older ones, whose sidecar has ended with another code than 0."""

    def found() -> list[Object]:
        new = [pod for pod in backends(cluster) if pod["metadata"]["name"] not in older]
        return [pod for pod in new if (end := ended(pod)) and end["exitCode"]]

    return until(found)[0]


def test_three_replicas_start_at_once_and_one_repairs(cluster: Cluster, build: Build) -> None:
    """All three become ready at their first try; one has repaired, two found it healthy."""
    cluster.sql(planted(1))
    cluster.apply(build.deployment())
    cluster("rollout", "status", "deployment/backend", "--timeout=180s", timeout_s=200)
    pods = backends(cluster)
    ends = [end for pod in pods if (end := ended(pod))]
    assert [end["exitCode"] for end in ends] == [0, 0, 0]
    assert [status_of(pod, SIDECAR)["restartCount"] for pod in pods] == [0, 0, 0]
    said = sorted(end["message"].partition(" ")[0].rstrip(":") for end in ends)
    assert said == ["healthy", "healthy", "repaired"]
    assert (cluster.sql(LEDGER_STATE), cluster.sql(OBJECTS)) == (REPAIRED, "4")


def test_a_halt_keeps_the_backend_from_being_created(cluster: Cluster, build: Build) -> None:
    """Init:Error, then CrashLoopBackOff; `kubectl describe` shows finding and next step."""
    cluster.sql(planted(1, BY_HAND))
    cluster.apply(build.deployment(ONE))
    pod = halted(cluster)
    end = ended(pod) or {}
    assert end["exitCode"] == 3
    assert len(end["message"].encode()) <= 4096
    head, finding, step = end["message"].splitlines()[:3]
    assert head.startswith("halted (exit 3): ")
    assert f"{FAILED.name}: diverged" in finding
    assert step.startswith("next: ")
    described = cluster.describe(pod["metadata"]["name"])
    assert all(text in described for text in (head, finding, step))
    (backend,) = pod["status"]["containerStatuses"]
    assert "containerID" not in backend
    assert backend["state"]["waiting"]["reason"] == "PodInitializing"

    def backs_off() -> bool:
        state = status_of(backends(cluster)[0], SIDECAR)["state"]
        return bool(state.get("waiting", {}).get("reason") == "CrashLoopBackOff")

    until(backs_off)
    assert (cluster.sql(LEDGER_STATE), cluster.sql(OBJECTS)) == (AFTER_THE_INCIDENT, "1")


def test_a_halted_rollout_leaves_the_old_pods_serving(cluster: Cluster, build: Build) -> None:
    """maxUnavailable 0: the release fails, no old pod goes, and `rollout undo` ends it."""
    cluster.sql(planted(len(FAILED.statements)))
    cluster.apply(build.deployment())
    cluster("rollout", "status", "deployment/backend", "--timeout=180s", timeout_s=200)
    old = frozenset(pod["metadata"]["name"] for pod in backends(cluster))
    cluster.sql(FAILS_AGAIN)
    quick = json.dumps({"spec": {"progressDeadlineSeconds": 20}})
    cluster("patch", "deployment/backend", "--patch", quick)
    cluster("set", "env", "deployment/backend", "--containers=backend", "RELEASE=2")
    halted(cluster, older=old)
    refused = cluster(
        "rollout", "status", "deployment/backend", "--timeout=180s", check=False, timeout_s=200
    )
    assert refused.code == 1
    assert "exceeded its progress deadline" in refused.said
    assert _serving(cluster) == old
    assert cluster.get("deployments")[0]["status"]["availableReplicas"] == 3
    cluster("rollout", "undo", "deployment/backend")
    cluster("rollout", "status", "deployment/backend", "--timeout=120s", timeout_s=150)
    until(lambda: {pod["metadata"]["name"] for pod in backends(cluster)} == old)
    assert _serving(cluster) == old


def _serving(cluster: Cluster) -> frozenset[str]:
    """The pods that are ready and answer a request."""
    ready = [pod for pod in backends(cluster) if status_of(pod, "backend")["ready"]]
    asked = "from urllib.request import urlopen; print(urlopen('http://127.0.0.1:3000').status)"
    return frozenset(
        name
        for pod in ready
        if cluster("exec", name := pod["metadata"]["name"], "--", "python3", "-c", asked).out
        == "200\n"
    )


def test_wrong_settings_are_told_by_the_last_lines_of_the_log(
    cluster: Cluster, build: Build
) -> None:
    """Exit 2: there is no message, so `FallbackToLogsOnError` shows every mistake."""
    cluster.apply(build.deployment(ONE, SIDECAR_POLICY="hope", SIDECAR_WAIT_TIMEOUT="soon"))
    end = ended(halted(cluster)) or {}
    assert end["exitCode"] == 2
    assert all(name in end["message"] for name in ("SIDECAR_POLICY", "SIDECAR_WAIT_TIMEOUT"))


def test_among_many_containers_the_message_keeps_what_matters(
    cluster: Cluster, build: Build
) -> None:
    """Of a pod's messages 12 KiB are kept, shared by its containers: ten leave 1228 bytes each.

    With any user; `status_manager.go` of the kubelet, `normalizeStatus`.
    """
    cluster.sql(planted(1, BY_HAND))
    more = [
        {"op": "add", "path": "/spec/template/spec/containers/-", "value": _idle(number)}
        for number in range(7)
    ]
    uid = [changed(number, "securityContext/runAsUser", 1234567) for number in (0, 1)]
    cluster.apply(build.deployment(ONE, *uid, *more))
    pod = halted(cluster)
    message = (ended(pod) or {})["message"]
    containers = len(manifests.pod_of({"spec": {"template": pod}})["containers"])
    assert containers == 8
    assert len(message.encode()) <= 12 * 1024 // 10
    assert f"{FAILED.name}: diverged" in message
    assert "\nnext: " in message


def _idle(number: int) -> Object:
    own = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
    image = {"name": f"idle-{number}", "image": "registry.example/backend"}
    return {**image, "command": ["sleep", "600"], "securityContext": own}


JOBS = {"repaired": ((), 0, "complete"), "halted": ((BY_HAND,), 3, "failed")}


@pytest.mark.parametrize("said", JOBS)
def test_the_job_completes_or_fails_by_the_exit_code(
    cluster: Cluster, build: Build, said: str
) -> None:
    """A repair completes the Job; a halt fails it, at once where podFailurePolicy is known."""
    more, code, condition = JOBS[said]
    cluster.sql(planted(1, *more))
    objects = build("../ours/job")
    if not _knows_failure_policies(cluster):
        manifests.of_kind(objects, "Job")["spec"]["backoffLimit"] = 0
    cluster.apply([item for item in objects if item["kind"] != "NetworkPolicy"])
    cluster(
        "wait",
        f"--for=condition={condition}",
        "job/migration-sidecar",
        "--timeout=180s",
        timeout_s=200,
    )
    (pod,) = cluster.get("pods", "app.kubernetes.io/name=migration-sidecar")
    end = ended(pod) or {}
    assert end["exitCode"] == code
    assert end["message"].startswith(f"{said} (exit {code}): ")


def _knows_failure_policies(cluster: Cluster) -> bool:
    """Since Kubernetes 1.26."""
    explained = cluster("explain", "job.spec.podFailurePolicy", check=False)
    return explained.code == 0


def test_the_objects_are_what_a_user_would_apply(cluster: Cluster, build: Build) -> None:
    """The server takes all of them, the network policy too, in a restricted namespace."""
    for objects in (build.deployment(), build("../ours/job")):
        cluster.apply(objects)
    kinds = shlex.split("deployment/backend job/migration-sidecar networkpolicy/migration-sidecar")
    assert cluster("get", *kinds, "--output=name").code == 0
