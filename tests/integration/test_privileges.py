"""Roles that may do less than a superuser: which right is missing is said, nothing is broken."""

from __future__ import annotations

import subprocess
import uuid
from pathlib import Path

import pytest

from sidecar.demo import SCHEMA
from sidecar.embedded import bundled_bindir
from sidecar.errors import ExitCode
from tests import incident
from tests.command import ROOT, Scene, shadows, unchanged
from tests.incident import BEFORE, FAILED, Migration, Mode
from tests.integration.test_ledger_and_folder import outcome
from tests.postgres import Database, Role, fresh_database

INIT = Migration("1_init", "CREATE TABLE item (id int PRIMARY KEY, code text);\n")
ALTER = Migration("2_alter", "CREATE TABLE tag (id int);\nALTER TABLE item ADD COLUMN more int;\n")
IN_PARTS = Migration(
    "2_parts",
    "CREATE TABLE tag (id int);\nCREATE INDEX CONCURRENTLY tag_id ON tag (id);\n"
    "ALTER TABLE item ADD COLUMN more int;\n",
)
TAGS = Migration("2_tags", "CREATE TABLE tag (id int);\nCREATE TABLE more (id int);\n")

LEDGER_RIGHTS = "GRANT SELECT, INSERT, UPDATE ON _prisma_migrations TO {role}"
SCHEMA_RIGHTS = "GRANT USAGE, CREATE ON SCHEMA public TO {role}"


@pytest.fixture
def scene(latest_database: Database, tmp_path: Path) -> Scene:
    """A database of its own, which belongs to the superuser, and a folder that tests fill."""
    return Scene(latest_database, tmp_path / "migrations")


@pytest.fixture
def role(scene: Scene) -> Role:
    """A role which may make a shadow and owns nothing."""
    return scene.database.role(createdb=True, owner=False)


def login(scene: Scene, role: Role) -> dict[str, str]:
    """The settings with which this role logs in."""
    url = scene.database.url(user=role.name, password=role.password, schema="public")
    return {"DATABASE_URL": url}


def grant(scene: Scene, role: Role, *rights: str) -> None:
    """Give the role these rights."""
    for right in rights:
        scene.database.execute(right.format(role=role.name))


def test_a_ledger_that_may_not_be_read(scene: Scene, role: Role) -> None:
    """Without rights on the ledger: exit 3, and the GRANT to type. Never "no table"."""
    scene.plant(1, TAGS, INIT)
    grant(scene, role, SCHEMA_RIGHTS)
    with unchanged(scene.database):
        ended = scene.run(**login(scene, role))
    assert ended.code == ExitCode.HALTED
    assert 'may not read "public"."_prisma_migrations"' in ended.what
    grants = 'GRANT SELECT, INSERT, UPDATE ON "public"."_prisma_migrations" TO <role>;'
    assert grants in ended.next_steps


def test_a_schema_that_may_not_be_used(scene: Scene, role: Role) -> None:
    """A ledger in a schema without USAGE is there all the same: exit 3, and the GRANTs."""
    scene.plant(1, TAGS, INIT, schema="app")
    with unchanged(scene.database):
        ended = scene.run(DATABASE_URL=login(scene, role)["DATABASE_URL"].replace("public", "app"))
    assert ended.code == ExitCode.HALTED
    assert 'GRANT USAGE ON SCHEMA "app" TO <role>;' in ended.next_steps


def test_the_grants_that_were_named_suffice(scene: Scene, role: Role) -> None:
    """With the rights that were asked for, and CREATE in its schema, the role repairs."""
    scene.plant(1, TAGS, INIT)
    grant(scene, role, SCHEMA_RIGHTS, LEDGER_RIGHTS)
    assert outcome(scene.run(**login(scene, role))) == (0, "repaired")


def test_a_table_of_somebody_else(scene: Scene, role: Role) -> None:
    """Who may not alter the table fails with 42501: exit 4, every bit as it was."""
    scene.plant(1, ALTER, INIT)
    grant(scene, role, SCHEMA_RIGHTS, LEDGER_RIGHTS)
    with unchanged(scene.database):
        ended = scene.run(**login(scene, role))
    assert outcome(ended) == (4, "repair-failed")
    assert "must be owner of table item" in ended.what
    assert "SQLSTATE 42501" in ended.what
    assert shadows(scene.database) == []


def test_a_ledger_that_may_only_be_read(scene: Scene, role: Role) -> None:
    """Reading is allowed, writing is not: the repair is rolled back as a whole, exit 4."""
    scene.plant(1, TAGS, INIT)
    grant(scene, role, SCHEMA_RIGHTS, "GRANT SELECT ON _prisma_migrations TO {role}")
    with unchanged(scene.database):
        ended = scene.run(**login(scene, role))
    assert outcome(ended) == (4, "repair-failed")
    assert "42501" in ended.what
    assert "_prisma_migrations" in ended.what


def test_a_schema_in_which_nothing_may_be_made(scene: Scene, role: Role) -> None:
    """Without CREATE on the schema: exit 4 with 42501, every bit as it was."""
    scene.plant(1, TAGS, INIT)
    grant(scene, role, "GRANT USAGE ON SCHEMA public TO {role}", LEDGER_RIGHTS)
    with unchanged(scene.database):
        ended = scene.run(**login(scene, role))
    assert outcome(ended) == (4, "repair-failed")
    assert "permission denied for schema public" in ended.what


RIGHTS = {
    "ALTER TABLE public.item OWNER TO {role};": "ALTER TABLE item OWNER TO {role}",
    "GRANT CREATE ON SCHEMA public TO {role};": "GRANT CREATE ON SCHEMA public TO {role}",
    'GRANT INSERT ON "public"."_prisma_migrations" TO {role};': (
        "GRANT INSERT ON _prisma_migrations TO {role}"
    ),
    'GRANT UPDATE ON "public"."_prisma_migrations" TO {role};': (
        "GRANT UPDATE ON _prisma_migrations TO {role}"
    ),
}
"""What is asked for, and how a test gives it."""


@pytest.mark.parametrize("lacking", RIGHTS)
def test_a_right_that_a_repair_in_parts_lacks(scene: Scene, role: Role, lacking: str) -> None:
    """What would be refused half-way is told, by name, before anything is changed: exit 3."""
    scene.plant(0, IN_PARTS, INIT)
    others = [given for asked, given in RIGHTS.items() if asked != lacking]
    reading = "GRANT SELECT ON _prisma_migrations TO {role}"
    grant(scene, role, "GRANT USAGE ON SCHEMA public TO {role}", reading, *others)
    with unchanged(scene.database):
        ended = scene.run(**login(scene, role))
    assert outcome(ended) == (ExitCode.HALTED, "halted")
    assert f"the role {role.name} lacks rights" in ended.what
    assert ended.next_steps == (lacking.format(role=role.name),)
    grant(scene, role, RIGHTS[lacking])
    assert outcome(scene.run(**login(scene, role))) == (0, "repaired")


def test_no_shadow_database_may_be_made(scene: Scene) -> None:
    """Without CREATEDB, and with nothing else on the ladder: exit 3 names the ways to one."""
    role = scene.database.role(owner=False)
    scene.plant(1, TAGS, INIT)
    grant(scene, role, SCHEMA_RIGHTS, LEDGER_RIGHTS)
    with unchanged(scene.database):
        ended = scene.run(SIDECAR_SHADOW="server", **login(scene, role))
    assert outcome(ended) == (3, "halted")
    assert "the role may not create databases (it lacks CREATEDB)" in str(ended.finding.missing)
    assert "ALTER ROLE <role> CREATEDB;" in str(ended.finding.missing)


@pytest.mark.parametrize("right", ["GRANT SELECT ON _prisma_migrations TO {role}"])
def test_reading_needs_no_more_than_reading(scene: Scene, role: Role, right: str) -> None:
    """`status` needs SELECT on the ledger and a shadow, nothing else in the database."""
    scene.plant(1, TAGS, INIT)
    grant(scene, role, right)
    with unchanged(scene.database):
        ended = scene.status(**login(scene, role))
    assert ended.finding.applied == 1


def test_a_healthy_run_needs_only_the_ledger(scene: Scene, role: Role) -> None:
    """Nothing failed: SELECT on the ledger is all that was asked of the database."""
    scene.plant(2, TAGS, INIT)
    scene.database.execute("UPDATE _prisma_migrations SET finished_at = now()")
    grant(scene, role, "GRANT SELECT ON _prisma_migrations TO {role}")
    assert outcome(scene.run(**login(scene, role))) == (0, "healthy")


# --- the script in docs ---------------------------------------------------------------


@pytest.fixture
def least(scene: Scene) -> Role:
    """A role to which docs/least-privilege.sql gave its rights in a database closed to others."""
    database, role = scene.database, Role(f"least_{uuid.uuid4().hex[:12]}", uuid.uuid4().hex)
    incident.write_migrations(scene.folder)
    with database.connect() as connection:
        incident.plant(connection, statements=1, mode=Mode.KILLED)
    database.execute(f"REVOKE ALL ON DATABASE {database.name} FROM PUBLIC")
    database.resources.callback(database.server.run_sql, f"DROP ROLE {role.name}")
    psql = [str(bundled_bindir() / "psql"), "-qX", "-v", f"role={role.name}"]
    script = str(ROOT / "docs" / "least-privilege.sql")
    subprocess.run([*psql, "-v", f"schema={SCHEMA}", "-f", script, database.conninfo], check=True)
    database.execute(f"ALTER ROLE {role.name} PASSWORD '{role.password}'")
    return role


def test_the_least_privileges_repair_the_incident(scene: Scene, least: Role) -> None:
    """The grants of docs/least-privilege.sql, and no others, are enough for the repair."""
    url = scene.database.url(user=least.name, password=least.password, schema=SCHEMA)
    assert outcome(scene.run(DATABASE_URL=url)) == (0, "repaired")
    assert outcome(scene.run(DATABASE_URL=url)) == (0, "healthy")
    with fresh_database(scene.database.server) as clean:
        with clean.connect() as connection:
            incident.clean_run(connection, (*BEFORE, FAILED))
        facts = "SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint ORDER BY 1"
        indexes = "SELECT indexdef FROM pg_indexes WHERE schemaname = 'momentum' ORDER BY 1"
        for query in (facts, indexes):
            assert scene.database.execute(query) == clean.execute(query)


def test_the_readme_names_the_script() -> None:
    """Who reads what the role needs finds it."""
    assert "docs/least-privilege.sql" in (ROOT / "README.md").read_text(encoding="utf-8")
