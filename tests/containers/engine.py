"""A Docker Engine for the tests: the one that answers, or one of our own for as long as needed.

`python -m tests.containers.engine` keeps one until it is told to stop, so that several test
runs after each other need not start it anew (.ci/run does so).
"""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from tests.waiting import Answer, is_running, until

LABEL = "migration-sidecar.test"
STATE = Path("/run/migration-sidecar-tests")
START_TIMEOUT_S = 90.0
STOP_TIMEOUT_S = 30.0


class EngineMissingError(Exception):
    """No Docker Engine answers and none can be started here; the text says what to install."""


class Ended(NamedTuple):
    """A command that ended: exit code, standard output, standard error."""

    code: int
    out: str
    err: str

    @property
    def said(self) -> str:
        """Everything it printed."""
        return self.out + self.err


@dataclass(frozen=True, slots=True)
class Container:
    """A running (or ended) container of a test's own."""

    engine: Engine
    name: str

    def exec(
        self, *command: str, user: str | None = None, check: bool = True, stdin: str | None = None
    ) -> Ended:
        """Run a command in it; raises CalledProcessError where that fails, unless told not to."""
        options = ["--interactive"] if stdin is not None else []
        options += ["--user", user] if user else []
        return self.engine.docker("exec", *options, self.name, *command, check=check, stdin=stdin)

    def inspect(self, template: str) -> str:
        """What `docker inspect` says of it: `inspect("{{.State.ExitCode}}")`."""
        return self.engine.docker("inspect", "--format", template, self.name).out.strip()

    @property
    def logs(self) -> str:
        """Everything it has written so far, both streams."""
        return self.engine.docker("logs", self.name).said

    def wait(self) -> int:
        """Wait for its end; its exit code."""
        return int(self.engine.docker("wait", self.name).out)

    def address(self, network: str) -> str:
        """Its IP address in a network."""
        return self.inspect(f'{{{{(index .NetworkSettings.Networks "{network}").IPAddress}}}}')

    def remove(self) -> None:
        """Kill it and delete it with its anonymous volumes."""
        self.engine.docker("rm", "--force", "--volumes", self.name, check=False)


@dataclass(slots=True)
class Engine:
    """The engine, through its command line; what is made here is labelled and removed.

    `session` is the value of the label `migration-sidecar.test` on all of it.
    """

    session: str = field(default_factory=lambda: uuid.uuid4().hex[:12])
    environ: Mapping[str, str] = field(default_factory=dict)

    @property
    def label(self) -> str:
        """`name=value` for `--label` and for filters."""
        return f"{LABEL}={self.session}"

    def name(self, what: str) -> str:
        """A name that nobody else has: for containers, networks, volumes, projects."""
        return f"sidecar-test-{what}-{uuid.uuid4().hex[:8]}"

    def docker(
        self,
        *arguments: str,
        check: bool = True,
        stdin: str | None = None,
        timeout_s: float = 300,
    ) -> Ended:
        """Run the docker command line; raises CalledProcessError with its words in it."""
        return command(
            "docker",
            *arguments,
            environ=self.environ,
            check=check,
            stdin=stdin,
            timeout_s=timeout_s,
        )

    def run(
        self, image: str, *arguments: str, options: Sequence[str] = (), timeout_s: float = 120
    ) -> Ended:
        """Run a container to its end and remove it; its exit code and output.

        `docker run` says 125, 126, 127 where it could not start at all.
        """
        named = ("--rm", "--name", self.name("run"), "--label", self.label)
        return self.docker(
            "run", *named, *options, image, *arguments, check=False, timeout_s=timeout_s
        )

    @contextmanager
    def container(
        self, image: str, *arguments: str, options: Sequence[str] = ()
    ) -> Iterator[Container]:
        """A container in the background for the length of the block, removed with its volumes."""
        container = Container(self, self.name("container"))
        try:
            self.docker(
                *("run", "--detach", "--name", container.name, "--label", self.label),
                *options,
                image,
                *arguments,
            )
            yield container
        finally:
            container.remove()

    @contextmanager
    def network(self, *options: str) -> Iterator[str]:
        """The name of a bridge network for the length of the block."""
        name = self.name("network")
        self.docker("network", "create", "--label", self.label, *options, name)
        try:
            yield name
        finally:
            self.docker("network", "rm", name, check=False)

    def has_image(self, tag: str) -> bool:
        """Whether the engine has this image already; nothing is pulled."""
        return self.docker("image", "inspect", tag, check=False).code == 0

    def remove_leftovers(self) -> None:
        """Remove every container, network and volume of this session that is still there."""
        by_label = ("--filter", f"label={self.label}", "--quiet")
        for kind, remove in (
            ("container", ("rm", "--force", "--volumes")),
            ("network", ("rm",)),
            ("volume", ("rm", "--force")),
        ):
            listed = ("ls", "--all") if kind == "container" else ("ls",)
            names = self.docker(kind, *listed, *by_label, check=False).out.split()
            if names:
                self.docker(kind, *remove, *names, check=False)


def command(
    *arguments: str,
    environ: Mapping[str, str] | None = None,
    check: bool = True,
    stdin: str | None = None,
    timeout_s: float = 300,
    cwd: Path | None = None,
) -> Ended:
    """Run a program to its end, with `environ` added to ours.

    Raises CalledProcessError, its output added as a note, where it fails and `check` is set.
    """
    done = subprocess.run(
        arguments,
        env={**os.environ, **(environ or {})},
        input=stdin,
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
        cwd=cwd,
    )
    ended = Ended(done.returncode, done.stdout, done.stderr)
    if check and ended.code:
        error = subprocess.CalledProcessError(ended.code, arguments, ended.out, ended.err)
        error.add_note(ended.said[-4000:])
        raise error
    return ended


def wait_until(
    holds: Callable[[], Answer], *, timeout_s: float = 60, every_s: float = 0.1
) -> Answer:
    """As `until`, and less often: each question is a process."""
    return until(holds, timeout_s, every_s=every_s)


# --- an engine that answers ------------------------------------------------------------


@contextmanager
def running_engine() -> Iterator[Engine]:
    """An engine that answers for the length of the block. Raises EngineMissingError.

    One that we started is stopped when its last user, of several processes, has finished.
    """
    if shutil.which("docker") is None:
        raise EngineMissingError(
            "the docker command is missing; on Debian or Ubuntu: apt-get install docker.io"
        )
    with ExitStack() as stack:
        if _ours() or not _answers():
            stack.enter_context(_engine_of_our_own())
        engine = Engine()
        stack.callback(engine.remove_leftovers)
        yield engine


def _answers() -> bool:
    return command("docker", "version", check=False).code == 0


def _ours() -> bool:
    return (STATE / "pid").exists()


@contextmanager
def _engine_of_our_own() -> Iterator[None]:
    """Start dockerd unless another process of ours has; stop it after its last user.

    A user holds the shared lock of `users`; whoever gets it alone is the last one. `door`
    lets in one at a time, to start or to stop.
    """
    _refuse_what_cannot_work()
    STATE.mkdir(mode=0o700, exist_ok=True)
    with (STATE / "users").open("w") as users, (STATE / "door").open("w") as door:
        fcntl.flock(door, fcntl.LOCK_EX)
        fcntl.flock(users, fcntl.LOCK_SH)
        if not _answers():
            _start()
        fcntl.flock(door, fcntl.LOCK_UN)
        try:
            yield
        finally:
            fcntl.flock(door, fcntl.LOCK_EX)
            fcntl.flock(users, fcntl.LOCK_UN)
            with suppress(BlockingIOError):
                fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
                _stop()


def _refuse_what_cannot_work() -> None:
    if os.environ.get("DOCKER_HOST"):
        raise EngineMissingError(
            f"no Docker Engine answers at DOCKER_HOST={os.environ['DOCKER_HOST']}"
        )
    if sys.platform != "linux" or os.geteuid() != 0 or shutil.which("dockerd") is None:
        raise EngineMissingError(
            "no Docker Engine answers, and none can be started here (that takes root on Linux and"
            " dockerd; on Debian or Ubuntu: apt-get install docker.io): start one"
        )


_STARTED: list[subprocess.Popen[bytes]] = []
"""Kept, because Python complains of a process that is forgotten while it runs; it is stopped by
its id, perhaps by another test session."""


def _start() -> None:
    with (STATE / "log").open("wb") as log:
        process = subprocess.Popen(
            ["dockerd"],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    (STATE / "pid").write_text(str(process.pid))
    _STARTED.append(process)
    deadline = time.monotonic() + START_TIMEOUT_S
    while not _answers():
        if process.poll() is not None or time.monotonic() > deadline:
            _stop()
            tail = (STATE / "log").read_text(errors="replace").splitlines()[-8:]
            raise EngineMissingError("dockerd did not start: " + " / ".join(tail))
        time.sleep(0.1)


def _stop() -> None:
    """Stop the dockerd that one of us started, by its pid, and wait for it."""
    pidfile = STATE / "pid"
    if not pidfile.exists():
        return
    pid = int(pidfile.read_text())
    if is_running(pid) and Path(f"/proc/{pid}/comm").read_text().strip() == "dockerd":
        os.kill(pid, signal.SIGTERM)
        deadline = time.monotonic() + STOP_TIMEOUT_S
        while is_running(pid) and time.monotonic() < deadline:
            time.sleep(0.1)
    pidfile.unlink()


def _until_told() -> None:
    with running_engine():
        print("a Docker Engine answers", flush=True)  # noqa: T201 (what the caller waits for)
        signal.sigwait({signal.SIGTERM, signal.SIGINT})


if __name__ == "__main__":
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})
    _until_told()
