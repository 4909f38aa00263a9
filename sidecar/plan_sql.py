"""The plan as one script that a person can read, keep and run with psql.

Pure: values in, text out. The script holds the same guards as `run` (lock, limits, rows that
must not be lost, the ledger as it was found) but no proof, and says so. Whatever is not a
statement is a comment, however odd the text that it quotes.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from typing import assert_never

from sidecar.model import (
    LOCK_KEY,
    MigrationOutcome,
    Outcome,
    Plan,
    Refusal,
    Segment,
    Step,
    StepKind,
)
from sidecar.sql_text import literal
from sidecar.text import finding_line, one_line

__all__ = ["plan_sql"]

_HEADER = (
    "Made by `migration-sidecar plan --sql`. To run it: psql -X -v ON_ERROR_STOP=1 -f FILE",
    "It is valid only while the database is as it was when the plan was made, and it proves",
    "nothing before COMMIT. `migration-sidecar run --approve FINGERPRINT` does both.",
)


def plan_sql(
    outcome: Outcome, *, search_path: str | None = None, lock_timeout_s: float = 5.0
) -> str:
    """One runnable script: the transactions of each plan, comments only for each refusal.

    `search_path` is what the plan was made with, as `current_setting('search_path')` gives it;
    None leaves the session's own.
    """
    lock_timeout_ms = max(1, round(lock_timeout_s * 1000))  # 0 would wait for ever
    settings = {"lock_timeout": f"{lock_timeout_ms}ms", "standard_conforming_strings": "on"}
    if search_path is not None:
        settings["search_path"] = search_path
    header = "\n".join(_comment(line) for line in (*_HEADER, outcome.summary))
    blocks = ("\n".join(_migration(migration, settings)) for migration in outcome.migrations)
    return "\n\n".join((header, *blocks)) + "\n"


def _migration(migration: MigrationOutcome, settings: dict[str, str]) -> Iterator[str]:
    yield _comment(finding_line(migration))
    match migration.decision:
        case Plan() as plan:
            yield _comment(f"{plan.action}, plan {plan.fingerprint}")
            yield from _plan(plan, settings)
        case Refusal(reason=reason, next_steps=next_steps):
            yield _comment(f"nothing is done: {reason}")
            yield from (_comment(f"next: {step}") for step in next_steps)
        case None:
            yield _comment("nothing was decided")
        case _:
            assert_never(migration.decision)


def _plan(plan: Plan, settings: dict[str, str]) -> Iterator[str]:
    """One transaction with all it needs, or several under a lock and settings of the session."""
    numbers = count(1)
    if len(plan.segments) == 1:
        yield "BEGIN;"
        yield from (_set(name, value, local=True) for name, value in settings.items())
        yield _do(_TAKE_LOCK.format(lock="pg_try_advisory_xact_lock"))
        yield from _steps(plan.segments[0], numbers)
        yield "COMMIT;"
        return
    yield from (_set(name, value, local=False) for name, value in settings.items())
    yield _do(_TAKE_LOCK.format(lock="pg_try_advisory_lock"))
    for segment in plan.segments:
        if segment.alone:
            yield from _steps(segment, numbers)
        else:
            yield from ("BEGIN;", *_steps(segment, numbers), "COMMIT;")
    yield f"SELECT pg_advisory_unlock({LOCK_KEY});"
    yield from (f"RESET {name};" for name in settings)


def _set(name: str, value: str, *, local: bool) -> str:
    if name == "search_path":  # a list of names, which SET would take for one
        return f"SELECT set_config('{name}', {literal(value)}, {str(local).lower()});"
    return f"SET {'LOCAL ' if local else ''}{name} = {literal(value)};"


def _steps(segment: Segment, numbers: Iterator[int]) -> Iterator[str]:
    for step in segment.steps:
        where = "" if step.index is None else f" (statement {step.index}, line {step.line})"
        yield _comment(f"{next(numbers)}. {step.reason}{where}")
        yield from _step(step)


def _step(step: Step) -> Iterator[str]:
    if step.kind in {StepKind.LEDGER, StepKind.MARK}:  # the script may have changed both
        last = step.kind is StepKind.LEDGER
        yield "RESET SESSION AUTHORIZATION;" if last else "SET LOCAL ROLE NONE;"
        yield "SET LOCAL standard_conforming_strings = on;"
        yield _do(_ONE_ROW.format(sql=step.sql.rstrip("; \n")))
        return
    if step.must_be_empty:
        yield _do(_NO_ROWS.format(query=step.must_be_empty.rstrip("; \n")))
    yield _terminated(step.sql)


_TAKE_LOCK = f"""\
  IF NOT {{lock}}({LOCK_KEY}) THEN
    RAISE EXCEPTION 'another migrator holds the lock: try again later';
  END IF;"""
"""Prisma's own lock, tried and never waited for: a waiter can deadlock somebody's index build."""

_NO_ROWS = """\
  IF ({query}) THEN
    RAISE EXCEPTION 'rows appeared that the next step would lose: make a new plan';
  END IF;"""

_ONE_ROW = """\
  {sql};
  IF NOT FOUND THEN
    RAISE EXCEPTION 'the ledger row is not as it was found: make a new plan';
  END IF;"""


def _do(body: str) -> str:
    tag = "$do$"
    while tag in body:
        tag = f"$_{tag[1:]}"
    return f"DO {tag} BEGIN\n{body}\nEND {tag};"


def _terminated(sql: str) -> str:
    """`sql` ending in a semicolon that no comment swallows."""
    sql = sql.strip()
    if "--" in sql.rpartition("\n")[2]:
        return f"{sql}\n;"
    return sql if sql.endswith(";") else f"{sql};"


def _comment(text: str) -> str:
    return f"-- {one_line(text)}"
