"""The captures of docs/what-you-see.md are what compose and the sidecar print."""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import AbstractContextManager, closing, nullcontext

import psycopg
import pytest

from sidecar.errors import ExitCode
from sidecar.model import LOCK_KEY, OutcomeName
from tests import incident
from tests.command import ROOT
from tests.containers import stack_images
from tests.containers.compose import Version
from tests.containers.compose_project import BACKEND, SIDECAR, Project
from tests.containers.compose_table import rewrite
from tests.containers.test_compose import (
    CHANGED_BY_HAND,
    SETUP,
    WITHOUT_HEALTH,
    plant,
    with_file,
)
from tests.golden import VARIABLE, WRITES

pytestmark = pytest.mark.compose

PAGE = ROOT / "docs" / "what-you-see.md"
SETTINGS = "services: {{migration-sidecar: {{environment: {{{settings}}}}}}}\n"

Situation = Callable[[Project], tuple[Project, AbstractContextManager[object]]]


def given(stack: Project, settings: str) -> Project:
    """The same project with these settings of the sidecar."""
    return with_file(stack, "settings.yml", SETTINGS.format(settings=settings))


def healthy(stack: Project) -> tuple[Project, AbstractContextManager[object]]:
    """Nothing is wrong."""
    stack.start_postgres()
    with stack.connection() as connection:
        incident.clean_run(connection)
    return stack, nullcontext()


def repaired(stack: Project) -> tuple[Project, AbstractContextManager[object]]:
    """Killed after the first statement."""
    plant(stack)
    return stack, nullcontext()


def halted(stack: Project) -> tuple[Project, AbstractContextManager[object]]:
    """The same, and then somebody changed what the first statement had made."""
    plant(stack)
    stack.execute(CHANGED_BY_HAND)
    return stack, nullcontext()


def repair_failed(stack: Project) -> tuple[Project, AbstractContextManager[object]]:
    """Somebody holds a lock for longer than a repair may wait."""
    plant(stack)
    reporter = psycopg.connect(stack.conninfo(), application_name="nightly-report")
    reporter.execute("LOCK TABLE momentum.mm_board IN SHARE MODE")
    settings = "SIDECAR_LOCK_TIMEOUT: 500ms, SIDECAR_REPAIR_TIMEOUT: 1s"
    return given(stack, settings), closing(reporter)


def busy(stack: Project) -> tuple[Project, AbstractContextManager[object]]:
    """A migrator holds Prisma's lock."""
    plant(stack)
    migrator = psycopg.connect(stack.conninfo(), application_name="prisma", autocommit=True)
    migrator.execute(f"SELECT pg_advisory_lock({LOCK_KEY})")
    return given(stack, "SIDECAR_BUSY_TIMEOUT: 1s"), closing(migrator)


def not_ready(stack: Project) -> tuple[Project, AbstractContextManager[object]]:
    """PostgreSQL is not done with its set-up."""
    stack.given(POSTGRES_IMAGE=stack_images.postgres_image(stack.engine))  # no database yet
    stack.write("setup.sh", "sleep 3600\n")
    stack = with_file(stack, "setup.yml", SETUP)
    return with_file(stack, "health.yml", WITHOUT_HEALTH.format(wait="2s")), nullcontext()


def error(stack: Project) -> tuple[Project, AbstractContextManager[object]]:
    """Two settings are mistyped."""
    stack.start_postgres()
    return given(stack, "SIDECAR_POLICY: foward, SIDECAR_WAIT_TIMEOUT: 60"), nullcontext()


SITUATIONS: dict[OutcomeName, tuple[Situation, ExitCode]] = {
    OutcomeName.HEALTHY: (healthy, ExitCode.OK),
    OutcomeName.REPAIRED: (repaired, ExitCode.OK),
    OutcomeName.HALTED: (halted, ExitCode.HALTED),
    OutcomeName.REPAIR_FAILED: (repair_failed, ExitCode.REPAIR_FAILED),
    OutcomeName.BUSY: (busy, ExitCode.BUSY),
    OutcomeName.NOT_READY: (not_ready, ExitCode.NOT_READY),
    OutcomeName.ERROR: (error, ExitCode.USAGE),
}


def capture(stack: Project) -> str:
    """What a person types and sees, without what differs from run to run."""
    ended = stack.compose("up", "-d")
    said = [line for line in ended.said.splitlines() if line.strip()]
    shown = [line for line in said if not line.startswith(" ")] or said[-1:]
    log = stack.compose("logs", "--no-log-prefix", SIDECAR).out
    parts = [
        "$ docker compose up -d",
        "...",
        *shown,
        "$ echo $?",
        str(ended.code),
        "$ docker compose logs --no-log-prefix migration-sidecar",
        log.rstrip("\n"),
    ]
    return normalised("\n".join(parts).replace(stack.name, "app")) + "\n"


NOISE = (
    (r"\x1b\[[0-9;]*[A-Za-z]", ""),
    (r"\d{4}-\d\d-\d\dT[\d:.]+Z", "2026-01-05T09:00:00Z"),
    (r"\b[0-9a-f]{16}\b", "0123456789abcdef"),
    (r"\b([Pp]id|process)([ =])\d+", r"\1\g<2>4711"),
    (r"pg_(cancel|terminate)_backend\(\d+\)", r"pg_\1_backend(4711)"),
    (r"\b\d+(?:\.\d+)? s and \d+ tries", "2.0 s and 4 tries"),
    (r"\bfor \d+ s\b", "for 12 s"),
    (r"\b(left_s|waited_s)=[\d.]+", r"\1=0.5"),
    (r"\btries=\d+", "tries=1"),
    (r"\b172\.\d+\.\d+\.\d+\b", "172.18.0.2"),
    (r"\b17\.\d+\b", "17.6"),
    (r"[ \t]+$", ""),
    (r"^(.+)\n(?:\1\n)+", r"\1\n"),  # as often as it was tried
)


def normalised(text: str) -> str:
    """The text without times, ids and addresses."""
    for pattern, replacement in NOISE:
        text = re.sub(pattern, replacement, text, flags=re.MULTILINE)
    return text


@pytest.mark.parametrize("version", [Version.V2], ids=str)
@pytest.mark.parametrize("name", OutcomeName, ids=str)
def test_the_page_shows_what_is_printed(stack: Project, name: OutcomeName) -> None:
    """One outcome of each sort, with the exit code that belongs to it."""
    situation, code = SITUATIONS[name]
    stack, meanwhile = situation(stack)
    with meanwhile:
        seen = capture(stack)
    assert stack.state(SIDECAR).word == f"exit {int(code)}"
    assert (stack.state(BACKEND).word == "running") == (code is ExitCode.OK)
    block = re.compile(
        rf"(^## [^\n]*`{name}`\n(?:(?!## )[^\n]*\n)*?```console\n)(.*?)(^```$)",
        re.MULTILINE | re.DOTALL,
    )
    if WRITES:
        rewrite(PAGE, lambda text: block.sub(lambda match: match[1] + seen + match[3], text))
    shown = block.search(PAGE.read_text(encoding="utf-8"))
    assert shown, f"docs/what-you-see.md has no capture of {name}"
    assert shown[2] == seen, f"accept the new text with {VARIABLE}=1"
