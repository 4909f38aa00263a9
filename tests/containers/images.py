"""The images that the container suites run: the base, and ours built on it.

An image is tagged by a hash of everything it is made from, so that it is built once for all
the sessions that need the same one, and a test never meets yesterday's.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from tempfile import gettempdir

from tests.containers.engine import LABEL, Ended, Engine, command

ROOT = Path(__file__).parents[2]
OFFICIAL_BASE = "python:3.13-slim"
LOCAL_BASE = "local/python:3.13-slim"
GIVEN_BASE = os.environ.get("SIDECAR_TEST_BASE_IMAGE")
"""Read before the tests scrub the environment."""

BUILT_FROM = (
    *("Dockerfile", ".dockerignore", "LICENSE", "README.md", "pyproject.toml"),
    *("requirements-build.lock", "requirements-runtime.lock", "requirements-sbom.lock"),
)


class Target(StrEnum):
    """The stages of the Dockerfile that are images of their own."""

    SLIM = "slim"
    EMBEDDED = "embedded"


class Builder(StrEnum):
    """The ways to build that an engine and its command line may know."""

    CLASSIC = "classic"
    BUILDKIT = "buildkit"


def base_image(engine: Engine) -> str:
    """The tag of the base: the given one, the official one, or one made from Debian's packages.

    That last one takes about 40 s, once, and needs root and mmdebstrap.
    """
    if GIVEN_BASE:
        return GIVEN_BASE
    for tag in (OFFICIAL_BASE, LOCAL_BASE):
        if engine.has_image(tag):
            return tag
    with alone("base"):
        if engine.has_image(LOCAL_BASE):
            return LOCAL_BASE
        if engine.docker("pull", "--quiet", OFFICIAL_BASE, check=False, timeout_s=600).code == 0:
            return OFFICIAL_BASE
        if shutil.which("mmdebstrap") is None:
            raise FileNotFoundError(
                f"{OFFICIAL_BASE} cannot be pulled, and mmdebstrap, which would make one like it,"
                " is missing; on Debian or Ubuntu: apt-get install mmdebstrap"
            )
        command(str(ROOT / ".ci" / "base-image"), LOCAL_BASE, timeout_s=600)
        return LOCAL_BASE


def sidecar_image(engine: Engine, target: Target = Target.SLIM) -> str:
    """The tag of our image, built if need be."""
    base = base_image(engine)
    tag = f"migration-sidecar:test-{target}-{_fingerprint(engine, base)}"
    with alone(target):
        if not engine.has_image(tag):
            build(engine, ROOT, tag=tag, target=target, arguments={"BASE_IMAGE": base})
    return tag


def build(
    engine: Engine,
    context: Path,
    *,
    tag: str,
    target: str | None = None,
    arguments: Mapping[str, str] | None = None,
    builder: Builder | None = None,
) -> Ended:
    """Build a context into a tag, with BuildKit where it is there, or with the given builder."""
    options = [
        word
        for name, value in (arguments or {}).items()
        for word in ("--build-arg", f"{name}={value}")
    ]
    options += ["--target", target] if target else []
    program = docker_with_buildkit() if builder is not Builder.CLASSIC else None
    if builder is Builder.BUILDKIT and program is None:
        raise FileNotFoundError(
            "no docker command here builds with BuildKit; on Debian or Ubuntu: apt-get install"
            " docker-buildx (trixie or newer) or docker.io (bookworm)"
        )
    return command(
        *(program or "docker", "build", "--tag", tag, "--label", f"{LABEL}=image"),
        *options,
        str(context),
        environ={**engine.environ, "DOCKER_BUILDKIT": "1" if program else "0"},
        timeout_s=900,
    )


def docker_with_buildkit() -> str | None:
    """A docker command that builds with BuildKit: newer ones need the plugin buildx for it."""
    for folder in os.environ["PATH"].split(os.pathsep):
        program = shutil.which("docker", path=folder)
        if (
            program
            and not command(
                program, "build", "--help", environ={"DOCKER_BUILDKIT": "1"}, check=False
            ).code
        ):
            return program
    return None


def _fingerprint(engine: Engine, base: str) -> str:
    """A hash of the base and of every file that goes into the build."""
    if not engine.has_image(base):
        engine.docker("pull", "--quiet", base)
    digest = hashlib.sha256(
        engine.docker("image", "inspect", "--format", "{{.Id}}", base).out.encode()
    )
    package = (path for path in (ROOT / "sidecar").rglob("*") if "__pycache__" not in path.parts)
    for path in (*(ROOT / name for name in BUILT_FROM), *sorted(package)):
        if path.is_file():
            digest.update(f"{path.relative_to(ROOT)}\0".encode())
            digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


@contextmanager
def alone(what: str) -> Iterator[None]:
    """One process at a time: the workers of a session all want the same image."""
    name = f"migration-sidecar-tests-{os.geteuid()}-{what}.lock"
    with Path(gettempdir(), name).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
