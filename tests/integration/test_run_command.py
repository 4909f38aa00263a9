"""`run -- CMD` and `wait -- CMD`: the process becomes the program, and nothing of ours stays."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.command import QUICK, ROOT, Ended, command, process_environ
from tests.incident import Migration, Mode, plant, write_migrations
from tests.postgres import Database, Server, fresh_database
from tests.waiting import until

LOOK = """
import json, os, signal, sys
status = dict(line.split(":\\t", 1) for line in open("/proc/self/status") if ":\\t" in line)
print(json.dumps({
    "argv": sys.argv[1:], "pid": os.getpid(), "cwd": os.getcwd(),
    "env": open("/proc/self/environ").read().split("\\0")[:-1],
    "files": sorted(int(n) for n in os.listdir("/proc/self/fd") if int(n) > 2),
    "blocked": status["SigBlk"].strip(), "ignored": status["SigIgn"].strip(),
    "threads": status["Threads"].strip(),
}))
"""
"""What a program sees of itself; its own reading of the folder is one of the files."""


@pytest.fixture
def database(latest: Server) -> Iterator[Database]:
    """A fresh database."""
    with fresh_database(latest) as fresh:
        yield fresh


@pytest.fixture
def environ(database: Database, tmp_path: Path) -> dict[str, str]:
    """The settings for it, and a folder of migrations."""
    folder = write_migrations(tmp_path / "migrations", ())
    own = {"DATABASE_URL": database.url(schema="public"), "SIDECAR_MIGRATIONS_DIR": str(folder)}
    return {**QUICK, **own}


def seen(*words: str, environ: dict[str, str], program: str = "") -> tuple[dict[str, Any], Ended]:
    """What the program after `--` sees."""
    script = str(Path(sys.executable))
    ended = command(
        *words, "--", script, "-c", LOOK, "a b", "--", "", environ=environ, program=program
    )
    return json.loads(ended.out), ended


@pytest.mark.parametrize("word", ["run", "wait", None])
def test_the_program_gets_what_we_got(word: str | None, environ: dict[str, str]) -> None:
    """Arguments, environment to the letter, working directory, signals; no file of ours is open."""
    looked, ended = seen(*([word] if word else []), environ=environ)
    assert ended.code == 0
    assert looked["argv"] == ["a b", "--", ""]
    expected = process_environ(environ)
    assert sorted(looked["env"]) == sorted(f"{name}={value}" for name, value in expected.items())
    assert looked["cwd"] == str(ROOT)
    assert len(looked["files"]) == 1, "only the folder that is being read"
    assert int(looked["blocked"], 16) == 0
    assert looked["threads"] == "1"
    plain = subprocess.run(
        [sys.executable, "-c", LOOK], capture_output=True, check=True, text=True, env=expected
    )
    assert looked["ignored"] == json.loads(plain.stdout)["ignored"]


def test_a_signal_that_was_ignored_stays_ignored(environ: dict[str, str]) -> None:
    """As after `nohup` or `trap '' INT` in a script."""
    program = (
        "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN);"
        "from sidecar.cli import main; main()"
    )
    looked, _ = seen("run", environ=environ, program=program)
    assert int(looked["ignored"], 16) & 1 << signal.SIGINT - 1


def test_it_is_the_same_process_and_its_exit_code(environ: dict[str, str]) -> None:
    """No Python stays: the pid is ours, the program's end is our end, its signals are its own."""
    words = [
        "run",
        "--",
        "/bin/sh",
        "-c",
        "trap 'exit 42' TERM; echo up; while :; do sleep .1; done",
    ]
    process = subprocess.Popen(
        [sys.executable, "-m", "sidecar", *words],
        cwd=ROOT,
        env=process_environ(environ),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == "up\n"
        assert Path(f"/proc/{process.pid}/exe").readlink() == Path("/bin/sh").resolve()
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 42


def test_no_session_stays_on_the_server(environ: dict[str, str], database: Database) -> None:
    """Connections are closed, and the lock with them, before the program starts."""
    read, write = os.pipe()
    with (
        os.fdopen(read),
        subprocess.Popen(
            [sys.executable, "-m", "sidecar", "run", "--", "/bin/sh", "-c", "echo up; read line"],
            cwd=ROOT,
            env=process_environ(environ),
            stdin=read,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        ) as process,
    ):
        assert process.stdout is not None
        assert process.stdout.readline() == "up\n"
        sessions = (
            "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'migration-sidecar'"
        )
        until(lambda: database.execute(sessions) == [(0,)])
        os.close(write)


def test_what_we_logged_comes_first(environ: dict[str, str]) -> None:
    """Nothing is left in a buffer: the log's last line is there before the program's first."""
    ended = command("run", "--", "/bin/sh", "-c", "echo program >&2", environ=environ)
    lines = ended.err.splitlines()
    assert lines[-1] == "program"
    assert json.loads(lines[-2])["exit_code"] == 0


def test_the_last_words_are_left_to_the_program(environ: dict[str, str], tmp_path: Path) -> None:
    """The termination message tells how a container ended, and we are not its end."""
    log = tmp_path / "termination-log"
    log.touch()
    given = environ | {"SIDECAR_TERMINATION_LOG": str(log)}
    assert command("run", "--", "true", environ=given).code == 0
    assert log.read_text() == ""
    assert command("run", environ=given).code == 0
    assert log.read_text().startswith("healthy")


def test_halted_starts_nothing(environ: dict[str, str], database: Database) -> None:
    """Only exit code 0 lets it start; the code of a halt is ours, the last words too."""
    failed = Migration("20260101000000_half", "CREATE TABLE one (id int);\nCREATE TABLE two ();\n")
    write_migrations(Path(environ["SIDECAR_MIGRATIONS_DIR"]), (failed,))
    with database.connect() as connection:
        plant(connection, statements=1, mode=Mode.KILLED, before=(), failed=failed, schema="public")
    observed = command("run", "--policy", "observe", "--", "echo", "up", environ=environ)
    assert (observed.code, observed.out) == (3, "")
    repaired = command("run", "--", "echo", "up", environ=environ)
    assert (repaired.code, repaired.out) == (0, "up\n"), repaired.err


# --- programs that cannot be started ------------------------------------------------------


@pytest.mark.parametrize(
    ("mode", "text", "code", "says"),
    [
        (None, "", 127, "is not found; nothing was done"),
        (0o644, "#!/bin/sh\n", 126, "is not executable; nothing was done"),
        (0o755, "no program", 126, "cannot be executed: Exec format error"),
    ],
)
def test_what_cannot_be_executed_has_the_codes_of_a_shell(
    environ: dict[str, str], tmp_path: Path, mode: int | None, text: str, code: int, says: str
) -> None:
    """127 where there is no such program, 126 where it cannot be executed; said in words."""
    program = tmp_path / "program"
    if mode is not None:
        program.write_text(text)
        program.chmod(mode)
    ended = command("run", "--", str(program), environ=environ)
    assert ended.code == code
    assert f"{program} {says}" in ended.err


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["run", "--"], "nothing to start stands after --"),
        (["status", "--", "true"], "a program after -- goes with run and wait only"),
        (["run", "true"], "unexpected extra argument"),
    ],
)
def test_the_two_dashes_are_needed_and_mean_something(
    environ: dict[str, str], words: list[str], says: str
) -> None:
    """A word that was mistyped never becomes a program."""
    ended = command(*words, environ=environ)
    assert (ended.code, says in ended.err) == (2, True), ended.err


def test_help_shows_it() -> None:
    """The usage line names what stands after the dashes."""
    assert "[-- CMD ARGS...]" in command("run", "--help", environ={}).out
