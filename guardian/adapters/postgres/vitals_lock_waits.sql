-- The longest wait for a lock. Asked only while somebody waits: pg_locks locks the lock manager.
-- waitstart came with 14 (read through to_jsonb, so that 13 works), and is null for an instant
-- after a wait began. Everybody may see it.
WITH waits AS (
    SELECT l.pid, l.relation, l.database, l.locktype, l.mode,
           (to_jsonb(l) ->> 'waitstart')::timestamptz AS waitstart
      FROM pg_catalog.pg_locks l
     WHERE NOT l.granted
)
SELECT w.pid, a.datname, a.usename, a.application_name, w.locktype, w.mode,
       CASE WHEN w.database = (SELECT oid FROM pg_catalog.pg_database
                                WHERE datname = current_database())
            THEN w.relation::regclass::text END AS relation,
       coalesce(extract(epoch FROM clock_timestamp() - coalesce(w.waitstart, a.query_start)),
                0)::float8 AS seconds,
       pg_blocking_pids(w.pid) AS blocked_by
  FROM waits w JOIN pg_catalog.pg_stat_activity a ON a.pid = w.pid
 ORDER BY coalesce(w.waitstart, a.query_start) NULLS LAST LIMIT 1
