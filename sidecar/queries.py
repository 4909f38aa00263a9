"""Every short SQL text, one named constant each; no logic. The big one is facts.sql."""

from __future__ import annotations

SERVER = """
SELECT current_setting('server_version'),
       pg_is_in_recovery(),
       current_setting('transaction_read_only') = 'on',
       current_setting('search_path'),
       current_schemas(false)::text[],
       (SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database())::bigint,
       ARRAY(SELECT n.nspname::text
               FROM pg_catalog.pg_class c
               JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
              WHERE c.relname = '_prisma_migrations' AND c.relkind IN ('r', 'p')
                AND n.nspname <> 'migration_sidecar_quarantine'
              ORDER BY 1),
       to_regclass('prisma_contract.marker') IS NOT NULL,
       EXISTS (SELECT FROM pg_catalog.pg_class c
                WHERE c.relkind = 'r' AND c.relname <> 'spatial_ref_sys'
                  AND c.relnamespace = coalesce(
                        (SELECT oid FROM pg_catalog.pg_namespace WHERE nspname = current_schema()),
                        0))
"""
"""One row of all that a healthy start needs to know of the server and the database."""

LEDGER = """
SELECT id::text, checksum, migration_name, started_at, finished_at, rolled_back_at, logs,
       applied_steps_count
  FROM {ledger}
 ORDER BY started_at, migration_name
"""

TRY_LOCK = "SELECT pg_try_advisory_lock(%s)"

UNLOCK = "SELECT pg_advisory_unlock(%s)"

LOCK_HOLDERS = """
SELECT a.pid, coalesce(a.application_name, ''), coalesce(a.usename, ''), coalesce(a.state, ''),
       coalesce(extract(epoch FROM now() - a.query_start), 0)::float,
       left(coalesce(a.query, ''), 200)
  FROM pg_catalog.pg_locks l
  JOIN pg_catalog.pg_stat_activity a ON a.pid = l.pid
 WHERE l.locktype = 'advisory' AND l.granted AND l.classid = 0 AND l.objsubid = 1
   AND l.objid = %s
   AND l.database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database())
   AND l.pid <> pg_backend_pid()
 ORDER BY a.pid
"""
"""Who holds the lock; waiters may be ghosts of dead clients and do not count."""

MIGRATORS = """
SELECT pid, coalesce(application_name, ''), coalesce(usename, ''), coalesce(state, ''),
       coalesce(extract(epoch FROM now() - query_start), 0)::float, coalesce(query, '')
  FROM pg_catalog.pg_stat_activity
 WHERE datname = current_database() AND pid <> pg_backend_pid()
   AND backend_type = 'client backend' AND state IN ('active', 'idle in transaction')
 ORDER BY pid
"""

BLOCKERS = """
SELECT a.pid, coalesce(a.application_name, ''), coalesce(a.usename, ''), coalesce(a.state, ''),
       coalesce(extract(epoch FROM now() - coalesce(a.xact_start, a.query_start)), 0)::float,
       left(coalesce(a.query, ''), 200)
  FROM pg_catalog.pg_stat_activity a
 WHERE a.pid = ANY (pg_catalog.pg_blocking_pids(%s))
 ORDER BY a.pid
"""

UNLIMITED = """
SET statement_timeout = 0; SET idle_in_transaction_session_timeout = 0
"""
"""Limits made for an application's requests; ours are set where they belong."""

UNLIMITED_SINCE_14 = "SET idle_session_timeout = 0"

SET_SEARCH_PATH = "SELECT set_config('search_path', %s, false)"

BACKEND_PID = "SELECT pg_backend_pid()"

CURRENT_ROLE = "SELECT quote_ident(current_user)"

NOT_OWNED = """
SELECT format('%%I.%%I', n.nspname, c.relname)
  FROM pg_catalog.pg_class c
  JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
 WHERE c.oid IN (SELECT to_regclass(name) FROM unnest(%s::text[]) name)
   AND NOT pg_catalog.pg_has_role(c.relowner, 'USAGE')
 ORDER BY 1
"""

NOT_CREATABLE = """
SELECT quote_ident(nspname) FROM pg_catalog.pg_namespace
 WHERE nspname IN (SELECT (parse_ident(name))[1] FROM unnest(%s::text[]) name)
   AND NOT pg_catalog.has_schema_privilege(oid, 'CREATE')
 ORDER BY 1
"""

NOT_WRITABLE = """
SELECT verb FROM unnest(%s::text[]) verb
 WHERE NOT pg_catalog.has_any_column_privilege(%s::regclass, verb)
 ORDER BY 1
"""

CURRENT_SCHEMA = "SELECT current_schema()"

DATABASE_LOCALE = """
SELECT to_jsonb(d), pg_catalog.pg_encoding_to_char(d.encoding)
  FROM pg_catalog.pg_database d WHERE d.datname = current_database()
"""

SHADOW_LEFTOVERS = """
SELECT d.datname
  FROM pg_catalog.pg_database d
  LEFT JOIN pg_catalog.pg_shdescription c
    ON c.objoid = d.oid AND c.classoid = 'pg_catalog.pg_database'::regclass
 WHERE starts_with(d.datname, %s)
   AND (c.description IS NULL OR starts_with(c.description, %s))
   AND pg_catalog.pg_has_role(d.datdba, 'USAGE')
"""
"""A run killed between CREATE DATABASE and COMMENT leaves the name alone."""

USER_SCHEMAS = r"""
SELECT nspname::text FROM pg_catalog.pg_namespace
 WHERE nspname <> 'information_schema' AND nspname !~ '^pg_' ORDER BY 1
"""

USER_OBJECTS = r"""
SELECT format('%%I.%%I', n.nspname, o.name)
  FROM (SELECT relname, relnamespace, oid, 'pg_class'::regclass FROM pg_catalog.pg_class
        UNION ALL
        SELECT proname, pronamespace, oid, 'pg_proc'::regclass FROM pg_catalog.pg_proc
        UNION ALL
        SELECT typname, typnamespace, oid, 'pg_type'::regclass FROM pg_catalog.pg_type
       ) o(name, namespace, oid, catalog)
  JOIN pg_catalog.pg_namespace n ON n.oid = o.namespace
 WHERE n.nspname <> 'information_schema' AND n.nspname !~ '^pg_'
   AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d
                    WHERE d.classid = o.catalog AND d.objid = o.oid AND d.deptype = 'e')
UNION ALL
SELECT 'default privileges' FROM pg_catalog.pg_default_acl
 LIMIT %s
"""

GIVEN_KEEPS = """
SELECT 'EXTENSION ' || quote_ident(extname) AS item FROM pg_catalog.pg_extension
 UNION ALL
SELECT a.privilege_type || ' ON SCHEMA public|'
       || CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(a.grantee)) END
  FROM pg_catalog.pg_namespace n,
       aclexplode(coalesce(n.nspacl, acldefault('n', n.nspowner))) a
 WHERE n.nspname = 'public'
"""
"""What a database given as a shadow may hold beforehand, and has again afterwards."""

GIVEN_RESET = (
    "WITH now AS ("  # noqa: S608 (two constants)
    + GIVEN_KEEPS
    + r"""), kept AS (
    SELECT json_array_elements_text(coalesce(obj_description(oid, 'pg_namespace'), '[]')::json) item
      FROM pg_catalog.pg_namespace WHERE nspname = 'migration_sidecar_shadow'
), reset(turn, statement) AS (
    SELECT 1, format('DROP SCHEMA IF EXISTS %I CASCADE', nspname)
      FROM pg_catalog.pg_namespace
     WHERE nspname NOT IN ('information_schema', 'public', 'migration_sidecar_shadow')
       AND nspname !~ '^pg_'
     UNION ALL
    SELECT CASE i.type WHEN 'table' THEN 2 ELSE 3 END,
           format('DROP %s IF EXISTS %s CASCADE', replace(i.type, ' object', ''), i.identity)
      FROM pg_catalog.pg_depend d, pg_identify_object(d.classid, d.objid, 0) i
     WHERE d.refclassid = 'pg_namespace'::regclass AND d.deptype = 'n'
       AND d.refobjid = to_regnamespace('public') AND d.classid <> 'pg_extension'::regclass
       AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend e
                        WHERE e.classid = d.classid AND e.objid = d.objid AND e.deptype = 'e')
     UNION ALL
    SELECT 4, CASE WHEN item LIKE 'EXTENSION %' THEN format('DROP %s CASCADE', item)
                   ELSE 'REVOKE ' || replace(item, '|', ' FROM ') END
      FROM (SELECT item FROM now EXCEPT SELECT item FROM kept) made
     WHERE item <> 'EXTENSION plpgsql'
     UNION ALL
    SELECT 5, 'GRANT ' || replace(item, '|', ' TO ')
      FROM (SELECT item FROM kept EXCEPT SELECT item FROM now) lost
     WHERE item NOT LIKE 'EXTENSION %'
)
SELECT statement FROM reset ORDER BY turn
"""
)
"""The statements that empty such a database; our mark, a schema, remembers what to keep."""

SERVER_IDENTITY = """
SELECT (SELECT system_identifier FROM pg_catalog.pg_control_system()),
       pg_catalog.pg_postmaster_start_time()::text,
       (SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database())::bigint
"""
"""Which database this is, whatever address led here; a clone of the server starts later."""

SERVER_STATE = """
SELECT ARRAY(SELECT l.relation::bigint FROM pg_catalog.pg_locks l
              WHERE l.pid = pg_catalog.pg_backend_pid()
                AND l.locktype = 'relation' AND l.database = 0
                AND l.mode NOT IN ('AccessShareLock', 'RowShareLock') AND l.relation::regclass
                    NOT IN ('pg_catalog.pg_shdepend', 'pg_catalog.pg_auth_members') ORDER BY 1),
       ARRAY(SELECT m::text FROM pg_catalog.pg_auth_members m ORDER BY 1),
       ARRAY(SELECT d.datname || d.datacl::text FROM pg_catalog.pg_database d
              WHERE d.datname <> current_database() AND d.datacl IS NOT NULL ORDER BY 1)
"""
"""What a transaction that changes the server changes here: roles, settings, other databases.

Locks on shared catalogs are held to its end (those of a subtransaction that failed are gone);
GRANT on a database keeps none, and GRANT of a role takes one for nothing as well.
"""

EXTENSIONS = """
SELECT e.extname::text, n.nspname::text
  FROM pg_catalog.pg_extension e JOIN pg_catalog.pg_namespace n ON n.oid = e.extnamespace
 WHERE e.extname <> 'plpgsql' ORDER BY e.oid
"""

ROLES = r"SELECT rolname::text FROM pg_catalog.pg_roles WHERE rolname !~ '^pg_' ORDER BY 1"

CREATE_LEDGER = """
CREATE TABLE {ledger} (
    id                  VARCHAR(36) PRIMARY KEY NOT NULL,
    checksum            VARCHAR(64) NOT NULL,
    finished_at         TIMESTAMPTZ,
    migration_name      VARCHAR(255) NOT NULL,
    logs                TEXT,
    rolled_back_at      TIMESTAMPTZ,
    started_at          TIMESTAMPTZ NOT NULL DEFAULT now(),
    applied_steps_count INTEGER NOT NULL DEFAULT 0
)
"""
"""The table as Prisma makes it (prisma-engines, flavour/postgres.rs)."""

INSERT_LEDGER_ROW = """
INSERT INTO {ledger} (id, checksum, migration_name, started_at, finished_at, rolled_back_at, logs,
                      applied_steps_count)
VALUES (%s, %s, %s, %s, %s, %s, %s, %s)
"""

COPY_LEDGER = """
INSERT INTO {ledger} (id, checksum, migration_name, started_at, finished_at, rolled_back_at, logs,
                      applied_steps_count)
SELECT * FROM unnest(%s::text[], %s::text[], %s::text[], %s::timestamptz[], %s::timestamptz[],
                     %s::timestamptz[], %s::text[], %s::int[])
"""

MARK_ROLLED_BACK = """
UPDATE {ledger} SET rolled_back_at = now()
 WHERE migration_name = %s AND finished_at IS NULL AND rolled_back_at IS NULL
"""

RELATION_FILES = """
SELECT format('%I.%I', n.nspname, c.relname), c.oid::bigint, c.relfilenode::bigint
  FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
 WHERE c.relkind IN ('r', 'm') AND c.relpersistence <> 't'
   AND n.nspname NOT IN ('pg_catalog', 'information_schema') AND n.nspname !~ '^pg_'
"""

CHANGED_ROWS = """
SELECT format('%I.%I', schemaname, relname), n_tup_ins + n_tup_upd + n_tup_del
  FROM pg_catalog.pg_stat_xact_user_tables
 WHERE n_tup_ins + n_tup_upd + n_tup_del > 0
"""
"""Rows written by this very transaction, table by table (chapter "Cumulative Statistics")."""

LEDGER_NAME = "SELECT format('%%I._prisma_migrations', %s::text)"
"""The ledger as facts and statistics spell it."""

COUNTS_ROWS = "SELECT current_setting('track_counts') = 'on'"

# --- the demo's play -------------------------------------------------------------

DEMO_START = """
INSERT INTO {ledger} (id, checksum, migration_name, started_at)
VALUES (%s, %s, %s, clock_timestamp())
"""

DEMO_FINISH = """
UPDATE {ledger} SET finished_at = clock_timestamp(), applied_steps_count = 1 WHERE id = %s
"""

DEMO_ROWS = """
INSERT INTO momentum.mm_board (id, name) VALUES ('b1', 'Platform'), ('b2', 'On call');
INSERT INTO momentum.mm_issue (board_id, title)
SELECT 'b1', 'issue ' || n FROM generate_series(1, 5) n;
"""

DEMO_OBJECTS = """
SELECT 'enum  ScheduleFrequency', to_regtype('momentum."ScheduleFrequency"') IS NOT NULL
UNION ALL
SELECT 'table mm_scheduled_issue', to_regclass('momentum.mm_scheduled_issue') IS NOT NULL
UNION ALL
SELECT 'index mm_scheduled_issue_board_id_idx',
       to_regclass('momentum.mm_scheduled_issue_board_id_idx') IS NOT NULL
UNION ALL
SELECT 'foreign key to mm_board',
       EXISTS (SELECT FROM pg_catalog.pg_constraint
                WHERE conname = 'mm_scheduled_issue_board_id_fkey')
"""
