//! Statements: those that both engines understand, and the list of those that each writes its own way.

/// Statements that differ between the engines. Those that take a JSON text (an array of objects, or of
/// hex texts) handle a whole batch at once.
pub struct Sql {
    /// Sessions by a JSON array of ids, locked.
    pub lock_sessions: &'static str,
    /// Marks by a JSON array of keys.
    pub marks: &'static str,
    /// Owners of leases by a JSON array of ids, locked.
    pub lock_leases: &'static str,
    /// Burns one-time ids; answers those that were not burnt before.
    pub burn: &'static str,
    /// Takes back ids that this transaction burnt.
    pub unburn: &'static str,
    /// Moves `last_used` and `issuances`.
    pub move_sessions: &'static str,
    /// Moves leases on, as checked before.
    pub step_leases: &'static str,
    /// Inserts intended leases.
    pub insert_leases: &'static str,
    /// Inserts sessions, unless a live one has the key.
    pub insert_sessions: &'static str,
    /// Inserts marks or moves them on.
    pub insert_marks: &'static str,
    /// Takes due leases of a target over.
    pub take_due: &'static str,
    /// Adds to counts; answers the sums.
    pub count: &'static str,
    /// Forgets counts of windows that ended.
    pub forget_counts: &'static str,
    /// The last batch that a writer committed, after any transaction of its own has ended.
    pub last_batch: &'static str,
    /// The tree, and whether records wait.
    pub log: &'static str,
    /// Records that are no leaves yet: their index where it is known, id and leaf.
    pub waiting_leaves: &'static str,
    /// Gives a JSON array of ids the indexes from a number on; `None` where a record has its index by itself.
    pub index_leaves: Option<&'static str>,
    /// The index of a record.
    pub leaf_index: &'static str,
    /// Leaves from an index on.
    pub leaves: &'static str,
    /// Records after a place in the order of appends: number, id and limit. Between them and that place no other can
    /// appear any more.
    pub next_records: &'static str,
    /// Moves the position of the sums, if it is still there: number and id, then the new ones, time, records, replica
    /// and until when it is claimed. Waits for nobody.
    pub move_projection: &'static str,
    /// Inserts persons by a JSON array of names, those that are erased apart.
    pub insert_persons: &'static str,
    /// Inserts what sums are of.
    pub insert_routes: &'static str,
    /// Adds to sums.
    pub add_usage: &'static str,
    /// Inserts alerts that are new.
    pub insert_alerts: &'static str,
    /// Function that makes a JSON array.
    pub json_list: &'static str,
    /// The issuer of a record `r`, as `record_issuer` has it.
    pub issuer: &'static str,
}

macro_rules! session_columns {
    () => {
        "id, server, subject_kind, subject, actor, sid, pinned, opened, ends, last_used, issuances, ended_at, ended_by"
    };
}

macro_rules! lease_columns {
    () => {
        "id, handle, target, place, session, state, replica, fence, deadline, until, source_version, sealed, lapses,
         known_as, attempts, due,
         CASE WHEN EXISTS (SELECT 1 FROM record WHERE record.id = lease.id) THEN NULL ELSE aborted END AS aborted"
    };
}

macro_rules! record_columns {
    () => {
        "r.id, r.leaf, r.event, r.outcome, r.reason, r.at, r.server, r.tool, r.target, r.grants, r.session,
         r.about, r.value, r.until, r.source_version, r.revoked_at, s.salt, s.clear, s.subject, s.actor"
    };
}

macro_rules! held {
    () => {
        "SELECT r.id, r.target, r.until, l.id AS lease
           FROM record r LEFT JOIN lease l ON l.id = coalesce(r.about, r.id)
          WHERE r.event = 'exchange' AND r.outcome = 'issued' AND r.target IS NOT NULL
            AND r.until > $2 AND r.revoked_at IS NULL
            AND (l.id IS NULL OR l.state <> 'gone')"
    };
}

pub(crate) use {lease_columns, record_columns, session_columns};

pub(crate) const SESSION: &str = concat!("SELECT ", session_columns!(), " FROM session WHERE id = $1");

pub(crate) const LIVE_SESSION: &str = concat!(
    "SELECT ",
    session_columns!(),
    " FROM session WHERE key = $1 AND ended_at IS NULL AND NOT pinned"
);

/// In the order of the index of those that nobody ended: by any other, every session that ever was is looked at.
pub(crate) const EXPIRED_SESSIONS: &str = concat!(
    "SELECT ",
    session_columns!(),
    " FROM session WHERE ended_at IS NULL AND (ends <= $1 OR last_used <= $2) ORDER BY ends, id LIMIT $3"
);

pub(crate) const END_SESSION: &str = "
    UPDATE session
       SET ended_at = $2, ended_by = $3
     WHERE id = $1 AND ended_at IS NULL";

pub(crate) const REVOKE_SESSION: &str = "
    UPDATE record
       SET revoked_at = $2
     WHERE session = $1 AND event = 'exchange' AND outcome = 'issued' AND until > $2 AND revoked_at IS NULL";

pub(crate) const UNDO_SESSION: &str = "
    UPDATE lease
       SET state = 'undoing', due = $2, claimed = NULL
     WHERE session = $1 AND state = 'live'";

pub(crate) const HELD: &str = concat!(held!(), " AND r.session = $1 ORDER BY r.id DESC");

pub(crate) const HELD_ONE: &str = concat!(held!(), " AND r.id = $1");

pub(crate) const REVOKE: &str = "
    UPDATE record
       SET revoked_at = $2
     WHERE (id = $1 OR (about = $1 AND event = 'exchange' AND outcome = 'issued')) AND revoked_at IS NULL";

pub(crate) const UNDO: &str = "
    UPDATE lease
       SET state = 'undoing', due = $2, claimed = NULL
     WHERE id = $1 AND state = 'live'";

pub(crate) const TAKE: &str = concat!(
    "UPDATE lease
        SET state = 'undoing', replica = $1, fence = fence + 1, due = $2, claimed = $2
      WHERE id = $4 AND (claimed IS NULL OR claimed <= $3) AND (state = 'undoing' OR state = 'live' AND due <= $3)
  RETURNING ",
    lease_columns!()
);

pub(crate) const SETTLE_GONE: &str = "
    UPDATE lease
       SET state = 'gone', due = NULL, claimed = NULL, problem = NULL, sealed = NULL, attempts = attempts + 1,
           aborted = CASE WHEN EXISTS (SELECT 1 FROM record WHERE record.id = lease.id) THEN NULL ELSE aborted END
     WHERE id = $1 AND replica = $2 AND fence = $3 AND state = 'undoing'";

pub(crate) const SETTLE_RETRY: &str = "
    UPDATE lease
       SET due = $4, claimed = NULL, problem = $5, attempts = attempts + 1
     WHERE id = $1 AND replica = $2 AND fence = $3 AND state = 'undoing'";

pub(crate) const LEASE: &str = concat!("SELECT ", lease_columns!(), " FROM lease WHERE id = $1");

pub(crate) const LEASE_KNOWN_AS: &str = concat!(
    "SELECT ",
    lease_columns!(),
    " FROM lease WHERE known_as = $1 ORDER BY id DESC LIMIT 1"
);

/// Steps from target to target in the index; of each it reads the leases that are due until one may be
/// taken, so no backlog is read.
pub(crate) const DUE_TARGETS: &str = "
    WITH RECURSIVE held (target) AS (
        SELECT min(target) FROM lease WHERE due IS NOT NULL
         UNION ALL
        SELECT (SELECT min(lease.target) FROM lease WHERE due IS NOT NULL AND lease.target > held.target)
          FROM held
         WHERE held.target IS NOT NULL)
    SELECT held.target AS text
      FROM held
     WHERE EXISTS (SELECT 1
                     FROM lease
                    WHERE lease.target = held.target AND due IS NOT NULL AND due <= $1
                      AND (state <> 'intended' OR due <= $2))";

/// Steps through the index from target to target, and at each from place to place.
pub(crate) const LEASED_PLACES: &str = "
    WITH RECURSIVE held (target) AS (
        SELECT min(target) FROM lease WHERE due IS NOT NULL
         UNION ALL
        SELECT (SELECT min(lease.target) FROM lease WHERE due IS NOT NULL AND lease.target > held.target)
          FROM held
         WHERE held.target IS NOT NULL),
    at (target, place) AS (
        SELECT target, (SELECT min(place) FROM lease WHERE due IS NOT NULL AND lease.target = held.target)
          FROM held
         WHERE target IS NOT NULL
         UNION ALL
        SELECT target, (SELECT min(lease.place)
                          FROM lease
                         WHERE due IS NOT NULL AND lease.target = at.target AND lease.place > at.place)
          FROM at
         WHERE place IS NOT NULL)
    SELECT target, place FROM at WHERE place IS NOT NULL ORDER BY target, place";

pub(crate) const IDS_AFTER: &str = "SELECT id FROM record WHERE id > $1 ORDER BY id LIMIT $2";

pub(crate) const RECORD: &str = concat!(
    "SELECT ",
    record_columns!(),
    " FROM record r LEFT JOIN side s ON s.id = r.id WHERE r.id = $1"
);

pub(crate) const RECORD_BY_VALUE: &str = concat!(
    "SELECT ",
    record_columns!(),
    " FROM record r LEFT JOIN side s ON s.id = r.id
      WHERE r.value = $1 AND r.event = 'exchange' AND r.outcome = 'issued' ORDER BY r.id DESC LIMIT 1"
);

pub(crate) const MARK: &str = "SELECT key, second FROM mark WHERE key = $1";

pub(crate) const MARK_KEYS: &str = "SELECT key AS digest FROM mark";

pub(crate) const KEEP_BUNDLE: &str = "
    INSERT INTO bundle (digest, content)
    VALUES ($1, $2)
        ON CONFLICT (digest) DO NOTHING";

pub(crate) const SETTLE_BUNDLE: &str = "
    UPDATE bundle
       SET settled = (SELECT coalesce(max(settled), 0) + 1 FROM bundle)
     WHERE digest = $1";

pub(crate) const SETTLED_BUNDLE: &str = "
    SELECT content AS bytes
      FROM bundle
     WHERE settled = (SELECT max(settled) FROM bundle)
       AND NOT EXISTS (SELECT 1 FROM bundle WHERE digest = $1 AND settled IS NOT NULL)
     LIMIT 1";

pub(crate) const BUNDLE: &str = "SELECT content AS bytes FROM bundle WHERE digest = $1";

pub(crate) const FORGET: &str = "
    DELETE FROM replay
     WHERE id IN (SELECT id FROM replay WHERE until < $1 LIMIT $2)";

pub(crate) const COUNTED: &str = "
    SELECT key AS digest, ends, used
      FROM counted
     WHERE ends > $1
     ORDER BY used DESC
     LIMIT $2";

pub(crate) const NEW_INSTALLATION: &str = "
    INSERT INTO meta (one, installation)
    VALUES (1, $1)
        ON CONFLICT (one) DO NOTHING";

pub(crate) const INSTALLATION: &str = "SELECT installation AS text FROM meta";

pub(crate) const DURABLE_TIME: &str = "SELECT max(at) AS number FROM writer";

pub(crate) const NEW_WRITER: &str = "INSERT INTO writer (id, batch, at) VALUES ($1, 0, $2)";

pub(crate) const WRITER: &str = "UPDATE writer SET batch = $2, at = $3 WHERE id = $1";

pub(crate) const PROJECTION: &str = "SELECT number, record, at, records, replica, claimed FROM projection";

pub(crate) const ALERT_DUE: &str = "SELECT due AS number FROM alert WHERE due <= $1 LIMIT 1";

pub(crate) const TAKE_ALERTS: &str = "
    UPDATE alert
       SET attempts = attempts + 1, due = $2
     WHERE due <= $1 AND key IN (SELECT key FROM alert WHERE due <= $1 ORDER BY due LIMIT $3)
 RETURNING key, found, body, attempts";

pub(crate) const SETTLE_ALERT: &str = "UPDATE alert SET due = NULL, body = NULL WHERE key = $1";
