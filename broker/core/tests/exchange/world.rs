//! A valid world to tweak: one server, one subject, a local and an external target.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use procura_contract::{ledger::MemoryLedger, manual_clock::ManualClock};
use procura_core::{
    catalogue::{Agent, Algorithm, Catalogue, Grant, Issuer, Risk, Server, ServerAuth, Target, TokenTyp},
    exchange::{Issued, Refused, Reuse, exchange},
    identity::{ClientCredentials, LogIn, PeerCertificates, PresentedProof, VerifiedToken},
    ids::ReplicaId,
    judgement::Effect,
    kind::{Kind, Minter, Place},
    ledger::Ledger,
    limits::Limiter,
    params::{ParamSpec, ParamType},
    ports::{Active, Clock, Ports, Snapshot},
    request::{Incoming, TokenRequest},
};
use procura_wire::{Form, Name, QualifiedId, Secret, TokenType};
use serde_json::{Map, Value};

use crate::{
    fakes::{Counter, EXTERNAL, FakeTarget, LOCAL, Reversed, Rules},
    tokens::Tokens,
};

pub(crate) fn name(text: &str) -> Name {
    text.parse().expect("name")
}

pub(crate) struct World {
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) tokens: Arc<Tokens>,
    pub(crate) ledger: Arc<MemoryLedger>,
    pub(crate) local: Arc<FakeTarget>,
    pub(crate) external: Arc<FakeTarget>,
    pub(crate) ports: Arc<Ports>,
}

pub(crate) const RESOURCE: &str = "https://tickets.example/mcp";
pub(crate) const BROKER: &str = "https://procura.example";
const IDP: &str = "https://id.example";

fn grant(params: &[(&str, ParamSpec)]) -> Grant {
    Grant {
        risk: Risk::Read,
        ttl: None,
        max_ttl: Duration::from_secs(600),
        outlives_subject: false,
        per_call: false,
        forward_subject: false,
        requires: Default::default(),
        params: params
            .iter()
            .map(|(name, spec)| ((*name).to_owned(), spec.clone()))
            .collect(),
        limit: None,
        settings: Map::new(),
    }
}

fn target(kind: &'static Kind, grants: &[(&str, Grant)]) -> Target {
    Target {
        kind,
        owner: "platform@example.com".into(),
        resource: (kind.place == Place::Local).then(|| "https://api.example/v1".into()),
        source: None,
        settings: Map::new(),
        grants: grants
            .iter()
            .map(|(grant, entry)| (name(grant), entry.clone()))
            .collect(),
    }
}

pub(crate) fn catalogue() -> Catalogue {
    let issuer = Issuer {
        issuer: IDP.into(),
        algorithms: BTreeSet::from([Algorithm::Es256]),
        token_types: BTreeSet::from([TokenTyp::AtJwt]),
        extra_audiences: BTreeSet::from(["account".into()]),
        groups: None,
        actor_from_azp: false,
        clients: None,
        trusted_presenters: BTreeSet::new(),
        max_token_lifetime: Duration::from_secs(24 * 3600),
        operators: false,
        id_jag: None,
        workloads_only: false,
        trust: Default::default(),
    };
    let agent = |sub: &str| Agent {
        issuer: name("corp"),
        sub: sub.into(),
        client_id: None,
        owner: "o".into(),
        suspended: false,
    };
    let id = |text: &str| text.parse::<QualifiedId>().expect("id");
    let server = |resource: &str| Server {
        owner: "support@example.com".into(),
        version: None,
        deployment: None,
        resource: resource.into(),
        dpop_bound: false,
        certificate_bound: false,
        auth: ServerAuth::BuiltinDev,
        grants: BTreeSet::from([id("api/read"), id("api/write"), id("api/team"), id("db/rows")]),
        tools: BTreeMap::from([("list".to_owned(), BTreeSet::from([id("api/read")]))]),
        session_ttl: Duration::from_secs(8 * 3600),
        introspects: BTreeSet::new(),
        suspended: false,
        subjects: Default::default(),
        limits: BTreeMap::new(),
        definitions: BTreeMap::new(),
    };
    let team = ParamSpec {
        ty: ParamType::Set(None),
        required: true,
    };
    let api = target(
        &LOCAL,
        &[
            ("read", grant(&[])),
            ("write", grant(&[])),
            ("unlisted", grant(&[])),
            ("team", grant(&[("team", team)])),
        ],
    );
    let db = target(&EXTERNAL, &[("rows", grant(&[]))]);
    Catalogue {
        issuers: BTreeMap::from([(name("corp"), issuer)]),
        agents: BTreeMap::from([
            (name("triage-bot"), agent("triage")),
            (name("other-bot"), agent("other")),
        ]),
        servers: BTreeMap::from([
            (name("tickets"), server(RESOURCE)),
            (name("wiki"), server("https://wiki.example/mcp")),
        ]),
        targets: BTreeMap::from([(name("api"), api), (name("db"), db)]),
        abandoned: BTreeSet::new(),
        limits: BTreeMap::new(),
    }
}

/// What a request brings beside its form.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Line {
    pub(crate) proof: Option<&'static str>,
    pub(crate) certificate: Option<&'static str>,
}

/// A proof as a request brings it.
pub(crate) fn presented(value: &str) -> PresentedProof {
    PresentedProof {
        value: Some(Secret::new(value.into())),
        method: "POST".into(),
        uri: format!("{BROKER}/token"),
    }
}

/// Alice's token for the tickets server, issued a minute ago, good for an hour.
pub(crate) fn token(clock: &ManualClock) -> VerifiedToken {
    let now = clock.now();
    VerifiedToken {
        issuer: name("corp"),
        iss: IDP.into(),
        sub: "alice".into(),
        audience: vec![RESOURCE.into()],
        expires: now + Duration::from_secs(3600),
        not_before: None,
        issued_at: Some(now - Duration::from_secs(60)),
        jti: None,
        confirmation: None,
        sid: None,
        client: Some("agent".into()),
        scopes: None,
        groups: BTreeSet::new(),
        auth: LogIn::default(),
        act: Vec::new(),
        may_act: None,
        vouched: Default::default(),
    }
}

impl World {
    pub(crate) fn new() -> Self {
        let clock = Arc::new(ManualClock::default());
        let ledger = Arc::new(MemoryLedger::new());
        let tokens = Arc::new(Tokens::default());
        let (local, external) = (FakeTarget::new(), FakeTarget::new());
        let minters: BTreeMap<Name, Arc<dyn Minter>> =
            BTreeMap::from([(name("api"), local.clone() as _), (name("db"), external.clone() as _)]);
        let rules = Rules {
            catalogue: catalogue(),
            effect: Effect::Permit,
            act_for: Effect::Deny,
        };
        let entropy = Arc::new(Counter::default());
        let ports = Ports {
            clock: clock.clone(),
            replica: ReplicaId::new(clock.now(), &*entropy),
            entropy,
            tokens: tokens.clone(),
            installation: ledger.installation().to_owned(),
            ledger: ledger.clone(),
            active: Active::new(Snapshot {
                judge: Arc::new(rules),
                minters,
                staged: BTreeMap::new(),
            }),
            issuer: BROKER.into(),
            sealer: Arc::new(Reversed),
            reuse: Reuse::default(),
            limiter: Limiter::default(),
            mint_budget: Duration::from_secs(10),
        };
        let world = Self {
            clock,
            tokens,
            ledger,
            local,
            external,
            ports: Arc::new(ports),
        };
        world.knows("alice", token(&world.clock));
        world
    }

    pub(crate) fn knows(&self, text: &str, token: VerifiedToken) {
        self.tokens.0.lock().expect("lock").insert(text.into(), Ok(token));
    }

    /// Puts a changed bundle in force.
    pub(crate) fn rules(&self, change: impl FnOnce(&mut Rules)) {
        let mut rules = Rules {
            catalogue: catalogue(),
            effect: Effect::Permit,
            act_for: Effect::Deny,
        };
        change(&mut rules);
        let minters = self.ports.active.snapshot().minters.clone();
        self.ports.active.swap(Snapshot {
            judge: Arc::new(rules),
            minters,
            staged: BTreeMap::new(),
        });
    }

    /// An exchange of alice's token for `api/read` through the tickets server; `tweak` overrides
    /// parameters by name, an empty value takes one away.
    pub(crate) async fn exchange(&self, tweak: &[(&str, &str)]) -> Result<Issued, Refused> {
        self.exchange_as("tickets", tweak).await
    }

    pub(crate) async fn exchange_as(&self, server: &str, tweak: &[(&str, &str)]) -> Result<Issued, Refused> {
        let credentials = ClientCredentials::Basic {
            id: server.into(),
            secret: Secret::new(String::new()),
        };
        self.exchange_by(credentials, tweak).await
    }

    pub(crate) async fn exchange_by(
        &self,
        credentials: ClientCredentials,
        tweak: &[(&str, &str)],
    ) -> Result<Issued, Refused> {
        self.exchange_over(&Line::default(), credentials, tweak).await
    }

    /// The same over a connection and with a proof.
    pub(crate) async fn exchange_over(
        &self,
        line: &Line,
        credentials: ClientCredentials,
        tweak: &[(&str, &str)],
    ) -> Result<Issued, Refused> {
        let access_token = TokenType::AccessToken.as_str();
        let mut params = BTreeMap::from([
            ("grant_type", procura_wire::TOKEN_EXCHANGE),
            ("subject_token", "alice"),
            ("subject_token_type", access_token),
            ("audience", "api"),
            ("scope", "read"),
        ]);
        params.extend(tweak.iter().copied());
        if params.contains_key("actor_token") {
            params.entry("actor_token_type").or_insert(access_token);
        }
        let body: Vec<_> = params
            .iter()
            .map(|(name, value)| format!("{name}={}", escape(value)))
            .collect();
        let mut form = Form::decode(body.join("&").as_bytes()).expect("form");
        let incoming = Incoming {
            credentials,
            body: TokenRequest::read(&mut form),
            trace_id: "0af7651916cd43dd8448eb211c80319c".into(),
            address: None,
            certificates: line.certificate.map(|der| Arc::new(PeerCertificates(vec![der.into()]))),
            proof: line.proof.map(|value| Arc::new(presented(value))),
        };
        exchange(&self.ports, incoming).await
    }

    /// The reason of a refusal, which must be in the log under that reason.
    pub(crate) async fn refusal(&self, tweak: &[(&str, &str)]) -> &'static str {
        let refused = self.exchange(tweak).await.expect_err("must be refused");
        self.check_logged(&refused).await;
        refused.reason.code()
    }

    pub(crate) async fn check_logged(&self, refused: &Refused) {
        let id = refused.issuance.expect("a refusal after authentication is recorded");
        let leaf = self.leaf(id).await;
        assert_eq!(
            (&leaf["outcome"], &leaf["reason"]),
            (&"refused".into(), &refused.reason.code().into())
        );
    }

    pub(crate) async fn leaf(&self, id: procura_core::ids::IssuanceId) -> Value {
        let stored = self.ledger.record(id).await.expect("store").expect("recorded");
        serde_json::from_str(stored.leaf.get()).expect("JSON")
    }
}

fn escape(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}
