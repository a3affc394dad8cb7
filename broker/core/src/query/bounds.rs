//! What every record that passes must fulfil, as far as the store has columns for it.

use std::time::Duration;

use super::{Expr, Literal, Order, fields::Field};
use crate::{Timestamp, ledger::Filter};

/// The store keeps times to the microsecond.
const STEP: Duration = Duration::from_micros(1);

impl Expr {
    /// Conditions that hold for every record that passes, and for others too.
    pub fn bounds(&self) -> Filter {
        match self {
            Self::All(parts) => parts.iter().map(Self::bounds).fold(Filter::default(), both),
            Self::Any(parts) => parts.iter().map(Self::bounds).reduce(either).unwrap_or_default(),
            Self::Not(_) => Filter::default(),
            Self::OneOf(field, values) => {
                let bounds = values.iter().map(|value| one(field, value));
                bounds.reduce(either).unwrap_or_default()
            }
            Self::Compare(field, order, Literal::Time(time)) if *field == Field::AT => compared(*order, *time),
            Self::Compare(..) => Filter::default(),
        }
    }
}

fn one(field: &Field, value: &Literal) -> Filter {
    let mut filter = Filter::default();
    match (field.name, value) {
        ("at", Literal::Time(time)) => {
            return both(compared(Order::AtLeast, *time), compared(Order::AtMost, *time));
        }
        ("subject", Literal::Prefix(begin)) => filter.subject_begin = (!begin.is_empty()).then(|| begin.clone()),
        (name, Literal::Text(text)) => match name {
            "event" => filter.event = word(text),
            "outcome" => filter.outcome = word(text),
            "subject" => filter.subject = text.parse().ok(),
            "actor" => filter.actor = text.parse().ok(),
            "server" => filter.server = text.parse().ok(),
            "tool" => filter.tool = Some(text.clone()),
            "target" => filter.target = text.parse().ok(),
            "grants" => filter.grant = text.parse().ok(),
            "session" => filter.session = text.parse().ok(),
            "about" => filter.about = text.parse().ok(),
            "issuer" => filter.issuer = text.parse().ok(),
            _ => {}
        },
        _ => {}
    }
    filter
}

fn word<T: serde::de::DeserializeOwned>(text: &str) -> Option<T> {
    serde_json::from_value(text.into()).ok()
}

fn compared(order: Order, time: Timestamp) -> Filter {
    match order {
        Order::Less | Order::AtMost => Filter {
            until: time.checked_add(STEP).ok(),
            ..Filter::default()
        },
        Order::Greater | Order::AtLeast => Filter {
            since: Some(time),
            ..Filter::default()
        },
    }
}

/// Of two values that must both be there either may be asked for: a record that has not both passes nowhere.
fn both(a: Filter, b: Filter) -> Filter {
    Filter {
        event: a.event.or(b.event),
        outcome: a.outcome.or(b.outcome),
        subject: a.subject.or(b.subject),
        subject_begin: a.subject_begin.or(b.subject_begin),
        actor: a.actor.or(b.actor),
        issuer: a.issuer.or(b.issuer),
        server: a.server.or(b.server),
        tool: a.tool.or(b.tool),
        target: a.target.or(b.target),
        grant: a.grant.or(b.grant),
        session: a.session.or(b.session),
        about: a.about.or(b.about),
        since: a.since.max(b.since),
        until: [a.until, b.until].into_iter().flatten().min(),
        from: a.from.max(b.from),
    }
}

fn either(a: Filter, b: Filter) -> Filter {
    Filter {
        event: same(a.event, b.event),
        outcome: same(a.outcome, b.outcome),
        subject: same(a.subject, b.subject),
        subject_begin: same(a.subject_begin, b.subject_begin),
        actor: same(a.actor, b.actor),
        issuer: same(a.issuer, b.issuer),
        server: same(a.server, b.server),
        tool: same(a.tool, b.tool),
        target: same(a.target, b.target),
        grant: same(a.grant, b.grant),
        session: same(a.session, b.session),
        about: same(a.about, b.about),
        since: a.since.min(b.since),
        until: a.until.zip(b.until).map(|(a, b)| a.max(b)),
        from: a.from.min(b.from),
    }
}

fn same<T: PartialEq>(a: Option<T>, b: Option<T>) -> Option<T> {
    a.filter(|a| b.as_ref() == Some(a))
}
