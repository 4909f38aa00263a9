"""Functions of the project's own that compute a value and do nothing else. Pure.

What their definition says decides, and not how they are marked: hardly anybody writes IMMUTABLE.
One that names a table, runs a text it puts together, or calls another of them, does more.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import chain
from typing import Any

from sidecar.anonymous_blocks import computes_only
from sidecar.model import Facts, Nature, Replay, Script
from sidecar.script import one_statement, plpgsql
from sidecar.statement_reach import type_name
from sidecar.table_names import parts


def quiet(script: Script, replay: Replay, live: Facts) -> frozenset[str]:
    """The names under which statements of the script call functions that only compute.

    A name counts only if each function that ever had it is of this kind: before the script,
    within it, now, and in whichever schema.
    """
    if all(s.reach_known for s in script.statements if s.nature is Nature.DATA):
        return frozenset()
    within = ((change.key, change.after) for effect in replay.effects for change in effect)
    by_name: dict[str, dict[str, bool]] = {}
    for key, definition in chain(replay.base.items(), within, live.items()):
        *_, name = names = parts(key.identity.partition("(")[0])
        if definition and key.kind in _CALLED and name in script.text:
            known = by_name.setdefault(name, {})
            known[".".join(names)] = known.get(".".join(names), True) and _only(definition)
    return frozenset(
        spelled
        for name, known in by_name.items()
        if all(known.values())
        for spelled in (name, *known)
    )


_CALLED = frozenset({"aggregate", "function", "procedure"})


def _only(definition: str) -> bool:
    try:
        node = one_statement(definition)
        options = options_of(node)
        body = [part.string.sval for part in options["as"].list.items]
        match options["language"].string.sval.lower():
            case "plpgsql":
                return computes_only(plpgsql(definition), one_statement)
            case "sql":
                return computes_only({"PLpgSQL_expr": {"query": body[0]}}, one_statement)
            case _:
                return False
    except (KeyError, ValueError):
        return False


def options_of(node: Any) -> Mapping[str, Any]:
    """Those of a CREATE FUNCTION by name; none of one whose body is parsed, or anything else."""
    if type_name(node) != "CreateFunctionStmt" or node.HasField("sql_body"):
        return {}
    return {item.def_elem.defname: item.def_elem.arg for item in node.options}
