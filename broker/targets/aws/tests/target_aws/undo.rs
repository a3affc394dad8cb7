//! How a session is ended early, and what is left of that.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use procura_contract::recorder::Turn;
use procura_core::{
    ids::Handle,
    kind::{UndoError, Undoable},
    ports::Clock,
};
use serde_json::{Value, json};

use crate::bed::{Bed, handle, handle_of, is, other_handle, refusal};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

#[tokio::test]
async fn without_revoke_nothing_takes_a_session_back() {
    let mut bed = Bed::new().await;
    let own = bed.own.as_object_mut().expect("a table");
    own.remove("revoke");
    own.remove("iam_endpoint");
    let (minter, asked) = (bed.minter(), bed.ask());
    let outcome = minter.undo(asked.undoable(None)).await;
    assert!(matches!(outcome, Err(UndoError::Never)), "{outcome:?}");
    assert_eq!(minter.inventory().await.expect("a list"), []);
    assert_eq!(bed.recorder.seen(), [], "nobody is asked");
}

#[tokio::test]
async fn an_undo_denies_this_session_everything_and_no_other() {
    let bed = Bed::new().await;
    let (minter, asked) = (bed.minter(), bed.ask());
    bed.mint(&asked).await.expect("minted");
    minter.undo(asked.undoable(None)).await.expect("undone");
    minter.undo(asked.undoable(None)).await.expect("undone once more");
    let name = handle(&asked).to_string();
    assert_eq!(bed.policies().await, std::slice::from_ref(&name));
    let puts = bed.asked_of("PutRolePolicy");
    assert_eq!((&puts[0]["RoleName"], &puts[0]["PolicyName"]), (&bed.role, &name));
    let policy: Value = serde_json::from_str(&puts[0]["PolicyDocument"]).expect("JSON");
    let older_than = policy["Statement"]["Condition"]["DateLessThan"]["aws:TokenIssueTime"].clone();
    let statement = json!({ "Effect": "Deny", "Action": "*", "Resource": "*",
                            "Condition": { "DateLessThan": { "aws:TokenIssueTime": older_than },
                                           "StringLike": { "aws:userid": format!("*:{name}") } } });
    let older_than: procura_core::Timestamp = older_than.as_str().expect("a time").parse().expect("RFC 3339");
    let issued = i64::from_str_radix(&name[10..22], 16).expect("milliseconds") / 1000;
    assert_eq!(
        older_than.as_second(),
        issued + 12 * 60 * 60,
        "later than it was issued, by any clock"
    );
    assert_eq!(policy, json!({ "Version": "2012-10-17", "Statement": statement }));
    assert_eq!(puts[0], puts[1], "the same twice");
    assert_eq!(bed.asked_of("GetRolePolicy").len(), 2, "each is confirmed");
}

#[tokio::test]
async fn what_is_no_session_of_this_installation_is_not_written_to_the_role() {
    let bed = Bed::new().await;
    for handle in [other_handle(), Handle::from_kept("*".to_owned())] {
        let outcome = bed.minter().undo(Undoable::by(&handle)).await;
        assert!(matches!(outcome, Err(UndoError::Failed(_))), "{outcome:?}");
    }
    assert_eq!(bed.recorder.seen(), []);
}

#[tokio::test]
async fn an_undo_that_iam_does_not_confirm_is_none() {
    let other = "<GetRolePolicyResponse><GetRolePolicyResult><RoleName>r</RoleName><PolicyName>p</PolicyName>\
                 <PolicyDocument>%7B%7D</PolicyDocument></GetRolePolicyResult></GetRolePolicyResponse>";
    for (action, turn) in [
        (
            "PutRolePolicy",
            refusal(403, "AccessDenied", "not authorized to perform: iam:PutRolePolicy"),
        ),
        ("GetRolePolicy", refusal(404, "NoSuchEntity", "not found")),
        ("GetRolePolicy", Turn::Answer(200, other.to_owned())),
        ("GetRolePolicy", Turn::Answer(500, String::new())),
    ] {
        let given = turn.clone();
        let bed = Bed::with(move |seen| if is(seen, action) { given.clone() } else { Turn::Pass }).await;
        let asked = bed.ask();
        let outcome = bed.minter().undo(asked.undoable(None)).await;
        assert!(matches!(outcome, Err(UndoError::Failed(_))), "{turn:?}: {outcome:?}");
    }
}

/// Puts a policy on the role.
async fn put(bed: &Bed, name: &str) {
    let statement = json!({ "Effect": "Deny", "Action": "*", "Resource": "*" });
    let policy = json!({ "Version": "2012-10-17", "Statement": statement }).to_string();
    let put = bed
        .iam
        .put_role_policy()
        .role_name(&bed.role)
        .policy_name(name)
        .policy_document(policy);
    put.send().await.expect("put");
}

#[tokio::test]
async fn denials_of_sessions_that_ended_long_ago_are_cleared_away_and_no_others() {
    let bed = Bed::new().await;
    let now = bed.clock.now();
    let old = handle_of(now, DAY);
    let late = handle_of(now, Duration::from_secs(13 * 60 * 60 + 60));
    let live = handle_of(now, Duration::from_secs(12 * 60 * 60 + 60));
    let foreign = Handle::new("zzzz9999", old.issuance().expect("an id"));
    for name in [
        old.as_str(),
        late.as_str(),
        live.as_str(),
        foreign.as_str(),
        "own-policy",
    ] {
        put(&bed, name).await;
    }
    assert_eq!(bed.minter().inventory().await.expect("a list"), []);
    assert_eq!(bed.policies().await.len(), 5, "a look clears nothing");
    bed.minter().tidy().await.expect("tidied");
    let mut left = bed.policies().await;
    left.sort();
    let mut expected = [live.to_string(), foreign.to_string(), "own-policy".to_owned()];
    expected.sort();
    assert_eq!(left, expected);
}

#[tokio::test]
async fn a_role_without_room_is_cleared_first() {
    let full = AtomicBool::new(true);
    let bed = Bed::with(
        move |seen| match is(seen, "PutRolePolicy") && full.swap(false, Ordering::SeqCst) {
            true => refusal(409, "LimitExceeded", "Maximum policy size of 10240 bytes exceeded"),
            false => Turn::Pass,
        },
    )
    .await;
    let old = handle_of(bed.clock.now(), DAY);
    put(&bed, old.as_str()).await;
    let asked = bed.ask();
    bed.minter().undo(asked.undoable(None)).await.expect("undone");
    assert_eq!(bed.policies().await, [handle(&asked).to_string()]);
}

#[tokio::test]
async fn a_role_that_stays_full_is_named() {
    let bed = Bed::with(|seen| match is(seen, "PutRolePolicy") {
        true => refusal(409, "LimitExceeded", "Maximum policy size of 10240 bytes exceeded"),
        false => Turn::Pass,
    })
    .await;
    let asked = bed.ask();
    let outcome = bed.minter().undo(asked.undoable(None)).await;
    assert!(
        matches!(&outcome, Err(UndoError::Failed(problem)) if problem.contains("no room")),
        "{outcome:?}"
    );
}

#[tokio::test]
async fn all_pages_of_a_role_with_many_policies_are_read() {
    let page = |name: &Handle, rest: &str| {
        let names = format!("<PolicyNames><member>{name}</member></PolicyNames>");
        let result = format!("<ListRolePoliciesResult>{names}{rest}</ListRolePoliciesResult>");
        Turn::Answer(
            200,
            format!("<ListRolePoliciesResponse>{result}</ListRolePoliciesResponse>"),
        )
    };
    let bed = Bed::new().await;
    let (first, second) = (handle_of(bed.clock.now(), DAY), handle_of(bed.clock.now(), 2 * DAY));
    let pages = (
        page(&first, "<IsTruncated>true</IsTruncated><Marker>m</Marker>"),
        page(&second, "<IsTruncated>false</IsTruncated>"),
    );
    let bed = Bed::with(
        move |seen| match (is(seen, "ListRolePolicies"), seen.form().get("Marker")) {
            (true, None) => pages.0.clone(),
            (true, Some(_)) => pages.1.clone(),
            (false, _) => Turn::Pass,
        },
    )
    .await;
    put(&bed, first.as_str()).await;
    put(&bed, second.as_str()).await;
    bed.minter().tidy().await.expect("tidied");
    assert_eq!(bed.policies().await, Vec::<String>::new());
}
