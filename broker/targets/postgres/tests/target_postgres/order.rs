//! Valid targets, plans and callers for tests to tweak.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use procura_core::{
    Timestamp,
    catalogue::{Grant, Risk, Target},
    identity::{
        Actor, ActorAssertion, AuthenticatedServer, Caller, ClientAuthMethod, LogIn, Principal, Subject, VerifiedToken,
    },
    ids::{Handle, IssuanceId, SessionId},
    judgement::Plan,
    kind::{MintError, MintOrder, Minted, Minter},
    params::ParamValue,
    ports::Clock,
};
use procura_target_postgres::KIND;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::ports::{RealClock, RealEntropy};

/// More than a busy machine needs.
pub(crate) const BUDGET: Duration = Duration::from_secs(60);

pub(crate) fn target(port: u16, database: &str, groups: &[&str], connections: i64) -> Target {
    let object = |value: Value| value.as_object().expect("object").clone();
    let grant = Grant {
        risk: Risk::Read,
        ttl: None,
        max_ttl: Duration::from_secs(600),
        outlives_subject: false,
        per_call: false,
        forward_subject: false,
        requires: Default::default(),
        params: BTreeMap::new(),
        limit: None,
        settings: object(json!({ "member_of": groups, "connection_limit": connections })),
    };
    Target {
        kind: &KIND,
        owner: "dba@example.com".to_owned(),
        resource: None,
        source: Some("file:admin.json".to_owned()),
        settings: object(json!({ "host": "127.0.0.1", "port": port, "dbname": database, "sslmode": "disable" })),
        grants: BTreeMap::from([("read".parse().expect("name"), grant)]),
    }
}

fn token(sub: &str) -> VerifiedToken {
    VerifiedToken {
        issuer: "dev".parse().expect("name"),
        iss: "https://id.test".to_owned(),
        sub: sub.to_owned(),
        audience: Vec::new(),
        expires: Timestamp::MAX,
        not_before: None,
        issued_at: None,
        jti: None,
        confirmation: None,
        sid: None,
        client: None,
        scopes: None,
        groups: BTreeSet::new(),
        auth: LogIn::default(),
        act: Vec::new(),
        may_act: None,
        vouched: Default::default(),
    }
}

/// One mint, from plan to handle.
pub(crate) struct Asked {
    pub(crate) target: Target,
    pub(crate) plan: Plan,
    pub(crate) caller: Caller,
    pub(crate) issuance: IssuanceId,
    pub(crate) handle: Handle,
    pub(crate) session: SessionId,
    clock: RealClock,
}

impl Asked {
    /// Ten minutes for the user `dev/<user>` through the agent `dev/bot`.
    pub(crate) fn new(target: &Target, user: &str, installation: &str) -> Self {
        let clock = RealClock::new();
        let issuance = IssuanceId::new(clock.now(), &RealEntropy);
        Self {
            target: target.clone(),
            plan: Plan {
                target: "db".parse().expect("name"),
                grants: vec!["read".parse().expect("name")],
                params: BTreeMap::from([("team".to_owned(), ParamValue::Text("blue".to_owned()))]),
                confirmation: None,
                end: clock.now() + Duration::from_secs(600),
            },
            caller: Caller {
                server: AuthenticatedServer {
                    name: "tickets".parse().expect("name"),
                    method: ClientAuthMethod::ClientSecretBasic,
                    key: "0".repeat(16),
                    once: None,
                },
                subject: Subject {
                    principal: Principal::User(format!("dev/{user}").parse().expect("id")),
                    token: token(user).into(),
                },
                actor: Actor {
                    agent: Some("dev/bot".parse().expect("id")),
                    asserted_by: ActorAssertion::ActorToken,
                    chain: Vec::new(),
                    expires: None,
                },
            },
            issuance,
            handle: Handle::new(installation, issuance),
            session: SessionId(Uuid::from_u128(7)),
            clock,
        }
    }

    /// As the exchange does it: the target's clock first, then the mint.
    pub(crate) async fn mint(&self, minter: &dyn Minter) -> Result<Minted, MintError> {
        let deadline = minter.prepare(BUDGET).await?.expect("an external kind");
        self.mint_until(minter, deadline).await
    }

    /// The mint alone, with this deadline in the target's clock.
    pub(crate) async fn mint_until(&self, minter: &dyn Minter, deadline: Timestamp) -> Result<Minted, MintError> {
        minter
            .mint(MintOrder {
                plan: &self.plan,
                target: &self.target,
                caller: &self.caller,
                issuance: self.issuance,
                handle: &self.handle,
                session: self.session,
                now: self.clock.now(),
                // Each minter's clock begins when it is opened: far enough in all of them.
                deadline: Duration::from_secs(600),
                target_deadline: Some(deadline),
                forward: None,
            })
            .await
    }
}
