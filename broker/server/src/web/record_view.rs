//! What one record says, in the order in which it is asked about.

use procura_core::{
    Timestamp,
    ledger::{Event, Outcome, Stored},
};
use procura_policy::RuleText;
use procura_wire::Digest;
use serde_json::Value;

use super::show::{self, lines, plain, span, time};

/// One link of the chain from the user to the target.
pub(super) struct Link {
    pub(super) what: &'static str,
    pub(super) who: String,
    pub(super) note: String,
}

/// A fact with its name.
pub(super) struct Fact {
    pub(super) name: &'static str,
    pub(super) value: String,
}

/// What was asked for, allowed or granted.
pub(super) struct Extent {
    pub(super) name: &'static str,
    pub(super) ttl: String,
    pub(super) scope: String,
    pub(super) ty: String,
}

/// A permit that came near.
pub(super) struct Near {
    pub(super) rule: String,
    pub(super) clause: String,
}

/// A rule that decided.
pub(super) struct Rule {
    pub(super) id: String,
    pub(super) place: String,
    /// `None` where the bundle is not kept.
    pub(super) text: Option<String>,
}

impl Rule {
    pub(super) fn of(id: &str, found: Option<RuleText>) -> Self {
        Self {
            id: plain(id),
            place: found
                .as_ref()
                .map(|rule| format!("{}:{}", plain(&rule.file), rule.line))
                .unwrap_or_default(),
            text: found.map(|rule| lines(&rule.text)),
        }
    }
}

/// A record as the page shows it.
pub(super) struct RecordView {
    pub(super) chain: Vec<Link>,
    pub(super) erased: bool,
    pub(super) extents: Vec<Extent>,
    pub(super) rule_ids: Vec<String>,
    pub(super) bundle: Option<Digest>,
    pub(super) near: Vec<Near>,
    /// How the credential stands now, for records that issued one.
    pub(super) state: Option<(&'static str, String)>,
    pub(super) credential: Vec<Fact>,
    pub(super) identity: Vec<Fact>,
    pub(super) request: Vec<Fact>,
    pub(super) session: Option<String>,
    pub(super) about: Option<String>,
    pub(super) leaf: String,
    pub(super) clear: Option<String>,
}

impl RecordView {
    pub(super) fn of(stored: &Stored, now: Timestamp) -> Self {
        let leaf: Value = serde_json::from_str(stored.leaf.get()).unwrap_or_default();
        let clear = stored.side.as_ref().map(|(_, clear)| clear.get());
        let side: Value = clear
            .and_then(|clear| serde_json::from_str(clear).ok())
            .unwrap_or_default();
        let strings = |value: &Value| -> Vec<String> {
            let items = value.as_array().map(Vec::as_slice).unwrap_or_default();
            items.iter().filter_map(Value::as_str).map(str::to_owned).collect()
        };
        let near = leaf["near"].as_array().map(Vec::as_slice).unwrap_or_default();
        Self {
            chain: chain(stored, &leaf, &side),
            erased: clear.is_none(),
            extents: extents(&leaf),
            rule_ids: strings(&leaf["rules"]),
            bundle: leaf["bundle"].as_str().and_then(|digest| digest.parse().ok()),
            near: near
                .iter()
                .map(|near| Near {
                    rule: show::value(&near["rule"]),
                    clause: show::value(&near["clause"]),
                })
                .collect(),
            state: state(stored, now),
            credential: credential(stored, &leaf),
            identity: facts(&IDENTITY, &leaf, &side),
            request: facts(&REQUEST, &leaf, &side),
            session: stored.index.session.map(|id| id.to_string()),
            about: stored.index.about.map(|id| id.to_string()),
            leaf: lines(&pretty(stored.leaf.get())),
            clear: clear.map(|clear| lines(&pretty(clear))),
        }
    }
}

fn pretty(json: &str) -> String {
    let value: Option<Value> = serde_json::from_str(json).ok();
    value.map_or_else(|| json.to_owned(), |value| format!("{value:#}"))
}

/// Name, member, and whether it is personal data.
type Member = (&'static str, &'static str, bool);

const IDENTITY: [Member; 18] = [
    ("Issuer", "issuer", false),
    ("iss", "iss", true),
    ("sub", "sub", true),
    ("sid", "sid", true),
    ("Groups", "groups", false),
    ("Organisation", "tenant", false),
    ("Log-in", "auth", false),
    ("Token's scopes", "subject_scopes", true),
    ("ID token", "id_token", false),
    ("ID-JAG", "id_jag", false),
    ("Asked the issuer", "introspected", false),
    ("Key proved", "cnf", false),
    ("Binding", "binding", false),
    ("Server proved itself", "client_auth", false),
    ("Chain", "chain", true),
    ("Chain asserted by", "chain_asserted", true),
    ("Operator", "operator", true),
    ("Address", "address", true),
];

const REQUEST: [Member; 9] = [
    ("Target as asked", "requested_target", true),
    ("Parameters as asked", "requested_params", true),
    ("Parameters granted", "params", true),
    ("Tool call", "tool_call", false),
    ("Tool definition", "tool_definition_sha256", false),
    ("Session then", "session_facts", false),
    ("Ended by", "ended_by", false),
    ("Use", "used", false),
    ("Trace", "trace_id", false),
];

fn facts(members: &[Member], leaf: &Value, side: &Value) -> Vec<Fact> {
    let fact = |(name, member, personal): &Member| {
        let value = if *personal { &side[member] } else { &leaf[member] };
        let value = match value {
            Value::Bool(true) => "yes".to_owned(),
            value => show::value(value),
        };
        (!value.is_empty()).then_some(Fact { name, value })
    };
    members.iter().filter_map(fact).collect()
}

fn chain(stored: &Stored, leaf: &Value, side: &Value) -> Vec<Link> {
    let index = &stored.index;
    let erased = |was_there: bool| (stored.side.is_none() && was_there).then(|| "erased".to_owned());
    let asserted = match leaf["actor_asserted_by"].as_str() {
        Some("actor_token") => "proved by its own token",
        Some("act") => "named by the token's act",
        Some("azp") => "named by the token's azp",
        _ => "",
    };
    let kind = if leaf["subject_kind"] == "agent" {
        "Agent itself"
    } else {
        "User"
    };
    let subject = index.subject.as_ref().map(|id| plain(&id.to_string()));
    let actor = index.actor.as_ref().map(|id| plain(&id.to_string()));
    let grants: Vec<_> = index.grants.iter().map(ToString::to_string).collect();
    let tool_by = if index.tool.is_some() { "its server" } else { "" };
    let links = [
        (
            kind,
            subject.or_else(|| erased(!leaf["subject_kind"].is_null())),
            said("said by", &leaf["issuer"]),
        ),
        (
            "Agent",
            actor.or_else(|| erased(!asserted.is_empty())),
            asserted.to_owned(),
        ),
        (
            "Server",
            index.server.as_ref().map(ToString::to_string),
            said("proved by", &leaf["client_auth"]["method"]),
        ),
        (
            "Tool",
            index.tool.as_deref().map(plain),
            said("said by", &tool_by.into()),
        ),
        ("Grant", Some(grants.join(", ")), show::value(&side["params"])),
        (
            "Target",
            index.target.as_ref().map(ToString::to_string),
            show::value(&leaf["kind"]),
        ),
        ("Operator", Some(show::value(&side["operator"]["id"])), String::new()),
    ];
    let link = |(what, who, note): (&'static str, Option<String>, String)| {
        let who = who.filter(|who| !who.is_empty())?;
        Some(Link { what, who, note })
    };
    links.into_iter().filter_map(link).collect()
}

/// Who stands behind a link, where the record says.
fn said(how: &str, who: &Value) -> String {
    match show::value(who) {
        who if who.is_empty() => who,
        who => format!("{how} {}", who.replace('_', " ")),
    }
}

fn extents(leaf: &Value) -> Vec<Extent> {
    let extent = |name: &'static str, member: &str| {
        let extent = leaf.get(member)?;
        Some(Extent {
            name,
            ttl: extent["ttl"].as_u64().map(span).unwrap_or_default(),
            scope: show::value(&extent["scope"]),
            ty: show::value(&extent["type"])
                .rsplit(':')
                .next()
                .unwrap_or_default()
                .to_owned(),
        })
    };
    let all = [
        ("Requested", "requested"),
        ("Allowed", "allowed"),
        ("Granted", "granted"),
    ];
    all.iter().filter_map(|(name, member)| extent(name, member)).collect()
}

fn state(stored: &Stored, now: Timestamp) -> Option<(&'static str, String)> {
    let index = &stored.index;
    if (index.event, index.outcome) != (Event::Exchange, Outcome::Issued) {
        return None;
    }
    Some(match (stored.revoked, index.until) {
        (Some(at), _) => ("revoked", format!("was revoked {} UTC", time(at))),
        (None, Some(until)) if until <= now => ("over", format!("ended {} UTC", time(until))),
        (None, Some(until)) => ("live", format!("lives until {} UTC", time(until))),
        (None, None) => ("live", "has no end that is known".to_owned()),
    })
}

fn credential(stored: &Stored, leaf: &Value) -> Vec<Fact> {
    let mut facts = Vec::new();
    let mut fact = |name, value: String| {
        if !value.is_empty() {
            facts.push(Fact { name, value });
        }
    };
    fact("Until", stored.index.until.map(time).unwrap_or_default());
    fact("Revoked", stored.revoked.map(time).unwrap_or_default());
    if let Some(rights) = leaf["rights"].as_object() {
        let rights: Vec<_> = rights
            .iter()
            .map(|(what, right)| format!("{what}: {}", show::value(right)))
            .collect();
        fact("Rights, read back", plain(&rights.join("; ")));
    }
    fact("Known at the target as", show::value(&leaf["handle"]));
    fact("SHA-256 of its value", show::value(&leaf["value_sha256"]));
    fact("Version of the source", show::value(&leaf["source_version"]));
    if leaf["outlives_subject"] == true {
        fact("Lifetime", "not cut by the end of the token".to_owned());
    }
    facts
}
