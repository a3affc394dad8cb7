//! What every store of sums does. Each function is one behaviour; `usage_tests!` makes a test of each.

#![expect(clippy::expect_used, clippy::panic, reason = "the code of tests, kept in a library")]

use std::{
    sync::{Arc, LazyLock},
    time::Duration,
};

use procura_core::{
    Timestamp,
    ids::ReplicaId,
    ledger::{Conditions, Entry, Event, Outcome},
    ports::BoxFuture,
    usage::{Alert, Day, Dimension, Sum, Usage, UsageFilter},
};
use procura_wire::Digest;

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

/// A position is told with what was counted.
pub async fn what_waits_is_told_and_counted_in_batches(store: &mut impl UsageUnderTest) {
    let usage = store.usage();
    let empty = usage.projected().await.expect("read");
    assert_eq!((empty.records, empty.record, empty.behind), (0, None, false));
    for second in 0..700 {
        append(store, exchanged(second, MEMBERS)).await;
    }
    let me = replica();
    let first = next(&*usage, me, at(0)).await;
    assert!((1..700).contains(&first), "{first}");
    let half = usage.projected().await.expect("read");
    assert_eq!(half.records, first);
    while !usage.projected().await.expect("read").behind {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(count(&*usage, 700).await, 700 - first);
    assert_eq!(usage.project(me, at(2_000_000)).await, Ok(0));
    let all = usage.projected().await.expect("read");
    assert_eq!((all.records, all.behind, all.at), (700, false, Some(at(699))));
    assert_eq!(sums(&*usage, UsageFilter::default(), &[]).await[0].issued, 700);
}

/// Two that count at once, and whoever appends meanwhile: nothing is lost, nothing counted twice.
pub async fn each_record_is_counted_once_whoever_counts(store: &mut impl UsageUnderTest) {
    let (one, two) = (store.usage(), store.usage_replica().await);
    let (mine, theirs) = (replica(), replica());
    // Claims are over at once for both.
    let counting = async |usage: &dyn Usage, me: ReplicaId| {
        for round in 0..400 {
            usage.project(me, at(1_000 * round)).await.expect("counted");
            tokio::task::yield_now().await;
        }
    };
    let appending = async {
        for second in 0..200 {
            append(store, exchanged(second, MEMBERS)).await;
        }
    };
    futures_util::future::join3(counting(&*one, mine), counting(&*two, theirs), appending).await;
    count(&*one, 200).await;
    assert_eq!(sums(&*two, UsageFilter::default(), &[]).await[0].issued, 200);
    assert_eq!(one.projected().await.expect("read").records, 200);
}

/// The other one does no work while the first is at it, and takes over when it is silent.
pub async fn a_replica_leaves_the_counting_to_the_one_that_counts(store: &mut impl UsageUnderTest) {
    let usage = store.usage();
    let (one, other) = (replica(), replica());
    append(store, exchanged(0, MEMBERS)).await;
    assert_eq!(next(&*usage, one, at(0)).await, 1);
    append(store, exchanged(1, MEMBERS)).await;
    assert_eq!(usage.project(other, at(1)).await, Ok(0));
    assert_eq!(next(&*usage, other, at(60)).await, 1);
    append(store, exchanged(2, MEMBERS)).await;
    assert_eq!(usage.project(one, at(61)).await, Ok(0));
}

/// A process that ends between two batches loses nothing and counts nothing again.
pub async fn what_was_counted_stays_after_a_restart(store: &mut impl UsageUnderTest) {
    for second in 0..600 {
        append(store, exchanged(second, MEMBERS)).await;
    }
    let first = next(&*store.usage(), replica(), at(0)).await;
    assert!(first < 600);
    store.reopen().await;
    assert_eq!(count(&*store.usage(), 600).await, 600 - first);
    assert_eq!(sums(&*store.usage(), UsageFilter::default(), &[]).await[0].issued, 600);
}

/// The counts stay; the name is gone at once, also where it was not counted yet, and nobody inherits its number.
pub async fn req_153_an_erased_person_is_in_no_sum(store: &mut impl UsageUnderTest) {
    let (before, after) = (exchanged(0, MEMBERS), exchanged(1, MEMBERS));
    let (first, second) = (before.id, after.id);
    append(store, before).await;
    let usage = store.usage();
    count(&*usage, 1).await;
    append(store, after).await;
    store.erase(first).await;
    store.erase(second).await;
    count(&*usage, 2).await;
    let mut bob = exchanged(2, MEMBERS);
    (bob.index.subject, bob.index.actor) = (Some(qualified("corp/bob")), None);
    append(store, bob).await;
    count(&*usage, 3).await;
    let by = [Dimension::Subject, Dimension::Actor];
    let found = sums(&*usage, UsageFilter::default(), &by).await;
    let counted: Vec<_> = found.iter().map(|sum| (texts(sum), sum.issued)).collect();
    assert_eq!(counted, [(vec!["-", "-"], 2), (vec!["corp/bob", "-"], 1)]);
    for gone in [
        UsageFilter {
            subject: Some(qualified("corp/alice")),
            ..UsageFilter::default()
        },
        UsageFilter {
            actor: Some(qualified("corp/triage-bot")),
            ..UsageFilter::default()
        },
    ] {
        assert!(sums(&*usage, gone, &by).await.is_empty());
    }
}

/// Personal data of one record is erased; other records still name the person.
pub async fn a_person_with_other_records_stays(store: &mut impl UsageUnderTest) {
    let one = exchanged(0, MEMBERS);
    let id = one.id;
    append(store, one).await;
    append(store, exchanged(1, MEMBERS)).await;
    let usage = store.usage();
    count(&*usage, 2).await;
    store.erase(id).await;
    let filter = UsageFilter {
        subject: Some(qualified("corp/alice")),
        ..UsageFilter::default()
    };
    assert_eq!(sums(&*usage, filter, &[Dimension::Subject]).await[0].issued, 2);
}

/// Nothing of them is a statement, a list or another text.
pub async fn hostile_texts_are_counted_as_they_are(store: &mut impl UsageUnderTest) {
    let hostile = "corp/o'\"];--\\\u{1b}[2J\u{202e}\n=1+1";
    let mut entry = exchanged(0, r#""rules":["a\",\"b"],"groups":["corp/'x'"],"token_key":"k'\"\\\\""#);
    entry.index.subject = Some(qualified(hostile));
    entry.index.tool = Some("'); DROP TABLE usage; --".into());
    append(store, entry).await;
    let usage = store.usage();
    count(&*usage, 1).await;
    let filter = UsageFilter {
        subject: Some(qualified(hostile)),
        ..UsageFilter::default()
    };
    use Dimension as D;
    let found = sums(
        &*usage,
        filter,
        &[D::Subject, D::Tool, D::Rules, D::Groups, D::TokenKey],
    )
    .await;
    let wanted = [
        hostile,
        "'); DROP TABLE usage; --",
        r#"["a\",\"b"]"#,
        r#"["corp/'x'"]"#,
        "k'\"\\\\",
    ];
    assert_eq!(texts(&found[0]), wanted);
}

/// At least once, one at a time, and its body is gone when it is settled.
pub async fn an_alert_is_kept_once_and_taken_by_one(store: &mut impl UsageUnderTest) {
    let (usage, other) = (store.usage(), store.usage_replica().await);
    let alert = |what: &str| Alert {
        key: Digest::of(what.as_bytes()),
        found: at(0),
        body: format!(r#"{{"finding":"{what}"}}"#),
        attempts: 0,
    };
    assert_eq!(usage.alert(vec![alert("a"), alert("b")]).await, Ok(2));
    assert_eq!(other.alert(vec![alert("b"), alert("c")]).await, Ok(1));
    assert_eq!(usage.take_alerts(at(-1), at(9), 9).await, Ok(Vec::new()), "not yet");
    let mine = usage.take_alerts(at(1), at(60), 2).await.expect("taken");
    let theirs = other.take_alerts(at(1), at(60), 9).await.expect("taken");
    assert_eq!((mine.len(), theirs.len()), (2, 1));
    assert!(
        mine.iter()
            .all(|alert| alert.attempts == 1 && alert.body.contains("finding"))
    );
    usage.settle_alert(mine[0].key).await.expect("settled");
    let again = usage.take_alerts(at(60), at(120), 9).await.expect("taken");
    assert_eq!(again.len(), 2);
    assert!(
        again
            .iter()
            .all(|alert| alert.attempts == 2 && alert.key != mine[0].key)
    );
    assert_eq!(
        usage
            .alert(vec![Alert {
                key: mine[0].key,
                ..alert("a")
            }])
            .await,
        Ok(0),
        "told once"
    );
}
