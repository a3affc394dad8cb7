//! Reports: how far something reaches, what is not used, what is new.

use std::collections::BTreeSet;

use axum::{extract::RawQuery, http::HeaderMap, response::Response};
use procura_core::{
    Timestamp,
    judgement::OperatorAction,
    operator,
    report::{self, BlastRadius, FINDINGS, Readers, Seen, Selector, Span},
    usage::Day,
};
use procura_policy::{Bundle, Idle, Options, Unused};
use procura_wire::{FormFault, Name, Reason};
use serde_json::{Value, json};

use super::unavailable;
use crate::{
    http::{door::Door, filters::Query, reply::Refusal},
    kinds::KINDS,
};

/// `GET /v1/reports/blast-radius`
pub(crate) async fn blast_radius(door: Door, headers: HeaderMap, RawQuery(query): RawQuery) -> Response {
    let work = async {
        let operator = door.operator(&headers).await?;
        let readable = report::readable(&door.app.ports, &operator)?;
        let asked = Query::read(query.as_deref()).and_then(selected)?;
        let told = radius(&door, asked, readable).await?;
        serde_json::to_value(told).map_err(|_| Reason::ServerError.into())
    };
    door.json(work.await)
}

/// The report for somebody who may read the records of these targets, or (`None`) all.
pub(crate) async fn radius(
    door: &Door,
    (selector, since): (Selector, Option<Day>),
    readable: Option<Vec<Name>>,
) -> Result<BlastRadius, Refusal> {
    // Who may read one target's records is told of another what strangers are: nothing.
    if let (Selector::Target(target), Some(readable)) = (&selector, &readable)
        && !readable.contains(target)
    {
        return Err(Reason::V1Forbidden.into());
    }
    let keys = own_keys(&door.app.keys.public_jwks());
    let told = report::blast_radius(readers(door), &selector, (since, readable), &keys).await;
    told.map_err(unavailable)
}

/// `GET /v1/reports/novel`
pub(crate) async fn novel(door: Door, headers: HeaderMap, RawQuery(query): RawQuery) -> Response {
    let work = async {
        let operator = door.operator(&headers).await?;
        let readable = report::readable(&door.app.ports, &operator)?;
        let span = Query::read(query.as_deref()).and_then(span)?;
        let told = report::novel(readers(&door), span, readable)
            .await
            .map_err(unavailable)?;
        serde_json::to_value(told).map_err(|_| Reason::ServerError.into())
    };
    door.json(work.await)
}

/// `GET /v1/reports/unused`: of the whole bundle, so for those who may read all records and the bundle.
pub(crate) async fn unused(door: Door, headers: HeaderMap, RawQuery(query): RawQuery) -> Response {
    let work = async {
        let operator = door.operator(&headers).await?;
        let ports = &door.app.ports;
        for action in [OperatorAction::ReadLog, OperatorAction::ExplainPolicy] {
            operator::permit(ports, &operator, action, None)?;
        }
        let days = Query::read(query.as_deref()).and_then(days_unused)?;
        let since = Day::of(ports.now()?).before(days);
        let seen = report::seen(readers(&door), since, None).await.map_err(unavailable)?;
        let digest = ports.active.snapshot().judge.digest();
        let content = ports.ledger.bundle(digest).await.map_err(unavailable)?;
        let content = content.ok_or(Reason::ServerError)?;
        let options = match door.app.site.dev {
            true => crate::dev::OPTIONS,
            false => Options::default(),
        };
        // Loading a bundle takes its time, once for each edit that is tried.
        let found =
            tokio::task::spawn_blocking(move || found(&content, options, &seen).map(|found| view(&seen, &found)));
        found.await.ok().flatten().ok_or_else(|| Reason::ServerError.into())
    };
    door.json(work.await)
}

fn readers(door: &Door) -> Readers<'_> {
    Readers {
        ports: &door.app.ports,
        usage: &*door.app.usage,
    }
}

fn own_keys(set: &Value) -> BTreeSet<String> {
    let keys = set["keys"].as_array().into_iter().flatten();
    keys.filter_map(|key| key["kid"].as_str().map(str::to_owned)).collect()
}

fn found(content: &[u8], options: Options, seen: &Seen) -> Option<Unused> {
    let bundle = Bundle::from_content(content).ok()?;
    let found = procura_policy::unused(&bundle, &KINDS, options, seen);
    let problem = |mistakes: &Vec<procura_policy::Mistake>| {
        tracing::error!(mistakes = mistakes.len(), "the bundle in force is not loaded again");
    };
    found.inspect_err(problem).ok()
}

fn view(seen: &Seen, found: &Unused) -> Value {
    let idle = |idle: &Idle| {
        json!({
            "kind": idle.kind,
            "name": idle.name,
            "file": idle.file,
            "line": idle.line,
            "in_patch": idle.in_patch,
            "why": idle.why,
        })
    };
    json!({
        "since": seen.since.begins(),
        "first": seen.first.map(Day::begins),
        "more": seen.more,
        "idle": found.idle.iter().map(idle).collect::<Vec<_>>(),
        "cases": found.cases,
        "patch": found.patch,
        "counted": seen.counted,
    })
}

/// Exactly one selector, and maybe `since`.
pub(crate) fn selected(mut query: Query) -> Result<(Selector, Option<Day>), FormFault> {
    let version = query.take("source_version")?;
    let given = [
        query
            .take("source")?
            .map(|source| Selector::Source(source, version.clone())),
        query.take("target")?.map(Selector::Target),
        query.take("subject")?.map(Selector::Subject),
        query.take("agent")?.map(Selector::Agent),
        query.take("server")?.map(Selector::Server),
        query.take("issuer")?.map(Selector::Issuer),
        query.take("signing_key")?.map(Selector::SigningKey),
    ];
    let since: Option<Timestamp> = query.take("since")?;
    query.end()?;
    let mut given = given.into_iter().flatten();
    let fault = |reason| FormFault { reason, param: None };
    let one = given.next().ok_or_else(|| fault(Reason::ParamMissing))?;
    if given.next().is_some() || (version.is_some() && !matches!(one, Selector::Source(..))) {
        return Err(fault(Reason::ParamMalformed));
    }
    Ok((one, since.map(Day::of)))
}

fn days_unused(mut query: Query) -> Result<u32, FormFault> {
    let days = days(&mut query, "days", (90, 3650));
    query.end()?;
    days
}

fn span(mut query: Query) -> Result<Span, FormFault> {
    let span = Span {
        days: days(&mut query, "days", (1, 90))?,
        baseline: days(&mut query, "baseline", (30, 365))?,
        most: FINDINGS,
    };
    query.end()?;
    Ok(span)
}

/// A number of days: by default, and at most.
fn days(query: &mut Query, name: &'static str, (default, most): (u32, u32)) -> Result<u32, FormFault> {
    match query.take(name)? {
        None => Ok(default),
        Some(days) if (1..=most).contains(&days) => Ok(days),
        Some(_) => Err(FormFault::of(Reason::ParamMalformed, name)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(query: &str) -> Result<(Selector, Option<Day>), Reason> {
        let read = Query::read(Some(query)).and_then(selected);
        read.map_err(|fault: FormFault| fault.reason)
    }

    #[test]
    fn a_blast_radius_is_of_exactly_one_thing() {
        let source = || "vault:kv/db".to_owned();
        assert_eq!(read("source=vault:kv/db"), Ok((Selector::Source(source(), None), None)));
        let versioned = Selector::Source(source(), Some("7".to_owned()));
        assert_eq!(read("source=vault:kv/db&source_version=7"), Ok((versioned, None)));
        let (_, since) = read("agent=corp/bot&since=2026-11-20T23:59:59Z").expect("query");
        assert_eq!(since, Some(Day(20_777)));
        assert_eq!(read(""), Err(Reason::ParamMissing));
        for bad in [
            "target=db&server=tickets",
            "target=db&source_version=7",
            "subject=alice",
            "since=today&target=db",
            "targets=db",
        ] {
            assert_eq!(read(bad), Err(Reason::ParamMalformed), "{bad}");
        }
    }

    #[test]
    fn spans_are_bounded() {
        let span = |query: &str| Query::read(Some(query)).and_then(span).map_err(|fault| fault.param);
        let of = |days, baseline| Span {
            days,
            baseline,
            most: FINDINGS,
        };
        assert_eq!(span(""), Ok(of(1, 30)));
        assert_eq!(span("days=7&baseline=90"), Ok(of(7, 90)));
        assert_eq!(span("days=0"), Err(Some("days")));
        assert_eq!(span("baseline=366"), Err(Some("baseline")));
    }
}
