//! The typed token request (RFC 8693 section 2.1) and what arrives with it.

use std::{net::IpAddr, str::FromStr, sync::Arc, time::Duration};

use base64::{Engine, engine::general_purpose::STANDARD};
use procura_wire::{Digest, Form, FormFault, Reason, Secret, TOKEN_EXCHANGE, TokenType, json};
use serde_json::{Map, Value};

use crate::{
    identity::{ClientCredentials, PeerCertificates, PresentedToken},
    ids::SessionId,
};

/// Longest subject or actor token, bytes.
pub const MAX_TOKEN: usize = 64 * 1024;
const MAX_SHORT: usize = 256;
const MAX_LONG: usize = 4 * 1024;
const MAX_DETAILS: usize = 16 * 1024;
const MAX_TOOL: usize = 128;
const MAX_TARGETS: usize = 8;

/// A request at an endpoint that servers authenticate at.
#[derive(Debug)]
pub struct Incoming<T> {
    /// What the server proves itself by.
    pub credentials: ClientCredentials,
    /// The certificates of the connection.
    pub certificates: Option<Arc<PeerCertificates>>,
    /// What it asks for.
    pub body: T,
    /// Trace id, 32 hex digits.
    pub trace_id: String,
    /// Address of the peer.
    pub address: Option<IpAddr>,
}

/// What is asked for.
#[derive(Debug)]
pub struct TokenRequest {
    /// `subject_token`, `subject_token_type`
    pub subject: PresentedToken,
    /// `actor_token`, `actor_token_type`
    pub actor: Option<PresentedToken>,
    /// `audience`, `resource`: at least one.
    pub targets: Vec<TargetRef>,
    /// `scope`, split; not empty.
    pub scope: Vec<String>,
    /// Members of the one object of `authorization_details`, `type` apart.
    pub details: Option<Details>,
    /// `requested_token_type`
    pub requested_type: Option<TokenType>,
    /// `requested_expires_in`
    pub requested_ttl: Option<Duration>,
    /// `session`
    pub session: SessionChoice,
    /// `tool`, decoded where it came as a Base64 sentinel.
    pub tool: Option<String>,
    /// `tool_call_id`
    pub tool_call: Option<String>,
    /// `tool_definition_sha256`: digest of the tool's definition as the server publishes it.
    pub tool_definition: Option<Digest>,
}

/// A target as the caller names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TargetRef {
    /// `audience`: its name.
    Audience(String),
    /// `resource`: its URI.
    Resource(String),
}

/// The one object of `authorization_details` (RFC 9396).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Details {
    /// `type`: the kind.
    pub kind: String,
    /// The grant's parameters.
    pub params: Map<String, Value>,
}

/// Which session the exchange belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SessionChoice {
    /// The live one, or a new one.
    Join,
    /// `new`: one of its own.
    New,
    /// That one.
    Pinned(SessionId),
    /// A handle that no session has.
    Unknown,
}

impl TokenRequest {
    /// Reads the parameters of a token exchange; the fault names the first one that is wrong.
    pub fn read(form: &mut Form) -> Result<Self, FormFault> {
        if plain(form.require("grant_type", MAX_SHORT)?) != TOKEN_EXCHANGE {
            return Err(FormFault::of(Reason::GrantTypeUnsupported, "grant_type"));
        }
        let subject = token(form, "subject_token", "subject_token_type")?;
        let subject = subject.ok_or(FormFault::of(Reason::ParamMissing, "subject_token"))?;
        let actor = token(form, "actor_token", "actor_token_type")?;
        let session = match form.take("session", MAX_SHORT)?.map(plain).as_deref() {
            None => SessionChoice::Join,
            Some("new") => SessionChoice::New,
            Some(id) => id.parse().map_or(SessionChoice::Unknown, SessionChoice::Pinned),
        };
        Ok(Self {
            subject,
            actor,
            targets: targets(form)?,
            scope: scope(form)?,
            details: details(form)?,
            requested_type: typed(form, "requested_token_type")?,
            requested_ttl: ttl(form)?,
            session,
            tool: tool(form)?,
            tool_call: short_text(form, "tool_call_id")?,
            tool_definition: tool_definition(form)?,
        })
    }
}

/// A parameter that is no secret, as text.
#[expect(clippy::disallowed_methods, reason = "only for parameters that are no secrets")]
fn plain(value: Secret) -> String {
    value.expose().to_owned()
}

fn typed(form: &mut Form, name: &'static str) -> Result<Option<TokenType>, FormFault> {
    let value = form.take(name, MAX_SHORT)?.map(plain);
    let unsupported = |_| FormFault::of(Reason::TokenTypeUnsupported, name);
    value
        .as_deref()
        .map(TokenType::from_str)
        .transpose()
        .map_err(unsupported)
}

/// A token and its type: both or neither (RFC 8693 section 2.1).
fn token(form: &mut Form, name: &'static str, type_name: &'static str) -> Result<Option<PresentedToken>, FormFault> {
    let value = form.take(name, MAX_TOKEN)?;
    let declared = typed(form, type_name)?;
    match (value, declared) {
        (Some(value), Some(declared)) if declared.is_presentable() => Ok(Some(PresentedToken { value, declared })),
        (Some(_), Some(_)) => Err(FormFault::of(Reason::TokenTypeUnsupported, type_name)),
        (Some(_), None) => Err(FormFault::of(Reason::ParamMissing, type_name)),
        (None, Some(_)) => Err(FormFault::of(Reason::ParamMissing, name)),
        (None, None) => Ok(None),
    }
}

fn targets(form: &mut Form) -> Result<Vec<TargetRef>, FormFault> {
    let audiences = form
        .take_all("audience")
        .into_iter()
        .map(plain)
        .map(TargetRef::Audience);
    let resources = form
        .take_all("resource")
        .into_iter()
        .map(plain)
        .map(TargetRef::Resource);
    let all: Vec<_> = audiences.chain(resources).take(MAX_TARGETS + 1).collect();
    match all.len() {
        0 => Err(FormFault::of(Reason::ParamMissing, "audience")),
        1..=MAX_TARGETS => Ok(all),
        _ => Err(FormFault::of(Reason::PolicyTarget, "audience")),
    }
}

fn scope(form: &mut Form) -> Result<Vec<String>, FormFault> {
    let scope = plain(form.require("scope", MAX_LONG)?);
    let mut names: Vec<_> = scope
        .split(' ')
        .filter(|name| !name.is_empty())
        .map(str::to_owned)
        .collect();
    names.sort_unstable();
    names.dedup();
    if names.is_empty() {
        Err(FormFault::of(Reason::ParamMissing, "scope"))
    } else {
        Ok(names)
    }
}

fn details(form: &mut Form) -> Result<Option<Details>, FormFault> {
    const NAME: &str = "authorization_details";
    let fault = || FormFault::of(Reason::PolicyRar, NAME);
    let Some(text) = form.take(NAME, MAX_DETAILS)? else {
        return Ok(None);
    };
    let Ok(Value::Array(mut objects)) = json::strict(plain(text).as_bytes()) else {
        return Err(fault());
    };
    match (objects.pop(), objects.is_empty()) {
        (None, _) => Ok(None),
        (Some(Value::Object(mut params)), true) => match params.remove("type") {
            Some(Value::String(kind)) => Ok(Some(Details { kind, params })),
            _ => Err(fault()),
        },
        _ => Err(fault()),
    }
}

fn ttl(form: &mut Form) -> Result<Option<Duration>, FormFault> {
    const NAME: &str = "requested_expires_in";
    let Some(text) = form.take(NAME, MAX_SHORT)?.map(plain) else {
        return Ok(None);
    };
    let digits = text.bytes().all(|c| c.is_ascii_digit());
    // Numbers too large for 64 bits are above every cap anyway.
    match text.parse::<u64>() {
        Ok(0) => Err(FormFault::of(Reason::PolicyTtl, NAME)),
        Ok(seconds) if digits => Ok(Some(Duration::from_secs(seconds))),
        Err(_) if digits && text.len() <= 40 => Ok(Some(Duration::from_secs(u64::MAX))),
        _ => Err(FormFault::of(Reason::PolicyTtl, NAME)),
    }
}

/// MCP sends a tool name that a header cannot hold as `=?base64?…?=`.
fn tool(form: &mut Form) -> Result<Option<String>, FormFault> {
    let Some(text) = form.take("tool", 2 * MAX_TOOL)?.map(plain) else {
        return Ok(None);
    };
    let fault = || FormFault::of(Reason::ParamMalformed, "tool");
    let name = match text.strip_prefix("=?base64?").and_then(|rest| rest.strip_suffix("?=")) {
        Some(encoded) => {
            let bytes = STANDARD.decode(encoded).map_err(|_| fault())?;
            String::from_utf8(bytes).map_err(|_| fault())?
        }
        None => text,
    };
    if (1..=MAX_TOOL).contains(&name.len()) {
        Ok(Some(name))
    } else {
        Err(fault())
    }
}

fn tool_definition(form: &mut Form) -> Result<Option<Digest>, FormFault> {
    const NAME: &str = "tool_definition_sha256";
    let malformed = |_| FormFault::of(Reason::ParamMalformed, NAME);
    short_text(form, NAME)?
        .map(|text| text.parse().map_err(malformed))
        .transpose()
}

fn short_text(form: &mut Form, name: &'static str) -> Result<Option<String>, FormFault> {
    Ok(form.take(name, MAX_SHORT)?.map(plain))
}

#[cfg(test)]
mod tests {
    use super::*;

    const VALID: &str = "grant_type=urn:ietf:params:oauth:grant-type:token-exchange&subject_token=t\
        &subject_token_type=urn:ietf:params:oauth:token-type:access_token&audience=api&scope=read";

    fn read(body: &str) -> Result<TokenRequest, FormFault> {
        TokenRequest::read(&mut Form::decode(body.as_bytes())?)
    }

    fn fault(tail: &str) -> (&'static str, Option<&'static str>) {
        let fault = read(&format!("{VALID}&{tail}")).expect_err("must be refused");
        (fault.reason.code(), fault.param)
    }

    #[test]
    fn req_018_names_the_parameter_that_is_missing() {
        for name in ["grant_type", "subject_token", "subject_token_type", "audience", "scope"] {
            let without: Vec<_> = VALID
                .split('&')
                .filter(|pair| !pair.starts_with(&format!("{name}=")))
                .collect();
            let fault = read(&without.join("&")).expect_err(name);
            assert_eq!((fault.reason, fault.param), (Reason::ParamMissing, Some(name)));
        }
    }

    #[test]
    fn req_019_an_actor_token_and_its_type_come_together() {
        let ty = "urn:ietf:params:oauth:token-type:access_token";
        assert_eq!(
            fault(&format!("actor_token_type={ty}")),
            ("param.missing", Some("actor_token"))
        );
        assert_eq!(fault("actor_token=x"), ("param.missing", Some("actor_token_type")));
    }

    #[test]
    fn req_027_unknown_token_types_are_refused() {
        let saml = "urn:ietf:params:oauth:token-type:saml2";
        assert_eq!(
            fault(&format!("requested_token_type={saml}")),
            ("token_type.unsupported", Some("requested_token_type"))
        );
        let postgres = "actor_token=x&actor_token_type=urn:procura:token-type:postgres";
        assert_eq!(fault(postgres), ("token_type.unsupported", Some("actor_token_type")));
    }

    #[test]
    fn lifetimes_are_whole_seconds_above_zero() {
        for bad in ["0", "-1", "60s", "1.5", "%2B5", "1e18", "00"] {
            assert_eq!(
                fault(&format!("requested_expires_in={bad}")),
                ("policy.ttl", Some("requested_expires_in")),
                "{bad}"
            );
        }
        let long = read(&format!("{VALID}&requested_expires_in=99999999999999999999999")).expect("clamped later");
        assert_eq!(long.requested_ttl, Some(Duration::from_secs(u64::MAX)));
    }

    #[test]
    fn req_098_authorization_details_are_one_object_with_a_type() {
        for bad in [
            "{}",
            "[1]",
            "[{}]",
            r#"[{"type":1}]"#,
            r#"[{"type":"a"},{"type":"a"}]"#,
            r#"[{"type":"a","type":"a"}]"#,
            "x",
        ] {
            assert_eq!(
                fault(&format!("authorization_details={bad}")),
                ("policy.rar", Some("authorization_details")),
                "{bad}"
            );
        }
        let read = read(&format!(
            r#"{VALID}&authorization_details=[{{"type":"jwt","team":["a"]}}]"#
        ))
        .expect("valid");
        assert_eq!(read.details.map(|details| details.kind).as_deref(), Some("jwt"));
    }

    #[test]
    fn req_120_a_tool_name_may_come_as_base64() {
        let tool = |text: &str| read(&format!("{VALID}&tool={text}")).expect("valid").tool;
        assert_eq!(tool("list_issues").as_deref(), Some("list_issues"));
        assert_eq!(tool("=?base64?bGlzdF9pc3N1ZXM=?=").as_deref(), Some("list_issues"));
        assert_eq!(fault("tool==?base64?!?="), ("param.malformed", Some("tool")));
    }

    #[test]
    fn a_token_that_is_too_long_is_refused_and_not_dropped() {
        let body = VALID.replace(
            "subject_token=t",
            &format!("subject_token={}", "t".repeat(MAX_TOKEN + 1)),
        );
        let fault = read(&body).expect_err("too long");
        assert_eq!(
            (fault.reason, fault.param),
            (Reason::ParamTooLarge, Some("subject_token"))
        );
    }
}
