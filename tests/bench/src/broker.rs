//! A broker as it is run in production: `procura serve`, SQLite on disk, everything on.

use std::{
    collections::BTreeMap,
    fs::{self, Permissions},
    net::{SocketAddr, TcpListener},
    os::unix::fs::PermissionsExt,
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
    caller::{Auth, Authority, CALLER_NAME},
    clock,
    issuer::Issuer,
    process::Process,
};

/// Long enough for the broker to bring its counters up to date, which it does every 5 s.
const COUNTED: Duration = Duration::from_secs(6);
/// The server's secret; it opens nothing but brokers of this benchmark.
const SECRET: &str = "bench-secret-bench-secret-bench-secret-bench";

/// How a broker is set up.
#[derive(Clone, Copy)]
pub(crate) struct Setup<'a> {
    /// What it signs with, as `procura keys new` takes it.
    pub(crate) algorithm: &'static str,
    /// What its caller proves itself with.
    pub(crate) auth: Auth<'a>,
    /// Where it speaks TLS.
    pub(crate) authority: Option<&'a Authority>,
}

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

/// A folder with everything that a broker is started from.
pub(crate) struct Prepared {
    pub(crate) folder: PathBuf,
    pub(crate) address: SocketAddr,
    admin: SocketAddr,
    program: PathBuf,
}

impl Prepared {
    /// Writes it, with that bundle.
    pub(crate) fn write(
        program: &Path,
        folder: PathBuf,
        issuer: &Issuer,
        setup: Setup<'_>,
        bundle: &bundle::Files,
    ) -> Result<Self, Fault> {
        fs::create_dir_all(folder.join("secrets"))?;
        bundle::write(bundle, &folder.join("policies"))?;
        fs::write(folder.join("issuer.pem"), &issuer.certificate)?;
        private(&folder.join("secrets/introspection"), "bench")?;
        fs::create_dir_all(folder.join("anchor"))?;
        for (file, algorithm) in [("keys.json", setup.algorithm), ("log.json", "ed25519")] {
            let made = Command::new(program)
                .args(["keys", "new", "--algorithm", algorithm])
                .arg(folder.join("secrets").join(file))
                .output()?;
            if !made.status.success() {
                return Err(format!("procura keys new: {}", String::from_utf8_lossy(&made.stderr)).into());
            }
        }
        let (address, admin) = (free_address()?, free_address()?);
        let mut text = settings(address, admin, setup.authority.is_some());
        if let Some(authority) = setup.authority {
            fs::write(folder.join("clients.pem"), &authority.certificate)?;
            fs::write(folder.join("tls.pem"), &authority.broker.0)?;
            private(&folder.join("tls.key"), &authority.broker.1)?;
            text += "cert = \"tls.pem\"\nkey = \"tls.key\"\nclient_ca = \"clients.pem\"\n";
        }
        fs::write(folder.join("procura.toml"), text)?;
        let program = program.to_owned();
        Ok(Self {
            folder,
            address,
            admin,
            program,
        })
    }

    /// Starts a broker on it, once the one before has ended.
    pub(crate) async fn start(&self) -> Result<Broker, Fault> {
        let (folder, admin) = (&self.folder, self.admin);
        let mut command = Command::new(&self.program);
        command.args(["serve", "--config", "procura.toml"]).current_dir(folder);
        let http = reqwest::Client::builder().no_proxy().build()?;
        let mut process = Process::start("broker", command, folder)?;
        let ready = format!("http://{admin}/readyz");
        process
            .until(folder, async || {
                let answer = http.get(&ready).send().await.ok()?;
                answer.status().is_success().then_some(())
            })
            .await?;
        Ok(Broker {
            address: self.address,
            admin,
            process,
            http,
        })
    }
}

impl Broker {
    /// Starts one in a folder of its own.
    pub(crate) async fn start(
        program: &Path,
        folder: PathBuf,
        issuer: &Issuer,
        setup: Setup<'_>,
    ) -> Result<Self, Fault> {
        let bundle = bundle::exchange(&issuer.url, &auth(setup.auth));
        Prepared::write(program, folder, issuer, setup, &bundle)?.start().await
    }

    /// Ends it in its own time.
    pub(crate) fn stop(self) -> Result<(), Fault> {
        self.process.stop()
    }

    /// What it answers at a path to whoever has that token.
    pub(crate) async fn get(&self, path: &str, token: &str) -> Result<String, Fault> {
        let request = self
            .http
            .get(format!("http://{}{path}", self.address))
            .bearer_auth(token);
        let answer = request.send().await?;
        let (status, text) = (answer.status(), answer.text().await?);
        match status.is_success() {
            true => Ok(text),
            false => Err(format!("{path} was answered with {status}: {text}").into()),
        }
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

fn private(path: &Path, text: &str) -> Result<(), Fault> {
    fs::write(path, text)?;
    Ok(fs::set_permissions(path, Permissions::from_mode(0o600))?)
}

/// `auth` of the caller's file.
pub(crate) fn auth(auth: Auth<'_>) -> String {
    match auth {
        Auth::Secret => {
            let hash = Digest::of(SECRET.as_bytes());
            format!("{{ method = \"client_secret\", secret_sha256 = [{{ hash = \"{hash}\" }}] }}")
        }
        Auth::Key(key) => {
            let (x, y) = key.coordinates();
            let key = format!("{{ kty = \"EC\", crv = \"P-256\", x = \"{x}\", y = \"{y}\" }}");
            format!("{{ method = \"private_key_jwt\", jwks = {{ keys = [{key}] }} }}")
        }
        Auth::Certificate => format!("{{ method = \"tls_client_auth\", san_dns = \"{CALLER_NAME}\" }}"),
    }
}

/// Ends with the table `[tls]`.
fn settings(address: SocketAddr, admin: SocketAddr, tls: bool) -> String {
    let (scheme, plain) = if tls { ("https", false) } else { ("http", true) };
    format!(
        "issuer = \"{scheme}://{address}\"\npolicies = \"policies\"\n\
         [listen]\naddress = \"{address}\"\nadmin = \"{admin}\"\nplain_http_on_loopback = {plain}\n\
         [store]\nsqlite = \"procura.sqlite\"\n[keys.token]\nsource = \"own:keys.json\"\n\
         [keys.log]\nsource = \"own:log.json\"\n[log]\nanchor = {{ file = \"anchor/log.jsonl\" }}\n\
         [sources.own]\nkind = \"file\"\nroot = \"secrets\"\nallow = [\"introspection\"]\n\
         [network]\nallow = [\"127.0.0.1\"]\n[tls]\nextra_ca = \"issuer.pem\"\n"
    )
}

/// The form of one exchange, for a tool call.
pub(crate) fn form(subject_token: &str, call: usize) -> String {
    parameters(subject_token, call).finish()
}

/// The same from a server that proves itself by an assertion (RFC 7521 section 4.2).
pub(crate) fn asserted_form(subject_token: &str, call: usize, assertion: &str) -> String {
    parameters(subject_token, call)
        .append_pair(
            "client_assertion_type",
            "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
        )
        .append_pair("client_assertion", assertion)
        .finish()
}

/// The same from a server that proves itself by its certificate (RFC 8705 section 2).
pub(crate) fn certified_form(subject_token: &str, call: usize) -> String {
    parameters(subject_token, call)
        .append_pair("client_id", SERVER)
        .finish()
}

fn parameters(subject_token: &str, call: usize) -> Serializer<'static, String> {
    let mut form = Serializer::new(String::new());
    form.append_pair("grant_type", TOKEN_EXCHANGE)
        .append_pair("subject_token", subject_token)
        .append_pair("subject_token_type", "urn:ietf:params:oauth:token-type:access_token")
        .append_pair("audience", TARGET)
        .append_pair("scope", "read-tickets")
        .append_pair("tool", "list_tickets")
        .append_pair("tool_call_id", &call.to_string());
    form
}
