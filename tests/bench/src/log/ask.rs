//! Asks both stores: through the core's functions, where nothing but the query is measured, and through the API of a
//! running broker, as operators ask.

use std::{collections::BTreeMap, future::Future, sync::Arc, time::Duration};

use procura_core::{
    Timestamp,
    ledger::{Ledger, Page},
    query::{Expr, Scope, search},
};
use procura_store::SqliteLedger;
use serde::Serialize;
use url::form_urlencoded::Serializer;

use super::{
    Site,
    questions::{Asked, PAGE, Question, blasts, questions},
};
use crate::{
    Fault,
    broker::Broker,
    clock::{self, median},
    process::cpu_seconds,
};

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

/// The core's functions, in this process, which does nothing else.
pub(super) async fn core(sites: [&Site; 2], amount: Amount, least: usize) -> Result<Figures, Fault> {
    let stores = [sites[0].open().await?, sites[1].open().await?];
    let questions = [questions(&sites[0].world, least)?, questions(&sites[1].world, least)?];
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
    least: usize,
) -> Result<Figures, Fault> {
    let mut all = Vec::new();
    for site in sites {
        let mut questions = questions(&site.world, least)?;
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
