//! Cookies: one for a log-in, one for the way through the issuer. `__Host-` binds both to this host and to TLS, which
//! browsers take loopback addresses for too (RFC 6265bis section 4.1.3.2).

use axum::http::{HeaderMap, HeaderValue, header};
use procura_wire::Secret;

/// The cookie of a log-in.
pub(super) const SESSION: &str = "__Host-procura";
/// The cookie of one who is at the issuer to log in.
pub(super) const LOGGING_IN: &str = "__Host-procura-log-in";

/// Longest value that is read.
const MAX: usize = 2048;

/// The value of that cookie; `None` where there is none, or more than one.
pub(super) fn read(headers: &HeaderMap, name: &str) -> Option<Secret> {
    let lines = headers.get_all(header::COOKIE).iter();
    let pairs = lines
        .filter_map(|line| line.to_str().ok())
        .flat_map(|line| line.split(';'));
    let mut values = pairs.filter_map(|pair| {
        let (key, value) = pair.trim().split_once('=')?;
        (key == name).then_some(value)
    });
    let value = values.next().filter(|value| !value.is_empty() && value.len() <= MAX)?;
    values.next().is_none().then(|| Secret::new(value.to_owned()))
}

/// Sets a cookie for as long as the browser runs, or for so many seconds. It comes along when the issuer sends people
/// back, and with no request that another site makes beside that.
#[expect(
    clippy::disallowed_methods,
    reason = "the value leaves for the browser that it is made for"
)]
pub(super) fn set(name: &str, value: &Secret, seconds: Option<u64>) -> Option<HeaderValue> {
    let age = seconds
        .map(|seconds| format!("; Max-Age={seconds}"))
        .unwrap_or_default();
    let text = format!("{name}={}; Path=/; Secure; HttpOnly; SameSite=Lax{age}", value.expose());
    let mut value = HeaderValue::try_from(text).ok()?;
    value.set_sensitive(true);
    Some(value)
}

/// Takes a cookie back.
pub(super) fn clear(name: &str) -> Option<HeaderValue> {
    set(name, &Secret::new(String::new()), Some(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(lines: &[&'static str]) -> Option<Secret> {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(header::COOKIE, HeaderValue::from_static(line));
        }
        read(&headers, SESSION)
    }

    #[test]
    fn a_cookie_counts_where_it_is_the_only_one_of_its_name() {
        let value = Some(Secret::new("v".to_owned()));
        assert_eq!(of(&["a=b; __Host-procura=v; c=d"]), value);
        for bad in [
            &["__Host-procura=v; __Host-procura=w"][..],
            &["__Host-procura=v", "__Host-procura=v"],
            &["__Host-procura="],
            &["__host-procura=v"],
            &["procura=v; __Host-procura-log-in=v"],
        ] {
            assert_eq!(of(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn cookies_are_for_this_host_alone_and_for_no_script() {
        let text = set(SESSION, &Secret::new("v".to_owned()), None).expect("cookie");
        assert!(text.is_sensitive());
        assert_eq!(
            text.to_str().expect("text"),
            "__Host-procura=v; Path=/; Secure; HttpOnly; SameSite=Lax"
        );
    }
}
