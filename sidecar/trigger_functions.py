"""Functions of triggers that only fill in the row which they are given. Pure.

What the body in PL/pgSQL says decides: each step of it is known, and each of its expressions only
computes. One that could do anything else, by a function or by text it puts together, counts as
one that does.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from sidecar.anonymous_blocks import steps
from sidecar.model import Table
from sidecar.names_read import ALL, CLOCK_VALUES, CLOCK_WORDS, table, walk
from sidecar.own_functions import options_of
from sidecar.pure_functions import CHANGING
from sidecar.script import one_statement, plpgsql, words
from sidecar.sql_text import literal
from sidecar.statement_reach import enum_name, reach, type_name
from sidecar.table_names import parts


@dataclass(frozen=True, slots=True)
class Filling:
    """What fills in a row before it is written, and does nothing else, not even leave it out.

    `sets` are columns of the row, `timed` those of them that it only ever sets by the clock;
    `new` and `old` are what it reads of the row as it will be and as it was ('*': all of it),
    `tables` what it reads besides. `fickle`: its values rest on chance, on who asks, or on the
    clock in a roundabout way; `told`: on what fired it.
    """

    sets: frozenset[str] = frozenset()
    timed: frozenset[str] = frozenset()
    new: frozenset[str] = frozenset()
    old: frozenset[str] = frozenset()
    tables: frozenset[Table] = frozenset()
    fickle: bool = False
    told: bool = False

    def __or__(self, more: Filling) -> Filling:
        return Filling(
            self.sets | more.sets,
            (self.timed | more.timed) - (self.sets - self.timed) - (more.sets - more.timed),
            self.new | more.new,
            self.old | more.old,
            self.tables | more.tables,
            self.fickle or more.fickle,
            self.told or more.told,
        )


@lru_cache(maxsize=256)
def filling(definition: str) -> Filling | None:
    """What a trigger's function in PL/pgSQL does to the row it is given; None if more, or unknown.

    Each way through it ends with RETURN NEW (or with an error, which ends the statement too).
    """
    try:
        node = one_statement(definition)
        options = options_of(node)
        (body,) = (part.string.sval for part in options["as"].list.items)
        language = options["language"].string.sval.lower()
        if language != "plpgsql" or node.return_type.names[-1].string.sval != "trigger":
            return None
        # As a trigger's, the parser's JSON is broken: it has no word for TG_OP and its like.
        (tree,) = plpgsql(f"{_PLAIN} {literal(body)}")
        return _filled(tree["PLpgSQL_function"], _returned(body))
    except (IndexError, KeyError, ValueError):
        return None


_PLAIN = "CREATE FUNCTION given(new record, old record) RETURNS record LANGUAGE plpgsql AS"
_NEW, _OLD = 0, 1
"""The numbers of both rows in the parser's list of variables."""

_WRITE = frozenset(
    "call commit copy create delete drop execute insert merge rollback truncate update".split()
)
_STEPS = frozenset(
    "assert assign block case execsql exit foreach_a fori fors if loop perform raise return"
    " while".split()
)
_PARTS = frozenset(
    "case_when condition exception exception_block expr function if_elsif raise_option rec recfield"
    " row type var".split()
)
_KNOWN = {f"PLpgSQL_stmt_{step}" for step in _STEPS} | {f"PLpgSQL_{part}" for part in _PARTS}

_ASSIGNS = 3
"""From here on: ways to parse `x := ...` (`RawParseMode` in PostgreSQL's parser/parser.h)."""
_COPY = re.compile(r"\s*\w+\s*:?=\s*new\s*", re.IGNORECASE)
_ASSIGNMENT = re.compile(r'(?P<to>(?:"(?:[^"]|"")*"|[\w$.\s])+?):?=(?P<value>.*)', re.DOTALL)


def _returned(body: str) -> str:
    """The variable that each RETURN returns: of such, the parser's JSON does not show the name."""
    said = [word.lower() for word in words(body)]
    ends = {tuple(said[n + 1 : n + 3]) for n, word in enumerate(said) if word == "return"}
    hides = any(said[n : n + 2] == ["alias", "for"] for n in range(len(said)))
    ((name, end),) = ends
    if end != ";" or hides or not _WRITE.isdisjoint(said):
        raise ValueError(body)
    return name


def _filled(function: Any, returned: str) -> Filling:
    datums = [next(iter(datum.items())) for datum in function["datums"]]
    called = [str(value.get("refname", "")).lower() for _, value in datums]
    if any(called.count(name) != 1 for name in {"new", "old", returned}):
        raise ValueError(returned)  # one variable hides another, the row itself perhaps
    row = called.index(returned)
    nodes = list(steps(function))
    if row != _NEW:
        _copied(function, row)
        nodes.remove(("PLpgSQL_stmt_assign", _first(function)))
    found = Filling()
    for name, value in nodes:
        if name not in _KNOWN:
            raise ValueError(name)
        columns = [_column(datums, variable, row) for variable in _assigned(name, value)]
        found |= _values(name, value, columns, frozenset({"new", returned}))
    return found


def _copied(function: Any, row: int) -> None:
    """`ValueError` if a variable does not begin as a copy of NEW, in the very first statement."""
    first = _first(function)
    if first.get("varno", _NEW) != row or not _COPY.fullmatch(
        first["expr"]["PLpgSQL_expr"]["query"]
    ):
        raise ValueError(first)


def _first(function: Any) -> Any:
    return function["action"]["PLpgSQL_stmt_block"]["body"][0]["PLpgSQL_stmt_assign"]


def _assigned(name: str, value: Any) -> Iterator[int]:
    """The variables that a statement gives values to, by number."""
    match name:
        case "PLpgSQL_stmt_assign" | "PLpgSQL_stmt_foreach_a":
            yield value.get("varno", _NEW)
        case "PLpgSQL_stmt_execsql" if value.get("into"):
            yield from _targets(value["target"])
        case "PLpgSQL_stmt_fors":
            yield from _targets(value["var"])
        case _:
            pass


def _targets(target: Any) -> Iterator[int]:
    if "PLpgSQL_row" in target:
        yield from (field.get("varno", _NEW) for field in target["PLpgSQL_row"]["fields"])
    else:
        yield target["PLpgSQL_rec"].get("dno", _NEW)


def _column(datums: list[tuple[str, Any]], variable: int, row: int) -> str:
    """The column of the row that a variable is, or '' for any other."""
    name, value = datums[variable]
    field = name == "PLpgSQL_recfield"
    whole = value.get("recparentno", _NEW) if field else variable
    if whole == row and field:
        return str(value["fieldname"])
    if whole in {_NEW, _OLD, row}:
        raise ValueError(value)  # all columns at once, or those of another row
    return ""


def _values(name: str, value: Any, columns: list[str], rows: frozenset[str]) -> Filling:
    """What it is that a statement's expressions read."""
    if name == "PLpgSQL_stmt_assign":
        (column,), query = columns, value["expr"]["PLpgSQL_expr"]["query"]
        assignment = _ASSIGNMENT.match(query)
        if assignment is None:
            raise ValueError(query)
        looked, by_clock = looks(one_statement("SELECT " + assignment["value"]), rows)
        if column and len(parts(assignment["to"].strip())) > len(("row", column)):
            looked |= Filling(new=frozenset({ALL}))  # x.y := ... keeps the rest of x
        sets = frozenset({column} if column else ())
        timed = sets if by_clock else frozenset()
        return looked | Filling(sets=sets, timed=timed, fickle=by_clock and not column)
    mode = value.get("parseMode", 0) if name == "PLpgSQL_expr" else _ASSIGNS
    if mode >= _ASSIGNS:
        return Filling(sets=frozenset(filter(None, columns)))
    looked, by_clock = looks(one_statement("SELECT " * bool(mode) + value["query"]), rows)
    return looked | Filling(fickle=by_clock)


# --- what an expression looks at -------------------------------------------------

_CLOCK = frozenset(
    "clock_timestamp now statement_timestamp timeofday transaction_timestamp".split()
)
_OF_THE_SESSION = ("current_", "has_", "inet_", "pg_", "session_user", "to_reg", "version")


def looks(query: Any, rows: frozenset[str] = frozenset({"new"})) -> tuple[Filling, bool]:
    """What a query reads that only computes, and whether the clock; `ValueError` if it does more.

    `rows` are the names of the row as it will be.
    """
    touched, messages = reach(query), list(walk(query))
    kinds = {type_name(message) for message in messages}
    does_more = touched.writes or touched.sequences or touched.session or not touched.known
    if type_name(query) != "SelectStmt" or does_more or "LockingClause" in kinds:
        raise ValueError(query)
    named = [_fields(message) for message in messages if type_name(message) == "ColumnRef"]
    calls = {m.funcname[-1].string.sval for m in messages if type_name(m) == "FuncCall"}
    values = {enum_name(m, "op") for m in messages if type_name(m) == "SQLValueFunction"}
    constants = {m.sval.sval.strip().lower() for m in messages if type_name(m) == "A_Const"}
    timely = {op for op in values if op.startswith(CLOCK_VALUES)}
    by_clock = bool(timely or calls & _CLOCK or constants & CLOCK_WORDS)
    found = Filling(
        new=frozenset(_of_row(named, rows)),
        old=frozenset(_of_row(named, frozenset({"old"}))),
        tables=frozenset(table(m) for m in messages if type_name(m) == "RangeVar"),
        fickle=bool(values - timely or calls & (CHANGING - _CLOCK))
        or any(call.startswith(_OF_THE_SESSION) for call in calls),
        told=any(part.startswith("tg_") for fields in named for part in fields),
    )
    return found, by_clock


def _fields(column: Any) -> tuple[str, ...]:
    return tuple(part.string.sval if part.HasField("string") else ALL for part in column.fields)


def _of_row(named: Iterable[tuple[str, ...]], rows: frozenset[str]) -> Iterator[str]:
    for fields in named:
        for part, column in zip(fields, (*fields[1:], ALL), strict=True):
            if part in rows:
                yield column
