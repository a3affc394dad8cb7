//! Secrets of development mode, and its sample database: on the server of `--postgres URL`, or on its own.

use std::{collections::BTreeMap, path::PathBuf};

use procura_sources::{FileConfig, SourceConfig};
use procura_target_postgres::sample::{self, Sample};
use procura_wire::{Name, Secret};

use super::{
    cluster::{self, Cluster},
    state::State,
};
use crate::{
    assembly::Machine,
    cli::{self, Failure, keys, plain},
};

/// The source of development mode: files in `.procura/secrets/`.
const SOURCE: &str = "dev";
/// The administrator's secret there, as the bundle names it: `dev:postgres`.
const SECRET: &str = "postgres";

fn folder(state: &State) -> Result<PathBuf, Failure> {
    state.folder("secrets")
}

/// The source `dev`, which any bundle may refer to.
pub(super) fn sources(state: &State) -> Result<BTreeMap<Name, SourceConfig>, Failure> {
    let allow = vec!["*".parse().map_err(Failure::usage)?];
    let root = folder(state)?;
    let name = SOURCE.parse().map_err(Failure::usage)?;
    Ok(BTreeMap::from([(name, SourceConfig::File(FileConfig { root, allow }))]))
}

/// The sample database, or why there is none, with the server that was started for it. Only one that was
/// asked for must be there.
pub(super) async fn database(
    dev: &cli::Dev,
    state: &State,
    machine: &Machine,
) -> Result<(Result<Sample, String>, Option<Cluster>), Failure> {
    if let Some(url) = &dev.postgres {
        return Ok((Ok(prepare(&Secret::new(url.to_string()), state, machine).await?), None));
    }
    if dev.policies.is_some() {
        return Ok((Err(cluster::GIVEN.to_owned()), None));
    }
    let started = match Cluster::start(state, machine).await {
        Ok(None) => return Ok((Err(cluster::ABSENT.to_owned()), None)),
        Ok(Some(cluster)) => match prepare(&cluster.url, state, machine).await {
            Ok(sample) => Ok((sample, cluster)),
            Err(failure) => Err(failure.to_string()),
        },
        Err(problem) => Err(problem),
    };
    Ok(match started {
        Ok((sample, cluster)) => (Ok(sample), Some(cluster)),
        Err(problem) => (Err(format!("Without a database: {}.", plain(&problem))), None),
    })
}

/// Prepares the server (`url` is a superuser's) and keeps the administrator's secret.
async fn prepare(url: &Secret, state: &State, machine: &Machine) -> Result<Sample, Failure> {
    let made = sample::prepare(url, machine.entropy.as_ref()).await;
    let sample = made.map_err(|error| Failure::usage(plain(&error.to_string())))?;
    keys::replace(&folder(state)?.join(SECRET), &sample.secret)?;
    Ok(sample)
}
