//! What this replica has counted, by key and window.

use std::{
    cmp::Reverse,
    collections::HashMap,
    mem,
    sync::{Mutex, MutexGuard, PoisonError},
};

use procura_wire::Digest;

use super::{Ask, Counted, Dimension, Exceeded, Rate};
use crate::{
    Timestamp,
    ledger::{Ledger, StoreError},
};

/// Keys that are counted of each dimension at most. Where there are more, windows that ended are forgotten, then those
/// with the most left.
pub const MOST_KEYS: usize = 20_000;
/// Keys whose counts go to the store at a time, so that made-up names do not keep it from its work.
const MOST_SHARED: usize = 2_000;
/// Windows of an earlier run that are read at the start at most, the fullest first.
const MOST_EARLIER: u32 = 100_000;

/// The window of a key that is counted now.
#[derive(Debug)]
struct Window {
    ends: Timestamp,
    /// The limit that was last compared with.
    most: u64,
    /// What the store has of all replicas.
    shared: u64,
    /// On its way to the store.
    sent: u64,
    /// Not sent yet.
    fresh: u64,
    refused: bool,
}

impl Window {
    fn used(&self) -> u64 {
        self.shared + self.sent + self.fresh
    }
}

type Windows = HashMap<Digest, Window>;

#[derive(Default)]
struct State {
    dimensions: [Windows; Dimension::ALL.len()],
    /// What was counted before this process started, until it is asked for.
    earlier: HashMap<Digest, Counted>,
}

/// The counts of this replica.
#[derive(Default)]
pub struct Limiter(Mutex<State>);

impl Limiter {
    /// Goes on with what the store has of windows that have not ended.
    pub async fn open(ledger: &dyn Ledger, now: Timestamp) -> Result<Self, StoreError> {
        let earlier = ledger.counted(now, MOST_EARLIER).await?;
        Ok(Self(Mutex::new(State {
            earlier: earlier.into_iter().map(|counted| (counted.key, counted)).collect(),
            ..State::default()
        })))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a request for all of these, or for none where one of them is used up.
    pub fn admit(&self, asks: &[Ask], now: Timestamp) -> Result<(), Exceeded> {
        if asks.is_empty() {
            return Ok(());
        }
        let mut state = self.state();
        for ask in asks {
            let window = state.window(ask, now);
            if window.used() >= window.most {
                return Err(Exceeded {
                    reason: ask.dimension.reason(),
                    retry_after: seconds_until(window.ends, now),
                    first: !mem::replace(&mut window.refused, true),
                });
            }
        }
        for ask in asks {
            state.window(ask, now).fresh += 1;
        }
        Ok(())
    }

    /// What the store has not heard of yet, the most first and so many keys at most; it is on its way until
    /// [`Self::settle`] tells.
    pub(super) fn collect(&self) -> Vec<Counted> {
        let mut state = self.state();
        let windows = state.dimensions.iter_mut().flat_map(HashMap::iter_mut);
        let mut fresh: Vec<_> = windows.filter(|(_, window)| window.fresh > 0).collect();
        fresh.sort_unstable_by_key(|(_, window)| Reverse(window.fresh));
        let send = |(key, window): (&Digest, &mut Window)| {
            window.sent = mem::take(&mut window.fresh);
            Counted {
                key: *key,
                ends: window.ends,
                count: window.sent,
            }
        };
        fresh.into_iter().take(MOST_SHARED).map(send).collect()
    }

    /// What the store has now; `None` where it took nothing, so that it is sent again.
    pub(super) fn settle(&self, totals: Option<Vec<Counted>>, now: Timestamp) {
        let mut state = self.state();
        state.earlier.retain(|_, counted| now < counted.ends);
        let taken = totals.is_some();
        let totals: HashMap<_, _> = totals
            .into_iter()
            .flatten()
            .map(|total| ((total.key, total.ends), total.count))
            .collect();
        for (key, window) in state.dimensions.iter_mut().flat_map(HashMap::iter_mut) {
            let sent = mem::take(&mut window.sent);
            match totals.get(&(*key, window.ends)) {
                Some(total) => window.shared = *total,
                None if taken => window.shared += sent,
                None => window.fresh += sent,
            }
        }
    }
}

impl State {
    /// The window that a request counts in.
    fn window(&mut self, ask: &Ask, now: Timestamp) -> &mut Window {
        let windows = &mut self.dimensions[ask.dimension as usize];
        let ends = window_end(ask.rate, now);
        if windows.len() >= MOST_KEYS && !windows.contains_key(&ask.key) {
            make_room(windows, now);
        }
        let earlier = &self.earlier;
        let begun = || {
            let shared = earlier.get(&ask.key).filter(|counted| counted.ends == ends);
            Window {
                ends,
                most: 0,
                shared: shared.map_or(0, |counted| counted.count),
                sent: 0,
                fresh: 0,
                refused: false,
            }
        };
        let window = windows.entry(ask.key).or_insert_with(begun);
        // A request that was admitted a little earlier than another counts in the window of that one.
        if window.ends < ends {
            *window = begun();
        }
        window.most = u64::from(ask.rate.count);
        window
    }
}

/// Forgets windows that ended; where that is not enough, a quarter: those with the most left, so that whoever makes up
/// names cannot wash out the counts of those who used theirs up.
fn make_room(windows: &mut Windows, now: Timestamp) {
    windows.retain(|_, window| now < window.ends);
    if windows.len() < MOST_KEYS {
        return;
    }
    let left = |(key, window): (&Digest, &Window)| {
        let left = window.most.saturating_sub(window.used());
        (Reverse(left), window.ends, *key)
    };
    let mut order: Vec<_> = windows.iter().map(left).collect();
    order.sort_unstable_by_key(|(left, ends, _)| (*left, *ends));
    for (_, _, key) in &order[..MOST_KEYS / 4] {
        windows.remove(key);
    }
}

fn window_end(rate: Rate, now: Timestamp) -> Timestamp {
    let per = i64::try_from(rate.per.as_secs()).unwrap_or(i64::MAX).max(1);
    let end = now.as_second().div_euclid(per).saturating_add(1).saturating_mul(per);
    Timestamp::from_second(end).unwrap_or(Timestamp::MAX)
}

fn seconds_until(ends: Timestamp, now: Timestamp) -> u32 {
    let millis = ends.duration_since(now).as_millis().max(1);
    u32::try_from(millis.unsigned_abs().div_ceil(1000)).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use procura_wire::Reason;

    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + second).expect("time")
    }

    fn ask(name: &str, count: u32) -> Ask {
        let per = Duration::from_secs(60);
        Ask::new(Dimension::Subject, "", name, Rate { count, per })
    }

    fn admitted(limiter: &Limiter, ask: Ask, times: usize) -> usize {
        (0..times).filter(|_| limiter.admit(&[ask], at(0)).is_ok()).count()
    }

    #[test]
    fn a_window_lets_through_what_its_rate_says_and_the_next_begins_anew() {
        let limiter = Limiter::default();
        assert_eq!(admitted(&limiter, ask("alice", 3), 9), 3);
        assert_eq!(admitted(&limiter, ask("bob", 3), 9), 3, "others have their own");
        let refused = limiter.admit(&[ask("alice", 3)], at(59)).expect_err("used up");
        assert_eq!(
            (refused.reason, refused.retry_after, refused.first),
            (Reason::LimitSubject, 1, false)
        );
        assert_eq!(limiter.admit(&[ask("alice", 3)], at(60)), Ok(()));
        assert_eq!(
            limiter.admit(&[ask("alice", 3)], at(59)),
            Ok(()),
            "late, in the newer window"
        );
        assert_eq!(limiter.admit(&[ask("alice", 3)], at(61)), Ok(()));
        let refused = limiter.admit(&[ask("alice", 3)], at(61)).expect_err("used up");
        assert_eq!((refused.retry_after, refused.first), (59, true));
    }

    #[test]
    fn what_is_refused_for_one_limit_counts_for_none() {
        let limiter = Limiter::default();
        assert_eq!(admitted(&limiter, ask("alice", 1), 1), 1);
        let both = [ask("bob", 2), ask("alice", 1)];
        assert!(limiter.admit(&both, at(0)).is_err());
        assert_eq!(admitted(&limiter, ask("bob", 2), 9), 2);
    }

    #[test]
    fn attack_073_addresses_of_one_ipv6_network_count_as_one() {
        let rate = ask("", 1).rate;
        let key = |text: &str| Ask::of_peer(text.parse().expect("address"), rate).key;
        assert_eq!(key("2001:db8::1"), key("2001:db8::ffff:1:2:3"));
        assert_ne!(key("2001:db8::1"), key("2001:db8:0:1::1"));
        assert_ne!(key("192.0.2.1"), key("192.0.2.2"));
        assert_eq!(key("192.0.2.1"), key("::ffff:192.0.2.1"), "mapped is the same peer");
    }

    #[test]
    fn made_up_names_do_not_wash_out_who_is_at_the_limit() {
        let limiter = Limiter::default();
        let hot = ask("hot", 2);
        assert_eq!(admitted(&limiter, hot, 3), 2);
        for n in 0..3 * MOST_KEYS {
            assert_eq!(limiter.admit(&[ask(&n.to_string(), 2)], at(0)), Ok(()));
        }
        let kept = limiter.state().dimensions[Dimension::Subject as usize].len();
        assert!(kept <= MOST_KEYS, "{kept}");
        assert_eq!(admitted(&limiter, hot, 9), 0);
    }

    #[test]
    fn made_up_names_do_not_keep_the_store_from_its_work() {
        let limiter = Limiter::default();
        for n in 0..3 * MOST_SHARED {
            assert_eq!(limiter.admit(&[ask(&n.to_string(), 9)], at(0)), Ok(()));
        }
        assert_eq!(admitted(&limiter, ask("hot", 9), 5), 5);
        let sent = limiter.collect();
        assert_eq!((sent.len(), sent[0].count), (MOST_SHARED, 5), "the most first");
        limiter.settle(Some(sent), at(0));
        assert_eq!(limiter.collect().len(), MOST_SHARED, "the rest later");
    }

    #[test]
    fn what_the_store_did_not_take_is_sent_again() {
        let limiter = Limiter::default();
        assert_eq!(admitted(&limiter, ask("alice", 9), 2), 2);
        assert_eq!(limiter.collect()[0].count, 2);
        assert_eq!(admitted(&limiter, ask("alice", 9), 1), 1);
        limiter.settle(None, at(0));
        let again = limiter.collect();
        assert_eq!((again.len(), again[0].count), (1, 3));
        let total = Counted { count: 8, ..again[0] };
        limiter.settle(Some(vec![total]), at(0));
        assert_eq!(limiter.collect(), vec![]);
        assert_eq!(admitted(&limiter, ask("alice", 9), 9), 1, "others counted five");
    }
}
