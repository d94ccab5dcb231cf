-- Where the server's time goes: the top by total and by mean time. {view}, {total} and its like are
-- names of the extension's own view and columns. Without pg_read_all_stats the texts of other
-- roles' queries are hidden, their numbers are not.
WITH counted AS MATERIALIZED (
    SELECT s.userid, s.dbid, s.query, s.calls, s.rows,
           s.{total} / 1000 AS total_seconds, s.{mean} / 1000 AS mean_seconds,
           s.{max} / 1000 AS max_seconds
      FROM {view} s
), ranked AS (
    SELECT c.*, (100 * c.total_seconds / nullif(sum(c.total_seconds) OVER (), 0))::float8 AS share,
           row_number() OVER (ORDER BY c.total_seconds DESC, c.calls) AS by_total,
           row_number() OVER (ORDER BY c.mean_seconds DESC, c.calls) AS by_mean
      FROM counted c
)
SELECT r.by_total, r.by_mean, nullif(r.query, '<insufficient privilege>') AS query,
       a.rolname::text AS user, d.datname::text AS database, r.calls, r.rows, r.total_seconds,
       r.mean_seconds, r.max_seconds, coalesce(r.share, 0) AS share
  FROM ranked r
  LEFT JOIN pg_catalog.pg_roles a ON a.oid = r.userid
  LEFT JOIN pg_catalog.pg_database d ON d.oid = r.dbid
 WHERE r.by_total <= %(top)s OR r.by_mean <= %(top)s
