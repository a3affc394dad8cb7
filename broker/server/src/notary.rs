//! The log's keys: Ed25519, read from a JWK set, signing notes as C2SP signed-note has them.

use std::{
    collections::BTreeSet,
    fmt,
    sync::{Arc, PoisonError, RwLock},
};

use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};
use base64::{
    Engine,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use procura_core::log::{Notary, NotaryError};
use procura_wire::Secret;
use serde::Deserialize;
use signed_note::{Note, Signature, Verifier, VerifierList, key_id};
use zeroize::Zeroizing;

/// What the encoding of an Ed25519 key begins with (C2SP signed-note, signature types).
const ED25519_NOTE: u8 = 1;

/// The keys of a set. Those that are `active` sign, several at once while keys are rotated; all verify.
pub(crate) struct LogKeys(RwLock<Arc<Vec<Key>>>);

struct Key {
    pair: Ed25519KeyPair,
    /// Type and public key, as key ids are taken over.
    encoded: Vec<u8>,
    active: bool,
}

/// A set is not acceptable. Says nothing of its content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "it must be a JWK Set of private Ed25519 keys, each with a state of next, active or retired; make one with `procura \
     keys new FILE --algorithm ed25519`"
)]
pub(crate) struct MalformedSet;

#[derive(Deserialize)]
struct Set {
    keys: Vec<Jwk>,
}

/// RFC 8037 section 2.
#[derive(Deserialize)]
struct Jwk {
    kty: String,
    crv: String,
    x: String,
    d: Secret,
    state: State,
}

#[derive(Deserialize, PartialEq)]
#[serde(rename_all = "lowercase")]
enum State {
    Next,
    Active,
    Retired,
}

impl LogKeys {
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

    fn keys(&self) -> Arc<Vec<Key>> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Shows nothing but how many there are.
impl fmt::Debug for LogKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} keys of the log", self.keys().len())
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
    let seed = Zeroizing::new(URL_SAFE_NO_PAD.decode(jwk.d.expose()).ok()?);
    let public = URL_SAFE_NO_PAD.decode(&jwk.x).ok()?;
    let pair = Ed25519KeyPair::from_seed_and_public_key(&seed, &public).ok()?;
    let encoded = [&[ED25519_NOTE], pair.public_key().as_ref()].concat();
    (jwk.kty == "OKP" && jwk.crv == "Ed25519").then(|| Key {
        pair,
        encoded,
        active: jwk.state == State::Active,
    })
}

impl Notary for LogKeys {
    fn sign(&self, name: &str, text: &str) -> Result<String, NotaryError> {
        let keys = self.keys();
        let signature = |key: &Key| {
            let signed = key.pair.sign(text.as_bytes()).as_ref().to_vec();
            Signature::new(name.to_owned(), key_id(name, &key.encoded), signed)
        };
        let signatures = keys.iter().filter(|key| key.active).map(signature);
        let signatures: Vec<_> = signatures.collect::<Result<_, _>>().map_err(|_| NotaryError::Foreign)?;
        if signatures.is_empty() {
            return Err(NotaryError::NoKey);
        }
        let note = Note::new(text.as_bytes(), &signatures).map_err(|_| NotaryError::Foreign)?;
        String::from_utf8(note.to_bytes()).map_err(|_| NotaryError::Foreign)
    }

    fn open(&self, name: &str, note: &str) -> Result<String, NotaryError> {
        let keys = self.keys();
        let known = keys
            .iter()
            .map(|key| Box::new(Known::of(name, key)) as Box<dyn Verifier>);
        let known = VerifierList::new(known.collect());
        let note = Note::from_bytes(note.as_bytes()).map_err(|_| NotaryError::Foreign)?;
        note.verify(&known).map_err(|_| NotaryError::Foreign)?;
        String::from_utf8(note.text().to_vec()).map_err(|_| NotaryError::Foreign)
    }

    fn verifiers(&self, name: &str) -> Vec<String> {
        let line = |key: &Key| {
            let id = key_id(name, &key.encoded);
            format!("{name}+{id:08x}+{}", STANDARD.encode(&key.encoded))
        };
        self.keys().iter().map(line).collect()
    }
}

/// Public keys that an auditor was given.
pub(crate) struct Verifiers(Vec<Known>);

impl Verifiers {
    /// Reads `vkey` lines (C2SP signed-note). Without any, nobody looks whose signatures they are.
    ///
    /// # Errors
    ///
    /// Which one is none of an Ed25519 key.
    pub(crate) fn parse(lines: &[String]) -> Result<Self, String> {
        let malformed = |line: &String| format!("{line}: it is no verifier key NAME+HASH+KEY of an Ed25519 key");
        let known = |line: &String| Known::parse(line).ok_or_else(|| malformed(line));
        lines.iter().map(known).collect::<Result<_, _>>().map(Self)
    }

    /// Whether there are none, so that nobody looks whose signatures they are.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The text of a note that one of the keys signed under that name; of any note, where there are no keys.
    ///
    /// # Errors
    ///
    /// The note is malformed, or none of them signed it.
    pub(crate) fn open(&self, name: &str, note: &str) -> Result<String, String> {
        let note = Note::from_bytes(note.as_bytes()).map_err(|_| "it is no signed note".to_owned())?;
        if !self.0.is_empty() {
            // Lines of several epochs may be of one key.
            let of_name: BTreeSet<Known> = self.0.iter().filter_map(|known| known.under(name)).collect();
            let of_name = of_name.into_iter();
            let known = VerifierList::new(of_name.map(|known| Box::new(known) as Box<dyn Verifier>).collect());
            note.verify(&known)
                .map_err(|_| format!("no given key of {name} signed it"))?;
        }
        String::from_utf8(note.text().to_vec()).map_err(|_| "it is no signed note".to_owned())
    }
}

/// A key under a name.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Known {
    name: String,
    id: u32,
    public: Vec<u8>,
}

impl Known {
    fn parse(line: &str) -> Option<Self> {
        let mut parts = line.splitn(3, '+');
        let (name, id, key) = (parts.next()?, parts.next()?, parts.next()?);
        let encoded = STANDARD.decode(key).ok()?;
        let known = Self {
            name: name.to_owned(),
            id: key_id(name, &encoded),
            public: encoded.strip_prefix(&[ED25519_NOTE])?.to_vec(),
        };
        (known.public.len() == 32 && format!("{:08x}", known.id) == id).then_some(known)
    }

    /// The same key under that name, if it is the name of the same log, in whatever epoch.
    fn under(&self, name: &str) -> Option<Self> {
        let same_log = || base_of(&self.name).is_some_and(|base| base_of(name) == Some(base));
        (self.name == name || same_log()).then(|| Self {
            name: name.to_owned(),
            id: key_id(name, &[&[ED25519_NOTE], &self.public[..]].concat()),
            public: self.public.clone(),
        })
    }

    fn of(name: &str, key: &Key) -> Self {
        Self {
            name: name.to_owned(),
            id: key_id(name, &key.encoded),
            public: key.pair.public_key().as_ref().to_vec(),
        }
    }
}

/// The name of one of our logs without the number of its epoch.
fn base_of(name: &str) -> Option<&str> {
    let (base, number) = name.rsplit_once("/procura/")?;
    let digits = number.bytes().all(|byte| byte.is_ascii_digit());
    (digits && !number.is_empty()).then_some(base)
}

impl Verifier for Known {
    fn name(&self) -> &str {
        &self.name
    }

    fn key_id(&self) -> u32 {
        self.id
    }

    fn verify(&self, message: &[u8], signature: &[u8]) -> bool {
        UnparsedPublicKey::new(&ED25519, &self.public)
            .verify(message, signature)
            .is_ok()
    }
}

#[cfg(test)]
mod others;

#[cfg(test)]
mod tests {
    use procura_target_jwt::{SigningAlgorithm, new_set, rotate};
    use serde_json::json;

    use super::*;

    const NAME: &str = "broker.example.com/procura/1";
    const TEXT: &str = "broker.example.com/procura/1\n5\nTszzRgjTG6xce+z2AG31kAXYKBgQVtCSCE40HmuwBb0=\n";

    fn set() -> Secret {
        new_set(SigningAlgorithm::Ed25519).expect("set")
    }

    fn keys(set: &Secret) -> LogKeys {
        LogKeys::parse(set).expect("keys")
    }

    #[test]
    fn req_149_a_note_is_text_an_empty_line_and_a_signature_of_each_active_key() {
        let keys = keys(&set());
        let note = keys.sign(NAME, TEXT).expect("signed");
        let (text, signature) = note.split_once("\n\n").expect("two parts");
        assert_eq!(format!("{text}\n"), TEXT);
        let line = signature
            .strip_prefix("— broker.example.com/procura/1 ")
            .expect("a name");
        let bytes = STANDARD.decode(line.trim_end()).expect("base64");
        let vkey = keys.verifiers(NAME).swap_remove(0);
        assert_eq!((bytes.len(), signature.lines().count()), (4 + 64, 1));
        assert_eq!(vkey.split('+').nth(1), Some(hex::encode(&bytes[..4]).as_str()));
        assert_eq!(keys.open(NAME, &note).as_deref(), Ok(TEXT));
    }

    /// RFC 8032 section 7.1, test 1, and what the library itself makes of the same key.
    #[test]
    fn req_152_notes_are_signed_with_ed25519_as_others_read_it() {
        let (d, x) = (
            hex::decode("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60").expect("hex"),
            hex::decode("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a").expect("hex"),
        );
        let jwk = json!({"kty": "OKP", "crv": "Ed25519", "x": URL_SAFE_NO_PAD.encode(x), "d": URL_SAFE_NO_PAD.encode(d),
                         "state": "active"});
        let keys = keys(&Secret::new(json!({"keys": [jwk]}).to_string()));
        let vkey = keys.verifiers(NAME).swap_remove(0);
        let independent = signed_note::StandardVerifier::new(&vkey).expect("a vkey");
        let note = keys.sign(NAME, TEXT).expect("signed");
        let note = Note::from_bytes(note.as_bytes()).expect("a note");
        let (verified, unverified) = note
            .verify(&VerifierList::new(vec![Box::new(independent)]))
            .expect("verified");
        assert_eq!((verified.len(), unverified.len()), (1, 0));
    }

    #[test]
    fn attack_196_unknown_signatures_are_ignored_and_forged_ones_are_not() {
        let keys = keys(&set());
        let note = keys.sign(NAME, TEXT).expect("signed");
        let stranger = LogKeys::parse(&set()).expect("keys").sign(NAME, TEXT).expect("signed");
        let line = stranger.lines().last().expect("a signature");
        let both = format!("{note}{line}\n");
        assert_eq!(keys.open(NAME, &both).as_deref(), Ok(TEXT));
        let unknown = format!("{note}— someone.example/log {}\n", STANDARD.encode([7; 68]));
        assert_eq!(keys.open(NAME, &unknown).as_deref(), Ok(TEXT));
        for bad in [
            stranger.clone(),
            note.replace("\n5\n", "\n6\n"),
            note.replace('\n', "\r\n"),
            note.trim_end().to_owned(),
            format!("{note}\n"),
            note.replace("\n\n", "\n"),
            note.replace("— ", "- "),
            String::new(),
        ] {
            assert_eq!(keys.open(NAME, &bad), Err(NotaryError::Foreign), "{bad:?}");
        }
        assert_eq!(keys.open("another.example/procura/1", &note), Err(NotaryError::Foreign));
    }

    #[test]
    fn a_rotated_set_opens_what_the_old_one_signed_and_several_active_keys_all_sign() {
        let old = set();
        let before = keys(&old).sign(NAME, TEXT).expect("signed");
        let keys = keys(&old);
        let new = rotate(&old, SigningAlgorithm::Ed25519).expect("rotated");
        keys.replace(&new).expect("replaced");
        assert_eq!(keys.open(NAME, &before).as_deref(), Ok(TEXT));
        assert_ne!(keys.sign(NAME, TEXT).expect("signed"), before);
        #[expect(clippy::disallowed_methods, reason = "a key of this test alone")]
        let both = new.expose().replace("retired", "active");
        keys.replace(&Secret::new(both)).expect("replaced");
        let note = keys.sign(NAME, TEXT).expect("signed");
        assert_eq!(note.matches('—').count(), 2);
        assert_eq!(
            LogKeys::parse(&old).expect("keys").open(NAME, &note).as_deref(),
            Ok(TEXT)
        );
    }

    #[test]
    fn a_set_without_an_ed25519_key_is_refused_and_one_without_an_active_key_signs_nothing() {
        let es256 = new_set(SigningAlgorithm::Es256).expect("set");
        for bad in [Secret::new("{}".into()), Secret::new(r#"{"keys":[]}"#.into()), es256] {
            assert_eq!(LogKeys::parse(&bad).err(), Some(MalformedSet));
        }
        #[expect(clippy::disallowed_methods, reason = "a key of this test alone")]
        let none = Secret::new(set().expose().replace("active", "retired"));
        assert_eq!(keys(&none).sign(NAME, TEXT), Err(NotaryError::NoKey));
        assert_eq!(format!("{:?}", keys(&none)), "2 keys of the log");
    }
}
