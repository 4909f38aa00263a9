"""Where report, termination message and human texts go, and what happens if they cannot."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path
from tempfile import gettempdir

import pytest

from sidecar.deliver import print_human, write_report, write_termination
from sidecar.model import OutcomeName
from sidecar.pages import human_status
from tests.outcomes import BY_NAME

OLD, NEW = b'{"old": true}\n', b'{"new": true}\n'
IS_ROOT = os.geteuid() == 0
NOBODY = 65534


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("before", [None, OLD])
def test_the_report_is_written_whole(tmp_path: Path, before: bytes | None) -> None:
    """The file holds the report, others may read it, and nothing else is left behind."""
    path = tmp_path / "report.json"
    if before is not None:
        path.write_bytes(before)
    assert write_report(str(path), NEW) is None
    assert path.read_bytes() == NEW
    assert path.stat().st_mode & 0o777 == 0o644
    assert list(tmp_path.iterdir()) == [path]


def test_a_reader_never_sees_half_a_report(tmp_path: Path) -> None:
    """The old file stays whole under whoever has it open; the new one takes its name."""
    path = tmp_path / "report.json"
    path.write_bytes(OLD)
    with path.open("rb") as reader:
        assert write_report(str(path), NEW) is None
        assert reader.read() == OLD
    assert path.read_bytes() == NEW


def test_a_link_is_followed(tmp_path: Path) -> None:
    """The report goes where the link points, and the link stays."""
    target, link = tmp_path / "target", tmp_path / "link"
    target.write_bytes(OLD)
    link.symlink_to(target)
    assert write_report(str(link), NEW) is None
    assert link.is_symlink()
    assert target.read_bytes() == NEW


def test_a_pipe_is_written_to(tmp_path: Path) -> None:
    """What is no ordinary file (/dev/stdout) gets the report and is not replaced."""
    code = "import sys; from sidecar.deliver import write_report; write_report(sys.argv[1], b'!')"
    done = subprocess.run(
        [sys.executable, "-c", code, "/dev/stdout"],
        capture_output=True,
        check=True,
        cwd=Path(__file__).parents[2],
    )
    assert done.stdout == b"!"
    assert list(tmp_path.iterdir()) == []


WRITES_AS_NOBODY = """
import os, sys
from sidecar.deliver import write_report
if os.geteuid() == 0:
    os.chdir(os.path.dirname(sys.argv[1]))
    os.setgroups([])
    os.setuid(65534)
print(write_report(os.path.basename(sys.argv[1]), b'{"new": true}\\n'))
"""


def write_unprivileged(path: Path) -> str:
    """What `write_report` says to a user who is not root, as the image's is not."""
    done = subprocess.run(
        [sys.executable, "-c", WRITES_AS_NOBODY, str(path)],
        capture_output=True,
        text=True,
        check=True,
        cwd=path.parent,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )
    return done.stdout.strip()


@pytest.fixture
def closed_folder(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which only root may create files, and which others may reach."""
    folder = tmp_path / "closed"
    folder.mkdir()
    above = len(tmp_path_factory.getbasetemp().parents) - len(Path(gettempdir()).parents)
    for path in (folder, tmp_path, *tmp_path.parents[:above]):
        path.chmod(0o755 if IS_ROOT else path.stat().st_mode)
    folder.chmod(0o555)
    return folder


def test_a_file_in_a_closed_folder_is_written_in_place(closed_folder: Path) -> None:
    """Where only the file is writable (one mounted file), it is written all the same."""
    path = closed_folder / "report.json"
    closed_folder.chmod(0o755)
    path.write_bytes(OLD * 10)
    path.chmod(0o666)
    closed_folder.chmod(0o555)
    assert write_unprivileged(path) == "None"
    assert path.read_bytes() == NEW


def test_a_closed_folder_is_said_in_words(closed_folder: Path) -> None:
    """A report that cannot be written is a sentence, not a failure of the run."""
    path = closed_folder / "report.json"
    assert write_unprivileged(path) == (
        "the report was not written to report.json: Permission denied"
    )
    assert not path.exists()


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("absent/report.json", "No such file or directory"),
        ("file/report.json", "Not a directory"),
        ("folder", "Is a directory"),
        ("null\0byte", "null byte"),
        ("loop", "loop"),
        ("x" * 300, "File name too long"),
    ],
)
def test_a_path_that_cannot_be_is_said_in_words(tmp_path: Path, path: str, why: str) -> None:
    """No path makes the run fail, and none leaves a temporary file."""
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    (tmp_path / "loop").symlink_to("loop")
    before = sorted(tmp_path.iterdir())
    said = write_report(str(tmp_path / path), NEW)
    assert said is not None
    assert said.startswith("the report was not written to ")
    assert why.lower() in said.lower()
    assert sorted(tmp_path.iterdir()) == before


def test_the_termination_message_replaces_the_last_one(tmp_path: Path) -> None:
    """The message of the run before does not show through a shorter one."""
    path = tmp_path / "termination-log"
    path.write_bytes(b"a longer message of the run before")
    inode = path.stat().st_ino
    write_termination(str(path), b"short")
    assert path.read_bytes() == b"short"
    assert path.stat().st_ino == inode, "Kubernetes reads the file that it mounted"


@pytest.mark.parametrize("name", ["absent", "folder", "no/where", "null\0byte"])
def test_no_termination_log_is_no_problem(tmp_path: Path, name: str) -> None:
    """Outside Kubernetes there is no such file, and none is made."""
    (tmp_path / "folder").mkdir()
    write_termination(str(tmp_path / name), b"short")
    assert list(tmp_path.iterdir()) == [tmp_path / "folder"]


TEXT = human_status(BY_NAME[OutcomeName.HALTED])


def test_plain_text_off_a_terminal() -> None:
    """In a pipe the text comes exactly as it is."""
    stream = io.StringIO()
    print_human(TEXT, stream)
    assert stream.getvalue() == TEXT


def test_the_same_text_in_colours_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Colours add nothing but colours: no line is cut, wrapped or read as markup."""
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    stream = Terminal()
    text = f"{TEXT}[bold]{'long ' * 60}:smile:\n"
    print_human(text, stream)
    coloured = stream.getvalue()
    assert "\x1b[32m" in coloured
    assert "".join(part.partition("m")[2] for part in f"\x1bm{coloured}".split("\x1b")) == text


def test_colours_can_be_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """NO_COLOR is obeyed (no-color.org)."""
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("TERM", "dumb")
    stream = Terminal()
    print_human(TEXT, stream)
    assert stream.getvalue() == TEXT


def test_a_pipe_does_not_import_rich() -> None:
    """rich is paid for on a terminal only."""
    code = """
import sys
from sidecar.deliver import print_human
print_human("text", sys.stderr)
print("rich" in sys.modules)
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[2],
    )
    assert (done.stdout.strip(), done.stderr) == ("False", "text")
