//! JSON read strictly: a member named twice is an error, nesting and size are bounded.

use std::fmt;

use serde::{
    Deserializer,
    de::{DeserializeSeed, Error, MapAccess, SeqAccess, Visitor},
};
use serde_json::{Map, Number, Value, map::Entry};

/// Why a text is not acceptable JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum JsonFault {
    /// Not JSON, not UTF-8, or nested deeper than 32.
    #[error("not acceptable JSON")]
    Malformed,
    /// An object names a member twice: readers would disagree on which one counts.
    #[error("an object names a member twice")]
    DuplicateKey,
    /// A number that no 64-bit float or integer holds.
    #[error("a number is out of range")]
    NumberRange,
}

const DUPLICATE: &str = "duplicate member";
const MAX_DEPTH: u8 = 32;

/// Reads one JSON value and nothing after it.
pub fn strict(text: &[u8]) -> Result<Value, JsonFault> {
    let mut reader = serde_json::Deserializer::from_slice(text);
    let value = Strict(MAX_DEPTH)
        .deserialize(&mut reader)
        .map_err(|error| fault(&error))?;
    reader.end().map_err(|error| fault(&error))?;
    Ok(value)
}

fn fault(error: &serde_json::Error) -> JsonFault {
    let text = error.to_string();
    if text.starts_with(DUPLICATE) {
        JsonFault::DuplicateKey
    } else if text.starts_with("number out of range") {
        JsonFault::NumberRange
    } else {
        JsonFault::Malformed
    }
}

/// Reads a value with so many levels below it.
struct Strict(u8);

impl Strict {
    fn inner<E: Error>(&self) -> Result<Self, E> {
        self.0
            .checked_sub(1)
            .map(Self)
            .ok_or_else(|| E::custom("nested too deep"))
    }
}

impl<'de> DeserializeSeed<'de> for Strict {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Number::from_f64(value).map_or(Value::Null, Value::Number))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element_seed(self.inner()?)? {
            list.push(item);
        }
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let mut object = Map::new();
        while let Some(name) = members.next_key::<String>()? {
            let Entry::Vacant(place) = object.entry(name) else {
                return Err(A::Error::custom(DUPLICATE));
            };
            place.insert(members.next_value_seed(self.inner()?)?);
        }
        Ok(Value::Object(object))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_serde_json_reads() {
        let text = br#"{"a":[1,-2,1.5,"x",null,true,{}],"b":18446744073709551615}"#;
        assert_eq!(strict(text).ok(), serde_json::from_slice(text).ok());
    }

    #[test]
    fn a_member_named_twice_is_refused_at_any_depth_and_in_any_spelling() {
        for text in [r#"{"a":1,"a":1}"#, r#"[{"x":{"a":1,"a":2}}]"#, r#"{"a":1,"\u0061":2}"#] {
            assert_eq!(strict(text.as_bytes()), Err(JsonFault::DuplicateKey), "{text}");
        }
    }

    #[test]
    fn deep_broken_and_trailing_texts_are_refused() {
        let deep = "[".repeat(10_000);
        let nested = format!("{}{}", "[".repeat(40), "]".repeat(40));
        for text in [
            "",
            "{",
            "1 1",
            "\u{feff}{}",
            "{\"a\":NaN}",
            r#""\ud800""#,
            &deep,
            &nested,
        ] {
            assert_eq!(strict(text.as_bytes()), Err(JsonFault::Malformed), "{text:.20}");
        }
        assert_eq!(strict(b"\"\xff\""), Err(JsonFault::Malformed));
        assert_eq!(strict(b"1e309"), Err(JsonFault::NumberRange));
    }
}
