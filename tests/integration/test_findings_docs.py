"""The outputs shown in docs/findings.md are those of the command."""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import pytest

from sidecar.cli import cli
from sidecar.demo import SCHEMA
from sidecar.errors import ExitCode
from sidecar.model import LOCK_KEY, FindingName, OutcomeName
from sidecar.settings import SETTINGS
from tests.command import ROOT, Scene
from tests.golden import VARIABLE, WRITES
from tests.incident import BEFORE, FAILED, Migration, Mode
from tests.postgres import Database

PAGE = ROOT / "docs" / "findings.md"

UPDATED = Migration(
    "20251215100000_number_issues",
    """\
-- AlterTable
ALTER TABLE "momentum"."mm_issue" ADD COLUMN "position" INTEGER NOT NULL DEFAULT 0;

-- Backfill
UPDATE "momentum"."mm_issue" SET "title" = "title" || ' #' || "id";

-- CreateIndex
CREATE INDEX "mm_issue_position_idx" ON "momentum"."mm_issue"("position");
""",
)

Situation = Callable[[Scene], AbstractContextManager[object] | None]


def running(scene: Scene) -> AbstractContextManager[object]:
    """A migrator holds the lock."""
    scene.plant(1, FAILED, *BEFORE, schema=SCHEMA)
    migrator = scene.database.connect(application_name="prisma")
    migrator.execute(f"SELECT pg_advisory_lock({LOCK_KEY})")
    return migrator


def nothing_applied(scene: Scene) -> None:
    """One message, rolled back by an error."""
    scene.plant(0, FAILED, *BEFORE, mode=Mode.BATCH_ROLLED_BACK, schema=SCHEMA)


def partly_applied(scene: Scene) -> None:
    """Killed after the enum."""
    scene.plant(1, FAILED, *BEFORE, schema=SCHEMA)


def fully_applied(scene: Scene) -> None:
    """One message, committed; the bookkeeping was lost."""
    scene.plant(4, FAILED, *BEFORE, mode=Mode.BATCH_COMMITTED, schema=SCHEMA)


def diverged(scene: Scene) -> None:
    """Killed after the enum, which somebody then changed."""
    scene.plant(1, FAILED, *BEFORE, schema=SCHEMA)
    scene.database.execute("""ALTER TYPE momentum."ScheduleFrequency" ADD VALUE 'HOURLY'""")


def undetermined(scene: Scene) -> None:
    """Killed before or after a change of rows."""
    scene.plant(1, UPDATED, *BEFORE, schema=SCHEMA)
    scene.database.execute("INSERT INTO momentum.mm_board (id, name) VALUES ('b1', 'Platform')")
    scene.database.execute("INSERT INTO momentum.mm_issue (board_id, title) VALUES ('b1', 'one')")


def script_missing(scene: Scene) -> None:
    """The image is an older one."""
    scene.plant(1, FAILED, *BEFORE, schema=SCHEMA)
    (scene.folder / FAILED.name / "migration.sql").unlink()
    (scene.folder / FAILED.name).rmdir()


SITUATIONS: dict[FindingName, Situation] = {
    FindingName.RUNNING: running,
    FindingName.NOTHING_APPLIED: nothing_applied,
    FindingName.PARTLY_APPLIED: partly_applied,
    FindingName.FULLY_APPLIED: fully_applied,
    FindingName.DIVERGED: diverged,
    FindingName.UNDETERMINED: undetermined,
    FindingName.SCRIPT_MISSING: script_missing,
}


def block_of(finding: FindingName) -> re.Pattern[str]:
    """The example in the section of a finding: its first fenced block."""
    return re.compile(rf"(\n## `{finding}`\n(?:(?!\n## ).)*?\n```\n)(.*?)(```\n)", re.DOTALL)


def normalised(text: str, folder: Path) -> str:
    """The text without what differs from run to run: fingerprints, processes, ages, paths."""
    text = text.replace(str(folder), "prisma/migrations")
    text = re.sub(r"\b[0-9a-f]{16}\b", "0123456789abcdef", text)
    text = re.sub(r"\bpid \d+", "pid 4711", text)
    return re.sub(r"\bfor \d+ s\b", "for 12 s", text)


@pytest.mark.parametrize("finding", SITUATIONS)
def test_the_example_is_what_status_says(
    latest_database: Database, tmp_path: Path, finding: FindingName
) -> None:
    """Each section's example is what `status` prints in that situation, word for word."""
    environ = {"DATABASE_URL": latest_database.url(schema=SCHEMA)}
    scene = Scene(latest_database, tmp_path / "migrations", environ)
    with SITUATIONS[finding](scene) or nullcontext():
        ended = scene.command("status")
    assert ended.code == 3, ended.err
    seen = normalised(ended.out, scene.folder)
    assert f": {finding} (" in seen
    if WRITES:
        text = PAGE.read_text(encoding="utf-8")
        new = block_of(finding).sub(lambda match: match[1] + seen + match[3], text)
        PAGE.write_text(new, encoding="utf-8")
    shown = block_of(finding).search(PAGE.read_text(encoding="utf-8"))
    assert shown, f"docs/findings.md has no example of {finding}"
    assert shown[2] == seen, f"accept the new text with {VARIABLE}=1"


def test_every_finding_has_a_section() -> None:
    """The page has a section for each finding, and for nothing else."""
    assert set(SITUATIONS) == set(FindingName)
    titles = re.findall(r"^## `(.*)`$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    assert sorted(titles) == sorted(FindingName)


def test_the_runbook_has_every_exit_code_and_outcome() -> None:
    """Each exit code and each outcome has its section: what happened, what not, what next."""
    text = (ROOT / "docs" / "runbook.md").read_text(encoding="utf-8")
    sections = re.split(r"^## ", text, flags=re.MULTILINE)[1:]
    titles = [section.splitlines()[0] for section in sections]
    codes = {int(code) for title in titles for code in re.findall(r"\d+", title)}
    assert codes == set(ExitCode)
    assert {name for title in titles for name in re.findall(r"`([a-z-]+)`", title)} == set(
        OutcomeName
    )
    for section in sections:
        parts = re.findall(r"^\* \*\*(.*):\*\*", section, re.MULTILINE)
        assert parts == ["What happened", "What was not touched", "Next"], section


def test_the_commands_of_the_runbook_exist() -> None:
    """Every command and flag that the pages tell people to type is one of ours."""
    pages = "".join((ROOT / "docs" / name).read_text() for name in ("runbook.md", "findings.md"))
    for typed in set(re.findall(r"migration-sidecar ([a-z][^`\n#]*)", pages)):
        name, *words = typed.split()
        if name in cli.commands:
            known = {option for each in cli.commands[name].params for option in each.opts}
            assert {word for word in words if word.startswith("--")} <= known, typed
        else:
            assert typed.startswith("migration-sidecar"), typed
    variables = set(re.findall(r"\bSIDECAR_[A-Z_]+\b", pages))
    assert variables <= {setting.variable for setting in SETTINGS}
