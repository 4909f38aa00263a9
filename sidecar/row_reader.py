"""Reads what rows show of a failed migration's data statements: counts, by age and by content.

It only reads, in one transaction that is rolled back. What cannot be read (no right, a
table that is gone, no operator to compare with) is left open, never an error. Ages are
those of `id_reader`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

from sidecar.column_types import COLUMN_TYPES, column_types, typed
from sidecar.db import Session, identifier, literal
from sidecar.errors import DatabaseError
from sidecar.model import COLUMNS, RowChange, Seen, Statement, Verb, Window
from sidecar.queries import SET_SEARCH_PATH
from sidecar.row_queries import alike, shows_its_rows
from sidecar.sql_text import plain
from sidecar.table_names import meet

_TIME_LIMIT = "SET LOCAL statement_timeout = '120s'; SET LOCAL row_security = off"
"""Row security must fail and not hide rows; a count that takes longer is not worth the wait."""


def seen(
    session: Session,
    statements: Sequence[Statement],
    window: Window | None,
    *,
    keys: Mapping[int, tuple[str, ...]],
    starts: Mapping[int, Mapping[str, str]],
    search_path: str,
) -> dict[int, Seen]:
    """By statement index what the rows show; under the search path of the scripts.

    Without a window only what needs no transaction ids is counted. `keys` are the unique
    columns by which the rows of an INSERT are looked up, `starts` what columns held before they
    were set. Once an INSERT is seen to have run, the window for the further INSERTs into its
    table opens after it.
    """
    found: dict[int, Seen] = {}
    windows: dict[tuple[str, ...], Window] = {}
    writers: dict[tuple[str, ...], int] = {}
    rivals: dict[tuple[str, ...], list[Statement]] = {}
    with session.undone():
        session.execute(_TIME_LIMIT)
        session.query(SET_SEARCH_PATH, (search_path,))
        statements = _typed(session, statements)
        for statement in statements:
            mine = windows.get(statement.writes, window)
            one = _seen(session, statement, mine, keys.get(statement.index, ()))
            filled = _filled(session, statement.change, starts.get(statement.index, {}))
            writer = writers.get(statement.writes)
            left = _left_by(session, statement.change, window, writer)
            found[statement.index] = replace(one, filled=filled, left=left)
            if one.writers == 1 and (writer := _sole_writer(session, statement.change, window)):
                writers[statement.writes] = writer
            if statement.writes not in rivals:
                rivals[statement.writes] = _rivals(statement, statements)
            kept = _keeps_what_it_gave(statement, rivals[statement.writes])
            if mine and one.matched is not None and kept:
                windows[statement.writes] = replace(mine, oldest=one.matched - 1)
    return found


def _typed(session: Session, statements: Sequence[Statement]) -> list[Statement]:
    """The same, with the values that they give as the columns of their tables would hold them."""
    changes = {s.index: s.change for s in statements if s.change and s.change.rows}
    asked = {c.table: COLUMN_TYPES.format(literal(identifier(*c.table))) for c in changes.values()}
    types = {table: column_types(_rows(session, query)) for table, query in asked.items()}
    new = {index: typed(change, types[change.table]) for index, change in changes.items()}
    return [replace(s, change=new.get(s.index, s.change)) for s in statements]


def _rivals(statement: Statement, statements: Sequence[Statement]) -> list[Statement]:
    """Those that may write to its table, but for plain INSERTs: more rows would show anyway."""
    return [
        other
        for other in statements
        if not other.reach_known or (not _only_adds(other) and meet(other.writes, statement.writes))
    ]


def _only_adds(other: Statement) -> bool:
    change = other.change
    return bool(change and change.verb is Verb.INSERT and not (change.writes or change.spreads))


def _keeps_what_it_gave(statement: Statement, rivals: Sequence[Statement]) -> bool:
    """Whether, had another statement written to its table, the rows would not match any more."""
    return all(
        other.reach_known
        and other.change is not None
        and _would_show(other.change, statement.change)
        for other in rivals
    )


def _would_show(other: RowChange, given: RowChange | None) -> bool:
    """Other values in columns that were compared do."""
    compared = set(map(plain, given.fixed)) if given else set()
    known = other.writes <= compared or bool(given and not given.columns)
    return other.verb is Verb.UPDATE and known and not other.volatile


def _seen(
    session: Session, statement: Statement, window: Window | None, key: tuple[str, ...]
) -> Seen:
    change = statement.change
    known = window and statement.reach_known
    fresh = _written(session, statement.writes, window, window.oldest) if known and window else None
    if change is None or not change.rows:
        return Seen(fresh=fresh)
    stirred, moved = _moved(session, change, window)
    if change.verb is Verb.INSERT:
        picked, pending, same, older = _given(session, change, key, window)
        return Seen(
            picked,
            pending,
            same,
            older,
            fresh=fresh,
            stirred=stirred,
            overtaken=moved,
            matched=_matched(session, change, window),
        )
    picked, pending, older, writers, new, newest = _picked(session, change, window)
    return Seen(
        picked,
        pending,
        None,
        older,
        writers,
        fresh,
        stirred=stirred,
        new=new,
        overtaken=None if moved is None or newest is None else moved + newest,
    )


def _moved(
    session: Session, change: RowChange, window: Window | None
) -> tuple[int | None, int | None]:
    """Rows of the tables that it reads, written since the window opened, and after the attempt."""
    if window is None:
        return None, None
    read = [identifier(*table) for table in change.reads]
    if not read:
        return 0, 0
    return (
        _written(session, read, window, window.oldest),
        _written(session, read, window, window.afterwards),
    )


def _written(session: Session, tables: Collection[str], window: Window, oldest: int) -> int | None:
    """Rows of all these tables that are not older.

    By whomever and however late they were written: a row may have been changed since.
    """
    counts = [
        _one_row(
            session,
            f"SELECT count(*) FROM {table} AS t WHERE {_age('t', window)} <= {oldest}",  # noqa: S608
        )
        for table in tables
    ]
    known = [count[0] for count in counts if count]
    return sum(known) if known and len(known) == len(counts) else None


def _picked(session: Session, change: RowChange, window: Window | None) -> tuple[int | None, ...]:
    """picked, pending, older, writers, new of `Seen`; the pending rows of `overtaken`."""
    counts = ["count(*)"]
    if window:
        age = _age(change.row, window)
        counts.append(f"count(*) FILTER (WHERE {age} > {window.oldest})")
        after = f"{age} < {window.oldest} AND {age} > {window.youngest}"
        counts.append(
            f"CASE WHEN bool_and({after}) THEN count(DISTINCT {change.row}.xmin::text) END"
        )
    row = _one_row(session, change.rows.replace(COLUMNS, ", ".join(counts), 1))
    picked, older, writers = (*(row or ()), None, None, None)[:3]
    differs = change.differs or "true"
    counts = [f"count(*) FILTER (WHERE {differs})"]
    for oldest in (window.oldest, window.afterwards) if window else ():
        young = f"{_age(change.row, window)} <= {oldest}" if window else ""
        counts.append(f"count(*) FILTER (WHERE ({differs}) AND {young})")
    row = _one_row(session, change.rows.replace(COLUMNS, ", ".join(counts), 1))
    pending, new, newest = (*(row or ()), None, None, None)[:3]
    return picked, pending, older, writers, new, newest


def _sole_writer(session: Session, change: RowChange | None, window: Window | None) -> int | None:
    """The age of the transaction in the window that wrote all of several rows it picks."""
    if change is None or window is None or change.verb is not Verb.UPDATE:
        return None
    sole = f"count(*) > 1 AND count(DISTINCT {change.row}.xmin::text) = 1"
    age = f"CASE WHEN {sole} THEN max({_age(change.row, window)}) END"
    row = _one_row(session, change.rows.replace(COLUMNS, age, 1))
    return row[0] if row else None


def _left_by(
    session: Session, change: RowChange | None, window: Window | None, writer: int | None
) -> int | None:
    """left of `Seen`."""
    if change is None or window is None or writer is None or not change.row:
        return None
    its = f"{_age(change.row, window)} = {writer} AND ({change.differs or 'true'})"
    row = _one_row(session, change.rows.replace(COLUMNS, f"count(*) FILTER (WHERE {its})", 1))
    return row[0] if row else None


def _filled(session: Session, change: RowChange | None, starts: Mapping[str, str]) -> int | None:
    if change is None or not change.writes or change.writes - starts.keys():
        return None
    some = " OR ".join(f"t.{identifier(c)} IS DISTINCT FROM {v}" for c, v in starts.items())
    table = identifier(*change.table)
    row = _one_row(session, f"SELECT count(*) FROM {table} AS t WHERE {some}")  # noqa: S608
    return row[0] if row else None


def _given(
    session: Session, change: RowChange, key: tuple[str, ...], window: Window | None
) -> tuple[int | None, ...]:
    """picked, pending, same and, where such rows would be set or refused, older of `Seen`."""
    row = _one_row(session, change.rows.replace(COLUMNS, "count(*)", 1))
    picked = row[0] if row else None
    if not key:
        return picked, None, None, None
    by_key = " AND ".join(f"there.{column} = given.{column}" for column in key)
    unknown = " OR ".join(f"given.{column} IS NULL" for column in key)
    there = f"EXISTS (SELECT FROM {identifier(*change.table)} AS there WHERE"
    counts = (
        f"count(*) FILTER (WHERE NOT {there} {by_key})), "
        f"count(*) FILTER (WHERE {there} {by_key} AND {alike(change)})), "
        f"count(*) FILTER (WHERE {unknown})"
    )
    if window and (change.key is None or (change.writes and change.settled)):
        older = f"{_age('there', window)} > {window.oldest}"
        counts += f", count(*) FILTER (WHERE {there} {by_key} AND {older}))"
    row = _one_row(session, change.rows.replace(COLUMNS, counts, 1))
    if row is None or row[2]:
        return picked, None, None, None  # NULL equals nothing: such rows are always new
    return picked, row[0], row[1], (*row[3:], None)[0]


def _matched(session: Session, change: RowChange, window: Window | None) -> int | None:
    """The age of the one transaction in the window that wrote just the rows it gives now.

    Compared are the columns whose values do not change from run to run, as text.
    """
    if window is None or not shows_its_rows(change) or change.table in change.reads:
        return None
    ages = _rows(
        session,
        f"WITH given AS ({change.rows.replace(COLUMNS, _as_text(change, 'given'), 1)}), "  # noqa: S608
        "wanted AS (SELECT one, count(*) AS n FROM given GROUP BY one), "
        f"written AS (SELECT xmin::text AS writer, max({_age('t', window)}) AS age, "
        f"{_as_text(change, 't')}, count(*) AS n "
        f"FROM {identifier(*change.table)} AS t WHERE {_inside('t', window)} GROUP BY 1, 3) "
        "SELECT max(age) FROM written LEFT JOIN wanted USING (one) GROUP BY writer "
        "HAVING bool_and(wanted.n IS NOT DISTINCT FROM written.n) "
        "AND count(*) = (SELECT count(*) FROM wanted)",
    )
    return ages[0][0] if len(ages) == 1 else None


def _as_text(change: RowChange, row: str) -> str:
    """A row's fixed columns, or all of it, as one text."""
    columns = ", ".join(f"{row}.{column}::text" for column in change.fixed)
    return f"ROW({columns})::text AS one" if columns else f"{row}::text AS one"


def _age(row: str, window: Window) -> str:
    """Its age as `Marks` has it, whatever has begun since."""
    return f"(pg_catalog.age({row}.xmin) - pg_catalog.age('{window.now}'::xid))"


def _inside(row: str, window: Window) -> str:
    age = _age(row, window)
    return f"{age} <= {window.oldest} AND {age} > {window.youngest}"


def _one_row(session: Session, query: str) -> tuple[Any, ...] | None:
    rows = _rows(session, query)
    return rows[0] if rows else None


def _rows(session: Session, query: str) -> list[tuple[Any, ...]]:
    """The rows, or none where it cannot be answered."""
    try:
        with session.undone():
            return session.query(query)
    except DatabaseError:
        return []
