"""Single programs of a newer Debian, for the tests alone; the system stays as it is."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from pathlib import Path

from tests.containers.engine import command

CACHE = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
SOURCE = f"deb [signed-by={KEYRING}] http://deb.debian.org/debian trixie main\n"


def is_at_hand() -> bool:
    """Whether packages can be fetched, and their signatures be checked."""
    return bool(shutil.which("apt-get")) and KEYRING.exists()


def program(package: str, path: str) -> Path:
    """The program at `path` of a package of Debian 13, unpacked once for all test runs.

    For programs in Go, which run on older systems too.
    """
    folder = CACHE / "migration-sidecar-tests" / package
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / path).exists():
            with tempfile.TemporaryDirectory() as scratch:
                _unpack(package, Path(scratch), folder)
    return folder / path


def _unpack(package: str, scratch: Path, folder: Path) -> None:
    """Fetch it with an apt of its own settings, which checks signatures."""
    for name in ("lists/partial", "cache/archives/partial", "etc"):
        (scratch / name).mkdir(parents=True)
    (scratch / "status").touch()
    (scratch / "etc" / "sources.list").write_text(SOURCE)
    settings = {
        "Dir::Etc": scratch / "etc",
        "Dir::State::lists": scratch / "lists",
        "Dir::State::status": scratch / "status",
        "Dir::Cache": scratch / "cache",
        "Acquire::Languages": "none",
        "APT::Sandbox::User": "root",
    }
    options = [word for name, value in settings.items() for word in ("-o", f"{name}={value}")]
    command("apt-get", *options, "--quiet", "update", cwd=scratch)
    command("apt-get", *options, "--quiet", "download", package, cwd=scratch)
    (archive,) = scratch.glob(f"{package}_*.deb")
    command("dpkg", "--extract", str(archive), str(folder))
