//! `procura report novel`: combinations that the baseline has not, and counts that are far above it.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
};

use procura_wire::{Digest, Name};
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::{Counted, Readers, counted, list};
use crate::{
    Timestamp,
    ids::IssuanceId,
    ledger::StoreError,
    usage::{Alert, Day, Dimension, Sum, UsageFilter},
};

/// Most combinations that are read of a window and of a baseline.
const COMBINATIONS: u32 = 50_000;
/// Most findings of a report.
pub const FINDINGS: usize = 200;
/// A baseline with fewer days that have records says nothing of rates.
const DAYS_FOR_RATES: usize = 7;
/// Fewer on a day are no finding, whatever the baseline.
const LEAST_RATE: f64 = 20.0;
/// How many spreads above the mean.
const SPREADS: f64 = 3.0;

/// A window of whole UTC days up to now, and the days before it that it is compared with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// Days of the window, today among them; at least 1.
    pub days: u32,
    /// Days of the baseline, before the window; at least 1.
    pub baseline: u32,
    /// Most findings that are answered, the newest; at least 1.
    pub most: usize,
}

/// The answer.
#[derive(Debug, Clone, Serialize)]
pub struct Novel {
    /// First moment of the window.
    pub window: Timestamp,
    /// First moment of the baseline.
    pub baseline: Timestamp,
    /// Days of the baseline that have records. Where there are none everything is new.
    pub baseline_days: usize,
    /// When a rate is a finding, in words.
    pub rate_rule: String,
    /// What was found, the newest first.
    pub findings: Vec<Finding>,
    /// There is more, or more combinations were used than were read.
    pub more: bool,
    /// How far the sums count.
    pub counted: Counted,
}

/// One finding.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Finding {
    /// `subject_tool`, `server_target_grants`, `actor_group`, `issuer_key`: a combination that is new; `server_rate`,
    /// `subject_rate`: a count far above the baseline.
    pub finding: &'static str,
    /// What it is of.
    pub of: Map<String, Value>,
    /// Credentials issued in the window.
    pub issued: u64,
    /// Requests refused in the window.
    pub refused: u64,
    /// First and last record in the window.
    pub first: Timestamp,
    /// The last record.
    pub last: Timestamp,
    /// A record to look at: `procura log show`.
    pub record: IssuanceId,
    /// For a rate, the numbers that it was compared by.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate: Option<Rate>,
}

/// The highest day of the window against the baseline: requests on a day.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Rate {
    /// On the highest day of the window.
    pub count: u64,
    /// The baseline's daily mean.
    pub mean: f64,
    /// The baseline's spread: its standard deviation, and no less than the root of the mean.
    pub spread: f64,
    /// What the count is above.
    pub limit: f64,
}

/// A kind of combination: its name and its dimensions with the members that name them.
struct Pattern {
    finding: &'static str,
    by: &'static [(Dimension, &'static str)],
}

const PATTERNS: [Pattern; 4] = [
    Pattern {
        finding: "subject_tool",
        by: &[
            (Dimension::Subject, "subject"),
            (Dimension::Server, "server"),
            (Dimension::Tool, "tool"),
        ],
    },
    Pattern {
        finding: "server_target_grants",
        by: &[
            (Dimension::Server, "server"),
            (Dimension::Target, "target"),
            (Dimension::Grants, "grants"),
        ],
    },
    Pattern {
        finding: "actor_group",
        by: &[(Dimension::Actor, "actor"), (Dimension::Groups, "group")],
    },
    Pattern {
        finding: "issuer_key",
        by: &[(Dimension::Issuer, "issuer"), (Dimension::TokenKey, "key")],
    },
];

const RATES: [Pattern; 2] = [
    Pattern {
        finding: "server_rate",
        by: &[
            (Dimension::Day, "day"),
            (Dimension::Server, "server"),
            (Dimension::Target, "target"),
        ],
    },
    Pattern {
        finding: "subject_rate",
        by: &[(Dimension::Day, "day"), (Dimension::Subject, "subject")],
    },
];

/// What is new in the window, at the targets that the reader may see.
pub async fn novel(readers: Readers<'_>, span: Span, readable: Option<Vec<Name>>) -> Result<Novel, StoreError> {
    let now = readers.ports.now().map_err(|_| StoreError::Unavailable)?;
    let window = Day(Day::of(now).0 + 1).before(span.days.max(1));
    let mut look = Look {
        readers,
        readable,
        baseline: window.before(span.baseline.max(1)),
        window,
        more: false,
        findings: Vec::new(),
    };
    let days = look
        .sums(&[(Dimension::Day, "day")], look.baseline, Some(window))
        .await?;
    for pattern in &PATTERNS {
        look.new_ones(pattern).await?;
    }
    if days.len() >= DAYS_FOR_RATES {
        for pattern in &RATES {
            look.rates(pattern).await?;
        }
    }
    look.findings.sort_by_key(|finding| Reverse(finding.last));
    look.more |= look.findings.len() > span.most;
    look.findings.truncate(span.most);
    Ok(Novel {
        window: window.begins(),
        baseline: look.baseline.begins(),
        baseline_days: days.len(),
        rate_rule: format!(
            "a day above mean + {SPREADS} x spread of the baseline's {} days, and at least {LEAST_RATE} requests; \
             spread is the standard deviation, and no less than the root of the mean; rates need {DAYS_FOR_RATES} days \
             with records",
            span.baseline.max(1)
        ),
        findings: look.findings,
        more: look.more,
        counted: counted(readers.usage, look.readable.is_none()).await?,
    })
}

struct Look<'a> {
    readers: Readers<'a>,
    readable: Option<Vec<Name>>,
    baseline: Day,
    window: Day,
    more: bool,
    findings: Vec<Finding>,
}

impl Look<'_> {
    async fn sums(
        &mut self,
        by: &[(Dimension, &'static str)],
        since: Day,
        until: Option<Day>,
    ) -> Result<Vec<Sum>, StoreError> {
        let filter = UsageFilter {
            since: Some(since),
            until,
            targets: self.readable.clone(),
            ..UsageFilter::default()
        };
        let by = by.iter().map(|(dimension, _)| *dimension).collect();
        let sums = self.readers.usage.sums(filter, by, COMBINATIONS).await?;
        self.more |= u32::try_from(sums.len()).is_ok_and(|count| count >= COMBINATIONS);
        Ok(sums)
    }

    async fn new_ones(&mut self, pattern: &Pattern) -> Result<(), StoreError> {
        let before = self.sums(pattern.by, self.baseline, Some(self.window)).await?;
        let known: BTreeSet<Vec<String>> = before.iter().flat_map(|sum| keys(pattern, sum)).collect();
        let mut new: BTreeMap<Vec<String>, Finding> = BTreeMap::new();
        for sum in self.sums(pattern.by, self.window, None).await? {
            for key in keys(pattern, &sum).into_iter().filter(|key| !known.contains(key)) {
                let one = finding(pattern, &key, &sum);
                match new.get_mut(&key) {
                    Some(finding) => finding.add(&one),
                    None => drop(new.insert(key, one)),
                }
            }
        }
        self.findings.extend(new.into_values());
        Ok(())
    }

    async fn rates(&mut self, pattern: &Pattern) -> Result<(), StoreError> {
        let mut counts: BTreeMap<Vec<String>, Vec<f64>> = BTreeMap::new();
        for sum in self.sums(pattern.by, self.baseline, Some(self.window)).await? {
            for key in keys(pattern, &sum) {
                let day = requests(&sum);
                counts.entry(key[1..].to_vec()).or_default().push(day);
            }
        }
        // Days without a record count as 0.
        let days = (self.window.0 - self.baseline.0) as f64;
        let mut found: BTreeMap<Vec<String>, Finding> = BTreeMap::new();
        for sum in self.sums(pattern.by, self.window, None).await? {
            for key in keys(pattern, &sum) {
                let rate = rate(requests(&sum), counts.get(&key[1..]).map_or(&[], Vec::as_slice), days);
                let higher = |found: Option<&Finding>| {
                    let before = found.and_then(|found| found.rate).map_or(0, |rate| rate.count);
                    rate.is_some_and(|rate| rate.count > before)
                };
                if higher(found.get(&key[1..])) {
                    let one = finding(pattern, &key, &sum);
                    found.insert(key[1..].to_vec(), Finding { rate, ..one });
                }
            }
        }
        self.findings.extend(found.into_values());
        Ok(())
    }
}

fn requests(sum: &Sum) -> f64 {
    (sum.issued + sum.refused) as f64
}

/// The rule: `count` on a day against what the days of a baseline had, of which those without a record are not listed.
fn rate(count: f64, counts: &[f64], days: f64) -> Option<Rate> {
    let mean = counts.iter().sum::<f64>() / days;
    let squares: f64 = counts.iter().map(|one| (one - mean).powi(2)).sum();
    let zeros = (days - counts.len() as f64) * mean.powi(2);
    let spread = ((squares + zeros) / days).sqrt().max(mean.sqrt());
    let limit = (mean + SPREADS * spread).max(LEAST_RATE);
    let cut = |number: f64| (number * 10.0).round() / 10.0;
    (count >= LEAST_RATE && count > mean + SPREADS * spread).then(|| Rate {
        count: count as u64,
        mean: cut(mean),
        spread: cut(spread),
        limit: cut(limit),
    })
}

/// What a sum is of, once for each group; nothing where a part is missing, as the name of an erased person is.
fn keys(pattern: &Pattern, sum: &Sum) -> Vec<Vec<String>> {
    let mut keys = vec![Vec::new()];
    for (at, (dimension, _)) in pattern.by.iter().enumerate() {
        let parts = match dimension {
            Dimension::Groups => list(sum, at),
            _ => sum.of.get(at).cloned().flatten().into_iter().collect(),
        };
        let with = |key: &Vec<String>| {
            let with = |part: &String| key.iter().chain([part]).cloned().collect::<Vec<_>>();
            parts.iter().map(with).collect::<Vec<_>>()
        };
        keys = keys.iter().flat_map(with).collect();
    }
    keys
}

fn finding(pattern: &Pattern, key: &[String], sum: &Sum) -> Finding {
    let named = pattern.by.iter().zip(key);
    let member = |((dimension, name), part): (&(Dimension, &str), &String)| {
        let value = match dimension {
            Dimension::Grants => serde_json::from_str(part).unwrap_or_default(),
            Dimension::Day => part.parse().map(|day| json!(Day(day).begins())).unwrap_or_default(),
            _ => Value::from(part.as_str()),
        };
        ((*name).to_owned(), value)
    };
    Finding {
        finding: pattern.finding,
        of: named.map(member).collect(),
        issued: sum.issued,
        refused: sum.refused,
        first: sum.first,
        last: sum.last,
        record: sum.record,
        rate: None,
    }
}

impl Finding {
    fn add(&mut self, other: &Self) {
        self.issued += other.issued;
        self.refused += other.refused;
        self.first = self.first.min(other.first);
        self.last = self.last.max(other.last);
        self.record = self.record.min(other.record);
    }

    /// The alert that tells it: once for each day that it begins on.
    pub fn alert(&self, installation: &str, found: Timestamp) -> Option<Alert> {
        let of = serde_json::to_string(&self.of).ok()?;
        let day = Day::of(self.first).0.to_string();
        let body = json!({ "version": 1, "installation": installation, "found": found, "finding": self });
        Some(Alert {
            key: Digest::of_parts([self.finding.as_bytes(), b"\0", of.as_bytes(), b"\0", day.as_bytes()]),
            found,
            body: body.to_string(),
            attempts: 0,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_a_finding_above_three_spreads_and_twenty() {
        let steady = [100.0; 30];
        assert_eq!(
            rate(130.0, &steady, 30.0),
            None,
            "the root of the mean is the least spread"
        );
        let found = rate(131.0, &steady, 30.0).expect("found");
        assert_eq!(
            (found.count, found.mean, found.spread, found.limit),
            (131, 100.0, 10.0, 130.0)
        );
        assert_eq!(rate(19.0, &[], 30.0), None, "too few to tell");
        assert!(rate(20.0, &[], 30.0).is_some(), "nothing was there before");
        let wild: Vec<f64> = (0..30).map(|day| f64::from(day % 2) * 200.0).collect();
        assert_eq!(rate(400.0, &wild, 30.0), None, "mean 100, spread 100");
        assert!(rate(401.0, &wild, 30.0).is_some());
    }

    #[test]
    fn days_without_a_record_count_as_none() {
        let found = rate(100.0, &[30.0], 30.0).expect("found");
        assert_eq!((found.mean, found.spread), (1.0, 5.4));
    }
}
