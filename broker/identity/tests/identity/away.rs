//! What callers are told of a server whose keys cannot be fetched.

use procura_core::catalogue::ClientKeys;
use procura_wire::Reason;
use serde_json::{Value, json};

use crate::{
    assertions::named,
    kit::{Answer, NOW, OURS, TestKey, World},
};

/// An assertion that ends so many seconds after the beginning of the test.
fn of(name: &str, end: i64) -> Value {
    json!({"iss": name, "sub": name, "aud": OURS, "exp": NOW + end, "jti": "j"})
}

#[tokio::test]
async fn attack_76_strangers_learn_of_no_server_while_its_keys_serve() {
    let (mut world, key, stranger) = (World::new().await, TestKey::es256(), TestKey::es256());
    world.register("tickets", ClientKeys::Uri(format!("{}/jwks", world.idp.url)), false);
    world.idp.publish(&[key.jwk("c1")]);
    assert_eq!(world.refusal(&named(&key, &of("tickets", 60))).await, None);
    world.idp.jwks(Answer::status(500));
    world.clock.advance(3000);
    assert_eq!(world.refusal(&named(&key, &of("tickets", 3060))).await, None);
    let told = async |name| {
        let refused = world.refusal(&named(&stranger, &of(name, 3060))).await;
        refused.map(Reason::on_the_wire)
    };
    assert_eq!(told("tickets").await, Some(Reason::ClientUnauthenticated));
    assert_eq!(told("nobody").await, told("tickets").await);
}

#[tokio::test]
async fn a_server_whose_keys_serve_no_longer_is_told_that_it_is_not_at_fault() {
    let (mut world, key) = (World::new().await, TestKey::es256());
    world.register("tickets", ClientKeys::Uri(format!("{}/jwks", world.idp.url)), false);
    world.idp.jwks(Answer::status(500));
    let refused = world.refusal(&named(&key, &of("tickets", 60))).await;
    assert_eq!(refused, Some(Reason::ClientKeysUnavailable));
    let told = Reason::ClientKeysUnavailable.on_the_wire();
    assert_eq!((told, told.status()), (Reason::ClientKeysUnavailable, 503));
    assert!(told.retry_after().is_some());
}
