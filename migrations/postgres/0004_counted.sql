-- What rate limits counted, of all replicas. A version that does not know this table counts nothing.
CREATE TABLE counted (
    key  bytea  NOT NULL, -- digest of what is counted: no name stands here
    ends bigint NOT NULL, -- end of the window
    used bigint NOT NULL, -- how often, so far
    PRIMARY KEY (key, ends)
);

CREATE INDEX counted_ends ON counted (ends);
