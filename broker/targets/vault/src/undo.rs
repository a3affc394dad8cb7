//! Taking tokens back, and finding them.

use std::{collections::BTreeSet, time::Duration};

use futures_util::{StreamExt, stream};
use procura_core::ids::Handle;
use procura_wire::Secret;
use serde_json::Value;

use crate::{access::Login, fault::Fault, minter::VaultMinter};

/// Tokens that are looked at side by side.
const WIDTH: usize = 8;
/// Looks at a lease before giving up until the next call; with [`LOOK`] 4 s.
const LOOKS: u32 = 16;
/// Time between two looks at a lease: the server takes it back in its own time.
const LOOK: Duration = Duration::from_millis(250);

const REVOKE: &str = "auth/token/revoke-accessor";
const LOOK_UP: &str = "auth/token/lookup-accessor";
const LEASE: &str = "sys/leases/lookup";

/// What undoing needs: `ACCESSOR`, `ACCESSOR lease ID` or `ACCESSOR lasting`.
pub(crate) struct Receipt {
    accessor: String,
    rest: Rest,
}

enum Rest {
    Token,
    Lease(String),
    /// It is not taken back by anything.
    Lasting,
}

impl Receipt {
    pub(crate) fn token(accessor: &str) -> Secret {
        Secret::new(accessor.to_owned())
    }

    pub(crate) fn lease(accessor: &str, id: &str) -> Secret {
        Secret::new(format!("{accessor} lease {id}"))
    }

    pub(crate) fn lasting(accessor: &str) -> Secret {
        Secret::new(format!("{accessor} lasting"))
    }

    pub(crate) fn read(receipt: &Secret) -> Option<Self> {
        #[expect(clippy::disallowed_methods, reason = "it is taken apart where it was made")]
        let text = receipt.expose();
        let mut words = text.split(' ');
        let accessor = words.next()?.to_owned();
        let rest = match (words.next(), words.next(), words.next()) {
            (None, ..) => Rest::Token,
            (Some("lease"), Some(id), None) => Rest::Lease(id.to_owned()),
            (Some("lasting"), None, None) => Rest::Lasting,
            _ => return None,
        };
        Some(Self { accessor, rest })
    }

    pub(crate) fn is_lasting(&self) -> bool {
        matches!(self.rest, Rest::Lasting)
    }
}

/// Takes back what the receipt is for, apart from what nothing takes back.
pub(crate) async fn undo(login: Login, minter: &VaultMinter, receipt: &Receipt) -> Result<(), Fault> {
    revoke(&login, &receipt.accessor).await?;
    let Rest::Lease(id) = &receipt.rest else {
        return Ok(());
    };
    for _ in 0..LOOKS {
        let answer = login.tell(LEASE, "lease_id", id).await?;
        if answer.is_absence() {
            return Ok(());
        }
        answer.wanted(LEASE)?;
        minter.access.clock.sleep(LOOK).await;
    }
    Err(Fault::Failed(format!(
        "the token is revoked and its lease {id} is still there; does the server reach what it made it at?"
    )))
}

/// Revokes every token of that handle.
pub(crate) async fn undo_by_handle(login: Login, minter: &VaultMinter, handle: &Handle) -> Result<(), Fault> {
    for (accessor, found) in find(&login, minter).await? {
        if found == *handle {
            revoke(&login, &accessor).await?;
        }
    }
    Ok(())
}

/// Handles of all tokens of this installation.
pub(crate) async fn inventory(login: Login, minter: &VaultMinter) -> Result<Vec<Handle>, Fault> {
    let found = find(&login, minter).await?;
    let handles: BTreeSet<_> = found.into_iter().map(|(_, handle)| handle).collect();
    Ok(handles.into_iter().collect())
}

async fn revoke(login: &Login, accessor: &str) -> Result<(), Fault> {
    let answer = login.tell(REVOKE, "accessor", accessor).await?;
    if !answer.is_absence() {
        answer.wanted(REVOKE)?;
    }
    match look_up(login, accessor).await? {
        None => Ok(()),
        Some(_) => Err(Fault::Failed("the token is still there".to_owned())),
    }
}

/// `None` where there is no such token.
async fn look_up(login: &Login, accessor: &str) -> Result<Option<Value>, Fault> {
    let answer = login.tell(LOOK_UP, "accessor", accessor).await?;
    match answer.is_absence() {
        true => Ok(None),
        false => Ok(Some(answer.wanted(LOOK_UP)?["data"].take())),
    }
}

/// All tokens of this installation, by accessor. Whose a token is never changes, so each is looked at once.
async fn find(login: &Login, minter: &VaultMinter) -> Result<Vec<(String, Handle)>, Fault> {
    let path = "auth/token/accessors?list=true";
    let answer = login.ask(path, None).await?.wanted("list of auth/token/accessors")?;
    let keys = answer["data"]["keys"].as_array().into_iter().flatten();
    let keys: BTreeSet<String> = keys.filter_map(Value::as_str).map(str::to_owned).collect();
    let news: Vec<String> = {
        let mut known = minter.known();
        known.retain(|accessor, _| keys.contains(accessor));
        keys.iter().filter(|key| !known.contains_key(*key)).cloned().collect()
    };
    let looks = stream::iter(news).map(async |accessor| (look_up(login, &accessor).await, accessor));
    let mut looks = std::pin::pin!(looks.buffer_unordered(WIDTH));
    while let Some((data, accessor)) = looks.next().await {
        if let Some(data) = data? {
            minter.known().insert(accessor, minter.handle_of(&data));
        }
    }
    let known = minter.known();
    let ours = known
        .iter()
        .filter_map(|(accessor, handle)| Some((accessor.clone(), handle.clone()?)));
    Ok(ours.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_receipt_reads_what_it_writes() {
        let read = |secret: &Secret| Receipt::read(secret).map(|receipt| (receipt.accessor, receipt.rest));
        assert!(matches!(read(&Receipt::token("a")), Some((accessor, Rest::Token)) if accessor == "a"));
        assert!(
            matches!(read(&Receipt::lease("a", "db/creds/r/1")), Some((_, Rest::Lease(id))) if id == "db/creds/r/1")
        );
        assert!(matches!(read(&Receipt::lasting("a")), Some((_, Rest::Lasting))));
        assert!(read(&Secret::new("a lease".to_owned())).is_none());
        assert!(read(&Secret::new("a b c d".to_owned())).is_none());
    }
}
