//! What the tests of this crate share.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::PermissionsExt,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
    time::Duration,
};

use procura_contract::manual_clock::ManualClock;
use procura_core::{
    ports::{Clock, Entropy},
    source::SourceSecret,
};
use procura_sources::{SourceConfig, SourceConfigError, Sources};

/// Other bytes on each call.
#[derive(Default)]
pub(crate) struct Counting(AtomicU8);

impl Entropy for Counting {
    fn fill(&self, bytes: &mut [u8]) {
        bytes.fill(self.0.fetch_add(1, Ordering::Relaxed));
    }
}

/// Sources as `[sources]` of a configuration file has them.
pub(crate) fn sources(toml: &str, clock: &Arc<ManualClock>) -> Result<Sources, SourceConfigError> {
    let configs: BTreeMap<_, SourceConfig> = toml::from_str(toml).expect("settings");
    Sources::new(configs, Arc::clone(clock) as Arc<dyn Clock>, &Counting::default())
}

/// Writes a file that only its owner may read.
pub(crate) fn write(path: &Path, text: &str) {
    fs::write(path, text).expect("a file");
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).expect("its mode");
}

/// The clear text, for comparison.
#[expect(clippy::disallowed_methods, reason = "a test compares what it wrote itself")]
pub(crate) fn text(secret: &SourceSecret) -> &str {
    secret.value.expose()
}

/// Waits until the background work sleeps.
pub(crate) async fn settle(clock: &ManualClock) {
    while clock.sleepers() == 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}
