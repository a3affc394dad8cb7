//! Bundles of the corpus, and what `procura policy check` says of them.

use std::{
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    path::Path,
    process::Command,
    time::Duration,
};

use procura_e2e::{Fault, harness::Outcome};
use tempfile::TempDir;

use super::{
    case::{Bundle, Expect},
    stand::Stand,
    text::{Words, fill},
};

/// Longest time for a check, and most address space for it in KiB.
const LONGEST: Duration = Duration::from_secs(60);
const MEMORY: u64 = 8 << 20;

/// Writes the bundle that the corpus is run with.
pub(super) fn write(root: &Path, stand: &Stand, words: &Words, to: &Path) -> Outcome {
    copy(&root.join("bundle"), to, words)?;
    for (name, text) in stand.declarations()? {
        put(to, &name, text.as_bytes())?;
    }
    Ok(())
}

fn copy(from: &Path, to: &Path, words: &Words) -> Outcome {
    fs::create_dir_all(to)?;
    fs::set_permissions(to, fs::Permissions::from_mode(0o755))?;
    for entry in fs::read_dir(from)? {
        let (entry, to) = entry.map(|entry| (entry.path(), to.join(entry.file_name())))?;
        if entry.is_dir() {
            copy(&entry, &to, words)?;
        } else {
            fs::write(&to, fill(&fs::read_to_string(&entry)?, words)?)?;
            fs::set_permissions(&to, fs::Permissions::from_mode(0o644))?;
        }
    }
    Ok(())
}

/// Puts a secret where a source reads it.
pub(super) fn put_secret(folder: &Path, name: &str, secret: &str) -> Outcome {
    put(folder, name, secret.as_bytes())?;
    Ok(fs::set_permissions(
        folder.join(name),
        fs::Permissions::from_mode(0o600),
    )?)
}

fn put(folder: &Path, name: &str, text: &[u8]) -> Outcome {
    let file = folder.join(name);
    if let Some(parent) = file.parent().filter(|parent| !parent.exists()) {
        fs::create_dir_all(parent)?;
        fs::set_permissions(parent, fs::Permissions::from_mode(0o755))?;
    }
    fs::write(&file, text)?;
    Ok(fs::set_permissions(&file, fs::Permissions::from_mode(0o644))?)
}

/// Checks the whole bundle with the files of the case in place of its own.
pub(super) fn check(program: &Path, whole: &Path, case: (&Bundle, &Expect), words: &Words) -> Outcome {
    let (bundle, expect) = case;
    let dir = TempDir::new()?;
    let folder = dir.path().join("bundle");
    copy_as_it_is(whole, &folder)?;
    for (name, text) in &bundle.files {
        put(&folder, name, &fill(text, words)?)?;
    }
    for (name, what) in &bundle.nodes {
        node(&folder.join(name), what)?;
    }
    let output = Command::new("timeout")
        .args([&LONGEST.as_secs().to_string(), "sh", "-c"])
        .args([&format!("ulimit -v {MEMORY}; exec \"$@\""), "sh"])
        .arg(program)
        .args(["policy", "check"])
        .arg(&folder)
        .output()?;
    let (out, err) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    let said = format!("{out}{err}");
    if output.status.code() != expect.exit {
        return Err(format!("exit {:?}: {said}", output.status.code()).into());
    }
    if said.contains("panicked") || said.len() > 1 << 20 {
        return Err(format!("{} bytes, or a panic: {said:.2000}", said.len()).into());
    }
    match expect.says.iter().find(|text| !said.contains(*text)) {
        Some(text) => Err(format!("it does not say `{text}`: {said:.2000}").into()),
        None => Ok(()),
    }
}

fn copy_as_it_is(from: &Path, to: &Path) -> Outcome {
    let status = Command::new("cp").arg("-rp").args([from, to]).status()?;
    if status.success() {
        Ok(())
    } else {
        Err("cp failed".into())
    }
}

/// Puts something at that path that is no plain file of ours.
fn node(path: &Path, what: &str) -> Outcome {
    let unknown = || Fault::from(format!("no such node: {what}"));
    match what.split_once(' ').unwrap_or((what, "")) {
        ("fifo", _) => {
            let made = Command::new("mkfifo").arg(path).status()?;
            if made.success() {
                Ok(())
            } else {
                Err("mkfifo failed".into())
            }
        }
        ("link", to) => {
            let _ = fs::remove_file(path);
            Ok(symlink(to, path)?)
        }
        ("mode", mode) => {
            let mode = u32::from_str_radix(mode, 8)?;
            Ok(fs::set_permissions(path, fs::Permissions::from_mode(mode))?)
        }
        ("gone", _) => Ok(fs::remove_file(path)?),
        _ => Err(unknown()),
    }
}
