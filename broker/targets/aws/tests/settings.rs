//! Target files that the kind refuses at load, each with the key and what to write instead.

use std::collections::BTreeSet;

use procura_contract::asked;
use procura_core::{
    Timestamp,
    catalogue::Target,
    judgement::Plan,
    params::{ParamSpec, ParamType},
};
use procura_target_aws::KIND;
use serde_json::{Value, json};

fn own() -> Value {
    json!({ "role_arn": "arn:aws:iam::123456789012:role/agents/reports", "region": "eu-central-1" })
}

fn statement() -> Value {
    json!({ "actions": ["s3:ListBucket"], "resources": ["arn:aws:s3:::reports"],
            "where": { "StringEquals": { "s3:prefix": "param:prefix" } } })
}

fn target(tweak: impl Fn(&mut Value, &mut Value)) -> Target {
    let (mut own, mut grant) = (own(), json!({ "statements": [statement()] }));
    tweak(&mut own, &mut grant);
    with_param(asked::target(&KIND, &own, &grant), "prefix", ParamType::String(None))
}

fn with_param(mut target: Target, name: &str, ty: ParamType) -> Target {
    for grant in target.grants.values_mut() {
        let spec = ParamSpec {
            ty: ty.clone(),
            required: true,
        };
        grant.params.insert(name.to_owned(), spec);
    }
    target
}

fn faults(target: &Target) -> Vec<(&'static str, String)> {
    let faults = (KIND.check)(target).into_iter();
    faults.map(|fault| (fault.key, fault.problem)).collect()
}

#[track_caller]
fn is_faulty(target: &Target, key: &str, says: &str) {
    let faults = faults(target);
    assert!(
        faults.iter().all(|(at, _)| *at == key) && !faults.is_empty(),
        "{key}: {faults:?}"
    );
    assert!(
        faults.iter().any(|(_, problem)| problem.contains(says)),
        "{says}: {faults:?}"
    );
}

/// A fault of the one statement.
#[track_caller]
fn statement_is_faulty(tweak: impl Fn(&mut Value), says: &str) {
    let target = target(|_, grant| tweak(&mut grant["statements"][0]));
    is_faulty(&target, "statements", says);
    assert!(faults(&target)[0].1.contains("statement 1"), "{says}");
}

#[test]
fn a_plain_target_is_accepted() {
    assert_eq!(faults(&target(|_, _| ())), []);
    let whole = target(|own, grant| {
        own["external_id"] = json!("corp-7");
        own["endpoint"] = json!("http://127.0.0.1:5000");
        own["iam_endpoint"] = json!("https://iam.example.com/");
        own["revoke"] = json!("deny-older-than");
        let arns = [
            "arn:aws:iam::aws:policy/ReadOnlyAccess",
            "arn:aws:iam::123456789012:policy/agents/own",
        ];
        grant["policy_arns"] = json!(arns);
        grant["tags"] = json!(["prefix"]);
        grant["statements"] = json!([
            statement(),
            { "effect": "Deny", "actions": ["*"], "resources": ["*"],
              "where": { "ForAnyValue:StringNotLikeIfExists": { "s3:prefix": ["param:prefix", "${aws:userid}/*"] },
                         "Null": { "aws:TokenIssueTime": "true" } } },
        ]);
    });
    assert_eq!(faults(&whole), []);
}

#[test]
fn its_place_is_the_role_and_where_it_is_reached() {
    let target = target(|own, _| own["endpoint"] = json!("https://sts.example.com"));
    assert_eq!(
        target.place(),
        "role_arn=arn:aws:iam::123456789012:role/agents/reports;endpoint=https://sts.example.com"
    );
}

#[test]
fn each_fault_of_a_target_names_its_key() {
    let with = |key: &str, value: &str| target(|own, _| own[key] = json!(value));
    for arn in [
        "",
        "reports",
        "arn:aws:iam::123456789012:user/reports",
        "arn:aws:iam::12345:role/reports",
        "arn:aws:iam::123456789012:role/",
        "arn:aws:iam:eu:123456789012:role/a",
        "arn:aws:sts::123456789012:assumed-role/a/b",
        "arn:aws:iam::123456789012:role/a b",
        "arn:aws:iam::123456789012:role/a\u{430}",
    ] {
        is_faulty(&with("role_arn", arn), "role_arn", "no ARN of a role");
    }
    for region in [
        "",
        "eu",
        "eu-central-1.evil.example",
        "EU-CENTRAL-1",
        "eu_central_1",
        "eu--1",
    ] {
        is_faulty(&with("region", region), "region", "no region");
    }
    is_faulty(&with("external_id", "a b"), "external_id", "2 to 1224");
    is_faulty(&with("revoke", "yes"), "revoke", "deny-older-than");
    is_faulty(
        &with("iam_endpoint", "https://iam.example.com"),
        "iam_endpoint",
        "revoke",
    );
}

#[test]
fn keys_never_cross_a_network_in_clear() {
    let with = |url: &str| target(|own, _| own["endpoint"] = json!(url));
    for url in [
        "http://sts.example.com",
        "http://127.0.0.1.example.com",
        "http://10.0.0.1",
        "ftp://127.0.0.1",
        "x",
    ] {
        is_faulty(&with(url), "endpoint", "");
    }
    for url in [
        "https://u:p@sts.example.com",
        "https://sts.example.com/a",
        "https://sts.example.com/?a",
        "https://h/#a",
    ] {
        is_faulty(&with(url), "endpoint", "more than scheme");
    }
    for url in [
        "http://localhost:5000",
        "http://[::1]:5000/",
        "https://sts.example.com:8443",
    ] {
        assert_eq!(faults(&with(url)), [], "{url}");
    }
}

#[test]
fn a_session_policy_is_never_left_out() {
    is_faulty(
        &target(|_, grant| grant["statements"] = json!([])),
        "statements",
        "all that the role can",
    );
}

#[test]
fn each_fault_of_a_statement_is_named() {
    statement_is_faulty(
        |statement| statement["NotAction"] = json!(["s3:*"]),
        "`NotAction` is unknown",
    );
    statement_is_faulty(|statement| statement["effect"] = json!("allow"), "Allow or Deny");
    statement_is_faulty(|statement| statement["actions"] = json!([]), "actions is empty");
    statement_is_faulty(|statement| statement["resources"] = json!([]), "resources is empty");
    statement_is_faulty(|statement| statement["resources"] = json!("*"), "needs resources");
    statement_is_faulty(|statement| statement["actions"] = json!([7]), "needs actions");
    for action in [
        "",
        "s3",
        "s3:",
        ":Get",
        "S3:Get",
        "s3:Get Object",
        "s3:Get\u{430}",
        "param:prefix:x",
    ] {
        statement_is_faulty(|statement| statement["actions"] = json!([action]), "");
    }
    for resource in [
        "",
        "bucket",
        "param:prefix",
        "arn:aws:s3",
        "arn::s3:::b",
        "arn:aws:s3:::",
    ] {
        statement_is_faulty(|statement| statement["resources"] = json!([resource]), "");
    }
    for operator in [
        "StringEqual",
        "stringequals",
        "ForEachValue:StringEquals",
        "NullIfExists",
        "$where",
    ] {
        statement_is_faulty(
            |statement| statement["where"] = json!({ operator: { "s3:prefix": "a" } }),
            "no condition operator",
        );
    }
    for condition in [
        json!([]),
        json!({}),
        json!({ "Bool": {} }),
        json!({ "Bool": { "aws:SecureTransport": true } }),
        json!({ "Bool": { "aws:SecureTransport": [] } }),
        json!({ "Bool": { "SecureTransport": "true" } }),
        json!({ "Bool": { "aws:SecureTransport": "tru\u{e9}" } }),
    ] {
        statement_is_faulty(|statement| statement["where"] = condition.clone(), "");
    }
}

#[test]
fn a_parameter_narrows_or_it_is_refused() {
    let under = |operator: &str, effect: &str| {
        target(|_, grant| {
            let keys = json!({ operator: { "s3:prefix": "param:prefix" } });
            grant["statements"][0]["where"] = keys;
            grant["statements"][0]["effect"] = json!(effect);
        })
    };
    for (operator, effect) in [
        ("StringEquals", "Allow"),
        ("ForAllValues:StringLike", "Allow"),
        ("StringNotEquals", "Deny"),
    ] {
        assert_eq!(faults(&under(operator, effect)), [], "{operator} {effect}");
    }
    for (operator, effect) in [
        ("StringNotEquals", "Allow"),
        ("NotIpAddress", "Allow"),
        ("StringEquals", "Deny"),
        ("Null", "Allow"),
        ("Null", "Deny"),
    ] {
        is_faulty(&under(operator, effect), "statements", "let the caller choose");
    }
    let undeclared = |statement: &mut Value| statement["where"]["StringEquals"]["s3:prefix"] = json!("param:other");
    statement_is_faulty(undeclared, "`param:other` is no parameter");
    let mut optional = target(|_, _| ());
    for grant in optional.grants.values_mut() {
        grant.params.get_mut("prefix").expect("declared").required = false;
    }
    is_faulty(&optional, "statements", "required = true");
    let unused = with_param(target(|_, _| ()), "project", ParamType::Bool);
    is_faulty(&unused, "statements", "project narrows nothing");
}

#[test]
fn a_tag_is_a_parameter_with_one_value() {
    let tagged =
        |tags: Value, ty: ParamType| with_param(target(|_, grant| grant["tags"] = tags.clone()), "project", ty);
    let text = || ParamType::String(None);
    assert_eq!(faults(&tagged(json!(["project"]), text())), []);
    is_faulty(&tagged(json!(["project"]), ParamType::Set(None)), "tags", "is a set");
    is_faulty(
        &tagged(json!(["project", "other"]), text()),
        "tags",
        "`other` is no parameter",
    );
    is_faulty(&tagged(json!(["project", "project"]), text()), "tags", "twice");
    let alike = with_param(tagged(json!(["project", "Project"]), text()), "Project", text());
    is_faulty(&alike, "tags", "twice");
    let mut optional = tagged(json!(["project"]), text());
    for grant in optional.grants.values_mut() {
        grant.params.get_mut("project").expect("declared").required = false;
    }
    is_faulty(&optional, "tags", "required = true");
    let many: Vec<_> = (0..44).map(|number| format!("p{number}")).collect();
    let crowd = |names: &[String]| {
        let target = tagged(json!(names), ParamType::Bool);
        let target = names
            .iter()
            .fold(target, |target, name| with_param(target, name, ParamType::Bool));
        with_param(target, "project", ParamType::Bool)
    };
    is_faulty(&crowd(&many), "tags", "more than 43");
}

#[test]
fn managed_policies_are_aws_s_or_of_the_role_s_account() {
    let with = |arns: Value| target(|_, grant| grant["policy_arns"] = arns.clone());
    for arn in [
        "ReadOnlyAccess",
        "arn:aws:iam::999999999999:policy/own",
        "arn:aws:iam::123456789012:role/own",
        "arn:aws:iam::aws:policy/",
    ] {
        is_faulty(&with(json!([arn])), "policy_arns", "managed policy");
    }
    let many: Vec<_> = (0..11)
        .map(|number| format!("arn:aws:iam::aws:policy/P{number}"))
        .collect();
    is_faulty(&with(json!(many)), "policy_arns", "more than 10");
}

#[test]
fn a_policy_that_is_too_large_without_any_parameter_is_refused_at_load() {
    let with = |length: usize| {
        let actions = json!(["s3:GetObject", format!("s3:{}", "A".repeat(length))]);
        target(|_, grant| grant["statements"][0]["actions"] = actions.clone())
    };
    assert_eq!(faults(&with(1500)), []);
    is_faulty(&with(2000), "statements", "AWS takes 2048");
}

#[test]
fn a_plan_may_carry_its_grants_statements_and_no_more() {
    let plan = |grant: &str| Plan {
        target: "target".parse().expect("name"),
        grants: vec![grant.parse().expect("name")],
        params: [].into(),
        confirmation: None,
        end: Timestamp::MAX,
    };
    let target = target(|_, _| ());
    let rights = (KIND.rights)(&target, &plan("read"));
    let expected = "1 of 1: Allow s3:ListBucket on arn:aws:s3:::reports where StringEquals s3:prefix";
    assert_eq!(rights.sets["statements"], BTreeSet::from([expected.to_owned()]));
    assert_eq!(rights.sets["role"], BTreeSet::from(["123456789012/reports".to_owned()]));
    assert_eq!(
        (KIND.rights)(&target, &plan("other")),
        procura_core::kind::Rights::default()
    );
}
