"""Worlds as Hypothesis draws them: a past, a script, how it failed, and who else was there."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from tests.deep.past import Extra, Key, Past
from tests.deep.scripts import scripts
from tests.deep.world import How, Rival, Storage, World

PASTS = st.builds(
    Past,
    key=st.sampled_from(Key),
    on_delete=st.sampled_from(["RESTRICT", "CASCADE", "SET NULL"]),
    extra=st.sampled_from(Extra),
    users=st.sampled_from([3, 1, 0]),
    schema=st.sampled_from(["public", "public", "tenant"]),
    row_by_row=st.booleans(),
)

_HOWS = [How.KILLED, How.KILLED, How.KILLED, How.ERROR, How.ERROR, *How]
_STORAGES = [*[Storage.AS_WRITTEN] * 12, *Storage]

RIVAL_SQL = (
    """INSERT INTO "Log" VALUES ('by the application', 1)""",
    """INSERT INTO "Post" ("title", "views") VALUES ('by the application', 1)""",
    'UPDATE "Post" SET "views" = "views" + 100 WHERE "id" = 1',
    """UPDATE "Post" SET "state" = 'pending', "guest" = NULL WHERE "id" = 2""",
    """UPDATE "User" SET "name" = NULL, "score" = 1 WHERE "email" = 'u1@x'""",
    'UPDATE "Post" SET "title" = "title"',
    'UPDATE "User" SET "email" = "email" WHERE "score" = 2',
    'UPDATE "Log" SET "n" = "n"',
    """DELETE FROM "Post" WHERE "state" = 'live'""",
    'DELETE FROM "Log" WHERE "n" = 2',
    """BEGIN; INSERT INTO "Log" VALUES ('never', 1); ROLLBACK""",
    "SELECT nextval('ticket')",
)


@st.composite
def worlds(draw: Any, *, restored: bool = False) -> World:
    """One example; most have no rival, rows as they were written, and one repair."""
    past: Past = draw(PASTS)
    script = draw(scripts(past))
    how: How = draw(st.sampled_from(_HOWS))
    pieces = sum(sql.count(";") + 1 for sql in script)
    adapter = how in {How.ADAPTER, How.ADAPTER_ERROR}
    reach = draw(st.integers(0, pieces if adapter else len(script)))
    rivals: list[Rival] = []
    if not (adapter and pieces > len(script)) and draw(st.sampled_from([False, False, True])):
        rivals = draw(
            st.lists(
                st.builds(Rival, st.integers(-1, len(script)), st.sampled_from(RIVAL_SQL)),
                min_size=1,
                max_size=2,
            )
        )
    cuts: int = draw(st.sampled_from([*[0] * 7, 1, 2]))
    meanwhile = draw(st.lists(st.sampled_from(RIVAL_SQL), max_size=1)) if cuts else []
    storages = _STORAGES if restored else _STORAGES[:-4]
    return World(
        script=script,
        how=how,
        reach=reach,
        past=past,
        sqlstate=draw(st.sampled_from(["23505", "55P03", "57014", "40P01", "22P02", "42701"])),
        rivals=tuple(rivals),
        storage=draw(st.sampled_from(storages)),
        policy=draw(st.sampled_from(["forward"] * 5 + ["rebuild"])),
        cuts=cuts,
        meanwhile=tuple(meanwhile),
    )
