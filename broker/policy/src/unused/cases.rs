//! Cuts tests out of `tests/*.toml` by their lines.

use std::collections::{BTreeMap, BTreeSet};

use super::Files;
use crate::Mistake;

const HEAD: &str = "[[case]]";

/// Cuts the cases that these mistakes are in; answers their files and names. A file without a case goes.
pub(super) fn cut(files: &mut Files, mistakes: &[Mistake]) -> Vec<String> {
    let mut lines: BTreeMap<&str, BTreeSet<usize>> = BTreeMap::new();
    for mistake in mistakes {
        lines.entry(&mistake.file).or_default().insert(mistake.line);
    }
    let mut gone = Vec::new();
    for (path, lines) in lines {
        let Some(text) = files.get(path) else { continue };
        let (kept, names) = without(text, &lines);
        gone.extend(names.into_iter().map(|name| format!("{path}: {name}")));
        match kept.lines().any(|line| line.trim() == HEAD) {
            true => drop(files.insert(path.to_owned(), kept)),
            false => drop(files.remove(path)),
        }
    }
    gone
}

/// The text without the cases that have one of these lines, and the names of those.
fn without(text: &str, bad: &BTreeSet<usize>) -> (String, Vec<String>) {
    let (mut kept, mut gone) = (String::new(), Vec::new());
    let (head, cases) = split(text);
    kept.push_str(&head.concat());
    for (first, lines) in cases {
        if bad.iter().any(|line| (first..first + lines.len()).contains(line)) {
            let name = lines.iter().find_map(|line| line.trim().strip_prefix("name = "));
            gone.push(name.unwrap_or_default().trim_matches('"').to_owned());
        } else {
            kept.push_str(&lines.concat());
        }
    }
    if !gone.is_empty() {
        kept.truncate(kept.trim_end().len());
        kept.push('\n');
    }
    (kept, gone)
}

type Lines<'t> = Vec<&'t str>;

/// What stands above the first case, and each case with the comment directly above it and its first line, from 1.
fn split(text: &str) -> (Lines<'_>, Vec<(usize, Lines<'_>)>) {
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    let heads = (0..lines.len()).filter(|at| lines[*at].trim() == HEAD);
    let with_comment = |head: usize| {
        let comments = lines[..head]
            .iter()
            .rev()
            .take_while(|line| line.starts_with('#'))
            .count();
        head - comments
    };
    let starts: Vec<usize> = heads.map(with_comment).collect();
    let ends = starts.iter().skip(1).copied().chain([lines.len()]);
    let cases = starts
        .iter()
        .zip(ends)
        .map(|(start, end)| (start + 1, lines[*start..end].to_vec()));
    let first = starts.first().copied().unwrap_or(lines.len());
    (lines[..first].to_vec(), cases.collect())
}
