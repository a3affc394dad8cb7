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
    identity::{
        AuthenticatedServer, ClientAuthMethod, ClientCredentials, IdJag, Once, PeerCertificates, PresentedProof,
        PresentedToken, Principal, Proof, Subject, VerifiedToken,
    },
    ids::{Handle, IssuanceId},
    judgement::{Effect, Judge, OperatorAction, Question, Verdict},
    kind::{Kind, Lifetime, MintError, MintOrder, Minted, Minter, OpenError, Place, Rights, UndoError, Undoable},
    ledger::ReplayId,
    params::ParamValue,
    ports::{BoxFuture, Entropy, Role, SealError, Sealer, TokenVerifier},
};
use procura_wire::{Digest, Name, Reason, Secret, TokenType};
use serde_json::Map;

use crate::world::name;

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

/// Answers what the test put in.
#[derive(Default)]
pub(crate) struct Tokens(
    pub(crate) Mutex<BTreeMap<String, Result<VerifiedToken, Reason>>>,
    /// ID-JAGs.
    pub(crate) Mutex<BTreeMap<String, Result<IdJag, Reason>>>,
);

impl TokenVerifier for Tokens {
    fn authenticate<'a>(
        &'a self,
        _: &'a Catalogue,
        credentials: &'a ClientCredentials,
        _: Option<&'a PeerCertificates>,
        now: Timestamp,
    ) -> BoxFuture<'a, Result<AuthenticatedServer, Reason>> {
        let result = match credentials {
            ClientCredentials::Basic { id, .. } => Ok(AuthenticatedServer {
                name: name(id),
                method: ClientAuthMethod::ClientSecretBasic,
                key: "0".repeat(16),
                once: None,
            }),
            ClientCredentials::Assertion { id, assertion, .. } => Ok(AuthenticatedServer {
                name: name(id.as_deref().expect("an id")),
                method: ClientAuthMethod::ClientSecretBasic,
                key: "0".repeat(16),
                once: Some(Once {
                    id: ReplayId {
                        id: assertion.digest(),
                        until: now + Duration::from_secs(300),
                    },
                    replayed: Reason::ClientAssertionReplay,
                }),
            }),
            _ => Err(Reason::ClientUnauthenticated),
        };
        async move { result }.boxed()
    }

    fn verify<'a>(
        &'a self,
        _: &'a Catalogue,
        token: &'a PresentedToken,
        _: Role,
    ) -> BoxFuture<'a, Result<Arc<VerifiedToken>, Reason>> {
        let known = self.0.lock().expect("lock");
        let result = known
            .values()
            .zip(known.keys())
            .find(|(_, text)| Secret::new((*text).clone()) == token.value);
        let result = result.map_or(Err(Reason::JwtFormat), |(result, _)| result.clone().map(Arc::new));
        async move { result }.boxed()
    }

    fn verify_id_jag<'a>(&'a self, _: &'a Catalogue, assertion: &'a Secret) -> BoxFuture<'a, Result<IdJag, Reason>> {
        let known = self.1.lock().expect("lock");
        let mut known = known.iter();
        let found = known.find(|(text, _)| Secret::new((*text).clone()) == *assertion);
        let result = found.map_or(Err(Reason::JwtFormat), |(_, result)| result.clone());
        async move { result }.boxed()
    }

    /// A proof is `KEY:ID`, and with a token `KEY:ID:TOKEN`.
    #[expect(clippy::disallowed_methods, reason = "a proof of a test")]
    fn prove(&self, proof: &PresentedProof, token: Option<&Secret>, now: Timestamp) -> Result<Proof, Reason> {
        let text = proof.value.as_ref().ok_or(Reason::DpopHeader)?.expose();
        let (jkt, rest) = text.split_once(':').ok_or(Reason::DpopSignature)?;
        let ath = rest.split_once(':').map(|(_, token)| Secret::new(token.into()));
        if ath.as_ref() != token {
            return Err(Reason::DpopAth);
        }
        Ok(Proof {
            jkt: jkt.into(),
            once: Once {
                id: ReplayId {
                    id: Digest::of(text.as_bytes()),
                    until: now + Duration::from_secs(120),
                },
                replayed: Reason::DpopReplay,
            },
        })
    }

    fn nonce(&self, _: Timestamp) -> Option<String> {
        None
    }

    /// Knows what was put in as `ISSUER asked about TOKEN`.
    fn introspect<'a>(
        &'a self,
        _: &'a Catalogue,
        issuer: &'a Name,
        token: &'a PresentedToken,
        _: Role,
    ) -> BoxFuture<'a, Result<Arc<VerifiedToken>, Reason>> {
        let known = self.0.lock().expect("lock");
        let about = |text: &str| text.strip_prefix(&format!("{issuer} asked about ")).map(str::to_owned);
        let found = known
            .iter()
            .find(|(text, _)| about(text).is_some_and(|about| Secret::new(about) == token.value));
        let result = found.map_or(Err(Reason::IntrospectInactive), |(_, result)| {
            result.clone().map(Arc::new)
        });
        async move { result }.boxed()
    }
}

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
