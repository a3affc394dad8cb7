-- What rate limits counted, of all replicas. A version that does not know this table counts nothing.
CREATE TABLE counted (
    key  BLOB    NOT NULL, -- digest of what is counted: no name stands here
    ends INTEGER NOT NULL, -- end of the window
    used INTEGER NOT NULL, -- how often, so far
    PRIMARY KEY (key, ends)
) STRICT, WITHOUT ROWID;

CREATE INDEX counted_ends ON counted (ends);
