//! Nonces for DPoP proofs (RFC 9449 section 8): a minute and the broker's tag over it. Nothing is kept, so that every
//! replica takes what another made, also after a restart; keys that rotate take theirs along until they leave the set.

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use procura_core::{Timestamp, ports::Signer};
use procura_wire::Digest;

/// What the tags are for.
const PURPOSE: &[u8] = b"procura dpop nonce v1\0";
/// Minutes that a nonce is taken after its own.
const AGE: i64 = 5;
/// Minutes that another replica's clock may be ahead.
const AHEAD: i64 = 1;

/// The nonce of this minute.
pub(crate) fn make(signer: &dyn Signer, now: Timestamp) -> Option<String> {
    let minute = minute(now);
    let tag = tags(signer, minute).into_iter().next()?;
    let bytes = [&minute.to_be_bytes()[..], tag.as_bytes()].concat();
    Some(BASE64_URL_SAFE_NO_PAD.encode(bytes))
}

/// Whether a replica of this broker made it lately.
pub(crate) fn is_ours(signer: &dyn Signer, nonce: &str, now: Timestamp) -> bool {
    let Some((minute_of_it, tag)) = read(nonce) else {
        return false;
    };
    let fresh = (minute(now) - AGE..=minute(now) + AHEAD).contains(&minute_of_it);
    fresh && tags(signer, minute_of_it).contains(&tag)
}

fn minute(now: Timestamp) -> i64 {
    now.as_second().div_euclid(60)
}

fn tags(signer: &dyn Signer, minute: i64) -> Vec<Digest> {
    signer.tags(&[PURPOSE, &minute.to_be_bytes()].concat())
}

fn read(nonce: &str) -> Option<(i64, Digest)> {
    // Eight bytes and a tag.
    let bytes: [u8; 40] = BASE64_URL_SAFE_NO_PAD.decode(nonce).ok()?.try_into().ok()?;
    let (minute, tag) = bytes.split_at(8);
    Some((
        i64::from_be_bytes(minute.try_into().ok()?),
        Digest::from_bytes(tag.try_into().ok()?),
    ))
}
