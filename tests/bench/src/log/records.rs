//! Records as exchanges write them, through the record's own builder. The same in every run of a seed, but for their times,
//! which end shortly before the run.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use procura_core::{
    Timestamp,
    identity::{ActorAssertion, ClientAuthMethod, Link, LogIn, Principal},
    ids::{Handle, IssuanceId, SessionId},
    judgement::SessionFacts,
    ledger::{Conditions, EndedBy, Entry, Event, Guard, Outcome, Session, SessionKey, TokenFacts},
    params::{ParamValue, Params},
    ports::Entropy,
    record::{ClientAuth, Draft, Extent, Right, Used},
};
use procura_wire::{Digest, Name, QualifiedId, Reason, UseOutcome};

use crate::Fault;

/// Servers, and as many targets.
const PLACES: u64 = 40;
/// Records of a session, its end included.
pub(crate) const PER_SESSION: u64 = 14;
/// Records of a subject.
const PER_SUBJECT: u64 = 500;
/// Days that the records are spread over.
const DAYS: u64 = 90;
const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// Longest time of a session from its first record to its last.
const SESSION: Duration = Duration::from_secs(15 * 60);
/// Lifetime of what is issued.
const TTL: Duration = Duration::from_secs(5 * 60);
const INSTALLATION: &str = "campaign";

/// Numbers of SplitMix64, as randomness.
pub(crate) struct Random(AtomicU64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(AtomicU64::new(seed))
    }

    fn word(&self) -> u64 {
        let step = 0x9e37_79b9_7f4a_7c15_u64;
        let mut word = self.0.fetch_add(step, Ordering::Relaxed).wrapping_add(step);
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ (word >> 31)
    }

    fn below(&self, end: u64) -> u64 {
        self.word() % end
    }
}

impl Entropy for Random {
    fn fill(&self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(8) {
            chunk.copy_from_slice(&self.word().to_be_bytes()[..chunk.len()]);
        }
    }
}

/// All records of a store.
pub(crate) struct World {
    pub(crate) records: u64,
    began: Timestamp,
    seed: u64,
}

/// What a session does, in its order.
pub(crate) enum Step {
    Append(Box<Entry>, Box<Conditions>),
    Revoke(IssuanceId, Box<Entry>),
    End(Box<Entry>),
}

impl World {
    /// Whole sessions, so that there may be some records fewer. The last of them is over by now.
    pub(crate) fn new(seed: u64, records: u64, now: Timestamp) -> Self {
        let days = u32::try_from(DAYS).unwrap_or(u32::MAX);
        Self {
            records: records - records % PER_SESSION,
            began: now - SESSION - DAY * days,
            seed,
        }
    }

    pub(crate) fn sessions(&self) -> u64 {
        self.records / PER_SESSION
    }

    fn subjects(&self) -> u64 {
        (self.records / PER_SUBJECT).max(1)
    }

    /// The time when that part of the records, 0 to 1, has been written.
    pub(crate) fn time(&self, part: f64) -> Timestamp {
        let span = DAY.as_secs_f64() * DAYS as f64;
        self.began + Duration::from_secs_f64(span * part)
    }

    /// A session by its number.
    pub(crate) fn visit(&self, number: u64) -> Result<Visit, Fault> {
        let random = Random::new(self.seed ^ number.wrapping_mul(0xd134_2543_de82_ef95));
        let at = self.time(number as f64 / self.sessions() as f64);
        let subject = random.below(self.subjects());
        // One of them is vouched for by somebody else, so that few records are its issuer's.
        let issuer: Name = if subject == 0 { "partner" } else { "corp" }.parse()?;
        let place = (subject + random.below(2)) % PLACES;
        let agent = QualifiedId::new("corp".parse()?, format!("agent-{}", random.below(10)));
        let actor = number.is_multiple_of(5).then_some(agent);
        let key = SessionKey {
            server: format!("server-{place}").parse()?,
            subject: Principal::User(QualifiedId::new(issuer, format!("person-{subject}@example.com"))),
            actor,
            sid: Some(format!("{number:016x}")),
        };
        let session = Session {
            id: SessionId::new(at, &random),
            key,
            pinned: false,
            opened: at,
            ends: at + Duration::from_secs(8 * 60 * 60),
            last_used: at,
            issuances: 0,
            ended: None,
        };
        Ok(Visit {
            day: number * DAYS / self.sessions(),
            tools: [random.below(5), random.below(5)],
            place,
            random,
            session,
        })
    }
}

/// A session under way.
pub(crate) struct Visit {
    pub(crate) session: Session,
    random: Random,
    place: u64,
    day: u64,
    tools: [u64; 2],
}

impl Visit {
    /// The name of the target that its first record is about.
    pub(crate) fn target(&self) -> String {
        format!("target-{}", self.target_of(self.tools[0]))
    }

    fn target_of(&self, tool: u64) -> u64 {
        (self.place + tool % 2) % PLACES
    }

    /// 86 % issued, 7 % the session's end, the others refused, uses and revocations in turn of a number.
    pub(crate) fn steps(&self) -> Result<Vec<Step>, Fault> {
        let (mut steps, mut at, mut last) = (Vec::new(), self.session.opened, None);
        for number in 1..PER_SESSION {
            at += Duration::from_millis(5_000 + self.random.below(50_000));
            let tool = self.tools[usize::try_from(self.random.below(2))?];
            let step = match (self.random.below(100), last) {
                (92..95, _) => self.refused(at, tool)?,
                (95..98, Some(about)) => self.used(at, tool, about)?,
                (98.., Some(about)) => self.revoked(at, about)?,
                _ => {
                    let (id, step) = self.issued(at, tool, number)?;
                    last = Some(id);
                    step
                }
            };
            steps.push(step);
        }
        steps.push(self.ended(at + Duration::from_secs(60))?);
        Ok(steps)
    }

    fn draft(&self, at: Timestamp, event: Event) -> Draft {
        let trace_id = format!("{:016x}{:016x}", self.random.word(), self.random.word());
        let mut draft = Draft::new(IssuanceId::new(at, &self.random), at, event, trace_id);
        let (facts, clear, key) = (&mut draft.facts, &mut draft.clear, &self.session.key);
        facts.server = Some(key.server.clone());
        facts.session = Some(self.session.id);
        clear.subject = Some(key.subject.clone());
        clear.actor.clone_from(&key.actor);
        draft
    }

    /// What a request says.
    fn request(&self, at: Timestamp, tool: u64) -> Result<Draft, Fault> {
        let mut draft = self.draft(at, Event::Exchange);
        let (facts, clear, key) = (&mut draft.facts, &mut draft.clear, &self.session.key);
        let id = key.subject.id();
        facts.client_auth = Some(ClientAuth {
            method: ClientAuthMethod::ClientSecretBasic,
            key: "0123456789abcdef".to_owned(),
        });
        facts.tool = Some(format!("tool-{tool}"));
        facts.tool_call = Some(self.random.below(1_000_000).to_string());
        facts.actor_asserted_by = Some(match &key.actor {
            Some(_) => ActorAssertion::Act,
            None => ActorAssertion::Server,
        });
        facts.subject_kind = Some(key.subject.kind());
        facts.issuer = Some(id.qualifier.clone());
        facts.groups = vec![QualifiedId::new(id.qualifier.clone(), format!("team-{}", self.place))];
        facts.auth = Some(LogIn {
            acr: Some("mfa".to_owned()),
            amr: BTreeSet::from(["otp".to_owned()]),
            time: Some(self.session.opened),
        });
        facts.token_key = Some(format!("{}-{}", id.qualifier, self.day / 45));
        facts.target = Some(format!("target-{}", self.target_of(tool)).parse()?);
        facts.grants = vec![["read-rows", "write-rows", "list"][usize::try_from(tool % 3)?].parse()?];
        facts.requested = Some(Extent {
            scope: facts.grants.iter().map(ToString::to_string).collect(),
            ..Extent::default()
        });
        facts.bundle = Some(Digest::of(&[u8::try_from(self.day)?]));
        clear.iss = Some(format!("https://{}.example.com", id.qualifier));
        clear.sub = Some(id.local.clone());
        clear.sid.clone_from(&key.sid);
        clear.address = Some(format!("192.0.2.{}", self.place));
        let link = |actor: &QualifiedId| Link {
            sub: actor.local.clone(),
            iss: clear.iss.clone(),
            client_id: None,
        };
        clear.chain = key.actor.iter().map(link).collect();
        clear.params = Params::from([("project".to_owned(), ParamValue::Int(i64::try_from(self.place)?))]);
        Ok(draft)
    }

    fn issued(&self, at: Timestamp, tool: u64, number: u64) -> Result<(IssuanceId, Step), Fault> {
        let mut draft = self.request(at, tool)?;
        let age = u64::try_from(at.duration_since(self.session.opened).as_secs())?;
        let extent = |scope| Extent {
            ttl: Some(TTL.as_secs()),
            scope,
            ty: None,
        };
        let facts = &mut draft.facts;
        facts.session_facts = Some(SessionFacts {
            age,
            issuances: number - 1,
        });
        facts.allowed = Some(extent(Vec::new()));
        facts.granted = Some(extent(facts.grants.iter().map(ToString::to_string).collect()));
        facts.until = Some(at + TTL);
        facts.rules = vec![format!("team-{}-uses-its-tools", self.place)];
        facts.value_sha256 = Some(Digest::of(&self.random.word().to_be_bytes()));
        if self.target_of(tool).is_multiple_of(2) {
            facts.kind = Some("jwt");
            facts.signing_key = Some(format!("ours-{}", self.day / 30));
            facts.rights = Some(BTreeMap::from([(
                "scope",
                Right::Set(BTreeSet::from(["rows:read".to_owned()])),
            )]));
        } else {
            facts.kind = Some("postgres");
            facts.source = Some(format!("vault:kv/target-{}", self.target_of(tool)));
            facts.source_version = Some((self.day / 10).to_string());
            facts.handle = Some(Handle::new(INSTALLATION, draft.id).as_str().to_owned());
            facts.rights = Some(BTreeMap::from([("connection_limit", Right::Number(2))]));
        }
        let key = &self.session.key;
        let guard = Guard {
            session: self.session.id,
            token: TokenFacts {
                server: key.server.clone(),
                subject: key.subject.clone(),
                actor: key.actor.clone(),
                issued_at: Some(self.session.opened),
            },
        };
        let conditions = Conditions {
            guard: Some(guard),
            ..Conditions::default()
        };
        let entry = draft.seal(Outcome::Issued, None, &self.random)?;
        Ok((draft.id, Step::Append(Box::new(entry), Box::new(conditions))))
    }

    fn refused(&self, at: Timestamp, tool: u64) -> Result<Step, Fault> {
        let draft = self.request(at, tool)?;
        let entry = draft.seal(Outcome::Refused, Some(Reason::PolicyDenied.code()), &self.random)?;
        Ok(Step::Append(Box::new(entry), Box::default()))
    }

    fn used(&self, at: Timestamp, tool: u64, about: IssuanceId) -> Result<Step, Fault> {
        let mut draft = self.request(at, tool)?;
        draft.event = Event::Use;
        draft.facts.about = Some(about);
        draft.facts.used = Some(Used {
            started: at,
            duration_ms: self.random.below(2_000),
            outcome: UseOutcome::Ok,
            result_bytes: None,
            arguments_sha256: None,
        });
        let entry = draft.seal(Outcome::Reported, None, &self.random)?;
        Ok(Step::Append(Box::new(entry), Box::default()))
    }

    fn revoked(&self, at: Timestamp, about: IssuanceId) -> Result<Step, Fault> {
        let mut draft = self.draft(at, Event::Revocation);
        draft.facts.about = Some(about);
        let entry = draft.seal(Outcome::Done, None, &self.random)?;
        Ok(Step::Revoke(about, Box::new(entry)))
    }

    fn ended(&self, at: Timestamp) -> Result<Step, Fault> {
        let mut draft = self.draft(at, Event::SessionEnd);
        draft.facts.ended_by = Some(EndedBy::Server);
        let entry = draft.seal(Outcome::Done, None, &self.random)?;
        Ok(Step::End(Box::new(entry)))
    }
}

impl Step {
    /// The record.
    pub(crate) fn entry(&self) -> &Entry {
        match self {
            Self::Append(entry, _) | Self::Revoke(_, entry) | Self::End(entry) => entry,
        }
    }
}
