//! `cargo xtask campaign`: what the cases show once, many times, at random from a seed. The result is written
//! as JSON.

use std::{
    collections::{BTreeMap, VecDeque},
    fs,
    path::PathBuf,
    process::ExitCode,
    time::{Duration, Instant},
};

use futures_util::future::try_join_all;
use procura_e2e::{
    Fault, Testbed,
    harness::Outcome,
    serve::{MINT_BUDGET, Store},
};
use serde_json::{Value, json};

use crate::{
    crash::{KINDS, points_of, site_of},
    keeper::Keeper,
    rotation::{self, Rotated},
    undoing,
    witness::Witness,
};

/// Brokers that crash at the same time: of each kind of target one with its store in SQLite, one in PostgreSQL.
const SITES: u64 = 2 * KINDS.len() as u64;
/// How long a target is away, how long a broker idles, and how many leases fall due then.
const AWAY: Duration = Duration::from_secs(120);
const IDLE: Duration = Duration::from_secs(20);
const DUE: u32 = 200;
/// Crashes after which everything is compared.
const CHECK_EVERY: u32 = 20;
/// Most requests at the same time.
const WIDEST: u64 = 4;
/// Commits after which one of the store's failpoints acts; a start has a few.
const COMMITS: std::ops::Range<u64> = 5..17;

/// What the command line asks for: `--campaign=NAME --times=N --seed=N --result=FILE`.
pub(crate) struct Asked {
    name: String,
    times: u32,
    seed: u64,
    result: PathBuf,
}

impl Asked {
    /// `None` where it asks for tests.
    pub(crate) fn read() -> Option<Self> {
        let arguments: Vec<String> = std::env::args().collect();
        let value = |name: &str| arguments.iter().find_map(|argument| argument.strip_prefix(name));
        Some(Self {
            name: value("--campaign=")?.to_owned(),
            times: value("--times=")?.parse().ok()?,
            seed: value("--seed=")?.parse().ok()?,
            result: value("--result=")?.into(),
        })
    }

    /// Runs it and writes its result, unless it fails.
    pub(crate) fn run(&self) -> ExitCode {
        match self.outcome() {
            Ok(()) => ExitCode::SUCCESS,
            Err(fault) => {
                eprintln!("campaign {}, seed {}: {fault}", self.name, self.seed);
                ExitCode::FAILURE
            }
        }
    }

    fn outcome(&self) -> Outcome {
        #[expect(clippy::disallowed_methods, reason = "how long it took is part of the result")]
        let begun = Instant::now();
        let testbed = Testbed::from_environment()?;
        let mut result = tokio::runtime::Runtime::new()?.block_on(async {
            match self.name.as_str() {
                "crash" => crash(&testbed, self.times, self.seed).await,
                "rotation" => rotations(&testbed, self.times).await,
                "undo" => undoing::away(&testbed, self.times, AWAY).await,
                "leases" => leases(&testbed, self.times).await,
                name => Err(format!("there is no campaign {name}").into()),
            }
        })?;
        result["campaign"] = self.name.as_str().into();
        result["seconds"] = begun.elapsed().as_secs().into();
        let text = format!("{result:#}\n");
        print!("{text}");
        Ok(fs::write(&self.result, text)?)
    }
}

/// The same broker with few leases and with many.
async fn leases(testbed: &Testbed, times: u32) -> Result<Value, Fault> {
    let mut runs = Vec::new();
    for lives in [times.div_ceil(100), times] {
        runs.push(undoing::standing(testbed, lives, DUE, IDLE).await?);
    }
    Ok(json!({ "runs": runs }))
}

/// So many for each kind of source, and by the operator.
async fn rotations(testbed: &Testbed, times: u32) -> Result<Value, Fault> {
    let file = rotation::rotate(testbed, Keeper::File, times).await?;
    let vault = rotation::rotate(testbed, Keeper::vault()?, times).await?;
    let aws = rotation::rotate(testbed, Keeper::aws().await?, times).await?;
    let operator = rotation::take_turns(testbed, times).await?;
    let told = |rotated: Rotated| {
        json!({
            "rotations": times,
            "exchanges": rotated.exchanges,
            "failed": 0,
            "source_versions": rotated.versions,
            "slowest_exchange_ms": u64::try_from(rotated.slowest.as_millis()).unwrap_or(u64::MAX),
        })
    };
    Ok(json!({
        "callers": rotation::CALLERS,
        "mint_budget_seconds": MINT_BUDGET.as_secs(),
        "file": told(file),
        "vault": told(vault),
        "aws": told(aws),
        "procura_rotate": told(operator),
    }))
}

/// Crashes each site its share of times.
async fn crash(testbed: &Testbed, times: u32, seed: u64) -> Result<Value, Fault> {
    let share = times.div_ceil(u32::try_from(SITES)?);
    let sites = (0..SITES).map(|number| crash_site(testbed, share, seed, number));
    let tallies = try_join_all(sites).await?;
    let mut sum = Tally::default();
    let mut by_kind = BTreeMap::<&str, u32>::new();
    for (number, tally) in tallies.into_iter().enumerate() {
        *by_kind.entry(KINDS[number / 2]).or_default() += tally.crashes.values().sum::<u32>();
        sum.answered += tally.answered;
        sum.refused += tally.refused;
        sum.checks += tally.checks;
        for (point, count) in tally.crashes {
            *sum.crashes.entry(point).or_default() += count;
        }
    }
    Ok(json!({
        "seed": seed,
        "crashes": sum.crashes.values().sum::<u32>(),
        "crashes_by_place": sum.crashes,
        "crashes_by_kind": by_kind,
        "answered": sum.answered,
        "refused": sum.refused,
        "comparisons": sum.checks,
        "left_behind": 0,
        "lost": 0,
    }))
}

#[derive(Default)]
struct Tally {
    crashes: BTreeMap<String, u32>,
    answered: usize,
    refused: usize,
    checks: u32,
}

async fn crash_site(testbed: &Testbed, times: u32, seed: u64, number: u64) -> Result<Tally, Fault> {
    let (engine, store) = match number % 2 {
        0 => ("sqlite", Store::Sqlite),
        _ => ("postgres", Store::Postgres(testbed.postgres().await?.empty().await?)),
    };
    let kind = KINDS[usize::try_from(number / 2)?];
    let (points, (site, external)) = (points_of(kind), site_of(testbed, &store, kind).await?);
    let (mut dice, mut witness) = (Dice(seed ^ number << 32), Witness::at(external));
    let mut tally = Tally::default();
    let mut last = VecDeque::new();
    for time in 1..=times {
        let (point, first) = points[dice.below(points.len() as u64)];
        let nth = match point.starts_with("store") {
            true => dice.within(COMMITS),
            false => dice.within(1..u64::from(first) + 4),
        };
        let failpoint = format!("{point}=kill@{nth}");
        last.push_front(failpoint.clone());
        last.truncate(CHECK_EVERY as usize);
        let told = |fault: Fault| format!("{kind}, {engine}, after {last:?}: {fault}");
        let mut broker = site.start_armed(&failpoint).await.map_err(told)?;
        let width = dice.within(1..WIDEST + 1) as usize;
        let died = witness.until_dead(&mut broker, width).await.map_err(told)?;
        if !died {
            broker.kill().await?;
        }
        let place = if died { point } else { "between requests" };
        *tally.crashes.entry(format!("{engine} {place}")).or_default() += 1;
        if time % CHECK_EVERY == 0 || time == times {
            let broker = site.start().await.map_err(told)?;
            witness.check(&site, &broker).await.map_err(told)?;
            tally.checks += 1;
            broker.kill().await?;
        }
    }
    (tally.answered, tally.refused) = (witness.count(), witness.refused);
    Ok(tally)
}

/// Random numbers from a seed (SplitMix64).
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: u64) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) % end) as usize
    }

    fn within(&mut self, range: std::ops::Range<u64>) -> u64 {
        range.start + self.below(range.end - range.start) as u64
    }
}
