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
    report,
    usage::{Day, Dimension, Sum, UsageFilter},
    web::{Activity, Counting},
};

use super::{
    answer::{Frame, Stop, answer, html},
    chart::{Chart, Count},
    guard::{self, Reader},
    records::Row,
    show::counted,
};
use crate::http::Door;

const HOUR: i64 = 3_600;
const DAY: i64 = 86_400;
/// Days of the tiles and the second chart, today is the last.
const DAYS: u32 = 7;
/// Records that are counted by hour at most.
const COUNTED: u32 = 50_000;
/// Refusals that are shown.
const NEWEST: u32 = 6;

/// A number of the last days.
struct Tile {
    name: &'static str,
    count: u64,
    query: String,
}

#[derive(Template)]
#[template(path = "overview.html")]
struct OverviewPage {
    frame: Frame,
    tiles: Vec<Tile>,
    charts: [Chart; 2],
    /// More records than are counted by hour.
    is_cut: bool,
    /// How far the sums count.
    counted: String,
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
        let hours = hours(&door, &reader, now).await?;
        let is_cut = hours.iter().map(|activity| activity.count).sum::<u64>() >= u64::from(COUNTED);
        let since = Day::of(now).before(DAYS - 1);
        let days = days(&door, &reader, since).await?;
        let newest = Page {
            before: None,
            limit: NEWEST,
        };
        let refused = Expr::is("outcome", "refused");
        let refused = search(&*ports.ledger, &refused, &reader.scope, newest).await?;
        let targets = reader.targets().into_iter().flatten().map(ToString::to_string);
        let page = OverviewPage {
            frame: reader.frame(&door, "overview", "Overview"),
            tiles: tiles(&days, since),
            is_cut,
            counted: counted(&report::counted(&*door.app.usage, reader.targets().is_none()).await?),
            charts: [
                Chart::of(("Last 24 hours", "hour", "hours"), &by_hour(&hours), now, (HOUR, 24)),
                Chart::of(("Last 7 days", "day", "days"), &by_day(&days), now, (DAY, DAYS.into())),
            ],
            refused: refused.records.iter().map(Row::of).collect(),
            bundle: ports.active.snapshot().judge.digest().to_string(),
            targets: targets.collect::<Vec<_>>().join(", "),
        };
        Ok(html(&door, StatusCode::OK, &page))
    };
    answer(&door, Some("/"), work.await)
}

async fn hours(door: &Door, reader: &Reader, now: Timestamp) -> Result<Vec<Activity>, Stop> {
    let last = now.as_second() - now.as_second().rem_euclid(HOUR);
    let since = Timestamp::from_second(last - 23 * HOUR).unwrap_or(Timestamp::UNIX_EPOCH);
    let counting = Counting {
        since,
        step: Duration::from_secs(HOUR.unsigned_abs()),
        targets: reader.targets().map(|targets| targets.to_vec()),
        limit: COUNTED,
    };
    Ok(guard::web(door)?.store.activity(counting).await?)
}

fn by_hour(hours: &[Activity]) -> Vec<Count> {
    let exchanges = hours.iter().filter(|activity| activity.event == Event::Exchange);
    let count = |activity: &Activity| {
        let of = |outcome| if activity.outcome == outcome { activity.count } else { 0 };
        Count {
            at: activity.from,
            issued: of(Outcome::Issued),
            refused: of(Outcome::Refused),
        }
    };
    exchanges.map(count).collect()
}

async fn days(door: &Door, reader: &Reader, since: Day) -> Result<Vec<Sum>, Stop> {
    let filter = UsageFilter {
        since: Some(since),
        targets: reader.targets().map(|targets| targets.to_vec()),
        ..UsageFilter::default()
    };
    Ok(door.app.usage.sums(filter, vec![Dimension::Day], DAYS + 1).await?)
}

fn by_day(days: &[Sum]) -> Vec<Count> {
    let count = |sum: &Sum| Count {
        at: sum.first,
        issued: sum.issued,
        refused: sum.refused,
    };
    days.iter().map(count).collect()
}

fn tiles(days: &[Sum], since: Day) -> Vec<Tile> {
    let tile = |name, of: fn(&Sum) -> u64, query: &str| Tile {
        name,
        count: days.iter().map(of).sum(),
        query: format!("{query}&since={}", since.begins()),
    };
    vec![
        tile("issued", |sum| sum.issued, "event=exchange&outcome=issued"),
        tile("refused", |sum| sum.refused, "event=exchange&outcome=refused"),
        tile("uses reported", |sum| sum.reported, "event=use&outcome=reported"),
    ]
}
