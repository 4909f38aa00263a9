"""What a DO block does, by the statements that PostgreSQL's own PL/pgSQL parser finds in it.

Most guard a change of the catalog (`IF NOT EXISTS ... THEN ALTER TABLE`,
`EXCEPTION WHEN duplicate_object`), or check something and raise. A block that could do
anything else, by a function or by text it puts together, counts as one that does.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from sidecar.model import Nature, RowChange, Verb
from sidecar.names_read import ALL, walk
from sidecar.statement_kinds import traits
from sidecar.statement_reach import Name, inner, type_name

Parse = Callable[[str], Any]
"""From one statement's text to its tree; raises `ValueError` where it cannot be read."""

_DYNAMIC = frozenset({"PLpgSQL_stmt_dynexecute", "PLpgSQL_stmt_dynfors"})
_OPAQUE = frozenset(
    f"PLpgSQL_stmt_{kind}" for kind in ("call", "open", "commit", "rollback", "return_query")
)
_CHANGES_THE_CATALOG = re.compile(
    r"\s*(ALTER|COMMENT|CREATE|DROP|GRANT|REVOKE)\b[^;]*;?\s*$", re.IGNORECASE
)
_MOVES_VALUES = re.compile(r";\s*\S|\bRESTART\b|\bTYPE\b.*\bUSING\b", re.IGNORECASE | re.DOTALL)
"""In a text put together: more statements, a counter set, or a column computed anew."""

_CATALOGS = ("pg_catalog", "information_schema")
_STATEMENT, _ASSIGNMENT = 0, 3
"""PL/pgSQL's ways to parse a query text (`RawParseMode` in PostgreSQL's parser/parser.h)."""


class Block(NamedTuple):
    """What the whole block does; named as in `model.Statement`."""

    nature: Nature
    writes: tuple[Name, ...]
    reach_known: bool
    change: RowChange | None


UNKNOWN = Block(Nature.DATA, (), reach_known=False, change=None)


def block(tree: Any, parse: Parse) -> Block:
    """What a block does; `tree` is PL/pgSQL's, as JSON values."""
    nodes = dict.fromkeys(name for name, _ in steps(tree))
    if not _OPAQUE.isdisjoint(nodes):
        return UNKNOWN
    try:
        parts = [part for node in steps(tree) for part in _parts(*node, parse)]
    except ValueError:
        return UNKNOWN
    found = [traits(part, words=_words(part)) for part in parts]
    if not all(one.reach_known and one.elsewhere == bool(one.forbidden) for one in found):
        return UNKNOWN  # what is elsewhere, `replay` lets pass only if it changes nothing there
    if any(one.solo for one in found):
        return UNKNOWN
    if any(map(_computes_anew, parts)):
        return UNKNOWN
    natures = {Nature.CATALOG if one.elsewhere else one.nature for one in found}
    writes = tuple(dict.fromkeys(name for one in found for name in one.writes))
    if Nature.DATA in natures:
        return Block(Nature.DATA, writes, reach_known=True, change=_mixed(parts, writes))
    if Nature.CATALOG in natures:
        # CREATE TABLE AS and CREATE MATERIALIZED VIEW fill what they make.
        whole = Block(Nature.CATALOG, writes, reach_known=True, change=None)
        return UNKNOWN if reads_rows(parts) else whole
    return _rowless(Nature.SESSION if Nature.SESSION in natures else Nature.NOTHING)


def computes_only(tree: Any, parse: Parse) -> bool:
    """Whether a function's body does nothing but compute, from what it is given alone."""
    nodes = list(steps(tree))
    if not (_OPAQUE | _DYNAMIC).isdisjoint(name for name, _ in nodes):
        return False
    try:
        parts = [part for node in nodes for part in _parts(*node, parse)]
    except ValueError:
        return False
    found = [traits(part, words=_words(part)) for part in parts]
    return (
        all(type_name(part) == "SelectStmt" for part in parts)
        and all(one.reach_known and one.nature is Nature.NOTHING for one in found)
        and not any(type_name(m) == "RangeVar" for part in parts for m in walk(part))
    )


def _rowless(nature: Nature) -> Block:
    return Block(nature, (), reach_known=True, change=None)


def _mixed(parts: list[Any], writes: tuple[Name, ...]) -> RowChange | None:
    """Where it only adds and changes rows, it cannot run without leaving some.

    The columns are told where all that it does to rows is to set them in one table.
    """
    everything, messages = frozenset({ALL}), [m for part in parts for m in walk(part)]
    if any(type_name(m) in _REMOVES for m in messages) or not writes:
        return None
    updates = [m for m in messages if type_name(m) == "UpdateStmt"]
    only = len(writes) == 1 and not any(type_name(m) == "InsertStmt" for m in messages)
    columns = frozenset(item.res_target.name for m in updates for item in m.target_list if only)
    return RowChange(
        Verb.MIXED, writes[0], writes=columns, own_reads=everything, other_reads=everything
    )


_REMOVES = frozenset({"DeleteStmt", "MergeStmt", "TruncateStmt"})


def _computes_anew(part: Any) -> bool:
    """ALTER COLUMN TYPE ... USING: if the type stays, no fact shows that the rows changed."""
    return type_name(part) == "AlterTableStmt" and any(
        type_name(m) == "ColumnDef" and m.HasField("raw_default") for m in walk(part)
    )


def reads_rows(parts: list[Any]) -> bool:
    """Whether queries among these read tables: then the rest may depend on rows."""
    queries = [part for part in parts if type_name(part) == "SelectStmt"]
    tables = [m for part in queries for m in walk(part) if type_name(m) == "RangeVar"]
    return any(
        table.schemaname not in _CATALOGS and not table.relname.startswith("pg_")
        for table in tables
    )


def steps(tree: Any) -> Iterator[tuple[str, Any]]:
    """The nodes of PL/pgSQL's tree: their names and what they hold."""
    if isinstance(tree, list):
        for item in tree:
            yield from steps(item)
    elif isinstance(tree, dict):
        for name, value in tree.items():
            if name.startswith("PLpgSQL_"):
                yield name, value
            yield from steps(value)


def _parts(name: str, value: Any, parse: Parse) -> Iterator[Any]:
    """The statements that a node runs; those of a dynamic one as far as its text is constant."""
    if name in _DYNAMIC:
        tree = parse("SELECT " + value["query"]["PLpgSQL_expr"]["query"])
        constants = " ".join(m.sval.sval for m in walk(tree) if type_name(m) == "A_Const")
        text = _leading_text(tree)
        if not _CHANGES_THE_CATALOG.match(text) or _MOVES_VALUES.search(constants):
            raise ValueError(text)
        whole = type_name(inner(tree.target_list[0].res_target.val)) == "A_Const"
        # What is put together stands for any such change.
        yield parse(text if whole else "COMMENT ON SCHEMA pg_catalog IS NULL")
    elif name == "PLpgSQL_expr":
        yield parse(as_statement(value))


def as_statement(expression: Any) -> str:
    """What a `PLpgSQL_expr` runs or computes, as one statement."""
    mode, query = expression.get("parseMode", _STATEMENT), expression["query"]
    if mode == _ASSIGNMENT:
        query = query.partition(":=")[2] or query.partition("=")[2]
    return str(query if mode == _STATEMENT else f"SELECT {query}")


def _leading_text(tree: Any) -> str:
    """The constant that a text put together begins with; all of it if there is no more."""
    value = inner(tree.target_list[0].res_target.val)
    while type_name(value) in {"A_Expr", "FuncCall"}:
        if type_name(value) == "A_Expr":
            value = inner(value.lexpr)
        elif value.funcname[-1].string.sval == "format" and value.args:
            value = inner(value.args[0])
        else:
            return ""
    return str(value.sval.sval) if type_name(value) == "A_Const" else ""


def _words(node: Any) -> tuple[str, ...]:
    """Stands for the statement's first words, which only name its kind."""
    return (type_name(node).upper(), "")
