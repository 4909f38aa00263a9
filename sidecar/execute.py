"""Carries out a plan, segment by segment: each is proven before its COMMIT, or rolled back.

No decision is made here. A cause that may pass (a lock, a deadlock) is tried again until the
deadline; everything else ends the repair at once, and what stays is said.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeVar, assert_never

from sidecar import causes, offenders, remains, snapshot
from sidecar.blockers import BlockerWatch
from sidecar.db import Session
from sidecar.errors import (
    DatabaseError,
    HaltError,
    ProofError,
    RepairError,
)
from sidecar.model import FactKey, Facts, Plan, Proof, Segment, Step, StepKind
from sidecar.queries import (
    CHANGED_ROWS,
    COUNTS_ROWS,
    LEDGER_NAME,
    RELATION_FILES,
    SERVER_STATE,
)
from sidecar.signals import SIGNALS
from sidecar.tries import tried
from sidecar.verify import UNCOUNTED, Rows, prove

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Limits:
    """Seconds: for one lock, for one statement (0 = none), and to go on trying a segment."""

    lock_timeout_s: float
    statement_timeout_s: float
    repair_timeout_s: float


@dataclass(frozen=True, slots=True)
class Repair:
    """What a repair needs besides its plan. `ledger_schema` is where the table lives.

    `show_values`: errors may quote rows.
    """

    session: Session
    conninfo: Mapping[str, str]
    ledger_schema: str
    limits: Limits
    sleep: Callable[[float], None]
    on_retry: Callable[[RepairError], None]
    show_values: bool = False


@dataclass(frozen=True, slots=True)
class _Course:
    """A plan on its way.

    `stays` are the segments that are committed, `start` is the snapshot from before the first.
    """

    plan: Plan
    repair: Repair
    watch: BlockerWatch
    stays: list[Segment]
    start: Facts | None = None

    @property
    def session(self) -> Session:
        return self.repair.session

    def facts(self) -> Facts:
        return snapshot.read(self.session, server_version=self.session.server_version)


def carry_out(plan: Plan, repair: Repair) -> Proof:
    """Do what the plan says and return the proof of the whole; on return it is committed.

    Raises `RepairError` (and `LockTimeoutError`, `ProofError`) after rolling back the segment
    that failed, with the statements that stay in `committed`; `HaltError` where the world is
    no longer the one the plan was made for; `ConnectionLostError`, after which only the
    database knows whether COMMIT was reached.
    """
    _set_limits(repair.session, repair.limits)
    *before, last = plan.segments
    with BlockerWatch(repair.conninfo, repair.session.backend_pid) as watch:
        course = _Course(plan, repair, watch, stays=[])
        try:
            for segment in before:
                _, start = _carried_out(course, segment)
                course = replace(course, start=start)
            return _carried_out(course, last)[0]
        except RepairError as exc:
            offenders.explain(exc, plan, repair.session, _asked(repair))
            exc.left(*_left(course.stays))
            raise


def _asked(repair: Repair) -> offenders.Asked:
    role, limit = repair.conninfo.get("user", ""), repair.limits.statement_timeout_s
    return offenders.Asked(role, limit, repair.show_values)


def _tried(repair: Repair, do: Callable[[], T]) -> T:
    limit_s = repair.limits.repair_timeout_s
    return tried(do, limit_s=limit_s, sleep=repair.sleep, on_retry=repair.on_retry)


def _carried_out(course: _Course, segment: Segment) -> tuple[Proof, Facts]:
    """The proof of this segment, which is committed, and the facts before the whole plan."""
    if not segment.alone:
        done = _tried(course.repair, partial(_run_transaction, course, segment))
        course.stays.append(segment)
        return done
    _tried(course.repair, partial(_run_alone, course, segment, set()))
    course.stays.append(segment)
    start = course.start or {}  # a transaction always comes before it
    return _proven(course, segment, start, UNCOUNTED, UNCOUNTED), start


def _left(stays: list[Segment]) -> tuple[tuple[int, ...], str]:
    """What stays of a repair that failed after these segments: the statements, and a clause."""
    numbers = tuple(dict.fromkeys(n for segment in stays for n in segment.statements))
    said = []
    if any(step.kind is StepKind.UNDO for segment in stays for step in segment.steps):
        said.append("what an earlier attempt had left was removed")
    if numbers:
        shown = ", ".join(map(str, numbers))
        said.append(f"statements committed by this repair, which stay: {shown}")
    said.append("the rest was rolled back" if said else "everything was rolled back")
    return numbers, "; ".join(said)


# --- one segment -----------------------------------------------------------------


def _run_transaction(course: _Course, segment: Segment) -> tuple[Proof, Facts]:
    """Run it, prove it and commit it; the proof, and the facts before the whole plan."""
    session = course.session
    session.execute("BEGIN")
    try:
        done = _within_transaction(course, segment)
        with SIGNALS.shielded():
            _commit(course)
    finally:
        if not session.broken and session.in_transaction:
            session.execute("ROLLBACK")
    return done


def _commit(course: _Course) -> None:
    try:
        course.session.execute("COMMIT")
    except DatabaseError as exc:
        raise _refused(course, None, exc) from exc


def _refused(course: _Course, step: Step | None, error: DatabaseError) -> RepairError:
    seen, show = course.watch.seen(), course.repair.show_values
    return causes.refused(step, error, blockers=seen, show_values=show)


def _within_transaction(course: _Course, segment: Segment) -> tuple[Proof, Facts]:
    start = course.start
    if start is None:
        start = course.facts()
        _refuse_if_moved(course.plan, start)
    rows_before = _rows(course.session)
    for step in segment.steps:
        _run(course, step)
    if course.session.query(SERVER_STATE)[0][0]:  # a guard that let pass what the shadow's did not
        raise RepairError("it would change roles or settings of the whole server")
    return _proven(course, segment, start, rows_before, _rows(course.session)), start


def _run_alone(course: _Course, segment: Segment, left: set[FactKey]) -> None:
    """Run its step outside a transaction, after what earlier tries `left` is dropped."""
    try:
        _drop(course, left)
        _run_noting(course, segment, left)
    except RepairError as exc:
        with suppress(RepairError):  # whoever was in the way may be in the way of this too
            _drop(course, left)
        if left:
            names = ", ".join(key.identity for key in sorted(left))
            exc.left((), f"INVALID, until the next run drops it: {names}")
        raise


def _drop(course: _Course, left: set[FactKey]) -> None:
    for key in sorted(left):
        _run(course, remains.drop(key))
        left.discard(key)


def _run_noting(course: _Course, segment: Segment, left: set[FactKey]) -> None:
    """Run its step; where it fails, what is new and INVALID since then is added to `left`."""
    (step,) = segment.steps
    before = course.facts()
    try:
        _run(course, step)
    except RepairError:
        new = {key: value for key, value in segment.expected.items() if key not in before}
        left.update(set(remains.left_by(step.sql, new, course.facts())) - before.keys())
        raise


def _proven(
    course: _Course, segment: Segment, start: Facts, rows_before: Rows, rows_after: Rows
) -> Proof:
    """The proof that a segment left what it should; raises `ProofError` where it did not."""
    schema = course.repair.ledger_schema
    proof = prove(
        replace(course.plan, expected=segment.expected),
        before=start,
        after=course.facts(),
        rows_before=rows_before,
        rows_after=rows_after,
        ledger=course.session.query(LEDGER_NAME, (schema,))[0][0],
    )
    if not proof.holds:
        raise ProofError(proof)
    return proof


def _set_limits(session: Session, limits: Limits) -> None:
    """For the session, as a script's own SET would; what the script sets comes after it."""
    lock, statement = (int(s * 1000) for s in (limits.lock_timeout_s, limits.statement_timeout_s))
    session.execute(
        f"SET lock_timeout = {lock}; SET statement_timeout = {statement}; "
        "SET idle_in_transaction_session_timeout = 0"
    )


def _refuse_if_moved(plan: Plan, before: Facts) -> None:
    moved = [str(key) for key, value in plan.before.items() if before.get(key) != value]
    if moved:
        what = f"the database changed while the plan was made ({', '.join(sorted(moved)[:3])})"
        raise HaltError(f"{what}; nothing was changed", next_steps=("Start again.",))


def _run(course: _Course, step: Step) -> None:
    session = course.session
    try:
        match step.kind:
            case StepKind.MARK:
                session.execute("SET LOCAL ROLE NONE")  # the script's is back after COMMIT
                _change_ledger(session, step)
            case StepKind.LEDGER:
                session.execute("RESET SESSION AUTHORIZATION")
                _change_ledger(session, step)
            case StepKind.STATEMENT | StepKind.UNDO | StepKind.QUARANTINE:
                if step.must_be_empty and session.query(step.must_be_empty)[0][0]:
                    next_step = "Start again: the plan will keep these rows."
                    what = f"rows appeared that `{step.sql}` would lose"
                    raise RepairError(what, next_steps=(next_step,))
                session.execute(step.sql)
            case _:
                assert_never(step.kind)
    except DatabaseError as exc:
        raise _refused(course, step, exc) from exc


def _change_ledger(session: Session, step: Step) -> None:
    session.execute("SET LOCAL standard_conforming_strings = on")
    if session.update(step.sql) != 1:
        what = "the ledger row is not as it was found"
        raise RepairError(what, next_steps=("Start again.",))


def _rows(session: Session) -> Rows:
    files = {name: (oid, file) for name, oid, file in session.query(RELATION_FILES)}
    counts = bool(session.query(COUNTS_ROWS)[0][0])
    return Rows(changed=dict(session.query(CHANGED_ROWS)) if counts else None, files=files)
