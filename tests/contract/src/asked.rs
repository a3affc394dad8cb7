//! A mint as the exchange orders one, and a target to order it from: valid, for tests to tweak.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
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
    kind::{Kind, KindPorts, MintError, MintOrder, Minted, Minter, OpenResult, Undoable},
    params::{ParamSpec, ParamType, ParamValue},
    ports::{BoxFuture, Clock, SignError, Signer},
    source::{Source, SourceError, SourceSecret},
};
use procura_wire::{Name, Secret};
use serde_json::{Map, Value};
use uuid::Uuid;

use crate::entropy::CountingEntropy;

/// Installation of every handle.
pub const INSTALLATION: &str = "abcd1234";

/// A name that is one.
fn name<T: std::str::FromStr>(text: &str) -> T
where
    T::Err: std::fmt::Debug,
{
    #[expect(clippy::expect_used, reason = "a test that cannot be set up fails")]
    text.parse().expect("a name")
}

fn object(value: &Value) -> Map<String, Value> {
    value.as_object().cloned().unwrap_or_default()
}

/// A target with a source and one grant, `read`.
pub fn target(kind: &'static Kind, settings: &Value, grant: &Value) -> Target {
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
        settings: object(grant),
    };
    Target {
        kind,
        owner: "platform@example.com".to_owned(),
        resource: None,
        source: Some("file:target".to_owned()),
        settings: object(settings),
        grants: BTreeMap::from([(name("read"), grant)]),
    }
}

/// Declares a parameter that is a set.
pub fn with_set(mut target: Target, param: &str, required: bool) -> Target {
    let ty = ParamType::Set(None);
    for grant in target.grants.values_mut() {
        grant.params.insert(
            param.to_owned(),
            ParamSpec {
                ty: ty.clone(),
                required,
            },
        );
    }
    target
}

/// Makes the target's minter.
pub fn open(target: &Target, source: Arc<dyn Source>, clock: Arc<dyn Clock>) -> OpenResult {
    let ports = KindPorts {
        clock,
        entropy: Arc::new(CountingEntropy::default()),
        signer: Arc::new(NoSigner),
        source: Some(source),
        installation: INSTALLATION.to_owned(),
        issuer: "https://broker.test".to_owned(),
        issuers: BTreeSet::new(),
    };
    (target.kind.open)(&name("target"), target, ports)
}

struct NoSigner;

impl Signer for NoSigner {
    fn sign(&self, _: &str, _: &[u8]) -> Result<Secret, SignError> {
        Err(SignError)
    }

    fn tags(&self, _: &[u8]) -> Vec<procura_wire::Digest> {
        Vec::new()
    }
}

/// A source; a new version is served by `current` only after a `refetch` has seen it.
pub struct GivenSource(Mutex<(Arc<SourceSecret>, Arc<SourceSecret>)>);

impl GivenSource {
    /// Holds this as version `1`.
    pub fn new(secret: &str) -> Arc<Self> {
        let first = version(secret, "1");
        Arc::new(Self(Mutex::new((Arc::clone(&first), first))))
    }

    /// Holds another from now on.
    pub fn rotate(&self, secret: &str, number: &str) {
        self.held().1 = version(secret, number);
    }

    fn held(&self) -> MutexGuard<'_, (Arc<SourceSecret>, Arc<SourceSecret>)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn version(secret: &str, number: &str) -> Arc<SourceSecret> {
    Arc::new(SourceSecret {
        value: Secret::new(secret.to_owned()),
        version: number.to_owned(),
    })
}

impl Source for GivenSource {
    fn current(&self) -> BoxFuture<'_, Result<Arc<SourceSecret>, SourceError>> {
        let cached = Arc::clone(&self.held().0);
        Box::pin(async { Ok(cached) })
    }

    fn refetch(&self) -> BoxFuture<'_, Result<Arc<SourceSecret>, SourceError>> {
        let mut held = self.held();
        held.0 = Arc::clone(&held.1);
        drop(held);
        self.current()
    }

    /// The next number is the new version.
    #[expect(clippy::disallowed_methods, reason = "kept as the source keeps it")]
    fn write<'a>(&'a self, value: &'a Secret, expected: &'a str) -> BoxFuture<'a, Result<String, SourceError>> {
        let mut held = self.held();
        let written = match held.1.version.parse::<u32>() {
            Ok(number) if held.1.version == expected => {
                held.1 = version(value.expose(), &(number + 1).to_string());
                Ok(held.1.version.clone())
            }
            _ => Err(SourceError {
                reference: "given:secret".to_owned(),
                problem: format!("it has version {}, not {expected}", held.1.version),
            }),
        };
        Box::pin(async { written })
    }
}

/// One mint: five minutes of the grant `read` for the user `corp/alice` through the agent `corp/bot`.
pub struct Asked {
    /// The target.
    pub target: Target,
    /// The plan.
    pub plan: Plan,
    /// Who takes part.
    pub caller: Caller,
    /// The subject token, where it is handed on.
    pub forward: Option<Secret>,
    /// Time for it.
    pub budget: Duration,
    handle: Handle,
    issuance: IssuanceId,
}

impl Asked {
    /// `now` is the clock's.
    pub fn new(target: &Target, now: Timestamp) -> Self {
        let issuance = IssuanceId(Uuid::from_u128(1));
        Self {
            target: target.clone(),
            plan: Plan {
                target: name("target"),
                grants: vec![name("read")],
                params: BTreeMap::new(),
                confirmation: None,
                end: now + Duration::from_secs(300),
            },
            caller: caller(),
            forward: None,
            budget: Duration::from_secs(5),
            handle: Handle::new(INSTALLATION, issuance),
            issuance,
        }
    }

    /// As an issuance of its own.
    pub fn numbered(mut self, number: u128) -> Self {
        self.issuance = IssuanceId(Uuid::from_u128(number));
        self.handle = Handle::new(INSTALLATION, self.issuance);
        self
    }

    /// Narrows it by a parameter.
    pub fn with(mut self, param: &str, values: &[&str]) -> Self {
        let values = values.iter().map(|value| (*value).to_owned()).collect();
        self.plan.params.insert(param.to_owned(), ParamValue::Set(values));
        self
    }

    /// Mints it.
    pub async fn mint(&self, minter: &dyn Minter, clock: &dyn Clock) -> Result<Minted, MintError> {
        minter.prepare(self.budget).await?;
        let order = MintOrder {
            plan: &self.plan,
            target: &self.target,
            caller: &self.caller,
            issuance: self.issuance,
            handle: &self.handle,
            session: SessionId(Uuid::from_u128(2)),
            now: clock.now(),
            deadline: clock.monotonic() + self.budget,
            target_deadline: None,
            forward: self.forward.as_ref(),
        };
        minter.mint(order).await
    }

    /// Whether what was minted is what the core lets through.
    pub fn is_within(&self, minted: &Minted) -> bool {
        let allowed = (self.target.kind.rights)(&self.target, &self.plan);
        minted.rights.within(&allowed) && minted.end <= self.plan.end
    }

    /// What takes it back.
    pub fn undoable<'a>(&'a self, receipt: Option<&'a Secret>) -> Undoable<'a> {
        Undoable {
            handle: &self.handle,
            receipt,
        }
    }
}

fn caller() -> Caller {
    Caller {
        server: AuthenticatedServer {
            name: name("tickets"),
            method: ClientAuthMethod::ClientSecretBasic,
            key: "0".repeat(16),
            once: None,
        },
        subject: Subject {
            principal: Principal::User(name("corp/alice")),
            token: Arc::new(token(name("corp"))),
        },
        actor: Actor {
            agent: Some(name("corp/bot")),
            asserted_by: ActorAssertion::ActorToken,
            chain: Vec::new(),
            expires: None,
        },
    }
}

fn token(issuer: Name) -> VerifiedToken {
    VerifiedToken {
        issuer,
        iss: "https://id.test".to_owned(),
        sub: "alice".to_owned(),
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
