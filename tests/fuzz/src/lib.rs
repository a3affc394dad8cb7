//! What fuzzing does with the doors that strangers' bytes come through: each function takes any bytes, drives the broker's own
//! parsers with them, and panics where a law is broken. It returns whether something was accepted.
//!
//! `fuzz/` holds the targets for cargo-fuzz, `corpus/` what they found, `tests/replay.rs` tries that again without them.
#![expect(
    clippy::expect_used,
    clippy::disallowed_methods,
    reason = "a broken law ends the process, and laws are about what secrets hold"
)]

mod broker;
mod bundle;
mod dpop;
mod form;
mod jwt;
mod signed;
mod url;

pub use self::{bundle::bundle, dpop::dpop, form::form, jwt::jwt, url::url};

/// A target: its name, which is that of its corpus too, and the function.
pub type Target = (&'static str, fn(&[u8]) -> bool);

/// Every target.
pub const TARGETS: [Target; 5] = [
    ("bundle", bundle),
    ("dpop", dpop),
    ("form", form),
    ("jwt", jwt),
    ("url", url),
];
