-- Where we are. to_jsonb() reads columns that only some majors have (locale: 15 and 17 renamed them).
SELECT current_setting('server_version') AS server_version,
       current_setting('server_version_num')::int AS server_version_num,
       pg_encoding_to_char(d.encoding) AS encoding,
       to_jsonb(d) ->> 'datcollate' AS collate,
       to_jsonb(d) ->> 'datctype' AS ctype,
       coalesce(CASE to_jsonb(d) ->> 'datlocprovider'
                WHEN 'c' THEN 'libc' WHEN 'i' THEN 'icu' WHEN 'b' THEN 'builtin' END,
                'libc') AS locale_provider,
       coalesce(to_jsonb(d) ->> 'datlocale', to_jsonb(d) ->> 'daticulocale') AS locale,
       pg_database_size(d.oid) AS database_bytes,
       pg_is_in_recovery() AS in_recovery,
       ARRAY(SELECT extname::text || ' ' || extversion FROM pg_catalog.pg_extension
              ORDER BY extname) AS extensions
  FROM pg_catalog.pg_database d
 WHERE d.datname = current_database()
