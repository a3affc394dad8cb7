//! HTTP Basic as OAuth clients use it.

use base64::{Engine, prelude::BASE64_STANDARD};
use zeroize::Zeroizing;

use crate::{Secret, unescape};

/// Longest client id, bytes.
pub const MAX_CLIENT_ID: usize = 256;
/// Longest client secret, bytes.
pub const MAX_CLIENT_SECRET: usize = 1024;

/// Id and secret in the value of an Authorization header (RFC 7617; both form-encoded as RFC 6749 section 2.3.1 says). `None` for
/// another scheme, what cannot be decoded, and an encoded id or a secret that is too long.
pub fn basic(value: &str) -> Option<(String, Secret)> {
    let (scheme, encoded) = value.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let pair = Zeroizing::new(BASE64_STANDARD.decode(encoded.trim()).ok()?);
    let colon = pair.iter().position(|byte| *byte == b':')?;
    let secret = Secret::new(unescape(&pair[colon + 1..])?);
    let fits = colon <= MAX_CLIENT_ID && secret.len() <= MAX_CLIENT_SECRET;
    fits.then_some((unescape(&pair[..colon])?, secret))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(scheme: &str, pair: &str) -> Option<(String, Secret)> {
        basic(&format!("{scheme} {}", BASE64_STANDARD.encode(pair)))
    }

    #[test]
    fn id_and_secret_are_form_decoded() {
        let found = Some(("a-b".to_owned(), Secret::new("s: 1".into())));
        assert_eq!(read("Basic", "a%2Db:s%3A+1"), found);
        assert_eq!(read("bAsIc", "a-b:s:+1"), found);
    }

    #[test]
    fn what_is_no_pair_or_too_long_is_nobody() {
        for (scheme, pair) in [
            ("Bearer", "a:b".to_owned()),
            ("Basic", "ab".to_owned()),
            ("Basic", "a:%".to_owned()),
            ("Basic", "%ff:b".to_owned()),
            ("Basic", format!("{}:b", "a".repeat(MAX_CLIENT_ID + 1))),
            ("Basic", format!("a:{}", "b".repeat(MAX_CLIENT_SECRET + 1))),
        ] {
            assert_eq!(read(scheme, &pair), None, "{scheme} {pair:.20}");
        }
        for header in ["", "Basic", "Basic !", "Basic YTpi YTpi"] {
            assert_eq!(basic(header), None, "{header}");
        }
    }
}
