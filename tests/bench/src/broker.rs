//! A broker as it is run in production: `procura serve`, SQLite on disk, everything on.

use std::{
    collections::BTreeMap,
    fs,
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use base64::{Engine, prelude::BASE64_STANDARD};
use procura_wire::{Digest, TOKEN_EXCHANGE};
use url::form_urlencoded::Serializer;

use crate::{
    Fault,
    bundle::{self, SERVER, TARGET},
    clock,
    issuer::Issuer,
    process::Process,
};

/// Long enough for the broker to bring its counters up to date, which it does every 5 s.
const COUNTED: Duration = Duration::from_secs(6);
/// The server's secret; it opens nothing but brokers of this benchmark.
const SECRET: &str = "bench-secret-bench-secret-bench-secret-bench";

/// A running broker. Dropped, it is killed.
pub(crate) struct Broker {
    pub(crate) address: SocketAddr,
    admin: SocketAddr,
    process: Process,
    http: reqwest::Client,
}

/// What the broker counted, and when it was asked.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Counted {
    pub(crate) commits: f64,
    pub(crate) issued: f64,
    pub(crate) at: Instant,
}

impl Broker {
    /// Starts one that signs with `algorithm` (as `procura keys new` takes it), in a folder of its own.
    pub(crate) async fn start(
        program: &Path,
        folder: PathBuf,
        issuer: &Issuer,
        algorithm: &str,
    ) -> Result<Self, Fault> {
        fs::create_dir_all(folder.join("secrets"))?;
        let hash = Digest::of(SECRET.as_bytes()).to_string();
        bundle::write(&bundle::exchange(&issuer.url, &hash), &folder.join("policies"))?;
        fs::write(folder.join("issuer.pem"), &issuer.certificate)?;
        fs::create_dir_all(folder.join("anchor"))?;
        for (file, algorithm) in [("keys.json", algorithm), ("log.json", "ed25519")] {
            let made = Command::new(program)
                .args(["keys", "new", "--algorithm", algorithm])
                .arg(folder.join("secrets").join(file))
                .output()?;
            if !made.status.success() {
                return Err(format!("procura keys new: {}", String::from_utf8_lossy(&made.stderr)).into());
            }
        }
        let (address, admin) = (free_address()?, free_address()?);
        fs::write(folder.join("procura.toml"), settings(address, admin))?;
        let mut command = Command::new(program);
        command.args(["serve", "--config", "procura.toml"]).current_dir(&folder);
        let http = reqwest::Client::builder().no_proxy().build()?;
        let mut process = Process::start("broker", command, &folder)?;
        let ready = format!("http://{admin}/readyz");
        process
            .until(&folder, async || {
                let answer = http.get(&ready).send().await.ok()?;
                answer.status().is_success().then_some(())
            })
            .await?;
        Ok(Self {
            address,
            admin,
            process,
            http,
        })
    }

    pub(crate) fn id(&self) -> u32 {
        self.process.id()
    }

    /// `Authorization` of the calling server.
    pub(crate) fn authorization() -> String {
        format!("Basic {}", BASE64_STANDARD.encode(format!("{SERVER}:{SECRET}")))
    }

    /// What was counted up to now.
    pub(crate) async fn counted(&self) -> Result<Counted, Fault> {
        tokio::time::sleep(COUNTED).await;
        let url = format!("http://{}/metrics", self.admin);
        let text = self.http.get(url).send().await?.error_for_status()?.text().await?;
        let values: BTreeMap<&str, &str> = text.lines().filter_map(|line| line.rsplit_once(' ')).collect();
        let sum = |name: &str| {
            let of_name = values.iter().filter(|(key, _)| key.starts_with(name));
            of_name.map(|(_, value)| value.parse::<f64>()).sum::<Result<f64, _>>()
        };
        Ok(Counted {
            commits: sum("procura_store_commits_total")?,
            issued: sum("procura_exchanges_total{outcome=\"issued\"")?,
            at: clock::now(),
        })
    }
}

fn free_address() -> Result<SocketAddr, Fault> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}

fn settings(address: SocketAddr, admin: SocketAddr) -> String {
    format!(
        "issuer = \"http://{address}\"\npolicies = \"policies\"\n\
         [listen]\naddress = \"{address}\"\nadmin = \"{admin}\"\nplain_http_on_loopback = true\n\
         [store]\nsqlite = \"procura.sqlite\"\n[keys.token]\nsource = \"own:keys.json\"\n\
         [keys.log]\nsource = \"own:log.json\"\n[log]\nanchor = {{ file = \"anchor/log.jsonl\" }}\n\
         [sources.own]\nkind = \"file\"\nroot = \"secrets\"\n\
         [network]\nallow = [\"127.0.0.1\"]\n[tls]\nextra_ca = \"issuer.pem\"\n"
    )
}

/// The form of one exchange, for a tool call.
pub(crate) fn form(subject_token: &str, call: usize) -> String {
    Serializer::new(String::new())
        .append_pair("grant_type", TOKEN_EXCHANGE)
        .append_pair("subject_token", subject_token)
        .append_pair("subject_token_type", "urn:ietf:params:oauth:token-type:access_token")
        .append_pair("audience", TARGET)
        .append_pair("scope", "read-tickets")
        .append_pair("tool", "list_tickets")
        .append_pair("tool_call_id", &call.to_string())
        .finish()
}
