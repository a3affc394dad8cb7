//! What the bundle says of tokens beyond issuer, key and audience: whose they are, how their users must have logged in,
//! what they must carry for a grant, and who is asked about those that say nothing themselves.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use procura_wire::{Name, QualifiedId};

use crate::{Timestamp, identity::LogIn};

/// How far an issuer's clock may be ahead of ours.
pub const SKEW: Duration = Duration::from_secs(30);

/// How far an issuer is trusted: the keys of `issuers/*.toml` that are about its tokens' content.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Trust {
    /// `tenant`: the organisation that a token belongs to.
    pub tenant: Option<Tenant>,
    /// `require_acr`, `require_amr`, `max_age`: how its users must have logged in.
    pub log_in: LogInRule,
    /// `id_tokens`: ID tokens of its listed clients may be subject tokens.
    pub id_tokens: bool,
    /// `scopes_imply`: scopes that a scope includes, those that they include themselves among them.
    pub scopes_imply: BTreeMap<String, BTreeSet<String>>,
    /// `introspection`: it is asked about tokens.
    pub introspection: Option<Introspection>,
}

/// Where the organisation stands that a token belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tenant {
    /// Name of the claim, a string.
    pub claim: String,
    /// The only value that is accepted. `None`: servers list theirs.
    pub value: Option<String>,
}

/// How a user must have logged in (OpenID Connect Core section 2, RFC 9470).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LogInRule {
    /// One of these as `acr`, in the order of preference. Empty: any or none.
    pub acr: Vec<String>,
    /// All of these in `amr`.
    pub amr: BTreeSet<String>,
    /// Longest time since `auth_time`.
    pub max_age: Option<Duration>,
}

impl LogInRule {
    /// Whether that log-in suffices at that time. What a token does not say does not.
    pub fn is_met(&self, log_in: &LogIn, now: Timestamp) -> bool {
        let acr = self.acr.is_empty() || log_in.acr.as_ref().is_some_and(|acr| self.acr.contains(acr));
        let recent = |max: Duration| log_in.time.is_some_and(|at| at <= now + SKEW && now <= at + max);
        acr && self.amr.is_subset(&log_in.amr) && self.max_age.is_none_or(recent)
    }
}

/// How an issuer is asked about tokens (RFC 7662).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Introspection {
    /// Who the broker is there.
    pub client_id: String,
    /// Reference to its client secret, `NAME:PATH`.
    pub secret: String,
    /// Where to ask; `None` is the `introspection_endpoint` of the issuer's metadata.
    pub endpoint: Option<String>,
    /// Which tokens it is asked about.
    pub mode: IntrospectionMode,
}

/// Which tokens an issuer is asked about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IntrospectionMode {
    /// Those that are no JWTs.
    Opaque,
    /// JWTs too: one that was revoked is refused before it expires.
    Always,
}

impl Trust {
    /// Whether its JWTs are asked about too.
    pub fn asks_always(&self) -> bool {
        let introspection = self.introspection.as_ref();
        introspection.is_some_and(|introspection| introspection.mode == IntrospectionMode::Always)
    }

    /// The scopes with all that they include.
    pub fn with_implied(&self, scopes: &BTreeSet<String>) -> BTreeSet<String> {
        let implied = scopes.iter().filter_map(|scope| self.scopes_imply.get(scope));
        implied.flatten().chain(scopes).cloned().collect()
    }
}

/// Which tokens may be presented by a server: keys of `servers/*.toml`.
#[derive(Debug, Clone, Default)]
pub struct SubjectRules {
    /// `tenants`: organisations whose subjects it serves, `<issuer>/<value>`. Empty: those of issuers with one.
    pub tenants: BTreeSet<QualifiedId>,
    /// `opaque_tokens_from`: the issuer that is asked about tokens which are no JWTs.
    pub opaque_tokens_from: Option<Name>,
    /// `requires_scope` of each tool that has one: scopes that the subject token must carry, all of them.
    pub tool_scopes: BTreeMap<String, BTreeSet<String>>,
}

/// What a grant requires of the subject token: keys of `[grants.NAME]`.
#[derive(Debug, Clone, Default)]
pub struct Requires {
    /// `requires_scope`: scopes that it must carry, all of them.
    pub scope: BTreeSet<String>,
    /// `requires_auth`: how the user must have logged in.
    pub log_in: LogInRule,
}

/// What else is known of a verified token.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Vouched {
    /// It is an ID token; its audience is its client.
    pub id_token: bool,
    /// Its issuer said within the last 30 s that it is active.
    pub introspected: bool,
    /// The organisation that it belongs to, where its issuer's file says how to tell.
    pub tenant: Option<String>,
    /// `kid` of the key that signed it, at most [`MAX_KEY_ID`] characters of it; `None` where its issuer was asked.
    pub key: Option<String>,
}

/// Most characters that are kept of a `kid`.
pub const MAX_KEY_ID: usize = 128;

/// A `kid` as records have it.
pub fn key_id(kid: &str) -> String {
    kid.chars().take(MAX_KEY_ID).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule() -> LogInRule {
        LogInRule {
            acr: vec!["mfa".into(), "gold".into()],
            amr: ["otp".into(), "pwd".into()].into(),
            max_age: Some(Duration::from_secs(60)),
        }
    }

    fn log_in(acr: &str, amr: &[&str], age: i64) -> LogIn {
        LogIn {
            acr: Some(acr.into()),
            amr: amr.iter().map(|method| (*method).to_owned()).collect(),
            time: Some(Timestamp::from_second(1000 - age).expect("time")),
        }
    }

    #[test]
    fn req_112_one_acr_all_amr_and_a_known_age_are_needed() {
        let now = Timestamp::from_second(1000).expect("time");
        let met = |log_in: &LogIn| rule().is_met(log_in, now);
        assert!(met(&log_in("gold", &["pwd", "otp", "face"], 60)));
        assert!(
            met(&log_in("mfa", &["pwd", "otp"], -30)),
            "its clock may be ahead a little"
        );
        assert!(!met(&log_in("silver", &["pwd", "otp"], 0)));
        assert!(!met(&log_in("gold", &["otp"], 0)));
        assert!(!met(&log_in("gold", &["pwd", "otp"], 61)));
        assert!(!met(&log_in("gold", &["pwd", "otp"], -31)), "not even begun");
        assert!(!met(&LogIn::default()));
        let age_only = LogInRule {
            max_age: Some(Duration::from_secs(60)),
            ..LogInRule::default()
        };
        assert!(!age_only.is_met(&LogIn::default(), now), "an unknown age is no age");
        assert!(LogInRule::default().is_met(&LogIn::default(), now));
    }

    #[test]
    fn req_118_a_scope_holds_what_it_implies_and_nothing_like_it() {
        let trust = Trust {
            scopes_imply: BTreeMap::from([("issues:write".to_owned(), ["issues:read".to_owned()].into())]),
            ..Trust::default()
        };
        let held = |scope: &str| trust.with_implied(&[scope.to_owned()].into());
        assert!(held("issues:write").contains("issues:read"));
        assert!(!held("issues:read").contains("issues:write"));
        assert!(!held("issues").contains("issues:read"));
    }
}
