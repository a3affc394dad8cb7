//! Names: erased ones and hostile ones.

use procura_core::usage::{Dimension, UsageFilter};

use super::{MEMBERS, UsageUnderTest, append, count, exchanged, sums, texts};
use crate::ledger_suite::sample::qualified;

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
