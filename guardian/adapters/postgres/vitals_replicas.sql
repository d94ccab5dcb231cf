-- Who replicates from here, and how far behind. Base backups come by here too: they replay nothing.
-- Without pg_read_all_stats all but the pid and the names is null. replay_lag is null on a replica
-- that is idle, and on one that has not replayed anything since it came.
SELECT pid, application_name, host(client_addr) AS client, usename::text AS usename, state,
       extract(epoch FROM replay_lag)::float8 AS lag_seconds,
       pg_wal_lsn_diff(
           CASE WHEN pg_is_in_recovery()
                THEN coalesce(pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn())
                ELSE pg_current_wal_lsn() END, replay_lsn)::float8 AS behind
  FROM pg_catalog.pg_stat_replication
 WHERE state IS DISTINCT FROM 'backup'
