"""The boundary: argv and environment in, one exit code out.

Only here are the environment read, everything caught, and the process ended. Options are
made from the table in `settings`; click neither reads variables nor checks values, so
that `config` can name every mistake at once.
"""

from __future__ import annotations

import atexit
import gc
import os
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NoReturn

import click

from sidecar import __version__, app, settings
from sidecar.config import Config, effective, load
from sidecar.errors import CommandError, ConfigError, ExitCode, SidecarError
from sidecar.log import Log
from sidecar.model import MigrationName, Outcome, OutcomeName
from sidecar.opening import World
from sidecar.signals import SIGNALS, Interrupted
from sidecar.telling import Telling, tell

Flags = Mapping[str, str | None]

_NAMES = {
    ExitCode.HALTED: OutcomeName.HALTED,
    ExitCode.REPAIR_FAILED: OutcomeName.REPAIR_FAILED,
    ExitCode.BUSY: OutcomeName.BUSY,
    ExitCode.NOT_READY: OutcomeName.NOT_READY,
}


_STARTING = ("run", "wait")
"""The commands after which a program may start: `run -- CMD ARGS...`."""


class _Default(click.Group):
    """A group whose first word may be left out: `migration-sidecar` is `... run`.

    What stands after `--` is a program of somebody else, and none of our options.
    """

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        cut = args.index("--") if "--" in args else len(args)
        ours, ctx.obj = args[:cut], tuple(args[cut + 1 :])
        first = ours[0] if ours else ""
        if first not in {*self.commands, "--help", "--version"}:
            ours = ["run", *ours] if not first or first.startswith("-") else ours
        if cut < len(args) and not ctx.obj:
            raise click.UsageError("nothing to start stands after --")
        if ctx.obj and ours[0] not in _STARTING:
            raise click.UsageError(f"a program after -- goes with {' and '.join(_STARTING)} only")
        return super().parse_args(ctx, ours)


@click.group(cls=_Default, context_settings={"help_option_names": ["--help", "-h"]})
@click.version_option(__version__)
def cli() -> None:
    """Repair a half-done Prisma migration before the backend starts, or say why not.

    Without a command it does `run`. Every option can also be an environment variable or a
    key in a TOML file; the flag wins over the variable, the variable over the file.
    """


def _options(command: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """The options of a command, out of the table of settings; values stay text."""

    def add(function: Callable[..., Any]) -> Callable[..., Any]:
        for entry in reversed(settings.help_entries(command)):
            flag: dict[str, Any] = (
                {"is_flag": False, "flag_value": entry.bare} if entry.bare else {}
            )
            option = click.option(
                entry.flag, entry.key, metavar=entry.metavar, help=entry.help, **flag
            )
            function = option(function)
        return function

    return add


@cli.command("run", options_metavar="[OPTIONS] [-- CMD ARGS...]")
@_options("run")
@click.pass_obj
def run_command(program: tuple[str, ...], /, **flags: str | None) -> NoReturn:
    """Wait, find, repair under the policy, prove; exit 0 only if the backend may start.

    With CMD it becomes that program then, in the same process.
    """
    _end(_Run(flags, program=program), app.run)


@cli.command("wait", options_metavar="[OPTIONS] [-- CMD ARGS...]")
@_options("wait")
@click.pass_obj
def wait_command(program: tuple[str, ...], /, **flags: str | None) -> NoReturn:
    """Wait until PostgreSQL takes what the backend will send; nothing else.

    With CMD it becomes that program then, in the same process.
    """
    _end(_Run(flags, program=program), app.wait_only)


@cli.command("status")
@click.option("--json", "as_json", is_flag=True, help="The report as JSON on standard output.")
@_options("status")
def status_command(*, as_json: bool, **flags: str | None) -> NoReturn:
    """Say what happened to each failed migration, with the evidence; changes nothing."""
    _end(_Run(flags, shown="json" if as_json else "status"), app.inspect)


@cli.command("plan")
@click.option("--sql", "as_sql", is_flag=True, help="One runnable SQL script on standard output.")
@click.option("--json", "as_json", is_flag=True, help="The report as JSON on standard output.")
@_options("plan")
def plan_command(*, as_sql: bool, as_json: bool, **flags: str | None) -> NoReturn:
    """Say what `run` would do, step by step with its SQL; changes nothing."""
    shown = "sql" if as_sql else "json" if as_json else "plan"
    _end(_Run(flags, shown=shown), app.inspect)


@cli.command("resolve")
@click.option("--applied", metavar="NAME", help="Record this migration as applied.")
@click.option("--rolled-back", metavar="NAME", help="Record this failed migration as rolled back.")
@_options("resolve")
def resolve_command(
    *, applied: str | None, rolled_back: str | None, **flags: str | None
) -> NoReturn:
    """Change the ledger alone, as `prisma migrate resolve` does, with its errors."""
    from sidecar import resolve

    if (applied is None) == (rolled_back is None):
        raise click.UsageError("exactly one of --applied NAME and --rolled-back NAME is needed")
    name = MigrationName(applied or rolled_back or "")
    action = resolve.applied if applied else resolve.rolled_back
    _end(_Run(flags), lambda config, world: action(config, world, name))


@cli.command("config")
@_options("config")
def config_command(**flags: str | None) -> NoReturn:
    """Show every setting with its value and where it comes from; secrets are left out."""
    try:
        rows = effective(flags, os.environ, read_text=_read_text)
    except ConfigError as error:
        _refuse(error)
    width = max(len(row.key) for row in rows)
    for row in rows:
        click.echo(f"{row.key:<{width}}  {row.value or '(not set)'}  [{row.source}]")
    sys.exit(ExitCode.OK)


@cli.command("demo")
@click.option(
    "--policy",
    type=click.Choice(["forward", "rebuild"]),
    default="forward",
    show_default=True,
    help="How the sidecar repairs the incident.",
)
def demo_command(policy: str) -> NoReturn:
    """Play the incident on a private PostgreSQL: before, the repair, after."""
    from sidecar import demo

    SIGNALS.install()
    try:
        sys.exit(demo.play(policy, sys.stdout, os.environ.get("SIDECAR_EMBEDDED_DIR")))
    except Interrupted as interrupted:
        sys.exit(128 + interrupted.signum)
    except SidecarError as error:
        _refuse(error)


# --- one run ---------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Run:
    """What the command line said; `shown` is what goes to standard output.

    `program` is what the process becomes after exit code 0, empty for nothing.
    """

    flags: Flags
    shown: str = ""
    program: tuple[str, ...] = ()


def _end(run: _Run, command: Callable[[Config, World], Outcome]) -> NoReturn:
    """Do it, tell it everywhere it must be told, and exit with its code."""
    SIGNALS.install()
    try:
        if run.program:
            from sidecar import handover

            handover.refuse_if_absent(run.program, os.environb)
        config = load(run.flags, os.environ, read_text=_read_text)
    except (ConfigError, CommandError) as error:
        _refuse(error)
    started, began = datetime.now(UTC), time.monotonic()
    log = Log(sys.stderr, log_format=config.log_format, level=config.log_level, hide=config.secrets)
    outcome, code = _outcome(config, command, log)
    to = Telling(config, log, run.shown, succeeded_by=bool(run.program))
    try:
        tell(to, outcome, started=started, duration_s=time.monotonic() - began)
        if run.program and code == ExitCode.OK:
            _become(run.program, log)
    except Interrupted as interrupted:
        sys.exit(128 + interrupted.signum)
    sys.exit(code)


def _become(program: tuple[str, ...], log: Log) -> NoReturn:
    """Replace this process by the program; nothing of ours is open or changed then."""
    from sidecar import handover

    SIGNALS.restore()
    try:
        handover.become(program, handover.inherited_environment(os.environb))
    except CommandError as error:
        log.summary(error.what, level="error")
        sys.exit(error.exit_code)


def _outcome(
    config: Config, command: Callable[[Config, World], Outcome], log: Log
) -> tuple[Outcome, int]:
    world = World(clock=time.monotonic, sleep=time.sleep, log=log)
    try:
        outcome = command(config, world)
    except SidecarError as error:
        outcome = _of_error(error, _NAMES.get(error.exit_code, OutcomeName.ERROR))
    except Interrupted as interrupted:
        code = 128 + interrupted.signum
        what = f"stopped by {interrupted}; what was not committed is rolled back"
        outcome = Outcome(OutcomeName.ERROR, code, what, next_steps=("Start again.",))
    except Exception as error:
        log.error("unexpected error", exc_info=error)  # noqa: TRY400 (it is not a logging.Logger)
        what = f"unexpected error ({type(error).__name__}); this is a bug of migration-sidecar"
        outcome = Outcome(OutcomeName.ERROR, ExitCode.BUG, what)
    return outcome, int(outcome.exit_code)


def _of_error(error: SidecarError, name: OutcomeName) -> Outcome:
    return Outcome(name, error.exit_code, error.what, next_steps=error.next_steps)


def _refuse(error: SidecarError) -> NoReturn:
    """End before there is a log: one line for each mistake, then what to do."""
    mistakes = error.mistakes if isinstance(error, ConfigError) else (error.what,)
    for line in (*mistakes, *(f"next: {step}" for step in error.next_steps)):
        click.echo(f"migration-sidecar: {line}", err=True)
    sys.exit(error.exit_code)


def _read_text(path: str) -> str:
    return Path(path).read_text(encoding="utf-8")


def main() -> NoReturn:
    """The console script; always exits.

    The interpreter's last collections would walk every object of every module once more and
    free nothing: a fifth of a healthy start, which `freeze` takes out of their sight.
    """
    atexit.register(gc.freeze)
    cli(prog_name="migration-sidecar")
    raise AssertionError  # click exits; this tells the type checker
