-- The least that a role needs to repair what failed, and to run `prisma migrate deploy` after it.
-- As a superuser, in the database that it is about:
--
--   psql -v role=app_migrator -v schema=momentum -f docs/least-privilege.sql DATABASE
--   psql -c '\password app_migrator' DATABASE
--
-- Nothing here is needed where the role owns the database: the sidecar needs no more than
-- your migrations do, and a place for the replay.
\set ON_ERROR_STOP on

-- 1. A login, and the right to make a database for the replay, which is dropped after each run
--    that needs one. Without CREATEDB: make an empty database once, owned by the role, and name
--    it in SHADOW_DATABASE_URL.
CREATE ROLE :"role" LOGIN NOSUPERUSER NOCREATEROLE NOBYPASSRLS CREATEDB;

-- 2. The way in. (CREATE on the database is for migrations that make schemas or trusted
--    extensions, and for the quarantine of the policy `rebuild`; grant it if you want these.)
SELECT format('GRANT CONNECT ON DATABASE %I TO %I', current_database(), :'role') \gexec
GRANT USAGE, CREATE ON SCHEMA :"schema" TO :"role";

-- 3. The ledger: read always; written by a repair and by Prisma.
GRANT SELECT, INSERT, UPDATE ON :"schema"._prisma_migrations TO :"role";

-- 4. What migrations change must belong to the role: PostgreSQL lets nobody else ALTER or DROP it.
SELECT format('ALTER %s %I.%I OWNER TO %I',
              CASE c.relkind WHEN 'v' THEN 'VIEW' WHEN 'm' THEN 'MATERIALIZED VIEW'
                             WHEN 'S' THEN 'SEQUENCE' WHEN 'f' THEN 'FOREIGN TABLE'
                             ELSE 'TABLE' END,
              n.nspname, c.relname, :'role')
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE n.nspname = :'schema' AND c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S')
   AND c.relname <> '_prisma_migrations'
   AND NOT EXISTS (SELECT FROM pg_depend d  -- sequences follow their tables
                    WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid
                      AND d.deptype IN ('a', 'i', 'e')) \gexec
SELECT format('ALTER TYPE %I.%I OWNER TO %I', n.nspname, t.typname, :'role')
  FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace
 WHERE n.nspname = :'schema' AND t.typtype IN ('e', 'd') \gexec
SELECT format('ALTER ROUTINE %s OWNER TO %I', p.oid::regprocedure, :'role')
  FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
 WHERE n.nspname = :'schema' AND p.prokind IN ('f', 'p', 'w')
   AND NOT EXISTS (SELECT FROM pg_depend d
                    WHERE d.classid = 'pg_proc'::regclass AND d.objid = p.oid
                      AND d.deptype = 'e') \gexec
