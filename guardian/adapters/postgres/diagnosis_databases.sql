-- Databases: size, cache hits, and what went wrong in them. A size needs CONNECT on the database or
-- pg_read_all_stats; counting files may take long, hence with_sizes.
SELECT d.datname::text AS name,
       CASE WHEN %(with_sizes)s AND (has_database_privilege(d.oid, 'CONNECT')
                                     OR pg_has_role('pg_read_all_stats', 'USAGE'))
            THEN pg_database_size(d.oid) END AS bytes,
       s.numbackends AS connections,
       (100.0 * s.blks_hit / nullif(s.blks_hit + s.blks_read, 0))::float8 AS cache_hit_percent,
       s.xact_commit AS commits, s.xact_rollback AS rollbacks, s.deadlocks, s.temp_bytes,
       s.stats_reset
  FROM pg_catalog.pg_database d JOIN pg_catalog.pg_stat_database s ON s.datid = d.oid
 WHERE NOT d.datistemplate
 ORDER BY bytes DESC NULLS LAST, d.datname
