//! A stand-in of an authorization server, a target there and its minter.

use std::sync::Arc;

use procura_contract::{
    asked::{self, Asked, GivenSource},
    manual_clock::ManualClock,
    upstream::{CLIENT, FakeUpstream},
};
use procura_core::{
    catalogue::Target,
    kind::{MintError, Minted, Minter},
    ports::Clock,
};
use procura_target_oauth::KIND;
use serde_json::{Value, json};

pub(crate) struct Bed {
    pub(crate) upstream: FakeUpstream,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) source: Arc<GivenSource>,
    pub(crate) target: Target,
    pub(crate) minter: Arc<dyn Minter>,
}

/// By client credentials, the scopes `read` and `write`.
pub(crate) fn grant() -> Value {
    json!({ "grant_type": "client_credentials", "scopes": ["read", "write"] })
}

/// In exchange for the subject token.
pub(crate) fn exchange() -> Value {
    json!({ "grant_type": "token_exchange", "scopes": ["read"], "audience": "api", "resource": "https://api.test/" })
}

/// The grants hand the subject token on.
pub(crate) fn forwarding(mut target: Target) -> Target {
    target
        .grants
        .values_mut()
        .for_each(|grant| grant.forward_subject = true);
    target
}

impl Bed {
    pub(crate) fn new() -> Self {
        Self::with(&grant(), |_, _| ())
    }

    /// With this grant, and the target's own keys changed by the tweak, which is told the issuer.
    pub(crate) fn with(grant: &Value, tweak: impl FnOnce(&mut Value, &str)) -> Self {
        let clock = Arc::new(ManualClock::default());
        let upstream = FakeUpstream::start().expect("a server");
        let issuer = upstream.issuer();
        let mut own = json!({ "issuer": issuer, "client_id": CLIENT.0, "client_auth": "client_secret_basic" });
        tweak(&mut own, &issuer);
        let own = own
            .as_object()
            .expect("keys")
            .iter()
            .filter(|(_, value)| !value.is_null());
        let own = Value::Object(own.map(|(key, value)| (key.clone(), value.clone())).collect());
        let mut target = asked::with_set(asked::target(&KIND, &own, grant), "scopes", false);
        if grant["grant_type"] == "token_exchange" {
            target = forwarding(target);
        }
        assert_eq!((KIND.check)(&target), []);
        let source = GivenSource::new(CLIENT.1);
        let minter = asked::open(&target, Arc::clone(&source) as _, Arc::clone(&clock) as _).expect("a minter");
        Self {
            upstream,
            clock,
            source,
            target,
            minter,
        }
    }

    pub(crate) fn asked(&self) -> Asked {
        Asked::new(&self.target, self.clock.now())
    }

    pub(crate) async fn mint(&self, asked: &Asked) -> Result<Minted, MintError> {
        asked.mint(&*self.minter, &*self.clock).await
    }
}
