-- How much each sequence has used of its numbers, or of those that fit into the column it feeds.
-- Reading a value locks its sequence until the transaction ends: hence in batches by oid, so that
-- thousands of them cannot fill the server's lock table.
WITH batch AS MATERIALIZED (
    SELECT c.oid, quote_ident(n.nspname) || '.' || quote_ident(c.relname) AS name,
           s.seqmin, s.seqmax, s.seqincrement, s.seqcycle, format_type(s.seqtypid, NULL) AS type,
           has_sequence_privilege(c.oid, 'SELECT, USAGE') AS readable,
           quote_ident(tn.nspname) || '.' || quote_ident(t.relname) AS "table",
           quote_ident(a.attname) AS "column",
           format_type(a.atttypid, NULL) AS column_type,
           CASE format_type(a.atttypid, NULL) WHEN 'smallint' THEN 32767
                WHEN 'integer' THEN 2147483647 ELSE 9223372036854775807 END AS column_max
      FROM pg_catalog.pg_sequence s
      JOIN pg_catalog.pg_class c ON c.oid = s.seqrelid
      JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
      LEFT JOIN pg_catalog.pg_depend d
        ON d.classid = 'pg_catalog.pg_class'::regclass AND d.objid = c.oid AND d.objsubid = 0
       AND d.refclassid = 'pg_catalog.pg_class'::regclass AND d.refobjsubid > 0
       AND d.deptype IN ('a', 'i')
      LEFT JOIN pg_catalog.pg_class t ON t.oid = d.refobjid
      LEFT JOIN pg_catalog.pg_namespace tn ON tn.oid = t.relnamespace
      LEFT JOIN pg_catalog.pg_attribute a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid
     WHERE c.oid > %(after)s::oid AND c.relpersistence <> 't'
       AND NOT (c.relpersistence = 'u' AND pg_is_in_recovery())
     ORDER BY c.oid LIMIT %(batch)s
), valued AS MATERIALIZED (
    SELECT b.*, least(b.seqmax, b.column_max)::numeric AS top,
           greatest(b.seqmin, -b.column_max - 1)::numeric AS bottom,
           CASE WHEN b.readable THEN pg_sequence_last_value(b.oid) END::numeric AS last
      FROM batch b
)
SELECT oid::bigint, name, type, readable, "table", "column", column_type,
       CASE WHEN last IS NULL OR (seqcycle AND top = seqmax AND bottom = seqmin) OR top <= bottom
            THEN 0
            WHEN seqincrement > 0 THEN (last - bottom + 1) / (top - bottom + 1) * 100
            ELSE (top - last + 1) / (top - bottom + 1) * 100
       END::float8 AS used
  FROM valued ORDER BY valued.oid
