//! The body of a token request: `application/x-www-form-urlencoded`, read strictly.

use std::collections::BTreeMap;

use crate::{Reason, Secret};

/// A fault in the caller's own input, with the parameter that it stands in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FormFault {
    /// What is wrong.
    pub reason: Reason,
    /// Name of the parameter, where one is at fault and the broker knows it.
    pub param: Option<&'static str>,
}

impl FormFault {
    /// A fault of one parameter.
    pub fn of(reason: Reason, param: &'static str) -> Self {
        Self {
            reason,
            param: Some(param),
        }
    }
}

/// The parameters of a form, each value a secret until it is known not to be one.
///
/// A parameter with an empty value counts as absent and unknown ones are ignored (RFC 6749 section
/// 3.2); a repeated one is refused where it is read (RFC 8693 section 2.1 excepts `resource` and
/// `audience`).
#[derive(Debug, Default)]
pub struct Form(BTreeMap<String, Vec<Secret>>);

/// More parameters than any request has.
const MAX_PARAMS: usize = 64;

impl Form {
    /// Decodes a body. Refuses text that is not UTF-8 and broken percent escapes.
    pub fn decode(body: &[u8]) -> Result<Self, FormFault> {
        let malformed = || FormFault {
            reason: Reason::ParamMalformed,
            param: None,
        };
        let mut params = BTreeMap::<String, Vec<Secret>>::new();
        for (count, pair) in body
            .split(|byte| *byte == b'&')
            .filter(|pair| !pair.is_empty())
            .enumerate()
        {
            if count == MAX_PARAMS {
                return Err(malformed());
            }
            let (name, value) = match pair.iter().position(|byte| *byte == b'=') {
                Some(at) => (&pair[..at], &pair[at + 1..]),
                None => (pair, &[][..]),
            };
            let name = unescape(name).ok_or_else(malformed)?;
            let value = Secret::new(unescape(value).ok_or_else(malformed)?);
            if !value.is_empty() {
                params.entry(name).or_default().push(value);
            }
        }
        Ok(Self(params))
    }

    /// Takes the values of a parameter that may repeat.
    pub fn take_all(&mut self, name: &str) -> Vec<Secret> {
        self.0.remove(name).unwrap_or_default()
    }

    /// Takes the one value of a parameter of at most `max` bytes, if it is there.
    pub fn take(&mut self, name: &'static str, max: usize) -> Result<Option<Secret>, FormFault> {
        let mut values = self.take_all(name);
        if values.len() > 1 {
            return Err(FormFault::of(Reason::ParamRepeated, name));
        }
        match values.pop() {
            Some(value) if value.len() > max => Err(FormFault::of(Reason::ParamTooLarge, name)),
            value => Ok(value),
        }
    }

    /// Takes the one value of a parameter that must be there.
    pub fn require(&mut self, name: &'static str, max: usize) -> Result<Secret, FormFault> {
        self.take(name, max)?.ok_or(FormFault::of(Reason::ParamMissing, name))
    }

    /// Whether the parameter is there and not empty.
    pub fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// Names that nobody took, for the log. Values stay inside.
    pub fn rest(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }
}

/// Undoes form encoding (`+` is a space); `None` for a broken escape or text that is not UTF-8.
pub fn unescape(text: &[u8]) -> Option<String> {
    if !text.contains(&b'%') && !text.contains(&b'+') {
        return str::from_utf8(text).ok().map(str::to_owned);
    }
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.iter();
    while let Some(byte) = bytes.next() {
        out.push(match byte {
            b'+' => b' ',
            b'%' => hex(*bytes.next()?)? << 4 | hex(*bytes.next()?)?,
            plain => *plain,
        });
    }
    String::from_utf8(out).ok()
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit)
        .to_digit(16)
        .and_then(|value| u8::try_from(value).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take(body: &str, name: &'static str) -> Result<Option<Secret>, FormFault> {
        Form::decode(body.as_bytes())?.take(name, 16)
    }

    #[test]
    fn decodes_plus_and_percent() {
        assert_eq!(take("a=x+y%2B%C3%A4&b=", "a"), Ok(Some(Secret::new("x y+ä".into()))));
    }

    #[test]
    fn req_005_an_empty_value_is_an_omitted_parameter() {
        assert_eq!(take("a=&b", "a"), Ok(None));
        assert_eq!(take("a=&b", "b"), Ok(None));
    }

    #[test]
    fn req_004_a_repeated_parameter_is_named() {
        assert_eq!(take("a=1&a=1", "a"), Err(FormFault::of(Reason::ParamRepeated, "a")));
    }

    #[test]
    fn refuses_broken_escapes_other_encodings_and_floods() {
        for body in ["a=%", "a=%2", "a=%zz", "a=%ff", "%ff=a", &"a=1&".repeat(65)] {
            assert_eq!(
                take(body, "a").map_err(|fault| fault.reason),
                Err(Reason::ParamMalformed),
                "{body}"
            );
        }
        for body in [&b"a=\xff"[..], b"\xff=a", b"a=%20\xff"] {
            assert_eq!(
                Form::decode(body).map_err(|fault| fault.reason).err(),
                Some(Reason::ParamMalformed)
            );
        }
    }

    #[test]
    fn refuses_what_is_too_long_and_never_drops_it() {
        assert_eq!(
            take("a=12345678901234567", "a"),
            Err(FormFault::of(Reason::ParamTooLarge, "a"))
        );
    }
}
