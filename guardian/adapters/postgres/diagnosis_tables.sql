-- The largest tables with indexes and toast, and those with most dead rows.
-- pg_total_relation_size would wait behind whoever holds an ACCESS EXCLUSIVE lock, which is when
-- one looks here: the size of such a table is estimated from pg_class, as is that of all tables
-- when exact is false (counting files took too long). Everybody may see all of it.
WITH locked AS MATERIALIZED (
    SELECT DISTINCT l.relation FROM pg_catalog.pg_locks l
     WHERE l.locktype = 'relation' AND l.mode = 'AccessExclusiveLock'
       AND l.database = (SELECT oid FROM pg_catalog.pg_database
                          WHERE datname = current_database())
), tables AS MATERIALIZED (
    SELECT c.oid, c.reltoastrelid AS toast, c.relpages, c.reltuples,
           n.nspname IN ('pg_catalog', 'information_schema') AS is_system,
           format('%%I.%%I', n.nspname, c.relname) AS name,
           pg_stat_get_live_tuples(c.oid) AS live, pg_stat_get_dead_tuples(c.oid) AS dead
      FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
     WHERE c.relkind IN ('r', 'm')
), files AS (
    SELECT t.oid AS root, 'table' AS kind, t.oid, t.relpages FROM tables t
    UNION ALL
    SELECT t.oid, 'toast', c.oid, c.relpages
      FROM tables t JOIN pg_catalog.pg_class c ON c.oid = t.toast
    UNION ALL
    SELECT t.oid, CASE WHEN i.indrelid = t.oid THEN 'index' ELSE 'toast' END, c.oid, c.relpages
      FROM tables t
      JOIN pg_catalog.pg_index i ON i.indrelid = t.oid OR i.indrelid = nullif(t.toast, 0)
      JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid
), weighed AS (
    SELECT f.root, f.kind, NOT e.exact AS estimated,
           CASE WHEN e.exact
                THEN pg_relation_size(f.oid) + pg_relation_size(f.oid, 'fsm')
                     + pg_relation_size(f.oid, 'vm')
                ELSE f.relpages::bigint * current_setting('block_size')::int END AS bytes
      FROM files f,
           LATERAL (SELECT %(exact)s AND NOT EXISTS (
                        SELECT FROM locked l WHERE l.relation = f.oid) AS exact) e
), summed AS (
    SELECT w.root, sum(w.bytes)::bigint AS total_bytes,
           coalesce(sum(w.bytes) FILTER (WHERE w.kind = 'table'), 0)::bigint AS table_bytes,
           coalesce(sum(w.bytes) FILTER (WHERE w.kind = 'index'), 0)::bigint AS index_bytes,
           coalesce(sum(w.bytes) FILTER (WHERE w.kind = 'toast'), 0)::bigint AS toast_bytes,
           bool_or(w.estimated) AS estimated
      FROM weighed w GROUP BY w.root
), ranked AS (
    SELECT t.*, s.total_bytes, s.table_bytes, s.index_bytes, s.toast_bytes, s.estimated,
           row_number() OVER (ORDER BY s.total_bytes DESC, t.name) AS by_size,
           row_number() OVER (ORDER BY t.dead DESC, t.name) AS by_dead
      FROM tables t JOIN summed s ON s.root = t.oid
     -- The catalog's own tables are worth a line only when they have grown.
     WHERE NOT t.is_system OR s.total_bytes > 64 << 20
)
SELECT r.name, r.total_bytes, r.table_bytes, r.index_bytes, r.toast_bytes, r.estimated,
       CASE WHEN r.live > 0 OR r.dead > 0 THEN r.live
            WHEN r.reltuples >= 0 THEN r.reltuples::bigint END AS rows,
       r.dead AS dead_rows,
       (100.0 * r.dead / greatest(r.live + r.dead, 1))::float8 AS dead_percent,
       greatest(pg_stat_get_last_vacuum_time(r.oid),
                pg_stat_get_last_autovacuum_time(r.oid)) AS last_vacuum,
       greatest(pg_stat_get_last_analyze_time(r.oid),
                pg_stat_get_last_autoanalyze_time(r.oid)) AS last_analyze
  FROM ranked r
 WHERE r.by_size <= %(top)s
    OR (r.by_dead <= %(top)s AND r.dead >= 10000 AND r.dead >= 0.2 * (r.live + r.dead))
 ORDER BY r.total_bytes DESC, r.name
