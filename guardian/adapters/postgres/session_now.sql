-- What a session does now; no row once it has ended. Its row goes after its locks are released.
SELECT a.state, a.query_start, a.state_change
  FROM pg_catalog.pg_stat_activity a
 WHERE a.pid = %(pid)s AND a.backend_start = %(backend_start)s
