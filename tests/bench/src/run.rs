//! One run: starts everything, measures in turn, reports.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use serde_json::Value;
use tempfile::TempDir;

use crate::{
    Fault,
    broker::{self, Broker, Setup},
    bundle::{API, SERVER},
    caller::Auth,
    decide,
    identities::Identities,
    issuer::{
        Algorithm::{self, Es256, Rs256},
        Issuer, USERS,
    },
    load::Job,
    peer::Peer,
    probe,
    process::{Process, resident_mib},
    report::{Commits, Latency, Measurements, Memory},
    rounds::{Series, rounds, send},
};

/// `procura-bench run`
#[derive(clap::Args)]
pub(crate) struct Options {
    /// The program `procura`
    #[arg(long, value_name = "FILE")]
    procura: PathBuf,
    /// A folder with `node_modules/oidc-provider`
    #[arg(long, value_name = "DIR")]
    npm: PathBuf,
    /// A folder on the disk to be measured; a temporary one is made in it
    #[arg(long, value_name = "DIR")]
    scratch: PathBuf,
    /// Where the result goes
    #[arg(long, value_name = "DIR", required_unless_present = "small")]
    results: Option<PathBuf>,
    /// Every series briefly, answers and counts checked, no times looked at, no result written
    #[arg(long)]
    small: bool,
}

/// `procura-bench profile`
#[derive(clap::Args)]
pub(crate) struct Profile {
    /// The program `procura`
    #[arg(long, value_name = "FILE")]
    procura: PathBuf,
    /// A folder on the disk to be measured; a temporary one is made in it
    #[arg(long, value_name = "DIR")]
    scratch: PathBuf,
    /// Times that each series is sent
    #[arg(long, default_value_t = 5)]
    rounds: usize,
}

/// ES256 to ES256 beside hello, again and again: for changing the broker under a profiler.
pub(crate) async fn profile(options: Profile) -> Result<(), Fault> {
    let scene = Scene::start(&options.procura, &options.scratch).await?;
    eprintln!("broker: process {}", scene.es256.id());
    scene.first(&scene.es256).await?;
    let mut hello = scene.hello_series(FULL.hello)?;
    let mut series = [
        scene.series("es256-es256", &scene.es256, Some(Es256), FULL.exchanges)?,
        scene.series("repeated-es256", &scene.es256, None, FULL.exchanges)?,
    ];
    rounds(&mut hello, &mut series, options.rounds).map(drop)
}

/// How much of everything.
struct Amounts {
    rounds: usize,
    hello: usize,
    exchanges: usize,
    peer: usize,
    one_caller: usize,
}

const FULL: Amounts = Amounts {
    rounds: 7,
    hello: 100_000,
    exchanges: 20_000,
    peer: 5_000,
    one_caller: 2_000,
};

const SMALL: Amounts = Amounts {
    rounds: 1,
    hello: 200,
    exchanges: 200,
    peer: 100,
    one_caller: 200,
};

/// Callers of the rounds.
const CALLERS: usize = 64;
/// Longest time of one series in one round.
const SECONDS: u64 = 60;
/// A server that has just started settles.
const SETTLE: Duration = Duration::from_secs(2);

pub(crate) async fn run(options: Options) -> Result<(), Fault> {
    let amounts = if options.small { &SMALL } else { &FULL };
    let scene = Scene::start(&options.procura, &options.scratch).await?;
    let peer = Peer::start(&options.npm, scene.scratch.path()).await?;
    tokio::time::sleep(SETTLE).await;
    let (broker_idle, peer_idle) = (resident_mib(scene.es256.id())?, resident_mib(peer.id())?);
    for broker in [&scene.es256, &scene.ed25519] {
        scene.first(broker).await?;
    }
    let latency = scene.latency(amounts)?;
    let (mut commits, idle) = (Vec::new(), scene.idle_commits().await?);
    for callers in [1, CALLERS, 256] {
        commits.push(scene.commits(callers, idle, amounts).await?);
    }
    let rounds = scene.rounds(&peer, amounts)?;
    let measurements = Measurements {
        rounds,
        commits,
        latency,
        memory: Memory {
            broker_idle,
            broker_after_load: resident_mib(scene.es256.id())?,
            peer_idle,
            peer_after_load: resident_mib(peer.id())?,
        },
        decisions: decide::measure(options.small)?,
    };
    match &options.results {
        Some(folder) => measurements.write(folder),
        None => Ok(()),
    }
}

/// Everything that runs.
pub(crate) struct Scene {
    issuer: Mutex<Issuer>,
    /// Signs with ES256.
    pub(crate) es256: Broker,
    /// Signs with Ed25519.
    ed25519: Broker,
    hello: (SocketAddr, Process),
    identities: Identities,
    scratch: TempDir,
}

impl Scene {
    async fn start(procura: &Path, scratch: &Path) -> Result<Self, Fault> {
        fs::create_dir_all(scratch)?;
        let scratch = TempDir::new_in(scratch)?;
        let issuer = Issuer::start().await?;
        let folder = |name: &str| scratch.path().join(name);
        let procura =
            fs::canonicalize(procura).map_err(|error| format!("{}: {error}; build it first", procura.display()))?;
        let signs_with = |algorithm| Setup {
            algorithm,
            auth: Auth::Secret,
            authority: None,
        };
        Ok(Self {
            es256: Broker::start(&procura, folder("es256"), &issuer, signs_with("es256")).await?,
            ed25519: Broker::start(&procura, folder("ed25519"), &issuer, signs_with("ed25519")).await?,
            hello: hello(scratch.path()).await?,
            identities: Identities::start(&procura, scratch.path(), &issuer).await?,
            issuer: Mutex::new(issuer),
            scratch,
        })
    }

    fn bodies(&self, name: &str) -> PathBuf {
        self.scratch.path().join(format!("{name}.bodies"))
    }

    pub(crate) fn issuer(&self) -> MutexGuard<'_, Issuer> {
        self.issuer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes forms with tokens that were never used.
    fn fresh(&self, algorithm: Algorithm, count: usize, path: &Path) -> Result<(), Fault> {
        let mut issuer = self.issuer();
        let mut lines = String::new();
        for call in 0..count {
            lines += &broker::form(&issuer.token(algorithm)?, call);
            lines.push('\n');
        }
        Ok(fs::write(path, lines)?)
    }

    pub(crate) fn exchanges(&self, broker: &Broker, name: &str, count: usize) -> Job {
        Job {
            address: broker.address,
            path: "/token".to_owned(),
            authorization: Some(Broker::authorization()),
            tls: None,
            bodies: self.bodies(name),
            count,
            connections: CALLERS,
            expect: "\"access_token\":".to_owned(),
            seconds: SECONDS,
        }
    }

    /// Opens the users' sessions, and looks at what is issued.
    async fn first(&self, broker: &Broker) -> Result<(), Fault> {
        let job = self.exchanges(broker, "first", 4 * USERS);
        for algorithm in [Es256, Rs256] {
            self.fresh(algorithm, job.count, &job.bodies)?;
            send(&job)?;
        }
        let text = fs::read_to_string(&job.bodies)?;
        let request = reqwest::Client::builder().no_proxy().build()?;
        let request = request
            .post(format!("http://{}/token", broker.address))
            .header("authorization", Broker::authorization())
            .header("content-type", "application/x-www-form-urlencoded");
        let body = text.lines().next().unwrap_or_default().to_owned();
        let answer: Value = request.body(body).send().await?.json().await?;
        let token = answer["access_token"].as_str().unwrap_or_default();
        let claims = token.split('.').nth(1).ok_or("no JWT was issued")?;
        let claims: Value = serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(claims)?)?;
        let subject = claims["sub"].as_str().unwrap_or_default();
        let right = claims["aud"] == API && subject.starts_with("corp/user-") && claims["client_id"] == SERVER;
        let acts = !claims["act"].is_null() && claims["scope"] == "tickets:read";
        if right && acts {
            Ok(())
        } else {
            Err(format!("not what was asked for: {claims}").into())
        }
    }

    /// The same requests as for an exchange.
    fn greetings(&self, count: usize, connections: usize) -> Result<Job, Fault> {
        let job = Job {
            address: self.hello.0,
            path: "/hello".to_owned(),
            connections,
            expect: "\"hello\":".to_owned(),
            ..self.exchanges(&self.es256, "hello", count)
        };
        self.fresh(Es256, USERS, &job.bodies)?;
        Ok(job)
    }

    fn latency(&self, amounts: &Amounts) -> Result<Latency, Fault> {
        let mut job = self.exchanges(&self.es256, "one-caller", amounts.one_caller);
        job.connections = 1;
        self.fresh(Es256, job.count, &job.bodies)?;
        Ok(Latency {
            hello: send(&self.greetings(amounts.one_caller, 1)?)?,
            exchange: send(&job)?,
            probe: probe::measure(self.scratch.path())?,
        })
    }

    /// Commits per second of a broker that nobody asks.
    async fn idle_commits(&self) -> Result<f64, Fault> {
        let before = self.es256.counted().await?;
        let after = self.es256.counted().await?;
        Ok((after.commits - before.commits) / (after.at - before.at).as_secs_f64())
    }

    async fn commits(&self, callers: usize, idle: f64, amounts: &Amounts) -> Result<Commits, Fault> {
        let count = if callers == 1 {
            amounts.one_caller
        } else {
            amounts.exchanges
        };
        let mut job = self.exchanges(&self.es256, "commits", count);
        job.connections = callers;
        self.fresh(Es256, count, &job.bodies)?;
        let before = self.es256.counted().await?;
        let outcome = send(&job)?;
        let after = self.es256.counted().await?;
        let (exchanges, commits) = (after.issued - before.issued, after.commits - before.commits);
        let housekeeping = (after.at - before.at).as_secs_f64() * idle;
        let answered = f64::from(outcome.answered);
        let per_exchange = (commits - housekeeping) / exchanges;
        // The housekeeping is an estimate; two commits per exchange are seen all the same.
        if (exchanges - answered).abs() > 0.5 || commits < 1.0 || per_exchange > 1.5 {
            return Err(format!("{answered} answers, {exchanges} issued, {commits} commits").into());
        }
        Ok(Commits {
            callers,
            exchanges,
            commits,
            housekeeping,
            commits_per_exchange: per_exchange.max(0.0),
            p50_us: outcome.p50_us,
            p99_us: outcome.p99_us,
        })
    }

    fn hello_series(&self, count: usize) -> Result<Series<'_>, Fault> {
        Ok(Series {
            name: "hello",
            pid: self.hello.1.id(),
            job: self.greetings(count, CALLERS)?,
            prepare: Box::new(|_| Ok(())),
        })
    }

    fn rounds(&self, peer: &Peer, amounts: &Amounts) -> Result<Vec<crate::rounds::Round>, Fault> {
        let mut hello = self.hello_series(amounts.hello)?;
        let exchanges = amounts.exchanges;
        let mut series = vec![
            self.series("es256-es256", &self.es256, Some(Es256), exchanges)?,
            self.series("repeated-es256", &self.es256, None, exchanges)?,
            self.series("rs256-ed25519", &self.ed25519, Some(Rs256), exchanges / 2)?,
            self.series("repeated-ed25519", &self.ed25519, None, exchanges)?,
            self.peer_series(peer, amounts.peer)?,
        ];
        series.extend(self.identities.series(self, exchanges)?);
        for series in &mut series {
            series.round()?;
        }
        rounds(&mut hello, &mut series, amounts.rounds)
    }

    /// Fresh tokens of that algorithm, or one repeated token per user.
    fn series<'a>(
        &'a self,
        name: &'static str,
        broker: &Broker,
        fresh: Option<Algorithm>,
        count: usize,
    ) -> Result<Series<'a>, Fault> {
        let job = self.exchanges(broker, name, count);
        if fresh.is_none() {
            self.fresh(Es256, USERS, &job.bodies)?;
        }
        Ok(Series {
            name,
            pid: broker.id(),
            job,
            prepare: Box::new(move |job| match fresh {
                Some(algorithm) => self.fresh(algorithm, job.count, &job.bodies),
                None => Ok(()),
            }),
        })
    }

    fn peer_series(&self, peer: &Peer, count: usize) -> Result<Series<'_>, Fault> {
        let bodies = self.bodies("peer");
        fs::write(&bodies, Peer::form() + "\n")?;
        let job = Job {
            address: peer.address,
            path: "/token".to_owned(),
            authorization: Some(Peer::authorization()),
            tls: None,
            bodies,
            count,
            connections: CALLERS,
            expect: "\"access_token\":".to_owned(),
            seconds: SECONDS,
        };
        Ok(Series {
            name: "oidc-provider",
            pid: peer.id(),
            job,
            prepare: Box::new(|_| Ok(())),
        })
    }
}

/// The bare server.
async fn hello(folder: &Path) -> Result<(SocketAddr, Process), Fault> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("hello");
    let mut process = Process::start("hello", command, folder)?;
    let output = folder.join("hello.out");
    let address = process
        .until(folder, async || {
            fs::read_to_string(&output).ok()?.lines().next()?.parse().ok()
        })
        .await?;
    Ok((address, process))
}
