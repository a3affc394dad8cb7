//! What a broker costs by the length of its log: the start, idle memory, an exchange.

use std::{fmt::Write as _, fs, time::Duration};

use serde::Serialize;

use super::Site;
use crate::{
    Fault,
    broker::{self, Broker},
    clock::{self, median},
    issuer::{Algorithm::Es256, Issuer, USERS},
    load::Job,
    process::{cpu_seconds, resident_mib},
    rounds::{Figure, send},
};

/// A broker that has just started settles.
const SETTLE: Duration = Duration::from_secs(2);
/// Callers that exchange at once.
const CALLERS: usize = 64;

/// A start after the broker before has ended in its own time.
#[derive(Debug, Clone, Copy, Serialize)]
pub(super) struct Started {
    /// CPU time until the first exchange was answered.
    pub(super) cpu_ms: f64,
    /// Time until it said that it is ready.
    ready_ms: f64,
    /// Resident memory when it has settled.
    pub(super) memory_mib: f64,
}

/// Starts and ends a broker so often; the middle of each figure.
pub(super) async fn starts(site: &Site, issuer: &mut Issuer, times: usize) -> Result<Started, Fault> {
    let (mut cpu, mut ready, mut memory) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..times {
        let began = clock::now();
        let broker = site.prepared.start().await?;
        ready.push(began.elapsed().as_secs_f64() * 1e3);
        exchange(site, &broker, issuer, 1)?;
        cpu.push(cpu_seconds(broker.id())? * 1e3);
        tokio::time::sleep(SETTLE).await;
        memory.push(resident_mib(broker.id())?);
        broker.stop()?;
    }
    Ok(Started {
        cpu_ms: median(&cpu),
        ready_ms: median(&ready),
        memory_mib: median(&memory),
    })
}

/// CPU time of exchanges.
#[derive(Debug, Serialize)]
pub(super) struct Exchanges {
    /// Exchanges of a round, with tokens that were never used.
    of_a_round: usize,
    /// Microseconds each.
    small: f64,
    large: f64,
    /// Large by small, round by round.
    pub(super) growth: Figure,
    /// Records of the small store when all was done.
    small_records: u64,
}

/// Both brokers in turn, so that what else the machine does is shared.
pub(super) fn exchanges(
    sites: [&Site; 2],
    brokers: [&Broker; 2],
    issuer: &mut Issuer,
    (rounds, count): (usize, usize),
) -> Result<Exchanges, Fault> {
    let mut times = [Vec::new(), Vec::new()];
    for (site, broker) in sites.into_iter().zip(brokers) {
        // Sessions are opened.
        exchange(site, broker, issuer, 4 * USERS)?;
    }
    for round in 0..rounds {
        for turn in 0..2 {
            // Who goes first changes.
            let at = (round + turn) % 2;
            times[at].push(exchange(sites[at], brokers[at], issuer, count)?);
        }
    }
    let growth: Vec<f64> = times[0]
        .iter()
        .zip(&times[1])
        .map(|(small, large)| large / small)
        .collect();
    Ok(Exchanges {
        of_a_round: count,
        small: median(&times[0]),
        large: median(&times[1]),
        growth: Figure::of(&growth),
        small_records: sites[0].world.records + u64::try_from(1 + 4 * USERS + rounds * count)?,
    })
}

/// Microseconds of the broker's CPU for each.
fn exchange(site: &Site, broker: &Broker, issuer: &mut Issuer, count: usize) -> Result<f64, Fault> {
    let bodies = site.prepared.folder.join("bodies");
    let mut text = String::new();
    for call in 0..count {
        writeln!(text, "{}", broker::form(&issuer.token(Es256)?, call))?;
    }
    fs::write(&bodies, text)?;
    let job = Job {
        address: broker.address,
        path: "/token".to_owned(),
        authorization: Some(Broker::authorization()),
        tls: None,
        bodies,
        count,
        connections: CALLERS.min(count),
        expect: "\"access_token\":".to_owned(),
        seconds: 60,
    };
    let before = cpu_seconds(broker.id())?;
    let outcome = send(&job)?;
    Ok((cpu_seconds(broker.id())? - before) * 1e6 / f64::from(outcome.answered))
}
