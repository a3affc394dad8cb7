-- The records as leaves of a tree (RFC 6962). A version that does not know these tables appends records all the same;
-- the next one that does makes them leaves.
--
-- The index of a leaf is the rowid of its record less one. Rows of record are only ever added, by one process, in
-- transactions that take back what they do not commit; so rowids have no gaps and are the order of the appends. The
-- integrator looks at that each time, and does not go on where it is not so. To copy the file, use VACUUM INTO or the
-- backup of SQLite, which keep this order.

-- The tree; one row, made by the first version that knows it.
CREATE TABLE log (
    one       INTEGER NOT NULL PRIMARY KEY CHECK (one = 1), -- there is one row
    origin    TEXT    NOT NULL,                             -- origin of the epoch, as in its checkpoints
    epoch     INTEGER NOT NULL,                             -- number of the epoch, from 1
    size      INTEGER NOT NULL,                             -- leaves that have an index
    root      BLOB    NOT NULL,                             -- root over them
    published INTEGER,                                      -- size of the last checkpoint that stands at the anchor
    note      TEXT,                                         -- that checkpoint, signed
    holder    BLOB,                                         -- the process that integrates
    fence     INTEGER NOT NULL,                             -- raised by whoever takes the lease
    until     INTEGER NOT NULL                              -- end of the lease
) STRICT;

-- Tiles of hashes (C2SP tlog-tiles); those at the right edge are written again until they are full.
CREATE TABLE tile (
    level  INTEGER NOT NULL, -- level, from 0
    number INTEGER NOT NULL, -- number in its level, from 0
    data   BLOB    NOT NULL, -- 1 to 256 hashes of 32 bytes
    PRIMARY KEY (level, number)
) STRICT;

-- Epochs after the first: an operator acknowledged that the store was restored.
CREATE TABLE epoch (
    number INTEGER NOT NULL PRIMARY KEY, -- number of the epoch
    link   TEXT    NOT NULL              -- signed note that leads from the last head of the epoch before to this one
) STRICT;
