"""Failed migrations as Hypothesis draws them: a few recipes, one after the other.

A recipe is what people write: a column added, filled, made NOT NULL; rows moved into a new
table; an enum made anew. It draws its tables and columns from a `Desk`, which knows what is
there at that point of the script, so that most scripts can succeed. Those that cannot are
worth trying too: their clean run says so.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from hypothesis import strategies as st
from hypothesis.strategies import DrawFn

from tests.deep.past import Extra, Past

LONGEST = 10
"""Statements of a script, the BEGIN and COMMIT put around some included."""


@dataclass(slots=True)
class Desk:
    """What is there: table -> column -> kind of value; and the choices to be made."""

    draw: DrawFn
    past: Past
    tables: dict[str, dict[str, str]]
    private: set[str] = field(default_factory=set)
    """Tables and columns which the script itself made."""
    made: int = 0

    def one(self, *choices: str) -> str:
        """One of them; the first is the plainest."""
        return self.draw(st.sampled_from(choices))

    def name(self, stem: str) -> str:
        """A name that nothing has yet."""
        self.made += 1
        return f"{stem}{self.made}"

    def table(self) -> str:
        """A table with rows that a script would change."""
        return self.one(*self.tables)

    def column(self, table: str, *kinds: str) -> str:
        """A column of such a kind; "id" where the table has none."""
        found = [c for c, kind in self.tables[table].items() if kind in kinds]
        return self.one(*found) if found else "id"

    def value(self, kind: str) -> str:
        """A constant."""
        match kind:
            case "int":
                return self.one("0", "1", "7")
            case "bool":
                return self.one("true", "false")
            case "role":
                return self.one("'USER'", "'ADMIN'")
            case "json":
                return self.one("'{}'", """'["a", "b"]'""")
            case "time":
                return "'2025-01-01'"
            case _:
                return self.one("'draft'", "'live'", "'guest'", "''")

    def type(self, kind: str) -> str:
        """Its type as Prisma writes it."""
        return _TYPES[kind]

    def expression(self, table: str, kind: str) -> str:
        """A value computed from the row, or from elsewhere."""
        c = f'"{self.column(table, kind)}"'
        if kind == "int":
            return self.one(
                c,
                f"coalesce({c}, 0) + 1",
                '(SELECT count(*) FROM "Log")',
                f'length("{self.column(table, "text")}")',
                '(SELECT max(p."views") FROM "Post" p)',
            )
        if kind == "text":
            return self.one(c, f"{c} || 'x'", f"lower({c})", f"coalesce({c}, 'none')", f"{c}::text")
        return c if self.column(table, kind) != "id" else self.value(kind)

    def where(self, table: str, *, target: str = "") -> str:
        """A condition, or none."""
        text, number = self.column(table, "text"), self.column(table, "int")
        return self.one(
            "",
            f' WHERE "{target}" IS NULL' if target else "",
            f""" WHERE "{text}" = {self.value("text")}""",
            f' WHERE "{number}" > 1',
            f' WHERE "{text}" IS NOT NULL',
            f' WHERE EXISTS (SELECT FROM "User" u WHERE u."score" > "{table}"."{number}")',
            f' WHERE "{number}" IN (SELECT "n" FROM "Log")',
        )


_TYPES = {
    "int": "INTEGER",
    "text": "TEXT",
    "bool": "BOOLEAN",
    "role": '"Role"',
    "json": "JSONB",
    "time": "TIMESTAMP(3)",
}

Recipe = Callable[[Desk], list[str]]


def _tables() -> dict[str, dict[str, str]]:
    return {
        "Post": {
            "id": "key", "title": "text", "body": "text", "state": "text", "views": "int",
            "rank": "int", "guest": "text", "tags": "json",
        },
        "User": {
            "id": "key", "email": "text", "name": "text", "role": "role", "score": "int",
            "credit": "int", "active": "bool", "born": "time",
        },
        "Log": {"line": "text", "n": "int"},
    }  # fmt: skip


# --- columns and their values -----------------------------------------------------------


def backfill(desk: Desk) -> list[str]:
    """A new column, filled from the row; then what people do next."""
    table, kind = desk.table(), desk.one("text", "int", "role", "bool")
    column = desk.name("c")
    source = desk.column(table, kind)
    where = desk.one("", f' WHERE "{column}" IS NULL', desk.where(table, target=column))
    value = desk.one(desk.value(kind), desk.expression(table, kind))
    lines = [
        f'ALTER TABLE "{table}" ADD COLUMN "{column}" {desk.type(kind)}',
        f'UPDATE "{table}" SET "{column}" = {value}{where}',
    ]
    match desk.one("nothing", "not null", "drop the source", "index", "again", "default"):
        case "not null":
            lines.append(f'ALTER TABLE "{table}" ALTER COLUMN "{column}" SET NOT NULL')
        case "drop the source" if source != "id":
            lines.append(f'ALTER TABLE "{table}" DROP COLUMN "{source}"')
            del desk.tables[table][source]
        case "index":
            lines.append(f'CREATE INDEX "{column}_idx" ON "{table}" ("{column}")')
        case "again":
            lines.append(f'UPDATE "{table}" SET "{column}" = {desk.value(kind)}{where}')
        case "default":
            change = f'ALTER COLUMN "{column}" SET DEFAULT {desk.value(kind)}'
            lines.append(f'ALTER TABLE "{table}" {change}')
        case _:
            pass
    desk.tables[table][column] = kind
    return lines


def column_added(desk: Desk) -> list[str]:
    """Columns, in the ways that Prisma adds them."""
    table, kind = desk.table(), desk.one("int", "text", "bool", "role")
    column, value = desk.name("c"), desk.value(kind)
    more = desk.one("", f" DEFAULT {value}", f" NOT NULL DEFAULT {value}", " UNIQUE", " NOT NULL")
    guard = desk.one("", "IF NOT EXISTS ")
    line = f'ALTER TABLE "{table}" ADD COLUMN {guard}"{column}" {desk.type(kind)}{more}'
    desk.tables[table][column] = kind
    return [line]


def column_moved(desk: Desk) -> list[str]:
    """A rename by hand: a copy, and the old column dropped."""
    table, kind = desk.table(), desk.one("text", "int")
    old, new = desk.column(table, kind), desk.name("c")
    if old == "id":
        return column_added(desk)
    desk.tables[table][new] = desk.tables[table].pop(old)
    return [
        f'ALTER TABLE "{table}" ADD COLUMN "{new}" {desk.type(kind)}',
        f'UPDATE "{table}" SET "{new}" = "{old}"',
        f'ALTER TABLE "{table}" DROP COLUMN "{old}"',
    ]


def column_made_again(desk: Desk) -> list[str]:
    """The same name, dropped and added; perhaps by one ALTER, perhaps filled."""
    table, kind = desk.table(), desk.one("text", "int", "bool", "json")
    column = desk.column(table, kind)
    if column == "id":
        return column_added(desk)
    drop = f'DROP COLUMN "{column}"'
    add = f'ADD COLUMN "{column}" {desk.type(kind)}{desk.one("", f" DEFAULT {desk.value(kind)}")}'
    if desk.one("two", "one") == "one":
        lines = [f'ALTER TABLE "{table}" {drop}, {add}']
    else:
        lines = [f'ALTER TABLE "{table}" {drop}', f'ALTER TABLE "{table}" {add}']
    fill = f'UPDATE "{table}" SET "{column}" = {desk.value(kind)}{desk.where(table)}'
    return [*lines, fill] if desk.one("empty", "filled") == "filled" else lines


def type_changed(desk: Desk) -> list[str]:
    """Values computed anew in place."""
    table = desk.table()
    column, number = desk.column(table, "text"), desk.column(table, "int")
    if "id" in {column, number}:
        return column_added(desk)
    change = desk.one(
        f'"{column}" TYPE VARCHAR(200)',
        f'"{column}" TYPE TEXT USING upper("{column}")',
        f'"{column}" TYPE TEXT USING "{column}" || \'!\'',
        f'"{number}" TYPE BIGINT',
        f'"{number}" TYPE INTEGER USING "{number}" * 2',
        f'"{number}" TYPE BIGINT USING "{number}" + 1',
    )
    return [f'ALTER TABLE "{table}" ALTER COLUMN {change}']


def column_altered(desk: Desk) -> list[str]:
    """What shows in the catalog and nowhere else."""
    table = desk.table()
    column = desk.column(table, "text", "int")
    new = desk.name("n")
    line = desk.one(
        f'ALTER TABLE "{table}" RENAME COLUMN "{column}" TO "{new}"',
        f'ALTER TABLE "{table}" ALTER COLUMN "{column}" SET NOT NULL',
        f'ALTER TABLE "{table}" ALTER COLUMN "{column}" DROP NOT NULL',
        f'ALTER TABLE "{table}" ALTER COLUMN "{column}" DROP DEFAULT',
        f'ALTER TABLE "{table}" DROP COLUMN IF EXISTS "{column}"',
        f'ALTER TABLE "{table}" ADD CONSTRAINT "{new}" CHECK ("{column}" IS NOT NULL) NOT VALID',
    )
    if "RENAME" in line:
        desk.tables[table][new] = desk.tables[table].pop(column, "text")
    elif "DROP COLUMN" in line:
        desk.tables[table].pop(column, None)
    return [line]


# --- UPDATE and DELETE ----------------------------------------------------------------------


def update(desk: Desk) -> list[str]:
    """Old columns, from constants, from others and from themselves."""
    table, kind = desk.table(), desk.one("text", "int", "role", "bool")
    column = desk.column(table, kind)
    if column == "id":
        return self_reference(desk)
    value = desk.one(desk.value(kind), desk.expression(table, kind))
    where = desk.where(table, target=column)
    return [f'UPDATE "{table}" SET "{column}" = {value}{where}']


def self_reference(desk: Desk) -> list[str]:
    """What must happen once and only once."""
    table = desk.table()
    number, text = desk.column(table, "int"), desk.column(table, "text")
    line = desk.one(
        f'SET "{number}" = "{number}" + 1',
        f'SET "{number}" = "{number}" * 2 WHERE "{number}" < 5',
        f'SET "{text}" = "{text}" || \'+\'',
        f'SET "{number}" = -"{number}"',
        f"SET \"{text}\" = replace(\"{text}\", 'o', 'oo')",
        f'SET "{number}" = (SELECT sum("{number}") FROM "{table}")',
        f'SET "{text}" = DEFAULT, "{number}" = "{number}" + 1',
        f'SET "{text}" = "{table}"::text',
        f'AS r SET "{text}" = to_jsonb(r)::text',
    )
    return [f'UPDATE "{table}" {line}']


def swap(desk: Desk) -> list[str]:
    """Each is harmless to repeat; the two in a row are not."""
    a, b = desk.one("views", "score"), desk.one("rank", "credit")
    return {
        "states": [
            """UPDATE "Post" SET "state" = 'live' WHERE "state" = 'pending'""",
            """UPDATE "Post" SET "state" = 'pending' WHERE "state" = 'draft'""",
        ],
        "columns": ['UPDATE "Post" SET "views" = "rank", "rank" = "views"'],
        "handed over": [
            'UPDATE "Post" SET "guest" = "body"',
            'UPDATE "Post" SET "body" = NULL',
        ],
        "three": [
            'UPDATE "Post" SET "rank" = "views"',
            'UPDATE "Post" SET "views" = 0',
            'UPDATE "Post" SET "views" = 9 WHERE "rank" > 1',
        ],
        "across": [
            f"""UPDATE "{"Post" if a == "views" else "User"}" SET "{a}" = 5 WHERE "{a}" = 1""",
            f"""UPDATE "{"Post" if b == "rank" else "User"}" SET "{b}" = 1 WHERE "{b}" = 5""",
        ],
    }[desk.one("states", "columns", "handed over", "three", "across")]


def update_from(desk: Desk) -> list[str]:
    """Values of other tables."""
    return [
        desk.one(
            'UPDATE "Post" SET "guest" = u."email" FROM "User" u WHERE u."id" = "Post"."authorId"',
            'UPDATE "Post" p SET "rank" = p."rank" + u."score" FROM "User" u'
            ' WHERE u."id" = p."authorId"',
            'UPDATE "User" u SET "score" = (SELECT count(*) FROM "Post" p'
            ' WHERE p."authorId" = u."id")',
            'UPDATE "User" SET "credit" = s.n FROM (SELECT "authorId" a, sum("views") n'
            ' FROM "Post" GROUP BY 1) s WHERE s.a = "User"."id"',
            'UPDATE "Post" SET "rank" = r.n FROM (SELECT "id", row_number() OVER (ORDER BY'
            ' "title") n FROM "Post") r WHERE r."id" = "Post"."id"',
            'UPDATE "User" SET ("name", "credit") = (SELECT "line", "n" FROM "Log"'
            ' ORDER BY "n" LIMIT 1) WHERE "name" IS NULL',
        )
    ]


def delete(desk: Desk) -> list[str]:
    """Rows go, in bulk, in part, as duplicates."""
    return [
        desk.one(
            'DELETE FROM "Log"',
            'DELETE FROM "Log" WHERE "n" > 1',
            """DELETE FROM "Post" WHERE "state" = 'draft'""",
            'DELETE FROM "Post" p USING "Post" q WHERE p."id" > q."id" AND p."views" = q."views"',
            'DELETE FROM "User" WHERE "id" NOT IN (SELECT "authorId" FROM "Post")',
            'TRUNCATE "Log"',
            'TRUNCATE "Post" RESTART IDENTITY CASCADE',
            'DELETE FROM "Log" WHERE ctid NOT IN (SELECT min(ctid) FROM "Log" GROUP BY "line")',
            'DELETE FROM "User"',
        )
    ]


# --- INSERT ---------------------------------------------------------------------------------


def insert(desk: Desk) -> list[str]:
    """Rows into old tables."""
    email = desk.one("'new@x'", "'u1@x'")
    key, value = ('"id", ', "'new', ") if desk.past.key.type == "TEXT" else ("", "")
    conflict = desk.one(
        "",
        " ON CONFLICT DO NOTHING",
        ' ON CONFLICT ("email") DO UPDATE SET "score" = EXCLUDED."score"',
        ' ON CONFLICT ("email") DO UPDATE SET "score" = "User"."score" + 1',
    )
    user = f'INSERT INTO "User" ({key}"email") VALUES ({value}{email}){conflict}'
    return [
        desk.one(
            user,
            """INSERT INTO "Log" VALUES ('added', 1)""",
            """INSERT INTO "Log" VALUES ('added', 1) ON CONFLICT DO NOTHING""",
            """INSERT INTO "Post" ("title") VALUES ('p') ON CONFLICT DO NOTHING""",
            """INSERT INTO "Log" ("line", "n") VALUES ('a', 1), ('b', 2)""",
            'INSERT INTO "Log" SELECT "title", "views" FROM "Post"',
            'INSERT INTO "Log" SELECT * FROM "Log"',
            """INSERT INTO "Post" ("title") VALUES ('a post of the script')""",
            """INSERT INTO "Post" ("id", "title") VALUES (1, 'first') ON CONFLICT DO NOTHING""",
            """INSERT INTO "Post" ("title", "views") SELECT 'again ' || "title", "views" + 1"""
            ' FROM "Post"',
            """INSERT INTO "Log" SELECT 'missing', 0 WHERE NOT EXISTS (SELECT FROM "Log")""",
            """INSERT INTO "Log" VALUES ('numbered', nextval('ticket'))""",
        )
    ]


def with_clause(desk: Desk) -> list[str]:
    """Data-modifying CTEs, MERGE."""
    return [
        desk.one(
            'WITH gone AS (DELETE FROM "Log" WHERE "n" = 1 RETURNING "line", "n") '
            """INSERT INTO "Log" SELECT 'was ' || "line", "n" + 1 FROM gone""",
            'WITH added AS (INSERT INTO "Log" VALUES (\'cte\', 5) RETURNING "n") '
            'UPDATE "Post" SET "rank" = "n" FROM added',
            'MERGE INTO "Log" l USING "Post" p ON l."n" = p."id" '
            'WHEN MATCHED THEN UPDATE SET "line" = p."title" '
            'WHEN NOT MATCHED THEN INSERT VALUES (p."title", p."id")',
            'MERGE INTO "User" u USING (SELECT 3 AS s) x ON u."score" = x.s '
            'WHEN MATCHED THEN UPDATE SET "score" = u."score" + 10',
            'WITH top AS (SELECT "id" FROM "Post" ORDER BY "views" DESC LIMIT 1) '
            'UPDATE "Post" SET "views" = "views" + 1 WHERE "id" IN (SELECT "id" FROM top)',
        )
    ]


def new_table(desk: Desk) -> list[str]:
    """A table with rows of its own, and what may follow."""
    name = desk.name("Kind")
    key = desk.one('"name" TEXT PRIMARY KEY', '"name" TEXT', '"id" SERIAL PRIMARY KEY, "name" TEXT')
    conflict = desk.one("", "", " ON CONFLICT DO NOTHING")
    lines = [
        f'CREATE TABLE {desk.one("", "IF NOT EXISTS ")}"{name}" ({key}, "n" INTEGER DEFAULT 0)',
        f"""INSERT INTO "{name}" ("name") VALUES ('bug'), ('wish'){conflict}""",
    ]
    match desk.one("nothing", "counted", "more", "referenced", "unique", "emptied"):
        case "counted":
            lines.append(f'UPDATE "{name}" SET "n" = "n" + 1')
        case "more":
            lines.append(f"""INSERT INTO "{name}" ("name") VALUES ('more'){conflict}""")
        case "referenced":
            lines.append(f"""ALTER TABLE "Post" ADD COLUMN "{name}" TEXT DEFAULT 'bug'""")
        case "unique":
            lines.append(f'CREATE UNIQUE INDEX "{name}_key" ON "{name}" ("name")')
        case "emptied":
            lines.append(f'DELETE FROM "{name}"')
        case _:
            pass
    return lines


def rows_moved(desk: Desk) -> list[str]:
    """A new table filled from an old one, which loses what was moved."""
    name = desk.name("Moved")
    shape = desk.one("plain", "serial", "as")
    where = desk.one("", ' WHERE "rank" IS NOT NULL', """ WHERE "state" = 'draft'""")
    if "rank" not in desk.tables["Post"] or "state" not in desk.tables["Post"]:
        where = ""
    columns, source = '"title", "n"', f'SELECT "title", "views" FROM "Post"{where} ORDER BY "id"'
    match shape:
        case "plain":
            lines = [
                f'CREATE TABLE "{name}" ("title" TEXT NOT NULL, "n" INTEGER)',
                f'INSERT INTO "{name}" ({columns}) {source}',
            ]
        case "serial":
            lines = [
                f'CREATE TABLE "{name}" ("id" SERIAL PRIMARY KEY, "title" TEXT, "n" INTEGER)',
                f'INSERT INTO "{name}" ({columns}) {source}',
            ]
        case _:
            lines = [f'CREATE TABLE "{name}" AS {source.replace("views", "views")}']
    match desk.one("nothing", "column dropped", "rows deleted", "table dropped", "counted"):
        case "column dropped" if "views" in desk.tables["Post"]:
            lines.append('ALTER TABLE "Post" DROP COLUMN "views" CASCADE')
            del desk.tables["Post"]["views"]
        case "rows deleted":
            lines.append(f'DELETE FROM "Post"{where}')
        case "counted":
            lines.append(f'UPDATE "Post" SET "rank" = (SELECT count(*) FROM "{name}")')
        case "table dropped":
            lines += [
                f'INSERT INTO "{name}" ("title") SELECT "line" FROM "Log"',
                'DROP TABLE "Log" CASCADE',
            ]
        case _:
            pass
    return lines


# --- the rest -----------------------------------------------------------------------------


def counters(desk: Desk) -> list[str]:
    """Sequences, whose values no snapshot shows."""
    return [
        desk.one(
            "SELECT setval('ticket', 500)",
            """SELECT setval('"Post_id_seq"', (SELECT coalesce(max("id"), 1) FROM "Post"))""",
            'ALTER SEQUENCE "Post_id_seq" RESTART WITH 1000',
            "ALTER SEQUENCE ticket INCREMENT BY 5 RESTART",
            "SELECT nextval('ticket')",
            f'CREATE SEQUENCE "{desk.name("s")}" START 5',
            f'ALTER TABLE "User" ADD COLUMN "{desk.name("c")}" BIGINT DEFAULT nextval(\'ticket\')',
            f'ALTER TABLE "Post" ADD COLUMN "{desk.name("c")}" SERIAL',
        )
    ]


def block(desk: Desk) -> list[str]:
    """DO: guarded DDL, rows, both, subtransactions."""
    enum, column = desk.name("Level"), desk.name("c")
    body = desk.one(
        f"CREATE TYPE \"{enum}\" AS ENUM ('LOW'); EXCEPTION WHEN duplicate_object THEN null;",
        f"IF NOT EXISTS (SELECT FROM pg_class WHERE relname = '{enum}') THEN "
        f'CREATE TABLE "{enum}" ("id" INTEGER); END IF;',
        'UPDATE "Post" SET "views" = "views" + 1;',
        """INSERT INTO "Log" VALUES ('do', 1); EXCEPTION WHEN unique_violation THEN null;""",
        f'ALTER TABLE "Post" ADD COLUMN "{column}" INTEGER; UPDATE "Post" SET "{column}" = 3;',
        """BEGIN INSERT INTO "Log" VALUES ('kept', 1); EXCEPTION WHEN others THEN null; END; """
        """BEGIN INSERT INTO "Log" VALUES ('x', 1/0); EXCEPTION WHEN others THEN null; END;""",
        "PERFORM 1; NULL;",
    )
    return [f"DO $$ BEGIN {body} END $$"]


def enum_made_again(desk: Desk) -> list[str]:
    """As Prisma removes a value, in a block of its own; or values added."""
    new = desk.name("Role_new")
    if desk.one("again", "added") == "added":
        lines = [f"ALTER TYPE \"Role\" ADD VALUE '{desk.name('V')}'"]
        if desk.one("alone", "used") == "used":
            value = lines[0].split()[-1]
            lines.append(f'UPDATE "User" SET "role" = {value} WHERE "score" > 1')
        return lines
    opens, closes = desk.one("BEGIN", "", "BEGIN"), "COMMIT"
    lines = [
        f"CREATE TYPE \"{new}\" AS ENUM ('USER', 'ADMIN', 'GUEST', 'OTHER')",
        'ALTER TABLE "User" ALTER COLUMN "role" DROP DEFAULT',
        f'ALTER TABLE "User" ALTER COLUMN "role" TYPE "{new}" USING ("role"::text::"{new}")',
        'DROP TYPE "Role"',
        f'ALTER TYPE "{new}" RENAME TO "Role"',
        """ALTER TABLE "User" ALTER COLUMN "role" SET DEFAULT 'USER'""",
    ]
    return [opens, *lines, closes] if opens else lines


def temporary(desk: Desk) -> list[str]:
    """What lives in the session and is needed later."""
    name = desk.name("tmp")
    lines = [
        f'CREATE TEMP TABLE "{name}" AS SELECT "id", "views" + 1 AS "n" FROM "Post"',
        f'UPDATE "Post" SET "rank" = t."n" FROM "{name}" t WHERE t."id" = "Post"."id"',
        f'DROP TABLE "{name}"',
    ]
    return lines[: int(desk.one("3", "2"))]


def settings(desk: Desk) -> list[str]:
    """Settings that decide what later statements mean."""
    column, schema = desk.name("c"), desk.past.schema
    return desk.draw(
        st.sampled_from(
            [
                [
                    "SET TimeZone = 'Asia/Tokyo'",
                    f"""ALTER TABLE "User" ADD COLUMN "{column}" TIMESTAMP(3)
  DEFAULT ('2025-01-01 00:00:00+00'::timestamptz)::timestamp""",
                ],
                ["SET lock_timeout = '5s'"],
                [
                    "SET search_path = pg_catalog",
                    f'ALTER TABLE "{schema}"."User" ADD COLUMN "{column}" INTEGER',
                    f'SET search_path = "{schema}"',
                ],
                ["BEGIN", 'LOCK TABLE "User"', 'UPDATE "User" SET "credit" = 1', "COMMIT"],
                ["SET session_replication_role = replica", 'UPDATE "Post" SET "views" = 3'],
            ]
        )
    )


def objects(desk: Desk) -> list[str]:
    """DDL of every other kind."""
    table, new = desk.table(), desk.name("o")
    column = desk.column(table, "text", "int")
    return [
        desk.one(
            f'CREATE INDEX "{new}" ON "{table}" ("{column}")',
            f'CREATE UNIQUE INDEX "{new}" ON "{table}" ("{column}")',
            f'CREATE TABLE "{new}" ("id" TEXT PRIMARY KEY, "at" TIMESTAMP(3) DEFAULT now())',
            f'CREATE VIEW "{new}" AS SELECT "{column}" FROM "{table}"',
            f"CREATE TYPE \"{new}\" AS ENUM ('A', 'B')",
            f'CREATE INDEX CONCURRENTLY "{new}" ON "{table}" ("{column}")',
            f"COMMENT ON TABLE \"{table}\" IS 'it''s {new}'",
            f'GRANT SELECT ON "{table}" TO PUBLIC',
            f'ALTER TABLE "{table}" ENABLE ROW LEVEL SECURITY',
            f'CREATE POLICY "{new}" ON "{table}" USING (true)',
            f'CREATE FUNCTION "{new}"() RETURNS integer LANGUAGE sql AS $$ SELECT 1; $$',
            f'ALTER TABLE "{table}" ADD COLUMN "{new}" TEXT GENERATED ALWAYS AS '
            f"(\"{column}\"::text || '!') STORED",
            f'CREATE MATERIALIZED VIEW "{new}" AS SELECT count(*) FROM "{table}"',
            'DROP INDEX IF EXISTS "User_email_key"',
            f'ALTER TABLE "Post" RENAME CONSTRAINT "Post_authorId_fkey" TO "{new}"',
            'DROP TABLE IF EXISTS "never_was"',
            f'CREATE SCHEMA IF NOT EXISTS "{new}"',
            f'ALTER TABLE "{table}" OWNER TO pg_monitor',
            f'ALTER TABLE "{table}" REPLICA IDENTITY FULL',
            f'ALTER TABLE "{table}" ADD UNIQUE ("{column}")',
            f'CREATE STATISTICS "{new}" ON "{column}", (1) FROM "{table}"',
        )
    ]


def of_the_extra(desk: Desk) -> list[str]:
    """What concerns the views and partitions of the past, where it has any."""
    match desk.past.extra:
        case Extra.HAS_VIEWS:
            return [
                desk.one(
                    'REFRESH MATERIALIZED VIEW "Total"',
                    'CREATE OR REPLACE VIEW "Popular" AS SELECT "title", "views" FROM "Post"',
                    'UPDATE "Popular" SET "title" = upper("title")',
                    'DROP MATERIALIZED VIEW "Total"',
                    """UPDATE "Shown" SET "state" = 'pending' WHERE "state" = 'live'""",
                    'UPDATE "Post" SET "views" = v."seen" + 1 FROM "Shown" v'
                    ' WHERE v."post" = "Post"."id"',
                    'UPDATE "Post" SET "views" = (SELECT max(v."seen") + 1 FROM "Shown" v)',
                    'DELETE FROM "Shown" WHERE "seen" = 1',
                )
            ]
        case Extra.HAS_PARTITIONS:
            return [
                desk.one(
                    """UPDATE "Event" SET "at" = '2024-06-06'""",
                    """UPDATE "Event" SET "what" = "what" || '?'""",
                    """UPDATE "Event_2024" SET "what" = (SELECT max("what") FROM "Event") || '?'""",
                    'ALTER TABLE "Event" DETACH PARTITION "Event_2024"',
                    """INSERT INTO "Event" VALUES ('2026-01-01', 'script')""",
                    'ALTER TABLE "Event" ADD COLUMN "who" TEXT',
                    'TRUNCATE "Event_2024"',
                )
            ]
        case Extra.COMPUTES_COLUMNS:
            return [
                desk.one(
                    'UPDATE "Post" SET "title" = "loud"',
                    'UPDATE "User" SET "score" = "twice" WHERE "score" > 1',
                    'UPDATE "Post" p SET "title" = q."loud" FROM "Post" q WHERE q."id" = p."id"',
                )
            ]
        case _:
            return column_added(desk)


RECIPES: tuple[Recipe, ...] = (
    column_added,
    backfill,
    backfill,
    backfill,
    rows_moved,
    rows_moved,
    new_table,
    new_table,
    column_moved,
    column_made_again,
    type_changed,
    column_altered,
    update,
    update,
    self_reference,
    swap,
    update_from,
    delete,
    insert,
    insert,
    with_clause,
    counters,
    block,
    enum_made_again,
    temporary,
    settings,
    objects,
    objects,
    of_the_extra,
)


@st.composite
def scripts(draw: DrawFn, past: Past) -> tuple[str, ...]:
    """One to eight statements out of a few recipes; some of them in a block of their own."""
    desk = Desk(draw, past, _tables())
    lines: list[str] = []
    for recipe in draw(st.lists(st.sampled_from(RECIPES), min_size=1, max_size=4)):
        lines += recipe(desk)
    lines = lines[: LONGEST - 2]
    if lines.count("BEGIN") > lines.count("COMMIT"):
        lines.append("COMMIT")
    if "BEGIN" not in lines and desk.one("as it is", "as it is", "in a block") == "in a block":
        first = draw(st.integers(0, len(lines) - 1))
        last = draw(st.integers(first + 1, len(lines)))
        lines[first:last] = ["BEGIN", *lines[first:last], "COMMIT"]
    commented = desk.one("", "", "", "", "-- all of them; no exception\n")
    if commented and lines[0] != "BEGIN":
        head, _, tail = lines[0].partition(" WHERE ")
        lines[0] = f"{head} {commented} WHERE {tail}" if tail else f"{commented}{lines[0]}"
    return tuple(lines)
