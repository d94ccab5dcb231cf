-- pgvector, the one extension that the wheel's servers bring.
\set ON_ERROR_STOP on
\set QUIET on
SET client_min_messages = error;

CREATE SCHEMA "vec ""tor""";
CREATE EXTENSION vector SCHEMA "vec ""tor""";
CREATE TABLE zoo.embeddings (id int PRIMARY KEY, v "vec ""tor""".vector(3), h "vec ""tor""".halfvec(2));
INSERT INTO zoo.embeddings VALUES (1, '[1,-0,1e-38]', '[0.1,65504]'), (2, NULL, NULL);
CREATE INDEX embeddings_near ON zoo.embeddings USING hnsw (v "vec ""tor""".vector_l2_ops) WITH (m = 4);
