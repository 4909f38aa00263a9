"""Reads the history: the `_prisma_migrations` table and the migrations folder.

Both are read exactly as Prisma reads them (packages/migrate `listMigrations.ts`,
sql-schema-connector `flavour/postgres.rs`), oddities included, because agreeing with
Prisma afterwards is part of the promise.
"""

from __future__ import annotations

import os
import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sidecar.db import Session, identifier
from sidecar.dsn import Target
from sidecar.errors import ConfigError, DatabaseError, HaltError
from sidecar.model import Folder, Ledger, LedgerRow, MigrationFile, MigrationName
from sidecar.queries import LEDGER, SERVER

_PUNCTUATION = " _-,;:!?.'\"()[]{}@*/\\&#%`^+<=>|~$"
"""ASCII punctuation in the order of the root collation (CLDR), which sorts before digits."""

_CHOOSE_LEDGER = ("If the ledger is elsewhere, set SIDECAR_LEDGER_SCHEMA, then start again.",)


_NEVER_NULL = {"checksum": 1, "migration_name": 2, "started_at": 3, "applied_steps_count": 7}
"""Columns of the query LEDGER that Prisma always writes."""


@dataclass(frozen=True, slots=True)
class Server:
    """What the first query tells of the server and the database."""

    version: str
    in_recovery: bool
    read_only: bool
    search_path: str
    schemas: tuple[str, ...]
    database_oid: int
    ledger_schemas: tuple[str, ...]
    prisma_8: bool
    has_tables: bool


def read_server(session: Session) -> Server:
    """One round trip; raises `DatabaseError`."""
    row = session.query(SERVER)[0]
    version, in_recovery, read_only, search_path, schemas, oid, ledgers, prisma_8, tables = row
    return Server(
        version=version,
        in_recovery=in_recovery,
        read_only=read_only,
        search_path=search_path,
        schemas=tuple(schemas),
        database_oid=oid,
        ledger_schemas=tuple(ledgers),
        prisma_8=prisma_8,
        has_tables=tables,
    )


def ledger_schema(server: Server, *, wanted: str | None, url_schema: str | None) -> str | None:
    """The schema whose `_prisma_migrations` is ours, or None where there is none.

    `wanted` is the explicit setting, `url_schema` Prisma's `?schema=`. Prisma addresses the
    table unqualified, so the first schema of the search path that has one wins. Other
    tenants' ledgers are not ours: with `?schema=` only `public` comes into question beside
    it, where driver adapters put the table. Raises `ConfigError` where it would be a guess.
    """
    found = server.ledger_schemas
    if wanted is not None:
        return wanted if wanted in found else None
    if url_schema is not None:
        return next((schema for schema in (url_schema, "public") if schema in found), None)
    first = next((schema for schema in server.schemas if schema in found), None)
    if first is not None or len(found) <= 1:
        return first or next(iter(found), None)
    raise ConfigError(
        (f"several _prisma_migrations could be meant, in the schemas {', '.join(found)}",),
        next_steps=_CHOOSE_LEDGER,
    )


def refuse_strange_ledger(ledger: Ledger, *, wanted: str | None, url_schema: str | None) -> None:
    """Raise `ConfigError` where failed migrations of another schema than `?schema=` were found.

    A driver adapter ignores `?schema=` and keeps its ledger in `public`; the native engine
    does not, and then that ledger is somebody else's. Only a person can tell.
    """
    if wanted is not None or url_schema in {None, ledger.schema} or not ledger.failed:
        return
    what = f"the URL says schema={url_schema}, the failed migrations stand in {ledger.schema}"
    raise ConfigError(
        (f"{what}: they may be another application's",),
        next_steps=(f"If they are yours: SIDECAR_LEDGER_SCHEMA={ledger.schema}",),
    )


def search_path(server: Server, schema: str | None, *, target: Target) -> str:
    """The search path under which Prisma ran the scripts of the ledger in `schema`.

    Unqualified, the ledger landed in the first schema of that path (flavour/postgres.rs).
    """
    if schema is None or schema == target.schema:
        return target.search_path or server.search_path
    if target.schema is None and schema in server.schemas:
        return server.search_path
    return identifier(schema)


def read_ledger(session: Session, schema: str) -> Ledger:
    """All attempts by `started_at`. Raises `HaltError` naming the right that is missing.

    Also where the table has other columns than Prisma's.
    """
    table = identifier(schema, "_prisma_migrations")
    try:
        rows = session.query(LEDGER.format(ledger=table))
    except DatabaseError as exc:
        if exc.sqlstate == "42703":  # undefined_column
            what = f"{table} is not the table of Prisma ({exc.what}); nothing was changed"
            raise HaltError(what, next_steps=_CHOOSE_LEDGER) from exc
        if exc.sqlstate != "42501":
            raise
        what = f"the role may not read {table}; nothing was changed"
        raise HaltError(
            what,
            next_steps=(
                f"GRANT USAGE ON SCHEMA {identifier(schema)} TO <role>;",
                f"GRANT SELECT, INSERT, UPDATE ON {table} TO <role>;",
            ),
        ) from exc
    _refuse_strange_rows(rows, table)
    return Ledger(schema=schema, rows=tuple(LedgerRow(*row) for row in rows))


def _refuse_strange_rows(rows: Sequence[tuple[Any, ...]], table: str) -> None:
    """Prisma, too, refuses rows without these values (sql_migration_persistence.rs).

    Its key keeps ids apart; without the key a repair could write the wrong row.
    """
    for row in rows:
        holes = [name for name, at in _NEVER_NULL.items() if row[at] is None]
        if holes:
            what = (
                f"the row {row[0]!r} of {table} has no {', '.join(holes)}, as no engine writes it"
            )
            raise HaltError(
                f"{what}; nothing was changed",
                next_steps=(f"Give that row its {holes[0]} (a number of steps is 0 or 1).",),
            )
    if twice := [one for one, count in Counter(row[0] for row in rows).items() if count > 1]:
        raise HaltError(
            f"several rows of {table} have the id {twice[0]!r}; nothing was changed",
            next_steps=("Give each row an id of its own (gen_random_uuid()) and a primary key.",),
        )


def list_folder(path: str) -> tuple[tuple[MigrationName, ...], tuple[str, ...]]:
    """Names of the migrations in Prisma's order, and warnings; nothing is opened.

    A missing folder is an empty one, as it is for Prisma. Only real directories count:
    Prisma looks at `Dirent.isDirectory()`, so links to directories are not seen.
    """
    warnings: list[str] = []
    names: list[str] = []
    try:
        with os.scandir(path) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    names.append(entry.name)
                elif entry.is_symlink() and entry.is_dir():
                    warnings.append(f"{entry.name} is a link to a directory; Prisma ignores it")
    except FileNotFoundError:
        warnings.append(f"the migrations folder {path} does not exist")
    except OSError as exc:
        warnings.append(f"the migrations folder {path} cannot be read: {exc.strerror}")
    ordered = sorted(names, key=_collation_key)
    if ordered != sorted(names, key=os.fsencode):
        warnings.append("the folder's order differs between Prisma from 6.6 and before")
    return tuple(MigrationName(name) for name in ordered), tuple(warnings)


def read_folder(path: str) -> Folder:
    """The migrations folder with every script read. Never raises; problems stand in the files."""
    names, warnings = list_folder(path)
    files = tuple(read_migration(path, name) for name in names)
    return Folder(path=path, files=files, warnings=(*warnings, *_lock_file_warning(path)))


def lock_file_provider(path: str) -> str | None:
    """The provider in `migration_lock.toml`, or None where the file is absent.

    Read as Prisma reads it: the first line that starts with `provider`, the literal prefix
    `provider = ` removed, quotes trimmed (schema-connector `migrations_directory.rs`).
    """
    try:
        with Path(path, "migration_lock.toml").open(encoding="utf-8") as lock:
            lines = lock.read().splitlines()
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError):
        return "<UNREADABLE>"
    line = next((line for line in lines if line.startswith("provider")), "")
    return line.removeprefix("provider = ").strip('"') if line else "<PROVIDER NOT FOUND>"


def checksum_matches(stored: str, text: str) -> bool:
    """Whether Prisma would call the file unedited (schema-connector `checksum.rs`).

    It compares the text as it is, with LF and with CRLF line ends; a stored value of other
    than 64 digits is the old format, whose bytes were printed without leading zeros.
    """
    lf = text.replace("\r\n", "\n")
    digests = [_sha256(t) for t in (text, lf, lf.replace("\n", "\r\n"))]
    if len(stored) == 64:  # noqa: PLR2004 (hex digits of a sha256)
        return any(digest.hex() == stored for digest in digests)
    return any("".join(f"{byte:x}" for byte in digest) == stored for digest in digests)


def read_migration(path: str, name: MigrationName) -> MigrationFile:
    """One migration's script; never raises, what is wrong stands in `problem`."""
    try:
        with Path(path, name, "migration.sql").open("rb") as script:
            text = script.read().decode("utf-8", "replace")  # what Node's reader gives Prisma
    except OSError as exc:
        problem = f"{name}/migration.sql cannot be read: {exc.strerror}"
        return MigrationFile(name=name, text=None, problem=problem)
    return MigrationFile(name=name, text=text, checksum=_sha256(text).hex())


def _sha256(text: str) -> bytes:
    import hashlib  # it loads OpenSSL, which a healthy start does not need

    return hashlib.sha256(text.encode()).digest()


def _lock_file_warning(path: str) -> tuple[str, ...]:
    provider = lock_file_provider(path)
    if provider in {None, "postgresql"}:
        return ()
    return (f"migration_lock.toml names provider {provider}, not postgresql; Prisma says P3019",)


def _collation_key(name: str) -> tuple[list[tuple[int, str]], str, str]:
    """Sort key near to `localeCompare`: punctuation, digits, letters; case and accents last."""
    plain = "".join(c for c in unicodedata.normalize("NFD", name) if not unicodedata.combining(c))
    primary = [_rank(char) for char in plain.casefold()]
    return primary, unicodedata.normalize("NFD", name).casefold(), name.swapcase()


def _rank(char: str) -> tuple[int, str]:
    position = _PUNCTUATION.find(char)
    if position >= 0:
        return position, ""
    return (100, char) if char.isdigit() else (101, char)
