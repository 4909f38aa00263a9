"""A world: a past, a failed migration and how it failed, made real on PostgreSQL, and judged.

The claim under test has two good ends. Either the program exits 0, and the database is what
a clean run leaves (one that the same rivals met at the same places); or it says why it did
not, and the database is as it was. Everything else is `WRONG`.

What a clean run leaves is told by `pg_dump`, schema and rows, and by nothing of the program.
"""

from __future__ import annotations

import re
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from difflib import unified_diff
from enum import Enum
from itertools import combinations_with_replacement
from pathlib import Path
from typing import Any, NamedTuple, assert_never
from unittest.mock import patch

import psycopg

from sidecar import app, execute
from sidecar.embedded import bundled_bindir
from sidecar.model import OutcomeName, Plan, Refusal
from tests import incident
from tests.command import QUICK, Said, said
from tests.deep.past import Past
from tests.incident import Migration
from tests.postgres import Database, Server, fresh_database

NAME = "20250401000000_under_test"
QUARANTINE = "migration_sidecar_quarantine"

Connection = psycopg.Connection[tuple[Any, ...]]


class How(Enum):
    """How the script was sent, and how that came to its end after `reach` statements."""

    KILLED = "statement by statement, then killed: nothing logged"
    ERROR = "statement by statement, then an error, which is logged"
    BATCH = "one message, which ended; the bookkeeping was lost"
    BATCH_FAILED = "one message, in which a later statement fails; the error is logged"
    BATCH_KILLED = "one message, killed with its server process: rolled back, nothing logged"
    ADAPTER = "cut at every semicolon, then killed: nothing logged"
    ADAPTER_ERROR = "cut at every semicolon, then an error, logged without its code"


class Storage(Enum):
    """What happened to the rows since."""

    AS_WRITTEN = "as written"
    FROZEN = "VACUUM FREEZE of every table"
    ALL_FROZEN = "VACUUM FREEZE of the whole database, catalogs included"
    REWRITTEN = "VACUUM FULL of every table"
    COPIED_LEDGER_FIRST = "copied into an empty schema, as replication does, the ledger first"
    COPIED_LEDGER_LAST = "copied into an empty schema, the ledger last"
    RESTORED = "restored from a dump, statement by statement"
    RESTORED_AT_ONCE = "restored from a dump in a single transaction"


AT_LAST = 99
"""After the migration failed, however far it came."""


class Rival(NamedTuple):
    """One statement of the application, in a transaction of its own.

    `after` is the number of the statement behind which it came; -1 is before the migration
    began, and more than what was run is after it failed, as `AT_LAST` always is.
    """

    after: int
    sql: str


@dataclass(frozen=True, slots=True)
class World:
    """One example. `reach` is how many statements (pieces, for the adapter) were sent at all.

    With `cuts` a first repair is killed after so many of its transactions, if it has as
    many; then the application does what is in `meanwhile`.
    """

    script: tuple[str, ...]
    how: How = How.KILLED
    reach: int = 0
    past: Past = field(default_factory=Past)
    sqlstate: str = "23505"
    rivals: tuple[Rival, ...] = ()
    storage: Storage = Storage.AS_WRITTEN
    policy: str = "forward"
    cuts: int = 0
    meanwhile: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """The file."""
        return ";\n".join(self.script) + ";\n"

    @property
    def migration(self) -> Migration:
        """Its folder."""
        return Migration(NAME, self.text)

    def __str__(self) -> str:
        lines = [
            f"policy {self.policy}; rows: {self.storage.value}; SQLSTATE {self.sqlstate}",
            f"{self.how.name} ({self.how.value}); reach {self.reach} of {len(self.script)}",
            f"{self.past}",
            *(f"  {n}: {sql}" for n, sql in enumerate(self.script, start=1)),
            *(f"  rival after {rival.after}: {rival.sql}" for rival in self.rivals),
            *([f"  first repair killed after {self.cuts} transactions"] if self.cuts else []),
            *(f"  meanwhile: {sql}" for sql in self.meanwhile),
        ]
        return "\n".join(lines)


class End(Enum):
    """The good ends, those that need a look, and the one that must not be."""

    EXACT = "repaired exactly"
    GAP = "repaired exactly but for numbers that a sequence left out, or did not"
    REORDERED = "repaired as if the application had written at another moment"
    REFUSED = "refused, untouched"
    FAILED = "tried and rolled back, untouched"
    WRONG = "WRONG"


class Verdict(NamedTuple):
    """How it ended, and why so."""

    end: End
    why: str
    clean_fails: bool
    """The script itself cannot succeed on these rows."""


# --- running a script the way an engine does ----------------------------------------


def settled(script: tuple[str, ...], count: int) -> int:
    """How many of the first `count` statements are committed once their session is gone."""
    opened: int | None = None
    for number, statement in enumerate(script[:count]):
        word = statement.split(maxsplit=1)[0].upper()
        if word == "BEGIN" and opened is None:
            opened = number
        elif word in {"COMMIT", "ROLLBACK"}:
            opened = None
    return count if opened is None else opened


@dataclass(slots=True)
class Running:
    """A migration at work: its session, the one that keeps its books, and the application.

    `came` says where each rival did come: one meant for the middle of a transaction comes
    after it.
    """

    world: World
    session: Connection
    application: Connection
    waiting: list[Rival]
    came: list[Rival] = field(default_factory=list)

    def rivals(self, after: int, *, until: int | None = None) -> None:
        """Let the application do what it wanted to until now; what fails is its own affair."""
        last = after if until is None else until
        while self.waiting and self.waiting[0].after <= last:
            rival = self.waiting.pop(0)
            self.came.append(rival._replace(after=after))
            with suppress(psycopg.Error):
                self.application.execute(rival.sql)

    def one_by_one(
        self, statements: tuple[str, ...], *, first: int = 1
    ) -> tuple[int, psycopg.Error | None]:
        """The number of the last that succeeded, each sent alone, and why the next did not."""
        for number, statement in enumerate(statements, start=first):
            try:
                self.session.execute(statement)
            except psycopg.Error as error:
                return number - 1, error
            if settled(statements, number - first + 1) == number - first + 1:
                self.rivals(number)
        return first - 1 + len(statements), None

    def undo(self, statements: tuple[str, ...]) -> None:
        """Run them and roll them back."""
        self.session.execute("BEGIN")
        with suppress(psycopg.Error):
            for statement in statements:
                if statement not in {"BEGIN", "COMMIT"}:
                    self.session.execute(statement)
        self.session.execute("ROLLBACK")

    def one_message(self, text: str) -> tuple[int, psycopg.Error | None]:
        """How many succeeded, all sent together, and why the next did not."""
        server, done, error = self.session.pgconn, 0, None
        server.send_query(text.encode())
        while result := server.get_result():
            if result.status == psycopg.pq.ExecStatus.FATAL_ERROR:
                error = psycopg.errors.error_from_result(result)
            elif result.status != psycopg.pq.ExecStatus.EMPTY_QUERY:
                done += 1
        return done, error

    def failed_block(self) -> bool:
        """Whether the session is left in a transaction that can only be rolled back."""
        return self.session.info.transaction_status == psycopg.pq.TransactionStatus.INERROR


@contextmanager
def running(world: World, database: Database, rivals: tuple[Rival, ...]) -> Iterator[Running]:
    """The two sessions, both under Prisma's search path."""
    path = "SELECT set_config('search_path', quote_ident(%s), false)"
    with database.server.connect(database.name) as session:
        session.execute(path, [world.past.schema])
        with database.server.connect(database.name) as application:
            application.execute(path, [world.past.schema])
            application.execute("SET lock_timeout = '100ms'")
            yield Running(world, session, application, sorted(rivals, key=lambda r: r.after))


class Planted(NamedTuple):
    """How many statements are committed, as far as that is a number, and where rivals came.

    `undone` are those which ran then and were rolled back; sequences do not forget them.
    """

    applied: int
    rivals: tuple[Rival, ...]
    undone: tuple[str, ...]


def plant(world: World, database: Database) -> Planted:
    """Let the migration fail in a database that has its past."""
    with (
        running(world, database, world.rivals) as run,
        database.server.connect(database.name) as books,
    ):
        run.rivals(-1)
        row = incident.start(books, world.migration, world.past.schema)
        run.rivals(0)
        applied, ran, error = _sent(world, run)
        logs = _logs(world, error, in_block=run.failed_block())
        run.session.close()
        if logs:
            incident.log_error(books, row, logs, world.past.schema)
        run.rivals(applied, until=AT_LAST)
    return Planted(applied, tuple(run.came), world.script[applied:ran])


def _sent(world: World, run: Running) -> tuple[int, int, psycopg.Error | None]:
    """Send it: how many statements are committed, how many began, and the error there was."""
    script = world.script
    match world.how:
        case How.KILLED | How.ERROR:
            done, error = run.one_by_one(script[: world.reach])
            return settled(script, done), min(done + 1, world.reach), error
        case How.ADAPTER | How.ADAPTER_ERROR:
            pieces = tuple(piece for piece in world.text.split(";") if piece.strip())
            sent, error = run.one_by_one(pieces[: world.reach])
            lengths = [sql.count(";") + 1 for sql in script]
            whole = sum(sum(lengths[:n]) <= sent for n in range(1, len(script) + 1))
            return settled(script, whole), 0, error
        case How.BATCH:
            done, error = run.one_message(world.text)
            applied = _committed(script, done) if error else settled(script, done)
            return applied, done + 1, error
        case How.BATCH_FAILED | How.BATCH_KILLED:
            done, error = run.one_message(";\n".join((*script[: world.reach], "SELECT 1/0")))
            return _committed(script, done), min(done + 1, world.reach), error
        case _:
            assert_never(world.how)


def _committed(script: tuple[str, ...], done: int) -> int:
    """Of one message that failed after `done` statements, what its own COMMITs have saved."""
    return max((n for n in range(1, done + 1) if script[n - 1].upper() == "COMMIT"), default=0)


def _logs(world: World, error: psycopg.Error | None, *, in_block: bool) -> str | None:
    """What the engine writes: nothing when killed, nor in a failed block, where it cannot."""
    if in_block or world.how is How.BATCH_KILLED:
        return None
    adapter = world.how in {How.ADAPTER, How.ADAPTER_ERROR}
    if error is not None:
        says = f"ERROR: {error.diag.message_primary}"
        if adapter:
            return f"Error querying the database: {says}"
        return incident.native_log(NAME, error.sqlstate or "XX000", says)
    stopped = world.reach < (world.text.count(";") if adapter else len(world.script))
    if not stopped or (not adapter and settled(world.script, world.reach) != world.reach):
        return None
    match world.how:
        case How.ERROR:
            return incident.native_log(NAME, world.sqlstate, "ERROR: as the server said it")
        case How.ADAPTER_ERROR:
            return "Error querying the database: ERROR: as the server said it"
        case _:
            return None


def clean_run(world: World, database: Database, planted: Planted, *, at_once: bool) -> str:
    """Run all of it undisturbed but for the same rivals; the error it ended with, or ''."""
    count, applied = len(world.script), planted.applied
    with running(world, database, planted.rivals) as run:
        run.rivals(-1)
        run.rivals(0)
        if at_once or not applied:
            run.undo(planted.undone)
        if at_once:
            done, error = run.one_message(world.text)
        else:
            done, error = run.one_by_one(world.script[:applied])
            if applied and not error:
                run.undo(planted.undone)
            if not error:
                done, error = run.one_by_one(world.script[applied:], first=applied + 1)
        run.rivals(count)
    return "" if error is None else f"statement {done + 1}: {error.sqlstate} {error}"


# --- the stage: one template for each past --------------------------------------------


@dataclass(slots=True)
class Stage:
    """A server with template databases; the last few pasts are kept."""

    server: Server
    kept: dict[Past, tuple[Database, ExitStack]] = field(default_factory=dict)

    def close(self) -> None:
        """Drop the templates."""
        while self.kept:
            self._forget(next(iter(self.kept)))

    def _forget(self, past: Past) -> None:
        self.kept.pop(past)[1].close()

    @contextmanager
    def database(self, past: Past) -> Iterator[Database]:
        """A database with this past, dropped at the end."""
        with fresh_database(self.server, template=self._template(past).name) as database:
            yield database

    def _template(self, past: Past) -> Database:
        if past not in self.kept:
            if len(self.kept) >= _KEPT:
                self._forget(next(iter(self.kept)))
            stack = ExitStack()
            database = stack.enter_context(fresh_database(self.server))
            with database.connect() as connection:
                incident.clean_run(connection, past.migrations, past.schema)
                for rows in past.rows:
                    incident.run(connection, rows, past.schema)
            self.kept[past] = database, stack
        return self.kept[past][0]


_KEPT = 12


# --- judging --------------------------------------------------------------------------


def try_world(stage: Stage, world: World) -> Verdict:
    """Make it real, run the program on it, and say how it ended."""
    with stage.database(world.past) as database:
        planted = plant(world, database)
        with stored(world, database) as live:
            return _judged(stage, world, planted, live)


def _judged(stage: Stage, world: World, planted: Planted, live: Database) -> Verdict:
    before = dump(live)
    with settings(world, live) as environ:
        done = interrupted(world, environ)
        if done is None:
            planted = _came_meanwhile(world, planted, live)
            before = dump(live)
            done = said(app.run, environ)
        again = said(app.run, environ) if done.code == _REPAIRED else None
    after = dump(live)
    error, clean = expected(stage, world, planted)
    if world.policy == "rebuild" and without_quarantine(after) != clean:
        anew = tuple(Rival(0, rival.sql) for rival in planted.rivals)  # all of it comes after them
        error, clean = expected(stage, world, planted._replace(applied=0, rivals=anew, undone=()))
    why = done.what
    if done.code == _REPAIRED:
        problem = _not_repaired(world, done, again, error) or _not_in_the_books(world, live)
        if not problem and without_quarantine(after) == clean:
            return Verdict(End.EXACT, _finding(done), bool(error))
        if not problem and only_counted_on(clean, without_quarantine(after), before):
            return Verdict(End.GAP, _finding(done), bool(error))
        if not problem and _other_moments(stage, world, planted, after):
            return Verdict(End.REORDERED, _finding(done), bool(error))
        problem = problem or difference(clean, without_quarantine(after))
        return Verdict(End.WRONG, f"{problem}\n{why}\n{_plan_of(done)}", bool(error))
    if done.code == _HALTED:
        problem = _not_explained(done) or difference(before, after)
        return Verdict(End.WRONG if problem else End.REFUSED, problem or why, bool(error))
    if done.code == _FAILED:
        problem = difference(without_counters(before), without_counters(after))
        return Verdict(End.WRONG if problem else End.FAILED, problem or why, bool(error))
    return Verdict(End.WRONG, f"exit code {done.code}: {why}", bool(error))


_REPAIRED, _HALTED, _FAILED = 0, 3, 4


def expected(stage: Stage, world: World, planted: Planted) -> tuple[str, str]:
    """The error that no clean run can avoid, or '', and what it leaves.

    Some scripts succeed as one message only (LOCK TABLE), most in both ways, which are the same.
    """
    for at_once in (False, True):
        with stage.database(world.past) as database:
            error = clean_run(world, database, planted, at_once=at_once)
            if not error or at_once:
                return error, without_quarantine(dump(database))
    raise AssertionError(world)


def _other_moments(stage: Stage, world: World, planted: Planted, after: str) -> bool:
    """Whether the end is that of a clean run whose rivals came at other moments."""
    moments = range(-1, len(world.script) + 1)
    for places in combinations_with_replacement(moments, len(planted.rivals)):
        moved = tuple(r._replace(after=n) for r, n in zip(planted.rivals, places, strict=True))
        other = planted._replace(rivals=moved)
        if planted.rivals and expected(stage, world, other) == ("", without_quarantine(after)):
            return True
    return False


@contextmanager
def settings(world: World, database: Database, *later: Migration) -> Iterator[dict[str, str]]:
    """The program's environment, and the folder of this world with what came `later`."""
    with tempfile.TemporaryDirectory(prefix="sidecar-deep-") as home:
        migrations = (*world.past.migrations, world.migration, *later)
        folder = incident.write_migrations(Path(home) / "migrations", migrations)
        yield {
            **QUICK,
            "DATABASE_URL": database.url(schema=world.past.schema),
            "SIDECAR_MIGRATIONS_DIR": str(folder),
            "SIDECAR_POLICY": world.policy,
        }


class _Killed(BaseException):
    """Stands for SIGKILL: nothing in the program may catch it."""


def interrupted(world: World, environ: dict[str, str]) -> Said | None:
    """How a run ends, or None where it was killed after `cuts` transactions."""
    real, count = execute._carried_out, 0  # noqa: SLF001 (between two transactions)

    def counting(course: Any, segment: Any) -> Any:
        nonlocal count
        if world.cuts and count == world.cuts:
            raise _Killed
        count += 1
        return real(course, segment)

    try:
        with patch.object(execute, "_carried_out", counting):
            return said(app.run, environ)
    except _Killed:
        return None


def _came_meanwhile(world: World, planted: Planted, database: Database) -> Planted:
    """Let the application write, and note where a clean run would have been."""
    logs = database.execute(
        f"SELECT logs FROM {world.past.schema}._prisma_migrations WHERE migration_name = %s",
        [NAME],
    )
    noted = re.match(r"migration-sidecar: (\d+) of", logs[-1][0] or "")
    reached = int(noted[1]) if noted else planted.applied
    came = tuple(Rival(reached, sql) for sql in world.meanwhile)
    with running(world, database, came) as run:
        run.rivals(reached)
    return planted._replace(rivals=(*planted.rivals, *came))


def _not_repaired(world: World, done: Said, again: Said | None, error: str) -> str:
    if error:
        return f"exit 0, though no clean run can succeed: {error}"
    if done.outcome is None or done.outcome.name is not OutcomeName.REPAIRED:
        return "exit 0, though nothing was repaired"
    if again is None or again.outcome is None or again.outcome.name is not OutcomeName.HEALTHY:
        return f"the next run is not healthy: {again and again.what}"
    return "" if world.migration.name in done.what else "the summary does not name the migration"


def _not_in_the_books(world: World, database: Database) -> str:
    """What Prisma would not like: it wants one row that is neither failed nor rolled back."""
    rows = database.execute(
        f"SELECT checksum, finished_at IS NOT NULL FROM {world.past.schema}._prisma_migrations"
        " WHERE migration_name = %s AND rolled_back_at IS NULL",
        [NAME],
    )
    wanted = [(world.migration.checksum, True)]
    return "" if rows == wanted else f"the ledger's rows are {rows}, not {wanted}"


def _not_explained(done: Said) -> str:
    steps = list(done.next_steps)
    for migration in done.outcome.migrations if done.outcome else ():
        if isinstance(migration.decision, Refusal):
            steps += migration.decision.next_steps
    return "" if done.what and steps else f"halted without a reason or next steps: {done.what!r}"


def _finding(done: Said) -> str:
    assert done.outcome is not None
    return ", ".join(item.finding.name for item in done.outcome.migrations)


def _plan_of(done: Said) -> str:
    assert done.outcome is not None
    lines = []
    for item in done.outcome.migrations:
        lines.append(f"{item.finding.name}, applied {item.finding.applied}")
        lines += [f"  {evidence.source}: {evidence.says}" for evidence in item.finding.evidence]
        if isinstance(item.decision, Plan):
            lines += [f"  step: {step.sql}" for step in item.decision.steps]
    return "\n".join(lines)


# --- what is compared -------------------------------------------------------------------

_COPY = re.compile(r"^(COPY [^\n]* FROM stdin;\n)(.*?)(^\\\.$)", re.MULTILINE | re.DOTALL)
_COUNTER = re.compile(r"^SELECT pg_catalog\.setval\('(.*)', (\d+), \w+\);$", re.MULTILINE)
_RANDOM = re.compile(r"\b[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}\b")
"""What `gen_random_uuid` gives: one is as good as another."""
_LEDGER_ROWS = re.compile(r"^COPY \S+\._prisma_migrations .*?^\\\.$", re.MULTILINE | re.DOTALL)


def dump(database: Database) -> str:
    """Schema, rows (in an order of their own) and counters, as `pg_dump` tells them."""
    return _COPY.sub(_sorted_rows, database.dump())


def _sorted_rows(copy: re.Match[str]) -> str:
    return copy[1] + "".join(sorted(copy[2].splitlines(keepends=True))) + copy[3]


def without_quarantine(text: str) -> str:
    """The dump without what was put aside, the ledger's rows, and what chance has made."""
    known = _COPY.sub(_sorted_rows, _RANDOM.sub("by chance", text))
    blocks = _LEDGER_ROWS.sub("", known).split("\n\n")
    return "\n\n".join(block for block in blocks if QUARANTINE not in block)


def without_counters(text: str) -> str:
    """The dump without the values of sequences: PostgreSQL never takes a `nextval` back."""
    return _COUNTER.sub("", text)


def only_counted_on(clean: str, found: str, before: str) -> bool:
    """Whether sequences are all that differs, and none was set back.

    A number that is left out is nobody's, and so is one that was not taken.
    """
    counts = [dict(_COUNTER.findall(text)) for text in (clean, found, before)]
    return without_counters(clean) == without_counters(found) and all(
        int(count) >= min(int(counts[0].get(name, 0)), int(counts[2].get(name, 0)))
        for name, count in counts[1].items()
    )


def difference(expected: str, found: str) -> str:
    """The lines that differ, '' where none does."""
    lines = unified_diff(expected.splitlines(), found.splitlines(), lineterm="", n=0)
    return "\n".join(line for line in lines if not line.startswith(("---", "+++", "@@")))


# --- what happened to the rows since ----------------------------------------------------


@contextmanager
def stored(world: World, database: Database) -> Iterator[Database]:
    """The database the program meets: this one, or what was restored from its dump."""
    match world.storage:
        case Storage.AS_WRITTEN:
            yield database
        case Storage.FROZEN | Storage.REWRITTEN:
            how = "FREEZE" if world.storage is Storage.FROZEN else "FULL"
            for (table,) in database.execute(_TABLES):
                database.execute(f"VACUUM ({how}) {table}")
            yield database
        case Storage.ALL_FROZEN:
            database.execute("VACUUM (FREEZE)")
            yield database
        case Storage.COPIED_LEDGER_FIRST | Storage.COPIED_LEDGER_LAST:
            with fresh_database(database.server) as copy:
                _copy(database, copy, ledger_first=world.storage is Storage.COPIED_LEDGER_FIRST)
                yield copy
        case Storage.RESTORED | Storage.RESTORED_AT_ONCE:
            at_once = ["-1"] if world.storage is Storage.RESTORED_AT_ONCE else []
            with fresh_database(database.server) as restored:
                _psql(restored, _pg_dump(database), *at_once)
                yield restored
        case _:
            assert_never(world.storage)


_TABLES = """
SELECT oid::regclass::text FROM pg_class
 WHERE relkind = 'r'
   AND relnamespace::regnamespace::text NOT IN ('pg_catalog', 'information_schema')
"""


def _copy(source: Database, target: Database, *, ledger_first: bool) -> None:
    ledger = "*._prisma_migrations"
    parts = [
        _pg_dump(source, "--data-only", f"--table={ledger}"),
        _pg_dump(source, "--data-only", f"--exclude-table={ledger}", "--disable-triggers"),
    ]
    _psql(target, _pg_dump(source, "--schema-only"))
    for part in parts if ledger_first else reversed(parts):
        _psql(target, part)
    for (view,) in source.execute(_FILLED_VIEWS):
        target.execute(f"REFRESH MATERIALIZED VIEW {view}")


_FILLED_VIEWS = "SELECT oid::regclass::text FROM pg_class WHERE relkind = 'm' AND relispopulated"


def _pg_dump(source: Database, *options: str) -> bytes:
    command = [str(bundled_bindir() / "pg_dump"), "--dbname", source.conninfo, *options]
    return subprocess.run(command, check=True, capture_output=True).stdout


def _psql(target: Database, script: bytes, *options: str) -> None:
    command = [str(bundled_bindir() / "psql"), "-X", "-q", "-v", "ON_ERROR_STOP=1", *options]
    subprocess.run([*command, "-d", target.conninfo], input=script, check=True, capture_output=True)
