//! Reads bodies within their limits, and who the caller says to be.

use std::time::Duration;

use axum::{
    body::{Body, Bytes},
    http::{HeaderMap, HeaderValue, header, request::Parts},
};
use http_body_util::BodyExt;
use procura_core::identity::{AssertionType, ClientCredentials};
use procura_wire::{Form, FormFault, MAX_CLIENT_ID, MAX_CLIENT_SECRET, Reason, Secret};
use tokio::sync::{Semaphore, SemaphorePermit};

use super::reply::Challenge;

/// Media type of forms.
pub(crate) const FORM: &str = "application/x-www-form-urlencoded";
/// Largest body, bytes.
const MAX_BODY: usize = 256 * 1024;
/// Bytes of all bodies that are arriving at a time.
const MAX_BODIES: usize = 64 * 1024 * 1024;
/// Longest time for a body to arrive.
const MAX_BODY_TIME: Duration = Duration::from_secs(10);
/// Longest client assertion, bytes.
const MAX_ASSERTION: usize = 16 * 1024;

/// Reads a form body (RFC 6749 section 3.2 and appendix B). Parameters in the query are refused.
pub(crate) async fn form(parts: &Parts, body: Body) -> Result<Form, FormFault> {
    let body = read(parts, body, FORM).await.map_err(fault)?;
    Form::decode(&body)
}

/// Reads a JSON body.
pub(crate) async fn json(parts: &Parts, body: Body) -> Result<Bytes, FormFault> {
    read(parts, body, "application/json").await.map_err(fault)
}

fn fault(reason: Reason) -> FormFault {
    FormFault { reason, param: None }
}

async fn read(parts: &Parts, body: Body, media_type: &str) -> Result<Bytes, Reason> {
    if parts.uri.query().is_some() {
        return Err(Reason::HttpQueryParams);
    }
    let headers = &parts.headers;
    if !is_media_type(headers, media_type) || headers.contains_key(header::CONTENT_ENCODING) {
        return Err(Reason::HttpContentType);
    }
    let announced = headers
        .get(header::CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok()?.parse().ok());
    if announced.is_some_and(|length: u64| length > MAX_BODY as u64) {
        return Err(Reason::HttpTooLarge);
    }
    limited(body).await
}

/// Reads a body within its limits of size and time.
pub(crate) async fn limited(body: Body) -> Result<Bytes, Reason> {
    static ROOM: Semaphore = Semaphore::const_new(MAX_BODIES);
    let read = tokio::time::timeout(MAX_BODY_TIME, collected(body, &ROOM)).await;
    read.unwrap_or(Err(Reason::HttpSlow))
}

/// Bytes take room as they come, so that bodies that never end take little.
async fn collected(mut body: Body, room: &Semaphore) -> Result<Bytes, Reason> {
    let (mut bytes, mut taken) = (Vec::new(), None::<SemaphorePermit<'_>>);
    while let Some(frame) = body.frame().await {
        // A connection that broke off.
        let Ok(data) = frame.map_err(|_| Reason::HttpSlow)?.into_data() else {
            continue;
        };
        if bytes.len() + data.len() > MAX_BODY {
            return Err(Reason::HttpTooLarge);
        }
        let more = u32::try_from(data.len()).map_err(|_| Reason::HttpTooLarge)?;
        let more = room.try_acquire_many(more).map_err(|_| Reason::Overloaded)?;
        match &mut taken {
            Some(taken) => taken.merge(more),
            None => taken = Some(more),
        }
        bytes.extend_from_slice(&data);
    }
    Ok(bytes.into())
}

/// Whether the one Content-Type is `expected`, in UTF-8 where it names a charset.
pub(crate) fn is_media_type(headers: &HeaderMap, expected: &str) -> bool {
    let mut values = headers.get_all(header::CONTENT_TYPE).iter();
    let (Some(value), None) = (values.next(), values.next()) else {
        return false;
    };
    let mut parts = value.to_str().unwrap_or_default().split(';').map(str::trim);
    let media_type = parts.next().unwrap_or_default();
    let utf8 = |part: &str| {
        part.split_once('=').is_some_and(|(name, value)| {
            name.eq_ignore_ascii_case("charset") && value.trim_matches('"').eq_ignore_ascii_case("utf-8")
        })
    };
    media_type.eq_ignore_ascii_case(expected) && parts.all(utf8)
}

/// What the caller presents to prove who it is, in the header or in the form; never both
/// (RFC 6749 section 2.3). What cannot be read authenticates nobody.
pub(crate) fn credentials(headers: &HeaderMap, form: &mut Form) -> Result<ClientCredentials, FormFault> {
    let asserts = form.has("client_assertion") || form.has("client_assertion_type");
    let id = form.take("client_id", MAX_CLIENT_ID)?;
    let secret = form.take("client_secret", MAX_CLIENT_SECRET)?;
    let in_header = headers.contains_key(header::AUTHORIZATION);
    let methods = usize::from(asserts) + usize::from(secret.is_some()) + usize::from(in_header);
    if methods > 1 {
        return Err(fault(Reason::ClientMultipleMethods));
    }
    if in_header {
        let credentials = basic(headers)?;
        let same = |basic: &str| id.as_ref().is_none_or(|id| *id == Secret::new(basic.to_owned()));
        return match &credentials {
            ClientCredentials::Basic { id: basic, .. } if !same(basic) => Err(fault(Reason::ClientMultipleMethods)),
            _ => Ok(credentials),
        };
    }
    let id = id.as_ref().map(public);
    Ok(match (assertion(form)?, id, secret) {
        (Some((ty, assertion)), id, _) => ClientCredentials::Assertion { id, ty, assertion },
        (None, Some(id), Some(secret)) => ClientCredentials::Body { id, secret },
        (None, Some(id), None) => ClientCredentials::Id(id),
        (None, None, _) => ClientCredentials::None,
    })
}

/// An assertion and its type: both or neither (RFC 7521 section 4.2).
fn assertion(form: &mut Form) -> Result<Option<(AssertionType, Secret)>, FormFault> {
    const NAMES: [&str; 2] = ["client_assertion", "client_assertion_type"];
    let (assertion, ty) = (form.take(NAMES[0], MAX_ASSERTION)?, form.take(NAMES[1], MAX_CLIENT_ID)?);
    match (assertion, ty) {
        (Some(assertion), Some(ty)) => match public(&ty).parse() {
            Ok(ty) => Ok(Some((ty, assertion))),
            Err(reason) => Err(FormFault::of(reason, NAMES[1])),
        },
        (Some(_), None) => Err(FormFault::of(Reason::ParamMissing, NAMES[1])),
        (None, Some(_)) => Err(FormFault::of(Reason::ParamMissing, NAMES[0])),
        (None, None) => Ok(None),
    }
}

/// Credentials of the Authorization header (RFC 7617).
pub(crate) fn basic(headers: &HeaderMap) -> Result<ClientCredentials, FormFault> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    match (values.next(), values.next()) {
        (Some(_), Some(_)) => Err(fault(Reason::ClientMultipleMethods)),
        (value, _) => Ok(value.and_then(read_basic).unwrap_or(ClientCredentials::None)),
    }
}

fn read_basic(value: &HeaderValue) -> Option<ClientCredentials> {
    let (id, secret) = procura_wire::basic(value.to_str().ok()?)?;
    Some(ClientCredentials::Basic { id, secret })
}

/// How a 401 to this caller asks for credentials (RFC 6749 section 5.2).
pub(crate) fn challenge(headers: &HeaderMap) -> Challenge {
    if headers.contains_key(header::AUTHORIZATION) {
        Challenge::Basic
    } else {
        Challenge::None
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "a client id is no secret; forms hold nothing else"
)]
fn public(id: &Secret) -> String {
    id.expose().to_owned()
}

#[cfg(test)]
mod tests {
    use base64::{Engine, engine::general_purpose::STANDARD};
    use futures_util::{StreamExt, stream};

    use super::*;

    fn read_credentials(authorization: Option<&str>, body: &str) -> Result<(String, bool), Reason> {
        let mut headers = HeaderMap::new();
        if let Some(value) = authorization {
            headers.insert(header::AUTHORIZATION, value.parse().expect("header"));
        }
        let mut form = Form::decode(body.as_bytes()).expect("form");
        match credentials(&headers, &mut form).map_err(|fault| fault.reason)? {
            ClientCredentials::Basic { id, secret } => Ok((id, secret == Secret::new("s:1%".into()))),
            ClientCredentials::Body { id, secret } => Ok((id, secret == Secret::new("s".into()))),
            ClientCredentials::Assertion { id, assertion, .. } => {
                Ok((id.unwrap_or_default(), assertion == Secret::new("j".into())))
            }
            ClientCredentials::Id(id) => Ok((id, false)),
            ClientCredentials::None => Ok((String::new(), false)),
        }
    }

    #[test]
    fn an_assertion_comes_with_a_type_that_is_known() {
        let ty = "client_assertion_type=urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
        let body = format!("client_assertion=j&{ty}");
        assert_eq!(read_credentials(None, &body), Ok((String::new(), true)));
        assert_eq!(
            read_credentials(None, &format!("client_id=x&{body}")),
            Ok(("x".into(), true))
        );
        assert_eq!(read_credentials(None, "client_assertion=j"), Err(Reason::ParamMissing));
        assert_eq!(read_credentials(None, ty), Err(Reason::ParamMissing));
        assert_eq!(
            read_credentials(None, "client_assertion=j&client_assertion_type=saml"),
            Err(Reason::ClientUnauthenticated)
        );
    }

    fn encoded(pair: &str) -> String {
        format!("Basic {}", STANDARD.encode(pair))
    }

    #[test]
    fn req_007_basic_is_form_decoded_and_the_body_works_too() {
        let basic = encoded("my%2Dserver:s%3A1%25");
        assert_eq!(read_credentials(Some(&basic), "a=1"), Ok(("my-server".into(), true)));
        assert_eq!(
            read_credentials(None, "client_id=x&client_secret=s"),
            Ok(("x".into(), true))
        );
    }

    #[test]
    fn req_006_two_methods_are_refused_and_never_tried_in_turn() {
        let basic = encoded("x:s");
        for (header, body) in [
            (Some(basic.as_str()), "client_secret=s"),
            (Some(basic.as_str()), "client_id=y"),
            (Some(basic.as_str()), "client_assertion=j"),
            (Some("Bearer t"), "client_id=x&client_secret=s"),
            (None, "client_id=x&client_secret=s&client_assertion=j"),
            (None, "client_secret=s&client_assertion_type=t"),
        ] {
            assert_eq!(
                read_credentials(header, body),
                Err(Reason::ClientMultipleMethods),
                "{header:?} {body}"
            );
        }
        assert_eq!(read_credentials(Some(&basic), "client_id=x"), Ok(("x".into(), false)));
    }

    #[test]
    fn what_cannot_be_read_authenticates_nobody() {
        let no_colon = encoded("xs");
        for (header, body) in [
            (Some("Basic !"), ""),
            (Some(no_colon.as_str()), ""),
            (Some("Bearer t"), ""),
            (None, "client_secret=s"),
            (None, ""),
        ] {
            assert_eq!(
                read_credentials(header, body),
                Ok((String::new(), false)),
                "{header:?} {body}"
            );
        }
    }

    #[test]
    fn req_003_the_body_is_a_form_in_utf_8() {
        let is_form = |values: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(header::CONTENT_TYPE, HeaderValue::from_static(value));
            }
            is_media_type(&headers, "application/x-www-form-urlencoded")
        };
        assert!(is_form(&["application/x-www-form-urlencoded"]));
        assert!(is_form(&["application/x-www-form-urlencoded;charset=UTF-8"]));
        assert!(is_form(&["Application/X-WWW-Form-Urlencoded; charset=\"utf-8\""]));
        assert!(!is_form(&["application/x-www-form-urlencoded; charset=utf-16"]));
        assert!(!is_form(&["application/json"]));
        assert!(!is_form(&[]));
        assert!(!is_form(&["application/x-www-form-urlencoded", "text/plain"]));
    }

    async fn posted(uri: &str, body: Body) -> Result<Form, Reason> {
        let request = axum::http::Request::post(uri)
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(body)
            .expect("request");
        let (parts, body) = request.into_parts();
        form(&parts, body).await.map_err(|fault| fault.reason)
    }

    #[tokio::test]
    async fn parameters_in_the_query_are_refused() {
        let answer = posted("/token?a=1", Body::from("b=1")).await;
        assert_eq!(answer.err(), Some(Reason::HttpQueryParams));
    }

    #[tokio::test]
    async fn a_body_over_the_limit_is_refused_and_never_cut() {
        let most = "a".repeat(MAX_BODY);
        assert!(posted("/token", Body::from(most.clone())).await.is_ok());
        let answer = posted("/token", Body::from(most + "a")).await;
        assert_eq!(answer.err(), Some(Reason::HttpTooLarge));
    }

    #[tokio::test]
    async fn attack_067_bodies_that_are_arriving_have_so_much_room_together() {
        let room = Semaphore::new(10);
        let (end, ended) = tokio::sync::oneshot::channel::<()>();
        let rest = stream::once(async move {
            ended
                .await
                .map(|()| Bytes::new())
                .or(Ok::<_, std::io::Error>(Bytes::new()))
        });
        let first = Body::from_stream(stream::iter([Ok(Bytes::from("12345678"))]).chain(rest));
        let mut first = Box::pin(collected(first, &room));
        assert!(futures_util::poll!(&mut first).is_pending());
        let second = collected(Body::from("123"), &room).await;
        assert_eq!(second, Err(Reason::Overloaded));
        drop(end);
        assert_eq!(first.await, Ok(Bytes::from("12345678")));
        assert_eq!(
            collected(Body::from("1234567890"), &room)
                .await
                .map(|bytes| bytes.len()),
            Ok(10)
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_does_not_end_is_given_up() {
        let endless = Body::from_stream(stream::pending::<Result<Bytes, std::io::Error>>());
        assert_eq!(posted("/token", endless).await.err(), Some(Reason::HttpSlow));
    }
}
