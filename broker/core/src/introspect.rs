//! Introspection (RFC 7662) for the issuing server and for servers that the bundle names.

use procura_wire::{FormFault, IntrospectionResponse, Name, Secret};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::{
    catalogue::Server,
    exchange::{Admitted, Refused, admit_at_once, limit, store_reason},
    identity::Confirmation,
    issued_value,
    ledger::{Event, Outcome, Stored},
    ports::Ports,
    possession::scheme,
    request::Incoming,
};

/// Says whether a credential is live. Unknown, expired, revoked and foreign ones look the same.
pub async fn introspect(
    ports: &Ports,
    incoming: Incoming<Result<Secret, FormFault>>,
) -> Result<IntrospectionResponse, Refused> {
    let (admitted, token) = admit_at_once(ports, incoming, Event::Exchange).await?;
    limit::server(ports, &admitted)?;
    let token = token.map_err(|fault| Refused {
        param: fault.param,
        ..Refused::unrecorded(fault.reason)
    })?;
    let stored = issued_value::record(&*ports.ledger, &token).await;
    let stored = stored.map_err(|error| Refused::unrecorded(store_reason(error)))?;
    let live = stored.filter(|stored| is_live(&admitted, stored) && may_see(&admitted, stored));
    Ok(match live {
        Some(stored) => IntrospectionResponse {
            active: true,
            claims: claims(ports, &admitted, &stored),
        },
        None => IntrospectionResponse::default(),
    })
}

fn is_live(admitted: &Admitted, stored: &Stored) -> bool {
    let index = &stored.index;
    index.outcome == Outcome::Issued
        && stored.revoked.is_none()
        && index.until.is_some_and(|until| admitted.now < until)
        && is_given(admitted, stored)
}

/// Whether the bundle still has what was granted; what it does not give any more is not waited out.
fn is_given(admitted: &Admitted, stored: &Stored) -> bool {
    let (index, catalogue) = (&stored.index, admitted.snapshot.judge.catalogue());
    let target = index.target.as_ref().and_then(|target| catalogue.targets.get(target));
    let server = index
        .server
        .as_ref()
        .is_some_and(|server| catalogue.servers.contains_key(server));
    server && target.is_some_and(|target| index.grants.iter().all(|grant| target.grants.contains_key(grant)))
}

fn may_see(admitted: &Admitted, stored: &Stored) -> bool {
    let index = &stored.index;
    let named = |server: &Server| {
        index
            .target
            .as_ref()
            .is_some_and(|target: &Name| server.introspects.contains(target))
    };
    index.server.as_ref() == Some(&admitted.server.name) || admitted.entry().is_ok_and(named)
}

/// The claims that the token was issued with, from its record.
fn claims(ports: &Ports, admitted: &Admitted, stored: &Stored) -> Map<String, Value> {
    let read = |text: &str| serde_json::from_str::<Value>(text).unwrap_or_default();
    let leaf = read(stored.leaf.get());
    let side = stored
        .side
        .as_ref()
        .map(|(_, clear)| read(clear.get()))
        .unwrap_or_default();
    let scope = leaf["rights"]["scope"]
        .as_array()
        .or(leaf["granted"]["scope"].as_array());
    let scope: Vec<_> = scope.into_iter().flatten().filter_map(Value::as_str).collect();
    let audience = match leaf["rights"]["audience"].as_array().map(Vec::as_slice) {
        Some([only]) => only.clone(),
        _ => json!(stored.index.target),
    };
    let target = stored.index.target.as_ref();
    let target = target.and_then(|target| admitted.snapshot.judge.catalogue().targets.get(target));
    let kind = target.map(|target| target.kind);
    let cnf = kind
        .filter(|kind| kind.binds)
        .and_then(|_| Confirmation::deserialize(&leaf["cnf"]).ok());
    let members = [
        ("token_type", json!(kind.map(|kind| scheme(kind.issues, cnf.as_ref())))),
        ("cnf", json!(cnf)),
        ("iss", json!(ports.issuer)),
        ("sub", side["subject"]["id"].clone()),
        ("client_id", json!(stored.index.server)),
        ("aud", audience),
        ("scope", json!(scope.join(" "))),
        ("exp", json!(stored.index.until.map(|until| until.as_second()))),
        ("iat", json!(stored.index.at.as_second())),
        ("jti", json!(stored.id)),
        ("sid", json!(stored.index.session)),
        ("act", act(&side["chain"])),
    ];
    members
        .into_iter()
        .filter(|(_, value)| !value.is_null())
        .map(|(name, value)| (name.to_owned(), value))
        .collect()
}

/// The chain as nested objects, outermost first (RFC 8693 section 4.1).
fn act(chain: &Value) -> Value {
    let links = chain.as_array().into_iter().flatten().rev();
    links.fold(Value::Null, |inner, link| {
        let mut link = link.clone();
        if let (Value::Object(members), false) = (&mut link, inner.is_null()) {
            members.insert("act".to_owned(), inner);
        }
        link
    })
}
