"""The private PostgreSQL: it serves, it ends with us, and it says why when it cannot."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from sidecar import cluster, embedded
from sidecar.embedded import (
    Installation,
    PrivateServer,
    bundled_bindir,
    installation,
    private_server,
)
from sidecar.errors import ShadowError
from tests.postgres import available_majors, bindir
from tests.waiting import is_running, until

ROOT = Path(__file__).parents[2]
NAMELESS = 54321
"""A number that no account of this machine has."""
HOLD = """
import signal, sys, time
from pathlib import Path
from sidecar.embedded import private_server
signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background ignores it
with private_server(Path(sys.argv[1])) as server:
    pid = (server.socket_dir / "data" / "postmaster.pid").read_text().split()[0]
    print(pid, server.socket_dir, flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def place() -> Iterator[Path]:
    """A short directory which any account may enter (pytest's own are closed to others)."""
    with tempfile.TemporaryDirectory(prefix="place-") as name:
        Path(name).chmod(0o755)
        yield Path(name)


@pytest.fixture
def prepared() -> Iterator[Installation]:
    """An installation with a prepared data directory, which any account may read."""
    with tempfile.TemporaryDirectory(prefix="prepared-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        (folder / "bin").symlink_to(bindir(available_majors()[-1]))
        embedded.prepare(folder)
        yield installation(str(folder))


@pytest.mark.parametrize("major", available_majors())
def test_serves_for_the_length_of_the_block(place: Path, major: int) -> None:
    """The server is there inside the block, on a socket only, and without a trace after it."""
    with private_server(place, using=Installation(bindir(major))) as server:
        assert server.major == major
        assert _ask(server, "SHOW listen_addresses") == ""
        assert _ask(server, "SELECT rolsuper FROM pg_roles WHERE rolname = current_user") is True
        assert str(_ask(server, "SHOW server_version_num")).startswith(str(major))
    assert list(place.iterdir()) == []
    with pytest.raises(psycopg.OperationalError):
        _ask(server, "SELECT 1")


def test_two_at_once_do_not_meet(place: Path) -> None:
    """A second private server neither shares nor removes the first one's directory."""
    with private_server(place) as one, private_server(place) as two:
        assert one.socket_dir != two.socket_dir
        assert _ask(one, "SELECT 1") == _ask(two, "SELECT 1") == 1


def test_directory_is_closed_to_others(place: Path) -> None:
    """Nobody else on the machine may reach a server that asks for no password."""
    with private_server(place) as server:
        assert server.socket_dir.stat().st_mode & 0o077 == 0


def test_open_connections_do_not_hold_up_the_end(place: Path) -> None:
    """The end of the block waits for no client."""
    with private_server(place) as server:
        connection = psycopg.connect(**server.conninfo())  # type: ignore[arg-type]
        started = time.monotonic()
    assert time.monotonic() - started < cluster.STOP_TIMEOUT_S / 2
    with pytest.raises(psycopg.OperationalError):
        connection.execute("SELECT 1")
    connection.close()


@pytest.mark.parametrize("raised", [KeyboardInterrupt, SystemExit, ValueError])
def test_ends_however_the_block_ends(place: Path, raised: type[BaseException]) -> None:
    """Ctrl-C, an exit and an error stop the server like the plain end of the block."""
    with pytest.raises(raised), private_server(place):
        raise raised
    assert list(place.iterdir()) == []


@pytest.mark.parametrize("lethal", [signal.SIGKILL, signal.SIGINT])
def test_dies_with_its_owner(place: Path, lethal: signal.Signals) -> None:
    """A killed run leaves no server behind, and the next run removes its directory."""
    with _holder(place) as owner:
        pid, home = owner.stdout.readline().split()  # type: ignore[union-attr]
        assert Path(home).exists()
        owner.send_signal(lethal)
        owner.wait(20)
    until(lambda: not is_running(int(pid)), 10)
    assert Path(home).exists() == (lethal is signal.SIGKILL)
    with private_server(place):
        assert not Path(home).exists()


def test_leftovers_of_the_living_stay(place: Path) -> None:
    """A directory whose owner lives is not taken for a leftover."""
    with _holder(place) as owner:
        _, home = owner.stdout.readline().split()  # type: ignore[union-attr]
        with private_server(place):
            assert (Path(home) / "data" / "PG_VERSION").exists()
        owner.communicate("")
    assert owner.returncode == 0


def test_binaries_closed_to_others_are_copied(place: Path) -> None:
    """Root runs the server as `nobody` even where only root may read the installation."""
    if os.geteuid() != 0:
        pytest.skip("only root has to change accounts")
    closed = place / "closed"
    package = embedded.bundled_bindir().parents[1]
    for folder in (package, package.with_name(f"{package.name}.libs")):
        shutil.copytree(folder, closed / folder.name, symlinks=True)
    closed.chmod(0o700)
    programs = closed / package.name / "pginstall" / "bin"
    with private_server(place, using=Installation(programs)) as server:
        assert _ask(server, "SELECT 1") == 1


def test_says_what_the_server_said(place: Path) -> None:
    """Where it cannot start, the error carries the tail of PostgreSQL's own log."""
    deep = place / ("d" * 100)
    deep.mkdir()
    with pytest.raises(ShadowError, match=r"socket path .* is too long"), private_server(deep):
        pytest.fail("a socket path of more than 107 bytes cannot work")
    assert list(deep.iterdir()) == []


def test_says_which_program_is_missing(place: Path) -> None:
    """Without binaries the error names the program, and nothing is left behind."""
    with (
        pytest.raises(ShadowError, match=r"cannot run .*/initdb"),
        private_server(place, using=Installation(place)),
    ):
        pytest.fail("there are no binaries")
    assert list(place.iterdir()) == []


def test_account_without_a_name_is_told_so(place: Path) -> None:
    """Under a numeric account unknown to the passwd file the error says what initdb needs."""
    done = _as_nobody_known(place, "private_server(Path(sys.argv[1])).__enter__()")
    assert done.returncode != 0
    assert "passwd file" in done.stderr
    assert str(NAMELESS) in done.stderr
    assert list(place.iterdir()) == []


def test_prepared_data_directory_serves_an_account_without_a_name(
    place: Path, prepared: Installation
) -> None:
    """What `prepare` made is copied, without initdb: any account can start it."""
    programs, data = prepared
    use = f"using=Installation(Path({str(programs)!r}), Path({str(data)!r}))"
    done = _as_nobody_known(
        place,
        f"private = private_server(Path(sys.argv[1]), {use}); server = private.__enter__()",
        "connection = psycopg.connect(**server.conninfo())",
        'print(connection.execute("SELECT 1").fetchone()); connection.close()',
        "private.__exit__(None, None, None)",
    )
    assert (done.returncode, done.stdout) == (0, "(1,)\n"), done.stderr
    assert list(place.iterdir()) == []


def test_prepared_data_directory_is_copied_not_used(place: Path, prepared: Installation) -> None:
    """Each server has data of its own, closed to others, and leaves the original as it was."""
    assert prepared.prepared
    before = sorted(prepared.prepared.rglob("*"))
    with private_server(place, using=prepared) as one, private_server(place, using=prepared) as two:
        _ask(one, "CREATE ROLE only_in_one")
        assert _ask(two, "SELECT count(*) FROM pg_roles WHERE rolname = 'only_in_one'") == 0
        assert (one.socket_dir / "data").stat().st_mode & 0o777 == 0o700
    assert sorted(prepared.prepared.rglob("*")) == before


def test_installation_is_what_the_setting_names(place: Path) -> None:
    """`bin` is found, links followed; `data` is used where it is there."""
    (place / "bin").symlink_to(bundled_bindir())
    assert installation(str(place)) == (bundled_bindir().resolve(), None)
    (place / "data").mkdir()
    assert installation(str(place)) == (bundled_bindir().resolve(), place / "data")
    assert installation(None) == (bundled_bindir(), None)


def test_installation_without_a_server_is_refused(place: Path) -> None:
    """A directory that holds no PostgreSQL is named with the setting."""
    with pytest.raises(ShadowError, match=rf"SIDECAR_EMBEDDED_DIR: .* {place}/bin/postgres"):
        installation(str(place))


def test_no_place_for_its_files_is_said(tmp_path: Path) -> None:
    """Where no directory can be made (a read-only root) the error says what to mount."""
    with pytest.raises(ShadowError, match="no place for its files") as caught:
        private_server(tmp_path / "absent").__enter__()
    assert "--tmpfs /tmp" in str(caught.value.next_steps)


def test_imports_no_driver() -> None:
    """The module speaks to PostgreSQL through its files, and imports nothing of the extra."""
    code = "import sys, sidecar.embedded as e; e.available(); "
    code += "sys.exit(any(name.startswith(('psycopg', e.PACKAGE)) for name in sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


def _as_nobody_known(place: Path, *code: str) -> subprocess.CompletedProcess[str]:
    """Run Python under a numeric account without a name, which may write in `place`."""
    if os.geteuid() != 0:
        pytest.skip("only root can become an account without a name")
    place.chmod(0o777)
    start = "import os, sys, psycopg; from pathlib import Path\n"
    start += "from sidecar.embedded import Installation, private_server\n"
    start += "os.setuid(int(sys.argv[2]))"  # last: an installation may be closed to others
    return subprocess.run(
        [sys.executable, "-c", "\n".join([start, *code]), place, str(NAMELESS)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )


def _ask(server: PrivateServer, query: str) -> object:
    with psycopg.connect(**server.conninfo()) as connection:  # type: ignore[arg-type]
        cursor = connection.execute(query)
        row = cursor.fetchone() if cursor.description else None
    return row[0] if row else None


def _holder(place: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", HOLD, place],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
