-- One look at every session, and at who holds up whom. For PostgreSQL 13 to 18.
-- pg_stat_activity is read once, whole. Locks are looked at only while somebody waits for one, for
-- that holds up the lock manager: pg_locks then, and pg_blocking_pids for those rows alone.
-- `at` is read after the sessions were, so that no age is negative. waitstart came with 14 (read
-- through to_jsonb, so that 13 works too) and is null for an instant after a wait began.
-- Whether a role is a superuser is unknown once it was dropped: then it counts as one.
-- Of a query that is long the first 64 KiB are taken, and whether it asks to be spared anywhere: a
-- server may be set to show 1 MB of each. As bytes, for it may be in another database's encoding.
-- Our own row carries the prepared transactions: they hold locks and have no row of their own.
WITH activity AS MATERIALIZED (
    SELECT a.pid, a.backend_start, a.usesysid, a.usename, a.datname, a.application_name,
           a.client_addr, a.backend_type, a.state, a.query, a.wait_event_type, a.wait_event,
           a.query_start, a.xact_start, a.state_change, a.backend_xid, a.backend_xmin, a.leader_pid
      FROM pg_catalog.pg_stat_activity a
), waits AS MATERIALIZED (
    SELECT l.pid, min((to_jsonb(l) ->> 'waitstart')::timestamptz) AS started_at
      FROM pg_catalog.pg_locks l
     WHERE NOT l.granted AND EXISTS (SELECT FROM activity WHERE wait_event_type = 'Lock')
     GROUP BY l.pid
)
SELECT a.pid, a.backend_start, a.usename::text, a.datname::text, a.application_name,
       host(a.client_addr), a.backend_type, a.state,
       CASE WHEN octet_length(a.query) <= 65536 THEN a.query END,
       CASE WHEN octet_length(a.query) > 65536 THEN substr(textsend(a.query), 1, 65536) END,
       CASE WHEN octet_length(a.query) > 65536
            THEN position('guardian:spare' IN lower(encode(textsend(a.query), 'escape') COLLATE "C")) > 0
            END,
       a.wait_event_type, a.wait_event,
       a.query_start, a.xact_start, a.state_change, w.started_at,
       age(a.backend_xid), age(a.backend_xmin), a.leader_pid, coalesce(r.rolsuper, true),
       CASE WHEN a.wait_event_type = 'Lock' THEN pg_blocking_pids(a.pid) END,
       CASE WHEN a.pid = pg_backend_pid() THEN
           (SELECT json_agg(json_build_array(p.gid, p.prepared, p.owner, p.database))::text
              FROM pg_catalog.pg_prepared_xacts p)
       END,
       clock_timestamp()
  FROM activity a
  LEFT JOIN waits w ON w.pid = a.pid
  LEFT JOIN pg_catalog.pg_roles r ON r.oid = a.usesysid
