-- What only a full build has: contrib extensions, XML, ICU, LZ4. Debian's packages do, the wheel's
-- servers do not.
\set ON_ERROR_STOP on
\set QUIET on
SET client_encoding = 'UTF8';
SET client_min_messages = error;
SET TimeZone = 'UTC';
SET DateStyle = 'ISO, MDY';

CREATE SCHEMA "ext 'x'";
CREATE EXTENSION hstore;
CREATE EXTENSION citext SCHEMA "ext 'x'";
CREATE EXTENSION pg_trgm SCHEMA zoo;
CREATE EXTENSION ltree SCHEMA "ext 'x'";
CREATE EXTENSION "uuid-ossp" SCHEMA "ext 'x'";
CREATE EXTENSION btree_gist;
CREATE EXTENSION lo;
CREATE EXTENSION postgres_fdw;
CREATE EXTENSION file_fdw;
CREATE EXTENSION tablefunc VERSION '1.0';
COMMENT ON EXTENSION hstore IS 'it''s ours';
-- What an installation changed about an extension's own objects, pg_dump keeps.
REVOKE EXECUTE ON FUNCTION "ext 'x'".uuid_generate_v4() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION "ext 'x'".uuid_generate_v4() TO "zoo reader";

CREATE TABLE zoo.extended (id int PRIMARY KEY, h hstore, c "ext 'x'".citext UNIQUE, l "ext 'x'".ltree,
    o lo, u uuid DEFAULT "ext 'x'".uuid_generate_v5('6ba7b810-9dad-11d1-80b4-00c04fd430c8', 'zoo'),
    EXCLUDE USING gist (id WITH =, l WITH OPERATOR("ext 'x'".=)));
INSERT INTO zoo.extended VALUES (1, '"a b"=>"1", c=>NULL, "q\"uote"=>"\\"', 'MiXeD', 'Top.Sub_1', 424201),
                                (2, '', '', '', NULL);
CREATE INDEX extended_h ON zoo.extended USING gin (h);
CREATE INDEX extended_trgm ON zoo.extended USING gin ((c::text) zoo.gin_trgm_ops);
CREATE INDEX extended_l ON zoo.extended USING gist (l "ext 'x'".gist_ltree_ops (siglen = 100));
CREATE VIEW zoo.uses_extension AS SELECT h -> 'a b' AS a FROM zoo.extended WHERE c OPERATOR("ext 'x'".=) 'mixed'::"ext 'x'".citext;
CREATE DOMAIN zoo.email AS "ext 'x'".citext CHECK (VALUE ~ '@');
CREATE TRIGGER keep_objects BEFORE UPDATE OR DELETE ON zoo.extended
    FOR EACH ROW EXECUTE FUNCTION lo_manage(o);

CREATE SERVER zoo_remote FOREIGN DATA WRAPPER postgres_fdw
    OPTIONS (host 'nowhere.example', dbname 'it''s', port '1');
CREATE USER MAPPING FOR "zoo reader" SERVER zoo_remote OPTIONS (user 'u', password 'hush');
CREATE FOREIGN TABLE zoo.remote (id int, t text) SERVER zoo_remote OPTIONS (table_name 'r');
CREATE SERVER zoo_files FOREIGN DATA WRAPPER file_fdw;
CREATE FOREIGN TABLE zoo.file (line text) SERVER zoo_files OPTIONS (filename '/nowhere/at/all');

CREATE TABLE zoo.markup (id int PRIMARY KEY, x xml, frag xml, CHECK (x IS DOCUMENT));
INSERT INTO zoo.markup VALUES
    (1, '<?xml version="1.0"?><!-- c --><a b="&lt;&quot;"><![CDATA[ <x> ]]>é🦒</a>', 'text <b/> only'),
    (2, '<a/>', ''), (3, NULL, NULL);
CREATE VIEW zoo.as_xml AS SELECT xmlelement(name "e l", xmlattributes(id AS "a-b"), x) AS e FROM zoo.markup;

CREATE COLLATION zoo.phonebook (PROVIDER = icu, LOCALE = 'de-u-co-phonebk', DETERMINISTIC = false);
CREATE TABLE zoo.sorted (t text COLLATE zoo.phonebook PRIMARY KEY, u text COLLATE "und-x-icu");
INSERT INTO zoo.sorted VALUES ('Götz', 'ä'), ('Goldmann', 'z');
CREATE TABLE zoo.squeezed (t text COMPRESSION lz4, b bytea COMPRESSION lz4);
INSERT INTO zoo.squeezed VALUES (repeat('otter ', 50000), convert_to(repeat('seal ', 9000), 'UTF8'));
ALTER TABLE zoo.extended OWNER TO "zoo ""owner"" 🦁";
ALTER TABLE zoo.markup OWNER TO "zoo ""owner"" 🦁";
