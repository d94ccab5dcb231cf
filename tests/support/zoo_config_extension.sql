-- An extension whose own tables hold the user's rows, some of which a backup must keep. Its files are
-- written by zoo.install_config_extension (PostgreSQL 18: extension_control_path).
\set ON_ERROR_STOP on
\set QUIET on
SET client_min_messages = error;

CREATE SCHEMA "conf'ig";
CREATE EXTENSION guardian_zoo SCHEMA "conf'ig";
INSERT INTO "conf'ig".settings VALUES ('user''s own', 'kept', true), ('user''s too', 'kept', true);
UPDATE "conf'ig".settings SET value = 'changed, and lost: the extension brings it' WHERE NOT own;
INSERT INTO "conf'ig".everything VALUES (1), (2);
INSERT INTO "conf'ig".scratch VALUES ('not dumped');
SELECT nextval('"conf''ig".counter'), nextval('"conf''ig".counter') \g /dev/null
