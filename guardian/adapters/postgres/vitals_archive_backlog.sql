-- WAL files that wait for the archiver: the age of the oldest is how long archiving has not worked,
-- also where archive_command hangs and so never fails. Needs pg_monitor.
SELECT count(*) AS files,
       coalesce(extract(epoch FROM clock_timestamp() - min(modification)), 0)::float8 AS seconds
  FROM pg_catalog.pg_ls_archive_statusdir()
 WHERE name ~ '\.ready$'
