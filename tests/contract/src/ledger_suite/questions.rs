//! Questions to the log, and following it.

use futures_util::future::join_all;
use procura_core::{
    ids::IssuanceId,
    ledger::{Conditions, Entry, Event, Filter, Ledger, Outcome, Page},
    query::{EXAMINED, Expr, SHARE, Scope, search},
};

use super::{LedgerUnderTest, sample::*};

/// More than a question looks at first.
const MANY: i64 = 400;

async fn append(ledger: &dyn Ledger, entry: &Entry) {
    let appended = ledger.append(entry.clone(), Conditions::default()).await;
    appended.expect("appended");
}

fn asked(text: &str) -> Expr {
    Expr::parse(text, at(100)).unwrap_or_else(|mistake| panic!("{text}: {mistake}"))
}

/// Everything that a question finds, page by page.
async fn found(ledger: &dyn Ledger, expr: &Expr, scope: &Scope, limit: u32) -> Vec<IssuanceId> {
    let mut all: Vec<IssuanceId> = Vec::new();
    let mut before = None;
    loop {
        let page = search(ledger, expr, scope, Page { before, limit }).await.expect("read");
        assert!(page.records.len() <= limit as usize);
        all.extend(page.records.iter().map(|record| record.id));
        match page.next {
            Some(next) => {
                assert!(before.is_none_or(|before| next < before), "pages go on");
                before = Some(next);
            }
            None => return all,
        }
    }
}

/// Records of two targets, some without, by several subjects.
async fn many(ledger: &dyn Ledger) -> Vec<Entry> {
    let mut entries = Vec::new();
    for n in 0..MANY {
        let mut entry = match n % 5 {
            0 => other(Event::Exchange, Outcome::Refused, n),
            _ => entry(n),
        };
        let subject = ["corp/alice", "corp/bob", "partner/eve"][n as usize % 3];
        entry.index.subject = Some(qualified(subject));
        entry.leaf = format!(r#"{{"v":1,"issuer":"{}"}}"#, qualified(subject).qualifier);
        entry.index.target = [Some(name("github")), Some(name("billing")), None][n as usize % 7 % 3].clone();
        entry.index.tool = Some(["%", "x' OR 1=1 --", "list"][n as usize % 3].to_owned());
        entry.index.actor = None;
        entries.push(entry);
    }
    join_all(entries.iter().map(|entry| append(ledger, entry))).await;
    entries
}

/// What pages bring together is what the filter says of each record, whatever leads.
pub async fn a_question_finds_what_its_filter_says(store: &mut impl LedgerUnderTest) {
    let ledger = store.ledger();
    let entries = many(&*ledger).await;
    let mut all = Vec::new();
    for entry in entries.iter().rev() {
        all.push(ledger.record(entry.id).await.expect("read").expect("there"));
    }
    let one = entries[3].id;
    for text in [
        "",
        "outcome = refused",
        "subject = corp/alice",
        "subject = corp/*",
        "issuer = partner",
        "issuer = part",
        "issuer = partner and target = github",
        "issuer in (partner, corp) and outcome = refused",
        "target = github and outcome != refused",
        "target in (github, billing) and subject = corp/bob",
        "not target = *",
        "server = tickets and issuer = corp and at >= 2026-11-20T09:00:10Z and at < 2026-11-20T09:00:40Z",
        "at = 2026-11-20T09:00:07Z",
        "at > 2026-11-20T09:06:30Z or at < 2026-11-20T09:00:02Z",
        "about = 01890a5d-ac96-774b-bcce-b302099a8057",
        "session = 01890a5d-ac96-774b-bcce-b302099a8057",
        "tool = \"%\"",
        "tool = \"x' OR 1=1 --\"",
        "tool = \"x' OR\"*",
        "grant = read-code and subject = corp/alice and target = billing and server = tickets",
        &format!("id = {one}"),
    ] {
        let expr = asked(text);
        let passing = all.iter().filter(|stored| expr.matches(stored));
        let expected: Vec<IssuanceId> = passing.map(|stored| stored.id).collect();
        for limit in [23, 1000] {
            assert_eq!(
                found(&*ledger, &expr, &Scope::All, limit).await,
                expected,
                "{text} by {limit}"
            );
        }
    }
}

/// Neither records nor cursors tell a restricted reader of others' records.
pub async fn attack_199_a_reader_of_some_targets_learns_of_no_others(store: &mut impl LedgerUnderTest) {
    let ledger = store.ledger();
    let entries = many(&*ledger).await;
    let of = |targets: &[&str]| -> Vec<IssuanceId> {
        let theirs = |entry: &&Entry| {
            entry
                .index
                .target
                .as_ref()
                .is_some_and(|target| targets.contains(&target.as_str()))
        };
        entries.iter().rev().filter(theirs).map(|entry| entry.id).collect()
    };
    for targets in [&["github"][..], &["billing"], &["github", "billing"], &["nowhere"]] {
        let scope = Scope::Targets(targets.iter().map(|target| name(target)).collect());
        let theirs = of(targets);
        for text in [
            "",
            "target = github or not target = github",
            "subject = corp/alice or not subject = corp/alice",
            "not (target = github and subject = corp/alice) or target = github",
        ] {
            for limit in [23, 1000] {
                assert_eq!(
                    found(&*ledger, &asked(text), &scope, limit).await,
                    theirs,
                    "{targets:?} {text} {limit}"
                );
            }
        }
        for text in ["subject = corp/alice", "subject = partner/eve", "outcome = refused"] {
            let mut before = None;
            for _ in 0..100 {
                let page = search(&*ledger, &asked(text), &scope, Page { before, limit: 20 })
                    .await
                    .expect("read");
                assert!(page.records.iter().all(|record| scope.covers(record)), "{text}");
                assert!(
                    page.next.is_none_or(|next| theirs.contains(&next)),
                    "a cursor is an id of theirs"
                );
                before = page.next;
                if before.is_none() {
                    break;
                }
            }
            assert_eq!(before, None);
        }
    }
}

/// The window's last record is told, so that what a question costs does not grow with the log.
pub async fn a_walk_ends_after_so_many_records(store: &mut impl LedgerUnderTest) {
    let ledger = store.ledger();
    let entries = many(&*ledger).await;
    let floor = async |filter: Filter, before, records| ledger.floor(filter, before, records).await.expect("read");
    assert_eq!(floor(Filter::default(), None, 10).await, Some(entries[390].id));
    assert_eq!(
        floor(Filter::default(), Some(entries[390].id), 10).await,
        Some(entries[380].id)
    );
    assert_eq!(floor(Filter::default(), None, 400).await, Some(entries[0].id));
    assert_eq!(floor(Filter::default(), None, 401).await, None);
    assert_eq!(floor(Filter::default(), None, EXAMINED).await, None);
    let late = Filter {
        since: Some(at(390)),
        ..Filter::default()
    };
    assert_eq!(floor(late.clone(), None, 10).await, Some(entries[390].id));
    assert_eq!(floor(late, None, 11).await, None);
}

/// What a page costs does not grow with the targets that a reader may read.
pub async fn the_targets_of_a_reader_share_what_a_page_looks_at(store: &mut impl LedgerUnderTest) {
    let ledger = store.ledger();
    let github = |entry: &&Entry| entry.index.target == Some(name("github"));
    let entries = many(&*ledger).await;
    let github: Vec<_> = entries.iter().rev().filter(github).map(|entry| entry.id).collect();
    let empty = (0..EXAMINED / SHARE).map(|n| name(&format!("empty-{n}")));
    let scope = Scope::Targets(empty.chain([name("github")]).collect());
    let nothing = Page { before: None, limit: 9 };
    let page = search(&*ledger, &asked("tool = nothing"), &scope, nothing)
        .await
        .expect("read");
    assert_eq!(page.next, Some(github[SHARE as usize - 1]));
    assert_eq!(found(&*ledger, &asked(""), &scope, 50).await, github);
}
