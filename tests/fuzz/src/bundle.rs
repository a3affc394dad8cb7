//! Policy bundles.

use std::collections::BTreeMap;

use procura_core::judgement::Judge as _;
use procura_policy::{Bundle, Loaded, Mistake, Options, load};
use procura_wire::Digest;

use crate::broker::{self, KINDS};

/// Files that are put into a good bundle: each begins with a line `== PATH`, and one without text is taken out. What does not begin
/// so is tried as the kept content of a bundle.
///
/// A bundle loads twice with the same outcome. One that loads has its content's digest and declares what it says; of one that does not,
/// each mistake has a place in a file of it and is one line without control characters.
pub fn bundle(data: &[u8]) -> bool {
    if !data.starts_with(b"== ") {
        return is_content(data);
    }
    let bundle = broker::bundle(files(data));
    let content = bundle.content();
    assert!(is_content(&content), "its own content");
    let [first, second] = [(); 2].map(|()| load(&bundle, &KINDS, Options::default()));
    match (first, second) {
        (Ok(first), Ok(second)) => {
            assert!(first.digest() == Digest::of(&content) && second.digest() == first.digest());
            let [first_reads, second_reads] = [&first, &second].map(|loaded| format!("{:?}", loaded.catalogue()));
            assert_eq!(first_reads, second_reads);
            check(&first);
            true
        }
        (Err(first), Err(second)) => {
            assert_eq!(first, second);
            assert!(!first.is_empty() && first.is_sorted());
            first.iter().for_each(|mistake| has_a_place(mistake, &bundle));
            false
        }
        _ => unreachable!("it loads once and once it does not"),
    }
}

fn is_content(data: &[u8]) -> bool {
    let bundle = Bundle::from_content(data);
    if let Ok(bundle) = &bundle {
        assert_eq!(bundle.content(), data);
        assert_eq!(bundle.digest(), Digest::of(data));
    }
    bundle.is_ok()
}

fn files(data: &[u8]) -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::new();
    let mut file: Option<&mut Vec<u8>> = None;
    for line in data.split_inclusive(|byte| *byte == b'\n') {
        match (line.strip_prefix(b"== "), &mut file) {
            (Some(path), _) => {
                let path = String::from_utf8_lossy(path).trim().to_owned();
                file = Some(files.entry(path).or_default());
            }
            (None, Some(bytes)) => bytes.extend_from_slice(line),
            (None, None) => (),
        }
    }
    // Folders with such names are refused before anything is read.
    files.retain(|path, _| !path.chars().any(char::is_control));
    files
}

/// What holds for every catalogue that is in force.
fn check(loaded: &Loaded) {
    let catalogue = loaded.catalogue();
    for issuer in catalogue.issuers.values() {
        assert!(issuer.issuer.starts_with("https://"), "{}", issuer.issuer);
        assert!(!issuer.algorithms.is_empty(), "an issuer that cannot sign");
    }
    for server in catalogue.servers.values() {
        for grant in server.grants.iter().chain(server.tools.values().flatten()) {
            let target = catalogue.targets.get(&grant.qualifier);
            assert!(
                target.is_some_and(|target| target.grants.contains_key(grant.local.as_str())),
                "{grant}"
            );
        }
    }
    for agent in catalogue.agents.values() {
        assert!(catalogue.issuers.contains_key(&agent.issuer), "an agent of nobody");
    }
}

fn has_a_place(mistake: &Mistake, bundle: &Bundle) {
    let Mistake {
        file,
        line,
        column,
        text,
    } = mistake;
    assert!(
        !text.is_empty() && !mistake.to_string().chars().any(char::is_control),
        "{mistake:?}"
    );
    let Some(bytes) = bundle.file(file) else {
        assert!(
            file == "bundle.toml" && (*line, *column) == (1, 1),
            "no such file: {mistake:?}"
        );
        return;
    };
    let source = String::from_utf8_lossy(bytes);
    let found = source.split('\n').nth(line - 1).expect("the line is in the file");
    assert!((1..=found.chars().count() + 1).contains(column), "{mistake:?}");
}
