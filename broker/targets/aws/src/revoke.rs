//! Ending a session early: an inline policy on its role, named by the handle, that denies this session everything.

use std::time::Duration;

use aws_sdk_iam::types::Role;
use procura_core::{Timestamp, ids::Handle};
use procura_wire::unescape;
use serde_json::{Value, json};

use crate::{LONGEST, access::Login, fault::Fault, minter::AwsMinter, settings::Settings};

/// After the longest life of a session and this, nobody needs its denial any more.
const MARGIN: Duration = Duration::from_secs(60 * 60);

/// Denies the session and looks that the role has it. The same twice is no change.
pub(crate) async fn deny(login: Login, minter: &AwsMinter, handle: &Handle) -> Result<(), Fault> {
    // A role of this name in another account would take it too.
    ours(&login, &minter.access.settings).await?;
    match put(&login, minter, handle).await {
        Err(fault) if fault.has_code("LimitExceeded") => {
            clear(login.clone(), minter).await?;
            put(&login, minter, handle).await?;
        }
        put => put?,
    }
    let role = &minter.access.settings.role.name;
    let kept = login.iam.get_role_policy().role_name(role).policy_name(handle.as_str());
    let kept = kept.send().await?;
    // IAM answers it percent-encoded (RFC 3986).
    let kept = unescape(kept.policy_document().as_bytes());
    match kept.and_then(|kept| serde_json::from_str::<Value>(&kept).ok()) {
        Some(kept) if kept == denial(handle) => Ok(()),
        _ => Err(Fault::Other(format!(
            "the policy {handle} on the role {role} is not what was put there"
        ))),
    }
}

async fn put(login: &Login, minter: &AwsMinter, handle: &Handle) -> Result<(), Fault> {
    let put = login.iam.put_role_policy().role_name(&minter.access.settings.role.name);
    let put = put
        .policy_name(handle.as_str())
        .policy_document(denial(handle).to_string());
    put.send().await?;
    Ok(())
}

/// Of what AWS calls revoking older sessions, the one that the handle names: no other user's session dies with it. No
/// second one comes under this name, so the time is so late that no difference between clocks lets this one live on.
/// Written shortly, since a role has room for 10,240 characters.
fn denial(handle: &Handle) -> Value {
    let issued = issued(handle).unwrap_or(Timestamp::MAX - LONGEST);
    let older_than = Timestamp::from_second((issued + LONGEST).as_second()).unwrap_or(Timestamp::MAX);
    json!({
        "Version": "2012-10-17",
        "Statement": {
            "Effect": "Deny",
            "Action": "*",
            "Resource": "*",
            "Condition": {
                "DateLessThan": { "aws:TokenIssueTime": older_than.to_string() },
                "StringLike": { "aws:userid": format!("*:{handle}") },
            },
        },
    })
}

/// Takes denials of this installation away whose sessions have certainly ended by themselves.
pub(crate) async fn clear(login: Login, minter: &AwsMinter) -> Result<(), Fault> {
    let role = &minter.access.settings.role.name;
    let now = minter.access.clock.now();
    for name in policies(&login, role).await? {
        let handle = Handle::parse(&minter.installation, &name);
        if handle.is_some_and(|handle| is_over(&handle, now)) {
            match login
                .iam
                .delete_role_policy()
                .role_name(role)
                .policy_name(name)
                .send()
                .await
                .map_err(Fault::from)
            {
                Err(fault) if !fault.has_code("NoSuchEntity") => return Err(fault),
                _ => {}
            }
        }
    }
    Ok(())
}

async fn policies(login: &Login, role: &str) -> Result<Vec<String>, Fault> {
    let mut names = Vec::new();
    let mut marker = None;
    loop {
        let page = login
            .iam
            .list_role_policies()
            .role_name(role)
            .set_marker(marker)
            .send()
            .await?;
        names.extend(page.policy_names);
        match page.marker {
            Some(next) if page.is_truncated => marker = Some(next),
            _ => return Ok(names),
        }
    }
}

/// The id in a handle has the time of its issuance in front (UUIDv7, RFC 9562 section 5.7).
fn issued(handle: &Handle) -> Option<Timestamp> {
    let millis = i64::try_from(handle.issuance()?.0.as_u128() >> 80).ok()?;
    Timestamp::from_millisecond(millis).ok()
}

fn is_over(handle: &Handle, now: Timestamp) -> bool {
    issued(handle).is_some_and(|issued| issued + LONGEST + MARGIN < now)
}

/// The role, which is that of the target's account.
async fn ours(login: &Login, settings: &Settings) -> Result<Role, Fault> {
    let role = login.iam.get_role().role_name(&settings.role.name).send().await?.role;
    let role = role.ok_or_else(|| Fault::Other("IAM answers without the role".to_owned()))?;
    if role.arn != settings.role.arn {
        return Err(Fault::Other(format!(
            "the broker's user is of another account than role_arn: IAM has {} under this name; sessions can be ended early \
             only by a user of the role's own account",
            role.arn.escape_debug()
        )));
    }
    Ok(role)
}

/// Whether the role is there, and gives sessions as long as its grants promise.
pub(crate) async fn look(login: Login, settings: &Settings) -> Result<(), Fault> {
    let role = ours(&login, settings).await?;
    let most = role.max_session_duration.and_then(|most| u64::try_from(most).ok());
    match most.filter(|most| *most < settings.longest) {
        Some(most) => Err(Fault::Other(format!(
            "the role's MaxSessionDuration is {most} s, and a grant's max_ttl is {} s: raise the one or lower the other",
            settings.longest
        ))),
        None => Ok(()),
    }
}
