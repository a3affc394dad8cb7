//! The key that receipts are sealed with: AES-256-GCM, each bound to its issuance.

use std::{
    fmt,
    sync::{Arc, PoisonError, RwLock},
};

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use procura_core::{
    ids::IssuanceId,
    ports::{Entropy, SealError, Sealer},
};
use procura_wire::{Digest, Secret};
use serde::Deserialize;
use serde_json::{Value, json};
use zeroize::Zeroizing;

/// What sealed bytes begin with: the form, then the key's id.
const FORM: u8 = 1;
const ID: usize = 8;
/// Keys that a set keeps; a receipt lives no longer than its credential.
const KEPT: usize = 8;

/// The keys of a set: the first seals, all open. Empty where there is none.
#[derive(Default)]
pub(crate) struct Seals(RwLock<Arc<Vec<Key>>>);

struct Key {
    id: [u8; ID],
    key: RandomizedNonceKey,
}

/// A set is not acceptable. Says nothing of its content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("it must be a JWK Set of symmetric keys (kty oct, 256 bits); make one with `procura keys new --seal`")]
pub(crate) struct MalformedSet;

#[derive(Deserialize)]
struct Set {
    keys: Vec<Jwk>,
}

/// RFC 7518 section 6.4.
#[derive(Deserialize)]
struct Jwk {
    kty: String,
    k: Secret,
}

impl Seals {
    /// Reads a set.
    pub(crate) fn parse(set: &Secret) -> Result<Self, MalformedSet> {
        Ok(Self(RwLock::new(Arc::new(read(set)?))))
    }

    /// Puts another set in the place of this one. On an error this one stays.
    pub(crate) fn replace(&self, set: &Secret) -> Result<(), MalformedSet> {
        let keys = Arc::new(read(set)?);
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = keys;
        Ok(())
    }

    /// Whether there is a key.
    pub(crate) fn can_seal(&self) -> bool {
        !self.keys().is_empty()
    }

    fn keys(&self) -> Arc<Vec<Key>> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Sealer for Seals {
    #[expect(clippy::disallowed_methods, reason = "sealed here")]
    fn seal(&self, issuance: IssuanceId, receipt: &Secret) -> Result<Vec<u8>, SealError> {
        let keys = self.keys();
        let Key { id, key } = keys.first().ok_or(SealError::NoKey)?;
        let mut text = Zeroizing::new(receipt.expose().as_bytes().to_vec());
        let sealed = key.seal_in_place_append_tag(Aad::from(issuance.0.as_bytes()), &mut *text);
        let nonce = sealed.map_err(|_| SealError::NoKey)?;
        Ok([&[FORM], &id[..], nonce.as_ref(), &text].concat())
    }

    fn open(&self, issuance: IssuanceId, sealed: &[u8]) -> Result<Secret, SealError> {
        let opened = || {
            let (id, rest) = sealed.strip_prefix(&[FORM])?.split_at_checked(ID)?;
            let (nonce, text) = rest.split_at_checked(NONCE_LEN)?;
            let keys = self.keys();
            let Key { key, .. } = keys.iter().find(|key| key.id == id)?;
            let mut text = Zeroizing::new(text.to_vec());
            let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
            let clear = key
                .open_in_place(nonce, Aad::from(issuance.0.as_bytes()), &mut text)
                .ok()?;
            Some(Secret::new(std::str::from_utf8(clear).ok()?.to_owned()))
        };
        opened().ok_or(SealError::Unopened)
    }
}

/// Shows key ids only.
impl fmt::Debug for Seals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list()
            .entries(self.keys().iter().map(|key| hex::encode(key.id)))
            .finish()
    }
}

#[expect(clippy::disallowed_methods, reason = "the keys are read here, where they are held")]
fn read(set: &Secret) -> Result<Vec<Key>, MalformedSet> {
    let set: Set = serde_json::from_str(set.expose()).map_err(|_| MalformedSet)?;
    let keys: Option<Vec<Key>> = set.keys.iter().map(key).collect();
    keys.filter(|keys| !keys.is_empty()).ok_or(MalformedSet)
}

#[expect(clippy::disallowed_methods, reason = "the key is read here, where it is held")]
fn key(jwk: &Jwk) -> Option<Key> {
    let bytes = Zeroizing::new(URL_SAFE_NO_PAD.decode(jwk.k.expose()).ok()?);
    let id = Digest::of(&bytes).as_bytes()[..ID].try_into().ok()?;
    let key = RandomizedNonceKey::new(&AES_256_GCM, &bytes).ok()?;
    (jwk.kty == "oct").then_some(Key { id, key })
}

/// A new set of one key; or that of `old` with a new key before the ones that it has.
pub(crate) fn new_set(entropy: &dyn Entropy, old: Option<&Secret>) -> Result<Secret, MalformedSet> {
    let mut random = Zeroizing::new([0; 32]);
    entropy.fill(&mut *random);
    let mut keys = vec![json!({"kty": "oct", "k": URL_SAFE_NO_PAD.encode(*random)})];
    if let Some(old) = old {
        read(old)?;
        #[expect(
            clippy::disallowed_methods,
            reason = "the keys are written again into the set that replaces this one"
        )]
        let mut old: Value = serde_json::from_str(old.expose()).map_err(|_| MalformedSet)?;
        keys.extend(old["keys"].as_array_mut().map(std::mem::take).unwrap_or_default());
        keys.truncate(KEPT);
    }
    Ok(Secret::new(format!("{:#}\n", json!({ "keys": keys }))))
}

#[cfg(test)]
mod tests {
    use procura_core::Timestamp;

    use super::*;
    use crate::clock::SystemEntropy;

    fn id() -> IssuanceId {
        IssuanceId::new(Timestamp::from_second(1_800_000_000).expect("time"), &SystemEntropy)
    }

    fn receipt() -> Secret {
        Secret::new("ghs_receipt".into())
    }

    #[test]
    fn what_is_sealed_opens_for_its_issuance_alone_and_shows_nothing() {
        let seals = Seals::parse(&new_set(&SystemEntropy, None).expect("set")).expect("seals");
        let issuance = id();
        let sealed = seals.seal(issuance, &receipt()).expect("sealed");
        assert_eq!(seals.open(issuance, &sealed), Ok(receipt()));
        assert_eq!(seals.open(id(), &sealed), Err(SealError::Unopened));
        assert_ne!(
            seals.seal(issuance, &receipt()).expect("sealed"),
            sealed,
            "never twice the same"
        );
        assert!(!sealed.windows(4).any(|part| part == b"ghs_"));
        for at in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            assert_eq!(seals.open(issuance, &changed), Err(SealError::Unopened), "byte {at}");
            assert_eq!(
                seals.open(issuance, &sealed[..at]),
                Err(SealError::Unopened),
                "{at} bytes"
            );
        }
    }

    #[test]
    fn a_rotated_set_seals_with_the_new_key_and_opens_what_the_old_one_sealed() {
        let old = new_set(&SystemEntropy, None).expect("set");
        let seals = Seals::parse(&old).expect("seals");
        let issuance = id();
        let before = seals.seal(issuance, &receipt()).expect("sealed");
        seals
            .replace(&new_set(&SystemEntropy, Some(&old)).expect("rotated"))
            .expect("replaced");
        let after = seals.seal(issuance, &receipt()).expect("sealed");
        assert_ne!(before[1..=ID], after[1..=ID]);
        assert_eq!(seals.open(issuance, &before), Ok(receipt()));
        assert_eq!(
            Seals::parse(&old).expect("seals").open(issuance, &after),
            Err(SealError::Unopened)
        );
    }

    #[test]
    fn a_set_without_a_key_of_256_bits_is_refused() {
        for bad in ["", "{}", r#"{"keys":[]}"#, r#"{"keys":[{"kty":"oct","k":"c2hvcnQ"}]}"#] {
            assert_eq!(
                Seals::parse(&Secret::new(bad.into())).err(),
                Some(MalformedSet),
                "{bad}"
            );
        }
        assert_eq!(Seals::default().seal(id(), &receipt()), Err(SealError::NoKey));
    }
}
