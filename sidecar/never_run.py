"""Statements that a repair never runs, and why. Tables and no I/O.

What they change, a shadow on the same server would change too, or it is out of reach. Once
they are behind us they hinder nothing: only what they leave in this database is compared.
"""

from __future__ import annotations

from typing import Any

from sidecar.statement_reach import enum_name, type_name

_SERVER = "it changes the whole server, not only this database"
_DEFAULTS = "it changes what later sessions of the server begin with"
_ELSEWHERE = "it acts on another server"
_CLIENT = "its rows travel through psql, which is not here"
_OUTSIDE = "it reads or writes outside the database"
_PREPARED = "a prepared transaction outlives every session"
_CHAIN = "AND CHAIN opens a transaction that no BEGIN shows"

_FORBIDDEN = {
    "AlterDatabaseRefreshCollStmt": _SERVER,
    "AlterDatabaseSetStmt": _DEFAULTS,
    "AlterDatabaseStmt": _SERVER,
    "AlterRoleSetStmt": _DEFAULTS,
    "AlterRoleStmt": _SERVER,
    "AlterSubscriptionStmt": _ELSEWHERE,
    "AlterSystemStmt": _DEFAULTS,
    "AlterTableSpaceOptionsStmt": _SERVER,
    "CreateRoleStmt": _SERVER,
    "CreateSubscriptionStmt": _ELSEWHERE,
    "CreateTableSpaceStmt": _SERVER,
    "CreatedbStmt": _SERVER,
    "DropOwnedStmt": _SERVER,
    "DropRoleStmt": _SERVER,
    "DropSubscriptionStmt": _ELSEWHERE,
    "DropTableSpaceStmt": _SERVER,
    "DropdbStmt": _SERVER,
    "GrantRoleStmt": _SERVER,
    "ReassignOwnedStmt": _SERVER,
}

_OBJECT_FIELDS = {
    "AlterOwnerStmt": "object_type",
    "CommentStmt": "objtype",
    "GrantStmt": "objtype",
    "RenameStmt": "rename_type",
    "SecLabelStmt": "objtype",
}
_SHARED_OBJECTS = frozenset(
    "OBJECT_DATABASE OBJECT_PARAMETER_ACL OBJECT_ROLE OBJECT_SUBSCRIPTION OBJECT_TABLESPACE".split()
)


_ALSO_HERE = frozenset({"DropOwnedStmt", "ReassignOwnedStmt", "RenameStmt"})
"""They change what is in this database too, or by which name its facts know a role."""


def is_elsewhere(node: Any) -> bool:
    """Whether all that it changes is the server's: no fact of this database comes from it."""
    return type_name(node) not in _ALSO_HERE and forbidden(node) in {_SERVER, _DEFAULTS}


def forbidden(node: Any) -> str:
    """Why a repair never runs it, or ''."""
    match type_name(node):
        case "CopyStmt":
            return _forbidden_copy(node)
        case "TransactionStmt" if node.chain:
            return _CHAIN
        case "TransactionStmt" if "PREPARE" in enum_name(node, "kind"):
            return _PREPARED
        case name if name in _OBJECT_FIELDS:
            shared = enum_name(node, _OBJECT_FIELDS[name]) in _SHARED_OBJECTS
            return _SERVER if shared else ""
        case name:
            return _FORBIDDEN.get(name, "")


def _forbidden_copy(node: Any) -> str:
    if not node.filename:
        return _CLIENT
    return _OUTSIDE if node.is_program or not node.is_from else ""
