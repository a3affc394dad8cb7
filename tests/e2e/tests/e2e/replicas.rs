//! Two replicas on one PostgreSQL store. One stops in the middle of a mint for longer than its deadline and
//! the margin, and goes on when the other has swept its work.

use std::time::Duration;

use procura_e2e::{
    Fault, Testbed,
    broker::Signal,
    harness::Outcome,
    serve::{MINT_BUDGET, Replica, Site, Store},
};

use crate::{crash::together, witness::Witness};

/// Where it stops, each with how often the place is passed before.
const POINTS: [(&str, u32); 11] = [
    ("after-intent", 2),
    ("postgres-before-commit", 2),
    ("postgres-after-commit", 2),
    ("after-mint", 2),
    ("before-record", 2),
    ("after-record", 2),
    ("store-before-commit", 12),
    ("store-before-commit", 13),
    ("store-before-commit", 14),
    ("store-before-commit", 15),
    ("store-after-commit", 12),
];
/// The margin of the sweep and a little.
const STOPPED: Duration = MINT_BUDGET.saturating_add(Duration::from_secs(7));
const LOOK: Duration = Duration::from_millis(50);

pub(crate) async fn one_stopped_in_a_mint_leaves_nothing_and_undoes_nothing_that_lives(testbed: &Testbed) -> Outcome {
    together(&POINTS, async |point, nth| stopped(testbed, point, nth, false).await).await
}

pub(crate) async fn one_stopped_in_a_mint_while_the_session_ends_at_the_other_leaves_nothing(
    testbed: &Testbed,
) -> Outcome {
    together(&POINTS, async |point, nth| stopped(testbed, point, nth, true).await).await
}

async fn stopped(testbed: &Testbed, point: &str, nth: u32, ends: bool) -> Outcome {
    let postgres = testbed.postgres().await?;
    let site = Site::new(
        testbed,
        postgres.target().await?,
        &Store::Postgres(postgres.empty().await?),
    )
    .await?;
    let first = site.start_armed(&format!("{point}=stop@{nth}")).await?;
    let second = site.start().await?;
    let (mut theirs, mut mine) = (Witness::default(), Witness::default());
    theirs.keep(second.exchange("bob").await?)?;
    mine.keep(first.exchange("alice").await?)?;
    let asks = until_stopped(&first);
    let meanwhile = async {
        while !first.reached() {
            tokio::time::sleep(LOOK).await;
        }
        theirs.keep(second.exchange("bob").await?)?;
        if ends {
            mine.end(&second).await?;
        }
        tokio::time::sleep(STOPPED).await;
        theirs.check(&site, &second).await?;
        first.signal(Signal::CONT)
    };
    let (answers, went) = futures_util::join!(asks, meanwhile);
    went?;
    for reply in answers? {
        // Refused is well; what was answered must be in the log, and live unless its session was ended.
        if reply.status == 200 {
            mine.keep(reply)?;
        }
    }
    for replica in [&first, &second] {
        mine.check(&site, replica).await?;
        theirs.check(&site, replica).await?;
    }
    theirs.keep(first.exchange("bob").await?)?;
    theirs.check(&site, &second).await
}

/// Asks again and again; the request that meets the failpoint is answered when the broker goes on.
async fn until_stopped(replica: &Replica<'_>) -> Result<Vec<procura_e2e::http::Reply>, Fault> {
    let mut replies = Vec::new();
    while !replica.reached() && replies.len() < 6 {
        replies.push(replica.exchange("alice").await?);
    }
    Ok(replies)
}
