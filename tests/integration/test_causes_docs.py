"""The examples of failed repairs in docs/findings.md are what the program says."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from sidecar.demo import SCHEMA
from sidecar.text import summary_lines
from tests.command import Scene
from tests.golden import VARIABLE, WRITES
from tests.incident import BEFORE, Migration
from tests.integration.test_findings_docs import PAGE, normalised
from tests.postgres import Database

UNIQUE = Migration(
    "20251220100000_unique_titles",
    'CREATE UNIQUE INDEX "mm_issue_title_key" ON "momentum"."mm_issue"("title");\n',
)
ROWS = """
INSERT INTO momentum.mm_board (id, name) VALUES ('b1', 'Platform');
INSERT INTO momentum.mm_issue (board_id, title)
VALUES ('b1', 'deploy fails'), ('b1', 'deploy fails'), ('b1', 'slow'), ('b1', 'deploy fails');
"""


@contextmanager
def duplicates(scene: Scene) -> Iterator[dict[str, str]]:
    """Titles that occur more than once."""
    scene.plant(0, UNIQUE, *BEFORE, schema=SCHEMA)
    scene.database.execute(ROWS)
    yield {}


@contextmanager
def duplicates_shown(scene: Scene) -> Iterator[dict[str, str]]:
    """The same, and values may be told."""
    with duplicates(scene):
        yield {"SIDECAR_SHOW_VALUES": "true"}


@contextmanager
def another_owner(scene: Scene) -> Iterator[dict[str, str]]:
    """A role that may use everything and owns nothing."""
    scene.plant(0, UNIQUE, *BEFORE, schema=SCHEMA)
    role = scene.database.role(createdb=True, owner=False)
    scene.database.execute(
        f"GRANT ALL ON SCHEMA momentum TO {role.name};"
        f"GRANT ALL ON ALL TABLES IN SCHEMA momentum TO {role.name}"
    )
    url = scene.database.url(user=role.name, password=role.password, schema=SCHEMA)
    yield {"DATABASE_URL": url}


@contextmanager
def somebody(scene: Scene) -> Iterator[dict[str, str]]:
    """A transaction that somebody left open."""
    scene.plant(0, UNIQUE, *BEFORE, schema=SCHEMA)
    with closing(scene.database.connect(application_name="psql")) as holder:
        holder.execute("BEGIN")
        holder.execute("UPDATE momentum.mm_issue SET done = true")
        yield {"SIDECAR_LOCK_TIMEOUT": "500ms", "SIDECAR_REPAIR_TIMEOUT": "0s"}


@dataclass(frozen=True, slots=True)
class Example:
    """The section it stands in, the number of its block there, and the situation."""

    section: str
    number: int
    situation: Callable[[Scene], AbstractContextManager[dict[str, str]]]


EXAMPLES = (
    Example("Rows in the way of a unique index", 0, duplicates),
    Example("Rows in the way of a unique index", 1, duplicates_shown),
    Example("A right that is missing", 0, another_owner),
    Example("Somebody in the way", 0, somebody),
)


def block_of(example: Example) -> re.Pattern[str]:
    """The block of an example: what is before it, its text, and its end."""
    blocks = r"(?:(?:(?!\n###? ).)*?\n```\n(?:(?!```).)*?```\n)"
    before = rf"\n### {example.section}\n{blocks}{{{example.number}}}(?:(?!\n###? ).)*?\n```\n"
    return re.compile(rf"({before})(.*?)(```\n)", re.DOTALL)


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.situation.__name__)
def test_the_example_is_what_run_says(
    latest_database: Database, tmp_path: Path, example: Example
) -> None:
    """Each example is the end of the log of `run` in that situation, word for word."""
    environ = {"DATABASE_URL": latest_database.url(schema=SCHEMA)}
    scene = Scene(latest_database, tmp_path / "migrations", environ)
    with example.situation(scene) as variables:
        ended = scene.run(**variables)
    assert ended.code == 4, ended.what
    assert ended.outcome is not None
    seen = normalised("\n".join(summary_lines(ended.outcome)) + "\n", scene.folder)
    seen = re.sub(r'"role_\w+"', '"app"', seen)
    seen = re.sub(r"terminate_backend\(\d+\)", "terminate_backend(4711)", seen)
    if WRITES:
        text = PAGE.read_text(encoding="utf-8")
        new = block_of(example).sub(lambda match: match[1] + seen + match[3], text)
        PAGE.write_text(new, encoding="utf-8")
    shown = block_of(example).search(PAGE.read_text(encoding="utf-8"))
    assert shown, f"docs/findings.md has no block for {example.section}"
    assert shown[2] == seen, f"accept the new text with {VARIABLE}=1"
