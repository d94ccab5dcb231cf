-- Which server this is. Everybody may ask.
SELECT current_setting('server_version') AS version,
       current_setting('server_version_num')::int AS version_num,
       current_user::text AS role, current_database()::text AS database,
       clock_timestamp() AS at, pg_postmaster_start_time() AS started_at,
       pg_is_in_recovery() AS is_standby,
       current_setting('max_connections')::int
         - current_setting('superuser_reserved_connections')::int
         - coalesce(current_setting('reserved_connections', true), '0')::int
         AS connections_available
