-- How far this standby is behind. While it streams and has replayed all it got, it is at most as
-- far behind as the stream; without a stream the last replayed commit is all that is known.
SELECT EXISTS (SELECT FROM pg_catalog.pg_stat_wal_receiver WHERE pid IS NOT NULL) AS streams,
       coalesce(pg_last_wal_receive_lsn() <= pg_last_wal_replay_lsn(), false) AS replayed_all,
       pg_is_wal_replay_paused() AS paused,
       extract(epoch FROM clock_timestamp() - pg_last_xact_replay_timestamp())::float8
         AS seconds_since_commit
 WHERE pg_is_in_recovery()
