//! Secrets of development mode, and its sample database for `procura dev --postgres URL`.

use std::{collections::BTreeMap, path::PathBuf};

use procura_sources::{FileConfig, SourceConfig};
use procura_target_postgres::sample::{self, Sample};
use procura_wire::{Name, Secret};
use url::Url;

use super::state::State;
use crate::{
    assembly::Machine,
    cli::{Failure, keys, plain},
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

/// Prepares the server (`url` is a superuser's) and keeps the administrator's secret.
pub(super) async fn prepare(url: &Url, state: &State, machine: &Machine) -> Result<Sample, Failure> {
    let url = Secret::new(url.to_string());
    let made = sample::prepare(&url, machine.entropy.as_ref()).await;
    let sample = made.map_err(|error| Failure::usage(plain(&error.to_string())))?;
    keys::replace(&folder(state)?.join(SECRET), &sample.secret)?;
    Ok(sample)
}
