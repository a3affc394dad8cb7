//! `procura serve` as an operator runs it: a configuration, a bundle, secrets in files, one store and any
//! number of replicas on it.

use std::{
    fs,
    net::TcpListener,
    os::unix::fs::{DirBuilderExt, PermissionsExt},
    path::{Path, PathBuf},
    process::Command,
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use serde_json::{Value, json};
use tempfile::TempDir;

pub use crate::replica::Replica;
use crate::{Fault, Testbed, authority::Authority, database::Database, issuer::Issuer};

const BUNDLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../policies/dev-postgres");
/// The broker's issuer identifier. A proxy that ends TLS is thought to stand before it.
const ISSUER: &str = "https://broker.example";
/// `aud` of subject tokens.
const RESOURCE: &str = "https://tickets.example/mcp";
/// The registered server.
pub const SERVER: &str = "tickets";
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
    pub(crate) testbed: &'a Testbed,
    issuer: &'a Issuer,
    /// The database that log-ins are made for, target `tickets-db`.
    pub database: Database,
    /// The broker's issuer identifier.
    pub identifier: String,
    /// Who vouches for the broker, where it speaks TLS itself.
    pub authority: Option<Authority>,
    /// The registered server's secret.
    pub secret: String,
    dir: TempDir,
    started: AtomicU32,
}

impl<'a> Site<'a> {
    /// Writes everything that `serve` needs. The administrator's password is in its source.
    pub async fn new(testbed: &'a Testbed, database: Database, store: &Store) -> Result<Self, Fault> {
        let issuer = testbed.issuer().await?;
        let dir = TempDir::new()?;
        for folder in ["anchor", "own", "secrets", "store"] {
            fs::create_dir(dir.path().join(folder))?;
        }
        for (file, algorithm) in [("own/keys.json", "es256"), ("own/log.json", "ed25519")] {
            let file = dir.path().join(file);
            let file = file.to_string_lossy();
            run(testbed.broker(), &["keys", "new", &file, "--algorithm", algorithm])?;
        }
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
            identifier: ISSUER.to_owned(),
            authority: None,
            secret,
            dir,
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

    /// Changes a file of the site as an editor does.
    pub fn amend(&self, name: &str, change: impl FnOnce(&str) -> String) -> Result<(), Fault> {
        let file = self.path(name);
        let text = fs::read_to_string(&file)?;
        let changed = change(&text);
        assert_ne!(text, changed, "{name} stays as it was");
        Ok(fs::write(&file, changed)?)
    }

    /// Seals the bundle with `procura policy seal`.
    pub fn seal(&self) -> Result<(), Fault> {
        let folder = self.path("policies");
        self.run(&["policy", "seal", &folder.to_string_lossy()])
    }

    /// Runs a command that asks no broker.
    pub(crate) fn run(&self, arguments: &[&str]) -> Result<(), Fault> {
        run(self.testbed.broker(), arguments).map(drop)
    }

    /// Lets it speak TLS itself from its next start on; its issuer identifier is its address then.
    pub fn speak_tls(&mut self) -> Result<(), Fault> {
        let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        self.identifier = format!("https://{address}");
        self.authority = Some(Authority::new()?);
        self.renew_certificate()?;
        self.amend("procura.toml", |text| {
            text.replace(ISSUER, &self.identifier)
                .replacen("127.0.0.1:0", &address.to_string(), 1)
                .replace("plain_http_on_loopback = true\n", "")
                .replace("[tls]\n", "[tls]\ncert = \"cert.pem\"\nkey = \"key.pem\"\n")
        })
    }

    /// Puts a new certificate and its key where it reads them.
    pub fn renew_certificate(&self) -> Result<(), Fault> {
        let authority = self.authority.as_ref().ok_or("it speaks no TLS")?;
        let (certificate, key) = authority.issue()?;
        fs::write(self.path("cert.pem"), certificate)?;
        Ok(fs::write(self.path("key.pem"), key)?)
    }

    /// A fresh subject token; all users are in the group that reads rows. Tokens of one user share a session.
    pub fn user(&self, name: &str) -> Result<String, Fault> {
        let claims = json!({"groups": ["support"], "sid": format!("sid-of-{name}")});
        self.issuer.token(name, RESOURCE, claims)
    }

    /// A fresh ID-JAG for the broker with these claims.
    pub fn id_jag(&self, name: &str, claims: Value) -> Result<String, Fault> {
        self.issuer
            .token_of_type("oauth-id-jag+jwt", name, &self.identifier, claims)
    }

    /// A fresh token for the broker itself, as a platform makes it for what it runs.
    pub fn workload(&self, sub: &str) -> Result<String, Fault> {
        self.issuer.token(sub, &self.identifier, json!({}))
    }

    /// Makes a server's key into a file of the site; answers the line for the server's file.
    pub fn new_key(&self, file: &str) -> Result<String, Fault> {
        let made = run(
            self.testbed.broker(),
            &["server", "new-key", &self.path(file).to_string_lossy()],
        )?;
        Ok(made.lines().last().unwrap_or_default().to_owned())
    }

    /// A fresh token of an operator.
    pub(crate) fn operator(&self) -> Result<String, Fault> {
        self.operator_with(json!({}))
    }

    /// The same with these claims beside the usual ones.
    pub fn operator_with(&self, claims: Value) -> Result<String, Fault> {
        self.issuer
            .token("operator", &format!("{}/v1", self.identifier), claims)
    }

    /// Starts a broker and waits until it serves.
    pub async fn start(&self) -> Result<Replica<'_>, Fault> {
        self.start_as(Command::new(self.testbed.broker())).await
    }

    /// Starts the build with failpoints, one of them armed: `NAME=ACTION@N`.
    pub async fn start_armed(&self, failpoint: &str) -> Result<Replica<'_>, Fault> {
        let mut command = Command::new(self.testbed.failpoints()?);
        command.env("PROCURA_FAILPOINT", failpoint);
        self.start_as(command).await
    }

    /// Starts one by a shell script, which ends in `exec "$@"`.
    pub async fn start_by(&self, mut shell: Command, script: &str) -> Result<Replica<'_>, Fault> {
        shell.args(["-c", script, "sh"]).arg(self.testbed.broker());
        self.start_as(shell).await
    }

    async fn start_as(&self, mut command: Command) -> Result<Replica<'_>, Fault> {
        let number = self.started.fetch_add(1, Ordering::Relaxed);
        let logs = self.path(&format!("log-{number}"));
        fs::create_dir(&logs)?;
        command.arg("serve").arg("--config").arg(self.path("procura.toml"));
        command.current_dir(self.dir.path());
        Replica::start(self, command, &logs).await
    }
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
[keys.log]
source = "own:log.json"
[log]
anchor = {{ file = "anchor/log.jsonl" }}
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
