//! Rate limits: `[limits]` of `bundle.toml`, `limits` of a server, `limit` of a grant.

use std::time::Duration;

use procura_core::limits::{Dimension, Limits, Rate};

use crate::table::{Item, parse_duration};

/// Longest window: counts are kept that long.
const LONGEST: Duration = Duration::from_secs(86400);
/// Most requests of a window.
const MOST: u32 = 1_000_000;

/// Limits of these dimensions.
pub(super) fn limits(item: Item<'_>, dimensions: &[Dimension]) -> Limits {
    let Some(mut table) = item.table() else {
        return Limits::new();
    };
    let read = |dimension: &Dimension| Some((*dimension, table.take(dimension.as_str()).and_then(rate)?));
    let limits = dimensions.iter().filter_map(read).collect();
    table.finish();
    limits
}

/// A number of requests and a length of time: `600/1m`.
pub(super) fn rate(item: Item<'_>) -> Option<Rate> {
    let text = item.text()?;
    let rate = parse(text);
    if rate.is_none() {
        item.mistake(format!(
            "`{text}` is no limit; write 1 to {MOST} requests and 1s to 1d, for example 600/1m"
        ));
    }
    rate
}

fn parse(text: &str) -> Option<Rate> {
    let (count, per) = text.split_once('/')?;
    let plain = count.bytes().all(|c| c.is_ascii_digit()) && !count.starts_with('0');
    let count = plain.then(|| count.parse().ok())?.filter(|count| *count <= MOST)?;
    let per = parse_duration(per).filter(|per| *per <= LONGEST)?;
    Some(Rate { count, per })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_a_number_of_requests_and_a_length_of_time() {
        let seconds = |text| parse(text).map(|rate| (rate.count, rate.per.as_secs()));
        assert_eq!(seconds("600/1m"), Some((600, 60)));
        assert_eq!(seconds("1000000/1d"), Some((1_000_000, 86400)));
        for bad in [
            "",
            "600",
            "/1m",
            "0/1m",
            "01/1m",
            "+1/1m",
            "-1/1m",
            "1/0s",
            "1/2d",
            "1/m",
            "1000001/1m",
            "1 /1m",
        ] {
            assert_eq!(seconds(bad), None, "{bad}");
        }
    }
}
