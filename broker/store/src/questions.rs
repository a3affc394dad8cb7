//! Questions to the records: the condition that selects most leads, and so many records are walked past at most.

use std::time::Duration;

use procura_core::{
    ids::IssuanceId,
    ledger::{Filter, Page},
};
use uuid::Uuid;

use crate::{
    db::{Arg, Db},
    reads::{Select, event_word, outcome_word},
    sql::record_columns,
};

const MILLISECOND: Duration = Duration::from_millis(1);

impl Select {
    /// Conditions of records on columns without an index.
    fn rest_of(&mut self, filter: &Filter) {
        let event = filter.event.map(event_word);
        let outcome = filter.outcome.map(outcome_word);
        self.and("r.tool =", filter.tool.clone().map(Arg::Text));
        self.and("r.event =", event.map(|word| word.to_owned().into()));
        self.and("r.outcome =", outcome.map(|word| word.to_owned().into()));
        // Names hold none of LIKE's signs.
        let grant = filter.grant.as_ref().map(|grant| format!("% {grant} %").into());
        self.and("r.grants LIKE", grant);
        if let Some(begin) = &filter.subject_begin {
            // Its order is that of a locale, so that no index would answer it on every engine.
            let length = begin.chars().count();
            self.args.push(begin.clone().into());
            let is = format!("substr(s.subject, 1, {length}) = ${}", self.args.len());
            self.sql.push_str(&format!(" AND (s.subject IS NULL OR {is})"));
        }
        self.and("r.at >=", filter.since.map(Arg::from));
        self.and("r.at <", filter.until.map(Arg::from));
    }

    /// The ids that page, times and window leave.
    fn between(&mut self, id: &str, filter: &Filter, before: Option<IssuanceId>) {
        let from = filter.from.max(filter.since.map(IssuanceId::first_at));
        // An id knows its millisecond only.
        let end = filter.until.and_then(|until| until.checked_add(MILLISECOND).ok());
        let end = [before, end.map(IssuanceId::first_at)].into_iter().flatten().min();
        self.and(&format!("{id} >="), from.map(|from| from.0.into()));
        self.and(&format!("{id} <"), end.map(|end| end.0.into()));
    }
}

/// The columns that have an index, in the order of how much they select. The first that is asked for leads.
fn indexed<D: Db>(filter: &Filter) -> impl Iterator<Item = (&'static str, Arg)> {
    let id = |id: Uuid| Some(Arg::from(id));
    let text = |text: Option<String>| text.map(Arg::Text);
    let columns = [
        ("r.about", filter.about.and_then(|about| id(about.0))),
        ("r.session", filter.session.and_then(|session| id(session.0))),
        ("s.subject", text(filter.subject.as_ref().map(ToString::to_string))),
        ("s.actor", text(filter.actor.as_ref().map(ToString::to_string))),
        ("r.target", text(filter.target.as_ref().map(ToString::to_string))),
        ("r.server", text(filter.server.as_ref().map(ToString::to_string))),
        (D::SQL.issuer, text(filter.issuer.as_ref().map(ToString::to_string))),
    ];
    columns.into_iter().filter_map(|(column, arg)| Some((column, arg?)))
}

pub(crate) fn records<D: Db>(filter: &Filter, page: Page) -> Select {
    let mut indexed = indexed::<D>(filter);
    let leader = indexed.next();
    let by_person = leader.as_ref().is_some_and(|(column, _)| column.starts_with("s."));
    // The order of a CROSS JOIN is kept by SQLite: the side row's index leads where a person is asked for.
    let (from, id) = if by_person {
        (
            concat!("SELECT ", record_columns!(), " FROM side s CROSS JOIN record r"),
            "s.id",
        )
    } else {
        (
            concat!(
                "SELECT ",
                record_columns!(),
                " FROM record r LEFT JOIN side s ON s.id = r.id"
            ),
            "r.id",
        )
    };
    let mut select = Select::new(from);
    if by_person {
        select.sql.push_str(" AND r.id = s.id");
    }
    if let Some((column, arg)) = leader {
        select.and(&format!("({column}) ="), Some(arg));
    }
    for (column, arg) in indexed {
        // What does not lead hides its index.
        let column = match arg {
            Arg::Text(_) => format!("(({column}) || '') ="),
            _ => format!("{column} ="),
        };
        select.and(&column, Some(arg));
    }
    select.rest_of(filter);
    select.between(id, filter, page.before);
    select.newest_first(id, page.limit)
}

/// The last of so many ids, see [`Ledger::floor`](procura_core::ledger::Ledger::floor).
pub(crate) fn floor<D: Db>(filter: &Filter, before: Option<IssuanceId>, records: u32) -> Select {
    let leader = indexed::<D>(filter).next();
    let by_person = leader.as_ref().is_some_and(|(column, _)| column.starts_with("s."));
    let (from, id) = match by_person {
        true => ("SELECT s.id FROM side s", "s.id"),
        false => ("SELECT r.id FROM record r", "r.id"),
    };
    let mut select = Select::new(from);
    if let Some((column, arg)) = leader {
        select.and(&format!("({column}) ="), Some(arg));
    }
    select.between(id, filter, before);
    let mut select = select.newest_first(id, 1);
    select.args.push(i64::from(records.saturating_sub(1)).into());
    select.sql.push_str(&format!(" OFFSET ${}", select.args.len()));
    select
}

#[cfg(test)]
mod tests {
    use procura_contract::ledger_suite::sample::{ALL, at, entry, name, qualified, session};
    use procura_core::ledger::{Event, Outcome};
    use sqlx::Sqlite;

    use super::*;
    use crate::reads::tests::plan as plan_of;

    type Tweak = fn(&mut Filter);

    #[tokio::test]
    async fn every_selective_filter_is_answered_by_an_index_in_order() {
        let tweaks: [(&str, Tweak); 7] = [
            ("side_subject", |f| f.subject = Some(qualified("corp/alice"))),
            ("side_actor", |f| f.actor = Some(qualified("corp/bot"))),
            ("record_session", |f| f.session = Some(session(0).id)),
            ("record_target", |f| f.target = Some(name("github"))),
            ("record_server", |f| f.server = Some(name("tickets"))),
            ("record_about", |f| f.about = Some(entry(0).id)),
            ("record_issuer", |f| f.issuer = Some(name("corp"))),
        ];
        for (index, tweak) in tweaks {
            let mut filter = Filter {
                event: Some(Event::Exchange),
                since: Some(at(0)),
                ..Filter::default()
            };
            tweak(&mut filter);
            let plan = plan_of(&records::<Sqlite>(&filter, ALL).sql).await;
            assert!(plan.contains(&format!("INDEX {index} ")), "{index}: {plan}");
            assert!(!plan.contains("SCAN") && !plan.contains("TEMP"), "{index}: {plan}");
            let plan = plan_of(&floor::<Sqlite>(&filter, None, 7).sql).await;
            assert!(
                plan.contains(&format!("USING COVERING INDEX {index} ")),
                "{index}: {plan}"
            );
            assert!(!plan.contains("SCAN") && !plan.contains("TEMP"), "{index}: {plan}");
        }
    }

    #[tokio::test]
    async fn what_has_no_index_is_walked_past_in_the_order_of_ids() {
        let tweaks: [Tweak; 3] = [
            |_| {},
            |f| f.subject_begin = Some("corp/".into()),
            |f| (f.outcome, f.tool) = (Some(Outcome::Refused), Some("list".into())),
        ];
        for (n, tweak) in tweaks.iter().enumerate() {
            let mut filter = Filter::default();
            tweak(&mut filter);
            let page = Page {
                before: Some(entry(0).id),
                limit: 50,
            };
            for select in [
                records::<Sqlite>(&filter, page),
                floor::<Sqlite>(&filter, page.before, 7),
            ] {
                let plan = plan_of(&select.sql).await;
                assert!(plan.starts_with("SEARCH r USING"), "{n}: {plan}");
                assert!(plan.contains("INDEX sqlite_autoindex_record_1 (id<?)"), "{n}: {plan}");
                assert!(!plan.contains("SCAN") && !plan.contains("TEMP"), "{n}: {plan}");
            }
        }
    }

    #[tokio::test]
    async fn of_several_filters_the_most_selective_leads() {
        let filter = Filter {
            server: Some(name("tickets")),
            target: Some(name("github")),
            subject: Some(qualified("corp/alice")),
            ..Filter::default()
        };
        let plan = plan_of(&records::<Sqlite>(&filter, ALL).sql).await;
        assert!(plan.starts_with("SEARCH s USING INDEX side_subject"), "{plan}");
        let filter = Filter {
            about: Some(entry(0).id),
            ..filter
        };
        let plan = plan_of(&records::<Sqlite>(&filter, ALL).sql).await;
        assert!(plan.starts_with("SEARCH r USING INDEX record_about"), "{plan}");
    }
}
