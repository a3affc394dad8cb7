//! Listings: the condition that selects most is the one that an index answers.

use procura_core::ids::SessionId;
use procura_core::ledger::{Event, LeaseFilter, LeaseState, Outcome, Page, SESSION_IDLE, SessionFilter};

use crate::{
    db::Arg,
    sql::{lease_columns, session_columns},
};

/// A statement under construction.
pub(crate) struct Select {
    pub(crate) sql: String,
    pub(crate) args: Vec<Arg>,
    driven: bool,
}

impl Select {
    pub(crate) fn new(from: &str) -> Self {
        Self {
            sql: format!("{from} WHERE true"),
            args: Vec::new(),
            driven: false,
        }
    }

    pub(crate) fn and(&mut self, before: &str, arg: Option<Arg>) {
        if let Some(arg) = arg {
            self.args.push(arg);
            self.sql.push_str(&format!(" AND {before} ${}", self.args.len()));
        }
    }

    /// A text column with an index. Only the first of a statement uses it: the callers ask in the order of
    /// how much they select.
    fn and_indexed(&mut self, column: &str, text: Option<String>) {
        let Some(text) = text else { return };
        let column = if self.driven {
            format!("({column} || '')")
        } else {
            column.to_owned()
        };
        self.driven = true;
        self.and(&format!("{column} ="), Some(text.into()));
    }

    pub(crate) fn newest_first(mut self, id: &str, limit: u32) -> Self {
        self.args.push(i64::from(limit).into());
        self.sql
            .push_str(&format!(" ORDER BY {id} DESC LIMIT ${}", self.args.len()));
        self
    }
}

pub(crate) fn sessions(filter: &SessionFilter, before: Option<SessionId>, limit: u32) -> Select {
    let mut select = Select::new(concat!("SELECT ", session_columns!(), " FROM session"));
    select.and_indexed("subject", filter.subject.as_ref().map(ToString::to_string));
    select.and_indexed("actor", filter.actor.as_ref().map(ToString::to_string));
    select.and_indexed("server", filter.server.as_ref().map(ToString::to_string));
    if let Some(now) = filter.live_at {
        select.sql.push_str(" AND ended_at IS NULL");
        select.and("ends >", Some(now.into()));
        select.and("last_used >", Some((now - SESSION_IDLE).into()));
    }
    select.and("id <", before.map(|before| before.0.into()));
    select.newest_first("id", limit)
}

/// Of leases that are not gone there are few, and the index of what is due has them alone: their number is
/// what it costs to find some of them. Others are read newest first until the page is full, or by the
/// sessions of a person.
pub(crate) fn leases(filter: &LeaseFilter, page: Page) -> Select {
    let alive = filter.state.is_some_and(|state| state != LeaseState::Gone);
    let mut select = Select::new(concat!("SELECT ", lease_columns!(), " FROM lease"));
    select.and("id <", page.before.map(|before| before.0.into()));
    if alive {
        select
            .sql
            .push_str(" AND id IN (SELECT lease.id FROM lease WHERE lease.due IS NOT NULL");
    }
    select.driven = filter.session.is_some();
    select.and("lease.session =", filter.session.map(|session| session.0.into()));
    select.and_indexed("lease.target", filter.target.as_ref().map(ToString::to_string));
    if alive && !select.driven {
        select.sql.push_str(" AND lease.target > ''");
    }
    let state = filter.state.map(|state| state_word(state).to_owned().into());
    select.and("lease.state =", state);
    select.and("lease.source_version =", filter.source_version.clone().map(Arg::Text));
    of_session(&mut select, filter, alive);
    if alive {
        select.sql.push(')');
    }
    select.newest_first("id", page.limit)
}

/// Who a lease is for stands in its session alone: there is one where there is no record yet, and after its
/// personal data was erased.
fn of_session(select: &mut Select, filter: &LeaseFilter, alive: bool) {
    let by_person = filter.subject.is_some() || filter.actor.is_some();
    if !by_person && filter.server.is_none() {
        return;
    }
    let one_by_one = alive || select.driven || !by_person;
    select.sql.push_str(if one_by_one {
        " AND EXISTS (SELECT 1 FROM session WHERE session.id = lease.session"
    } else {
        " AND lease.session IN (SELECT session.id FROM session WHERE true"
    });
    select.driven = one_by_one;
    select.and_indexed("session.subject", filter.subject.as_ref().map(ToString::to_string));
    select.and_indexed("session.actor", filter.actor.as_ref().map(ToString::to_string));
    select.and_indexed("session.server", filter.server.as_ref().map(ToString::to_string));
    select.sql.push(')');
}

pub(crate) fn event_word(event: Event) -> &'static str {
    match event {
        Event::Exchange => "exchange",
        Event::Use => "use",
        Event::Revocation => "revocation",
        Event::SessionEnd => "session_end",
        Event::Rotation => "rotation",
    }
}

pub(crate) fn outcome_word(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Issued => "issued",
        Outcome::Refused => "refused",
        Outcome::Reported => "reported",
        Outcome::Done => "done",
    }
}

fn state_word(state: LeaseState) -> &'static str {
    match state {
        LeaseState::Intended => "intended",
        LeaseState::Live => "live",
        LeaseState::Undoing => "undoing",
        LeaseState::Gone => "gone",
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use procura_contract::ledger_suite::sample::{ALL, entry, name, qualified, session};
    use sqlx::{AssertSqlSafe, Connection, Row, SqliteConnection};

    use super::*;

    type LeaseTweak = fn(&mut LeaseFilter);

    /// How SQLite answers a statement, one step a line.
    pub(crate) async fn plan(sql: &str) -> String {
        let mut conn = SqliteConnection::connect(":memory:").await.expect("connected");
        let migrations = sqlx::migrate!("../../migrations/sqlite");
        migrations.run(&mut conn).await.expect("migrated");
        let explain = format!("EXPLAIN QUERY PLAN {sql}");
        let steps = sqlx::query(AssertSqlSafe(explain))
            .fetch_all(&mut conn)
            .await
            .expect("explained");
        steps
            .iter()
            .map(|step| step.get::<String, _>("detail") + "\n")
            .collect()
    }

    #[tokio::test]
    async fn the_places_that_hold_leases_are_stepped_through() {
        let plan = plan(crate::sql::LEASED_PLACES).await;
        assert!(plan.contains("lease_place (target=?)"), "{plan}");
        let whole = |step: &&str| step.trim_start().starts_with("SCAN lease") && !step.contains("INDEX lease_");
        assert_eq!(plan.lines().find(whole), None, "{plan}");
    }

    #[tokio::test]
    async fn leases_that_are_not_gone_are_found_among_themselves() {
        let tweaks: [(&str, LeaseTweak); 6] = [
            ("lease_due (target>?)", |_| {}),
            ("lease_due (target=?", |f| f.target = Some(name("github"))),
            ("lease_due (target>?)", |f| f.source_version = Some("7".into())),
            ("lease_due (target>?)", |f| f.subject = Some(qualified("corp/alice"))),
            ("lease_due (target>?)", |f| f.server = Some(name("tickets"))),
            ("lease_session (session=?)", |f| f.session = Some(session(0).id)),
        ];
        for (index, tweak) in tweaks {
            let mut filter = LeaseFilter {
                state: Some(LeaseState::Live),
                ..LeaseFilter::default()
            };
            tweak(&mut filter);
            for before in [None, Some(entry(0).id)] {
                let plan = plan(&leases(&filter, Page { before, ..ALL }).sql).await;
                assert!(plan.contains(&format!("lease USING INDEX {index}")), "{plan}");
                assert!(
                    plan.contains("lease USING INDEX sqlite_autoindex_lease_1 (id=?"),
                    "{plan}"
                );
                assert!(!plan.contains("SCAN lease") && !plan.contains("SCAN session"), "{plan}");
            }
        }
    }

    #[tokio::test]
    async fn all_leases_of_a_person_are_found_by_their_sessions_and_others_newest_first() {
        let tweaks: [(&str, LeaseTweak); 5] = [
            ("session USING COVERING INDEX session_subject", |f| {
                f.subject = Some(qualified("corp/alice"));
            }),
            ("session USING COVERING INDEX session_actor", |f| {
                f.actor = Some(qualified("corp/bot"));
            }),
            ("SCAN lease USING INDEX sqlite_autoindex_lease_1", |f| {
                f.server = Some(name("tickets"));
            }),
            ("SCAN lease USING INDEX sqlite_autoindex_lease_1", |_| {}),
            ("lease USING INDEX lease_target (target=?", |f| {
                (f.target, f.subject) = (Some(name("github")), Some(qualified("corp/alice")));
            }),
        ];
        for (step, tweak) in tweaks {
            let mut filter = LeaseFilter::default();
            tweak(&mut filter);
            let plan = plan(&leases(&filter, ALL).sql).await;
            assert!(plan.contains(step), "{step}: {plan}");
            assert!(!plan.contains("SCAN session"), "{plan}");
        }
    }

    #[tokio::test]
    async fn sessions_that_are_over_are_looked_for_among_those_that_nobody_ended() {
        let plan = plan(crate::sql::EXPIRED_SESSIONS).await;
        assert_eq!(plan.trim(), "SCAN session USING INDEX session_open");
    }

    #[tokio::test]
    async fn what_is_due_is_found_without_reading_a_backlog() {
        for sql in [crate::sql::DUE_TARGETS, <sqlx::Sqlite as crate::db::Db>::SQL.take_due] {
            let plan = plan(sql).await;
            assert!(plan.contains("INDEX lease_due (target=? AND due"), "{plan}");
            assert!(!plan.contains("SCAN lease") && !plan.contains("TEMP"), "{plan}");
        }
    }
}
