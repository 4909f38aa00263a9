"""Why PostgreSQL refused a step of a repair, and what a person can do about it. Pure.

The words hold no values of rows unless they are asked for: logs and reports are read by
more people than the tables are. The codes are those of PostgreSQL, Appendix A.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import NamedTuple

from sidecar.errors import DatabaseError, LockTimeoutError, RepairError
from sidecar.model import Step
from sidecar.sql_text import quoted

START_AGAIN = "Remove the cause, then start again."
SHOW_VALUES = "SIDECAR_SHOW_VALUES=true migration-sidecar run"

_MASK = "***"
_HOLD_VALUES = frozenset({"22", "23", "44", "P0"})
"""Classes whose errors quote rows. What a script raises itself (P0) keeps its message."""

_QUOTE = '["„“”«»「」『』]'
"""As the languages of PostgreSQL's messages quote."""
_BEFORE_NAMES = ("column", "domain", "encoding", "enum", "function", "parameter", "table", "type")
_QUOTED_NAME = "|".join(f'(?<={word} )"[^"]*"' for word in _BEFORE_NAMES)
_QUOTED_VALUE = re.compile(
    rf"^(?=((?:[^{_QUOTE[1:-1]}]|{_QUOTED_NAME})*))\1{_QUOTE}.*{_QUOTE}", re.DOTALL
)
"""What precedes is taken as a whole, by way of the lookahead: Python 3.11.2 never finds `*+`."""
_KEY_VALUE = re.compile(r"^(.*?\)=\().*(\).*)$", re.DOTALL)
"""`Key (email)=(a@b) already exists.`"""


class Cause(NamedTuple):
    """A clause that adds to PostgreSQL's own words ('' where they say all), and what to do."""

    says: str = ""
    next_steps: tuple[str, ...] = ()


class Denied(NamedTuple):
    """What 42501 speaks of: to be its `owner` is asked for, or else a right on it."""

    owner: bool
    kind: str
    name: str


@dataclass(frozen=True, slots=True)
class Place:
    """Where it was refused. `role` is who we are; `denied` has its name as SQL needs it."""

    sql: str
    role: str
    statement_timeout_s: float
    blockers: tuple[str, ...] = ()
    denied: Denied | None = None


# --- what PostgreSQL said --------------------------------------------------------


def refused(
    step: Step | None,
    error: DatabaseError,
    *,
    blockers: tuple[str, ...] = (),
    show_values: bool = False,
) -> RepairError:
    """The failure of a repair at this step, or at its COMMIT, where PostgreSQL says `error`."""
    where = _where(step)
    if error.sqlstate == "55P03":
        by = "; ".join(blockers) or "unknown"
        failure: RepairError = LockTimeoutError(
            f"{where} waited too long for a lock, held by: {by}", blockers=blockers
        )
    else:
        what = f"{where} failed: {told(error, show_values=show_values)}"
        failure = RepairError(what, sqlstate=error.sqlstate, next_steps=(START_AGAIN,))
    failure.refused, failure.step, failure.blockers = error, step, blockers
    return failure


def told(error: DatabaseError, *, show_values: bool) -> str:
    """PostgreSQL's own words, `message (detail hint) [SQLSTATE 23505]`."""
    what, detail = error.what, error.detail
    group = error.sqlstate[:2]
    if not show_values and group in _HOLD_VALUES:
        what = _QUOTED_VALUE.sub(rf'\1"{_MASK}"', what) if group == "22" else what
        detail = _KEY_VALUE.sub(rf"\1{_MASK}\2", detail) if ")=(" in detail else ""
    more = " ".join(filter(None, (detail, error.hint)))
    return f"{what}{f' ({more})' if more else ''} [SQLSTATE {error.sqlstate}]"


def hides_values(error: DatabaseError) -> bool:
    """Whether something is left out of its words as long as values are not asked for."""
    return told(error, show_values=False) != told(error, show_values=True)


def _where(step: Step | None) -> str:
    if step is None:
        return "COMMIT"
    if step.index:
        return f"statement {step.index} (line {step.line})"
    return f"`{step.sql[:80]}`"


# --- what it means ---------------------------------------------------------------


def explain(error: DatabaseError, place: Place) -> Cause:
    """The cause by its SQLSTATE, with the next commands, most useful first."""
    match error.sqlstate:
        case "23505" | "23502" | "23503" | "23514" | "23P01":
            return _constraint(error)
        case "42501":
            return _privilege(place)
        case "55P03" | "40P01":
            return Cause("", _to_end(place.blockers))
        case "53100" | "53200" | "53300" | "53400":
            says, look = _RESOURCES[error.sqlstate]
            return Cause(says, (" ".join(look.split()),))
        case "57014":
            return _cancelled(place.statement_timeout_s)
        case "0A000" | "58P01" if found := _EXTENSION.match(place.sql):
            return _extension(found[1].strip('"'))
        case "3F000" | "42P01" | "42703" | "42704" | "42883":
            return _MISSING
        case "42P06" | "42P07" | "42701" | "42710" | "42723":
            return _THERE_ALREADY
        case "25006":
            return Cause("the server only takes reads", ("Point DATABASE_URL at the primary.",))
        case _:
            return Cause()


def _constraint(error: DatabaseError) -> Cause:
    """Of a row that a statement gives; rows that are there already are looked for."""
    named = error.named
    name = named.constraint or named.column
    if not (name and named.table):
        return Cause()
    kind = "constraint" if named.constraint else "column"
    table = f"{quoted(named.schema)}.{quoted(named.table)}"
    return Cause(f"the {kind} is {quoted(name)} of {table}")


_LARGEST = """
SELECT oid::regclass, pg_size_pretty(pg_total_relation_size(oid)) FROM pg_class
 WHERE relkind IN ('r', 'm') ORDER BY pg_total_relation_size(oid) DESC LIMIT 10;
"""
_MEMORY = """
SELECT name, setting, unit FROM pg_settings
 WHERE name IN ('work_mem', 'maintenance_work_mem', 'max_locks_per_transaction');
"""
_CONNECTIONS = """
SELECT usename, application_name, state, count(*) FROM pg_stat_activity
 GROUP BY 1, 2, 3 ORDER BY 4 DESC;
"""
_RESOURCES = {
    "53100": ("the disk of the database server is full", _LARGEST),
    "53200": ("the database server is out of memory, or of room for locks", _MEMORY),
    "53300": ("the database server has no connection left", _CONNECTIONS),
    "53400": ("a limit in the configuration of the server", "SHOW temp_file_limit;"),
}

_MISSING = Cause(
    "what it needs is not there: the database is behind its history, or somebody removed it",
    ("Find its name in the migrations folder, and make it as it is made there.",),
)
_THERE_ALREADY = Cause(
    "somebody made it beside the history (`db push`, by hand): the database is ahead of it",
    ("If it may go, drop it; if it is right, see `migration-sidecar status`.",),
)


def _cancelled(limit_s: float) -> Cause:
    if limit_s:
        return Cause(
            f"it may run for {limit_s:g} s (SIDECAR_STATEMENT_TIMEOUT)",
            ("Set SIDECAR_STATEMENT_TIMEOUT higher, or to 0s for no limit.",),
        )
    return Cause("somebody cancelled it, or the script sets a statement_timeout of its own")


def _to_end(blockers: tuple[str, ...]) -> tuple[str, ...]:
    """For each blocker, which `lock.describe` begins with its pid, the command to end it."""
    pids = re.findall(r"^pid (\d+),", "\n".join(blockers), re.MULTILINE)
    ends = tuple(f"SELECT pg_terminate_backend({pid}); -- if it may be ended" for pid in pids)
    return (*ends, "Longer: SIDECAR_REPAIR_TIMEOUT (all tries), SIDECAR_LOCK_TIMEOUT (each).")


# --- rights ----------------------------------------------------------------------

RELATIONS = frozenset(
    {"foreign table", "index", "materialized view", "relation", "sequence", "table", "view"}
)
_RIGHTS = {
    "database": "CREATE",
    "foreign server": "USAGE",
    "function": "EXECUTE",
    "language": "USAGE",
    "procedure": "EXECUTE",
    "schema": "USAGE, CREATE",
    "sequence": "USAGE, SELECT, UPDATE",
    "type": "USAGE",
}
_DENIED = re.compile(
    rf"(permission denied for|must be owner of) ({'|'.join({*RELATIONS, *_RIGHTS})}) (.+)"
)
_MEMBER = re.compile(r'must be (?:a )?member of role "(.+)"|must be able to SET ROLE "(.+)"')
_ON_ROWS = re.compile(
    r"(INSERT|UPDATE|DELETE|TRUNCATE)(?:\s+(?:INTO|FROM|TABLE|ONLY)\b)*\s+([^\s(]+)",
    re.IGNORECASE,
)


def denied(error: DatabaseError) -> Denied | None:
    """What a 42501 asks for, where the server says it in English (catalog/aclchk.c)."""
    if error.sqlstate != "42501":
        return None
    if found := _DENIED.match(error.what):
        return Denied(found[1].startswith("must"), found[2], found[3])
    member = _MEMBER.match(error.what)
    return Denied(owner=False, kind="role", name=member[1] or member[2]) if member else None


def _privilege(place: Place) -> Cause:
    asked, role = place.denied, quoted(place.role)
    if found := _EXTENSION.match(place.sql):
        says = f"the role {role} may not make the extension {found[1]}"
        return Cause(says, (f"CREATE EXTENSION IF NOT EXISTS {found[1]}; -- as a superuser",))
    if asked is None:
        return Cause(f"the role {role} lacks a right", (f"Give it to {role}, or use the owner.",))
    if asked.kind == "role":
        says = f"the role {role} may not act as {asked.name}"
        return Cause(says, (f"GRANT {asked.name} TO {role};",))
    if asked.owner:
        kind = "TABLE" if asked.kind in {"relation", "index"} else asked.kind.upper()
        says = f"{asked.kind} {asked.name} belongs to another role than {role}"
        return Cause(says, (f"ALTER {kind} {asked.name} OWNER TO {role};",))
    rights = _RIGHTS.get(asked.kind) or _rights_on_rows(place.sql, asked.name)
    kind = "" if asked.kind in RELATIONS - {"sequence"} else f"{asked.kind.upper()} "
    says = f"the role {role} lacks a right on {asked.kind} {asked.name}"
    return Cause(says, (f"GRANT {rights} ON {kind}{asked.name} TO {role};",))


def _rights_on_rows(sql: str, name: str) -> str:
    """What a statement may need on a table: to write it, to refer to it, or to read it."""
    if "_prisma_migrations" in name:
        return "SELECT, INSERT, UPDATE"
    found = _ON_ROWS.match(sql)
    if found and _last(found[2]) == _last(name):
        verb = found[1].upper()
        return verb if verb == "TRUNCATE" else f"SELECT, {verb}"
    if re.search(r"\bTRIGGER\b", sql, re.IGNORECASE):
        return "TRIGGER"
    return "REFERENCES" if re.search(r"\bREFERENCES\b", sql, re.IGNORECASE) else "SELECT"


def _last(name: str) -> str:
    return name.rpartition(".")[2].strip('"')


# --- extensions ------------------------------------------------------------------

_EXTENSION = re.compile(
    r'CREATE\s+EXTENSION\s+(?:IF\s+NOT\s+EXISTS\s+)?("[^"]+"|[\w$]+)', re.IGNORECASE
)
_PACKAGES = {"vector": "pgvector", "postgis": "PostGIS", "timescaledb": "TimescaleDB"}


def _extension(name: str) -> Cause:
    package = _PACKAGES.get(name, "often postgresql-contrib")
    return Cause(
        f"the extension {quoted(name)} is not installed on the database server",
        (
            f"Install its package there ({package}), or use an image that has it.",
            "SELECT name, default_version FROM pg_available_extensions;",
        ),
    )
