//! Keys: proofs of requests, what is issued to whom holds one, and tokens that are bound to one.

use procura_core::{
    exchange::{Issued, Refused},
    identity::{ClientCredentials, Confirmation, PresentedToken, VerifiedToken},
    introspect::introspect,
    operator,
    possession::Presented,
    request::Incoming,
};
use procura_wire::{FormFault, Reason, Secret, TokenType};
use serde_json::{Value, json};

use crate::{
    fakes::Rules,
    world::{BROKER, Line, World, name, presented, token},
};

const ROWS: [(&str, &str); 2] = [("audience", "db"), ("scope", "rows")];
const NOWHERE: [(&str, &str); 1] = [("audience", "nowhere")];
/// SHA-256 of the certificate `cert`, base64url.
const X5T: &str = "BimEMugGayniIjvMI6qVBLVq5Qj6vzQ1UIhpucMZDiI";

fn server(id: &str) -> ClientCredentials {
    ClientCredentials::Basic {
        id: id.into(),
        secret: Secret::new(String::new()),
    }
}

fn proof(value: &'static str) -> Line {
    Line {
        proof: Some(value),
        ..Line::default()
    }
}

fn certificate(der: &'static str) -> Line {
    Line {
        certificate: Some(der),
        ..Line::default()
    }
}

async fn ask(world: &World, line: Line, tweak: &[(&str, &str)]) -> Result<Issued, Refused> {
    world.exchange_over(&line, server("tickets"), tweak).await
}

/// The reason, which must be in the log.
async fn refusal(world: &World, line: Line, tweak: &[(&str, &str)]) -> Reason {
    let refused = ask(world, line, tweak).await.expect_err("refused");
    world.check_logged(&refused).await;
    refused.reason
}

fn jkt(key: &str) -> Option<Confirmation> {
    Some(Confirmation::Jkt(key.into()))
}

fn knows(world: &World, text: &str, confirmation: Option<Confirmation>) {
    let alice = VerifiedToken {
        confirmation,
        ..token(&world.clock)
    };
    world.knows(text, alice);
}

fn declare(world: &World, change: impl FnOnce(&mut Rules)) {
    world.rules(change);
}

#[tokio::test]
async fn req_085_what_is_issued_for_a_proof_is_bound_to_its_key_where_the_kind_can() {
    let world = World::new();
    let issued = ask(&world, proof("k1:1"), &[]).await.expect("issued");
    assert_eq!(issued.confirmation, jkt("k1"));
    assert_eq!(world.leaf(issued.issuance).await["cnf"], json!({"jkt": "k1"}));
    let rows = ask(&world, proof("k1:2"), &ROWS).await.expect("issued");
    assert_eq!(rows.confirmation, None);
    assert_eq!(world.leaf(rows.issuance).await["cnf"], json!({"jkt": "k1"}));
    let plain = ask(&world, Line::default(), &[]).await.expect("issued");
    assert_eq!(
        (plain.confirmation, &world.leaf(plain.issuance).await["cnf"]),
        (None, &Value::Null)
    );
}

#[tokio::test]
async fn req_088_attack_95_a_proof_is_taken_once_whatever_came_of_it() {
    for (tweak, issued) in [(&[][..], true), (&ROWS, true), (&NOWHERE, false)] {
        let world = World::new();
        assert_eq!(ask(&world, proof("k1:1"), tweak).await.is_ok(), issued, "{tweak:?}");
        for again in [&[][..], &ROWS, &NOWHERE, &[("scope", "")]] {
            assert_eq!(
                refusal(&world, proof("k1:1"), again).await,
                Reason::DpopReplay,
                "{tweak:?} {again:?}"
            );
        }
        assert_eq!(ask(&world, proof("k1:2"), tweak).await.is_ok(), issued);
    }
}

#[tokio::test]
async fn attack_98_a_proof_that_is_not_valid_is_never_taken_for_none() {
    let world = World::new();
    assert_eq!(refusal(&world, proof("bad"), &[]).await, Reason::DpopSignature);
    assert_eq!(refusal(&world, proof("bad"), &ROWS).await, Reason::DpopSignature);
    assert_eq!((world.local.minted(), world.external.minted()), (0, 0));
}

#[tokio::test]
async fn attack_101_a_proof_that_cannot_be_remembered_is_refused() {
    let world = World::new();
    world.ledger.fail(true);
    for tweak in [&[][..], &ROWS] {
        let refused = ask(&world, proof("k1:1"), tweak).await.expect_err("refused");
        assert_eq!(refused.reason.status(), 503, "{:?}", refused.reason);
    }
    assert_eq!(world.external.minted(), 0);
    world.ledger.fail(false);
    assert!(ask(&world, proof("k1:1"), &[]).await.is_ok(), "nothing had used it up");
}

#[tokio::test]
async fn a_proof_counts_for_authenticated_servers_only() {
    let world = World::new();
    let stranger = world.exchange_over(&proof("k1:1"), ClientCredentials::None, &[]).await;
    let refused = stranger.expect_err("refused");
    assert_eq!(
        (refused.reason, refused.issuance),
        (Reason::ClientUnauthenticated, None)
    );
    assert!(
        ask(&world, proof("k1:1"), &[]).await.is_ok(),
        "a stranger uses nothing up"
    );
}

#[tokio::test]
async fn req_085_without_a_proof_a_server_that_must_prove_gets_nothing() {
    let world = World::new();
    declare(&world, |rules| {
        rules.catalogue.servers.get_mut("tickets").expect("declared").dpop_bound = true;
    });
    for tweak in [&[][..], &ROWS] {
        assert_eq!(refusal(&world, Line::default(), tweak).await, Reason::DpopRequired);
        assert_eq!(refusal(&world, certificate("cert"), tweak).await, Reason::DpopRequired);
    }
    assert!(ask(&world, proof("k1:1"), &[]).await.is_ok());
}

#[tokio::test]
async fn req_081_tokens_are_bound_to_the_certificate_where_the_servers_file_says_so() {
    let world = World::new();
    let issued = ask(&world, certificate("cert"), &[]).await.expect("issued");
    assert_eq!(issued.confirmation, None);
    declare(&world, |rules| {
        rules
            .catalogue
            .servers
            .get_mut("tickets")
            .expect("declared")
            .certificate_bound = true;
    });
    let issued = ask(&world, certificate("cert"), &[]).await.expect("issued");
    assert_eq!(issued.confirmation, Some(Confirmation::X5tS256(X5T.into())));
    assert_eq!(world.leaf(issued.issuance).await["cnf"], json!({"x5t#S256": X5T}));
    assert_eq!(
        refusal(&world, Line::default(), &[]).await,
        Reason::PopCertificateMissing
    );
    let both = Line {
        proof: Some("k1:1"),
        ..certificate("cert")
    };
    let issued = ask(&world, both, &[]).await.expect("issued");
    assert_eq!(issued.confirmation, jkt("k1"), "the proof counts where there are both");
}

#[tokio::test]
async fn req_089_attack_100_a_bound_subject_token_needs_the_proof_of_its_key() {
    let world = World::new();
    knows(&world, "alice", jkt("k1"));
    assert_eq!(refusal(&world, Line::default(), &[]).await, Reason::PopUnproven);
    assert_eq!(refusal(&world, proof("k2:1"), &[]).await, Reason::PopUnproven);
    assert_eq!(refusal(&world, certificate("k1"), &[]).await, Reason::PopUnproven);
    let issued = ask(&world, proof("k1:1"), &[]).await.expect("issued");
    assert_eq!(world.leaf(issued.issuance).await["binding"], "proven");
}

#[tokio::test]
async fn req_089_attack_91_a_token_bound_to_a_certificate_needs_that_one() {
    let world = World::new();
    knows(&world, "alice", Some(Confirmation::X5tS256(X5T.into())));
    for line in [Line::default(), certificate("other"), proof("k1:1")] {
        assert_eq!(refusal(&world, line, &[]).await, Reason::PopMtlsMismatch);
    }
    let issued = ask(&world, certificate("cert"), &[]).await.expect("issued");
    assert_eq!(
        issued.confirmation, None,
        "the server's file says nothing of what is issued"
    );
    assert_eq!(world.leaf(issued.issuance).await["binding"], "proven");
}

#[tokio::test]
async fn req_089_a_bound_actor_token_needs_its_key_too() {
    let world = World::new();
    let bot = VerifiedToken {
        sub: "triage".into(),
        confirmation: jkt("k1"),
        ..token(&world.clock)
    };
    world.knows("bot", bot);
    declare(&world, |rules| rules.act_for = procura_core::judgement::Effect::Permit);
    let actor = [("actor_token", "bot")];
    assert_eq!(refusal(&world, Line::default(), &actor).await, Reason::PopUnproven);
    assert!(ask(&world, proof("k1:1"), &actor).await.is_ok());
}

#[tokio::test]
async fn req_089_a_trusted_presenter_needs_no_proof_and_the_record_says_so() {
    let world = World::new();
    knows(&world, "alice", jkt("k1"));
    let trust = |rules: &mut Rules, who: &str| {
        let issuer = rules.catalogue.issuers.get_mut("corp").expect("declared");
        issuer.trusted_presenters = [name(who)].into();
    };
    declare(&world, |rules| trust(rules, "wiki"));
    assert_eq!(refusal(&world, Line::default(), &[]).await, Reason::PopUnproven);
    declare(&world, |rules| trust(rules, "tickets"));
    for (line, binding) in [
        (Line::default(), "not_proven"),
        (proof("k2:1"), "not_proven"),
        (proof("k1:1"), "proven"),
    ] {
        let issued = ask(&world, line, &[]).await.expect("issued");
        assert_eq!(world.leaf(issued.issuance).await["binding"], binding, "{line:?}");
    }
    knows(&world, "alice", None);
    let issued = ask(&world, Line::default(), &[]).await.expect("issued");
    assert_eq!(world.leaf(issued.issuance).await["binding"], Value::Null);
}

#[tokio::test]
async fn req_085_introspection_says_what_a_token_is_bound_to() {
    let world = World::new();
    let issued = ask(&world, proof("k1:1"), &[]).await.expect("issued");
    let asked = Incoming {
        credentials: server("tickets"),
        certificates: None,
        proof: None,
        body: Ok::<_, FormFault>(issued.value),
        trace_id: String::new(),
        address: None,
    };
    let answer = introspect(&world.ports, asked).await.expect("answered");
    assert!(answer.active);
    assert_eq!(
        (&answer.claims["cnf"], &answer.claims["token_type"]),
        (&json!({"jkt": "k1"}), &json!("DPoP"))
    );
}

async fn operator(world: &World, dpop: bool, line: Line) -> &'static str {
    let token = PresentedToken {
        value: Secret::new("op".into()),
        declared: TokenType::AccessToken,
    };
    let proof = line.proof.map(presented);
    let certificates = line
        .certificate
        .map(|der| procura_core::identity::PeerCertificates(vec![der.into()]));
    let presented = Presented {
        token: &token,
        dpop,
        proof: proof.as_ref(),
        certificates: certificates.as_ref(),
    };
    let operator = operator::authenticate(&world.ports, presented).await;
    operator.map(|_| "operator").unwrap_or_else(|reason| reason.code())
}

fn knows_operator(world: &World, confirmation: Option<Confirmation>) {
    let op = VerifiedToken {
        audience: vec![format!("{BROKER}/v1")],
        confirmation,
        ..token(&world.clock)
    };
    world.knows("op", op);
}

#[tokio::test]
async fn req_087_a_bound_operators_token_is_no_bearer_token() {
    let world = World::new();
    knows_operator(&world, jkt("k1"));
    assert_eq!(operator(&world, false, Line::default()).await, "v1.unauthenticated");
    assert_eq!(operator(&world, false, proof("k1:1:op")).await, "v1.unauthenticated");
    assert_eq!(operator(&world, true, Line::default()).await, "dpop.required");
    assert_eq!(operator(&world, true, proof("bad")).await, "dpop.signature");
    assert_eq!(operator(&world, true, proof("k1:1")).await, "dpop.ath");
    assert_eq!(operator(&world, true, proof("k2:1:op")).await, "v1.unauthenticated");
    assert_eq!(operator(&world, true, proof("k1:1:op")).await, "operator");
    assert_eq!(operator(&world, true, proof("k1:1:op")).await, "dpop.replay");
    knows_operator(&world, None);
    assert_eq!(operator(&world, false, Line::default()).await, "operator");
    assert_eq!(operator(&world, true, proof("k1:2:op")).await, "v1.unauthenticated");
}

#[tokio::test]
async fn req_081_attack_91_an_operators_token_bound_to_a_certificate_needs_that_one() {
    let world = World::new();
    knows_operator(&world, Some(Confirmation::X5tS256(X5T.into())));
    assert_eq!(operator(&world, false, Line::default()).await, "v1.unauthenticated");
    assert_eq!(
        operator(&world, false, certificate("other")).await,
        "v1.unauthenticated"
    );
    assert_eq!(operator(&world, true, certificate("cert")).await, "v1.unauthenticated");
    assert_eq!(operator(&world, false, certificate("cert")).await, "operator");
}
