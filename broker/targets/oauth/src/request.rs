//! What is asked of the token endpoint (RFC 6749 section 4.4.2, RFC 8693 section 2.1).

use std::{collections::BTreeSet, sync::atomic::AtomicBool};

use procura_core::kind::MintOrder;
use procura_wire::{TOKEN_EXCHANGE, TokenType};
use serde_json::{Map, Value};

use crate::{
    endpoints::Endpoints,
    http::Form,
    settings::{GrantType, Wanted},
};

/// One request for a token.
#[derive(Clone, Copy)]
pub(crate) struct Request<'a> {
    pub(crate) order: MintOrder<'a>,
    pub(crate) wanted: &'a Wanted<'a>,
    pub(crate) endpoints: &'a Endpoints,
    /// Whether the upstream may be making a token, or has made one.
    pub(crate) asked: &'a AtomicBool,
}

/// What is asked for, without what proves the client.
pub(crate) fn form(request: &Request<'_>) -> Result<Form, String> {
    let wanted = request.wanted;
    let mut form = Form::default();
    match wanted.grant_type {
        GrantType::ClientCredentials => form.field("grant_type", "client_credentials"),
        GrantType::TokenExchange => {
            let subject = request.order.forward.ok_or("the subject token was not handed on")?;
            let access_token = TokenType::AccessToken.as_str();
            form.field("grant_type", TOKEN_EXCHANGE);
            form.secret("subject_token", subject);
            form.field("subject_token_type", access_token);
            form.field("requested_token_type", access_token);
        }
    }
    form.field("scope", &wanted.scopes.iter().copied().collect::<Vec<_>>().join(" "));
    for (name, value) in [("resource", wanted.resource), ("audience", wanted.audience)] {
        if let Some(value) = value {
            form.field(name, value);
        }
    }
    Ok(form)
}

/// The parameters; where scopes are one, those that were granted.
pub(crate) fn details(order: &MintOrder<'_>, scopes: &BTreeSet<String>) -> Map<String, Value> {
    let mut details = match serde_json::to_value(&order.plan.params) {
        Ok(Value::Object(params)) => params,
        _ => Map::new(),
    };
    if let Some(granted) = details.get_mut("scopes") {
        *granted = scopes.iter().cloned().collect();
    }
    details
}
