-- A database of every kind of object and value that a backup can lose, for PostgreSQL 15 and later
-- without extensions. Run by zoo.py through psql, as a superuser, in a database that "zoo ""owner"" 🦁"
-- owns; the roles are there already. What a newer major, or a full build, can do besides is in the
-- other zoo_*.sql. Anything that a restore is known to change lies beside the reason.
\set ON_ERROR_STOP on
\set QUIET on
SET client_encoding = 'UTF8';
SET client_min_messages = error;
SET search_path = public;
SET TimeZone = 'UTC';
SET DateStyle = 'ISO, MDY';
SET IntervalStyle = 'postgres';
SET lock_timeout = 0;
SET default_transaction_isolation = 'read committed';

-- --- schemas, owned by several, hostile in name -------------------------------------------------

CREATE SCHEMA zoo AUTHORIZATION "zoo ""owner"" 🦁";
CREATE SCHEMA "Sch""ema 'of' %s \ 🦒 $1; --" AUTHORIZATION "ZOO Keepers";
CREATE SCHEMA "select" AUTHORIZATION "zoo ""owner"" 🦁";
CREATE SCHEMA empty;
GRANT USAGE ON SCHEMA zoo, "Sch""ema 'of' %s \ 🦒 $1; --", "select" TO "zoo reader";
GRANT CREATE ON SCHEMA zoo TO "ZOO Keepers" WITH GRANT OPTION;
COMMENT ON SCHEMA zoo IS E'it''s\n-- \\connect nowhere\nand "so" on 🦓';

-- --- names --------------------------------------------------------------------------------------

CREATE TABLE "Sch""ema 'of' %s \ 🦒 $1; --"."ta""ble 'with' %d \n \ tab	and 🐘" (
    "co""lumn 'x' %s" int PRIMARY KEY, "SELECT" text, " leading and trailing " text, "tab	" text,
    "🐘" text DEFAULT E'de''fault\\ "x"', "UPPER" text, "%" int, "\" text, "$1" text, "a.b" text,
    CONSTRAINT "che""ck 'x' %s" CHECK ("%" > 0)
);
INSERT INTO "Sch""ema 'of' %s \ 🦒 $1; --"."ta""ble 'with' %d \n \ tab	and 🐘"
SELECT i, 'select', ' x ', E'\t', '🐘', 'U', i, '\', '$1', 'a.b'
FROM generate_series(1, 5) i;
CREATE INDEX "in""dex 'x' %s 🐘" ON "Sch""ema 'of' %s \ 🦒 $1; --"."ta""ble 'with' %d \n \ tab	and 🐘"
    ("SELECT", lower("UPPER")) WHERE "\" <> '\';
SELECT format('CREATE TABLE zoo.%I (%I int, note text)', E'new\nline\r\n\\. table', E'new\nline') \gexec
SELECT format('INSERT INTO zoo.%I VALUES (1, ''one''), (2, ''two'')', E'new\nline\r\n\\. table') \gexec
SELECT format('COMMENT ON TABLE zoo.%I IS %L', E'new\nline\r\n\\. table', E'\n\\! echo no\n') \gexec
SELECT format('CREATE TABLE zoo.%I (%I int PRIMARY KEY)', repeat('ä', 31) || 'x', repeat('n', 63)) \gexec
SELECT format('INSERT INTO zoo.%I VALUES (7)', repeat('ä', 31) || 'x') \gexec
SELECT format('CREATE SEQUENCE zoo.%I START 5', repeat('🐢', 15) || 'abc') \gexec
CREATE TABLE "select"."table" ("from" int, "where" text, "order" int, "user" name, "all" boolean);
INSERT INTO "select"."table" VALUES (1, 'here', 2, 'me', true);
CREATE TABLE "select"."Table" (id int);
CREATE TABLE "select"."." (".." int);
CREATE TABLE "select"."*" ("*" int);
INSERT INTO "select"."*" VALUES (1);
CREATE TABLE "select"."a|b?c[d]" (id int);   -- what pg_dump's patterns take for wildcards
INSERT INTO "select"."a|b?c[d]" VALUES (1);

-- --- types --------------------------------------------------------------------------------------

CREATE TYPE zoo.mood AS ENUM ('sad', 'o''k', 'very "happy"', '🙂', '');
ALTER TYPE zoo.mood ADD VALUE 'meh' BEFORE 'o''k';
CREATE TYPE zoo.address AS (street text, gone int, "zip code" char(5), geo point);
ALTER TYPE zoo.address DROP ATTRIBUTE gone;
CREATE DOMAIN zoo.positive AS numeric(20, 4) DEFAULT 1 NOT NULL
    CONSTRAINT above_zero CHECK (VALUE > 0);
CREATE DOMAIN zoo.tiny AS zoo.positive CHECK (VALUE < 1000);
CREATE DOMAIN zoo.c_text AS text COLLATE "C" CHECK (VALUE !~ '^\s');
CREATE DOMAIN zoo.loose AS int;
CREATE FUNCTION zoo.moment_diff(a timestamptz, b timestamptz) RETURNS double precision
    LANGUAGE sql IMMUTABLE STRICT AS 'SELECT extract(epoch FROM a - b)::float8';
CREATE TYPE zoo.span AS RANGE (SUBTYPE = timestamptz, SUBTYPE_DIFF = zoo.moment_diff,
                               MULTIRANGE_TYPE_NAME = zoo.spans);
CREATE TYPE zoo.shell;
CREATE FUNCTION zoo.word_in(cstring) RETURNS zoo.shell LANGUAGE internal IMMUTABLE STRICT AS 'textin';
CREATE FUNCTION zoo.word_out(zoo.shell) RETURNS cstring LANGUAGE internal IMMUTABLE STRICT AS 'textout';
CREATE TYPE zoo.shell (INPUT = zoo.word_in, OUTPUT = zoo.word_out, INTERNALLENGTH = VARIABLE,
                       LIKE = text);
COMMENT ON TYPE zoo.mood IS 'how''s it going?';
REVOKE USAGE ON TYPE zoo.mood FROM PUBLIC;
GRANT USAGE ON TYPE zoo.mood TO "zoo reader";

-- --- values -------------------------------------------------------------------------------------

CREATE TABLE zoo.numbers (id int PRIMARY KEY, s smallint, b bigint, n numeric, n2 numeric(12, 2),
                          r real, d double precision, m money);
INSERT INTO zoo.numbers VALUES
    (1, -32768, -9223372036854775808, 'NaN', 1, '-0', '-0', '-92233720368547758.08'),
    (2, 32767, 9223372036854775807, 'Infinity', 1.005, 'NaN', 'NaN', '92233720368547758.07'),
    (3, 0, 0, '-Infinity', NULL, 'Infinity', '-Infinity', '1,234.56'),
    (4, NULL, NULL, 1.0, 1.0, 1.17549435e-38, 2.2250738585072014e-308, 0),
    (5, NULL, NULL, 1.00, 1.00, 1e-45, 4.9406564584124654e-324, NULL),
    (6, NULL, NULL, 1, 1, 3.4028235e38, 1.7976931348623157e308, NULL),
    (7, NULL, NULL, 0.00000000000000000000000000000000000000000000000000000001, 0, 0.1, 0.1, NULL),
    (8, NULL, NULL, 1e500, 0, 0.3, 0.1::float8 + 0.2, NULL),
    (9, NULL, NULL, -0.0, 0, 16777217, 9007199254740993, NULL),
    (10, NULL, NULL, 123456789012345678901234567890.12345678901234567890, 0, 1, 1, NULL);

CREATE TABLE zoo.times (id int PRIMARY KEY, d date, t time, tz timetz, ts timestamp, tsz timestamptz,
                        i interval, i2 interval day to second(2), t3 timestamptz(3));
INSERT INTO zoo.times VALUES
    (1, 'infinity', '24:00:00', '24:00:00-15:59', 'infinity', 'infinity',
     '-178000000 years', '1 day 2.345', '2026-03-29 01:30:00.1235+00'),
    (2, '-infinity', '00:00:00', '00:00:00+15:59', '-infinity', '-infinity',
     '1 mon -1 day +00:00:00.000001', '-1 day', '1900-01-01'),
    (3, '4713-01-01 BC', '23:59:59.999999', '12:00+00', '4713-01-01 00:00 BC',
     '4713-01-02 00:00+00 BC', '-1 year -2 mons +3 days -04:05:06.7', '0', NULL),
    (4, '5874897-12-31', NULL, '12:00:00+05:45', '294276-12-31 23:59:59.999999',
     '294276-12-31 23:59:59.999999+00', '0', NULL, NULL),
    (5, '2026-02-28', NULL, NULL, '2026-10-25 02:30', '2026-10-25 01:30:00+00', '1 day', NULL, NULL),
    (6, '0001-12-31 BC', NULL, NULL, '1582-10-10', '1883-11-18 12:03:57+00', '24 hours', NULL, NULL);

CREATE TABLE zoo.strings (id int PRIMARY KEY, t text, v varchar(12), c char(6), k "char", n name,
                          d zoo.c_text);
INSERT INTO zoo.strings VALUES
    (1, NULL, NULL, NULL, NULL, NULL, NULL), (2, '', '', '', '', '', ''),
    (3, E'tab\t newline\n cr\r crlf\r\n bs\b ff\f vt\x0b bell\x07 esc\x1b del\x7f', ' x ', 'x ', 'x', 'x', 'x'),
    (4, E'\\.\n\\.\n', E'\\.', E'\\.', '\', E'\\.', E'\\.'),
    (5, E'\\N', E'\\N', E'\\N', 'N', E'\\N', E'\\N'),
    (6, 'NULL', 'null', 'NULL', NULL, 'null', NULL), (7, '\\\', '\', '\ ', NULL, '\', '\'),
    (8, '🦒 é e' || U&'\0301' || ' ' || U&'\200B' || U&'\FEFF' || U&'\202E' || ' 漢字 𝒳', '🦒🦒', '🦒', NULL, '🦒', '🦒'),
    (9, E'--\n\\connect nowhere\n/* ' || '$$ $body$ ; DROP TABLE zoo.strings; %s %(x)s {x} ' || '''"`', '''', '"', NULL, '%', '%'),
    (10, '   ', '   ', '   ', ' ', '   ', NULL), (11, E'\n', E'\n', E'\n', NULL, E'\n', NULL),
    (12, E'trailing \\', 'x\', 'x\', NULL, 'x\', 'x\'), (13, 'a,b;c|d "e"', 'a', 'a', 'a', 'a', 'a');
INSERT INTO zoo.strings (id, t) SELECT 100 + i, chr(i) || 'x' || chr(i) FROM generate_series(1, 160) i;

CREATE TABLE zoo.bits (id int PRIMARY KEY, b bytea, f bit(5), v bit varying(70), u uuid, y boolean);
INSERT INTO zoo.bits VALUES
    (1, '\x', B'00000', B'', '00000000-0000-0000-0000-000000000000', true),
    (2, '\x00', B'10101', repeat('10', 35)::bit varying, 'ffffffff-ffff-ffff-ffff-ffffffffffff', false),
    (3, '\x5c2e0a5c', NULL, NULL, NULL, NULL), (4, '\x5c785c30303030', NULL, NULL, NULL, NULL);
INSERT INTO zoo.bits (id, b)
    SELECT 10, string_agg(decode(lpad(to_hex(i), 2, '0'), 'hex'), '' ORDER BY i) FROM generate_series(0, 255) i;

CREATE TABLE zoo.documents (id int PRIMARY KEY, j json, jb jsonb, p jsonpath, v tsvector, q tsquery);
INSERT INTO zoo.documents VALUES
    (1, '{"b": 1,   "a": 2, "a": 3, "":null}', '{"b": 1, "a": 2, "a": 3}', '$.a[*] ? (@ > 1)',
     'a:1A b:2,3B ''c d'':4', '!a & (b <-> c:A*)'),
    (2, 'null', 'null', 'strict $', '', 'a <3> b'), (3, NULL, NULL, NULL, NULL, NULL),
    (4, ' [ 1.0 , 1.00, 1e2, -0 ] ', '[1.0, 1.00, 1e2, -0, 1e400]', 'lax $.**', NULL, NULL),
    (5, '"\u00e9\ud83e\udd92 \n\t\\ \u0001"', '"\u00e9\ud83e\udd92 \n\t\\ \u0001"', NULL, NULL, NULL),
    (6, '"\u0000"', '{}', NULL, NULL, NULL), (7, '{"1":{"2":{"3":[]}}}', '[[[[{}]]]]', NULL, NULL, NULL);

CREATE TABLE zoo.odd (id int PRIMARY KEY, i inet, c cidr, ma macaddr, m8 macaddr8, l pg_lsn, o oid,
                      x xid, x8 xid8, sn pg_snapshot, ti tid, r regclass, ty regtype, ro regrole,
                      pr regprocedure, po point, li line, ls lseg, bo box, pa path, pg polygon,
                      ci circle, iv int2vector, ov oidvector);
INSERT INTO zoo.odd VALUES
    (1, '192.168.0.1/24', '10.0.0.0/8', '08:00:2b:01:02:03', '08:00:2b:01:02:03:04:05',
     'FFFFFFFF/FFFFFFFF', 4294967295, '3', '18446744073709551615', '10:20:10,14,15', '(4294967295,1)',
     'zoo.numbers', 'zoo.mood', '"zoo ""owner"" 🦁"', 'zoo.moment_diff(timestamptz,timestamptz)',
     '(-0,NaN)', '{1,-1,0}', '[(0,0),(1,1e-300)]', '((1,1),(0,0))', '[(0,0),(1,1),(2,0)]',
     '((0,0),(1,1),(2,0))', '<(0.1,0.2),3>', '1 2 3', '1 2 4294967295'),
    (2, '::ffff:1.2.3.4/128', '2001:db8::/32', NULL, NULL, '0/0', 0, '0', '0', NULL, '(0,0)', 0, 0, 0,
     0, NULL, NULL, NULL, NULL, '((0,0),(1,1))', NULL, NULL, '', '');

CREATE TABLE zoo.compound (id int PRIMARY KEY, a int[], aa text[][], lower_bound int[], e zoo.mood[],
                           m zoo.mood, ad zoo.address, ads zoo.address[], p zoo.positive, ti zoo.tiny,
                           pp zoo.loose[], ir int4range, nr numrange, sp zoo.span, im int8multirange,
                           sps zoo.spans, dr daterange, w zoo.shell, whole zoo.bits);
INSERT INTO zoo.compound VALUES
    (1, '{1,NULL,3}', '{{"a,b","c\"d"},{"","NULL"}}', '[-2:0]={1,2,3}', '{"o''k",""}', 'meh',
     ROW('Sesame, "St" \', '12   ', '(1,2)'), ARRAY[ROW(NULL, '', NULL)::zoo.address, NULL], 0.0001,
     999.9999, '{1,2}', '[1,5)', '(,1.50]', '[2026-01-01 00:00+00,)', '{[1,3),[7,)}',
     '{["2026-01-01 00:00+00","2026-01-02 00:00+00")}', 'empty', 'w o r d',
     ROW(1, '\x00', B'00001', B'1', NULL, true)),
    (2, '{}', '{}', NULL, '{}', '', ROW(NULL, NULL, NULL), '{}', 1, 1, NULL, 'empty', '(,)', 'empty', '{}',
     '{}', '[2026-01-01,infinity)', '', NULL);

CREATE TABLE zoo.big (id int PRIMARY KEY, compressed text, "external" text, main text, raw bytea);
ALTER TABLE zoo.big ALTER "external" SET STORAGE EXTERNAL, ALTER main SET STORAGE MAIN,
                    ALTER compressed SET COMPRESSION pglz, ALTER raw SET STATISTICS 50,
                    ALTER compressed SET (n_distinct = -0.5);
INSERT INTO zoo.big SELECT 1, repeat('elephant ', 200000), repeat('giraffe ', 20000), repeat('lion', 1000), NULL;
INSERT INTO zoo.big SELECT 2, string_agg(md5(i::text), E'\n' ORDER BY i), '', NULL,
    string_agg(sha256(int4send(i)), '' ORDER BY i) FROM generate_series(1, 60000) i;
INSERT INTO zoo.big SELECT 3, string_agg(md5(i::text), '' ORDER BY i), '', NULL, NULL
    FROM generate_series(1, 100000) i;  -- one line of 3.2 MB

CREATE TABLE zoo.many (id int, half numeric, label text);
INSERT INTO zoo.many SELECT i, i / 2.0, md5(i::text) FROM generate_series(1, 30000) i;
CREATE TABLE zoo.twins (a int, b text);  -- equal rows: a hash that XORs sees none of them
INSERT INTO zoo.twins SELECT i % 3, 'same' FROM generate_series(1, 12) i;

-- --- shapes of tables ---------------------------------------------------------------------------

CREATE TABLE zoo.nothing_in_it (id int PRIMARY KEY, t text);
CREATE TABLE zoo.no_columns ();
INSERT INTO zoo.no_columns DEFAULT VALUES;
INSERT INTO zoo.no_columns DEFAULT VALUES;
INSERT INTO zoo.no_columns DEFAULT VALUES;
CREATE TABLE zoo.no_columns_left (a int, b int);
INSERT INTO zoo.no_columns_left VALUES (1, 2), (3, 4);
ALTER TABLE zoo.no_columns_left DROP COLUMN a, DROP COLUMN b;
CREATE TABLE zoo.dropped (a int, gone text, b text, gone2 int, c int DEFAULT 7);
INSERT INTO zoo.dropped VALUES (1, 'gone', 'kept', 2, 3);
ALTER TABLE zoo.dropped DROP COLUMN gone, DROP COLUMN gone2;
ALTER TABLE zoo.dropped ADD COLUMN added text DEFAULT 'fast default', ADD COLUMN d2 timestamptz
    DEFAULT '2026-01-01 00:00+00';
INSERT INTO zoo.dropped (a) VALUES (2);
CREATE UNLOGGED TABLE zoo.unlogged (id int GENERATED ALWAYS AS IDENTITY (START 10 INCREMENT 5), t text);
INSERT INTO zoo.unlogged (t) VALUES ('a'), ('b');
CREATE TEMP TABLE gone_tomorrow (id int);
INSERT INTO gone_tomorrow VALUES (1);
CREATE TABLE zoo.generated (w int, h int, area int GENERATED ALWAYS AS (w * h) STORED,
                            label text GENERATED ALWAYS AS ('#' || (w + h)::text) STORED);
INSERT INTO zoo.generated VALUES (2, 3), (NULL, 1);
CREATE TABLE zoo.all_generated (one int GENERATED ALWAYS AS (1) STORED);
INSERT INTO zoo.all_generated DEFAULT VALUES;
CREATE TABLE zoo.identities (
    a int GENERATED BY DEFAULT AS IDENTITY (START -5 INCREMENT -3 MINVALUE -1000 MAXVALUE -5 CYCLE),
    t text);
INSERT INTO zoo.identities (t) VALUES ('x'), ('y');
CREATE TABLE zoo.tuned (id int PRIMARY KEY, t text) WITH (fillfactor = 70, autovacuum_enabled = off,
    toast.autovacuum_enabled = off, parallel_workers = 1);
INSERT INTO zoo.tuned SELECT i, 't' FROM generate_series(10, 1, -1) i;
CREATE INDEX tuned_t ON zoo.tuned (t, id DESC NULLS LAST) WITH (fillfactor = 50);
ALTER TABLE zoo.tuned CLUSTER ON tuned_t;
ALTER TABLE zoo.tuned REPLICA IDENTITY FULL;
CREATE TABLE zoo.replicated (id int NOT NULL, t text);
CREATE UNIQUE INDEX replicated_id ON zoo.replicated (id);
ALTER TABLE zoo.replicated REPLICA IDENTITY USING INDEX replicated_id;
CREATE TABLE zoo.silent (id int);
ALTER TABLE zoo.silent REPLICA IDENTITY NOTHING;
CREATE TABLE zoo.typed OF zoo.address (street DEFAULT 'Main St', PRIMARY KEY (street));
INSERT INTO zoo.typed VALUES ('Elm', 'A', '(0,0)');
CREATE ACCESS METHOD zoo_heap TYPE TABLE HANDLER heap_tableam_handler;
CREATE TABLE zoo.other_method (id int) USING zoo_heap;
INSERT INTO zoo.other_method VALUES (1);

-- --- inheritance --------------------------------------------------------------------------------

CREATE TABLE zoo.animal (id int NOT NULL, name text DEFAULT 'nameless',
                         CONSTRAINT has_id CHECK (id > 0));
CREATE TABLE zoo.swims (depth int CHECK (depth > 0) NO INHERIT, id int NOT NULL);
CREATE TABLE zoo.duck (quack text, UNIQUE (id)) INHERITS (zoo.animal, zoo.swims);
CREATE TABLE zoo.mallard (colour text) INHERITS (zoo.duck);
ALTER TABLE zoo.mallard ALTER name SET DEFAULT 'M';
INSERT INTO zoo.animal VALUES (1, 'lion');
INSERT INTO zoo.swims VALUES (10, 2);
INSERT INTO zoo.duck (id, depth, quack) VALUES (3, 1, 'q'), (4, NULL, 'Q');
INSERT INTO zoo.mallard (id, depth, quack, colour) VALUES (5, 2, 'qq', 'green');
-- The children get this one last, and a restored child has it before its own: the order of columns
-- is not kept by pg_dump where parents are altered after their children were made.
ALTER TABLE zoo.animal ADD COLUMN born date DEFAULT '2020-01-01', ADD COLUMN note text;
UPDATE zoo.duck SET note = 'by tree ' || id;
CREATE TABLE zoo.adopted (id int NOT NULL, name text, born date, note text, own int,
                          CONSTRAINT has_id CHECK (id > 0));
INSERT INTO zoo.adopted VALUES (6, 'stray', NULL, 'a', 1);
ALTER TABLE zoo.adopted INHERIT zoo.animal;

-- --- partitions ---------------------------------------------------------------------------------

CREATE TABLE zoo.visits (id int GENERATED BY DEFAULT AS IDENTITY, day date NOT NULL, gate text NOT NULL,
                         visitor text, PRIMARY KEY (day, gate, id)) PARTITION BY RANGE (day);
CREATE TABLE zoo.visits_2025 PARTITION OF zoo.visits FOR VALUES FROM (MINVALUE) TO ('2026-01-01')
    PARTITION BY LIST (gate);
CREATE TABLE zoo.visits_2025_north PARTITION OF zoo.visits_2025 FOR VALUES IN ('north', 'n''')
    PARTITION BY HASH (id);
CREATE TABLE zoo.visits_2025_north_0 PARTITION OF zoo.visits_2025_north
    FOR VALUES WITH (MODULUS 2, REMAINDER 0);
CREATE TABLE zoo.visits_2025_north_1 PARTITION OF zoo.visits_2025_north
    FOR VALUES WITH (MODULUS 2, REMAINDER 1);
CREATE TABLE zoo.visits_2025_other PARTITION OF zoo.visits_2025 DEFAULT;
CREATE TABLE zoo.visits_2026 (visitor text, gone int, gate text NOT NULL, id int NOT NULL, day date NOT NULL,
                              CHECK (gate <> ''));
ALTER TABLE zoo.visits_2026 DROP COLUMN gone;
ALTER TABLE zoo.visits ATTACH PARTITION zoo.visits_2026 FOR VALUES FROM ('2026-01-01') TO (MAXVALUE);
CREATE INDEX visits_visitor ON zoo.visits (visitor);
CREATE INDEX visits_half_done ON ONLY zoo.visits (gate);   -- invalid: not on every partition
INSERT INTO zoo.visits (day, gate, visitor)
SELECT date '2025-12-01' + i, (ARRAY['north', 'n''', 'south'])[1 + i % 3], 'visitor ' || i
FROM generate_series(1, 60) i;
CREATE TABLE "select"."visits elsewhere" (id int NOT NULL, kind text) PARTITION BY LIST (kind);
CREATE TABLE "select"."visits elsewhere nulls" PARTITION OF "select"."visits elsewhere" FOR VALUES IN (NULL);
CREATE TABLE zoo.visits_across PARTITION OF "select"."visits elsewhere" DEFAULT;  -- another schema's
INSERT INTO "select"."visits elsewhere" VALUES (1, NULL), (2, 'x');
CREATE TABLE zoo.no_partitions (id int) PARTITION BY RANGE (id);
CREATE TABLE zoo.by_expression (t text, n int) PARTITION BY RANGE (lower(t), n);
CREATE TABLE zoo.by_expression_1 PARTITION OF zoo.by_expression
    FOR VALUES FROM ('a', MINVALUE) TO ('m', MAXVALUE);
INSERT INTO zoo.by_expression VALUES ('B', 1);
-- Rows that hash by text or enum can land elsewhere after a restore; pg_dump loads them via the root.
CREATE TABLE zoo.by_mood (m zoo.mood, n int) PARTITION BY HASH (m);
CREATE TABLE zoo.by_mood_0 PARTITION OF zoo.by_mood FOR VALUES WITH (MODULUS 3, REMAINDER 0);
CREATE TABLE zoo.by_mood_1 PARTITION OF zoo.by_mood FOR VALUES WITH (MODULUS 3, REMAINDER 1);
CREATE TABLE zoo.by_mood_2 PARTITION OF zoo.by_mood FOR VALUES WITH (MODULUS 3, REMAINDER 2);
INSERT INTO zoo.by_mood SELECT e, i FROM unnest(enum_range(NULL::zoo.mood)) e, generate_series(1, 5) i;

-- --- sequences ----------------------------------------------------------------------------------

CREATE SEQUENCE zoo.never_called START 42;
CREATE SEQUENCE zoo.called_once START 42;
SELECT nextval('zoo.called_once') \g /dev/null
CREATE SEQUENCE zoo.backwards AS bigint INCREMENT -7 START -1 MINVALUE -9223372036854775808;
SELECT setval('zoo.backwards', -9223372036854775808) \g /dev/null
CREATE SEQUENCE zoo.round_and_round AS smallint INCREMENT 2 MINVALUE 1 MAXVALUE 5 START 3 CYCLE CACHE 2;
SELECT count(nextval('zoo.round_and_round')) FROM generate_series(1, 4) \g /dev/null
CREATE SEQUENCE zoo.set_not_called;
SELECT setval('zoo.set_not_called', 100, false) \g /dev/null
CREATE SEQUENCE zoo.at_the_end MAXVALUE 3;
SELECT setval('zoo.at_the_end', 3) \g /dev/null
CREATE UNLOGGED SEQUENCE zoo.unlogged_sequence;
CREATE TABLE zoo.serials (id serial, big bigserial, shared int DEFAULT nextval('zoo.called_once'));
INSERT INTO zoo.serials SELECT FROM generate_series(1, 4);
ALTER SEQUENCE zoo.serials_big_seq RENAME TO "serial 🐙's";
CREATE TABLE zoo.adopter (n int);
CREATE SEQUENCE zoo.adopted_sequence OWNED BY zoo.adopter.n;

-- --- constraints, keys, indexes -----------------------------------------------------------------

CREATE TABLE zoo.egg (id int PRIMARY KEY, hen int);
CREATE TABLE zoo.hen (id int PRIMARY KEY, egg int REFERENCES zoo.egg DEFERRABLE INITIALLY DEFERRED);
INSERT INTO zoo.egg VALUES (1, 1), (2, 2);
INSERT INTO zoo.hen VALUES (1, 1), (2, 2);
ALTER TABLE zoo.egg ADD CONSTRAINT "egg of 'hen'" FOREIGN KEY (hen) REFERENCES zoo.hen
    ON UPDATE CASCADE ON DELETE SET DEFAULT DEFERRABLE;
CREATE TABLE zoo.tree (id int PRIMARY KEY, parent int REFERENCES zoo.tree);
INSERT INTO zoo.tree VALUES (3, 2), (2, 1), (1, NULL);
CREATE TABLE zoo.keys (a int, b int, c int, d text, e zoo.span, UNIQUE NULLS NOT DISTINCT (a, b),
    CONSTRAINT deferred_key UNIQUE (c) DEFERRABLE INITIALLY DEFERRED,
    CONSTRAINT apart EXCLUDE USING gist (e WITH &&) WHERE (a > 0),
    CONSTRAINT apart_too EXCLUDE USING btree (d WITH =) DEFERRABLE);
INSERT INTO zoo.keys VALUES (1, NULL, 1, 'x', '[2026-01-01 00:00+00,2026-01-02 00:00+00)'),
                            (1, 2, 2, 'y', '[2026-01-02 00:00+00,2026-01-03 00:00+00)');
CREATE TABLE zoo.refers (a int, b int, day date, gate text, id int,
    FOREIGN KEY (a, b) REFERENCES zoo.keys (a, b) MATCH FULL ON DELETE SET NULL (b),
    FOREIGN KEY (day, gate, id) REFERENCES zoo.visits);
INSERT INTO zoo.refers SELECT 1, 2, day, gate, id FROM zoo.visits WHERE visitor = 'visitor 5';
CREATE TABLE zoo.unproven (a int, b int);
INSERT INTO zoo.unproven VALUES (-1, 99), (1, 1);
ALTER TABLE zoo.unproven ADD CONSTRAINT positive CHECK (a > 0) NOT VALID,
    ADD CONSTRAINT dangling FOREIGN KEY (b) REFERENCES zoo.egg NOT VALID;
CREATE INDEX unproven_expression ON zoo.unproven ((a + b), (coalesce(a, 0)));
ALTER INDEX zoo.unproven_expression ALTER COLUMN 1 SET STATISTICS 77;
CREATE INDEX documents_gin ON zoo.documents USING gin (jb jsonb_path_ops);
CREATE INDEX documents_words ON zoo.documents USING gin (v) WITH (fastupdate = off);
CREATE INDEX many_brin ON zoo.many USING brin (id) WITH (pages_per_range = 8);
CREATE INDEX many_hash ON zoo.many USING hash (label);
CREATE INDEX many_pattern ON zoo.many (label COLLATE "C" text_pattern_ops) INCLUDE (half);
CREATE INDEX odd_spgist ON zoo.odd USING spgist (i);
CREATE STATISTICS zoo.many_stats (ndistinct, mcv) ON (id % 7), label FROM zoo.many;
CREATE STATISTICS "select"."sta'ts" ON id, label FROM zoo.many;
ALTER STATISTICS zoo.many_stats SET STATISTICS 33;
-- Left behind by a failure, as CREATE INDEX CONCURRENTLY does. pg_dump leaves it out.
\set ON_ERROR_STOP off
\o /dev/null
CREATE UNIQUE INDEX CONCURRENTLY twins_invalid ON zoo.twins (a);
\o
\set ON_ERROR_STOP on

-- --- functions and what stands on them ----------------------------------------------------------

CREATE FUNCTION zoo.default_args(a int, b text DEFAULT 'it''s $$', VARIADIC c int[] DEFAULT '{}')
    RETURNS TABLE (x int, "y z" text) LANGUAGE plpgsql STABLE LEAKPROOF PARALLEL SAFE COST 5 ROWS 3
    SET search_path = zoo, pg_temp SET work_mem = '1MB' AS $fn$
DECLARE body text := $$ nested ' \ % $$;
BEGIN
    RETURN QUERY SELECT a, b || body;
END $fn$;
CREATE FUNCTION zoo.atomic(a int) RETURNS bigint LANGUAGE sql STABLE
    BEGIN ATOMIC SELECT count(*) FROM zoo.numbers WHERE id > a; END;
CREATE PROCEDURE zoo.proc(INOUT a int, OUT b text) LANGUAGE plpgsql SECURITY DEFINER AS
    $$ BEGIN a := a + 1; b := 'x'; COMMIT; END $$;
CREATE PROCEDURE zoo.atomic_proc() BEGIN ATOMIC DELETE FROM zoo.silent; END;
CREATE FUNCTION zoo.overloaded(int) RETURNS int LANGUAGE sql AS 'SELECT 1';
CREATE FUNCTION zoo.overloaded(text) RETURNS int LANGUAGE sql AS 'SELECT 2';
CREATE FUNCTION zoo.broken() RETURNS void LANGUAGE plpgsql AS $$ BEGIN PERFORM * FROM not_here.at_all; END $$;
CREATE FUNCTION zoo.of_row(r zoo.bits) RETURNS text LANGUAGE sql IMMUTABLE AS $$ SELECT r.f::text $$;
CREATE FUNCTION zoo.plzoo_call() RETURNS language_handler LANGUAGE c AS '$libdir/plpgsql', 'plpgsql_call_handler';
CREATE FUNCTION zoo.plzoo_check(oid) RETURNS void LANGUAGE c AS '$libdir/plpgsql', 'plpgsql_validator';
CREATE TRUSTED LANGUAGE plzoo HANDLER zoo.plzoo_call VALIDATOR zoo.plzoo_check;
CREATE FUNCTION "select"."fun""c 'x' %s \"("in" int, OUT "out" int) LANGUAGE plzoo AS
    $$ BEGIN "out" := "in"; END $$;
CREATE AGGREGATE zoo.product(numeric) (SFUNC = numeric_mul, STYPE = numeric, INITCOND = '1',
                                       COMBINEFUNC = numeric_mul, PARALLEL = safe);
CREATE FUNCTION zoo.rank_final(internal, VARIADIC "any") RETURNS bigint LANGUAGE internal AS 'hypothetical_rank_final';
CREATE AGGREGATE zoo.my_rank(VARIADIC "any" ORDER BY VARIADIC "any")
    (SFUNC = ordered_set_transition_multi, STYPE = internal, FINALFUNC = zoo.rank_final,
     FINALFUNC_EXTRA, HYPOTHETICAL);
CREATE FUNCTION zoo.mood_near(zoo.mood, zoo.mood) RETURNS boolean LANGUAGE sql IMMUTABLE AS 'SELECT $1 = $2';
CREATE OPERATOR zoo.~=~ (LEFTARG = zoo.mood, RIGHTARG = zoo.mood, FUNCTION = zoo.mood_near,
                         COMMUTATOR = OPERATOR(zoo.~=~), RESTRICT = eqsel, JOIN = eqjoinsel, HASHES);
CREATE FUNCTION zoo.mood_negate(zoo.mood) RETURNS boolean LANGUAGE sql IMMUTABLE AS
    'SELECT $1 = ''sad''';
CREATE OPERATOR zoo.!! (RIGHTARG = zoo.mood, FUNCTION = zoo.mood_negate);
CREATE OPERATOR FAMILY zoo.number_ops USING btree;
CREATE OPERATOR CLASS zoo.int_abs FOR TYPE int USING btree FAMILY zoo.number_ops AS
    OPERATOR 1 <, OPERATOR 2 <=, OPERATOR 3 =, OPERATOR 4 >=, OPERATOR 5 >,
    FUNCTION 1 btint4cmp(int, int);
CREATE INDEX many_opclass ON zoo.many (id zoo.int_abs);
CREATE FUNCTION zoo.mood_number(zoo.mood) RETURNS int LANGUAGE sql IMMUTABLE AS
    'SELECT CASE WHEN $1 = ''sad'' THEN 0 ELSE 1 END';
CREATE CAST (zoo.mood AS int) WITH FUNCTION zoo.mood_number(zoo.mood) AS ASSIGNMENT;
CREATE CAST (zoo.shell AS zoo.mood) WITH INOUT;
CREATE CAST (zoo.shell AS text) WITHOUT FUNCTION AS IMPLICIT;
CREATE COLLATION zoo.plain (LC_COLLATE = 'C', LC_CTYPE = 'C');
CREATE TABLE zoo.collated (t text COLLATE zoo.plain, u text COLLATE "POSIX");
INSERT INTO zoo.collated VALUES ('ä', 'Ä');
CREATE INDEX collated_t ON zoo.collated (t, u COLLATE "C");
CREATE TEXT SEARCH TEMPLATE zoo.template (INIT = dsimple_init, LEXIZE = dsimple_lexize);
CREATE TEXT SEARCH DICTIONARY zoo.dictionary (TEMPLATE = zoo.template);
CREATE TEXT SEARCH PARSER zoo.parser (START = prsd_start, GETTOKEN = prsd_nexttoken, END = prsd_end,
                                      LEXTYPES = prsd_lextype, HEADLINE = prsd_headline);
CREATE TEXT SEARCH CONFIGURATION zoo.config (PARSER = zoo.parser);
ALTER TEXT SEARCH CONFIGURATION zoo.config ADD MAPPING FOR asciiword, word WITH zoo.dictionary, simple;
CREATE CONVERSION zoo.latin FOR 'LATIN1' TO 'UTF8' FROM iso8859_1_to_utf8;

-- --- triggers -----------------------------------------------------------------------------------

CREATE TABLE zoo.watched (id int PRIMARY KEY, t text, changed int DEFAULT 0);
CREATE FUNCTION zoo.on_change() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN NEW.changed := coalesce(NEW.changed, 0) + 1; RETURN NEW; END $$;
CREATE FUNCTION zoo.on_statement() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$;
INSERT INTO zoo.watched VALUES (1, 'a', 0), (2, 'b', 5);   -- a restore that fires triggers shows here
CREATE TRIGGER a_row BEFORE INSERT OR UPDATE OF t ON zoo.watched FOR EACH ROW
    WHEN (NEW.t <> 'it''s') EXECUTE FUNCTION zoo.on_change('arg', 'o''k', E'\\ new\nline');
CREATE TRIGGER b_disabled BEFORE INSERT ON zoo.watched FOR EACH ROW EXECUTE FUNCTION zoo.on_change();
CREATE TRIGGER c_replica BEFORE INSERT ON zoo.watched FOR EACH ROW EXECUTE FUNCTION zoo.on_change();
CREATE TRIGGER d_always BEFORE INSERT ON zoo.watched FOR EACH ROW EXECUTE FUNCTION zoo.on_change();
CREATE TRIGGER e_tables AFTER UPDATE ON zoo.watched REFERENCING OLD TABLE AS o NEW TABLE AS n
    FOR EACH STATEMENT EXECUTE FUNCTION zoo.on_statement();
CREATE TRIGGER f_truncate BEFORE TRUNCATE ON zoo.watched EXECUTE FUNCTION zoo.on_statement();
CREATE CONSTRAINT TRIGGER g_late AFTER INSERT ON zoo.watched FROM zoo.tree DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION zoo.on_statement();
CREATE TRIGGER on_partitions AFTER INSERT ON zoo.visits FOR EACH ROW EXECUTE FUNCTION zoo.on_statement();
ALTER TABLE zoo.watched DISABLE TRIGGER b_disabled;
ALTER TABLE zoo.watched ENABLE REPLICA TRIGGER c_replica;
ALTER TABLE zoo.watched ENABLE ALWAYS TRIGGER d_always;
ALTER TABLE zoo.visits_2026 DISABLE TRIGGER on_partitions;
COMMENT ON TRIGGER a_row ON zoo.watched IS 'first of ''em';

-- --- views, rules, materialized views -----------------------------------------------------------

CREATE VIEW zoo.safe WITH (security_barrier, security_invoker) AS
    SELECT id, t FROM zoo.watched WHERE id > 0 WITH LOCAL CHECK OPTION;
ALTER VIEW zoo.safe ALTER t SET DEFAULT 'from the view';
CREATE RECURSIVE VIEW zoo.counting (n) AS VALUES (1) UNION ALL SELECT n + 1 FROM counting WHERE n < 9;
CREATE VIEW zoo.by_key AS SELECT w.*, count(*) AS n FROM zoo.watched w GROUP BY w.id;  -- needs the key
CREATE VIEW zoo.circle_a AS SELECT 1 AS x;
CREATE VIEW zoo.circle_b AS SELECT x FROM zoo.circle_a;
CREATE FUNCTION zoo.of_circle(zoo.circle_b) RETURNS int LANGUAGE sql AS 'SELECT 1';
CREATE OR REPLACE VIEW zoo.circle_a AS SELECT zoo.of_circle(NULL) AS x;
CREATE VIEW "select"."vi""ew 'x' %s" AS SELECT "from", 'it''s \ %' AS "wh""at" FROM "select"."table";
CREATE VIEW zoo.no_columns_view AS SELECT FROM zoo.watched;
CREATE TABLE zoo.log (what text);
CREATE RULE also AS ON INSERT TO zoo.silent DO ALSO INSERT INTO zoo.log VALUES ('ins ' || NEW.id);
CREATE RULE instead AS ON UPDATE TO zoo.by_key DO INSTEAD
    (UPDATE zoo.watched SET t = NEW.t WHERE id = OLD.id; INSERT INTO zoo.log VALUES ('upd'));
CREATE RULE never AS ON DELETE TO zoo.log DO INSTEAD NOTHING;
ALTER TABLE zoo.log DISABLE RULE never;
CREATE MATERIALIZED VIEW zoo.fresh AS SELECT id, t FROM zoo.watched;
CREATE UNIQUE INDEX fresh_id ON zoo.fresh (id);
CREATE MATERIALIZED VIEW zoo.on_fresh WITH (fillfactor = 60) AS SELECT count(*) AS n FROM zoo.fresh;
CREATE MATERIALIZED VIEW zoo.stale AS SELECT count(*) AS n FROM zoo.twins;  -- a restore refreshes it
INSERT INTO zoo.twins VALUES (9, 'after the view');
CREATE MATERIALIZED VIEW zoo.unpopulated AS SELECT * FROM zoo.watched WITH NO DATA;
CREATE MATERIALIZED VIEW zoo.by_key_too AS SELECT w.*, 1 AS one FROM zoo.watched w GROUP BY w.id;

-- --- row security, grants -----------------------------------------------------------------------

CREATE TABLE zoo.private (id int PRIMARY KEY, keeper name, secret text);
INSERT INTO zoo.private VALUES (1, 'ZOO Keepers', 'a'), (2, 'zoo reader', 'b'), (3, 'nobody', 'c');
ALTER TABLE zoo.private ENABLE ROW LEVEL SECURITY;
ALTER TABLE zoo.private FORCE ROW LEVEL SECURITY;
CREATE POLICY "see 'own'" ON zoo.private FOR SELECT TO "ZOO Keepers", "zoo reader"
    USING (keeper = current_user);
CREATE POLICY writing ON zoo.private AS RESTRICTIVE FOR INSERT WITH CHECK (secret <> '%');
CREATE TABLE zoo.shut (id int);   -- enabled without any policy: nobody but the owner sees a row
INSERT INTO zoo.shut VALUES (1), (2);
ALTER TABLE zoo.shut ENABLE ROW LEVEL SECURITY;
GRANT SELECT, INSERT (id, keeper), UPDATE (secret) ON zoo.private TO "ZOO Keepers" WITH GRANT OPTION;
GRANT ALL ON zoo.numbers TO PUBLIC;
-- A restore refreshes materialized views as their owners, who need this.
GRANT SELECT ON zoo.watched, zoo.fresh, zoo.twins TO "ZOO Keepers", "zoo ""owner"" 🦁";
REVOKE ALL ON zoo.times FROM "zoo ""owner"" 🦁";
REVOKE ALL ON zoo.times FROM postgres;
GRANT USAGE ON SEQUENCE zoo.called_once TO "zoo reader";
GRANT SELECT, UPDATE ON SEQUENCE zoo.backwards TO "ZOO Keepers";
REVOKE EXECUTE ON FUNCTION zoo.atomic(int) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION zoo.atomic(int) TO "zoo reader" WITH GRANT OPTION;
GRANT EXECUTE ON FUNCTION pg_catalog.pg_stat_get_activity(int) TO "zoo reader";  -- a built-in's
GRANT USAGE ON LANGUAGE plzoo TO "zoo reader";
ALTER DEFAULT PRIVILEGES FOR ROLE "zoo ""owner"" 🦁" IN SCHEMA zoo GRANT SELECT ON TABLES TO "zoo reader";
ALTER DEFAULT PRIVILEGES FOR ROLE "ZOO Keepers" REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC;
ALTER DEFAULT PRIVILEGES FOR ROLE "ZOO Keepers" GRANT USAGE ON SEQUENCES TO "zoo reader" WITH GRANT OPTION;
REVOKE CREATE ON SCHEMA public FROM PUBLIC;
GRANT CREATE ON SCHEMA public TO "ZOO Keepers";
COMMENT ON COLUMN zoo.private.secret IS E'it''s\ta "secret" \\ 🙊';
COMMENT ON CONSTRAINT apart ON zoo.keys IS 'apart';
COMMENT ON POLICY writing ON zoo.private IS '%s';
COMMENT ON INDEX zoo.many_brin IS '';
COMMENT ON FUNCTION zoo.overloaded(text) IS 'the second';

-- --- large objects ------------------------------------------------------------------------------

SELECT lo_from_bytea(424201, 'small'), lo_from_bytea(424202, ''), lo_create(424203),
       lo_from_bytea(424204, '\x00ff5c0a') \g /dev/null
SELECT lo_from_bytea(424205, (SELECT string_agg(sha256(int4send(i)), '' ORDER BY i)
                              FROM generate_series(1, 90000) i)) \g /dev/null
SELECT lo_put(424203, 3000000, 'after a hole') \g /dev/null
COMMENT ON LARGE OBJECT 424201 IS 'it''s "small"';
GRANT SELECT ON LARGE OBJECT 424201 TO "zoo reader";
GRANT SELECT, UPDATE ON LARGE OBJECT 424205 TO "ZOO Keepers" WITH GRANT OPTION;
ALTER LARGE OBJECT 424204 OWNER TO "ZOO Keepers";

-- --- foreign data, event triggers, replication: for superusers ----------------------------------

CREATE FOREIGN DATA WRAPPER zoo_wrapper OPTIONS (debug 'it''s');   -- no handler: reading fails
CREATE SERVER "ser""ver 'x'" TYPE 'zoo' VERSION '1.0' FOREIGN DATA WRAPPER zoo_wrapper
    OPTIONS (host 'nowhere.example', "op""tion" '\');
CREATE USER MAPPING FOR "zoo reader" SERVER "ser""ver 'x'" OPTIONS (password 'hush ''hush''');
CREATE USER MAPPING FOR PUBLIC SERVER "ser""ver 'x'";
CREATE FOREIGN TABLE zoo.elsewhere (id int OPTIONS (column_name 'i''d') NOT NULL, t text DEFAULT 'x',
    CHECK (id > 0)) SERVER "ser""ver 'x'" OPTIONS (table_name 'e');
CREATE TABLE zoo.partly_foreign (id int, region text) PARTITION BY LIST (region);
CREATE TABLE zoo.partly_foreign_here PARTITION OF zoo.partly_foreign FOR VALUES IN ('here');
CREATE FOREIGN TABLE zoo.partly_foreign_there PARTITION OF zoo.partly_foreign FOR VALUES IN ('there')
    SERVER "ser""ver 'x'";
INSERT INTO zoo.partly_foreign VALUES (1, 'here');
CREATE FOREIGN TABLE zoo.heir () INHERITS (zoo.silent) SERVER "ser""ver 'x'";
GRANT USAGE ON FOREIGN SERVER "ser""ver 'x'" TO "zoo reader";
GRANT USAGE ON FOREIGN DATA WRAPPER zoo_wrapper TO "ZOO Keepers" WITH GRANT OPTION;

CREATE FUNCTION zoo.on_ddl() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN END $$;
CREATE FUNCTION zoo.no_ddl() RETURNS event_trigger LANGUAGE plpgsql AS
    $$ BEGIN RAISE EXCEPTION 'no DDL on feeding days'; END $$;
CREATE EVENT TRIGGER "zoo ddl's" ON ddl_command_end WHEN TAG IN ('CREATE TABLE', 'DROP TABLE')
    EXECUTE FUNCTION zoo.on_ddl();
CREATE EVENT TRIGGER zoo_drop ON sql_drop EXECUTE FUNCTION zoo.on_ddl();
CREATE EVENT TRIGGER zoo_rewrite ON table_rewrite EXECUTE FUNCTION zoo.on_ddl();
CREATE EVENT TRIGGER zoo_disabled ON ddl_command_start EXECUTE FUNCTION zoo.no_ddl();
ALTER EVENT TRIGGER zoo_disabled DISABLE;
ALTER EVENT TRIGGER zoo_rewrite ENABLE ALWAYS;
COMMENT ON EVENT TRIGGER zoo_drop IS 'noted';

CREATE PUBLICATION "pub 'x'" FOR TABLE zoo.numbers (id, n), zoo.tuned WHERE (id > 3 AND t <> '%'),
    ONLY zoo.animal WITH (publish = 'insert, truncate');
CREATE PUBLICATION zoo_schema FOR TABLES IN SCHEMA "select" WITH (publish = 'insert');
CREATE PUBLICATION zoo_everything FOR ALL TABLES
    WITH (publish = 'insert', publish_via_partition_root);  -- or no table without a key could change
CREATE PUBLICATION zoo_nothing;
CREATE SUBSCRIPTION "sub 'x'" CONNECTION 'host=nowhere.example dbname=zoo password=hush'
    PUBLICATION "pub 'x'", p2 WITH (connect = false, slot_name = NONE, binary, streaming);

-- --- owners -------------------------------------------------------------------------------------

-- Most of schema zoo belongs to one who is no superuser, a few to the keepers, the rest stays.
SELECT format('ALTER %s %s OWNER TO %I',
              CASE relkind WHEN 'v' THEN 'VIEW' WHEN 'm' THEN 'MATERIALIZED VIEW' WHEN 'S' THEN 'SEQUENCE'
                           WHEN 'f' THEN 'FOREIGN TABLE' ELSE 'TABLE' END,
              c.oid::regclass,
              CASE WHEN relname IN ('animal', 'visits', 'twins', 'fresh', 'backwards', 'safe')
                   THEN 'ZOO Keepers' ELSE 'zoo "owner" 🦁' END)
FROM pg_class c
WHERE relnamespace = 'zoo'::regnamespace AND relkind IN ('r', 'p', 'v', 'm', 'S', 'f')
  AND relname NOT IN ('big', 'times')
  AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid
                                            AND relkind = 'S' AND d.deptype IN ('a', 'i'))
ORDER BY c.relname COLLATE "C" \gexec
SELECT format('ALTER ROUTINE %s OWNER TO %I', p.oid::regprocedure, 'zoo "owner" 🦁')
FROM pg_proc p JOIN pg_language l ON l.oid = p.prolang
WHERE pronamespace = 'zoo'::regnamespace AND l.lanname IN ('sql', 'plpgsql') AND prokind <> 'a'
  AND prorettype <> 'event_trigger'::regtype
ORDER BY p.oid \gexec
ALTER TYPE zoo.mood OWNER TO "zoo ""owner"" 🦁";
ALTER DOMAIN zoo.positive OWNER TO "ZOO Keepers";
ALTER AGGREGATE zoo.product(numeric) OWNER TO "ZOO Keepers";
ALTER OPERATOR zoo.~=~ (zoo.mood, zoo.mood) OWNER TO "ZOO Keepers";
ALTER COLLATION zoo.plain OWNER TO "ZOO Keepers";
ALTER STATISTICS zoo.many_stats OWNER TO "ZOO Keepers";
ALTER TEXT SEARCH CONFIGURATION zoo.config OWNER TO "ZOO Keepers";
ALTER CONVERSION zoo.latin OWNER TO "ZOO Keepers";
ALTER PUBLICATION "pub 'x'" OWNER TO "zoo ""owner"" 🦁";
