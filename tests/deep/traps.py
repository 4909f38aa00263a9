"""Worlds made by hand: each would mislead one way of telling what ran, or what may run again."""

from __future__ import annotations

from dataclasses import replace

from tests.deep.past import Extra, Key, Past
from tests.deep.world import AT_LAST, How, Rival, Storage, World

UP = 'UPDATE "Post" SET "views" = "views" + 1'
NEW = 'ALTER TABLE "Post" ADD COLUMN "c" INTEGER'
LIVE = """UPDATE "Post" SET "state" = 'live' WHERE "state" = 'pending'"""
TOUCH = 'UPDATE "Post" SET "title" = "title"'
LINE = """INSERT INTO "Log" VALUES ('added', 1)"""


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
    "merged": World(
        (
            """MERGE INTO "User" u USING (SELECT 3 AS s) x ON u."score" = x.s
  WHEN MATCHED THEN UPDATE SET "credit" = coalesce(u."credit", 0) + 10""",
        )
    ),
    "a counter": World(("SELECT nextval('ticket')",)),
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
}
"""Every boundary of these, killed and in error."""

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
    "rows picked again": World(
        (LIVE,), rivals=(Rival(AT_LAST, 'UPDATE "Post" SET "state" = \'pending\''),)
    ),
    "new rows picked": World(
        ("""UPDATE "Post" SET "state" = 'live', "views" = 1""",),
        rivals=(
            Rival(AT_LAST, """INSERT INTO "Post" ("title", "state") VALUES ('n', 'pending')"""),
        ),
    ),
    "an emptied table in use": World(('TRUNCATE "Log"',), rivals=(Rival(AT_LAST, LINE),)),
    "deleted, and in use": World(('DELETE FROM "Log"',), rivals=(Rival(AT_LAST, LINE),)),
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
}
"""The same, where transaction ids tell little or lie."""


def states(world: World) -> list[World]:
    """Every way in which this script can have stopped by itself."""
    count = len(world.script)
    killed = [replace(world, how=How.KILLED, reach=k) for k in range(count + 1)]
    failed = [replace(world, how=How.ERROR, reach=k) for k in range(count)]
    return [*killed, *failed, replace(world, how=How.BATCH, reach=count)]
