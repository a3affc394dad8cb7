//! Who may read which records, for how long; and a session as it is told.

use std::time::Duration;

use procura_core::{
    catalogue::Issuer,
    identity::Principal,
    ledger::{Event, Outcome},
    operator::{self as operators},
    ports::Clock,
    query::{Expr, Scope, readable, stands},
    timeline::timeline,
    whois::Status,
};
use procura_wire::Reason;

use crate::{
    whois::{may_read, operator},
    world::{World, name},
};

#[tokio::test]
async fn attack_199_a_reader_sees_the_targets_that_rules_permit_and_no_others() {
    let world = World::new();
    let reader = operator(&world);
    let scope = |target: Option<&str>| readable(&world.ports, &reader, target.map(name).as_ref());
    assert_eq!(scope(None), Ok(Scope::All));
    assert_eq!(scope(Some("db")), Ok(Scope::All));
    may_read(&world, Some("db"));
    let db = Ok(Scope::Targets(vec![name("db")]));
    assert_eq!((scope(None), scope(Some("db"))), (db.clone(), db));
    assert_eq!(scope(Some("api")), Err(Reason::V1Forbidden));
    may_read(&world, None);
    assert_eq!(scope(None), Err(Reason::V1Forbidden));
    assert_eq!(scope(Some("db")), Err(Reason::V1Forbidden));
}

#[tokio::test]
async fn attack_199_records_without_a_target_are_read_by_those_who_read_all() {
    let world = World::new();
    let token = world.exchange(&[]).await.expect("issued").issuance;
    let nowhere = world.exchange(&[("audience", "nowhere")]).await.err();
    let nowhere = nowhere.and_then(|refused| refused.issuance).expect("recorded");
    let record = async |id| world.ports.ledger.record(id).await.expect("read").expect("there");
    let of = |target| Scope::Targets(vec![name(target)]);
    let (issued, refused) = (record(token).await, record(nowhere).await);
    assert!(Scope::All.covers(&issued) && of("api").covers(&issued) && !of("db").covers(&issued));
    assert!(Scope::All.covers(&refused) && !of("api").covers(&refused));
}

#[tokio::test]
async fn who_reads_still_is_looked_at_again() {
    let world = World::new();
    let reader = operator(&world);
    assert_eq!(stands(&world.ports, &reader, None), Ok(Scope::All));
    may_read(&world, Some("db"));
    assert_eq!(
        stands(&world.ports, &reader, None),
        Ok(Scope::Targets(vec![name("db")]))
    );
    may_read(&world, None);
    assert_eq!(stands(&world.ports, &reader, None), Err(Reason::V1Forbidden));
    let world = World::new();
    let reader = operator(&world);
    world.clock.advance(Duration::from_secs(24 * 3600));
    assert_eq!(stands(&world.ports, &reader, None), Err(Reason::V1Unauthenticated));
    assert!(matches!(reader.subject.principal, Principal::User(_)));
}

#[tokio::test]
async fn who_reads_still_authenticates_again_when_the_file_of_the_issuer_changes() {
    let changes: [fn(&mut Issuer); 4] = [
        |issuer| issuer.operators = !issuer.operators,
        |issuer| issuer.workloads_only = !issuer.workloads_only,
        |issuer| issuer.issuer.push('x'),
        |issuer| issuer.actor_from_azp = !issuer.actor_from_azp,
    ];
    for change in changes {
        let world = World::new();
        let reader = operator(&world);
        world.rules(|rules| change(rules.catalogue.issuers.get_mut("corp").expect("declared")));
        assert_eq!(stands(&world.ports, &reader, None), Err(Reason::V1Unauthenticated));
    }
}

#[tokio::test]
async fn a_session_is_told_in_order_with_what_is_left() {
    let world = World::new();
    let rows = [("audience", "db"), ("scope", "rows")];
    let first = world.exchange(&rows).await.expect("issued");
    let second = world.exchange(&[]).await.expect("issued");
    let told = async || {
        let timeline = timeline(&world.ports, first.session).await.expect("read");
        assert!(timeline.whole);
        let step =
            |step: &procura_core::timeline::Step| (step.record.index.event, step.record.index.outcome, step.status);
        timeline.steps.iter().map(step).collect::<Vec<_>>()
    };
    let issued = |status| (Event::Exchange, Outcome::Issued, Some(status));
    assert_eq!(told().await, [issued(Status::Live), issued(Status::Live)]);
    world.clock.advance(Duration::from_secs(1));
    *world.external.undo_fails.lock().expect("lock") = true;
    let ended = operators::end_session(&world.ports, &operator(&world), second.session, String::new()).await;
    ended.expect("permitted");
    let end = (Event::SessionEnd, Outcome::Done, None);
    assert_eq!(told().await, [issued(Status::Undoing), issued(Status::Revoked), end]);
    let steps = timeline(&world.ports, first.session).await.expect("read").steps;
    let issuer = Expr::parse("issuer = corp", world.clock.now()).expect("filter");
    assert!(
        steps.iter().all(|step| issuer.matches(&step.record)),
        "the end says whose subject it was"
    );
    world.clock.advance(Duration::from_secs(3600));
    assert_eq!(told().await[1], issued(Status::Ended));
}
