"""The manifests of deploy/kubernetes as values, and the rules of a restricted cluster."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from textwrap import dedent
from typing import Any

import yaml

from tests.containers import debian
from tests.containers.engine import command

ROOT = Path(__file__).parents[2]
KUBERNETES = ROOT / "deploy" / "kubernetes"
GUIDE = ROOT / "docs" / "kubernetes.md"
KUSTOMIZATIONS = ("initcontainer", "job")

Object = dict[str, Any]

VOLUMES = frozenset(
    "configMap csi downwardAPI emptyDir ephemeral image persistentVolumeClaim projected"
    " secret".split()
)
"""Kinds of volumes that the profile allows; `image` since Kubernetes 1.31."""


class KustomizeMissingError(Exception):
    """There is no kustomize that knows components; the text says what to install."""


def read(path: Path) -> list[Object]:
    """The objects in a file."""
    return objects(path.read_text())


def objects(text: str) -> list[Object]:
    """The objects in a text, of which `---` separates several."""
    return [found for found in yaml.safe_load_all(text) if found]


def in_the_guide() -> Iterator[Object]:
    """The objects that the guide shows in full."""
    fenced = re.compile(r"^ *```yaml\n(.*?)^ *```$", re.DOTALL | re.MULTILINE)
    for block in fenced.findall(GUIDE.read_text()):
        if "{{" not in block:  # a template is not YAML yet
            yield from (found for found in objects(dedent(block)) if "apiVersion" in found)


def built(directory: Path) -> list[Object]:
    """What `kustomize build` makes of a directory. CalledProcessError where it refuses."""
    return objects(command(*kustomize(), str(directory)).out)


@cache
def kustomize() -> tuple[str, ...]:
    """The command which builds a directory. Raises KustomizeMissingError."""
    if shutil.which("kustomize"):
        return ("kustomize", "build")
    if shutil.which("kubectl") and "Kustomize Version: v5" in _said_by_kubectl():
        return ("kubectl", "kustomize")
    if debian.is_at_hand():
        return (str(debian.program("kustomize", "usr/bin/kustomize")), "build")
    raise KustomizeMissingError(
        "kustomize 5 is missing, alone or in kubectl (1.27 and newer); Debian 13 has both"
    )


def _said_by_kubectl() -> str:
    return command("kubectl", "version", "--client", check=False).out


def of_kind(found: Sequence[Object], kind: str) -> Object:
    """The only object of that kind."""
    (only,) = (item for item in found if item["kind"] == kind)
    return only


def pod_of(workload: Object) -> Object:
    """The pod's specification in a Deployment or a Job."""
    pod: Object = workload["spec"]["template"]["spec"]
    return pod


def container(pod: Object, name: str) -> Object:
    """The container of that name, initial or not."""
    (only,) = (item for item in _containers(pod) if item["name"] == name)
    return only


def breaches(pod: Object) -> list[str]:
    """What the restricted profile would object to, a sentence each.

    https://kubernetes.io/docs/concepts/security/pod-security-standards (baseline and restricted)
    """
    at_pod: Object = pod.get("securityContext", {})
    found = [
        f"{field} is true" for field in ("hostNetwork", "hostPID", "hostIPC") if pod.get(field)
    ]
    found += [f"sysctl {item['name']}" for item in at_pod.get("sysctls", ())]
    for volume in pod.get("volumes", ()):
        kinds = set(volume) - {"name"}
        found += [f"volume {volume['name']} is of kind {kind}" for kind in kinds - VOLUMES]
    for item in _containers(pod):
        found += [f"{item['name']}: {what}" for what in _breaches_of(item, at_pod)]
    return found


def _containers(pod: Object) -> list[Object]:
    return [*pod.get("initContainers", ()), *pod["containers"]]


def _breaches_of(item: Object, at_pod: Mapping[str, Any]) -> Iterator[str]:
    own: Object = item.get("securityContext", {})
    effective = {**at_pod, **own}  # a container's own word wins over the pod's
    capabilities = own.get("capabilities", {})
    if own.get("privileged"):
        yield "privileged"
    if own.get("allowPrivilegeEscalation") is not False:
        yield "allowPrivilegeEscalation is not false"
    if capabilities.get("drop") != ["ALL"] or set(capabilities.get("add", ())) - {
        "NET_BIND_SERVICE"
    }:
        yield "capabilities are not dropped"
    if effective.get("runAsNonRoot") is not True or effective.get("runAsUser") == 0:
        yield "may run as root"
    if effective.get("seccompProfile", {}).get("type") not in {"RuntimeDefault", "Localhost"}:
        yield "no seccompProfile"
    if any("hostPort" in port for port in item.get("ports", ())):
        yield "hostPort"
    if own.get("procMount", "Default") != "Default":
        yield "procMount"
