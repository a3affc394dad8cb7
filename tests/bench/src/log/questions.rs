//! What is asked of both stores: through the core's functions, where nothing but the query is measured, and through the
//! API of a running broker, as operators ask.

use std::{collections::BTreeMap, future::Future, sync::Arc, time::Duration};

use procura_core::{
    Timestamp,
    ids::IssuanceId,
    ledger::{Ledger, Page},
    query::{Expr, Scope, search},
};
use procura_store::SqliteLedger;
use serde::Serialize;
use url::form_urlencoded::Serializer;

use super::{Site, records::World};
use crate::{
    Fault,
    broker::Broker,
    clock::{self, median},
    process::cpu_seconds,
};

/// Records of a page.
const PAGE: u32 = 50;
/// Sessions that questions are about, in turn.
const SAMPLES: u64 = 101;
/// Records in a range of time that is asked for.
const RANGE: f64 = 1000.0;

/// A question and how it is put, about one session after the other.
struct Question {
    name: &'static str,
    asked: Vec<Asked>,
}

enum Asked {
    Record(IssuanceId),
    /// A filter and the number of records that the page must have at least.
    Filter(String, usize),
    /// A selector of the blast radius.
    Blast(String),
}

/// CPU time of a question, microseconds, in both stores.
#[derive(Debug, Clone, Copy, Serialize)]
pub(super) struct Figure {
    small: f64,
    pub(super) large: f64,
    pub(super) growth: f64,
}

pub(super) type Figures = BTreeMap<&'static str, Figure>;

/// How long and how often each is measured.
#[derive(Clone, Copy)]
pub(super) struct Amount {
    pub(super) batch: Duration,
    pub(super) batches: usize,
}

fn questions(world: &World, page: bool) -> Result<Vec<Question>, Fault> {
    type Put<'a> = Box<dyn Fn(u64) -> Result<Asked, Fault> + 'a>;
    let filter = |text: String| Asked::Filter(text, if page { PAGE as usize } else { 1 });
    let put: [(&'static str, Put<'_>); 10] = [
        (
            "id",
            Box::new(|at| {
                let steps = world.visit(at)?.steps()?;
                Ok(Asked::Record(steps[0].entry().id))
            }),
        ),
        (
            "session",
            Box::new(|at| Ok(Asked::Filter(format!("session = {}", world.visit(at)?.session.id), 13))),
        ),
        (
            "subject",
            Box::new(|at| {
                Ok(filter(format!(
                    "subject = \"{}\"",
                    world.visit(at)?.session.key.subject.id()
                )))
            }),
        ),
        (
            "agent",
            Box::new(|at| {
                let agent = world
                    .visit(at - at % 5)?
                    .session
                    .key
                    .actor
                    .ok_or("a session without an agent")?;
                Ok(filter(format!("actor = {agent}")))
            }),
        ),
        (
            "target",
            Box::new(|at| Ok(filter(format!("target = {}", world.visit(at)?.target())))),
        ),
        (
            "server",
            Box::new(|at| Ok(filter(format!("server = {}", world.visit(at)?.session.key.server)))),
        ),
        (
            "time",
            Box::new(|at| {
                let begin = at as f64 / world.sessions() as f64;
                let end = world.time(begin + RANGE / world.records as f64);
                let begin = world.time(begin);
                Ok(filter(format!("at >= {begin} and at < {end}")))
            }),
        ),
        ("issuer", Box::new(|_| Ok(filter("issuer = corp".to_owned())))),
        (
            "issuer with few records",
            Box::new(|_| Ok(filter("issuer = partner".to_owned()))),
        ),
        (
            "subject and outcome",
            Box::new(|at| {
                let subject = world.visit(at)?.session.key.subject;
                Ok(Asked::Filter(
                    format!("subject = \"{}\" and outcome = refused", subject.id()),
                    0,
                ))
            }),
        ),
    ];
    let samples = || (0..SAMPLES).map(|sample| sample * (world.sessions() * 9 / 10) / SAMPLES);
    let question = |(name, put): (&'static str, Put<'_>)| {
        Ok(Question {
            name,
            asked: samples().map(put).collect::<Result<_, Fault>>()?,
        })
    };
    put.into_iter().map(question).collect()
}

fn blasts(world: &World) -> Result<Vec<Question>, Fault> {
    let samples = (0..SAMPLES).map(|sample| world.visit(sample * 5 * (world.sessions() / 5 / SAMPLES)));
    let visits = samples.collect::<Result<Vec<_>, Fault>>()?;
    let each = |name, parameters: &dyn Fn(&super::records::Visit) -> Vec<(&'static str, String)>| {
        let asked = visits.iter().map(|visit| {
            let query = Serializer::new(String::new()).extend_pairs(parameters(visit)).finish();
            Asked::Blast(query)
        });
        Question {
            name,
            asked: asked.collect(),
        }
    };
    let one = |name: &'static str, value: &str| vec![(name, value.to_owned())];
    Ok(vec![
        each("blast radius of a subject", &|visit| {
            vec![("subject", visit.session.key.subject.id().to_string())]
        }),
        each("blast radius of an agent", &|visit| {
            let actor = visit.session.key.actor.as_ref();
            vec![("agent", actor.map(ToString::to_string).unwrap_or_default())]
        }),
        each("blast radius of a server", &|visit| {
            vec![("server", visit.session.key.server.to_string())]
        }),
        each("blast radius of a target", &|visit| vec![("target", visit.target())]),
        each("blast radius of a source", &|_| one("source", "vault:kv/target-3")),
        each("blast radius of a source's version", &|_| {
            vec![
                ("source", "vault:kv/target-3".to_owned()),
                ("source_version", "4".to_owned()),
            ]
        }),
        each("blast radius of an issuer", &|_| one("issuer", "partner")),
        each("blast radius of a large issuer", &|_| one("issuer", "corp")),
        each("blast radius of the broker's key", &|_| one("signing_key", "ours-1")),
        each("blast radius of an issuer's key", &|_| one("signing_key", "partner-1")),
    ])
}

/// The core's functions, in this process, which does nothing else.
pub(super) async fn core(sites: [&Site; 2], amount: Amount, full: bool) -> Result<Figures, Fault> {
    let stores = [sites[0].open().await?, sites[1].open().await?];
    let questions = [questions(&sites[0].world, full)?, questions(&sites[1].world, full)?];
    let mut figures = Figures::new();
    for (small, large) in questions[0].iter().zip(&questions[1]) {
        let mut times = [Vec::new(), Vec::new()];
        for _ in 0..amount.batches {
            for (at, question) in [small, large].into_iter().enumerate() {
                let ask = async |asked: &Asked| ask(&stores[at], asked).await;
                times[at].push(batch(question, amount.batch, ask, || Ok(clock::process_cpu().as_secs_f64())).await?);
            }
        }
        figures.insert(small.name, Figure::of(&times));
    }
    for store in stores {
        store.close().await;
    }
    Ok(figures)
}

/// `GET /v1/issuances` and `/v1/reports/blast-radius` of two brokers.
pub(super) async fn api(
    sites: [&Site; 2],
    brokers: [&Broker; 2],
    amount: Amount,
    full: bool,
) -> Result<Figures, Fault> {
    let mut all = Vec::new();
    for site in sites {
        let mut questions = questions(&site.world, full)?;
        questions.extend(blasts(&site.world)?);
        all.push(questions);
    }
    let mut figures = Figures::new();
    for (small, large) in all[0].iter().zip(&all[1]) {
        let mut times = [Vec::new(), Vec::new()];
        for _ in 0..amount.batches {
            for (at, question) in [small, large].into_iter().enumerate() {
                let ask = async |asked: &Asked| ask_api(brokers[at], &sites[at].token, asked).await;
                let pid = brokers[at].id();
                times[at].push(batch(question, amount.batch, ask, || cpu_seconds(pid)).await?);
            }
        }
        figures.insert(small.name, Figure::of(&times));
    }
    Ok(figures)
}

/// Microseconds of CPU for each answer.
async fn batch(
    question: &Question,
    least: Duration,
    ask: impl AsyncFn(&Asked) -> Result<(), Fault>,
    cpu: impl Fn() -> Result<f64, Fault>,
) -> Result<f64, Fault> {
    // Statements are prepared, and what is read first is read.
    ask(&question.asked[0])
        .await
        .map_err(|fault| format!("{}: {fault}", question.name))?;
    let (began, before, mut answers) = (clock::now(), cpu()?, 0_u32);
    for asked in question.asked.iter().cycle() {
        ask(asked)
            .await
            .map_err(|fault| format!("{}: {fault}", question.name))?;
        answers += 1;
        if began.elapsed() > least {
            break;
        }
    }
    Ok((cpu()? - before) * 1e6 / f64::from(answers))
}

async fn ask(store: &Arc<SqliteLedger>, asked: &Asked) -> Result<(), Fault> {
    let (text, least) = match asked {
        Asked::Record(id) => return store.record(*id).await?.map(drop).ok_or_else(|| "no record".into()),
        Asked::Filter(text, least) => (text, *least),
        Asked::Blast(_) => return Err("it is asked through the API".into()),
    };
    let expr = Expr::parse(text, Timestamp::UNIX_EPOCH)?;
    let page = Page {
        before: None,
        limit: PAGE,
    };
    let found = search(&**store, &expr, &Scope::All, page).await?;
    enough(text, found.records.len(), least)
}

async fn ask_api(broker: &Broker, token: &str, asked: &Asked) -> Result<(), Fault> {
    let path = match asked {
        Asked::Record(id) => format!("/v1/issuances/{id}"),
        Asked::Blast(query) => format!("/v1/reports/blast-radius?{query}"),
        Asked::Filter(text, _) => {
            let mut query = Serializer::new(String::new());
            let query = query.append_pair("limit", &PAGE.to_string()).append_pair("q", text);
            format!("/v1/issuances?{}", query.finish())
        }
    };
    let answer = broker.get(&path, token).await?;
    match asked {
        Asked::Filter(text, least) => {
            let records = answer.matches("\"leaf\":").count();
            enough(text, records, *least)
        }
        Asked::Record(_) | Asked::Blast(_) => Ok(()),
    }
}

fn enough(text: &str, records: usize, least: usize) -> Result<(), Fault> {
    match records >= least {
        true => Ok(()),
        false => Err(format!("{text}: {records} records, not {least}").into()),
    }
}

impl Figure {
    pub(super) fn of(times: &[Vec<f64>; 2]) -> Self {
        let [small, large] = [median(&times[0]), median(&times[1])];
        Self {
            small,
            large,
            growth: large / small,
        }
    }
}

/// So that what a question waits for is written beside it.
pub(super) async fn timed<T>(what: &str, work: impl Future<Output = Result<T, Fault>>) -> Result<T, Fault> {
    let began = clock::now();
    let done = work.await?;
    eprintln!("{what}: {:.0} s", began.elapsed().as_secs_f64());
    Ok(done)
}
