-- Signal one session, if it still is who and does what was observed; all in this one statement.
-- No row: nobody has that pid. `same` is false: somebody else has it now. `sent` is null: it is
-- the same session and has moved on. `sent` is false: its process ended at this very moment.
SELECT a.backend_start = %(backend_start)s AS same,
       CASE WHEN a.backend_start = %(backend_start)s
             AND a.backend_type = 'client backend'
             AND a.pid <> pg_backend_pid()
             AND (%(whatever_it_does)s
                  OR (a.state IS NOT DISTINCT FROM %(state)s::text
                      AND a.state_change IS NOT DISTINCT FROM %(state_change)s::timestamptz
                      AND a.xact_start IS NOT DISTINCT FROM %(xact_start)s::timestamptz
                      AND a.query_start IS NOT DISTINCT FROM %(query_start)s::timestamptz))
             AND (%(terminate)s OR a.state IN ('active', 'fastpath function call'))
            THEN CASE WHEN %(terminate)s THEN pg_terminate_backend(a.pid)
                      ELSE pg_cancel_backend(a.pid) END
       END AS sent
  FROM pg_catalog.pg_stat_activity a
 WHERE a.pid = %(pid)s
