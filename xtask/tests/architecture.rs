//! The direction of dependencies, read from the manifests:
//! `wire ← core ← { policy, identity, store, anchor, sources, targets, egress } ← server`, and `wire ← client-lib`.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a fault of the test's own setting ends it"
)]

use std::{collections::BTreeMap, path::Path, process::Command};

use serde_json::Value;

/// Third-party crates that stay in one place, and the directories that may have them.
const KEPT: [(&str, &[&str]); 3] = [
    ("cedar-policy", &["broker/policy"]),
    ("sqlx", &["broker/store", "broker/targets/postgres", "tests/e2e"]),
    ("axum", &["broker/server", "tests/contract", "tests/e2e", "tests/bench"]),
];

/// What the core knows nothing of: runtimes, stores, networks, files, rules.
const NOT_IN_CORE: [&str; 8] = [
    "aws-lc-rs",
    "axum",
    "cedar-policy",
    "jsonwebtoken",
    "notify",
    "reqwest",
    "sqlx",
    "tokio",
];

/// What a crate does in the workspace, by its directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Wire,
    Core,
    Leaf,
    Server,
    Client,
    Contract,
    EndToEnd,
    Fuzz,
    Bench,
    Tasks,
}

struct Member {
    part: Part,
    dir: String,
    dependencies: Vec<Dependency>,
}

struct Dependency {
    name: String,
    dev: bool,
}

#[test]
fn every_member_depends_only_on_what_is_before_it() {
    let members = members();
    let parts: BTreeMap<&str, Part> = members
        .iter()
        .map(|(name, member)| (name.as_str(), member.part))
        .collect();
    for member in members.values() {
        for dependency in &member.dependencies {
            let Some(&on) = parts.get(dependency.name.as_str()) else {
                continue;
            };
            let permitted = may_depend(member.part, on) || dependency.dev && may_test_with(member.part, on);
            assert!(permitted, "{} must not depend on {}", member.dir, dependency.name);
        }
    }
}

#[test]
fn outside_systems_stay_behind_one_port() {
    for member in members().values() {
        for dependency in member.dependencies.iter().filter(|dependency| !dependency.dev) {
            let kept = KEPT.iter().find(|(name, _)| *name == dependency.name);
            assert!(
                kept.is_none_or(|(_, dirs)| dirs.contains(&member.dir.as_str())),
                "{} must not depend on {}",
                member.dir,
                dependency.name
            );
        }
    }
}

#[test]
fn the_core_knows_no_outside_system() {
    for member in members().values() {
        if !matches!(member.part, Part::Wire | Part::Core) {
            continue;
        }
        for dependency in member.dependencies.iter().filter(|dependency| !dependency.dev) {
            assert!(
                !NOT_IN_CORE.contains(&dependency.name.as_str()),
                "{} must not depend on {}",
                member.dir,
                dependency.name
            );
        }
    }
}

fn may_depend(part: Part, on: Part) -> bool {
    match part {
        Part::Wire | Part::Tasks => false,
        Part::Core | Part::Client => on == Part::Wire,
        Part::Leaf | Part::Contract => matches!(on, Part::Wire | Part::Core),
        Part::Server => matches!(on, Part::Wire | Part::Core | Part::Leaf),
        Part::EndToEnd => matches!(on, Part::Wire | Part::Client | Part::Contract),
        Part::Bench => matches!(on, Part::Wire | Part::Core | Part::Leaf),
        Part::Fuzz => matches!(on, Part::Wire | Part::Core | Part::Leaf | Part::Contract),
    }
}

fn may_test_with(part: Part, on: Part) -> bool {
    match part {
        Part::Core | Part::Leaf | Part::Server => on == Part::Contract,
        Part::Tasks => on == Part::Wire,
        Part::Wire | Part::Client | Part::Contract | Part::EndToEnd | Part::Fuzz | Part::Bench => false,
    }
}

fn members() -> BTreeMap<String, Member> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--no-deps", "--offline"])
        .current_dir(root)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    packages
        .iter()
        .map(|package| (text(&package["name"]), member(root, package)))
        .collect()
}

fn member(root: &Path, package: &Value) -> Member {
    let manifest = text(&package["manifest_path"]);
    let dir = Path::new(&manifest).parent().unwrap().strip_prefix(root).unwrap();
    let dir = dir.to_str().unwrap().to_owned();
    let dependencies = package["dependencies"].as_array().unwrap();
    Member {
        part: part(&dir),
        dependencies: dependencies
            .iter()
            .map(|dependency| Dependency {
                name: text(&dependency["name"]),
                dev: dependency["kind"] == "dev",
            })
            .collect(),
        dir,
    }
}

fn part(dir: &str) -> Part {
    match dir {
        "broker/wire" => Part::Wire,
        "broker/core" => Part::Core,
        "broker/server" => Part::Server,
        "broker/anchor" | "broker/policy" | "broker/identity" | "broker/store" | "broker/sources" | "broker/egress" => {
            Part::Leaf
        }
        "client-lib" => Part::Client,
        "tests/contract" => Part::Contract,
        "tests/e2e" => Part::EndToEnd,
        "tests/fuzz" => Part::Fuzz,
        "tests/bench" => Part::Bench,
        "xtask" => Part::Tasks,
        other if other.starts_with("broker/targets/") => Part::Leaf,
        other => panic!("{other} has no place in the architecture: give it one in {}", file!()),
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}
