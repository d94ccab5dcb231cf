-- Connections, the longest idle transaction and the longest query: one look at pg_stat_activity.
-- A row without backend_start is hidden from us; datid and usesysid are always shown.
-- A fast-path call is no query: query_start still is that of the one before it, or null.
-- Ours are left out of the two ages: a dump's leader sits idle in transaction by design.
WITH seen AS MATERIALIZED (
    SELECT a.pid, a.datname, a.usename, a.application_name, a.state, a.state_change, a.query_start,
           a.wait_event_type, a.backend_type,
           a.backend_start IS NULL AND a.datid IS NOT NULL AND a.usesysid IS NOT NULL AS hidden,
           coalesce(a.usename = current_user
                    AND a.application_name ~ '^guardian( |$)', false) AS ours
      FROM pg_catalog.pg_stat_activity a
), numbers AS (
    SELECT count(*) FILTER (WHERE backend_type = 'client backend' OR hidden) AS used,
           count(*) FILTER (WHERE hidden) AS hidden,
           count(*) FILTER (WHERE wait_event_type = 'Lock') AS waiting
      FROM seen
), idle AS (
    SELECT pid, datname, usename, application_name,
           extract(epoch FROM clock_timestamp() - state_change)::float8 AS seconds
      FROM seen
     WHERE state IN ('idle in transaction', 'idle in transaction (aborted)') AND NOT ours
     ORDER BY state_change LIMIT 1
), query AS (
    SELECT pid, datname, usename, application_name,
           extract(epoch FROM clock_timestamp() - began)::float8 AS seconds
      FROM (SELECT *, CASE state WHEN 'active' THEN query_start ELSE state_change END AS began
              FROM seen
             WHERE state IN ('active', 'fastpath function call')) running
     WHERE backend_type = 'client backend' AND NOT ours AND pid <> pg_backend_pid()
     ORDER BY began LIMIT 1
)
SELECT numbers.*,
       current_setting('max_connections')::int
         - current_setting('superuser_reserved_connections')::int
         - coalesce(current_setting('reserved_connections', true), '0')::int AS available,
       (SELECT to_jsonb(idle) FROM idle) AS idle,
       (SELECT to_jsonb(query) FROM query) AS query
  FROM numbers
