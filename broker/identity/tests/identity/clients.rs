//! Client authentication by secret.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use procura_core::{
    Timestamp,
    catalogue::{Catalogue, SecretHash, Server, ServerAuth},
    identity::{AuthenticatedServer, ClientAuthMethod, ClientCredentials},
    ports::{Clock, TokenVerifier},
};
use procura_identity::{HttpOptions, Identity, IdentityOptions};
use procura_wire::{Digest, Reason, Secret};

use crate::kit::{NOW, OURS, Tagger, TestClock};

struct Clients {
    catalogue: Catalogue,
    clock: Arc<TestClock>,
    identity: Identity,
}

pub(crate) fn server(auth: ServerAuth) -> Server {
    Server {
        owner: "o".into(),
        version: None,
        deployment: None,
        resource: "https://tickets.example.com/mcp".into(),
        dpop_bound: false,
        certificate_bound: false,
        auth,
        grants: Default::default(),
        tools: Default::default(),
        session_ttl: Duration::from_secs(3600),
        introspects: Default::default(),
        suspended: false,
        subjects: Default::default(),
        limits: BTreeMap::new(),
        definitions: BTreeMap::new(),
    }
}

fn hash(secret: &str, expires: Option<i64>) -> SecretHash {
    SecretHash {
        hash: Digest::of(secret.as_bytes()),
        expires: expires.map(|at| Timestamp::from_second(at).expect("time")),
    }
}

impl Clients {
    /// `tickets` with the secrets `new` and `old`, which ends at [`NOW`]; `sample` and `other` are builtin.
    fn new() -> Self {
        let clock = Arc::new(TestClock::default());
        let mut catalogue = Catalogue::default();
        let two = ServerAuth::ClientSecret(vec![hash("new", None), hash("old", Some(NOW))]);
        for (name, auth) in [
            ("tickets", two),
            ("sample", ServerAuth::BuiltinDev),
            ("other", ServerAuth::BuiltinDev),
        ] {
            catalogue.servers.insert(name.parse().expect("name"), server(auth));
        }
        let identity = Identity::new(IdentityOptions {
            issuer: OURS.into(),
            http: HttpOptions::default(),
            builtin: None,
            dev_secrets: BTreeMap::from([("sample".parse().expect("name"), Digest::of(b"made at start"))]),
            signer: Arc::new(Tagger(vec![1])),
            vouchers: Default::default(),
            clock: Arc::clone(&clock) as Arc<dyn Clock>,
        });
        Self {
            catalogue,
            clock,
            identity: identity.expect("identity"),
        }
    }

    async fn basic(&self, id: &str, secret: &str, now: i64) -> Result<AuthenticatedServer, Reason> {
        let credentials = ClientCredentials::Basic {
            id: id.into(),
            secret: Secret::new(secret.into()),
        };
        self.send(&credentials, now).await
    }

    async fn send(&self, credentials: &ClientCredentials, now: i64) -> Result<AuthenticatedServer, Reason> {
        let now = Timestamp::from_second(now).expect("time");
        self.identity
            .authenticate(&self.catalogue, credentials, None, now)
            .await
    }
}

#[tokio::test]
async fn req_007_both_secrets_authenticate_and_are_told_apart() {
    let clients = Clients::new();
    let new = clients.basic("tickets", "new", NOW - 1).await.expect("authenticated");
    assert_eq!(
        (new.name.as_str(), new.method),
        ("tickets", ClientAuthMethod::ClientSecretBasic)
    );
    assert_eq!(new.key, Digest::of(Digest::of(b"new").as_bytes()).to_string()[..16]);
    let old = ClientCredentials::Body {
        id: "tickets".into(),
        secret: Secret::new("old".into()),
    };
    let old = clients.send(&old, NOW - 1).await.expect("authenticated");
    assert_eq!(old.method, ClientAuthMethod::ClientSecretPost);
    assert_ne!(old.key, new.key);
}

#[tokio::test]
async fn attack_76_unknown_malformed_and_wrong_are_one_answer() {
    let clients = Clients::new();
    for (id, secret) in [
        ("tickets", "wrong"),
        ("tickets", ""),
        ("nobody", "new"),
        ("Tickets", "new"),
        ("", ""),
        ("a/b", "new"),
        ("other", "made at start"),
        ("other", ""),
        ("sample", "wrong"),
    ] {
        let reason = clients.basic(id, secret, NOW).await.err();
        assert_eq!(reason, Some(Reason::ClientUnauthenticated), "{id} {secret}");
    }
    let none = clients.send(&ClientCredentials::None, NOW).await.err();
    assert_eq!(none, Some(Reason::ClientUnauthenticated));
    assert!(clients.basic("sample", "made at start", NOW).await.is_ok());
}

#[tokio::test]
async fn attack_94_expiry_is_looked_at_on_use() {
    let clients = Clients::new();
    assert!(clients.basic("tickets", "old", NOW - 1).await.is_ok());
    let reason = clients.basic("tickets", "old", NOW).await.err();
    assert_eq!(reason, Some(Reason::ClientSecretExpired));
    assert!(clients.basic("tickets", "new", NOW).await.is_ok());
}

#[tokio::test]
async fn req_008_attack_80_guessing_is_braked_and_the_owner_is_not() {
    let clients = Clients::new();
    for _ in 0..10 {
        let reason = clients.basic("tickets", "wrong", NOW).await.err();
        assert_eq!(reason, Some(Reason::ClientUnauthenticated));
    }
    let braked = || clients.basic("tickets", "wrong", NOW);
    assert_eq!(braked().await.err(), Some(Reason::ClientBruteforce));
    assert!(clients.basic("tickets", "new", NOW).await.is_ok());
    let reason = clients.basic("sample", "wrong", NOW).await.err();
    assert_eq!(
        reason,
        Some(Reason::ClientUnauthenticated),
        "each server has its own window"
    );
    clients.clock.advance(59);
    assert_eq!(braked().await.err(), Some(Reason::ClientBruteforce));
    clients.clock.advance(1);
    assert_eq!(braked().await.err(), Some(Reason::ClientUnauthenticated));
}
