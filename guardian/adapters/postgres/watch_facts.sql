-- Who we are, what that lets us see and do, and whether our settings took hold.
-- Sessions are known by the role that logged in, privileges are those of the current one.
SELECT pg_backend_pid(), current_setting('server_version_num')::int,
       session_user::text, quote_ident(current_user), r.rolsuper,
       pg_has_role(current_user, 'pg_read_all_stats', 'USAGE'),
       pg_has_role(current_user, 'pg_signal_backend', 'USAGE'),
       EXISTS (SELECT FROM pg_catalog.pg_roles g
                WHERE g.rolname = 'pg_use_reserved_connections'
                  AND pg_has_role(current_user, g.oid, 'USAGE')),
       current_setting('lock_timeout'), current_setting('track_activities')
  FROM pg_catalog.pg_roles r WHERE r.rolname = current_user
