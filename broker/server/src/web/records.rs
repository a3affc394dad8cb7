//! Searching records, and one record whole.

use askama::Template;
use axum::{
    extract::{Path, RawQuery},
    http::{HeaderMap, StatusCode},
    response::Response,
};
use procura_core::{
    Timestamp,
    ids::IssuanceId,
    ledger::{Event, Filter, Outcome, Page, Stored},
    query::{Expr, Found, NAMES, search},
};
use procura_policy::Bundle;

use super::{
    answer::{Frame, Stop, answer, html, stop},
    blast::{Way, ways},
    guard::Reader,
    query::{Asked, pair},
    record_view::{RecordView, Rule},
    show::{plain, time, word},
    standing::Standing,
};
use crate::http::{Asked as Question, Door, Query, Refusal};

/// Uses and revocations of one credential that are shown.
const MAX_ABOUT: u32 = 100;
/// Records of a page where the address does not say.
const ROWS: u32 = 50;
/// Characters around a mistake that are shown.
const AROUND: usize = 60;
/// Filters to begin with, and what they find.
const EXAMPLES: [(&str, &str); 3] = [
    ("outcome = refused and at >= -1h", "what is refused right now"),
    (
        "issuer = corp and outcome = issued and until > -0s",
        "what an issuer's subjects were given and has not ended",
    ),
    (
        "actor = corp/triage-bot and not grants = read-*",
        "where an agent did more than read",
    ),
];

/// A record in a list.
pub(super) struct Row {
    pub(super) id: String,
    pub(super) at: String,
    pub(super) iso: String,
    pub(super) event: String,
    pub(super) outcome: &'static str,
    pub(super) reason: String,
    pub(super) subject: Option<String>,
    pub(super) actor: Option<String>,
    pub(super) server: String,
    pub(super) tool: String,
    pub(super) target: String,
    pub(super) grants: String,
    pub(super) revoked: bool,
}

impl Row {
    pub(super) fn of(stored: &Stored) -> Self {
        let index = &stored.index;
        let name = |name: &Option<procura_wire::Name>| name.as_ref().map(ToString::to_string).unwrap_or_default();
        let id = |id: &Option<procura_wire::QualifiedId>| id.as_ref().map(|id| plain(&id.to_string()));
        let grants: Vec<_> = index.grants.iter().map(ToString::to_string).collect();
        Self {
            id: stored.id.to_string(),
            at: time(index.at),
            iso: index.at.to_string(),
            event: word(index.event),
            outcome: outcome(index.outcome),
            reason: index.reason.as_deref().map(plain).unwrap_or_default(),
            subject: match &stored.side {
                Some(_) => id(&index.subject),
                None => Some("erased".to_owned()),
            },
            actor: id(&index.actor),
            server: name(&index.server),
            tool: index.tool.as_deref().map(plain).unwrap_or_default(),
            target: name(&index.target),
            grants: grants.join(", "),
            revoked: stored.revoked.is_some(),
        }
    }
}

fn outcome(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Issued => "issued",
        Outcome::Refused => "refused",
        Outcome::Reported => "reported",
        Outcome::Done => "done",
    }
}

/// A field of the search whose values are few.
pub(super) struct Choice {
    pub(super) value: String,
    pub(super) shown: String,
    pub(super) chosen: bool,
}

fn choices<T: serde::Serialize>(values: &[T], chosen: &str) -> Vec<Choice> {
    let choice = |value: &T| {
        let shown = word(value);
        let value = shown.replace(' ', "_");
        Choice {
            chosen: value == chosen,
            shown,
            value,
        }
    };
    values.iter().map(choice).collect()
}

/// A filter to begin with.
struct Example {
    text: &'static str,
    finds: &'static str,
    query: String,
}

/// Where a filter is not written as it must be.
struct Place {
    before: String,
    from: String,
}

#[derive(Template)]
#[template(path = "records.html")]
struct RecordsPage {
    frame: Frame,
    asked: Asked,
    events: Vec<Choice>,
    outcomes: Vec<Choice>,
    targets: Vec<Choice>,
    problem: String,
    /// Where in the filter.
    place: Option<Place>,
    rows: Vec<Row>,
    /// How far back was looked where nothing was found yet.
    searched_to: Option<String>,
    older: Option<String>,
}

/// `GET /ui/records`: the search is in the address.
pub(super) async fn list(door: Door, headers: HeaderMap, RawQuery(query): RawQuery) -> Response {
    let query = query.unwrap_or_default();
    let work = async {
        let reader = Reader::of(&door, &headers).await?;
        let asked = Asked::read(Some(&query));
        let now = door.app.ports.now()?;
        let read = Query::read(Some(&query)).map_err(Refusal::from);
        let (found, problem) = match read.and_then(|query| query.shown(now)) {
            Ok(question) => (find(&door, &reader, &question).await?, String::new()),
            Err(refusal) => (Found::default(), mistake(&refusal)),
        };
        let status = if problem.is_empty() {
            StatusCode::OK
        } else {
            StatusCode::BAD_REQUEST
        };
        let page = RecordsPage {
            frame: reader.frame(&door, "records", "Records"),
            events: choices(
                &[
                    Event::Exchange,
                    Event::Use,
                    Event::Revocation,
                    Event::SessionEnd,
                    Event::Rotation,
                ],
                asked.get("event"),
            ),
            outcomes: choices(
                &[Outcome::Issued, Outcome::Refused, Outcome::Reported, Outcome::Done],
                asked.get("outcome"),
            ),
            targets: targets(&door, &reader, asked.get("target")),
            place: place(asked.get("q"), now),
            problem,
            searched_to: found
                .next
                .filter(|_| found.records.is_empty())
                .map(|next| time(next.time())),
            older: found.next.map(|next| asked.older(&next.to_string())),
            rows: found.records.iter().map(Row::of).collect(),
            asked,
        };
        Ok(html(&door, status, &page))
    };
    answer(&door, Some(&format!("/records?{query}")), work.await)
}

async fn find(door: &Door, reader: &Reader, question: &Question) -> Result<Found, Stop> {
    let page = Page {
        before: question.before,
        limit: question.limit.unwrap_or(ROWS),
    };
    Ok(search(&*door.app.ports.ledger, &question.expr, &reader.scope, page).await?)
}

fn mistake(refusal: &Refusal) -> String {
    match (refusal.param, &refusal.detail) {
        (Some("q"), Some(detail)) => format!("The filter is not written as it must be. At {detail}"),
        (Some(param), _) => format!("“{param}” is not written as it must be."),
        (None, _) => "The address asks for something that is not known, or twice.".to_owned(),
    }
}

/// The filter around its first mistake.
fn place(filter: &str, now: Timestamp) -> Option<Place> {
    let mistake = Expr::parse(filter, now).err()?;
    let at = mistake.at.saturating_sub(1);
    let before = filter.chars().take(at).skip(at.saturating_sub(AROUND));
    let from = filter.chars().skip(at).take(AROUND);
    Some(Place {
        before: plain(&before.collect::<String>()),
        from: plain(&from.collect::<String>()),
    })
}

/// The targets of the bundle that the reader may choose.
fn targets(door: &Door, reader: &Reader, chosen: &str) -> Vec<Choice> {
    let snapshot = door.app.ports.active.snapshot();
    let names = snapshot.judge.catalogue().targets.keys();
    let mut readable: Vec<String> = names
        .filter(|name| reader.targets().is_none_or(|targets| targets.contains(*name)))
        .map(ToString::to_string)
        .collect();
    // One that the bundle has no more, as it stands in the address.
    if !chosen.is_empty() && !readable.iter().any(|name| name == chosen) {
        readable.push(plain(chosen));
    }
    let choice = |name: String| Choice {
        chosen: name == chosen,
        shown: name.clone(),
        value: name,
    };
    readable.into_iter().map(choice).collect()
}

#[derive(Template)]
#[template(path = "record.html")]
struct RecordPage {
    frame: Frame,
    row: Row,
    record: RecordView,
    rules: Vec<Rule>,
    about: Vec<Row>,
    about_is_cut: bool,
    standing: Standing,
    ways: Vec<Way>,
    served_again: Option<String>,
}

/// `GET /ui/records/{id}`
pub(super) async fn one(door: Door, headers: HeaderMap, Path(id): Path<String>) -> Response {
    let path = format!("/records/{id}");
    let work = async {
        let reader = Reader::of(&door, &headers).await?;
        let ports = &door.app.ports;
        let stored = match id.parse::<IssuanceId>() {
            Ok(id) => ports.ledger.record(id).await?,
            Err(_) => None,
        };
        let seen = stored.filter(|stored| reader.reads(ports, stored.index.target.as_ref()));
        let Some(stored) = seen else {
            let text = "There is no such record, or it is not for you.";
            return Ok(stop(&door, Some(&reader), StatusCode::NOT_FOUND, text));
        };
        let filter = Filter {
            about: Some(stored.id),
            ..Filter::default()
        };
        let page = Page {
            before: None,
            limit: MAX_ABOUT,
        };
        // Their target is that of the record, which the reader may read.
        let about = ports.ledger.records(filter, page).await?;
        let record = RecordView::of(&stored, ports.clock.now());
        let page = RecordPage {
            frame: reader.frame(&door, "records", format!("Record {}", stored.id)),
            rules: rules(&door, &stored, &record).await?,
            about: about
                .iter()
                .filter(|about| reader.reads(ports, about.index.target.as_ref()))
                .map(Row::of)
                .collect(),
            about_is_cut: u32::try_from(about.len()).is_ok_and(|count| count == MAX_ABOUT),
            standing: Standing::of(&door, &stored).await,
            ways: ways(&stored),
            served_again: (stored.made_by() != stored.id).then(|| stored.made_by().to_string()),
            row: Row::of(&stored),
            record,
        };
        Ok(html(&door, StatusCode::OK, &page))
    };
    answer(&door, Some(&path), work.await)
}

/// The rules that decided, as they were written then.
async fn rules(door: &Door, stored: &Stored, record: &RecordView) -> Result<Vec<Rule>, Stop> {
    if record.rule_ids.is_empty() {
        return Ok(Vec::new());
    }
    let content = match record.bundle {
        Some(digest) => door.app.ports.ledger.bundle(digest).await?,
        None => None,
    };
    let bundle = content.and_then(|content| Bundle::from_content(&content).ok());
    if bundle.is_none() {
        tracing::warn!(record = %stored.id, "the bundle that decided is not kept");
    }
    let rule = |id: &String| Rule::of(id, bundle.as_ref().and_then(|bundle| bundle.rule_text(id)));
    Ok(record.rule_ids.iter().map(rule).collect())
}

impl RecordsPage {
    fn field(&self, name: &str) -> String {
        plain(self.asked.get(name))
    }

    /// The fields of the language as they are written.
    fn names(&self) -> String {
        let shown = |name: &&str| match name.strip_suffix('.') {
            Some(name) => format!("{name}.NAME"),
            None => (*name).to_owned(),
        };
        NAMES.iter().map(shown).collect::<Vec<_>>().join(", ")
    }

    fn examples(&self) -> [Example; 3] {
        EXAMPLES.map(|(text, finds)| Example {
            text,
            finds,
            query: pair("q", text),
        })
    }

    /// Whether more than the first row of fields is filled.
    fn has_more(&self) -> bool {
        ["actor", "tool", "grant", "session", "about", "since", "until", "event"]
            .iter()
            .any(|name| !self.asked.get(name).is_empty())
    }
}

impl RecordPage {
    fn has_types(&self) -> bool {
        self.record.extents.iter().any(|extent| !extent.ty.is_empty())
    }

    fn server_query(&self) -> String {
        pair("server", &self.row.server)
    }
}
