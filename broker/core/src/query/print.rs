//! From filter to text, which reads back as the same filter.

use std::fmt;

use super::{Expr, Literal, Order, parse::KEYWORDS};

impl fmt::Display for Expr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All(parts) => joined(f, parts, " and "),
            Self::Any(parts) => joined(f, parts, " or "),
            Self::Not(inner) => {
                f.write_str("not ")?;
                inner.part(f)
            }
            Self::OneOf(field, values) => match &values[..] {
                [value] => write!(f, "{field} = {value}"),
                values => {
                    write!(f, "{field} in (")?;
                    for (n, value) in values.iter().enumerate() {
                        write!(f, "{}{value}", if n == 0 { "" } else { ", " })?;
                    }
                    f.write_str(")")
                }
            },
            Self::Compare(field, order, value) => write!(f, "{field} {order} {value}"),
        }
    }
}

impl Expr {
    fn part(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All(_) | Self::Any(_) => write!(f, "({self})"),
            _ => write!(f, "{self}"),
        }
    }
}

fn joined(f: &mut fmt::Formatter<'_>, parts: &[Expr], between: &str) -> fmt::Result {
    for (n, part) in parts.iter().enumerate() {
        f.write_str(if n == 0 { "" } else { between })?;
        part.part(f)?;
    }
    Ok(())
}

impl fmt::Display for Literal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => quoted(f, text, !text.is_empty()),
            Self::Prefix(text) => {
                quoted(f, text, true)?;
                f.write_str("*")
            }
            Self::Time(time) => write!(f, "{time}"),
            Self::Number(number) => write!(f, "{number}"),
        }
    }
}

/// Bare where it can be.
fn quoted(f: &mut fmt::Formatter<'_>, text: &str, bare: bool) -> fmt::Result {
    let plain = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'_' | b'-' | b'.' | b'/' | b':' | b'@' | b'+');
    if bare && text.bytes().all(plain) && !KEYWORDS.contains(&text) {
        return f.write_str(text);
    }
    f.write_str("\"")?;
    for c in text.chars() {
        f.write_str(if matches!(c, '"' | '\\') { "\\" } else { "" })?;
        write!(f, "{c}")?;
    }
    f.write_str("\"")
}

impl fmt::Display for Order {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Less => "<",
            Self::AtMost => "<=",
            Self::Greater => ">",
            Self::AtLeast => ">=",
        })
    }
}
