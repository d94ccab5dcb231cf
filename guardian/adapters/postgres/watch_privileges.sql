-- What the watch's role may see and do. MEMBER without USAGE: it would first have to SET ROLE.
-- Hidden are those sessions of others of which it sees no more than the pid.
SELECT quote_ident(current_user) AS role, r.rolsuper AS is_superuser,
       current_setting('server_version') AS version,
       current_setting('track_activities') AS track_activities,
       pg_has_role('pg_read_all_stats', 'USAGE') AS sees_all,
       pg_has_role('pg_read_all_stats', 'MEMBER') AS might_see_all,
       pg_has_role('pg_signal_backend', 'USAGE') AS may_signal,
       pg_has_role('pg_signal_backend', 'MEMBER') AS might_signal,
       (SELECT count(*) FROM pg_catalog.pg_stat_activity a
         WHERE a.datid IS NOT NULL AND a.usesysid IS NOT NULL) AS sessions,
       (SELECT count(*) FROM pg_catalog.pg_stat_activity a
         WHERE a.datid IS NOT NULL AND a.usesysid IS NOT NULL
           AND a.backend_start IS NULL) AS hidden
  FROM pg_catalog.pg_roles r WHERE r.rolname = current_user
