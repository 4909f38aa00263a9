"""One PostgreSQL server as our own child: its directory, its start, its end.

The server is a plain child process on a unix socket in a directory of its own; nothing is
installed, no account is created, and nothing outlives the run:

- it is stopped by its pid when its user is done, however that ends;
- on Linux the kernel stops it when we are killed (PR_SET_PDEATHSIG);
- a directory left by a killed run is removed by the next one, which knows it by its lock.
"""

from __future__ import annotations

import fcntl
import os
import pwd
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from sidecar.errors import ShadowError

__all__ = ["STOP_TIMEOUT_S", "SUPERUSER", "Cluster", "copy_tree"]

SUPERUSER = "postgres"
PREFIX = "sidecar-pg-"
START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 10.0


@dataclass(frozen=True, slots=True)
class Cluster:
    """A directory of our own with one data directory, the socket and the server's log.

    `lock` is an open file whose lock says that the owner lives; the kernel frees it.
    """

    home: Path
    bindir: Path
    account: pwd.struct_passwd | None
    lock: int
    port: int = 5432

    @classmethod
    def create(
        cls, directory: Path | None = None, *, bindir: Path, port: int = 5432, prefix: str = PREFIX
    ) -> Cluster:
        """Make the directory, after removing what killed runs left beside it.

        Raises ShadowError where no directory can be made.
        """
        account = _account()
        try:
            parent = Path(directory or tempfile.gettempdir())
            _remove_leftovers(parent, prefix)
            home = Path(tempfile.mkdtemp(prefix=prefix, dir=parent))
        except OSError as error:
            what = f"the private PostgreSQL has no place for its files: {error.strerror or error}"
            raise ShadowError(what, next_steps=("make /tmp writable (--tmpfs /tmp)",)) from error
        lock = os.open(home / "owner.lock", os.O_CREAT | os.O_RDWR, 0o600)
        fcntl.flock(lock, fcntl.LOCK_EX)
        if account:
            os.chown(home, account.pw_uid, account.pw_gid)
        return cls(home, bindir, account, lock, port)

    @property
    def data(self) -> Path:
        return self.home / "data"

    @property
    def log(self) -> Path:
        return self.home / "server.log"

    @property
    def major(self) -> int:
        return int((self.data / "PG_VERSION").read_text())

    @property
    def programs(self) -> Path:
        """Where the server's account finds the binaries: a copy, where it may not see ours.

        A checkout under root's own home directory (mode 0700) is the usual case.
        """
        folders = (self.bindir.resolve(), *self.bindir.resolve().parents)
        if self.account is None or all(path.stat().st_mode & stat.S_IXOTH for path in folders):
            return self.bindir
        package = self.bindir.parents[1]
        return self.home / "copy" / self.bindir.relative_to(package.parent)

    def initialise(self, *options: str) -> None:
        """Run `initdb` (about 0.7 s); `options` are added to its own."""
        _refuse_an_account_without_a_name()
        if self.programs != self.bindir:
            _copy_package(self.bindir.parents[1], self.home / "copy")
        basics = ("-U", SUPERUSER, "-A", "trust", "-E", "UTF8", "--locale=C")
        cheap = ("--no-sync", "--wal-segsize=1")
        process = self._spawn("initdb", "-D", str(self.data), *basics, *cheap, *options)
        try:
            with suppress(subprocess.TimeoutExpired):
                process.wait(START_TIMEOUT_S)
        finally:
            process.kill()  # does nothing to one that has ended
        if code := process.wait():
            raise self._failure(f"initdb ended with code {code}")

    def take(self, prepared: Path) -> None:
        """Copy what `prepare` made, in place of `initdb` (about 0.1 s)."""
        try:
            copy_tree(prepared, self.data)
        except OSError as error:
            raise ShadowError(f"cannot copy {prepared}: {error.strerror or error}") from error
        self.data.chmod(0o700)  # PostgreSQL starts on nothing else
        if self.account:
            for path in (self.data, *self.data.rglob("*")):
                os.chown(path, self.account.pw_uid, self.account.pw_gid)

    def start(self, settings: Mapping[str, str]) -> subprocess.Popen[bytes]:
        """Start the server and return its process once it accepts connections."""
        place = {"port": str(self.port), "unix_socket_directories": str(self.home)}
        options = [f"--{name}={value}" for name, value in (place | dict(settings)).items()]
        process = self._spawn("postgres", "-D", str(self.data), *options)
        try:
            self._wait_until_ready(process)
        except BaseException:
            self.stop(process, signal.SIGQUIT)
            raise
        return process

    def stop(self, process: subprocess.Popen[bytes], how: signal.Signals = signal.SIGINT) -> None:
        """Stop the server and wait; SIGKILL where it takes more than STOP_TIMEOUT_S.

        SIGINT is PostgreSQL's fast shutdown, which waits for no client, SIGQUIT the immediate
        one, which writes nothing more (its chapter "Shutting Down the Server").
        """
        process.send_signal(how)  # does nothing to one that has ended
        try:
            process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def remove(self) -> None:
        """Delete the directory; the server must be stopped."""
        shutil.rmtree(self.home, ignore_errors=True)
        os.close(self.lock)

    def _wait_until_ready(self, process: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + START_TIMEOUT_S
        while not _says_ready(self.data / "postmaster.pid", process.pid):
            if process.poll() is not None:
                raise self._failure(f"postgres ended with code {process.returncode}")
            if time.monotonic() > deadline:
                raise self._failure(f"postgres was not ready after {START_TIMEOUT_S:.0f} s")
            time.sleep(0.01)

    def _spawn(self, program: str, *arguments: str) -> subprocess.Popen[bytes]:
        """Start one of the binaries in the server's account, its output appended to the log.

        A session of its own keeps Ctrl-C at the terminal from stopping it before we have
        finished with it; its environment is ours to state, so nobody's PGDATA gets in.
        """
        command, identity = self.programs / program, self.account
        try:
            with self.log.open("ab") as log:
                return subprocess.Popen(  # noqa: S603 (our own binaries, no shell)
                    [command, *arguments],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    cwd=self.home,
                    env={"LC_ALL": "C", "TZ": "UTC"},
                    start_new_session=True,
                    preexec_fn=_die_with_parent(),  # noqa: PLW1509 (one system call, no locks)
                    user=identity.pw_uid if identity else None,
                    group=identity.pw_gid if identity else None,
                    extra_groups=() if identity else None,
                )
        except OSError as error:
            raise ShadowError(f"cannot run {command}: {error.strerror or error}") from error

    def _failure(self, what: str) -> ShadowError:
        tail = self.log.read_text(errors="replace").strip().splitlines()[-8:]
        return ShadowError(f"the private PostgreSQL did not start: {what}: {' / '.join(tail)}")


def copy_tree(source: Path, target: Path) -> None:
    """Copy contents and nothing else: anybody may read the copy of what he may read."""
    target.mkdir()
    for entry in os.scandir(source):
        if entry.is_dir():
            copy_tree(Path(entry.path), target / entry.name)
        else:
            shutil.copyfile(entry.path, target / entry.name)


def _account() -> pwd.struct_passwd | None:
    """The account to drop to, because PostgreSQL refuses root, or None where ours will do."""
    if os.geteuid() != 0:
        return None
    try:
        return pwd.getpwnam("nobody")
    except KeyError:
        what = "PostgreSQL does not run as root, and there is no account 'nobody' to run it as"
        raise ShadowError(what, next_steps=("run as any other account",)) from None


def _refuse_an_account_without_a_name() -> None:
    """The server itself runs in any account; `initdb` looks its name up."""
    try:
        pwd.getpwuid(os.geteuid())
    except KeyError:
        raise ShadowError(
            f"initdb needs a line in the passwd file for {os.geteuid()}: there is none",
            next_steps=("add that line, or grant CREATEDB, or set SHADOW_DATABASE_URL",),
        ) from None


def _copy_package(package: Path, target: Path) -> None:
    """Copy it with the libraries beside it (`NAME.libs`, where auditwheel puts them)."""
    for folder in (package, package.with_name(f"{package.name}.libs")):
        if folder.exists():
            shutil.copytree(folder, target / folder.name, symlinks=True)


def _says_ready(pidfile: Path, pid: int) -> bool:
    """Whether this very server has written `ready` (miscadmin.h, LOCK_FILE_LINE_PM_STATUS)."""
    with suppress(FileNotFoundError):
        lines = pidfile.read_text().splitlines()
        return len(lines) > 7 and lines[0] == str(pid) and lines[7].strip() == "ready"  # noqa: PLR2004
    return False


def _die_with_parent() -> Callable[[], None] | None:
    """What the child calls before it becomes PostgreSQL, or None off Linux.

    SIGQUIT is PostgreSQL's immediate shutdown, which ends all its processes. To the kernel
    the parent is the thread that starts the server, so that thread must outlive it. The
    library is loaded here, before the fork, where it is safe to do so.
    """
    if sys.platform != "linux":
        return None
    import ctypes

    prctl, set_death_signal = ctypes.CDLL(None).prctl, 1  # PR_SET_PDEATHSIG, linux/prctl.h
    return lambda: prctl(set_death_signal, int(signal.SIGQUIT))


def _remove_leftovers(parent: Path, prefix: str) -> None:
    """Remove the directories of killed runs: ours by name, their lock free.

    A data directory is made after the lock is taken: none that is being set up is met here.
    """
    for data in parent.glob(f"{prefix}*/data"):
        with suppress(OSError):
            home = data.parent
            lock = os.open(home / "owner.lock", os.O_RDWR | os.O_NOFOLLOW)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(home, ignore_errors=True)
            finally:
                os.close(lock)
