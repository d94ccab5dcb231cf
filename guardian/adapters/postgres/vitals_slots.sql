-- WAL that each replication slot holds back. Columns that only some majors have come through
-- to_jsonb: conflicting since 16, invalidation_reason and inactive_since since 17.
SELECT s.slot_name::text AS name, s.slot_type, s.database::text, s.active, s.wal_status,
       greatest(pg_wal_lsn_diff(
           CASE WHEN pg_is_in_recovery()
                THEN coalesce(pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn())
                ELSE pg_current_wal_lsn() END, s.restart_lsn), 0)::float8 AS retained,
       to_jsonb(s) ->> 'invalidation_reason' AS invalidation_reason,
       coalesce((to_jsonb(s) ->> 'conflicting')::bool, false) AS conflicting,
       extract(epoch FROM clock_timestamp()
               - (to_jsonb(s) ->> 'inactive_since')::timestamptz)::float8 AS inactive_seconds
  FROM pg_catalog.pg_replication_slots s
 ORDER BY retained DESC NULLS FIRST, name
