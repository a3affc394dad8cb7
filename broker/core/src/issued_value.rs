//! From an issued value to its record.

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use procura_wire::{Digest, Secret};
use serde::Deserialize;

use crate::{
    ids::IssuanceId,
    ledger::{Ledger, StoreError, Stored},
    trust::key_id,
};

/// The record of an issued value. A JWT of ours names its record in `jti` (RFC 7519 section 4.1.7), so that
/// the log needs no index of random digests; nothing of it is believed, because the record's digest must be
/// that of the whole value. Other values are found by their digest.
pub async fn record(ledger: &dyn Ledger, value: &Secret) -> Result<Option<Stored>, StoreError> {
    match named(value) {
        Some(id) => named_record(ledger, id, value.digest()).await,
        None => ledger.record_by_value(value.digest()).await,
    }
}

/// The record of an issued value with this digest that names this record.
pub(crate) async fn named_record(
    ledger: &dyn Ledger,
    id: IssuanceId,
    digest: Digest,
) -> Result<Option<Stored>, StoreError> {
    if let Some(stored) = ledger.record(id).await?
        && issued(&stored) == Some(digest)
    {
        return Ok(Some(stored));
    }
    ledger.record_by_value(digest).await
}

/// `jti` of something that has the shape of a JWT.
#[expect(
    clippy::disallowed_methods,
    reason = "claims are no secret; the signature is not read"
)]
pub fn named(value: &Secret) -> Option<IssuanceId> {
    #[derive(Deserialize)]
    struct Claims {
        jti: String,
    }
    let claims = value.expose().split('.').nth(1)?;
    let claims: Claims = serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(claims).ok()?).ok()?;
    claims.jti.parse().ok()
}

/// `kid` of something that has the shape of a JWT (RFC 7515 section 4.1.4).
#[expect(clippy::disallowed_methods, reason = "a header is no secret")]
pub(crate) fn key(value: &Secret) -> Option<String> {
    #[derive(Deserialize)]
    struct Header {
        kid: String,
    }
    let header = BASE64_URL_SAFE_NO_PAD.decode(value.expose().split('.').next()?).ok()?;
    let header: Header = serde_json::from_slice(&header).ok()?;
    Some(key_id(&header.kid))
}

/// The digest that a record has of what was issued.
fn issued(stored: &Stored) -> Option<Digest> {
    #[derive(Deserialize)]
    struct Leaf {
        value_sha256: Option<Digest>,
    }
    serde_json::from_str::<Leaf>(stored.leaf.get()).ok()?.value_sha256
}
