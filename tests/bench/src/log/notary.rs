//! Signs checkpoints as the broker that is started on the store will, with its key.

use std::{fs, path::Path};

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD as BASE64};
use procura_core::log::{Notary, NotaryError};
use serde_json::Value;
use signed_note::{Note, Signature, key_id};

use crate::Fault;

/// What the encoding of an Ed25519 key begins with (C2SP signed-note, signature types).
const ED25519_NOTE: u8 = 1;

pub(super) struct Key(Ed25519KeyPair);

impl Key {
    /// Reads what `procura keys new` wrote; it opens nothing but brokers of this benchmark.
    pub(super) fn read(path: &Path) -> Result<Self, Fault> {
        let set: Value = serde_json::from_slice(&fs::read(path)?)?;
        let member = |name: &str| BASE64.decode(set["keys"][0][name].as_str().unwrap_or_default());
        Ok(Self(Ed25519KeyPair::from_seed_and_public_key(
            &member("d")?,
            &member("x")?,
        )?))
    }
}

impl Notary for Key {
    fn sign(&self, name: &str, text: &str) -> Result<String, NotaryError> {
        let encoded = [&[ED25519_NOTE], self.0.public_key().as_ref()].concat();
        let signed = self.0.sign(text.as_bytes()).as_ref().to_vec();
        let signature = Signature::new(name.to_owned(), key_id(name, &encoded), signed);
        let note = signature.and_then(|signature| Note::new(text.as_bytes(), &[signature]));
        let note = note.map_err(|_| NotaryError::Foreign)?.to_bytes();
        String::from_utf8(note).map_err(|_| NotaryError::Foreign)
    }

    /// A text has one Ed25519 signature only, so it is made again.
    fn open(&self, name: &str, note: &str) -> Result<String, NotaryError> {
        let (text, _) = note.rsplit_once("\n\n").ok_or(NotaryError::Foreign)?;
        let text = format!("{text}\n");
        match self.sign(name, &text)? == note {
            true => Ok(text),
            false => Err(NotaryError::Foreign),
        }
    }

    fn verifiers(&self, _: &str) -> Vec<String> {
        Vec::new()
    }
}
