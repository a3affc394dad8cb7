//! The broker's signing keys: read from a JWK Set, replaced without a restart.

use std::{
    fmt,
    sync::{Arc, PoisonError, RwLock},
};

use procura_core::{
    Timestamp,
    ports::{SignError, Signer},
};
use procura_wire::{Digest, Secret};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::jwk::{self, KeyringError, PrivateJwk, SigningAlgorithm, SigningKey, State, encode};

/// Retired keys that a rotation keeps: more than any token that one of them signed can need.
const RETIRED: usize = 8;

/// Signing keys in force. The text that they come from is a JWK Set of private keys, each with a
/// member `state`: `next` is published and does not sign yet, `active` signs, `retired` is published
/// for what it signed.
pub struct Keyring(RwLock<Arc<Keys>>);

struct Keys {
    all: Vec<SigningKey>,
    /// The one active key; `None` where there is none or more than one.
    active: Option<usize>,
    /// Its `exp`.
    ends: Option<Timestamp>,
}

#[derive(Deserialize)]
struct PrivateSet {
    keys: Vec<PrivateJwk>,
}

/// RFC 7515 section 4.1.
#[derive(Serialize)]
struct Header<'a> {
    alg: &'a str,
    kid: &'a str,
    typ: &'a str,
}

impl Keyring {
    /// Reads a set.
    pub fn parse(set: &Secret) -> Result<Self, KeyringError> {
        Ok(Self(RwLock::new(Arc::new(read(set)?))))
    }

    /// Puts another set in the place of this one. On an error this one stays.
    pub fn replace(&self, set: &Secret) -> Result<(), KeyringError> {
        let keys = Arc::new(read(set)?);
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = keys;
        Ok(())
    }

    /// The public half of every key as a JWK Set (RFC 7517 section 5): `kid` is the RFC 7638 thumbprint.
    pub fn public_jwks(&self) -> Value {
        let keys = self.keys();
        let public: Vec<_> = keys.all.iter().map(|key| &key.public).collect();
        json!({ "keys": public })
    }

    /// When the active key should have been replaced: its member `exp`, if it has one. It still signs then.
    pub fn ends(&self) -> Option<Timestamp> {
        self.keys().ends
    }

    fn keys(&self) -> Arc<Keys> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Signer for Keyring {
    fn sign(&self, typ: &str, claims: &[u8]) -> Result<Secret, SignError> {
        let keys = self.keys();
        let key = keys.active.and_then(|at| keys.all.get(at)).ok_or(SignError)?;
        let (alg, kid) = (key.alg(), key.kid.as_str());
        let header = serde_json::to_vec(&Header { alg, kid, typ }).map_err(|_| SignError)?;
        let mut token = format!("{}.{}", encode(&header), encode(claims));
        let signature = key.sign(token.as_bytes()).ok_or(SignError)?;
        token.push('.');
        token.push_str(&encode(&signature));
        Ok(Secret::new(token))
    }

    fn tags(&self, message: &[u8]) -> Vec<Digest> {
        let keys = self.keys();
        let active = keys.active.and_then(|at| keys.all.get(at)).into_iter();
        let others = keys.all.iter().enumerate().filter(|(at, _)| keys.active != Some(*at));
        let all = active.chain(others.map(|(_, key)| key));
        all.filter_map(|key| key.tag(message)).collect()
    }
}

/// Shows key ids only.
impl fmt::Debug for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let keys = self.keys();
        f.debug_list().entries(keys.all.iter().map(|key| &key.kid)).finish()
    }
}

fn read(set: &Secret) -> Result<Keys, KeyringError> {
    #[expect(clippy::disallowed_methods, reason = "the keys are read here, where they are held")]
    let set: PrivateSet = serde_json::from_str(set.expose()).map_err(|_| KeyringError::Malformed)?;
    let mut all = Vec::<SigningKey>::new();
    for (at, jwk) in set.keys.iter().enumerate() {
        let key = SigningKey::read(jwk).ok_or(KeyringError::Key(at))?;
        if all.iter().any(|other| other.kid == key.kid) {
            return Err(KeyringError::Twice(at));
        }
        all.push(key);
    }
    let mut active = (0..all.len()).filter(|at| set.keys[*at].state == State::Active);
    let active = match (active.next(), active.next()) {
        (Some(one), None) => Some(one),
        _ => None,
    };
    let ends = active.and_then(|at| set.keys[at].exp);
    let ends = ends.and_then(|second| Timestamp::from_second(second).ok());
    Ok(Keys { all, active, ends })
}

/// A new set: one active key and the next one.
pub fn new_set(algorithm: SigningAlgorithm) -> Result<Secret, KeyringError> {
    let active = generate(algorithm, "active")?;
    let next = generate(algorithm, "next")?;
    Ok(Secret::new(format!("{:#}\n", json!({ "keys": [active, next] }))))
}

/// A key that is no broker's: the private JWK, and its public half.
pub fn new_key(algorithm: SigningAlgorithm) -> Result<(Secret, Value), KeyringError> {
    let key = jwk::generate(algorithm)?;
    let mut public = key.clone();
    if let Some(members) = public.as_object_mut() {
        members.retain(|name, _| !jwk::PRIVATE.contains(&name.as_str()));
    }
    Ok((Secret::new(format!("{key:#}\n")), public))
}

/// The set one rotation later: `active` becomes `retired`, `next` becomes `active`, and a new `next`
/// of that algorithm is made. Tokens that were signed before stay verifiable.
pub fn rotate(set: &Secret, algorithm: SigningAlgorithm) -> Result<Secret, KeyringError> {
    read(set)?;
    #[expect(
        clippy::disallowed_methods,
        reason = "the keys are written again into the set that replaces this one"
    )]
    let mut set: Value = serde_json::from_str(set.expose()).map_err(|_| KeyringError::Malformed)?;
    let keys = set
        .get_mut("keys")
        .and_then(Value::as_array_mut)
        .ok_or(KeyringError::Malformed)?;
    let count = |keys: &[Value], state: &str| keys.iter().filter(|key| key["state"] == state).count();
    if count(keys, "active") != 1 || count(keys, "next") != 1 {
        return Err(KeyringError::States);
    }
    for key in keys.iter_mut() {
        key["state"] = if key["state"] == "next" { "active" } else { "retired" }.into();
    }
    let mut surplus = count(keys, "retired").saturating_sub(RETIRED);
    keys.retain(|key| {
        let drop = surplus > 0 && key["state"] == "retired";
        surplus -= usize::from(drop);
        !drop
    });
    keys.push(generate(algorithm, "next")?);
    Ok(Secret::new(format!("{set:#}\n")))
}

/// The same set with `exp`, in seconds since 1970, in its active key: when it should have been replaced.
pub fn due(set: &Secret, at: Timestamp) -> Result<Secret, KeyringError> {
    read(set)?;
    #[expect(clippy::disallowed_methods, reason = "the keys are written again into the same set")]
    let mut set: Value = serde_json::from_str(set.expose()).map_err(|_| KeyringError::Malformed)?;
    let keys = set["keys"].as_array_mut().into_iter().flatten();
    for key in keys.filter(|key| key["state"] == "active") {
        key["exp"] = at.as_second().into();
    }
    Ok(Secret::new(format!("{set:#}\n")))
}

fn generate(algorithm: SigningAlgorithm, state: &str) -> Result<Value, KeyringError> {
    let mut jwk = jwk::generate(algorithm)?;
    jwk["state"] = state.into();
    Ok(jwk)
}
