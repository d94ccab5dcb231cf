-- Whether WAL is to be archived here, and how that went. Everybody may see it.
SELECT current_setting('archive_mode') AS mode, pg_is_in_recovery() AS in_recovery,
       failed_count, last_failed_wal,
       extract(epoch FROM clock_timestamp() - last_failed_time)::float8 AS seconds_since_failure,
       coalesce(last_failed_time > coalesce(last_archived_time, '-infinity'), false) AS failing
  FROM pg_catalog.pg_stat_archiver
