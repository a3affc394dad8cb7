//! The minter: claims of RFC 9068 section 2.2, signed, and read back from what was signed.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use procura_core::{
    Timestamp,
    catalogue::Target,
    identity::{Caller, Confirmation, Link, Principal},
    ids::{Handle, IssuanceId, SessionId},
    kind::{KindPorts, MintError, MintOrder, Minted, Minter, OpenError, OpenResult, UndoError, Undoable},
    params::ParamValue,
    ports::{BoxFuture, Signer},
};
use procura_wire::{Name, Secret};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{KIND, rights, rights_of};

/// `typ` of an access token (RFC 9068 section 2.1).
const TYP: &str = "at+jwt";

struct JwtMinter {
    signer: Arc<dyn Signer>,
    issuer: String,
    plain_subject: bool,
}

pub(crate) fn open(name: &Name, target: &Target, ports: KindPorts) -> OpenResult {
    let plain_subject = target.settings.get("plain_subject") == Some(&Value::Bool(true));
    if plain_subject && ports.issuers.len() > 1 {
        return Err(OpenError {
            target: name.clone(),
            problem: "plain_subject needs a bundle that trusts one issuer: two issuers' users would share one sub; \
                      remove plain_subject"
                .to_owned(),
        });
    }
    Ok(Arc::new(JwtMinter {
        signer: ports.signer,
        issuer: ports.issuer,
        plain_subject,
    }))
}

#[derive(Serialize)]
struct Claims<'a> {
    iss: &'a str,
    sub: String,
    aud: &'a str,
    client_id: &'a str,
    iat: i64,
    exp: i64,
    jti: IssuanceId,
    scope: String,
    sid: SessionId,
    #[serde(skip_serializing_if = "Option::is_none")]
    act: Option<Act<'a>>,
    /// RFC 7800 section 3.1.
    #[serde(skip_serializing_if = "Option::is_none")]
    cnf: Option<&'a Confirmation>,
    #[serde(skip_serializing_if = "Option::is_none")]
    authorization_details: Option<[Details<'a>; 1]>,
}

/// `act` (RFC 8693 section 4.1): the actor, with the earlier ones inside.
#[derive(Serialize)]
struct Act<'a> {
    #[serde(flatten)]
    link: &'a Link,
    #[serde(skip_serializing_if = "Option::is_none")]
    act: Option<Box<Act<'a>>>,
}

/// RFC 9396 section 2.
#[derive(Serialize)]
struct Details<'a> {
    r#type: &'a str,
    #[serde(flatten)]
    params: BTreeMap<&'a str, &'a ParamValue>,
}

/// What is read back; none of it may stand there twice.
#[derive(Deserialize)]
struct Signed {
    aud: String,
    exp: i64,
    scope: String,
    cnf: Option<Confirmation>,
}

impl JwtMinter {
    fn sign(&self, order: &MintOrder<'_>) -> Result<Minted, MintError> {
        let claims = self.claims(order)?;
        let claims = serde_json::to_vec(&claims).map_err(|_| failed("the claims cannot be written"))?;
        let value = self
            .signer
            .sign(TYP, &claims)
            .map_err(|error| MintError::Failed(error.to_string()))?;
        let signed = read_back(&value).ok_or_else(|| failed("the signed token cannot be read back"))?;
        if signed.cnf != order.plan.confirmation {
            return Err(failed("the signed token is not bound to the key of its plan"));
        }
        let end = Timestamp::from_second(signed.exp).map_err(|_| failed("exp is out of range"))?;
        let scope = signed.scope.split(' ').map(str::to_owned).collect();
        Ok(Minted {
            value,
            rights: rights_of(&signed.aud, scope),
            end,
            lapses: Some(end),
            receipt: None,
            known_as: None,
            source_version: None,
            details: details(order)?,
        })
    }

    fn claims<'a>(&'a self, order: &MintOrder<'a>) -> Result<Claims<'a>, MintError> {
        let MintOrder {
            plan, target, caller, ..
        } = *order;
        let allowed = rights(target, plan);
        let scope: Vec<&str> = allowed
            .sets
            .get("scope")
            .into_iter()
            .flatten()
            .map(String::as_str)
            .collect();
        let (iat, exp) = (order.now.as_second(), plan.end.as_second());
        if exp <= iat || scope.is_empty() {
            return Err(failed("nothing is left to issue: no scope, or the end has come"));
        }
        let params: BTreeMap<_, _> = plan.params.iter().map(|(name, value)| (name.as_str(), value)).collect();
        if params.contains_key("type") {
            return Err(failed("a parameter cannot be named type"));
        }
        Ok(Claims {
            iss: &self.issuer,
            sub: self.sub(caller),
            aud: crate::audience(target),
            client_id: caller.server.name.as_str(),
            iat,
            exp,
            jti: order.issuance,
            scope: scope.join(" "),
            sid: order.session,
            act: act(caller)?,
            cnf: plan.confirmation.as_ref(),
            authorization_details: (!params.is_empty()).then_some([Details {
                r#type: KIND.name,
                params,
            }]),
        })
    }

    fn sub(&self, caller: &Caller) -> String {
        let id = caller.subject.principal.id();
        if self.plain_subject {
            id.local.clone()
        } else {
            id.to_string()
        }
    }
}

/// A token for a user says who acts, always.
fn act(caller: &Caller) -> Result<Option<Act<'_>>, MintError> {
    let chain = caller.actor.chain.iter().rev();
    let act = chain.fold(None, |act, link| {
        Some(Act {
            link,
            act: act.map(Box::new),
        })
    });
    match (&caller.subject.principal, &act) {
        (Principal::User(_), None) => Err(failed("a token for a user needs an actor")),
        _ => Ok(act),
    }
}

fn details(order: &MintOrder<'_>) -> Result<Map<String, Value>, MintError> {
    match serde_json::to_value(&order.plan.params) {
        Ok(Value::Object(params)) => Ok(params),
        _ => Err(failed("the parameters cannot be written")),
    }
}

fn read_back(token: &Secret) -> Option<Signed> {
    #[expect(clippy::disallowed_methods, reason = "what was signed is compared with the plan")]
    let text = token.expose();
    let payload = BASE64_URL_SAFE_NO_PAD.decode(text.split('.').nth(1)?).ok()?;
    serde_json::from_slice(&payload).ok()
}

fn failed(problem: &str) -> MintError {
    MintError::Failed(problem.to_owned())
}

impl Minter for JwtMinter {
    fn prepare(&self, _: Duration) -> BoxFuture<'_, Result<Option<Timestamp>, MintError>> {
        Box::pin(async { Ok(None) })
    }

    fn mint<'a>(&'a self, order: MintOrder<'a>) -> BoxFuture<'a, Result<Minted, MintError>> {
        Box::pin(async move { self.sign(&order) })
    }

    /// There is nothing at a target: who checks offline believes the token until its `exp`.
    fn undo<'a>(&'a self, _: Undoable<'a>) -> BoxFuture<'a, Result<(), UndoError>> {
        Box::pin(async { Ok(()) })
    }

    fn probe(&self) -> BoxFuture<'_, Result<(), UndoError>> {
        Box::pin(async { Ok(()) })
    }

    fn inventory(&self) -> BoxFuture<'_, Result<Vec<Handle>, UndoError>> {
        Box::pin(async { Ok(Vec::new()) })
    }
}
