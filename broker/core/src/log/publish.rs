//! From a durable tree to a published checkpoint.

use fail::fail_point;

use super::{
    EMPTY_HASH, Head, Log, Problem, Statement, Tiles, Tree,
    ports::{AnchorError, Anchored, NotaryError},
    state::Contradiction,
};

impl Log {
    /// Publishes the tree as it is; `false` where somebody else was quicker, with the anchor or with the lease.
    pub(super) async fn publish(&self, fence: i64) -> Result<bool, Problem> {
        let before = self.store.tree().await?;
        let anchored = self.anchor.last().await?;
        let tree = self.store.tree().await?;
        let last = self.read(&anchored)?;
        self.extends((&before, &tree), last.as_ref()).await?;
        fail_point!("log-compared");
        let there = match (&last, &anchored.note) {
            // It was anchored, and whoever did so died before the store knew.
            (Some(Statement::Checkpoint(head)), Some(note)) if head.size == tree.size => Some(note.clone()),
            _ => None,
        };
        let note = match there {
            Some(note) => note,
            None => {
                let note = self.notary.sign(&tree.origin, &tree.head().text())?;
                fail_point!("log-signed");
                match self.anchor.append(anchored.position, note.clone()).await {
                    Ok(()) => note,
                    Err(AnchorError::Taken) => return Ok(false),
                    Err(error) => return Err(error.into()),
                }
            }
        };
        fail_point!("log-anchored");
        let kept = self.store.publish(fence, tree.size, note).await?;
        fail_point!("log-published");
        Ok(kept)
    }

    /// What the last note says, if it is ours.
    pub(super) fn read(&self, anchored: &Anchored) -> Result<Option<Statement>, Problem> {
        let Some(note) = &anchored.note else { return Ok(None) };
        let claimed = Statement::parse_unverified(note).map_err(|_| NotaryError::Foreign)?;
        let text = self.notary.open(&claimed.head().origin, note)?;
        match Statement::parse(&text) {
            Ok(statement) if statement == claimed => Ok(Some(statement)),
            _ => Err(Problem::Foreign),
        }
    }

    /// Whether the stored tree extends what was anchored and published. Others publish meanwhile: what was published
    /// before the anchor was read must stand there, and what stands there must be in the tree as it was afterwards.
    pub(super) async fn extends(
        &self,
        (before, tree): (&Tree, &Tree),
        last: Option<&Statement>,
    ) -> Result<(), Problem> {
        let published = before.published.as_ref().filter(|_| before.epoch == tree.epoch);
        let published = published.map(|(size, _)| *size);
        let Some(head) = last.map(Statement::head) else {
            return match (published, before.epoch) {
                (None, 1) => Ok(()),
                _ => Err(Contradiction::AnchorEmptied.into()),
            };
        };
        if head.origin != tree.origin {
            return Err(Contradiction::OtherEpoch.into());
        }
        if published.is_some_and(|size| size > head.size) {
            return Err(Contradiction::AnchorBehind.into());
        }
        self.continues(tree, head).await
    }

    /// Whether the stored tree begins with the leaves of that head, proved and verified.
    pub(super) async fn continues(&self, tree: &Tree, head: &Head) -> Result<(), Problem> {
        if head.size > tree.size {
            return Err(Contradiction::StoreBehind.into());
        }
        if head.size == 0 {
            let empty = head.root == EMPTY_HASH;
            return if empty { Ok(()) } else { Err(Problem::Foreign) };
        }
        let tiles = self.store.tiles(Tiles::of_consistency(tree.size, head.size)?).await?;
        let proof = Tiles::new(tiles).consistency((tree.size, tree.root), (head.size, head.root));
        proof.map_err(|_| Contradiction::StoreBeside)?;
        Ok(())
    }
}

impl Tree {
    /// Its head.
    pub fn head(&self) -> Head {
        Head {
            origin: self.origin.clone(),
            size: self.size,
            root: self.root,
        }
    }
}
