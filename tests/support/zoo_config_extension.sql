-- An extension whose own tables hold the user's rows, some of which a backup must keep. Its files are
-- written by zoo.install_config_extension (PostgreSQL 18: extension_control_path).
\set ON_ERROR_STOP on
\set QUIET on
SET client_min_messages = error;

CREATE SCHEMA "con fig";
CREATE EXTENSION guardian_zoo SCHEMA "con fig";
INSERT INTO "con fig".settings VALUES ('user''s own', 'kept', true), ('user''s too', 'kept', true);
UPDATE "con fig".settings SET value = 'changed, and lost: the extension brings it' WHERE NOT own;
INSERT INTO "con fig".everything VALUES (1), (2);
INSERT INTO "con fig".scratch VALUES ('not dumped');
SELECT nextval('"con fig".counter'), nextval('"con fig".counter') \g /dev/null
