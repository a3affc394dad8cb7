//! What a newcomer tries first: found in whatever bundle runs.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use procura_core::{
    Timestamp,
    catalogue::{Catalogue, Grant, Server, ServerAuth},
    identity::{Actor, ActorAssertion, LogIn, Principal, Subject, VerifiedToken},
    judgement::{Effect, Judge, Question, SessionFacts},
    params::Params,
};
use procura_wire::{Name, QualifiedId};

use super::issuer::{BUILTIN, USERS, groups};

/// The server that samples prefer, where the bundle has it.
const PREFERRED: &str = "tickets";

/// One exchange that is permitted, and one that is not.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Sample {
    pub(crate) server: Name,
    pub(crate) target: Name,
    pub(crate) grant: Name,
    /// A tool that reaches the grant too.
    pub(crate) tool: String,
    pub(crate) denied: Attempt,
}

/// An exchange to try.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Attempt {
    pub(crate) target: Name,
    pub(crate) grant: Name,
    pub(crate) tool: Option<String>,
    /// Where it is not the sample user.
    pub(crate) user: Option<&'static str>,
}

impl Attempt {
    /// The command line, program apart.
    pub(crate) fn command(&self) -> String {
        let mut line = format!("exchange --target {} --grant {}", self.target, self.grant);
        for (flag, value) in [("tool", self.tool.as_deref()), ("as", self.user)] {
            if let Some(value) = value {
                line += &format!(" --{flag} {value}");
            }
        }
        line
    }
}

impl Sample {
    /// The exchange that is permitted.
    pub(crate) fn permitted(&self) -> Attempt {
        Attempt {
            target: self.target.clone(),
            grant: self.grant.clone(),
            tool: None,
            user: None,
        }
    }
}

/// Commands are shorter than this.
const COLUMNS: usize = 80;

/// Looks for a server of development mode with a grant of kind `jwt` that the user gets without naming
/// a tool. `None` where the bundle has none. What is denied should fit in a line behind `program`.
pub(crate) fn find(judge: &dyn Judge, user: &str, now: Timestamp, program: &str) -> Option<Sample> {
    let catalogue = judge.catalogue();
    let alias = builtin_alias(catalogue)?;
    let asked = |user: &str| Asked {
        judge,
        now,
        subject: subject(catalogue, alias, user, now),
    };
    let mine = asked(user);
    servers(catalogue).into_iter().find_map(|(name, server)| {
        let permitted = server
            .grants
            .iter()
            .find(|id| is_token(catalogue, id) && mine.permits(name, None, id))?;
        let tools = server.tools.iter().filter(|(_, grants)| grants.contains(permitted));
        let tool = tools.min_by_key(|(_, grants)| grants.len());
        let mut denied: Vec<_> = refusals(server, name, &mine, None).collect();
        let fits = |attempt: &Attempt| program.len() + 1 + attempt.command().len() < COLUMNS;
        if !denied.iter().any(fits) {
            let others = USERS.iter().map(|(user, _)| *user).filter(|other| *other != user);
            denied.extend(
                others.flat_map(|other| refusals(server, name, &asked(other), Some(other)).collect::<Vec<_>>()),
            );
        }
        let (target, grant) = names(permitted)?;
        Some(Sample {
            server: name.clone(),
            tool: tool.map(|(tool, _)| tool.clone()).unwrap_or_default(),
            denied: denied
                .into_iter()
                .min_by_key(|attempt| attempt.command().len())
                .unwrap_or(Attempt {
                    target: target.clone(),
                    grant: grant.clone(),
                    tool: None,
                    user: Some("nobody"),
                }),
            target,
            grant,
        })
    })
}

/// Servers of development mode, the preferred one first.
pub(crate) fn servers(catalogue: &Catalogue) -> Vec<(&Name, &Server)> {
    let dev = catalogue
        .servers
        .iter()
        .filter(|(_, server)| matches!(server.auth, ServerAuth::BuiltinDev));
    let mut servers: Vec<_> = dev.collect();
    servers.sort_by_key(|(name, _)| name.as_str() != PREFERRED);
    servers
}

/// Alias of the built-in issuer.
pub(crate) fn builtin_alias(catalogue: &Catalogue) -> Option<&Name> {
    let mut builtin = catalogue.issuers.iter().filter(|(_, issuer)| issuer.issuer == BUILTIN);
    builtin.next().map(|(alias, _)| alias)
}

/// Grants of the server that the rules deny, each with the tool that would reach it.
fn refusals<'a>(
    server: &'a Server,
    name: &'a Name,
    asked: &'a Asked<'a>,
    user: Option<&'static str>,
) -> impl Iterator<Item = Attempt> + 'a {
    let bare = server.grants.iter().map(|id| (None, id));
    let tools = server
        .tools
        .iter()
        .flat_map(|(tool, grants)| grants.iter().map(move |id| (Some(tool), id)));
    let denied = bare
        .chain(tools)
        .filter(|(tool, id)| asked.denies(name, tool.map(String::as_str), id));
    denied.filter_map(move |(tool, id)| {
        let (target, grant) = names(id)?;
        let tool = tool.cloned();
        Some(Attempt {
            target,
            grant,
            tool,
            user,
        })
    })
}

fn names(id: &QualifiedId) -> Option<(Name, Name)> {
    Some((id.qualifier.clone(), id.local.parse().ok()?))
}

fn is_token(catalogue: &Catalogue, id: &QualifiedId) -> bool {
    catalogue
        .targets
        .get(&id.qualifier)
        .is_some_and(|target| target.kind.name == "jwt")
}

/// A user who asks the rules.
struct Asked<'a> {
    judge: &'a dyn Judge,
    now: Timestamp,
    subject: Subject,
}

impl Asked<'_> {
    fn permits(&self, server: &Name, tool: Option<&str>, id: &QualifiedId) -> bool {
        self.ask(server, tool, id) == Some(Effect::Permit)
    }

    fn denies(&self, server: &Name, tool: Option<&str>, id: &QualifiedId) -> bool {
        self.ask(server, tool, id)
            .is_some_and(|effect| effect != Effect::Permit)
    }

    /// `None` for what cannot be asked without parameters.
    fn ask(&self, server: &Name, tool: Option<&str>, id: &QualifiedId) -> Option<Effect> {
        let (target, name) = names(id)?;
        let grant: &Grant = self.judge.catalogue().targets.get(&target)?.grants.get(&name)?;
        if grant.params.values().any(|param| param.required) {
            return None;
        }
        let verdict = self.judge.decide(&Question {
            subject: &self.subject,
            actor: &Actor {
                agent: None,
                asserted_by: ActorAssertion::Server,
                chain: vec![],
                expires: None,
            },
            server,
            tool,
            target: &target,
            grant: &name,
            params: &Params::new(),
            session: SessionFacts::default(),
            ttl: grant.ttl.unwrap_or(grant.max_ttl),
            now: self.now,
        });
        Some(verdict.effect)
    }
}

fn subject(catalogue: &Catalogue, alias: &Name, user: &str, now: Timestamp) -> Subject {
    let mapping = catalogue.issuers.get(alias).and_then(|issuer| issuer.groups.as_ref());
    let mapped = groups(user).iter().filter_map(|group| mapping?.map.get(*group));
    Subject {
        principal: Principal::User(QualifiedId::new(alias.clone(), user)),
        token: Arc::new(VerifiedToken {
            issuer: alias.clone(),
            iss: BUILTIN.to_owned(),
            sub: user.to_owned(),
            audience: vec![],
            expires: now + Duration::from_secs(3600),
            not_before: None,
            issued_at: Some(now),
            jti: None,
            confirmation: None,
            sid: None,
            client: None,
            scopes: None,
            groups: mapped.map(|group| QualifiedId::new(alias.clone(), group)).collect(),
            auth: LogIn {
                acr: None,
                amr: BTreeSet::new(),
                time: Some(now),
            },
            act: vec![],
            may_act: None,
            vouched: Default::default(),
        }),
    }
}
