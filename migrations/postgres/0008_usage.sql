-- Sums of the log, filled behind it by one process at a time. A version that does not know these tables counts nothing;
-- one that does counts what it missed.

-- The transaction that appended a record: records are counted in the order of their transactions, and only those of
-- transactions before which none is under way. 0 for those from before this version, which are counted first.
ALTER TABLE record ADD COLUMN xact bigint NOT NULL DEFAULT 0;
ALTER TABLE record ALTER COLUMN xact SET DEFAULT pg_current_xact_id()::text::bigint;
CREATE INDEX record_xact ON record (xact, id);

-- How far the sums count; one row.
CREATE TABLE projection (
    one     bigint NOT NULL PRIMARY KEY CHECK (one = 1), -- there is one row
    number  bigint NOT NULL, -- place of the last counted record in the order of appends: its transaction
    record  uuid   NOT NULL, -- its id, which orders the records of a transaction
    at      bigint,          -- its time
    records bigint NOT NULL, -- records counted so far
    replica uuid   NOT NULL, -- the process that counted last
    claimed bigint NOT NULL  -- other processes leave it to that one until then
);

INSERT INTO projection (one, number, record, records, replica, claimed)
VALUES (1, 0, '00000000-0000-0000-0000-000000000000', 0, '00000000-0000-0000-0000-000000000000', 0);

-- Subjects and actors. All personal data of the sums stands here; sums know a person by a number, which is never given twice.
CREATE TABLE person (
    id   bigint NOT NULL PRIMARY KEY GENERATED ALWAYS AS IDENTITY, -- the number
    name text   NOT NULL UNIQUE                                    -- qualified id
);

-- A name goes with the last side row that has it. Whoever counts holds the row of `projection`, so that no name is
-- written while it is being erased.
CREATE FUNCTION side_erased() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    PERFORM 1 FROM projection FOR UPDATE;
    DELETE FROM person
     WHERE name IN (SELECT subject FROM erased UNION SELECT actor FROM erased)
       AND NOT EXISTS (SELECT 1 FROM side WHERE side.subject = person.name)
       AND NOT EXISTS (SELECT 1 FROM side WHERE side.actor = person.name);
    RETURN NULL;
END $$;

CREATE TRIGGER side_erased AFTER DELETE ON side
    REFERENCING OLD TABLE AS erased FOR EACH STATEMENT EXECUTE FUNCTION side_erased();

-- What sums are of, persons and days apart.
CREATE TABLE route (
    id             bigint NOT NULL PRIMARY KEY GENERATED ALWAYS AS IDENTITY, -- number of the row
    key            bytea  NOT NULL UNIQUE, -- digest of all that follows
    server         text,                   -- name of the server
    tool           text,                   -- the tool; none of what was refused
    target         text,                   -- name of the target
    grants         text   NOT NULL,        -- short names of the grants, JSON
    issuer         text,                   -- alias of the subject's issuer
    source         text,                   -- reference to the target's own credential
    source_version text,                   -- its version
    signing_key    text,                   -- kid of the broker's key
    token_key      text,                   -- kid of the issuer's key
    rules          text   NOT NULL,        -- ids of the deciding rules, JSON
    groups         text   NOT NULL         -- the subject's groups, JSON
);

-- The sums.
CREATE TABLE usage (
    route    bigint NOT NULL, -- what it is of
    day      bigint NOT NULL, -- UTC day, from 1970-01-01
    subject  bigint NOT NULL, -- number of the subject; 0 for none, and a number without a person once erased
    actor    bigint NOT NULL, -- number of the actor, likewise
    issued   bigint NOT NULL, -- credentials issued
    refused  bigint NOT NULL, -- requests refused
    reported bigint NOT NULL, -- uses reported
    first_at bigint NOT NULL, -- time of the first record
    last_at  bigint NOT NULL, -- time of the last record
    until    bigint,          -- latest end of what was issued
    granted  bigint,          -- longest lifetime, seconds
    used     bigint,          -- longest time from an issuance to the end of a use, seconds
    record   text COLLATE "C" NOT NULL, -- lowest id of a record
    PRIMARY KEY (route, day, subject, actor)
);

CREATE INDEX usage_subject ON usage (subject, day) WHERE subject <> 0;
CREATE INDEX usage_actor   ON usage (actor,   day) WHERE actor   <> 0;

-- Findings that somebody is told once.
CREATE TABLE alert (
    key      bytea  NOT NULL PRIMARY KEY, -- digest of what was found and of its day
    found    bigint NOT NULL,             -- when
    body     text,                        -- what is sent; none once it was sent or given up
    attempts bigint NOT NULL,             -- attempts to send it
    due      bigint                       -- when the next attempt may be made; none once settled
);

CREATE INDEX alert_due ON alert (due) WHERE due IS NOT NULL;
