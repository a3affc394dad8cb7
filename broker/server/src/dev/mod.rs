//! `procura dev`: a broker on loopback with an issuer of its own, for trying things out.

mod banner;
mod cluster;
mod file;
mod issuer;
mod postgres;
mod provider;
mod sample;
mod state;

use std::{path::Path, sync::Arc, time::Duration};

use procura_anchor::FileAnchor;
use procura_core::{catalogue::ServerAuth, judgement::Judge};
use procura_identity::{Builtin, Cached, HttpOptions};
use procura_policy::Options;
use procura_target_jwt::{Keyring, SigningAlgorithm, new_set};
use procura_wire::Secret;
use url::Url;

use crate::{
    assembly::{self, Broker, Machine, Trust},
    background::{Revocation, Watch},
    bundle::{self, Proofs, Rejected, Stages, Workshop},
    cli::{self, Failure, keys::new_secret},
    config::Store,
    http, log,
    running::{Doors, Running, Signals, bind},
    store::Engine,
    telemetry::{self, Logs},
    web::Web,
};

use cluster::Cluster;
pub(crate) use file::DevFile;
pub(crate) use issuer::{BUILTIN, DevIssuer};
pub(crate) use provider::routes;
use sample::Sample;
use state::State;

/// How long subject tokens live.
const TOKEN_LIFE: Duration = Duration::from_secs(60 * 60);
/// How long operators' tokens live at most.
const OPERATOR_LIFE: Duration = Duration::from_secs(24 * 60 * 60);
const MINT_BUDGET: Duration = Duration::from_secs(10);

/// What `dev` and `policy check` accept beside what `serve` does.
pub(crate) const OPTIONS: Options = Options {
    allow_builtin: true,
    allow_http_loopback: true,
};

/// Runs until a signal.
pub(crate) async fn run(dev: cli::Dev) -> Result<(), Failure> {
    telemetry::logs(Logs::Text);
    let signals = Signals::listen()?;
    if !dev.listen.ip().is_loopback() {
        return Err(Failure::usage(
            "dev listens on loopback only; to serve others, use `procura serve`",
        ));
    }
    let doors = Doors {
        public: bind(dev.listen)?,
        tls: None,
        admin: None,
    };
    let url = Url::parse(&format!("http://{}", doors.public.address())).map_err(Failure::usage)?;
    let mut stage = build(&dev, &url).await?;
    let cluster = stage.cluster.take();
    let broker = Arc::clone(&stage.broker);
    let routes = http::public(broker.app(&url, Some(Arc::clone(&stage.issuer))), "/");
    let running = Running::start(Arc::clone(&broker), routes, doors, (Watch::Files, Revocation::Runs));
    stage.file.operator_token = stage.issuer.operator(&broker.ports).map_err(Failure::found)?;
    stage.file.write()?;
    banner::greet(&stage).await;
    running.background.also(renew(stage));
    running.until(signals).await;
    DevFile::remove();
    if let Some(cluster) = cluster {
        cluster.stop().await;
    }
    Ok(())
}

/// A broker with what a newcomer tries.
struct Stage {
    broker: Arc<Broker>,
    issuer: Arc<DevIssuer>,
    file: DevFile,
    /// `None` where the bundle has nothing to show.
    sample: Option<Sample>,
    /// A database is there to log in to, or why not.
    postgres: Result<(), String>,
    cluster: Option<Cluster>,
}

/// Writes a fresh operators' token in time, for as long as the broker runs.
async fn renew(mut stage: Stage) {
    let ports = Arc::clone(&stage.broker.ports);
    loop {
        ports.clock.sleep(stage.issuer.operator_life / 2).await;
        let renewed = stage.issuer.operator(&ports).map_err(Failure::found).and_then(|token| {
            stage.file.operator_token = token;
            stage.file.write()
        });
        if let Err(failure) = renewed {
            tracing::error!(%failure, "the operators' token was not renewed");
        }
    }
}

async fn build(dev: &cli::Dev, url: &Url) -> Result<Stage, Failure> {
    let machine = Machine::start()?;
    let state = State::open()?;
    let engine = Engine::open(&Store::Sqlite(state.path("store.sqlite")), &machine).await?;
    let sources = postgres::sources(&state)?;
    let (database, cluster) = postgres::database(dev, &state, &machine).await?;
    let folder = match (&dev.policies, &database) {
        (None, Ok(database)) => state.postgres_bundle(&database.host, database.port)?,
        (policies, _) => state::bundle(policies.as_deref())?,
    };
    let judge = judge(&folder)?;
    let sample = sample::find(judge.as_ref(), &dev.user, machine.clock.now(), &banner::program());
    let identifier = assembly::identifier(url);
    let issuer = dev_issuer(&identifier, judge.as_ref(), &dev.user, &machine)?;
    let secret = new_secret(machine.entropy.as_ref());
    let trust = trust(&issuer, judge.as_ref(), &secret);
    let anchor = Arc::new(FileAnchor::new(state.path("anchor.jsonl")));
    let log = log::assemble(&engine, &machine, anchor, state.log_keys()?);
    log::compare_in_dev(&log.log, url).await?;
    let keys = state.keys(log)?;
    let workshop = Workshop {
        folder,
        options: OPTIONS,
        signer: Arc::clone(&keys.ring) as _,
        seals: state.seals(machine.entropy.as_ref())?,
        sources: crate::serve::sources(sources, &machine)?,
        ledger: engine.ledger(),
        issuer: identifier.clone(),
        machine,
        stages: Stages::default(),
        proofs: Proofs::default(),
    };
    let mut broker = assembly::build(engine, workshop, keys, trust, MINT_BUDGET).await?;
    broker.web = page(judge.as_ref(), &broker, url).map(Arc::new);
    Ok(Stage {
        broker: Arc::new(broker),
        issuer: Arc::new(issuer),
        file: dev_file(&identifier, sample.as_ref(), secret),
        sample,
        postgres: database.map(drop),
        cluster,
    })
}

/// The bundle's rules, before the broker that will judge by them is there.
fn judge(folder: &Path) -> Result<Arc<dyn Judge>, Failure> {
    let loaded = bundle::load(folder, OPTIONS);
    let (_, judge) = loaded.map_err(|mistakes| Failure::usage(Rejected::Mistakes(mistakes)))?;
    Ok(judge)
}

fn dev_issuer(identifier: &str, judge: &dyn Judge, user: &str, machine: &Machine) -> Result<DevIssuer, Failure> {
    let catalogue = judge.catalogue();
    let declared = sample::builtin_alias(catalogue).and_then(|alias| catalogue.issuers.get(alias));
    let longest = declared.map_or(TOKEN_LIFE, |issuer| issuer.max_token_lifetime);
    let claim = declared
        .and_then(|issuer| issuer.groups.as_ref())
        .map(|groups| groups.claim.clone());
    let server = sample::servers(catalogue).into_iter().next();
    let set = new_set(SigningAlgorithm::Es256).map_err(Failure::found)?;
    let mut sid = [0; 8];
    machine.entropy.fill(&mut sid);
    Ok(DevIssuer {
        iss: format!("{identifier}/dev"),
        keys: Keyring::parse(&set).map_err(Failure::found)?,
        audience: server.map(|(_, server)| server.resource.clone()).unwrap_or_default(),
        groups_claim: claim.unwrap_or_else(|| "groups".to_owned()),
        user: user.to_owned(),
        sid: format!("dev-{}", hex::encode(sid)),
        life: TOKEN_LIFE.min(longest),
        operator_life: OPERATOR_LIFE.min(longest),
        codes: Default::default(),
    })
}

/// The page, where the bundle lets its builtin issuer vouch for operators.
fn page(judge: &dyn Judge, broker: &Broker, url: &Url) -> Option<Web> {
    let catalogue = judge.catalogue();
    let alias = sample::builtin_alias(catalogue)?;
    catalogue.issuers.get(alias).filter(|issuer| issuer.operators)?;
    Some(Web {
        store: broker.engine.web(),
        identity: Arc::clone(&broker.identity),
        issuer: alias.clone(),
        client_id: provider::CLIENT.to_owned(),
        client_secret: None,
        site: url.clone(),
        described: Cached::default(),
    })
}

fn trust(issuer: &DevIssuer, judge: &dyn Judge, secret: &Secret) -> Trust {
    let servers = judge.catalogue().servers.iter();
    let builtin = servers.filter(|(_, server)| matches!(server.auth, ServerAuth::BuiltinDev));
    Trust {
        http: HttpOptions {
            allow_http_loopback: true,
            ..HttpOptions::default()
        },
        builtin: Some(Builtin {
            issuer_identifier: issuer.iss.clone(),
            jwks: issuer.keys.public_jwks(),
        }),
        dev_secrets: builtin.map(|(name, _)| (name.clone(), secret.digest())).collect(),
        ..Trust::default()
    }
}

fn dev_file(issuer: &str, sample: Option<&Sample>, client_secret: Secret) -> DevFile {
    let shown = |member: fn(&Sample) -> String| sample.map(member).unwrap_or_default();
    DevFile {
        issuer: issuer.to_owned(),
        subject_token_endpoint: format!("{issuer}/dev/subject-token"),
        token_endpoint: format!("{issuer}/token"),
        jwks_uri: format!("{issuer}/jwks.json"),
        introspection_endpoint: format!("{issuer}/introspect"),
        revocation_endpoint: format!("{issuer}/revoke"),
        client_id: shown(|sample| sample.server.to_string()),
        client_secret,
        audience: shown(|sample| sample.target.to_string()),
        scope: shown(|sample| sample.grant.to_string()),
        tool: shown(|sample| sample.tool.clone()),
        api: format!("{issuer}/v1"),
        operator_token: Secret::new(String::new()),
        pid: std::process::id(),
    }
}
