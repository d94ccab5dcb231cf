-- Every object that a dump carries, as (kind, identity), comparable between source and restore,
-- also across majors. Left out: members of extensions, system objects, other sessions' temporary
-- ones, and what PostgreSQL derives by itself (array types, cloned triggers and constraints of
-- partitions, not-null constraints, which majors before 18 do not catalogue, invalid indexes,
-- which pg_dump skips). Definitions of views and expressions are not compared: deparsing them is
-- not stable over dump and restore, and a false alarm teaches people not to listen.
-- An identity is NULL when the object was dropped since the snapshot: the caller starts over.
WITH member AS MATERIALIZED (
    SELECT classid, objid FROM pg_catalog.pg_depend WHERE deptype = 'e'
), space AS MATERIALIZED (
    SELECT oid, nspname FROM pg_catalog.pg_namespace
     WHERE nspname <> 'information_schema' AND nspname !~ '^pg_'
), relation AS MATERIALIZED (
    SELECT c.oid, s.nspname, c.relname, c.relkind, c.relowner, c.relacl, c.relispopulated,
           c.relispartition, c.relrowsecurity, c.relforcerowsecurity,
           format('%I.%I', s.nspname, c.relname) AS identity
      FROM pg_catalog.pg_class c
      JOIN space s ON s.oid = c.relnamespace
     WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S')
       AND c.relpersistence <> 't'
       AND NOT EXISTS (SELECT FROM member m
                        WHERE m.classid = 'pg_catalog.pg_class'::regclass AND m.objid = c.oid)
), object (classid, objid) AS (
    SELECT 'pg_catalog.pg_class'::regclass::oid, oid FROM relation
    UNION ALL
    SELECT 'pg_catalog.pg_class'::regclass, i.indexrelid
      FROM pg_catalog.pg_index i JOIN relation r ON r.oid = i.indrelid
     WHERE i.indisvalid OR r.relkind = 'p'
    UNION ALL
    SELECT 'pg_catalog.pg_constraint'::regclass, k.oid
      FROM pg_catalog.pg_constraint k
     WHERE k.contype IN ('c', 'f', 'p', 'u', 'x') AND k.conparentid = 0
       AND (k.conrelid IN (SELECT oid FROM relation)
            OR (k.conrelid = 0 AND k.connamespace IN (SELECT oid FROM space)))
    UNION ALL
    SELECT 'pg_catalog.pg_trigger'::regclass, t.oid
      FROM pg_catalog.pg_trigger t
     WHERE NOT t.tgisinternal AND t.tgparentid = 0 AND t.tgrelid IN (SELECT oid FROM relation)
    UNION ALL
    SELECT 'pg_catalog.pg_rewrite'::regclass, w.oid
      FROM pg_catalog.pg_rewrite w
     WHERE w.rulename <> '_RETURN' AND w.ev_class IN (SELECT oid FROM relation)
    UNION ALL
    SELECT 'pg_catalog.pg_policy'::regclass, p.oid
      FROM pg_catalog.pg_policy p WHERE p.polrelid IN (SELECT oid FROM relation)
    UNION ALL
    SELECT 'pg_catalog.pg_attrdef'::regclass, a.oid
      FROM pg_catalog.pg_attrdef a WHERE a.adrelid IN (SELECT oid FROM relation)
    UNION ALL
    SELECT 'pg_catalog.pg_proc'::regclass, oid FROM pg_catalog.pg_proc
     WHERE pronamespace IN (SELECT oid FROM space)
    UNION ALL
    SELECT 'pg_catalog.pg_type'::regclass, t.oid
      FROM pg_catalog.pg_type t
      LEFT JOIN pg_catalog.pg_class c ON c.oid = t.typrelid
     WHERE t.typnamespace IN (SELECT oid FROM space)
       AND t.typcategory <> 'A' AND (t.typrelid = 0 OR c.relkind = 'c')
    UNION ALL
    SELECT 'pg_catalog.pg_operator'::regclass, oid FROM pg_catalog.pg_operator
     WHERE oprnamespace IN (SELECT oid FROM space)
    UNION ALL
    SELECT 'pg_catalog.pg_opclass'::regclass, oid FROM pg_catalog.pg_opclass
     WHERE opcnamespace IN (SELECT oid FROM space)
    UNION ALL
    SELECT 'pg_catalog.pg_opfamily'::regclass, oid FROM pg_catalog.pg_opfamily
     WHERE opfnamespace IN (SELECT oid FROM space)
    UNION ALL
    SELECT 'pg_catalog.pg_collation'::regclass, oid FROM pg_catalog.pg_collation
     WHERE collnamespace IN (SELECT oid FROM space)
    UNION ALL
    SELECT 'pg_catalog.pg_conversion'::regclass, oid FROM pg_catalog.pg_conversion
     WHERE connamespace IN (SELECT oid FROM space)
    UNION ALL
    SELECT 'pg_catalog.pg_ts_config'::regclass, oid FROM pg_catalog.pg_ts_config
     WHERE cfgnamespace IN (SELECT oid FROM space)
    UNION ALL
    SELECT 'pg_catalog.pg_ts_dict'::regclass, oid FROM pg_catalog.pg_ts_dict
     WHERE dictnamespace IN (SELECT oid FROM space)
    UNION ALL
    SELECT 'pg_catalog.pg_ts_parser'::regclass, oid FROM pg_catalog.pg_ts_parser
     WHERE prsnamespace IN (SELECT oid FROM space)
    UNION ALL
    SELECT 'pg_catalog.pg_ts_template'::regclass, oid FROM pg_catalog.pg_ts_template
     WHERE tmplnamespace IN (SELECT oid FROM space)
    UNION ALL
    SELECT 'pg_catalog.pg_statistic_ext'::regclass, oid FROM pg_catalog.pg_statistic_ext
     WHERE stxnamespace IN (SELECT oid FROM space)
    UNION ALL
    -- "public" is in every new database, also where the source dropped it.
    SELECT 'pg_catalog.pg_namespace'::regclass, oid FROM space WHERE nspname <> 'public'
    -- Kinds without a schema: those above FirstNormalObjectId were made by users.
    UNION ALL SELECT 'pg_catalog.pg_extension'::regclass, oid FROM pg_catalog.pg_extension
    UNION ALL SELECT 'pg_catalog.pg_cast'::regclass, oid FROM pg_catalog.pg_cast WHERE oid >= 16384
    UNION ALL SELECT 'pg_catalog.pg_language'::regclass, oid FROM pg_catalog.pg_language
               WHERE oid >= 16384
    UNION ALL SELECT 'pg_catalog.pg_am'::regclass, oid FROM pg_catalog.pg_am WHERE oid >= 16384
    UNION ALL SELECT 'pg_catalog.pg_transform'::regclass, oid FROM pg_catalog.pg_transform
               WHERE oid >= 16384
    UNION ALL SELECT 'pg_catalog.pg_event_trigger'::regclass, oid
                FROM pg_catalog.pg_event_trigger
    UNION ALL SELECT 'pg_catalog.pg_publication'::regclass, oid FROM pg_catalog.pg_publication
    UNION ALL SELECT 'pg_catalog.pg_foreign_data_wrapper'::regclass, oid
                FROM pg_catalog.pg_foreign_data_wrapper
    UNION ALL SELECT 'pg_catalog.pg_foreign_server'::regclass, oid
                FROM pg_catalog.pg_foreign_server
    UNION ALL SELECT 'pg_catalog.pg_default_acl'::regclass, oid FROM pg_catalog.pg_default_acl
), owned (kind, identity, owner, acl, acltype) AS (
    SELECT CASE r.relkind WHEN 'S' THEN 'sequence' ELSE 'relation' END, r.identity, r.relowner,
           r.relacl, CASE r.relkind WHEN 'S' THEN 's' ELSE 'r' END::"char"
      FROM relation r
    UNION ALL
    SELECT 'schema', quote_ident(n.nspname), n.nspowner, n.nspacl, 'n'
      FROM pg_catalog.pg_namespace n JOIN space s USING (oid) WHERE s.nspname <> 'public'
    UNION ALL
    SELECT 'routine', p.oid::regprocedure::text, p.proowner, p.proacl, 'f'
      FROM pg_catalog.pg_proc p
     WHERE p.pronamespace IN (SELECT oid FROM space)
       AND NOT EXISTS (SELECT FROM member m
                        WHERE m.classid = 'pg_catalog.pg_proc'::regclass AND m.objid = p.oid)
    UNION ALL
    SELECT 'type', t.oid::regtype::text, t.typowner, t.typacl, 'T'
      FROM pg_catalog.pg_type t
      LEFT JOIN pg_catalog.pg_class c ON c.oid = t.typrelid
     WHERE t.typnamespace IN (SELECT oid FROM space)
       AND t.typtype IN ('b', 'd', 'e', 'r', 'c')
       AND t.typcategory <> 'A' AND (t.typrelid = 0 OR c.relkind = 'c')
       AND NOT EXISTS (SELECT FROM member m
                        WHERE m.classid = 'pg_catalog.pg_type'::regclass AND m.objid = t.oid)
)
SELECT i.type AS kind, i.identity
  FROM object o, LATERAL pg_catalog.pg_identify_object(o.classid, o.objid, 0) i
 WHERE NOT EXISTS (SELECT FROM member m WHERE m.classid = o.classid AND m.objid = o.objid)
UNION ALL
SELECT 'column',
       format('%s.%I %s', r.identity, a.attname, pg_catalog.format_type(a.atttypid, a.atttypmod))
       || CASE WHEN a.attnotnull AND r.relkind IN ('r', 'p') THEN ' not null' ELSE '' END
       || CASE WHEN a.attgenerated <> '' THEN ' generated' ELSE '' END
       || CASE WHEN a.attidentity <> '' AND NOT r.relispartition THEN ' identity' ELSE '' END
  FROM relation r
  JOIN pg_catalog.pg_attribute a ON a.attrelid = r.oid
 WHERE r.relkind <> 'S' AND a.attnum > 0 AND NOT a.attisdropped
UNION ALL
SELECT 'enum values',
       e.enumtypid::regtype::text || ': '
       || string_agg(quote_literal(e.enumlabel), ', ' ORDER BY e.enumsortorder)
  FROM pg_catalog.pg_enum e
 WHERE NOT EXISTS (SELECT FROM member m
                    WHERE m.classid = 'pg_catalog.pg_type'::regclass AND m.objid = e.enumtypid)
 GROUP BY e.enumtypid
UNION ALL
SELECT 'routine body', p.oid::regprocedure::text || ' ' || md5(p.prosrc)
  FROM pg_catalog.pg_proc p
 WHERE p.pronamespace IN (SELECT oid FROM space) AND p.prosrc <> ''
   AND NOT EXISTS (SELECT FROM member m
                    WHERE m.classid = 'pg_catalog.pg_proc'::regclass AND m.objid = p.oid)
UNION ALL
SELECT 'populated materialized view', identity FROM relation WHERE relkind = 'm' AND relispopulated
UNION ALL
SELECT 'row security', identity || CASE WHEN relforcerowsecurity THEN ' forced' ELSE '' END
  FROM relation WHERE relrowsecurity
UNION ALL
SELECT 'disabled trigger', i.identity
  FROM pg_catalog.pg_trigger t,
       LATERAL pg_catalog.pg_identify_object('pg_catalog.pg_trigger'::regclass, t.oid, 0) i
 WHERE t.tgenabled = 'D' AND NOT t.tgisinternal AND t.tgparentid = 0
   AND t.tgrelid IN (SELECT oid FROM relation)
UNION ALL
SELECT 'owner', format('%s %s: %I', kind, identity, pg_catalog.pg_get_userbyid(owner)) FROM owned
UNION ALL
SELECT 'grant',
       format('%s %s: %s %s%s', o.kind, o.identity, a.privilege_type,
              CASE a.grantee WHEN 0 THEN 'PUBLIC'
                   ELSE quote_ident(pg_catalog.pg_get_userbyid(a.grantee)) END,
              CASE WHEN a.is_grantable THEN ' with grant option' ELSE '' END)
  FROM owned o,
       LATERAL pg_catalog.aclexplode(coalesce(o.acl, pg_catalog.acldefault(o.acltype, o.owner))) a
 WHERE a.grantee <> o.owner
UNION ALL
SELECT 'grant',
       format('column %s.%I: %s %s%s', r.identity, t.attname, a.privilege_type,
              CASE a.grantee WHEN 0 THEN 'PUBLIC'
                   ELSE quote_ident(pg_catalog.pg_get_userbyid(a.grantee)) END,
              CASE WHEN a.is_grantable THEN ' with grant option' ELSE '' END)
  FROM relation r
  JOIN pg_catalog.pg_attribute t ON t.attrelid = r.oid
     , LATERAL pg_catalog.aclexplode(t.attacl) a
 WHERE t.attacl IS NOT NULL AND NOT t.attisdropped
UNION ALL
SELECT 'comment', i.type || ' ' || i.identity || ' ' || md5(d.description)
  FROM pg_catalog.pg_description d,
       LATERAL pg_catalog.pg_identify_object(d.classoid, d.objoid, d.objsubid) i
 WHERE d.objoid >= 16384
   AND d.classoid <> 'pg_catalog.pg_extension'::regclass
   AND NOT EXISTS (SELECT FROM member m WHERE m.classid = d.classoid AND m.objid = d.objoid)
   AND (d.classoid <> 'pg_catalog.pg_class'::regclass
        OR d.objoid IN (SELECT oid FROM relation)
        OR d.objoid IN (SELECT indexrelid FROM pg_catalog.pg_index
                         WHERE indrelid IN (SELECT oid FROM relation) AND indisvalid))
UNION ALL
SELECT 'user mapping', format('%I for %I', srvname, coalesce(usename, 'public'))
  FROM pg_catalog.pg_user_mappings
-- Hints, not objects: they are never compared, but say what falls with what, and how to read others.
UNION ALL
SELECT 'hint: belongs', format('index %I.%I of %s', n.nspname, c.relname, r.identity)
  FROM pg_catalog.pg_index i
  JOIN relation r ON r.oid = i.indrelid
  JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid
  JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
UNION ALL
SELECT 'hint: belongs', format('index %I.%I of %I.%I', n.nspname, c.relname, pn.nspname, pc.relname)
  FROM pg_catalog.pg_inherits h
  JOIN pg_catalog.pg_class c ON c.oid = h.inhrelid AND c.relkind IN ('i', 'I')
  JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
  JOIN pg_catalog.pg_class pc ON pc.oid = h.inhparent
  JOIN pg_catalog.pg_namespace pn ON pn.oid = pc.relnamespace
 WHERE c.oid IN (SELECT i.indexrelid FROM pg_catalog.pg_index i JOIN relation r ON r.oid = i.indrelid)
UNION ALL
SELECT 'hint: belongs', format('sequence %s of %s', s.identity, r.identity)
  FROM pg_catalog.pg_depend d
  JOIN relation s ON s.oid = d.objid AND s.relkind = 'S'
  JOIN relation r ON r.oid = d.refobjid
 WHERE d.classid = 'pg_catalog.pg_class'::regclass AND d.objsubid = 0
   AND d.refclassid = 'pg_catalog.pg_class'::regclass AND d.refobjsubid > 0
   AND d.deptype IN ('a', 'i')
UNION ALL
SELECT 'hint: belongs', format('statistics object %I.%I of %s', n.nspname, x.stxname, r.identity)
  FROM pg_catalog.pg_statistic_ext x
  JOIN relation r ON r.oid = x.stxrelid
  JOIN pg_catalog.pg_namespace n ON n.oid = x.stxnamespace
UNION ALL
SELECT 'hint: cycles', r.identity
  FROM relation r JOIN pg_catalog.pg_sequence s ON s.seqrelid = r.oid AND s.seqcycle
