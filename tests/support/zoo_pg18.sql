-- What PostgreSQL 17 and 18 brought.
\set ON_ERROR_STOP on
\set QUIET on
SET client_encoding = 'UTF8';
SET client_min_messages = error;
SET TimeZone = 'UTC';

CREATE TABLE zoo.virtual (w int, h int, area int GENERATED ALWAYS AS (w * h) VIRTUAL,
                          gone int, twice int GENERATED ALWAYS AS (w * 2) STORED);
INSERT INTO zoo.virtual VALUES (2, 3), (NULL, 1);
ALTER TABLE zoo.virtual DROP COLUMN gone;
CREATE TABLE zoo.bookings (room int4range, valid tstzrange, note text,
                           PRIMARY KEY (room, valid WITHOUT OVERLAPS));
INSERT INTO zoo.bookings VALUES ('[1,2)', '[2026-01-01 00:00+00,2026-02-01 00:00+00)', 'January');
CREATE TABLE zoo.guests (room int4range, valid tstzrange,
    FOREIGN KEY (room, PERIOD valid) REFERENCES zoo.bookings (room, PERIOD valid));
INSERT INTO zoo.guests VALUES ('[1,2)', '[2026-01-03 00:00+00,2026-01-05 00:00+00)');
CREATE TABLE zoo.relaxed (id int, parent int, t text,
    CONSTRAINT not_enforced CHECK (id > 0) NOT ENFORCED,
    CONSTRAINT not_enforced_key FOREIGN KEY (parent) REFERENCES zoo.tree NOT ENFORCED);
INSERT INTO zoo.relaxed VALUES (-1, 99, NULL);
ALTER TABLE zoo.relaxed ADD CONSTRAINT t_there NOT NULL t NOT VALID;
CREATE TABLE zoo.named_not_null (id int CONSTRAINT "id's there" NOT NULL NO INHERIT,
                                 u uuid DEFAULT uuidv7());
INSERT INTO zoo.named_not_null VALUES (1, '01890a5d-ac96-774b-bcce-b302099a8057');
CREATE TABLE zoo.for_ever (id int PRIMARY KEY, i interval, j jsonb);
INSERT INTO zoo.for_ever VALUES (1, 'infinity', '[{"a": 1, "b": "x"}]'), (2, '-infinity', NULL);
CREATE TABLE zoo.numbered (id int GENERATED ALWAYS AS IDENTITY (START 7), kind text)
    PARTITION BY LIST (kind);
CREATE TABLE zoo.numbered_a PARTITION OF zoo.numbered FOR VALUES IN ('a');
INSERT INTO zoo.numbered (kind) VALUES ('a'), ('a');
CREATE VIEW zoo.as_table AS SELECT f.id, jt.* FROM zoo.for_ever f,
    JSON_TABLE(f.j, '$[*]' COLUMNS (n FOR ORDINALITY, a int PATH '$.a', "b'" text PATH '$.b')) jt;
CREATE FUNCTION zoo.merged() RETURNS SETOF int BEGIN ATOMIC
    MERGE INTO zoo.relaxed r USING zoo.tree t ON r.id = t.id
        WHEN MATCHED THEN UPDATE SET t = 'x'
        WHEN NOT MATCHED BY SOURCE THEN DELETE
        RETURNING r.id;
END;
CREATE COLLATION zoo.builtin (PROVIDER = builtin, LOCALE = 'C.UTF-8');
CREATE TABLE zoo.with_builtin (t text COLLATE zoo.builtin, u text COLLATE pg_catalog.pg_c_utf8);
CREATE FUNCTION zoo.on_login() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN END $$;
CREATE EVENT TRIGGER zoo_login ON login EXECUTE FUNCTION zoo.on_login();
CREATE PUBLICATION zoo_generated FOR TABLE zoo.virtual WITH (publish_generated_columns = stored);
GRANT MAINTAIN ON zoo.bookings TO "zoo reader";
ALTER DEFAULT PRIVILEGES FOR ROLE "ZOO Keepers" GRANT SELECT ON LARGE OBJECTS TO "zoo reader";
ALTER TABLE zoo.virtual OWNER TO "zoo ""owner"" 🦁";
