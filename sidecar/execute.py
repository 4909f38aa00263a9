"""Carries out a plan: all steps, the proof and the ledger in one transaction, or nothing.

No decision is made here. A cause that may pass (a lock, a deadlock) is tried again until the
deadline; everything else is rolled back at once and said.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from sidecar import snapshot
from sidecar.blockers import BlockerWatch
from sidecar.db import Session
from sidecar.errors import (
    DatabaseError,
    HaltError,
    LockTimeoutError,
    ProofError,
    RepairError,
)
from sidecar.model import Facts, Plan, Proof, Step, StepKind
from sidecar.queries import CHANGED_ROWS, COUNTS_ROWS, LEDGER_NAME, RELATION_FILES
from sidecar.signals import SIGNALS
from sidecar.verify import Rows, prove

_MAY_PASS = frozenset({"55P03", "40P01", "40001"})
"""lock_not_available, deadlock_detected, serialization_failure (Appendix A)."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Seconds: for one lock, for one statement (0 = none), and for all tries together."""

    lock_timeout_s: float
    statement_timeout_s: float
    repair_timeout_s: float


@dataclass(frozen=True, slots=True)
class Repair:
    """What a repair needs besides its plan. `ledger_schema` is where the table lives."""

    session: Session
    conninfo: Mapping[str, str]
    ledger_schema: str
    limits: Limits
    sleep: Callable[[float], None]
    on_retry: Callable[[RepairError], None]


def carry_out(plan: Plan, repair: Repair) -> Proof:
    """Do what the plan says and return the proof; on return it is committed.

    Raises `RepairError` (and `LockTimeoutError`, `ProofError`) after rolling back,
    `HaltError` where the world is no longer the one the plan was made for, and
    `ConnectionLostError`, after which only the database knows whether COMMIT was reached.
    """
    from tenacity import Retrying, retry_if_exception, stop_after_delay, wait_random_exponential

    tries = Retrying(
        retry=retry_if_exception(_may_pass),
        stop=stop_after_delay(repair.limits.repair_timeout_s),
        wait=wait_random_exponential(multiplier=0.2, max=5),
        sleep=repair.sleep,
        before_sleep=lambda state: _told(
            repair, state.outcome.exception() if state.outcome else None
        ),
        reraise=True,
    )
    with BlockerWatch(repair.conninfo, repair.session.backend_pid) as watch:
        return tries(_attempt, plan, repair, watch)


def _may_pass(error: BaseException) -> bool:
    return isinstance(error, RepairError) and error.sqlstate in _MAY_PASS


def _told(repair: Repair, error: BaseException | None) -> None:
    if isinstance(error, RepairError):
        repair.on_retry(error)


def _attempt(plan: Plan, repair: Repair, watch: BlockerWatch) -> Proof:
    session = repair.session
    session.execute("BEGIN")
    try:
        proof = _within_transaction(plan, repair, watch)
        with SIGNALS.shielded():
            _commit(session)
    finally:
        if not session.broken and session.in_transaction:
            session.execute("ROLLBACK")
    return proof


def _commit(session: Session) -> None:
    try:
        session.execute("COMMIT")
    except DatabaseError as exc:
        what = f"COMMIT was refused: {exc.what}; everything was rolled back"
        raise RepairError(what, sqlstate=exc.sqlstate) from exc


def _within_transaction(plan: Plan, repair: Repair, watch: BlockerWatch) -> Proof:
    session = repair.session
    _set_limits(session, repair.limits)
    before = snapshot.read(session, server_version=session.server_version)
    _refuse_if_moved(plan, before)
    rows_before = _rows(session)
    for step in plan.steps:
        _run(session, step, watch)
    after = snapshot.read(session, server_version=session.server_version)
    proof = prove(
        plan,
        before=before,
        after=after,
        rows_before=rows_before,
        rows_after=_rows(session),
        ledger=session.query(LEDGER_NAME, (repair.ledger_schema,))[0][0],
    )
    if not proof.holds:
        raise ProofError(proof)
    return proof


def _set_limits(session: Session, limits: Limits) -> None:
    lock, statement = (int(s * 1000) for s in (limits.lock_timeout_s, limits.statement_timeout_s))
    session.execute(
        f"SET LOCAL lock_timeout = {lock}; SET LOCAL statement_timeout = {statement}; "
        "SET LOCAL idle_in_transaction_session_timeout = 0"
    )


def _refuse_if_moved(plan: Plan, before: Facts) -> None:
    moved = [str(key) for key, value in plan.before.items() if before.get(key) != value]
    if moved:
        what = f"the database changed while the plan was made ({', '.join(sorted(moved)[:3])})"
        raise HaltError(f"{what}; nothing was changed", next_steps=("Start again.",))


def _run(session: Session, step: Step, watch: BlockerWatch) -> None:
    try:
        if step.kind is StepKind.LEDGER:
            session.execute(
                "RESET SESSION AUTHORIZATION; SET LOCAL standard_conforming_strings = on"
            )
            _run_ledger_step(session, step)
            return
        if step.must_be_empty and session.query(step.must_be_empty)[0][0]:
            what = f"rows appeared that `{step.sql}` would lose; everything was rolled back"
            raise RepairError(what, next_steps=("Start again: the plan will keep these rows.",))
        session.execute(step.sql)
    except DatabaseError as exc:
        raise _failed(step, exc, watch) from exc


def _run_ledger_step(session: Session, step: Step) -> None:
    if session.update(step.sql) != 1:
        what = "the ledger row is not as it was found; everything was rolled back"
        raise RepairError(what, next_steps=("Start again.",))


def _failed(step: Step, exc: DatabaseError, watch: BlockerWatch) -> RepairError:
    where = f"statement {step.index} (line {step.line})" if step.index else f"`{step.sql[:80]}`"
    if exc.sqlstate == "55P03":
        blockers = watch.seen()
        by = "; ".join(blockers) or "unknown"
        what = f"{where} waited too long for a lock, held by: {by}; everything was rolled back"
        return LockTimeoutError(what, blockers=blockers)
    detail = f" ({exc.detail})" if exc.detail else ""
    return RepairError(
        f"{where} failed: {exc.what}{detail} [SQLSTATE {exc.sqlstate}]; everything was rolled back",
        sqlstate=exc.sqlstate,
        next_steps=("Remove the cause, then start again.",),
    )


def _rows(session: Session) -> Rows:
    files = {name: (oid, file) for name, oid, file in session.query(RELATION_FILES)}
    counts = bool(session.query(COUNTS_ROWS)[0][0])
    return Rows(changed=dict(session.query(CHANGED_ROWS)) if counts else None, files=files)
