-- Of facts that have a catalog row of their own, how old it is in transactions. The parameters are
-- four arrays: kind, identity and "on" of each fact, as in facts.sql, and whether it is a column
-- which is known to have been added without a default. All names are qualified.
-- What maintenance writes anew has no date: REINDEX CONCURRENTLY the rows of indexes and of the
-- keys that rest on them, whatever rewrites a table (VACUUM FULL) those of columns which were
-- added with a default (`RelationClearMissing` in PostgreSQL's heap.c), GRANT those
-- that hold rights.
WITH k AS (
    SELECT * FROM unnest(%s::text[], %s::text[], %s::text[], %s::bool[])
                  k(kind, identity, "on", bare)
)
SELECT k.kind, k.identity, k."on", pg_catalog.age(a.xmin)
  FROM k JOIN pg_catalog.pg_attribute a ON a.attrelid = to_regclass(k."on")
                                       AND quote_ident(a.attname) = k.identity
         JOIN pg_catalog.pg_class r ON r.oid = a.attrelid
 WHERE k.kind = 'column' AND a.attacl IS NULL
   AND (k.bare OR a.atthasmissing OR r.relfilenode IN (0, r.oid))
UNION ALL
SELECT k.kind, k.identity, k."on", pg_catalog.age(c.xmin)
  FROM k JOIN pg_catalog.pg_constraint c ON c.conrelid = to_regclass(k."on")
                                        AND quote_ident(c.conname) = k.identity
 WHERE k.kind = 'constraint' AND c.contype = 'c'
UNION ALL
SELECT k.kind, k.identity, k."on", pg_catalog.age(t.xmin)
  FROM k JOIN pg_catalog.pg_type t ON t.typrelid = to_regclass(k.identity)
 WHERE k.kind = 'table' AND t.typtype = 'c'
UNION ALL
SELECT k.kind, k.identity, k."on", pg_catalog.age(t.xmin)
  FROM k JOIN pg_catalog.pg_type t ON t.oid = to_regtype(k.identity)
 WHERE k.kind = 'type' AND t.typacl IS NULL
UNION ALL
SELECT k.kind, k.identity, k."on", pg_catalog.age(r.xmin)
  FROM k JOIN pg_catalog.pg_rewrite r ON r.ev_class = to_regclass(k.identity)
 WHERE k.kind IN ('view', 'materialized view')
UNION ALL
SELECT k.kind, k.identity, k."on", pg_catalog.age(t.xmin)
  FROM k JOIN pg_catalog.pg_trigger t ON t.tgrelid = to_regclass(k."on")
                                     AND quote_ident(t.tgname) = k.identity
 WHERE k.kind = 'trigger'
UNION ALL
SELECT k.kind, k.identity, k."on", pg_catalog.age(p.xmin)
  FROM k JOIN pg_catalog.pg_policy p ON p.polrelid = to_regclass(k."on")
                                    AND quote_ident(p.polname) = k.identity
 WHERE k.kind = 'policy'
UNION ALL
SELECT k.kind, k.identity, k."on", pg_catalog.age(s.xmin)
  FROM k JOIN pg_catalog.pg_sequence s ON s.seqrelid = to_regclass(k.identity)
 WHERE k.kind = 'sequence'
UNION ALL
SELECT k.kind, k.identity, k."on", pg_catalog.age(p.xmin)
  FROM k JOIN pg_catalog.pg_proc p
           ON k.identity = p.pronamespace::regnamespace || '.' || quote_ident(p.proname)
                           || '(' || pg_get_function_identity_arguments(p.oid) || ')'
 WHERE k.kind IN ('function', 'procedure') AND p.proacl IS NULL
