//! Tokens that are bound to a key.

use std::sync::Arc;

use procura_core::{
    identity::Confirmation,
    judgement::Plan,
    kind::{KindPorts, MintError},
    ports::Signer,
};
use procura_wire::Secret;
use serde_json::{Value, json};

use super::{Bench, caller, name, plan, ports, target};
use crate::{KIND, Keyring};

#[tokio::test]
async fn req_081_req_085_a_token_is_bound_to_the_key_of_its_plan() {
    let bench = Bench::of(target());
    for (confirmation, cnf) in [
        (Some(Confirmation::Jkt("t".into())), json!({"jkt": "t"})),
        (Some(Confirmation::X5tS256("t".into())), json!({"x5t#S256": "t"})),
        (None, Value::Null),
    ] {
        let plan = Plan {
            confirmation,
            ..plan(&["read"])
        };
        let minted = bench.mint(&plan, &caller()).await.expect("minted");
        assert_eq!(bench.claims(&minted)["cnf"], cnf);
    }
}

/// Signs tokens that are bound to nothing.
struct Forgetful(Arc<Keyring>);

impl Signer for Forgetful {
    fn sign(&self, typ: &str, claims: &[u8]) -> Result<Secret, procura_core::ports::SignError> {
        let mut claims: Value = serde_json::from_slice(claims).expect("claims");
        claims.as_object_mut().expect("claims").remove("cnf");
        self.0.sign(typ, claims.to_string().as_bytes())
    }

    fn tags(&self, _: &[u8]) -> Vec<procura_wire::Digest> {
        Vec::new()
    }
}

#[tokio::test]
async fn a_token_that_lost_its_binding_is_not_issued() {
    let mut bench = Bench::of(target());
    let forgetful = KindPorts {
        signer: Arc::new(Forgetful(Arc::clone(&bench.keyring))),
        ..ports(&bench.keyring, &["corp"])
    };
    bench.minter = (KIND.open)(&name("api"), &target(), forgetful).expect("minter");
    let plan = Plan {
        confirmation: Some(Confirmation::Jkt("t".into())),
        ..plan(&["read"])
    };
    assert!(matches!(bench.mint(&plan, &caller()).await, Err(MintError::Failed(_))));
}
