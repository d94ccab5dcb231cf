-- Ages of transaction and multixact ids, and checksum failures, of every database.
-- The row without a name is that of the objects which all databases share. checksum_failures is
-- null while data checksums are off.
SELECT s.datname::text AS database,
       age(d.datfrozenxid)::float8 AS xid_age,
       mxid_age(d.datminmxid)::float8 AS mxid_age,
       s.checksum_failures,
       extract(epoch FROM clock_timestamp() - s.checksum_last_failure)::float8
         AS seconds_since_failure
  FROM pg_catalog.pg_stat_database s
  LEFT JOIN pg_catalog.pg_database d ON d.oid = s.datid
