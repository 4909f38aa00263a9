"""The values every stage speaks in; frozen, without behaviour beyond small look-ups.

The words are those of docs/architecture.md. This module may import nothing of the
package, so that reading it alone is enough to read any other.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple, NewType

MigrationName = NewType("MigrationName", str)

LOCK_KEY = 72707369
"""Prisma's advisory lock key (prisma-engines, flavour/postgres.rs, `acquire_lock`)."""


# --- the history -----------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class LedgerRow:
    """One attempt, as `_prisma_migrations` holds it."""

    id: str
    checksum: str
    migration_name: MigrationName
    started_at: datetime
    finished_at: datetime | None
    rolled_back_at: datetime | None
    logs: str | None
    applied_steps_count: int

    @property
    def failed(self) -> bool:
        """Neither finished nor rolled back: what makes Prisma say P3009."""
        return self.finished_at is None and self.rolled_back_at is None

    @property
    def applied(self) -> bool:
        """Finished and not rolled back: what `migrate deploy` will not run again."""
        return self.finished_at is not None and self.rolled_back_at is None


@dataclass(frozen=True, slots=True)
class Ledger:
    """The `_prisma_migrations` table: the schema it lives in and its rows by `started_at`."""

    schema: str
    rows: tuple[LedgerRow, ...]

    @property
    def failed(self) -> tuple[LedgerRow, ...]:
        return tuple(row for row in self.rows if row.failed)


@dataclass(frozen=True, slots=True)
class MigrationFile:
    """One folder of the migrations directory.

    `text` is the script as Prisma would send it (UTF-8, invalid bytes replaced), or None
    with the reason in `problem`. `checksum` is Prisma's: sha256 of `text`, lower hex.
    """

    name: MigrationName
    text: str | None
    checksum: str = ""
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Folder:
    """The migrations directory in Prisma's order; `warnings` are oddities worth a line."""

    path: str
    files: tuple[MigrationFile, ...]
    warnings: tuple[str, ...] = ()

    def find(self, name: MigrationName) -> MigrationFile | None:
        return next((file for file in self.files if file.name == name), None)


# --- the script ------------------------------------------------------------------


class Control(StrEnum):
    """What a transaction-control statement does to the block around it."""

    BEGIN = "begin"
    COMMIT = "commit"
    ROLLBACK = "rollback"
    SAVEPOINT = "savepoint"  # also RELEASE and ROLLBACK TO


class Nature(StrEnum):
    """What sort of trace a statement can leave."""

    CATALOG = "catalog"  # DDL: the catalog shows it
    DATA = "data"  # rows may change: the catalog shows nothing
    SESSION = "session"  # SET, temporary objects: gone with the session
    CONTROL = "control"  # BEGIN, COMMIT, ...
    NOTHING = "nothing"  # cannot leave a trace at all (a bare SELECT of constants)


class Verb(StrEnum):
    """What a statement does to rows."""

    INSERT = "insert"
    UPDATE = "update"
    DELETE = "delete"
    TRUNCATE = "truncate"
    REFRESH = "refresh"  # of a materialized view
    SET_SEQUENCE = "set sequence"  # SELECT setval(...)
    MIXED = "mixed"  # adds and changes rows in ways not looked at (DO, MERGE, WITH)


Table = tuple[str, ...]
"""A relation's name, unquoted, as the script has it: ('momentum', 'mm_board'), ('mm_board',)."""

TEXT = "text "
"""Before a constant in `RowChange.picks` and `gives` that the script writes as a text."""

COLUMNS = "migration_sidecar_columns"
"""Stands in `RowChange.rows` where the columns to select go."""

CTID = "ctid"
"""The column that tells where a row lies: no two of one table lie in the same place."""

HELD = "\0"
"""Stands in `RowChange.differs` before a column, then before a value for it, and after that.

No SQL holds it. The value has yet to become what the column would hold."""


@dataclass(frozen=True, slots=True)
class RowChange:
    """What a statement does to the rows of one table, as its parse tree tells.

    `writes` are the columns an UPDATE sets (also that of an upsert; all others make or remove
    whole rows), `picked_by` those by which it chooses rows of its table. `own_reads` are the
    columns it reads which may be of `table` itself, `reads` the other tables, `other_reads`
    the columns which may be theirs; '*' is every column. Names are unquoted.

    `settled`: run again right afterwards it would change nothing. `volatile`: it writes
    values that differ each time (random, clock); `fleeting`: which rows, differs; `spreads`:
    foreign keys pass it on to other tables; `steady`: rows of other tables that go cannot make
    it pick more; `firm`: nor have left unset (NULL) what it would set now. `keyed` is the
    column, CTID too, that must tell rows apart for it to be settled and steady.

    `picks` and `gives` describe `SET status = 'b' WHERE status IN ('a', 'c')`: the constants
    which a row must have in a column to be picked, and the constant that it is given there
    (None is NULL); `own_reads` has the column only if it is read elsewhere too.

    `rows` is SQL that selects COLUMNS from the rows it would change (of an INSERT: from those
    it gives), `row` the name under which it has the table, `differs` the condition that such
    a row would get other values. `columns` are those an INSERT fills, quoted, `fixed` those of
    them with the same values each time, `key` the unique columns that ON CONFLICT looks at
    (None without such a clause, empty where it names none).
    """

    verb: Verb
    table: Table
    writes: frozenset[str] = frozenset()
    picked_by: frozenset[str] = frozenset()
    own_reads: frozenset[str] = frozenset()
    reads: frozenset[Table] = frozenset()
    other_reads: frozenset[str] = frozenset()
    settled: bool = False
    volatile: bool = False
    fleeting: bool = False
    spreads: bool = False
    steady: bool = True
    firm: bool = True
    keyed: str = ""
    picks: Mapping[str, frozenset[str | None]] = field(default_factory=dict)
    gives: Mapping[str, str | None] = field(default_factory=dict)
    rows: str = ""
    row: str = ""
    differs: str = ""
    columns: tuple[str, ...] = ()
    fixed: tuple[str, ...] = ()
    key: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class Temporary:
    """What a statement does to temporary tables of its own script, where that is all it does.

    `names` are theirs, without a schema; `drops`: it drops them. `reads` are the tables that it
    fills them from, `columns` those it reads there ('*': all). `again`: in another session it
    would do the same, but for values of chance or clock, where it is `volatile`.
    """

    names: frozenset[str]
    drops: bool
    reads: frozenset[Table]
    columns: frozenset[str]
    again: bool
    volatile: bool


@dataclass(frozen=True, slots=True)
class Statement:
    """One statement of a script.

    `index` counts from 1; `line` is the 1-based line of its first token; `start` and `end`
    are character offsets into the script's text such that `text[start:end] == sql`
    (no trailing semicolon). `kind` is its SQL name ('CREATE TABLE', 'INSERT').
    `block` numbers the explicit BEGIN...COMMIT it stands in (BEGIN and COMMIT
    included), else None. `writes` are the tables a data statement names as its target, as
    written; `reach_known` is False where it may write to others (a function, DO, CALL).
    `solo` marks what PostgreSQL refuses inside a transaction block (CONCURRENTLY, VACUUM...).
    """

    index: int
    line: int
    start: int
    end: int
    sql: str
    kind: str
    nature: Nature
    control: Control | None = None
    block: int | None = None
    solo: bool = False
    writes: tuple[str, ...] = ()
    reach_known: bool = True
    adds_enum_value: bool = False
    creates: tuple[str, ...] = ()
    """The lasting relations it makes (table, view, sequence), quoted and as written."""
    forbidden: str = ""
    """Why a repair may never run it (ALTER SYSTEM, CREATE DATABASE, COPY FROM STDIN), or ''."""
    elsewhere: bool = False
    """All that it changes is the server's, as with CREATE ROLE: no fact of a database shows it."""
    change: RowChange | None = None
    """What it does to rows, where that is all it does and the parse tree shows it."""
    temporary: Temporary | None = None
    """What it does to temporary tables of the script, where that is all it does."""

    def __str__(self) -> str:
        """As reports name it: '3 (line 7, UPDATE)'."""
        return f"{self.index} (line {self.line}, {self.kind})"


@dataclass(frozen=True, slots=True)
class Script:
    """A migration's text and its statements, in order."""

    text: str
    statements: tuple[Statement, ...]

    @property
    def boundaries(self) -> tuple[int, ...]:
        """The k for which "exactly the first k statements are committed" can persist.

        Inside an explicit block nothing persists until its COMMIT, so those k are left out.
        """
        ends = [0]
        for this, after in zip(self.statements, (*self.statements[1:], None), strict=False):
            inside = this.block is not None and after is not None and after.block == this.block
            if not inside:
                ends.append(this.index)
        return tuple(ends)

    @property
    def undone_blocks(self) -> frozenset[int]:
        """The blocks which the script itself takes back, with a ROLLBACK at their end."""
        undone = (s.block for s in self.statements if s.control is Control.ROLLBACK)
        return frozenset(block for block in undone if block is not None)


# --- facts -----------------------------------------------------------------------


class FactKey(NamedTuple):
    """What a fact is about: ('column', 'board_id', on='momentum.mm_issue').

    `identity` and `on` are quoted as PostgreSQL quotes identifiers; `on` is the object the
    fact belongs to, or '' where it stands alone.
    """

    kind: str
    identity: str
    on: str

    def __str__(self) -> str:
        return (
            f"{self.kind} {self.identity} on {self.on}"
            if self.on
            else f"{self.kind} {self.identity}"
        )


Facts = Mapping[FactKey, str]
"""A snapshot: what each fact is defined as, in PostgreSQL's own words."""


@dataclass(frozen=True, slots=True)
class Change:
    """One fact that a statement made (before None), altered, or removed (after None)."""

    key: FactKey
    before: str | None
    after: str | None


Effect = tuple[Change, ...]


@dataclass(frozen=True, slots=True)
class Replay:
    """A failed migration, replayed on a shadow after the history before it.

    `base` is the snapshot before its first statement, `effects[i]` what statement i+1
    changed. `comparable` is False where the shadow runs another major version, whose
    deparsed definitions may differ in spelling. `problem` says where the replay stopped
    short of the end (then `effects` is shorter than the script), else ''.
    """

    base: Facts
    effects: tuple[Effect, ...]
    comparable: bool = True
    problem: str = ""


# --- rows ------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Drops:
    """The age of a table, as in `Marks`, and those of all drops of its columns."""

    table: int
    ages: frozenset[int]


@dataclass(frozen=True, slots=True)
class Marks:
    """Ages in transactions: how many began between the writing of a row and that of `now`.

    `ledger` has those of the ledger's rows by id, `key` that of its primary key (None where it
    has none), `facts` those of the catalog rows behind facts, where they could be found.
    `now` is the transaction id that comes next, `counter` the same in 64 bits. `history` is the
    age of the youngest object of the migrations before, None where none could be dated.
    """

    now: str
    ledger: Mapping[str, int]
    key: int | None
    facts: Mapping[FactKey, int]
    counter: int
    history: int | None = None
    dropped: Mapping[str, Drops] = field(default_factory=dict)
    """By table, of those that are there."""

    @property
    def wrapped(self) -> bool:
        """Whether ids have wrapped around: then a frozen row may look younger than it is."""
        return self.counter >= 2**32


@dataclass(frozen=True, slots=True)
class Window:
    """When this attempt can have written: rows not older than `oldest`, older than `youngest`.

    Both are ages as in `Marks`, of which `now` is the same. What wrote at `oldest` may be one
    transaction with what opens the window (a script sent as one message). `sharp` is False
    where it reaches back to before the attempt, or where old rows may look younger; `bounded`
    is False where it is still open, as it is after a kill.
    """

    now: str
    oldest: int
    youngest: int
    sharp: bool
    bounded: bool = True

    @property
    def afterwards(self) -> int:
        """The age from which on others' rows count as written after what the attempt wrote.

        Where the window reaches back to before the attempt, only what is younger than its end.
        """
        return self.youngest - 1 if not self.sharp and self.youngest >= 0 else self.oldest


@dataclass(frozen=True, slots=True)
class Seen:
    """What the rows show of one data statement; None where it could not be counted.

    `picked`: rows it would change if it ran now (an INSERT: rows it would give);
    `pending`: those of them that would become others (an INSERT: whose key is not there);
    `same`: of an INSERT, those that are there already, in all that is the same each time;
    `older`: those picked which nobody has written since before the window;
    `writers`: transactions that wrote all the picked rows after `oldest` in the window;
    `fresh`: rows of all its tables written within the window;
    `stirred`: rows of the tables it reads, `new`: pending rows, written since the window opened;
    `overtaken`: both, but only what may have come after the attempt (`Window.afterwards`);
    `left`: pending rows which one transaction wrote in the window, and all that an open UPDATE
    before it picks in the same table;
    `filled`: of an UPDATE, rows of its table in which a column that it sets has been set;
    `matched`: the age of the one transaction in the window that wrote just the rows it gives.
    """

    picked: int | None = None
    pending: int | None = None
    same: int | None = None
    older: int | None = None
    writers: int | None = None
    fresh: int | None = None
    stirred: int | None = None
    new: int | None = None
    left: int | None = None
    overtaken: int | None = None
    filled: int | None = None
    matched: int | None = None


# --- finding ---------------------------------------------------------------------


class FindingName(StrEnum):
    RUNNING = "running"
    NOTHING_APPLIED = "nothing-applied"
    PARTLY_APPLIED = "partly-applied"
    FULLY_APPLIED = "fully-applied"
    DIVERGED = "diverged"
    UNDETERMINED = "undetermined"
    SCRIPT_MISSING = "script-missing"


class StatementState(StrEnum):
    """What is known of one statement of a failed migration."""

    APPLIED = "applied"
    MISSING = "missing"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Evidence:
    """One observation and what it says; `against` marks what spoke against the finding."""

    source: str  # 'catalog', 'ledger', 'logs', 'rows', 'transactions', 'activity', 'folder'...
    says: str
    against: bool = False


@dataclass(frozen=True, slots=True)
class Difference:
    """A touched fact whose live definition is not what a clean run has there."""

    key: FactKey
    expected: str | None
    found: str | None


@dataclass(frozen=True, slots=True)
class Finding:
    """What happened to one failed migration; no opinion on what to do.

    `applied` is k where "exactly the first k statements took effect" is known (0 for
    nothing-applied, all for fully-applied), else None. `candidates` are the k which the
    evidence could not tell apart (undetermined). `differences` belong to `diverged`.
    """

    name: FindingName
    migration: MigrationName
    evidence: tuple[Evidence, ...]
    applied: int | None = None
    candidates: tuple[int, ...] = ()
    differences: tuple[Difference, ...] = ()
    missing: tuple[str, ...] = ()
    """For `undetermined`: what evidence is missing and how to give it."""
    only_data_open: bool = False
    """For `undetermined`: nothing is contradictory; only which data statements ran is open."""


# --- policy and plan -------------------------------------------------------------


class Action(StrEnum):
    RESUME = "resume"
    REAPPLY = "reapply"
    REBUILD = "rebuild"
    MARK_APPLIED = "mark-applied"
    MARK_ROLLED_BACK = "mark-rolled-back"
    HALT = "halt"


class Preset(StrEnum):
    FORWARD = "forward"
    REBUILD = "rebuild"
    LEDGER = "ledger"
    OBSERVE = "observe"


class DataStatements(StrEnum):
    """What to take for true where nothing shows whether data statements ran."""

    HALT = "halt"
    ASSUME_NOT_RUN = "assume-not-run"
    ASSUME_RUN = "assume-run"


@dataclass(frozen=True, slots=True)
class Policy:
    """Which action is allowed for which finding; migrations can be named one by one."""

    preset: Preset
    by_finding: Mapping[FindingName, Action] = field(default_factory=dict)
    by_migration: Mapping[MigrationName, Action] = field(default_factory=dict)
    data_statements: DataStatements = DataStatements.HALT
    data_statements_of: Mapping[MigrationName, DataStatements] = field(default_factory=dict)


class StepKind(StrEnum):
    STATEMENT = "statement"  # a statement of the user's own migration
    UNDO = "undo"  # drops what this migration created
    QUARANTINE = "quarantine"  # moves what must go but holds rows
    MARK = "mark"  # notes in the failed ledger row how far the repair is
    LEDGER = "ledger"  # a change of `_prisma_migrations`


class Hazard(StrEnum):
    """What a careful person would want to know before saying yes."""

    NONE = "none"
    LOCKS = "locks"  # takes a lock that readers or writers wait for
    DATA = "data"  # the migration's own change of rows
    DROPS = "drops"  # something ceases to exist


@dataclass(frozen=True, slots=True)
class Step:
    """One thing the repair does. `sql` is complete and runnable, without a final semicolon.

    `index` and `line` are those of the user's statement, where it is one.
    """

    kind: StepKind
    sql: str
    reason: str
    hazard: Hazard = Hazard.NONE
    index: int | None = None
    line: int | None = None
    must_be_empty: str = ""
    """A query which must answer false first (`SELECT EXISTS (...)` of the rows that would go)."""


@dataclass(frozen=True, slots=True)
class Segment:
    """Steps that commit together, or the one step that runs `alone`, outside a transaction.

    `expected` are the touched facts after it (None: must be absent).
    """

    steps: tuple[Step, ...]
    alone: bool = False
    expected: Mapping[FactKey, str | None] = field(default_factory=dict)

    @property
    def statements(self) -> tuple[int, ...]:
        """The numbers of the user's statements in it."""
        return tuple(step.index for step in self.steps if step.index is not None)


@dataclass(frozen=True, slots=True)
class Plan:
    """What is done for one failed migration; in one transaction wherever that is possible.

    The last segment is a transaction and holds the change of the ledger. `expected` are the
    touched facts as a clean run leaves them, which the proof demands before its COMMIT.
    `writes` are the tables whose rows the steps may change; `reach_known` False means the
    migration may write where we cannot see.
    """

    migration: MigrationName
    finding: FindingName
    action: Action
    segments: tuple[Segment, ...]
    fingerprint: str
    before: Mapping[FactKey, str | None] = field(default_factory=dict)
    """The touched facts as they were when the finding was made; checked again first."""
    expected: Mapping[FactKey, str | None] = field(default_factory=dict)
    writes: tuple[str, ...] = ()
    reach_known: bool = True
    effects: tuple[Effect, ...] = ()
    """What the shadow shows of each of the user's statements that are run."""
    known: frozenset[FactKey] = frozenset()
    """All facts that the shadow had at any moment: the rest only the live database has."""

    @property
    def steps(self) -> tuple[Step, ...]:
        """All steps, in order."""
        return tuple(step for segment in self.segments for step in segment.steps)


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why nothing will be done to one failed migration, and what a person can do."""

    migration: MigrationName
    finding: FindingName
    action: Action
    reason: str
    next_steps: tuple[str, ...] = ()


Decision = Plan | Refusal


# --- outcome ---------------------------------------------------------------------


class OutcomeName(StrEnum):
    HEALTHY = "healthy"
    REPAIRED = "repaired"
    HALTED = "halted"
    REPAIR_FAILED = "repair-failed"
    BUSY = "busy"
    NOT_READY = "not-ready"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class Proof:
    """What was compared before COMMIT, and how it came out."""

    touched_facts: int
    other_facts: int
    tables_counted: int
    differences: tuple[Difference, ...] = ()
    violations: tuple[str, ...] = ()
    """Sentences on facts or rows that changed and should not have."""

    @property
    def holds(self) -> bool:
        return not self.differences and not self.violations


@dataclass(frozen=True, slots=True)
class MigrationOutcome:
    """Everything that is said about one failed migration in the report."""

    finding: Finding
    script: Script | None
    decision: Decision | None = None
    proof: Proof | None = None
    done: bool = False
    """True once the repair is committed."""
    committed: tuple[int, ...] = ()
    """The statements that a repair committed before it failed; they stay."""


class ServiceResult(StrEnum):
    """What became of a container that was to be restarted after a repair."""

    RESTARTED = "restarted"  # and healthy, or without a healthcheck steadily running
    LEFT_ALONE = "left-alone"  # it did not run, so nothing was to be restarted
    FAILED = "failed"  # restarted, and not up in time


@dataclass(frozen=True, slots=True)
class ServiceOutcome:
    """One container of a service ('' where there is none), and what is to be said of it."""

    service: str
    container: str
    result: ServiceResult
    says: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a whole run found and did."""

    name: OutcomeName
    exit_code: int
    summary: str
    server_version: str = ""
    policy: str = ""
    migrations: tuple[MigrationOutcome, ...] = ()
    warnings: tuple[str, ...] = ()
    next_steps: tuple[str, ...] = ()
    services: tuple[ServiceOutcome, ...] = ()
