"""How a run ends, as a value: healthy with its warnings, halted, failed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from sidecar import history
from sidecar.errors import ExitCode, HaltError, SidecarError
from sidecar.model import MigrationOutcome, Outcome, OutcomeName, Refusal

if TYPE_CHECKING:
    from sidecar.config import Config
    from sidecar.opening import Opened

_CODES = {
    OutcomeName.HEALTHY: ExitCode.OK,
    OutcomeName.REPAIRED: ExitCode.OK,
    OutcomeName.HALTED: ExitCode.HALTED,
    OutcomeName.REPAIR_FAILED: ExitCode.REPAIR_FAILED,
}


# --- outcomes --------------------------------------------------------------------


def halted(
    config: Config, database: Opened, seen: Sequence[MigrationOutcome], refusal: Refusal
) -> Outcome:
    """A person is needed; nothing was changed for the migration of `refusal`."""
    return outcome(
        config,
        database,
        OutcomeName.HALTED,
        f"halted at {refusal.migration}: {refusal.reason}",
        seen,
    )


def failed(
    config: Config, database: Opened, seen: Sequence[MigrationOutcome], error: SidecarError
) -> Outcome:
    """A repair was tried and rolled back, or (a `HaltError`) not begun."""
    halted = isinstance(error, HaltError)
    name = OutcomeName.HALTED if halted else OutcomeName.REPAIR_FAILED
    ended = outcome(config, database, name, error.what, seen)
    return replace(ended, next_steps=error.next_steps)


def outcome(
    config: Config,
    database: Opened,
    name: OutcomeName,
    summary: str,
    migrations: Sequence[MigrationOutcome],
    *,
    warnings: tuple[str, ...] = (),
) -> Outcome:
    """An outcome of this database under this configuration."""
    return Outcome(
        name=name,
        exit_code=_CODES[name],
        summary=summary,
        server_version=database.server.version,
        policy=config.policy.preset,
        migrations=tuple(migrations),
        warnings=(*config.target.warnings, *warnings),
    )


# --- nothing failed --------------------------------------------------------------


def healthy(config: Config, database: Opened) -> Outcome:
    """No failed migration; what deserves a look is a warning, never a reason to stop."""
    names, warnings = history.list_folder(config.migrations_dir)
    if database.ledger is None:
        summary, more = _without_ledger(database.server)
    else:
        applied = {row.migration_name for row in database.ledger.rows if row.applied}
        pending = sum(name not in applied for name in names)
        summary = f"no failed migration; {len(applied)} applied, {pending} pending"
        more = _ahead(sorted(applied.difference(names))) if names else ()
    return outcome(
        config,
        database,
        OutcomeName.HEALTHY,
        summary,
        (),
        warnings=(*warnings, *more),
    )


def _without_ledger(server: history.Server) -> tuple[str, tuple[str, ...]]:
    if server.prisma_8:
        return "a Prisma 8 database (prisma_contract): not applicable, nothing to repair", ()
    if server.has_tables:
        warning = (
            "the database has tables but no _prisma_migrations: `prisma migrate deploy` will say "
            "P3005 until a baseline is made with `migration-sidecar resolve --applied NAME`"
        )
        return "no _prisma_migrations, nothing to repair", (warning,)
    return "a fresh database, nothing to repair", ()


def _ahead(unknown: Sequence[str]) -> tuple[str, ...]:
    if not unknown:
        return ()
    shown = ", ".join(unknown[:3]) + (", ..." if len(unknown) > 3 else "")  # noqa: PLR2004
    return (f"the database is ahead of this image: {len(unknown)} unknown migrations ({shown})",)
