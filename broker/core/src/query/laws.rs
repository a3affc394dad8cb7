//! Laws of the language, on filters and records made at random.

use proptest::{collection::vec, prelude::*, sample::select};
use serde_json::{Value, json, value::RawValue};

use super::{
    tests::{now, stored},
    *,
};
use crate::ledger::{Event, Filter, Index, Outcome, Stored};

fn field(name: &'static str) -> Field {
    Field::named(name).expect("field")
}

fn literal() -> impl Strategy<Value = Literal> {
    let text = prop_oneof![
        select(vec!["a", "b", "corp/a", "and", "*", ""]).prop_map(str::to_owned),
        any::<String>()
    ];
    (text, any::<bool>()).prop_map(|(text, prefix)| {
        if prefix {
            Literal::Prefix(text)
        } else {
            Literal::Text(text)
        }
    })
}

fn time() -> impl Strategy<Value = Timestamp> {
    (0..4_i64, 0..3_i64).prop_map(|(second, micros)| {
        Timestamp::from_microsecond(now().as_microsecond() + second * 1_000_000 + micros).expect("time")
    })
}

fn order() -> impl Strategy<Value = Order> {
    select(vec![Order::Less, Order::AtMost, Order::Greater, Order::AtLeast])
}

fn term() -> impl Strategy<Value = Expr> {
    let texts = select(vec![
        "subject", "server", "target", "tool", "grants", "rules", "params.x", "issuer",
    ]);
    let one_of = (texts, vec(literal(), 1..4)).prop_map(|(name, values)| Expr::OneOf(field(name), values));
    let events = select(vec!["exchange", "use"]).prop_map(|event| Expr::is("event", event));
    let at = (order(), time()).prop_map(|(order, time)| Expr::at(order, time));
    let exact = time().prop_map(|time| Expr::OneOf(field("at"), vec![Literal::Time(time)]));
    let number = (order(), -3..9_i64);
    let number = number.prop_map(|(order, number)| Expr::Compare(field("params.n"), order, Literal::Number(number)));
    prop_oneof![4 => one_of, 1 => events, 2 => at, 1 => exact, 1 => number]
}

fn expr() -> impl Strategy<Value = Expr> {
    term().prop_recursive(5, 40, 4, |inner| {
        prop_oneof![
            vec(inner.clone(), 2..4).prop_map(Expr::All),
            vec(inner.clone(), 2..4).prop_map(Expr::Any),
            inner.prop_map(|inner| Expr::Not(Box::new(inner))),
        ]
    })
}

prop_compose! {
    fn record()(
        at in time(),
        event in select(vec![Event::Exchange, Event::Use]),
        subject in select(vec![None, Some("corp/a"), Some("a/b")]),
        names in (select(vec![None, Some("a"), Some("b")]), select(vec![None, Some("a"), Some("b")])),
        issuer in select(vec![None, Some("a"), Some("corp")]),
        (tool, x, n) in (select(vec![None, Some("a"), Some("and"), Some("*")]), any::<String>(), -3..9_i64),
        grants in vec(select(vec!["a", "b", "c"]), 0..3),
    ) -> Stored {
        let raw = |value: Value| RawValue::from_string(value.to_string()).expect("json");
        let name = |name: Option<&str>| name.and_then(|name| name.parse().ok());
        Stored {
            leaf: raw(json!({"rules": grants, "issuer": issuer})),
            side: Some(([0; 32], raw(json!({"params": {"x": [x, "a"], "n": n}})))),
            index: Index {
                event, at,
                outcome: Outcome::Issued,
                subject: subject.and_then(|subject| subject.parse().ok()),
                server: name(names.0),
                target: name(names.1),
                tool: tool.map(str::to_owned),
                grants: grants.iter().filter_map(|grant| grant.parse().ok()).collect(),
                ..stored().index
            },
            ..stored()
        }
    }
}

/// The record as one table of texts, and the filter evaluated over it.
fn naive(expr: &Expr, stored: &Stored) -> bool {
    match expr {
        Expr::All(parts) => !parts.iter().any(|part| !naive(part, stored)),
        Expr::Any(parts) => parts.iter().map(|part| naive(part, stored)).max() == Some(true),
        Expr::Not(part) => !naive(part, stored),
        Expr::OneOf(field, values) if field.name == "at" => {
            let Literal::Time(time) = &values[0] else { return false };
            stored.index.at.as_microsecond() == time.as_microsecond()
        }
        Expr::OneOf(field, values) => {
            let said = said(field, stored);
            let fits = |value: &Literal, said: &String| match value {
                Literal::Text(text) => text == said,
                Literal::Prefix(begin) => said.get(..begin.len()) == Some(begin),
                _ => false,
            };
            said.iter().any(|said| values.iter().any(|value| fits(value, said)))
        }
        Expr::Compare(field, order, value) => {
            let (is, than) = match value {
                Literal::Time(time) => (stored.index.at.as_microsecond(), time.as_microsecond()),
                Literal::Number(number) => (said(field, stored)[0].parse().expect("number"), *number),
                _ => return false,
            };
            match order {
                Order::Less => is < than,
                Order::AtMost => is <= than,
                Order::Greater => is > than,
                Order::AtLeast => is >= than,
            }
        }
    }
}

fn said(field: &Field, stored: &Stored) -> Vec<String> {
    let index = &stored.index;
    let clear: Value = serde_json::from_str(stored.side.as_ref().expect("side").1.get()).expect("json");
    let leaf: Value = serde_json::from_str(stored.leaf.get()).expect("json");
    let list = |value: &Value| -> Vec<String> {
        let items = value.as_array().cloned().unwrap_or_default();
        items.iter().filter_map(Value::as_str).map(str::to_owned).collect()
    };
    let text = |text: Option<String>| text.into_iter().collect();
    match field.to_string().as_str() {
        "event" => vec![
            serde_json::to_value(index.event)
                .expect("json")
                .as_str()
                .expect("text")
                .to_owned(),
        ],
        "subject" => text(index.subject.as_ref().map(ToString::to_string)),
        "issuer" => text(leaf["issuer"].as_str().map(str::to_owned)),
        "server" => text(index.server.as_ref().map(ToString::to_string)),
        "target" => text(index.target.as_ref().map(ToString::to_string)),
        "tool" => text(index.tool.clone()),
        "grants" => index.grants.iter().map(ToString::to_string).collect(),
        "rules" => list(&leaf["rules"]),
        "params.x" => list(&clear["params"]["x"]),
        "params.n" => vec![clear["params"]["n"].to_string()],
        other => panic!("{other}"),
    }
}

/// What the store does with the conditions that it is given.
fn store_passes(filter: &Filter, stored: &Stored) -> bool {
    let index = &stored.index;
    fn is<T: PartialEq>(wanted: &Option<T>, is: &Option<T>) -> bool {
        wanted.is_none() || wanted == is
    }
    let begins = |begin: &String| {
        index
            .subject
            .as_ref()
            .is_none_or(|s| s.to_string().starts_with(begin.as_str()))
    };
    let leaf: Value = serde_json::from_str(stored.leaf.get()).expect("json");
    let issuer = leaf["issuer"].as_str().and_then(|issuer| issuer.parse().ok());
    is(&filter.event, &Some(index.event))
        && is(&filter.issuer, &issuer)
        && is(&filter.subject, &index.subject)
        && is(&filter.server, &index.server)
        && is(&filter.target, &index.target)
        && is(&filter.tool, &index.tool)
        && filter.grant.as_ref().is_none_or(|grant| index.grants.contains(grant))
        && filter.subject_begin.as_ref().is_none_or(begins)
        && filter
            .since
            .is_none_or(|since| index.at.as_microsecond() >= since.as_microsecond())
        && filter
            .until
            .is_none_or(|until| index.at.as_microsecond() < until.as_microsecond())
}

proptest! {
    #[test]
    fn what_is_printed_reads_back_as_the_same(expr in expr()) {
        prop_assert_eq!(Expr::parse(&expr.to_string(), now()), Ok(expr));
    }

    #[test]
    fn evaluation_equals_a_naive_one(expr in expr(), record in record()) {
        prop_assert_eq!(expr.matches(&record), naive(&expr, &record), "{}", expr);
    }

    #[test]
    fn what_passes_passes_the_stores_conditions_too(expr in expr(), record in record()) {
        prop_assert!(!expr.matches(&record) || store_passes(&expr.bounds(), &record), "{}: {:?}", expr, expr.bounds());
    }

    #[test]
    fn every_text_is_read_or_refused(text in any::<String>()) {
        let _ = Expr::parse(&text, now());
    }

    #[test]
    fn every_row_of_parts_is_read_or_refused_and_what_is_read_reads_back(
        parts in vec(select(vec![
            "and", "or", "not", "in", "(", ")", ",", "=", "!=", "<", ">=", "target", "at", "params.x", "a", "\"b\"",
            "a*", "*", "-24h", "2026-11-20", "7", "\"", "\\", "\u{202e}",
        ]), 0..20),
    ) {
        if let Ok(expr) = Expr::parse(&parts.join(" "), now()) {
            prop_assert_eq!(Expr::parse(&expr.to_string(), now()), Ok(expr));
        }
    }
}
