//! Target files that the kind refuses at load.

use procura_contract::asked;
use procura_core::{
    catalogue::Target,
    params::{ParamSpec, ParamType},
};
use procura_target_oauth::KIND;
use serde_json::{Value, json};

use crate::bed::{exchange, forwarding, grant};

fn target(tweak: impl FnOnce(&mut Value, &mut Value)) -> Target {
    let mut own = json!({ "issuer": "https://id.test/r", "client_id": "broker", "client_auth": "client_secret_post" });
    let mut grant = grant();
    tweak(&mut own, &mut grant);
    asked::target(&KIND, &own, &grant)
}

fn faulty_keys(target: &Target) -> Vec<&'static str> {
    (KIND.check)(target).iter().map(|fault| fault.key).collect()
}

#[test]
fn a_plain_target_is_accepted() {
    assert_eq!((KIND.check)(&target(|_, _| ())), []);
    let given = |own: &mut Value, _: &mut Value| {
        let auth = "private_key_jwt";
        *own = json!({ "token_endpoint": "http://127.0.0.1:8080/token?x", "client_id": "b", "client_auth": auth });
    };
    assert_eq!((KIND.check)(&target(given)), []);
    assert_eq!((KIND.check)(&forwarding(target(|_, grant| *grant = exchange()))), []);
}

#[test]
fn each_fault_names_its_key() {
    for url in [
        "",
        "id.test",
        "http://id.test",
        "https://u@id.test",
        "https://id.test/#f",
        "file:///x",
    ] {
        assert_eq!(
            faulty_keys(&target(|own, _| own["issuer"] = json!(url))),
            ["issuer"],
            "{url:?}"
        );
        assert_eq!(
            faulty_keys(&target(|own, _| own["token_endpoint"] = json!(url))),
            ["token_endpoint"],
            "{url:?}"
        );
    }
    assert_eq!(
        faulty_keys(&target(|own, _| own["issuer"] = json!("https://id.test?x"))),
        ["issuer"]
    );
    assert_eq!(
        faulty_keys(&target(|own, _| own["client_id"] = json!("ü"))),
        ["client_id"]
    );
    for auth in ["none", "", "tls_client_auth", "client_secret_jwt"] {
        assert_eq!(
            faulty_keys(&target(|own, _| own["client_auth"] = json!(auth))),
            ["client_auth"],
            "{auth:?}"
        );
    }
    let nowhere = target(|own, _| *own = json!({ "client_id": "b", "client_auth": "client_secret_post" }));
    assert_eq!(faulty_keys(&nowhere), ["issuer"]);
    let half = target(|own, _| own["revocation_endpoint"] = json!("https://id.test/revoke"));
    assert_eq!(faulty_keys(&half), ["revocation_endpoint"]);
    let both = target(|own, _| {
        own["token_endpoint"] = json!("https://id.test/token");
        own["revocation_endpoint"] = json!("https://id.test/revoke");
        own["revokes"] = json!(false);
    });
    assert_eq!(faulty_keys(&both), ["revokes"]);
}

#[test]
fn each_fault_of_a_grant_names_its_key() {
    for scopes in [
        json!([]),
        json!(["a b"]),
        json!([""]),
        json!(["a\""]),
        json!(["a", "openid"]),
        json!(["offline_access"]),
    ] {
        let faulty = target(|_, grant| grant["scopes"] = scopes.clone());
        assert_eq!(faulty_keys(&faulty), ["scopes"], "{scopes}");
    }
    assert_eq!(
        faulty_keys(&target(|_, grant| grant["grant_type"] = json!("password"))),
        ["grant_type"]
    );
    for resource in ["api", "https://api.test/#part", ""] {
        assert_eq!(
            faulty_keys(&target(|_, grant| grant["resource"] = json!(resource))),
            ["resource"],
            "{resource:?}"
        );
    }
    assert_eq!(
        faulty_keys(&target(|_, grant| grant["audience"] = json!(""))),
        ["audience"]
    );
    let mut narrowed = target(|_, _| ());
    for grant in narrowed.grants.values_mut() {
        let ty = ParamType::String(None);
        grant
            .params
            .insert("scopes".to_owned(), ParamSpec { ty, required: false });
    }
    assert_eq!(faulty_keys(&narrowed), ["scopes"]);
}

#[test]
fn a_subject_token_is_handed_on_only_where_it_is_exchanged_at_a_known_issuer() {
    assert_eq!(faulty_keys(&target(|_, grant| *grant = exchange())), ["grant_type"]);
    assert_eq!(faulty_keys(&forwarding(target(|_, _| ()))), ["grant_type"]);
    let unknown = forwarding(target(|own, grant| {
        *grant = exchange();
        *own = json!({ "token_endpoint": "https://id.test/t", "client_id": "b", "client_auth": "client_secret_post" });
    }));
    assert_eq!(faulty_keys(&unknown), ["grant_type"]);
}

#[test]
fn its_place_is_the_client_at_the_upstream() {
    assert_eq!(target(|_, _| ()).place(), "issuer=https://id.test/r;client_id=broker");
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
        grant.params.insert("customer".to_owned(), spec);
    }
    assert_eq!(faulty_keys(&target), ["scopes"]);
}
