"""Values of the pure core with defaults, so that a test names only what it is about."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cache

from sidecar import script as scripts
from sidecar.diagnose import Case, diagnose
from sidecar.model import (
    Change,
    Effect,
    Evidence,
    FactKey,
    Facts,
    Finding,
    FindingName,
    Ledger,
    LedgerRow,
    MigrationFile,
    MigrationName,
    Nature,
    Replay,
    Script,
)
from sidecar.plan import Situation

NAME = MigrationName("20251208175358_add_scheduled_issues")
OTHER = MigrationName("20251101090000_init")
STARTED = datetime(2025, 12, 8, 18, 0, tzinfo=UTC)

DUPLICATE = "42P07"
REFUSED = "23505"

Made = str | Mapping[FactKey, str | None] | None
"""What a statement does to the facts: the table it makes, changes in full, or nothing."""


def table(name: str) -> FactKey:
    """The fact of a table in the schema `public`."""
    return FactKey("table", f"public.{name}", "")


def facts(*tables: str, **more: str) -> dict[FactKey, str]:
    """A snapshot with these tables; `more` are tables with their definition."""
    return {**{table(t): "TABLE" for t in tables}, **{table(t): d for t, d in more.items()}}


def ledger_row(
    *,
    id: str = "row-1",  # noqa: A002 (the column's name)
    name: MigrationName = NAME,
    logs: str | None = None,
    steps: int = 0,
    finished: bool = False,
    rolled_back: bool = False,
) -> LedgerRow:
    """A failed attempt, unless said otherwise."""
    return LedgerRow(
        id=id,
        checksum="0" * 64,
        migration_name=name,
        started_at=STARTED,
        finished_at=STARTED if finished else None,
        rolled_back_at=STARTED if rolled_back else None,
        logs=logs,
        applied_steps_count=steps,
    )


def native_log(code: str, message: str = "ERROR: no") -> str:
    """The text of P3018, colours included, as the native engine writes it."""
    return (
        "The engine begins with a paragraph of its own.\n\n"
        f"Migration name: {NAME}\n\nDatabase error code: {code}\n\n"
        f"Database error:\n{message}\n\nPosition:\n\x1b[1m 12\x1b[1;31m SELECT\x1b[0m\n\n"
        f'DbError {{ severity: "ERROR", code: SqlState(E{code}), message: "no" }}\n'
    )


def adapter_log(line: str) -> str:
    """What the engine of driver adapters writes: one line of its own words, no code."""
    return (
        f"external connector error\n{line}\n   0: sql_schema_connector::apply_migration::"
        f'apply_script\n           with migration_name="{NAME}"\n'
    )


def script_of(*statements: str, text: str | None = None) -> Script:
    """The script of these statements, or of `text`, as the parser sees it."""
    return _parsed("".join(f"{s};\n" for s in statements) if text is None else text)


_parsed = cache(scripts.parse)  # a property asks for the same few scripts again and again


def effect_of(made: Made, state: Mapping[FactKey, str]) -> Effect:
    """The effect of a statement on the facts as they are before it."""
    changes = {table(made): "TABLE"} if isinstance(made, str) else made or {}
    return tuple(
        Change(key, before=state.get(key), after=after)
        for key, after in sorted(changes.items())
        if state.get(key) != after
    )


def applied(state: Mapping[FactKey, str], effect: Effect) -> dict[FactKey, str]:
    """The facts after an effect."""
    after = {**state}
    for change in effect:
        after.pop(change.key, None)
        if change.after is not None:
            after[change.key] = change.after
    return after


def replay(
    *made: Made, base: Facts | None = None, comparable: bool = True, problem: str = ""
) -> Replay:
    """A replay whose statements make these facts, one after the other."""
    state = dict(base or {})
    effects = []
    for each in made:
        effects.append(effect_of(each, state))
        state = applied(state, effects[-1])
    return Replay(dict(base or {}), tuple(effects), comparable=comparable, problem=problem)


def state_after(replayed: Replay, k: int) -> dict[FactKey, str]:
    """All facts after the first `k` statements of a replay."""
    state = dict(replayed.base)
    for effect in replayed.effects[:k]:
        state = applied(state, effect)
    return state


def case(
    script: Script,
    replayed: Replay,
    *,
    live: Facts | None = None,
    after: int = 0,
    row: LedgerRow | None = None,
    edited: bool = False,
) -> Case:
    """What is known of a failed migration; the database is as after `after` statements."""
    return Case(
        row=row or ledger_row(),
        script=script,
        replay=replayed,
        live=state_after(replayed, after) if live is None else live,
        edited=edited,
    )


def made_by(script: Script) -> tuple[Made, ...]:
    """One table for each statement that changes the catalog, named after its number."""
    return tuple(f"t{s.index}" if s.nature is Nature.CATALOG else None for s in script.statements)


def situation(  # noqa: PLR0913 (one for each thing that planning looks at)
    script: Script,
    replayed: Replay | None = None,
    *,
    after: int = 0,
    finding: Finding | None = None,
    rows: tuple[LedgerRow, ...] = (),
    occupied: frozenset[str] = frozenset(),
    checksum: str = "ab" * 32,
) -> Situation:
    """A failed migration that stopped after `after` statements, ready to be planned for."""
    replayed = replayed or replay(*made_by(script))
    known = case(script, replayed, after=after)
    return Situation(
        finding=finding or diagnose(known),
        ledger=Ledger("public", rows or (known.row,)),
        table='"public"."_prisma_migrations"',
        live=known.live,
        script=script,
        replay=replayed,
        file=MigrationFile(NAME, script.text, checksum),
        occupied=occupied,
    )


def finding_of(name: FindingName, applied: int | None = None) -> Finding:
    """A finding of this name."""
    return Finding(name, NAME, (Evidence("test", "seen"),), applied=applied, missing=("more",))
