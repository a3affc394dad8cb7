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
        SELECT NULL::bigint AS position, record.id, record.leaf
          FROM (SELECT id FROM pending WHERE $1::bigint >= 0 ORDER BY id LIMIT $2) AS first
          JOIN record ON record.id = first.id
         ORDER BY record.id",
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
};
