"""Reads the catalog as facts, whole or for some objects only, and tells what a statement changed.

A fact is `FactKey(kind, identity, on) -> definition`, all in PostgreSQL's own spelling:

* What stands alone has its qualified name as `identity` and an empty `on`:
  `('table', 'momentum.mm_issue', '')`, `('function', 'momentum.f(a integer)', '')`.
* A part has its own name, and its whole in `on`: `('column', 'board_id', 'momentum.mm_issue')`.
  Indexes and statistics, which live in a schema, have their qualified name there.
* `('comment', 'table', 'momentum.mm_issue')`, `('comment', 'column a', 'momentum.mm_issue')`.
* `('privilege', 'app: SELECT', 'table momentum.mm_issue')`, of a column
  `('privilege', 'app: SELECT', 'column momentum.mm_issue.a')`: only what differs from the
  privileges an untouched object has, and not the owner's own.
* `('default privilege', 'app: SELECT', 'tables of owner in schema momentum')`.
* NOT NULL constraints (PostgreSQL 18; of domains 17) have the kind 'not-null' of their own.

Owners, sequences' current values, column order, and the options of user mappings are left
out, passwords in other options are masked. Members of extensions and objects in system or
temporary schemas are left out. The SQL is in facts.sql; its sources are pg_dump's queries and
PostgreSQL's chapter "System Catalogs".
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from functools import cache
from pathlib import Path
from typing import Any, Final, Protocol

from sidecar.model import Change, Effect, FactKey, Facts

_SETTINGS: Final = {
    # What pg_dump sets, so that definitions are spelled the same in every session ...
    "search_path": "pg_catalog, pg_temp",  # as if empty, but no temporary table comes first
    "datestyle": "ISO",
    "intervalstyle": "postgres",
    "timezone": "UTC",
    "extra_float_digits": "3",
    "bytea_output": "hex",
    "xmlbinary": "base64",
    "lc_monetary": "C",
    "quote_all_identifiers": "off",
    "standard_conforming_strings": "on",
    # ... and what makes one large query over small tables quick.
    "jit": "off",
    "max_parallel_workers_per_gather": "0",
    "work_mem": "64MB",
}

_FEW: Final = 500
"""Beyond so many roots it is quicker to read everything."""

_PREPARED: Final = "migration_sidecar_facts"
_IS_PREPARED: Final = "SELECT count(*) > 0 FROM pg_catalog.pg_prepared_statements WHERE name = %s"

_NAME_GIVERS: Final = frozenset({"type", "extension"})
"""Kinds whose *definition* shows in those of others: an enum's labels, an extension's schema."""


class Reader(Protocol):
    """What reading facts needs of a session: rows of a query, and a place to leave no trace."""

    def query(
        self, statement: str, params: Sequence[object] | None = None
    ) -> list[tuple[Any, ...]]:
        """Rows of one statement."""
        ...

    def undone(self) -> AbstractContextManager[None]:
        """A transaction, or inside one a savepoint, that is always rolled back."""
        ...


def read(session: Reader, *, server_version: int) -> Facts:
    """All facts of the database. `server_version` is libpq's number (150018)."""
    rows = _whole(session, server_version)
    return {FactKey(*fact): definition for _, *fact, definition in rows}


def read_rooted(
    session: Reader, *, server_version: int, roots: Collection[int] | None
) -> dict[int, Facts]:
    """Facts by root, of the asked roots only (None: of all); a root without facts is absent.

    A root is the oid of the object that stands alone and that a fact comes and goes with:
    schema, relation, type, function and the like.
    """
    if roots is None:
        return _by_root(_whole(session, server_version))
    with session.undone():
        session.query(*_settings())
        return _by_root(session.query(_sql("facts", server_version=server_version, roots=roots)))


def diff(before: Facts, after: Facts) -> Effect:
    """The facts that were made, altered or removed, sorted by key."""
    changes = (
        Change(key, before.get(key), after.get(key))
        for key in before.keys() | after.keys()
        if before.get(key) != after.get(key)
    )
    return tuple(sorted(changes, key=lambda change: change.key))


class Tracker:
    """Keeps the snapshot of a database that only this session changes, statement by statement.

    After `full()`, call `after_statement()` in the transaction of each statement, before it
    commits: what the statement touched is read from the transaction's locks and ids. The
    cost depends on what was touched, hardly on the size of the database.
    """

    def __init__(self, session: Reader, *, server_version: int) -> None:
        self._session = session
        self._version = server_version
        self._roots: dict[int, Facts] = {}

    def full(self) -> Facts:
        """Read everything; the facts as they are now."""
        self._roots = read_rooted(self._session, server_version=self._version, roots=None)
        return self.facts()

    def facts(self) -> Facts:
        """The facts as of the last call of `full` or `after_statement`."""
        return _merged(self._roots.values())

    def after_statement(self, *, full: bool = False) -> Effect:
        """What has changed since the last call.

        `full` reads everything again: for statements that cannot run in a transaction, and
        after a ROLLBACK.
        """
        if full:
            before = self.facts()
            return diff(before, self.full())
        changes = self._touched()
        before = _merged(self._roots.get(root, {}) for root in changes)
        self._roots.update(changes)
        return diff(before, _merged(changes.values()))

    def _touched(self) -> dict[int, Facts]:
        """The present facts of all roots that may have changed, by root.

        A root that lost a name is spelled in the definitions of its dependents: those are
        read too, and if they lost theirs (a schema was renamed), their dependents as well.
        """
        fresh: dict[int, Facts] = {}
        sql = _sql("touched", "roots", server_version=self._version)
        with self._session.undone():
            self._session.query(*_settings())
            roots = {root for (root,) in self._session.query(sql)}
            while roots:
                found = self._read(roots)
                fresh |= {root: found.get(root, {}) for root in roots}
                renamed = [root for root in roots if _renames(self._roots.get(root), fresh[root])]
                roots = self._dependents(renamed) - fresh.keys()
        return fresh

    def _read(self, roots: set[int]) -> dict[int, Facts]:
        few = roots if len(roots) <= _FEW else None
        sql = _sql("facts", server_version=self._version, roots=few)
        return _by_root(self._session.query(sql))

    def _dependents(self, roots: list[int]) -> set[int]:
        if not roots:
            return set()
        sql = _sql("dependents", "roots", server_version=self._version, roots=roots)
        return {root for (root,) in self._session.query(sql)}


def _renames(before: Facts | None, after: Facts) -> bool:
    """Whether others that mention this root may be spelled differently now."""
    if before is None or not after:
        return False  # new, so nothing that is old mentions it; or gone, so nothing can
    return any(
        key not in after or (key.kind in _NAME_GIVERS and after[key] != definition)
        for key, definition in before.items()
    )


def _whole(session: Reader, server_version: int) -> list[tuple[Any, ...]]:
    """All rows of facts.sql, which is planned only once a session: that is a third of its time.

    Whether it is prepared is asked each time: a script may say DEALLOCATE ALL.
    """
    with session.undone():
        session.query(*_settings())
        if not session.query(_IS_PREPARED, (_PREPARED,))[0][0]:
            facts = _sql("facts", server_version=server_version)
            session.query(f"PREPARE {_PREPARED} AS {facts}")
        return session.query(f"EXECUTE {_PREPARED}")


def _by_root(rows: Iterable[tuple[Any, ...]]) -> dict[int, Facts]:
    roots: dict[int, dict[FactKey, str]] = {}
    for root, kind, identity, on, definition in rows:
        roots.setdefault(root, {})[FactKey(kind, identity, on)] = definition
    return {**roots}


def _merged(parts: Iterable[Facts]) -> dict[FactKey, str]:
    return {key: definition for part in parts for key, definition in part.items()}


# --- facts.sql -------------------------------------------------------------------


def _settings() -> tuple[str, list[str]]:
    """One query, with its parameters, that sets `_SETTINGS` until the transaction ends."""
    call = "pg_catalog.set_config(%s, %s, true)"
    return (
        f"SELECT {', '.join([call] * len(_SETTINGS))}",
        [text for setting in _SETTINGS.items() for text in setting],
    )


def _sql(*blocks: str, server_version: int, roots: Collection[int] | None = None) -> str:
    """The named blocks as one query for that server, on some roots or on everything.

    The oids become part of the text: being constants they let the planner use the indexes.
    """
    text = "".join(_blocks(server_version // 10000)[name] for name in blocks)
    if roots is None:
        return re.sub(r"\S+ = ANY \(:roots\)", "true", text)
    return text.replace(":roots", f"'{{{','.join(str(int(root)) for root in roots)}}}'::oid[]")


@cache
def _blocks(major: int) -> Mapping[str, str]:
    """The blocks of facts.sql by name, without what that major version does not know."""
    text = re.sub(
        r"/\* since (\d+) \*/(.*?)/\* end \*/",
        lambda part: part[2] if major >= int(part[1]) else "",
        Path(__file__).with_name("facts.sql").read_text(encoding="utf-8"),
        flags=re.DOTALL,
    )
    _, *parts = re.split(r"^-- name: (\w+)\n", text, flags=re.MULTILINE)
    return dict(zip(parts[::2], parts[1::2], strict=True))
