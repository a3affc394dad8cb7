//! Targets that cannot be meant.

use std::collections::BTreeSet;

use procura_contract::asked;
use procura_core::{
    catalogue::Target,
    params::{ParamSpec, ParamType},
};
use procura_target_vault::KIND;
use serde_json::{Value, json};

fn target(settings: Value, grant: Value) -> Target {
    let mut all = json!({ "address": "https://vault.example.com", "token_role": "procura" });
    let mut whole = json!({ "policies": ["reader"] });
    for (into, from) in [(&mut all, &settings), (&mut whole, &grant)] {
        for (key, value) in from.as_object().expect("object") {
            into[key.as_str()] = value.clone();
        }
    }
    asked::target(&KIND, &all, &whole)
}

fn faults(target: &Target) -> String {
    let faults = (KIND.check)(target).into_iter();
    let words = faults.map(|fault| format!("{}: {}", fault.key, fault.problem));
    words.collect::<Vec<_>>().join("\n")
}

fn with(mut target: Target, param: &str, ty: ParamType, required: bool) -> Target {
    for grant in target.grants.values_mut() {
        let ty = ty.clone();
        grant.params.insert(param.to_owned(), ParamSpec { ty, required });
    }
    target
}

#[test]
fn addresses_namespaces_and_roles_lead_nowhere_else() {
    for fine in [
        json!({}),
        json!({ "namespace": "team/prod" }),
        json!({ "address": "http://127.0.0.1:8200" }),
        json!({ "address": "https://10.1.2.3:8200/" }),
    ] {
        assert_eq!(faults(&target(fine.clone(), json!({}))), "", "{fine}");
    }
    for (bad, key) in [
        (json!({ "address": "http://vault.example.com" }), "address"),
        (json!({ "address": "https://vault.example.com/v1" }), "address"),
        (json!({ "address": "https://u:p@vault.example.com" }), "address"),
        (json!({ "address": "vault" }), "address"),
        (json!({ "namespace": "team/" }), "namespace"),
        (json!({ "namespace": "a\r\nX-Vault-Token: b" }), "namespace"),
        (json!({ "token_role": "a/../b" }), "token_role"),
        (json!({ "token_role": "" }), "token_role"),
    ] {
        let found = faults(&target(bad.clone(), json!({})));
        assert!(found.starts_with(&format!("{key}: ")), "{bad}: {found}");
    }
}

#[test]
fn grants_that_cannot_be_meant_are_faults_that_say_why() {
    for (bad, problem) in [
        (json!({ "policies": [] }), "names no policy"),
        (json!({ "policies": ["reader", "root"] }), "root is never given"),
        (json!({ "policies": ["default"] }), "default is never given"),
        (json!({ "policies": ["Reader"] }), "is no name of a policy"),
        (json!({ "method": "write" }), "need a `path`"),
        (json!({ "data": { "a": "b" } }), "need a `path`"),
        (json!({ "path": "database" }), "is no path below a mount"),
        (json!({ "path": "database/../sys/seal" }), "is no path below a mount"),
        (json!({ "path": "kv/a?list=true" }), "is no path below a mount"),
        (json!({ "path": "auth/token/create" }), "belongs to the server itself"),
        (json!({ "path": "sys/leases/revoke" }), "belongs to the server itself"),
        (
            json!({ "path": "aws/creds/a", "data": { "a": "b" } }),
            "with method = \"write\" only",
        ),
        (
            json!({ "path": "aws/creds/a", "method": "delete" }),
            "neither read nor write",
        ),
        (
            json!({ "path": "aws/creds/a", "extensions": ["permit-pty"] }),
            "for SSH certificates only",
        ),
        (
            json!({ "path": "pki/issue/web", "data": { "common_name": "a" } }),
            "takes method",
        ),
        (
            json!({ "path": "pki/issue/web", "method": "write", "data": { "common_name": "a", "ttl": "10h" } }),
            "ttl is given by the broker",
        ),
    ] {
        let found = faults(&target(json!({}), bad.clone()));
        assert!(found.contains(problem), "{bad}: {found}");
    }
    let both = json!({ "path": "aws/creds/a", "method": "write", "data": { "role": "b" } });
    let both = with(target(json!({}), both), "role", ParamType::String(None), true);
    assert!(faults(&both).contains("role is a parameter too"));
    let read = target(json!({}), json!({ "path": "aws/creds/a" }));
    assert!(faults(&with(read, "role", ParamType::String(None), true)).contains("method = \"write\""));
}

#[test]
fn attack_170_a_grant_that_signs_for_anybody_is_a_fault() {
    let sign = |data: Value| {
        let grant = json!({ "path": "ssh/sign/ops", "method": "write", "data": data });
        target(json!({}), grant)
    };
    for data in [
        json!({}),
        json!({ "valid_principals": "" }),
        json!({ "valid_principals": "*" }),
        json!({ "valid_principals": "alice,*" }),
        json!({ "valid_principals": "alice, " }),
    ] {
        assert!(faults(&sign(data.clone())).contains("signs for anybody"), "{data}");
    }
    assert_eq!(faults(&sign(json!({ "valid_principals": "alice,bob" }))), "");
    let list = |names: &[&str]| ParamType::Enum(names.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<_>>());
    for (ty, required, fine) in [
        (ParamType::String(None), true, true),
        (ParamType::Set(None), true, true),
        (list(&["alice", "bob"]), true, true),
        (ParamType::String(None), false, false),
        (ParamType::Set(None), false, false),
        (list(&["alice", "*"]), true, false),
        (ParamType::Bool, true, false),
    ] {
        let found = faults(&with(sign(json!({})), "valid_principals", ty.clone(), required));
        assert_eq!(found.is_empty(), fine, "{ty:?} {required}: {found}");
    }
    let extensions = sign(json!({ "valid_principals": "alice", "extensions": "permit-pty" }));
    assert!(faults(&extensions).contains("are listed in the key `extensions`"));
}

#[test]
fn a_request_that_carries_names_of_its_own_is_a_fault() {
    let grant = json!({
        "policies": ["issuer"], "path": "pki/sign/web", "method": "write", "data": { "common_name": "a.example.com" },
    });
    let settings = json!({ "address": "https://vault.example.com", "token_role": "procura" });
    let target = with(target(settings, grant), "csr", ParamType::String(None), true);
    assert!(faults(&target).contains("csr"), "{}", faults(&target));
}
