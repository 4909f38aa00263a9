-- What the catalog says about a database, as facts. Loaded and explained by snapshot.py.
--
-- Notation, resolved by the loader:
--   -- name: NAME              starts a named block
--   /* since N */ .. /* end */ stays in only on PostgreSQL N and later
--   X = ANY (:roots)           X is one of the asked roots; `true` for a snapshot of everything
--
-- A fact hangs on a root: the oid of the schema, relation, type, function ... that stands alone
-- and that it comes and goes with. Whoever adds a kind here also adds, where its catalog row can
-- change without a lock on its relation, a line to the block `touched`.

-- name: facts
WITH
member AS MATERIALIZED (
    SELECT d.classid, d.objid FROM pg_depend d
    WHERE d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e'
),
space AS MATERIALIZED (
    SELECT n.oid, n.nspname AS name FROM pg_namespace n
    WHERE n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
),
relation AS MATERIALIZED (
    SELECT c.*, format('%I.%I', n.name, c.relname) AS name
    FROM pg_class c JOIN space n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'p', 'f', 'v', 'm', 'S') AND c.oid = ANY (:roots)
        AND ('pg_class'::regclass, c.oid) NOT IN (TABLE member)
),
parameters AS NOT MATERIALIZED (
    SELECT s.seqrelid,
        format(
            'AS %s START WITH %s INCREMENT BY %s MINVALUE %s MAXVALUE %s CACHE %s%s',
            format_type(s.seqtypid, NULL), s.seqstart, s.seqincrement, s.seqmin, s.seqmax,
            s.seqcache, CASE WHEN s.seqcycle THEN ' CYCLE' END
        ) AS text
    FROM pg_sequence s
),
identity_sequence AS MATERIALIZED (
    SELECT d.refobjid AS relid, d.refobjsubid AS attnum, c.oid, c.relacl, c.relowner,
        format('%I.%I', n.name, c.relname) AS name, p.text AS parameters
    FROM pg_depend d
    JOIN pg_class c ON c.oid = d.objid AND c.relkind = 'S'
    JOIN space n ON n.oid = c.relnamespace
    JOIN parameters p ON p.seqrelid = c.oid
    WHERE d.classid = 'pg_class'::regclass AND d.refclassid = 'pg_class'::regclass
        AND d.deptype = 'i' AND d.refobjid = ANY (:roots)
),

-- Every object with its fact; comments and privileges are made from the same rows further down.
-- `definition` is NULL where the object is part of another's fact, `"on"` is '' where it stands
-- alone, `baseline` are the privileges that an untouched object has.
object (
    root, classoid, objoid, objsubid, kind, identity, "on", definition, acl, baseline, owner
) AS MATERIALIZED (

    SELECT n.oid, 'pg_namespace'::regclass::oid, n.oid, 0, 'schema', quote_ident(n.nspname), '',
        'exists', n.nspacl,
        coalesce(
            (
                SELECT i.initprivs FROM pg_init_privs i
                WHERE i.classoid = 'pg_namespace'::regclass AND i.objoid = n.oid
            ),
            acldefault('n', n.nspowner)
        ),
        n.nspowner
    FROM pg_namespace n JOIN space USING (oid)
    WHERE n.oid = ANY (:roots)
        AND ('pg_namespace'::regclass, n.oid) NOT IN (TABLE member)

    UNION ALL
    SELECT e.oid, 'pg_extension'::regclass, e.oid, 0, 'extension', quote_ident(e.extname), '',
        format('VERSION %L SCHEMA %I', e.extversion, n.nspname), NULL, NULL, NULL
    FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace
    WHERE e.oid = ANY (:roots)

    -- Types -----------------------------------------------------------------------------------

    UNION ALL
    SELECT t.oid, 'pg_type'::regclass, t.oid, 0, 'type', format('%I.%I', n.name, t.typname), '',
        CASE t.typtype
            WHEN 'e' THEN format('ENUM (%s)', (
                SELECT string_agg(quote_literal(e.enumlabel), ', ' ORDER BY e.enumsortorder)
                FROM pg_enum e WHERE e.enumtypid = t.oid
            ))
            WHEN 'c' THEN format('COMPOSITE (%s)', (
                SELECT string_agg(quote_ident(a.attname), ', ' ORDER BY a.attnum)
                FROM pg_attribute a
                WHERE a.attrelid = t.typrelid AND a.attnum > 0 AND NOT a.attisdropped
            ))
            WHEN 'd' THEN concat_ws(
                ' ', 'DOMAIN', format_type(t.typbasetype, t.typtypmod),
                (
                    SELECT 'COLLATE ' || t.typcollation::regcollation FROM pg_type b
                    WHERE b.oid = t.typbasetype AND b.typcollation <> t.typcollation
                ),
                'DEFAULT ' || pg_get_expr(t.typdefaultbin, 0),
                CASE WHEN t.typnotnull THEN 'NOT NULL' END
            )
            WHEN 'r' THEN (
                SELECT concat_ws(
                    ' ', 'RANGE', format_type(r.rngsubtype, NULL),
                    'COLLATE ' || nullif(r.rngcollation, 0)::regcollation,
                    'OPCLASS ' || (
                        SELECT format('%I.%I', cn.nspname, oc.opcname)
                        FROM pg_opclass oc JOIN pg_namespace cn ON cn.oid = oc.opcnamespace
                        WHERE oc.oid = r.rngsubopc
                    ),
                    'CANONICAL ' || nullif(r.rngcanonical, 0)::regproc,
                    'SUBTYPE_DIFF ' || nullif(r.rngsubdiff, 0)::regproc
                    /* since 14 */ , 'MULTIRANGE ' || format_type(r.rngmultitypid, NULL) /* end */
                )
                FROM pg_range r WHERE r.rngtypid = t.oid
            )
            WHEN 'p' THEN 'SHELL'
            ELSE concat_ws(
                ' ', 'BASE', t.typinput, t.typoutput, t.typreceive, t.typsend, t.typmodin,
                t.typmodout, t.typanalyze, t.typlen, t.typbyval, t.typalign, t.typstorage,
                t.typcategory, t.typispreferred, t.typdelim, format_type(t.typelem, NULL),
                quote_literal(t.typdefault), t.typcollation::regcollation
            )
        END,
        t.typacl, acldefault('T', t.typowner), t.typowner
    FROM pg_type t JOIN space n ON n.oid = t.typnamespace
    WHERE t.oid = ANY (:roots)
        AND NOT (t.typtype = 'b' AND t.typcategory = 'A')  -- arrays come with their elements
        AND t.typtype <> 'm'  -- multiranges with their ranges, row types with their relations
        AND (
            t.typtype <> 'c'
            OR EXISTS (SELECT FROM pg_class c WHERE c.oid = t.typrelid AND c.relkind = 'c')
        )
        AND ('pg_type'::regclass, t.oid) NOT IN (TABLE member)

    UNION ALL
    SELECT t.oid, 'pg_class'::regclass, a.attrelid, a.attnum, 'attribute', quote_ident(a.attname),
        format('%I.%I', n.name, t.typname),
        format_type(a.atttypid, a.atttypmod) || coalesce((
            SELECT ' COLLATE ' || a.attcollation::regcollation FROM pg_type b
            WHERE b.oid = a.atttypid AND b.typcollation <> a.attcollation
        ), ''),
        NULL, NULL, NULL
    FROM pg_type t
    JOIN space n ON n.oid = t.typnamespace
    JOIN pg_class c ON c.oid = t.typrelid AND c.relkind = 'c'
    JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
    WHERE t.typtype = 'c' AND t.oid = ANY (:roots)
        AND ('pg_type'::regclass, t.oid) NOT IN (TABLE member)

    UNION ALL
    SELECT t.oid, 'pg_constraint'::regclass, k.oid, 0,
        CASE k.contype WHEN 'n' THEN 'not-null' ELSE 'constraint' END, quote_ident(k.conname),
        format('%I.%I', n.name, t.typname), pg_get_constraintdef(k.oid), NULL, NULL, NULL
    FROM pg_constraint k
    JOIN pg_type t ON t.oid = k.contypid
    JOIN space n ON n.oid = t.typnamespace
    WHERE k.contypid <> 0 AND k.contypid = ANY (:roots)
        AND ('pg_type'::regclass, t.oid) NOT IN (TABLE member)

    -- Relations and what hangs on them --------------------------------------------------------

    UNION ALL
    SELECT r.oid, 'pg_class'::regclass, r.oid, 0, 'sequence', r.name, '',
        concat_ws(
            ' ', CASE r.relpersistence WHEN 'u' THEN 'UNLOGGED' END, p.text,
            (
                SELECT format('OWNED BY %s.%I', d.refobjid::regclass, a.attname)
                FROM pg_depend d
                JOIN pg_attribute a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid
                WHERE d.classid = 'pg_class'::regclass AND d.objid = r.oid AND d.objsubid = 0
                    AND d.refclassid = 'pg_class'::regclass AND d.deptype = 'a'
            )
        ),
        r.relacl, acldefault('s', r.relowner), r.relowner
    FROM relation r JOIN parameters p ON p.seqrelid = r.oid
    WHERE r.relkind = 'S' AND NOT EXISTS (
        SELECT FROM pg_depend d
        WHERE d.classid = 'pg_class'::regclass AND d.objid = r.oid AND d.objsubid = 0
            AND d.refclassid = 'pg_class'::regclass AND d.deptype = 'i'
    )

    UNION ALL
    SELECT r.oid, 'pg_class'::regclass, i.oid, 0, 'sequence', i.name, '',
        NULL, i.relacl, acldefault('s', i.relowner), i.relowner
    FROM identity_sequence i JOIN relation r ON r.oid = i.relid

    UNION ALL
    SELECT r.oid, 'pg_class'::regclass, r.oid, 0, 'table', r.name, '',
        concat_ws(
            ' ', CASE r.relpersistence WHEN 'u' THEN 'UNLOGGED' END,
            CASE r.relkind WHEN 'f' THEN 'FOREIGN TABLE' ELSE 'TABLE' END,
            'OF ' || format_type(nullif(r.reloftype, 0), NULL),
            CASE WHEN r.relispartition THEN 'PARTITION OF' ELSE 'INHERITS' END || ' ' || (
                SELECT string_agg(h.inhparent::regclass::text, ', ' ORDER BY h.inhseqno)
                FROM pg_inherits h WHERE h.inhrelid = r.oid
            ),
            pg_get_expr(r.relpartbound, r.oid),
            'PARTITION BY ' || CASE WHEN r.relkind = 'p' THEN pg_get_partkeydef(r.oid) END,
            (
                SELECT concat_ws(
                    ' ', 'SERVER ' || quote_ident(s.srvname),
                    'OPTIONS (' || (
                        SELECT string_agg(format('%I %L', o.option_name, CASE
                            WHEN o.option_name ~* 'pass|secret|token|key' THEN '***'
                            ELSE o.option_value
                        END), ', ' ORDER BY o.option_name)
                        FROM pg_options_to_table(f.ftoptions) o
                    ) || ')'
                )
                FROM pg_foreign_table f JOIN pg_foreign_server s ON s.oid = f.ftserver
                WHERE f.ftrelid = r.oid
            ),
            (SELECT 'USING ' || quote_ident(m.amname) FROM pg_am m
                WHERE m.oid = r.relam AND m.amname <> 'heap'),
            'WITH (' || array_to_string(r.reloptions, ', ') || ')',
            'TOAST (' || (
                SELECT array_to_string(t.reloptions, ', ') FROM pg_class t
                WHERE t.oid = r.reltoastrelid
            ) || ')',
            CASE WHEN r.reltablespace <> 0 THEN (
                SELECT 'TABLESPACE ' || quote_ident(s.spcname) FROM pg_tablespace s
                WHERE s.oid = r.reltablespace
            ) END,
            CASE WHEN r.relrowsecurity THEN 'ROW LEVEL SECURITY' END,
            CASE WHEN r.relforcerowsecurity THEN 'FORCE ROW LEVEL SECURITY' END,
            CASE r.relreplident
                WHEN 'f' THEN 'REPLICA IDENTITY FULL'
                WHEN 'n' THEN 'REPLICA IDENTITY NOTHING'
                WHEN 'i' THEN 'REPLICA IDENTITY USING INDEX'
            END
        ),
        r.relacl, acldefault('r', r.relowner), r.relowner
    FROM relation r WHERE r.relkind IN ('r', 'p', 'f')

    UNION ALL
    SELECT r.oid, 'pg_class'::regclass, r.oid, 0,
        CASE r.relkind WHEN 'v' THEN 'view' ELSE 'materialized view' END, r.name, '',
        concat_ws(
            ' ', 'WITH (' || array_to_string(r.reloptions, ', ') || ')',
            (SELECT 'USING ' || quote_ident(m.amname) FROM pg_am m
                WHERE m.oid = r.relam AND m.amname <> 'heap'),
            CASE WHEN r.reltablespace <> 0 THEN (
                SELECT 'TABLESPACE ' || quote_ident(s.spcname) FROM pg_tablespace s
                WHERE s.oid = r.reltablespace
            ) END,
            'AS', pg_get_viewdef(r.oid),
            CASE WHEN r.relkind = 'm' AND NOT r.relispopulated THEN 'WITH NO DATA' END
        ),
        r.relacl, acldefault('r', r.relowner), r.relowner
    FROM relation r WHERE r.relkind IN ('v', 'm')

    UNION ALL
    SELECT r.oid, 'pg_class'::regclass, r.oid, a.attnum, 'column', quote_ident(a.attname), r.name,
        concat_ws(
            ' ', format_type(a.atttypid, a.atttypmod),
            CASE WHEN a.attcollation <> t.typcollation
                THEN 'COLLATE ' || a.attcollation::regcollation END,
            CASE WHEN a.attnotnull THEN 'NOT NULL' END,
            CASE
                WHEN NOT a.atthasdef THEN NULL
                WHEN a.attgenerated = '' THEN 'DEFAULT ' || pg_get_expr(d.adbin, d.adrelid)
                ELSE format('GENERATED ALWAYS AS (%s) %s', pg_get_expr(d.adbin, d.adrelid),
                    CASE a.attgenerated WHEN 's' THEN 'STORED' ELSE 'VIRTUAL' END)
            END,
            CASE WHEN a.attidentity <> '' THEN format(
                'GENERATED %s AS IDENTITY (%s)',
                CASE a.attidentity WHEN 'a' THEN 'ALWAYS' ELSE 'BY DEFAULT' END,
                (
                    SELECT format('SEQUENCE NAME %s %s', i.name, i.parameters)
                    FROM identity_sequence i WHERE i.relid = r.oid AND i.attnum = a.attnum
                )
            ) END,
            CASE WHEN a.attstorage <> t.typstorage THEN 'STORAGE ' || a.attstorage::text END,
            /* since 14 */ 'COMPRESSION ' || nullif(a.attcompression, '')::text, /* end */
            'STATISTICS ' || nullif(a.attstattarget, -1),
            -- Newer minor releases (seen in 17.12) keep a number of their own there.
            'OPTIONS (' || (
                SELECT string_agg(o.text, ', ' ORDER BY o.place)
                FROM unnest(a.attoptions) WITH ORDINALITY AS o (text, place)
                WHERE NOT starts_with(o.text, 'pg_attver=')
            ) || ')',
            CASE WHEN a.attfdwoptions IS NOT NULL THEN 'FDW OPTIONS (' || (
                SELECT string_agg(format('%I %L', o.option_name, CASE
                    WHEN o.option_name ~* 'pass|secret|token|key' THEN '***' ELSE o.option_value
                END), ', ' ORDER BY o.option_name)
                FROM pg_options_to_table(a.attfdwoptions) o
            ) || ')' END,
            CASE WHEN a.attinhcount > 0 THEN
                CASE WHEN a.attislocal THEN 'LOCAL AND INHERITED' ELSE 'INHERITED' END
            END
        ),
        a.attacl, NULL, r.relowner
    FROM relation r
    JOIN pg_attribute a ON a.attrelid = r.oid AND a.attnum > 0 AND NOT a.attisdropped
    JOIN pg_type t ON t.oid = a.atttypid
    LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
    WHERE r.relkind <> 'S'

    UNION ALL
    SELECT r.oid, 'pg_constraint'::regclass, k.oid, 0,
        CASE k.contype WHEN 'n' THEN 'not-null' ELSE 'constraint' END, quote_ident(k.conname),
        r.name,
        concat_ws(
            ' ', pg_get_constraintdef(k.oid),
            CASE WHEN k.coninhcount > 0 OR k.conparentid <> 0 THEN
                CASE WHEN k.conislocal AND k.conparentid = 0 THEN 'LOCAL AND INHERITED'
                    ELSE 'INHERITED' END
            END
        ),
        NULL, NULL, NULL
    FROM relation r JOIN pg_constraint k ON k.conrelid = r.oid
    WHERE k.contype <> 't'  -- a constraint trigger is a trigger
        -- A foreign key to a partitioned table has a shadow of itself for each partition.
        AND NOT EXISTS (
            SELECT FROM pg_constraint p WHERE p.oid = k.conparentid AND p.conrelid = k.conrelid
        )

    UNION ALL
    SELECT r.oid, 'pg_class'::regclass, c.oid, 0, 'index', format('%I.%I', n.nspname, c.relname),
        r.name,
        concat_ws(
            ' ', pg_get_indexdef(c.oid),
            (SELECT 'PARTITION OF ' || h.inhparent::regclass FROM pg_inherits h
                WHERE c.relispartition AND h.inhrelid = c.oid),
            CASE WHEN c.reltablespace <> 0 THEN (
                SELECT 'TABLESPACE ' || quote_ident(s.spcname) FROM pg_tablespace s
                WHERE s.oid = c.reltablespace
            ) END,
            CASE WHEN i.indexprs IS NOT NULL THEN (
                SELECT string_agg(format('STATISTICS %s ON %s', a.attstattarget, a.attnum), ' '
                    ORDER BY a.attnum)
                FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attstattarget >= 0
            ) END,
            CASE WHEN i.indisclustered THEN 'CLUSTER' END,
            CASE WHEN i.indisreplident THEN 'REPLICA IDENTITY' END,
            CASE WHEN NOT i.indisvalid THEN 'INVALID' END,
            CASE WHEN NOT i.indisready THEN 'NOT READY' END
        ),
        NULL, NULL, NULL
    FROM relation r
    JOIN pg_index i ON i.indrelid = r.oid
    JOIN pg_class c ON c.oid = i.indexrelid
    JOIN pg_namespace n ON n.oid = c.relnamespace

    UNION ALL
    SELECT r.oid, 'pg_trigger'::regclass, t.oid, 0, 'trigger', quote_ident(t.tgname), r.name,
        concat_ws(
            ' ', pg_get_triggerdef(t.oid),
            CASE t.tgenabled WHEN 'D' THEN 'DISABLED' WHEN 'A' THEN 'ENABLED ALWAYS'
                WHEN 'R' THEN 'ENABLED REPLICA' END,
            CASE WHEN t.tgparentid <> 0 THEN 'INHERITED' END
        ),
        NULL, NULL, NULL
    FROM relation r JOIN pg_trigger t ON t.tgrelid = r.oid
    -- Until 14 a partition's copy of a trigger counts as internal; so do foreign keys' always.
    WHERE NOT t.tgisinternal OR (t.tgparentid <> 0 AND t.tgconstraint = 0)

    UNION ALL
    SELECT r.oid, 'pg_policy'::regclass, p.oid, 0, 'policy', quote_ident(p.polname), r.name,
        concat_ws(
            ' ', CASE WHEN p.polpermissive THEN 'AS PERMISSIVE' ELSE 'AS RESTRICTIVE' END,
            'FOR ' || CASE p.polcmd WHEN 'r' THEN 'SELECT' WHEN 'a' THEN 'INSERT'
                WHEN 'w' THEN 'UPDATE' WHEN 'd' THEN 'DELETE' ELSE 'ALL' END,
            'TO ' || (
                SELECT string_agg(role, ', ' ORDER BY role) FROM (
                    SELECT CASE u WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(u)) END
                    FROM unnest(p.polroles) u
                ) AS names (role)
            ),
            'USING (' || pg_get_expr(p.polqual, p.polrelid) || ')',
            'WITH CHECK (' || pg_get_expr(p.polwithcheck, p.polrelid) || ')'
        ),
        NULL, NULL, NULL
    FROM relation r JOIN pg_policy p ON p.polrelid = r.oid

    UNION ALL
    SELECT r.oid, 'pg_rewrite'::regclass, w.oid, 0, 'rule', quote_ident(w.rulename), r.name,
        concat_ws(
            ' ', pg_get_ruledef(w.oid),
            CASE w.ev_enabled WHEN 'D' THEN 'DISABLED' WHEN 'A' THEN 'ENABLED ALWAYS'
                WHEN 'R' THEN 'ENABLED REPLICA' END
        ),
        NULL, NULL, NULL
    FROM relation r JOIN pg_rewrite w ON w.ev_class = r.oid
    WHERE w.rulename <> '_RETURN'  -- the view itself

    UNION ALL
    SELECT s.oid, 'pg_statistic_ext'::regclass, s.oid, 0, 'statistics',
        format('%I.%I', n.name, s.stxname), s.stxrelid::regclass::text,
        concat_ws(
            ' ', pg_get_statisticsobjdef(s.oid), 'STATISTICS ' || nullif(s.stxstattarget, -1)
        ),
        NULL, NULL, NULL
    FROM pg_statistic_ext s JOIN space n ON n.oid = s.stxnamespace
    WHERE s.oid = ANY (:roots)
        AND ('pg_statistic_ext'::regclass, s.oid) NOT IN (TABLE member)
        AND ('pg_class'::regclass, s.stxrelid) NOT IN (TABLE member)

    -- Functions and operators -----------------------------------------------------------------

    UNION ALL
    SELECT p.oid, 'pg_proc'::regclass, p.oid, 0,
        CASE p.prokind WHEN 'a' THEN 'aggregate' WHEN 'p' THEN 'procedure' ELSE 'function' END,
        format('%I.%I(%s)', n.name, p.proname, pg_get_function_identity_arguments(p.oid)), '',
        CASE WHEN p.prokind <> 'a' THEN pg_get_functiondef(p.oid) ELSE (
            SELECT jsonb_strip_nulls(
                to_jsonb(a) - '{aggfnoid}'::text[] || jsonb_build_object(
                    'aggtranstype', format_type(a.aggtranstype, NULL),
                    'aggmtranstype', format_type(nullif(a.aggmtranstype, 0), NULL),
                    'aggsortop', nullif(a.aggsortop, 0)::regoperator,
                    'arguments', pg_get_function_arguments(p.oid),
                    'result', pg_get_function_result(p.oid),
                    'parallel', p.proparallel
                )
            )::text
            FROM pg_aggregate a WHERE a.aggfnoid = p.oid
        ) END,
        p.proacl, acldefault('f', p.proowner), p.proowner
    FROM pg_proc p JOIN space n ON n.oid = p.pronamespace
    WHERE p.oid >= 16384 AND p.oid = ANY (:roots)
        AND ('pg_proc'::regclass, p.oid) NOT IN (TABLE member)

    UNION ALL
    SELECT o.oid, 'pg_operator'::regclass, o.oid, 0, 'operator',
        format('%I.%s (%s, %s)', n.name, o.oprname,
            coalesce(format_type(nullif(o.oprleft, 0), NULL), 'NONE'),
            coalesce(format_type(nullif(o.oprright, 0), NULL), 'NONE')), '',
        concat_ws(
            ' ', 'RETURNS ' || format_type(nullif(o.oprresult, 0), NULL),
            'FUNCTION ' || nullif(o.oprcode, 0)::regproc,
            'COMMUTATOR ' || nullif(o.oprcom, 0)::regoperator,
            'NEGATOR ' || nullif(o.oprnegate, 0)::regoperator,
            'RESTRICT ' || nullif(o.oprrest, 0)::regproc,
            'JOIN ' || nullif(o.oprjoin, 0)::regproc,
            CASE WHEN o.oprcanhash THEN 'HASHES' END, CASE WHEN o.oprcanmerge THEN 'MERGES' END
        ),
        NULL, NULL, NULL
    FROM pg_operator o JOIN space n ON n.oid = o.oprnamespace
    WHERE o.oid = ANY (:roots)
        AND ('pg_operator'::regclass, o.oid) NOT IN (TABLE member)

    UNION ALL
    SELECT f.oid, 'pg_opfamily'::regclass, f.oid, 0, 'operator family',
        format('%I.%I USING %I', n.name, f.opfname, m.amname), '',
        concat_ws(
            ', ', 'exists',
            (
                SELECT string_agg(
                    concat_ws(
                        ' ', 'OPERATOR', o.amopstrategy, o.amopopr::regoperator,
                        'FOR ORDER BY ' || (SELECT format('%I.%I', sn.nspname, s.opfname)
                            FROM pg_opfamily s JOIN pg_namespace sn ON sn.oid = s.opfnamespace
                            WHERE s.oid = o.amopsortfamily)
                    ), ', ' ORDER BY o.amopstrategy, o.amopopr::regoperator::text
                )
                FROM pg_amop o WHERE o.amopfamily = f.oid
            ),
            (
                SELECT string_agg(
                    format('FUNCTION %s (%s, %s) %s', o.amprocnum,
                        format_type(o.amproclefttype, NULL), format_type(o.amprocrighttype, NULL),
                        o.amproc::regprocedure),
                    ', ' ORDER BY o.amprocnum, format_type(o.amproclefttype, NULL),
                        format_type(o.amprocrighttype, NULL)
                )
                FROM pg_amproc o WHERE o.amprocfamily = f.oid
            )
        ),
        NULL, NULL, NULL
    FROM pg_opfamily f JOIN space n ON n.oid = f.opfnamespace JOIN pg_am m ON m.oid = f.opfmethod
    WHERE f.oid = ANY (:roots)
        AND ('pg_opfamily'::regclass, f.oid) NOT IN (TABLE member)

    UNION ALL
    SELECT c.oid, 'pg_opclass'::regclass, c.oid, 0, 'operator class',
        format('%I.%I USING %I', n.name, c.opcname, m.amname), '',
        concat_ws(
            ' ', CASE WHEN c.opcdefault THEN 'DEFAULT' END,
            'FOR TYPE ' || format_type(c.opcintype, NULL),
            format('FAMILY %I.%I', fn.nspname, f.opfname),
            'STORAGE ' || format_type(nullif(c.opckeytype, 0), NULL)
        ),
        NULL, NULL, NULL
    FROM pg_opclass c
    JOIN space n ON n.oid = c.opcnamespace
    JOIN pg_am m ON m.oid = c.opcmethod
    JOIN pg_opfamily f ON f.oid = c.opcfamily
    JOIN pg_namespace fn ON fn.oid = f.opfnamespace
    WHERE c.oid = ANY (:roots)
        AND ('pg_opclass'::regclass, c.oid) NOT IN (TABLE member)

    -- What has no schema or is rare: PostgreSQL's own objects have oids below 16384 -----------

    UNION ALL
    SELECT c.oid, 'pg_cast'::regclass, c.oid, 0, 'cast',
        format('(%s AS %s)', format_type(c.castsource, NULL), format_type(c.casttarget, NULL)), '',
        concat_ws(
            ' ', CASE c.castmethod WHEN 'f' THEN 'WITH FUNCTION ' || c.castfunc::regprocedure
                WHEN 'i' THEN 'WITH INOUT' ELSE 'WITHOUT FUNCTION' END,
            CASE c.castcontext WHEN 'a' THEN 'AS ASSIGNMENT' WHEN 'i' THEN 'AS IMPLICIT' END
        ),
        NULL, NULL, NULL
    FROM pg_cast c
    WHERE c.oid >= 16384 AND c.oid = ANY (:roots)
        AND ('pg_cast'::regclass, c.oid) NOT IN (TABLE member)

    UNION ALL
    SELECT c.oid, 'pg_collation'::regclass, c.oid, 0, 'collation',
        format('%I.%I', n.name, c.collname), '',
        jsonb_strip_nulls(
            to_jsonb(c) - '{oid,collname,collnamespace,collowner,collversion}'::text[]
        )::text,
        NULL, NULL, NULL
    FROM pg_collation c JOIN space n ON n.oid = c.collnamespace
    WHERE c.oid = ANY (:roots)
        AND ('pg_collation'::regclass, c.oid) NOT IN (TABLE member)

    UNION ALL
    SELECT c.oid, 'pg_conversion'::regclass, c.oid, 0, 'conversion',
        format('%I.%I', n.name, c.conname), '',
        format('%sFOR %L TO %L FROM %s', CASE WHEN c.condefault THEN 'DEFAULT ' END,
            pg_encoding_to_char(c.conforencoding), pg_encoding_to_char(c.contoencoding), c.conproc),
        NULL, NULL, NULL
    FROM pg_conversion c JOIN space n ON n.oid = c.connamespace
    WHERE c.oid = ANY (:roots)
        AND ('pg_conversion'::regclass, c.oid) NOT IN (TABLE member)

    UNION ALL
    SELECT c.oid, 'pg_ts_config'::regclass, c.oid, 0, 'text search configuration',
        format('%I.%I', n.name, c.cfgname), '',
        concat_ws(
            ', ', (SELECT format('PARSER %I.%I', pn.nspname, p.prsname)
                FROM pg_ts_parser p JOIN pg_namespace pn ON pn.oid = p.prsnamespace
                WHERE p.oid = c.cfgparser),
            (
                SELECT string_agg(
                    format('%s: %s', t.alias, m.mapdict::regdictionary), ', '
                    ORDER BY m.maptokentype, m.mapseqno
                )
                FROM pg_ts_config_map m
                JOIN ts_token_type(c.cfgparser) t ON t.tokid = m.maptokentype
                WHERE m.mapcfg = c.oid
            )
        ),
        NULL, NULL, NULL
    FROM pg_ts_config c JOIN space n ON n.oid = c.cfgnamespace
    WHERE c.oid = ANY (:roots)
        AND ('pg_ts_config'::regclass, c.oid) NOT IN (TABLE member)

    UNION ALL
    SELECT d.oid, 'pg_ts_dict'::regclass, d.oid, 0, 'text search dictionary',
        format('%I.%I', n.name, d.dictname), '',
        concat_ws(', ', format('TEMPLATE %I.%I', tn.nspname, t.tmplname), d.dictinitoption),
        NULL, NULL, NULL
    FROM pg_ts_dict d
    JOIN space n ON n.oid = d.dictnamespace
    JOIN pg_ts_template t ON t.oid = d.dicttemplate
    JOIN pg_namespace tn ON tn.oid = t.tmplnamespace
    WHERE d.oid = ANY (:roots)
        AND ('pg_ts_dict'::regclass, d.oid) NOT IN (TABLE member)

    UNION ALL
    SELECT p.oid, 'pg_ts_parser'::regclass, p.oid, 0, 'text search parser',
        format('%I.%I', n.name, p.prsname), '',
        (to_jsonb(p) - '{oid,prsname,prsnamespace}'::text[])::text, NULL, NULL, NULL
    FROM pg_ts_parser p JOIN space n ON n.oid = p.prsnamespace
    WHERE p.oid = ANY (:roots)
        AND ('pg_ts_parser'::regclass, p.oid) NOT IN (TABLE member)

    UNION ALL
    SELECT t.oid, 'pg_ts_template'::regclass, t.oid, 0, 'text search template',
        format('%I.%I', n.name, t.tmplname), '',
        (to_jsonb(t) - '{oid,tmplname,tmplnamespace}'::text[])::text, NULL, NULL, NULL
    FROM pg_ts_template t JOIN space n ON n.oid = t.tmplnamespace
    WHERE t.oid = ANY (:roots)
        AND ('pg_ts_template'::regclass, t.oid) NOT IN (TABLE member)

    UNION ALL
    SELECT l.oid, 'pg_language'::regclass, l.oid, 0, 'language', quote_ident(l.lanname), '',
        concat_ws(
            ' ', CASE WHEN l.lanpltrusted THEN 'TRUSTED' END,
            'HANDLER ' || nullif(l.lanplcallfoid, 0)::regproc,
            'INLINE ' || nullif(l.laninline, 0)::regproc,
            'VALIDATOR ' || nullif(l.lanvalidator, 0)::regproc
        ),
        l.lanacl, acldefault('l', l.lanowner), l.lanowner
    FROM pg_language l
    WHERE l.oid >= 16384 AND l.oid = ANY (:roots)
        AND ('pg_language'::regclass, l.oid) NOT IN (TABLE member)

    UNION ALL
    SELECT t.oid, 'pg_transform'::regclass, t.oid, 0, 'transform',
        format('FOR %s LANGUAGE %I', format_type(t.trftype, NULL), l.lanname), '',
        format('FROM SQL %s TO SQL %s', t.trffromsql, t.trftosql), NULL, NULL, NULL
    FROM pg_transform t JOIN pg_language l ON l.oid = t.trflang
    WHERE t.oid >= 16384 AND t.oid = ANY (:roots)
        AND ('pg_transform'::regclass, t.oid) NOT IN (TABLE member)

    UNION ALL
    SELECT a.oid, 'pg_am'::regclass, a.oid, 0, 'access method', quote_ident(a.amname), '',
        format('%s HANDLER %s', CASE a.amtype WHEN 't' THEN 'TABLE' ELSE 'INDEX' END, a.amhandler),
        NULL, NULL, NULL
    FROM pg_am a
    WHERE a.oid >= 16384 AND a.oid = ANY (:roots)
        AND ('pg_am'::regclass, a.oid) NOT IN (TABLE member)

    UNION ALL
    SELECT e.oid, 'pg_event_trigger'::regclass, e.oid, 0, 'event trigger', quote_ident(e.evtname),
        '',
        concat_ws(
            ' ', 'ON', e.evtevent,
            'WHEN TAG IN (' || (
                SELECT string_agg(quote_literal(tag), ', ' ORDER BY tag) FROM unnest(e.evttags) tag
            ) || ')',
            'EXECUTE FUNCTION', e.evtfoid::regprocedure,
            CASE e.evtenabled WHEN 'D' THEN 'DISABLED' WHEN 'A' THEN 'ENABLED ALWAYS'
                WHEN 'R' THEN 'ENABLED REPLICA' END
        ),
        NULL, NULL, NULL
    FROM pg_event_trigger e
    WHERE e.oid = ANY (:roots)
        AND ('pg_event_trigger'::regclass, e.oid) NOT IN (TABLE member)

    UNION ALL
    SELECT p.oid, 'pg_publication'::regclass, p.oid, 0, 'publication', quote_ident(p.pubname), '',
        (to_jsonb(p) - '{oid,pubname,pubowner}'::text[])::text, NULL, NULL, NULL
    FROM pg_publication p WHERE p.oid = ANY (:roots)

    UNION ALL
    SELECT p.oid, 'pg_publication_rel'::regclass, l.oid, 0, 'publication table',
        l.prrelid::regclass::text, quote_ident(p.pubname),
        concat_ws(
            ' ', 'exists'
            /* since 15 */ , '(' || (
                SELECT string_agg(quote_ident(a.attname), ', ' ORDER BY a.attname)
                FROM pg_attribute a
                WHERE a.attrelid = l.prrelid AND a.attnum = ANY (l.prattrs::int2[])
            ) || ')', 'WHERE ' || pg_get_expr(l.prqual, l.prrelid) /* end */
        ),
        NULL, NULL, NULL
    FROM pg_publication p JOIN pg_publication_rel l ON l.prpubid = p.oid
    WHERE p.oid = ANY (:roots)

    /* since 15 */
    UNION ALL
    SELECT p.oid, 'pg_publication_namespace'::regclass, l.oid, 0, 'publication schema',
        quote_ident(n.nspname), quote_ident(p.pubname), 'exists', NULL, NULL, NULL
    FROM pg_publication p
    JOIN pg_publication_namespace l ON l.pnpubid = p.oid
    JOIN pg_namespace n ON n.oid = l.pnnspid
    WHERE p.oid = ANY (:roots)
    /* end */

    UNION ALL
    SELECT w.oid, 'pg_foreign_data_wrapper'::regclass, w.oid, 0, 'foreign data wrapper',
        quote_ident(w.fdwname), '',
        concat_ws(
            ' ', 'exists', 'HANDLER ' || nullif(w.fdwhandler, 0)::regproc,
            'VALIDATOR ' || nullif(w.fdwvalidator, 0)::regproc,
            'OPTIONS (' || (
                SELECT string_agg(format('%I %L', o.option_name, CASE
                    WHEN o.option_name ~* 'pass|secret|token|key' THEN '***' ELSE o.option_value
                END), ', ' ORDER BY o.option_name)
                FROM pg_options_to_table(w.fdwoptions) o
            ) || ')'
        ),
        w.fdwacl, acldefault('F', w.fdwowner), w.fdwowner
    FROM pg_foreign_data_wrapper w
    WHERE w.oid = ANY (:roots)
        AND ('pg_foreign_data_wrapper'::regclass, w.oid) NOT IN (TABLE member)

    UNION ALL
    SELECT s.oid, 'pg_foreign_server'::regclass, s.oid, 0, 'server', quote_ident(s.srvname), '',
        concat_ws(
            ' ', 'TYPE ' || quote_literal(s.srvtype), 'VERSION ' || quote_literal(s.srvversion),
            'FOREIGN DATA WRAPPER ' || quote_ident(w.fdwname),
            'OPTIONS (' || (
                SELECT string_agg(format('%I %L', o.option_name, CASE
                    WHEN o.option_name ~* 'pass|secret|token|key' THEN '***' ELSE o.option_value
                END), ', ' ORDER BY o.option_name)
                FROM pg_options_to_table(s.srvoptions) o
            ) || ')'
        ),
        s.srvacl, acldefault('S', s.srvowner), s.srvowner
    FROM pg_foreign_server s JOIN pg_foreign_data_wrapper w ON w.oid = s.srvfdw
    WHERE s.oid = ANY (:roots)
        AND ('pg_foreign_server'::regclass, s.oid) NOT IN (TABLE member)

    UNION ALL  -- the options of a mapping are secrets, and are not read
    SELECT u.umid, 'pg_user_mapping'::regclass, u.umid, 0, 'user mapping',
        CASE u.umuser WHEN 0 THEN 'PUBLIC' ELSE quote_ident(u.usename) END,
        quote_ident(u.srvname), 'exists', NULL, NULL, NULL
    FROM pg_user_mappings u WHERE u.umid = ANY (:roots)

    UNION ALL
    SELECT d.oid, 'pg_default_acl'::regclass, d.oid, 0, 'default privilege',
        CASE d.defaclobjtype WHEN 'r' THEN 'tables' WHEN 'S' THEN 'sequences'
            WHEN 'f' THEN 'functions' WHEN 'T' THEN 'types' WHEN 'n' THEN 'schemas'
            ELSE 'large objects' END
            || ' of ' || quote_ident(pg_get_userbyid(d.defaclrole))
            || coalesce(' in schema ' || quote_ident(n.nspname), ''), '', NULL, d.defaclacl,
        CASE WHEN d.defaclnamespace = 0
            THEN acldefault(CASE d.defaclobjtype WHEN 'S' THEN 's' ELSE d.defaclobjtype END,
                d.defaclrole)
            ELSE NULL
        END,
        d.defaclrole
    FROM pg_default_acl d LEFT JOIN pg_namespace n ON n.oid = d.defaclnamespace
    WHERE d.oid = ANY (:roots)
)

SELECT root, kind, identity, "on", definition FROM object WHERE definition IS NOT NULL

UNION ALL
SELECT o.root, 'comment',
    CASE o."on" WHEN '' THEN o.kind ELSE o.kind || ' ' || o.identity END,
    CASE o."on" WHEN '' THEN o.identity ELSE o."on" END,
    d.description
FROM object o
JOIN pg_description d USING (classoid, objoid, objsubid)
WHERE d.objoid >= 12000  -- not PostgreSQL's own, of which there are 5,000
    AND NOT (o.kind = 'schema' AND o.identity = 'public')  -- initdb's, and lost in some restores

UNION ALL
SELECT o.root, CASE o.kind WHEN 'default privilege' THEN o.kind ELSE 'privilege' END,
    CASE p.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(p.grantee)) END
        || ': ' || p.privilege_type,
    CASE
        WHEN o.kind = 'default privilege' THEN o.identity
        WHEN o."on" = '' THEN o.kind || ' ' || o.identity
        ELSE o.kind || ' ' || o."on" || '.' || o.identity
    END,
    coalesce(p.now, 'revoked')
FROM object o
CROSS JOIN LATERAL (
    SELECT x.grantee, x.privilege_type,
        -- 'granted with grant option' is the greater of the two strings
        max(x.text) FILTER (WHERE x.now) AS now, max(x.text) FILTER (WHERE NOT x.now) AS before
    FROM (
        SELECT e.grantee, e.privilege_type, s.now,
            CASE WHEN e.is_grantable THEN 'granted with grant option' ELSE 'granted' END AS text
        FROM (VALUES (true, o.acl), (false, o.baseline)) s (now, acl)
        CROSS JOIN aclexplode(s.acl) e
    ) x
    GROUP BY x.grantee, x.privilege_type
) p
WHERE o.acl IS NOT NULL AND p.grantee <> o.owner AND p.now IS DISTINCT FROM p.before
    AND (p.now IS NOT NULL OR p.grantee = 0)  -- nobody but PUBLIC has anything by default

-- name: touched
-- What the current transaction has touched: the catalog rows it wrote (its subtransactions have
-- later ids), and what it holds a lock on, which includes whatever it dropped. A lock on the
-- relation comes with every change of a column, constraint, index, trigger, policy or rule, so
-- their catalogs need not be searched; pg_attribute only because GRANT takes no lock, and only
-- if a row of it was updated: it is by far the largest.
WITH
since AS MATERIALIZED (SELECT age(pg_current_xact_id_if_assigned()::xid) AS age),
held AS MATERIALIZED (
    SELECT coalesce(l.classid, 'pg_class'::regclass) AS classid,
        coalesce(l.objid, l.relation) AS oid
    FROM pg_locks l
    WHERE l.pid = pg_backend_pid() AND l.locktype IN ('relation', 'object')
        AND (SELECT age FROM since) IS NOT NULL  -- else it has written nothing
),
gone AS MATERIALIZED (  -- parts that are no more and whose whole may not have been locked
    SELECT h.classid FROM held h
    WHERE h.classid IN ('pg_amop'::regclass, 'pg_amproc'::regclass, 'pg_publication_rel'::regclass
            /* since 15 */ , 'pg_publication_namespace'::regclass /* end */)
        OR h.classid = 'pg_constraint'::regclass
            AND NOT EXISTS (SELECT FROM pg_constraint c WHERE c.oid = h.oid)
),
hit (oid) AS MATERIALIZED (
    SELECT oid FROM held
    UNION ALL SELECT w.oid FROM pg_rewrite w JOIN pg_depend d ON d.objid = w.oid
        WHERE d.classid = 'pg_rewrite'::regclass AND d.refclassid = 'pg_class'::regclass
            AND d.refobjid = ANY (ARRAY(SELECT oid FROM held WHERE oid >= 16384))
    UNION ALL SELECT oid FROM pg_type WHERE typtype = 'd' AND EXISTS (
        SELECT FROM gone WHERE classid = 'pg_constraint'::regclass)
    UNION ALL SELECT oid FROM pg_opfamily WHERE EXISTS (
        SELECT FROM gone WHERE classid IN ('pg_amop'::regclass, 'pg_amproc'::regclass))
    UNION ALL SELECT oid FROM pg_publication WHERE EXISTS (
        SELECT FROM gone WHERE classid = 'pg_publication_rel'::regclass
            /* since 15 */ OR classid = 'pg_publication_namespace'::regclass /* end */)
    UNION ALL SELECT umid FROM pg_user_mappings  -- few, and their catalog may not be readable
    UNION ALL SELECT oid FROM pg_ts_config  -- few, and a dropped mapping leaves no trace
    UNION ALL SELECT objoid FROM pg_description WHERE age(xmin) <= (SELECT age FROM since)
    UNION ALL SELECT attrelid FROM pg_attribute WHERE age(xmin) <= (SELECT age FROM since)
        AND (SELECT pg_stat_get_xact_tuples_updated('pg_attribute'::regclass) > 0
            OR current_setting('track_counts') = 'off')
    UNION ALL SELECT enumtypid FROM pg_enum WHERE age(xmin) <= (SELECT age FROM since)
    UNION ALL SELECT amopfamily FROM pg_amop WHERE age(xmin) <= (SELECT age FROM since)
    UNION ALL SELECT amprocfamily FROM pg_amproc WHERE age(xmin) <= (SELECT age FROM since)
    UNION ALL SELECT prpubid FROM pg_publication_rel WHERE age(xmin) <= (SELECT age FROM since)
    /* since 15 */
    UNION ALL SELECT pnpubid FROM pg_publication_namespace
        WHERE age(xmin) <= (SELECT age FROM since)
    /* end */
    UNION ALL SELECT oid FROM pg_class WHERE age(xmin) <= (SELECT age FROM since)
    UNION ALL SELECT oid FROM pg_type WHERE age(xmin) <= (SELECT age FROM since)
    UNION ALL SELECT oid FROM pg_constraint
        WHERE contypid > 0 AND age(xmin) <= (SELECT age FROM since)
    UNION ALL SELECT oid FROM pg_proc WHERE age(xmin) <= (SELECT age FROM since)
    UNION ALL SELECT oid FROM pg_operator WHERE age(xmin) <= (SELECT age FROM since)
    UNION ALL SELECT oid FROM pg_opclass WHERE age(xmin) <= (SELECT age FROM since)
    UNION ALL SELECT oid FROM pg_opfamily WHERE age(xmin) <= (SELECT age FROM since)
    UNION ALL SELECT oid FROM pg_namespace WHERE age(xmin) <= (SELECT age FROM since)
    UNION ALL SELECT oid FROM pg_extension WHERE age(xmin) <= (SELECT age FROM since)
    UNION ALL SELECT oid FROM pg_default_acl WHERE age(xmin) <= (SELECT age FROM since)
    UNION ALL SELECT oid FROM pg_statistic_ext WHERE age(xmin) <= (SELECT age FROM since)
    UNION ALL SELECT oid FROM pg_publication WHERE age(xmin) <= (SELECT age FROM since)
    UNION ALL SELECT oid FROM pg_event_trigger WHERE age(xmin) <= (SELECT age FROM since)
    UNION ALL SELECT oid FROM pg_cast WHERE age(xmin) <= (SELECT age FROM since)
    UNION ALL SELECT oid FROM pg_collation WHERE age(xmin) <= (SELECT age FROM since)
    UNION ALL SELECT oid FROM pg_conversion WHERE age(xmin) <= (SELECT age FROM since)
    UNION ALL SELECT oid FROM pg_language WHERE age(xmin) <= (SELECT age FROM since)
    UNION ALL SELECT oid FROM pg_transform WHERE age(xmin) <= (SELECT age FROM since)
    UNION ALL SELECT oid FROM pg_am WHERE age(xmin) <= (SELECT age FROM since)
    UNION ALL SELECT oid FROM pg_ts_dict WHERE age(xmin) <= (SELECT age FROM since)
    UNION ALL SELECT oid FROM pg_ts_parser WHERE age(xmin) <= (SELECT age FROM since)
    UNION ALL SELECT oid FROM pg_ts_template WHERE age(xmin) <= (SELECT age FROM since)
    UNION ALL SELECT oid FROM pg_foreign_data_wrapper WHERE age(xmin) <= (SELECT age FROM since)
    UNION ALL SELECT oid FROM pg_foreign_server WHERE age(xmin) <= (SELECT age FROM since)
),

-- name: dependents
-- What names one of the asked roots, or a type or extension member that comes with it.
WITH
asked (oids) AS MATERIALIZED (
    SELECT :roots || ARRAY(
        SELECT objid FROM pg_depend
        WHERE refclassid = 'pg_extension'::regclass AND refobjid = ANY (:roots) AND deptype = 'e'
    )
),
own_type AS MATERIALIZED (
    SELECT t.oid, t.typarray FROM pg_type t
    WHERE t.oid = ANY ((SELECT oids FROM asked)::oid[])
        OR t.typrelid = ANY ((SELECT oids FROM asked)::oid[])
    /* since 14 */
    UNION ALL SELECT m.oid, m.typarray FROM pg_range r JOIN pg_type m ON m.oid = r.rngmultitypid
        WHERE r.rngtypid = ANY ((SELECT oids FROM asked)::oid[])
    /* end */
),
name (oid) AS MATERIALIZED (
    SELECT unnest(oids) FROM asked
    UNION SELECT oid FROM own_type
    UNION SELECT typarray FROM own_type
),
hit (oid) AS MATERIALIZED (
    SELECT d.objid FROM pg_depend d JOIN name n ON n.oid = d.refobjid
    UNION ALL SELECT umid FROM pg_user_mappings
),

-- name: roots
-- Ends `touched` and `dependents`: what was hit, and the roots that it may be a part of. An oid
-- is looked up in every catalog: one found in the wrong one costs only a needless look.
hits (oids) AS MATERIALIZED (SELECT ARRAY(SELECT DISTINCT oid FROM hit)),  -- an array uses indexes
root (oid) AS (
    SELECT oid FROM hit
    UNION SELECT indrelid FROM pg_index WHERE indexrelid = ANY ((SELECT oids FROM hits)::oid[])
    UNION SELECT conrelid FROM pg_constraint WHERE oid = ANY ((SELECT oids FROM hits)::oid[])
    UNION SELECT contypid FROM pg_constraint WHERE oid = ANY ((SELECT oids FROM hits)::oid[])
    UNION SELECT adrelid FROM pg_attrdef WHERE oid = ANY ((SELECT oids FROM hits)::oid[])
    UNION SELECT tgrelid FROM pg_trigger WHERE oid = ANY ((SELECT oids FROM hits)::oid[])
    UNION SELECT ev_class FROM pg_rewrite WHERE oid = ANY ((SELECT oids FROM hits)::oid[])
    UNION SELECT polrelid FROM pg_policy WHERE oid = ANY ((SELECT oids FROM hits)::oid[])
    UNION SELECT prpubid FROM pg_publication_rel WHERE oid = ANY ((SELECT oids FROM hits)::oid[])
    /* since 15 */
    UNION SELECT pnpubid FROM pg_publication_namespace
        WHERE oid = ANY ((SELECT oids FROM hits)::oid[])
    /* end */
    UNION SELECT amopfamily FROM pg_amop WHERE oid = ANY ((SELECT oids FROM hits)::oid[])
    UNION SELECT amprocfamily FROM pg_amproc WHERE oid = ANY ((SELECT oids FROM hits)::oid[])
    UNION SELECT reltype FROM pg_class
        WHERE oid = ANY ((SELECT oids FROM hits)::oid[]) AND relkind = 'c'
    UNION SELECT typrelid FROM pg_type WHERE oid = ANY ((SELECT oids FROM hits)::oid[])
    UNION SELECT typelem FROM pg_type WHERE oid = ANY ((SELECT oids FROM hits)::oid[])
    /* since 14 */
    UNION SELECT rngtypid FROM pg_range WHERE rngmultitypid = ANY ((SELECT oids FROM hits)::oid[])
    /* end */
    UNION SELECT refobjid FROM pg_depend  -- the sequence of an identity column
        WHERE classid = 'pg_class'::regclass AND objid = ANY ((SELECT oids FROM hits)::oid[])
            AND refclassid = 'pg_class'::regclass AND deptype = 'i'
)
SELECT oid FROM root WHERE oid >= 16384 OR oid = 2200  -- the schema public
