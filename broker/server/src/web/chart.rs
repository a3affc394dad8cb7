//! A chart of stacked bars, drawn here: no script and no style of its own.

use procura_core::Timestamp;

/// Height of the tallest bar and width of all, in units of the drawing.
const HEIGHT: u64 = 100;
const WIDTH: usize = 480;

/// What happened in the stretch that a moment is in.
pub(super) struct Count {
    pub(super) at: Timestamp,
    pub(super) issued: u64,
    pub(super) refused: u64,
}

/// One stretch of time.
pub(super) struct Bar {
    pub(super) label: String,
    pub(super) issued: u64,
    pub(super) refused: u64,
    pub(super) x: usize,
    pub(super) width: usize,
    pub(super) issued_height: u64,
    pub(super) refused_height: u64,
    pub(super) issued_y: u64,
    pub(super) refused_y: u64,
}

/// Issued and refused, one bar for each stretch.
pub(super) struct Chart {
    pub(super) title: &'static str,
    pub(super) unit: &'static str,
    pub(super) id: &'static str,
    pub(super) bars: Vec<Bar>,
    /// In all stretches.
    pub(super) issued: u64,
    pub(super) refused: u64,
    /// What the tallest bar counts.
    pub(super) most: u64,
    pub(super) first: String,
    pub(super) last: String,
}

impl Chart {
    /// Of `count` stretches of `step` seconds, the last of which holds `now`.
    pub(super) fn of(
        (title, unit, id): (&'static str, &'static str, &'static str),
        counts: &[Count],
        now: Timestamp,
        (step, count): (i64, i64),
    ) -> Self {
        let last = now.as_second() - now.as_second().rem_euclid(step);
        let format = if step < 86_400 { "%H:00" } else { "%a %d %b" };
        let begins = (0..count).map(|n| last - (count - 1 - n) * step);
        let mut bars: Vec<_> = begins
            .filter_map(|second| bar(counts, (second, step), format))
            .collect();
        let most = bars.iter().map(|bar| bar.issued + bar.refused).max().unwrap_or(0);
        let slot = WIDTH / bars.len().max(1);
        for (n, bar) in bars.iter_mut().enumerate() {
            let height = |count: u64| {
                if count == 0 {
                    0
                } else {
                    (count * HEIGHT / most.max(1)).max(1)
                }
            };
            (bar.issued_height, bar.refused_height) = (height(bar.issued), height(bar.refused));
            bar.issued_y = HEIGHT.saturating_sub(bar.issued_height);
            bar.refused_y = bar.issued_y.saturating_sub(bar.refused_height);
            bar.x = n * slot + slot / 8;
            bar.width = slot - slot / 4;
        }
        let label = |bar: Option<&Bar>| bar.map(|bar| bar.label.clone()).unwrap_or_default();
        Self {
            title,
            unit,
            id,
            most,
            first: label(bars.first()),
            last: label(bars.last()),
            issued: bars.iter().map(|bar| bar.issued).sum(),
            refused: bars.iter().map(|bar| bar.refused).sum(),
            bars,
        }
    }
}

fn bar(counts: &[Count], (begin, step): (i64, i64), format: &str) -> Option<Bar> {
    let label = Timestamp::from_second(begin).ok()?.strftime(format).to_string();
    let inside = || {
        counts
            .iter()
            .filter(|count| (begin..begin + step).contains(&count.at.as_second()))
    };
    Some(Bar {
        label,
        issued: inside().map(|count| count.issued).sum(),
        refused: inside().map(|count| count.refused).sum(),
        x: 0,
        width: 0,
        issued_height: 0,
        refused_height: 0,
        issued_y: 0,
        refused_y: 0,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_are_as_high_as_their_counts() {
        let at = |second| Timestamp::from_second(second).expect("time");
        let of = |second, issued, refused| Count {
            at: at(second),
            issued,
            refused,
        };
        let counts = [of(7_200, 30, 0), of(7_201, 0, 10), of(10_800, 20, 0)];
        let chart = Chart::of(("t", "hour", "c"), &counts, at(11_000), (3_600, 3));
        let heights: Vec<_> = chart
            .bars
            .iter()
            .map(|bar| (bar.issued_height, bar.refused_height))
            .collect();
        assert_eq!(heights, [(0, 0), (75, 25), (50, 0)]);
        assert_eq!((chart.most, chart.bars[1].refused_y), (40, 0));
        assert_eq!((chart.issued, chart.refused), (50, 10));
        assert_eq!((chart.first.as_str(), chart.last.as_str()), ("01:00", "03:00"));
    }
}
