"""What the tests take from npm: PostgreSQL 13 to 18, and Prisma's own command line.

`python -m tests.node` installs it, from the lock file; a second call does nothing.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import platform
import shutil
import subprocess
from pathlib import Path

ROOT = Path(__file__).parent / "npm"
MODULES = ROOT / "node_modules"
ARCHITECTURES = {"x86_64": "x64", "amd64": "x64", "aarch64": "arm64", "arm64": "arm64"}


class NodeMissingError(Exception):
    """`node` and `npm` are not on the PATH."""


def is_present() -> bool:
    """Whether this machine has node and npm; in CI their absence is a failure, not a no."""
    present = bool(shutil.which("node") and shutil.which("npm"))
    if not present and os.environ.get("CI") == "true":
        raise NodeMissingError("CI must have node and npm: without them most tests do not run")
    return present


def install() -> Path:
    """`npm ci` unless what is there comes from this very lock file; returns node_modules."""
    wanted = hashlib.sha256((ROOT / "package-lock.json").read_bytes()).hexdigest()
    stamp = MODULES / ".installed"
    with (ROOT / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # several test workers start at once
        if not stamp.exists() or stamp.read_text() != wanted:
            subprocess.run(["npm", "ci", "--loglevel=error"], cwd=ROOT, check=True)
            for major in postgres_majors():
                _link_libraries(_postgres_package(major))
            stamp.write_text(wanted)
    return MODULES


def postgres_majors() -> tuple[int, ...]:
    """The versions of PostgreSQL which are pinned for this machine's architecture."""
    packages = json.loads((ROOT / "package.json").read_text())["optionalDependencies"]
    suffix = f"-{ARCHITECTURES.get(platform.machine().lower(), '')}"
    names = sorted(name for name in packages if name.endswith(suffix))
    return tuple(int(name.removesuffix(suffix).removeprefix("pg")) for name in names)


def postgres_bindir(major: int) -> Path:
    """The directory with `initdb` and `postgres` of that version, installed if need be."""
    install()
    return _postgres_package(major) / "native" / "bin"


def _postgres_package(major: int) -> Path:
    return MODULES / f"pg{major}-{ARCHITECTURES[platform.machine().lower()]}"


def _link_libraries(package: Path) -> None:
    """Make the links which an npm archive cannot carry (the package lists them itself)."""
    for link in json.loads((package / "native" / "pg-symlinks.json").read_text()):
        target, source = package / link["target"], package / link["source"]
        if not os.path.lexists(target):
            target.symlink_to(os.path.relpath(source, target.parent))


if __name__ == "__main__":
    install()
