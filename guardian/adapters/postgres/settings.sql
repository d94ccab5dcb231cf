-- The SET items of ALTER DATABASE. They may hold secrets of applications.
SELECT unnest(s.setconfig)::text
  FROM pg_catalog.pg_db_role_setting s
  JOIN pg_catalog.pg_database d ON d.oid = s.setdatabase
 WHERE d.datname = current_database() AND s.setrole = 0
 ORDER BY 1
