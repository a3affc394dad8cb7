//! The typed token request (RFC 8693 section 2.1) and what arrives with it.

use std::{net::IpAddr, str::FromStr, sync::Arc, time::Duration};

use base64::{Engine, engine::general_purpose::STANDARD};
use procura_wire::{Digest, Form, FormFault, JWT_BEARER, Reason, Secret, TOKEN_EXCHANGE, TokenType, json};
use serde_json::{Map, Value};

use crate::{
    identity::{ClientCredentials, PeerCertificates, PresentedProof, PresentedToken},
    ids::SessionId,
};

/// Longest subject or actor token, bytes.
pub const MAX_TOKEN: usize = 64 * 1024;
const MAX_SHORT: usize = 256;
const MAX_LONG: usize = 4 * 1024;
const MAX_DETAILS: usize = 16 * 1024;
const MAX_TOOL: usize = 128;
const MAX_TARGETS: usize = 8;

/// URL of the token endpoint of the broker with that issuer identifier.
pub fn token_endpoint(issuer: &str) -> String {
    format!("{issuer}/token")
}

/// A request at an endpoint that servers authenticate at.
#[derive(Debug)]
pub struct Incoming<T> {
    /// What the server proves itself by.
    pub credentials: ClientCredentials,
    /// The certificates of the connection.
    pub certificates: Option<Arc<PeerCertificates>>,
    /// Its DPoP proof, where the endpoint takes one.
    pub proof: Option<Arc<PresentedProof>>,
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
    /// Whom the work is for.
    pub subject: PresentedSubject,
    /// `actor_token`, `actor_token_type`
    pub actor: Option<PresentedToken>,
    /// `audience`, `resource`: at least one, unless an ID-JAG names it.
    pub targets: Vec<TargetRef>,
    /// `scope`, split; not empty, unless an ID-JAG names it.
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

/// What says whom the work is for.
#[derive(Debug)]
pub enum PresentedSubject {
    /// `subject_token`, `subject_token_type` of an exchange (RFC 8693).
    Token(PresentedToken),
    /// `assertion` of the grant `jwt-bearer` (RFC 7523 section 2.1).
    IdJag(Secret),
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
    /// Reads the parameters of a token exchange or of an ID-JAG's grant; the fault names the first one that is wrong.
    pub fn read(form: &mut Form) -> Result<Self, FormFault> {
        let subject = match plain(form.require("grant_type", MAX_SHORT)?).as_str() {
            TOKEN_EXCHANGE => {
                let token = token(form, "subject_token", "subject_token_type")?;
                PresentedSubject::Token(token.ok_or(FormFault::of(Reason::ParamMissing, "subject_token"))?)
            }
            JWT_BEARER => PresentedSubject::IdJag(form.require("assertion", MAX_TOKEN)?),
            _ => return Err(FormFault::of(Reason::GrantTypeUnsupported, "grant_type")),
        };
        let names_itself = matches!(subject, PresentedSubject::IdJag(_));
        let actor = token(form, "actor_token", "actor_token_type")?;
        if names_itself && actor.is_some() {
            return Err(FormFault::of(Reason::IdJagActor, "actor_token"));
        }
        let session = match form.take("session", MAX_SHORT)?.map(plain).as_deref() {
            None => SessionChoice::Join,
            Some("new") => SessionChoice::New,
            Some(id) => id.parse().map_or(SessionChoice::Unknown, SessionChoice::Pinned),
        };
        Ok(Self {
            subject,
            actor,
            targets: targets(form, names_itself)?,
            scope: scope(form, names_itself)?,
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

fn targets(form: &mut Form, may_be_none: bool) -> Result<Vec<TargetRef>, FormFault> {
    let audiences = form.take_all("audience");
    let too_many = if audiences.len() > MAX_TARGETS {
        "audience"
    } else {
        "resource"
    };
    let audiences = audiences.into_iter().map(plain).map(TargetRef::Audience);
    let resources = form
        .take_all("resource")
        .into_iter()
        .map(plain)
        .map(TargetRef::Resource);
    let all: Vec<_> = audiences.chain(resources).take(MAX_TARGETS + 1).collect();
    match all.len() {
        0 if !may_be_none => Err(FormFault::of(Reason::ParamMissing, "audience")),
        0..=MAX_TARGETS => Ok(all),
        _ => Err(FormFault::of(Reason::PolicyTarget, too_many)),
    }
}

fn scope(form: &mut Form, may_be_none: bool) -> Result<Vec<String>, FormFault> {
    let scope = form.take("scope", MAX_LONG)?.map(plain).unwrap_or_default();
    let mut names: Vec<_> = scope
        .split(' ')
        .filter(|name| !name.is_empty())
        .map(str::to_owned)
        .collect();
    names.sort_unstable();
    names.dedup();
    if names.is_empty() && !may_be_none {
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
    let value = json::strict(plain(text).as_bytes()).map_err(|_| fault())?;
    Details::read(value).ok_or_else(fault)
}

impl Details {
    /// The one object of the list, if there is any; `None` where it is something else.
    pub(crate) fn read(list: Value) -> Option<Option<Self>> {
        let Value::Array(mut objects) = list else {
            return None;
        };
        match (objects.pop(), objects.is_empty()) {
            (None, _) => Some(None),
            (Some(Value::Object(mut params)), true) => match params.remove("type") {
                Some(Value::String(kind)) => Some(Some(Self { kind, params })),
                _ => None,
            },
            _ => None,
        }
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
mod tests;
