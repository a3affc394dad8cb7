//! What a token that was verified before still has to pass.

use procura_core::{catalogue::Algorithm, ports::Role};
use procura_wire::Reason;
use std::sync::Arc;

use crate::kit::{TestKey, World};

#[tokio::test]
async fn a_hit_is_the_same_token() {
    let world = World::new().await;
    let token = world.valid();
    let first = world.verify(&token).await.expect("verified");
    let second = world.verify(&token).await.expect("verified");
    assert!(Arc::ptr_eq(&first, &second));
    let actor = world.verify_as(&token, Role::Actor).await.expect("verified");
    assert!(!Arc::ptr_eq(&first, &actor), "another role is verified anew");
}

#[tokio::test]
async fn a_narrowed_issuer_file_counts_after_a_hit() {
    let mut world = World::new().await;
    let token = world.valid();
    assert_eq!(world.reason(&token).await, None);
    assert_eq!(world.reason(&token).await, None);
    let before = world.catalogue.clone();
    world.edit(|issuer| issuer.algorithms = [Algorithm::Rs256].into());
    assert_eq!(world.reason(&token).await, Some(Reason::JwtAlgRefused));
    world.catalogue = before;
    world.catalogue.issuers.clear();
    assert_eq!(world.reason(&token).await, Some(Reason::JwtIssUntrusted));
}

#[tokio::test]
async fn a_removed_key_counts_after_a_hit() {
    let world = World::new().await;
    let token = world.valid();
    assert_eq!(world.reason(&token).await, None);
    world.idp.publish(&[]);
    world.clock.advance(300);
    assert_eq!(world.reason(&token).await, Some(Reason::JwksMiss));
}

#[tokio::test]
async fn a_replaced_key_counts_after_a_hit() {
    let world = World::new().await;
    let token = world.valid();
    assert_eq!(world.reason(&token).await, None);
    world.idp.publish(&[TestKey::es256().jwk("k1")]);
    world.clock.advance(300);
    assert_eq!(world.reason(&token).await, Some(Reason::JwtSigInvalid));
}

#[tokio::test]
async fn what_was_refused_is_not_kept() {
    let mut world = World::new().await;
    let token = world.valid();
    let issuers = std::mem::take(&mut world.catalogue.issuers);
    assert_eq!(world.reason(&token).await, Some(Reason::JwtIssUntrusted));
    world.catalogue.issuers = issuers;
    assert_eq!(world.reason(&token).await, None);
}
