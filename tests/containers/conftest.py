"""What every container test may ask for: an engine that answers, and our images on it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.containers import images
from tests.containers.compose_scenarios import empty_postgres, saw, stack, stack_image_names
from tests.containers.engine import Engine, running_engine
from tests.containers.images import Target

__all__ = ["empty_postgres", "saw", "stack", "stack_image_names"]  # fixtures of the compose suite


@pytest.fixture(scope="session")
def engine() -> Iterator[Engine]:
    """A Docker Engine; everything with the session's label is removed at the end."""
    with running_engine() as engine:
        yield engine


@pytest.fixture(scope="session")
def base_image(engine: Engine) -> str:
    """The tag of the base of our images: Debian with Python 3.13."""
    return images.base_image(engine)


@pytest.fixture(scope="session")
def sidecar_image(engine: Engine) -> str:
    """The tag of the image `migration-sidecar`."""
    return images.sidecar_image(engine)


@pytest.fixture(scope="session")
def embedded_image(engine: Engine) -> str:
    """The tag of the variant that carries a private PostgreSQL."""
    return images.sidecar_image(engine, Target.EMBEDDED)
