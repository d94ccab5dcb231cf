-- What objects are made of, beside their names: [type, identity, aspect, text, how] as JSON, a line
-- each. PostgreSQL does not keep the text of an expression stable: read back from a dump it may be
-- told otherwise, and mean the same. Where there may be one, "how" says how to ask a server what it
-- makes of the source's text: what was restored from that must be told just so. Where "how" is null
-- there is no expression in the text, and it is the same on every server of a major. An aspect that
-- has no line is empty.
WITH member AS MATERIALIZED (
    SELECT classid, objid FROM pg_catalog.pg_depend WHERE deptype = 'e'
), space AS MATERIALIZED (
    SELECT oid, nspname FROM pg_catalog.pg_namespace
     WHERE nspname <> 'information_schema' AND nspname !~ '^pg_'
), relation AS MATERIALIZED (
    SELECT c.oid, s.nspname, c.relname, c.relkind, c.reloptions, c.relispartition, c.relpartbound,
           format('%I.%I', s.nspname, c.relname) AS identity
      FROM pg_catalog.pg_class c
      JOIN space s ON s.oid = c.relnamespace
     WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S')
       AND c.relpersistence <> 't'
       AND NOT EXISTS (SELECT FROM member m
                        WHERE m.classid = 'pg_catalog.pg_class'::regclass AND m.objid = c.oid)
), indexed AS MATERIALIZED (
    SELECT i.*, r.nspname, r.relname AS table_name, c.reloptions,
           pg_catalog.pg_get_indexdef(i.indexrelid) AS told,
           format('CREATE %sINDEX %I ON %s%s ', CASE WHEN i.indisunique THEN 'UNIQUE ' END,
                  c.relname, CASE c.relkind WHEN 'I' THEN 'ONLY ' END, r.identity) AS head
      FROM pg_catalog.pg_index i
      JOIN relation r ON r.oid = i.indrelid
      JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid
     WHERE i.indisvalid OR r.relkind = 'p'
), definition (classid, objid, aspect, told, how) AS (
    SELECT 'pg_catalog.pg_class'::regclass::oid, oid, '', pg_catalog.pg_get_viewdef(oid),
           json_build_array('view')
      FROM relation WHERE relkind IN ('v', 'm')
    UNION ALL
    SELECT 'pg_catalog.pg_attrdef'::regclass, d.oid, '',
           pg_catalog.pg_get_expr(d.adbin, d.adrelid),
           json_build_array(CASE a.attgenerated WHEN '' THEN 'default' ELSE 'generated' END,
                            r.nspname, r.relname, a.attname)
      FROM pg_catalog.pg_attrdef d
      JOIN relation r ON r.oid = d.adrelid
      JOIN pg_catalog.pg_attribute a ON a.attrelid = d.adrelid AND a.attnum = d.adnum
    UNION ALL
    SELECT 'pg_catalog.pg_constraint'::regclass, k.oid, '',
           pg_catalog.pg_get_constraintdef(k.oid),
           CASE WHEN k.contype IN ('c', 'x')
                THEN json_build_array('constraint', r.nspname, r.relname) END
      FROM pg_catalog.pg_constraint k
      JOIN relation r ON r.oid = k.conrelid
     WHERE k.contype IN ('c', 'f', 'p', 'u', 'x') AND k.conparentid = 0
    UNION ALL
    SELECT 'pg_catalog.pg_constraint'::regclass, k.oid, '',
           pg_catalog.pg_get_constraintdef(k.oid),
           json_build_array('domain', pg_catalog.format_type(t.typbasetype, t.typtypmod))
      FROM pg_catalog.pg_constraint k
      JOIN pg_catalog.pg_type t ON t.oid = k.contypid
     WHERE k.contype = 'c' AND k.connamespace IN (SELECT oid FROM space)
    UNION ALL
    SELECT 'pg_catalog.pg_class'::regclass, indexrelid, '',
           CASE WHEN indisunique THEN 'UNIQUE ' ELSE '' END || substr(told, length(head) + 1),
           CASE WHEN indexprs IS NOT NULL OR indpred IS NOT NULL
                THEN json_build_array('index', nspname, table_name) END
      FROM indexed
     WHERE starts_with(told, head)
    UNION ALL
    SELECT 'pg_catalog.pg_class'::regclass, indexrelid, 'role',
           concat_ws(' ', CASE WHEN indisclustered THEN 'clustered' END,
                     CASE WHEN indisreplident THEN 'replica identity' END), NULL
      FROM indexed WHERE indisclustered OR indisreplident
    UNION ALL
    SELECT 'pg_catalog.pg_class'::regclass, oid, 'options',
           array_to_string(ARRAY(SELECT unnest(reloptions) ORDER BY 1), ', '), NULL
      FROM relation WHERE reloptions <> '{}'
    UNION ALL
    SELECT 'pg_catalog.pg_class'::regclass, oid, 'bounds',
           pg_catalog.pg_get_expr(relpartbound, oid), NULL
      FROM relation WHERE relispartition
    UNION ALL
    SELECT 'pg_catalog.pg_class'::regclass, p.partrelid, 'partition key',
           pg_catalog.pg_get_partkeydef(p.partrelid), NULL
      FROM pg_catalog.pg_partitioned_table p
     WHERE p.partexprs IS NULL AND p.partrelid IN (SELECT oid FROM relation)
    UNION ALL
    SELECT 'pg_catalog.pg_class'::regclass, s.seqrelid, '',
           concat_ws(' ', s.seqtypid::regtype, s.seqstart, s.seqmin, s.seqmax, s.seqcache,
                     s.seqcycle), NULL
      FROM pg_catalog.pg_sequence s WHERE s.seqrelid IN (SELECT oid FROM relation)
    UNION ALL
    SELECT 'pg_catalog.pg_trigger'::regclass, t.oid, '',
           concat_ws(' ', t.tgtype, nullif(nullif(t.tgenabled, 'D'), 'O'),
                     t.tgfoid::regprocedure, t.tgdeferrable,
                     t.tginitdeferred, md5(t.tgargs), t.tgqual IS NOT NULL,
                     quote_nullable(t.tgoldtable), quote_nullable(t.tgnewtable),
                     (SELECT string_agg(quote_ident(a.attname), ',' ORDER BY a.attname)
                        FROM pg_catalog.pg_attribute a
                       WHERE a.attrelid = t.tgrelid AND a.attnum = ANY (t.tgattr))), NULL
      FROM pg_catalog.pg_trigger t
     WHERE NOT t.tgisinternal AND t.tgparentid = 0 AND t.tgrelid IN (SELECT oid FROM relation)
    UNION ALL
    SELECT 'pg_catalog.pg_rewrite'::regclass, w.oid, '',
           concat_ws(' ', w.ev_type, w.ev_enabled, w.is_instead), NULL
      FROM pg_catalog.pg_rewrite w
     WHERE w.rulename <> '_RETURN' AND w.ev_class IN (SELECT oid FROM relation)
    UNION ALL
    SELECT 'pg_catalog.pg_policy'::regclass, p.oid, 'for whom',
           concat_ws(' ', p.polcmd, p.polpermissive,
                     (SELECT string_agg(role, ',' ORDER BY role)
                        FROM (SELECT CASE one WHEN 0 THEN 'PUBLIC' ELSE
                                     quote_ident(pg_catalog.pg_get_userbyid(one)) END AS role
                                FROM unnest(p.polroles) one) roles)), NULL
      FROM pg_catalog.pg_policy p WHERE p.polrelid IN (SELECT oid FROM relation)
    UNION ALL
    SELECT 'pg_catalog.pg_policy'::regclass, p.oid, 'condition',
           concat('USING (' || pg_catalog.pg_get_expr(p.polqual, p.polrelid) || ')',
                  ' WITH CHECK (' || pg_catalog.pg_get_expr(p.polwithcheck, p.polrelid) || ')'),
           json_build_array('policy', r.nspname, r.relname,
                            CASE p.polcmd WHEN 'r' THEN 'SELECT' WHEN 'a' THEN 'INSERT'
                                          WHEN 'w' THEN 'UPDATE' WHEN 'd' THEN 'DELETE'
                                          ELSE 'ALL' END)
      FROM pg_catalog.pg_policy p JOIN relation r ON r.oid = p.polrelid
    UNION ALL
    SELECT 'pg_catalog.pg_proc'::regclass, p.oid, '',
           concat_ws(' ', l.lanname, p.provolatile, p.proisstrict, p.prosecdef, p.proleakproof,
                     p.proparallel, p.procost, p.prorows, p.pronargdefaults,
                     pg_catalog.pg_get_function_result(p.oid), quote_nullable(p.proargnames::text),
                     quote_nullable(ARRAY(SELECT unnest(p.proconfig) ORDER BY 1)::text),
                     quote_nullable(p.probin)), NULL
      FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_language l ON l.oid = p.prolang
     WHERE p.pronamespace IN (SELECT oid FROM space)
    UNION ALL
    SELECT 'pg_catalog.pg_type'::regclass, t.oid, '',
           concat_ws(' ', pg_catalog.format_type(t.typbasetype, t.typtypmod), t.typnotnull), NULL
      FROM pg_catalog.pg_type t
     WHERE t.typtype = 'd' AND t.typnamespace IN (SELECT oid FROM space)
    UNION ALL
    SELECT 'pg_catalog.pg_type'::regclass, t.oid, '',
           (SELECT string_agg(format('%I %s', a.attname,
                                     pg_catalog.format_type(a.atttypid, a.atttypmod)), ', '
                              ORDER BY a.attnum)
              FROM pg_catalog.pg_attribute a
             WHERE a.attrelid = t.typrelid AND a.attnum > 0 AND NOT a.attisdropped), NULL
      FROM pg_catalog.pg_type t
      JOIN pg_catalog.pg_class c ON c.oid = t.typrelid AND c.relkind = 'c'
     WHERE t.typnamespace IN (SELECT oid FROM space)
)
SELECT json_build_array(i.type, i.identity, d.aspect, d.told, d.how)::text
  FROM definition d, LATERAL pg_catalog.pg_identify_object(d.classid, d.objid, 0) i
 WHERE d.told IS NOT NULL AND i.identity IS NOT NULL
   AND NOT EXISTS (SELECT FROM member m WHERE m.classid = d.classid AND m.objid = d.objid)
UNION ALL
SELECT json_build_array('column', format('%s.%I', r.identity, a.attname), 'details',
                        concat_ws(' ', CASE a.attidentity WHEN 'a' THEN 'always'
                                                          WHEN 'd' THEN 'by default' END,
                                  CASE WHEN a.attcollation <> t.typcollation
                                       THEN a.attcollation::regcollation END), NULL)::text
  FROM relation r
  JOIN pg_catalog.pg_attribute a ON a.attrelid = r.oid
  JOIN pg_catalog.pg_type t ON t.oid = a.atttypid
 WHERE r.relkind IN ('r', 'p', 'f') AND a.attnum > 0 AND NOT a.attisdropped
   AND (a.attidentity <> '' OR a.attcollation <> t.typcollation)
