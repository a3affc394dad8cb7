-- The records as leaves of a tree (RFC 6962).

-- Records that are no leaves yet.
CREATE TABLE pending (
    id uuid NOT NULL PRIMARY KEY -- id of the record
);

-- The order of the leaves.
CREATE TABLE leaf (
    position bigint NOT NULL PRIMARY KEY, -- index, from 0
    id       uuid   NOT NULL UNIQUE       -- id of the record
);

-- The tree; one row, made by the first version that knows it.
CREATE TABLE log (
    one       bigint NOT NULL PRIMARY KEY CHECK (one = 1), -- there is one row
    origin    text   NOT NULL,                             -- origin of the epoch, as in its checkpoints
    epoch     bigint NOT NULL,                             -- number of the epoch, from 1
    size      bigint NOT NULL,                             -- leaves that have an index
    root      bytea  NOT NULL,                             -- root over them
    published bigint,                                      -- size of the last checkpoint that stands at the anchor
    note      text,                                        -- that checkpoint, signed
    holder    uuid,                                        -- the process that integrates
    fence     bigint NOT NULL,                             -- raised by whoever takes the lease
    until     bigint NOT NULL                              -- end of the lease
);

-- Tiles of hashes (C2SP tlog-tiles); those at the right edge are written again until they are full.
CREATE TABLE tile (
    level  bigint NOT NULL, -- level, from 0
    number bigint NOT NULL, -- number in its level, from 0
    data   bytea  NOT NULL, -- 1 to 256 hashes of 32 bytes
    PRIMARY KEY (level, number)
);

-- Epochs after the first: an operator acknowledged that the store was restored.
CREATE TABLE epoch (
    number bigint NOT NULL PRIMARY KEY, -- number of the epoch
    link   text   NOT NULL              -- signed note that leads from the last head of the epoch before to this one
);

-- A trigger, and not the statement that appends, so that replicas of a version before this one leave no record out.
CREATE FUNCTION record_waits() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO pending (id) SELECT id FROM appended;
    RETURN NULL;
END
$$;

CREATE TRIGGER record_waits AFTER INSERT ON record
    REFERENCING NEW TABLE AS appended
    FOR EACH STATEMENT EXECUTE FUNCTION record_waits();
