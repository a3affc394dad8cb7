//! The log beside the ledger: its leaves are the ledger's records, and its writes are the writer's.

use std::collections::BTreeMap;

use procura_core::{
    Timestamp,
    ids::IssuanceId,
    ledger::StoreError,
    log::{EMPTY_HASH, Epoch, Grown, Hash, IntegratorClaim, KeptLeaf, LeafRecord, LogStore, TileKey, Tree},
    ports::BoxFuture,
};
use sqlx::{FromRow, SqlSafeStr};
use uuid::Uuid;

use crate::{
    answer::{Answer, Failure, Write},
    batch::Batch,
    db::{Arg, Db},
    ledger::Store,
    rows::{NumberRow, TextRow},
};

/// One write of the log.
pub(crate) enum LogWrite {
    Begin(String),
    Hold(IntegratorClaim),
    Release(i64),
    Integrate(i64, Grown),
    Publish(i64, u64, String),
    BeginEpoch(i64, Epoch),
}

const BEGIN: &str = "
    INSERT INTO log (one, origin, epoch, size, root, fence, until)
    VALUES (1, $1, 1, 0, $2, 0, 0)
        ON CONFLICT (one) DO NOTHING";

/// Nobody takes a lease for a minute and more (60 s in microseconds): where one lasts so long, the clock of who took it was
/// wrong. Who takes it from a holder that still works does no harm, as the fence is another one then.
const HOLD: &str = "
    UPDATE log
       SET holder = $1, fence = fence + 1, until = $3
     WHERE fence = $2 AND (until <= $4 OR until > $4 + 60000000 OR holder = $1)";

const RELEASE: &str = "UPDATE log SET until = 0 WHERE fence = $1";

const GROW: &str = "
    UPDATE log
       SET size = $3, root = $4
     WHERE fence = $1 AND size = $2";

const KEEP_TILE: &str = "
    INSERT INTO tile (level, number, data)
    VALUES ($1, $2, $3)
        ON CONFLICT (level, number) DO UPDATE SET data = excluded.data";

const PUBLISH: &str = "
    UPDATE log
       SET published = $2, note = $3
     WHERE fence = $1 AND size >= $2 AND (published IS NULL OR published <= $2)";

const BEGIN_EPOCH: &str = "
    UPDATE log
       SET origin = $2, epoch = $3, published = NULL, note = NULL
     WHERE fence = $1 AND epoch < $3";

const KEEP_LINK: &str = "INSERT INTO epoch (number, link) VALUES ($1, $2)";

const LINKS: &str = "SELECT link AS text FROM epoch ORDER BY number";

const TILE: &str = "SELECT data AS bytes FROM tile WHERE level = $1 AND number = $2";

#[derive(FromRow)]
struct LogRow {
    origin: String,
    epoch: i64,
    size: i64,
    root: Vec<u8>,
    published: Option<i64>,
    note: Option<String>,
    fence: i64,
    until: i64,
    waiting: bool,
}

/// A record with its index, where the engine knows it already. No leaf: it waits, and the record was taken away.
#[derive(FromRow)]
struct LeafRow {
    position: Option<i64>,
    id: Uuid,
    leaf: Option<String>,
}

/// The same with what it commits to.
#[derive(FromRow)]
struct KeptRow {
    #[sqlx(flatten)]
    leaf: LeafRow,
    salt: Option<Vec<u8>>,
    clear: Option<String>,
}

impl<D: Db> Batch<'_, D> {
    /// Whether anything changed: a write under another fence changes nothing.
    pub(crate) async fn log(&mut self, write: &LogWrite) -> Result<bool, Failure> {
        let changed = match write {
            LogWrite::Begin(origin) => {
                let args = vec![origin.clone().into(), Arg::from(&EMPTY_HASH.0[..])];
                self.run(BEGIN, args).await?
            }
            LogWrite::Hold(claim) => {
                let replica = claim.replica.0.into();
                let args = vec![replica, claim.seen.into(), claim.until.into(), claim.now.into()];
                self.run(HOLD, args).await?
            }
            LogWrite::Release(fence) => self.run(RELEASE, vec![(*fence).into()]).await?,
            LogWrite::Integrate(fence, grown) => return self.integrate(*fence, grown).await,
            LogWrite::Publish(fence, size, note) => {
                let args = vec![(*fence).into(), number(*size), note.clone().into()];
                self.run(PUBLISH, args).await?
            }
            LogWrite::BeginEpoch(fence, epoch) => {
                let args = vec![(*fence).into(), epoch.origin.clone().into(), number(epoch.number)];
                let changed = self.run(BEGIN_EPOCH, args).await?;
                if changed == 1 {
                    let args = vec![number(epoch.number), epoch.link.clone().into()];
                    self.run(KEEP_LINK, args).await?;
                }
                changed
            }
        };
        Ok(changed == 1)
    }

    async fn integrate(&mut self, fence: i64, grown: &Grown) -> Result<bool, Failure> {
        let size = grown.from + grown.ids.len() as u64;
        let root = Arg::from(&grown.root.0[..]);
        let args = vec![fence.into(), number(grown.from), number(size), root];
        if self.run(GROW, args).await? == 0 {
            return Ok(false);
        }
        if let Some(index) = D::SQL.index_leaves {
            let ids: Vec<String> = grown.ids.iter().map(|id| id.0.simple().to_string()).collect();
            let args = vec![serde_json::to_string(&ids)?.into(), number(grown.from)];
            let indexed = self.run(index, args).await?;
            if indexed != ids.len() as u64 {
                return Err(Failure::Count(ids.len(), "leaf", indexed));
            }
        }
        for tile in &grown.tiles {
            let place = [Arg::Int(tile.level.into()), number(tile.number)];
            let args = place.into_iter().chain([Arg::from(&tile.data[..])]).collect();
            self.run(KEEP_TILE, args).await?;
        }
        Ok(true)
    }
}

/// Sizes and numbers are far below the end of either type.
fn number(number: u64) -> Arg {
    Arg::Int(i64::try_from(number).unwrap_or(i64::MAX))
}

fn inconsistent(what: &str) -> StoreError {
    tracing::error!(what, "the log as it is stored contradicts itself");
    StoreError::Inconsistent
}

impl LogRow {
    fn tree(self) -> Option<Tree> {
        let size = |number: i64| u64::try_from(number).ok();
        Some(Tree {
            origin: self.origin,
            epoch: size(self.epoch)?,
            size: size(self.size)?,
            root: Hash(self.root.try_into().ok()?),
            published: match (self.published, self.note) {
                (None, None) => None,
                (published, note) => Some((size(published?)?, note?)),
            },
            fence: self.fence,
            until: Timestamp::from_microsecond(self.until).ok()?,
            waiting: self.waiting,
        })
    }
}

/// Records in their order, without gaps from that index on.
fn in_order(rows: Vec<LeafRow>, first: u64) -> Result<Vec<LeafRecord>, StoreError> {
    let first = i64::try_from(first).unwrap_or(i64::MAX);
    let mut records = Vec::with_capacity(rows.len());
    for (index, row) in (first..).zip(rows) {
        if row.position.is_some_and(|position| position != index) {
            return Err(inconsistent("a gap between the records: one was taken away"));
        }
        let id = IssuanceId(row.id);
        let Some(leaf) = row.leaf else {
            return Err(inconsistent(&format!(
                "record {id} waits for its index and was taken away"
            )));
        };
        records.push(LeafRecord { id, leaf });
    }
    Ok(records)
}

fn kept(record: LeafRecord, side: (Option<Vec<u8>>, Option<String>)) -> Result<KeptLeaf, StoreError> {
    let side = match side {
        (None, None) => None,
        (Some(salt), Some(clear)) => Some((salt.try_into().map_err(|_| inconsistent("a salt"))?, clear)),
        _ => return Err(inconsistent("half of what a record commits to")),
    };
    Ok(KeptLeaf { record, side })
}

impl<D: Db> Store<D> {
    async fn log_write(&self, write: LogWrite) -> Result<bool, StoreError> {
        match self.write(Write::Log(Box::new(write))).await? {
            Answer::Changed(changed) => Ok(changed),
            _ => Err(StoreError::Inconsistent),
        }
    }
}

impl<D: Db> LogStore for Store<D> {
    fn begin(&self, origin: String) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async move { self.log_write(LogWrite::Begin(origin)).await.map(drop) })
    }

    fn tree(&self) -> BoxFuture<'_, Result<Tree, StoreError>> {
        Box::pin(async move {
            let rows = self.rows::<LogRow>(D::SQL.log.into_sql_str(), Vec::new()).await?;
            let tree = rows.into_iter().next().and_then(LogRow::tree);
            tree.ok_or_else(|| inconsistent("its row"))
        })
    }

    fn hold(&self, mut claim: IntegratorClaim) -> BoxFuture<'_, Result<Option<i64>, StoreError>> {
        // Who had the lease has also had the lock of the file, and is gone.
        if !self.is_shared() {
            claim.now = Timestamp::MAX;
        }
        Box::pin(async move {
            let taken = self.log_write(LogWrite::Hold(claim)).await?;
            Ok(taken.then_some(claim.seen + 1))
        })
    }

    fn release(&self, fence: i64) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async move { self.log_write(LogWrite::Release(fence)).await.map(drop) })
    }

    fn waiting(&self, size: u64, limit: u32) -> BoxFuture<'_, Result<Vec<LeafRecord>, StoreError>> {
        Box::pin(async move {
            let args = vec![number(size), i64::from(limit).into()];
            in_order(self.rows(D::SQL.waiting_leaves.into_sql_str(), args).await?, size)
        })
    }

    fn integrate(&self, fence: i64, grown: Grown) -> BoxFuture<'_, Result<bool, StoreError>> {
        Box::pin(self.log_write(LogWrite::Integrate(fence, grown)))
    }

    fn tiles(&self, keys: Vec<TileKey>) -> BoxFuture<'_, Result<BTreeMap<TileKey, Vec<u8>>, StoreError>> {
        Box::pin(async move {
            let mut tiles = BTreeMap::new();
            for key in keys {
                let args = vec![Arg::Int(key.0.into()), number(key.1)];
                let rows = self.rows::<crate::rows::BytesRow>(TILE.into_sql_str(), args).await?;
                tiles.extend(rows.into_iter().map(|row| (key, row.bytes)));
            }
            Ok(tiles)
        })
    }

    fn publish(&self, fence: i64, size: u64, note: String) -> BoxFuture<'_, Result<bool, StoreError>> {
        Box::pin(self.log_write(LogWrite::Publish(fence, size, note)))
    }

    fn begin_epoch(&self, fence: i64, epoch: Epoch) -> BoxFuture<'_, Result<bool, StoreError>> {
        Box::pin(self.log_write(LogWrite::BeginEpoch(fence, epoch)))
    }

    fn links(&self) -> BoxFuture<'_, Result<Vec<String>, StoreError>> {
        Box::pin(async move {
            let rows = self.rows::<TextRow>(LINKS.into_sql_str(), Vec::new()).await?;
            Ok(rows.into_iter().map(|row| row.text).collect())
        })
    }

    fn index_of(&self, id: IssuanceId) -> BoxFuture<'_, Result<Option<u64>, StoreError>> {
        Box::pin(async move {
            let rows = self
                .rows::<NumberRow>(D::SQL.leaf_index.into_sql_str(), vec![id.0.into()])
                .await?;
            let index = rows.into_iter().next().and_then(|row| row.number);
            index
                .map(|index| u64::try_from(index).map_err(|_| inconsistent("an index")))
                .transpose()
        })
    }

    fn leaves(&self, first: u64, count: u32) -> BoxFuture<'_, Result<Vec<KeptLeaf>, StoreError>> {
        Box::pin(async move {
            let args = vec![number(first), i64::from(count).into()];
            let rows = self.rows::<KeptRow>(D::SQL.leaves.into_sql_str(), args).await?;
            let (leaves, sides): (Vec<_>, Vec<_>) =
                rows.into_iter().map(|row| (row.leaf, (row.salt, row.clear))).unzip();
            let records = in_order(leaves, first)?.into_iter();
            records.zip(sides).map(|(record, side)| kept(record, side)).collect()
        })
    }

    fn appended(&self) -> BoxFuture<'_, ()> {
        Box::pin(self.shared.appended.notified())
    }

    fn is_shared(&self) -> bool {
        self.shared.cache.is_none()
    }
}
