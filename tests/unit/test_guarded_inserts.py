"""INSERTs that ask first whether their rows are there, and those that only seem to."""

from __future__ import annotations

import pytest

from sidecar.live_tables import understood
from sidecar.model import FactKey, Facts
from tests.unit.builders import script_of, table

INTO = "INSERT INTO role (id, code, team_id)"
GUARDS = {
    "a constant": (
        (
            f"{INTO} SELECT gen_random_uuid(), 'a', NULL WHERE NOT EXISTS "
            "(SELECT 1 FROM role WHERE code = 'a')"
        ),
        {"code"},
    ),
    "turned round, under another name": (
        f"{INTO} SELECT 1, 'a', NULL WHERE NOT EXISTS (SELECT FROM role AS r WHERE 'a' = r.code)",
        {"code"},
    ),
    "values of another table": (
        (
            f"{INTO} SELECT 1, x.code, t.id FROM team t, (VALUES ('a'), ('b')) AS x(code) "
            "WHERE t.home AND NOT EXISTS "
            "(SELECT 1 FROM role r WHERE r.team_id = t.id AND r.code = x.code)"
        ),
        {"code", "team_id"},
    ),
    "another constant": (
        f"{INTO} SELECT 1, 'a', NULL WHERE NOT EXISTS (SELECT 1 FROM role WHERE code = 'b')",
        set(),
    ),
    "more than what is given": (
        (
            f"{INTO} SELECT 1, 'a', NULL WHERE NOT EXISTS "
            "(SELECT 1 FROM role WHERE code = 'a' AND active)"
        ),
        set(),
    ),
    "a column that is not given": (
        "INSERT INTO role (code) SELECT 'a' WHERE NOT EXISTS (SELECT 1 FROM role WHERE id = 1)",
        set(),
    ),
    "another table": (
        f"{INTO} SELECT 1, 'a', NULL WHERE NOT EXISTS (SELECT 1 FROM team WHERE code = 'a')",
        set(),
    ),
    "a join": (
        (
            f"{INTO} SELECT 1, 'a', NULL WHERE NOT EXISTS "
            "(SELECT 1 FROM role r JOIN team t ON t.id = r.team_id WHERE r.code = 'a')"
        ),
        set(),
    ),
    "not all of them": (
        (
            f"{INTO} SELECT 1, 'a', NULL WHERE NOT EXISTS "
            "(SELECT 1 FROM role WHERE code = 'a' LIMIT 1 OFFSET 1)"
        ),
        set(),
    ),
    "either": (
        (
            f"{INTO} SELECT 1, 'a', NULL WHERE now() > '2025-01-01' OR NOT EXISTS "
            "(SELECT 1 FROM role WHERE code = 'a')"
        ),
        set(),
    ),
    "of its own rows": (
        (
            f"{INTO} SELECT 1, o.code, o.team_id FROM role o WHERE NOT EXISTS "
            "(SELECT 1 FROM role r WHERE r.code = o.code AND r.team_id = o.team_id)"
        ),
        set(),
    ),
    "a bare name, which is another column inside": (
        (
            f"{INTO} SELECT 1, name, NULL FROM team WHERE NOT EXISTS "
            "(SELECT 1 FROM role r WHERE r.code = name)"
        ),
        set(),
    ),
    "a value of its own each time": (
        (
            f"{INTO} SELECT 1, x.c, NULL FROM (SELECT random()::text AS c) x WHERE NOT EXISTS "
            "(SELECT 1 FROM role r WHERE r.code = random()::text)"
        ),
        set(),
    ),
    "rows that are made up": (
        (
            f"{INTO} SELECT 1, x.c, NULL FROM (SELECT random()::text AS c) x WHERE NOT EXISTS "
            "(SELECT 1 FROM role r WHERE r.code = x.c)"
        ),
        set(),
    ),
    "two queries": (
        (
            f"{INTO} SELECT 1, 'a', NULL WHERE NOT EXISTS (SELECT 1 FROM role WHERE code = 'a') "
            "UNION ALL SELECT 2, 'a', NULL"
        ),
        set(),
    ),
    "no guard": (f"{INTO} SELECT 1, 'a', NULL", set()),
    "values": (f"{INTO} VALUES (1, 'a', NULL)", set()),
}


@pytest.mark.parametrize("case", GUARDS)
def test_what_an_insert_asks_for_first(case: str) -> None:
    """The columns are those whose given values the guard looks for, and nothing else."""
    sql, expected = GUARDS[case]
    change = script_of(sql).statements[0].change
    assert change is not None
    assert change.guards == expected


COLUMNS = {
    "text NOT NULL": True,
    "uuid NOT NULL DEFAULT gen_random_uuid()": True,
    "character varying(20) NOT NULL": True,
    'momentum."Level" NOT NULL': True,
    "text": False,
    "text DEFAULT 'NOT NULL'": False,
    "numeric(10,2) NOT NULL": False,
    "timestamp(3) without time zone NOT NULL": False,
    "character(3) NOT NULL": False,
}


@pytest.mark.parametrize("column", COLUMNS)
def test_it_finds_its_own_rows_the_next_time(column: str) -> None:
    """Unless the value may be NULL, which equals nothing, or is rounded when it is stored."""
    facts: Facts = {table("role"): "TABLE", FactKey("column", "code", "public.role"): column}
    sql, _ = GUARDS["a constant"]
    statement = understood(script_of(sql), facts).statements[0]
    assert statement.change is not None
    assert statement.change.settled is COLUMNS[column]
