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
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import AbstractContextManager, contextmanager
from functools import cache
from itertools import chain
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
    "plan_cache_mode": "force_generic_plan",
}

_BEGIN: Final = ", ".join(
    [
        "SELECT ARRAY(SELECT name::text FROM pg_catalog.pg_prepared_statements)",
        *["pg_catalog.set_config(%s, %s, true)"] * len(_SETTINGS),
    ]
)
"""Tells what the session has prepared, and sets `_SETTINGS` until the transaction ends."""

_FEW: Final = 500
"""Beyond so many roots it is quicker to read everything."""

_PREPARED: Final = "migration_sidecar_"
"""Queries are prepared under their name, which follows."""

_CANCEL_AGAIN_S: Final = 0.1
"""A statement that had not yet begun when it was cancelled runs on."""

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


class Stoppable(Reader, Protocol):
    """A session that another thread can stop."""

    def cancel(self) -> None:
        """Have the server stop what the session runs."""
        ...


def read(session: Reader, *, server_version: int) -> Facts:
    """All facts of the database. `server_version` is libpq's number (150018)."""
    with session.undone():
        rows = _Catalog(session, server_version).facts()
    return {FactKey(*fact): definition for _, *fact, definition in rows}


@contextmanager
def read_meanwhile(session: Stoppable, *, server_version: int) -> Iterator[Future[Facts]]:
    """All facts of the database, read while the block does something else.

    The block must leave `session` alone, and ask for the result at its end: whoever leaves
    earlier (we were told to stop, a server is gone) does not want it any more.
    """
    with ThreadPoolExecutor(1, "snapshot") as pool:
        facts = pool.submit(read, session, server_version=server_version)
        try:
            yield facts
        finally:
            while not facts.done():
                session.cancel()
                wait((facts,), timeout=_CANCEL_AGAIN_S)


def read_rooted(
    session: Reader, *, server_version: int, roots: Collection[int] | None
) -> dict[int, Facts]:
    """Facts by root, of the asked roots only (None: of all); a root without facts is absent.

    A root is the oid of the object that stands alone and that a fact comes and goes with:
    schema, relation, type, function and the like.
    """
    with session.undone():
        return _by_root(_Catalog(session, server_version).facts(roots))


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
        fresh = self._everything() if full else self._touched()
        changed = {
            root: facts for root, facts in fresh.items() if facts != self._roots.get(root, {})
        }
        before = _merged(self._roots.get(root, {}) for root in changed)
        self._roots.update(changed)
        return diff(before, _merged(changed.values()))

    def _everything(self) -> dict[int, Facts]:
        """The present facts of all roots, also of those that have none any more."""
        now = read_rooted(self._session, server_version=self._version, roots=None)
        return {root: {} for root in self._roots} | now

    def _touched(self) -> dict[int, Facts]:
        """The present facts of all roots that may have changed, by root.

        A root that lost a name is spelled in the definitions of its dependents: those are
        read too, and if they lost theirs (a schema was renamed), their dependents as well.
        """
        fresh: dict[int, Facts] = {}
        with self._session.undone():
            catalog = _Catalog(self._session, self._version)
            roots = catalog.touched()
            while roots:
                found = _by_root(catalog.facts(roots if len(roots) <= _FEW else None))
                fresh |= {root: found.get(root, {}) for root in roots}
                renamed = [root for root in roots if _renames(self._roots.get(root), fresh[root])]
                roots = (catalog.dependents(renamed) if renamed else set()) - fresh.keys()
        return fresh


def _renames(before: Facts | None, after: Facts) -> bool:
    """Whether others that mention this root may be spelled differently now."""
    if before is None or not after:
        return False  # new, so nothing that is old mentions it; or gone, so nothing can
    return any(
        key not in after or (key.kind in _NAME_GIVERS and after[key] != definition)
        for key, definition in before.items()
    )


def _by_root(rows: Iterable[tuple[Any, ...]]) -> dict[int, Facts]:
    roots: dict[int, dict[FactKey, str]] = {}
    for root, kind, identity, on, definition in rows:
        roots.setdefault(root, {})[FactKey(kind, identity, on)] = definition
    return {**roots}


def _merged(parts: Iterable[Facts]) -> dict[FactKey, str]:
    return {key: definition for part in parts for key, definition in part.items()}


# --- facts.sql -------------------------------------------------------------------


class _Catalog:
    """The queries of facts.sql, asked in a transaction that is rolled back afterwards.

    A session plans each of them only once, which is a third of the time of the largest and
    most of the time of the others. What is still prepared is asked each time: a script may
    say DEALLOCATE ALL.
    """

    def __init__(self, session: Reader, server_version: int) -> None:
        self._session = session
        self._version = server_version
        self._prepared, *_ = session.query(_BEGIN, [*chain(*_SETTINGS.items())])[0]

    def facts(self, roots: Collection[int] | None = None) -> list[tuple[Any, ...]]:
        """Root, kind, identity, on and definition of all facts, or of those of some roots."""
        return self._rows("facts", "facts", roots=roots)

    def touched(self) -> set[int]:
        """Roots that the current transaction may have changed."""
        return {root for (root,) in self._rows("touched", "touched", "roots")}

    def dependents(self, roots: Collection[int]) -> set[int]:
        """Roots whose definitions may name one of these."""
        return {root for (root,) in self._rows("dependents", "dependents", "roots", roots=roots)}

    def _rows(
        self, name: str, *blocks: str, roots: Collection[int] | None = None
    ) -> list[tuple[Any, ...]]:
        """Rows of these blocks, as one query that is prepared under that name."""
        name = f"{_PREPARED}{name}" + ("" if roots is None else "_of")
        if name not in self._prepared:
            types = "" if roots is None else "(oid[])"
            sql = _sql(*blocks, server_version=self._version, rooted=roots is not None)
            self._session.query(f"PREPARE {name}{types} AS {sql}")
            self._prepared.append(name)
        asked = "" if roots is None else f"('{{{','.join(str(int(root)) for root in roots)}}}')"
        return self._session.query(f"EXECUTE {name}{asked}")


def _sql(*blocks: str, server_version: int, rooted: bool) -> str:
    """The named blocks as one query for that server, on some roots ($1) or on everything."""
    text = "".join(_blocks(server_version // 10000)[name] for name in blocks)
    return text.replace(":roots", "$1") if rooted else re.sub(r"\S+ = ANY \(:roots\)", "true", text)


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
