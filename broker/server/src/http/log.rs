//! The log for everyone (C2SP tlog-tiles): its checkpoint, its keys, its tiles; and proofs for readers.

use std::{sync::Arc, time::Duration};

use axum::{
    extract::Path,
    http::{HeaderMap, header},
    response::{IntoResponse, Response},
};
use procura_core::{
    ids::IssuanceId,
    log::{Hash, KeptLeaf, ProofError, TILE_WIDTH, Tree},
};
use procura_wire::Reason;
use serde_json::{Value, json};

use super::{
    door::Door,
    reply::{Challenge, Refusal},
    v1::unavailable,
};

/// For so long whoever verifies may have tiles of before a new epoch, which follows on a restore: the numbers of what was lost
/// are given once more, so a tile is not for ever, not even a full one.
const CACHE: &str = "public, max-age=60";
/// Longest wait for the index of a receipt, and time between two looks.
const WAIT: Duration = Duration::from_secs(1);
const LOOK: Duration = Duration::from_millis(50);
const HASH: usize = 32;

/// `GET /log/checkpoint`: the last published checkpoint.
pub(crate) async fn checkpoint(door: Door) -> Response {
    let work = async {
        door.within_limit()?;
        let (_, note) = door.tree().await?.published.ok_or(Reason::V1NotFound)?;
        Ok(([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], note))
    };
    door.answer(work.await, Challenge::None)
}

/// `GET /log/keys`: a `vkey` (C2SP signed-note) on each line.
pub(crate) async fn keys(door: Door) -> Response {
    let work = async {
        door.within_limit()?;
        let tree = door.tree().await?;
        let lines = door.app.log.notary.verifiers(&tree.origin);
        let text: String = lines.into_iter().map(|line| line + "\n").collect();
        Ok(([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], text))
    };
    door.answer(work.await, Challenge::None)
}

/// `GET /log/tile/<L>/<N>[.p/<W>]`: hashes, for everyone; `GET /log/tile/entries/<N>[.p/<W>]`: the records, for readers.
/// What no published checkpoint vouches for is not there.
pub(crate) async fn tile(door: Door, headers: HeaderMap, Path((level, rest)): Path<(String, String)>) -> Response {
    let work = async {
        let place = Place::parse(&rest).ok_or(Reason::V1NotFound)?;
        if level == "entries" {
            door.reader(&headers, None).await?;
            return Ok(bytes("no-store", door.entries(&place).await?));
        }
        door.within_limit()?;
        let level = number(&level).filter(|level| *level < 64).ok_or(Reason::V1NotFound)?;
        let level = u8::try_from(level).map_err(|_| Reason::V1NotFound)?;
        Ok(bytes(CACHE, door.hashes(level, &place).await?))
    };
    door.answer(work.await, Challenge::Bearer)
}

fn bytes(cache: &'static str, body: Vec<u8>) -> impl IntoResponse {
    let kind = (header::CONTENT_TYPE, "application/octet-stream");
    ([kind, (header::CACHE_CONTROL, cache)], body)
}

/// `GET /v1/issuances/{id}/proof`: index, leaf hash and path under the last published checkpoint.
pub(crate) async fn proof(door: Door, headers: HeaderMap, Path(id): Path<String>) -> Response {
    let work = async {
        let record = door.readable(&headers, &id).await?.ok_or(Reason::V1NotFound)?;
        let proof = door.app.log.prove(record.id, record.leaf.get()).await;
        let proof = proof.map_err(|error| match error {
            ProofError::Pending => Reason::LogPending.into(),
            ProofError::Store(error) => unavailable(error),
        })?;
        Ok(json!({
            "id": record.id,
            "index": proof.index,
            "leaf_hash": proof.leaf_hash.to_string(),
            "size": proof.size,
            "path": proof.path.iter().map(Hash::to_string).collect::<Vec<_>>(),
            "checkpoint": proof.checkpoint,
        }))
    };
    door.json(work.await)
}

impl Door {
    pub(super) async fn tree(&self) -> Result<Tree, Refusal> {
        self.app.log.store.tree().await.map_err(unavailable)
    }

    /// How many of a level's hashes the published checkpoint vouches for.
    async fn vouched(&self, level: u8) -> Result<u64, Refusal> {
        let published = self.tree().await?.published.map_or(0, |(size, _)| size);
        Ok(published
            .checked_shr(u32::from(level) * TILE_WIDTH.ilog2())
            .unwrap_or(0))
    }

    async fn hashes(&self, level: u8, place: &Place) -> Result<Vec<u8>, Refusal> {
        place.within(self.vouched(level).await?)?;
        let key = (level, place.number);
        let found = self.app.log.store.tiles(vec![key]).await.map_err(unavailable)?;
        let mut data = found.into_values().next().ok_or(Reason::V1NotFound)?;
        data.truncate(usize::from(place.width) * HASH);
        Ok(data)
    }

    /// Each record with its length before it, two bytes.
    async fn entries(&self, place: &Place) -> Result<Vec<u8>, Refusal> {
        place.within(self.vouched(0).await?)?;
        let first = place.number * TILE_WIDTH;
        let leaves = self.app.log.store.leaves(first, place.width.into()).await;
        let mut body = Vec::new();
        for KeptLeaf { record, .. } in leaves.map_err(unavailable)? {
            let length = u16::try_from(record.leaf.len()).map_err(|_| Reason::ServerError)?;
            body.extend_from_slice(&length.to_be_bytes());
            body.extend_from_slice(record.leaf.as_bytes());
        }
        Ok(body)
    }

    /// What `receipt=true` adds to an answer: leaf hash, index once there is one, and where the proof is. Waits for the
    /// index, but not for long.
    pub(crate) async fn receipt(&self, id: IssuanceId) -> Value {
        let mut receipt = json!({"proof": format!("{}/v1/issuances/{id}/proof", self.app.site.issuer)});
        let Ok(Some(record)) = self.app.ports.ledger.record(id).await else {
            return receipt;
        };
        let (clock, log) = (&self.app.ports.clock, Arc::clone(&self.app.log));
        let began = clock.monotonic();
        while let Ok(found) = log.receipt(id, record.leaf.get()).await {
            receipt["leaf_hash"] = found.leaf_hash.to_string().into();
            if let Some(index) = found.index {
                receipt["index"] = index.into();
                break;
            }
            if clock.monotonic().saturating_sub(began) >= WAIT {
                break;
            }
            clock.sleep(LOOK).await;
        }
        receipt
    }
}

/// Number and width of a tile, as its path has them.
#[derive(Debug, PartialEq, Eq)]
struct Place {
    number: u64,
    width: u16,
}

impl Place {
    /// `<N>` or `<N>.p/<W>`; `<N>` is groups of three digits, all but the last with an `x` before (C2SP tlog-tiles).
    fn parse(path: &str) -> Option<Self> {
        let (path, width) = match path.split_once(".p/") {
            Some((path, width)) => (path, number(width).filter(|width| (1..TILE_WIDTH).contains(width))?),
            None => (path, TILE_WIDTH),
        };
        let mut groups = path.split('/').rev();
        let mut digits = group(groups.next()?)?.to_owned();
        for part in groups {
            digits.insert_str(0, group(part.strip_prefix('x')?)?);
        }
        // One way to write each number: no group of zeros before others.
        let canonical = digits.len() == 3 || !digits.starts_with("000");
        let place = Self {
            number: digits.parse().ok()?,
            width: u16::try_from(width).ok()?,
        };
        canonical.then_some(place)
    }

    fn within(&self, vouched: u64) -> Result<(), Refusal> {
        let end = self.number.checked_mul(TILE_WIDTH);
        let end = end.and_then(|first| first.checked_add(self.width.into()));
        match end.is_some_and(|end| end <= vouched) {
            true => Ok(()),
            false => Err(Reason::V1NotFound.into()),
        }
    }
}

fn group(text: &str) -> Option<&str> {
    (text.len() == 3 && text.bytes().all(|byte| byte.is_ascii_digit())).then_some(text)
}

/// A decimal number without a sign or leading zeros.
fn number(text: &str) -> Option<u64> {
    let number: u64 = text.parse().ok()?;
    (number.to_string() == text).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn req_151_paths_of_tiles_are_read_in_one_form_only() {
        let place = |number, width| Some(Place { number, width });
        for (path, expected) in [
            ("000", place(0, 256)),
            ("067", place(67, 256)),
            ("x001/x234/067", place(1_234_067, 256)),
            ("x001/000.p/8", place(1000, 8)),
            ("000.p/255", place(0, 255)),
            ("x000/067", None),
            ("67", None),
            ("0067", None),
            ("x067", None),
            ("001/067", None),
            ("x001/67", None),
            ("000.p/0", None),
            ("000.p/256", None),
            ("000.p/08", None),
            ("000.p/+8", None),
            ("000.p/", None),
            ("+01", None),
            ("", None),
            ("x018/x446/x744/x073/x709/x551/616", None),
            ("٠٠٠", None),
        ] {
            assert_eq!(Place::parse(path), expected, "{path}");
        }
    }

    #[test]
    fn what_no_checkpoint_vouches_for_is_not_there() {
        let place = |number, width| Place { number, width };
        assert!(place(0, 5).within(5).is_ok() && place(0, 5).within(4).is_err());
        assert!(place(1, 256).within(512).is_ok() && place(1, 256).within(511).is_err());
        assert!(place(u64::MAX, 256).within(u64::MAX).is_err());
    }
}
