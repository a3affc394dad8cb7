//! `procura serve` as an operator runs it: a configuration, a bundle, secrets in files, one store and any
//! number of replicas on it.

use std::{
    fs,
    os::unix::fs::{DirBuilderExt, PermissionsExt},
    path::{Path, PathBuf},
    process::{Command, ExitStatus},
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use reqwest::{Client, Method, RequestBuilder};
use rustix::process::Signal;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{
    Fault, Testbed,
    database::Database,
    http::{self, Reply},
    issuer::Issuer,
    process::Process,
};

const START: Duration = Duration::from_secs(60);
const BUNDLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../policies/dev-postgres");
/// The broker's issuer identifier. A proxy that ends TLS is thought to stand before it.
const ISSUER: &str = "https://broker.example";
const HOST: &str = "broker.example";
/// `aud` of subject tokens.
const RESOURCE: &str = "https://tickets.example/mcp";
/// The registered server.
const SERVER: &str = "tickets";
/// The target that makes log-ins to the database, and its grant.
pub const DATABASE: (&str, &str) = ("tickets-db", "read-rows");
/// Time for a mint, the least that can be set.
pub const MINT_BUDGET: Duration = Duration::from_secs(5);
/// Time after which whatever an interrupted mint or undo left is gone: a mint's deadline and margin are over
/// after 10 s, and an undo that its replica does not finish is taken over after 30 s.
pub const RECOVERY: Duration = Duration::from_secs(45);

/// Where the broker keeps its state.
pub enum Store {
    /// A file in the site's folder `store`.
    Sqlite,
    /// A database, by a superuser's URL.
    Postgres(String),
}

/// A folder that brokers are served from.
pub struct Site<'a> {
    testbed: &'a Testbed,
    issuer: &'a Issuer,
    /// The database that log-ins are made for, target `tickets-db`.
    pub database: Database,
    dir: TempDir,
    secret: String,
    started: AtomicU32,
}

impl<'a> Site<'a> {
    /// Writes everything that `serve` needs. The administrator's password is in its source.
    pub async fn new(testbed: &'a Testbed, database: Database, store: &Store) -> Result<Self, Fault> {
        let issuer = testbed.issuer().await?;
        let dir = TempDir::new()?;
        for folder in ["own", "secrets", "store"] {
            fs::create_dir(dir.path().join(folder))?;
        }
        run(
            testbed.broker(),
            &["keys", "new", &dir.path().join("own/keys.json").to_string_lossy()],
        )?;
        let (secret, auth) = new_secret(testbed)?;
        let (_, another) = new_secret(testbed)?;
        fs::write(dir.path().join("ca.pem"), &issuer.certificate)?;
        if let Store::Postgres(url) = store {
            fs::write(dir.path().join("store.url"), url)?;
        }
        fs::write(dir.path().join("procura.toml"), configuration(store))?;
        copy(
            Path::new(BUNDLE),
            &dir.path().join("policies"),
            &|file, line| match line.split_once(" = ") {
                Some(("issuer", _)) if line.contains("builtin:dev") => format!("issuer = \"{}\"", issuer.url),
                Some(("auth", _)) if file.ends_with("tickets.toml") => auth.clone(),
                Some(("auth", _)) => another.clone(),
                Some(("source", _)) => "source = \"db:target\"".to_owned(),
                Some(("port", _)) => format!("port = {}", database.port),
                Some(("dbname", _)) => format!("dbname = \"{}\"", database.name),
                _ => line.to_owned(),
            },
        )?;
        let site = Self {
            testbed,
            issuer,
            database,
            dir,
            secret,
            started: AtomicU32::new(0),
        };
        site.put_secret(&site.database.set_password("first").await?)?;
        Ok(site)
    }

    /// A path of the site's folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Puts the administrator's secret into its source, whole, as a mounted secret changes.
    pub fn put_secret(&self, secret: &str) -> Result<(), Fault> {
        let file = self.path("secrets/target");
        let beside = self.path("secrets.new");
        fs::write(&beside, secret)?;
        fs::set_permissions(&beside, fs::Permissions::from_mode(0o600))?;
        Ok(fs::rename(beside, file)?)
    }

    /// Gives a mint the time that it has where the configuration does not say.
    pub fn forget_mint_budget(&self) -> Result<(), Fault> {
        let file = self.path("procura.toml");
        let text = fs::read_to_string(&file)?;
        let kept = text.lines().filter(|line| !line.starts_with("mint_budget"));
        Ok(fs::write(
            &file,
            kept.map(|line| format!("{line}\n")).collect::<String>(),
        )?)
    }

    /// A fresh subject token; all users are in the group that reads rows. Tokens of one user share a session.
    pub fn user(&self, name: &str) -> Result<String, Fault> {
        let claims = json!({"groups": ["support"], "sid": format!("sid-of-{name}")});
        self.issuer.token(name, RESOURCE, claims)
    }

    /// Starts a broker and waits until it serves.
    pub async fn start(&self) -> Result<Replica<'_>, Fault> {
        self.run(self.testbed.broker(), &[]).await
    }

    /// Starts the build with failpoints, one of them armed: `NAME=ACTION@N`.
    pub async fn start_armed(&self, failpoint: &str) -> Result<Replica<'_>, Fault> {
        let program = self.testbed.failpoints()?;
        self.run(program, &[("PROCURA_FAILPOINT", failpoint)]).await
    }

    async fn run(&self, program: &Path, variables: &[(&str, &str)]) -> Result<Replica<'_>, Fault> {
        let number = self.started.fetch_add(1, Ordering::Relaxed);
        let logs = self.path(&format!("log-{number}"));
        fs::create_dir(&logs)?;
        let mut command = Command::new(program);
        command.arg("serve").arg("--config").arg(self.path("procura.toml"));
        command.envs(variables.iter().copied()).current_dir(self.dir.path());
        let mut process = Process::start(command, &logs)?;
        let log = logs.join("stderr");
        let address = process
            .until(START, async || address(&fs::read_to_string(&log).ok()?))
            .await?;
        Ok(Replica {
            site: self,
            base: format!("http://{address}"),
            http: http::client()?,
            process,
        })
    }
}

/// The address in the line that says that it serves.
fn address(log: &str) -> Option<String> {
    let line = log.lines().find(|line| line.contains("\"serving\""))?;
    let line: Value = serde_json::from_str(line).ok()?;
    line["fields"]["address"].as_str().map(str::to_owned)
}

fn configuration(store: &Store) -> String {
    let store = match store {
        Store::Sqlite => "sqlite = \"store/procura.sqlite\"",
        Store::Postgres(_) => "postgres_url_file = \"store.url\"",
    };
    format!(
        r#"issuer = "{ISSUER}"
policies = "policies"
mint_budget = "{}s"
[listen]
address = "127.0.0.1:0"
admin = "127.0.0.1:0"
plain_http_on_loopback = true
[store]
{store}
[keys.token]
source = "own:keys.json"
[sources.own]
kind = "file"
root = "own"
[sources.db]
kind = "file"
root = "secrets"
allow = ["target"]
[network]
allow = ["127.0.0.1"]
[tls]
extra_ca = "ca.pem"
"#,
        MINT_BUDGET.as_secs()
    )
}

/// A server's secret, and the line of its file.
fn new_secret(testbed: &Testbed) -> Result<(String, String), Fault> {
    let made = run(testbed.broker(), &["server", "new-secret"])?;
    let line = |line: Option<&str>| line.unwrap_or_default().to_owned();
    Ok((line(made.lines().next()), line(made.lines().last())))
}

fn run(program: &Path, arguments: &[&str]) -> Result<String, Fault> {
    let output = Command::new(program).args(arguments).output()?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned().into());
    }
    Ok(String::from_utf8(output.stdout)?)
}

/// Copies a bundle, each line changed by `change`. What others may write would be refused.
fn copy(from: &Path, to: &Path, change: &dyn Fn(&Path, &str) -> String) -> Result<(), Fault> {
    fs::DirBuilder::new().mode(0o755).create(to)?;
    for entry in fs::read_dir(from)? {
        let (entry, to) = entry.map(|entry| (entry.path(), to.join(entry.file_name())))?;
        if entry.is_dir() {
            copy(&entry, &to, change)?;
        } else {
            let text = fs::read_to_string(&entry)?;
            let lines = text.lines().map(|line| change(&entry, line) + "\n");
            fs::write(&to, lines.collect::<String>())?;
            fs::set_permissions(&to, fs::Permissions::from_mode(0o644))?;
        }
    }
    Ok(())
}

/// A broker that serves. Dropped, it is killed.
pub struct Replica<'a> {
    site: &'a Site<'a>,
    base: String,
    http: Client,
    process: Process,
}

impl Replica<'_> {
    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.http
            .request(method, format!("{}{path}", self.base))
            .header("host", HOST)
    }

    /// Asks for a log-in to the database with a fresh token of `user`.
    pub async fn exchange(&self, user: &str) -> Result<Reply, Fault> {
        self.exchange_at(user, DATABASE.0, DATABASE.1).await
    }

    /// Asks for any grant with a fresh token of `user`.
    pub async fn exchange_at(&self, user: &str, target: &str, grant: &str) -> Result<Reply, Fault> {
        self.exchange_with(&self.site.user(user)?, target, grant).await
    }

    /// Asks with a token that was made before.
    pub async fn exchange_with(&self, token: &str, target: &str, grant: &str) -> Result<Reply, Fault> {
        self.post("/token", &http::exchange(token, target, grant)).await
    }

    /// Takes a credential back as the server that it was issued to.
    pub async fn revoke(&self, issuance: &str) -> Result<Reply, Fault> {
        self.post("/revoke", &[("token", issuance), ("token_type_hint", "issuance")])
            .await
    }

    async fn post(&self, path: &str, fields: &[(&str, &str)]) -> Result<Reply, Fault> {
        let request = self
            .request(Method::POST, path)
            .basic_auth(SERVER, Some(&self.site.secret));
        http::send(request.form(fields)).await
    }

    /// Gets a path below `/v1` as the operator; it begins with `/`.
    pub async fn api(&self, path: &str) -> Result<Reply, Fault> {
        self.operate(Method::GET, path).await
    }

    /// Ends a session as the operator.
    pub async fn end_session(&self, session: &str) -> Result<Reply, Fault> {
        self.operate(Method::DELETE, &format!("/sessions/{session}")).await
    }

    async fn operate(&self, method: Method, path: &str) -> Result<Reply, Fault> {
        let token = self.site.issuer.token("operator", &format!("{ISSUER}/v1"), json!({}))?;
        http::send(self.request(method, &format!("/v1{path}")).bearer_auth(token)).await
    }

    /// Everything of a listing below `/v1`: its path, and its member in the answer.
    pub async fn all(&self, listing: &str) -> Result<Vec<Value>, Fault> {
        let mut found = Vec::new();
        let mut more = String::new();
        loop {
            let page = self
                .api(&format!("/{listing}?limit=1000{more}"))
                .await?
                .expect_status(200)?;
            found.extend(page.body[listing].as_array().cloned().unwrap_or_default());
            match page.body["next"].as_str() {
                Some(next) => more = format!("&before={next}"),
                None => return Ok(found),
            }
        }
    }

    /// Everything that it wrote to standard error.
    pub fn stderr(&self) -> String {
        self.process.stderr()
    }

    /// Whether an armed failpoint was reached.
    pub fn reached(&self) -> bool {
        self.stderr().contains("\"reached\"")
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) -> Result<(), Fault> {
        self.process.signal(signal)
    }

    /// Whether it has ended by itself.
    pub fn is_over(&mut self) -> Result<bool, Fault> {
        self.process.is_over()
    }

    /// Waits until it ends by itself, as it does at a failpoint.
    pub async fn ended(mut self) -> Result<ExitStatus, Fault> {
        self.process.ended(START).await
    }

    /// `kill -9`
    pub async fn kill(self) -> Result<(), Fault> {
        self.signal(Signal::KILL)?;
        self.ended().await.map(drop)
    }
}
