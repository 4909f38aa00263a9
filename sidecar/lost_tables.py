"""Temporary tables that went with the session which a script had: are they needed, and again. Pure.

What only needs them dropped needs nothing. They can be made again while nothing that lasts
has come of them: then the rest of the script finds them as if it had begun later.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import assert_never

from sidecar.model import Change, Effect, Facts, Nature, Script, Statement, Table
from sidecar.names_read import ALL
from sidecar.session_state import makes_temporary
from sidecar.table_names import parts, same_table

_TAKES_ALL_BACK = re.compile(r"DISCARD\s+TEMP(ORARY)?\b", re.IGNORECASE)
_FILLS = frozenset({"CREATE MATERIALIZED VIEW", "CREATE TABLE AS", "DO", "SELECT INTO"})
_HEIR = re.compile(r"PARTITION OF|INHERITS")
_BESIDE_ROWS = frozenset(
    {"comment", "constraint", "index", "not-null", "privilege", "statistics", "trigger"}
)
_RELATIONS = frozenset({"materialized view", "sequence", "view"})

Held = Mapping[str, Sequence[Statement]]
"""Of each temporary table what made it what it is."""


@dataclass(frozen=True, slots=True)
class Lost:
    """What a repair does about the temporary tables that its session lacks, by statement index.

    `again` are statements to run once more, though they ran; `idle` those missing which would
    only drop what is gone. `problem` says why what is needed cannot be made again, or ''.
    """

    again: frozenset[int] = frozenset()
    idle: frozenset[int] = frozenset()
    problem: str = ""


def lost(script: Script, effects: Sequence[Effect], live: Facts, *, start: int) -> Lost:
    """What to do where the first `start` statements are not run again."""
    ran, rest = script.statements[:start], script.statements[start:]
    held = _held(ran)
    if not held:
        return Lost()
    unseen = [s.sql for s in ran if s.nature is Nature.CATALOG and not effects[s.index - 1]]
    needed = _needed(held, rest, live)
    needed |= {name for name in held if any(_says(name, sql) for sql in unseen)}  # a view of it
    makers = _makers(held, needed, ran)
    idle = frozenset(s.index for s in rest if _only_drops(s, held.keys() - needed))
    if not needed:
        return Lost(idle=idle)
    named = ", ".join(sorted(needed))
    if problem := _unrepeatable(makers, needed, held) or _used_or_changed(
        makers, ran, effects, live
    ):
        return Lost(problem=f"temporary objects ({named}) are gone with their session; {problem}")
    return Lost(again=frozenset(s.index for s in makers), idle=idle)


def _held(ran: Sequence[Statement]) -> Held:
    """The temporary tables there are after these statements; savepoints may undo what drops."""
    may_return = any(s.kind == "ROLLBACK TO" for s in ran)
    held: dict[str, list[Statement]] = {}
    for statement in ran:
        if not makes_temporary(statement):
            continue
        if _TAKES_ALL_BACK.match(statement.sql) and not may_return:
            held.clear()
        if (use := statement.temporary) is None:
            continue
        for name in use.names:
            if not use.drops:
                held.setdefault(name, []).append(statement)
            elif not may_return:
                held.pop(name, None)
    return held


# --- which are needed ------------------------------------------------------------


def _needed(held: Held, rest: Sequence[Statement], live: Facts) -> set[str]:
    """The tables that more than dropping them may be meant for; by name, wherever it stands."""
    bodies = [text for key, text in live.items() if key.kind in {"function", "procedure"}]
    more = [s for s in rest if not (s.temporary and s.temporary.drops)]
    texts = [*(s.sql for s in more), *bodies] if more else []
    unseen = any(not s.reach_known or (s.kind == "DO" and _says("EXECUTE", s.sql)) for s in more)
    needed = {name for name in held if unseen or any(_says(name, text) for text in texts)}
    while more_needed := {
        name
        for statement in rest
        if (use := statement.temporary) and use.drops and not use.names <= held.keys() - needed
        for name in use.names & (held.keys() - needed)
    }:
        needed |= more_needed  # dropped in one statement with what is there
    return needed


def _only_drops(statement: Statement, gone: Collection[str]) -> bool:
    use = statement.temporary
    return use is not None and use.drops and use.names <= set(gone)


def _says(name: str, text: str) -> bool:
    """Whether a text has this name, or that of a sequence of the table."""
    found = re.search(rf"(?<!\w){re.escape(name)}(?!\w)", text, re.IGNORECASE)
    return bool(found or re.search(rf"(?<!\w){re.escape(name)}_\w+_seq\b", text, re.IGNORECASE))


# --- whether they can be made again ----------------------------------------------


def _makers(held: Held, needed: set[str], ran: Sequence[Statement]) -> list[Statement]:
    """What made the needed tables, and those that they were made from, which are needed too."""
    found: dict[int, Statement] = {}
    waiting = list(needed)
    while waiting:
        for statement in held.get(waiting.pop(), ()):
            if statement.index in found or statement.temporary is None:
                continue
            found[statement.index] = statement
            before = _held(ran[: statement.index - 1]).keys()
            inner = {name[-1] for name in statement.temporary.reads} & before
            waiting += inner | (statement.temporary.names - needed)
            needed |= inner | statement.temporary.names
    return [found[index] for index in sorted(found)]


def _names_made(statements: Iterable[Statement]) -> set[str]:
    return {name for s in statements if s.temporary for name in s.temporary.names}


def _unrepeatable(makers: Sequence[Statement], needed: Collection[str], held: Held) -> str:
    if set(needed) - held.keys():
        return "what they were made from is gone as well"
    for statement in makers:
        if statement.temporary is None or not statement.temporary.again:
            return f"statement {statement} may not do the same once more"
    return ""


def _used_or_changed(
    makers: Sequence[Statement], ran: Sequence[Statement], effects: Sequence[Effect], live: Facts
) -> str:
    """Why what they would be made from now is not what the script made them from, or ''.

    Statements that write rows have perhaps used them, or come from the same rows as they do.
    """
    own = {statement.index for statement in makers}
    made = _names_made(makers)
    read = {s.index: set(_outside(s, ran)) for s in makers}
    sources = set[Table]().union(*read.values())
    uses = [s.temporary for s in makers if s.temporary and read[s.index]]
    columns = frozenset[str]().union(*(use.columns for use in uses))
    if unknown := sorted(".".join(name) for name in sources if _is_no_table(name, live)):
        return f"{unknown[0]} is no table"
    for statement in ran[min(own) :]:
        effect = effects[statement.index - 1]
        if statement.index in own or _leaves(statement, effect, sources, columns, made):
            continue
        return f"statement {statement} ran since, and may have used them or changed their sources"
    return ""


def _outside(statement: Statement, ran: Sequence[Statement]) -> Iterator[Table]:
    """The tables it reads that are not temporary ones of the script."""
    before = _held(ran[: statement.index - 1]).keys()
    reads = statement.temporary.reads if statement.temporary else frozenset[Table]()
    yield from (name for name in reads if name[-1] not in before)


def _is_no_table(name: Table, live: Facts) -> bool:
    """Whether it is something else than a table; what is nowhere is a query that WITH names."""
    kinds = {
        key.kind
        for key in live
        if key.kind in _RELATIONS | {"table"} and same_table(name, parts(key.identity))
    }
    return bool(kinds - {"table"} or (not kinds and (len(name) > 1 or name[0].startswith("pg_"))))


def _leaves(
    statement: Statement,
    effect: Effect,
    sources: Collection[Table],
    columns: Collection[str],
    made: Collection[str],
) -> bool:
    """Whether it neither used the tables, nor changed what they would be made from."""
    match statement.nature:
        case Nature.SESSION | Nature.CONTROL | Nature.NOTHING:
            return True
        case Nature.DATA:
            return False
        case Nature.CATALOG:
            named = [*made, *(source[-1] for source in sources)]
            if not effect and any(_says(name, statement.sql) for name in named):
                return False  # rows may be other in columns that are as before
            fills = statement.kind in _FILLS or not statement.reach_known
            return not fills and all(_spares(one, sources, columns) for one in effect)
        case _:
            assert_never(statement.nature)


def _spares(change: Change, sources: Collection[Table], columns: Collection[str]) -> bool:
    key, texts = change.key, f"{change.before} {change.after}"
    here = parts(key.on or key.identity)
    on_source = any(same_table(here, source) for source in sources)
    match key.kind:
        case "column":
            return not on_source or not {ALL, parts(key.identity)[0]} & set(columns)
        case "table":
            return not on_source and not _HEIR.search(texts)
        case "type" | "schema":
            return change.before is None
        case kind:
            return kind in _BESIDE_ROWS or (kind in _RELATIONS and not on_source)
