//! The one key that signs, and how an input becomes a token.

use std::sync::LazyLock;

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use serde_json::{Map, Value};

/// Signatures of Ed25519 are always the same: whether a token was signed is seen by signing it again.
static KEY: LazyLock<Ed25519KeyPair> =
    LazyLock::new(|| Ed25519KeyPair::from_seed_unchecked(&[7; 32]).expect("32 bytes are a seed"));

/// Base64url without padding.
pub(crate) fn b64(bytes: &[u8]) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(bytes)
}

/// `x` of the key.
pub(crate) fn x() -> String {
    b64(KEY.public_key().as_ref())
}

/// A compact JWS of the input: of the lines header and payload, signed, or of three, where the last one damages the signature. What
/// has no lines stands for itself.
pub(crate) fn token(input: &str) -> String {
    let mut lines = input.splitn(3, '\n');
    let (Some(header), Some(payload)) = (lines.next(), lines.next()) else {
        return input.to_owned();
    };
    let signed = format!("{}.{}", b64(header.as_bytes()), b64(payload.as_bytes()));
    let mut signature = sign(&signed);
    let damage = lines.next().unwrap_or_default();
    for (byte, damage) in signature.iter_mut().zip(damage.bytes()) {
        *byte ^= damage;
    }
    format!("{signed}.{}", b64(&signature))
}

/// Whether the key signed exactly this.
pub(crate) fn is_signed(token: &str) -> bool {
    token
        .rsplit_once('.')
        .is_some_and(|(signed, signature)| signature == b64(&sign(signed)))
}

/// Header and payload, as a reader that knows nothing of the broker's reads them.
pub(crate) fn members(token: &str) -> Option<[Map<String, Value>; 2]> {
    let mut parts = token.split('.').map(|part| {
        let bytes = BASE64_URL_SAFE_NO_PAD.decode(part).ok()?;
        serde_json::from_slice::<Map<String, Value>>(&bytes).ok()
    });
    Some([parts.next()??, parts.next()??])
}

fn sign(text: &str) -> Vec<u8> {
    KEY.sign(text.as_bytes()).as_ref().to_vec()
}
