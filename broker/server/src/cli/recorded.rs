//! `procura policy explain --issuance`: a recorded decision, made again with the bundle that made it.

use std::{collections::BTreeSet, time::Duration};

use procura_core::{
    Timestamp,
    catalogue::Grant,
    identity::{LogIn, Principal},
    judgement::{Judge, NearMiss, SessionFacts},
    params::{self, Params},
};
use procura_policy::{Bundle, Case, Explanation, Loaded, load};
use procura_wire::{Digest, Name, QualifiedId, Reason};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Map, Value};
use uuid::Uuid;

use super::{
    Failure,
    api::Connection,
    policy::{as_case, listed},
    print::{self, plain},
    show::{self, Proof},
};
use crate::{dev::OPTIONS, kinds::KINDS};

/// What a record says in clear of its decision.
#[derive(Debug, Deserialize)]
struct Leaf {
    event: String,
    reason: Option<String>,
    at: Timestamp,
    server: Option<Name>,
    tool: Option<String>,
    session_facts: Option<SessionFacts>,
    #[serde(default)]
    groups: BTreeSet<QualifiedId>,
    #[serde(default)]
    auth: LogIn,
    target: Option<Name>,
    #[serde(default)]
    grants: Vec<Name>,
    #[serde(default)]
    requested: Extent,
    allowed: Option<Extent>,
    bundle: Option<Digest>,
    #[serde(default)]
    rules: Vec<String>,
    #[serde(default)]
    near: Vec<NearMiss>,
}

#[derive(Debug, Default, Deserialize)]
struct Extent {
    ttl: Option<u64>,
    #[serde(default)]
    scope: Vec<String>,
}

/// What stands in its commitment.
#[derive(Debug, Deserialize)]
struct Clear {
    subject: Option<Principal>,
    #[serde(default)]
    subject_scopes: BTreeSet<String>,
    actor: Option<QualifiedId>,
    #[serde(default)]
    requested_params: Map<String, Value>,
    #[serde(default)]
    params: Params,
}

struct Recorded {
    id: Uuid,
    leaf: Leaf,
    clear: Clear,
}

/// Runs the command.
pub(super) async fn explain(id: Uuid, connection: &Connection, wants_case: bool) -> Result<(), Failure> {
    let api = connection.open()?;
    let recorded = Recorded::read(id, &api.get(&format!("/issuances/{id}"), &[]).await?)?;
    let digest = recorded.leaf.bundle;
    let digest = digest.ok_or_else(|| Failure::found("the record names no bundle"))?;
    let loaded = bundle(&api.bytes(&format!("/bundles/{digest}")).await?, digest)?;
    let decided = recorded.decide(&loaded)?;
    if wants_case {
        for (case, _) in &decided {
            print::text(format_args!("{}", as_case(&loaded, case)?));
        }
        return Ok(());
    }
    print::line(format_args!(
        "exchange {id} at {}, by bundle {digest}",
        recorded.leaf.at
    ));
    for (case, explanation) in &decided {
        print::line(format_args!("{}: {}", case.grant, plain(&explanation.to_string())));
    }
    recorded.end(&decided)
}

/// The bundle of that digest, whoever sent it.
fn bundle(content: &[u8], digest: Digest) -> Result<Loaded, Failure> {
    let bundle = Bundle::from_content(content).ok();
    let bundle = bundle.filter(|bundle| bundle.digest() == digest);
    let bundle = bundle.ok_or_else(|| Failure::found("the broker's answer is not the bundle that decided"))?;
    load(&bundle, &KINDS, OPTIONS).map_err(|mistakes| listed(&mistakes))
}

impl Recorded {
    /// Reads an answer of `/v1/issuances/{id}`.
    fn read(id: Uuid, answer: &Value) -> Result<Self, Failure> {
        match show::verify(answer) {
            Proof::Verified => {}
            Proof::Erased => {
                return Err(Failure::found(
                    "the personal data and parameters of this record were erased, and with them what it was decided \
                     by; `procura log show` has the rules that decided",
                ));
            }
            Proof::Broken => return Err(Failure::found("the commitment does not fit the clear text")),
        }
        let recorded = Self {
            id,
            leaf: part(&answer["leaf"])?,
            clear: part(&answer["clear"])?,
        };
        match recorded.leaf.event.as_str() {
            "exchange" => Ok(recorded),
            event => Err(Failure::found(format!(
                "this is the record of a {}; rules decide about exchanges",
                plain(event)
            ))),
        }
    }

    /// What the rules say of each grant. An error where they were not asked about one.
    fn decide(&self, loaded: &Loaded) -> Result<Vec<(Case, Explanation)>, Failure> {
        let above_ceiling = self.leaf.reason.as_deref() == Some(Reason::GrantUnlisted.code());
        if self.leaf.allowed.is_none() && !above_ceiling {
            return Err(self.not_asked());
        }
        let cases = self.cases(loaded).ok_or_else(|| incomplete(self.id))?;
        let mut decided = Vec::new();
        for case in cases {
            let explanation = loaded.explain(&case);
            // Of a request above the ceiling nothing else was looked at.
            if above_ceiling && explanation.ceiling.is_none() {
                continue;
            }
            let permits = explanation.permits();
            decided.push((case, explanation));
            if !permits {
                break;
            }
        }
        if self.agrees(&decided) {
            Ok(decided)
        } else {
            let now: Vec<_> = decided.iter().map(|(_, now)| plain(&now.to_string())).collect();
            Err(Failure::found(format!(
                "decided again it is `{}`, which is not what the record says (its rules: {}): another version of \
                 procura decided, or this is not what was recorded",
                now.join("`, `"),
                plain(&self.leaf.rules.join(", ")),
            )))
        }
    }

    /// Whether the record has the same. Beside these rules it names those of `act_for`.
    fn agrees(&self, decided: &[(Case, Explanation)]) -> bool {
        let by_rules = [Reason::GrantUnlisted, Reason::PolicyDenied, Reason::PolicyError];
        let denied = by_rules
            .iter()
            .any(|reason| self.leaf.reason.as_deref() == Some(reason.code()));
        let permits = decided.iter().all(|(_, now)| now.permits());
        let asked = decided.iter().filter(|(_, now)| now.ceiling.is_none());
        let mut rules = asked.flat_map(|(_, now)| &now.verdict.rules);
        !decided.is_empty() && permits != denied && rules.all(|rule| self.leaf.rules.contains(rule))
    }

    /// One case for each grant.
    fn cases(&self, loaded: &Loaded) -> Option<Vec<Case>> {
        let (leaf, target) = (&self.leaf, self.leaf.target.as_ref()?);
        let declared = &loaded.catalogue().targets.get(target)?.grants;
        let requested = leaf.requested.scope.iter().filter_map(|scope| scope.parse().ok());
        let names: Vec<Name> = match &leaf.grants[..] {
            [] => requested.collect(),
            grants => grants.to_vec(),
        };
        let grants = names.iter().filter_map(|name| Some((name, declared.get(name)?)));
        grants
            .map(|(name, grant)| self.case(QualifiedId::new(target.clone(), name.as_str()), grant))
            .collect()
    }

    fn case(&self, id: QualifiedId, grant: &Grant) -> Option<Case> {
        let Self { leaf, clear, .. } = self;
        // Above the ceiling the parameters were not read yet.
        let params = match &leaf.grants[..] {
            [] => params::read(&grant.params, &clear.requested_params).unwrap_or_default(),
            _ => clear.params.clone(),
        };
        let ttl = leaf
            .allowed
            .as_ref()
            .unwrap_or(&leaf.requested)
            .ttl
            .map(Duration::from_secs);
        Some(Case {
            name: format!("issuance {}: {}", self.id, id),
            subject: clear.subject.clone()?,
            groups: leaf.groups.clone(),
            actor: clear.actor.clone(),
            server: leaf.server.clone()?,
            tool: leaf.tool.clone(),
            grant: id,
            params,
            at: leaf.at,
            session: leaf.session_facts.unwrap_or_default(),
            ttl: ttl.or(grant.ttl).unwrap_or(grant.max_ttl),
            auth: leaf.auth.clone(),
            subject_scopes: clear.subject_scopes.clone(),
            expect: None,
        })
    }

    /// Refused before the rules were asked about a grant; whether an agent may act they were asked, maybe.
    fn not_asked(&self) -> Failure {
        let mut text = format!("no rule about a grant was asked: refused before, {}", self.reason());
        for near in &self.leaf.near {
            text += &format!(
                "\n  rule {} came near; not true: {}",
                plain(&near.rule),
                plain(&near.clause)
            );
        }
        Failure::found(text)
    }

    fn reason(&self) -> String {
        let code = self.leaf.reason.as_deref().unwrap_or_default();
        let text = Reason::from_code(code).map_or("", Reason::text);
        format!("{}. {text}", plain(code))
    }

    /// Exit 0 for what was issued.
    fn end(&self, decided: &[(Case, Explanation)]) -> Result<(), Failure> {
        let denied = decided.iter().any(|(_, explanation)| !explanation.permits());
        match (denied, &self.leaf.reason) {
            (true, _) => Err(Failure::found("denied")),
            (false, Some(_)) => Err(Failure::found(format!(
                "the rules permit it; it was refused for another reason, {}",
                self.reason()
            ))),
            (false, None) => Ok(()),
        }
    }
}

/// JSON that stands in a string, so that its exact bytes survive.
fn part<T: DeserializeOwned>(text: &Value) -> Result<T, Failure> {
    let text = text.as_str().unwrap_or_default();
    serde_json::from_str(text).map_err(|error| Failure::found(format!("the record cannot be read: {error}")))
}

fn incomplete(id: Uuid) -> Failure {
    Failure::found(format!("the record {id} does not hold the whole input of its decision"))
}

#[cfg(test)]
mod tests;
