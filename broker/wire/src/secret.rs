//! A value that must not be printed.

use std::fmt;

use serde::{Deserialize, Deserializer};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::Digest;

/// A token, password or key. It has no `Clone`, `Display` or `Serialize`; `Debug` shows that it is
/// there and nothing else; the memory is overwritten when it is dropped.
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Takes the value over.
    pub fn new(value: String) -> Self {
        Self(Zeroizing::new(value))
    }

    /// The clear value. Every use is listed: clippy refuses it without an `#[expect]` and its reason.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// SHA-256 of the value, the only form in which a secret may be kept or compared elsewhere.
    pub fn digest(&self) -> Digest {
        Digest::of(self.0.as_bytes())
    }

    /// Length in bytes.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether the value is the empty string.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Compares in constant time (over values of equal length).
impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_bytes().ct_eq(other.0.as_bytes()).into()
    }
}

impl Eq for Secret {}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(redacted)")
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self::new)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_no_part_of_the_value() {
        assert_eq!(format!("{:?}", Secret::new("hunter2".into())), "Secret(redacted)");
        assert_eq!(
            format!("{:#?}", Some(Secret::new("hunter2".into()))),
            "Some(\n    Secret(redacted),\n)"
        );
    }

    #[test]
    fn equal_values_are_equal() {
        assert_eq!(Secret::new("a".into()), Secret::new("a".into()));
        assert_ne!(Secret::new("a".into()), Secret::new("b".into()));
    }
}
