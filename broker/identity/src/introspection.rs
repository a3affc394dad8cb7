//! Tokens that their issuer is asked about (RFC 7662): positive answers count for 30 s, one question for all that wait,
//! so many questions at a time for each issuer, and nothing where it does not answer.

mod answer;
mod ask;

use std::{
    collections::HashMap,
    pin::pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures_util::future::{Either, select};
use procura_core::{
    catalogue::Issuer,
    ports::Clock,
    source::{Source, SourceError},
    trust::Introspection,
};
use procura_wire::{Digest, Reason};
use serde_json::{Map, Value};
use tokio::sync::Semaphore;

pub(crate) use answer::{agrees, is_opaque, token};

use crate::http::Http;

/// Opens a reference of the bundle to a secret.
pub type Opener = Arc<dyn Fn(&str) -> Result<Arc<dyn Source>, SourceError> + Send + Sync>;

/// How long a positive answer counts, from when it was asked for.
const KEPT: Duration = Duration::from_secs(30);
/// Questions to one issuer at a time.
const AT_ONCE: usize = 16;
/// How long a request waits to be one of them.
const PATIENCE: Duration = Duration::from_millis(500);
/// How long an issuer may take, its metadata included.
const LONGEST: Duration = Duration::from_secs(3);
/// Most tokens that are remembered.
const MOST: usize = 4096;

/// What an issuer said of a token.
type Answer = Arc<Map<String, Value>>;

pub(crate) struct Introspections {
    http: Arc<Http>,
    clock: Arc<dyn Clock>,
    opener: Option<Opener>,
    /// By issuer identifier. Trusted issuers only, so it cannot be flooded.
    peers: Mutex<HashMap<String, Arc<Peer>>>,
    /// By digest of token and issuer.
    slots: Mutex<HashMap<Digest, Arc<Slot>>>,
}

/// An issuer as its file says that it is asked.
struct Peer {
    config: Introspection,
    secret: Arc<dyn Source>,
    places: Semaphore,
    /// Where to ask, and when that was read in its metadata.
    endpoint: Mutex<Option<(url::Url, Duration)>>,
}

/// One token.
#[derive(Default)]
struct Slot {
    /// Held by the one request that asks.
    flight: tokio::sync::Mutex<()>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Questions so far.
    asked: u64,
    /// The last answer and when it was asked for.
    last: Option<(Result<Answer, Reason>, Duration)>,
}

impl State {
    fn fresh(&self, now: Duration) -> Option<Answer> {
        match &self.last {
            Some((Ok(answer), began)) if now.saturating_sub(*began) < KEPT => Some(Arc::clone(answer)),
            _ => None,
        }
    }

    /// What was answered after so many questions.
    fn since(&self, seen: u64) -> Option<Result<Answer, Reason>> {
        let (outcome, _) = self.last.as_ref().filter(|_| self.asked != seen)?;
        Some(outcome.clone())
    }
}

impl Slot {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Introspections {
    pub(crate) fn new(http: Arc<Http>, clock: Arc<dyn Clock>) -> Self {
        Self {
            http,
            clock,
            opener: None,
            peers: Mutex::default(),
            slots: Mutex::default(),
        }
    }

    pub(crate) fn open_by(&mut self, opener: Opener) {
        self.opener = Some(opener);
    }

    /// What the issuer says, or said lately, of a token that is active.
    pub(crate) async fn of(&self, issuer: &Issuer, token: &str) -> Result<Answer, Reason> {
        let peer = self.peer(issuer)?;
        let config = &peer.config;
        let parts = [&issuer.issuer, "\0", &config.client_id, "\0", token].map(str::as_bytes);
        let id = Digest::of_parts(parts);
        let slot = self.slot(id);
        let seen = {
            let state = slot.state();
            match state.fresh(self.clock.monotonic()) {
                Some(answer) => return Ok(answer),
                None => state.asked,
            }
        };
        let _flight = slot.flight.lock().await;
        // Whoever waited takes what was answered meanwhile, a failure too.
        if let Some(outcome) = slot.state().since(seen) {
            return outcome;
        }
        let began = self.clock.monotonic();
        let outcome = self.ask(issuer, &peer, token).await;
        if outcome.is_err() {
            self.slots().remove(&id);
        }
        let mut state = slot.state();
        state.asked += 1;
        state.last = Some((outcome.clone(), began));
        outcome
    }

    /// Asks within the time and the places that the issuer has.
    async fn ask(&self, issuer: &Issuer, peer: &Peer, token: &str) -> Result<Answer, Reason> {
        let _place = match select(pin!(peer.places.acquire()), self.clock.sleep(PATIENCE)).await {
            Either::Left((place, _)) => place.map_err(|_| Reason::IntrospectUnavailable)?,
            Either::Right(_) => return Err(Reason::IntrospectTimeout),
        };
        let question = ask::Question {
            http: &self.http,
            clock: &*self.clock,
            issuer: &issuer.issuer,
            peer,
        };
        let outcome = match select(pin!(question.put(token)), self.clock.sleep(LONGEST)).await {
            Either::Left((outcome, _)) => outcome,
            Either::Right(_) => Err(Reason::IntrospectTimeout),
        };
        if let Err(reason) = &outcome
            && *reason != Reason::IntrospectInactive
        {
            let (issuer, reason) = (&issuer.issuer, reason.code());
            tracing::warn!(issuer, reason, "an issuer cannot be asked about tokens");
        }
        outcome.map(Arc::new)
    }

    /// The issuer as it is asked under this bundle.
    fn peer(&self, issuer: &Issuer) -> Result<Arc<Peer>, Reason> {
        let config = issuer.trust.introspection.as_ref().ok_or(Reason::JwtFormat)?;
        let mut peers = self.peers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = peers.get(&issuer.issuer).filter(|known| known.config == *config) {
            return Ok(Arc::clone(known));
        }
        let opener = self.opener.as_ref().ok_or(Reason::IntrospectUnavailable)?;
        let secret = opener(&config.secret).map_err(|error| ask::no_secret(&issuer.issuer, &error))?;
        let peer = Arc::new(Peer {
            config: config.clone(),
            secret,
            places: Semaphore::new(AT_ONCE),
            endpoint: Mutex::default(),
        });
        peers.insert(issuer.issuer.clone(), Arc::clone(&peer));
        Ok(peer)
    }

    fn slots(&self) -> MutexGuard<'_, HashMap<Digest, Arc<Slot>>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn slot(&self, id: Digest) -> Arc<Slot> {
        let now = self.clock.monotonic();
        let mut slots = self.slots();
        let in_use = |slot: &Arc<Slot>| Arc::strong_count(slot) > 1;
        if slots.len() >= MOST {
            slots.retain(|_, slot| in_use(slot) || slot.state().fresh(now).is_some());
        }
        if slots.len() >= MOST {
            // What is forgotten is asked about once more.
            slots.retain(|_, slot| in_use(slot));
        }
        Arc::clone(slots.entry(id).or_default())
    }
}
