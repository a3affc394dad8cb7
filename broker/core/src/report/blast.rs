//! `procura report blast-radius`: what one thing could reach, what of it lives, what was had with it.

use std::collections::BTreeSet;

use procura_wire::{Name, QualifiedId};
use serde::Serialize;

use super::{
    Counted, LiveAt, Reach, Readers, Step, counted, list,
    live::{LeafTest, Living, live},
    next,
    reach::{Within, reach},
    text,
};
use crate::{
    Timestamp,
    catalogue::Catalogue,
    judgement::{Judge, Whom},
    kind::Place,
    ledger::StoreError,
    usage::{Day, Dimension, Sum, UsageFilter},
};

/// Most rows of each table.
const ROWS: u32 = 100;
/// Most grants that could be reached.
const REACHED: usize = 1000;

/// What the report is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Selector {
    /// A target's own credential by its reference, and maybe its version.
    Source(String, Option<String>),
    /// A target.
    Target(Name),
    /// A user, or an agent that works for itself.
    Subject(QualifiedId),
    /// An agent that acts for others.
    Agent(QualifiedId),
    /// A server.
    Server(Name),
    /// Whoever vouches for subjects.
    Issuer(Name),
    /// A key by its `kid`: the broker's, or an issuer's.
    SigningKey(String),
}

/// The answer.
#[derive(Debug, Clone, Serialize)]
pub struct BlastRadius {
    /// For a key, whose it is: `broker`, or aliases of issuers. Empty where nobody knows it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_of: Option<BTreeSet<String>>,
    /// What the bundle in force lets it reach, at most.
    pub could: Vec<Reach>,
    /// There is more than `could` has.
    pub could_more: bool,
    /// What lives now.
    pub live: Vec<LiveAt>,
    /// More may live than was looked at: the newest thousand of each target.
    pub live_more: bool,
    /// When the last of what lives ends, as far as it has an end.
    pub worst: Option<Timestamp>,
    /// What was had with it.
    pub obtained: Obtained,
    /// How far `obtained` counts.
    pub counted: Counted,
    /// What to do.
    pub next: Vec<Step>,
}

/// What the log says was had.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Obtained {
    /// From this time on; none is from the beginning.
    pub since: Option<Timestamp>,
    /// Credentials issued, requests refused, uses reported.
    pub issued: u64,
    /// Requests refused.
    pub refused: u64,
    /// Uses reported.
    pub reported: u64,
    /// First record.
    pub first: Option<Timestamp>,
    /// Last record.
    pub last: Option<Timestamp>,
    /// By target and grants, the last used first.
    pub by_grant: Vec<Had>,
    /// By subject; without a name where it was erased.
    pub by_subject: Vec<Had>,
    /// By server.
    pub by_server: Vec<Had>,
}

/// One row.
#[derive(Debug, Clone, Serialize)]
pub struct Had {
    /// The target and its grants, the subject or the server.
    pub what: Option<String>,
    /// How often, first and last.
    #[serde(flatten)]
    pub sum: Sum,
}

/// Everything about the selector that the reader may see. `since` is a day of UTC.
pub async fn blast_radius(
    readers: Readers<'_>,
    selector: &Selector,
    (since, readable): (Option<Day>, Option<Vec<Name>>),
    own_keys: &BTreeSet<String>,
) -> Result<BlastRadius, StoreError> {
    let snapshot = readers.ports.active.snapshot();
    let judge = &*snapshot.judge;
    let filter = |filter: UsageFilter| UsageFilter {
        since,
        targets: readable.clone(),
        ..filter
    };
    let mut scope = Scope {
        readers,
        catalogue: judge.catalogue(),
        filters: Vec::new(),
        key_of: BTreeSet::new(),
        groups: BTreeSet::new(),
    };
    scope.look(selector, own_keys, filter).await?;
    let targets = scope.targets(selector).await?;
    let visible = visible(&readable, targets);
    let named = visible.clone().unwrap_or_default();
    let mut could = scope.could(judge, selector, visible.clone());
    let could_more = could.len() > REACHED;
    could.truncate(REACHED);
    let (live, live_more) = live(readers, &living(selector, visible)).await?;
    let mut steps = Vec::new();
    if readable.is_none() {
        steps = next::sessions(readers, selector).await?;
    }
    let ours = scope.key_of.contains("broker");
    steps.extend(next::steps(selector, scope.catalogue, &named, ours));
    Ok(BlastRadius {
        worst: live.iter().filter_map(|at| at.until).max(),
        obtained: scope.obtained(since).await?,
        counted: counted(readers.usage, readable.is_none()).await?,
        key_of: matches!(selector, Selector::SigningKey(_)).then_some(scope.key_of),
        next: steps,
        could,
        could_more,
        live,
        live_more,
    })
}

/// Of these targets, those that the reader may see.
fn visible(readable: &Option<Vec<Name>>, targets: Option<BTreeSet<Name>>) -> Option<BTreeSet<Name>> {
    match (readable, targets) {
        (None, targets) => targets,
        (Some(readable), None) => Some(readable.iter().cloned().collect()),
        (Some(readable), Some(targets)) => Some(targets.into_iter().filter(|name| readable.contains(name)).collect()),
    }
}

fn living(selector: &Selector, targets: Option<BTreeSet<Name>>) -> Living {
    let mut living = Living {
        targets,
        ..Living::default()
    };
    match selector.clone() {
        Selector::Source(source, version) => {
            living.leaf = Some(LeafTest::Source(source));
            living.source_version = version;
        }
        Selector::Target(_) => {}
        Selector::Subject(id) => living.subject = Some(id),
        Selector::Agent(id) => living.actor = Some(id),
        Selector::Server(name) => living.server = Some(name),
        Selector::Issuer(name) => {
            living.issuer = Some(name.clone());
            living.leaf = Some(LeafTest::Issuer(name));
        }
        Selector::SigningKey(key) => living.leaf = Some(LeafTest::Key(key)),
    }
    living
}

struct Scope<'a> {
    readers: Readers<'a>,
    catalogue: &'a Catalogue,
    /// Which sums; for a key that both sides have, both.
    filters: Vec<UsageFilter>,
    key_of: BTreeSet<String>,
    /// Groups that the subject was last seen with.
    groups: BTreeSet<String>,
}

impl Scope<'_> {
    /// What the sums are selected by, and what the bundle alone does not say.
    async fn look(
        &mut self,
        selector: &Selector,
        own_keys: &BTreeSet<String>,
        filter: impl Fn(UsageFilter) -> UsageFilter,
    ) -> Result<(), StoreError> {
        let mut only = UsageFilter::default();
        match selector.clone() {
            Selector::Source(source, version) => (only.source, only.source_version) = (Some(source), version),
            Selector::Target(target) => only.target = Some(target),
            Selector::Subject(id) => only.subject = Some(id),
            Selector::Agent(id) => only.actor = Some(id),
            Selector::Server(name) => only.server = Some(name),
            Selector::Issuer(name) => only.issuer = Some(name),
            Selector::SigningKey(key) => return self.look_for_key(&key, own_keys, filter).await,
        }
        if only.subject.is_some() {
            let usage = self.readers.usage;
            let seen = usage.sums(filter(only.clone()), vec![Dimension::Groups], ROWS).await?;
            self.groups = seen.iter().flat_map(|sum| list(sum, 0)).collect();
        }
        self.filters.push(filter(only));
        Ok(())
    }

    async fn look_for_key(
        &mut self,
        key: &str,
        own_keys: &BTreeSet<String>,
        filter: impl Fn(UsageFilter) -> UsageFilter,
    ) -> Result<(), StoreError> {
        let usage = self.readers.usage;
        let ours = filter(UsageFilter {
            signing_key: Some(key.to_owned()),
            ..UsageFilter::default()
        });
        let theirs = filter(UsageFilter {
            token_key: Some(key.to_owned()),
            ..UsageFilter::default()
        });
        if own_keys.contains(key) || !usage.sums(ours.clone(), Vec::new(), 1).await?.is_empty() {
            self.key_of.insert("broker".to_owned());
            self.filters.push(ours);
        }
        let issuers = usage.sums(theirs.clone(), vec![Dimension::Issuer], ROWS).await?;
        if !issuers.is_empty() {
            // A colon, so that an issuer's alias is never taken for the broker.
            let names = issuers.iter().filter_map(|sum| text(sum, 0));
            self.key_of.extend(names.map(|name| format!("issuer:{name}")));
            self.filters.push(theirs);
        }
        Ok(())
    }

    /// The targets that it is about; `None` where it is about none in particular.
    async fn targets(&self, selector: &Selector) -> Result<Option<BTreeSet<Name>>, StoreError> {
        match selector {
            Selector::Target(target) => Ok(Some(BTreeSet::from([target.clone()]))),
            Selector::Source(source, _) => {
                let declared = self.catalogue.targets.iter();
                let has = declared.filter(|(_, target)| target.source.as_ref() == Some(source));
                let mut targets: BTreeSet<Name> = has.map(|(name, _)| name.clone()).collect();
                // Also those that had it before.
                for filter in &self.filters {
                    let had = self
                        .readers
                        .usage
                        .sums(filter.clone(), vec![Dimension::Target], ROWS)
                        .await?;
                    targets.extend(had.iter().filter_map(|sum| text(sum, 0)?.parse().ok()));
                }
                Ok(Some(targets))
            }
            _ => Ok(None),
        }
    }

    fn could(&self, judge: &dyn Judge, selector: &Selector, targets: Option<BTreeSet<Name>>) -> Vec<Reach> {
        let mut within = Within {
            targets,
            ..Within::default()
        };
        let is_group = |whom: &Whom| matches!(whom, Whom::Group(_));
        match selector {
            Selector::Source(..) | Selector::Target(_) => {}
            Selector::Server(name) => within.server = Some(name),
            Selector::Subject(id) => {
                let id = id.to_string();
                within.whom = Some(Box::new(move |whom| {
                    whom.id() == id || (is_group(whom) && self.groups.contains(whom.id()))
                }));
            }
            // For itself, or for any user: who that may be is up to conditions and to `act_for`.
            Selector::Agent(id) => {
                let id = id.to_string();
                within.whom = Some(Box::new(
                    move |whom| !matches!(whom, Whom::Agent(other) if *other != id),
                ));
            }
            Selector::Issuer(name) => within.whom = Some(of_issuers(BTreeSet::from([name.to_string()]))),
            Selector::SigningKey(_) if self.key_of.contains("broker") => {
                let signed = self.catalogue.targets.iter();
                let signed = signed.filter(|(_, target)| target.kind.place == Place::Local);
                let signed: BTreeSet<Name> = signed.map(|(name, _)| name.clone()).collect();
                within.targets = Some(match within.targets {
                    Some(targets) => targets.intersection(&signed).cloned().collect(),
                    None => signed,
                });
            }
            Selector::SigningKey(_) => {
                let issuers = self.key_of.iter().filter_map(|of| of.strip_prefix("issuer:"));
                let issuers: BTreeSet<String> = issuers.map(str::to_owned).collect();
                if issuers.is_empty() {
                    return Vec::new();
                }
                within.whom = Some(of_issuers(issuers));
            }
        }
        reach(judge, &within)
    }

    async fn obtained(&self, since: Option<Day>) -> Result<Obtained, StoreError> {
        let mut obtained = Obtained {
            since: since.map(Day::begins),
            ..Obtained::default()
        };
        for filter in &self.filters {
            let sums = async |by: Vec<Dimension>| self.readers.usage.sums(filter.clone(), by, ROWS).await;
            for sum in sums(Vec::new()).await? {
                obtained.issued += sum.issued;
                obtained.refused += sum.refused;
                obtained.reported += sum.reported;
                obtained.first = obtained.first.into_iter().chain([sum.first]).min();
                obtained.last = obtained.last.max(Some(sum.last));
            }
            let grants = sums(vec![Dimension::Target, Dimension::Grants]).await?;
            obtained.by_grant.extend(grants.into_iter().map(by_grant));
            let by = |sum: Sum| Had {
                what: text(&sum, 0).map(str::to_owned),
                sum,
            };
            let subjects = sums(vec![Dimension::Subject]).await?;
            obtained.by_subject.extend(subjects.into_iter().map(by));
            let servers = sums(vec![Dimension::Server]).await?;
            obtained.by_server.extend(servers.into_iter().map(by));
        }
        Ok(obtained)
    }
}

fn by_grant(sum: Sum) -> Had {
    let grants = list(&sum, 1).join(",");
    let what = text(&sum, 0).map(|target| match grants.is_empty() {
        true => target.to_owned(),
        false => format!("{target}/{grants}"),
    });
    Had { what, sum }
}

/// Permits for people and agents of these issuers.
fn of_issuers<'a>(issuers: BTreeSet<String>) -> Box<dyn Fn(&Whom) -> bool + Send + 'a> {
    Box::new(move |whom| {
        let alias = whom.id().split_once('/').map_or("", |(alias, _)| alias);
        issuers.contains(alias)
    })
}
