//! What is new is told to a webhook over TLS, signed, once; the report says the same. On both stores.

use std::{
    fs,
    net::SocketAddr,
    os::unix::fs::PermissionsExt,
    sync::{Arc, Mutex, PoisonError},
};

use aws_lc_rs::hmac;
use axum::{
    Router,
    http::{HeaderMap, StatusCode},
    routing::post,
};
use axum_server::{Handle, tls_rustls::RustlsConfig};
use procura_e2e::{
    Fault, Testbed,
    authority::Authority,
    database,
    harness::Outcome,
    serve::{DATABASE, Replica, Site, Store},
};
use serde_json::{Value, json};
use sqlx::{Connection, SqliteConnection, sqlite::SqliteConnectOptions};
use tokio::task::JoinSet;

const SECRET: &str = "what the receiver knows the broker by";

type Told = Arc<Mutex<Vec<(HeaderMap, String)>>>;

/// Takes whatever is told it.
struct Receiver {
    url: String,
    told: Told,
    _serving: JoinSet<()>,
}

impl Receiver {
    async fn start(authority: &Authority) -> Result<Self, Fault> {
        let (certificate, key) = authority.issue()?;
        let tls = RustlsConfig::from_pem(certificate.into(), key.into()).await?;
        let socket = std::net::TcpListener::bind("127.0.0.1:0")?;
        socket.set_nonblocking(true)?;
        let url = format!("https://{}/hook", socket.local_addr()?);
        let told = Told::default();
        let kept = Arc::clone(&told);
        let take = async move |headers: HeaderMap, body: String| {
            kept.lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push((headers, body));
            StatusCode::NO_CONTENT
        };
        let routes = Router::new().route("/hook", post(take));
        let server = axum_server::from_tcp_rustls(socket, tls)?.handle(Handle::<SocketAddr>::new());
        let mut serving = JoinSet::new();
        serving.spawn(async move {
            if let Err(error) = server.serve(routes.into_make_service()).await {
                eprintln!("the receiver ended: {error}");
            }
        });
        Ok(Self {
            url,
            told,
            _serving: serving,
        })
    }

    fn told(&self) -> Vec<(HeaderMap, String)> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

async fn ask(broker: &Replica<'_>, site: &Site<'_>, user: &str) -> Outcome {
    let token = site.user(user)?;
    let reply = broker.exchange_for(&token, DATABASE, &[("tool", "read_rows")]).await?;
    reply.expect_status(200).map(drop)
}

/// What the report finds once so many records are counted.
async fn novel(broker: &Replica<'_>, records: u64) -> Result<Value, Fault> {
    broker
        .until(async |broker| {
            let report = broker.api("/reports/novel?days=1").await?.expect_status(200)?.body;
            let counted = &report["counted"];
            let whole = counted["records"].as_u64() >= Some(records) && counted["behind"] == false;
            Ok(whole.then_some(report))
        })
        .await
}

/// Whatever was counted so far was three days ago.
async fn age(site: &Site<'_>, store: &Store) -> Outcome {
    let sql = "UPDATE usage SET day = day - 3";
    match store {
        Store::Postgres(url) => drop(database::query(url, sql).await?),
        Store::Sqlite => {
            let options = SqliteConnectOptions::new().filename(site.path("store/procura.sqlite"));
            let mut store = SqliteConnection::connect_with(&options).await?;
            sqlx::query(sql).execute(&mut store).await?;
            store.close().await?;
        }
    }
    Ok(())
}

pub(crate) async fn a_finding_is_told_over_tls_once_and_is_in_the_report(testbed: &Testbed) -> Outcome {
    for store in [Store::Sqlite, Store::Postgres(testbed.postgres().await?.empty().await?)] {
        let site = Site::new(testbed, testbed.postgres().await?.target().await?, &store).await?;
        let broker = site.start().await?;
        ask(&broker, &site, "alice").await?;
        novel(&broker, 1).await?;
        broker.kill().await?;
        age(&site, &store).await?;

        let broker = site.start().await?;
        ask(&broker, &site, "alice").await?;
        ask(&broker, &site, "bob").await?;
        let report = novel(&broker, 3).await?;
        let findings = report["findings"].as_array().ok_or("no findings")?;
        assert_eq!(findings.len(), 1, "alice is known: {report}");
        let of = json!({"subject": "dev/bob", "server": "tickets", "tool": "read_rows"});
        assert_eq!(
            (&findings[0]["finding"], &findings[0]["of"]),
            (&json!("subject_tool"), &of)
        );
        broker.kill().await?;

        let authority = Authority::new()?;
        let receiver = Receiver::start(&authority).await?;
        site.amend("ca.pem", |trusted| trusted.to_owned() + &authority.certificate)?;
        fs::write(site.path("own/hook"), SECRET)?;
        fs::set_permissions(site.path("own/hook"), fs::Permissions::from_mode(0o600))?;
        site.amend("procura.toml", |text| {
            format!(
                "{text}[alerts]\nwebhook = \"{}\"\nsecret = \"own:hook\"\n",
                receiver.url
            )
        })?;
        // A second start finds the same again, which was told.
        for _ in 0..2 {
            let broker = site.start().await?;
            broker
                .until(async |_| Ok((!receiver.told().is_empty()).then_some(())))
                .await?;
            broker.kill().await?;
        }
        let told = receiver.told();
        let [(headers, body)] = &told[..] else {
            return Err(format!("told {} times", told.len()).into());
        };
        let text = |name: &str| {
            headers
                .get(name)
                .and_then(|value| value.to_str().ok())
                .unwrap_or_default()
        };
        let key = hmac::Key::new(hmac::HMAC_SHA256, SECRET.as_bytes());
        let tag = hmac::sign(&key, format!("{}.{body}", text("procura-timestamp")).as_bytes());
        let tag: String = tag.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(text("procura-signature"), format!("v1={tag}"));
        let document: Value = serde_json::from_str(body)?;
        assert_eq!(document["finding"], findings[0]);
    }
    Ok(())
}
