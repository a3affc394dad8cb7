//! What a bundle does not give any more is taken back.

use std::time::Duration;

use futures_util::future::join;
use procura_core::{
    catalogue::Catalogue,
    ids::{Handle, IssuanceId},
    ledger::{EndedBy, Event, Filter, Ledger, Page},
    undo::unknown,
    withdraw::withdraw,
};
use procura_wire::Reason;

use crate::{
    fakes::{Mint, Rules},
    undoing::sweep,
    world::{World, catalogue, name},
};

const ROWS: [(&str, &str); 2] = [("audience", "db"), ("scope", "rows")];

type Change = fn(&mut Rules);

fn tickets(rules: &mut Rules) -> &mut procura_core::catalogue::Server {
    rules.catalogue.servers.get_mut(&name("tickets")).expect("tickets")
}

/// What stays alive of a credential of the tickets server and one of the wiki's, after a change and a sweep.
async fn after(change: impl FnOnce(&mut Rules), before: Option<&Catalogue>) -> (World, usize) {
    let world = World::new();
    world.exchange(&ROWS).await.expect("issued");
    let mut token = crate::world::token(&world.clock);
    token.audience = vec!["https://wiki.example/mcp".into()];
    world.knows("wiki-token", token);
    let wiki = [&ROWS[..], &[("subject_token", "wiki-token")]].concat();
    world.exchange_as("wiki", &wiki).await.expect("issued");
    world.rules(change);
    withdraw(&world.ports, before).await.expect("withdrawn");
    sweep(&world, Duration::from_secs(1)).await;
    let alive = world.external.alive();
    (world, alive)
}

#[tokio::test]
async fn a_grant_a_reach_or_a_server_that_is_gone_takes_its_credentials_along() {
    let changes: [(&str, Change, usize); 6] = [
        ("nothing", |_| {}, 2),
        (
            "the grant",
            |rules| {
                let db = rules.catalogue.targets.get_mut(&name("db")).expect("db");
                db.grants.clear();
            },
            0,
        ),
        ("the server's reach", |rules| tickets(rules).grants.clear(), 1),
        (
            "the reach, but for a tool",
            |rules| {
                let server = tickets(rules);
                let grants = std::mem::take(&mut server.grants);
                server.tools.insert("rows".into(), grants);
            },
            2,
        ),
        (
            "the server",
            |rules| drop(rules.catalogue.servers.remove(&name("tickets"))),
            1,
        ),
        ("a suspension", |rules| tickets(rules).suspended = true, 1),
    ];
    let before = catalogue();
    for (what, change, alive) in changes {
        assert_eq!(after(change, Some(&before)).await.1, alive, "{what}");
    }
}

#[tokio::test]
async fn a_mint_that_was_under_way_when_its_grant_was_taken_away_is_refused_and_undone() {
    let changes: [(&str, Change); 4] = [
        ("invalid_scope", |rules| tickets(rules).grants.clear()),
        ("unauthorized_client", |rules| {
            drop(rules.catalogue.servers.remove(&name("tickets")))
        }),
        ("invalid_target", |rules| {
            drop(rules.catalogue.targets.remove(&name("db")))
        }),
        ("issued", |rules| drop(rules.catalogue.targets.remove(&name("api")))),
    ];
    for (expected, change) in changes {
        let world = World::new();
        *world.external.mint.lock().expect("lock") = Mint::Slow;
        let swap = async {
            while world.external.minted() == 0 {
                tokio::task::yield_now().await;
            }
            world.rules(change);
        };
        let (answer, ()) = join(world.exchange(&ROWS), swap).await;
        let (said, alive) = match answer {
            Ok(_) => ("issued", 1),
            Err(refused) => (refused.reason.error().as_str(), 0),
        };
        assert_eq!((said, world.external.alive()), (expected, alive));
    }
}

#[tokio::test]
async fn without_an_earlier_bundle_only_who_is_suspended_loses_anything() {
    let gone = |rules: &mut Rules| drop(rules.catalogue.servers.remove(&name("tickets")));
    assert_eq!(after(gone, None).await.1, 2, "another replica may have it");
    assert_eq!(after(|rules| tickets(rules).suspended = true, None).await.1, 1);
}

#[tokio::test]
async fn what_was_withdrawn_is_recorded_once_and_its_session_does_not_come_back() {
    let before = catalogue();
    let (world, _) = after(|rules| tickets(rules).grants.clear(), Some(&before)).await;
    let of = async |event| {
        let filter = Filter {
            event: Some(event),
            ..Filter::default()
        };
        let page = Page {
            before: None,
            limit: 10,
        };
        world.ledger.records(filter, page).await.expect("store")
    };
    let revocations = of(Event::Revocation).await;
    let leaf = world.leaf(revocations[0].id).await;
    assert_eq!((revocations.len(), &leaf["ended_by"]), (1, &"policy".into()));
    withdraw(&world.ports, Some(&before)).await.expect("again");
    assert_eq!(of(Event::Revocation).await.len(), 1);

    let gone = |rules: &mut Rules| drop(rules.catalogue.servers.remove(&name("tickets")));
    let (world, _) = after(gone, Some(&before)).await;
    let sessions = world
        .ledger
        .sessions(Default::default(), None, 10)
        .await
        .expect("store");
    let ended = |server: &str| {
        sessions
            .iter()
            .find(|session| session.key.server == name(server))
            .and_then(|session| session.ended)
    };
    assert_eq!(ended("tickets").map(|(_, by)| by), Some(EndedBy::Policy));
    assert_eq!(ended("wiki"), None);
    world.rules(|_| {});
    assert_eq!(
        world.exchange(&ROWS).await.expect_err("marked").reason,
        Reason::SubjectRevoked
    );
}

#[tokio::test]
async fn an_inventory_tells_what_the_store_does_not_know_and_undoes_nothing() {
    let world = World::new();
    world.exchange(&ROWS).await.expect("issued");
    let stranger = Handle::new(&world.ports.installation, IssuanceId(uuid::Uuid::from_u128(99)));
    world.external.alive.lock().expect("lock").insert(stranger.clone());
    let found = unknown(&world.ports).await.expect("store");
    let found: Vec<_> = found
        .iter()
        .map(|target| (target.target.as_str(), &target.handles[..], &target.problem))
        .collect();
    assert_eq!(found, [("db", &[stranger][..], &None)]);
    assert_eq!(world.external.alive(), 2);
}
