//! How far one thing reaches: the report of `/v1/reports/blast-radius` as a page.

use askama::Template;
use axum::{
    extract::RawQuery,
    http::{HeaderMap, StatusCode},
    response::Response,
};
use procura_core::{
    Timestamp,
    ledger::Stored,
    report::{BlastRadius, Had, LiveAt, Reach, Step},
};
use procura_wire::{FormFault, Name};
use serde_json::Value;
use url::form_urlencoded::Serializer;

use super::{
    answer::{Frame, Stop, answer, html},
    guard::Reader,
    query::Asked,
    records::Choice,
    show::{counted, plain, span, time},
};
use crate::http::{Door, Query, radius, selected};

/// What the report can be about: the parameter of `/v1`, and its name.
const BY: [(&str, &str); 7] = [
    ("target", "target"),
    ("source", "source secret"),
    ("subject", "subject"),
    ("agent", "agent"),
    ("server", "server"),
    ("issuer", "issuer"),
    ("signing_key", "signing key"),
];

/// A grant that could be had.
struct Could {
    target: String,
    grant: String,
    risk: &'static str,
    max_ttl: String,
    ends: &'static str,
    through: String,
    rules: String,
}

impl Could {
    fn of(reach: &Reach) -> Self {
        let list = |texts: &std::collections::BTreeSet<String>| {
            plain(&texts.iter().map(String::as_str).collect::<Vec<_>>().join(", "))
        };
        Self {
            target: reach.target.to_string(),
            grant: reach.grant.to_string(),
            risk: reach.risk,
            max_ttl: span(reach.max_ttl),
            ends: match reach.ends {
                "undone" => "undone at the target",
                _ => "by itself",
            },
            through: list(&reach.through),
            rules: list(&reach.rules),
        }
    }
}

/// What lives at a target.
struct Live {
    target: String,
    leases: u64,
    undoing: u64,
    values: u64,
    until: String,
}

impl Live {
    fn of(at: &LiveAt) -> Self {
        Self {
            target: plain(&at.target),
            leases: at.leases,
            undoing: at.undoing,
            values: at.values,
            until: match (at.until, at.endless) {
                (Some(until), false) => time(until),
                (Some(until), true) => format!("{}, some until undone", time(until)),
                (None, true) => "until undone".to_owned(),
                (None, false) => String::new(),
            },
        }
    }
}

/// How often something was had.
struct Row {
    what: String,
    issued: u64,
    refused: u64,
    reported: u64,
    first: String,
    last: String,
}

/// What was had, by one thing.
struct Table {
    title: &'static str,
    rows: Vec<Row>,
}

impl Table {
    fn of(title: &'static str, nothing: &str, had: &[Had]) -> Self {
        let row = |had: &Had| Row {
            what: had.what.as_deref().map_or_else(|| nothing.to_owned(), plain),
            issued: had.sum.issued,
            refused: had.sum.refused,
            reported: had.sum.reported,
            first: time(had.sum.first),
            last: time(had.sum.last),
        };
        Self {
            title,
            rows: had.iter().map(row).collect(),
        }
    }
}

/// The report as it is shown.
struct Told {
    /// For a key, whose it is.
    key_of: Option<String>,
    could: Vec<Could>,
    could_more: bool,
    live: Vec<Live>,
    live_more: bool,
    alive: u64,
    worst: String,
    issued: u64,
    refused: u64,
    reported: u64,
    between: String,
    tables: [Table; 3],
    counted: String,
    next: Vec<Step>,
}

impl Told {
    fn of(told: BlastRadius, now: Timestamp) -> Self {
        let obtained = &told.obtained;
        let owners = |owners: &std::collections::BTreeSet<String>| {
            plain(&owners.iter().map(String::as_str).collect::<Vec<_>>().join(", "))
        };
        let step = |step: &Step| Step {
            does: plain(&step.does),
            command: step.command.as_deref().map(plain),
        };
        Self {
            key_of: told.key_of.as_ref().map(owners),
            could: told.could.iter().map(Could::of).collect(),
            could_more: told.could_more,
            live: told.live.iter().map(Live::of).collect(),
            live_more: told.live_more,
            alive: told.live.iter().map(|at| at.leases + at.undoing + at.values).sum(),
            worst: worst(&told, now),
            issued: obtained.issued,
            refused: obtained.refused,
            reported: obtained.reported,
            between: match (obtained.first, obtained.last) {
                (Some(first), Some(last)) => format!("between {} and {} UTC", time(first), time(last)),
                _ => "nothing was asked for".to_owned(),
            },
            tables: [
                Table::of("By target and grants", "no target", &obtained.by_grant),
                Table::of("By subject", "nobody named, or erased", &obtained.by_subject),
                Table::of("By server", "no server", &obtained.by_server),
            ],
            counted: counted(&told.counted),
            next: told.next.iter().map(step).collect(),
        }
    }
}

/// How long the last of what lives goes on.
fn worst(told: &BlastRadius, now: Timestamp) -> String {
    let endless = told.live.iter().any(|at| at.endless);
    let left = |until: Timestamp| {
        let left = u64::try_from(until.as_second() - now.as_second()).unwrap_or(0);
        format!("{}, until {} UTC", span(left), time(until))
    };
    match (told.worst, endless) {
        (Some(until), false) => left(until),
        (Some(until), true) => format!("{}; some until it is undone", left(until)),
        (None, true) => "until it is undone".to_owned(),
        (None, false) => "nothing lives".to_owned(),
    }
}

#[derive(Template)]
#[template(path = "blast.html")]
struct BlastPage {
    frame: Frame,
    asked: Asked,
    choices: Vec<Choice>,
    problem: String,
    told: Option<Told>,
    /// The targets that it is about; empty for all.
    targets: String,
}

/// `GET /ui/blast-radius?by=…&what=…[&version=…][&since=DAY]`
pub(super) async fn page(door: Door, headers: HeaderMap, RawQuery(query): RawQuery) -> Response {
    let query = query.unwrap_or_default();
    let work = async {
        let reader = Reader::of(&door, &headers).await?;
        let asked = Asked::read(Some(&query));
        let (told, problem) = match asked.get("what") {
            "" => (None, String::new()),
            _ => told(&door, &reader, &asked).await?,
        };
        let status = match problem.is_empty() {
            true => StatusCode::OK,
            false => StatusCode::BAD_REQUEST,
        };
        let targets: Vec<_> = reader.targets().into_iter().flatten().map(Name::as_str).collect();
        let page = BlastPage {
            frame: reader.frame(&door, "blast", "Blast radius"),
            choices: choices(asked.get("by")),
            targets: targets.join(", "),
            asked,
            problem,
            told,
        };
        Ok(html(&door, status, &page))
    };
    answer(&door, Some(&format!("/blast-radius?{query}")), work.await)
}

/// The report, or what is wrong with the question.
async fn told(door: &Door, reader: &Reader, asked: &Asked) -> Result<(Option<Told>, String), Stop> {
    let read = Query::read(Some(&question(asked))).and_then(selected);
    let question = match read {
        Ok(question) => question,
        Err(fault) => return Ok((None, mistake(&fault, asked))),
    };
    let readable = reader.targets().map(<[Name]>::to_vec);
    let told = radius(door, question, readable).await?;
    Ok((Some(Told::of(told, door.app.ports.now()?)), String::new()))
}

/// The same question to `/v1`.
fn question(asked: &Asked) -> String {
    let mut query = Serializer::new(String::new());
    query.append_pair(asked.get("by"), asked.get("what"));
    query.append_pair("source_version", asked.get("version"));
    if !asked.get("since").is_empty() {
        query.append_pair("since", &format!("{}T00:00:00Z", asked.get("since")));
    }
    query.finish()
}

fn mistake(fault: &FormFault, asked: &Asked) -> String {
    match fault.param {
        Some("since") => "“Obtained from” is a day like 2026-11-20.".to_owned(),
        Some("subject" | "agent") => "People and agents are written as ALIAS/NAME, like corp/alice.".to_owned(),
        Some(param) => format!("“{}” is not written as it must be.", param.replace('_', " ")),
        None if asked.get("version").is_empty() => "Choose what the report is about.".to_owned(),
        None => "Only a source secret has a version.".to_owned(),
    }
}

fn choices(chosen: &str) -> Vec<Choice> {
    let choice = |(value, shown): &(&str, &str)| Choice {
        chosen: *value == chosen,
        value: (*value).to_owned(),
        shown: (*shown).to_owned(),
    };
    BY.iter().map(choice).collect()
}

/// A report that a record leads to.
pub(super) struct Way {
    pub(super) name: &'static str,
    pub(super) what: String,
    /// The query of its address.
    pub(super) query: String,
}

/// The reports about what a record names.
pub(super) fn ways(stored: &Stored) -> Vec<Way> {
    let index = &stored.index;
    let leaf: Value = serde_json::from_str(stored.leaf.get()).unwrap_or_default();
    let member = |name: &str| leaf[name].as_str().map(str::to_owned);
    let named = [
        ("source", "source secret", member("source")),
        ("signing_key", "signing key", member("signing_key")),
        ("signing_key", "key of its issuer", member("token_key")),
        ("subject", "subject", index.subject.as_ref().map(ToString::to_string)),
        ("agent", "agent", index.actor.as_ref().map(ToString::to_string)),
        ("server", "server", index.server.as_ref().map(ToString::to_string)),
        ("target", "target", index.target.as_ref().map(ToString::to_string)),
        ("issuer", "issuer", member("issuer")),
    ];
    let way = |(by, name, what): (&'static str, &'static str, Option<String>)| {
        let what = what?;
        let version = index.source_version.as_deref().filter(|_| by == "source");
        let mut query = Serializer::new(String::new());
        query.append_pair("by", by).append_pair("what", &what);
        if let Some(version) = version {
            query.append_pair("version", version);
        }
        let version = version.map(|version| format!("@{version}")).unwrap_or_default();
        Some(Way {
            name,
            what: plain(&(what + &version)),
            query: query.finish(),
        })
    };
    named.into_iter().filter_map(way).collect()
}

impl BlastPage {
    fn field(&self, name: &str) -> String {
        plain(self.asked.get(name))
    }

    /// What it is about, in words.
    fn about(&self) -> String {
        let chosen = self.choices.iter().find(|choice| choice.chosen);
        let by = chosen.map(|choice| choice.shown.as_str()).unwrap_or_default();
        match self.asked.get("version") {
            "" => format!("{by} {}", self.field("what")),
            _ => format!("{by} {}, version {}", self.field("what"), self.field("version")),
        }
    }
}
