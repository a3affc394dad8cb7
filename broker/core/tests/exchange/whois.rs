//! From a clue to its issuance, for those who may read it.

use std::{sync::Arc, time::Duration};

use futures_util::FutureExt;
use procura_contract::ledger_suite::sample;
use procura_core::{
    Timestamp,
    catalogue::Catalogue,
    identity::{Principal, Subject},
    ids::{Handle, IssuanceId},
    judgement::{Effect, Judge, OperatorAction, Question, Verdict},
    ledger::Ledger,
    operator::{self as operators, Operator},
    ports::Snapshot,
    whois::{Clue, Status, Traced, whois},
};
use procura_wire::{Digest, Name, QualifiedId, Reason};

use crate::{
    fakes::{Mint, Rules},
    world::{World, catalogue, name, token},
};

/// Lets operators read the log of one target alone, or of none.
struct OneTarget(Rules, Option<Name>);

impl Judge for OneTarget {
    fn catalogue(&self) -> &Catalogue {
        self.0.catalogue()
    }

    fn digest(&self) -> Digest {
        self.0.digest()
    }

    fn decide(&self, question: &Question<'_>) -> Verdict {
        self.0.decide(question)
    }

    fn may_act_for(&self, agent: &Principal, subject: &Subject, now: Timestamp) -> Verdict {
        self.0.may_act_for(agent, subject, now)
    }

    fn operator(&self, operator: &Subject, action: OperatorAction, target: Option<&Name>, now: Timestamp) -> Verdict {
        let mut verdict = self.0.operator(operator, action, target, now);
        if target.is_none() || target != self.1.as_ref() {
            verdict.effect = Effect::Deny;
        }
        verdict
    }
}

pub(crate) fn may_read(world: &World, target: Option<&str>) {
    let rules = Rules {
        catalogue: catalogue(),
        effect: Effect::Permit,
        act_for: Effect::Deny,
    };
    world.ports.active.swap(Snapshot {
        judge: Arc::new(OneTarget(rules, target.map(name))),
        minters: world.ports.active.snapshot().minters.clone(),
        staged: std::collections::BTreeMap::new(),
    });
}

pub(crate) fn operator(world: &World) -> Operator {
    let subject = Subject {
        principal: Principal::User(QualifiedId::new(name("corp"), "op")),
        token: token(&world.clock).into(),
    };
    Operator::new(world.ports.active.snapshot().judge.catalogue(), subject)
}

async fn ask(world: &World, clue: Clue) -> Result<Traced, Reason> {
    whois(&world.ports, &operator(world), clue).await
}

async fn status(world: &World, id: IssuanceId) -> Status {
    ask(world, Clue::Issuance(id, None)).await.expect("known").status
}

/// A credential at a database, and every clue to it.
async fn role(world: &World) -> (IssuanceId, Vec<Clue>) {
    let issued = world
        .exchange(&[("audience", "db"), ("scope", "rows")])
        .await
        .expect("issued");
    let (id, digest) = (issued.issuance, digest(world, issued.issuance).await);
    let handle = Handle::new(&world.ports.installation, id).to_string();
    let clues = vec![
        Clue::Handle(format!("arn:aws:sts::123456789012:assumed-role/reports/{handle}")),
        Clue::Handle(format!("AROA1EXAMPLE:{handle}")),
        Clue::Handle(handle),
        Clue::Value(digest),
        Clue::Issuance(id, None),
        Clue::Issuance(id, Some(digest)),
    ];
    (id, clues)
}

async fn digest(world: &World, id: IssuanceId) -> Digest {
    let digest = world.leaf(id).await["value_sha256"].as_str().expect("digest").parse();
    digest.expect("digest")
}

#[tokio::test]
async fn each_clue_leads_to_the_issuance_with_record_lease_and_session() {
    let world = World::new();
    let (id, clues) = role(&world).await;
    for clue in clues {
        let traced = ask(&world, clue.clone()).await.expect("known");
        assert_eq!((traced.id, traced.status), (id, Status::Live), "{clue:?}");
        let (record, lease) = (traced.record.expect("record"), traced.lease.expect("lease"));
        assert_eq!((record.id, lease.id), (id, id));
        assert_eq!(traced.session.map(|session| session.id), record.index.session);
    }
}

#[tokio::test]
async fn a_token_is_found_by_what_it_names_only_with_its_own_digest() {
    let world = World::new();
    let id = world.exchange(&[]).await.expect("issued").issuance;
    let digest = digest(&world, id).await;
    let traced = ask(&world, Clue::Issuance(id, Some(digest))).await.expect("known");
    assert_eq!(
        (traced.id, traced.status, traced.lease.is_none()),
        (id, Status::Live, true)
    );
    let forged = Clue::Issuance(id, Some(Digest::of(b"made up, with a jti of ours")));
    assert_eq!(ask(&world, forged).await.err(), Some(Reason::V1NotFound));
    let alone = ask(&world, Clue::Value(digest)).await.err();
    assert_eq!(alone, Some(Reason::V1NotFound), "the log has no index of it");
}

#[tokio::test]
async fn what_may_not_be_read_looks_as_what_there_is_not() {
    let world = World::new();
    let (_, clues) = role(&world).await;
    let token = world.exchange(&[]).await.expect("issued").issuance;
    for (readable, known) in [(None, false), (Some("api"), false), (Some("db"), true)] {
        may_read(&world, readable);
        for clue in clues.clone() {
            let refused = ask(&world, clue.clone()).await.err();
            assert_eq!(refused, (!known).then_some(Reason::V1NotFound), "{clue:?}");
        }
        let refused = ask(&world, Clue::Issuance(token, None)).await.err();
        let known = readable == Some("api");
        assert_eq!(
            refused,
            (!known).then_some(Reason::V1NotFound),
            "the token, {readable:?}"
        );
        let nobody = IssuanceId(uuid::Uuid::from_u128(7));
        for clue in [
            Clue::Issuance(nobody, None),
            Clue::Handle(Handle::new(&world.ports.installation, nobody).to_string()),
            Clue::Handle("alice".into()),
            Clue::Value(Digest::of(b"nothing")),
        ] {
            let refused = ask(&world, clue.clone()).await.err();
            assert_eq!(refused, Some(Reason::V1NotFound), "{clue:?}");
        }
    }
}

#[tokio::test]
async fn a_handle_of_another_installation_or_of_what_has_no_lease_is_unknown() {
    let world = World::new();
    let (id, _) = role(&world).await;
    let local = world.exchange(&[]).await.expect("issued").issuance;
    for (installation, id) in [("another0", id), (world.ports.installation.as_str(), local)] {
        let handle = Handle::new(installation, id).to_string();
        assert_eq!(ask(&world, Clue::Handle(handle)).await.err(), Some(Reason::V1NotFound));
    }
}

#[tokio::test]
async fn the_record_of_something_else_is_no_issuance() {
    let world = World::new();
    let (id, _) = role(&world).await;
    let operator = operator(&world);
    operators::undo_lease(&world.ports, &operator, id, String::new())
        .await
        .expect("permitted");
    let records = world
        .ledger
        .records(Default::default(), sample::ALL)
        .await
        .expect("store");
    let revocation = records.iter().find(|record| record.index.about == Some(id));
    let clue = Clue::Issuance(revocation.expect("recorded").id, None);
    assert_eq!(ask(&world, clue).await.err(), Some(Reason::V1NotFound));
}

#[tokio::test]
async fn a_mint_under_way_is_found_by_its_handle_before_there_is_a_record() {
    let world = World::new();
    *world.external.mint.lock().expect("lock") = Mint::Hangs;
    let rows = [("audience", "db"), ("scope", "rows")];
    assert!(world.exchange(&rows).now_or_never().is_none());
    let leases = world
        .ledger
        .leases(Default::default(), sample::ALL)
        .await
        .expect("store");
    let clue = Clue::Handle(leases[0].handle.to_string());
    let traced = ask(&world, clue.clone()).await.expect("known");
    assert_eq!((traced.status, traced.record.is_none()), (Status::Minting, true));
    assert!(traced.session.is_some());
    may_read(&world, Some("api"));
    assert_eq!(ask(&world, clue).await.err(), Some(Reason::V1NotFound));
}

#[tokio::test]
async fn the_status_says_whether_it_is_live() {
    let world = World::new();
    let (id, _) = role(&world).await;
    *world.external.undo_fails.lock().expect("lock") = true;
    let operator = operator(&world);
    let undo = |id| operators::undo_lease(&world.ports, &operator, id, String::new());
    undo(id).await.expect("permitted");
    assert_eq!(status(&world, id).await, Status::Undoing);
    *world.external.undo_fails.lock().expect("lock") = false;
    undo(id).await.expect("permitted");
    assert_eq!(status(&world, id).await, Status::Ended);

    let token = world.exchange(&[]).await.expect("issued").issuance;
    undo(token).await.expect("permitted");
    assert_eq!(status(&world, token).await, Status::Revoked);
    let (late, _) = role(&world).await;
    world.clock.advance(Duration::from_secs(3600));
    assert_eq!(status(&world, token).await, Status::Ended);
    assert_eq!(
        status(&world, late).await,
        Status::Undoing,
        "its time is over and it is still there"
    );

    let world = World::new();
    world.rules(|rules| rules.effect = Effect::Deny);
    let id = world.exchange(&[]).await.err().and_then(|refused| refused.issuance);
    assert_eq!(status(&world, id.expect("recorded")).await, Status::Refused);
}
