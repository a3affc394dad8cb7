//! What a filter means: one record at a time, as it is stored.

use std::cell::OnceCell;

use serde::Serialize;
use serde_json::{Number, Value};

use super::{
    Expr, Literal, Order,
    fields::{Field, Kind, Place},
};
use crate::{Timestamp, ledger::Stored};

/// One value of a field.
#[derive(Clone, Copy)]
enum Scalar<'a> {
    Text(&'a str),
    Number(&'a Number),
    Time(Timestamp),
}

/// A record whose JSON is parsed when a field of it is asked for.
struct Row<'a> {
    stored: &'a Stored,
    leaf: OnceCell<Value>,
    clear: OnceCell<Value>,
}

impl Expr {
    /// Whether the record passes. What was erased is as what it never said.
    pub fn matches(&self, stored: &Stored) -> bool {
        let row = Row {
            stored,
            leaf: OnceCell::new(),
            clear: OnceCell::new(),
        };
        self.holds(&row)
    }

    fn holds(&self, row: &Row<'_>) -> bool {
        match self {
            Self::All(parts) => parts.iter().all(|part| part.holds(row)),
            Self::Any(parts) => parts.iter().any(|part| part.holds(row)),
            Self::Not(part) => !part.holds(row),
            Self::OneOf(field, values) => row.any(field, &mut |is| values.iter().any(|value| equals(is, value))),
            Self::Compare(field, order, value) => row.any(field, &mut |is| compares(is, *order, value)),
        }
    }
}

fn equals(is: Scalar<'_>, value: &Literal) -> bool {
    match (is, value) {
        (_, Literal::Prefix(begin)) if begin.is_empty() => true,
        (Scalar::Text(is), Literal::Text(text)) => is == text,
        (Scalar::Text(is), Literal::Prefix(begin)) => is.starts_with(begin.as_str()),
        (Scalar::Number(is), Literal::Text(text)) => is.to_string() == *text,
        (Scalar::Number(is), Literal::Prefix(begin)) => is.to_string().starts_with(begin.as_str()),
        (Scalar::Number(is), Literal::Number(number)) => is.as_i64() == Some(*number),
        (Scalar::Time(is), Literal::Time(time)) => is == *time,
        _ => false,
    }
}

fn compares(is: Scalar<'_>, order: Order, value: &Literal) -> bool {
    let ordering = match (is, value) {
        (Scalar::Time(is), Literal::Time(time)) => is.cmp(time),
        (Scalar::Number(is), Literal::Number(number)) => match is.as_i64() {
            Some(is) => is.cmp(number),
            None => return false,
        },
        _ => return false,
    };
    match order {
        Order::Less => ordering.is_lt(),
        Order::AtMost => ordering.is_le(),
        Order::Greater => ordering.is_gt(),
        Order::AtLeast => ordering.is_ge(),
    }
}

impl Row<'_> {
    /// Whether the test holds for one of the field's values.
    fn any(&self, field: &Field, test: &mut dyn FnMut(Scalar<'_>) -> bool) -> bool {
        let parse = |text: &str| serde_json::from_str(text).unwrap_or_default();
        match field.place {
            Place::Index => self.any_of_index(field, test),
            Place::Leaf => of_json(self.leaf(), field, test),
            Place::Clear => {
                let clear = || self.stored.side.as_ref().map(|(_, clear)| parse(clear.get()));
                of_json(self.clear.get_or_init(|| clear().unwrap_or_default()), field, test)
            }
        }
    }

    fn leaf(&self) -> &Value {
        let parse = || serde_json::from_str(self.stored.leaf.get()).unwrap_or_default();
        self.leaf.get_or_init(parse)
    }

    fn any_of_index(&self, field: &Field, test: &mut dyn FnMut(Scalar<'_>) -> bool) -> bool {
        let index = &self.stored.index;
        let mut time = |time: Option<Timestamp>| time.is_some_and(|time| test(Scalar::Time(time)));
        match field.name {
            "at" => time(Some(index.at)),
            "until" => time(index.until),
            "revoked" => time(self.stored.revoked),
            "id" => texts(&[self.stored.id], test),
            "event" => texts(&[index.event], test),
            "outcome" => texts(&[index.outcome], test),
            "reason" => texts(index.reason.as_slice(), test),
            "subject" => texts(index.subject.as_slice(), test),
            "actor" => texts(index.actor.as_slice(), test),
            "server" => texts(index.server.as_slice(), test),
            "tool" => texts(index.tool.as_slice(), test),
            "target" => texts(index.target.as_slice(), test),
            "grants" => texts(&index.grants, test),
            "session" => texts(index.session.as_slice(), test),
            "about" => texts(index.about.as_slice(), test),
            _ => texts(index.source_version.as_slice(), test),
        }
    }
}

/// Texts, as they stand in JSON.
fn texts<T: Serialize>(values: &[T], test: &mut dyn FnMut(Scalar<'_>) -> bool) -> bool {
    values.iter().any(|value| match serde_json::to_value(value) {
        Ok(Value::String(text)) => test(Scalar::Text(&text)),
        _ => false,
    })
}

fn of_json(value: &Value, field: &Field, test: &mut dyn FnMut(Scalar<'_>) -> bool) -> bool {
    let path: Vec<&str> = match &field.member {
        Some(member) => vec![field.name.trim_end_matches('.'), member],
        None => field.name.split('.').collect(),
    };
    at_path(value, &path, &mut |value| match value {
        Value::String(text) if field.kind == Kind::Time => text.parse().is_ok_and(|time| test(Scalar::Time(time))),
        Value::String(text) => test(Scalar::Text(text)),
        Value::Number(number) => test(Scalar::Number(number)),
        Value::Bool(true) => test(Scalar::Text("true")),
        Value::Bool(false) => test(Scalar::Text("false")),
        _ => false,
    })
}

/// Of a list each element counts.
fn at_path(value: &Value, path: &[&str], test: &mut dyn FnMut(&Value) -> bool) -> bool {
    match (value, path) {
        (Value::Array(items), _) => items.iter().any(|item| at_path(item, path, test)),
        (value, []) => test(value),
        (Value::Object(members), [first, rest @ ..]) => {
            members.get(*first).is_some_and(|member| at_path(member, rest, test))
        }
        _ => false,
    }
}
