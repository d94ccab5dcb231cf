-- The oldest prepared transaction, and how many there are. Everybody may see them.
SELECT gid::text, database::text, owner::text, count(*) OVER () AS total,
       extract(epoch FROM clock_timestamp() - prepared)::float8 AS seconds
  FROM pg_catalog.pg_prepared_xacts
 ORDER BY prepared LIMIT 1
