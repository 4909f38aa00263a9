"""A PostgreSQL in a container for the image's tests: the one that the variant `embedded` has."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import psycopg

from tests.containers.engine import Container, Engine, wait_until

OWNER = "mm_admin_dev"
DATABASE = "mm_primary_dev"

_SERVE = """
cp -r /opt/postgres/data /tmp/data && chmod 700 /tmp/data
echo 'host all all all trust' >> /tmp/data/pg_hba.conf
exec /opt/postgres/bin/postgres -D /tmp/data -c listen_addresses='*' -c fsync=off \
  -c unix_socket_directories=/tmp
"""


@dataclass(frozen=True, slots=True)
class ImageServer:
    """A running server: `network` and `host` for containers, `port` on this machine's loopback."""

    engine: Engine
    container: Container
    network: str
    port: int

    @property
    def host(self) -> str:
        return self.container.name

    def connect(
        self, database: str = DATABASE, user: str = "postgres"
    ) -> psycopg.Connection[tuple[Any, ...]]:
        """An autocommit connection from outside; the caller closes it."""
        return psycopg.connect(
            host="127.0.0.1", port=self.port, user=user, dbname=database, autocommit=True
        )

    def url(self, schema: str = "momentum") -> str:
        """DATABASE_URL for a container in `network`."""
        return f"postgresql://{OWNER}@{self.host}:5432/{DATABASE}?schema={schema}"

    def options(self, *more: str) -> tuple[str, ...]:
        """Options of `docker run` that lead to the database."""
        return ("--network", self.network, "--env", f"DATABASE_URL={self.url()}", *more)


@contextmanager
def image_server(engine: Engine, embedded_image: str) -> Iterator[ImageServer]:
    """A server with an empty database whose owner may not create another one."""
    with (
        engine.network() as network,
        engine.container(
            embedded_image,
            *("-c", _SERVE),
            options=(
                "--network",
                network,
                "--publish",
                "127.0.0.1::5432",
                "--tmpfs",
                "/tmp",  # noqa: S108
                "--entrypoint",
                "sh",
            ),
        ) as container,
    ):
        port = int(engine.docker("port", container.name, "5432/tcp").out.rsplit(":", 1)[1])
        server = ImageServer(engine, container, network, port)
        wait_until(lambda: _answers(server))
        with server.connect("postgres") as connection:
            connection.execute(f"CREATE ROLE {OWNER} LOGIN NOCREATEDB")
            connection.execute(f"CREATE DATABASE {DATABASE} OWNER {OWNER}")
        yield server


def _answers(server: ImageServer) -> bool:
    try:
        server.connect("postgres").close()
    except psycopg.OperationalError:
        return False
    return True
