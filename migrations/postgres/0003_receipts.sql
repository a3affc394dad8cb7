-- Since this version an event of a record may be rotation: an operator rotated the secret of a target.

-- What is kept of a credential beside its handle. A version that does not know these columns undoes by the handle alone.

ALTER TABLE lease ADD COLUMN sealed   bytea;  -- the minter's receipt, sealed; none once gone
ALTER TABLE lease ADD COLUMN lapses   bigint;  -- when it ends by itself at the latest; none where it lives until it is undone
ALTER TABLE lease ADD COLUMN known_as text;    -- what the target calls it, where that is not the handle

CREATE INDEX lease_known_as ON lease (known_as, id) WHERE known_as IS NOT NULL;

-- Targets that hold leases are told with the places that they hold them at, whatever the number of leases.
CREATE INDEX lease_place ON lease (target, place) WHERE due IS NOT NULL;

-- What hangs on the bundles before this one was undone; the highest number is that of the last one.
ALTER TABLE bundle ADD COLUMN settled bigint;
