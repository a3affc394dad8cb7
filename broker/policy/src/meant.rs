//! What was probably meant by a word that nobody knows.

use std::fmt::Display;

/// The known word with the fewest letters to change; of several the first by the alphabet, so that a bundle has the same mistakes
/// wherever it is read.
pub(crate) fn meant(word: &str, known: impl Iterator<Item = impl Display>) -> Option<String> {
    let known = known.map(|known| known.to_string());
    known.min_by_key(|known| (distance(word, known), known.clone()))
}

/// Letters to put in, to take out or to change (Levenshtein), row by row.
fn distance(word: &str, other: &str) -> usize {
    let other: Vec<char> = other.chars().collect();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (index, letter) in word.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = index + 1;
        for (at, known) in other.iter().enumerate() {
            let changed = diagonal + usize::from(letter != *known);
            diagonal = row[at + 1];
            row[at + 1] = changed.min(row[at] + 1).min(diagonal + 1);
        }
    }
    row[other.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_are_levenshteins() {
        for (one, other, expected) in [("", "", 0), ("", "ab", 2), ("kitten", "sitting", 3), ("ä", "a", 1)] {
            assert_eq!(distance(one, other), expected, "{one} {other}");
            assert_eq!(distance(other, one), expected, "{other} {one}");
        }
    }

    #[test]
    fn the_first_of_those_that_are_as_near_is_meant() {
        for known in [["raed", "rear"], ["rear", "raed"]] {
            assert_eq!(meant("rea", known.into_iter()).as_deref(), Some("rear"));
            assert_eq!(meant("xxxx", known.into_iter()).as_deref(), Some("raed"));
        }
        assert_eq!(meant("x", [""; 0].into_iter()), None);
    }
}
