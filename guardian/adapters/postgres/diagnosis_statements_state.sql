-- Whether pg_stat_statements is here. Its settings exist once its library is loaded, and everybody
-- may see those; the list of libraries itself only pg_read_all_settings. total_exec_time came with
-- version 1.8 (PostgreSQL 13), but an extension stays at its version until ALTER EXTENSION UPDATE.
SELECT quote_ident(n.nspname) AS schema, n.nspname::text AS plain_schema, e.extversion AS version,
       coalesce(has_schema_privilege(n.oid, 'USAGE'), true) AS reachable,
       EXISTS (SELECT FROM pg_catalog.pg_attribute a
                WHERE a.attrelid = v.oid AND a.attname = 'total_exec_time') AS has_exec_time,
       EXISTS (SELECT FROM pg_catalog.pg_class i
                WHERE i.relnamespace = n.oid AND i.relname = 'pg_stat_statements_info') AS has_info,
       EXISTS (SELECT FROM pg_catalog.pg_available_extensions
                WHERE name = 'pg_stat_statements') AS available,
       EXISTS (SELECT FROM pg_catalog.pg_settings
                WHERE name = 'pg_stat_statements.max') AS loaded,
       (SELECT setting FROM pg_catalog.pg_settings
         WHERE name = 'shared_preload_libraries') AS libraries
  FROM (SELECT 1) one
  LEFT JOIN pg_catalog.pg_extension e ON e.extname = 'pg_stat_statements'
  LEFT JOIN pg_catalog.pg_namespace n ON n.oid = e.extnamespace
  LEFT JOIN pg_catalog.pg_class v ON v.relnamespace = n.oid AND v.relname = 'pg_stat_statements'
