"""Containers as compose would have made them, without compose: by their labels alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.command import Scene
from tests.containers.engine import Container, Engine
from tests.incident import Migration
from tests.postgres import Database

HALF = Migration("20260101000000_half", "CREATE TABLE one (id int);\nCREATE TABLE two (id int);\n")
"""Two statements, of which the tests leave one behind."""

SLEEPS = ("sleep", "600")
QUICK_CHECK = ("--health-interval", "300ms", "--health-timeout", "5s", "--health-retries", "2")


@dataclass(frozen=True, slots=True)
class Project:
    """A compose project of a test's own."""

    engine: Engine
    stack: ExitStack
    name: str
    folder: Path

    def service(
        self,
        service: str,
        image: str,
        *command: str,
        options: Sequence[str] = (),
        labels: Sequence[str] = (),
    ) -> Container:
        """A running container of a service; the labels are those that both composes set."""
        made = (
            f"com.docker.compose.project={self.name}",
            f"com.docker.compose.service={service}",
            f"com.docker.compose.project.working_dir={self.folder}",
            *(labels or ("com.docker.compose.oneoff=False",)),
        )
        more = (word for label in made for word in ("--label", label))
        # An init as process 1, or `sleep` would ignore being told to stop.
        started = self.engine.container(image, *command, options=("--init", *more, *options))
        return self.stack.enter_context(started)


@contextmanager
def project(engine: Engine, folder: Path) -> Iterator[Project]:
    """A project whose compose file would lie in `folder`; its containers go with the block."""
    with ExitStack() as stack:
        yield Project(engine, stack, engine.name("project"), folder)


def half_done(database: Database, folder: Path, **environ: str) -> Scene:
    """A database with the half-done migration, which `run` completes."""
    scene = Scene(database, folder, environ)
    scene.plant(1, HALF)
    return scene


def is_repaired(database: Database) -> bool:
    """Whether the second table is there and no failed row is left."""
    rows = database.execute(
        "SELECT to_regclass('two') IS NOT NULL AND NOT EXISTS (SELECT FROM _prisma_migrations"
        " WHERE finished_at IS NULL AND rolled_back_at IS NULL)"
    )
    return bool(rows[0][0])


def started_at(container: Container) -> str:
    """When it was last started: another value after a restart."""
    return container.inspect("{{.State.StartedAt}}")
