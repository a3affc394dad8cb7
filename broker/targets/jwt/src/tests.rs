//! The kind and the keyring, with keys made for the test.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use jsonwebtoken::{DecodingKey, Validation, jwk::Jwk};
use procura_core::{
    Timestamp,
    catalogue::{Grant, Risk, Target},
    identity::{
        Actor, ActorAssertion, AuthenticatedServer, Caller, ClientAuthMethod, Confirmation, Link, Principal, Subject,
        VerifiedToken,
    },
    ids::{Handle, IssuanceId, SessionId},
    judgement::Plan,
    kind::{KindPorts, MintError, MintOrder, Minted, Minter, Undoable},
    params::ParamValue,
    ports::{BoxFuture, Clock, Entropy, Signer},
};
use procura_wire::{Name, Secret};
use serde_json::{Value, json};

use crate::{KIND, Keyring, SigningAlgorithm, new_set};

mod bound;
mod keyring;
mod settings;

const NOW: i64 = 1_795_165_200;
const ISSUER: &str = "https://procura.example.com";

struct Still;

impl Clock for Still {
    fn now(&self) -> Timestamp {
        at(NOW)
    }

    fn monotonic(&self) -> Duration {
        Duration::ZERO
    }

    fn sleep(&self, _: Duration) -> BoxFuture<'static, ()> {
        Box::pin(std::future::pending())
    }
}

impl Entropy for Still {
    fn fill(&self, bytes: &mut [u8]) {
        bytes.fill(7);
    }
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).expect("time")
}

fn name(text: &str) -> Name {
    text.parse().expect("name")
}

fn clear(secret: &Secret) -> &str {
    #[expect(clippy::disallowed_methods, reason = "the test looks at what was made")]
    secret.expose()
}

fn grant(scopes: Value) -> Grant {
    Grant {
        risk: Risk::Read,
        ttl: None,
        max_ttl: Duration::from_secs(300),
        outlives_subject: false,
        per_call: false,
        forward_subject: false,
        requires: Default::default(),
        params: BTreeMap::new(),
        limit: None,
        settings: [("scopes".to_owned(), scopes)].into_iter().collect(),
    }
}

fn target() -> Target {
    Target {
        kind: &KIND,
        owner: "o".into(),
        resource: None,
        source: None,
        settings: [("audience".to_owned(), json!("https://api.example.com"))]
            .into_iter()
            .collect(),
        grants: BTreeMap::from([
            (name("read"), grant(json!(["issues:read", "users:read"]))),
            (name("write"), grant(json!(["issues:write", "issues:read"]))),
        ]),
    }
}

fn caller() -> Caller {
    let token = VerifiedToken {
        issuer: name("corp"),
        iss: "https://id.example.com".into(),
        sub: "alice".into(),
        audience: vec!["https://tickets.example.com/mcp".into()],
        expires: at(NOW + 300),
        not_before: None,
        issued_at: None,
        jti: None,
        confirmation: None,
        sid: None,
        client: None,
        scopes: None,
        groups: BTreeSet::new(),
        auth: Default::default(),
        act: Vec::new(),
        may_act: None,
        vouched: Default::default(),
    };
    let link = |sub: &str| Link {
        sub: sub.into(),
        iss: Some("https://id.example.com".into()),
        client_id: None,
    };
    Caller {
        server: AuthenticatedServer {
            name: name("tickets"),
            method: ClientAuthMethod::ClientSecretBasic,
            key: "0".repeat(16),
            once: None,
        },
        subject: Subject {
            principal: Principal::User("corp/alice".parse().expect("id")),
            token: token.into(),
        },
        actor: Actor {
            agent: Some("corp/bot".parse().expect("id")),
            asserted_by: ActorAssertion::Act,
            chain: vec![link("bot"), link("front")],
            expires: None,
        },
    }
}

fn plan(grants: &[&str]) -> Plan {
    Plan {
        target: name("api"),
        grants: grants.iter().map(|grant| name(grant)).collect(),
        params: BTreeMap::new(),
        confirmation: None,
        end: at(NOW + 60) + Duration::from_millis(900),
    }
}

/// A minter of one target, with its keys.
struct Bench {
    keyring: Arc<Keyring>,
    target: Target,
    minter: Arc<dyn Minter>,
}

fn ports(keyring: &Arc<Keyring>, issuers: &[&str]) -> KindPorts {
    KindPorts {
        clock: Arc::new(Still),
        entropy: Arc::new(Still),
        signer: Arc::clone(keyring) as Arc<dyn Signer>,
        source: None,
        installation: "abcd1234".into(),
        issuer: ISSUER.into(),
        issuers: issuers.iter().map(|issuer| name(issuer)).collect(),
    }
}

impl Bench {
    fn of(target: Target) -> Self {
        let set = new_set(SigningAlgorithm::Es256).expect("set");
        let keyring = Arc::new(Keyring::parse(&set).expect("keyring"));
        let minter = (KIND.open)(&name("api"), &target, ports(&keyring, &["corp"])).expect("minter");
        Self {
            keyring,
            target,
            minter,
        }
    }

    async fn mint(&self, plan: &Plan, caller: &Caller) -> Result<Minted, MintError> {
        let issuance = IssuanceId(uuid::Uuid::from_u128(7));
        let order = MintOrder {
            plan,
            target: &self.target,
            caller,
            issuance,
            handle: &Handle::new("abcd1234", issuance),
            session: SessionId(uuid::Uuid::from_u128(8)),
            now: at(NOW),
            deadline: Duration::ZERO,
            target_deadline: None,
            forward: None,
        };
        self.minter.mint(order).await
    }

    fn claims(&self, minted: &Minted) -> Value {
        verify(&self.keyring, clear(&minted.value))
            .expect("a valid signature")
            .1
    }
}

/// Header and claims of a token that one of the published keys verifies, by a library of its own.
fn verify(keyring: &Keyring, token: &str) -> Option<(Value, Value)> {
    let header = jsonwebtoken::decode_header(token).ok()?;
    let jwks = keyring.public_jwks();
    let keys = jwks["keys"].as_array()?;
    let jwk = keys.iter().find(|key| key["kid"].as_str() == header.kid.as_deref())?;
    let jwk: Jwk = serde_json::from_value(jwk.clone()).ok()?;
    let mut rules = Validation::new(header.alg);
    rules.validate_exp = false;
    rules.validate_aud = false;
    rules.required_spec_claims.clear();
    let key = DecodingKey::from_jwk(&jwk).ok()?;
    let claims = jsonwebtoken::decode::<Value>(token, &key, &rules).ok()?.claims;
    Some((serde_json::to_value(header).ok()?, claims))
}

#[tokio::test]
async fn req_046_a_token_carries_the_claims_of_rfc_9068() {
    let bench = Bench::of(target());
    let minted = bench.mint(&plan(&["read", "write"]), &caller()).await.expect("minted");
    let (header, claims) = verify(&bench.keyring, clear(&minted.value)).expect("a valid signature");
    assert_eq!((&header["typ"], &header["alg"]), (&json!("at+jwt"), &json!("ES256")));
    assert_eq!(
        claims,
        json!({
            "iss": ISSUER,
            "sub": "corp/alice",
            "aud": "https://api.example.com",
            "client_id": "tickets",
            "iat": NOW,
            "exp": NOW + 60,
            "jti": "00000000-0000-0000-0000-000000000007",
            "scope": "issues:read issues:write users:read",
            "sid": "00000000-0000-0000-0000-000000000008",
            "act": {
                "sub": "bot", "iss": "https://id.example.com",
                "act": {"sub": "front", "iss": "https://id.example.com"}
            }
        })
    );
}

#[tokio::test]
async fn what_is_reported_is_what_was_signed_and_within_the_plan() {
    let bench = Bench::of(target());
    for grants in [&["read"][..], &["write"], &["read", "write"]] {
        let plan = plan(grants);
        let minted = bench.mint(&plan, &caller()).await.expect("minted");
        assert_eq!(minted.rights, (KIND.rights)(&bench.target, &plan));
        assert_eq!(minted.end, at(NOW + 60));
        assert!(minted.end <= plan.end);
    }
}

/// Signs other claims than it is given.
struct Liar(Arc<Keyring>);

impl Signer for Liar {
    fn sign(&self, typ: &str, claims: &[u8]) -> Result<Secret, procura_core::ports::SignError> {
        let mut claims: Value = serde_json::from_slice(claims).expect("claims");
        claims["scope"] = json!("admin");
        claims["exp"] = json!(NOW + 9999);
        self.0.sign(typ, claims.to_string().as_bytes())
    }

    fn tags(&self, _: &[u8]) -> Vec<procura_wire::Digest> {
        Vec::new()
    }
}

#[tokio::test]
async fn a_token_that_was_signed_wider_is_seen() {
    let mut bench = Bench::of(target());
    let liar = KindPorts {
        signer: Arc::new(Liar(Arc::clone(&bench.keyring))),
        ..ports(&bench.keyring, &["corp"])
    };
    bench.minter = (KIND.open)(&name("api"), &bench.target, liar).expect("minter");
    let plan = plan(&["read"]);
    let minted = bench.mint(&plan, &caller()).await.expect("minted");
    assert!(!minted.rights.within(&(KIND.rights)(&bench.target, &plan)));
    assert!(minted.end > plan.end);
}

/// Signs a member of the claims twice.
struct Stutterer(Arc<Keyring>, &'static str);

impl Signer for Stutterer {
    fn sign(&self, typ: &str, claims: &[u8]) -> Result<Secret, procura_core::ports::SignError> {
        let parsed: Value = serde_json::from_slice(claims).expect("claims");
        let text = String::from_utf8_lossy(claims).replacen('{', &format!("{{\"{}\":{},", self.1, parsed[self.1]), 1);
        self.0.sign(typ, text.as_bytes())
    }

    fn tags(&self, _: &[u8]) -> Vec<procura_wire::Digest> {
        Vec::new()
    }
}

#[tokio::test]
async fn a_token_that_bounds_itself_twice_is_not_issued() {
    let mut bench = Bench::of(target());
    for claim in ["aud", "exp", "scope"] {
        let stutterer = KindPorts {
            signer: Arc::new(Stutterer(Arc::clone(&bench.keyring), claim)),
            ..ports(&bench.keyring, &["corp"])
        };
        bench.minter = (KIND.open)(&name("api"), &target(), stutterer).expect("minter");
        let minted = bench.mint(&plan(&["read"]), &caller()).await;
        assert!(matches!(minted, Err(MintError::Failed(_))), "{claim}");
    }
}

#[tokio::test]
async fn req_100_parameters_stand_in_the_token_and_in_the_answer() {
    let bench = Bench::of(target());
    let mut plan = plan(&["read"]);
    let set = ParamValue::Set(BTreeSet::from(["web".to_owned()]));
    plan.params.insert("repositories".into(), set);
    let minted = bench.mint(&plan, &caller()).await.expect("minted");
    let claims = bench.claims(&minted);
    assert_eq!(
        claims["authorization_details"],
        json!([{"type": "jwt", "repositories": ["web"]}])
    );
    assert_eq!(Value::Object(minted.details), json!({"repositories": ["web"]}));
    plan.params.insert("type".into(), ParamValue::Text("other".into()));
    assert!(bench.mint(&plan, &caller()).await.is_err(), "type is not a parameter");
}

#[tokio::test]
async fn req_032_a_token_for_a_user_is_never_without_act() {
    let bench = Bench::of(target());
    let mut caller = caller();
    caller.actor.chain.clear();
    let refused = bench.mint(&plan(&["read"]), &caller).await;
    assert!(matches!(refused, Err(MintError::Failed(_))));
    caller.subject.principal = Principal::Agent("corp/bot".parse().expect("id"));
    let minted = bench.mint(&plan(&["read"]), &caller).await.expect("minted");
    assert!(bench.claims(&minted).get("act").is_none());
}

#[tokio::test]
async fn a_plain_subject_needs_a_single_issuer() {
    let mut target = target();
    target.settings.insert("plain_subject".into(), json!(true));
    let bench = Bench::of(target);
    let minted = bench.mint(&plan(&["read"]), &caller()).await.expect("minted");
    assert_eq!(bench.claims(&minted)["sub"], "alice");
    let two = ports(&bench.keyring, &["corp", "partner"]);
    let refused = (KIND.open)(&name("api"), &bench.target, two).err().expect("refused");
    assert!(refused.to_string().contains("plain_subject"), "{refused}");
}

#[tokio::test]
async fn nothing_is_minted_without_time_or_scope() {
    let bench = Bench::of(target());
    let mut over = plan(&["read"]);
    over.end = at(NOW) + Duration::from_millis(900);
    assert!(bench.mint(&over, &caller()).await.is_err());
    assert!(bench.mint(&plan(&[]), &caller()).await.is_err());
}

#[tokio::test]
async fn there_is_nothing_at_a_target() {
    let bench = Bench::of(target());
    assert_eq!(bench.minter.prepare(Duration::ZERO).await.ok(), Some(None));
    let handle = Handle::new("abcd1234", IssuanceId(uuid::Uuid::from_u128(7)));
    assert!(bench.minter.undo(Undoable::by(&handle)).await.is_ok() && bench.minter.probe().await.is_ok());
    assert!(bench.minter.inventory().await.is_ok_and(|found| found.is_empty()));
}
