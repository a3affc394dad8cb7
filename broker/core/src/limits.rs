//! Rate limits: how many requests a server, subject, session, grant or peer may make in a window of time.
//!
//! A replica counts in memory, so that no request waits for the store, and adds what it counted to the store every
//! [`EVERY`]; the answer tells what all of them counted. So N replicas together may let through more than the limit by
//! what arrives within one such interval, and one that is killed forgets what it counted within its last one.

mod windows;

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv6Addr},
    sync::Arc,
    time::Duration,
};

use futures_util::future::{BoxFuture, Either, select};
use procura_wire::{Digest, Reason};

use crate::{Timestamp, ports::Ports};

pub use windows::{Limiter, MOST_KEYS};

/// Time between two exchanges of counts with the store.
pub const EVERY: Duration = Duration::from_secs(1);

/// So many requests in each window of that length. Windows begin at multiples of their length since 1970, so that all
/// replicas have the same ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// Requests, at least 1.
    pub count: u32,
    /// Length of a window: whole seconds, at least 1.
    pub per: Duration,
}

/// What is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Dimension {
    /// Requests of an authenticated server.
    Server,
    /// Exchanges for a subject.
    Subject,
    /// Permitted exchanges of a session.
    Session,
    /// Permitted exchanges of a grant.
    Grant,
    /// Requests of a peer, before anybody is authenticated.
    Address,
}

impl Dimension {
    /// Each of them.
    pub const ALL: [Self; 5] = [Self::Server, Self::Subject, Self::Session, Self::Grant, Self::Address];

    /// Its key in the bundle.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Server => "server",
            Self::Subject => "subject",
            Self::Session => "session",
            Self::Grant => "grant",
            Self::Address => "address",
        }
    }

    /// What a request beyond the limit is refused as.
    pub fn reason(self) -> Reason {
        match self {
            Self::Server => Reason::LimitServer,
            Self::Subject => Reason::LimitSubject,
            Self::Session => Reason::LimitSession,
            Self::Grant => Reason::LimitGrant,
            Self::Address => Reason::LimitAddress,
        }
    }
}

/// The limits of a bundle or of one server.
pub type Limits = BTreeMap<Dimension, Rate>;

/// One thing that a request counts for.
#[derive(Debug, Clone, Copy)]
pub struct Ask {
    dimension: Dimension,
    key: Digest,
    rate: Rate,
}

impl Ask {
    /// `scope` is the server whose own limit it is, empty where the limit counts over all of them.
    pub fn new(dimension: Dimension, scope: &str, name: &str, rate: Rate) -> Self {
        // A server's name has no line feed in it, so no two of these are alike.
        let of = format!("{}\n{}\n{scope}\n{name}", dimension.as_str(), rate.per.as_secs());
        let key = Digest::of(of.as_bytes());
        Self { dimension, key, rate }
    }

    /// A peer, by its [`network`].
    pub fn of_peer(peer: IpAddr, rate: Rate) -> Self {
        Self::new(Dimension::Address, "", &network(peer).to_string(), rate)
    }
}

/// What peers are told apart by: their IPv4 address, or the /64 of their IPv6 address, since whoever has one of its
/// addresses has all of them.
pub fn network(peer: IpAddr) -> IpAddr {
    match peer.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from(u128::from(address) >> 64 << 64).into(),
        address => address,
    }
}

/// A limit that is used up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exceeded {
    /// Which.
    pub reason: Reason,
    /// Seconds until the window ends, at least 1.
    pub retry_after: u32,
    /// Whether this replica refuses the first one of the window: that one is recorded, the rest only counted, so that a
    /// flood does not fill the log.
    pub first: bool,
}

/// How often one key was counted in a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counted {
    /// Digest of dimension, length of the window, scope and name.
    pub key: Digest,
    /// End of the window.
    pub ends: Timestamp,
    /// How often.
    pub count: u64,
}

/// Counts a request of a peer, where the bundle in force has a limit for that. Nothing of it is recorded.
pub fn admit_peer(ports: &Ports, peer: Option<IpAddr>) -> Result<(), Exceeded> {
    let snapshot = ports.active.snapshot();
    let rate = snapshot.judge.catalogue().limits.get(&Dimension::Address);
    let (Some(rate), Some(peer)) = (rate, peer) else {
        return Ok(());
    };
    ports.limiter.admit(&[Ask::of_peer(peer, *rate)], now(ports))
}

/// Exchanges counts with the store once.
pub async fn share(ports: &Ports) {
    let counted = ports.limiter.collect();
    if counted.is_empty() {
        return ports.limiter.settle(None, now(ports));
    }
    let totals = ports.ledger.count(counted, now(ports)).await;
    if let Err(error) = &totals {
        tracing::warn!(%error, "counts of rate limits are not shared for now");
    }
    ports.limiter.settle(totals.ok(), now(ports));
}

/// Exchanges counts every [`EVERY`] until `stop` ends, and once more then, so that a restart forgets nothing.
pub async fn run(ports: Arc<Ports>, mut stop: BoxFuture<'static, ()>) {
    loop {
        let stopped = matches!(select(&mut stop, ports.clock.sleep(EVERY)).await, Either::Left(_));
        share(&ports).await;
        if stopped {
            return;
        }
    }
}

fn now(ports: &Ports) -> Timestamp {
    ports.clock.now().max(ports.ledger.durable_time())
}
