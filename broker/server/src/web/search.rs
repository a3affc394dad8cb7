//! Records that a reader may see.

use std::cmp::Reverse;

use procura_core::ledger::{Filter, Ledger, Page, StoreError, Stored};

use super::guard::Reader;

/// Targets that are looked through for somebody who may not read all.
pub(super) const MAX_TARGETS: usize = 40;

/// Whether so few targets are looked through that the newest of all can be shown.
pub(super) fn is_bounded(reader: &Reader, filter: &Filter) -> bool {
    let narrow = filter.target.is_some() || filter.session.is_some() || filter.about.is_some();
    narrow || reader.targets().is_none_or(|targets| targets.len() <= MAX_TARGETS)
}

/// Records that pass the filter, newest first. Those of targets that the reader may not read are not there.
pub(super) async fn records(
    ledger: &dyn Ledger,
    reader: &Reader,
    filter: Filter,
    page: Page,
) -> Result<Vec<Stored>, StoreError> {
    let Some(targets) = reader.targets() else {
        return ledger.records(filter, page).await;
    };
    // Each target's newest by its own index; together they hold the newest of all.
    let wanted = targets
        .iter()
        .filter(|target| filter.target.as_ref().is_none_or(|only| only == *target));
    let mut found = Vec::new();
    for target in wanted {
        let filter = Filter {
            target: Some(target.clone()),
            ..filter.clone()
        };
        found.extend(ledger.records(filter, page).await?);
    }
    found.sort_by_key(|record| Reverse(record.id));
    found.truncate(usize::try_from(page.limit).unwrap_or(usize::MAX));
    Ok(found)
}
