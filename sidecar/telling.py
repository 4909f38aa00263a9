"""Tells how a run ended, everywhere it must be told: log, report, screen, termination message.

Every start pays for this module, so the others are imported where something is to be said.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from sidecar.errors import ExitCode
from sidecar.model import Outcome, OutcomeName

if TYPE_CHECKING:
    from sidecar.config import Config
    from sidecar.log import Log

__all__ = ["Telling", "tell"]


@dataclass(frozen=True, slots=True)
class Telling:
    """To whom: `shown` is what goes to standard output ('json', 'sql', 'status', 'plan', '').

    `succeeded_by` says that after exit code 0 another program takes our place: the last words
    of the container are its own then.
    """

    config: Config
    log: Log
    shown: str = ""
    succeeded_by: bool = False


def tell(to: Telling, outcome: Outcome, *, started: datetime, duration_s: float) -> None:
    """Report, termination message, standard output; the summary comes last."""
    log = to.log
    if to.config.report_file or to.shown == "json":
        _report(to, outcome, started=started, duration_s=duration_s)
    _show(to, outcome)
    if to.shown in {"status", "plan"} and outcome.name is not OutcomeName.ERROR:
        return
    ended_well = outcome.exit_code == ExitCode.OK
    if ended_well and not outcome.migrations and not outcome.warnings:
        log.summary(outcome.summary, outcome=outcome.name, exit_code=int(outcome.exit_code))
        if not to.succeeded_by:
            _terminate(to, f"{outcome.name}: {outcome.summary}".encode())
        return
    from sidecar.text import summary_lines, termination_message

    for warning in outcome.warnings:
        log.summary(warning, level="warning")
    level: Any = "info" if ended_well else "error"
    for n, line in enumerate(summary_lines(outcome)):
        # Machines look at lines one by one; for people once is enough.
        alone = n == 0 or log.is_json
        said = {"outcome": outcome.name, "exit_code": int(outcome.exit_code)} if alone else {}
        log.summary(line, level=level, **said)
    if not (to.succeeded_by and ended_well):
        _terminate(to, termination_message(outcome))


def _terminate(to: Telling, message: bytes) -> None:
    if Path(to.config.termination_log).exists():
        from sidecar.deliver import write_termination

        write_termination(to.config.termination_log, message)


def _report(to: Telling, outcome: Outcome, *, started: datetime, duration_s: float) -> None:
    from sidecar import report
    from sidecar.deliver import write_report

    data = report.encode(report.build(outcome, started_at=started, duration_s=duration_s))
    if to.shown == "json":
        click.echo(data.decode())
    path = to.config.report_file
    if path and (problem := write_report(path, data)):
        to.log.summary(problem, level="warning")


def _show(to: Telling, outcome: Outcome) -> None:
    if to.shown not in {"status", "plan", "sql"}:
        return
    from sidecar import deliver, pages, plan_sql

    if to.shown == "sql":
        path, timeout = to.config.target.search_path, to.config.lock_timeout_s
        click.echo(plan_sql.plan_sql(outcome, search_path=path, lock_timeout_s=timeout))
        return
    page = pages.human_status(outcome) if to.shown == "status" else pages.human_plan(outcome)
    deliver.print_human(page, sys.stdout)
