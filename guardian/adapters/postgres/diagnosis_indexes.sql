-- The largest indexes, and whether anybody uses them. Sizes as in diagnosis_tables.
-- last_idx_scan came with 16 (read through to_jsonb, so that earlier ones work).
WITH locked AS MATERIALIZED (
    SELECT DISTINCT l.relation FROM pg_catalog.pg_locks l
     WHERE l.locktype = 'relation' AND l.mode = 'AccessExclusiveLock'
       AND l.database = (SELECT oid FROM pg_catalog.pg_database
                          WHERE datname = current_database())
), weighed AS (
    SELECT c.oid, i.indrelid, i.indisunique, i.indisvalid, NOT e.exact AS estimated,
           format('%%I.%%I', n.nspname, c.relname) AS name,
           CASE WHEN e.exact THEN pg_relation_size(c.oid)
                ELSE c.relpages::bigint * current_setting('block_size')::int END AS bytes
      FROM pg_catalog.pg_index i
      JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid
      JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace,
           LATERAL (SELECT %(exact)s AND NOT EXISTS (
                        SELECT FROM locked l WHERE l.relation = c.oid) AS exact) e
     WHERE c.relkind = 'i' AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast')
), largest AS MATERIALIZED (
    SELECT * FROM weighed ORDER BY bytes DESC, name LIMIT %(top)s
)
SELECT l.name, format('%%I.%%I', tn.nspname, t.relname) AS "table", l.bytes, l.estimated,
       coalesce(pg_stat_get_numscans(l.oid), 0) AS scans,
       (SELECT (to_jsonb(s) ->> 'last_idx_scan')::timestamptz
          FROM pg_catalog.pg_stat_all_indexes s WHERE s.indexrelid = l.oid) AS last_scan,
       l.indisunique AS unique, l.indisvalid AS valid,
       EXISTS (SELECT FROM pg_catalog.pg_constraint k WHERE k.conindid = l.oid) AS is_constraint,
       (SELECT d.stats_reset FROM pg_catalog.pg_stat_database d
         WHERE d.datname = current_database()) AS stats_reset
  FROM largest l
  JOIN pg_catalog.pg_class t ON t.oid = l.indrelid
  JOIN pg_catalog.pg_namespace tn ON tn.oid = t.relnamespace
 ORDER BY l.bytes DESC, l.name
