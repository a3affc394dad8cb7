//! From text to filter.
//!
//! ```text
//! filter := all ("or" all)*
//! all    := one ("and" one)*
//! one    := "not" one | "(" filter ")" | field sign value | field ["not"] "in" "(" value ("," value)* ")"
//! ```

use std::str::FromStr;

use jiff::{SignedDuration, civil::Date, tz::TimeZone};
use serde::{
    Deserialize,
    de::{IntoDeserializer, value},
};
use uuid::Uuid;

use super::{
    Expr, Literal, MAX_DEPTH, MAX_TERMS, MAX_TEXT, Mistake, Order,
    fields::{Field, Kind, unknown},
    token::{Token, mistake, tokens},
};
use crate::{
    Timestamp,
    ledger::{Event, Outcome},
};

/// Words that are no values unless quoted.
pub(super) const KEYWORDS: [&str; 4] = ["and", "or", "not", "in"];

/// Reads a filter.
pub(super) fn parse(text: &str, now: Timestamp) -> Result<Expr, Mistake> {
    if text.len() > MAX_TEXT {
        return Err(mistake(1, format!("a filter has at most {MAX_TEXT} bytes")));
    }
    let mut parser = Parser {
        end: text.chars().count() + 1,
        tokens: tokens(text)?.into_iter().peekable(),
        terms: 0,
        now,
    };
    if parser.tokens.peek().is_none() {
        return Ok(Expr::everything());
    }
    let expr = parser.any(0)?;
    match parser.tokens.next() {
        None => Ok(expr),
        Some((at, _)) => Err(mistake(at, "and, or, or the end of the filter must stand here")),
    }
}

struct Parser {
    tokens: std::iter::Peekable<std::vec::IntoIter<(usize, Token)>>,
    end: usize,
    terms: usize,
    now: Timestamp,
}

impl Parser {
    /// Where the next part begins.
    fn at(&mut self) -> usize {
        self.tokens.peek().map_or(self.end, |(at, _)| *at)
    }

    fn takes(&mut self, wanted: &Token) -> bool {
        self.tokens.next_if(|(_, token)| token == wanted).is_some()
    }

    fn takes_word(&mut self, wanted: &str) -> bool {
        self.tokens
            .next_if(|(_, token)| matches!(token, Token::Word(word) if word == wanted))
            .is_some()
    }

    fn wants(&mut self, wanted: &Token, problem: &str) -> Result<(), Mistake> {
        let at = self.at();
        match self.takes(wanted) {
            true => Ok(()),
            false => Err(mistake(at, problem)),
        }
    }

    fn any(&mut self, depth: usize) -> Result<Expr, Mistake> {
        let mut parts = vec![self.all(depth)?];
        while self.takes_word("or") {
            parts.push(self.all(depth)?);
        }
        Ok(single(parts, Expr::Any))
    }

    fn all(&mut self, depth: usize) -> Result<Expr, Mistake> {
        let mut parts = vec![self.one(depth)?];
        while self.takes_word("and") {
            parts.push(self.one(depth)?);
        }
        Ok(single(parts, Expr::All))
    }

    fn one(&mut self, depth: usize) -> Result<Expr, Mistake> {
        if depth > MAX_DEPTH {
            let problem = format!("a filter is at most {MAX_DEPTH} deep");
            return Err(mistake(self.at(), problem));
        }
        if self.takes_word("not") {
            return Ok(Expr::Not(Box::new(self.one(depth + 1)?)));
        }
        if self.takes(&Token::Open) {
            let inner = self.any(depth + 1)?;
            self.wants(&Token::Close, "a ) must stand here")?;
            return Ok(inner);
        }
        let field = self.field()?;
        self.condition(field)
    }

    fn field(&mut self) -> Result<Field, Mistake> {
        let at = self.at();
        match self.tokens.next() {
            Some((_, Token::Word(word))) => Field::named(&word).ok_or_else(|| mistake(at, unknown(&word))),
            _ => Err(mistake(at, unknown(""))),
        }
    }

    fn condition(&mut self, field: Field) -> Result<Expr, Mistake> {
        let at = self.at();
        let order = match self.tokens.next() {
            Some((_, Token::Sign("="))) => return self.is(field),
            Some((_, Token::Sign("!="))) => return Ok(Expr::Not(Box::new(self.is(field)?))),
            Some((_, Token::Word(word))) if word == "in" => return self.one_of(field),
            Some((_, Token::Word(word))) if word == "not" && self.takes_word("in") => {
                return Ok(Expr::Not(Box::new(self.one_of(field)?)));
            }
            Some((_, Token::Sign("<"))) => Order::Less,
            Some((_, Token::Sign("<="))) => Order::AtMost,
            Some((_, Token::Sign(">"))) => Order::Greater,
            Some((_, Token::Sign(">="))) => Order::AtLeast,
            _ => return Err(mistake(at, "= != < <= > >= or in must stand here")),
        };
        let kind = match field.kind {
            Kind::Time => Kind::Time,
            Kind::Number | Kind::Any => Kind::Number,
            Kind::Text | Kind::Id => {
                return Err(mistake(
                    at,
                    format!("{field} is a text: it takes = != and in, and a * behind a value"),
                ));
            }
        };
        let value = self.value(&field, kind)?;
        Ok(Expr::Compare(field, order, value))
    }

    fn is(&mut self, field: Field) -> Result<Expr, Mistake> {
        let value = self.value(&field, field.kind)?;
        Ok(Expr::OneOf(field, vec![value]))
    }

    fn one_of(&mut self, field: Field) -> Result<Expr, Mistake> {
        self.wants(&Token::Open, "a ( must stand here: in (one, other)")?;
        let mut values = vec![self.value(&field, field.kind)?];
        while self.takes(&Token::Comma) {
            values.push(self.value(&field, field.kind)?);
        }
        self.wants(&Token::Close, "a , or ) must stand here")?;
        Ok(Expr::OneOf(field, values))
    }

    fn value(&mut self, field: &Field, kind: Kind) -> Result<Literal, Mistake> {
        let at = self.at();
        self.terms += 1;
        if self.terms > MAX_TERMS {
            return Err(mistake(
                at,
                format!("a filter compares with at most {MAX_TERMS} values"),
            ));
        }
        let wrong = |problem: &str| mistake(at, format!("{field}: {problem}"));
        let text = match self.tokens.next() {
            Some((_, Token::Word(word))) if !KEYWORDS.contains(&word.as_str()) => word,
            Some((_, Token::Quoted(text))) => text,
            Some((_, Token::Prefix(text))) if !matches!(kind, Kind::Time | Kind::Number) => {
                return Ok(Literal::Prefix(text));
            }
            // `until = *`: there is one.
            Some((_, Token::Prefix(text))) if text.is_empty() => return Ok(Literal::Prefix(text)),
            Some((_, Token::Prefix(_))) => return Err(wrong("a * stands behind texts only")),
            _ => {
                return Err(wrong(
                    "a value must stand here; quote one that is a word of the language",
                ));
            }
        };
        match kind {
            Kind::Time => time(&text, self.now).map(Literal::Time).ok_or_else(|| {
                wrong("give a time as 2026-11-20T09:00:00Z, a day as 2026-11-20, or a time ago as -24h (s, m, h, d, w)")
            }),
            Kind::Number => {
                let number = text.parse().map(Literal::Number);
                number.map_err(|_| wrong("a whole number must stand here"))
            }
            Kind::Id => {
                let id = Uuid::try_parse(&text).map(|id| Literal::Text(id.hyphenated().to_string()));
                id.map_err(|_| wrong("an id must stand here, as 01a1f8b4-75a2-7ae1-a334-823918859ccf"))
            }
            Kind::Text | Kind::Any => word_of(field, &text)
                .map(|()| Literal::Text(text))
                .map_err(|them| wrong(&them)),
        }
    }
}

/// Of events and outcomes there are so many, and a misspelt one would find nothing.
fn word_of(field: &Field, text: &str) -> Result<(), String> {
    fn is<'de, T: Deserialize<'de>>(text: &'de str) -> Result<(), String> {
        // The error of an enumeration names its values.
        T::deserialize(IntoDeserializer::<value::Error>::into_deserializer(text))
            .map(drop)
            .map_err(|error| match error.to_string().rsplit_once("expected ") {
                Some((_, values)) => format!("{values} must stand here"),
                None => "there is no such value".to_owned(),
            })
    }
    match field.name {
        "event" => is::<Event>(text),
        "outcome" => is::<Outcome>(text),
        _ => Ok(()),
    }
}

fn single(mut parts: Vec<Expr>, several: impl FnOnce(Vec<Expr>) -> Expr) -> Expr {
    match parts.len() {
        1 => parts.remove(0),
        _ => several(parts),
    }
}

/// A time of RFC 3339, the begin of a day in UTC, or a time ago.
fn time(text: &str, now: Timestamp) -> Option<Timestamp> {
    if let Some(ago) = text.strip_prefix('-') {
        let unit = ago.chars().next_back()?;
        let seconds = match unit {
            's' => 1,
            'm' => 60,
            'h' => 3600,
            'd' => 86_400,
            'w' => 604_800,
            _ => return None,
        };
        let count: u32 = ago
            .strip_suffix(unit)
            .filter(|count| !count.starts_with('+'))?
            .parse()
            .ok()?;
        let ago = i64::from(count).checked_mul(seconds)?;
        return now.checked_sub(SignedDuration::from_secs(ago)).ok();
    }
    match text.len() {
        10 => {
            let day = Date::from_str(text).ok()?.to_zoned(TimeZone::UTC).ok()?;
            Some(day.timestamp())
        }
        _ => text.parse().ok(),
    }
}
