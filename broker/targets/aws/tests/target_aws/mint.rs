//! What is asked of STS, what comes of it, and what is refused before anything is asked.

use std::{collections::BTreeMap, time::Duration};

use procura_contract::recorder::{Recorder, Turn};
use procura_core::{kind::MintError, params::ParamValue, ports::Clock};
use serde_json::{Value, json};

use crate::bed::{ACCOUNT, Bed, document, exposed, handle, is, refusal, text};

/// Key and value of each tag.
pub(crate) fn tags(form: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let pair = |number: usize| {
        let member = format!("Tags.member.{number}");
        Some((
            form.get(&format!("{member}.Key"))?.clone(),
            form.get(&format!("{member}.Value"))?.clone(),
        ))
    };
    (1..).map_while(pair).collect()
}

#[tokio::test]
async fn a_session_is_minted_and_works_under_the_name_of_its_issuance() {
    let bed = Bed::new().await;
    let asked = bed.ask();
    let minted = bed.mint(&asked).await.expect("minted");
    assert!(asked.is_within(&minted), "{minted:?}");
    assert_eq!((minted.source_version.as_deref(), &minted.known_as), (Some("1"), &None));
    assert!(
        minted
            .lapses
            .is_some_and(|lapses| lapses == minted.end && lapses > bed.clock.now())
    );
    let members: BTreeMap<String, Value> = serde_json::from_str(exposed(&minted.value)).expect("JSON");
    let names = [
        "AccessKeyId",
        "Expiration",
        "SecretAccessKey",
        "SessionToken",
        "Version",
    ];
    assert!(
        members.keys().eq(names),
        "exactly what credential_process prints: {:?}",
        members.keys()
    );
    assert_eq!(members["Version"], 1);
    let expiration = document(&minted).expiration;
    let whole = procura_core::Timestamp::from_second(minted.end.as_second()).expect("a time");
    assert_eq!(expiration, whole.to_string());
    let credential = document(&minted);
    let arn = format!("arn:aws:sts::{ACCOUNT}:assumed-role/{}/{}", bed.role, handle(&asked));
    assert_eq!(bed.identity(&credential).await, arn);
    let shown = format!("{minted:?}");
    assert!(!shown.contains(exposed(&credential.secret_access_key)), "{shown}");
}

#[tokio::test]
async fn the_request_says_who_it_is_for_and_how_narrow_it_is() {
    let mut bed = Bed::new().await;
    bed.own["external_id"] = json!("corp-7");
    bed.grant["policy_arns"] = json!(["arn:aws:iam::aws:policy/AmazonS3ReadOnlyAccess"]);
    bed.grant["tags"] = json!(["project"]);
    let mut target = bed.target();
    for grant in target.grants.values_mut() {
        let mut spec = grant.params["prefix"].clone();
        spec.ty = procura_core::params::ParamType::String(None);
        grant.params.insert("project".to_owned(), spec);
    }
    let mut asked = bed.ask_for(&target).with("prefix", &["2026/", "a\"b"]);
    asked.plan.params.insert("project".to_owned(), text("blue team"));
    let minter = procura_contract::asked::open(&target, bed.source.clone(), bed.clock.clone()).expect("opened");
    let minted = asked.mint(&*minter, &*bed.clock).await.expect("minted");
    assert!(asked.is_within(&minted), "{minted:?}");

    let requests = bed.asked_of("AssumeRole");
    let [form] = requests.as_slice() else {
        panic!("{requests:?}")
    };
    let name = handle(&asked).to_string();
    assert_eq!(
        form["RoleArn"],
        format!("arn:aws:iam::{ACCOUNT}:role/agents/{}", bed.role)
    );
    assert_eq!((&form["RoleSessionName"], &form["SourceIdentity"]), (&name, &name));
    assert_eq!(form["ExternalId"], "corp-7");
    assert_eq!(
        form["PolicyArns.member.1.arn"],
        "arn:aws:iam::aws:policy/AmazonS3ReadOnlyAccess"
    );
    let seconds: u32 = form["DurationSeconds"].parse().expect("a number");
    assert!((3500..3600).contains(&seconds), "{seconds}");
    let policy: Value = serde_json::from_str(&form["Policy"]).expect("JSON");
    let statement = json!({ "Effect": "Allow", "Action": ["s3:ListBucket"], "Resource": ["arn:aws:s3:::reports"],
                            "Condition": { "StringEquals": { "s3:prefix": ["2026/", "a\"b"] } } });
    assert_eq!(policy, json!({ "Version": "2012-10-17", "Statement": [statement] }));
    let tags = tags(form);
    let issuance = handle(&asked).issuance().expect("an id").to_string();
    let expected = [
        ("procura-subject", "corp/alice"),
        ("procura-subject-kind", "user"),
        ("procura-actor", "corp/bot"),
        ("procura-server", "tickets"),
        ("procura-session", "00000000-0000-0000-0000-000000000002"),
        ("procura-issuance", &issuance),
        ("procura-grant", "target/read"),
        ("project", "blue team"),
    ];
    assert_eq!(
        tags,
        expected.map(|(key, value)| (key.to_owned(), value.to_owned())).into()
    );
    let transitive: std::collections::BTreeSet<_> = (1..=tags.len())
        .filter_map(|number| form.get(&format!("TransitiveTagKeys.member.{number}")))
        .collect();
    assert!(
        transitive.into_iter().eq(tags.keys()),
        "a role that is taken further keeps every tag"
    );
    let seen = bed.recorder.seen();
    assert_eq!(seen[0].header("x-amz-security-token"), "canary-token");
    assert!(
        seen[0]
            .header("authorization")
            .contains("Credential=AKIAFIRST00000000000/")
    );
    assert!(
        !seen.iter().any(|seen| format!("{seen:?}").contains("canary-of")),
        "the key itself goes nowhere"
    );
}

#[tokio::test]
async fn what_iam_reads_as_more_than_text_is_refused_before_anything_is_asked() {
    let bed = Bed::new().await;
    for value in [
        "*",
        "2026/*",
        "a?c",
        "${aws:username}",
        "a$b",
        "2026/\n",
        "caf\u{e9}",
        "\u{430}",
        "a\0",
    ] {
        let outcome = bed.mint(&bed.ask().with("prefix", &["2026/", value])).await;
        let Err(MintError::Failed(problem)) = outcome else {
            panic!("{value:?}: {outcome:?}")
        };
        assert!(
            problem.contains("the parameter prefix") && problem.contains("more than text"),
            "{problem}"
        );
        assert!(value.len() == 1 || !problem.contains(value), "{problem}");
    }
    assert_eq!(bed.recorder.seen(), []);
}

#[tokio::test]
async fn a_value_can_never_become_a_statement() {
    let bed = Bed::new().await;
    let hostile = r#""},{"Effect":"Allow","Action":"s3:ListBucket","Resource":"arn:aws:s3:::all"},{"x":""#;
    let asked = bed
        .ask()
        .with("prefix", &[hostile, "admin'--", "..", "%2f", "param:prefix"]);
    assert!(asked.is_within(&bed.mint(&asked).await.expect("minted")));
    let policy: Value = serde_json::from_str(&bed.asked_of("AssumeRole")[0]["Policy"]).expect("JSON");
    assert_eq!(policy["Statement"].as_array().map(Vec::len), Some(1));
    let values = policy["Statement"][0]["Condition"]["StringEquals"]["s3:prefix"].as_array();
    assert_eq!(values.map(Vec::len), Some(5));
}

#[tokio::test]
async fn what_is_too_large_is_named_before_anything_is_asked() {
    let bed = Bed::new().await;
    let many: Vec<String> = (0..300).map(|number| format!("2026/{number}/")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let outcome = bed.mint(&bed.ask().with("prefix", &many)).await;
    assert!(
        matches!(&outcome, Err(MintError::Failed(problem)) if problem.contains("session policy") && problem.contains("2048")),
        "{outcome:?}"
    );
    assert_eq!(bed.recorder.seen(), []);
}

#[tokio::test]
async fn a_policy_that_is_too_large_once_packed_is_named() {
    let packed = |_: &_| refusal(400, "PackedPolicyTooLarge", "Packed size 104% of limit");
    let outcome = Bed::with(packed).await;
    let outcome = outcome.mint(&outcome.ask()).await;
    assert!(
        matches!(&outcome, Err(MintError::Failed(problem)) if problem.contains("104%") && problem.contains("shorten")),
        "{outcome:?}"
    );
}

#[tokio::test]
async fn a_role_that_does_not_let_itself_be_tagged_is_named_at_once() {
    let message =
        "User: arn:aws:iam::123456789012:user/procura is not authorized to perform: sts:TagSession on resource: x";
    let bed = Bed::with(move |_| refusal(403, "AccessDenied", message)).await;
    let outcome = bed.mint(&bed.ask()).await;
    assert!(
        matches!(&outcome, Err(MintError::Failed(problem)) if problem.contains("sts:TagSession and sts:SetSourceIdentity")),
        "{outcome:?}"
    );
    assert_eq!(bed.recorder.seen().len(), 1);
}

#[tokio::test]
async fn an_answer_that_is_lost_or_late_or_a_fault_of_aws_is_uncertain() {
    for turn in [
        Turn::Lose,
        Turn::Hang,
        Turn::Answer(500, String::new()),
        Turn::Answer(200, "<x/>".to_owned()),
    ] {
        let given = turn.clone();
        let bed = Bed::with(move |_| given.clone()).await;
        let mut asked = bed.ask();
        asked.budget = Duration::from_secs(2);
        let outcome = bed.mint(&asked).await;
        assert!(matches!(outcome, Err(MintError::Uncertain(_))), "{turn:?}: {outcome:?}");
    }
}

#[tokio::test]
async fn where_nobody_answers_nothing_was_made() {
    let mut bed = Bed::new().await;
    let gone = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    bed.own["endpoint"] = json!(format!("http://{}", gone.local_addr().expect("bound")));
    drop(gone);
    let outcome = bed.mint(&bed.ask()).await;
    assert!(
        matches!(&outcome, Err(MintError::Failed(problem)) if problem.contains("no connection")),
        "{outcome:?}"
    );
}

#[tokio::test]
async fn a_session_of_the_shortest_plan_ends_before_it() {
    let bed = Bed::new().await;
    let procura_core::kind::Lifetime::Chosen { min, .. } = procura_target_aws::KIND.lifetime;
    let mut asked = bed.ask();
    asked.plan.end = bed.clock.now() + min;
    let minted = bed.mint(&asked).await.expect("minted");
    assert!(
        asked.is_within(&minted) && minted.lapses == Some(minted.end),
        "{minted:?}"
    );
    asked.plan.end = bed.clock.now() + Duration::from_secs(800);
    let outcome = bed.mint(&asked).await;
    assert!(
        matches!(&outcome, Err(MintError::Failed(problem)) if problem.contains("15 minutes")),
        "{outcome:?}"
    );
}

/// An answer of STS.
fn session(role: &str, name: &str, until: &str) -> Turn {
    let credentials = format!(
        "<Credentials><AccessKeyId>ASIA1</AccessKeyId><SecretAccessKey>s</SecretAccessKey><SessionToken>t</SessionToken>\
         <Expiration>{until}</Expiration></Credentials>"
    );
    let arn = format!("arn:aws:sts::{ACCOUNT}:assumed-role/{role}/{name}");
    let user =
        format!("<AssumedRoleUser><AssumedRoleId>AROA1:{name}</AssumedRoleId><Arn>{arn}</Arn></AssumedRoleUser>");
    let result = format!("<AssumeRoleResult>{credentials}{user}</AssumeRoleResult>");
    Turn::Answer(200, format!("<AssumeRoleResponse>{result}</AssumeRoleResponse>"))
}

#[tokio::test]
async fn a_longer_session_or_one_of_another_role_is_not_what_was_planned() {
    let mut bed = Bed::new().await;
    let asked = bed.ask();
    let end = asked.plan.end.to_string();
    let name = handle(&asked).to_string();
    let long = (asked.plan.end + Duration::from_secs(60)).to_string();
    let own = bed.role.clone();
    for (role, until, fits) in [(own.as_str(), &end, true), (&own, &long, false), ("admin", &end, false)] {
        let turn = session(role, &name, until);
        bed.recorder = Recorder::start("http://127.0.0.1:9", move |_| turn.clone()).expect("a proxy");
        bed.own["endpoint"] = json!(bed.recorder.address);
        let minted = bed.mint(&asked).await.expect("minted");
        let mut asked = bed.ask();
        asked.plan.end = end.parse().expect("time");
        assert_eq!(asked.is_within(&minted), fits, "{role} {until}");
    }
    let turn = session(&own, "somebody-else", &end);
    bed.recorder = Recorder::start("http://127.0.0.1:9", move |_| turn.clone()).expect("a proxy");
    bed.own["endpoint"] = json!(bed.recorder.address);
    let outcome = bed.mint(&asked).await;
    assert!(matches!(&outcome, Err(MintError::Uncertain(_))), "{outcome:?}");
}

#[tokio::test]
async fn a_tag_goes_as_it_is_or_not_at_all() {
    let mut bed = Bed::new().await;
    bed.grant["tags"] = json!(["project"]);
    let mut target = bed.target();
    for grant in target.grants.values_mut() {
        let mut spec = grant.params["prefix"].clone();
        spec.ty = procura_core::params::ParamType::String(None);
        grant.params.insert("project".to_owned(), spec);
    }
    let minter = procura_contract::asked::open(&target, bed.source.clone(), bed.clock.clone()).expect("opened");
    for bad in [
        "",
        "a*",
        "caf\u{e9}",
        "\u{430}",
        "a\nb",
        "aws:own",
        "AWS:own",
        &"a".repeat(257),
    ] {
        let mut asked = bed.ask_for(&target);
        asked.plan.params.insert("project".to_owned(), text(bad));
        let outcome = asked.mint(&*minter, &*bed.clock).await;
        assert!(
            matches!(&outcome, Err(MintError::Failed(problem)) if problem.contains("project")),
            "{bad:?}: {outcome:?}"
        );
    }
    assert_eq!(bed.recorder.seen(), []);
    for (value, sent) in [
        (text("a=b +-@"), "a=b +-@"),
        (ParamValue::Int(-7), "-7"),
        (ParamValue::Bool(true), "true"),
    ] {
        let mut asked = bed.ask_for(&target);
        asked.plan.params.insert("project".to_owned(), value);
        asked.mint(&*minter, &*bed.clock).await.expect("minted");
        let requests = bed.asked_of("AssumeRole");
        assert_eq!(tags(requests.last().expect("asked"))["project"], sent);
    }
    assert!(bed.recorder.seen().iter().all(|seen| is(seen, "AssumeRole")));
}
