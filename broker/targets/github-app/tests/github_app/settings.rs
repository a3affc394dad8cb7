//! Target files that the kind refuses at load.

use procura_contract::asked::{self, Asked};
use procura_core::{
    Timestamp,
    catalogue::Target,
    kind::Rights,
    params::{ParamSpec, ParamType},
};
use procura_target_github_app::KIND;
use serde_json::{Value, json};

use crate::bed;

fn target(tweak: impl FnOnce(&mut Value, &mut Value)) -> Target {
    let (mut own, mut grant) = (json!({ "app_id": 1, "installation_id": 2 }), bed::grant());
    tweak(&mut own, &mut grant);
    asked::target(&KIND, &own, &grant)
}

fn faulty_keys(target: &Target) -> Vec<&'static str> {
    (KIND.check)(target).iter().map(|fault| fault.key).collect()
}

#[test]
fn a_plain_target_is_accepted_at_github_and_at_a_server_of_ones_own() {
    assert_eq!((KIND.check)(&target(|_, _| ())), []);
    for api in [
        "https://github.example.com/api/v3",
        "http://127.0.0.1:8080",
        "http://[::1]/",
    ] {
        assert_eq!((KIND.check)(&target(|own, _| own["api"] = json!(api))), [], "{api}");
    }
}

#[test]
fn each_fault_names_its_key() {
    for id in [json!(0), json!(-1), json!("1")] {
        assert_eq!(faulty_keys(&target(|own, _| own["app_id"] = id.clone())), ["app_id"]);
        assert_eq!(
            faulty_keys(&target(|own, _| own["installation_id"] = id)),
            ["installation_id"]
        );
    }
    for api in [
        "",
        "api.github.com",
        "http://github.example.com",
        "https://u@h",
        "https://h?x",
        "ftp://127.0.0.1",
    ] {
        assert_eq!(
            faulty_keys(&target(|own, _| own["api"] = json!(api))),
            ["api"],
            "{api:?}"
        );
    }
    for permissions in [
        json!({}),
        json!({ "issues": "all" }),
        json!({ "Issues": "read" }),
        json!({ "": "read" }),
    ] {
        let faulty = target(|_, grant| grant["permissions"] = permissions);
        assert_eq!(faulty_keys(&faulty), ["permissions"]);
    }
}

#[test]
fn attack_169_a_grant_that_would_reach_all_repositories_is_refused() {
    for ids in [json!([]), json!(["corp/site"]), json!(["0101"]), json!(["101", ""])] {
        let faulty = target(|_, grant| grant["repository_ids"] = ids);
        assert_eq!(faulty_keys(&faulty), ["repository_ids"]);
    }
    let many: Vec<_> = (1..=501).map(|id: u32| id.to_string()).collect();
    assert_eq!(
        faulty_keys(&target(|_, grant| grant["repository_ids"] = json!(many))),
        ["repository_ids"]
    );
    assert_eq!(
        faulty_keys(&target(|_, grant| grant["repository_ids"] = json!(many[..500]))),
        [""; 0]
    );

    let open = || target(|_, grant| *grant = json!({ "permissions": { "issues": "read" } }));
    assert_eq!(faulty_keys(&open()), ["repository_ids"]);
    assert_eq!(
        faulty_keys(&asked::with_set(open(), "repositories", false)),
        ["repository_ids"]
    );
    assert_eq!(faulty_keys(&asked::with_set(open(), "repositories", true)), [""; 0]);
}

#[test]
fn the_parameter_that_narrows_is_a_set() {
    let mut target = target(|_, _| ());
    let text = ParamSpec {
        ty: ParamType::String(None),
        required: true,
    };
    for grant in target.grants.values_mut() {
        grant.params.insert("repositories".to_owned(), text.clone());
    }
    assert_eq!(faulty_keys(&target), ["repository_ids"]);
}

#[test]
fn a_plan_that_may_not_be_minted_may_carry_nothing() {
    let target = target(|_, _| ());
    let rights = |asked: &Asked| (KIND.rights)(&target, &asked.plan);
    let asked = Asked::new(&target, Timestamp::UNIX_EPOCH);
    assert!(rights(&asked).sets["repository"].iter().eq(["101", "102"]));
    assert_eq!(rights(&asked.with("repositories", &["101", "103"])), Rights::default());
    let mut other = Asked::new(&target, Timestamp::UNIX_EPOCH);
    other.plan.grants = vec!["other".parse().expect("name")];
    assert_eq!(rights(&other), Rights::default());
}

#[test]
fn a_parameter_that_narrows_nothing_is_a_fault() {
    let mut target = target(|_, _| ());
    let ty = ParamType::String(None);
    for grant in target.grants.values_mut() {
        let spec = ParamSpec {
            ty: ty.clone(),
            required: false,
        };
        grant.params.insert("issue".to_owned(), spec);
    }
    assert_eq!(faulty_keys(&target), ["permissions"]);
}
