//! SQLite's way of a batch: `jsonb_each`, whose objects are not parsed again for each member. One process
//! writes, so rows need no locks of their own.

use crate::sql::{Sql, lease_columns, session_columns};

pub(super) const SQL: Sql = Sql {
    lock_sessions: concat!(
        "SELECT ",
        session_columns!(),
        " FROM session WHERE id IN (SELECT unhex(value) FROM jsonb_each($1))"
    ),
    marks: "SELECT key, second FROM mark WHERE key IN (SELECT unhex(value) FROM jsonb_each($1))",
    lock_leases: "
        SELECT id, state, replica, fence
          FROM lease
         WHERE id IN (SELECT unhex(value) FROM jsonb_each($1))",
    burn: "
        INSERT INTO replay (id, until)
        SELECT unhex(value ->> 'id'), value ->> 'until'
          FROM jsonb_each($1)
         WHERE true
            ON CONFLICT (id) DO NOTHING
     RETURNING id AS digest",
    unburn: "DELETE FROM replay WHERE id IN (SELECT unhex(value) FROM jsonb_each($1))",
    move_sessions: "
        UPDATE session
           SET last_used = max(last_used, moved.at), issuances = issuances + moved.issued
          FROM (SELECT unhex(value ->> 'id') AS id, value ->> 'at' AS at, value ->> 'issued' AS issued
                  FROM jsonb_each($1)) AS moved
         WHERE session.id = moved.id",
    step_leases: "
        UPDATE lease
           SET state = step.state, due = step.due, until = coalesce(step.until, lease.until),
               source_version = coalesce(step.source_version, lease.source_version), sealed = unhex(step.sealed),
               lapses = step.lapses, known_as = step.known_as, aborted = NULL
          FROM (SELECT unhex(value ->> 'id') AS id, value ->> 'state' AS state, value ->> 'due' AS due,
                       value ->> 'until' AS until, value ->> 'source_version' AS source_version,
                       value ->> 'sealed' AS sealed, value ->> 'lapses' AS lapses, value ->> 'known_as' AS known_as
                  FROM jsonb_each($1)) AS step
         WHERE lease.id = step.id AND lease.state = 'intended'",
    insert_leases: "
        INSERT INTO lease (id, handle, target, place, session, state, replica, fence, deadline, attempts, due,
                           lapses, aborted)
        SELECT unhex(value ->> 'id'), value ->> 'handle', value ->> 'target', value ->> 'place',
               unhex(value ->> 'session'), 'intended', unhex(value ->> 'replica'), 1, value ->> 'deadline', 0,
               value ->> 'deadline', value ->> 'lapses', value ->> 'aborted'
          FROM jsonb_each($1)",
    insert_sessions: "
        INSERT INTO session (id, key, server, subject_kind, subject, actor, sid, pinned, opened, ends, last_used,
                             issuances)
        SELECT unhex(value ->> 'id'), unhex(value ->> 'key'), value ->> 'server', value ->> 'subject_kind',
               value ->> 'subject', value ->> 'actor', value ->> 'sid', value ->> 'pinned', value ->> 'opened',
               value ->> 'ends', value ->> 'last_used', value ->> 'issuances'
          FROM jsonb_each($1)
         WHERE true
            ON CONFLICT DO NOTHING",
    insert_marks: "
        INSERT INTO mark (key, server, subject_kind, subject, actor, second)
        SELECT unhex(value ->> 'key'), value ->> 'server', value ->> 'subject_kind', value ->> 'subject',
               value ->> 'actor', value ->> 'second'
          FROM jsonb_each($1)
         WHERE true
            ON CONFLICT (key) DO UPDATE SET second = max(mark.second, excluded.second)",
    take_due: concat!(
        "UPDATE lease
            SET state = 'undoing', replica = $1, fence = fence + 1, due = $2, claimed = $2
          WHERE id IN (SELECT id
                         FROM lease
                        WHERE target = $5 AND due IS NOT NULL AND due <= $3 AND (state <> 'intended' OR due <= $4)
                        ORDER BY due
                        LIMIT $6)
      RETURNING ",
        lease_columns!()
    ),
    count: "
        INSERT INTO counted (key, ends, used)
        SELECT unhex(value ->> 'key'), value ->> 'ends', value ->> 'used'
          FROM jsonb_each($1)
         WHERE true
            ON CONFLICT (key, ends) DO UPDATE SET used = counted.used + excluded.used
     RETURNING key AS digest, ends, used",
    forget_counts: "
        DELETE FROM counted
         WHERE (key, ends) IN (SELECT key, ends FROM counted WHERE ends <= $1 LIMIT $2)",
    last_batch: "SELECT batch AS number FROM writer WHERE id = $1",
    log: "
        SELECT origin, epoch, size, root, published, note, fence, until,
               EXISTS (SELECT 1 FROM record WHERE rowid > log.size) AS waiting
          FROM log",
    waiting_leaves: "SELECT rowid - 1 AS position, id, leaf FROM record WHERE rowid > $1 ORDER BY rowid LIMIT $2",
    index_leaves: None,
    leaf_index: "SELECT rowid - 1 AS number FROM record WHERE id = $1 AND rowid <= (SELECT size FROM log)",
    leaves: "
        SELECT record.rowid - 1 AS position, record.id, leaf, salt, clear
          FROM record
          LEFT JOIN side ON side.id = record.id
         WHERE record.rowid > $1 AND record.rowid <= (SELECT size FROM log)
         ORDER BY record.rowid
         LIMIT $2",
    next_records: "
        SELECT r.rowid AS number, r.id, r.leaf, r.event, r.outcome, r.at, r.server, r.tool, r.target, r.grants,
               r.about, r.until, r.source_version, s.subject, s.actor
          FROM record r LEFT JOIN side s ON s.id = r.id
         WHERE r.rowid > $1 AND r.id <> $2
         ORDER BY r.rowid
         LIMIT $3",
    move_projection: "
        UPDATE projection
           SET number = $3, record = $4, at = $5, records = records + $6, replica = $7, claimed = $8
         WHERE number = $1 AND record = $2",
    insert_persons: "
        INSERT INTO person (name)
        SELECT value
          FROM json_each($1)
         WHERE EXISTS (SELECT 1 FROM side WHERE subject = value) OR EXISTS (SELECT 1 FROM side WHERE actor = value)
            ON CONFLICT (name) DO NOTHING",
    insert_routes: "
        INSERT INTO route (key, server, tool, target, grants, issuer, source, source_version, signing_key, token_key,
                           rules, groups)
        SELECT unhex(value ->> 'key'), value ->> 'server', value ->> 'tool', value ->> 'target', value ->> 'grants',
               value ->> 'issuer', value ->> 'source', value ->> 'source_version', value ->> 'signing_key',
               value ->> 'token_key', value ->> 'rules', value ->> 'groups'
          FROM jsonb_each($1)
         WHERE true
            ON CONFLICT (key) DO NOTHING",
    add_usage: "
        INSERT INTO usage (route, day, subject, actor, issued, refused, reported, first_at, last_at, until, granted,
                           used, record)
        SELECT r.id, new.day, coalesce(s.id, 0), coalesce(a.id, 0), sum(new.issued), sum(new.refused),
               sum(new.reported), min(new.first_at), max(new.last_at), max(new.until), max(new.granted), max(new.used),
               min(new.record)
          FROM (SELECT unhex(value ->> 'route') AS route, value ->> 'day' AS day, value ->> 'subject' AS subject,
                       value ->> 'actor' AS actor, value ->> 'issued' AS issued, value ->> 'refused' AS refused,
                       value ->> 'reported' AS reported, value ->> 'first_at' AS first_at,
                       value ->> 'last_at' AS last_at, value ->> 'until' AS until, value ->> 'granted' AS granted,
                       value ->> 'used' AS used, value ->> 'record' AS record
                  FROM jsonb_each($1)) AS new
               JOIN route r ON r.key = new.route
               LEFT JOIN person s ON s.name = new.subject
               LEFT JOIN person a ON a.name = new.actor
         WHERE true
         GROUP BY 1, 2, 3, 4
            ON CONFLICT (route, day, subject, actor) DO UPDATE
           SET issued = usage.issued + excluded.issued, refused = usage.refused + excluded.refused,
               reported = usage.reported + excluded.reported, first_at = min(usage.first_at, excluded.first_at),
               last_at = max(usage.last_at, excluded.last_at), record = min(usage.record, excluded.record),
               until = coalesce(max(usage.until, excluded.until), usage.until, excluded.until),
               granted = coalesce(max(usage.granted, excluded.granted), usage.granted, excluded.granted),
               used = coalesce(max(usage.used, excluded.used), usage.used, excluded.used)",
    insert_alerts: "
        INSERT INTO alert (key, found, body, attempts, due)
        SELECT unhex(value ->> 'key'), value ->> 'found', value ->> 'body', 0, value ->> 'found'
          FROM jsonb_each($1)
         WHERE true
            ON CONFLICT (key) DO NOTHING",
    json_list: "json_array",
    issuer: "r.leaf ->> 'issuer'",
};
