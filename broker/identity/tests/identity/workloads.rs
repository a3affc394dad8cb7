//! Servers that their platform vouches for.

use std::collections::{BTreeMap, BTreeSet};

use procura_core::{
    catalogue::{ServerAuth, TokenTyp, Workload},
    identity::ClientAuthMethod,
    ports::Role,
};
use procura_wire::{Digest, Reason};
use serde_json::{Value, json};

use crate::{
    clients::server,
    kit::{NOW, OURS, TestKey, World},
};

const SUB: &str = "system:serviceaccount:tools:tickets";

fn pins(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    pairs.iter().map(owned).collect()
}

impl World {
    fn runs(&mut self, name: &str, sub: Option<&str>, claims: &[(&str, &str)], audience: Option<&str>) {
        let workload = Workload {
            issuer: "corp".parse().expect("name"),
            sub: sub.map(str::to_owned),
            claims: pins(claims),
            audience: audience.map(str::to_owned),
        };
        let auth = ServerAuth::Workload(workload);
        self.catalogue.servers.insert(name.parse().expect("name"), server(auth));
    }

    /// The platform's token with some claims changed, as Kubernetes makes it: without `typ`.
    fn platform(&self, changes: Value) -> String {
        let mut claims = json!({
            "iss": self.idp.url, "sub": SUB, "aud": [OURS], "exp": NOW + 600, "iat": NOW, "jti": "p",
            "repository": "org/repo", "ref": "refs/heads/main"
        });
        for (name, value) in changes.as_object().expect("object") {
            claims[name] = value.clone();
        }
        self.key.compact(
            &json!({"alg": "ES256", "kid": "k1"}).to_string(),
            claims.to_string().as_bytes(),
        )
    }

    async fn named(&self, id: Option<&str>, changes: Value) -> Result<String, Reason> {
        let found = self.authenticated(id, &self.platform(changes)).await?;
        Ok(found.name.to_string())
    }
}

async fn world() -> World {
    let mut world = World::new().await;
    world.edit(|issuer| {
        issuer.token_types = BTreeSet::from([TokenTyp::Jwt]);
        issuer.workloads_only = true;
    });
    world.runs("tickets", Some(SUB), &[], None);
    world
}

#[tokio::test]
async fn a_platforms_token_proves_the_server_as_often_as_it_lives() {
    let world = world().await;
    let text = world.platform(json!({}));
    for id in [None, Some("tickets"), None] {
        let found = world.authenticated(id, &text).await.expect("proved");
        assert_eq!(
            (found.name.as_str(), found.method),
            ("tickets", ClientAuthMethod::Workload)
        );
        assert_eq!(found.once, None);
        let key = Digest::of(format!("{} {SUB}", world.idp.url).as_bytes()).to_string();
        assert_eq!(found.key, key[..16]);
    }
    world.clock.advance(599);
    assert!(world.authenticated(None, &text).await.is_ok());
    world.clock.advance(1);
    assert_eq!(
        world.authenticated(None, &text).await.err(),
        Some(Reason::ClientAssertionInvalid)
    );
}

#[tokio::test]
async fn sub_and_pinned_claims_are_equal_to_the_letter() {
    let mut world = world().await;
    for sub in [
        "system:serviceaccount:tools:tickets2",
        "System:serviceaccount:tools:tickets",
        "x",
    ] {
        let refused = world.named(None, json!({"sub": sub})).await.err();
        assert_eq!(refused, Some(Reason::ClientUnauthenticated), "{sub}");
    }
    let main = [("repository", "org/repo"), ("ref", "refs/heads/main")];
    world.runs("tickets", None, &main, None);
    assert_eq!(
        world
            .named(None, json!({"sub": "repo:org/repo:ref:refs/heads/main"}))
            .await
            .as_deref(),
        Ok("tickets")
    );
    for changes in [
        json!({"ref": "refs/heads/main2"}),
        json!({"ref": ["refs/heads/main"]}),
        json!({"ref": null}),
        json!({"repository": "Org/repo"}),
    ] {
        let refused = world.named(None, changes.clone()).await.err();
        assert_eq!(refused, Some(Reason::ClientUnauthenticated), "{changes}");
    }
}

#[tokio::test]
async fn a_token_that_fits_two_servers_wants_a_client_id() {
    let mut world = world().await;
    world.runs("wiki", None, &[("repository", "org/repo")], None);
    assert_eq!(world.named(None, json!({})).await, Err(Reason::ClientUnauthenticated));
    assert_eq!(world.named(Some("wiki"), json!({})).await.as_deref(), Ok("wiki"));
    assert_eq!(world.named(Some("tickets"), json!({})).await.as_deref(), Ok("tickets"));
    assert_eq!(
        world.named(Some("nobody"), json!({})).await,
        Err(Reason::ClientUnauthenticated)
    );
}

#[tokio::test]
async fn req_123_the_audience_is_the_configured_one_alone() {
    let mut world = world().await;
    let other = "https://other.example.com";
    for aud in [json!(other), json!([OURS, other]), json!(format!("{OURS}/token"))] {
        assert_eq!(
            world.named(None, json!({"aud": aud})).await,
            Err(Reason::ClientAud),
            "{aud}"
        );
    }
    // What its issuer's users may have beside the resource is nothing that a workload may have.
    world.edit(|issuer| issuer.extra_audiences = BTreeSet::from([other.to_owned()]));
    assert_eq!(
        world.named(None, json!({"aud": [OURS, other]})).await,
        Err(Reason::ClientAud)
    );
    world.runs("tickets", Some(SUB), &[], Some("procura"));
    assert_eq!(
        world.named(None, json!({"aud": "procura"})).await.as_deref(),
        Ok("tickets")
    );
    assert_eq!(world.named(None, json!({})).await, Err(Reason::ClientAud));
}

#[tokio::test]
async fn the_rules_of_the_issuer_hold() {
    let mut world = world().await;
    let forged = |header: Value, key: &TestKey| {
        let claims = json!({"iss": world.idp.url, "sub": SUB, "aud": OURS, "exp": NOW + 60, "iat": NOW});
        key.compact(&header.to_string(), claims.to_string().as_bytes())
    };
    for (header, reason) in [
        (json!({"alg": "ES256", "kid": "k1"}), Reason::ClientKey),
        (json!({"alg": "ES256", "kid": "k2"}), Reason::ClientKey),
        // What a stranger may provoke is told as if there were no such server.
        (json!({"alg": "ES256"}), Reason::ClientKey),
        (json!({"alg": "ES256", "kid": "k1", "typ": "at+jwt"}), Reason::ClientKey),
    ] {
        let refused = world
            .authenticated(None, &forged(header.clone(), &TestKey::es256()))
            .await
            .err();
        assert_eq!(refused, Some(reason), "{header}");
    }
    let long = world.named(None, json!({"exp": NOW + 3601})).await;
    assert_eq!(
        long,
        Err(Reason::ClientAssertionInvalid),
        "it lives longer than its issuer's may"
    );
    world.edit(|issuer| issuer.algorithms.clear());
    assert_eq!(world.named(None, json!({})).await, Err(Reason::ClientKey));
}

#[tokio::test]
async fn an_issuer_that_vouches_for_no_server_is_not_asked_for_its_keys() {
    let mut world = world().await;
    world.catalogue.servers.clear();
    assert_eq!(world.named(None, json!({})).await, Err(Reason::ClientUnauthenticated));
    let stranger = world.named(None, json!({"iss": "https://id.example.com"})).await;
    assert_eq!(stranger, Err(Reason::ClientUnauthenticated));
    let own = world.named(None, json!({"iss": OURS})).await;
    assert_eq!(
        own,
        Err(Reason::ClientUnauthenticated),
        "nor do our own tokens prove anybody"
    );
    assert_eq!(world.idp.fetches(), 0);
}

#[tokio::test]
async fn tokens_of_workloads_are_nobodys_subject_actor_or_operator() {
    let mut world = world().await;
    world.edit(|issuer| issuer.operators = true);
    let text = world.platform(json!({}));
    assert!(world.authenticated(None, &text).await.is_ok());
    for role in [Role::Subject, Role::Actor, Role::Operator] {
        let refused = world.verify_as(&text, role).await.err();
        assert_eq!(refused, Some(Reason::JwtIssUntrusted), "{role:?}");
    }
    world.edit(|issuer| issuer.workloads_only = false);
    assert!(world.verify_as(&text, Role::Subject).await.is_ok());
}
