-- The ledger: records, sessions, leases, marks. Ids are UUIDs, version 7, so that they order by time.
-- Times are microseconds since 1970-01-01T00:00:00Z. Digests are SHA-256, 32 bytes.
-- Changes follow expand and contract: a version of the broker works with this schema and with the next one.

-- What holds for the whole store; one row.
CREATE TABLE meta (
    one          bigint  NOT NULL PRIMARY KEY CHECK (one = 1), -- there is one row
    installation text    NOT NULL                              -- 8 of [a-z0-9], made with the store; stands in the handles at targets
);

-- One row for each process that ever wrote.
CREATE TABLE writer (
    id    uuid    NOT NULL PRIMARY KEY, -- made when the process opened the store
    batch bigint  NOT NULL,             -- number of the last batch that it committed; a commit with unknown outcome is read back here
    at    bigint  NOT NULL              -- highest time of a record that it wrote; the highest of all is the durable time
);

-- The issuance log. Rows are only ever added; of what is there, revoked_at alone changes.
CREATE TABLE record (
    id             uuid    NOT NULL UNIQUE, -- id of the record, and of the credential that it is about
    leaf           text    NOT NULL,        -- the exact bytes of the leaf, never serialised again
    event          text    NOT NULL,        -- exchange, use, revocation, session_end
    outcome        text    NOT NULL,        -- issued, refused, reported, done
    reason         text,                    -- reason code, where it was refused
    at             bigint  NOT NULL,        -- time of the record
    server         text,                    -- name of the server
    tool           text,                    -- the tool, as the server named it
    target         text,                    -- name of the target
    grants         text    NOT NULL,        -- short names of the grants asked for, a space before, between and after them
    session        uuid,                    -- id of the session
    about          uuid,                    -- the issuance that a use or revocation is about
    value          bytea,                   -- digest of an issued value that does not name its record
    until          bigint,                  -- end of the issued credential
    source_version text,                    -- version of the source's secret that made it
    revoked_at     bigint                   -- when it was revoked, alone or with its session
);

CREATE INDEX record_server  ON record (server,  id) WHERE server  IS NOT NULL;
CREATE INDEX record_target  ON record (target,  id) WHERE target  IS NOT NULL;
CREATE INDEX record_session ON record (session, id) WHERE session IS NOT NULL;
CREATE INDEX record_about   ON record (about,   id) WHERE about   IS NOT NULL;
CREATE INDEX record_value   ON record (value)       WHERE value   IS NOT NULL;

-- Personal data of a record. A row can be erased; the record stays valid without it.
CREATE TABLE side (
    id      uuid NOT NULL UNIQUE, -- id of the record
    salt    bytea NOT NULL,       -- salt of the commitment, 32 bytes
    clear   text NOT NULL,        -- clear text of the commitment, JSON
    subject text,                 -- qualified id of the subject
    actor   text                  -- qualified id of the actor, where it is not the server
);

CREATE INDEX side_subject ON side (subject, id) WHERE subject IS NOT NULL;
CREATE INDEX side_actor   ON side (actor,   id) WHERE actor   IS NOT NULL;

-- Runs of subject, actor and server.
CREATE TABLE session (
    id           uuid    NOT NULL UNIQUE, -- id of the session
    key          bytea   NOT NULL,        -- digest of server, subject, actor and sid: what it is joined by
    server       text    NOT NULL,        -- name of the server
    subject_kind text    NOT NULL,        -- user or agent
    subject      text    NOT NULL,        -- qualified id of the subject
    actor        text,                    -- qualified id of the actor, where it is not the server
    sid          text,                    -- sid of the subject token
    pinned       boolean NOT NULL,        -- made on purpose, joined by its id only
    opened       bigint  NOT NULL,        -- when it was opened
    ends         bigint  NOT NULL,        -- when it ends at the latest
    last_used    bigint  NOT NULL,        -- last issuance or use
    issuances    bigint  NOT NULL,        -- credentials issued in it
    ended_at     bigint,                  -- when it was ended
    ended_by     text                     -- server, operator, policy, time
);

-- One session of a key at a time; this index is what decides a race.
CREATE UNIQUE INDEX session_live  ON session (key) WHERE ended_at IS NULL AND NOT pinned;
CREATE INDEX session_open         ON session (ends) WHERE ended_at IS NULL;
CREATE INDEX session_subject      ON session (subject, id);
CREATE INDEX session_actor        ON session (actor, id) WHERE actor IS NOT NULL;
CREATE INDEX session_server       ON session (server, id);

-- Credentials at targets that want undoing, from the intent on.
CREATE TABLE lease (
    id             uuid    NOT NULL UNIQUE, -- id of the issuance
    handle         text    NOT NULL,        -- what the target knows
    target         text    NOT NULL,        -- name of the target
    place          text    NOT NULL,        -- where the target was: its settings that say so
    session        uuid    NOT NULL,        -- id of the session
    state          text    NOT NULL,        -- intended, live, undoing, gone
    replica        uuid    NOT NULL,        -- the process that may move it
    fence          bigint  NOT NULL,        -- raised by whoever takes it over
    deadline       bigint  NOT NULL,        -- when the mint is given up
    until          bigint,                  -- when it must be undone, once live
    source_version text,                    -- version of the source's secret that made it
    attempts       bigint  NOT NULL,        -- attempts to undo so far
    due            bigint,                  -- deadline, end or next attempt, as the state has it; none once gone
    claimed        bigint,                  -- an attempt is under way until then
    problem        text,                    -- what the target said to the last attempt
    aborted        text                     -- record to append where the mint never got to its own, JSON
);

CREATE INDEX lease_due     ON lease (state, due) WHERE due IS NOT NULL;
CREATE INDEX lease_session ON lease (session, id);
CREATE INDEX lease_target  ON lease (target, id);

-- Whose subject tokens are refused because their session was ended by an operator or by policy.
CREATE TABLE mark (
    key          bytea   NOT NULL PRIMARY KEY, -- digest of server, subject and actor
    server       text    NOT NULL,             -- name of the server
    subject_kind text    NOT NULL,             -- user or agent
    subject      text    NOT NULL,             -- qualified id of the subject
    actor        text,                         -- qualified id of the actor, where it is not the server
    second       bigint  NOT NULL              -- tokens issued up to the end of this second are refused (seconds since 1970)
);

-- Ids that may be used once and were.
CREATE TABLE replay (
    id    bytea   NOT NULL PRIMARY KEY, -- digest of kind, issuer and id
    until bigint  NOT NULL              -- may be forgotten after this time
);

CREATE INDEX replay_until ON replay (until);

-- Policy bundles that were ever active.
CREATE TABLE bundle (
    digest  bytea NOT NULL PRIMARY KEY, -- digest of the bundle, as in the records
    content bytea NOT NULL              -- its content
);
