"""The manifests of deploy/kubernetes: valid, restricted, and saying one thing everywhere.

Needs no cluster and no network. What takes `kustomize` is marked `pods`, as the suite which
has it; the rest runs with `make test`.
"""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from sidecar.errors import ExitCode
from tests.containers import manifests
from tests.containers.manifests import KUBERNETES, KUSTOMIZATIONS, Object

VERSIONS = ("1.29", "1.31", "1.34", "1.37")
"""Of the API: the oldest that clouds still give, to the newest."""

COMPLETE = sorted(
    path
    for path in KUBERNETES.rglob("*.yaml")
    if path.name != "kustomization.yaml" and path.parent.name != "component"
)
WORKLOADS = {
    "initcontainer": KUBERNETES / "initcontainer" / "deployment.yaml",
    "job": KUBERNETES / "job" / "job.yaml",
}
INIT_CONTAINERS = ("copy-migrations", "migration-sidecar")


def valid(found: Object, version: str) -> None:
    """Raise unless that version of the API takes it, and knows every field of it."""
    import kubernetes_validate

    kubernetes_validate.validate(found, version, strict=True)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("path", COMPLETE, ids=lambda path: str(path.relative_to(KUBERNETES)))
def test_each_version_of_the_api_takes_it(path: Path, version: str) -> None:
    """Every object is valid, with no field that this version of Kubernetes does not know."""
    for found in manifests.read(path):
        valid(found, version)


def test_what_the_guide_shows_in_full_is_valid() -> None:
    """A reader may copy any whole object out of docs/kubernetes.md."""
    shown = list(manifests.in_the_guide())
    assert shown
    for found in shown:
        if not found["apiVersion"].startswith("kustomize"):
            valid(found, VERSIONS[-1])


def test_a_wrong_field_is_found() -> None:
    """The check itself: a misspelt field does not pass."""
    (job,) = manifests.read(WORKLOADS["job"])
    job["spec"]["template"]["spec"]["initContainer"] = []
    with pytest.raises(Exception, match="initContainer"):
        valid(job, VERSIONS[-1])


@pytest.mark.parametrize("path", WORKLOADS.values(), ids=WORKLOADS)
def test_the_restricted_profile_admits_it(path: Path) -> None:
    """A namespace with `pod-security.kubernetes.io/enforce: restricted` takes the pods."""
    (workload,) = manifests.read(path)
    assert manifests.breaches(manifests.pod_of(workload)) == []


HOST_PATH = {"name": "v", "hostPath": {"path": "/"}}
LOOSENED_POD: list[tuple[dict[str, Any], str]] = [
    ({"hostNetwork": True}, "hostNetwork is true"),
    ({"volumes": [HOST_PATH]}, "volume v is of kind hostPath"),
    ({"securityContext": {}}, "migration-sidecar: may run as root"),
]
LOOSENED_CONTAINER: list[tuple[dict[str, Any], str]] = [
    ({"runAsUser": 0}, "may run as root"),
    ({"privileged": True}, "privileged"),
    ({"capabilities": {"drop": []}}, "capabilities are not dropped"),
    ({"allowPrivilegeEscalation": None}, "allowPrivilegeEscalation is not false"),
    ({"seccompProfile": {}}, "no seccompProfile"),
]


@pytest.mark.parametrize(("change", "breach"), LOOSENED_POD, ids=lambda value: str(value)[:30])
def test_a_loose_pod_is_found(change: Object, breach: str) -> None:
    """The check itself: each rule that the pod loosens is named."""
    (job,) = manifests.read(WORKLOADS["job"])
    assert breach in manifests.breaches(manifests.pod_of(job) | change)


@pytest.mark.parametrize(
    ("change", "breach"), LOOSENED_CONTAINER, ids=lambda value: str(value)[:30]
)
def test_a_loose_container_is_found(change: Object, breach: str) -> None:
    """The check itself: each rule that a container loosens is named."""
    (job,) = manifests.read(WORKLOADS["job"])
    pod = manifests.pod_of(job)
    own = manifests.container(pod, "migration-sidecar")
    own["securityContext"] = own["securityContext"] | change
    assert manifests.breaches(pod) == [f"migration-sidecar: {breach}"]


@pytest.mark.parametrize("path", WORKLOADS.values(), ids=WORKLOADS)
def test_the_sidecar_can_write_nothing_and_ask_nobody(path: Path) -> None:
    """Read-only root, read-only scripts, no token of the API, no role: RBAC-free."""
    (workload,) = manifests.read(path)
    pod = manifests.pod_of(workload)
    sidecar = manifests.container(pod, "migration-sidecar")
    assert pod["automountServiceAccountToken"] is False
    assert "serviceAccountName" not in pod
    assert sidecar["securityContext"]["readOnlyRootFilesystem"] is True
    assert [mount["readOnly"] for mount in sidecar["volumeMounts"]] == [True]


def test_all_three_start_the_same_containers() -> None:
    """The component, the Deployment and the Job differ in what surrounds the sidecar only."""
    pods = {name: manifests.pod_of(manifests.read(path)[0]) for name, path in WORKLOADS.items()}
    (patch,) = manifests.read(KUBERNETES / "component" / "sidecar.yaml")
    pods["component"] = manifests.pod_of(patch)

    def essence(pod: Object, name: str) -> Object:
        if "containers" not in pod:
            pod = {**pod, "containers": []}
        item = dict(manifests.container(pod, name))
        item["securityContext"] = pod.get("securityContext", {}) | item["securityContext"]
        if name == "copy-migrations":
            del item["image"]
        return item

    for name in INIT_CONTAINERS:
        made = [yaml.safe_dump(essence(pod, name)) for pod in pods.values()]
        assert len(set(made)) == 1, made
    assert len({yaml.safe_dump(pod["volumes"]) for pod in pods.values()}) == 1


def test_no_secret_is_applied_by_accident() -> None:
    """No kustomization holds a Secret: a placeholder must not overwrite the real one."""
    for path in KUBERNETES.rglob("kustomization.yaml"):
        resources = yaml.safe_load(path.read_text()).get("resources", ())
        found = [item for name in resources for item in manifests.read(path.parent / name)]
        assert "Secret" not in {item["kind"] for item in found}


def test_what_needs_a_person_is_not_tried_again() -> None:
    """The Job fails at once for settings (2) and halts (3), and tries all else again."""
    (job,) = manifests.read(WORKLOADS["job"])
    (rule,) = job["spec"]["podFailurePolicy"]["rules"]
    codes = rule["onExitCodes"]
    assert (rule["action"], codes["operator"]) == ("FailJob", "In")
    assert codes["values"] == [ExitCode.USAGE, ExitCode.HALTED]
    pod = manifests.pod_of(job)
    assert codes["containerName"] in {item["name"] for item in pod["containers"]}


# --- built by kustomize -----------------------------------------------------------------


@pytest.fixture
def overlay(tmp_path: Path) -> Path:
    """A kustomization of a user's own beside a copy of ours, with one bare Deployment."""
    (tmp_path / "ours").symlink_to(KUBERNETES)
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "deployment.yaml").write_text(yaml.safe_dump(bare_deployment("shop")))
    (mine / "kustomization.yaml").write_text(
        "resources: [deployment.yaml]\n"
        "components: [../ours/component]\n"
        "images:\n"
        "  - { name: shop, newName: registry.example/shop, newTag: '7' }\n"
        "  - { name: registry.example/migration-sidecar, newTag: 1.2.3 }\n"
    )
    return mine


def bare_deployment(name: str) -> Object:
    """A Deployment which knows nothing of us, with an init container of its own."""
    own = {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "runAsNonRoot": True,
        "runAsUser": 1000,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    pod = {
        "initContainers": [{"name": "warm-up", "image": "other", "securityContext": own}],
        "containers": [{"name": name, "image": name, "securityContext": own}],
    }
    labels = {"app": name}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name},
        "spec": {
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": pod},
        },
    }


@pytest.mark.pods
@pytest.mark.parametrize("name", KUSTOMIZATIONS)
def test_what_kustomize_builds_is_valid_and_restricted(name: str) -> None:
    """`kubectl apply --kustomize` sends what the files promise, each image with a version."""
    found = manifests.built(KUBERNETES / name)
    for item in found:
        for version in VERSIONS:
            valid(item, version)
    pod = manifests.pod_of(manifests.of_kind(found, "Deployment" if "init" in name else "Job"))
    assert manifests.breaches(pod) == []
    for item in (*pod["initContainers"], *pod["containers"]):
        assert ":" in item["image"], item["image"]


@pytest.mark.pods
def test_the_component_goes_into_any_deployment(overlay: Path) -> None:
    """Ours come first, the scripts from the image that will start; the rest stays as it was."""
    pod = manifests.pod_of(manifests.of_kind(manifests.built(overlay), "Deployment"))
    valid(manifests.of_kind(manifests.built(overlay), "Deployment"), VERSIONS[-1])
    names = [item["name"] for item in pod["initContainers"]]
    assert names == [*INIT_CONTAINERS, "warm-up"]
    images = {item["name"]: item["image"] for item in (*pod["initContainers"], *pod["containers"])}
    assert images["copy-migrations"] == images["shop"] == "registry.example/shop:7"
    assert images["migration-sidecar"] == "registry.example/migration-sidecar:1.2.3"
    assert manifests.breaches(pod) == []
    assert "securityContext" not in pod


@pytest.mark.pods
def test_the_component_does_not_guess(overlay: Path) -> None:
    """With two Deployments it cannot know whose image has the scripts, and is refused."""
    second = yaml.safe_dump(bare_deployment("other"))
    with (overlay / "deployment.yaml").open("a") as file:
        file.write(f"---\n{second}")
    with pytest.raises(subprocess.CalledProcessError) as refused:
        manifests.built(overlay)
    assert "multiple matches" in refused.value.stderr


@pytest.mark.pods
def test_what_the_guide_says_to_write_can_be_built(tmp_path: Path) -> None:
    """Each kustomization of docs/kubernetes.md builds, and the sidecar comes after the copy."""
    (tmp_path / "deploy").symlink_to(KUBERNETES.parent)
    (tmp_path / "deployment.yaml").write_text(yaml.safe_dump(bare_deployment("shop")))
    shown = [item for item in manifests.in_the_guide() if item["kind"] == "Kustomization"]
    assert shown
    for kustomization in shown:
        (tmp_path / "kustomization.yaml").write_text(yaml.safe_dump(kustomization))
        found = manifests.built(tmp_path)
        (workload,) = (item for item in found if item["kind"] in {"Deployment", "Job"})
        pod = manifests.pod_of(workload)
        names = [item["name"] for item in (*pod["initContainers"], *pod["containers"])]
        assert names[:2] == [*INIT_CONTAINERS]
        valid(workload, VERSIONS[-1])
