"""Kustomizations as users write them: ours, with their images, settings and changes."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import yaml

from tests.containers import manifests, stack_images
from tests.containers.engine import Engine
from tests.containers.manifests import KUBERNETES, Object
from tests.containers.pods_incident import backend_image

SIDECAR = "migration-sidecar"


@dataclass(frozen=True, slots=True)
class Images:
    """The tags of the three images, as manifests name them."""

    sidecar: str
    backend: str
    postgres: str


def built_images(engine: Engine, sidecar_image: str) -> Images:
    """The sidecar's image, a backend with the scripts of the incident, and a PostgreSQL."""
    return Images(sidecar_image, backend_image(engine), stack_images.postgres_image(engine))


class Build:
    """Kustomizations as users write them."""

    def __init__(self, images: Images, folder: Path) -> None:
        self._images = images
        self._ours = folder / "ours"
        self._mine = folder / "mine"
        self._mine.mkdir()
        shutil.copytree(KUBERNETES, self._ours)

    def __call__(self, *resources: str, **more: object) -> list[Object]:
        """What kustomize makes of these resources with our images, and what else is given."""
        lines = {
            "resources": resources,
            "images": [
                _image("registry.example/migration-sidecar", self._images.sidecar),
                _image("registry.example/backend", self._images.backend),
            ],
        }
        (self._mine / "kustomization.yaml").write_text(yaml.safe_dump(lines | more))
        return manifests.built(self._mine)

    def deployment(self, *changes: Object, **settings: str) -> list[Object]:
        """deploy/kubernetes/initcontainer with these changes and settings."""
        patch = {"target": {"kind": "Deployment"}, "patch": yaml.safe_dump(list(changes))}
        literals = [f"{name}={value}" for name, value in settings.items()]
        return self(
            "../ours/initcontainer",
            patches=[patch] if changes else [],
            configMapGenerator=[{"name": SIDECAR, "literals": literals}] if literals else [],
        )

    def with_component(self) -> list[Object]:
        """A Deployment that knows nothing of us, with the component."""
        (bare,) = manifests.read(KUBERNETES / "initcontainer" / "deployment.yaml")
        pod = manifests.pod_of(bare)
        del pod["initContainers"], pod["volumes"]
        (self._mine / "deployment.yaml").write_text(yaml.safe_dump(bare))
        return self("deployment.yaml", components=["../ours/component"])


def _image(name: str, tag: str) -> Object:
    new_name, _, new_tag = tag.rpartition(":")
    return {"name": name, "newName": new_name, "newTag": new_tag}


def changed(number: int, field: str, value: object) -> Object:
    """One change of an init container: by its place, which a patch by name would not keep."""
    path = f"/spec/template/spec/initContainers/{number}/{field}"
    return {"op": "replace", "path": path, "value": value}
