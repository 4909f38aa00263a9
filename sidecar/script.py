"""A migration's text as statements, by PostgreSQL's own parser, `postgast`.

The parser is that of one PostgreSQL version: a script in the syntax of a later one is
refused here with `ScriptError` although its own server would take it.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any, NamedTuple

from sidecar.anonymous_blocks import UNKNOWN, Block, block
from sidecar.errors import ExitCode, SidecarError
from sidecar.model import Control, Nature, Script, Statement
from sidecar.row_changes import row_change
from sidecar.sql_text import quoted
from sidecar.statement_kinds import Traits, traits, traits_of_words
from sidecar.statement_reach import TEMPORARY_SCHEMA, Name, inner, reach, type_name
from sidecar.temporary_tables import seen_through, use_of

_BOM = "\ufeff"
_FIRST_WORDS = 10
_UNFINISHED = "its transaction is never committed: PostgreSQL rolls it back when the session ends"


class ScriptError(SidecarError):
    """PostgreSQL's parser refuses a script; `line` counts from 1, `message` is the parser's."""

    exit_code = ExitCode.HALTED

    def __init__(self, message: str, *, line: int) -> None:
        super().__init__(f"line {line}: {message}")
        self.line = line
        self.message = message


class _Piece(NamedTuple):
    """One statement's text, where it stands, and its first words in upper case."""

    start: int
    line: int
    sql: str
    words: tuple[str, ...]


def parse(text: str, *, quiet: frozenset[str] = frozenset()) -> Script:
    r"""The statements of a script, with exact character offsets into `text`.

    `quiet` are functions that only compute, beside PostgreSQL's own (see `own_functions`).
    A byte order mark at the very start is skipped, so that the first statement begins after
    it. (Prisma's driver adapters trim it too; its native engine sends it, and PostgreSQL
    answers 42601.) `ScriptError` where PostgreSQL's parser refuses the text, psql's own
    commands (`\connect`) included.
    """
    if "\0" in text:  # the parser would end there and say nothing
        raise ScriptError("a zero byte", line=_line_of(text, text.index("\0")))
    pieces = list(_pieces(text))
    kinds = _settle_temporary(_traits(piece, quiet) for piece in pieces)
    statements = (
        _statement(index, piece=piece, kind=kind)
        for index, (piece, kind) in enumerate(zip(pieces, kinds, strict=True), start=1)
    )
    return Script(text=text, statements=tuple(seen_through(_number_blocks(statements))))


def created_extensions(text: str) -> tuple[str, ...]:
    """The extensions which a script creates, in order; `ScriptError` as in `parse`."""
    if "extension" not in text.lower():  # spares most scripts the parser
        return ()
    nodes = (_tree(piece.sql) for piece in _pieces(text))
    return tuple(
        str(node.extname)
        for node in nodes
        if node is not None and type_name(node) == "CreateExtensionStmt"
    )


# --- splitting -------------------------------------------------------------------


def _pieces(text: str) -> Iterator[_Piece]:
    """The statements' texts in order; one pass, from the parser's bytes to characters."""
    body = text.removeprefix(_BOM)
    data = body.encode()
    at_byte, at_char, line = 0, len(text) - len(body), 1
    for tokens in _tokens_by_statement(body):
        start, end = tokens[0].start, tokens[-1].end
        gap, sql = data[at_byte:start].decode(), data[start:end].decode()
        at_char, line = at_char + len(gap), line + gap.count("\n")
        first = tokens[:_FIRST_WORDS]
        words = tuple(data[token.start : token.end].decode().upper() for token in first)
        yield _Piece(start=at_char, line=line, sql=sql, words=words)
        at_byte, at_char, line = end, at_char + len(sql), line + sql.count("\n")


def _tokens_by_statement(body: str) -> Iterator[list[Any]]:
    """The tokens of each statement, without comments and without the semicolons between.

    The splitter says which semicolons end a statement (those in BEGIN ATOMIC bodies and in
    rules do not), the scanner where its last token ends (comments may follow it).
    """
    from postgast import PgQueryError, scan, split
    from postgast.pg_query_pb2 import ASCII_59, C_COMMENT, SQL_COMMENT

    try:
        texts = split(body)
        scanned = scan(body).tokens
    except PgQueryError as exc:
        line = _line_of(body, exc.cursorpos - 1)  # counts characters from 1; 0: unknown
        raise ScriptError(exc.message, line=line) from exc
    comments = {C_COMMENT, SQL_COMMENT}
    tokens = deque(token for token in scanned if token.token not in comments)
    for text in texts:
        while tokens[0].token == ASCII_59:
            tokens.popleft()
        end = tokens[0].start + len(text.encode())
        mine = []
        while tokens and tokens[0].start < end:
            mine.append(tokens.popleft())
        yield mine


def _line_of(text: str, position: int) -> int:
    return 1 + text.count("\n", 0, max(position, 0))


# --- statements ------------------------------------------------------------------


def _tree(sql: str) -> Any | None:
    """The parse tree of one statement; None where it is nested too deep to be handed over.

    The parser's answer is a protobuf message, and protobuf reads a hundred levels: an
    expression of some fifty nested calls or `||` is more.
    """
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
    from postgast import parse as parse_tree

    try:
        return inner(parse_tree(sql).stmts[0].stmt)
    except DecodeError:
        return None


def _traits(piece: _Piece, quiet: frozenset[str]) -> Traits:
    node = _tree(piece.sql)
    if node is None:
        return traits_of_words(piece.words)
    kind = traits(node, words=piece.words, quiet=quiet)
    if kind.nature is not Nature.DATA or kind.elsewhere:
        return kind
    if type_name(node) == "DoStmt":
        done = _block(node, piece.sql)
        return replace(
            kind,
            nature=done.nature,
            writes=done.writes,
            reach_known=done.reach_known,
            change=done.change,
        )
    return replace(kind, change=row_change(node, reach(node, quiet=quiet)))


def _block(node: Any, sql: str) -> Block:
    """What a DO does; unknown where it is in another language, or PL/pgSQL refuses it."""
    options = (item.def_elem for item in node.args)
    if any(o.defname == "language" and o.arg.string.sval != "plpgsql" for o in options):
        return UNKNOWN
    try:
        return block(plpgsql(sql), one_statement)
    except ValueError:
        return UNKNOWN


def plpgsql(sql: str) -> Any:
    """The tree of a DO or a function in PL/pgSQL, as JSON values; `ValueError` if it is none."""
    from postgast import PgQueryError, parse_plpgsql

    try:
        return parse_plpgsql(sql)
    except PgQueryError as exc:
        raise ValueError(sql) from exc


def words(text: str) -> list[str]:
    """The tokens of a piece of SQL or PL/pgSQL, without comments; `ValueError` if it is none."""
    from postgast import PgQueryError, scan
    from postgast.pg_query_pb2 import C_COMMENT, SQL_COMMENT

    data, comments = text.encode(), {C_COMMENT, SQL_COMMENT}
    try:
        tokens = scan(text).tokens
    except PgQueryError as exc:
        raise ValueError(text) from exc
    return [data[t.start : t.end].decode() for t in tokens if t.token not in comments]


def one_statement(sql: str) -> Any:
    """Its tree; `ValueError` where there is none, or another number of them."""
    from google.protobuf.message import DecodeError
    from postgast import PgQueryError
    from postgast import parse as parse_tree

    try:
        (statement,) = parse_tree(sql).stmts
        return inner(statement.stmt)
    except (DecodeError, PgQueryError) as exc:
        raise ValueError(sql) from exc


def _settle_temporary(kinds: Iterable[Traits]) -> Iterator[Traits]:
    """The same, where what is only about the script's own temporary tables is SESSION too.

    Those ON COMMIT DROP are not followed: later their name may mean a lasting table.
    """
    temporary: set[Name] = set()
    for kind in kinds:
        if kind.makes_temporary:
            temporary.update(kind.subjects)
        if kind.subjects and all(n in temporary or n[0] == TEMPORARY_SCHEMA for n in kind.subjects):
            yield replace(kind, nature=Nature.SESSION) if kind.reach_known else kind
        else:
            yield kind
        if kind.unmakes:
            temporary.difference_update(kind.subjects)
        if kind.kind in {"DISCARD", "ROLLBACK", "ROLLBACK TO"}:
            temporary.clear()


def _statement(index: int, *, piece: _Piece, kind: Traits) -> Statement:
    temporary = kind.subjects if kind.nature is Nature.SESSION else ()
    return Statement(
        index=index,
        line=piece.line,
        start=piece.start,
        end=piece.start + len(piece.sql),
        sql=piece.sql,
        kind=kind.kind,
        nature=kind.nature,
        control=kind.control,
        solo=kind.solo,
        writes=_names(kind.writes),
        reach_known=kind.reach_known,
        adds_enum_value=kind.adds_enum_value,
        creates=_names(kind.creates),
        forbidden=kind.forbidden,
        elsewhere=kind.elsewhere,
        change=kind.change,
        temporary=use_of(_tree(piece.sql), temporary) if temporary else None,
    )


def _names(names: Iterable[Name]) -> tuple[str, ...]:
    return tuple(".".join(map(_quoted, name)) for name in names)


def _quoted(identifier: str) -> str:
    """The identifier as PostgreSQL prints it (`quote_identifier` in its ruleutils.c)."""
    from postgast import scan
    from postgast.pg_query_pb2 import NO_KEYWORD, UNRESERVED_KEYWORD

    if re.fullmatch("[a-z_][a-z0-9_]*", identifier):
        keyword = scan(identifier).tokens[0].keyword_kind
        if keyword in {NO_KEYWORD, UNRESERVED_KEYWORD}:
            return identifier
    return quoted(identifier)


def _taken_back(statement: Statement) -> Statement:
    """The same in a block that ends with ROLLBACK: of all that we can see, nothing stays."""
    if statement.control or not statement.reach_known or statement.kind == "SELECT":
        return statement  # what a sequence counted stays counted
    return replace(statement, nature=Nature.NOTHING, change=None)


def _number_blocks(statements: Iterable[Statement]) -> list[Statement]:
    """The same, each with the number of the BEGIN...COMMIT it stands in.

    BEGIN in a block is a mere warning in PostgreSQL and opens none; a savepoint neither. A
    block that the script leaves open is never committed, which makes its BEGIN `forbidden`.
    """
    numbered: list[Statement] = []
    count, opening = 0, None
    for statement in statements:
        if statement.control is Control.BEGIN and opening is None:
            count, opening = count + 1, len(numbered)
        numbered.append(replace(statement, block=None if opening is None else count))
        if statement.control is Control.ROLLBACK and opening is not None:
            numbered[opening:] = map(_taken_back, numbered[opening:])
        if statement.control in {Control.COMMIT, Control.ROLLBACK}:
            opening = None
    if opening is not None:
        numbered[opening] = replace(numbered[opening], forbidden=_UNFINISHED)
    return numbered
