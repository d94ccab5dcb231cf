-- Roles that may be able to grant something, and those by which a managed service is known.
-- Everybody may see them.
SELECT quote_ident(r.rolname) AS name, r.rolname::text AS plain_name,
       r.rolsuper AS is_superuser, r.rolcreaterole AS creates_roles,
       r.rolbypassrls AS bypasses_rls, r.rolcanlogin AS logs_in,
       ARRAY(SELECT g.rolname::text
               FROM pg_catalog.pg_auth_members m JOIN pg_catalog.pg_roles g ON g.oid = m.roleid
              WHERE m.member = r.oid AND m.admin_option AND g.rolname ~ '^pg_'
              GROUP BY g.rolname ORDER BY g.rolname) AS admin_of
  FROM pg_catalog.pg_roles r
 WHERE r.rolsuper OR r.rolcreaterole OR r.rolbypassrls
    OR r.rolname IN ('rdsadmin', 'cloudsqladmin', 'neon_superuser', 'supabase_admin')
    OR EXISTS (SELECT FROM pg_catalog.pg_auth_members m
                WHERE m.member = r.oid AND m.admin_option
                  AND m.roleid IN (SELECT oid FROM pg_catalog.pg_roles WHERE rolname ~ '^pg_'))
 ORDER BY r.rolname <> current_user, r.rolname
