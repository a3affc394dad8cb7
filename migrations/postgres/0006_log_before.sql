-- Records from before the log wait too. By itself, so that nobody who appends waits for it: whatever was appended
-- since the migration before waits already.

INSERT INTO pending (id)
SELECT id FROM record
    ON CONFLICT (id) DO NOTHING;
