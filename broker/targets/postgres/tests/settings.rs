//! Target files that the kind refuses at load, each with the key and what to write instead.

#![expect(clippy::expect_used, reason = "a test that cannot be set up fails")]

use std::{collections::BTreeMap, time::Duration};

use procura_core::{
    catalogue::{Grant, Risk, Target},
    judgement::Plan,
};
use procura_target_postgres::KIND;
use serde_json::{Value, json};

fn target(tweak: impl Fn(&mut Value, &mut Value)) -> Target {
    let mut own = json!({ "host": "db.example.com", "dbname": "app" });
    let mut grant = json!({ "member_of": ["reader"], "connection_limit": 3 });
    tweak(&mut own, &mut grant);
    let object = |value: &Value| value.as_object().expect("object").clone();
    let grant = Grant {
        risk: Risk::Read,
        ttl: None,
        max_ttl: Duration::from_secs(60),
        outlives_subject: false,
        per_call: false,
        forward_subject: false,
        requires: Default::default(),
        params: BTreeMap::new(),
        limit: None,
        settings: object(&grant),
    };
    Target {
        kind: &KIND,
        owner: "dba@example.com".to_owned(),
        resource: None,
        source: Some("file:admin.json".to_owned()),
        settings: object(&own),
        grants: BTreeMap::from([("read".parse().expect("name"), grant)]),
    }
}

fn faulty_key(tweak: impl Fn(&mut Value, &mut Value)) -> Vec<&'static str> {
    (KIND.check)(&target(tweak)).iter().map(|fault| fault.key).collect()
}

#[test]
fn a_plain_target_is_accepted() {
    assert_eq!((KIND.check)(&target(|_, _| ())), []);
    for host in ["127.0.0.1", "::1", "localhost"] {
        let loopback = target(|own, _| *own = json!({ "host": host, "dbname": "app", "sslmode": "disable" }));
        assert_eq!((KIND.check)(&loopback), [], "{host}");
    }
}

#[test]
fn its_place_is_host_port_and_database() {
    assert_eq!(target(|_, _| ()).place(), "host=db.example.com;dbname=app");
    let other = target(|own, _| own["port"] = json!(5433));
    assert_eq!(other.place(), "host=db.example.com;port=5433;dbname=app");
}

#[test]
fn credentials_never_cross_a_network_in_clear() {
    for mode in ["disable", "prefer", "allow", "VERIFY-FULL", ""] {
        assert_eq!(
            faulty_key(|own, _| own["sslmode"] = json!(mode)),
            ["sslmode"],
            "{mode:?}"
        );
    }
    let named = |own: &mut Value, _: &mut Value| {
        *own = json!({ "host": "127.0.0.1.example.com", "dbname": "app", "sslmode": "disable" });
    };
    assert_eq!(faulty_key(named), ["sslmode"]);
}

#[test]
fn each_fault_names_its_key() {
    for host in ["", "/run/postgresql", "a b", "user@host", "host:5432", "[::1]", "-x"] {
        assert_eq!(faulty_key(|own, _| own["host"] = json!(host)), ["host"], "{host:?}");
    }
    for port in [0, -1, 65536] {
        assert_eq!(faulty_key(|own, _| own["port"] = json!(port)), ["port"], "{port}");
    }
    assert_eq!(faulty_key(|own, _| own["dbname"] = json!("")), ["dbname"]);
    for group in [
        "",
        "public",
        "procura_left",
        "pg_read_all_data",
        "a\0b",
        &"a".repeat(64),
    ] {
        assert_eq!(
            faulty_key(|_, grant| grant["member_of"] = json!([group])),
            ["member_of"],
            "{group:?}"
        );
    }
    assert_eq!(faulty_key(|_, grant| grant["member_of"] = json!([])), ["member_of"]);
    for limit in [0, -1, 1001] {
        assert_eq!(
            faulty_key(|_, grant| grant["connection_limit"] = json!(limit)),
            ["connection_limit"],
            "{limit}"
        );
    }
}

#[test]
fn a_plan_may_carry_its_grants_memberships_and_no_more() {
    let plan = |grant: &str| Plan {
        target: "db".parse().expect("name"),
        grants: vec![grant.parse().expect("name")],
        params: BTreeMap::new(),
        confirmation: None,
        end: "2026-11-20T09:00:00Z".parse().expect("time"),
    };
    let target = target(|_, _| ());
    let rights = (KIND.rights)(&target, &plan("read"));
    assert!(rights.sets["member_of"].iter().eq(["reader"]) && rights.numbers["connection_limit"] == 3);
    let none = (KIND.rights)(&target, &plan("other"));
    assert!(none.sets["member_of"].is_empty() && none.numbers["connection_limit"] == 0);
}
