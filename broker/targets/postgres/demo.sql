-- The sample that `procura dev` shows: tickets, of which everybody sees only their own. Run after
-- setup.sql as the owner of the database, with procura.administrator set as there.
BEGIN;

CREATE SCHEMA IF NOT EXISTS support;

CREATE TABLE IF NOT EXISTS support.tickets (
    id    integer NOT NULL PRIMARY KEY,
    owner text    NOT NULL, -- qualified id of the user whose ticket it is
    title text    NOT NULL
);

INSERT INTO support.tickets (id, owner, title)
VALUES (1, 'dev/alice', 'The printer is on fire'),
       (2, 'dev/alice', 'A new keyboard, please'),
       (3, 'dev/bob',   'VPN drops every hour')
ON CONFLICT (id) DO NOTHING;

ALTER TABLE support.tickets ENABLE ROW LEVEL SECURITY;
DROP POLICY IF EXISTS own_tickets ON support.tickets;
-- In a sub-select, so that the claim is read once per query and not once per row.
CREATE POLICY own_tickets ON support.tickets FOR SELECT
    USING ((SELECT procura.claim('subject_kind')) = 'user' AND owner = (SELECT procura.claim('subject')));

-- The group role that the grant tickets-db/read-rows names.
DO $$
DECLARE
    administrator name := current_setting('procura.administrator');
BEGIN
    IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = 'support_reader') THEN
        CREATE ROLE support_reader NOLOGIN;
    END IF;
    -- Before 16 any role with CREATEROLE may grant it.
    IF current_setting('server_version_num')::int >= 160000 THEN
        EXECUTE format('GRANT support_reader TO %I WITH ADMIN TRUE, INHERIT FALSE, SET FALSE', administrator);
    END IF;
END
$$;
GRANT USAGE ON SCHEMA support TO support_reader;
GRANT SELECT ON support.tickets TO support_reader;

COMMIT;
