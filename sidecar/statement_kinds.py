"""What sort of statement a parse tree is: its name, its trace, and what it cannot run in.

Tables and no I/O. Which statements PostgreSQL refuses inside a transaction block are the
callers of `PreventInTransactionBlock` in its source.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sidecar.model import Control, Nature, RowChange
from sidecar.never_run import forbidden, is_elsewhere
from sidecar.statement_reach import (
    Name,
    Reach,
    ends_with_transaction,
    enum_name,
    has_option,
    inner,
    makes_temporary,
    new_relations,
    new_table,
    reach,
    subjects,
    type_name,
)


@dataclass(frozen=True, slots=True)
class Traits:
    """The properties of one statement, named as in `model.Statement`.

    `subjects` are the relations it writes to, alters or drops, or makes as temporary ones;
    `makes_temporary` says that they are temporary from here on, `unmakes` that their names
    mean something else from here on.
    """

    kind: str
    nature: Nature
    control: Control | None = None
    solo: bool = False
    writes: tuple[Name, ...] = ()
    subjects: tuple[Name, ...] = ()
    makes_temporary: bool = False
    unmakes: bool = False
    creates: tuple[Name, ...] = ()
    reach_known: bool = True
    adds_enum_value: bool = False
    forbidden: str = ""
    elsewhere: bool = False
    change: RowChange | None = None


def traits(node: Any, *, words: Sequence[str], quiet: frozenset[str] = frozenset()) -> Traits:
    """The traits of a parsed statement; `words` are its first few tokens in upper case."""
    name = type_name(node)
    if name == "ExplainStmt" and has_option(node.options, "analyze"):
        run = traits(inner(node.query), words=words, quiet=quiet)
        return replace(run, kind="EXPLAIN")
    touched = reach(node, quiet=quiet)
    elsewhere = is_elsewhere(node)
    return Traits(
        kind=_kind(node, words),
        nature=Nature.DATA if elsewhere else _nature(node, touched),
        control=_TRANSACTION[enum_name(node, "kind")][1] if name == "TransactionStmt" else None,
        solo=name in _SOLO or (name in _SOLO_IF and _SOLO_IF[name](node)),
        writes=touched.writes,
        subjects=subjects(node, writes=touched.writes),
        makes_temporary=makes_temporary(node) and not ends_with_transaction(node),
        unmakes=name in {"AlterObjectSchemaStmt", "DropStmt", "RenameStmt"},
        creates=new_relations(node),
        reach_known=touched.known,
        adds_enum_value=name == "AlterEnumStmt" and not node.old_val,
        forbidden=forbidden(node),
        elsewhere=elsewhere,
    )


def traits_of_words(words: Sequence[str]) -> Traits:
    """Those of a statement whose tree is too deep to read; nothing is taken for harmless."""
    nature = Nature.CATALOG if words[0] in {"ALTER", "COMMENT", "CREATE", "DROP"} else Nature.DATA
    temporary = words[0] == "CREATE" and not {"TEMP", "TEMPORARY"}.isdisjoint(words[:4])
    return Traits(
        kind=_kind_of_words(words),
        nature=Nature.SESSION if temporary else nature,
        solo="CONCURRENTLY" in words,
        reach_known=False,
    )


# --- kind: as in the command tags of PostgreSQL's tcop/utility.c ----------------------

_ROWS = {
    "DeleteStmt": "DELETE",
    "InsertStmt": "INSERT",
    "MergeStmt": "MERGE",
    "SelectStmt": "SELECT",
    "UpdateStmt": "UPDATE",
}
"""They may begin with WITH or a parenthesis; all others begin with their own name."""

_TRANSACTION = {
    "TRANS_STMT_BEGIN": ("BEGIN", Control.BEGIN),
    "TRANS_STMT_START": ("START TRANSACTION", Control.BEGIN),
    "TRANS_STMT_COMMIT": ("COMMIT", Control.COMMIT),
    "TRANS_STMT_ROLLBACK": ("ROLLBACK", Control.ROLLBACK),
    "TRANS_STMT_SAVEPOINT": ("SAVEPOINT", Control.SAVEPOINT),
    "TRANS_STMT_RELEASE": ("RELEASE", Control.SAVEPOINT),
    "TRANS_STMT_ROLLBACK_TO": ("ROLLBACK TO", Control.SAVEPOINT),
    "TRANS_STMT_PREPARE": ("PREPARE TRANSACTION", Control.ROLLBACK),  # nothing is committed
    "TRANS_STMT_COMMIT_PREPARED": ("COMMIT PREPARED", Control.COMMIT),
    "TRANS_STMT_ROLLBACK_PREPARED": ("ROLLBACK PREPARED", Control.ROLLBACK),
}

_MODIFIERS = frozenset(
    "CONSTRAINT GLOBAL LOCAL OR PROCEDURAL RECURSIVE REPLACE TEMP TEMPORARY TRUSTED UNIQUE "
    "UNLOGGED".split()
)

_LONG_KINDS = re.compile(
    "DEFAULT PRIVILEGES|ACCESS METHOD|EVENT TRIGGER|FOREIGN DATA WRAPPER|FOREIGN TABLE"
    "|LARGE OBJECT|MATERIALIZED VIEW|OPERATOR (CLASS|FAMILY)|OWNED"
    r"|TEXT SEARCH \w+|USER MAPPING"
)

_LONG_VERBS = {
    "ANALYSE": "ANALYZE",
    "IMPORT": "IMPORT FOREIGN SCHEMA",
    "REASSIGN": "REASSIGN OWNED",
    "REFRESH": "REFRESH MATERIALIZED VIEW",
    "SECURITY": "SECURITY LABEL",
}


def _kind(node: Any, words: Sequence[str]) -> str:
    match type_name(node):
        case "TransactionStmt":
            return _TRANSACTION[enum_name(node, "kind")][0]
        case "CreateTableAsStmt" if enum_name(node, "objtype") == "OBJECT_TABLE":
            return "CREATE TABLE AS"
        case "SelectStmt" if new_table(node) is not None:
            return "SELECT INTO"
        case name if name in _ROWS:
            return _ROWS[name]
        case _:
            return _kind_of_words(words)


def _kind_of_words(words: Sequence[str]) -> str:
    verb, *rest = words
    if verb not in {"ALTER", "CREATE", "DROP"}:
        return _LONG_VERBS.get(verb, verb)
    rest = [word for word in rest if word not in _MODIFIERS]
    long_kind = _LONG_KINDS.match(" ".join(rest))
    return f"{verb} {long_kind[0] if long_kind else rest[0]}"


# --- nature ----------------------------------------------------------------------

_OF_ROWS = frozenset(
    "CallStmt DeleteStmt DoStmt ExecuteStmt InsertStmt MergeStmt RefreshMatViewStmt "
    "TruncateStmt UpdateStmt".split()
)
"""REFRESH too: where it was left out, old rows stay behind."""

_OF_SESSION = frozenset(
    "ClosePortalStmt ConstraintsSetStmt DeallocateStmt DeclareCursorStmt DiscardStmt FetchStmt "
    "ListenStmt LoadStmt PrepareStmt UnlistenStmt VariableSetStmt".split()
)

_TRACELESS = frozenset(
    "CheckPointStmt ClusterStmt ExplainStmt LockStmt NotifyStmt ReindexStmt VacuumStmt "
    "VariableShowStmt".split()
)
"""They may change how fast a database answers, never what it answers."""

_QUERIES = frozenset({"CopyStmt", "SelectStmt"})


def _nature(node: Any, touched: Reach) -> Nature:
    name = type_name(node)
    if name == "TransactionStmt":
        return Nature.CONTROL
    if name in _OF_SESSION or makes_temporary(node):
        return Nature.SESSION
    if name in _TRACELESS:
        return Nature.NOTHING
    if name in _QUERIES and new_table(node) is None:
        return _nature_of_query(touched)
    return Nature.DATA if name in _OF_ROWS or _only_restarts(node) else Nature.CATALOG


def _only_restarts(node: Any) -> bool:
    """A sequence's next value is data: RESTART alone leaves its definition as it was."""
    match type_name(node):
        case "AlterSeqStmt":
            options = list(node.options)
        case "AlterTableStmt":  # ALTER COLUMN id RESTART; other commands have no such list
            options = [o for c in node.cmds for o in getattr(inner(c), "def").list.items or [c]]
        case _:
            return False
    return all(option.def_elem.defname == "restart" for option in options)


def _nature_of_query(touched: Reach) -> Nature:
    """A query that only reads leaves nothing; row locks end with its transaction."""
    if touched.writes or touched.sequences or not touched.known:
        return Nature.DATA
    return Nature.SESSION if touched.session else Nature.NOTHING


# --- what cannot run in a transaction ----------------------------------------------------

_SOLO = frozenset(
    "AlterSubscriptionStmt AlterSystemStmt CreateSubscriptionStmt CreateTableSpaceStmt "
    "CreatedbStmt DropSubscriptionStmt DropTableSpaceStmt DropdbStmt".split()
)

_REINDEX_MANY = frozenset(f"REINDEX_OBJECT_{kind}" for kind in ("DATABASE", "SCHEMA", "SYSTEM"))

_COMMITS = re.compile(r"\b(COMMIT|ROLLBACK)(\s+AND(\s+NO)?\s+CHAIN)?\s*;", re.IGNORECASE)
"""PL/pgSQL's own COMMIT: allowed in a DO that is alone, 2D000 in a transaction block."""

_SOLO_IF: Mapping[str, Callable[[Any], bool]] = {
    "AlterDatabaseStmt": lambda n: has_option(n.options, "tablespace"),
    "AlterTableStmt": lambda n: any(
        getattr(inner(c), "def").partition_cmd.concurrent for c in n.cmds
    ),
    "ClusterStmt": lambda n: not n.HasField("relation"),
    "DiscardStmt": lambda n: enum_name(n, "target") == "DISCARD_ALL",
    "DoStmt": lambda n: any(_COMMITS.search(a.def_elem.arg.string.sval) for a in n.args),
    "DropStmt": lambda n: n.concurrent,
    "IndexStmt": lambda n: n.concurrent,
    "ReindexStmt": lambda n: (
        has_option(n.params, "concurrently") or enum_name(n, "kind") in _REINDEX_MANY
    ),
    "TransactionStmt": lambda n: enum_name(n, "kind").endswith("_PREPARED"),
    "VacuumStmt": lambda n: n.is_vacuumcmd,
}
