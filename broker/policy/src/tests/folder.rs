use std::{
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt, symlink},
    path::Path,
};

use procura_core::judgement::Judge;
use rustix::fs::{CWD, FileType, Mode, mknodat};
use tempfile::TempDir;

use super::{BASE, bundle, lines};
use crate::{Bundle, Options, SUM, load};

fn put(path: &Path, text: &[u8]) {
    fs::write(path, text).expect("write");
    chmod(path, 0o644);
}

fn chmod(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("chmod");
}

fn folder() -> TempDir {
    let folder = TempDir::new().expect("folder");
    for (path, text) in BASE {
        let path = folder.path().join(path);
        let parent = path.parent().expect("parent");
        fs::create_dir_all(parent).expect("folder");
        chmod(parent, 0o755);
        put(&path, text.as_bytes());
    }
    folder
}

fn refused(folder: &TempDir) -> String {
    match Bundle::read(folder.path()) {
        Ok(_) => "nothing".to_owned(),
        Err(mistakes) => lines(&mistakes).trim_end().to_owned(),
    }
}

#[test]
fn a_folder_and_its_kept_content_are_the_same_bundle() {
    let read = Bundle::read(folder().path()).expect("bundle");
    assert_eq!(read, bundle(&[]));
    assert_eq!(Bundle::from_content(&read.content()), Ok(read));
}

#[test]
fn names_with_a_dot_are_ignored() {
    let folder = folder();
    put(&folder.path().join(".git"), b"x");
    put(&folder.path().join("rules/.swp"), b"x");
    assert_eq!(Bundle::read(folder.path()).expect("bundle"), bundle(&[]));
}

#[test]
fn links_inside_are_followed_and_those_that_leave_refused() {
    let folder = folder();
    let at = |path: &str| folder.path().join(path);
    fs::create_dir(at("..data")).expect("folder");
    chmod(&at("..data"), 0o755);
    fs::rename(at("bundle.toml"), at("..data/bundle.toml")).expect("move");
    symlink("..data/bundle.toml", at("bundle.toml")).expect("link");
    fs::rename(at("rules"), at("..data/rules")).expect("move");
    symlink("..data/rules", at("rules")).expect("link");
    assert_eq!(Bundle::read(folder.path()).expect("bundle"), bundle(&[]));

    chmod(&at("..data"), 0o777);
    assert!(refused(&folder).contains("bundle.toml:1:1: of the folder that it is in: others may write it"));
    chmod(&at("..data"), 0o755);

    symlink("/etc/hostname", at("targets/out.toml")).expect("link");
    symlink("/dev/zero", at("targets/zero.toml")).expect("link");
    let problem = "it is a link that leaves the bundle; links must stay inside";
    let wanted = format!("targets/out.toml:1:1: {problem}\ntargets/zero.toml:1:1: {problem}");
    assert_eq!(refused(&folder), wanted);
}

#[test]
fn links_in_a_circle_end() {
    let folder = folder();
    symlink("..", folder.path().join("rules/up")).expect("link");
    assert!(refused(&folder).contains("nested too deep"));
}

#[test]
fn a_fifo_is_refused_and_not_waited_for() {
    let folder = folder();
    let fifo = folder.path().join("rules/a.cedar");
    mknodat(CWD, &fifo, FileType::Fifo, Mode::from_raw_mode(0o600), 0).expect("fifo");
    assert_eq!(
        refused(&folder),
        "rules/a.cedar:1:1: it is neither a file nor a folder; remove it"
    );
}

#[test]
fn what_others_may_write_is_refused() {
    for (path, mode) in [
        ("bundle.toml", 0o664),
        ("bundle.toml", 0o646),
        ("rules", 0o775),
        ("", 0o777),
    ] {
        let folder = folder();
        chmod(&folder.path().join(path), mode);
        let problem = "others may write it; run `chmod go-w` on it";
        assert!(refused(&folder).contains(problem), "{path} {mode:o}");
    }
}

#[test]
fn a_folder_that_does_not_belong_is_refused_also_when_it_is_empty() {
    let folder = folder();
    fs::create_dir_all(folder.path().join("tests")).expect("folder");
    assert_eq!(refused(&folder), "nothing");
    for path in ["polcies", "rules/inner"] {
        fs::create_dir(folder.path().join(path)).expect("folder");
        let problem = format!("{path}:1:1: no folder of this name belongs into a bundle; remove it");
        assert_eq!(refused(&folder), problem);
        fs::remove_dir(folder.path().join(path)).expect("removed");
    }
}

#[test]
fn a_name_with_a_line_end_is_refused() {
    let folder = folder();
    put(&folder.path().join("rules/a\nb.cedar"), b"");
    assert_eq!(
        refused(&folder),
        "rules/a\\nb.cedar:1:1: its name holds control characters; rename it"
    );
}

#[test]
fn a_file_of_somebody_else_is_refused() {
    let folder = folder();
    let file = folder.path().join("bundle.toml");
    if fs::metadata(&file).expect("metadata").uid() != 0 {
        // Only root can give a file away; for others the owner of /etc/hostname, root, is accepted.
        assert_eq!(refused(&folder), "nothing");
        return;
    }
    std::os::unix::fs::chown(&file, Some(4242), None).expect("chown");
    let problem = "bundle.toml:1:1: user 4242 owns it; only root or user 0, who runs this, may";
    assert_eq!(refused(&folder), problem);
}

#[test]
fn a_file_above_one_mebibyte_is_refused() {
    let folder = folder();
    put(&folder.path().join("rules/a.cedar"), &vec![b' '; (1 << 20) + 1]);
    assert_eq!(refused(&folder), "rules/a.cedar:1:1: it is larger than 1 MiB; split it");
}

#[test]
fn a_folder_that_is_not_there_is_named() {
    let folder = TempDir::new().expect("folder");
    let mistakes = Bundle::read(&folder.path().join("none")).expect_err("nothing there");
    assert!(mistakes[0].text.contains("none"), "{}", lines(&mistakes));
}

#[test]
fn a_sealed_folder_must_match_its_seal() {
    let folder = folder();
    let sealed = Bundle::seal(folder.path()).expect("seal");
    assert_eq!(Bundle::read(folder.path()).expect("bundle").digest(), sealed.digest());
    assert_eq!(
        sealed.digest(),
        bundle(&[]).digest(),
        "the seal is no part of the content"
    );

    put(&folder.path().join("bundle.toml"), b"format = 1 # changed\n");
    fs::remove_file(folder.path().join("targets/wiki.toml")).expect("remove");
    let seal = "finish the change and run `procura policy seal`";
    assert_eq!(
        refused(&folder),
        format!(
            "bundle.toml:1:1: the file is not the one that {SUM} was made for; {seal}\n\
             targets/wiki.toml:1:1: {SUM} names this file and it is not here; {seal}"
        )
    );
    Bundle::seal(folder.path()).expect("seal again");
    assert_eq!(refused(&folder), "nothing");

    put(&folder.path().join(SUM), b"");
    assert!(refused(&folder).contains("was made for"));
}

#[test]
fn the_bundle_of_dev_loads() {
    let dev = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../policies/dev");
    let files = walk(&dev, "");
    let dev = Bundle::of(files);
    let options = Options {
        allow_builtin: true,
        ..Options::default()
    };
    let loaded = load(&dev, &[&super::JWT], options).unwrap_or_else(|mistakes| panic!("{}", lines(&mistakes)));
    assert_eq!(loaded.digest(), dev.digest());
    assert!(
        load(&dev, &[&super::JWT], Options::default()).is_err(),
        "serve refuses builtin:dev"
    );
}

/// The modes of a checkout depend on who made it, so this reads without looking at them.
fn walk(root: &Path, inner: &str) -> Vec<(String, Vec<u8>)> {
    let entries = fs::read_dir(root.join(inner))
        .expect("folder")
        .map(|entry| entry.expect("entry"));
    let read = |entry: fs::DirEntry| {
        let path = Path::new(inner).join(entry.file_name()).display().to_string();
        match entry.path().is_dir() {
            true => walk(root, &path),
            false => vec![(path, fs::read(entry.path()).expect("file"))],
        }
    };
    entries.flat_map(read).collect()
}
