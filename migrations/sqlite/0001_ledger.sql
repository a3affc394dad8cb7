-- The ledger: records, sessions, leases, marks. Ids are UUIDs of 16 bytes, version 7, so that they order by time.
-- Times are microseconds since 1970-01-01T00:00:00Z. Digests are SHA-256, 32 bytes.
-- Changes follow expand and contract: a version of the broker works with this schema and with the next one.

-- What holds for the whole store; one row.
CREATE TABLE meta (
    one          INTEGER NOT NULL PRIMARY KEY CHECK (one = 1), -- there is one row
    installation TEXT    NOT NULL                              -- 8 of [a-z0-9], made with the store; stands in the handles at targets
) STRICT;

-- One row for each process that ever wrote.
CREATE TABLE writer (
    id    BLOB    NOT NULL PRIMARY KEY, -- made when the process opened the store
    batch INTEGER NOT NULL,             -- number of the last batch that it committed; a commit with unknown outcome is read back here
    at    INTEGER NOT NULL              -- highest time of a record that it wrote; the highest of all is the durable time
) STRICT;

-- The issuance log. Rows are only ever added; of what is there, revoked_at alone changes.
CREATE TABLE record (
    id             BLOB    NOT NULL UNIQUE, -- id of the record, and of the credential that it is about
    leaf           TEXT    NOT NULL,        -- the exact bytes of the leaf, never serialised again
    event          TEXT    NOT NULL,        -- exchange, use, revocation, session_end
    outcome        TEXT    NOT NULL,        -- issued, refused, reported, done
    reason         TEXT,                    -- reason code, where it was refused
    at             INTEGER NOT NULL,        -- time of the record
    server         TEXT,                    -- name of the server
    tool           TEXT,                    -- the tool, as the server named it
    target         TEXT,                    -- name of the target
    grants         TEXT    NOT NULL,        -- short names of the grants asked for, a space before, between and after them
    session        BLOB,                    -- id of the session
    about          BLOB,                    -- the issuance that a use or revocation is about
    value          BLOB,                    -- digest of the issued value
    until          INTEGER,                 -- end of the issued credential
    source_version TEXT,                    -- version of the source's secret that made it
    revoked_at     INTEGER                  -- when it was revoked, alone or with its session
) STRICT;

CREATE INDEX record_server  ON record (server,  id) WHERE server  IS NOT NULL;
CREATE INDEX record_target  ON record (target,  id) WHERE target  IS NOT NULL;
CREATE INDEX record_session ON record (session, id) WHERE session IS NOT NULL;
CREATE INDEX record_about   ON record (about,   id) WHERE about   IS NOT NULL;
CREATE INDEX record_value   ON record (value)       WHERE value   IS NOT NULL;

-- Personal data of a record. A row can be erased; the record stays valid without it.
CREATE TABLE side (
    id      BLOB NOT NULL PRIMARY KEY, -- id of the record
    salt    BLOB NOT NULL,             -- salt of the commitment, 32 bytes
    clear   TEXT NOT NULL,             -- clear text of the commitment, JSON
    subject TEXT,                      -- qualified id of the subject
    actor   TEXT                       -- qualified id of the actor, where it is not the server
) STRICT, WITHOUT ROWID;

CREATE INDEX side_subject ON side (subject, id) WHERE subject IS NOT NULL;
CREATE INDEX side_actor   ON side (actor,   id) WHERE actor   IS NOT NULL;

-- Runs of subject, actor and server.
CREATE TABLE session (
    id           BLOB    NOT NULL PRIMARY KEY, -- id of the session
    key          BLOB    NOT NULL,             -- digest of server, subject, actor and sid: what it is joined by
    server       TEXT    NOT NULL,             -- name of the server
    subject_kind TEXT    NOT NULL,             -- user or agent
    subject      TEXT    NOT NULL,             -- qualified id of the subject
    actor        TEXT,                         -- qualified id of the actor, where it is not the server
    sid          TEXT,                         -- sid of the subject token
    pinned       INTEGER NOT NULL,             -- 1: made on purpose, joined by its id only
    opened       INTEGER NOT NULL,             -- when it was opened
    ends         INTEGER NOT NULL,             -- when it ends at the latest
    last_used    INTEGER NOT NULL,             -- last issuance or use
    issuances    INTEGER NOT NULL,             -- credentials issued in it
    ended_at     INTEGER,                      -- when it was ended
    ended_by     TEXT                          -- server, operator, policy, time
) STRICT, WITHOUT ROWID;

-- One session of a key at a time; this index is what decides a race.
CREATE UNIQUE INDEX session_live  ON session (key) WHERE ended_at IS NULL AND NOT pinned;
CREATE INDEX session_open         ON session (ends) WHERE ended_at IS NULL;
CREATE INDEX session_subject      ON session (subject, id);
CREATE INDEX session_actor        ON session (actor, id) WHERE actor IS NOT NULL;
CREATE INDEX session_server       ON session (server, id);

-- Credentials at targets that want undoing, from the intent on.
CREATE TABLE lease (
    id             BLOB    NOT NULL UNIQUE, -- id of the issuance
    handle         TEXT    NOT NULL,        -- what the target knows
    target         TEXT    NOT NULL,        -- name of the target
    place          TEXT    NOT NULL,        -- where the target was: its settings that say so
    session        BLOB    NOT NULL,        -- id of the session
    state          TEXT    NOT NULL,        -- intended, live, undoing, gone
    replica        BLOB    NOT NULL,        -- the process that may move it
    fence          INTEGER NOT NULL,        -- raised by whoever takes it over
    deadline       INTEGER NOT NULL,        -- when the mint is given up
    until          INTEGER,                 -- when it must be undone, once live
    source_version TEXT,                    -- version of the source's secret that made it
    attempts       INTEGER NOT NULL,        -- attempts to undo so far
    due            INTEGER,                 -- deadline, end or next attempt, as the state has it; none once gone
    claimed        INTEGER,                 -- an attempt is under way until then
    problem        TEXT,                    -- what the target said to the last attempt
    aborted        TEXT                     -- record to append where the mint never got to its own, JSON
) STRICT;

CREATE INDEX lease_due     ON lease (state, due) WHERE due IS NOT NULL;
CREATE INDEX lease_session ON lease (session, id);
CREATE INDEX lease_target  ON lease (target, id);

-- Whose subject tokens are refused because their session was ended by an operator or by policy.
CREATE TABLE mark (
    key          BLOB    NOT NULL PRIMARY KEY, -- digest of server, subject and actor
    server       TEXT    NOT NULL,             -- name of the server
    subject_kind TEXT    NOT NULL,             -- user or agent
    subject      TEXT    NOT NULL,             -- qualified id of the subject
    actor        TEXT,                         -- qualified id of the actor, where it is not the server
    second       INTEGER NOT NULL              -- tokens issued up to the end of this second are refused (seconds since 1970)
) STRICT;

-- Ids that may be used once and were.
CREATE TABLE replay (
    id    BLOB    NOT NULL PRIMARY KEY, -- digest of kind, issuer and id
    until INTEGER NOT NULL              -- may be forgotten after this time
) STRICT, WITHOUT ROWID;

CREATE INDEX replay_until ON replay (until);

-- Policy bundles that were ever active.
CREATE TABLE bundle (
    digest  BLOB NOT NULL PRIMARY KEY, -- digest of the bundle, as in the records
    content BLOB NOT NULL              -- its content
) STRICT;
