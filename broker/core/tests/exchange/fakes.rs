//! Fakes of the ports, with knobs.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use futures_util::FutureExt;
use procura_core::{
    Timestamp,
    catalogue::{Catalogue, Target},
    identity::{Principal, Subject},
    ids::{Handle, IssuanceId},
    judgement::{Effect, Judge, OperatorAction, Question, Verdict},
    kind::{Kind, Lifetime, MintError, MintOrder, Minted, Minter, OpenError, Place, Rights, UndoError, Undoable},
    params::ParamValue,
    ports::{BoxFuture, Entropy, SealError, Sealer},
};
use procura_wire::{Digest, Name, Secret, TokenType};
use serde_json::Map;

fn rights(_: &Target, plan: &procura_core::judgement::Plan) -> Rights {
    let grants = plan.grants.iter().map(ToString::to_string).collect();
    Rights {
        sets: BTreeMap::from([("grants", grants)]),
        numbers: BTreeMap::new(),
    }
}

fn no_faults(_: &Target) -> Vec<procura_core::kind::SettingFault> {
    Vec::new()
}

fn not_opened(target: &Name, _: &Target, _: procura_core::kind::KindPorts) -> procura_core::kind::OpenResult {
    Err(OpenError {
        target: target.clone(),
        problem: "made by the test".into(),
    })
}

const fn kind(name: &'static str, place: Place, issues: TokenType) -> Kind {
    Kind {
        name,
        target_keys: &[],
        grant_keys: &[],
        place_keys: &["host", "port"],
        needs_source: false,
        issues,
        lifetime: Lifetime::Chosen {
            min: Duration::from_secs(10),
            max: Duration::from_secs(3600),
        },
        place,
        lapses: None,
        receipts: false,
        reuses: false,
        forwards: false,
        merges: matches!(place, Place::Local),
        binds: matches!(place, Place::Local),
        check: no_faults,
        narrows: |_, plan| !matches!(plan.params.get("team"), Some(ParamValue::Text(team)) if team.contains('*')),
        rights,
        open: not_opened,
    }
}

pub(crate) static LOCAL: Kind = kind("jwt", Place::Local, TokenType::AccessToken);
pub(crate) static EXTERNAL: Kind = kind("postgres", Place::External, TokenType::Postgres);
pub(crate) static REUSED: Kind = Kind {
    reuses: true,
    lapses: Some(Duration::from_secs(3600)),
    ..kind("aws", Place::External, TokenType::Postgres)
};

/// Permits everything, unless told otherwise.
pub(crate) struct Rules {
    pub(crate) catalogue: Catalogue,
    pub(crate) effect: Effect,
    pub(crate) act_for: Effect,
}

fn verdict(effect: Effect) -> Verdict {
    Verdict {
        effect,
        rules: vec!["the-rule".into()],
        near: Vec::new(),
    }
}

impl Judge for Rules {
    fn catalogue(&self) -> &Catalogue {
        &self.catalogue
    }

    fn digest(&self) -> Digest {
        Digest::of(format!("{:?}", self.catalogue).as_bytes())
    }

    fn decide(&self, _: &Question<'_>) -> Verdict {
        verdict(self.effect)
    }

    fn may_act_for(&self, _: &Principal, _: &Subject, _: Timestamp) -> Verdict {
        verdict(self.act_for)
    }

    fn operator(&self, _: &Subject, _: OperatorAction, _: Option<&Name>, _: Timestamp) -> Verdict {
        verdict(match self.effect {
            Effect::Error => Effect::Error,
            Effect::Permit | Effect::Deny => Effect::Permit,
        })
    }
}

/// How a mint at the fake target goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mint {
    Well,
    Wider,
    Longer,
    Fails,
    /// It is made, and the answer is lost.
    IsLost,
    /// It never answers.
    Hangs,
    /// Others get a turn before it answers.
    Slow,
}

/// A target in memory: what was made and not undone is alive.
pub(crate) struct FakeTarget {
    pub(crate) mint: Mutex<Mint>,
    pub(crate) alive: Mutex<BTreeSet<Handle>>,
    pub(crate) minted: Mutex<u32>,
    pub(crate) undo_fails: Mutex<bool>,
    /// The next undo panics.
    pub(crate) undo_panics: AtomicBool,
    /// It takes nothing back.
    pub(crate) never: AtomicBool,
    /// What it makes ends by itself so long after the plan's end; `None` where it does not.
    pub(crate) lapses: Mutex<Option<Duration>>,
    /// It hands out receipts; the handles that it was given the right one with.
    pub(crate) receipts: Mutex<Option<BTreeSet<Handle>>>,
}

impl FakeTarget {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            mint: Mutex::new(Mint::Well),
            alive: Mutex::default(),
            minted: Mutex::default(),
            undo_fails: Mutex::default(),
            undo_panics: AtomicBool::default(),
            never: AtomicBool::default(),
            lapses: Mutex::default(),
            receipts: Mutex::default(),
        })
    }

    pub(crate) fn alive(&self) -> usize {
        self.alive.lock().expect("lock").len()
    }

    pub(crate) fn minted(&self) -> u32 {
        *self.minted.lock().expect("lock")
    }
}

impl Minter for FakeTarget {
    fn prepare(&self, _: Duration) -> BoxFuture<'_, Result<Option<Timestamp>, MintError>> {
        async { Ok(None) }.boxed()
    }

    fn mint<'a>(&'a self, order: MintOrder<'a>) -> BoxFuture<'a, Result<Minted, MintError>> {
        let how = *self.mint.lock().expect("lock");
        if how == Mint::Hangs {
            return std::future::pending().boxed();
        }
        if how == Mint::Fails {
            return async { Err(MintError::Failed("as told".into())) }.boxed();
        }
        *self.minted.lock().expect("lock") += 1;
        self.alive.lock().expect("lock").insert(order.handle.clone());
        if how == Mint::IsLost {
            return async { Err(MintError::Uncertain("as told".into())) }.boxed();
        }
        let mut rights = rights(order.target, order.plan);
        if how == Mint::Wider {
            rights.sets.entry("grants").or_default().insert("everything".into());
        }
        let longer = Duration::from_secs(if how == Mint::Longer { 1 } else { 0 });
        let minted = Minted {
            value: Secret::new(value(&order)),
            rights,
            end: order.plan.end + longer,
            lapses: self.lapses.lock().expect("lock").map(|after| order.plan.end + after),
            receipt: self
                .receipts
                .lock()
                .expect("lock")
                .as_ref()
                .map(|_| receipt(order.handle)),
            known_as: None,
            source_version: Some("7".into()),
            details: Map::new(),
        };
        async move {
            if how == Mint::Slow {
                for _ in 0..50 {
                    tokio::task::yield_now().await;
                }
            }
            Ok(minted)
        }
        .boxed()
    }

    fn undo<'a>(&'a self, undoable: Undoable<'a>) -> BoxFuture<'a, Result<(), UndoError>> {
        let handle = undoable.handle;
        assert!(!self.undo_panics.swap(false, Ordering::SeqCst), "as told");
        let given = undoable.receipt.is_some_and(|given| *given == receipt(handle));
        if let Some(seen) = self.receipts.lock().expect("lock").as_mut().filter(|_| given) {
            seen.insert(handle.clone());
        }
        let result = if self.never.load(Ordering::SeqCst) {
            Err(UndoError::Never)
        } else if *self.undo_fails.lock().expect("lock") {
            Err(UndoError::Failed("as told".into()))
        } else {
            self.alive.lock().expect("lock").remove(handle);
            Ok(())
        };
        async move { result }.boxed()
    }

    fn probe(&self) -> BoxFuture<'_, Result<(), UndoError>> {
        async { Ok(()) }.boxed()
    }

    fn inventory(&self) -> BoxFuture<'_, Result<Vec<Handle>, UndoError>> {
        let alive = self.alive.lock().expect("lock").iter().cloned().collect();
        async { Ok(alive) }.boxed()
    }
}

/// The shape of a JWT that names its record.
fn value(order: &MintOrder<'_>) -> String {
    let claims = serde_json::json!({"jti": order.issuance}).to_string();
    format!("value-of-{}.{}.", order.handle, BASE64_URL_SAFE_NO_PAD.encode(claims))
}

/// What the fake target hands out with a handle.
fn receipt(handle: &Handle) -> Secret {
    Secret::new(format!("receipt of {handle}"))
}

/// Seals by turning the bytes round and naming the issuance.
pub(crate) struct Reversed;

impl Sealer for Reversed {
    #[expect(clippy::disallowed_methods, reason = "a secret of a test")]
    fn seal(&self, issuance: IssuanceId, receipt: &Secret) -> Result<Vec<u8>, SealError> {
        let text = receipt.expose().bytes().rev();
        Ok(issuance.0.as_bytes().iter().copied().chain(text).collect())
    }

    fn open(&self, issuance: IssuanceId, sealed: &[u8]) -> Result<Secret, SealError> {
        let text = sealed.strip_prefix(issuance.0.as_bytes()).ok_or(SealError::Unopened)?;
        let text = text.iter().rev().copied().collect();
        String::from_utf8(text)
            .map(Secret::new)
            .map_err(|_| SealError::Unopened)
    }
}

#[derive(Default)]
pub(crate) struct Counter(Mutex<u64>);

impl Entropy for Counter {
    fn fill(&self, bytes: &mut [u8]) {
        let mut count = self.0.lock().expect("lock");
        *count += 1;
        for (byte, value) in bytes.iter_mut().zip(count.to_be_bytes().iter().rev().cycle()) {
            *byte = *value;
        }
    }
}
