//! What records say of the keys and sources behind an issuance.

use procura_core::trust::{MAX_KEY_ID, key_id};

use crate::world::{World, name, token};

#[tokio::test]
async fn a_record_names_the_issuers_key_and_the_targets_source() {
    let world = World::new();
    world.rules(|rules| {
        let target = rules.catalogue.targets.get_mut(&name("api")).expect("target");
        target.source = Some("vault:kv/api".into());
    });
    let mut signed = token(&world.clock);
    signed.vouched.key = Some("corp-2026".into());
    world.knows("alice", signed);
    let issued = world.exchange(&[]).await.expect("issued");
    let leaf = world.leaf(issued.issuance).await;
    assert_eq!(
        (&leaf["token_key"], &leaf["source"]),
        (&"corp-2026".into(), &"vault:kv/api".into())
    );
    assert!(leaf["signing_key"].is_null(), "what is no JWT names no key");
}

#[test]
fn a_key_id_is_cut_to_a_safe_length() {
    assert_eq!(key_id(&"k".repeat(1000)).len(), MAX_KEY_ID);
}
