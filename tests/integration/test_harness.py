"""The harness itself: what the other tests rely on."""

from __future__ import annotations

import os

import psycopg
import pytest

from tests.postgres import Database, Server


def test_database_is_fresh_and_of_the_named_version(database: Database) -> None:
    """A test gets an empty database on a real server of the version in its id."""
    version = int(database.execute("SHOW server_version_num")[0][0]) // 10000
    assert version == database.server.major
    assert (
        database.execute("SELECT 1 FROM pg_class WHERE relnamespace = 'public'::regnamespace") == []
    )


def test_password_counts_over_tcp(latest_database: Database) -> None:
    """The URL of a database is checked by password, so that a wrong one can be tested."""
    psycopg.connect(latest_database.url()).close()
    with pytest.raises(psycopg.OperationalError, match="password"):
        psycopg.connect(latest_database.url(password="wrong"))  # noqa: S106


@pytest.mark.parametrize("createdb", [True, False])
def test_role_is_not_a_superuser(latest_database: Database, *, createdb: bool) -> None:
    """A role of a test may create databases only if the test says so."""
    role = latest_database.role(createdb=createdb)
    with psycopg.connect(latest_database.url(user=role.name, password=role.password)) as connection:
        row = connection.execute(
            "SELECT rolsuper, rolcreatedb FROM pg_roles WHERE rolname = current_user"
        ).fetchone()
    assert row == (False, createdb)


def test_dump_tells_databases_apart(database: Database) -> None:
    """Equal databases dump equally; one more row or comment shows."""
    database.execute("CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1)")
    copy = database.clone()
    assert database.dump() == copy.dump()
    assert "SET " not in database.dump()
    copy.execute("INSERT INTO t VALUES (2)")
    assert database.dump() != copy.dump()
    assert database.dump(data=False) == copy.dump(data=False)
    copy.execute("COMMENT ON TABLE t IS 'x'")
    assert database.dump(data=False) != copy.dump(data=False)


@pytest.mark.parametrize("mode", ["fast", "immediate"])
def test_server_keeps_its_address_over_a_restart(latest: Server, mode: str) -> None:
    """A test may stop and start a server; URLs and data stay good."""
    latest.run_sql("CREATE TABLE IF NOT EXISTS kept ()")
    latest.stop(mode)
    with pytest.raises(psycopg.OperationalError):
        latest.connect()
    latest.start()
    latest.run_sql("DROP TABLE kept")


def test_environment_is_scrubbed() -> None:
    """Nothing of the machine's PostgreSQL settings reaches a test."""
    assert not [name for name in os.environ if name.startswith(("PG", "SIDECAR_", "DATABASE_URL"))]
