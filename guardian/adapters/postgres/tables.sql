-- Every table whose rows pg_dump would read, in pg_dump's own order (schema, name).
-- Tables of extensions only where the extension marked them as configuration, with its condition.
SELECT c.oid::bigint AS oid,
       n.nspname AS schema,
       c.relname AS name,
       c.relkind::text AS kind,
       c.relpersistence = 'u' AS unlogged,
       c.relfilenode::bigint AS snapshot_filenode,
       pg_relation_filenode(c.oid)::bigint AS current_filenode,
       -- Of what was dropped meanwhile nothing is known; its lock will not be had.
       coalesce(has_schema_privilege(n.oid, 'USAGE') AND has_table_privilege(c.oid, 'SELECT'), true)
         AS readable,
       -- pg_table_size takes the table's lock, so it is asked only by those who hold it.
       CASE WHEN %(measured)s AND c.relkind = 'r' THEN pg_table_size(c.oid) ELSE 0 END AS bytes,
       row_security_active(c.oid) AS hides_rows,
       x.condition,
       -- Which hash partition a row lies in may change with a restore (the hash of an enum is that
       -- of its OID), so such a tree is read as a whole, at its topmost hash-partitioned table.
       (SELECT a.relid::oid::bigint
          FROM pg_catalog.pg_partition_ancestors(c.oid) WITH ORDINALITY a (relid, height)
          JOIN pg_catalog.pg_partitioned_table h ON h.partrelid = a.relid AND h.partstrat = 'h'
         ORDER BY a.height DESC LIMIT 1) AS hash_root,
       ARRAY(SELECT a.attname::text
               FROM pg_catalog.pg_attribute a
              WHERE a.attrelid = c.oid AND a.attnum > 0
                AND NOT a.attisdropped AND a.attgenerated = ''
              ORDER BY a.attname COLLATE "C") AS columns
  FROM pg_catalog.pg_class c
  JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
  LEFT JOIN pg_catalog.pg_depend d
         ON d.classid = 'pg_catalog.pg_class'::regclass AND d.objid = c.oid AND d.objsubid = 0
        AND d.refclassid = 'pg_catalog.pg_extension'::regclass AND d.deptype = 'e'
  LEFT JOIN LATERAL (
        SELECT e.extcondition[i] AS condition
          FROM pg_catalog.pg_extension e, generate_subscripts(e.extconfig, 1) i
         WHERE e.oid = d.refobjid AND e.extconfig[i] = c.oid) x ON true
 WHERE c.relkind IN ('r', 'p')
   AND c.relpersistence <> 't'
   AND n.nspname <> 'information_schema' AND n.nspname !~ '^pg_'
   AND (d.objid IS NULL OR x.condition IS NOT NULL)
 ORDER BY n.nspname COLLATE "C", c.relname COLLATE "C"
