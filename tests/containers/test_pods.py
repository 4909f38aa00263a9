"""The manifests of deploy/kubernetes as real pods (podman), on a real PostgreSQL.

Each pod is what kustomize builds from a kustomization such as a user writes, and logs in with
the role of docs/least-privilege.sql.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.containers.engine import Engine
from tests.containers.pods import Podman, Stage, stage, usable_podman
from tests.containers.pods_build import Build, built_images, changed
from tests.containers.pods_incident import BY_HAND, LEDGER_STATE, OBJECTS, planted
from tests.incident import FAILED

pytestmark = pytest.mark.pods

AFTER_THE_INCIDENT = "3|2|0"
REPAIRED = "4|3|1"


@pytest.fixture(scope="session")
def podman(engine: Engine, sidecar_image: str) -> Podman:
    """podman with the sidecar's image, a PostgreSQL and a backend."""
    return usable_podman(engine, built_images(engine, sidecar_image))


@pytest.fixture
def there(podman: Podman, tmp_path: Path) -> Iterator[Stage]:
    """A database that is up and empty, and the Secrets."""
    with stage(podman, tmp_path) as made:
        yield made


@pytest.fixture
def build(podman: Podman, tmp_path: Path) -> Build:
    """Builds a kustomization of a user's own with our images in it."""
    return Build(podman.images, tmp_path)


def test_a_healthy_database_lets_the_backend_start(there: Stage, build: Build) -> None:
    """Exit 0: the backend is started and serves; the message says healthy."""
    there.sql(planted(len(FAILED.statements)))
    pod = there.play(build.deployment())
    assert pod.ended.code == 0, pod.said
    assert pod.answer() == "200"
    assert pod.message == "healthy: no failed migration; 3 applied, 0 pending"


@pytest.mark.parametrize("way", ["deployment", "with_component"])
def test_the_incident_is_repaired_before_the_backend_starts(
    there: Stage, build: Build, way: str
) -> None:
    """Half-done, policy forward, least privileges, 256 MiB: repaired, proven, then started."""
    there.sql(planted(1))
    assert (there.sql(LEDGER_STATE), there.sql(OBJECTS)) == (AFTER_THE_INCIDENT, "1")
    pod = there.play(getattr(build, way)())
    assert pod.ended.code == 0, pod.said
    assert pod.answer() == "200"
    assert (there.sql(LEDGER_STATE), there.sql(OBJECTS)) == (REPAIRED, "4")
    head, finding = pod.message.splitlines()[:2]
    assert head == "repaired (exit 0): repaired and proven: 20251208175358_add_scheduled_issues."
    assert "partly-applied (1 of 4 statements took effect); resume: committed" in finding


UIDS = {"the image's own": 65532, "any other": 1234567}


@pytest.mark.parametrize("uid", UIDS.values(), ids=UIDS)
def test_a_halt_keeps_the_backend_from_starting(there: Stage, build: Build, uid: int) -> None:
    """Exit 3: the backend is never started, nothing is changed, the message tells why.

    Under any numeric user, on a read-only root.
    """
    there.sql(planted(1, BY_HAND))
    users = [changed(number, "securityContext/runAsUser", uid) for number in (0, 1)]
    pod = there.play(build.deployment(*users))
    assert pod.ended.code != 0
    assert "exited with code 3" in pod.ended.err
    assert pod.state("migration-sidecar") == ("exited", 3)
    assert pod.state("backend") == ("created", 0)
    assert (there.sql(LEDGER_STATE), there.sql(OBJECTS)) == (AFTER_THE_INCIDENT, "1")
    head, finding, step = pod.message.splitlines()[:3]
    assert head.startswith("halted (exit 3): ")
    assert f"{FAILED.name}: diverged" in finding
    assert step.startswith("next: ")
    assert "Nothing was changed." in pod.message
    assert there.sql("SELECT count(*) FROM pg_database WHERE datname LIKE '%shadow%'") == "0"


def test_no_database_is_told_apart_from_a_halt(
    podman: Podman, build: Build, tmp_path: Path
) -> None:
    """Exit 124: the message says that PostgreSQL was not ready, and what to run."""
    with stage(podman, tmp_path, server=False) as nowhere:
        pod = nowhere.play(build.deployment(SIDECAR_WAIT_TIMEOUT="1s", SIDECAR_LOGIN_GRACE="0s"))
        assert "exited with code 124" in pod.ended.err
        assert pod.state("backend") == ("created", 0)
        assert pod.message.startswith("not-ready (exit 124): ")
        assert "next: " in pod.message


def test_wrong_settings_leave_the_message_to_the_log(there: Stage, build: Build) -> None:
    """Exit 2: no message is written, so that `FallbackToLogsOnError` shows every mistake."""
    pod = there.play(build.deployment(SIDECAR_POLICY="hope", SIDECAR_WAIT_TIMEOUT="soon"))
    assert pod.state("migration-sidecar") == ("exited", 2)
    assert pod.message == ""
    assert all(name in pod.logs() for name in ("SIDECAR_POLICY", "SIDECAR_WAIT_TIMEOUT"))


def test_scripts_that_cannot_be_copied_end_the_start(there: Stage, build: Build) -> None:
    """A wrong path in the backend's image fails the copy; the sidecar does not run without it."""
    there.sql(planted(1))
    wrong = changed(0, "command/2", "/app/elsewhere/.")
    pod = there.play(build.deployment(wrong))
    assert pod.ended.code != 0
    assert pod.state("copy-migrations")[1] == 1
    assert "/app/elsewhere" in pod.logs("copy-migrations")
    assert pod.state("backend") == ("created", 0)
    assert pod.message == ""
    assert there.sql(LEDGER_STATE) == AFTER_THE_INCIDENT


@pytest.mark.parametrize(("more", "code", "said"), [((), 0, "repaired"), ((BY_HAND,), 3, "halted")])
def test_the_job_says_it_by_its_exit_code(
    there: Stage, build: Build, more: tuple[str, ...], code: int, said: str
) -> None:
    """The Job's container ends with the sidecar's code, and its message."""
    there.sql(planted(1, *more))
    pod = there.play(build("../ours/job"))
    assert pod.wait() == code
    assert pod.message.startswith(f"{said} (exit {code}): ")
