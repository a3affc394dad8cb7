//! Rules of the house that no lint knows, read from the files.
#![expect(clippy::unwrap_used, reason = "a fault of the test's own setting ends it")]

use std::{
    fs,
    path::{Path, PathBuf},
};

const LONGEST: usize = 400;

/// Files that may be longer, each with its reason.
const LONGER: [(&str, &str); 1] = [(
    "broker/core/src/ledger.rs",
    "one port with its vocabulary, half of it contract comments",
)];

#[test]
fn no_file_is_longer_than_400_lines() {
    let too_long: Vec<String> = sources()
        .into_iter()
        .filter(|(name, _)| !LONGER.iter().any(|(excused, _)| name == excused))
        .map(|(name, text)| (name, text.lines().count()))
        .filter(|(_, lines)| *lines > LONGEST)
        .map(|(name, lines)| format!("{name}: {lines} lines"))
        .collect();
    assert!(too_long.is_empty(), "an idea in it wants its own name: {too_long:#?}");
}

#[test]
fn lints_are_expected_with_a_reason_and_never_allowed() {
    let (outer, inner) = (concat!("#[", "allow("), concat!("#![", "allow("));
    for (name, text) in sources() {
        assert!(
            !text.contains(outer) && !text.contains(inner),
            "{name}: use #[expect(lint, reason = \"…\")]"
        );
    }
}

#[test]
fn every_member_takes_the_lints_of_the_workspace() {
    let root = fs::read_to_string(root().join("Cargo.toml")).unwrap();
    assert!(root.contains("unsafe_code = \"forbid\""));
    let manifests = files(&["broker", "client-lib", "tests", "xtask"], "toml");
    let is_member = |name: &str| name.ends_with("/Cargo.toml") && name != "tests/fuzz/fuzz/Cargo.toml";
    for (name, text) in manifests.iter().filter(|(name, _)| is_member(name)) {
        assert!(
            text.contains("[lints]\nworkspace = true"),
            "{name} lacks the lints of the workspace"
        );
    }
}

#[test]
fn wire_and_core_touch_neither_files_nor_environment() {
    for (name, text) in files(&["broker/wire/src", "broker/core/src"], "rs") {
        for word in code_words(&text) {
            assert!(!["env", "fs", "process"].contains(&word), "{name} uses std::{word}");
        }
    }
}

#[test]
fn migrations_explain_every_table_and_column() {
    for (name, text) in files(&["migrations"], "sql") {
        let lines: Vec<&str> = text.lines().collect();
        let mut in_table = false;
        for (index, line) in lines.iter().enumerate() {
            let explained = line.contains("--") || index > 0 && lines[index - 1].trim_start().starts_with("--");
            if line.starts_with("CREATE TABLE") {
                in_table = true;
                assert!(explained, "{name}:{}: a table without a comment", index + 1);
            } else if line.starts_with(')') {
                in_table = false;
            } else if in_table && line.trim_start().starts_with(|first: char| first.is_ascii_lowercase()) {
                assert!(explained, "{name}:{}: a column without a comment", index + 1);
            }
        }
    }
}

/// Identifiers outside of comments. Words in strings count too; that errs on the strict side.
fn code_words(text: &str) -> impl Iterator<Item = &str> {
    text.lines()
        .map(|line| line.split("//").next().unwrap_or_default())
        .flat_map(|line| line.split(|c: char| !c.is_alphanumeric() && c != '_'))
}

fn sources() -> Vec<(String, String)> {
    files(&["broker", "client-lib", "tests", "xtask"], "rs")
}

/// Names (from the root) and texts of all files below `dirs` with that ending.
fn files(dirs: &[&str], ending: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for dir in dirs {
        collect(&root().join(dir), ending, &mut found);
    }
    assert!(!found.is_empty(), "nothing to look at in {dirs:?}");
    found
}

fn collect(dir: &Path, ending: &str, found: &mut Vec<(String, String)>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            if !path.ends_with("target") && !path.ends_with("node_modules") {
                collect(&path, ending, found);
            }
        } else if path.extension().is_some_and(|extension| extension == ending) {
            let name = path.strip_prefix(root()).unwrap().to_str().unwrap().to_owned();
            found.push((name, fs::read_to_string(&path).unwrap()));
        }
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}
