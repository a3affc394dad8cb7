//! The broker's own access key: a user of IAM may have two, and they take turns.

use std::{sync::Arc, time::Duration};

use procura_core::{
    kind::{Minter, ProofError, RotateError, Rotated},
    source::SourceSecret,
};
use procura_wire::Secret;
use serde_json::json;

use crate::{
    access::{Login, key_id, unlogged},
    fault::Fault,
    minter::AwsMinter,
};

/// How often a new key is tried: IAM takes some seconds until every service knows it.
const PROOFS: u32 = 20;
const PAUSE: Duration = Duration::from_secs(1);

/// Makes a second key, proves it and writes it to the source. What fails takes the new key away again.
pub(crate) async fn rotate(minter: &AwsMinter) -> Result<Rotated, RotateError> {
    let access = &minter.access;
    if !access.settings.rotates {
        return Err(RotateError::Unable);
    }
    let failed = |problem: &dyn ToString| RotateError::Failed(problem.to_string());
    let secret = access.source.current().await.map_err(|error| failed(&error))?;
    let login = access.log_in(&secret).map_err(|fault| failed(&fault))?;
    let made = unlogged(login.iam.create_access_key().send())
        .await
        .map_err(Fault::from);
    let made = made.map_err(|fault| match fault.has_code("LimitExceeded") {
        true => failed(&"the broker's user has two keys already: delete the one that is not in use"),
        false => failed(&fault),
    })?;
    let made = made.access_key.ok_or_else(|| failed(&"IAM answers without a key"))?;
    let new = SourceSecret {
        value: document(&made.access_key_id, &made.secret_access_key),
        version: "new".to_owned(),
    };
    let written = match proved(minter, Arc::new(new)).await {
        Ok(new) => access
            .source
            .write(&new.value, &secret.version)
            .await
            .map_err(|error| failed(&error)),
        Err(error) => Err(failed(&error)),
    };
    match written {
        Ok(version) => Ok(Rotated {
            did: format!("the broker's user has the new access key {}", made.access_key_id),
            version: Some(version),
        }),
        Err(error) => {
            // A write that failed may have been carried out all the same: then the source holds this key.
            let newest = access.source.newest().await;
            if !newest.is_ok_and(|newest| newest == secret.version) {
                let id = &made.access_key_id;
                return Err(RotateError::Failed(format!(
                    "{error}; the source may hold the new key {id}, so it is kept"
                )));
            }
            if let Err(fault) = delete(&login, &made.access_key_id).await {
                tracing::warn!(key = made.access_key_id, %fault, "a new access key that is not in use could not be deleted");
            }
            Err(error)
        }
    }
}

async fn proved(minter: &AwsMinter, new: Arc<SourceSecret>) -> Result<Arc<SourceSecret>, ProofError> {
    let mut proofs = 1;
    loop {
        match minter.prove(Arc::clone(&new)).await {
            Ok(()) => return Ok(new),
            Err(_) if proofs < PROOFS => proofs += 1,
            Err(error) => return Err(error),
        }
        minter.access.clock.sleep(PAUSE).await;
    }
}

/// Deletes the key before, with the one in use.
pub(crate) async fn retire(minter: &AwsMinter, old: &SourceSecret, active: &SourceSecret) -> Result<(), ProofError> {
    let (Ok(old), Ok(in_use)) = (key_id(&old.value), key_id(&active.value)) else {
        return Ok(());
    };
    if !minter.access.settings.rotates || old == in_use {
        return Ok(());
    }
    let failed = |fault: Fault| ProofError::Failed(fault.to_string());
    still_newest(minter, active).await?;
    let login = minter.access.log_in(active).map_err(failed)?;
    delete(&login, &old).await.map_err(failed)
}

/// Somebody may have put the old key back into the source.
async fn still_newest(minter: &AwsMinter, active: &SourceSecret) -> Result<(), ProofError> {
    let newest = minter.access.source.newest().await;
    match newest.map_err(|error| ProofError::Failed(error.to_string()))? == active.version {
        true => Ok(()),
        false => Err(ProofError::Failed("the source has another version by now".to_owned())),
    }
}

/// A key that is gone already, or another user's, is none of this user's.
async fn delete(login: &Login, id: &str) -> Result<(), Fault> {
    let deleted = unlogged(login.iam.delete_access_key().access_key_id(id).send()).await;
    match deleted.map_err(Fault::from) {
        Err(fault) if !fault.has_code("NoSuchEntity") => Err(fault),
        _ => Ok(()),
    }
}

fn document(id: &str, secret: &str) -> Secret {
    Secret::new(json!({ "access_key_id": id, "secret_access_key": secret }).to_string())
}
