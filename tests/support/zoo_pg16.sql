-- What PostgreSQL 16 brought.
\set ON_ERROR_STOP on
\set QUIET on
SET client_encoding = 'UTF8';
SET client_min_messages = error;

CREATE VIEW zoo.sql_json AS
    SELECT json_object('a': id, 'b': t ABSENT ON NULL WITH UNIQUE KEYS RETURNING jsonb) AS o,
           json_arrayagg(t NULL ON NULL) OVER (PARTITION BY id) AS a,
           t IS JSON OBJECT WITH UNIQUE KEYS AS is_object
    FROM zoo.watched;
CREATE TABLE zoo.stored_how (main text STORAGE MAIN, "external" text STORAGE EXTERNAL,
                             n int CHECK (n < 1_000_000 AND n > -0xFF));
INSERT INTO zoo.stored_how VALUES ('m', 'e', 0o17);
CREATE FUNCTION zoo.any_of() RETURNS text BEGIN ATOMIC SELECT any_value(t) FROM zoo.watched; END;
CREATE STATISTICS ON id, t FROM zoo.watched;
CREATE SUBSCRIPTION sub16 CONNECTION 'dbname=nowhere' PUBLICATION p
    WITH (connect = false, slot_name = NONE, origin = none, password_required = false,
          run_as_owner = true, streaming = parallel);
ALTER TABLE zoo.stored_how OWNER TO "zoo ""owner"" 🦁";
