//! `tests/*.toml`: cases, read and asked as a request would ask.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use jiff::Timestamp;
use procura_core::{
    catalogue::{Catalogue, Grant},
    identity::{Actor, ActorAssertion, LogIn, Principal, Subject, VerifiedToken},
    judgement::{Question, SessionFacts},
    params::{self, Params},
};
use procura_wire::{Name, QualifiedId};
use serde_json::{Map, Value};

use crate::{
    bundle::Bundle,
    declare::{self, listed},
    mistake::Mistake,
    table::{Item, Table},
};

/// A request that is imagined, and what is expected of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Case {
    /// What it shows.
    pub name: String,
    /// Whom the work is for.
    pub subject: Principal,
    /// The groups of the subject.
    pub groups: BTreeSet<QualifiedId>,
    /// The agent that acts; `None` where the server itself does.
    pub actor: Option<QualifiedId>,
    /// The server that asks.
    pub server: Name,
    /// The tool that it names.
    pub tool: Option<String>,
    /// What it asks for.
    pub grant: QualifiedId,
    /// Parameters.
    pub params: Params,
    /// Now; where a file does not say, noon UTC of 2026-01-01, so that a case never depends on the day.
    pub at: Timestamp,
    /// What is known of the session; a new one where a file does not say.
    pub session: SessionFacts,
    /// Lifetime asked for; where a file does not say, the grant's own.
    pub ttl: Duration,
    /// How and when the subject logged in.
    pub auth: LogIn,
    /// `scope` of the subject token.
    pub subject_scopes: BTreeSet<String>,
    /// What must come out; tests of a bundle always say.
    pub expect: Option<Expect>,
}

/// What must come out of a case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expect {
    /// Permitted or not.
    pub permit: bool,
    /// The deciding rules, where they are asked for.
    pub by: Option<BTreeSet<String>>,
}

/// A case with its place in the bundle.
pub(crate) struct Listed {
    pub(crate) case: Case,
    /// Where a failure is reported; its text is replaced.
    pub(crate) place: Mistake,
}

/// Noon UTC of 2026-01-01.
const NOON: i64 = 1_767_268_800;

pub(crate) fn read_all(bundle: &Bundle, catalogue: &Catalogue, mistakes: &mut Vec<Mistake>) -> Vec<Listed> {
    let files = listed(bundle, "tests", ".toml");
    let read = files.map(|(path, _, bytes)| {
        let cases = file(path, bytes, catalogue, mistakes);
        for Listed { case, place } in cases.iter().filter(|listed| listed.case.expect.is_none()) {
            let text = format!(
                "`{}` expects nothing; add expect = \"permit\" or expect = \"deny\"",
                case.name
            );
            mistakes.push(Mistake { text, ..place.clone() });
        }
        cases
    });
    read.flatten().collect()
}

pub(crate) fn file(path: &str, bytes: &[u8], catalogue: &Catalogue, mistakes: &mut Vec<Mistake>) -> Vec<Listed> {
    let source = std::str::from_utf8(bytes).unwrap_or_default();
    let cases = declare::file(path, bytes, mistakes, |table| {
        let cases = table.need("case", "[[case]] followed by its keys")?.list()?;
        let read = |item: Item<'_>| {
            let mut table = item.table()?;
            let case = case(&mut table, catalogue);
            table.finish();
            let place = Mistake::at(path, source, item.at, "");
            Some(Listed { case: case?, place })
        };
        Some(cases.into_iter().filter_map(read).collect())
    });
    cases.unwrap_or_default()
}

fn case(table: &mut Table<'_>, catalogue: &Catalogue) -> Option<Case> {
    let name = table
        .need("name", "\"support reads its own repository\"")
        .and_then(Item::filled);
    let subject = table.need("subject", "{ user = \"corp/alice\", groups = [\"support\"] }");
    let subject = subject.and_then(|item| nested(item, |table| subject_of(table, catalogue)));
    let actor = table.take("actor").map(|item| agent(item, catalogue));
    let server = table.need("server", "\"tickets\"").and_then(|item| {
        let names: Vec<_> = catalogue.servers.keys().cloned().collect();
        item.declared(&names, "servers")
    });
    let tool = table.take("tool").and_then(Item::filled).map(str::to_owned);
    let grant = table
        .need("grant", "\"github/read-issues\"")
        .and_then(|item| grant_of(item, catalogue));
    let params = match &grant {
        Some((_, grant)) => params_of(table, grant),
        None => table.take("params").and(None),
    };
    let at = table.take("at").and_then(Item::moment);
    let at = at.or(Timestamp::from_second(NOON).ok())?;
    let session = table.take("session").and_then(|item| nested(item, session));
    let ttl = table.take("ttl").and_then(Item::duration);
    let auth = table
        .take("auth")
        .and_then(|item| nested(item, |table| auth(table, at)));
    let scopes = table.take("subject_scopes").and_then(Item::texts).unwrap_or_default();
    let by = table.take("by").and_then(strings);
    let expect = table
        .take("expect")
        .and_then(|item| item.one_of(&[("permit", true), ("deny", false)]));
    let (subject, groups) = subject?;
    let (id, grant) = grant?;
    Some(Case {
        name: name.unwrap_or_default().to_owned(),
        subject,
        groups,
        actor: match actor {
            None => None,
            Some(actor) => Some(actor?),
        },
        server: server?,
        tool,
        grant: id,
        params: params?,
        at,
        session: session.unwrap_or_default(),
        ttl: ttl.or(grant.ttl).unwrap_or(grant.max_ttl),
        auth: auth.unwrap_or_default(),
        subject_scopes: scopes.into_iter().map(|(scope, _)| scope.to_owned()).collect(),
        expect: expect.map(|permit| Expect { permit, by }),
    })
}

/// Reads a table within a case to its end.
fn nested<T>(item: Item<'_>, read: impl FnOnce(&mut Table<'_>) -> Option<T>) -> Option<T> {
    let mut table = item.table()?;
    let value = read(&mut table);
    table.finish();
    value
}

fn strings(item: Item<'_>) -> Option<BTreeSet<String>> {
    Some(item.texts()?.into_iter().map(|(text, _)| text.to_owned()).collect())
}

fn subject_of(table: &mut Table<'_>, catalogue: &Catalogue) -> Option<(Principal, BTreeSet<QualifiedId>)> {
    let user = table
        .take("user")
        .map(|item| user(item, catalogue).map(Principal::User));
    let agent = table
        .take("agent")
        .map(|item| agent(item, catalogue).map(Principal::Agent));
    let groups = table.take("groups").and_then(Item::texts).unwrap_or_default();
    let ((Some(principal), None) | (None, Some(principal))) = (user, agent) else {
        table.mistake("a subject is either user = \"issuer/name\" or agent = \"issuer/file\"");
        return None;
    };
    let principal = principal?;
    let declared = declare::groups(catalogue);
    let alias = &principal.id().qualifier;
    let qualify = |(name, item): (&str, Item<'_>)| {
        let group = QualifiedId::new(alias.clone(), name);
        if !declared.contains(&group) {
            item.mistake(format!("issuers/{alias}.toml has no group `{name}`"));
        }
        group
    };
    let groups = groups.into_iter().map(qualify).collect();
    Some((principal, groups))
}

fn user(item: Item<'_>, catalogue: &Catalogue) -> Option<QualifiedId> {
    let id: QualifiedId = item.parse()?;
    if !catalogue.issuers.contains_key(&id.qualifier) {
        item.mistake(format!("`{id}`: there is no issuers/{}.toml", id.qualifier));
        return None;
    }
    Some(id)
}

fn agent(item: Item<'_>, catalogue: &Catalogue) -> Option<QualifiedId> {
    let id: QualifiedId = item.parse()?;
    let file = catalogue.agents.get(id.local.as_str());
    if file.is_none_or(|agent| agent.issuer != id.qualifier) {
        let (issuer, name) = (&id.qualifier, &id.local);
        item.mistake(format!(
            "`{id}`: there is no agents/{name}.toml with issuer = \"{issuer}\""
        ));
        return None;
    }
    Some(id)
}

fn grant_of<'c>(item: Item<'_>, catalogue: &'c Catalogue) -> Option<(QualifiedId, &'c Grant)> {
    let id: QualifiedId = item.parse()?;
    let target = catalogue.targets.get(&id.qualifier);
    let grant = target.and_then(|target| target.grants.get(id.local.as_str()));
    if grant.is_none() {
        item.mistake(format!("`{id}` is not declared in targets/{}.toml", id.qualifier));
    }
    Some((id, grant?))
}

fn params_of(table: &mut Table<'_>, grant: &Grant) -> Option<Params> {
    let given = table.take("params");
    let values = match given {
        Some(item) => serde_values(item)?,
        None => Map::new(),
    };
    let params = params::read(&grant.params, &values);
    if params.is_none() {
        let known: Vec<_> = grant.params.keys().map(String::as_str).collect();
        let text = format!(
            "these parameters do not fit the grant, which declares: {}",
            known.join(", ")
        );
        match given {
            Some(item) => item.mistake(text),
            None => table.mistake(text),
        }
    }
    params
}

fn serde_values(item: Item<'_>) -> Option<Map<String, Value>> {
    let entries = item.table()?.entries();
    entries
        .into_iter()
        .map(|(name, item)| Some((name.to_owned(), item.json()?)))
        .collect()
}

fn session(table: &mut Table<'_>) -> Option<SessionFacts> {
    let age = table.take("age").and_then(Item::duration).unwrap_or_default();
    let issuances = table.take("issuances").and_then(|item| {
        let count = u64::try_from(item.int()?).ok();
        if count.is_none() {
            item.mistake("a count cannot be below zero");
        }
        count
    });
    Some(SessionFacts {
        age: age.as_secs(),
        issuances: issuances.unwrap_or_default(),
    })
}

fn auth(table: &mut Table<'_>, at: Timestamp) -> Option<LogIn> {
    let acr = table.take("acr").and_then(Item::filled);
    let amr = table.take("amr").and_then(strings).unwrap_or_default();
    let age = table.take("age").and_then(Item::duration);
    let time = match table.take("time") {
        Some(item) if age.is_some() => {
            item.mistake("`time` and `age` say the same; write one of them");
            None
        }
        time => time.and_then(Item::moment),
    };
    Some(LogIn {
        acr: acr.map(str::to_owned),
        amr,
        time: time.or_else(|| at.checked_sub(age?).ok()),
    })
}

/// A case in the values that a request is judged by.
pub(crate) struct Asking {
    pub(crate) subject: Subject,
    actor: Actor,
    target: Name,
    grant: Option<Name>,
}

impl Asking {
    pub(crate) fn new(case: &Case) -> Self {
        let id = case.subject.id();
        let token = VerifiedToken {
            issuer: id.qualifier.clone(),
            iss: String::new(),
            sub: id.local.clone(),
            audience: Vec::new(),
            expires: Timestamp::MAX,
            not_before: None,
            issued_at: None,
            jti: None,
            confirmation: None,
            sid: None,
            client: None,
            scopes: Some(case.subject_scopes.clone()),
            groups: case.groups.clone(),
            auth: case.auth.clone(),
            act: Vec::new(),
            may_act: None,
            vouched: Default::default(),
        };
        let asserted_by = match case.actor {
            Some(_) => ActorAssertion::Act,
            None => ActorAssertion::Server,
        };
        Self {
            subject: Subject {
                principal: case.subject.clone(),
                token: Arc::new(token),
            },
            actor: Actor {
                agent: case.actor.clone(),
                asserted_by,
                chain: Vec::new(),
                expires: None,
            },
            target: case.grant.qualifier.clone(),
            grant: case.grant.local.parse().ok(),
        }
    }

    /// The question that core would put; `None` where the grant's name is none.
    pub(crate) fn question<'a>(&'a self, case: &'a Case) -> Option<Question<'a>> {
        Some(Question {
            subject: &self.subject,
            actor: &self.actor,
            server: &case.server,
            tool: case.tool.as_deref(),
            target: &self.target,
            grant: self.grant.as_ref()?,
            params: &case.params,
            session: case.session,
            ttl: case.ttl,
            now: case.at,
        })
    }
}
