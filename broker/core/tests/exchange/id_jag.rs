//! ID-JAGs as grants.

use std::{collections::BTreeSet, sync::Arc};

use procura_core::{
    catalogue::IdJagUse,
    exchange::{Issued, Refused},
    identity::{ClientCredentials, Confirmation, IdJag, VerifiedToken},
    trust::Tenant,
};
use procura_wire::{JWT_BEARER, Reason, Secret};
use serde_json::{Value, json};

use crate::{
    fakes::Rules,
    world::{BROKER, Line, World, name, token},
};

const API: &str = "https://api.example/v1";
/// What an exchange has and this grant has not.
const NONE: [(&str, &str); 4] = [
    ("subject_token", ""),
    ("subject_token_type", ""),
    ("audience", ""),
    ("scope", ""),
];

/// A world whose issuer's ID-JAGs are grants, and alice's for `api/read` through the tickets server.
fn world(used: IdJagUse) -> World {
    let world = World::new();
    world.rules(|rules| trusts(rules, used));
    world.grants("good", |_| {});
    world
}

fn trusts(rules: &mut Rules, used: IdJagUse) {
    let issuer = rules.catalogue.issuers.get_mut(&name("corp")).expect("corp");
    issuer.id_jag = Some(used);
    // Whom access tokens may come from says nothing of ID-JAGs, which name the server itself.
    issuer.clients = Some(BTreeSet::new());
}

impl World {
    fn grants(&self, text: &str, tweak: impl FnOnce(&mut Parts)) {
        let mut parts = Parts {
            token: VerifiedToken {
                audience: vec![BROKER.into()],
                client: Some("tickets".into()),
                jti: Some("1".into()),
                scopes: Some(BTreeSet::from(["read".into(), "openid".into()])),
                ..token(&self.clock)
            },
            resources: vec![API.into()],
            details: None,
        };
        tweak(&mut parts);
        let verified = IdJag {
            token: Arc::new(parts.token),
            resources: parts.resources,
            details: parts.details,
        };
        self.tokens.1.lock().expect("lock").insert(text.into(), Ok(verified));
    }

    async fn present(&self, text: &str, tweak: &[(&str, &str)]) -> Result<Issued, Refused> {
        let grant = [("grant_type", JWT_BEARER), ("assertion", text)];
        self.exchange(&[&NONE[..], &grant, tweak].concat()).await
    }

    async fn refuses(&self, text: &str, tweak: &[(&str, &str)]) -> Reason {
        let refused = self.present(text, tweak).await.expect_err("must be refused");
        self.check_logged(&refused).await;
        refused.reason
    }
}

type Tweak = fn(&mut Parts);

struct Parts {
    token: VerifiedToken,
    resources: Vec<String>,
    details: Option<Value>,
}

#[tokio::test]
async fn req_105_the_assertion_alone_says_what_for() {
    let world = world(IdJagUse::Once);
    let issued = world.present("good", &[]).await.expect("issued");
    assert_eq!(issued.scope, [name("read")], "what both have");
    let leaf = world.leaf(issued.issuance).await;
    assert_eq!(
        (&leaf["target"], &leaf["requested"]["scope"], &leaf["id_jag"]),
        (&json!("api"), &json!(["read"]), &json!(true))
    );
    let exchanged = world.exchange(&[("subject_token", "alice")]).await;
    assert!(exchanged.is_err(), "corp lists no clients for access tokens");
}

#[tokio::test]
async fn req_105_req_110_a_foreign_assertion_is_invalid_grant() {
    let world = world(IdJagUse::UntilExpiry);
    let cases: [(&str, Tweak, Reason); 5] = [
        (
            "audience",
            |p| p.token.audience = vec!["https://other.example".into()],
            Reason::IdJagAudience,
        ),
        (
            "audiences",
            |p| p.token.audience.push("https://other.example".into()),
            Reason::IdJagAudience,
        ),
        ("client", |p| p.token.client = Some("wiki".into()), Reason::IdJagClient),
        (
            "resource",
            |p| p.resources = vec!["https://other.example/v1".into()],
            Reason::TargetNotAvailable,
        ),
        (
            "expired",
            |p| p.token.expires = p.token.issued_at.expect("iat"),
            Reason::IdJagInvalid,
        ),
    ];
    for (text, tweak, reason) in cases {
        world.grants(text, tweak);
        assert_eq!(world.refuses(text, &[]).await, reason, "{text}");
    }
    assert_eq!(
        world.refuses("resource", &[("audience", "api")]).await,
        Reason::IdJagResource
    );
    assert_eq!(world.refuses("unknown", &[]).await, Reason::IdJagInvalid);
    assert_eq!(
        world.refuses("good", &[("audience", "db"), ("scope", "rows")]).await,
        Reason::IdJagResource
    );
}

#[tokio::test]
async fn attack_115_the_record_says_what_is_wrong_with_an_assertion_and_the_answer_does_not() {
    let world = world(IdJagUse::UntilExpiry);
    world.grants("expired", |p| p.token.expires = p.token.issued_at.expect("iat"));
    world.grants("foreign", |p| p.token.client = Some("wiki".into()));
    for (text, reason, cause) in [
        ("expired", Reason::IdJagInvalid, json!("jwt.expired")),
        ("unknown", Reason::IdJagInvalid, json!("jwt.format")),
        ("foreign", Reason::IdJagClient, Value::Null),
    ] {
        let refused = world.present(text, &[]).await.expect_err("must be refused");
        assert_eq!((refused.reason, refused.param), (reason, Some("assertion")), "{text}");
        let leaf = world.leaf(refused.issuance.expect("recorded")).await;
        assert_eq!(
            (&leaf["reason"], &leaf["cause"]),
            (&json!(reason.code()), &cause),
            "{text}"
        );
    }
}

#[tokio::test]
async fn req_106_an_assertion_is_taken_once_and_a_foreign_presenter_does_not_use_it_up() {
    let world = world(IdJagUse::Once);
    let foreign = [&NONE[..], &[("grant_type", JWT_BEARER), ("assertion", "good")]].concat();
    let refused = world.exchange_as("wiki", &foreign).await.expect_err("not its own");
    assert_eq!(refused.reason, Reason::IdJagClient);
    assert!(world.present("good", &[]).await.is_ok());
    assert_eq!(world.refuses("good", &[]).await, Reason::IdJagReplay);
    // Denials use it up too.
    world.grants("denied", |parts| parts.token.jti = Some("2".into()));
    assert_eq!(world.refuses("denied", &[("scope", "write")]).await, Reason::IdJagScope);
    assert_eq!(world.refuses("denied", &[]).await, Reason::IdJagReplay);
    // Ids are their issuers' and subjects' own.
    world.grants("bob", |parts| parts.token.sub = "bob".into());
    assert!(world.present("bob", &[]).await.is_ok());
}

#[tokio::test]
async fn req_113_an_issuer_may_let_assertions_be_used_until_they_end() {
    let world = world(IdJagUse::UntilExpiry);
    for _ in 0..2 {
        assert!(world.present("good", &[]).await.is_ok());
    }
}

#[tokio::test]
async fn req_106_the_request_only_narrows_what_the_assertion_grants() {
    let world = world(IdJagUse::UntilExpiry);
    world.grants("wide", |parts| {
        parts.token.scopes = Some(BTreeSet::from(["read".into(), "write".into()]));
    });
    let issued = world.present("wide", &[("scope", "write")]).await.expect("issued");
    assert_eq!(issued.scope, [name("write")]);
    assert_eq!(world.refuses("good", &[("scope", "write")]).await, Reason::IdJagScope);
    world.grants("foreign", |parts| {
        parts.token.scopes = Some(BTreeSet::from(["openid".into()]))
    });
    assert_eq!(world.refuses("foreign", &[]).await, Reason::IdJagScope);
    world.grants("silent", |parts| parts.token.scopes = None);
    assert_eq!(world.refuses("silent", &[]).await, Reason::ParamMissing);
    assert!(
        world.present("silent", &[("scope", "read")]).await.is_ok(),
        "the rules decide"
    );
}

#[tokio::test]
async fn req_099_the_details_of_the_assertion_are_those_of_the_request() {
    let world = world(IdJagUse::UntilExpiry);
    let details = json!([{ "type": "jwt", "team": ["a"] }]);
    world.grants("team", |parts| {
        parts.token.scopes = Some(BTreeSet::from(["team".into()]));
        parts.details = Some(details.clone());
    });
    // The grant demands a team.
    assert!(world.present("team", &[]).await.is_ok());
    let same = details.to_string();
    assert!(world.present("team", &[("authorization_details", &same)]).await.is_ok());
    let other = r#"[{"type":"jwt","team":["b"]}]"#;
    assert_eq!(
        world.refuses("team", &[("authorization_details", other)]).await,
        Reason::PolicyRar
    );
    world.grants("odd", |parts| parts.details = Some(json!("all")));
    assert_eq!(world.refuses("odd", &[]).await, Reason::PolicyRar);
}

#[tokio::test]
async fn req_108_a_bound_assertion_needs_the_proof_of_its_key() {
    let world = world(IdJagUse::UntilExpiry);
    world.rules(|rules| {
        trusts(rules, IdJagUse::UntilExpiry);
        let issuer = rules.catalogue.issuers.get_mut(&name("corp")).expect("corp");
        issuer.trusted_presenters = BTreeSet::from([name("tickets")]);
    });
    world.grants("bound", |parts| {
        parts.token.confirmation = Some(Confirmation::Jkt("k1".into()))
    });
    assert_eq!(world.refuses("bound", &[]).await, Reason::IdJagPop);
    let grant = [("grant_type", JWT_BEARER), ("assertion", "bound")];
    let tweak = [&NONE[..], &grant].concat();
    let by = |proof| Line {
        proof: Some(proof),
        certificate: None,
    };
    let tickets = || ClientCredentials::Basic {
        id: "tickets".into(),
        secret: Secret::new(String::new()),
    };
    let refused = world.exchange_over(&by("k2:1"), tickets(), &tweak).await;
    assert_eq!(refused.expect_err("another key").reason, Reason::IdJagPop);
    let issued = world
        .exchange_over(&by("k1:1"), tickets(), &tweak)
        .await
        .expect("issued");
    assert_eq!(issued.confirmation, Some(Confirmation::Jkt("k1".into())));
}

#[tokio::test]
async fn attack_40_an_issuer_of_one_organisation_grants_for_no_other() {
    let world = world(IdJagUse::UntilExpiry);
    world.rules(|rules| {
        trusts(rules, IdJagUse::UntilExpiry);
        let issuer = rules.catalogue.issuers.get_mut(&name("corp")).expect("corp");
        issuer.trust.tenant = Some(Tenant {
            claim: "tid".into(),
            value: Some("acme".into()),
        });
    });
    let of = |tenant: &str| {
        let tenant = Some(tenant.to_owned());
        move |parts: &mut Parts| parts.token.vouched.tenant = tenant
    };
    world.grants("ours", of("acme"));
    world.grants("foreign", of("other"));
    assert!(world.present("ours", &[]).await.is_ok());
    for text in ["foreign", "good"] {
        assert_eq!(world.refuses(text, &[]).await, Reason::SubjectTenantMismatch, "{text}");
    }
}
