//! The overview: what happened lately.

use std::time::Duration;

use askama::Template;
use axum::{
    http::{HeaderMap, StatusCode},
    response::Response,
};
use procura_core::{
    Timestamp,
    ledger::{Event, Outcome, Page},
    query::{Expr, search},
    web::{Activity, Counting},
};

use super::{
    answer::{Frame, Stop, answer, html},
    chart::Chart,
    guard::{self, Reader},
    records::Row,
};
use crate::http::Door;

const HOUR: i64 = 3_600;
const DAY: i64 = 86_400;
/// Records that are counted at most.
const COUNTED: u32 = 50_000;
/// Refusals that are shown.
const NEWEST: u32 = 6;

/// A number of the last day.
struct Tile {
    name: &'static str,
    count: u64,
    query: &'static str,
}

#[derive(Template)]
#[template(path = "overview.html")]
struct OverviewPage {
    frame: Frame,
    tiles: Vec<Tile>,
    charts: [Chart; 2],
    /// More records than are counted.
    is_cut: bool,
    refused: Vec<Row>,
    bundle: String,
    /// The targets whose records this is about; empty for all.
    targets: String,
}

/// `GET /ui/`
pub(super) async fn page(door: Door, headers: HeaderMap) -> Response {
    let work = async {
        let reader = Reader::of(&door, &headers).await?;
        let ports = &door.app.ports;
        let now = ports.now()?;
        let hours = count(&door, &reader, now, (HOUR, 24)).await?;
        let days = count(&door, &reader, now, (DAY, 7)).await?;
        let newest = Page {
            before: None,
            limit: NEWEST,
        };
        let refused = Expr::is("outcome", "refused");
        let refused = search(&*ports.ledger, &refused, &reader.scope, newest).await?;
        let targets = reader.targets().into_iter().flatten().map(ToString::to_string);
        let page = OverviewPage {
            frame: reader.frame(&door, "overview", "Overview"),
            tiles: tiles(&hours),
            is_cut: [&hours, &days]
                .iter()
                .any(|activity| total(activity) >= u64::from(COUNTED)),
            charts: [
                Chart::of(("Last 24 hours", "hour", "hours"), &hours, now, (HOUR, 24)),
                Chart::of(("Last 7 days", "day", "days"), &days, now, (DAY, 7)),
            ],
            refused: refused.records.iter().map(Row::of).collect(),
            bundle: ports.active.snapshot().judge.digest().to_string(),
            targets: targets.collect::<Vec<_>>().join(", "),
        };
        Ok(html(&door, StatusCode::OK, &page))
    };
    answer(&door, Some("/"), work.await)
}

async fn count(door: &Door, reader: &Reader, now: Timestamp, (step, count): (i64, i64)) -> Result<Vec<Activity>, Stop> {
    let last = now.as_second() - now.as_second().rem_euclid(step);
    let since = Timestamp::from_second(last - (count - 1) * step).unwrap_or(Timestamp::UNIX_EPOCH);
    let counting = Counting {
        since,
        step: Duration::from_secs(step.unsigned_abs()),
        targets: reader.targets().map(|targets| targets.to_vec()),
        limit: COUNTED,
    };
    Ok(guard::web(door)?.store.activity(counting).await?)
}

fn total(activity: &[Activity]) -> u64 {
    activity.iter().map(|activity| activity.count).sum()
}

fn tiles(hours: &[Activity]) -> Vec<Tile> {
    let sum = |event: Event, outcome: Option<Outcome>| -> u64 {
        let fits = |activity: &&Activity| activity.event == event && outcome.is_none_or(|o| activity.outcome == o);
        hours.iter().filter(fits).map(|activity| activity.count).sum()
    };
    let tile = |name, count, query| Tile { name, count, query };
    vec![
        tile(
            "issued",
            sum(Event::Exchange, Some(Outcome::Issued)),
            "event=exchange&outcome=issued",
        ),
        tile(
            "refused",
            sum(Event::Exchange, Some(Outcome::Refused)),
            "event=exchange&outcome=refused",
        ),
        tile("uses reported", sum(Event::Use, None), "event=use"),
        tile("sessions ended", sum(Event::SessionEnd, None), "event=session_end"),
    ]
}
