-- What is quicker or truer once the rows are there: sequences moved past the rows, foreign keys,
-- indexes, triggers, views, policies, grants, comments.

DO $$
DECLARE
    owned record;
BEGIN
    FOR owned IN
        SELECT c.oid::regclass AS relation, a.attname AS col
        FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
        WHERE a.attidentity <> '' AND c.relkind IN ('r', 'p') AND NOT c.relispartition
          AND c.relnamespace::regnamespace::text IN ('public', 'billing', 'audit')
    LOOP
        EXECUTE format('SELECT setval(pg_get_serial_sequence(%L, %L), max(%I)) FROM %s',
                       owned.relation, owned.col, owned.col, owned.relation);
    END LOOP;
END $$;

-- --- foreign keys -------------------------------------------------------------------------------

ALTER TABLE workspaces  ADD FOREIGN KEY (owner_id) REFERENCES users;
ALTER TABLE memberships ADD FOREIGN KEY (workspace_id) REFERENCES workspaces ON DELETE CASCADE,
                        ADD FOREIGN KEY (user_id) REFERENCES users ON DELETE CASCADE;
ALTER TABLE invitations ADD FOREIGN KEY (workspace_id) REFERENCES workspaces ON DELETE CASCADE,
                        ADD FOREIGN KEY (workspace_id, invited_by) REFERENCES memberships;
ALTER TABLE sessions    ADD FOREIGN KEY (user_id) REFERENCES users ON DELETE CASCADE;

ALTER TABLE meetings     ADD FOREIGN KEY (workspace_id) REFERENCES workspaces,
                         ADD FOREIGN KEY (organizer_id) REFERENCES users;
ALTER TABLE participants ADD FOREIGN KEY (meeting_id, held_on) REFERENCES meetings
                             ON DELETE CASCADE,
                         ADD FOREIGN KEY (user_id) REFERENCES users;
ALTER TABLE recordings   ADD FOREIGN KEY (meeting_id, held_on) REFERENCES meetings;
ALTER TABLE transcripts  ADD FOREIGN KEY (recording_id) REFERENCES recordings ON DELETE CASCADE;
ALTER TABLE transcript_segments
    ADD FOREIGN KEY (transcript_id) REFERENCES transcripts ON DELETE CASCADE,
    ADD FOREIGN KEY (speaker_id) REFERENCES participants ON DELETE SET NULL;
ALTER TABLE summaries    ADD FOREIGN KEY (transcript_id) REFERENCES transcripts ON DELETE CASCADE;
ALTER TABLE action_items ADD FOREIGN KEY (meeting_id, held_on) REFERENCES meetings,
                         ADD FOREIGN KEY (assignee_id) REFERENCES users ON DELETE SET NULL;
ALTER TABLE comments     ADD FOREIGN KEY (workspace_id) REFERENCES workspaces,
                         ADD FOREIGN KEY (meeting_id, held_on) REFERENCES meetings,
                         ADD FOREIGN KEY (author_id) REFERENCES users,
                         ADD FOREIGN KEY (reply_to) REFERENCES comments
                             DEFERRABLE INITIALLY DEFERRED;
ALTER TABLE tags         ADD FOREIGN KEY (workspace_id) REFERENCES workspaces ON DELETE CASCADE;
ALTER TABLE meeting_tags ADD FOREIGN KEY (meeting_id, held_on) REFERENCES meetings
                             ON DELETE CASCADE,
                         ADD FOREIGN KEY (tag_id) REFERENCES tags ON DELETE CASCADE;

ALTER TABLE integrations ADD FOREIGN KEY (workspace_id) REFERENCES workspaces ON DELETE CASCADE;
ALTER TABLE api_keys     ADD FOREIGN KEY (workspace_id) REFERENCES workspaces ON DELETE CASCADE,
                         ADD FOREIGN KEY (created_by) REFERENCES users;
ALTER TABLE webhooks     ADD FOREIGN KEY (workspace_id) REFERENCES workspaces ON DELETE CASCADE;
ALTER TABLE webhook_deliveries ADD FOREIGN KEY (webhook_id) REFERENCES webhooks ON DELETE CASCADE;

ALTER TABLE billing.subscriptions ADD FOREIGN KEY (workspace_id) REFERENCES workspaces,
                                  ADD FOREIGN KEY (plan) REFERENCES billing.plans;
ALTER TABLE billing.invoices      ADD FOREIGN KEY (subscription_id)
                                      REFERENCES billing.subscriptions;
ALTER TABLE billing.invoice_lines ADD FOREIGN KEY (invoice_id) REFERENCES billing.invoices
                                      ON DELETE CASCADE;
ALTER TABLE billing.payments      ADD FOREIGN KEY (invoice_id) REFERENCES billing.invoices;
ALTER TABLE billing.usage_events  ADD FOREIGN KEY (workspace_id) REFERENCES workspaces;
ALTER TABLE audit.log             ADD FOREIGN KEY (actor_id) REFERENCES users NOT VALID;

-- --- indexes ------------------------------------------------------------------------------------

CREATE UNIQUE INDEX users_email_key ON users (lower(email)) WHERE deleted_at IS NULL;
CREATE UNIQUE INDEX users_public_id_key ON users (public_id);
CREATE UNIQUE INDEX workspaces_slug_key ON workspaces (slug);
CREATE INDEX memberships_user ON memberships (user_id) INCLUDE (role);
CREATE INDEX invitations_pending ON invitations (workspace_id) WHERE accepted_at IS NULL;
CREATE INDEX sessions_user ON sessions (user_id, expires_at DESC);
CREATE INDEX meetings_workspace ON meetings (workspace_id, starts_at DESC);
CREATE INDEX meetings_search ON meetings USING gin (search);
CREATE INDEX participants_meeting ON participants (meeting_id, held_on);
CREATE INDEX participants_user ON participants (user_id) WHERE user_id IS NOT NULL;
CREATE INDEX recordings_meeting ON recordings (meeting_id, held_on);
CREATE INDEX transcripts_recording ON transcripts (recording_id);
CREATE INDEX transcript_segments_speaker ON transcript_segments USING brin (speaker_id);
CREATE INDEX summaries_content ON summaries USING gin (content jsonb_path_ops);
CREATE INDEX action_items_open ON action_items (assignee_id, due_on)
    WHERE state IN ('open', 'in_progress');
CREATE INDEX action_items_meeting ON action_items (meeting_id, held_on);
CREATE INDEX comments_meeting ON comments (meeting_id, held_on, created_at);
CREATE INDEX meeting_tags_tag ON meeting_tags USING hash (tag_id);
CREATE INDEX webhook_deliveries_failed ON webhook_deliveries (webhook_id, created_at)
    WHERE state = 'failed';
CREATE INDEX invoices_subscription ON billing.invoices (subscription_id, issued_on);
CREATE INDEX payments_invoice ON billing.payments (invoice_id);
CREATE INDEX usage_events_workspace ON billing.usage_events (workspace_id, happened_at);
CREATE INDEX log_object ON audit.log (object_type, object_id);
CREATE INDEX log_when ON audit.log USING brin (happened_at);
CREATE STATISTICS meetings_status_by_workspace (dependencies, ndistinct)
    ON workspace_id, organizer_id FROM meetings;

-- --- triggers -----------------------------------------------------------------------------------

DO $$
DECLARE
    relation regclass;
BEGIN
    FOR relation IN
        SELECT a.attrelid::regclass
        FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
        WHERE a.attname = 'updated_at' AND c.relkind IN ('r', 'p') AND NOT c.relispartition
          AND c.relnamespace::regnamespace::text IN ('public', 'billing')
    LOOP
        EXECUTE format('CREATE TRIGGER touch_updated_at BEFORE UPDATE ON %s
                            FOR EACH ROW EXECUTE FUNCTION public.touch_updated_at()', relation);
    END LOOP;
END $$;

CREATE TRIGGER record AFTER INSERT OR UPDATE OR DELETE ON api_keys
    FOR EACH ROW EXECUTE FUNCTION audit.record();
CREATE TRIGGER record AFTER UPDATE OF plan, state, seats ON billing.subscriptions
    FOR EACH ROW WHEN (OLD.* IS DISTINCT FROM NEW.*) EXECUTE FUNCTION audit.record();

-- --- views and functions ------------------------------------------------------------------------

CREATE VIEW open_action_items WITH (security_barrier) AS
SELECT a.id, m.workspace_id, m.title AS meeting, a.title, a.due_on, u.full_name AS assignee
FROM action_items a
JOIN meetings m ON m.id = a.meeting_id AND m.held_on = a.held_on
LEFT JOIN users u ON u.id = a.assignee_id
WHERE a.state IN ('open', 'in_progress');

CREATE VIEW workspace_overview AS
SELECT w.id, w.name, s.plan, s.state,
       (SELECT count(*) FROM memberships b WHERE b.workspace_id = w.id) AS members,
       (SELECT count(*) FROM meetings m WHERE m.workspace_id = w.id) AS meetings
FROM workspaces w LEFT JOIN billing.subscriptions s ON s.workspace_id = w.id;

CREATE VIEW billing.invoice_totals AS
SELECT i.id, i.number, i.state, i.issued_on, sum(l.amount) AS total,
       coalesce((SELECT sum(p.amount) FROM billing.payments p WHERE p.invoice_id = i.id), 0) AS paid
FROM billing.invoices i JOIN billing.invoice_lines l ON l.invoice_id = i.id
GROUP BY i.id;

CREATE MATERIALIZED VIEW billing.usage_by_month AS
SELECT workspace_id, metric, date_trunc('month', happened_at AT TIME ZONE 'UTC')::date AS month,
       sum(quantity) AS quantity, count(*) AS events
FROM billing.usage_events
GROUP BY 1, 2, 3;
CREATE UNIQUE INDEX usage_by_month_key ON billing.usage_by_month (workspace_id, metric, month);

CREATE FUNCTION search_meetings(workspace bigint, words text)
RETURNS SETOF meetings LANGUAGE sql STABLE AS $$
    SELECT m.* FROM public.meetings m
    WHERE m.workspace_id = workspace AND m.search @@ websearch_to_tsquery('english', words)
    ORDER BY m.starts_at DESC
$$;

CREATE PROCEDURE billing.close_period(until date) LANGUAGE plpgsql AS $$
BEGIN
    UPDATE billing.invoices SET state = 'open' WHERE state = 'draft' AND issued_on < until;
    REFRESH MATERIALIZED VIEW billing.usage_by_month;
END $$;

-- --- who may do what ----------------------------------------------------------------------------

-- Roles belong to the whole server; another database may have made them, at this very moment even.
DO $$ BEGIN
    CREATE ROLE mina_app NOLOGIN;
EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL;
END $$;
DO $$ BEGIN
    CREATE ROLE mina_read NOLOGIN;
EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL;
END $$;

ALTER TABLE comments ENABLE ROW LEVEL SECURITY;
CREATE POLICY own_workspace ON comments TO mina_app
    USING (workspace_id = nullif(current_setting('mina.workspace_id', true), '')::bigint);
CREATE POLICY reading ON comments FOR SELECT TO mina_read USING (true);

GRANT USAGE ON SCHEMA public, billing TO mina_app, mina_read;
GRANT USAGE ON SCHEMA audit TO mina_read;
GRANT SELECT ON ALL TABLES IN SCHEMA public, billing, audit TO mina_read;
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public, billing TO mina_app;
GRANT USAGE ON ALL SEQUENCES IN SCHEMA public, billing TO mina_app;
REVOKE ALL ON users FROM mina_read;
GRANT SELECT (id, public_id, full_name, locale, created_at) ON users TO mina_read;
REVOKE ALL ON FUNCTION billing.next_invoice_number() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION billing.next_invoice_number() TO mina_app;
ALTER DEFAULT PRIVILEGES IN SCHEMA public, billing GRANT SELECT ON TABLES TO mina_read;

COMMENT ON SCHEMA billing IS 'Plans, subscriptions, invoices and what was used';
COMMENT ON TABLE meetings IS 'One partition a month; meetings_later takes what is planned beyond';
COMMENT ON COLUMN api_keys.key_hash IS 'SHA-256 of the key; the key itself is shown once';
COMMENT ON COLUMN users.password IS 'scrypt; null for those who sign in elsewhere';
COMMENT ON DOMAIN billing.cents IS 'Minor units of the currency';
COMMENT ON TYPE member_role IS 'What a member may do, most first';
COMMENT ON FUNCTION search_meetings(bigint, text) IS 'Newest first; words as a search engine takes them';
COMMENT ON MATERIALIZED VIEW billing.usage_by_month IS 'Refreshed when a period closes';

ANALYZE;
