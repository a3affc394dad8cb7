//! Proofs that may be used once: burnt by whatever is written first, by denials too.

use futures_util::future::join_all;
use procura_core::{
    identity::{AssertionType, ClientCredentials},
    ledger::{Ledger, Page},
    request::Incoming,
};
use procura_wire::{FormFault, Reason, Secret};

use crate::world::World;

const ROWS: [(&str, &str); 2] = [("audience", "db"), ("scope", "rows")];

fn assertion(text: &str) -> ClientCredentials {
    ClientCredentials::Assertion {
        id: Some("tickets".into()),
        ty: AssertionType::JwtBearer,
        assertion: Secret::new(text.into()),
    }
}

async fn records(world: &World) -> usize {
    let page = Page {
        before: None,
        limit: 100,
    };
    world
        .ledger
        .records(Default::default(), page)
        .await
        .expect("store")
        .len()
}

#[tokio::test]
async fn req_075_attack_82_an_assertion_is_taken_once_whatever_came_of_it() {
    for (tweak, issued) in [(&[][..], true), (&ROWS, true), (&[("audience", "nowhere")], false)] {
        let world = World::new();
        assert_eq!(
            world.exchange_by(assertion("a"), tweak).await.is_ok(),
            issued,
            "{tweak:?}"
        );
        for again in [&[][..], &ROWS, &[("audience", "nowhere")], &[("scope", "")]] {
            let before = records(&world).await;
            let refused = world.exchange_by(assertion("a"), again).await.expect_err("refused");
            assert_eq!(refused.reason, Reason::ClientAssertionReplay, "{tweak:?} {again:?}");
            world.check_logged(&refused).await;
            assert_eq!(records(&world).await, before + 1);
        }
        assert!(world.exchange_by(assertion("b"), tweak).await.is_ok() == issued);
        assert_eq!(world.external.alive(), if tweak == ROWS { 2 } else { 0 });
    }
}

#[tokio::test]
async fn of_many_at_once_one_is_served() {
    let world = World::new();
    let all = join_all((0..16).map(|_| world.exchange_by(assertion("a"), &ROWS))).await;
    assert_eq!(all.iter().filter(|one| one.is_ok()).count(), 1);
    assert_eq!(world.external.alive(), 1);
}

#[tokio::test]
async fn revocation_and_introspection_use_it_up_too() {
    let world = World::new();
    let asked = |text: &str| Incoming {
        credentials: assertion(text),
        certificates: None,
        proof: None,
        body: Ok::<_, FormFault>(Secret::new("unknown".into())),
        trace_id: String::new(),
        address: None,
    };
    let introspect = async |text: &str| procura_core::introspect::introspect(&world.ports, asked(text)).await;
    assert!(introspect("a").await.is_ok());
    let refused = introspect("a").await.expect_err("used");
    assert_eq!(
        (refused.reason, refused.issuance),
        (Reason::ClientAssertionReplay, None)
    );
    let refused = world.exchange_by(assertion("a"), &[]).await.expect_err("used");
    assert_eq!(refused.reason, Reason::ClientAssertionReplay);
}
