//! Reading back: filters, pages, erased rows.

use futures_util::future::join_all;
use procura_core::{
    identity::Principal,
    ids::IssuanceId,
    ledger::{
        Conditions, EndedBy, Entry, Event, Filter, LeaseFilter, LeaseState, Ledger, Outcome, Page, Session,
        SessionFilter, Undone,
    },
};
use procura_wire::Digest;

use super::{LedgerUnderTest, sample::*};

async fn append(ledger: &dyn Ledger, entry: &Entry) {
    ledger
        .append(entry.clone(), Conditions::default())
        .await
        .expect("appended");
}

async fn ids(ledger: &dyn Ledger, filter: Filter, page: Page) -> Vec<IssuanceId> {
    let records = ledger.records(filter, page).await.expect("read");
    records.into_iter().map(|record| record.id).collect()
}

/// One that passes, one that does not, for each filter and for all together.
pub async fn records_are_found_by_each_filter(store: &mut impl LedgerUnderTest) {
    let ledger = store.ledger();
    let session = opened(&*ledger, session(0)).await;
    let mut plain = other(Event::Use, Outcome::Reported, 5);
    plain.index.grants = vec![name("read")];
    (plain.index.server, plain.index.target, plain.index.tool) = (Some(name("mail")), None, Some("t".to_owned()));
    (plain.index.subject, plain.index.actor) = (Some(qualified("corp/bob")), None);
    append(&*ledger, &plain).await;
    let mut wanted = issued(&session, 10);
    wanted.index.about = Some(plain.id);
    append(&*ledger, &wanted).await;

    let tweaks: [fn(&mut Filter, &Entry); 12] = [
        |f, _| f.event = Some(Event::Exchange),
        |f, _| f.outcome = Some(Outcome::Issued),
        |f, _| f.subject = Some(qualified("corp/alice")),
        |f, _| f.actor = Some(qualified("corp/triage-bot")),
        |f, _| f.server = Some(name("tickets")),
        |f, _| f.tool = Some("list_issues".to_owned()),
        |f, _| f.target = Some(name("github")),
        |f, _| f.grant = Some(name("read-code")),
        |f, e| f.session = e.index.session,
        |f, e| f.about = e.index.about,
        |f, _| f.since = Some(at(10)),
        |f, _| f.until = Some(at(11)),
    ];
    let mut all = Filter::default();
    for (n, tweak) in tweaks.iter().enumerate() {
        let mut filter = Filter::default();
        tweak(&mut filter, &wanted);
        tweak(&mut all, &wanted);
        if n == 11 {
            filter.since = Some(at(6));
        }
        assert_eq!(ids(&*ledger, filter, ALL).await, [wanted.id], "filter {n}");
    }
    assert_eq!(ids(&*ledger, all, ALL).await, [wanted.id]);
    let until = Filter {
        until: Some(at(10)),
        ..Filter::default()
    };
    assert_eq!(ids(&*ledger, until, ALL).await, [plain.id], "before, not at");
    let part = Filter {
        grant: Some(name("read-c")),
        ..Filter::default()
    };
    assert_eq!(ids(&*ledger, part, ALL).await, [], "a part of a name is not the name");
}

/// Every record once, over page borders.
pub async fn records_come_newest_first_in_pages(store: &mut impl LedgerUnderTest) {
    let ledger = store.ledger();
    let entries: Vec<Entry> = (1..=25).map(entry).collect();
    join_all(entries.iter().map(|entry| append(&*ledger, entry))).await;
    let expected: Vec<IssuanceId> = entries.iter().rev().map(|entry| entry.id).collect();
    for filter in [
        Filter::default(),
        Filter {
            subject: Some(qualified("corp/alice")),
            ..Filter::default()
        },
        Filter {
            server: Some(name("tickets")),
            ..Filter::default()
        },
    ] {
        let mut seen = Vec::new();
        loop {
            let page = Page {
                before: seen.last().copied(),
                limit: 10,
            };
            let next = ids(&*ledger, filter.clone(), page).await;
            if next.is_empty() {
                break;
            }
            seen.extend(next);
        }
        assert_eq!(seen, expected, "{filter:?}");
    }
}

/// Uses and refusals are not what a value is looked up for.
pub async fn an_issued_record_is_found_by_its_value(store: &mut impl LedgerUnderTest) {
    let ledger = store.ledger();
    let entry = entry(1);
    append(&*ledger, &entry).await;
    let mut refused = other(Event::Exchange, Outcome::Refused, 2);
    refused.index.value = Some(Digest::of(b"refused"));
    append(&*ledger, &refused).await;
    let value = entry.index.value.expect("value");
    let found = ledger.record_by_value(value).await.expect("read").expect("there");
    assert_eq!((found.id, found.index.value), (entry.id, Some(value)));
    assert!(
        ledger
            .record_by_value(Digest::of(b"refused"))
            .await
            .expect("read")
            .is_none()
    );
    assert!(
        ledger
            .record_by_value(Digest::of(b"nothing"))
            .await
            .expect("read")
            .is_none()
    );
}

/// The leaf stays; the person is gone from the columns too.
pub async fn an_erased_record_has_no_side(store: &mut impl LedgerUnderTest) {
    let ledger = store.ledger();
    let entry = entry(1);
    append(&*ledger, &entry).await;
    store.erase(entry.id).await;
    let stored = ledger.record(entry.id).await.expect("read").expect("there");
    assert_eq!(stored.leaf.get(), entry.leaf);
    assert!(stored.side.is_none());
    assert_eq!((stored.index.subject, stored.index.actor), (None, None));
    assert_eq!(ids(&*ledger, Filter::default(), ALL).await, [entry.id]);
    let by_subject = Filter {
        subject: Some(qualified("corp/alice")),
        ..Filter::default()
    };
    assert_eq!(ids(&*ledger, by_subject, ALL).await, []);
}

/// Newest first, in pages.
pub async fn sessions_are_listed_by_each_filter(store: &mut impl LedgerUnderTest) {
    let ledger = store.ledger();
    let mut other = session(1);
    other.key.server = name("mail");
    other.key.subject = Principal::User(qualified("corp/bob"));
    other.key.actor = None;
    let one = opened(&*ledger, session(0)).await;
    let two = opened(&*ledger, other).await;
    let listed = async |filter: SessionFilter| ledger.sessions(filter, None, 10).await.expect("read");
    let tweaks: [fn(&mut SessionFilter); 3] = [
        |f| f.subject = Some(qualified("corp/alice")),
        |f| f.actor = Some(qualified("corp/triage-bot")),
        |f| f.server = Some(name("tickets")),
    ];
    for (n, tweak) in tweaks.iter().enumerate() {
        let mut filter = SessionFilter::default();
        tweak(&mut filter);
        assert_eq!(listed(filter).await, std::slice::from_ref(&one), "filter {n}");
    }
    assert_eq!(listed(SessionFilter::default()).await, [two.clone(), one.clone()]);
    let next = ledger.sessions(SessionFilter::default(), Some(two.id), 10).await;
    assert_eq!(next, Ok(vec![one.clone()]));
    assert_eq!(
        ledger.sessions(SessionFilter::default(), None, 1).await,
        Ok(vec![two.clone()])
    );
    let end = super::sample::other(Event::SessionEnd, Outcome::Done, 5);
    ledger
        .end_session(two.id, EndedBy::Server, end)
        .await
        .expect("ended")
        .expect("was live");
    let live = |second| SessionFilter {
        live_at: Some(at(second)),
        ..SessionFilter::default()
    };
    assert_eq!(listed(live(6)).await, [one]);
    assert_eq!(listed(live(1800)).await, Vec::<Session>::new());
}

/// Newest first, in pages; of those that are not gone and of all.
pub async fn leases_are_listed_by_each_filter(store: &mut impl LedgerUnderTest) {
    let ledger = store.ledger();
    let mine = opened(&*ledger, session(0)).await;
    let mut other = session(1);
    other.key.server = name("mail");
    other.key.subject = Principal::User(qualified("corp/bob"));
    other.key.actor = None;
    let other = opened(&*ledger, other).await;
    let live = leased(&*ledger, &mine, 1, replica()).await;
    let minting = issued(&other, 2);
    let mut intent = intent(&minting, replica());
    intent.target = name("billing");
    ledger.intend(intent).await.expect("intended");
    let listed = async |filter: &LeaseFilter, page: Page| {
        let leases = ledger.leases(filter.clone(), page).await.expect("read");
        leases.into_iter().map(|lease| lease.id).collect::<Vec<_>>()
    };
    let tweaks: [fn(&mut LeaseFilter, &Session); 6] = [
        |f, _| f.target = Some(name("github")),
        |f, _| f.source_version = Some("7".to_owned()),
        |f, _| f.subject = Some(qualified("corp/alice")),
        |f, _| f.actor = Some(qualified("corp/triage-bot")),
        |f, _| f.server = Some(name("tickets")),
        |f, s| f.session = Some(s.id),
    ];
    let mut all = LeaseFilter::default();
    for (n, tweak) in tweaks.iter().enumerate() {
        let mut filter = LeaseFilter::default();
        tweak(&mut filter, &mine);
        tweak(&mut all, &mine);
        for state in [None, Some(LeaseState::Live)] {
            filter.state = state;
            assert_eq!(listed(&filter, ALL).await, [live.id], "filter {n}, {state:?}");
        }
        filter.state = Some(LeaseState::Intended);
        assert_eq!(listed(&filter, ALL).await, [], "filter {n}, intended");
    }
    assert_eq!(listed(&all, ALL).await, [live.id]);
    for state in [None, Some(LeaseState::Intended)] {
        let bobs = LeaseFilter {
            subject: Some(qualified("corp/bob")),
            server: Some(name("mail")),
            state,
            ..LeaseFilter::default()
        };
        assert_eq!(listed(&bobs, ALL).await, [minting.id], "one that has no record yet");
    }
    assert_eq!(listed(&LeaseFilter::default(), ALL).await, [minting.id, live.id]);
}

/// Every lease once, over page borders, whatever the filter.
pub async fn leases_come_newest_first_in_pages(store: &mut impl LedgerUnderTest) {
    let ledger = store.ledger();
    let session = opened(&*ledger, session(0)).await;
    let us = replica();
    let mut expected = join_all((1..=25).map(|n| leased(&*ledger, &session, n, us))).await;
    expected.reverse();
    let expected: Vec<IssuanceId> = expected.iter().map(|entry| entry.id).collect();
    let tweaks: [fn(&mut LeaseFilter); 5] = [
        |_| {},
        |f| f.target = Some(name("github")),
        |f| f.subject = Some(qualified("corp/alice")),
        |f| f.server = Some(name("tickets")),
        |f| f.source_version = Some("7".to_owned()),
    ];
    for (n, tweak) in tweaks.iter().enumerate() {
        for state in [None, Some(LeaseState::Live)] {
            let mut filter = LeaseFilter {
                state,
                ..LeaseFilter::default()
            };
            tweak(&mut filter);
            let mut seen: Vec<IssuanceId> = Vec::new();
            loop {
                let page = Page {
                    before: seen.last().copied(),
                    limit: 10,
                };
                let next = ledger.leases(filter.clone(), page).await.expect("read");
                if next.is_empty() {
                    break;
                }
                seen.extend(next.iter().map(|lease| lease.id));
            }
            assert_eq!(seen, expected, "filter {n}, {state:?}");
        }
    }
}

/// By their digest; the first content stays.
pub async fn bundles_are_kept_once(store: &mut impl LedgerUnderTest) {
    let ledger = store.ledger();
    let digest = Digest::of(b"bundle");
    assert_eq!(ledger.bundle(digest).await, Ok(None));
    ledger.keep_bundle(digest, b"content".to_vec()).await.expect("kept");
    ledger.keep_bundle(digest, b"other".to_vec()).await.expect("no change");
    assert_eq!(ledger.bundle(digest).await, Ok(Some(b"content".to_vec())));
}

/// The one whose predecessors were withdrawn last, also one that was settled before.
pub async fn the_bundle_that_was_settled_last_is_known(store: &mut impl LedgerUnderTest) {
    let ledger = store.ledger();
    let digest = |content: &[u8]| Digest::of(content);
    let settled = async || ledger.settled_bundle(digest(b"other")).await;
    assert_eq!(settled().await, Ok(None));
    for content in [b"a", b"b", b"c"] {
        ledger
            .keep_bundle(digest(content), content.to_vec())
            .await
            .expect("kept");
    }
    assert_eq!(settled().await, Ok(None), "keeping is not settling");
    for content in [b"a", b"b", b"a"] {
        ledger.settle_bundle(digest(content)).await.expect("settled");
        assert_eq!(settled().await, Ok(Some(content.to_vec())));
    }
    assert_eq!(
        ledger.settled_bundle(digest(b"b")).await,
        Ok(None),
        "it was before: a replica is behind"
    );
    assert_eq!(ledger.settled_bundle(digest(b"c")).await, Ok(Some(b"a".to_vec())));
}

/// Each pair once, as long as one of its leases is not gone.
pub async fn places_that_hold_leases_are_told(store: &mut impl LedgerUnderTest) {
    let ledger = store.ledger();
    let us = replica();
    assert_eq!(ledger.leased_places().await, Ok(Vec::new()));
    for (second, target, place) in [(1, "a", "x"), (2, "a", "x"), (3, "a", "y"), (4, "b", "x")] {
        let mut intent = intent(&entry(second), us);
        (intent.target, intent.place) = (name(target), place.to_owned());
        ledger.intend(intent).await.expect("intended");
    }
    let pair = |target: &str, place: &str| (name(target), place.to_owned());
    let all = vec![pair("a", "x"), pair("a", "y"), pair("b", "x")];
    assert_eq!(ledger.leased_places().await, Ok(all.clone()));
    for lease in ledger.take_due(name("a"), claim(us, 100), 9).await.expect("taken") {
        assert_eq!(
            ledger
                .leased_places()
                .await
                .map(|places| places.contains(&pair("a", &lease.place))),
            Ok(true)
        );
        assert_eq!(ledger.settle(lease.id, lease.owner, Undone::Gone).await, Ok(true));
    }
    assert_eq!(ledger.leased_places().await, Ok(vec![pair("b", "x")]));
}
