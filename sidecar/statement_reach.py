"""What a statement touches while it runs: the relations it names and the functions it calls.

The trees are the protobuf messages of PostgreSQL's own parser, taken as they come: this
module imports no parser. A message's type is named like the node in PostgreSQL's
`nodes/parsenodes.h`.

What no parse tree shows is not here: triggers, rules, `ON DELETE CASCADE`, the queries
behind views and user-made operators are in the catalog, not in the script.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from sidecar.pure_functions import PURE, PURE_ANYWHERE, SEQUENCES, SESSIONS

Name = tuple[str, ...]
"""A relation's name as its parts, unquoted: ('momentum', 'mm_board') or ('mm_board',)."""

TEMPORARY_SCHEMA = "pg_temp"


@dataclass(frozen=True, slots=True)
class Reach:
    """The tables a statement names as targets, and what its functions may do besides.

    `sequences` and `session`: it moves a sequence, changes the session. `known` is False
    where it may write to a table which it does not name.
    """

    writes: tuple[Name, ...]
    sequences: bool
    session: bool
    known: bool


_KNOWN_CALLS = PURE | PURE_ANYWHERE | SEQUENCES | SESSIONS

_RUN_EXPRESSIONS = frozenset(
    "CopyStmt CreateTableAsStmt DeclareCursorStmt DeleteStmt InsertStmt MergeStmt "
    "RefreshMatViewStmt SelectStmt TruncateStmt UpdateStmt".split()
)
_RUN_ANYTHING = frozenset({"CallStmt", "DoStmt", "ExecuteStmt"})
_TELLING = _RUN_ANYTHING | frozenset(
    "DeleteStmt FuncCall InsertStmt IntoClause MergeStmt UpdateStmt".split()
)
_LEAVES = frozenset({"a_const", "column_ref", "type_name"})
"""Fields not worth a look: an INSERT of many rows is nearly all constants."""
_REWRITE_ROWS = frozenset({"AT_AddColumn", "AT_AlterColumnType"})


def reach(node: Any, *, quiet: frozenset[str] = frozenset()) -> Reach:
    """What the statement touches while it runs; `quiet` are more functions that only compute."""
    parts = list(_running_parts(node))
    calls = {_called(part) for part in parts if type_name(part) == "FuncCall"}
    return Reach(
        writes=tuple(dict.fromkeys(_name(r) for part in parts for r in _written(part))),
        sequences=not calls.isdisjoint(SEQUENCES),
        session=not calls.isdisjoint(SESSIONS),
        known=calls <= _KNOWN_CALLS | quiet and not any(map(_writes_unseen, parts)),
    )


def subjects(node: Any, *, writes: tuple[Name, ...]) -> tuple[Name, ...]:
    """The relations that a statement writes to, alters or drops, and temporary ones it makes.

    A lasting relation which it creates is none: it takes its name beside a temporary one.
    """
    if type_name(node) == "DropStmt":
        return tuple(_parts(inner(item).items) for item in node.objects if item.HasField("list"))
    if new_relations(node):
        return ()
    return writes or tuple(_name(relation) for relation in _relations(node))


def new_relations(node: Any) -> tuple[Name, ...]:
    """The lasting tables, views, sequences and composite types that a statement creates."""
    into = new_table(node)
    if makes_temporary(node) or (into is None and type_name(node) not in _CREATE_RELATIONS):
        return ()
    return tuple(map(_name, _relations(node) if into is None else [into.rel]))


def new_table(node: Any) -> Any | None:
    """The INTO clause of CREATE TABLE AS and SELECT INTO; None in all other statements."""
    if type_name(node) == "CreateTableAsStmt":
        return node.into
    if type_name(node) != "SelectStmt":
        return None
    while node.HasField("larg"):  # a UNION keeps it in its first query
        node = node.larg
    return node.into_clause if node.HasField("into_clause") else None


_CREATE_RELATIONS = frozenset({"CompositeTypeStmt", "CreateSeqStmt", "CreateStmt", "ViewStmt"})

_NAMES_OF_NEW = {
    "CreateDomainStmt": "domainname",
    "CreateEnumStmt": "type_name",
    "CreateFunctionStmt": "funcname",
    "CreateRangeStmt": "type_name",
}


def makes_temporary(node: Any) -> bool:
    """Whether the statement creates something that ends with the session."""
    name, into = type_name(node), new_table(node)
    if name in _NAMES_OF_NEW:
        return _parts(getattr(node, _NAMES_OF_NEW[name]))[0] == TEMPORARY_SCHEMA
    creates = into is not None or name.startswith(("Create", "Composite", "View"))
    relations = _relations(node) if into is None else [into.rel]
    return any(
        r.relpersistence == "t" or (creates and r.schemaname == TEMPORARY_SCHEMA) for r in relations
    )


def ends_with_transaction(node: Any) -> bool:
    """Whether a temporary table is created ON COMMIT DROP."""
    if type_name(node) == "CreateStmt":
        return enum_name(node, "oncommit") == "ONCOMMIT_DROP"
    into = new_table(node)
    return into is not None and enum_name(into, "on_commit") == "ONCOMMIT_DROP"


def _running_parts(node: Any) -> Iterator[Any]:
    """The messages of what is evaluated now, not stored for later as a view's query is."""
    yield node
    if type_name(node) in _RUN_EXPRESSIONS:
        yield from _below(node)
    elif type_name(node) == "AlterTableStmt":
        for command in map(inner, node.cmds):
            if enum_name(command, "subtype") in _REWRITE_ROWS:
                yield from _below(command)


def _below(message: Any) -> Iterator[Any]:
    """The messages inside another that say what it calls or writes, in the order of the fields."""
    waiting = _children(message)
    while waiting:
        this = waiting.pop()
        if type_name(this) in _TELLING:
            yield this
        waiting.extend(_children(this))


def _children(message: Any) -> list[Any]:
    """The messages right inside another, last first, as `_below` wants them."""
    children: list[Any] = []
    for field, value in message.ListFields():
        if field.message_type is not None and field.name not in _LEAVES:
            children.extend(value if field.is_repeated else [value])
    return children[::-1]


def _written(part: Any) -> Sequence[Any]:
    match type_name(part):
        case "InsertStmt" | "UpdateStmt" | "DeleteStmt" | "MergeStmt" | "RefreshMatViewStmt":
            return [part.relation]
        case "CopyStmt" if part.is_from:
            return [part.relation]
        case "IntoClause":
            return [part.rel]
        case "TruncateStmt":
            return [inner(relation) for relation in part.relations]
        case "AlterTableStmt" if any(_rewrites(inner(command)) for command in part.cmds):
            return [part.relation]
        case _:
            return []


def _rewrites(command: Any) -> bool:
    return enum_name(command, "subtype") == "AT_AlterColumnType"


def _writes_unseen(part: Any) -> bool:
    cascades = type_name(part) == "TruncateStmt" and enum_name(part, "behavior") == "DROP_CASCADE"
    return cascades or type_name(part) in _RUN_ANYTHING


def _called(call: Any) -> str:
    """The function's name; with its schema where anybody might have made it."""
    *schema, name = _parts(call.funcname)
    if schema in ([], ["pg_catalog"]) or name in PURE_ANYWHERE:
        return name
    return ".".join([*schema, name])


def _relations(node: Any) -> list[Any]:
    """The relations named in the statement's own fields, not deeper."""
    return [value for _, value in node.ListFields() if type_name(value) == "RangeVar"]


def _name(relation: Any) -> Name:
    parts = (relation.schemaname, relation.relname)
    return parts if relation.schemaname else parts[1:]


def _parts(names: Sequence[Any]) -> Name:
    return tuple(name.string.sval for name in names)


# --- reading the parser's messages ------------------------------------------------------


def inner(node: Any) -> Any:
    """What a `Node`, the parser's wrapper for anything, holds."""
    return getattr(node, node.WhichOneof("node"))


def type_name(message: Any) -> str:
    """The name of a message's type in PostgreSQL's source, '' for plain values: 'CreateStmt'."""
    descriptor = getattr(message, "DESCRIPTOR", None)
    return "" if descriptor is None else str(descriptor.name)


def enum_name(message: Any, field: str) -> str:
    """The name in PostgreSQL's source of an enumeration's value: 'OBJECT_TABLE'."""
    values = message.DESCRIPTOR.fields_by_name[field].enum_type.values_by_number
    return str(values[getattr(message, field)].name)


def has_option(options: Sequence[Any], name: str) -> bool:
    """Whether an option such as CONCURRENTLY is on; written alone it is (`defGetBoolean`)."""
    for option in (item.def_elem for item in options):
        if option.defname == name:
            off = option.arg.string.sval.lower() in {"false", "off"}
            zero = option.arg.HasField("integer") and option.arg.integer.ival == 0
            return not (off or zero)
    return False
