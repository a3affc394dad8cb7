//! How much may be asked of each target now: a few undos at once, and of a broken target one at a time.

use std::{collections::BTreeMap, time::Duration};

use procura_wire::Name;

use super::backoff;

/// Undos under way at one target at most.
pub(super) const WIDTH: u32 = 8;
/// After so many failures in a row a target is broken, until an undo succeeds.
const BROKEN: u32 = 3;
/// Longest wait between two probes of a broken target, so that its backlog begins soon after it is back.
const LAST_PROBE: Duration = Duration::from_secs(5);

/// What an attempt says of its target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Said {
    /// It confirmed.
    Gone,
    /// It failed, or did not answer in time.
    Failed,
    /// It was not asked.
    Nothing,
}

/// The targets that something is under way at, or that failed last.
#[derive(Default)]
pub(super) struct Lanes(BTreeMap<Name, Lane>);

#[derive(Default)]
struct Lane {
    under_way: u32,
    /// Failures since the last success.
    failures: u32,
    /// When a broken target is probed next, on the monotonic clock.
    probe: Duration,
    /// The store had as many as there was room for: it may have more.
    backlog: bool,
}

impl Lane {
    fn is_broken(&self) -> bool {
        self.failures >= BROKEN
    }

    fn room(&self, now: Duration) -> u32 {
        if self.is_broken() {
            u32::from(self.under_way == 0 && now >= self.probe)
        } else {
            WIDTH.saturating_sub(self.under_way)
        }
    }
}

impl Lanes {
    /// How many more undos may begin at the target.
    pub(super) fn room(&self, target: &Name, now: Duration) -> u32 {
        self.0.get(target).map_or(WIDTH, |lane| lane.room(now))
    }

    /// Notes that so many of what there was room for begin.
    pub(super) fn begin(&mut self, target: &Name, taken: usize, room: u32) {
        let lane = self.0.entry(target.clone()).or_default();
        let taken = u32::try_from(taken).unwrap_or(u32::MAX);
        lane.under_way += taken;
        lane.backlog = taken >= room;
    }

    /// Notes how one ended. Answers whether to look for more at once.
    pub(super) fn end(&mut self, target: &Name, said: Said, now: Duration) -> bool {
        let Some(lane) = self.0.get_mut(target) else {
            return false;
        };
        lane.under_way = lane.under_way.saturating_sub(1);
        match said {
            Said::Gone => {
                if lane.is_broken() {
                    tracing::info!(%target, "undoes again");
                }
                lane.failures = 0;
            }
            Said::Failed => {
                lane.failures = lane.failures.saturating_add(1);
                if lane.failures == BROKEN {
                    tracing::warn!(%target, "does not undo: asked one at a time until it does");
                }
                lane.probe = now + backoff(lane.failures.saturating_sub(BROKEN)).min(LAST_PROBE);
            }
            Said::Nothing => {}
        }
        let more = lane.backlog && lane.room(now) >= WIDTH / 2;
        self.0.retain(|_, lane| lane.under_way > 0 || lane.failures > 0);
        more
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::ZERO;

    fn name() -> Name {
        "db".parse().expect("name")
    }

    fn begun(taken: u32) -> Lanes {
        let mut lanes = Lanes::default();
        lanes.begin(&name(), taken as usize, WIDTH);
        lanes
    }

    #[test]
    fn a_few_are_under_way_and_a_backlog_is_gone_on_with_when_half_are_done() {
        let mut lanes = begun(WIDTH);
        assert_eq!(lanes.room(&name(), NOW), 0);
        let more: Vec<bool> = (0..4).map(|_| lanes.end(&name(), Said::Gone, NOW)).collect();
        assert_eq!((more, lanes.room(&name(), NOW)), (vec![false, false, false, true], 4));
        let mut lanes = begun(WIDTH - 1);
        assert!(
            (0..7).all(|_| !lanes.end(&name(), Said::Gone, NOW)),
            "there was no more"
        );
        assert!(lanes.0.is_empty(), "nothing is kept of a target that works");
    }

    #[test]
    fn a_broken_target_is_probed_at_growing_distances_until_one_succeeds() {
        let mut lanes = begun(3);
        assert!((0..3).all(|_| !lanes.end(&name(), Said::Failed, NOW)));
        let mut now = NOW;
        let mut waited = Vec::new();
        for _ in 0..5 {
            let before = now;
            while lanes.room(&name(), now) == 0 {
                now += Duration::from_millis(250);
            }
            waited.push((now - before).as_millis());
            assert_eq!(lanes.room(&name(), now), 1);
            lanes.begin(&name(), 1, 1);
            assert_eq!(lanes.room(&name(), now + LAST_PROBE), 0, "one at a time");
            assert!(!lanes.end(&name(), Said::Failed, now));
        }
        assert_eq!(waited, [500, 1000, 2000, 4000, 5000]);
        now += LAST_PROBE;
        lanes.begin(&name(), 1, 1);
        assert!(
            lanes.end(&name(), Said::Gone, now),
            "its backlog is gone on with at once"
        );
        assert_eq!(lanes.room(&name(), now), WIDTH);
    }

    #[test]
    fn a_success_between_failures_and_what_was_not_asked_break_nothing() {
        let mut lanes = begun(7);
        for said in [
            Said::Failed,
            Said::Failed,
            Said::Gone,
            Said::Failed,
            Said::Nothing,
            Said::Failed,
        ] {
            lanes.end(&name(), said, NOW);
        }
        assert_eq!(lanes.room(&name(), NOW), WIDTH - 1);
        lanes.end(&name(), Said::Failed, NOW);
        assert_eq!(lanes.room(&name(), NOW), 0);
    }
}
