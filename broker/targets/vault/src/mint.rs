//! Making a token, and using it once where a grant has a path.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use procura_core::{
    Timestamp,
    kind::{MintError, MintOrder, Minted, Rights},
    source::RotationError,
};
use procura_wire::Secret;
use serde_json::{Map, Value, json};

use crate::{
    access::{Login, before},
    fault::Fault,
    grant::{self, Request},
    minter::VaultMinter,
    secret::{Given, Hold, lease_duration},
    undo::Receipt,
};

/// A token that was made.
struct Child {
    token: Secret,
    accessor: String,
    policies: BTreeSet<String>,
    /// The server ends it by then.
    end: Timestamp,
}

impl VaultMinter {
    pub(crate) async fn make(&self, order: MintOrder<'_>) -> Result<Minted, MintError> {
        let grant = order.plan.grants.first().and_then(|name| order.target.grants.get(name));
        let grant = grant.ok_or_else(|| MintError::Failed("the plan names no grant of the target".to_owned()))?;
        let request = grant::request(grant, &order.plan.params).map_err(MintError::Failed)?;
        let seconds = self.seconds_left(order)?;
        let body = token_request(order, grant::policies(grant), seconds);
        let path = format!("auth/token/create/{}", self.settings.token_role);
        let created = self
            .access
            .with(order.deadline, |login| create(login, &path, &body))
            .await;
        let (answer, version) = created.map_err(not_created)?;
        // From here on something is there, so that whatever goes wrong leads to an undo.
        let made = before(&*self.access.clock, order.deadline, self.finish(order, answer, request)).await;
        let mut minted = made
            .unwrap_or(Err(Fault::Late))
            .map_err(|fault| MintError::Uncertain(fault.to_string()))?;
        minted.source_version = Some(version);
        Ok(minted)
    }

    fn seconds_left(&self, order: MintOrder<'_>) -> Result<u64, MintError> {
        let left = order.plan.end.duration_since(self.access.clock.now()).as_secs();
        let left = u64::try_from(left).unwrap_or_default();
        match left {
            0 => Err(MintError::Failed(
                "the plan's end is less than a second away".to_owned(),
            )),
            left => Ok(left),
        }
    }

    async fn finish(&self, order: MintOrder<'_>, auth: Value, request: Option<Request>) -> Result<Minted, Fault> {
        let child = self.child(auth)?;
        let Some(request) = request else {
            return Ok(self.token(order, child));
        };
        let given = self.ask_once(order, &child, &request).await?;
        Ok(secret(order, &child, given, &request.path))
    }

    fn child(&self, mut auth: Value) -> Result<Child, Fault> {
        let odd = |problem: &str| Fault::Failed(format!("the token that was made {problem}"));
        let life = lease_duration(&auth);
        if auth["renewable"] != false || auth["orphan"] != true || auth["token_type"] != "service" || life.is_zero() {
            return Err(odd(
                "is renewable, has no end, or is no orphan of type service; check the token role",
            ));
        }
        let Value::String(token) = auth["client_token"].take() else {
            return Err(odd("is not in the answer"));
        };
        let accessor = auth["accessor"].as_str().filter(|accessor| !accessor.is_empty());
        let listed = auth["policies"].as_array().into_iter().flatten();
        let listed = listed.chain(auth["token_policies"].as_array().into_iter().flatten());
        Ok(Child {
            accessor: accessor.ok_or_else(|| odd("has no accessor"))?.to_owned(),
            policies: listed.filter_map(Value::as_str).map(str::to_owned).collect(),
            token: Secret::new(token),
            end: self.access.clock.now() + life,
        })
    }

    /// The token itself, issued.
    fn token(&self, order: MintOrder<'_>, child: Child) -> Minted {
        let end = order.plan.end.min(child.end);
        #[expect(clippy::disallowed_methods, reason = "it is what is issued")]
        let document = json!({
            "version": 1,
            "kind": "token",
            "address": self.settings.address.as_str().trim_end_matches('/'),
            "namespace": self.settings.namespace,
            "token": child.token.expose(),
            "accessor": child.accessor,
            "expiration": end.to_string(),
        });
        Minted {
            value: Secret::new(document.to_string()),
            rights: rights([("policies", child.policies)]),
            end,
            lapses: Some(child.end),
            receipt: Some(Receipt::token(&child.accessor)),
            known_as: Some(child.accessor),
            source_version: None,
            details: Map::new(),
        }
    }

    /// Reads or writes the path with the token, and makes what comes of it live until the plan's end as far as it can.
    async fn ask_once(&self, order: MintOrder<'_>, child: &Child, request: &Request) -> Result<Given, Fault> {
        let path = &request.path;
        let mut body = request.body.clone();
        if let Some(body) = body.as_mut().filter(|_| request.certifies) {
            let left = order.plan.end.duration_since(self.access.clock.now()).as_secs();
            body.insert("ttl".to_owned(), format!("{}s", left.max(1)).into());
        }
        let now = self.access.clock.now();
        let answer = self.access.server.ask(&child.token, path, body.as_ref()).await?;
        if answer.status != 200 {
            return Err(Fault::Failed(answer.words(path)));
        }
        let mut given = Given::read(answer.body, now)?;
        match &given.hold {
            Hold::Lease { id, renewable: true } if given.until + Duration::from_secs(1) < order.plan.end => {
                given.until = self.renew(order, id).await?;
            }
            Hold::Nothing if given.outlives(order.plan.end) => {
                let problem =
                    format!("what {path} gave would outlive the plan and cannot be taken back; give it a ttl");
                return Err(Fault::Failed(problem));
            }
            Hold::Lease { .. } | Hold::Nothing => {}
        }
        Ok(given)
    }

    /// Once, with the broker's own token: the token that was made has no right to.
    async fn renew(&self, order: MintOrder<'_>, id: &str) -> Result<Timestamp, Fault> {
        let now = self.access.clock.now();
        let left = order.plan.end.duration_since(now).as_secs().max(1);
        let body = Map::from_iter([
            ("lease_id".to_owned(), id.into()),
            ("increment".to_owned(), format!("{left}s").into()),
        ]);
        let renewed = self
            .access
            .with(order.deadline, |login| post(login, "sys/leases/renew", &body));
        match renewed.await {
            Ok((answer, _)) => Ok(now + lease_duration(&answer)),
            Err(error) => Err(Fault::Unknown(words(error))),
        }
    }
}

/// What an engine gave, issued.
fn secret(order: MintOrder<'_>, child: &Child, given: Given, path: &str) -> Minted {
    let lease_id = match &given.hold {
        Hold::Lease { id, .. } => Some(id.as_str()),
        Hold::Nothing => None,
    };
    let (end, lapses, receipt) = match lease_id {
        // Whether a lease is gone is asked: its engine may have failed to take it back.
        Some(id) => (
            order.plan.end.min(given.until).min(child.end),
            None,
            Receipt::lease(&child.accessor, id),
        ),
        None => (
            order.plan.end.min(given.until),
            Some(given.until),
            Receipt::lasting(&child.accessor),
        ),
    };
    let document = json!({
        "version": 1,
        "kind": "secret",
        "path": path,
        "lease_id": lease_id,
        "data": given.data,
        "expiration": end.to_string(),
    });
    let known_as = given.id().unwrap_or(&child.accessor).to_owned();
    let mut rights = rights([
        ("policies", child.policies.clone()),
        ("path", BTreeSet::from([path.to_owned()])),
    ]);
    if let Some(certificate) = given.certificate {
        rights.sets.insert("principals", certificate.principals);
        rights.sets.insert("extensions", certificate.extensions);
    }
    Minted {
        value: Secret::new(document.to_string()),
        rights,
        end,
        lapses,
        receipt: Some(receipt),
        known_as: Some(known_as),
        source_version: None,
        details: details(order),
    }
}

fn token_request(order: MintOrder<'_>, policies: BTreeSet<String>, seconds: u64) -> Map<String, Value> {
    let life = format!("{seconds}s");
    let handle = order.handle.as_str();
    let body = json!({
        "policies": policies,
        "no_default_policy": true,
        "renewable": false,
        "ttl": life,
        "explicit_max_ttl": life,
        "num_uses": 0,
        "type": "service",
        "display_name": handle,
        "meta": { "procura": handle },
    });
    body.as_object().cloned().unwrap_or_default()
}

async fn create(login: Login, path: &str, body: &Map<String, Value>) -> Result<(Value, String), Fault> {
    let (mut answer, version) = post(login, path, body).await?;
    Ok((answer["auth"].take(), version))
}

async fn post(login: Login, path: &str, body: &Map<String, Value>) -> Result<(Value, String), Fault> {
    let answer = login.ask(path, Some(body)).await?.wanted(path)?;
    Ok((answer, login.version))
}

fn rights<const N: usize>(sets: [(&'static str, BTreeSet<String>); N]) -> Rights {
    Rights {
        sets: BTreeMap::from(sets),
        numbers: BTreeMap::new(),
    }
}

/// The parameters, which are what was written beside the grant's own data.
fn details(order: MintOrder<'_>) -> Map<String, Value> {
    match serde_json::to_value(&order.plan.params) {
        Ok(Value::Object(params)) => params,
        _ => Map::new(),
    }
}

fn not_created(error: RotationError<Fault>) -> MintError {
    match error {
        RotationError::Source(error) => MintError::Source(error.to_string()),
        RotationError::Refused(problem) => MintError::Refused(problem),
        RotationError::Failed(Fault::Unknown(problem)) => MintError::Uncertain(problem),
        RotationError::Failed(fault @ Fault::Late) => MintError::Uncertain(fault.to_string()),
        RotationError::Failed(fault) => MintError::Failed(fault.to_string()),
    }
}

pub(crate) fn words(error: RotationError<Fault>) -> String {
    match error {
        RotationError::Source(error) => error.to_string(),
        RotationError::Refused(problem) => format!("the target refuses the broker's token: {problem}"),
        RotationError::Failed(fault) => fault.to_string(),
    }
}
