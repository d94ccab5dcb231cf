-- The sample database's rows, a block a table; seed.py runs the blocks in order and reports each.
--
-- seed.py makes these beforehand, with the seed and the scale inside:
--   pg_temp.dice(key, salt)         a non-negative bigint, the same for the same seed, key and salt
--   pg_temp.sized(n)                n times the scale, at least 1
-- No now(), no random(), no order that a collation could change: the same seed makes the same rows
-- on every major. Time runs over the eighteen months before 2026-11-01 (549 days).

-- name: (words)
CREATE FUNCTION pg_temp.choose(list text[], key bigint, salt bigint) RETURNS text
    LANGUAGE sql IMMUTABLE AS 'SELECT list[1 + pg_temp.dice(key, salt) % cardinality(list)]';
CREATE FUNCTION pg_temp.chance(key bigint, salt bigint, percent int) RETURNS boolean
    LANGUAGE sql IMMUTABLE AS 'SELECT pg_temp.dice(key, salt) % 100 < percent';
CREATE FUNCTION pg_temp.moment(key bigint, salt bigint) RETURNS timestamptz
    LANGUAGE sql IMMUTABLE AS
    $$ SELECT timestamptz '2025-05-01 00:00+00'
              + pg_temp.dice(key, salt) % (549 * 86400) * interval '1 second' $$;
CREATE FUNCTION pg_temp.sha256_of(what text) RETURNS text
    LANGUAGE sql IMMUTABLE AS $$ SELECT encode(sha256(convert_to(what, 'UTF8')), 'hex') $$;

-- Workspaces have sixteen members of their own: workspace w has users w, w + W, w + 2W …
CREATE FUNCTION pg_temp.workspaces() RETURNS bigint
    LANGUAGE sql IMMUTABLE AS 'SELECT pg_temp.sized(120)';
CREATE FUNCTION pg_temp.member(workspace bigint, nth bigint) RETURNS bigint
    LANGUAGE sql IMMUTABLE AS 'SELECT workspace + pg_temp.workspaces() * (nth % 16)';
CREATE FUNCTION pg_temp.party(meeting bigint) RETURNS bigint  -- how many take part: 2 to 7
    LANGUAGE sql IMMUTABLE AS 'SELECT 2 + pg_temp.dice(meeting, 31) % 6';

CREATE TEMP TABLE lists ON COMMIT DROP AS SELECT
    ARRAY['Ada', 'Amara', 'Anneke', 'Arjun', 'Beatriz', 'Chidi', 'Chloé', 'Dmitri', 'Elif', 'Esther',
          'Farah', 'Giulia', 'Hana', 'Håkon', 'Ibrahim', 'Ines', 'Jonas', 'Kaito', 'Kwame', 'Leila',
          'Lucía', 'Łukasz', 'Mateo', 'Mei', 'Mina', 'Nadia', 'Nia', 'Oluwaseun', 'Omar', 'Petra',
          'Priya', 'Quentin', 'Rosa', 'Sana', 'Søren', 'Tamar', 'Theo', 'Uma', 'Viktor', 'Wanjiru',
          'Xiulan', 'Yusuf', 'Zoë', 'Zuzana'] AS first,
    ARRAY['Abiola', 'Andersson', 'Bakker', 'Banerjee', 'Becker', 'Castillo', 'Chen', 'Costa',
          'Dąbrowski', 'Diallo', 'Eriksen', 'Ferreira', 'García', 'Haddad', 'Hoffmann', 'Ito',
          'Ivanova', 'Jansen', 'Kaya', 'Kim', 'Kowalska', 'Lindqvist', 'Mensah', 'Moreau', 'Müller',
          'Nakamura', 'Novák', 'Nguyen', 'O''Brien', 'Okafor', 'Papadopoulos', 'Patel', 'Rossi',
          'Santos', 'Schmidt', 'Silva', 'Tanaka', 'van den Berg', 'Varga', 'Weber', 'Yılmaz',
          'Zhang'] AS last,
    ARRAY['Alder', 'Basalt', 'Cobalt', 'Driftwood', 'Ember', 'Foxglove', 'Granite', 'Harbour',
          'Indigo', 'Juniper', 'Kestrel', 'Lantern', 'Meridian', 'Northwind', 'Obsidian', 'Pinecone',
          'Quartz', 'Riverbend', 'Saffron', 'Tidewater', 'Umber', 'Vesper', 'Willow',
          'Yarrow'] AS firm,
    ARRAY['Analytics', 'Clinics', 'Foods', 'Freight', 'Labs', 'Law', 'Logistics', 'Media', 'Mobility',
          'Partners', 'Press', 'Robotics', 'Studio', 'Systems', 'Textiles', 'Travel'] AS trade,
    ARRAY['billing migration', 'onboarding flow', 'search index', 'Berlin launch', 'hiring plan',
          'mobile app', 'data warehouse', 'pricing page', 'support backlog', 'security audit',
          'customer survey', 'partner programme', 'design system', 'release train', 'API gateway',
          'quarterly budget', 'editor rewrite', 'speaker detection', 'payment provider',
          'incident review', 'office move', 'brand refresh'] AS topic,
    ARRAY['kick-off', 'weekly sync', 'review', 'retrospective', 'planning', 'deep dive', 'interview',
          'customer call', 'stand-up', 'demo', 'one-to-one', 'workshop'] AS kind,
    ARRAY['So', 'Right', 'Okay', 'I think', 'As I said', 'Honestly', 'To be fair',
          'Just to confirm', 'From what I can see', 'Correct me if I am wrong', 'Last time we said',
          'For the record', 'My worry is that', 'The good news is that', 'As far as I know',
          'Let me put it this way', 'Coming back to it', 'If I may'] AS opener,
    ARRAY['is waiting for', 'depends on', 'will replace', 'should not touch', 'has overtaken',
          'is blocked by', 'came out of', 'costs more than', 'finally unblocked', 'needs',
          'looks a lot like', 'slows down', 'ought to follow', 'is ahead of'] AS verb,
    ARRAY['before the end of the month', 'next sprint', 'by Friday', 'once legal has signed off',
          'and nobody has told the customer', 'so let us write that down', 'which is fine by me',
          'at least on paper', 'after the code freeze', 'and that is the whole problem',
          'unless somebody objects', 'in about two weeks', 'for the third time now',
          'and I am happy to own it', 'as the numbers show', 'if the vendor keeps its word',
          'but only in Europe', 'while we still have the budget'] AS tail,
    ARRAY['Follow up with', 'Write the proposal for', 'Estimate', 'Review', 'Share notes on',
          'Book a room for', 'Ask legal about', 'Fix the dashboard of', 'Draft the e-mail about',
          'Close the ticket for'] AS task,
    ARRAY['UTC', 'Europe/Berlin', 'Europe/Lisbon', 'America/New_York', 'America/Sao_Paulo',
          'Asia/Tokyo', 'Asia/Kolkata', 'Africa/Lagos', 'Australia/Sydney'] AS zone,
    ARRAY['en', 'de', 'es', 'fr', 'pt', 'ja', 'tr', 'pl'] AS language,
    ARRAY['Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0',
          'Mozilla/5.0 (Macintosh; Intel Mac OS X 14_5) AppleWebKit/605.1.15 Safari/605.1.15',
          'MinaDesktop/4.2 (Windows NT 10.0)', 'MinaMobile/7.1 (iOS 18.4)'] AS agent,
    ARRAY['#e4572e', '#17bebb', '#ffc914', '#2e282a', '#76b041', '#6a4c93', '#1982c4'] AS colour;

-- Some thousand different sentences, from which talk is made.
CREATE TEMP TABLE phrase ON COMMIT DROP AS
SELECT n AS no, concat(pg_temp.choose(opener, n, 1), ', the ', pg_temp.choose(topic, n, 2), ' ',
                 pg_temp.choose(verb, n, 3), ' the ', pg_temp.choose(topic, n, 4), ' ',
                 pg_temp.choose(tail, n, 5), CASE WHEN n % 9 = 0 THEN '?' ELSE '.' END) AS body
FROM generate_series(0, 7999) n, lists;
ALTER TABLE phrase ADD PRIMARY KEY (no);
ANALYZE phrase;

-- name: users
INSERT INTO users (id, public_id, email, full_name, password, locale, time_zone, preferences,
                   created_at, updated_at, deleted_at)
SELECT n, md5(concat('user', pg_temp.dice(n, 101)))::uuid,
       concat(lower(translate(pg_temp.choose(first, n, 102), 'åÅéíłŁøë', 'aAeilLoe')), '.', n,
              '@', lower(pg_temp.choose(firm, n % pg_temp.workspaces(), 120)), '.example'),
       concat_ws(' ', pg_temp.choose(first, n, 102), pg_temp.choose(last, n, 103)),
       CASE WHEN n % 5 <> 0
            THEN concat('$scrypt$ln=16,r=8,p=1$', pg_temp.sha256_of(pg_temp.dice(n, 104)::text)) END,
       pg_temp.choose(language, n, 105), pg_temp.choose(zone, n, 106),
       jsonb_build_object('theme', CASE WHEN n % 3 = 0 THEN 'dark' ELSE 'light' END,
                          'digest', n % 4 <> 0, 'captions', jsonb_build_object('size', 12 + n % 5)),
       born, born + pg_temp.dice(n, 107) % 90 * interval '1 day',
       CASE WHEN n % 37 = 0 THEN born + interval '91 days' END
FROM generate_series(1, pg_temp.workspaces() * 16) n, lists,
     LATERAL (SELECT timestamptz '2025-05-01 06:00+00'
                     + pg_temp.dice(n, 108) % (400 * 86400) * interval '1 second' AS born) b;

-- name: workspaces
INSERT INTO workspaces (id, name, slug, owner_id, settings, domains, created_at, updated_at)
SELECT n, concat_ws(' ', pg_temp.choose(firm, n % pg_temp.workspaces(), 120),
                    pg_temp.choose(trade, n, 121)),
       concat(lower(pg_temp.choose(firm, n % pg_temp.workspaces(), 120)), '-',
              lower(pg_temp.choose(trade, n, 121)), '-', n),
       pg_temp.member(n, 0),
       jsonb_build_object('retention_days', (ARRAY[30, 90, 365])[1 + n % 3], 'sso', n % 6 = 0),
       ARRAY[lower(pg_temp.choose(firm, n % pg_temp.workspaces(), 120)) || '.example'],
       timestamptz '2025-05-01 06:00+00' + n % 200 * interval '31 hours',
       timestamptz '2026-01-01 06:00+00' + n % 200 * interval '29 hours'
FROM generate_series(1, pg_temp.workspaces()) n, lists;

-- name: memberships
INSERT INTO memberships (workspace_id, user_id, role, joined_at)
SELECT w, pg_temp.member(w, nth),
       (CASE WHEN nth = 0 THEN 'owner' WHEN nth < 3 THEN 'admin' WHEN nth = 15 THEN 'guest'
             ELSE 'member' END)::member_role,
       pg_temp.moment(pg_temp.member(w, nth), 130)
FROM generate_series(1, pg_temp.workspaces()) w, generate_series(0, 15) nth;

-- name: invitations
INSERT INTO invitations (id, workspace_id, invited_by, email, role, token_hash, valid, accepted_at)
SELECT n, w, pg_temp.member(w, pg_temp.dice(n, 140)),
       concat('invited', n, '@example.', (ARRAY['com', 'net', 'org'])[1 + n % 3]),
       (CASE WHEN n % 8 = 0 THEN 'guest' ELSE 'member' END)::member_role,
       pg_temp.sha256_of(concat('invitation', pg_temp.dice(n, 141))),
       tstzrange(sent, sent + interval '7 days'),
       CASE WHEN n % 3 <> 0 THEN sent + pg_temp.dice(n, 142) % 168 * interval '1 hour' END
FROM generate_series(1, pg_temp.sized(900)) n,
     LATERAL (SELECT 1 + n % pg_temp.workspaces() AS w, pg_temp.moment(n, 143) AS sent) b;

-- name: sessions
INSERT INTO sessions (id, user_id, address, user_agent, created_at, expires_at)
SELECT md5(concat('session', pg_temp.dice(n, 150)))::uuid,
       1 + pg_temp.dice(n, 151) % (pg_temp.workspaces() * 16),
       CASE WHEN n % 4 = 0 THEN inet '2001:db8::' + pg_temp.dice(n, 152) % 1000000
            ELSE inet '198.51.100.0' + pg_temp.dice(n, 152) % 256 END,
       pg_temp.choose(agent, n, 153), began, began + interval '30 days'
FROM generate_series(1, pg_temp.sized(8000)) n, lists,
     LATERAL (SELECT pg_temp.moment(n, 154) AS began) b;

-- name: feature_flags
INSERT INTO feature_flags (name, description, enabled, rollout, conditions)
SELECT replace(lower(t), ' ', '_'), concat('Roll out the ', t), n % 3 <> 0,
       pg_temp.dice(n, 160) % 10001 / 100.0,
       CASE WHEN n % 2 = 0 THEN json_build_object('plans', ARRAY['team', 'business'],
                                                  'since', date '2025-05-01' + n::int * 7) END
FROM lists, unnest(topic) WITH ORDINALITY AS u (t, n);

-- name: meetings
INSERT INTO meetings (id, held_on, workspace_id, organizer_id, title, agenda, status, starts_at,
                      ends_at, created_at, updated_at)
SELECT n, (starts AT TIME ZONE 'UTC')::date, w, pg_temp.member(w, pg_temp.dice(n, 170)),
       CASE WHEN n % 11 = 0 THEN concat('Interview: ', pg_temp.choose(first, n, 171), ' ',
                                        pg_temp.choose(last, n, 172))
            WHEN n % 13 = 0 THEN concat('Customer call with ', pg_temp.choose(firm, n, 173), ' ',
                                        pg_temp.choose(trade, n, 174))
            ELSE concat(upper(left(pg_temp.choose(topic, n, 175), 1)),
                        substr(pg_temp.choose(topic, n, 175), 2), ': ',
                        pg_temp.choose(kind, n, 176)) END,
       CASE WHEN n % 4 <> 0
            THEN concat('1. Where the ', pg_temp.choose(topic, n, 177), E' stands\n2. What the ',
                        pg_temp.choose(topic, n, 178), E' needs\n3. Next steps') END,
       (CASE WHEN n % 23 = 0 THEN 'cancelled' ELSE 'ended' END)::meeting_status,
       starts, starts + (ARRAY[15, 30, 30, 45, 60, 60, 90])[1 + pg_temp.dice(n, 179) % 7]
                        * interval '1 minute',
       starts - interval '3 days', starts - interval '1 day'
FROM generate_series(1, pg_temp.sized(6000)) n, lists,
     LATERAL (SELECT 1 + pg_temp.dice(n, 180) % pg_temp.workspaces() AS w,
                     date '2025-05-01' + ((n - 1) * 549 / pg_temp.sized(6000))::int AS day) d,
     LATERAL (SELECT (day - greatest(0, extract(isodow FROM day)::int - 5)) AT TIME ZONE 'UTC'
                     + interval '7 hours'
                     + pg_temp.dice(n, 181) % 40 * interval '15 minutes' AS starts) s;

-- name: participants
INSERT INTO participants (id, meeting_id, held_on, user_id, guest_name, joined, talk_ratio)
SELECT m.id * 10 + k, m.id, m.held_on,
       CASE WHEN NOT guest THEN pg_temp.member(m.workspace_id, pg_temp.dice(m.id, 190) + k) END,
       CASE WHEN guest THEN concat_ws(' ', pg_temp.choose(first, m.id + k, 191),
                                      pg_temp.choose(last, m.id + k, 192)) END,
       tstzrange(m.starts_at + pg_temp.dice(m.id * 10 + k, 193) % 300 * interval '1 second',
                 m.ends_at),
       (pg_temp.dice(m.id * 10 + k, 194) % 1000 / 1000.0)::real
FROM meetings m, lists, generate_series(0, pg_temp.party(m.id) - 1) k,
     LATERAL (SELECT k > 0 AND pg_temp.chance(m.id * 10 + k, 195, 10) AS guest) g;

-- name: recordings
INSERT INTO recordings (id, meeting_id, held_on, state, object_key, media_type, byte_size, seconds,
                        checksum, created_at)
SELECT m.id, m.id, m.held_on,
       (CASE WHEN m.id % 61 = 0 THEN 'failed' ELSE 'ready' END)::recording_state,
       concat(m.workspace_id, '/', to_char(m.held_on, 'YYYY/MM/DD'), '/',
              md5(concat('key', pg_temp.dice(m.id, 200))), '.ogg'),
       CASE WHEN m.id % 5 = 0 THEN 'video/webm' ELSE 'audio/ogg' END,
       pg_temp.dice(m.id, 201) % 90000000 + 1000000,
       extract(epoch FROM m.duration)::numeric - pg_temp.dice(m.id, 202) % 60000 / 1000.0,
       sha256(int8send(pg_temp.dice(m.id, 203))), m.ends_at + interval '40 seconds'
FROM meetings m WHERE m.status = 'ended' AND m.id % 6 <> 0;

-- name: transcript_segments
INSERT INTO transcript_segments (transcript_id, position, speaker_id, start_ms, end_ms, confidence,
                                 body)
SELECT r.id, s, r.id * 10 + pg_temp.dice(key, 211) % pg_temp.party(r.id),
       s * 12000 + pg_temp.dice(key, 212) % 4000, s * 12000 + 4001 + pg_temp.dice(key, 213) % 8000,
       (0.70 + pg_temp.dice(key, 214) % 3000 / 10000.0)::real,
       concat_ws(' ', a.body, b.body, c.body)
FROM recordings r, generate_series(1, 20 + pg_temp.dice(r.id, 210) % 41) s,
     LATERAL (SELECT r.id * 100 + s AS key) k
     JOIN phrase a ON a.no = pg_temp.dice(key, 215) % 8000
     LEFT JOIN phrase b ON pg_temp.chance(key, 216, 85) AND b.no = pg_temp.dice(key, 217) % 8000
     LEFT JOIN phrase c ON pg_temp.chance(key, 218, 60) AND c.no = pg_temp.dice(key, 219) % 8000
WHERE r.state = 'ready';

-- name: transcripts
INSERT INTO transcripts (id, recording_id, language, model, full_text, word_count, created_at)
SELECT t.id, t.id, 'en', CASE WHEN t.id % 3 = 0 THEN 'mina-stt-3' ELSE 'mina-stt-2' END, t.full_text,
       cardinality(string_to_array(t.full_text, ' ')), r.created_at + interval '5 minutes'
FROM (SELECT transcript_id AS id, string_agg(body, E'\n' ORDER BY position) AS full_text
      FROM transcript_segments GROUP BY transcript_id) t
JOIN recordings r ON r.id = t.id;

-- name: summaries
INSERT INTO summaries (transcript_id, content, sentiment, created_at, updated_at)
SELECT t.id,
       jsonb_build_object(
           'headline', concat('The ', pg_temp.choose(topic, t.id, 220), ' ',
                              pg_temp.choose(verb, t.id, 221), ' the ',
                              pg_temp.choose(topic, t.id, 222)),
           'decisions', (SELECT jsonb_agg(p.body ORDER BY p.no) FROM phrase p
                         WHERE p.no IN (pg_temp.dice(t.id, 223) % 8000, pg_temp.dice(t.id, 224) % 8000,
                                       pg_temp.dice(t.id, 225) % 8000)),
           'topics', jsonb_build_array(
               jsonb_build_object('name', pg_temp.choose(topic, t.id, 226),
                                  'minutes', pg_temp.dice(t.id, 227) % 30),
               jsonb_build_object('name', pg_temp.choose(topic, t.id, 228),
                                  'minutes', pg_temp.dice(t.id, 229) % 30)),
           'language', t.language, 'model', 'mina-sum-2', 'follow_up', t.id % 7 = 0),
       (pg_temp.dice(t.id, 230) % 2001 - 1000) / 1000.0,
       t.created_at + interval '20 seconds', t.created_at + interval '20 seconds'
FROM transcripts t, lists;

-- name: action_items
INSERT INTO action_items (id, meeting_id, held_on, assignee_id, title, state, due_on, created_at,
                          updated_at)
SELECT n, m.id, m.held_on,
       CASE WHEN n % 9 <> 0 THEN pg_temp.member(m.workspace_id, pg_temp.dice(n, 240)) END,
       concat(pg_temp.choose(task, n, 241), ' the ', pg_temp.choose(topic, n, 242)),
       (ARRAY['open', 'in_progress', 'done', 'done', 'done', 'dropped']::item_state[])
           [1 + pg_temp.dice(n, 243) % 6],
       CASE WHEN n % 5 <> 0 THEN m.held_on + (pg_temp.dice(n, 244) % 30)::int END,
       m.ends_at, m.ends_at + pg_temp.dice(n, 245) % 480 * interval '1 hour'
FROM generate_series(1, pg_temp.sized(14000)) n
JOIN meetings m ON m.id = 1 + pg_temp.dice(n, 246) % pg_temp.sized(6000), lists;

-- name: comments
INSERT INTO comments (id, workspace_id, meeting_id, held_on, author_id, reply_to, body, created_at,
                      updated_at)
SELECT n, m.workspace_id, m.id, m.held_on, pg_temp.member(m.workspace_id, pg_temp.dice(n, 250)),
       CASE WHEN n > 1 AND n % 3 = 0 THEN n - 1 END,
       CASE WHEN n % 17 = 0 THEN '👍' WHEN n % 19 = 0 THEN concat('> ', p.body, E'\n\nAgreed – thanks!')
            ELSE p.body END,
       said, said
FROM generate_series(1, pg_temp.sized(12000)) n
JOIN meetings m ON m.id = 1 + (n - 1) * pg_temp.sized(6000) / pg_temp.sized(12000)
JOIN phrase p ON p.no = pg_temp.dice(n, 251) % 8000,
     LATERAL (SELECT m.ends_at + pg_temp.dice(n, 252) % 4320 * interval '1 minute' AS said) b;

-- name: tags
INSERT INTO tags (id, workspace_id, name, colour)
SELECT (w - 1) * 8 + k, w, (ARRAY['sales', 'hiring', 'product', 'engineering', 'finance', 'urgent',
                                  'customer', 'follow-up'])[k],
       pg_temp.choose(colour, w * 8 + k, 260)
FROM generate_series(1, pg_temp.workspaces()) w, generate_series(1, 8) k, lists;

-- name: meeting_tags
INSERT INTO meeting_tags (meeting_id, held_on, tag_id)
SELECT m.id, m.held_on, (m.workspace_id - 1) * 8 + k
FROM meetings m, generate_series(1, 8) k
WHERE pg_temp.chance(m.id * 8 + k, 270, 25);

-- name: integrations
INSERT INTO integrations (id, workspace_id, kind, settings, connected_at)
SELECT (w - 1) * 5 + k, w, (ARRAY['calendar', 'chat', 'crm', 'storage', 'tracker'])[k],
       jsonb_build_object('account', concat('acct-', pg_temp.dice(w * 5 + k, 280) % 100000),
                          'sync', jsonb_build_object('every_minutes', 5 * k, 'two_way', w % 2 = 0)),
       pg_temp.moment(w * 5 + k, 281)
FROM generate_series(1, pg_temp.workspaces()) w, generate_series(1, 5) k
WHERE pg_temp.chance(w * 5 + k, 282, 55);

-- name: api_keys
INSERT INTO api_keys (id, workspace_id, created_by, name, prefix, key_hash, scopes, last_used_at,
                      revoked_at)
SELECT n, w, pg_temp.member(w, pg_temp.dice(n, 290)),
       (ARRAY['CI', 'export job', 'CRM sync', 'dashboard'])[1 + n % 4],
       concat('mk_', left(md5(pg_temp.dice(n, 291)::text), 5)),
       pg_temp.sha256_of(concat('key', pg_temp.dice(n, 291))),
       CASE WHEN n % 3 = 0 THEN ARRAY['read', 'write'] ELSE ARRAY['read'] END,
       CASE WHEN n % 6 <> 0 THEN pg_temp.moment(n, 292) END,
       CASE WHEN n % 10 = 0 THEN timestamptz '2026-10-01 12:00+00' END
FROM generate_series(1, pg_temp.sized(240)) n,
     LATERAL (SELECT 1 + n % pg_temp.workspaces() AS w) b;

-- name: webhooks
INSERT INTO webhooks (id, workspace_id, url, events, active, updated_at)
SELECT n, 1 + n % pg_temp.workspaces(),
       concat('https://hooks.', lower(pg_temp.choose(firm, n, 300)), '.example/mina/', n),
       CASE WHEN n % 2 = 0 THEN ARRAY['meeting.ended', 'transcript.ready']
            ELSE ARRAY['summary.ready'] END,
       n % 9 <> 0, pg_temp.moment(n, 301)
FROM generate_series(1, pg_temp.sized(150)) n, lists;

-- name: webhook_deliveries
INSERT INTO webhook_deliveries (id, webhook_id, event, payload, state, status_code, attempts, took,
                                created_at)
SELECT n, 1 + pg_temp.dice(n, 310) % pg_temp.sized(150), event,
       jsonb_build_object('event', event, 'meeting', pg_temp.dice(n, 311) % pg_temp.sized(6000),
                          'id', md5(concat('delivery', pg_temp.dice(n, 312)))),
       (CASE WHEN failed THEN 'failed' ELSE 'delivered' END)::delivery_state,
       CASE WHEN failed THEN (ARRAY[500, 502, 503, NULL])[1 + n % 4] ELSE 200 END,
       CASE WHEN failed THEN 5 ELSE 1 END,
       (pg_temp.dice(n, 313) % 4000 + 20) * interval '1 millisecond', pg_temp.moment(n, 314)
FROM generate_series(1, pg_temp.sized(40000)) n,
     LATERAL (SELECT (ARRAY['meeting.ended', 'transcript.ready', 'summary.ready'])[1 + n % 3] AS event,
                     pg_temp.chance(n, 315, 3) AS failed) b;

-- name: billing.plans
INSERT INTO billing.plans (code, name, seat_price, currency, limits, retired) VALUES
    ('free', 'Free', 0, 'EUR', '{"minutes": 300, "seats": 3}', false),
    ('team', 'Team', 1200, 'EUR', '{"minutes": 6000, "seats": 25}', false),
    ('business', 'Business', 2400, 'EUR', '{"minutes": null, "seats": null, "sso": true}', false),
    ('starter-2024', 'Starter', 700, 'USD', '{"minutes": 1000, "seats": 5}', true);

-- name: billing.subscriptions
INSERT INTO billing.subscriptions (id, workspace_id, plan, state, seats, started_on, updated_at)
SELECT w, w, (ARRAY['team', 'business', 'team', 'free', 'starter-2024'])[1 + w % 5],
       (CASE WHEN w % 29 = 0 THEN 'cancelled' WHEN w % 17 = 0 THEN 'past_due'
             ELSE 'active' END)::billing.subscription_state,
       16, date '2025-05-01' + (w % 120)::int, timestamptz '2026-10-31 03:00+00'
FROM generate_series(1, pg_temp.workspaces()) w;

-- name: billing.invoices
INSERT INTO billing.invoices (id, number, subscription_id, state, currency, period, issued_on, due_on)
SELECT (s.id - 1) * 18 + m, billing.next_invoice_number(), s.id,
       (CASE WHEN m = 17 THEN 'open' WHEN s.id % 41 = 0 THEN 'void'
             ELSE 'paid' END)::billing.invoice_state,
       p.currency, daterange(first, (first + interval '1 month')::date),
       (first + interval '1 month')::date, (first + interval '1 month')::date + 14
FROM billing.subscriptions s JOIN billing.plans p ON p.code = s.plan,
     generate_series(1, 17) m,
     LATERAL (SELECT (date '2025-05-01' + (m - 1) * interval '1 month')::date AS first) b
WHERE p.seat_price > 0 AND first >= s.started_on
ORDER BY 1;

-- name: billing.invoice_lines
INSERT INTO billing.invoice_lines (invoice_id, position, description, quantity, unit_price)
SELECT i.id, k, (ARRAY['Seats', 'Extra minutes', 'Storage, GB-months'])[k],
       CASE k WHEN 1 THEN s.seats ELSE 1 + pg_temp.dice(i.id * 3 + k, 320) % 40000 / 100.0 END,
       CASE k WHEN 1 THEN p.seat_price / 100.0 WHEN 2 THEN 0.0125 ELSE 0.0230 END
FROM billing.invoices i JOIN billing.subscriptions s ON s.id = i.subscription_id
JOIN billing.plans p ON p.code = s.plan, generate_series(1, 3) k
WHERE k = 1 OR pg_temp.chance(i.id * 3 + k, 321, 60);

-- name: billing.payments
INSERT INTO billing.payments (id, invoice_id, amount, currency, method, reference, received_at)
SELECT i.id, i.id, sum(l.amount), i.currency, (ARRAY['card', 'card', 'sepa', 'transfer'])[1 + i.id % 4],
       concat('PAY-', upper(left(md5(pg_temp.dice(i.id, 330)::text), 12))),
       i.issued_on::timestamp AT TIME ZONE 'UTC'
           + pg_temp.dice(i.id, 331) % (13 * 86400) * interval '1 second'
FROM billing.invoices i JOIN billing.invoice_lines l ON l.invoice_id = i.id
WHERE i.state = 'paid'
GROUP BY i.id;

-- name: billing.usage_events
INSERT INTO billing.usage_events (id, workspace_id, metric, quantity, happened_at)
SELECT n, 1 + pg_temp.dice(n, 340) % pg_temp.workspaces(),
       (ARRAY['transcribed_minutes', 'api_calls', 'stored_gigabytes'])[1 + pg_temp.dice(n, 341) % 3],
       pg_temp.dice(n, 342) % 100000 / 100.0, pg_temp.moment(n, 343)
FROM generate_series(1, pg_temp.sized(100000)) n;

-- name: audit.log
INSERT INTO audit.log (id, happened_at, actor_id, action, object_type, object_id, address, change)
OVERRIDING SYSTEM VALUE
SELECT n, timestamptz '2025-05-01 00:00+00' + (n * 549 * 86400 / (pg_temp.sized(60000) + 1))
                                              * interval '1 second',
       CASE WHEN n % 50 <> 0 THEN 1 + pg_temp.dice(n, 350) % (pg_temp.workspaces() * 16) END,
       (ARRAY['create', 'update', 'update', 'delete', 'share', 'export'])[1 + pg_temp.dice(n, 351) % 6],
       (ARRAY['meeting', 'transcript', 'member', 'api_key'])[1 + pg_temp.dice(n, 352) % 4],
       (pg_temp.dice(n, 353) % 6000)::text, inet '203.0.113.0' + pg_temp.dice(n, 354) % 256,
       CASE WHEN n % 3 = 0 THEN jsonb_build_object('field', 'title', 'from', pg_temp.choose(topic, n, 355),
                                                   'to', pg_temp.choose(topic, n, 356)) END
FROM generate_series(1, pg_temp.sized(60000)) n, lists;

