-- What people made in this database, by kind: what extensions brought, and schema public, is left
-- out. An empty database is dropped by a restore, so whatever can be made in one must be listed.
WITH made AS (
    SELECT CASE relkind WHEN 'S' THEN 'sequence' WHEN 'v' THEN 'view' WHEN 'm' THEN
                'materialized view' WHEN 'f' THEN 'foreign table' WHEN 'c' THEN 'type'
                ELSE 'table' END AS kind, 'pg_catalog.pg_class'::regclass AS classid, oid
      FROM pg_catalog.pg_class
     WHERE relkind IN ('r', 'p', 'v', 'm', 'f', 'S', 'c') AND relpersistence <> 't'
    UNION ALL SELECT 'function', 'pg_catalog.pg_proc'::regclass, oid FROM pg_catalog.pg_proc
    UNION ALL SELECT 'type', 'pg_catalog.pg_type'::regclass, oid FROM pg_catalog.pg_type
               WHERE typtype IN ('b', 'd', 'e', 'r') AND typrelid = 0
                 AND NOT (typelem <> 0 AND typcategory = 'A')
    UNION ALL SELECT 'schema', 'pg_catalog.pg_namespace'::regclass, oid FROM pg_catalog.pg_namespace
               WHERE nspname <> 'public' AND nspname !~ '^pg_(toast_)?temp_'
    UNION ALL SELECT 'operator', 'pg_catalog.pg_operator'::regclass, oid FROM pg_catalog.pg_operator
    UNION ALL SELECT 'operator class', 'pg_catalog.pg_opclass'::regclass, oid
                FROM pg_catalog.pg_opclass
    UNION ALL SELECT 'operator family', 'pg_catalog.pg_opfamily'::regclass, oid
                FROM pg_catalog.pg_opfamily
    UNION ALL SELECT 'cast', 'pg_catalog.pg_cast'::regclass, oid FROM pg_catalog.pg_cast
    UNION ALL SELECT 'transform', 'pg_catalog.pg_transform'::regclass, oid
                FROM pg_catalog.pg_transform
    UNION ALL SELECT 'conversion', 'pg_catalog.pg_conversion'::regclass, oid
                FROM pg_catalog.pg_conversion
    UNION ALL SELECT 'collation', 'pg_catalog.pg_collation'::regclass, oid
                FROM pg_catalog.pg_collation
    UNION ALL SELECT 'language', 'pg_catalog.pg_language'::regclass, oid FROM pg_catalog.pg_language
    UNION ALL SELECT 'access method', 'pg_catalog.pg_am'::regclass, oid FROM pg_catalog.pg_am
    UNION ALL SELECT 'text search object', 'pg_catalog.pg_ts_config'::regclass, oid
                FROM pg_catalog.pg_ts_config
    UNION ALL SELECT 'text search object', 'pg_catalog.pg_ts_dict'::regclass, oid
                FROM pg_catalog.pg_ts_dict
    UNION ALL SELECT 'text search object', 'pg_catalog.pg_ts_parser'::regclass, oid
                FROM pg_catalog.pg_ts_parser
    UNION ALL SELECT 'text search object', 'pg_catalog.pg_ts_template'::regclass, oid
                FROM pg_catalog.pg_ts_template
    UNION ALL SELECT 'foreign-data wrapper', 'pg_catalog.pg_foreign_data_wrapper'::regclass, oid
                FROM pg_catalog.pg_foreign_data_wrapper
    UNION ALL SELECT 'foreign server', 'pg_catalog.pg_foreign_server'::regclass, oid
                FROM pg_catalog.pg_foreign_server
    UNION ALL SELECT 'event trigger', 'pg_catalog.pg_event_trigger'::regclass, oid
                FROM pg_catalog.pg_event_trigger
    UNION ALL SELECT 'publication', 'pg_catalog.pg_publication'::regclass, oid
                FROM pg_catalog.pg_publication
    UNION ALL SELECT 'large object', 'pg_catalog.pg_largeobject'::regclass, oid
                FROM pg_catalog.pg_largeobject_metadata
    UNION ALL SELECT 'default privilege', 'pg_catalog.pg_default_acl'::regclass, oid
                FROM pg_catalog.pg_default_acl
    UNION ALL SELECT 'subscription', 'pg_catalog.pg_subscription'::regclass, s.oid
                FROM pg_catalog.pg_subscription s
                JOIN pg_catalog.pg_database d ON d.oid = s.subdbid
               WHERE d.datname = current_database()
    UNION ALL SELECT 'replication slot', 0, 16384::oid FROM pg_catalog.pg_replication_slots
               WHERE database = current_database()
)
SELECT kind::text, count(*)
  FROM made m
 WHERE (m.oid >= 16384 OR kind = 'large object')
   AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d
                    WHERE d.classid = m.classid AND d.objid = m.oid AND d.deptype = 'e')
   AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d  -- the row type of an extension's own type
                     JOIN pg_catalog.pg_depend e ON e.classid = d.refclassid
                      AND e.objid = d.refobjid AND e.deptype = 'e'
                    WHERE d.classid = m.classid AND d.objid = m.oid AND d.deptype = 'i')
 GROUP BY kind ORDER BY count(*) DESC, kind
