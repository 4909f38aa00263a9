"""The one door to the Docker Engine: only this module knows its SDK.

It asks for what is listed in docs/docker.md and for nothing else, so that a proxy in front
of the socket can refuse the rest. The SDK (with `requests` behind it) is the extra `docker`
and costs as much as a whole healthy run: import this module only where it was asked for.
"""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, TypeVar
from urllib.parse import urlsplit

from sidecar.containers import PROJECT, SERVICE, Container, container_of, processes_of
from sidecar.errors import EngineError

try:
    import docker
    from docker.errors import APIError, DockerException, NotFound
    from docker.tls import TLSConfig
except ImportError as _error:
    raise EngineError(
        "the package `docker` is not installed",
        next_steps=("pip install 'migration-sidecar[docker]' (the image has it)",),
    ) from _error

__all__ = ["Engine", "Way", "connected"]

T = TypeVar("T")

_TIMEOUT_S = 10.0
_ROOTFUL = "/var/run/docker.sock"
_WHOLE_LINES = "-ef ww"
"""For the `ps` that the engine runs, which may have been started in a narrow terminal."""
_FORBIDDEN = 403
_CONFLICT = 409


class Way(NamedTuple):
    """How the engine is reached, as Docker's own variables say it; empty where not set."""

    host: str = ""
    tls_verify: str = ""
    cert_path: str = ""


class Engine:
    """An engine that answers; what it cannot do, nobody else in the package can."""

    def __init__(self, client: docker.APIClient, url: str) -> None:
        self._client = client
        self._url = url

    @property
    def host(self) -> str:
        """The machine that it runs on, '' for this one."""
        parts = urlsplit(self._url)
        return "" if parts.scheme == "unix" else parts.hostname or ""

    def labels(self) -> list[Mapping[str, str]]:
        """The labels of every container that compose made. Raises `EngineError`."""
        said = self._asked(lambda: self._client.containers(all=True, filters={"label": PROJECT}))
        return [summary.get("Labels") or {} for summary in said]

    def containers(self, project: str, service: str) -> list[Container]:
        """The containers of a service, whatever their state. Raises `EngineError`."""
        wanted = [f"{PROJECT}={project}", f"{SERVICE}={service}"]
        said = self._asked(lambda: self._client.containers(all=True, filters={"label": wanted}))
        found = (self.container(summary["Id"]) for summary in said)
        return sorted((c for c in found if c), key=lambda c: c.name)

    def container(self, container_id: str) -> Container | None:
        """The container whose id is (or begins with) this one. Raises `EngineError`."""
        try:
            said = self._asked(lambda: self._client.inspect_container(container_id))
        except _AbsentError:
            return None
        return container_of(said) if said["Id"].startswith(container_id) else None

    def processes(self, container_id: str) -> tuple[str, ...]:
        """The command lines in a container; none where it does not run. Raises `EngineError`."""
        try:
            return processes_of(
                self._asked(lambda: self._client.top(container_id, ps_args=_WHOLE_LINES))
            )
        except _AbsentError:
            return ()

    def output(self, container_id: str) -> str:
        """The last lines that it wrote; '' where its log cannot be read."""
        try:
            said = self._asked(lambda: self._client.logs(container_id, tail=20, stream=False))
        except EngineError:
            return ""
        return bytes(said).decode("utf-8", "replace")

    def restart(self, container: Container) -> str:
        """Stop it as gently as it was made to be stopped, start it; why that failed, or ''.

        Raises `EngineError` where the engine is gone or does not allow it.
        """
        grace_s = container.stop_timeout_s
        try:
            self._asked(lambda: self._client.restart(container.id, timeout=grace_s))
        except _RefusedError as error:
            return error.what
        return ""

    @contextmanager
    def idle_afterwards(self) -> Iterator[None]:
        """Keep no line open after the block; the next question opens another."""
        try:
            yield
        finally:
            self._client.close()

    def _asked(self, ask: Callable[[], T]) -> T:
        try:
            return ask()
        except NotFound as error:
            raise _AbsentError(_sentence(error, self._url)) from error
        except APIError as error:
            what = _sentence(error, self._url)
            if error.status_code == _FORBIDDEN:
                raise EngineError(what, next_steps=("allow it (docs/security.md)",)) from error
            if error.status_code == _CONFLICT:  # it does not run any more
                raise _AbsentError(what) from error
            raise _RefusedError(what) from error
        except (DockerException, OSError) as error:  # what `requests` raises are OSErrors
            raise EngineError(_sentence(error, self._url), next_steps=_steps(error)) from error


class _RefusedError(EngineError):
    """The engine answers, and could not do it."""


class _AbsentError(_RefusedError):
    """What was asked about is not there (any more)."""


def connected(way: Way) -> Engine:
    """An engine that answered. Raises `EngineError` with the cause and what to do about it.

    Without DOCKER_HOST it is the usual socket, or where there is none that of a rootless
    engine of this user (Docker, "Rootless mode").
    """
    url = way.host or f"unix://{_socket()}"
    if urlsplit(url).scheme not in {"unix", "tcp", "http", "https"}:
        raise EngineError(
            f"DOCKER_HOST: {urlsplit(url).scheme or 'this'} is no way that works here",
            next_steps=("DOCKER_HOST=unix:///PATH or tcp://HOST:PORT",),
        )
    try:
        _knock(url)
        client = docker.APIClient(url, version="auto", timeout=_TIMEOUT_S, tls=_tls(way))
    except (DockerException, OSError) as error:
        raise EngineError(_sentence(error, url), next_steps=_steps(error)) from error
    return Engine(client, url)


def _knock(url: str) -> None:
    """Raise OSError where nobody answers at a socket: the SDK would leave its end open."""
    if url.startswith("unix:"):
        with socket.socket(socket.AF_UNIX) as line:
            line.settimeout(_TIMEOUT_S)
            line.connect("/" + url.removeprefix("unix:").lstrip("/"))


def _socket() -> str:
    rootless = f"/run/user/{os.getuid()}/docker.sock"
    return rootless if not Path(_ROOTFUL).exists() and Path(rootless).exists() else _ROOTFUL


def _tls(way: Way) -> Any:
    """TLS as Docker's variables say; as the CLI, a folder alone means TLS without verifying."""
    if not way.tls_verify and not way.cert_path:
        return False
    folder = Path(way.cert_path or "~/.docker").expanduser()
    names = (str(folder / "cert.pem"), str(folder / "key.pem"))
    return TLSConfig(names, ca_cert=str(folder / "ca.pem"), verify=bool(way.tls_verify))


# --- why it does not answer ------------------------------------------------------------


def _sentence(error: BaseException, url: str) -> str:
    if isinstance(error, APIError):
        if error.status_code == _FORBIDDEN:
            return f"{url} does not allow this: {error.response.request.path_url.split('?')[0]}"
        return f"the Docker Engine at {url} says: {error.explanation or error}"
    number = _errno(error)
    match number:
        case errno.EACCES | errno.EPERM:
            return f"no permission to use the Docker Engine at {url}"
        case errno.ENOENT:
            return f"there is no Docker Engine at {url}"
        case errno.ECONNREFUSED:
            return f"no Docker Engine listens at {url}"
        case None:
            return f"the Docker Engine at {url} does not answer ({type(error).__name__})"
        case _:
            return f"the Docker Engine at {url} does not answer: {os.strerror(number)}"


def _steps(error: BaseException) -> tuple[str, ...]:
    if _errno(error) in {errno.EACCES, errno.EPERM}:
        return ("give the sidecar the group of the socket: group_add (docs/docker.md)",)
    return ("mount the socket of the engine, or set DOCKER_HOST (docs/docker.md)",)


def _errno(error: BaseException) -> int | None:
    """The number of the operating system's error behind it, however deep it is wrapped."""
    return next((e.errno for e in _behind(error) if isinstance(e, OSError) and e.errno), None)


def _behind(error: BaseException) -> Iterator[BaseException]:
    yield error
    inner = (*error.args, getattr(error, "reason", None), error.__cause__ or error.__context__)
    for each in inner:
        if isinstance(each, BaseException):
            yield from _behind(each)
