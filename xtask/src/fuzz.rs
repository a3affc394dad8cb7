//! `cargo xtask campaign fuzz`: has cargo-fuzz look for inputs that break a law of `tests/fuzz`, and keeps those that lead somewhere new.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
};

use serde_json::{Value, json};

use crate::{
    run::{output, run as run_command, shown},
    workspace::Workspace,
};

const CRATE: &str = "tests/fuzz/fuzz";
const CORPUS: &str = "tests/fuzz/corpus";
const RESULT: &str = "tests/campaigns/results/fuzz.json";
/// Files of the corpus that stay, whatever is found.
const SEED: &str = "seed-";
/// Targets at a time.
const AT_ONCE: usize = 2;
/// Longest input, bytes; seconds that one may take; memory.
const LIMITS: [&str; 3] = ["-max_len=8192", "-timeout=10", "-rss_limit_mb=2048"];
const INSTALL: &str = "fuzzing needs a nightly compiler and cargo-fuzz: run `rustup toolchain install nightly` and \
                       `cargo install cargo-fuzz --locked`";

/// Where things are.
struct Places {
    root: PathBuf,
    /// What is built, found on the way and printed.
    work: PathBuf,
}

/// Runs every target for so many seconds, then minimises its corpus. Writes the result unless a law was broken.
pub(crate) fn run(seconds: u32, seed: u64) -> Result<(), String> {
    let workspace = Workspace::read()?;
    let places = Places {
        root: workspace.root,
        work: workspace.target.join("fuzz"),
    };
    output(cargo_fuzz(&["--version"])).map_err(|problem| format!("{problem}\n{INSTALL}"))?;
    run_command(places.command("build", &[]))?;
    let flags = [format!("-max_total_time={seconds}"), format!("-seed={seed}")];
    let mut results = BTreeMap::new();
    let mut problems = Vec::new();
    for targets in places.targets()?.chunks(AT_ONCE) {
        for (target, result) in together(targets, |target| places.fuzz(target, &flags)) {
            match result {
                Ok(result) => drop(results.insert(target, result)),
                Err(problem) => problems.push(problem),
            }
        }
    }
    if !problems.is_empty() {
        return Err(problems.join("\n"));
    }
    let result = json!({"campaign": "fuzz", "seconds": seconds, "seed": seed, "targets": results});
    write(&places.root.join(RESULT), &format!("{result:#}\n"))
}

/// Each on a thread.
fn together<T: Send>(targets: &[String], work: impl Fn(&str) -> T + Sync) -> Vec<(String, T)> {
    thread::scope(|scope| {
        let started: Vec<_> = targets
            .iter()
            .map(|target| (target, scope.spawn(|| work(target))))
            .collect();
        let ended = started
            .into_iter()
            .map(|(target, thread)| Some((target.clone(), thread.join().ok()?)));
        ended.flatten().collect()
    })
}

impl Places {
    /// Names of the targets.
    fn targets(&self) -> Result<Vec<String>, String> {
        let mut names: Vec<String> = files(&self.root.join(CRATE).join("fuzz_targets"))?
            .iter()
            .filter_map(|path| Some(path.file_stem()?.to_str()?.to_owned()))
            .collect();
        names.sort();
        Ok(names)
    }

    fn corpus(&self, target: &str) -> PathBuf {
        self.root.join(CORPUS).join(target)
    }

    /// A task of cargo-fuzz. Nothing of ours is unsafe: what a sanitizer would look for the compiler refuses.
    fn command(&self, task: &str, arguments: &[&str]) -> Command {
        let mut command = cargo_fuzz(&[task, "--fuzz-dir", CRATE, "--sanitizer", "none", "--target-dir"]);
        command.arg(&self.work).args(arguments).current_dir(&self.root);
        command
    }

    /// Looks for inputs, and keeps those that reach what no smaller one does.
    fn fuzz(&self, target: &str, flags: &[String]) -> Result<Value, String> {
        let (found, corpus) = (self.work.join("found").join(target), self.corpus(target));
        // What an earlier run left has been looked at, or is in the corpus.
        let _ = fs::remove_dir_all(&found);
        fs::create_dir_all(&found).map_err(|error| named(&found, &error))?;
        let prefix = self.work.join(format!("broken-{target}-"));
        let mut command = self.command("run", &[target]);
        command.arg(&found).arg(&corpus).arg("--").args(flags).args(LIMITS);
        command.arg(format!("-artifact_prefix={}", prefix.display()));
        println!("+ {}", shown(&command));
        let printed = self.logged(command, target)?;
        let mut result = statistics(&printed).ok_or(format!("{target}: no statistics in what it printed"))?;
        self.minimise(target, &found)?;
        let kept = files(&corpus)?;
        let sizes = kept.iter().filter_map(|path| Some(fs::metadata(path).ok()?.len()));
        result["corpus"] = json!({"files": kept.len(), "bytes": sizes.sum::<u64>()});
        result["findings"] = json!(0);
        println!("fuzz {target} ... {result}");
        Ok(result)
    }

    /// What it prints, which goes into a file meanwhile.
    fn logged(&self, mut command: Command, target: &str) -> Result<String, String> {
        let log = self.work.join(format!("{target}.log"));
        let file = File::create(&log).map_err(|error| named(&log, &error))?;
        command.stdin(Stdio::null()).stderr(file);
        let status = command
            .status()
            .map_err(|error| format!("`{}`: {error}", shown(&command)))?;
        let printed = fs::read(&log).map_err(|error| named(&log, &error))?;
        if status.success() {
            Ok(String::from_utf8_lossy(&printed).into_owned())
        } else {
            let log = log.display();
            Err(format!(
                "{target} broke a law, or did not run: {log} says which input; CONTRIBUTING.md says what to do"
            ))
        }
    }

    /// Leaves in the corpus its seeds, and what is needed beside them to reach all that was reached.
    fn minimise(&self, target: &str, found: &Path) -> Result<(), String> {
        let corpus = self.corpus(target);
        for path in files(&corpus)? {
            let name = path.file_name().unwrap_or_default();
            if !name.to_string_lossy().starts_with(SEED) {
                let moved = fs::copy(&path, found.join(name)).and_then(|_| fs::remove_file(&path));
                moved.map_err(|error| named(&path, &error))?;
            }
        }
        let mut command = self.command("run", &[target]);
        command
            .arg(&corpus)
            .arg(found)
            .args(["--", "-set_cover_merge=1", "-use_counters=0"]);
        self.logged(command, target).map(drop)
    }
}

/// Another compiler than ours: rustup is asked for it.
fn cargo_fuzz(arguments: &[&str]) -> Command {
    let mut command = Command::new("rustup");
    command.args(["run", "nightly", "cargo", "fuzz"]).args(arguments);
    command
}

/// The numbers of libFuzzer's last line: `#1234 DONE cov: 56 ft: 78 …`.
fn statistics(printed: &str) -> Option<Value> {
    let line = printed
        .lines()
        .rfind(|line| line.starts_with('#') && line.contains("DONE"))?;
    let words: Vec<&str> = line.split_whitespace().collect();
    let after = |name: &str| {
        words
            .iter()
            .skip_while(|word| **word != name)
            .nth(1)?
            .parse::<u64>()
            .ok()
    };
    let executions: u64 = words.first()?.strip_prefix('#')?.parse().ok()?;
    Some(json!({"executions": executions, "coverage": after("cov:")?, "features": after("ft:")?}))
}

fn files(folder: &Path) -> Result<Vec<PathBuf>, String> {
    let entries = fs::read_dir(folder).map_err(|error| named(folder, &error))?;
    entries
        .map(|entry| entry.map(|entry| entry.path()).map_err(|error| named(folder, &error)))
        .collect()
}

fn write(path: &Path, text: &str) -> Result<(), String> {
    fs::write(path, text).map_err(|error| named(path, &error))
}

fn named(path: &Path, error: &std::io::Error) -> String {
    format!("{}: {error}", path.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_line_of_the_fuzzer_has_the_numbers() {
        let printed = "#2\tINITED cov: 1 ft: 1 corp: 1/1b\n#4096\tDONE   cov: 58 ft: 60 corp: 3/4b lim: 4096 exec/s: 9\nDone 4096 runs\n";
        let expected = json!({"executions": 4096, "coverage": 58, "features": 60});
        assert_eq!(statistics(printed), Some(expected));
        assert_eq!(statistics("#2\tINITED cov: 1 ft: 1\n"), None);
    }

    #[test]
    fn every_target_of_cargo_fuzz_has_a_corpus() {
        let places = Places {
            root: Path::new(env!("CARGO_MANIFEST_DIR"))
                .parent()
                .expect("the workspace")
                .to_owned(),
            work: PathBuf::new(),
        };
        let targets = places.targets().expect("targets");
        assert!(targets.len() >= 5);
        for target in targets {
            assert!(!files(&places.corpus(&target)).expect("corpus").is_empty(), "{target}");
        }
    }
}
