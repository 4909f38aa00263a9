"""Worlds made by hand: each would mislead one way of telling what ran, or what may run again."""

from __future__ import annotations

from dataclasses import replace

from tests.deep.past import Extra, Key, Past
from tests.deep.world import AT_LAST, How, Rival, Storage, World

UP = 'UPDATE "Post" SET "views" = "views" + 1'
NEW = 'ALTER TABLE "Post" ADD COLUMN "c" INTEGER'
FLAG = 'ALTER TABLE "Post" ADD COLUMN "flag" INTEGER NOT NULL DEFAULT 0'
FLAG_UP = """DO $$ BEGIN UPDATE "Post" SET "flag" = "flag" + 1; END $$"""
ADDS_UP = """DO $$ BEGIN UPDATE "Post" SET "c" = coalesce("c", 0) + "views"; END $$"""
LIVE = """UPDATE "Post" SET "state" = 'live' WHERE "state" = 'pending'"""
TOUCH = 'UPDATE "Post" SET "title" = "title"'
LINE = """INSERT INTO "Log" VALUES ('added', 1)"""
BY_WAY = (
    'ALTER TABLE "Post" ADD COLUMN "way" TEXT',
    """UPDATE "Post" SET "way" = 'x-' || "title" """,
    'UPDATE "Post" SET "title" = "way"',
    'ALTER TABLE "Post" DROP COLUMN "way"',
)
ANOTHER = 'ALTER TABLE "User" ADD COLUMN "d" TEXT'
ONE_EACH = 'DELETE FROM "Post" WHERE "id" NOT IN (SELECT min("id") FROM "Post" GROUP BY "state")'


def _after(extra: Extra, *script: str, key: Key = Key.SERIAL, on_delete: str = "RESTRICT") -> World:
    return World(script, past=Past(key=key, on_delete=on_delete, extra=extra))


REPEATS: dict[str, World] = {
    "self-reference": World((UP,)),
    "self-reference after a column": World((NEW, UP)),
    "concatenation": World(("""UPDATE "Post" SET "title" = "title" || '+'""",)),
    "the whole row as text": World(('UPDATE "Post" SET "guest" = "Post"::text',)),
    "the whole row under an alias": World(('UPDATE "Post" AS p SET "guest" = to_jsonb(p)::text',)),
    "the whole row in a subquery": World(
        ('UPDATE "Post" AS p SET "guest" = (SELECT row_to_json(p))::text',)
    ),
    "a part of an array": World(("""UPDATE "Post" SET "tags"['z'] = "tags" """,)),
    "values handed round": World(
        (LIVE, """UPDATE "Post" SET "state" = 'pending' WHERE "state" = 'draft'""")
    ),
    "values handed round in other words": World(
        (
            """UPDATE "User" SET "active" = false, "credit" = 5 WHERE "active" = 't'""",
            """UPDATE "User" SET "active" = true WHERE "active" = 'no' AND "credit" IS NULL""",
        )
    ),
    "numbers handed round in other words": World(
        (
            'UPDATE "Post" SET "views" = 9 WHERE "views" = 1',
            """UPDATE "Post" SET "views" = '01' WHERE "views" = 2""",
        )
    ),
    "times handed round in other words": World(
        (
            """UPDATE "User" SET "born" = NULL WHERE "born" = '2000-01-02'""",
            """UPDATE "User" SET "born" = '2000-01-02 00:00' WHERE "born" = '2000-01-03'""",
        )
    ),
    "a column handed over": World(
        ('UPDATE "Post" SET "guest" = "body"', 'UPDATE "Post" SET "body" = NULL')
    ),
    "two columns swapped": World(('UPDATE "Post" SET "views" = "rank", "rank" = "views"',)),
    "through a view that reads": _after(
        Extra.HAS_VIEWS,
        'UPDATE "Post" SET "views" = v."seen" + 1 FROM "Shown" v WHERE v."post" = "Post"."id"',
    ),
    "through a view in a subquery": _after(
        Extra.HAS_VIEWS, 'UPDATE "Post" SET "views" = (SELECT max(v."seen") + 1 FROM "Shown" v)'
    ),
    "through a view that writes": _after(
        Extra.HAS_VIEWS,
        LIVE,
        """UPDATE "Shown" SET "state" = 'pending' WHERE "state" = 'draft'""",
    ),
    "through a view under another name": _after(
        Extra.HAS_VIEWS,
        'UPDATE "Shown" SET "seen" = p."views" + 1 FROM "Post" p WHERE "post" = "id"',
    ),
    "through a generated column": _after(
        Extra.COMPUTES_COLUMNS, 'UPDATE "Post" SET "title" = "loud"'
    ),
    "through a generated column of its own": World(
        (
            'ALTER TABLE "Post" ADD COLUMN "g" TEXT GENERATED ALWAYS AS ("title" || \'!\') STORED',
            'UPDATE "Post" SET "title" = "g"',
        )
    ),
    "through a partition": _after(
        Extra.HAS_PARTITIONS,
        """UPDATE "Event_2024" SET "what" = (SELECT max("what") FROM "Event") || '?'""",
    ),
    "round through a partition": _after(
        Extra.HAS_PARTITIONS,
        """UPDATE "Event" SET "what" = 'new' WHERE "what" = 'old'""",
        """UPDATE "Event_2024" SET "what" = 'old' WHERE "what" = 'new'""",
    ),
    "a trigger that counts": _after(Extra.COUNTS_VERSIONS, LIVE),
    "a trigger that counts every row": _after(
        Extra.COUNTS_VERSIONS, 'UPDATE "Post" SET "views" = 3'
    ),
    "a trigger that logs": _after(Extra.WRITES_A_LOG, 'UPDATE "User" SET "active" = true'),
    "a rule that logs": _after(Extra.HAS_RULES, 'UPDATE "Log" SET "n" = 3'),
    "a rule that logs what goes": _after(Extra.HAS_RULES, 'DELETE FROM "Post" WHERE "views" = 1'),
    "keys passed on": _after(
        Extra.NOTHING,
        'UPDATE "Post" SET "guest" = "authorId"',
        """UPDATE "User" SET "id" = 'n' || "email" """,
        key=Key.TEXT,
    ),
    "rows that go elsewhere": _after(
        Extra.NOTHING,
        'UPDATE "User" u SET "credit" = (SELECT count(*) FROM "Post" p WHERE "authorId" = u."id")',
        'DELETE FROM "User" WHERE "score" = 1',
        'DELETE FROM "Post" WHERE "authorId" IS NULL',
        on_delete="SET NULL",
    ),
    "no key": World((LINE,)),
    "no conflict without a key": World((LINE + " ON CONFLICT DO NOTHING",)),
    "no conflict with a number of its own": World(
        ("""INSERT INTO "Post" ("title") VALUES ('p') ON CONFLICT DO NOTHING""",)
    ),
    "a conflict that counts": World(
        (
            """INSERT INTO "User" ("email") VALUES ('u1@x')
  ON CONFLICT ("email") DO UPDATE SET "score" = "User"."score" + 1""",
        )
    ),
    "a conflict with itself": World(
        (
            """INSERT INTO "User" ("email", "score") VALUES ('u1@x', 5)
  ON CONFLICT ("email") DO UPDATE SET "score" = EXCLUDED."score" + "User"."score" """,
        )
    ),
    "only where absent": World(
        ("""INSERT INTO "Log" SELECT 'm', 0 WHERE NOT EXISTS (SELECT FROM "Log" WHERE "n" = 1)""",)
    ),
    "rows doubled": World(('INSERT INTO "Log" SELECT * FROM "Log"',)),
    "equal rows gone one by one": World(
        ('DELETE FROM "Log" WHERE "n" = (SELECT min("n") FROM "Log")',)
    ),
    "one of several": World(('DELETE FROM "Post" WHERE ctid = (SELECT min(ctid) FROM "Post")',)),
    "rows gone, and rows again": World(
        (
            """DELETE FROM "User" WHERE "email" = 'new@x'""",
            """INSERT INTO "User" ("email") VALUES ('new@x') ON CONFLICT DO NOTHING""",
        )
    ),
    "moved by a CTE": World(
        (
            """WITH gone AS (DELETE FROM "Log" WHERE "n" = 1 RETURNING "n")
  INSERT INTO "Log" SELECT 'was', "n" + 1 FROM gone""",
        )
    ),
    "moved elsewhere by a CTE": World(
        (
            'CREATE TABLE "Kept" ("line" TEXT, "n" INTEGER)',
            """WITH gone AS (DELETE FROM "Log" WHERE "n" = 1 RETURNING *)
  INSERT INTO "Kept" SELECT * FROM gone""",
            ANOTHER,
        )
    ),
    "counted by a CTE": World(
        (
            'CREATE TABLE "Kept" ("n" BIGINT)',
            """WITH gone AS (DELETE FROM "Log" WHERE "n" = 1 RETURNING *)
  INSERT INTO "Kept" SELECT count(*) FROM gone""",
            ANOTHER,
        )
    ),
    "set by a CTE, and noted": World(
        (
            """WITH u AS (UPDATE "User" SET "credit" = 5 WHERE "score" = 1 RETURNING "email")
  INSERT INTO "Log" SELECT "email", 1 FROM u""",
        )
    ),
    "a new column set by a CTE, and counted": World(
        (
            NEW,
            """WITH u AS (UPDATE "Post" SET "c" = 1 RETURNING "authorId")
  UPDATE "User" SET "score" = "score" + 1 FROM u WHERE u."authorId" = "User"."id" """,
            ANOTHER,
        )
    ),
    "the first of each, told apart by no key": World(
        ('DELETE FROM "Log" WHERE "n" NOT IN (SELECT min("n") FROM "Log" GROUP BY "line")', NEW)
    ),
    "a conflict that sets what a new row has not": World(
        (
            """INSERT INTO "User" ("email") VALUES ('new@x') ON CONFLICT ("email")
  DO UPDATE SET "credit" = 7""",
        )
    ),
    "keys handed round by conflicts": World(
        (
            """INSERT INTO "User" ("email", "name") VALUES ('u1@x', 'n')
  ON CONFLICT ("email") DO UPDATE SET "name" = EXCLUDED."name" """,
            """INSERT INTO "User" ("id", "email") VALUES (1, 'other@x')
  ON CONFLICT ("id") DO UPDATE SET "email" = EXCLUDED."email" """,
        )
    ),
    "merged": World(
        (
            """MERGE INTO "User" u USING (SELECT 3 AS s) x ON u."score" = x.s
  WHEN MATCHED THEN UPDATE SET "credit" = coalesce(u."credit", 0) + 10""",
        )
    ),
    "a counter": World(("SELECT nextval('ticket')",)),
    "a number for a row": World(
        ("""INSERT INTO "Log" VALUES ('numbered', nextval('ticket'))""", NEW)
    ),
    "a number for each row": World(("""UPDATE "Post" SET "rank" = nextval('ticket')""", NEW)),
    "copied from none, which there are now": World(
        (
            'CREATE TABLE "Kept" ("n" INTEGER)',
            'INSERT INTO "Kept" SELECT "views" FROM "Post" WHERE "rank" IS NULL AND "views" > 9',
            'UPDATE "Post" SET "views" = 10',
        )
    ),
    "a counter set by rows": World(
        ('SELECT setval(\'ticket\', (SELECT sum("views") + 500 FROM "Post"))', UP)
    ),
    "in a DO block": World((f"DO $$ BEGIN {UP}; END $$",)),
    "in subtransactions": World(
        (
            f"""DO $$ BEGIN BEGIN {LINE}; EXCEPTION WHEN others THEN null; END;
  BEGIN {LINE}; PERFORM 1/0; EXCEPTION WHEN others THEN null; END; END $$""",
        )
    ),
    "in a block": World(("BEGIN", UP, LINE, "COMMIT", UP)),
    "converted in place": World(
        ('ALTER TABLE "Post" ALTER COLUMN "views" TYPE INT USING "views" * 2',)
    ),
    "a column made again": World(
        ('ALTER TABLE "Post" DROP COLUMN "body"', 'ALTER TABLE "Post" ADD COLUMN "body" TEXT')
    ),
    "copied, then emptied": World(
        (
            'CREATE TABLE "Kept" ("title" TEXT)',
            'INSERT INTO "Kept" SELECT "title" FROM "Post"',
            'DELETE FROM "Post"',
        )
    ),
    "copied, then counted": World(
        (
            'CREATE TABLE "Kept" ("title" TEXT, "n" INTEGER DEFAULT 0)',
            'INSERT INTO "Kept" ("title") SELECT "title" FROM "Post"',
            'UPDATE "Kept" SET "n" = "n" + 1',
            'UPDATE "Post" SET "rank" = "n" FROM "Kept" WHERE "Kept"."title" = "Post"."title"',
            'UPDATE "Kept" SET "n" = "n" + 1',
        )
    ),
    "filled, spoilt and dropped": World(
        (
            NEW,
            'UPDATE "Post" SET "c" = "views"',
            'UPDATE "Post" SET "views" = 0',
            'UPDATE "Post" SET "c" = "c" + 1',
            'ALTER TABLE "Post" ALTER COLUMN "c" SET NOT NULL',
        )
    ),
    "filled where still empty": World(
        (
            NEW,
            'UPDATE "Post" SET "c" = "rank" WHERE "c" IS NULL',
            'UPDATE "Post" SET "c" = 1 WHERE "c" IS NULL',
        )
    ),
    "filled over a default, and set back": World(
        (
            FLAG,
            'UPDATE "Post" SET "title" = "title"',
            'UPDATE "Post" SET "flag" = 1 + "views" WHERE "rank" IS NOT NULL',
            'UPDATE "Post" SET "flag" = 0',
            'UPDATE "Post" SET "flag" = "flag" + 1',
        )
    ),
    "a block that adds up in a new column": World((NEW, ADDS_UP, ADDS_UP)),
    "a block that adds up over a default": World((FLAG, FLAG_UP, FLAG_UP)),
    "values of a function that writes": World(
        (
            """CREATE FUNCTION "noted"(t TEXT) RETURNS TEXT LANGUAGE plpgsql AS
  $$ BEGIN INSERT INTO "Log" VALUES (t, 0); RETURN t; END $$""",
            NEW,
            """UPDATE "Post" SET "c" = length("noted"("title"))""",
        )
    ),
    "values of a function that reads what it writes": World(
        (
            """CREATE FUNCTION "top"() RETURNS INTEGER LANGUAGE sql STABLE AS
  $$ SELECT max("views")::int FROM "Post" $$""",
            'UPDATE "Post" SET "views" = "top"() + 1',
        )
    ),
    "rows picked by a function, by chance": World(
        (
            """CREATE FUNCTION "lucky"(n INTEGER) RETURNS BOOLEAN LANGUAGE sql IMMUTABLE AS
  $$ SELECT random() < 2 $$""",
            'UPDATE "Post" SET "views" = "views" + 1 WHERE "lucky"("id")',
        )
    ),
    "a function that became another one": World(
        (
            """CREATE FUNCTION "twice"(n INTEGER) RETURNS INTEGER LANGUAGE sql AS
  $$ SELECT n * 2 $$""",
            'UPDATE "Post" SET "views" = "twice"("views"::int)',
            """CREATE OR REPLACE FUNCTION "twice"(n INTEGER) RETURNS INTEGER LANGUAGE sql AS
  $$ SELECT n + 1 $$""",
            'UPDATE "Post" SET "views" = "twice"("views"::int)',
        )
    ),
    "a default that changes": World(
        (
            'CREATE TABLE "Kept" ("id" SERIAL, "n" INTEGER DEFAULT 1)',
            'INSERT INTO "Kept" DEFAULT VALUES',
            'INSERT INTO "Kept" ("n") VALUES (DEFAULT), (2)',
        )
    ),
    "rewritten by what follows": World(
        (LINE, 'ALTER TABLE "Log" ALTER COLUMN "n" TYPE BIGINT', LINE)
    ),
    "fed by a temporary table": World(
        (
            'CREATE TEMP TABLE m AS SELECT "id", "title" FROM "Post"',
            """UPDATE "Post" SET "title" = m."title" || '!' FROM m WHERE m."id" = "Post"."id" """,
            "DROP TABLE m",
            NEW,
        )
    ),
    "fed by a temporary table of all columns": World(
        (
            'CREATE TEMP TABLE m AS SELECT * FROM "Post"',
            NEW,
            'UPDATE "Post" SET "c" = m."views" + 1, "rank" = 0 FROM m WHERE m."id" = "Post"."id"',
            ANOTHER,
        )
    ),
    "a temporary table whose source is emptied": World(
        (
            'CREATE TEMP TABLE m AS SELECT "n" FROM "Log"',
            """UPDATE "Post"
  SET "state" = CASE WHEN "views" IN (SELECT "n" FROM m) THEN 'old' ELSE 'new' END""",
            'DELETE FROM "Log"',
            NEW,
        )
    ),
    "a temporary table whose source is computed anew": World(
        (
            'CREATE TEMP TABLE m AS SELECT "id", "views" AS n FROM "Post"',
            'ALTER TABLE "Post" ALTER COLUMN "views" TYPE INT USING "views" * 2',
            NEW,
            'UPDATE "Post" SET "c" = m.n FROM m WHERE m."id" = "Post"."id"',
            ANOTHER,
        )
    ),
    "a temporary table behind a view": World(
        (
            'CREATE TEMP TABLE m AS SELECT "views" AS n FROM "Post"',
            "CREATE VIEW v AS SELECT n FROM m",
            NEW,
            'UPDATE "Post" SET "c" = (SELECT max(n) FROM v)',
            ANOTHER,
        )
    ),
    "a temporary table, and rows that came of it": World(
        (
            'CREATE TEMP TABLE m AS SELECT "id", random() AS n FROM "Post"',
            """INSERT INTO "Log" SELECT 'id', "id" FROM m WHERE n < 2""",
            NEW,
            'UPDATE "Post" SET "c" = (SELECT count(*) FROM m)',
            ANOTHER,
        )
    ),
    "a temporary table that a lasting one hides behind": World(
        (
            'CREATE TEMP TABLE "Log" AS SELECT "what", "n" + 100 AS "n" FROM "Log"',
            NEW,
            'UPDATE "Post" SET "c" = (SELECT max("n") FROM "Log")',
            'DROP TABLE "Log"',
            ANOTHER,
            LINE,
        )
    ),
    "by way of a column": World((*BY_WAY, NEW)),
    "by way of a column, and on": World(
        (NEW, *BY_WAY, 'UPDATE "User" SET "score" = "score" + 1', ANOTHER)
    ),
}
"""Every boundary of these, killed and in error."""

MAPPED = (
    'CREATE TEMP TABLE m AS SELECT "id", "views" * 2 AS n FROM "Post"',
    NEW,
    'UPDATE "Post" SET "c" = m.n FROM m WHERE m."id" = "Post"."id"',
    "DROP TABLE m",
    'ALTER TABLE "Post" ADD COLUMN "e" TEXT',
)
PENDING = """UPDATE "Post" SET "state" = 'pending' WHERE "id" = 2"""

RIVALS: dict[str, World] = {
    "all rows written by the application": World((UP,), rivals=(Rival(0, TOUCH),)),
    "the same by the application": World((UP,), rivals=(Rival(0, UP),)),
    "the same rows by the application": World((LINE,), rivals=(Rival(0, LINE),)),
    "the same rows before": World((LINE,), rivals=(Rival(-1, LINE),)),
    "the same rows, later": World((LINE,), rivals=(Rival(AT_LAST, LINE),)),
    "all rows written later": World((UP,), rivals=(Rival(AT_LAST, TOUCH),)),
    "all rows written before": World((UP,), rivals=(Rival(-1, TOUCH),)),
    "made rows gone": World(
        (LINE,), rivals=(Rival(AT_LAST, """DELETE FROM "Log" WHERE "n" = 1"""),)
    ),
    "rows to compare with gone": World(
        (
            """UPDATE "User" SET "name" = 'x'
  WHERE "score" > (SELECT max("n") FROM "Log" WHERE "n" > 1)""",
        ),
        rivals=(Rival(AT_LAST, 'DELETE FROM "Log" WHERE "n" = 3'),),
    ),
    "rows picked again before the error": World((LIVE, NEW), rivals=(Rival(1, PENDING),)),
    "rows picked again": World(
        (LIVE,), rivals=(Rival(AT_LAST, 'UPDATE "Post" SET "state" = \'pending\''),)
    ),
    "new rows picked": World(
        ("""UPDATE "Post" SET "state" = 'live', "views" = 1""",),
        rivals=(
            Rival(AT_LAST, """INSERT INTO "Post" ("title", "state") VALUES ('n', 'pending')"""),
        ),
    ),
    "moved by a CTE, and there again": World(
        (
            'CREATE TABLE "Kept" ("line" TEXT, "n" INTEGER)',
            """WITH gone AS (DELETE FROM "Log" WHERE "n" = 1 RETURNING *)
  INSERT INTO "Kept" SELECT * FROM gone""",
        ),
        rivals=(Rival(AT_LAST, LINE),),
    ),
    "made by a CTE, and gone": World(
        (
            """WITH one AS (INSERT INTO "User" ("email") VALUES ('new@x') RETURNING "score")
  INSERT INTO "Log" SELECT 'made', "score" FROM one""",
        ),
        rivals=(Rival(AT_LAST, """DELETE FROM "User" WHERE "email" = 'new@x'"""),),
    ),
    "all but one, and one more": World(
        (ONE_EACH,), rivals=(Rival(AT_LAST, """INSERT INTO "Post" ("title") VALUES ('n')"""),)
    ),
    "all but one, and that one gone": World(
        (ONE_EACH,), rivals=(Rival(AT_LAST, 'DELETE FROM "Post" WHERE "id" = 1'),)
    ),
    "all but one, by a key that is none": World(
        (
            """DELETE FROM "Log" WHERE "n" NOT IN
  (SELECT min("n") FROM "Log" WHERE "line" <> 'x' GROUP BY "n" % 2)""",
        ),
        rivals=(
            Rival(-1, """INSERT INTO "Log" VALUES ('x', 1), ('x', 3)"""),
            Rival(AT_LAST, """DELETE FROM "Log" WHERE "line" <> 'x'"""),
        ),
    ),
    "a constant of an upsert overwritten": World(
        (
            """INSERT INTO "User" ("email", "active") VALUES ('u1@x', false), ('u2@x', false)
  ON CONFLICT ("email") DO UPDATE SET "active" = false""",
        ),
        rivals=(Rival(AT_LAST, """UPDATE "User" SET "active" = true WHERE "email" = 'u1@x'"""),),
    ),
    "a conflict that counts, met by another writer": World(
        (
            """INSERT INTO "User" ("email") VALUES ('u1@x')
  ON CONFLICT ("email") DO UPDATE SET "score" = "User"."score" + 1""",
        ),
        rivals=(Rival(AT_LAST, """UPDATE "User" SET "name" = 'x' WHERE "email" = 'u1@x'"""),),
    ),
    "a time of an upsert taken back": World(
        (
            """INSERT INTO "User" ("email", "born") VALUES ('u1@x', CURRENT_DATE)
  ON CONFLICT ("email") DO UPDATE SET "born" = CURRENT_DATE""",
        ),
        rivals=(Rival(AT_LAST, """UPDATE "User" SET "born" = NULL WHERE "email" = 'u1@x'"""),),
    ),
    "a passing column removed by hand": World((*BY_WAY, NEW), rivals=(Rival(AT_LAST, BY_WAY[-1]),)),
    "a column that came and went by hand": World(
        (*BY_WAY, NEW),
        rivals=tuple(
            Rival(-1, f'ALTER TABLE "Post" {change}')
            for change in ('ADD COLUMN "hand" INT', 'DROP COLUMN "hand"')
        ),
    ),
    "the source of a temporary table in use": World(
        MAPPED, rivals=(Rival(AT_LAST, """INSERT INTO "Post" ("title") VALUES ('n')"""),)
    ),
    "rows behind a temporary table changed": World(
        MAPPED, rivals=(Rival(AT_LAST, 'UPDATE "Post" SET "views" = 9 WHERE "id" < 3'),)
    ),
    "an emptied table in use": World(('TRUNCATE "Log"',), rivals=(Rival(AT_LAST, LINE),)),
    "deleted, and in use": World(('DELETE FROM "Log"',), rivals=(Rival(AT_LAST, LINE),)),
    "a default beside new rows": World(
        (FLAG, TOUCH, 'UPDATE "Post" SET "flag" = "views" + 1 WHERE "views" > 0'),
        rivals=(Rival(AT_LAST, """INSERT INTO "Post" ("title", "views") VALUES ('n', 7)"""),),
    ),
    "a default beside rows written since": World(
        (FLAG, TOUCH, 'UPDATE "Post" SET "flag" = "views" + 1 WHERE "views" > 0'),
        rivals=(Rival(AT_LAST, 'UPDATE "Post" SET "views" = 9 WHERE "id" < 3'),),
    ),
    "a default beside rows that are picked since": World(
        (FLAG, TOUCH, 'UPDATE "Post" SET "flag" = 5 WHERE "views" > 900'),
        rivals=(Rival(AT_LAST, 'UPDATE "Post" SET "views" = 901 WHERE "id" < 3'),),
    ),
    "a new column beside new rows": World(
        (NEW, 'UPDATE "Post" SET "c" = "views" * 2', 'ALTER TABLE "Post" DROP COLUMN "rank"'),
        rivals=(Rival(AT_LAST, """INSERT INTO "Post" ("title") VALUES ('n')"""),),
    ),
    "a new column beside changed rows": World(
        (NEW, 'UPDATE "Post" SET "c" = "views"'),
        rivals=(Rival(AT_LAST, 'UPDATE "Post" SET "views" = "views" + 5'),),
    ),
    "moved rows changed": World(
        (
            'CREATE TABLE "Kept" ("title" TEXT, "n" INTEGER)',
            'INSERT INTO "Kept" SELECT "title", "views" FROM "Post"',
        ),
        rivals=(Rival(AT_LAST, 'UPDATE "Post" SET "views" = "views" + 5'),),
    ),
    "a counter in use": World(
        ("SELECT setval('ticket', 500)",), rivals=(Rival(AT_LAST, "SELECT nextval('ticket')"),)
    ),
    "a counter by its restart": World(
        ("ALTER SEQUENCE ticket RESTART WITH 7", NEW),
        rivals=(Rival(AT_LAST, "SELECT nextval('ticket')"),),
    ),
}
"""Every boundary of these too, each with somebody else at work."""

_MARKED = (UP, LINE, 'UPDATE "Post" SET "rank" = "views"')
STORED: dict[str, World] = {
    f"{storage.name.lower()}, {sql.split()[0].lower()} {n}": World((sql, sql), storage=storage)
    for storage in Storage
    if storage is not Storage.AS_WRITTEN
    for n, sql in enumerate(_MARKED[:2])
} | {
    f"{storage.name.lower()}, picked again": World(
        (LIVE,), storage=storage, rivals=(Rival(AT_LAST, PENDING),)
    )
    for storage in Storage
    if storage is not Storage.AS_WRITTEN
}
"""The same, where transaction ids tell little or lie."""

# --- somebody else at work, elsewhere -------------------------------------------------

NAMED = """INSERT INTO "User" ("email", "name") VALUES ('new@x', 'n')"""
KEPT = 'CREATE TABLE "Kept" ("title" TEXT)'
TWO = """INSERT INTO "Kept" VALUES ('a'), ('b')"""
TOUCH_LINES = 'UPDATE "Log" SET "n" = "n"'


def _beside(*script: str, rival: str, after: int = AT_LAST, extra: Extra = Extra.NOTHING) -> World:
    return World(script, past=Past(extra=extra), rivals=(Rival(after, rival),))


BUSY: dict[str, World] = {
    "all rows written before the error": _beside(NEW, UP, ANOTHER, rival=TOUCH, after=1),
    "all rows written between two": _beside(NEW, UP, UP, rival=TOUCH, after=2),
    "an equal row before the error": _beside(NEW, LINE, ANOTHER, rival=LINE, after=1),
    "its row changed after the error": _beside(NEW, LINE, ANOTHER, rival=TOUCH_LINES),
    "the row of a first statement changed": _beside(LINE, NEW, rival=TOUCH_LINES),
    "two rows, both changed": _beside(NEW, LINE, LINE, ANOTHER, rival=TOUCH_LINES),
    "a new table in use": _beside(
        KEPT, TWO, ANOTHER, rival="""INSERT INTO "Kept" VALUES ('by the application')"""
    ),
    "a new table in use at once": _beside(
        KEPT, TWO, ANOTHER, rival="""INSERT INTO "Kept" VALUES ('by the application')""", after=1
    ),
    "a new numbered table in use": _beside(
        'CREATE TABLE "Kept" ("id" SERIAL PRIMARY KEY, "title" TEXT)',
        """INSERT INTO "Kept" ("title") VALUES ('a'), ('b')""",
        rival="""INSERT INTO "Kept" ("title") VALUES ('by the application')""",
    ),
    "a new column in use": _beside(
        NEW, 'UPDATE "Post" SET "c" = 1', ANOTHER, rival='UPDATE "Post" SET "c" = 5 WHERE "id" = 1'
    ),
    "a new column set by a CTE, in use": _beside(
        'ALTER TABLE "Post" ADD COLUMN "owner" INTEGER',
        """WITH one AS (INSERT INTO "User" ("email") VALUES ('all@x') RETURNING "id")
  UPDATE "Post" SET "owner" = one."id" FROM one""",
        ANOTHER,
        rival='UPDATE "Post" SET "owner" = 1 WHERE "id" = 1',
    ),
    "a key taken before": _beside(NAMED, rival=NAMED, after=-1),
    "an upsert overwritten": _beside(
        """INSERT INTO "User" ("email", "score") VALUES ('u1@x', 50)
  ON CONFLICT ("email") DO UPDATE SET "score" = EXCLUDED."score" """,
        rival="""UPDATE "User" SET "score" = 60 WHERE "email" = 'u1@x'""",
    ),
    "an upsert that counts elsewhere": World(
        (
            """INSERT INTO "User" ("email") VALUES ('u1@x')
  ON CONFLICT ("email") DO UPDATE SET "score" = (SELECT count(*) FROM "Post")""",
            """INSERT INTO "Post" ("id", "title") VALUES (1000, 'p') ON CONFLICT DO NOTHING""",
        )
    ),
    "a counter set by rows, in use": _beside(
        """SELECT setval('"Post_id_seq"', (SELECT max("id") FROM "Post"))""",
        rival="""INSERT INTO "Post" ("title") VALUES ('x')""",
    ),
    "deleted rows come again": _beside(
        """DELETE FROM "Post" WHERE "state" = 'draft'""",
        rival="""INSERT INTO "Post" ("title", "state") VALUES ('x', 'draft')""",
    ),
    "a constant overwritten": _beside(
        'UPDATE "Post" SET "views" = 3', rival='UPDATE "Post" SET "views" = 4 WHERE "id" = 2'
    ),
    "empty again": _beside(
        """UPDATE "Post" SET "guest" = 'none' WHERE "guest" IS NULL""",
        rival='UPDATE "Post" SET "guest" = NULL WHERE "id" = 2',
    ),
    "picked again before the error, dated": _beside(NEW, LIVE, ANOTHER, rival=PENDING, after=2),
    "no partner any more": World(
        ('DELETE FROM "User" WHERE "id" NOT IN (SELECT "authorId" FROM "Post")', ANOTHER),
        past=Past(on_delete="CASCADE"),
        rivals=(Rival(AT_LAST, 'DELETE FROM "Post" WHERE "id" <= 2'),),
    ),
    "more partners": _beside(
        """UPDATE "User" u SET "name" = 'x' FROM "Log" l
  WHERE l."n" = u."score" AND u."name" IS NULL""",
        ANOTHER,
        rival="""UPDATE "Log" SET "n" = 1 WHERE "n" = 2""",
    ),
    "two new columns, the second empty": World(
        (
            NEW,
            'ALTER TABLE "Post" ADD COLUMN "e" INTEGER',
            'UPDATE "Post" SET "c" = "views"',
            'UPDATE "Post" SET "e" = "rank"',
        ),
        rivals=(Rival(AT_LAST, 'UPDATE "Post" SET "rank" = 1'),),
    ),
}

# --- what maintenance does to the catalog ---------------------------------------------

INDEXED = 'CREATE INDEX "i" ON "Post"("views")'
AGAIN = 'CREATE INDEX "Post_state_idx" ON "Post"("state")'
WITH_DEFAULT = 'ALTER TABLE "Post" ADD COLUMN "old" INTEGER NOT NULL DEFAULT 0'
REINDEX = "REINDEX INDEX CONCURRENTLY"
RENEWED: dict[str, World] = {
    "an index": _beside(INDEXED, UP, rival=f'{REINDEX} "i"'),
    "an index between two": _beside(UP, INDEXED, UP, rival=f'{REINDEX} "i"'),
    "an index made again": _beside(
        'DROP INDEX "Post_state_idx"',
        UP,
        AGAIN,
        rival=f'{REINDEX} "Post_state_idx"',
        extra=Extra.HAS_MORE_COLUMNS,
    ),
    "a key": _beside(
        'ALTER TABLE "Post" ADD CONSTRAINT "u" UNIQUE ("title")', UP, rival=f'{REINDEX} "u"'
    ),
    "a foreign key": _beside(
        'ALTER TABLE "Post" ADD COLUMN "by" INTEGER REFERENCES "User"("id")',
        UP,
        rival=f'{REINDEX} "User_pkey"',
    ),
    "a column with a default": _beside(WITH_DEFAULT, UP, rival='VACUUM FULL "Post"'),
    "a column made again": _beside(
        'ALTER TABLE "Post" DROP COLUMN "old"',
        UP,
        WITH_DEFAULT,
        rival='VACUUM FULL "Post"',
        extra=Extra.HAS_MORE_COLUMNS,
    ),
    "a column made again at once": _beside(
        'ALTER TABLE "Post" DROP COLUMN "old", ADD COLUMN "old" INTEGER NOT NULL DEFAULT 0',
        UP,
        rival='VACUUM FULL "Post"',
        extra=Extra.HAS_MORE_COLUMNS,
    ),
}

# --- values, names and what hides behind a table --------------------------------------

_BORN_2025 = """"at" >= '2025-01-01' AND "at" < '2025-02-01'"""
VALUES: dict[str, World] = {
    name: _after(Extra.HAS_ODD_TYPES, *script)
    for name, script in {
        "letters of one size": ('UPDATE "Odd" SET "low" = lower("low"::text)',),
        "letters of another size": (
            """UPDATE "Odd" SET "low" = 'some@x' WHERE "low" = 'SOME@X'""",
        ),
        "more digits": ('UPDATE "Odd" SET "price" = 1.00 WHERE "price" = 1',),
        "fewer digits": ('UPDATE "Odd" SET "price" = round("price", 3)',),
        "30 days or a month": ("""UPDATE "Odd" SET "span" = '30 days' WHERE "id" = 1""",),
        "blanks at the end": (
            """UPDATE "Odd" SET "code" = 'ab  ' WHERE "code" = 'ab'""",
            """UPDATE "Odd" SET "code" = 'ab' WHERE "code" = 'cd'""",
        ),
        "blanks cut off": (
            """UPDATE "Odd" SET "short" = 'out' WHERE "short" = 'abc'""",
            """UPDATE "Odd" SET "short" = 'abc ' WHERE "short" = 'xyz'""",
        ),
        "other letters of a UUID": (
            """UPDATE "Odd" SET "ref" = NULL
  WHERE "ref" = 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'""",
            """UPDATE "Odd" SET "ref" = 'A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11'
  WHERE "ref" = 'b0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'""",
        ),
        "the same JSON": ("""UPDATE "Odd" SET "raw" = '{"a":1}' WHERE "id" = 1""",),
        "another time zone": (
            "SET TimeZone = 'Asia/Tokyo'",
            f'UPDATE "Odd" SET "price" = "price" + 1 WHERE {_BORN_2025}',
            'ALTER TABLE "Odd" ADD COLUMN "x" INTEGER',
        ),
        "another time zone, a constant": (
            "SET TimeZone = 'Asia/Tokyo'",
            f'UPDATE "Odd" SET "price" = 7 WHERE {_BORN_2025}',
        ),
    }.items()
}

_PATH = 'SET search_path = "other"'
NAMES: dict[str, World] = {
    "another path": _after(Extra.HAS_TWINS, _PATH, UP),
    "another path, then a column": _after(Extra.HAS_TWINS, _PATH, UP, NEW),
    "another path, a constant": _after(Extra.HAS_TWINS, _PATH, LIVE),
    "another path, a row": _after(
        Extra.HAS_TWINS, _PATH, """INSERT INTO "Log" VALUES ('more', 3)"""
    ),
    "the key of a twin": _beside(
        """INSERT INTO "Log" ("line", "n") VALUES ('added', 1)""",
        rival=LINE,
        after=-1,
        extra=Extra.HAS_TWINS,
    ),
    "two names for a table": World(
        (NEW, UP, 'UPDATE "public"."Post" SET "views" = "views" + 1', ANOTHER)
    ),
    "a new twin": _beside(
        'CREATE SCHEMA "mine"',
        'CREATE TABLE "mine"."Log" ("line" TEXT, "n" INTEGER)',
        LINE,
        ANOTHER,
        rival="""INSERT INTO "Log" VALUES ('by the application', 9)""",
        after=2,
    ),
    "a new column of a twin": _after(
        Extra.HAS_TWINS,
        'ALTER TABLE "other"."Post" ADD COLUMN "guest" TEXT',
        'UPDATE "Post" SET "guest" = "title"',
        """UPDATE "Post" SET "title" = 't'""",
    ),
    "a temporary twin": World(
        (
            'CREATE TEMP TABLE "Log" AS SELECT 1 AS "n"',
            """INSERT INTO "Post" ("id", "title") SELECT "n" + 1000, 'x' FROM "Log"
  ON CONFLICT DO NOTHING""",
        )
    ),
}

HIDDEN: dict[str, World] = {
    "rows kept back": _after(Extra.SWALLOWS_ROWS, UP),
    "rows kept back after a column": _after(Extra.SWALLOWS_ROWS, NEW, UP, ANOTHER),
    "rows diverted": _after(Extra.SWALLOWS_ROWS, LINE),
    "rows diverted after a column": _after(Extra.SWALLOWS_ROWS, NEW, LINE, ANOTHER),
    "noted though nothing changed": _after(
        Extra.SWALLOWS_ROWS, """UPDATE "User" SET "score" = 1 WHERE "email" = 'nobody'"""
    ),
    "noted though nothing went": _after(
        Extra.SWALLOWS_ROWS, """DELETE FROM "User" WHERE "email" = 'nobody'"""
    ),
    "counted behind a view": _after(
        Extra.COUNTS_BEHIND_A_VIEW,
        """UPDATE "Shown" SET "state" = 'live' WHERE "state" = 'live'""",
    ),
    "rows through a view and by themselves": _after(
        Extra.HAS_VIEWS, NEW, 'UPDATE "Shown" SET "seen" = "seen" + 1', UP, ANOTHER
    ),
    "rows of a partition twice": _after(
        Extra.HAS_PARTITIONS,
        NEW,
        """UPDATE "Event" SET "what" = "what" || '1'""",
        """UPDATE "Event_2024" SET "what" = "what" || '2'""",
        ANOTHER,
    ),
    "parents that go": _after(
        Extra.HAS_FAMILIES,
        'UPDATE "Node" SET "up" = "parent"',
        """DELETE FROM "Node" WHERE "id" = 'a'""",
    ),
    "leaves given to the root": _after(
        Extra.HAS_FAMILIES,
        'UPDATE "Leaf" SET "was" = "node"',
        """DELETE FROM "Node" WHERE "id" = 'b'""",
    ),
    "keys passed on, then counted": _after(
        Extra.HAS_FAMILIES,
        NEW,
        """UPDATE "Node" SET "id" = "id" || '1' WHERE "id" <> 'root'""",
        'UPDATE "Leaf" SET "n" = "n" + 1',
        ANOTHER,
    ),
    "keys passed on to every row": _after(
        Extra.NOTHING, NEW, """UPDATE "User" SET "id" = "id" || 'x'""", UP, ANOTHER, key=Key.TEXT
    ),
    "keys passed on, then set": _after(
        Extra.HAS_FAMILIES,
        """UPDATE "Node" SET "id" = 'z' WHERE "id" = 'a'""",
        """UPDATE "Leaf" SET "node" = 'root' WHERE "node" = 'z'""",
    ),
    "written by a WITH before": World(
        (
            NEW,
            """WITH a AS (INSERT INTO "Log" VALUES ('cte', 5) RETURNING "n")
  UPDATE "Post" SET "rank" = "n" FROM a""",
            UP,
            ANOTHER,
        )
    ),
    "COMMIT in the middle": World((NEW, UP, "COMMIT", UP, ANOTHER)),
    "BEGIN in the middle": World((UP, "BEGIN", NEW, "COMMIT", UP)),
    "columns named by rows": World(
        (
            """DO $$ DECLARE r record; BEGIN
  FOR r IN SELECT DISTINCT "state" AS s FROM "Post" LOOP
    EXECUTE format('ALTER TABLE "Post" ADD COLUMN %I INTEGER', 'is ' || r.s); END LOOP; END $$""",
            ANOTHER,
        )
    ),
    "a constraint that rows refuse, quietly": World(
        (
            """DO $$ BEGIN ALTER TABLE "Post" ADD CONSTRAINT "one" UNIQUE ("state");
  EXCEPTION WHEN others THEN null; END $$""",
            UP,
            ANOTHER,
        )
    ),
    "a column if there are rows": World(
        (
            """DO $$ BEGIN IF (SELECT sum(n_tup_ins) FROM pg_stat_user_tables) > 0 THEN
  ALTER TABLE "Post" ADD COLUMN "x" INTEGER; END IF; END $$""",
            UP,
        )
    ),
    "a value under another name": World(
        (
            """UPDATE "User" SET "role" = 'ADMIN' WHERE "role" = 'GUEST'""",
            """ALTER TYPE "Role" RENAME VALUE 'GUEST' TO 'VISITOR'""",
            """UPDATE "User" SET "role" = 'VISITOR' WHERE "role" = 'ADMIN'""",
        )
    ),
}

# --- a first repair is killed ---------------------------------------------------------

_CONCURRENTLY = 'CREATE INDEX CONCURRENTLY "{0}" ON "Post"("views")'
_ADDED = """ALTER TYPE "Role" ADD VALUE 'NEXT'"""
_USED = """UPDATE "User" SET "role" = 'NEXT' WHERE "score" > 1"""
CUT: dict[str, World] = {
    f"{name}, killed after {cuts}": World(script, cuts=cuts, meanwhile=meanwhile)
    for name, script, meanwhile in (
        ("an index between", (UP, _CONCURRENTLY.format("i"), UP, LINE), (TOUCH, LINE)),
        ("a value of an enum", (_ADDED, _USED, UP), ('UPDATE "User" SET "role" = DEFAULT', UP)),
        (
            "two indexes",
            (_CONCURRENTLY.format("i"), LIVE, _CONCURRENTLY.format("j"), UP),
            (PENDING, UP),
        ),
        ("a setting of a block", ("BEGIN", "SET LOCAL work_mem = '1MB'", UP, "COMMIT", UP), (UP,)),
    )
    for cuts in (1, 2, 3)
}

_TABLE = 'CREATE TABLE "Kept" ("title" TEXT)'
REBUILT: dict[str, World] = {
    name: World((*script, ANOTHER), policy="rebuild")
    for name, script in {
        "rows of others": (UP, _TABLE),
        "a row beside others": (LINE, _TABLE),
        "rows of its own": (_TABLE, TWO),
        "rows of its own, then of others": (_TABLE, TWO, UP),
        "a counter of others": ("SELECT setval('ticket', 500)", _TABLE),
        "rows that others get by a trigger": (
            _TABLE,
            """CREATE FUNCTION "copy"() RETURNS trigger LANGUAGE plpgsql AS
  $$ BEGIN INSERT INTO "Log" VALUES (NEW."title", 1); RETURN NULL; END $$""",
            """CREATE TRIGGER "copy_kept" AFTER INSERT ON "Kept"
  FOR EACH ROW EXECUTE FUNCTION "copy"()""",
            TWO,
        ),
    }.items()
}

# --- what nothing can tell -------------------------------------------------------------

LIMITS: dict[str, World] = {
    "its row with a number was deleted since": _beside(
        NAMED, rival="""DELETE FROM "User" WHERE "email" = 'new@x'"""
    ),
    "the column was altered and is as before": World(
        (NEW, UP),
        rivals=tuple(
            Rival(AT_LAST, f'ALTER TABLE "Post" ALTER COLUMN "c" SET STATISTICS {n}')
            for n in (10, -1)
        ),
    ),
}
"""What ends wrongly after all statements, and no proof can tell.

A row that is gone leaves no trace in its table, and comes again with another number. A catalog
row that somebody altered is as new as that.
"""


# --- what people write ----------------------------------------------------------------

_STATES = 'ALTER TABLE "Post" ADD COLUMN "s" "Role"'
_BY_STATE = """UPDATE "Post" SET "s" = '{}' WHERE "state" = '{}'"""
_FILL = 'UPDATE "Post" SET "c" = "views" * 2'
_NOT_NULL = 'ALTER TABLE "Post" ALTER COLUMN "{}" SET NOT NULL'
_SAVED = Rival(AT_LAST, 'UPDATE "Post" SET "views" = "views" + 5 WHERE "id" = 2')

SHAPES: dict[str, tuple[World, int]] = {
    "a backfill": (World((NEW, _FILL, _NOT_NULL.format("c"))), 0),
    "a backfill, in use": (World((NEW, _FILL, _NOT_NULL.format("c")), rivals=(_SAVED,)), 0),
    "two backfills": (
        World(
            (
                NEW,
                'ALTER TABLE "Post" ADD COLUMN "e" TEXT',
                _FILL,
                'UPDATE "Post" SET "e" = "title"',
            )
        ),
        1,  # between the two, after a kill: somebody may have written all rows since
    ),
    "a backfill in two": (
        World(
            (
                NEW,
                'UPDATE "Post" SET "c" = 0',
                'UPDATE "Post" SET "c" = 1 WHERE "views" = 1',
                _NOT_NULL.format("c"),
            )
        ),
        1,
    ),
    "a backfill from another table": (
        World(
            (
                'ALTER TABLE "Post" ADD COLUMN "who" TEXT',
                """UPDATE "Post" SET "who" = u."email" FROM "User" u
  WHERE u."id" = "Post"."authorId" """,
                _NOT_NULL.format("who"),
            )
        ),
        0,
    ),
    "a backfill that counts": (
        World(
            (
                'ALTER TABLE "User" ADD COLUMN "posts" INTEGER',
                """UPDATE "User" u
  SET "posts" = (SELECT count(*) FROM "Post" p WHERE p."authorId" = u."id")""",
            )
        ),
        0,
    ),
    "a column with a default, mapped": (
        World(
            (
                """ALTER TABLE "Post" ADD COLUMN "s" TEXT NOT NULL DEFAULT 'x'""",
                _BY_STATE.format("live", "live"),
                _BY_STATE.format("draft", "draft"),
                'ALTER TABLE "Post" DROP COLUMN "state"',
            )
        ),
        0,
    ),
    "an enum, mapped": (
        World(
            (
                _STATES,
                _BY_STATE.format("USER", "live"),
                _BY_STATE.format("ADMIN", "draft"),
                """UPDATE "Post" SET "s" = 'GUEST' WHERE "s" IS NULL""",
                _NOT_NULL.format("s"),
            )
        ),
        0,
    ),
    "an enum by CASE": (
        World(
            (
                _STATES,
                """UPDATE "Post" SET "s" = (CASE "state" WHEN 'live' THEN 'USER' ELSE 'ADMIN' END)
  ::"Role" """,
                _NOT_NULL.format("s"),
            )
        ),
        0,
    ),
    "mapped in place": (
        World(
            (
                """UPDATE "Post" SET "state" = 'LIVE' WHERE "state" = 'live'""",
                """UPDATE "Post" SET "state" = 'DRAFT' WHERE "state" = 'draft'""",
                NEW,
            )
        ),
        0,
    ),
    "empty ones filled": (
        World(("""UPDATE "Post" SET "body" = '' WHERE "body" IS NULL""", _NOT_NULL.format("body"))),
        0,
    ),
    "rows with keys by chance": (
        World(
            (
                'CREATE TABLE "Kept" ("id" TEXT PRIMARY KEY, "title" TEXT)',
                """INSERT INTO "Kept" ("id", "title")
  SELECT gen_random_uuid()::text, "title" FROM "Post" """,
                NEW,
            )
        ),
        0,
    ),
    "rows moved": (
        World(
            (
                'CREATE TABLE "Kept" ("title" TEXT PRIMARY KEY, "n" INTEGER)',
                'INSERT INTO "Kept" ("title", "n") SELECT "title", "views" FROM "Post"',
                'ALTER TABLE "Post" DROP COLUMN "views"',
            )
        ),
        0,
    ),
    "rows with keys": (
        World(
            (
                """INSERT INTO "User" ("email", "name") VALUES ('new@x', 'n'), ('m@x', 'm')""",
                NEW,
            )
        ),
        0,
    ),
    "rows unless they are there": (
        World(
            (
                """INSERT INTO "User" ("email", "name") VALUES ('new@x', 'n')
  ON CONFLICT ("email") DO NOTHING""",
                NEW,
            )
        ),
        0,
    ),
    "an upsert": (
        World(
            (
                """INSERT INTO "User" ("email", "name") VALUES ('u1@x', 'n')
  ON CONFLICT ("email") DO UPDATE SET "name" = EXCLUDED."name" """,
                NEW,
            )
        ),
        1,
    ),
    "rows without a partner": (
        World(('DELETE FROM "Log" WHERE "n" NOT IN (SELECT "score" FROM "User")', NEW)),
        0,
    ),
    "equal rows but one": (
        World(
            (
                'DELETE FROM "Post" a USING "Post" b WHERE a."id" > b."id" AND a."rank" = b."rank"',
                'CREATE UNIQUE INDEX "one" ON "Post" ("rank")',
            )
        ),
        0,
    ),
    "all but one": (
        World((ONE_EACH, 'CREATE UNIQUE INDEX "one" ON "Post" ("state")')),
        0,
    ),
    "all but one, ranked, after letters are alike": (
        World(
            (
                'UPDATE "Post" SET "state" = upper("state")',
                """WITH r AS (SELECT "id", row_number() OVER
    (PARTITION BY "state" ORDER BY "views" DESC) AS n FROM "Post")
  DELETE FROM "Post" WHERE "id" IN (SELECT "id" FROM r WHERE n > 1)""",
                'CREATE UNIQUE INDEX "one" ON "Post" ("state")',
            )
        ),
        1,  # before the DELETE, after a kill: somebody may have written all rows since
    ),
    "upserts of constants": (
        World(
            (
                """INSERT INTO "User" ("email", "name", "active") VALUES ('u1@x', 'n', true)
  ON CONFLICT ("email") DO UPDATE SET "name" = EXCLUDED."name", "active" = true""",
                """INSERT INTO "User" ("email", "active", "born") VALUES
    ('u2@x', false, CURRENT_DATE), ('new@x', false, CURRENT_DATE)
  ON CONFLICT ("email") DO UPDATE SET "active" = false, "born" = CURRENT_DATE""",
                NEW,
            )
        ),
        3,  # while rows are there that would be changed, and could be as others left them
    ),
    "rows moved by a WITH": (
        World(
            (
                'CREATE TABLE "Kept" ("line" TEXT, "n" INTEGER)',
                """WITH gone AS (DELETE FROM "Log" WHERE "n" > 1 RETURNING *)
  INSERT INTO "Kept" SELECT * FROM gone""",
                ANOTHER,
            )
        ),
        0,
    ),
    "an owner for all by a WITH": (
        World(
            (
                'ALTER TABLE "Post" ADD COLUMN "owner" INTEGER',
                """WITH one AS (INSERT INTO "User" ("email") VALUES ('all@x') RETURNING "id")
  UPDATE "Post" SET "owner" = one."id" FROM one""",
                _NOT_NULL.format("owner"),
            )
        ),
        0,
    ),
    "a temporary table": (World(MAPPED), 0),
    "a temporary table, filled": (
        World(
            (
                "CREATE TEMP TABLE m (old TEXT, new TEXT)",
                "INSERT INTO m VALUES ('live', 'LIVE'), ('draft', 'DRAFT')",
                'ALTER TABLE "Post" ADD COLUMN "s" TEXT',
                'UPDATE "Post" SET "s" = m.new FROM m WHERE m.old = "state"',
                'ALTER TABLE "Post" DROP COLUMN "state"',
            )
        ),
        0,
    ),
    "a guarded type": (
        World(
            (
                """DO $$ BEGIN CREATE TYPE "Level" AS ENUM ('LOW', 'HIGH');
  EXCEPTION WHEN duplicate_object THEN null; END $$""",
                'ALTER TABLE "Post" ADD COLUMN "level" "Level"',
                """UPDATE "Post" SET "level" = 'LOW'""",
            )
        ),
        0,
    ),
}
"""Each with the number of its states that are refused: for want of a proof, not by oversight."""


def states(world: World) -> list[World]:
    """Every way in which this script can have stopped by itself."""
    count = len(world.script)
    killed = [replace(world, how=How.KILLED, reach=k) for k in range(count + 1)]
    failed = [replace(world, how=How.ERROR, reach=k) for k in range(count)]
    at_once = [replace(world, how=How.BATCH_FAILED, reach=k) for k in range(1, count + 1)]
    commits = "COMMIT" in world.script  # else a message that failed has left nothing
    return [*killed, *failed, *(at_once * commits), replace(world, how=How.BATCH, reach=count)]
