//! What of a bundle nobody uses, and a patch that takes it out: the bundle that it leaves loads, and its tests pass.

mod cases;
mod cedar;
mod edit;
mod find;

use std::collections::BTreeMap;

use procura_core::{kind::Kind, report::Seen};
use similar::TextDiff;

use crate::{Bundle, Mistake, Options, load};
use edit::Edit;

/// Most edits that are tried one by one, each of which loads the bundle.
const TRIED: usize = 50;

/// What is not used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unused {
    /// What was found, in the order of its kinds.
    pub idle: Vec<Idle>,
    /// A unified diff, paths as in the bundle behind `a/` and `b/`, that `git apply` takes; empty where nothing is proposed.
    pub patch: String,
    /// Tests of the bundle that show what the patch takes out, and that it takes out too.
    pub cases: Vec<String>,
}

/// One thing that is not used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Idle {
    /// `rule`, `forbid`, `grant`, `tool`, `lifetime`, `group`, `server` or `agent`.
    pub kind: &'static str,
    /// Its name: a rule's id, `target/grant`, `server/tool`, `issuer/group`, a file's name.
    pub name: String,
    /// Where it stands.
    pub file: String,
    /// Its line, from 1.
    pub line: usize,
    /// The patch takes it out, or shortens it.
    pub in_patch: bool,
    /// What was seen, or why it is not in the patch.
    pub why: String,
}

/// The files of a bundle as text, by path.
type Files = BTreeMap<String, String>;

/// What the log has not seen of this bundle, which loads. Errors: the mistakes of one that does not.
pub fn unused(bundle: &Bundle, kinds: &[&'static Kind], options: Options, seen: &Seen) -> Result<Unused, Vec<Mistake>> {
    let loaded = load(bundle, kinds, options)?;
    let mut found = find::find(bundle, &loaded, seen);
    if seen.more {
        // What was not read may be what uses it.
        found.iter_mut().for_each(|(_, edit)| *edit = None);
    }
    let mut trial = Trial {
        before: files(bundle),
        kinds,
        options,
    };
    let (after, cases) = trial.all(&mut found);
    Ok(Unused {
        patch: patch(&trial.before, &after),
        idle: found.into_iter().map(|(idle, _)| idle).collect(),
        cases,
    })
}

/// Files that are no text were refused when the bundle was loaded.
fn files(bundle: &Bundle) -> Files {
    let text = |(path, bytes): (&str, &[u8])| (path.to_owned(), String::from_utf8_lossy(bytes).into_owned());
    bundle.files().map(text).collect()
}

struct Trial<'k> {
    before: Files,
    kinds: &'k [&'static Kind],
    options: Options,
}

type Found = (Idle, Option<Edit>);

impl Trial<'_> {
    /// The files after all edits that leave a bundle which loads, and the tests that went with them.
    fn all(&mut self, found: &mut [Found]) -> (Files, Vec<String>) {
        let mut after = self.before.clone();
        let mut cases = Vec::new();
        let edits = || found.iter().filter_map(|(_, edit)| edit.as_ref());
        let whole = edits().try_fold(after.clone(), |files, edit| edit.apply(files));
        if let Ok((files, gone)) = whole.and_then(|files| self.settle(files)) {
            for (idle, _) in found.iter_mut().filter(|(_, edit)| edit.is_some()) {
                idle.in_patch = true;
            }
            return (files, gone);
        }
        let mut left = TRIED;
        for (idle, edit) in found.iter_mut() {
            let Some(edit) = edit else { continue };
            if left == 0 {
                idle.why = format!("{}; not tried, there is too much: apply this patch first", idle.why);
                continue;
            }
            left -= 1;
            match edit.apply(after.clone()).and_then(|files| self.settle(files)) {
                Ok((files, gone)) => {
                    (after, idle.in_patch) = (files, true);
                    cases.extend(gone);
                }
                Err(problem) => idle.why = format!("{}; not in the patch: {problem}", idle.why),
            }
        }
        (after, cases)
    }

    /// Takes out the tests that fail now; the bundle loads then, or the first other mistake is told.
    fn settle(&self, mut files: Files) -> Result<(Files, Vec<String>), String> {
        let mut gone = Vec::new();
        loop {
            let bundle = Bundle::of(
                files
                    .iter()
                    .map(|(path, text)| (path.clone(), text.clone().into_bytes())),
            );
            let mistakes = match load(&bundle, self.kinds, self.options) {
                Ok(_) => return Ok((files, gone)),
                Err(mistakes) => mistakes,
            };
            if let Some(other) = mistakes.iter().find(|mistake| !mistake.file.starts_with("tests/")) {
                return Err(other.to_string());
            }
            let names = cases::cut(&mut files, &mistakes);
            if names.is_empty() {
                return Err(mistakes.first().map(ToString::to_string).unwrap_or_default());
            }
            gone.extend(names);
        }
    }
}

fn patch(before: &Files, after: &Files) -> String {
    let mut patch = String::new();
    for (path, old) in before {
        let new = after.get(path);
        if new == Some(old) {
            continue;
        }
        let to = match new {
            Some(_) => format!("b/{path}"),
            None => "/dev/null".to_owned(),
        };
        let new = new.map_or("", String::as_str);
        let diff = TextDiff::from_lines(old.as_str(), new);
        patch.push_str(&diff.unified_diff().header(&format!("a/{path}"), &to).to_string());
    }
    patch
}
