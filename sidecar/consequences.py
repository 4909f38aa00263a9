"""What PostgreSQL itself does to objects that only the live database has. Pure.

A partition made at run time gets the column that its parent gets; an index made by hand goes
with its column; a view made by hand spells a renamed column by its new name. No shadow shows
that. A change follows from another, its cause, only so (PostgreSQL's chapters "Dependency
Tracking" and, on heirs, "ALTER TABLE"):

* What vanishes names something that vanished: a table, a type, a column and its table.
* What is spelled or attached otherwise names something that changed, and differs in words of it.
* What appears on a partition or an heir is its copy of what appeared on the parent.
* What is renamed or moved vanishes under one name and appears under another.

What follows is a cause in its turn: of the comment on an index that went with its column.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import accumulate

from sidecar.model import Change, Effect, FactKey

_IDENTIFIER = r'(?:"(?:[^"]|"")*"|[\w$]+)'
_NAME = rf"{_IDENTIFIER}(?:\.{_IDENTIFIER})*"
_NAMES = re.compile(_NAME)
_PARTS = re.compile(_IDENTIFIER)
_HEIR = re.compile(rf"\b(?:PARTITION OF|INHERITS) ({_NAME}(?:, {_NAME})*)")
_INHERITED = re.compile(r" (?:LOCAL AND )?INHERITED$")
_BODY = re.compile(r"^AS \$.*", re.DOTALL | re.MULTILINE)
"""A function's text, in which nothing is renamed; an SQL-standard body has no such AS."""

_SAID_OF_OTHERS = frozenset({"comment", "privilege", "default privilege"})
"""Kinds that cause nothing, and whose definitions are no text of the catalog's."""

_SAME_TEXT = frozenset({"column", "constraint", "not-null"})
"""Kinds whose copy on an heir is defined by the same words as on the parent."""

_NAMED_BY_OTHERS = frozenset({"comment", "publication table"})
"""Kinds whose identity is the name of what they are about."""


_GLUE = frozenset({"AS", "AND", "INHERITED", "LOCAL", "OF", "PARTITION", "text"})
"""Words that come and go with an inheritance, a label (`total AS sum`), a cast of a varchar."""


class Lineage:
    """Which tables are partitions or heirs of which, at any of the moments it is given."""

    def __init__(self, facts: Iterable[tuple[FactKey, str]]) -> None:
        self._parents: defaultdict[str, set[str]] = defaultdict(set)
        for key, definition in facts:
            if key.kind == "table" and (found := _HEIR.search(definition)):
                self._parents[key.identity] |= set(_NAMES.findall(found[1]))

    def ancestors(self, table: str) -> set[str]:
        """The tables above it, at any level."""
        found: set[str] = set()
        more = self._parents.get(table, set())
        while more:
            found = found | more
            more = {a for name in more for a in self._parents.get(name, ())} - found
        return found


def consequences(own: Effect, effects: tuple[Effect, ...], lineage: Lineage) -> frozenset[FactKey]:
    """Those of the changes `own`, to what only the live database has, that follow from `effects`.

    `effects` are what the shadow shows of each statement that was run.
    """
    by_name: dict[str, list[_Own]] = {}
    for each in own:
        one = _Own(each, frozenset(_named(each)), frozenset(lineage.ancestors(each.key.on)))
        for name in one.names | one.above:
            by_name.setdefault(name, []).append(one)
    causes, halves = _causes(effects), _halves(own)
    words = {*_GLUE}.union(*(_words(c.key.identity, c.before, c.after) for c in causes))
    moved = _moved(effects)
    found: set[FactKey] = set()
    while causes:
        cause = causes.pop()
        for one in by_name.get(cause.key.on or _called(cause.key), ()):
            change, half = one.change, _is_half(one, cause, moved)
            if change.key in found or not _follows(one, cause):
                continue
            others = halves(change) if half else (change,)
            if any(_reworded(change, other) <= words for other in others):
                found.add(change.key)
                words |= _words(change.key.identity)
                moved |= {change.key} if half else set()
                causes += [change] if change.key.kind not in _SAID_OF_OTHERS else []
    return frozenset(found)


def _causes(effects: tuple[Effect, ...]) -> list[Change]:
    """What each statement changed, and what all together."""
    each = [c for effect in effects for c in effect if c.key.kind not in _SAID_OF_OTHERS]
    first = {change.key: change.before for change in reversed(each)}
    last = {change.key: change.after for change in each}
    return each + [Change(key, before, last[key]) for key, before in first.items()]


@dataclass(frozen=True, slots=True)
class _Own:
    """A change of what the shadow does not know; all names in it; the tables above its table."""

    change: Change
    names: frozenset[str]
    above: frozenset[str]


def _follows(one: _Own, cause: Change) -> bool:
    """Whether PostgreSQL can do the one because of the other."""
    change = one.change
    if (change.before is None and cause.before is not None) or (_gone(change) and not _gone(cause)):
        return False
    if not cause.key.on:
        comes_or_goes = cause.before is None or cause.after is None
        return comes_or_goes or cause.key.kind == "type"  # an enum's value that has another name
    return cause.key.identity in one.names or _is_copy(one, cause)


def _is_half(one: _Own, cause: Change, moved: set[FactKey]) -> bool:
    """Whether it can only be a half of a change of name: what moves is neither lost nor made."""
    if one.change.before is None:
        return not _is_copy(one, cause)
    return _gone(one.change) and cause.key in moved


def _is_copy(one: _Own, cause: Change) -> bool:
    """Whether it is to an heir what the cause is to the parent."""
    key = one.change.key
    if key.kind != cause.key.kind or cause.key.on not in one.above:
        return False
    if key.kind == "column" and key.identity != cause.key.identity:
        return False  # constraints may have names of their own
    if key.kind in _SAME_TEXT:
        pairs = ((one.change.before, cause.before), (one.change.after, cause.after))
        return any(a is not None and b is not None and _stem(a) == _stem(b) for a, b in pairs)
    return cause.key.identity in one.names and key.kind in {"index", "trigger"}


def _stem(definition: str) -> str:
    return _INHERITED.sub("", definition)


def _gone(change: Change) -> bool:
    return change.after is None


def _moved(effects: tuple[Effect, ...]) -> set[FactKey]:
    """What has another name, or schema, in the end: what stands alone, and its parts with it."""
    now: dict[FactKey, FactKey] = {}
    parts: set[FactKey] = set()
    for effect in effects:
        new = {(c.key.kind, c.after): c.key for c in effect if not c.key.on and c.before is None}
        gone = [change for change in effect if change.after is None]
        for change in gone:
            if not change.key.on:
                to = new.get((change.key.kind, change.before))
                for old in [k for k, name in now.items() if name == change.key] or [change.key]:
                    now.pop(old, None)
                    now |= {old: to} if to else {}
        wholes = {change.key.identity for change in gone if change.key in now}
        parts -= {change.key for change in gone}
        parts |= {change.key for change in gone if change.key.on in wholes}
    return {*now, *parts}


def _halves(own: Effect) -> Callable[[Change], Iterator[Change]]:
    """Tells what may be the same under its other name: what appeared where one vanished."""
    by_twin: defaultdict[tuple[bool, tuple[str, str]], list[Change]] = defaultdict(list)
    for change in own:
        for twin in _twins(change.key) if None in (change.before, change.after) else ():
            by_twin[_gone(change), twin].append(change)

    def others(change: Change) -> Iterator[Change]:
        for twin in _twins(change.key):
            yield from by_twin[not _gone(change), twin]

    return others


def _twins(key: FactKey) -> tuple[tuple[str, str], ...]:
    """What a fact has in common with itself under another name."""
    own_name = _PARTS.findall(_called(key))[-1:] if key.kind != "privilege" else [key.identity]
    of_others = [key.on] if key.kind in _NAMED_BY_OTHERS and key.on else []
    return tuple((key.kind, name) for name in (*own_name, *of_others))


def _called(key: FactKey) -> str:
    """The name that others use for what stands alone."""
    return key.identity.partition("(")[0]


def _reworded(one: Change, other: Change) -> frozenset[str]:
    """The words that only the definition before or after has; none where one is missing."""
    before, after = one.before or other.before, one.after or other.after
    return frozenset() if before is None or after is None else _words(before) ^ _words(after)


def _words(*texts: str | None) -> frozenset[str]:
    return frozenset(word for text in texts if text for word in _PARTS.findall(text))


def _named(change: Change) -> Iterator[str]:
    """All names in a fact: `public.t.a` names its schema, the table and the column `a`."""
    texts = [change.key.identity, change.key.on]
    if change.key.kind not in _SAID_OF_OTHERS:
        texts += [_BODY.sub("", text) for text in (change.before, change.after) if text]
    for text in texts:
        for name in _NAMES.findall(text):
            parts = _PARTS.findall(name)
            yield from parts
            yield from accumulate(parts, lambda whole, part: f"{whole}.{part}")
