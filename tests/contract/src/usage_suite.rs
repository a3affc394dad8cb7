//! What every store of sums does. Each function is one behaviour; `usage_tests!` makes a test of each.

#![expect(clippy::expect_used, clippy::panic, reason = "the code of tests, kept in a library")]

mod alerts;
mod counting;
mod persons;

use std::{
    sync::{Arc, LazyLock},
    time::Duration,
};

use procura_core::{
    Timestamp,
    ids::ReplicaId,
    ledger::{Conditions, Entry, Event, Outcome},
    ports::BoxFuture,
    usage::{Day, Dimension, Sum, Usage, UsageFilter},
};

pub use alerts::*;
pub use counting::*;
pub use persons::*;

use crate::ledger_suite::{
    LedgerUnderTest,
    sample::{at, entry, name, other, qualified, replica},
};

/// A store with sums for one test.
pub trait UsageUnderTest: LedgerUnderTest {
    /// Its sums.
    fn usage(&self) -> Arc<dyn Usage>;

    /// The sums as another replica has them; the same where there is only one.
    fn usage_replica(&self) -> BoxFuture<'_, Arc<dyn Usage>>;
}

/// Makes a test of every behaviour. `$make` is an async function that answers a [`UsageUnderTest`].
#[macro_export]
macro_rules! usage_tests {
    ($make:path) => {
        $crate::usage_tests! { $make:
            sums_count_what_was_issued_refused_and_reported
            sums_are_selected_by_each_filter
            sums_are_of_days
            a_longest_use_is_measured_from_its_issuance
            what_waits_is_told_and_counted_in_batches
            each_record_is_counted_once_whoever_counts
            a_replica_leaves_the_counting_to_the_one_that_counts
            what_was_counted_stays_after_a_restart
            req_153_an_erased_person_is_in_no_sum
            a_person_with_other_records_stays
            hostile_texts_are_counted_as_they_are
            an_alert_is_kept_once_and_taken_by_one
        }
    };
    ($make:path: $($behaviour:ident)*) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $behaviour() {
                let mut store = $make().await;
                $crate::usage_suite::$behaviour(&mut store).await;
            }
        )*
    };
}

/// An exchange with what the sums read of its leaf.
pub fn exchanged(second: i64, members: &str) -> Entry {
    let mut entry = entry(second);
    entry.leaf = format!(r#"{{"v":1,{members}}}"#);
    entry
}

const MEMBERS: &str = r#""issuer":"corp","groups":["corp/support"],"granted":{"ttl":300},"rules":["support-reads"],"source":"vault:kv/github","signing_key":"ours-1","token_key":"theirs-1""#;

async fn append(store: &impl LedgerUnderTest, entry: Entry) {
    let appended = store.ledger().append(entry, Conditions::default()).await;
    appended.expect("appended");
}

/// Counts until so many records are counted in all. Where other databases of a server have transactions under way, the
/// newest records wait for them.
pub async fn count(usage: &dyn Usage, all: u64) -> u64 {
    static ME: LazyLock<ReplicaId> = LazyLock::new(replica);
    // Later than whatever claims of others are left.
    let (mut counted, now) = (0, at(1_000_000));
    while usage.projected().await.expect("read").records < all {
        counted += next(usage, *ME, now).await;
    }
    counted
}

/// The next batch, when there is one.
async fn next(usage: &dyn Usage, me: ReplicaId, now: Timestamp) -> u64 {
    for _ in 0..4_000 {
        match usage.project(me, now).await.expect("counted") {
            0 => tokio::time::sleep(Duration::from_millis(5)).await,
            some => return some,
        }
    }
    panic!("nothing is counted");
}

async fn sums(usage: &dyn Usage, filter: UsageFilter, by: &[Dimension]) -> Vec<Sum> {
    let mut sums = usage.sums(filter, by.to_vec(), 1000).await.expect("read");
    sums.sort_by(|one, other| one.of.cmp(&other.of));
    sums
}

fn texts(sum: &Sum) -> Vec<&str> {
    sum.of.iter().map(|text| text.as_deref().unwrap_or("-")).collect()
}

/// Each outcome is counted; what is no exchange and no use is not.
pub async fn sums_count_what_was_issued_refused_and_reported(store: &mut impl UsageUnderTest) {
    for second in [0, 10] {
        append(store, exchanged(second, MEMBERS)).await;
    }
    let mut refused = other(Event::Exchange, Outcome::Refused, 20);
    refused.index.tool = Some("no_such_tool".into());
    append(store, refused).await;
    append(store, other(Event::Use, Outcome::Reported, 30)).await;
    append(store, other(Event::SessionEnd, Outcome::Done, 40)).await;
    append(store, other(Event::Revocation, Outcome::Refused, 50)).await;
    let usage = store.usage();
    assert_eq!(count(&*usage, 6).await, 6);
    let all = sums(&*usage, UsageFilter::default(), &[]).await;
    assert_eq!(all.len(), 1);
    assert_eq!((all[0].issued, all[0].refused, all[0].reported), (2, 1, 1));
    assert_eq!((all[0].first, all[0].last), (at(0), at(30)));
    assert_eq!((all[0].until, all[0].granted), (Some(at(310)), Some(300)));
    let tools = sums(&*usage, UsageFilter::default(), &[Dimension::Tool]).await;
    let tools: Vec<_> = tools
        .iter()
        .map(|sum| (texts(sum)[0].to_owned(), sum.refused))
        .collect();
    assert_eq!(
        tools,
        [("-".to_owned(), 1), ("list_issues".to_owned(), 0)],
        "a refused tool may be any"
    );
}

/// Every dimension reads back, and each filter finds its own and nothing else.
pub async fn sums_are_selected_by_each_filter(store: &mut impl UsageUnderTest) {
    append(store, exchanged(0, MEMBERS)).await;
    let mut alien = exchanged(
        1,
        r#""issuer":"partner","source":"file:x","signing_key":"ours-2","token_key":"theirs-2""#,
    );
    alien.index.server = Some(name("wiki"));
    alien.index.target = Some(name("pages"));
    alien.index.source_version = Some("8".into());
    (alien.index.subject, alien.index.actor) = (Some(qualified("partner/eve")), None);
    append(store, alien).await;
    let usage = store.usage();
    count(&*usage, 2).await;
    use Dimension as D;
    let by = [
        D::Server,
        D::Tool,
        D::Target,
        D::Grants,
        D::Issuer,
        D::Source,
        D::SourceVersion,
        D::SigningKey,
        D::TokenKey,
        D::Rules,
        D::Groups,
        D::Subject,
        D::Actor,
    ];
    let filters: [(&str, UsageFilter); 10] = [
        (
            "server",
            UsageFilter {
                server: Some(name("tickets")),
                ..UsageFilter::default()
            },
        ),
        (
            "target",
            UsageFilter {
                target: Some(name("github")),
                ..UsageFilter::default()
            },
        ),
        (
            "targets",
            UsageFilter {
                targets: Some(vec![name("github"), name("db")]),
                ..UsageFilter::default()
            },
        ),
        (
            "issuer",
            UsageFilter {
                issuer: Some(name("corp")),
                ..UsageFilter::default()
            },
        ),
        (
            "source",
            UsageFilter {
                source: Some("vault:kv/github".into()),
                ..UsageFilter::default()
            },
        ),
        (
            "source_version",
            UsageFilter {
                source_version: Some("7".into()),
                ..UsageFilter::default()
            },
        ),
        (
            "signing_key",
            UsageFilter {
                signing_key: Some("ours-1".into()),
                ..UsageFilter::default()
            },
        ),
        (
            "token_key",
            UsageFilter {
                token_key: Some("theirs-1".into()),
                ..UsageFilter::default()
            },
        ),
        (
            "subject",
            UsageFilter {
                subject: Some(qualified("corp/alice")),
                ..UsageFilter::default()
            },
        ),
        (
            "actor",
            UsageFilter {
                actor: Some(qualified("corp/triage-bot")),
                ..UsageFilter::default()
            },
        ),
    ];
    for (what, filter) in filters {
        let found = sums(&*usage, filter, &by).await;
        assert_eq!(found.len(), 1, "{what}");
        let read_back = [
            "tickets",
            "list_issues",
            "github",
            r#"["read-issues","read-code"]"#,
            "corp",
            "vault:kv/github",
            "7",
            "ours-1",
            "theirs-1",
            r#"["support-reads"]"#,
            r#"["corp/support"]"#,
            "corp/alice",
            "corp/triage-bot",
        ];
        assert_eq!(texts(&found[0]), read_back, "{what}");
    }
    for nobody in [
        UsageFilter {
            targets: Some(Vec::new()),
            ..UsageFilter::default()
        },
        UsageFilter {
            subject: Some(qualified("corp/nobody")),
            ..UsageFilter::default()
        },
        UsageFilter {
            signing_key: Some("theirs-1".into()),
            ..UsageFilter::default()
        },
    ] {
        assert!(sums(&*usage, nobody, &by).await.is_empty());
    }
}

/// Days are UTC days; the last used comes first, and no more than the limit.
pub async fn sums_are_of_days(store: &mut impl UsageUnderTest) {
    let day = 24 * 60 * 60;
    for second in [0, 1, day, 3 * day] {
        append(store, exchanged(second, MEMBERS)).await;
    }
    let usage = store.usage();
    count(&*usage, 4).await;
    let today = Day::of(at(0));
    let filter = UsageFilter {
        since: Some(today),
        until: Some(Day(today.0 + 3)),
        ..UsageFilter::default()
    };
    let found = usage.sums(filter, vec![Dimension::Day], 9).await.expect("read");
    let days: Vec<_> = found
        .iter()
        .map(|sum| (texts(sum)[0].parse().ok().map(Day), sum.issued))
        .collect();
    assert_eq!(days, [(Some(Day(today.0 + 1)), 1), (Some(today), 2)]);
    let newest = usage
        .sums(UsageFilter::default(), vec![Dimension::Day], 1)
        .await
        .expect("read");
    assert_eq!((newest.len(), newest[0].last), (1, at(3 * day)));
    append(store, other(Event::Exchange, Outcome::Refused, 4 * day)).await;
    count(&*usage, 5).await;
    let all = &sums(&*usage, UsageFilter::default(), &[]).await[0];
    assert_eq!(
        (all.last, all.used_on),
        (at(4 * day), Some(Day(today.0 + 3))),
        "a refusal is no use"
    );
}

/// The end of a use, but not later than its report; and credentials that were served again.
pub async fn a_longest_use_is_measured_from_its_issuance(store: &mut impl UsageUnderTest) {
    let issued = exchanged(0, MEMBERS);
    let id = issued.id;
    append(store, issued).await;
    let used = |second: i64, started: i64, millis: u64| {
        let mut used = other(Event::Use, Outcome::Reported, second);
        used.leaf = format!(
            r#"{{"v":1,"used":{{"started":"{}","duration_ms":{millis},"outcome":"ok"}}}}"#,
            at(started)
        );
        used.index.about = Some(id);
        used
    };
    let usage = store.usage();
    let longest = async || sums(&*usage, UsageFilter::default(), &[]).await[0].used;
    append(store, used(100, 40, 2_500)).await;
    count(&*usage, 2).await;
    assert_eq!(longest().await, Some(42));
    append(store, used(110, 10_000, 1)).await;
    count(&*usage, 3).await;
    assert_eq!(longest().await, Some(110), "nothing is used after its report");
    let mut again = exchanged(150, MEMBERS);
    again.index.about = Some(id);
    append(store, again).await;
    count(&*usage, 4).await;
    assert_eq!(longest().await, Some(150));
}
