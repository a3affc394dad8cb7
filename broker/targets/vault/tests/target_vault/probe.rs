//! What the probe finds.

use serde_json::{Value, json};

use crate::{bed::Bed, on_both};

on_both! {
    the_probe_passes_what_the_page_describes,
    the_probe_names_what_the_token_role_lacks,
    the_probe_names_what_the_brokers_token_may_not,
}

async fn problem(bed: &Bed, grant: Value) -> String {
    let minter = bed.open(&bed.target(grant));
    minter.probe().await.expect_err("a problem").to_string()
}

async fn the_probe_passes_what_the_page_describes(bed: &Bed) {
    for grant in [json!({}), json!({ "path": format!("db-{}/creds/reader", bed.id) })] {
        bed.open(&bed.target(grant)).probe().await.expect("all is there");
    }
}

async fn the_probe_names_what_the_token_role_lacks(bed: &Bed) {
    for (changes, expected) in [
        (json!({ "orphan": false }), "is not orphan"),
        (json!({ "allowed_policies": ["other"] }), "lacks child-"),
        (json!({ "token_period": "60s" }), "has a period"),
        (json!({ "token_type": "batch" }), "batch tokens"),
        (json!({ "allowed_policies": [bed.child(), "root"] }), "has root"),
    ] {
        bed.token_role(changes).await;
        let found = problem(bed, json!({})).await;
        assert!(found.contains(expected), "{found}");
        bed.token_role(json!({ "token_period": 0, "token_type": "service" }))
            .await;
    }
}

async fn the_probe_names_what_the_brokers_token_may_not(bed: &Bed) {
    let role = bed.role();
    let text = format!("path \"auth/token/roles/{role}\" {{ capabilities = [\"read\"] }}");
    let name = format!("broker-{}", bed.id);
    // Without `default`, which permits looking at leases.
    bed.policy(&name, &text).await;
    let body = json!({ "policies": [name], "ttl": "600s", "no_default_policy": true });
    let answer = bed.post("auth/token/create", body).await;
    bed.put_broker_token(answer["auth"]["client_token"].as_str().expect("a token"))
        .await;
    let found = problem(bed, json!({ "path": format!("db-{}/creds/reader", bed.id) })).await;
    for path in [
        "auth/token/lookup-accessor",
        "auth/token/revoke-accessor",
        "sys/leases/lookup",
        "sys/leases/renew",
        "list auth/token/accessors",
    ] {
        assert!(found.contains(path), "{path}: {found}");
    }
}
