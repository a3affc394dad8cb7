//! The Cedar schema that a catalogue gives.

use std::fmt::{self, Write as _};

use procura_core::{
    catalogue::{Catalogue, Grant},
    judgement::OperatorAction,
    params::ParamType,
};

use crate::{
    declare,
    names::{ACT_FOR, ALL_RISKS, ISSUE, LOG_OF_ALL, group_of},
};

/// What stands in an enumeration that would be empty: Cedar does not parse an empty one.
pub(crate) const NOTHING: &str = "-";

/// The schema as Cedar schema text.
///
/// `User` and `Agent` are in `Group`; `Group`, `Server`, `Tool`, `Target` and `Log` are enumerated.
/// Each grant is an action in the group of its risk, with a context type of its own.
pub(crate) fn text(catalogue: &Catalogue) -> String {
    let mut text = String::new();
    // Writing to a string cannot fail.
    let _ = write(catalogue, &mut text);
    text
}

fn write(catalogue: &Catalogue, out: &mut String) -> fmt::Result {
    let groups = declare::groups(catalogue);
    let tools = catalogue
        .servers
        .iter()
        .flat_map(|(server, file)| file.tools.keys().map(move |tool| format!("{server}/{tool}")));
    enumerate(out, "Group", groups.iter().map(ToString::to_string))?;
    writeln!(out, "entity User, Agent in [Group];")?;
    enumerate(out, "Server", catalogue.servers.keys().map(ToString::to_string))?;
    enumerate(out, "Tool", tools)?;
    enumerate(out, "Target", catalogue.targets.keys().map(ToString::to_string))?;
    enumerate(out, "Log", [LOG_OF_ALL.to_owned()].into_iter())?;
    writeln!(out, "type SessionFacts = {{ age: Long, issuances: Long }};")?;
    writeln!(
        out,
        "type LogIn = {{ acr?: String, amr: Set<String>, age?: duration }};"
    )?;
    writeln!(out, "action {};", quoted(ISSUE))?;
    for risk in ALL_RISKS {
        writeln!(out, "action {} in [{}];", quoted(group_of(risk)), quoted(ISSUE))?;
    }
    for (target, file) in &catalogue.targets {
        for (name, grant) in &file.grants {
            action(out, &format!("{target}/{name}"), grant)?;
        }
    }
    writeln!(
        out,
        "action {ACT_FOR} appliesTo {{ principal: [Agent], resource: [User, Agent], context: {{ now: datetime }} }};"
    )?;
    let operators = OperatorAction::ALL.map(OperatorAction::as_str).join(", ");
    writeln!(
        out,
        "action {operators} appliesTo {{ principal: [User, Agent], resource: [Target, Log], context: {{ now: datetime }} }};"
    )
}

fn enumerate(out: &mut String, name: &str, ids: impl Iterator<Item = String>) -> fmt::Result {
    let mut ids: Vec<_> = ids.map(|id| quoted(&id)).collect();
    if ids.is_empty() {
        ids.push(quoted(NOTHING));
    }
    writeln!(out, "entity {name} enum [{}];", ids.join(", "))
}

fn action(out: &mut String, id: &str, grant: &Grant) -> fmt::Result {
    let params = grant.params.iter().map(|(name, spec)| {
        let optional = if spec.required { "" } else { "?" };
        let ty = match spec.ty {
            ParamType::String(_) | ParamType::Enum(_) => "String",
            ParamType::Set(_) => "Set<String>",
            ParamType::Int { .. } => "Long",
            ParamType::Bool => "Bool",
        };
        format!("{}{optional}: {ty}", quoted(name))
    });
    let params = params.collect::<Vec<_>>().join(", ");
    writeln!(
        out,
        "action {} in [{}] appliesTo {{ principal: [User, Agent], resource: [Target], context: {{ \
         server: Server, tool?: Tool, actor?: Agent, session: SessionFacts, ttl: duration, \
         subject_scopes: Set<String>, auth: LogIn, now: datetime, params: {{ {params} }} }} }};",
        quoted(id),
        quoted(group_of(grant.risk)),
    )
}

/// Ids hold no control characters, so two signs need an escape.
fn quoted(id: &str) -> String {
    format!("\"{}\"", id.replace('\\', "\\\\").replace('"', "\\\""))
}
