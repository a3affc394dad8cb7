//! The integrator: gives records their indexes, then has the tree published.

use std::{sync::Arc, time::Duration};

use fail::fail_point;
use futures_util::future::select;

use super::{Growing, Grown, IntegratorClaim, Log, Problem, Tiles, Tree};
use crate::ports::BoxFuture;

/// Life of the lease: so long nobody integrates after a replica has died.
pub(super) const LEASE: Duration = Duration::from_secs(5);
/// Records that become leaves at once. A leaf is 60 KiB at most.
const BATCH: u32 = 512;
/// Least time between two checkpoints while records keep coming.
const PACE: Duration = Duration::from_millis(500);
/// Time between two looks at what other replicas have appended.
const POLL: Duration = Duration::from_millis(250);
/// Time until what failed is tried again.
const RETRY: Duration = Duration::from_secs(1);

/// What comes after a round.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    /// Another round, at once.
    More,
    /// Everything is published.
    Wait,
    /// Another replica integrates.
    Watch,
}

/// The lease that this process believes to have.
pub(super) type Held = Option<i64>;

/// Integrates and publishes until `stop`. Whatever fails is tried again; whatever is interrupted is taken up by the next
/// run, here or at another replica.
pub async fn run(log: Arc<Log>, stop: BoxFuture<'static, ()>) {
    let mut held = None;
    {
        let work = std::pin::pin!(rounds(&log, &mut held));
        select(work, stop).await;
    }
    // What the last requests appended, too; where this fails, the next start does it.
    let _ = log.round(&mut held).await;
    if let Some(fence) = held {
        // Where this fails the lease ends by itself.
        let _ = log.store.release(fence).await;
    }
}

async fn rounds(log: &Log, held: &mut Held) {
    loop {
        let began = log.clock.monotonic();
        let ended = log.round(held).await;
        let next = ended.as_ref().ok().copied();
        log.state.ended(ended.err());
        match next {
            Some(Next::More) => {}
            Some(Next::Watch) => log.clock.sleep(POLL).await,
            Some(Next::Wait) => {
                log.news().await;
                let spent = log.clock.monotonic().saturating_sub(began);
                if spent < PACE {
                    log.clock.sleep(PACE - spent).await;
                }
            }
            None => log.clock.sleep(RETRY).await,
        }
    }
}

impl Log {
    /// Ends when there may be something new.
    async fn news(&self) {
        let appended = self.store.appended();
        if self.store.is_shared() {
            let polled = select(appended, self.clock.sleep(POLL)).await;
            drop(polled);
        } else {
            appended.await;
        }
    }

    /// One round: nothing is written where nothing is new.
    async fn round(&self, held: &mut Held) -> Result<Next, Problem> {
        let tree = self.store.tree().await?;
        self.state.saw(&tree, self.clock.now());
        if !tree.is_behind() {
            return Ok(Next::Wait);
        }
        let Some(fence) = self.hold(held, &tree).await? else {
            return Ok(Next::Watch);
        };
        if tree.waiting {
            match self.integrate(fence, &tree).await? {
                // Whoever has the fence now goes on.
                None => {
                    *held = None;
                    return Ok(Next::Watch);
                }
                Some(taken) if taken == BATCH as usize => return Ok(Next::More),
                Some(_) => {}
            }
        }
        let published = self.publish(fence).await;
        let tree = self.store.tree().await?;
        self.state.saw(&tree, self.clock.now());
        // What came meanwhile is told of, and has a round of its own in its time.
        Ok(if published? { Next::Wait } else { Next::More })
    }

    /// The fence, where the lease is this process's.
    pub(super) async fn hold(&self, held: &mut Held, tree: &Tree) -> Result<Option<i64>, Problem> {
        let now = self.clock.now();
        let own = *held == Some(tree.fence);
        if !(own && now + LEASE / 2 < tree.until) {
            let claim = IntegratorClaim {
                replica: self.replica,
                seen: tree.fence,
                now,
                until: now + LEASE,
            };
            *held = self.store.hold(claim).await?;
        }
        Ok(*held)
    }

    /// Answers how many records became leaves; `None` where the lease was lost.
    async fn integrate(&self, fence: i64, tree: &Tree) -> Result<Option<usize>, Problem> {
        let waiting = self.store.waiting(tree.size, BATCH).await?;
        if waiting.is_empty() {
            return Ok(Some(0));
        }
        let edge = self.store.tiles(Tiles::edge(tree.size)).await?;
        let mut growing = match Growing::new(tree.size, tree.root, Tiles::new(edge)) {
            Ok(growing) => growing,
            // Who had the lease before integrated between our look at the tree and our hold.
            Err(_) if self.store.tree().await?.size != tree.size => return Ok(None),
            Err(broken) => return Err(broken.into()),
        };
        for record in &waiting {
            growing.push(record.leaf.as_bytes());
        }
        let grown = Grown {
            from: tree.size,
            ids: waiting.iter().map(|record| record.id).collect(),
            root: growing.root()?,
            tiles: growing.changed(),
        };
        let kept = self.store.integrate(fence, grown).await?;
        fail_point!("log-integrated");
        Ok(kept.then_some(waiting.len()))
    }
}
