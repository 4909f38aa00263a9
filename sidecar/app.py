"""The program on one screen: wait, read, hold the lock, find, plan, carry out, prove, say.

Each stage is a module that knows nothing of the others; only here they have an order.
The commands that only read take the same way and stop before carrying out.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from sidecar import history, lock, outcomes
from sidecar.errors import (
    ConnectionLostError,
    ExitCode,
    HaltError,
    ProofError,
    RepairError,
)
from sidecar.model import (
    Ledger,
    LedgerRow,
    MigrationOutcome,
    Outcome,
    OutcomeName,
    Plan,
    Refusal,
)
from sidecar.opening import Opened, World, located, opened, own_session, ready, waited_lock
from sidecar.tries import Patience

if TYPE_CHECKING:
    from sidecar.config import Config
    from sidecar.examine import Examiner
    from sidecar.services import Restarts


_PAUSE_S = 0.5
"""Between losing a connection and starting over; a restart takes about as long."""


# --- the commands ----------------------------------------------------------------


def run(config: Config, world: World) -> Outcome:
    """Wait, find, repair under the policy, prove; the outcome says whether to start.

    A lost connection loses nothing: no progress is kept but in the database, so the whole
    way is taken again, as long as a repair may be tried without getting further. Raises
    `SidecarError` where no outcome could be reached, and passes signals through.
    """
    patience = Patience(config.repair_timeout_s)
    found: list[Ledger | None] = []
    before: list[Ledger | None] = []
    while True:
        try:
            return _run_once(config, world, found.append)
        except ConnectionLostError as error:
            if patience.is_over(world.clock(), progress=found[-1:] != before):
                raise
            before = found[-1:]
            world.log.warning("starting over", cause=error.what)
            world.sleep(_PAUSE_S)


def _run_once(config: Config, world: World, found: Callable[[Ledger | None], None]) -> Outcome:
    """Take the whole way once; `found` is told the ledger at its beginning."""
    config = located(config, world)
    with opened(config, world) as database:
        found(database.ledger)
        if database.ledger is None or not database.ledger.failed:
            return outcomes.healthy(config, database)
        names = sorted({row.migration_name for row in database.ledger.failed})
        world.log.info("failed migrations found", migrations=names)
        restarts = _restarts(config, world)
        with waited_lock(config, world, database):
            outcome = _repair_all(config, world, database)
    return restarts.after(outcome) if restarts else outcome


def inspect(config: Config, world: World) -> Outcome:
    """What is found and what `run` would do; nothing is changed, nobody is waited for."""
    config = located(config, world)
    with opened(config, world) as database:
        if database.ledger is None or not database.ledger.failed:
            return outcomes.healthy(config, database)
        own_session(config, database)
        with lock.tried_lock(database.session) as held:
            busy = _busy(config, database, held=held)
            found = _running(database, busy) if busy else _inspected(config, database)
        count = len(found)
        summary = f"{count} failed migration{'s' if count > 1 else ''} found; nothing was changed"
        return outcomes.outcome(config, database, OutcomeName.HALTED, summary, found)


def wait_only(config: Config, world: World) -> Outcome:
    """Wait until what the backend will use answers. Raises `NotReadyError` at the deadline."""
    target = located(config, world).backend_target
    session, server = ready(target.probe_conninfo, config, world)
    session.close()
    return Outcome(
        OutcomeName.HEALTHY,
        ExitCode.OK,
        "PostgreSQL is ready",
        server_version=server.version,
        warnings=target.warnings[len(config.backend_target.warnings) :],
    )


# --- something failed ------------------------------------------------------------


def _repair_all(config: Config, world: World, database: Opened) -> Outcome:
    """One failed migration after the other, each found and decided afresh."""
    from sidecar.quarantine import ways_back

    done: list[MigrationOutcome] = []
    ledger = _reread(database)  # as it is under the lock
    while ledger.failed:
        examiner = _examiner(config, database)
        row = examiner.first_failed(ledger)[0]
        seen = _decided(config, examiner, row, ledger)
        if isinstance(seen.decision, Refusal):
            return outcomes.halted(config, database, (*done, seen), seen.decision)
        try:
            seen = _carried_out(config, world, database, seen)
        except (RepairError, HaltError) as exc:
            proof = exc.proof if isinstance(exc, ProofError) else None
            committed = exc.committed if isinstance(exc, RepairError) else ()
            seen = replace(seen, proof=proof, committed=committed)
            return outcomes.failed(config, database, (*done, seen), exc)
        done.append(seen)
        ledger = _reread(database)
    if not done:
        return outcomes.healthy(config, replace(database, ledger=ledger))
    names = ", ".join(item.finding.migration for item in done)
    repaired = outcomes.outcome(
        config, database, OutcomeName.REPAIRED, f"repaired and proven: {names}", done
    )
    steps = [
        step for item in done if isinstance(item.decision, Plan) for step in item.decision.steps
    ]
    return replace(repaired, next_steps=ways_back(steps))


def _inspected(config: Config, database: Opened) -> list[MigrationOutcome]:
    examiner = _examiner(config, database)
    ledger = _reread(database)
    return [_decided(config, examiner, row, ledger) for row in examiner.first_failed(ledger)]


def _busy(config: Config, database: Opened, *, held: bool) -> tuple[str, ...]:
    """Who is at work on a migration now, a sentence each."""
    if not held:
        return lock.holders(database.session) or ("somebody held Prisma's lock a moment ago",)
    files = history.read_folder(config.migrations_dir).files
    return lock.executing(database.session, [file.text for file in files if file.text])


def _running(database: Opened, who: tuple[str, ...]) -> list[MigrationOutcome]:
    from sidecar.diagnose import running

    rows = {row.migration_name: row for row in _reread(database).failed}
    return [MigrationOutcome(running(row, who), None) for row in rows.values()]


def _examiner(config: Config, database: Opened) -> Examiner:
    from sidecar.examine import Examiner
    from sidecar.shadow import Live, Rung

    return Examiner(
        live=Live(
            session=database.session,
            conninfo=config.target.probe_conninfo,
            database_oid=database.server.database_oid,
            search_path=database.search_path,
            url_schema=config.target.schema,
        ),
        folder=history.read_folder(config.migrations_dir),
        rung=Rung(config.shadow),
        shadow_url=config.shadow_target.conninfo if config.shadow_target else None,
        embedded_dir=config.embedded_dir,
    )


def _decided(
    config: Config, examiner: Examiner, row: LedgerRow, ledger: Ledger
) -> MigrationOutcome:
    from sidecar.plan import decide

    situation = examiner.examine(row, ledger)
    decision = decide(situation, config.policy)
    return MigrationOutcome(situation.finding, situation.script, decision)


def _carried_out(
    config: Config, world: World, database: Opened, seen: MigrationOutcome
) -> MigrationOutcome:
    from sidecar.execute import Limits, Repair, carry_out
    from sidecar.rights import refuse_if_lacking

    plan = seen.decision
    if not isinstance(plan, Plan):
        raise TypeError(plan)
    _refuse_unless_approved(config, plan)
    refuse_if_lacking(database.session, plan, database.schema or "")
    world.log.info(
        "repairing",
        migration=plan.migration,
        finding=plan.finding,
        action=plan.action,
        steps=len(plan.steps),
        fingerprint=plan.fingerprint,
    )
    repair = Repair(
        session=database.session,
        conninfo=config.target.probe_conninfo,
        ledger_schema=database.schema or "",
        limits=Limits(config.lock_timeout_s, config.statement_timeout_s, config.repair_timeout_s),
        sleep=world.sleep,
        on_retry=lambda error: world.log.warning("trying again", cause=error.what),
        show_values=config.show_values,
    )
    return replace(seen, proof=carry_out(plan, repair), done=True)


def _restarts(config: Config, world: World) -> Restarts | None:
    """The restarts that a repair is followed by, if any were asked for; nothing is changed yet."""
    if not config.restart_services:
        return None
    from sidecar.services import asked

    return asked(config, world)


def _refuse_unless_approved(config: Config, plan: Plan) -> None:
    if config.approve in {None, plan.fingerprint}:
        return
    what = f"the plan is now {plan.fingerprint}, not the approved {config.approve}"
    raise HaltError(
        f"{what}; {plan.migration} was not touched",
        next_steps=("migration-sidecar plan", "then approve the new fingerprint"),
    )


def _reread(database: Opened) -> Ledger:
    ledger = database.reread()
    if ledger is None:
        raise AssertionError(database)  # only called where a ledger was read before
    return ledger
