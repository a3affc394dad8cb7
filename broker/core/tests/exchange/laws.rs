//! Laws that hold for every request: what is refused mints nothing, lifetimes never grow.

use futures_util::FutureExt;
use procura_core::judgement::Effect;
use proptest::prelude::*;

use crate::{fakes::Mint, world::World};

fn value() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("alice".to_owned()),
        Just("api".to_owned()),
        Just("db".to_owned()),
        Just("read".to_owned()),
        Just("rows".to_owned()),
        Just("read write".to_owned()),
        Just("list".to_owned()),
        Just("new".to_owned()),
        Just("60".to_owned()),
        Just("urn:ietf:params:oauth:token-type:access_token".to_owned()),
        Just("urn:procura:token-type:postgres".to_owned()),
        Just("https://api.example/v1".to_owned()),
        Just(r#"[{"type":"jwt"}]"#.to_owned()),
        Just(String::new()),
        "\\PC{0,20}",
    ]
}

fn param() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec![
        "grant_type",
        "subject_token",
        "subject_token_type",
        "actor_token",
        "actor_token_type",
        "audience",
        "resource",
        "scope",
        "authorization_details",
        "requested_token_type",
        "requested_expires_in",
        "session",
        "tool",
    ])
}

fn mint() -> impl Strategy<Value = Mint> {
    prop::sample::select(vec![
        Mint::Well,
        Mint::Well,
        Mint::Wider,
        Mint::Longer,
        Mint::Fails,
        Mint::IsLost,
    ])
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn what_is_refused_leaves_nothing_and_what_is_issued_is_recorded(
        tweak in prop::collection::btree_map(param(), value(), 0..4),
        (local, external) in (mint(), mint()),
        permitted in any::<bool>(),
    ) {
        let world = World::new();
        *world.local.mint.lock().expect("lock") = local;
        *world.external.mint.lock().expect("lock") = external;
        world.rules(|rules| rules.effect = if permitted { Effect::Permit } else { Effect::Deny });
        let tweak: Vec<_> = tweak.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let answer = world.exchange(&tweak).now_or_never().expect("nothing here waits");
        match answer {
            Ok(issued) => {
                let leaf = world.leaf(issued.issuance).now_or_never().expect("nothing here waits");
                prop_assert!(permitted);
                prop_assert_eq!(&leaf["value_sha256"], &serde_json::json!(issued.value.digest()));
                prop_assert!(issued.expires_in <= 600);
            }
            Err(refused) => {
                prop_assert_eq!(world.external.alive(), 0);
                world.check_logged(&refused).now_or_never().expect("nothing here waits");
                if refused.reason.error() != procura_wire::OAuthError::ServerError
                    && refused.reason.error() != procura_wire::OAuthError::TemporarilyUnavailable
                {
                    prop_assert_eq!(world.local.minted() + world.external.minted(), 0);
                }
            }
        }
    }
}
