//! The page for auditors and operators, in a browser and without one.

use std::{fs, os::unix::fs::PermissionsExt, path::Path, time::Duration};

use procura_e2e::{
    Fault, Testbed, chromium,
    harness::Outcome,
    http,
    keycloak::{ALICE, Keycloak},
    serve::{DATABASE, Replica, SERVER, Site, Store},
};
use reqwest::{Client, Response, header};
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Connection, SqliteConnection};

const CLIENT: &str = "procura-page";
const SECRET: &str = "page-secret-of-a-test";

const RULES: &str = r#"
@id("sre-reads-and-ends") permit (principal in Group::"corp/sre", action in [Action::"read_log", Action::"end_session"], resource);
@id("support-reads-tickets-log") permit (principal in Group::"corp/support", action == Action::"read_log", resource == Target::"api");
"#;

pub(crate) async fn an_operator_logs_in_through_keycloak_reads_a_rule_and_ends_a_session(testbed: &Testbed) -> Outcome {
    let (site, _keycloak) = stage(testbed).await?;
    let broker = site.start().await?;
    let (record, session) = busy(&site, &broker).await?;
    let log_ins = || async { logins(&site, &broker).await };
    assert!(!log_ins().await?.is_empty());
    let seen = chromium::walk(
        testbed,
        json!({
            "base": site.identifier,
            "user": "bob",
            "password": "bob-password",
            "record": record,
            "session": session,
            "server": SERVER,
            "walk": true,
        }),
    )
    .await?;
    assert!(seen["asked"] == true && seen["back"] == true, "{seen}");
    check_cookies(&seen);
    let rule = seen["rule"].as_str().unwrap_or_default();
    assert!(
        rule.contains("support-reads-own-rows") && rule.contains("permit ("),
        "{rule}"
    );
    for (member, part) in [
        ("proof", "In the log"),
        ("mistake", "tarxet = tickets-db"),
        ("reach", "Of the subject dev/alice"),
        ("worst", "until 20"),
        ("log", "Every record is under the signed checkpoint"),
        ("state", "was revoked"),
    ] {
        let text = seen[member].as_str().unwrap_or_default();
        assert!(text.contains(part), "{member}: {text}");
    }
    // The role is undone; tokens that were signed live until their end wherever they are checked offline.
    assert_eq!(
        seen["fates"],
        json!(["undone", "lives on", "lives on", "lives on"]),
        "{seen}"
    );
    assert_eq!(seen["problems"], json!([]), "axe");
    assert_eq!(seen["overflows"], json!([]), "wider than the screen");
    assert_eq!(seen["refused"], json!([]), "the policy refuses nothing of its own");
    assert!(seen["left"] == true && seen["out"] == true, "{seen}");
    assert_eq!(seen["views"].as_array().map(Vec::len), Some(14), "{seen}");
    let ended = broker.all("sessions").await?;
    let ended = ended.iter().find(|one| one["id"] == *session).ok_or("no session")?;
    assert_eq!(ended["ended"]["by"], "operator");
    let left: Vec<_> = log_ins()
        .await?
        .into_iter()
        .filter(|role| role.contains(&record.replace('-', "")))
        .collect();
    assert!(left.is_empty(), "its role is gone: {left:?}");
    Ok(())
}

pub(crate) async fn an_auditor_of_one_target_sees_nothing_of_others(testbed: &Testbed) -> Outcome {
    let (site, _keycloak) = stage(testbed).await?;
    let broker = site.start().await?;
    busy(&site, &broker).await?;
    let seen = chromium::walk(
        testbed,
        json!({"base": site.identifier, "user": "alice", "password": "alice-password"}),
    )
    .await?;
    assert!(
        seen["asked"] == true && seen["heading"] == "Records" && seen["out"] == true,
        "{seen}"
    );
    assert_eq!(
        seen["links"],
        json!(["Overview", "Records", "Sessions", "Servers", "Blast radius"])
    );
    assert_eq!(
        (&seen["log"], &seen["reach"]),
        (&json!("Not permitted"), &json!("Not permitted"))
    );
    let sessions = broker.all("sessions").await?;
    let corp = sessions
        .iter()
        .filter(|session| session["subject"]["id"] == format!("corp/{ALICE}"));
    assert_eq!(corp.count(), 0, "the log-in is no session of credentials");
    Ok(())
}

pub(crate) async fn a_record_that_was_changed_in_the_store_is_shown_not_to_be_in_the_log(testbed: &Testbed) -> Outcome {
    let launch = testbed.dev()?;
    let broker = launch.start().await?;
    let token = broker.subject_token().await?;
    let mut fields = http::exchange(&token, &broker.dev.audience, &broker.dev.scope);
    fields.push(("tool", "list_tickets"));
    let issued = broker.exchange(&fields).await?.expect_status(200)?;
    let id = issued.text("issuance_id").to_owned();
    let http = http::client()?;
    let mut browser = Browser::new(&http, &broker.dev.issuer).log_in("operator").await?;
    let path = format!("/ui/records/{id}");
    browser.until(&path, "In the log: its proof").await?;
    let store = format!("sqlite:{}", launch.dir().join(".procura/store.sqlite").display());
    let change = async |table: &str, column: &str, from: &str, to: &str| -> Outcome {
        let mut connection = SqliteConnection::connect(&store).await?;
        let sql = format!("UPDATE {table} SET {column} = replace({column}, '{from}', '{to}')");
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut connection).await?;
        Ok(connection.close().await?)
    };
    for (table, column, from, to) in [
        ("record", "leaf", r#""outcome":"issued""#, r#""outcome":"issueD""#),
        ("side", "clear", "alice", "carol"),
        ("record", "tool", "list_tickets", "close_ticket"),
        ("side", "subject", "alice", "carol"),
    ] {
        change(table, column, from, to).await?;
        browser.until(&path, "NOT ").await?;
        change(table, column, to, from).await?;
        browser.until(&path, "In the log: its proof").await?;
    }
    browser
        .until("/ui/log", "Every record is under the signed checkpoint")
        .await?;
    change("log", "note", "procura/1", "procura/7").await?;
    browser.until("/ui/log", "not signed by a key of this broker").await?;
    browser.until(&path, "NOT in the log").await
}

pub(crate) async fn the_page_of_dev_lets_in_who_began_the_log_in_once(testbed: &Testbed) -> Outcome {
    let launch = testbed.dev()?;
    let broker = launch.start().await?;
    let base = broker.dev.issuer.clone();
    let http = http::client()?;
    let before = Browser::new(&http, &base).log_in("operator").await?;

    let mut other = Browser::new(&http, &base);
    other.get("/ui/login/start").await?;
    let mut browser = Browser::new(&http, &base);
    browser.cookies.push(before.cookie("__Host-procura")?);
    let answer = browser.chosen("operator").await?;
    assert!(answer.starts_with("/ui/callback?"), "{answer}");
    for (what, path, with) in [
        ("without the cookie of its beginning", answer.clone(), vec![]),
        ("with that of another browser", answer.clone(), other.cookies.clone()),
        (
            "another state",
            answer.replace("state=", "state=x"),
            browser.cookies.clone(),
        ),
    ] {
        let mut thief = Browser::new(&http, &base);
        thief.cookies = with;
        assert_eq!(thief.get(&path).await?.status(), 400, "{what}");
    }
    let begun = browser.cookies.clone();
    assert_eq!(browser.get(&answer).await?.status(), 303);
    assert_ne!(
        browser.cookie("__Host-procura")?,
        before.cookie("__Host-procura")?,
        "a new id"
    );
    assert_eq!(browser.get("/ui/").await?.status(), 200);
    let mut old = Browser::new(&http, &base);
    old.cookies = before.cookies.clone();
    assert_eq!(old.get("/ui/").await?.status(), 303, "the one before has ended");
    let mut again = Browser::new(&http, &base);
    again.cookies = begun;
    assert_eq!(again.get(&answer).await?.status(), 403, "a second time");

    let mut mixed = Browser::new(&http, &base);
    let answer = mixed.chosen("operator").await?;
    assert_eq!(
        mixed.get(&answer.replace("%2Fdev", "%2Fevil")).await?.status(),
        400,
        "RFC 9207"
    );
    Ok(())
}

pub(crate) async fn chromium_keeps_the_cookies_of_dev_on_the_loopback_address(testbed: &Testbed) -> Outcome {
    let launch = testbed.dev()?;
    let broker = launch.start().await?;
    let seen = chromium::walk(testbed, json!({"base": broker.dev.issuer, "user": "operator"})).await?;
    assert!(seen["back"] == true && seen["heading"] == "Records", "{seen}");
    check_cookies(&seen);
    assert!(seen["left"] == true && seen["out"] == true, "{seen}");
    let seen = chromium::walk(testbed, json!({"base": broker.dev.issuer, "user": "carol"})).await?;
    assert_eq!(seen["heading"], "Not permitted");
    Ok(())
}

fn check_cookies(seen: &Value) {
    let cookies = seen["cookies"].as_array().cloned().unwrap_or_default();
    let ours: Vec<_> = cookies
        .iter()
        .filter(|cookie| cookie["name"] == "__Host-procura")
        .collect();
    assert_eq!(ours.len(), 1, "{seen}");
    for (member, value) in [
        ("secure", json!(true)),
        ("httpOnly", json!(true)),
        ("sameSite", json!("Lax")),
    ] {
        assert_eq!(ours[0][member], value, "{seen}");
    }
}

/// A broker over TLS that people log in to through a Keycloak over TLS.
async fn stage(testbed: &Testbed) -> Result<(Site<'_>, Keycloak), Fault> {
    let mut site = Site::new(testbed, testbed.postgres().await?.target().await?, &Store::Sqlite).await?;
    site.speak_tls()?;
    let authority = site.authority.as_ref().ok_or("no authority")?;
    let keycloak = testbed.keycloak_over_tls(authority).await?;
    keycloak.register(&client(&site.identifier)).await?;
    let ca = fs::read_to_string(site.path("ca.pem"))? + &authority.certificate;
    fs::write(site.path("ca.pem"), ca)?;
    private(&site.path("own/page"), SECRET)?;
    let page = format!("[web]\nissuer = \"corp\"\nclient_id = \"{CLIENT}\"\nclient_secret = \"own:page\"\n");
    site.amend("procura.toml", |text| format!("{text}{page}"))?;
    let issuer = format!(
        "issuer = \"{}\"\nalgorithms = [\"ES256\"]\noperators = true\nmax_token_lifetime = \"1h\"\n\
         groups = {{ claim = \"groups\", allow = [\"support\", \"sre\"] }}\n",
        keycloak.issuer
    );
    public(&site.path("policies/issuers/corp.toml"), &issuer)?;
    public(&site.path("policies/rules/page.cedar"), RULES)?;
    Ok((site, keycloak))
}

fn client(base: &str) -> Value {
    json!({
        "clientId": CLIENT,
        "secret": SECRET,
        "publicClient": false,
        "standardFlowEnabled": true,
        "redirectUris": [format!("{base}/ui/callback")],
        "attributes": {
            "pkce.code.challenge.method": "S256",
            "post.logout.redirect.uris": format!("{base}/ui/login?left=1"),
        },
        "protocolMappers": [{
            "name": "groups",
            "protocol": "openid-connect",
            "protocolMapper": "oidc-group-membership-mapper",
            "config": {
                "claim.name": "groups",
                "full.path": "false",
                "access.token.claim": "false",
                "id.token.claim": "true",
                "userinfo.token.claim": "false",
            },
        }],
    })
}

/// Something to look at: people, targets, refusals. Answers a record of alice's at the database and its session.
async fn busy(site: &Site<'_>, broker: &Replica<'_>) -> Result<(String, String), Fault> {
    for _ in 0..3 {
        broker.exchange_at("bob", "api", "read-tickets").await?;
        broker.exchange_at("alice", "api", "read-tickets").await?;
        broker.exchange_at("alice", "api", "delete-tickets").await?;
    }
    broker.exchange("bob").await?.expect_status(200)?;
    broker.exchange_at("carol", "nowhere", "read-rows").await?;
    let token = site.user("alice")?;
    let mine = broker
        .exchange_for(&token, DATABASE, &[("tool", "read_rows")])
        .await?
        .expect_status(200)?;
    Ok((mine.text("issuance_id").to_owned(), mine.text("session").to_owned()))
}

async fn logins(site: &Site<'_>, broker: &Replica<'_>) -> Result<Vec<String>, Fault> {
    let leases = broker.all("leases").await?;
    let handle = leases.first().and_then(|lease| lease["handle"].as_str());
    let installation = handle.and_then(|handle| handle.get(1..9)).ok_or("no lease")?;
    Ok(site.database.roles(installation).await?.into_iter().collect())
}

fn private(path: &Path, text: &str) -> Result<(), Fault> {
    fs::write(path, text)?;
    Ok(fs::set_permissions(path, fs::Permissions::from_mode(0o600))?)
}

fn public(path: &Path, text: &str) -> Result<(), Fault> {
    fs::write(path, text)?;
    Ok(fs::set_permissions(path, fs::Permissions::from_mode(0o644))?)
}

/// A browser without a window: it keeps cookies and follows nothing by itself.
struct Browser {
    http: Client,
    base: String,
    cookies: Vec<String>,
}

impl Browser {
    fn new(http: &Client, base: &str) -> Self {
        Self {
            http: http.clone(),
            base: base.to_owned(),
            cookies: Vec::new(),
        }
    }

    fn cookie(&self, name: &str) -> Result<String, Fault> {
        let found = self
            .cookies
            .iter()
            .find(|cookie| cookie.starts_with(&format!("{name}=")));
        Ok(found.cloned().ok_or_else(|| format!("no cookie {name}"))?)
    }

    async fn get(&mut self, path: &str) -> Result<Response, Fault> {
        let request = self.http.get(format!("{}{path}", self.base));
        let response = request.header(header::COOKIE, self.cookies.join("; ")).send().await?;
        for line in response.headers().get_all(header::SET_COOKIE) {
            let cookie = line.to_str()?.split(';').next().unwrap_or_default().to_owned();
            let name = cookie.split('=').next().unwrap_or_default().to_owned();
            self.cookies.retain(|kept| !kept.starts_with(&format!("{name}=")));
            if !cookie.ends_with('=') {
                self.cookies.push(cookie);
            }
        }
        Ok(response)
    }

    /// Asks again until the page says so.
    async fn until(&mut self, path: &str, text: &str) -> Outcome {
        let mut page = String::new();
        for _ in 0..40 {
            page = self.get(path).await?.text().await?;
            if page.contains(text) {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(250)).await;
        }
        Err(format!("{path} does not say {text}: {page}").into())
    }

    /// Where it is sent on to, as a path.
    async fn sent(&mut self, path: &str) -> Result<String, Fault> {
        let response = self.get(path).await?;
        let to = response
            .headers()
            .get(header::LOCATION)
            .ok_or("no redirect")?
            .to_str()?;
        Ok(to.strip_prefix(&self.base).unwrap_or(to).to_owned())
    }

    /// To the issuer and back as far as the answer, which it has not gone to yet.
    async fn chosen(&mut self, user: &str) -> Result<String, Fault> {
        let authorize = self.sent("/ui/login/start").await?;
        assert!(authorize.starts_with("/dev/authorize?"), "{authorize}");
        assert!(authorize.contains("code_challenge_method=S256"), "{authorize}");
        self.sent(&format!("{authorize}&user={user}")).await
    }

    async fn log_in(mut self, user: &str) -> Result<Self, Fault> {
        let answer = self.chosen(user).await?;
        let to = self.sent(&answer).await?;
        assert_eq!(to, "/ui/");
        Ok(self)
    }
}
