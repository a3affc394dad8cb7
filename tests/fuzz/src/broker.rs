//! The broker that inputs are tried on: its policy, the issuer that it knows the keys of, and a clock that stands still.

use std::{
    collections::BTreeMap,
    sync::{Arc, LazyLock},
};

use procura_contract::manual_clock::ManualClock;
use procura_core::{
    Timestamp,
    catalogue::Catalogue,
    judgement::Judge as _,
    kind::Kind,
    ports::{Clock as _, SignError, Signer},
};
use procura_identity::{Builtin, HttpOptions, Identity, IdentityOptions};
use procura_policy::{Bundle, Options, load};
use procura_wire::{Digest, Secret};
use serde_json::{Value, json};

use crate::signed;

/// The broker's issuer identifier.
pub(crate) const OURS: &str = "https://procura.example.com";
/// The issuer's.
pub(crate) const ISSUER: &str = "https://id.example.com";
/// Id of the issuer's key that signs.
pub(crate) const KID: &str = "ed";

/// Kinds that need no client of a database or a cloud.
pub(crate) const KINDS: [&Kind; 4] = [
    &procura_target_github_app::KIND,
    &procura_target_jwt::KIND,
    &procura_target_oauth::KIND,
    &procura_target_vault::KIND,
];

/// A small bundle without a mistake.
pub(crate) const BUNDLE: [(&str, &str); 7] = [
    ("agents/bot.toml", include_str!("../bundle/agents/bot.toml")),
    ("bundle.toml", include_str!("../bundle/bundle.toml")),
    ("issuers/corp.toml", include_str!("../bundle/issuers/corp.toml")),
    ("rules/support.cedar", include_str!("../bundle/rules/support.cedar")),
    ("servers/tickets.toml", include_str!("../bundle/servers/tickets.toml")),
    ("targets/api.toml", include_str!("../bundle/targets/api.toml")),
    ("tests/support.toml", include_str!("../bundle/tests/support.toml")),
];

/// The bundle with these files put in, or taken out where they are empty.
pub(crate) fn bundle(files: BTreeMap<String, Vec<u8>>) -> Bundle {
    let base = BUNDLE.map(|(path, text)| (path.to_owned(), text.as_bytes().to_vec()));
    let mut all = BTreeMap::from(base);
    all.extend(files);
    all.retain(|_, bytes| !bytes.is_empty());
    Bundle::of(all)
}

/// A verifier, the time, and what its bundle declares.
pub(crate) struct Broker {
    pub(crate) identity: Identity,
    pub(crate) catalogue: Catalogue,
    pub(crate) now: Timestamp,
}

/// The one of this process.
pub(crate) static BROKER: LazyLock<Broker> = LazyLock::new(|| {
    let clock = Arc::new(ManualClock::default());
    Broker {
        catalogue: catalogue(),
        now: clock.now(),
        identity: Identity::new(IdentityOptions {
            issuer: OURS.to_owned(),
            http: HttpOptions::default(),
            builtin: Some(Builtin {
                issuer_identifier: ISSUER.to_owned(),
                jwks: jwks(),
            }),
            dev_secrets: BTreeMap::new(),
            signer: Arc::new(Tagger),
            vouchers: Default::default(),
            clock,
        })
        .expect("the options are good"),
    }
});

/// That of the bundle, its issuer one whose keys are known without a fetch.
fn catalogue() -> Catalogue {
    let issuer = include_str!("../bundle/issuers/corp.toml").replace(ISSUER, "builtin:dev");
    let files = BTreeMap::from([("issuers/corp.toml".to_owned(), issuer.into_bytes())]);
    let options = Options {
        allow_builtin: true,
        ..Options::default()
    };
    let loaded = load(&bundle(files), &KINDS, options);
    loaded.expect("the bundle is good").catalogue().clone()
}

/// The key that signs, and one of each other type that no input is signed with.
fn jwks() -> Value {
    json!({"keys": [
        {"kty": "OKP", "crv": "Ed25519", "kid": KID, "x": signed::x()},
        {"kty": "EC", "crv": "P-256", "kid": "ec", "x": X, "y": Y},
        {"kty": "RSA", "kid": "rsa", "n": N, "e": "AQAB"},
    ]})
}

const X: &str = "axfR8uEsQkf4vOblY6RA8ncDfYEt6zOg9KE5RdiYwpY";
const Y: &str = "T-NC4v4af5uO5-tKfA-eFivOM1drMV7Oy7ZAaDe_UfU";
const N: &str = "ner9HYJnyJQpkwvEciv2wW12tn7GHcT8hV7q31OvrB7bXRVcomOYSPkrN-qmVpEmDcgYAqAUnxph9JLIdA4yiSSzKHwybq5R70TTUUyBBPc8lpcR5KbWLahxfi1PoSQa571S5LoT8qw8PaQkJtN8CrPiXG84M7EZsM_l_50gbnGaxw8GvjtFoblAN_Ntz7THxhBZutoWEl69RlksXNy9vrbKuy7iqc8-79zCNCOwJcMIWm0LUawXpddDYAaXDXguHBpm9wSNaXPUpjraYk9kb3tkJTO5Rw-LjA7aUm0j3COiNpUb0Dvl04u0SHj4e8wEluFHdugzvke_ehReBC82MQ";

/// The broker's own key: it only tags here.
struct Tagger;

impl Signer for Tagger {
    fn sign(&self, _: &str, _: &[u8]) -> Result<Secret, SignError> {
        Err(SignError)
    }

    fn tags(&self, message: &[u8]) -> Vec<Digest> {
        vec![Digest::of_parts([b"fuzz", message])]
    }
}
