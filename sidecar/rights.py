"""Looks whether the role may do what a plan says, where a refusal on the way would leave a part.

A plan of one transaction needs no look: PostgreSQL refuses what is not allowed, and nothing
stays. Of several, the first would stay, so what the catalog can tell is asked before.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from sidecar.db import Session, identifier
from sidecar.errors import HaltError
from sidecar.model import Plan, StepKind
from sidecar.queries import CURRENT_ROLE, NOT_CREATABLE, NOT_OWNED, NOT_WRITABLE

_OWNERS_ONLY = frozenset(
    {"attribute", "column", "constraint", "default", "index", "policy", "rule"}
)
"""Kinds of facts that only the owner of a relation adds to it (PostgreSQL, "Privileges").

Only what is new counts: an old one is also spelled anew when something that it names is renamed.
"""

_MADE_IN_A_SCHEMA = frozenset({"index", "sequence", "table", "type", "view"})

_OTHER_ROLE = re.compile(
    r"\bSET\s+((LOCAL|SESSION)\s+)?(ROLE|SESSION\s+AUTHORIZATION)\b", re.IGNORECASE
)


def refuse_if_lacking(session: Session, plan: Plan, ledger_schema: str) -> None:
    """Raise `HaltError` with the statements that grant what the role lacks for this plan.

    Silent where the steps act as another role, or where functions may do so.
    """
    acts_as_other = any(_OTHER_ROLE.search(step.sql) for step in plan.steps)
    if not plan.segments[1:] or acts_as_other or not plan.reach_known:
        return
    [(role,)] = session.query(CURRENT_ROLE)
    if grants := tuple(_lacking(session, plan, ledger_schema, role)):
        raise HaltError(
            f"the role {role} lacks rights that statements of {plan.migration} need, of which "
            "earlier ones would stay; nothing was changed",
            next_steps=grants,
        )


def _lacking(session: Session, plan: Plan, ledger_schema: str, role: str) -> Iterator[str]:
    expected = plan.expected.items()
    new = [key for key, value in expected if value is not None and plan.before.get(key) is None]
    on = {key.on for key in new if key.kind in _OWNERS_ONLY}
    for (table,) in session.query(NOT_OWNED, (sorted(on),)):
        yield f"ALTER TABLE {table} OWNER TO {role};"
    made = {key.identity for key in new if key.kind in _MADE_IN_A_SCHEMA}
    for (schema,) in session.query(NOT_CREATABLE, (sorted(made),)):
        yield f"GRANT CREATE ON SCHEMA {schema} TO {role};"
    ledger = identifier(ledger_schema, "_prisma_migrations")
    books = {StepKind.LEDGER, StepKind.MARK}
    verbs = {step.sql.split()[0] for step in plan.steps if step.kind in books}
    for (verb,) in session.query(NOT_WRITABLE, (sorted(verbs), ledger)):
        yield f"GRANT {verb} ON {ledger} TO {role};"
