-- Indexes that are not valid: a CREATE or REINDEX INDEX CONCURRENTLY that failed. Writes keep them
-- up, queries do not use them. Those being built right now are left out; of other roles' builds
-- only the pid is shown without pg_read_all_stats.
WITH builds AS MATERIALIZED (
    SELECT p.relid FROM pg_catalog.pg_stat_progress_create_index p
     WHERE p.datname = current_database()
)
SELECT format('%I.%I', n.nspname, c.relname) AS name, count(*) OVER () AS total,
       (SELECT count(*) FROM builds WHERE relid IS NULL) AS hidden_builds
  FROM pg_catalog.pg_index i
  JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid
  JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
 WHERE NOT i.indisvalid AND c.relkind = 'i' AND c.relpersistence <> 't'
   AND i.indrelid NOT IN (SELECT relid FROM builds WHERE relid IS NOT NULL)
 ORDER BY name LIMIT 20
