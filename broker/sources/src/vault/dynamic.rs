//! Secrets that an engine makes anew for each read, each under a lease: read once, kept alive, replaced in time.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use procura_core::source::SourceSecret;
use procura_wire::Secret;
use reqwest::StatusCode;
use serde_json::Value;

use super::{
    http::{parse, unwanted},
    session::Session,
};
use crate::cache::Trouble;

/// Shortest time between two leases of one path that are made because a target refused the one before; doubled while
/// the next is refused as well.
const SHORTEST: Duration = Duration::from_secs(1);
/// Longest such time.
const LONGEST: Duration = Duration::from_secs(60);

/// The leases that are in use, by path.
#[derive(Default)]
pub(super) struct Leases {
    paths: Mutex<BTreeMap<String, Arc<Slot>>>,
    replaced: AtomicU64,
}

#[derive(Default)]
struct Slot {
    /// Held while a lease is made or renewed, so that all who read the path get the same.
    turn: tokio::sync::Mutex<()>,
    lease: Mutex<Option<Lease>>,
}

/// What was read. An earlier one that was replaced ends by itself.
struct Lease {
    id: String,
    value: Secret,
    /// The lease ends with it.
    token: Arc<Secret>,
    made: Duration,
    /// How long it was to live when it was made.
    life: Duration,
    renewable: bool,
    /// When it is renewed or replaced.
    due: Duration,
    lapses: Duration,
    /// The earlier of that and the end of the token, which may be renewed meanwhile.
    ends: Duration,
    /// A target refused it.
    refused: bool,
    /// How long after it was made a refusal leads to another.
    pause: Duration,
}

enum Next {
    Serve(SourceSecret),
    Renew(String, Arc<Secret>),
    Make,
}

impl Leases {
    /// The secret of the lease in use; renews that or makes one where it is time to.
    pub(super) async fn read(&self, session: &Session, path: &str) -> Result<SourceSecret, Trouble> {
        let slot = self.slot(path);
        let _turn = slot.turn.lock().await;
        let now = session.clock.monotonic();
        let renewed = match slot.next(session, now) {
            Next::Serve(secret) => return Ok(secret),
            Next::Renew(id, token) => slot.renew(session, &id, &token).await?,
            Next::Make => None,
        };
        match renewed {
            Some(secret) => Ok(secret),
            None => self.make(session, &slot, path).await,
        }
    }

    /// A target refused what is served: the next read makes another, unless this one was made just now.
    pub(super) fn refuse(&self, path: &str, now: Duration) {
        if let Some(lease) = self.slot(path).lease().as_mut() {
            lease.refused |= now >= lease.made + lease.pause;
        }
    }

    /// When the lease of that version ends; at once if it is not the one in use.
    pub(super) fn end_of(&self, path: &str, version: &str) -> Duration {
        let slot = self.slot(path);
        let lease = slot.lease();
        let in_use = lease.as_ref().filter(|lease| lease.version() == version);
        in_use.map_or(Duration::ZERO, |lease| lease.ends)
    }

    /// How many leases were replaced by others so far.
    pub(super) fn replaced(&self) -> u64 {
        self.replaced.load(Ordering::Relaxed)
    }

    fn slot(&self, path: &str) -> Arc<Slot> {
        let mut paths = self.paths.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(paths.entry(path.to_owned()).or_default())
    }

    async fn make(&self, session: &Session, slot: &Slot, path: &str) -> Result<SourceSecret, Trouble> {
        let now = session.clock.monotonic();
        let (answer, token) = session.ask_by(path, None).await?;
        let body = match answer {
            (StatusCode::OK, body) => parse(&body)?,
            _ => {
                let problem = "there is no such role, or no such mount or namespace";
                return Err(Trouble::Gone(problem.to_owned()));
            }
        };
        let (id, life) = lease_of(&body);
        if id.is_empty() || life.is_zero() || !body["data"].is_object() {
            let problem = "the answer has no lease; list only engines in `dynamic` that make a secret for each read";
            return Err(Trouble::Gone(problem.to_owned()));
        }
        let mut kept = slot.lease();
        let pause = kept.as_ref().map_or(SHORTEST, |old| old.next_pause(now));
        if kept.is_some() {
            self.replaced.fetch_add(1, Ordering::Relaxed);
        }
        let mut lease = Lease {
            id: id.to_owned(),
            value: Secret::new(body["data"].to_string()),
            token,
            made: now,
            life,
            renewable: body["renewable"].as_bool().unwrap_or(false),
            due: now + life / 2,
            lapses: now + life,
            ends: now + life,
            refused: false,
            pause,
        };
        lease.end_with_token(session);
        Ok(kept.insert(lease).secret())
    }
}

impl Slot {
    fn next(&self, session: &Session, now: Duration) -> Next {
        let mut kept = self.lease();
        let Some(lease) = kept.as_mut() else {
            return Next::Make;
        };
        let token_in_use = lease.end_with_token(session);
        if lease.refused || !token_in_use || now >= lease.ends {
            Next::Make
        } else if now < lease.due {
            Next::Serve(lease.secret())
        } else if lease.renewable {
            Next::Renew(lease.id.clone(), Arc::clone(&lease.token))
        } else {
            Next::Make
        }
    }

    /// `None` where another lease is better: this one cannot be renewed, or for half of its first life at the most.
    async fn renew(&self, session: &Session, id: &str, token: &Arc<Secret>) -> Result<Option<SourceSecret>, Trouble> {
        let now = session.clock.monotonic();
        let body = match session.renew_lease(id, token).await? {
            (StatusCode::OK, body) => parse(&body)?,
            (StatusCode::BAD_REQUEST | StatusCode::FORBIDDEN | StatusCode::NOT_FOUND, _) => return Ok(None),
            (status, _) => return Err(unwanted(status)),
        };
        let (_, left) = lease_of(&body);
        let mut kept = self.lease();
        Ok(kept.as_mut().and_then(|lease| {
            lease.lapses = now + left;
            lease.due = now + left / 2;
            lease.renewable = body["renewable"].as_bool().unwrap_or(false);
            lease.end_with_token(session);
            (left * 2 > lease.life).then(|| lease.secret())
        }))
    }

    fn lease(&self) -> MutexGuard<'_, Option<Lease>> {
        self.lease.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lease {
    /// The last segment of its id.
    fn version(&self) -> &str {
        self.id.rsplit('/').next().unwrap_or_default()
    }

    fn secret(&self) -> SourceSecret {
        #[expect(clippy::disallowed_methods, reason = "each reader gets one of its own")]
        let value = self.value.expose().to_owned();
        SourceSecret {
            value: Secret::new(value),
            version: self.version().to_owned(),
        }
    }

    /// Looks when it ends, since the token takes it along. Answers whether the token is the one in use.
    fn end_with_token(&mut self, session: &Session) -> bool {
        let Some(end) = session.end_of(&self.token) else {
            return false;
        };
        self.ends = end.map_or(self.lapses, |end| self.lapses.min(end));
        true
    }

    /// The pause of the one that takes its place.
    fn next_pause(&self, now: Duration) -> Duration {
        match self.refused && now.saturating_sub(self.made) <= self.pause * 2 {
            true => (self.pause * 2).min(LONGEST),
            false => SHORTEST,
        }
    }
}

/// Id and rest of its life.
fn lease_of(body: &Value) -> (&str, Duration) {
    let seconds = body["lease_duration"].as_u64().unwrap_or_default();
    (
        body["lease_id"].as_str().unwrap_or_default(),
        Duration::from_secs(seconds.min(u32::MAX.into())),
    )
}
