"""What statements do with temporary tables of their own script, which end with its session. Pure.

The trees are the protobuf messages of PostgreSQL's own parser, named as in
`nodes/parsenodes.h`.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from sidecar.model import Nature, RowChange, Statement, Table, Temporary, Verb
from sidecar.names_read import ALL, aliases_of, is_volatile, names, table, walk
from sidecar.pure_functions import PURE, PURE_ANYWHERE
from sidecar.statement_reach import Name, enum_name, reach, type_name
from sidecar.table_names import same_table

_AGAIN = frozenset(
    "AlterTableStmt CreateStmt CreateTableAsStmt DeleteStmt IndexStmt InsertStmt SelectStmt "
    "TruncateStmt UpdateStmt".split()
)
"""Statements that, in another session, do the same to a table which is made there as it was."""

_TEMPORARY = re.compile(r"\b(TEMP|TEMPORARY|pg_temp)\b", re.IGNORECASE)


def use_of(node: Any | None, subjects: Iterable[Name]) -> Temporary | None:
    """What a statement on these temporary tables alone does; None where there is none."""
    if node is None or not (tables := {subject[-1] for subject in subjects}):
        return None
    renamed = {node.newname} - {""} if type_name(node) == "RenameStmt" else set[str]()
    read = Counter(table(m) for m in walk(node) if type_name(m) == "RangeVar")
    read.subtract(subjects)  # each is named once as what it is about
    parts = names([node], own=(), alias="", aliases=aliases_of(node))
    like = any(type_name(m) == "TableLikeClause" for m in walk(node))
    return Temporary(
        names=frozenset(tables | renamed),
        drops=type_name(node) == "DropStmt",
        reads=frozenset(name for name, count in read.items() if count > 0),
        columns=parts.others | ({ALL} if like else set()),
        again=_can_run_again(node),
        volatile=is_volatile([node]),
    )


def _can_run_again(node: Any) -> bool:
    touched, messages = reach(node), list(walk(node))
    calls = {m.funcname[-1].string.sval for m in messages if type_name(m) == "FuncCall"}
    return (
        type_name(node) in _AGAIN
        and touched.known
        and calls <= PURE | PURE_ANYWHERE
        and not any(_follows_others(message) for message in messages)
    )


def _follows_others(message: Any) -> bool:
    """Whether a table loses its rows at COMMIT, or shows them in another table too."""
    match type_name(message):
        case "CreateStmt":
            return bool(message.inh_relations) or enum_name(message, "oncommit") in _AT_COMMIT
        case "IntoClause":
            return enum_name(message, "on_commit") in _AT_COMMIT
        case _:
            return False


_AT_COMMIT = frozenset({"ONCOMMIT_DELETE_ROWS", "ONCOMMIT_DROP"})


def seen_through(statements: Iterable[Statement]) -> Iterator[Statement]:
    """The same, where what reads a temporary table reads what that was made from.

    Nobody but the script's own session could say what such a table held: the rows that it
    picks are not asked for. A name stays that of a temporary table to the end.
    """
    made: dict[str, list[Temporary]] = {}
    unseen = False
    for statement in statements:
        unseen = unseen or _makes_unseen(statement)
        if statement.temporary is not None:
            for name in statement.temporary.names:
                made.setdefault(name, []).append(statement.temporary)
        change = statement.change
        if change is None or statement.nature is Nature.SESSION or not (made or unseen):
            yield statement
        else:
            through = _through(change, made)
            dark = unseen and bool(change.reads)
            yield replace(statement, change=_unsettled(through) if dark else through)


def _makes_unseen(statement: Statement) -> bool:
    """Whether it may make temporary tables of which nothing is known."""
    creates = statement.kind == "DO" or statement.kind.startswith("CREATE")
    return creates and statement.temporary is None and bool(_TEMPORARY.search(statement.sql))


def _unsettled(change: RowChange) -> RowChange:
    return replace(change, settled=False, volatile=True, rows="", differs="")


def _through(change: RowChange, made: Mapping[str, list[Temporary]]) -> RowChange:
    behind = _behind(change.reads, made)
    if not behind:
        return change
    reads = frozenset[Table]().union(*(one.reads for one in behind))
    columns = frozenset[str]().union(*(one.columns for one in behind))
    volatile = any(one.volatile or not one.again for one in behind)
    own = any(same_table(change.table, one) for one in reads)
    feeds = own and (change.verb is not Verb.UPDATE or bool(columns & {ALL, *change.writes}))
    return replace(
        change,
        reads=change.reads | reads,
        other_reads=change.other_reads | columns,
        own_reads=change.own_reads | (columns if own else frozenset()),
        settled=change.settled and not volatile and not (feeds or (own and ALL in columns)),
        volatile=change.volatile or volatile,
        firm=False,
        rows="",
        differs="",
    )


def _behind(reads: frozenset[Table], made: Mapping[str, list[Temporary]]) -> list[Temporary]:
    """All that made the temporary tables among `reads`, and those which they were made from."""
    known, waiting, found = set[str](), [read[-1] for read in reads], list[Temporary]()
    while waiting:
        name = waiting.pop()
        if name not in made or name in known:
            continue
        known.add(name)
        found += made[name]
        waiting += [read[-1] for one in made[name] for read in one.reads]
    return found
