//! Questions to the log: one filter language for the command line, the API and the page.
//!
//! What a filter means is [`Expr::matches`] and nothing else. The store is only given conditions that every record
//! which matches must fulfil ([`Expr::bounds`]), so that an index leads and both engines answer the same.

mod bounds;
mod evaluate;
mod fields;
mod follow;
mod parse;
mod print;
mod scope;
mod search;
mod token;

#[cfg(test)]
mod laws;
#[cfg(test)]
mod tests;

use crate::Timestamp;

pub use fields::{Field, NAMES};
pub use follow::Follower;
pub use scope::{Scope, readable, stands};
pub use search::{EXAMINED, Found, SHARE, search};

/// Longest filter, bytes.
pub const MAX_TEXT: usize = 4096;
/// Most values that a filter compares with.
pub const MAX_TERMS: usize = 64;
/// Deepest nesting of `( )` and `not`.
pub const MAX_DEPTH: usize = 32;

/// A filter for records.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expr {
    /// All of these hold; every record where there are none.
    All(Vec<Expr>),
    /// One of these holds.
    Any(Vec<Expr>),
    /// This does not hold.
    Not(Box<Expr>),
    /// A value of the field is one of these. What a record does not say is none of them.
    OneOf(Field, Vec<Literal>),
    /// A value of the field, a time or a number, compares so.
    Compare(Field, Order, Literal),
}

/// What a value is compared with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Literal {
    /// Exactly this text.
    Text(String),
    /// A text that begins so.
    Prefix(String),
    /// This time.
    Time(Timestamp),
    /// This number.
    Number(i64),
}

/// How a value compares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// `<`
    Less,
    /// `<=`
    AtMost,
    /// `>`
    Greater,
    /// `>=`
    AtLeast,
}

/// What is wrong with a filter, and where. Quotes nothing of it but names of fields.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("character {at}: {problem}")]
pub struct Mistake {
    /// The character where it stands; the first is 1.
    pub at: usize,
    /// What is wrong and what to do.
    pub problem: String,
}

impl Expr {
    /// The filter that every record passes.
    pub fn everything() -> Self {
        Self::All(Vec::new())
    }

    /// Reads a filter; one that is empty passes everything. `now` is what relative times like `-24h` count from.
    pub fn parse(text: &str, now: Timestamp) -> Result<Self, Mistake> {
        parse::parse(text, now)
    }

    /// Both hold.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::All(none), other) | (other, Self::All(none)) if none.is_empty() => other,
            (one, other) => Self::All(vec![one, other]),
        }
    }

    /// The field, by a name of [`NAMES`], has exactly this text.
    pub fn is(field: &'static str, text: impl ToString) -> Self {
        let value = Literal::Text(text.to_string());
        // No record has a field that there is not.
        Field::named(field).map_or(Self::Any(Vec::new()), |field| Self::OneOf(field, vec![value]))
    }

    /// The record's time compares so.
    pub fn at(order: Order, time: Timestamp) -> Self {
        Self::Compare(Field::AT, order, Literal::Time(time))
    }
}
