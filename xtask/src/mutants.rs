//! `cargo xtask campaign mutants`: takes guards out one by one, in a copy of the tree, and looks whether the case that
//! is said to show it then fails.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::{Value, json};

use crate::{
    parts::Testbed,
    run::{self, cargo},
    workspace::Workspace,
};

const PATCHES: &str = "tests/mutations";
const RESULT: &str = "tests/campaigns/results/mutants.json";
const PAGE: &str = "docs/guards.md";

/// A guard, and the patch that takes it out.
struct Mutant {
    /// `NN-name`
    name: String,
    patch: PathBuf,
    stops: String,
    stands: String,
    rows: String,
    case: Case,
}

/// What fails without the guard.
enum Case {
    /// Arguments of `cargo test`, the name of the test last.
    Test(Vec<String>),
    /// A case of `tests/attacks`.
    Attack(String),
}

impl Case {
    fn name(&self) -> &str {
        match self {
            Self::Test(arguments) => arguments.last().map_or("", String::as_str),
            Self::Attack(name) => name,
        }
    }
}

/// Runs so many, from the one that the seed leads to, and writes what it found into the result and the page.
pub(crate) fn run(times: u32, seed: u64) -> Result<(), String> {
    let workspace = Workspace::read()?;
    let mutants = read(&workspace.root)?;
    let (count, times) = (mutants.len(), usize::try_from(times).unwrap_or(usize::MAX));
    let first = usize::try_from(seed % count.max(1) as u64).unwrap_or(0);
    let chosen: Vec<&Mutant> = mutants.iter().cycle().skip(first).take(times.min(count)).collect();
    let copy = Copy::of(&workspace)?;
    // All of them first: what is the same for several is built once.
    for mutant in &chosen {
        if !copy.passes(mutant)? {
            return Err(format!("{}: {} fails with its guard", mutant.name, mutant.case.name()));
        }
    }
    let mut results = BTreeMap::new();
    for mutant in chosen {
        let caught = copy.is_caught(mutant)?;
        println!(
            "mutant {} ... {}",
            mutant.name,
            if caught { "caught" } else { "MISSED" }
        );
        results.insert(mutant.name.as_str(), caught);
    }
    let missed: Vec<_> = results
        .iter()
        .filter(|(_, caught)| !**caught)
        .map(|(name, _)| *name)
        .collect();
    if !missed.is_empty() {
        return Err(format!("no case fails without these guards: {}", missed.join(", ")));
    }
    let caught: Vec<&str> = results.into_keys().collect();
    record(&workspace.root, &mutants, &caught)
}

/// Writes result and page: what was caught now, and what is there still and was caught before.
fn record(root: &Path, mutants: &[Mutant], caught: &[&str]) -> Result<(), String> {
    let before: Value = read_to_string(&root.join(RESULT))
        .and_then(|text| serde_json::from_str(&text).map_err(|error| format!("{RESULT}: {error}")))?;
    let is_caught = |name: &str| caught.contains(&name) || before["mutants"][name] == "caught";
    let names = mutants.iter().map(|mutant| mutant.name.as_str());
    let words: BTreeMap<_, _> = names
        .filter(|name| is_caught(name))
        .map(|name| (name, "caught"))
        .collect();
    let result = json!({"campaign": "mutants", "mutants": words});
    write(&root.join(RESULT), &format!("{result:#}\n"))?;
    write(&root.join(PAGE), &page(mutants, &result))
}

/// All mutants in the order of their numbers.
fn read(root: &Path) -> Result<Vec<Mutant>, String> {
    let folder = root.join(PATCHES);
    let entries = fs::read_dir(&folder).map_err(|error| format!("{PATCHES}: {error}"))?;
    let mut patches: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    patches.sort();
    patches.into_iter().map(mutant).collect()
}

fn mutant(patch: PathBuf) -> Result<Mutant, String> {
    let text = read_to_string(&patch)?;
    let member = |name: &str| {
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
        line.map(str::to_owned)
            .ok_or(format!("{}: no line `{name}: …` before the patch", patch.display()))
    };
    let case = member("case")?;
    let case = match case.strip_prefix("attack ") {
        Some(name) => Case::Attack(name.to_owned()),
        None => Case::Test(case.split(' ').map(str::to_owned).collect()),
    };
    Ok(Mutant {
        name: patch.file_stem().unwrap_or_default().to_string_lossy().into_owned(),
        stops: member("stops")?,
        stands: member("stands")?,
        rows: member("rows")?,
        case,
        patch,
    })
}

/// A copy of the tree as it is, built into the same folder, so that what others wrote is compiled once.
struct Copy<'a> {
    workspace: &'a Workspace,
    tree: PathBuf,
}

impl<'a> Copy<'a> {
    fn of(workspace: &'a Workspace) -> Result<Self, String> {
        let tree = workspace.target.join("mutants");
        let mut list = Command::new("git");
        list.args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"]);
        list.current_dir(&workspace.root);
        let files = run::output(list)?;
        for name in String::from_utf8_lossy(&files).split_terminator('\0') {
            let (from, to) = (workspace.root.join(name), tree.join(name));
            let text = match fs::read(&from) {
                Ok(text) => text,
                // Removed, and git was not told.
                Err(_) => continue,
            };
            // What is the same stays untouched, so that it is not compiled again.
            if fs::read(&to).is_ok_and(|there| there == text) {
                continue;
            }
            let parent = to.parent().map_or(Ok(()), fs::create_dir_all);
            parent
                .and_then(|()| fs::write(&to, text))
                .map_err(|error| format!("{}: {error}", to.display()))?;
        }
        Ok(Self { workspace, tree })
    }

    /// Whether the case fails without the guard.
    fn is_caught(&self, mutant: &Mutant) -> Result<bool, String> {
        run::run(apply(&self.tree, &mutant.patch, &[])).map_err(|problem| mend(mutant, &problem))?;
        let passes = self.passes(mutant);
        run::run(apply(&self.tree, &mutant.patch, &["-R"]))?;
        Ok(!passes?)
    }

    /// Builds, which must succeed, and runs the case.
    fn passes(&self, mutant: &Mutant) -> Result<bool, String> {
        match &mutant.case {
            Case::Test(arguments) => self.test(arguments),
            Case::Attack(name) => self.attack(name),
        }
    }

    fn test(&self, arguments: &[String]) -> Result<bool, String> {
        let mut build = self.cargo("test");
        build.args(&arguments[..arguments.len() - 1]).arg("--no-run");
        run::run(build)?;
        let mut test = self.cargo("test");
        test.args(arguments);
        let (tally, _) = run::tests(test)?;
        match (tally.passed, tally.failed) {
            (0, 0) => Err(format!("no test is called {}", arguments.join(" "))),
            (_, failed) => Ok(failed == 0),
        }
    }

    fn attack(&self, name: &str) -> Result<bool, String> {
        let mut build = self.cargo("build");
        build.args(["-p", "procura", "--bin", "procura"]);
        run::run(build)?;
        let program = self.tree.join("procura");
        let built = self.workspace.target.join("debug/procura");
        // Moved, so that no broker without a guard stays where others look for one.
        fs::rename(&built, &program).map_err(|error| format!("{}: {error}", built.display()))?;
        let mut test = cargo();
        test.args([
            "test",
            "-p",
            "procura-e2e",
            "--test",
            "e2e",
            "--",
            "attacks::every_request",
        ]);
        test.arg(format!("--attack={name}")).current_dir(&self.workspace.root);
        let testbed = Testbed {
            root: self.workspace.target.join("testbed"),
        };
        test.env("PROCURA_TESTBED", testbed.root).env("PROCURA_BIN", program);
        let (tally, _) = run::tests(test)?;
        match (tally.passed, tally.failed) {
            (0, 0) => Err("the attacks did not run".to_owned()),
            (_, failed) => Ok(failed == 0),
        }
    }

    fn cargo(&self, task: &str) -> Command {
        let mut command = cargo();
        command.arg(task).current_dir(&self.tree);
        command.env("CARGO_TARGET_DIR", &self.workspace.target);
        command
    }
}

/// `git apply` in a folder that is no repository to it.
fn apply(tree: &Path, patch: &Path, flags: &[&str]) -> Command {
    let mut command = Command::new("git");
    command.arg("apply").args(flags).arg(patch).current_dir(tree);
    command.env("GIT_CEILING_DIRECTORIES", tree.parent().unwrap_or(tree));
    command
}

fn mend(mutant: &Mutant, problem: &str) -> String {
    let (name, stands) = (&mutant.name, &mutant.stands);
    format!("{problem}: {stands} has changed; write {PATCHES}/{name}.patch anew, so that it takes the guard out again")
}

/// The page of guards.
fn page(mutants: &[Mutant], result: &Value) -> String {
    let row = |mutant: &Mutant| {
        let number = mutant.name.split('-').next().unwrap_or_default();
        let found = result["mutants"][&mutant.name].as_str().unwrap_or("not run");
        let (stops, stands, rows) = (&mutant.stops, &mutant.stands, &mutant.rows);
        format!(
            "| {number} | {stops} | {stands} | {rows} | `{}` | {found} |\n",
            mutant.case.name()
        )
    };
    format!(
        "# Guards\n\n\
         The guards that matter most: what each stops, where it stands, and the test or attack case that fails when it is taken\n\
         out. `tests/mutations/NN-….patch` takes it out; `cargo xtask campaign mutants` does so in a copy of the tree and looks. CI\n\
         takes three in rotation. Generated by that campaign from the patches and `{RESULT}`.\n\n\
         | | stops | stands in | rule, attack | case | without the guard |\n|---|---|---|---|---|---|\n{}",
        mutants.iter().map(row).collect::<String>()
    )
}

fn read_to_string(path: &Path) -> Result<String, String> {
    fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))
}

fn write(path: &Path, text: &str) -> Result<(), String> {
    fs::write(path, text).map_err(|error| format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn root() -> &'static Path {
        Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace")
    }

    #[test]
    fn every_patch_takes_its_guard_out_of_the_tree_as_it_is() {
        let mutants = read(root()).expect("mutants");
        assert!(mutants.len() >= 20);
        let stale: Vec<String> = mutants
            .iter()
            .filter_map(|mutant| {
                let check = run::run(apply(root(), &mutant.patch, &["--check"]));
                check.err().map(|problem| mend(mutant, &problem))
            })
            .collect();
        assert!(stale.is_empty(), "{}", stale.join("\n"));
    }

    #[test]
    fn the_page_of_guards_is_current() {
        let result = fs::read_to_string(root().join(RESULT)).expect(RESULT);
        let result: Value = serde_json::from_str(&result).expect("JSON");
        let page = page(&read(root()).expect("mutants"), &result);
        let stored = fs::read_to_string(root().join(PAGE)).expect(PAGE);
        assert!(
            stored == page,
            "{PAGE} is not current: run cargo xtask campaign mutants"
        );
        assert!(
            !page.contains("not run"),
            "a guard was never taken out: run cargo xtask campaign mutants"
        );
    }

    #[test]
    fn cases_that_patches_name_are_there() {
        for mutant in read(root()).expect("mutants") {
            if let Case::Attack(name) = &mutant.case {
                let file = root().join("tests/attacks").join(name).with_extension("toml");
                assert!(file.is_file(), "{}: no case is called {name}", mutant.name);
            }
        }
    }
}
