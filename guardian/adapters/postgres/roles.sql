-- Roles that a restore needs: owners, grantees, policy roles of this database. The bootstrap
-- superuser has no pg_shdepend rows, hence the owners by name.
SELECT r.rolname::text
  FROM pg_catalog.pg_roles r
 WHERE r.rolname !~ '^pg_'
   AND r.oid IN (
       SELECT s.refobjid
         FROM pg_catalog.pg_shdepend s
         JOIN pg_catalog.pg_database d ON d.oid = s.dbid AND d.datname = current_database()
        WHERE s.refclassid = 'pg_catalog.pg_authid'::regclass
       UNION SELECT datdba FROM pg_catalog.pg_database WHERE datname = current_database()
       UNION SELECT relowner FROM pg_catalog.pg_class WHERE oid >= 16384
       UNION SELECT nspowner FROM pg_catalog.pg_namespace WHERE oid >= 16384
       UNION SELECT proowner FROM pg_catalog.pg_proc WHERE oid >= 16384
       UNION SELECT typowner FROM pg_catalog.pg_type WHERE oid >= 16384)
 ORDER BY 1
