//! A real server, where there is one.

use std::{
    env,
    net::{Ipv4Addr, TcpListener},
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::Arc,
    time::Duration,
};

use super::{Server, client};
use crate::postgres::Cluster;

/// What to say where [`real_server`] finds none.
pub const NO_SERVER: &str =
    "no real Vault: set PROCURA_TEST_VAULT_ADDR and PROCURA_TEST_VAULT_TOKEN, or put bao or vault on PATH";

/// A real server and a database that it reaches; what was started for it ends when this is dropped.
pub struct RealServer {
    /// How to reach it.
    pub server: Server,
    _started: Option<Started>,
    _database: Arc<Cluster>,
}

/// A server that the test started.
struct Started(Child);

impl Drop for Started {
    fn drop(&mut self) {
        // A child that has ended already needs neither.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The server that PROCURA_TEST_VAULT_ADDR and PROCURA_TEST_VAULT_TOKEN name, else `bao` or `vault` of PATH in development
/// mode, else none.
#[expect(clippy::disallowed_methods, reason = "the variables name the server under test")]
pub async fn real_server() -> Option<RealServer> {
    let given = env::var("PROCURA_TEST_VAULT_ADDR").ok();
    let given = given.zip(env::var("PROCURA_TEST_VAULT_TOKEN").ok());
    let ((name, address, root_token), started) = match given {
        Some((address, token)) => {
            let name = "the server that PROCURA_TEST_VAULT_ADDR names".to_owned();
            ((name, address.trim_end_matches('/').to_owned(), token), None)
        }
        None => {
            let path = env::var("PATH").unwrap_or_default();
            let mut programs = ["bao", "vault"].iter().flat_map(|name| {
                let folders = env::split_paths(&path);
                folders.map(|folder| folder.join(name)).collect::<Vec<_>>()
            });
            let program = programs.find(|program| program.is_file())?;
            let (address, started) = start(&program).await;
            let name = program.display().to_string();
            ((name, address, "root".to_owned()), Some(started))
        }
    };
    let started_database = tokio::task::spawn_blocking(Cluster::shared).await.expect("a thread");
    let database = started_database.expect("a database for the engine `database`");
    let server = Server {
        name,
        address,
        root_token,
        database: format!("{}?sslmode=disable", database.superuser_url),
    };
    Some(RealServer {
        server,
        _started: started,
        _database: database,
    })
}

async fn start(program: &PathBuf) -> (String, Started) {
    let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let listen = free.local_addr().expect("its address").to_string();
    drop(free);
    let child = Command::new(program)
        .args(["server", "-dev", "-dev-no-store-token", "-dev-root-token-id=root"])
        .arg(format!("-dev-listen-address={listen}"))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("the program starts");
    let started = Started(child);
    let address = format!("http://{listen}");
    let (http, health) = (client(), format!("{address}/v1/sys/health"));
    for _ in 0..300 {
        let answer = http.get(&health).send().await;
        if answer.is_ok_and(|answer| answer.status().is_success()) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    (address, started)
}
