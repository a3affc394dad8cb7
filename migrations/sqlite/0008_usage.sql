-- Sums of the log, filled behind it by one process at a time. A version that does not know these tables counts nothing;
-- one that does counts what it missed.

-- How far the sums count; one row.
CREATE TABLE projection (
    one     INTEGER NOT NULL PRIMARY KEY CHECK (one = 1), -- there is one row
    number  INTEGER NOT NULL, -- place of the last counted record in the order of appends: its rowid, which no change moves, as rows are only added
    record  BLOB    NOT NULL, -- its id
    at      INTEGER,          -- its time
    records INTEGER NOT NULL, -- records counted so far
    replica BLOB    NOT NULL, -- the process that counted last
    claimed INTEGER NOT NULL  -- other processes leave it to that one until then
) STRICT;

INSERT INTO projection (one, number, record, records, replica, claimed) VALUES (1, 0, zeroblob(16), 0, zeroblob(16), 0);

-- Subjects and actors. All personal data of the sums stands here; sums know a person by a number, which is never given twice.
CREATE TABLE person (
    id   INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, -- the number
    name TEXT    NOT NULL UNIQUE                     -- qualified id
) STRICT;

-- A name goes with the last side row that has it.
CREATE TRIGGER side_erased AFTER DELETE ON side
BEGIN
    DELETE FROM person
     WHERE name IN (OLD.subject, OLD.actor)
       AND NOT EXISTS (SELECT 1 FROM side WHERE side.subject = person.name)
       AND NOT EXISTS (SELECT 1 FROM side WHERE side.actor = person.name);
END;

-- What sums are of, persons and days apart.
CREATE TABLE route (
    id             INTEGER NOT NULL PRIMARY KEY, -- number of the row
    key            BLOB    NOT NULL UNIQUE,      -- digest of all that follows
    server         TEXT,                         -- name of the server
    tool           TEXT,                         -- the tool; none of what was refused
    target         TEXT,                         -- name of the target
    grants         TEXT    NOT NULL,             -- short names of the grants, JSON
    issuer         TEXT,                         -- alias of the subject's issuer
    source         TEXT,                         -- reference to the target's own credential
    source_version TEXT,                         -- its version
    signing_key    TEXT,                         -- kid of the broker's key
    token_key      TEXT,                         -- kid of the issuer's key
    rules          TEXT    NOT NULL,             -- ids of the deciding rules, JSON
    groups         TEXT    NOT NULL              -- the subject's groups, JSON
) STRICT;

-- The sums.
CREATE TABLE usage (
    route    INTEGER NOT NULL, -- what it is of
    day      INTEGER NOT NULL, -- UTC day, from 1970-01-01
    subject  INTEGER NOT NULL, -- number of the subject; 0 for none, and a number without a person once erased
    actor    INTEGER NOT NULL, -- number of the actor, likewise
    issued   INTEGER NOT NULL, -- credentials issued
    refused  INTEGER NOT NULL, -- requests refused
    reported INTEGER NOT NULL, -- uses reported
    first_at INTEGER NOT NULL, -- time of the first record
    last_at  INTEGER NOT NULL, -- time of the last record
    until    INTEGER,          -- latest end of what was issued
    granted  INTEGER,          -- longest lifetime, seconds
    used     INTEGER,          -- longest time from an issuance to the end of a use, seconds
    record   TEXT    NOT NULL, -- lowest id of a record
    PRIMARY KEY (route, day, subject, actor)
) STRICT, WITHOUT ROWID;

CREATE INDEX usage_subject ON usage (subject, day) WHERE subject <> 0;
CREATE INDEX usage_actor   ON usage (actor,   day) WHERE actor   <> 0;

-- Findings that somebody is told once.
CREATE TABLE alert (
    key      BLOB    NOT NULL PRIMARY KEY, -- digest of what was found and of its day
    found    INTEGER NOT NULL,             -- when
    body     TEXT,                         -- what is sent; none once it was sent or given up
    attempts INTEGER NOT NULL,             -- attempts to send it
    due      INTEGER                       -- when the next attempt may be made; none once settled
) STRICT, WITHOUT ROWID;

CREATE INDEX alert_due ON alert (due) WHERE due IS NOT NULL;
