-- What is due is looked for target by target, so that the backlog of one keeps no other waiting. Of a version that looks
-- at all targets at once, only the order of its reads changes.

DROP INDEX lease_due;

CREATE INDEX lease_due ON lease (target, due) WHERE due IS NOT NULL;
