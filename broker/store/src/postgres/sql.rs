//! PostgreSQL's way of a batch: `json_to_recordset`. Rows that other replicas may move are locked, in the
//! order of their ids so that two batches do not wait for each other.

use crate::sql::{Sql, lease_columns, session_columns};

pub(super) const SQL: Sql = Sql {
    lock_sessions: concat!(
        "SELECT ",
        session_columns!(),
        " FROM session
         WHERE id = ANY (ARRAY(SELECT value::uuid FROM json_array_elements_text($1::json)))
         ORDER BY id
           FOR NO KEY UPDATE"
    ),
    marks: "
        SELECT key, second
          FROM mark
         WHERE key = ANY (ARRAY(SELECT decode(value, 'hex') FROM json_array_elements_text($1::json)))",
    lock_leases: "
        SELECT id, state, replica, fence
          FROM lease
         WHERE id = ANY (ARRAY(SELECT value::uuid FROM json_array_elements_text($1::json)))
         ORDER BY id
           FOR NO KEY UPDATE",
    burn: "
        INSERT INTO replay (id, until)
        SELECT decode(id, 'hex'), until
          FROM json_to_recordset($1::json) AS burnt (id text, until bigint)
            ON CONFLICT (id) DO NOTHING
     RETURNING id AS digest",
    unburn: "
        DELETE FROM replay
         WHERE id = ANY (ARRAY(SELECT decode(value, 'hex') FROM json_array_elements_text($1::json)))",
    move_sessions: "
        UPDATE session
           SET last_used = greatest(last_used, moved.at), issuances = issuances + moved.issued
          FROM json_to_recordset($1::json) AS moved (id uuid, at bigint, issued bigint)
         WHERE session.id = moved.id",
    step_leases: "
        UPDATE lease
           SET state = step.state, due = step.due, until = coalesce(step.until, lease.until),
               source_version = coalesce(step.source_version, lease.source_version),
               sealed = decode(step.sealed, 'hex'), lapses = step.lapses, known_as = step.known_as, aborted = NULL
          FROM json_to_recordset($1::json)
               AS step (id uuid, state text, due bigint, until bigint, source_version text, sealed text,
                        lapses bigint, known_as text)
         WHERE lease.id = step.id AND lease.state = 'intended'",
    insert_leases: "
        INSERT INTO lease (id, handle, target, place, session, state, replica, fence, deadline, attempts, due,
                           lapses, aborted)
        SELECT id, handle, target, place, session, 'intended', replica, 1, deadline, 0, deadline, lapses, aborted
          FROM json_to_recordset($1::json)
               AS intended (id uuid, handle text, target text, place text, session uuid, replica uuid,
                            deadline bigint, lapses bigint, aborted text)",
    insert_sessions: "
        INSERT INTO session (id, key, server, subject_kind, subject, actor, sid, pinned, opened, ends, last_used,
                             issuances)
        SELECT id, decode(key, 'hex'), server, subject_kind, subject, actor, sid, pinned, opened, ends, last_used,
               issuances
          FROM json_to_recordset($1::json)
               AS opened (id uuid, key text, server text, subject_kind text, subject text, actor text, sid text,
                          pinned boolean, opened bigint, ends bigint, last_used bigint, issuances bigint)
            ON CONFLICT DO NOTHING",
    insert_marks: "
        INSERT INTO mark (key, server, subject_kind, subject, actor, second)
        SELECT decode(key, 'hex'), server, subject_kind, subject, actor, second
          FROM json_to_recordset($1::json)
               AS marked (key text, server text, subject_kind text, subject text, actor text, second bigint)
            ON CONFLICT (key) DO UPDATE SET second = greatest(mark.second, excluded.second)",
    take_due: concat!(
        "UPDATE lease
            SET state = 'undoing', replica = $1, fence = fence + 1, due = $2, claimed = $2
          WHERE id = ANY (ARRAY(SELECT id
                                  FROM lease
                                 WHERE target = $5 AND due <= $3 AND (state <> 'intended' OR due <= $4)
                                 ORDER BY due
                                 LIMIT $6
                                   FOR NO KEY UPDATE SKIP LOCKED))
      RETURNING ",
        lease_columns!()
    ),
    count: "
        INSERT INTO counted (key, ends, used)
        SELECT decode(key, 'hex'), ends, used
          FROM json_to_recordset($1::json) AS counts (key text, ends bigint, used bigint)
         ORDER BY 1, 2
            ON CONFLICT (key, ends) DO UPDATE SET used = counted.used + excluded.used
     RETURNING key AS digest, ends, used",
    forget_counts: "
        DELETE FROM counted
         WHERE ctid = ANY (ARRAY(SELECT ctid FROM counted WHERE ends <= $1 LIMIT $2 FOR UPDATE SKIP LOCKED))",
    last_batch: "SELECT batch AS number FROM writer WHERE id = $1 FOR UPDATE",
    log: "
        SELECT origin, epoch, size, root, published, note, fence, until,
               EXISTS (SELECT 1 FROM pending) AS waiting
          FROM log",
    waiting_leaves: "
        SELECT NULL::bigint AS position, first.id, record.leaf
          FROM (SELECT id FROM pending WHERE $1::bigint >= 0 ORDER BY id LIMIT $2) AS first
          LEFT JOIN record ON record.id = first.id
         ORDER BY first.id",
    index_leaves: Some(
        "WITH given AS (SELECT text::uuid AS id, ordinality
                          FROM json_array_elements_text($1::json) WITH ORDINALITY AS ids (text, ordinality)),
              taken AS (DELETE FROM pending WHERE id IN (SELECT id FROM given) RETURNING id)
         INSERT INTO leaf (position, id)
         SELECT $2 + given.ordinality - 1, given.id
           FROM given
           JOIN taken ON taken.id = given.id",
    ),
    leaf_index: "SELECT position AS number FROM leaf WHERE id = $1",
    leaves: "
        SELECT leaf.position, record.id, record.leaf, side.salt, side.clear
          FROM leaf
          JOIN record ON record.id = leaf.id
          LEFT JOIN side ON side.id = leaf.id
         WHERE leaf.position >= $1
         ORDER BY leaf.position
         LIMIT $2",
    next_records: "
        SELECT r.xact AS number, r.id, r.leaf, r.event, r.outcome, r.at, r.server, r.tool, r.target, r.grants,
               r.about, r.until, r.source_version, s.subject, s.actor
          FROM record r LEFT JOIN side s ON s.id = r.id
         WHERE (r.xact, r.id) > ($1, $2) AND r.xact < pg_snapshot_xmin(pg_current_snapshot())::text::bigint
         ORDER BY r.xact, r.id
         LIMIT $3",
    move_projection: "
        UPDATE projection
           SET number = $3, record = $4, at = $5, records = records + $6, replica = $7, claimed = $8
         WHERE one = (SELECT one FROM projection WHERE number = $1 AND record = $2 FOR UPDATE SKIP LOCKED)",
    insert_persons: "
        INSERT INTO person (name)
        SELECT value
          FROM json_array_elements_text($1::json)
         WHERE EXISTS (SELECT 1 FROM side WHERE subject = value) OR EXISTS (SELECT 1 FROM side WHERE actor = value)
            ON CONFLICT (name) DO NOTHING",
    insert_routes: "
        INSERT INTO route (key, server, tool, target, grants, issuer, source, source_version, signing_key, token_key,
                           rules, groups)
        SELECT decode(key, 'hex'), server, tool, target, grants, issuer, source, source_version, signing_key,
               token_key, rules, groups
          FROM json_to_recordset($1::json)
               AS new (key text, server text, tool text, target text, grants text, issuer text, source text,
                       source_version text, signing_key text, token_key text, rules text, groups text)
            ON CONFLICT (key) DO NOTHING",
    add_usage: "
        INSERT INTO usage (route, day, subject, actor, issued, refused, reported, first_at, last_at, until, granted,
                           used, record)
        SELECT r.id, new.day, coalesce(s.id, 0), coalesce(a.id, 0), sum(new.issued), sum(new.refused),
               sum(new.reported), min(new.first_at), max(new.last_at), max(new.until), max(new.granted), max(new.used),
               min(new.record COLLATE \"C\")
          FROM json_to_recordset($1::json)
               AS new (route text, day bigint, subject text, actor text, issued bigint, refused bigint,
                       reported bigint, first_at bigint, last_at bigint, until bigint, granted bigint, used bigint,
                       record text)
               JOIN route r ON r.key = decode(new.route, 'hex')
               LEFT JOIN person s ON s.name = new.subject
               LEFT JOIN person a ON a.name = new.actor
         GROUP BY 1, 2, 3, 4
            ON CONFLICT (route, day, subject, actor) DO UPDATE
           SET issued = usage.issued + excluded.issued, refused = usage.refused + excluded.refused,
               reported = usage.reported + excluded.reported, first_at = least(usage.first_at, excluded.first_at),
               last_at = greatest(usage.last_at, excluded.last_at), record = least(usage.record, excluded.record),
               until = greatest(usage.until, excluded.until), granted = greatest(usage.granted, excluded.granted),
               used = greatest(usage.used, excluded.used)",
    insert_alerts: "
        INSERT INTO alert (key, found, body, attempts, due)
        SELECT decode(key, 'hex'), found, body, 0, found
          FROM json_to_recordset($1::json) AS new (key text, found bigint, body text)
            ON CONFLICT (key) DO NOTHING",
    json_list: "json_build_array",
    issuer: "r.leaf::json ->> 'issuer'",
};
