//! What a target lacks is said before anything is minted.

use procura_contract::recorder::Turn;
use procura_core::kind::UndoError;
use serde_json::json;

use crate::bed::{ACCOUNT, Bed, is, refusal};

async fn problem(bed: &Bed) -> String {
    match bed.minter().probe().await {
        Err(UndoError::Failed(problem)) => problem,
        outcome => panic!("{outcome:?}"),
    }
}

#[tokio::test]
async fn a_good_key_and_role_pass() {
    let bed = Bed::new().await;
    bed.minter().probe().await.expect("nothing is missing");
    assert_eq!(bed.asked_of("GetCallerIdentity").len(), 1);
    assert_eq!(bed.asked_of("GetRole").len(), 1);
}

#[tokio::test]
async fn without_revoke_the_role_is_not_read() {
    let mut bed = Bed::new().await;
    let own = bed.own.as_object_mut().expect("a table");
    own.remove("revoke");
    own.remove("iam_endpoint");
    bed.minter().probe().await.expect("nothing is missing");
    assert_eq!(bed.recorder.seen().len(), 1);
}

#[tokio::test]
async fn what_is_missing_is_named() {
    let mut bed = Bed::new().await;
    bed.own["role_arn"] = json!(format!("arn:aws:iam::{ACCOUNT}:role/agents/nobody"));
    assert!(problem(&bed).await.contains("NoSuchEntity"));
    let mut bed = Bed::new().await;
    bed.own["role_arn"] = json!(format!("arn:aws:iam::999999999999:role/agents/{}", bed.role));
    assert!(problem(&bed).await.contains("another account"));
    let bed = Bed::with(|seen| match is(seen, "GetRole") {
        true => refusal(403, "AccessDenied", "not authorized to perform: iam:GetRole"),
        false => Turn::Pass,
    })
    .await;
    assert!(problem(&bed).await.contains("iam:GetRole"));
}

#[tokio::test]
async fn a_role_whose_sessions_are_shorter_than_a_grant_promises_is_named() {
    let bed = Bed::new().await;
    let short = bed.iam.update_role().role_name(&bed.role).max_session_duration(3600);
    short.send().await.expect("changed");
    bed.minter().probe().await.expect("an hour is enough");
    let bed = Bed::with(|seen| match is(seen, "GetRole") {
        true => Turn::Answer(200, role_of_half_an_hour(&seen.form()["RoleName"])),
        false => Turn::Pass,
    })
    .await;
    let problem = problem(&bed).await;
    assert!(
        problem.contains("MaxSessionDuration is 1800 s") && problem.contains("3600 s"),
        "{problem}"
    );
}

fn role_of_half_an_hour(name: &str) -> String {
    let role = format!(
        "<Role><Path>/agents/</Path><RoleName>{name}</RoleName><RoleId>AROA1</RoleId>\
         <Arn>arn:aws:iam::{ACCOUNT}:role/agents/{name}</Arn><CreateDate>2026-01-01T00:00:00Z</CreateDate>\
         <MaxSessionDuration>1800</MaxSessionDuration></Role>"
    );
    format!("<GetRoleResponse><GetRoleResult>{role}</GetRoleResult></GetRoleResponse>")
}
