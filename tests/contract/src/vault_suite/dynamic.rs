//! Secrets that an engine makes for each read, shown with the database engine.

use std::{collections::BTreeSet, path::Path, time::Duration};

use procura_core::source::Source;
use reqwest::Method;
use serde_json::{Value, json};

use super::{Admin, Opened, current, read, refetch};

const CREATE: &str = r#"CREATE ROLE "{{name}}" WITH LOGIN PASSWORD '{{password}}' VALID UNTIL '{{expiration}}';"#;

impl Admin<'_> {
    pub(super) async fn mount_database(&self) {
        let db = &self.db;
        self.in_time(&format!("sys/mounts/{db}"), &json!({ "type": "database" }))
            .await;
        let config = json!({
            "plugin_name": "postgresql-database-plugin",
            "connection_url": self.server.database,
            "allowed_roles": "*",
        });
        self.in_time(&format!("{db}/config/app"), &config).await;
        for (role, ttl, max_ttl) in [("long", "600s", "3600s"), ("short", "8s", "20s")] {
            let body = json!({
                "db_name": "app",
                "creation_statements": [CREATE],
                "default_ttl": ttl,
                "max_ttl": max_ttl,
            });
            self.must(Method::POST, &format!("{db}/roles/{role}"), &body).await;
        }
    }

    /// Whether the lease is there still. Its version is the end of its id.
    async fn lease_lives(&self, role: &str, version: &str) -> bool {
        let id = format!("{}/creds/{role}/{version}", self.db);
        let body = json!({ "lease_id": id });
        let (status, _) = self.call(Method::POST, "sys/leases/lookup", &body).await;
        status.is_success()
    }
}

async fn version(source: &dyn Source) -> String {
    current(source).await.version.clone()
}

pub(super) async fn one_lease_serves_until_it_is_refused(admin: &Admin<'_>, opened: &impl Opened) {
    let path = format!("{}/creds/long", admin.db);
    let source = opened.source(&path);
    let first = current(&*source).await;
    #[expect(clippy::disallowed_methods, reason = "the suite looks at what the server made")]
    let object: Value = serde_json::from_str(first.value.expose()).expect("a JSON object");
    assert!(object["username"].is_string() && object["password"].is_string());
    let fields = ["username", "password"].map(|field| opened.source(&format!("{path}#{field}")));
    for field in &fields {
        assert_eq!(version(&**field).await, first.version, "all fields are of one lease");
    }
    assert_eq!(refetch(&*source).await.version, first.version, "it was made just now");
    opened.pass(Duration::from_secs(2)).await;
    assert_eq!(version(&*source).await, first.version);
    let second = refetch(&*source).await;
    assert_ne!(second.version, first.version, "a target refused the first");
    assert_eq!(version(&*fields[0]).await, second.version);
    assert!(
        admin.lease_lives("long", &first.version).await,
        "whoever uses it may go on"
    );
}

pub(super) async fn no_reader_meets_the_end_of_a_lease(admin: &Admin<'_>, opened: &impl Opened) {
    let source = opened.source(&format!("{}/creds/short", admin.db));
    let mut versions = BTreeSet::new();
    // Past the longest life of the first lease.
    for second in 0..26 {
        let version = version(&*source).await;
        assert!(admin.lease_lives("short", &version).await, "after {second} s");
        versions.insert(version);
        opened.pass(Duration::from_secs(1)).await;
    }
    assert!(
        (2..=3).contains(&versions.len()),
        "renewed first, then replaced: {versions:?}"
    );
}

pub(super) async fn a_lease_is_replaced_with_the_token_that_it_ends_with(
    admin: &Admin<'_>,
    opened: &impl Opened,
    token_file: &Path,
) {
    let source = opened.source(&format!("{}/creds/long", admin.db));
    let before = version(&*source).await;
    let old = read(token_file);
    admin.put_token(token_file, "600s").await;
    admin.revoke(&old).await;
    for _ in 0..12 {
        opened.pass(Duration::from_secs(1)).await;
    }
    let after = version(&*source).await;
    assert_ne!(before, after);
    assert!(admin.lease_lives("long", &after).await);
}

pub(super) async fn what_has_no_lease_is_an_error(admin: &Admin<'_>, opened: &impl Opened) {
    let unknown = opened.source(&format!("{}/creds/unknown", admin.db));
    assert!(unknown.current().await.is_err());
}
