"""The real Prisma command line on a project of a test's own, and its engines of other days.

The CLI of 6.19 runs here with its WebAssembly engine and the `pg` driver adapter: it cuts a
script at every semicolon and commits each piece alone. The two native engines, whose binaries
npm does not carry, are emulated as they behave on the wire: `batch_deploy` sends the file as one
message (up to 7.3), `native_split_deploy` sends it by statements (from 7.4).
"""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import psycopg

from tests import incident, node
from tests.incident import Connection, Migration

TIMEOUT_S = 60

SCHEMA = """\
datasource db {
  provider = "postgresql"
  url      = env("DATABASE_URL")
}
"""

CONFIG = """\
import { defineConfig } from '@prisma/config'
import { PrismaPg } from '@prisma/adapter-pg'

// The engine never clears the timer of its advisory lock: a finished command would live on for
// 10 s, and hold the lock. Such a timer alone must not keep the process alive.
const { setTimeout } = globalThis
globalThis.setTimeout = (run, ms, ...rest) => {
  const timer = setTimeout(run, ms, ...rest)
  return ms >= 10_000 ? timer.unref() : timer
}

// The adapter does not know `?schema=`, which to Prisma is the whole search_path.
const url = new URL(process.env.DATABASE_URL)
const schema = url.searchParams.get('schema') ?? 'public'
url.searchParams.delete('schema')
url.searchParams.set('options', `-csearch_path="${schema}"`)

export default defineConfig({
  experimental: { adapter: true },
  engine: 'js',
  schema: 'prisma/schema.prisma',
  adapter: async () =>
    new PrismaPg({ connectionString: url.href, allowExitOnIdle: true }, { schema }),
})
"""


class Result(NamedTuple):
    """How a command ended, and what it said on both streams."""

    exit_code: int
    output: str


@dataclass(frozen=True, slots=True)
class PrismaProject:
    """A directory with a schema, migrations and the CLI; `database_url` is in Prisma's dialect."""

    path: Path
    database_url: str

    @classmethod
    def create(cls, path: Path, database_url: str) -> PrismaProject:
        """Make the project in `path`, which may exist; installs the CLI where it is missing."""
        project = cls(path, database_url)
        project.migrations.mkdir(parents=True)
        (project.migrations / "migration_lock.toml").write_text('provider = "postgresql"\n')
        (path / "prisma" / "schema.prisma").write_text(SCHEMA)
        (path / "prisma.config.ts").write_text(CONFIG)
        (path / "node_modules").symlink_to(node.install())
        return project

    @property
    def migrations(self) -> Path:
        return self.path / "prisma" / "migrations"

    def write_migration(self, name: str, sql: str) -> Path:
        """Write `NAME/migration.sql`, over an older one if there is one; returns the file."""
        file = self.migrations / name / "migration.sql"
        file.parent.mkdir(exist_ok=True)
        file.write_text(sql)
        return file

    def deploy(self) -> Result:
        """`prisma migrate deploy`."""
        return self.migrate("deploy")

    def status(self) -> Result:
        """`prisma migrate status`."""
        return self.migrate("status")

    def resolve(self, *, applied: str | None = None, rolled_back: str | None = None) -> Result:
        """`prisma migrate resolve` with one of its two flags."""
        flags = {"--applied": applied, "--rolled-back": rolled_back}
        return self.migrate(
            "resolve", *[x for flag, name in flags.items() if name for x in (flag, name)]
        )

    def migrate(self, *arguments: str) -> Result:
        """Run `prisma migrate ...` to its end."""
        with self.start(*arguments) as process:
            try:
                output, _ = process.communicate(timeout=TIMEOUT_S)
            except subprocess.TimeoutExpired:
                process.kill()
                raise
        return Result(process.returncode, output)

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Start `prisma migrate ...` and return its one process, which a test may kill."""
        return subprocess.Popen(
            ["node", "node_modules/prisma/build/index.js", "migrate", *arguments],
            cwd=self.path,
            env=self._environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def _environment(self) -> dict[str, str]:
        """`true` stands for the native engines, which the CLI would otherwise fetch.

        It is asked one thing: before `resolve --rolled-back`, whether the database answers. It
        says yes, and the command itself then goes through the adapter like all the others.
        """
        yes = shutil.which("true") or "/bin/true"
        return {
            "CHECKPOINT_DISABLE": "1",
            "DATABASE_URL": self.database_url,
            "HOME": str(self.path),
            "NO_COLOR": "1",
            "PATH": os.environ["PATH"],
            "PRISMA_HIDE_UPDATE_MESSAGE": "1",
            "PRISMA_QUERY_ENGINE_LIBRARY": yes,
            "PRISMA_SCHEMA_ENGINE_BINARY": yes,
        }


def batch_deploy(
    connection: Connection, name: str, sql: str, *, schema: str = incident.SCHEMA
) -> str:
    """Deploy it like the native engine up to 7.3: the whole file in one message.

    Returns the row's id. An error of the server is logged in the row, as P3018, not raised; a
    script that fails inside its own BEGIN loses even that (25P02), as with the real engine.
    """
    return _deploy(connection, Migration(name, sql), (sql,), schema)


def native_split_deploy(
    connection: Connection, migration: Migration, *, schema: str = incident.SCHEMA
) -> str:
    """Deploy it like the native engine from 7.4 on: statement by statement. Else as above."""
    return _deploy(connection, migration, migration.statements, schema)


def _deploy(
    connection: Connection, migration: Migration, messages: tuple[str, ...], schema: str
) -> str:
    row = incident.start(connection, migration, schema)
    try:
        for message in messages:
            incident.run(connection, message, schema)
    except psycopg.Error as error:
        if connection.info.transaction_status is psycopg.pq.TransactionStatus.INERROR:
            connection.rollback()
            return row
        sqlstate, text = error.sqlstate or "none", _as_the_engine_prints(error)
        log = incident.native_log(migration.name, sqlstate, text)
        incident.log_error(connection, row, log, schema)
        return row
    incident.finish(connection, row, schema)
    return row


def _as_the_engine_prints(error: psycopg.Error) -> str:
    """`ERROR: message`, its detail and hint, and the fields as tokio-postgres shows them."""
    diag = error.diag
    lines = [f"ERROR: {diag.message_primary}"]
    lines += [f"DETAIL: {diag.message_detail}"] if diag.message_detail else []
    lines += [f"HINT: {diag.message_hint}"] if diag.message_hint else []
    fields = {
        "severity": _quoted("ERROR"),
        "parsed_severity": "Some(Error)",
        "code": f"SqlState(E{diag.sqlstate})",
        "message": _quoted(diag.message_primary),
        "detail": _optional(diag.message_detail),
        "hint": _optional(diag.message_hint),
        "position": f"Some(Original({diag.statement_position}))"
        if diag.statement_position
        else "None",
        "where_": _optional(diag.context),
        "schema": _optional(diag.schema_name),
        "table": _optional(diag.table_name),
        "column": _optional(diag.column_name),
        "datatype": _optional(diag.datatype_name),
        "constraint": _optional(diag.constraint_name),
        "file": _optional(diag.source_file),
        "line": f"Some({diag.source_line})",
        "routine": _optional(diag.source_function),
    }
    shown = ", ".join(f"{name}: {value}" for name, value in fields.items())
    return "\n".join(lines) + f"\n\nDbError {{ {shown} }}"


def _optional(text: str | None) -> str:
    return f"Some({_quoted(text)})" if text else "None"


def _quoted(text: str | None) -> str:
    """As Rust's `{:?}` prints a string."""
    escaped = (text or "").replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'
