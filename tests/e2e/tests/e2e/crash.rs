//! Killed, held up or stopped at every step between intent and reply, and in undoing: whatever was
//! interrupted is gone afterwards, and what was answered is in the log.

use std::{path::Path, process::Command, sync::Arc, time::Duration};

use futures_util::{StreamExt, TryStreamExt, stream};
use procura_e2e::{
    Fault, Testbed,
    external::{Aws, External, Github, Oauth, Vault},
    harness::Outcome,
    serve::{DATABASE, Site, Store},
};

use crate::witness::{Witness, settled};

/// Places where a request or an undo can be, each with how often it is passed before, so that something was
/// answered. The store's are passed by every commit: session, intent, record, undo.
pub(crate) const POINTS: [(&str, u32); 15] = [
    ("after-intent", 2),
    ("postgres-before-commit", 2),
    ("postgres-after-commit", 2),
    ("after-mint", 2),
    ("before-record", 2),
    ("after-record", 2),
    ("postgres-undo-half", 1),
    ("store-before-commit", 6),
    ("store-before-commit", 7),
    ("store-before-commit", 8),
    ("store-before-commit", 9),
    ("store-after-commit", 6),
    ("store-after-commit", 7),
    ("store-after-commit", 8),
    ("store-after-commit", 9),
];
/// Kinds of targets whose brokers crash.
pub(crate) const KINDS: [&str; 5] = ["postgres", "vault", "github-app", "aws", "oauth"];
/// Brokers at the same time.
const AT_ONCE: usize = 8;
const LOOK: Duration = Duration::from_millis(50);

pub(crate) async fn kill_9_at_every_step_leaves_nothing_behind_on_sqlite(testbed: &Testbed) -> Outcome {
    together(&POINTS, async |point, nth| {
        killed(testbed, &Store::Sqlite, "postgres", (point, nth)).await
    })
    .await
}

pub(crate) async fn kill_9_at_every_step_leaves_nothing_behind_on_postgres(testbed: &Testbed) -> Outcome {
    let postgres = testbed.postgres().await?;
    together(&POINTS, async |point, nth| {
        let store = Store::Postgres(postgres.empty().await?);
        killed(testbed, &store, "postgres", (point, nth)).await
    })
    .await
}

pub(crate) async fn kill_9_at_every_step_leaves_nothing_behind_at_vault(testbed: &Testbed) -> Outcome {
    killed_everywhere(testbed, "vault").await
}

pub(crate) async fn kill_9_at_every_step_leaves_nothing_unknown_at_github(testbed: &Testbed) -> Outcome {
    killed_everywhere(testbed, "github-app").await
}

pub(crate) async fn kill_9_at_every_step_leaves_nothing_unknown_at_aws(testbed: &Testbed) -> Outcome {
    killed_everywhere(testbed, "aws").await
}

pub(crate) async fn kill_9_at_every_step_leaves_nothing_unknown_at_an_oauth_upstream(testbed: &Testbed) -> Outcome {
    killed_everywhere(testbed, "oauth").await
}

async fn killed_everywhere(testbed: &Testbed, kind: &str) -> Outcome {
    together(&points_of(kind), async |point, nth| {
        killed(testbed, &Store::Sqlite, kind, (point, nth)).await
    })
    .await
}

/// The places that a broker passes with a target of that kind.
pub(crate) fn points_of(kind: &str) -> Vec<(&'static str, u32)> {
    let passes = |(point, _): &(&str, u32)| kind == "postgres" || !point.starts_with("postgres-");
    POINTS.into_iter().filter(passes).collect()
}

/// A site with a target of that kind, and where it is unless it is the database.
pub(crate) async fn site_of<'a>(
    testbed: &'a Testbed,
    store: &Store,
    kind: &str,
) -> Result<(Site<'a>, Option<Arc<External>>), Fault> {
    let site = Site::new(testbed, testbed.postgres().await?.target().await?, store).await?;
    let external = match kind {
        "vault" => External::Vault(Vault::fake().await?),
        "github-app" => External::Github(Github::start()?),
        "aws" => External::Aws(Aws::start(false).await?),
        "oauth" => External::Oauth(Oauth::start(testbed).await?),
        _ => return Ok((site, None)),
    };
    site.add(&external)?;
    Ok((site, Some(Arc::new(external))))
}

pub(crate) async fn the_end_of_a_session_reaches_a_request_at_every_step_on_sqlite(testbed: &Testbed) -> Outcome {
    together(&POINTS, async |point, nth| {
        ended(testbed, &Store::Sqlite, point, nth).await
    })
    .await
}

pub(crate) async fn the_end_of_a_session_reaches_a_request_at_every_step_on_postgres(testbed: &Testbed) -> Outcome {
    let postgres = testbed.postgres().await?;
    together(&POINTS, async |point, nth| {
        ended(testbed, &Store::Postgres(postgres.empty().await?), point, nth).await
    })
    .await
}

pub(crate) async fn what_is_shipped_has_no_failpoints(testbed: &Testbed) -> Outcome {
    let names = POINTS
        .iter()
        .map(|(name, _)| *name)
        .chain(crate::log_crash::POINTS)
        .chain(["store-fsync", "store-short-queue", "source-short-last-good"])
        .chain(["PROCURA_FAILPOINT"]);
    for name in names {
        assert!(
            has(testbed.failpoints()?, name)?,
            "{name} is not in the build with failpoints"
        );
        assert!(!has(testbed.broker(), name)?, "{name} is in the build that is shipped");
    }
    Ok(())
}

fn has(program: &Path, name: &str) -> Result<bool, Fault> {
    let mut grep = Command::new("grep");
    grep.args(["--quiet", "--text", "--fixed-strings", "--regexp", name])
        .arg(program);
    match grep.status()?.code() {
        Some(0) => Ok(true),
        Some(1) => Ok(false),
        code => Err(format!("grep ended with {code:?}").into()),
    }
}

/// Runs one case for each point, several at a time; every failure is told.
pub(crate) async fn together(points: &[(&str, u32)], case: impl AsyncFn(&str, u32) -> Outcome) -> Outcome {
    let case = &case;
    let named = points.iter().map(|&(point, nth)| async move {
        let outcome = case(point, nth).await;
        Ok::<_, Fault>(outcome.err().map(|fault| format!("{point}@{nth}: {fault}")))
    });
    let failed: Vec<_> = stream::iter(named).buffer_unordered(AT_ONCE).try_collect().await?;
    let failed: Vec<String> = failed.into_iter().flatten().collect();
    match failed.is_empty() {
        true => Ok(()),
        false => Err(failed.join("\n").into()),
    }
}

async fn killed(testbed: &Testbed, store: &Store, kind: &str, (point, nth): (&str, u32)) -> Outcome {
    let (site, external) = site_of(testbed, store, kind).await?;
    let mut witness = Witness::at(external);
    let mut broker = site.start_armed(&format!("{point}=kill@{nth}")).await?;
    if !witness.until_dead(&mut broker, 1).await? {
        return Err("never reached".into());
    }
    assert_eq!(
        std::os::unix::process::ExitStatusExt::signal(&broker.ended().await?),
        Some(9)
    );
    let broker = site.start().await?;
    witness.check(&site, &broker).await
}

/// Exchanges until one hangs there, and ends the session meanwhile.
async fn ended(testbed: &Testbed, store: &Store, point: &str, nth: u32) -> Outcome {
    // It must be a request of a session that is known, not one that opens it.
    let nth = if point.starts_with("store") { nth + 4 } else { nth };
    let site = Site::new(testbed, testbed.postgres().await?.target().await?, store).await?;
    let mut witness = Witness::default();
    let broker = site.start_armed(&format!("{point}=hang@{nth}")).await?;
    // One token for all: those made after the end would open a session of their own.
    let token = site.user("alice")?;
    let (target, grant) = DATABASE;
    witness.keep(broker.exchange_with(&token, target, grant).await?)?;
    let session = witness.session().unwrap_or_default().to_owned();
    let ends = async || broker.end_session(&session).await?.expect_status(200).map(drop);
    let undoing = point == "postgres-undo-half";
    let hangs = async {
        while !broker.reached() {
            tokio::time::sleep(LOOK).await;
        }
        if undoing { Ok(()) } else { ends().await }
    };
    let asks = async {
        if undoing {
            return ends().await;
        }
        // The one that hangs is answered or refused, those after the end are refused.
        for _ in 0..6 {
            broker.exchange_with(&token, target, grant).await?;
        }
        Ok(())
    };
    let within = tokio::time::timeout(Duration::from_secs(60), async { futures_util::try_join!(hangs, asks) });
    within
        .await
        .map_err(|_| format!("never reached\n{}", broker.stderr()))??;
    let leases = settled(&broker).await?;
    let installation = leases[0]["handle"]
        .as_str()
        .and_then(|handle| handle.get(1..9))
        .unwrap_or_default();
    let roles = site.database.roles(installation).await?;
    if roles.is_empty() {
        Ok(())
    } else {
        Err(format!("left after the session's end: {roles:?}").into())
    }
}
