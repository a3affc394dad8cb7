//! Every input that fuzzing found worth keeping, and every seed, once more.

#[cfg(test)]
mod tests {
    use std::{fs, path::PathBuf};

    use procura_fuzz::TARGETS;

    /// Names and bytes.
    fn corpus(target: &str) -> Vec<(String, Vec<u8>)> {
        let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target);
        let entries = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
        let read = |entry: std::io::Result<fs::DirEntry>| {
            let path = entry.expect("entry").path();
            let name = path.file_name().expect("name").to_string_lossy().into_owned();
            (name, fs::read(&path).expect("file"))
        };
        entries.map(read).collect()
    }

    /// Tries every input. Good seeds are accepted, and some others are not: else nothing was tried.
    fn replay(target: &str) {
        let known = TARGETS.iter().find(|(name, _)| *name == target);
        let (_, try_input) = known.unwrap_or_else(|| panic!("no target is called {target}"));
        let inputs = corpus(target);
        let mut accepted = 0;
        for (name, input) in &inputs {
            println!("{target}/{name}");
            let is_accepted = try_input(input);
            let is_good = name.starts_with("seed-good");
            assert!(is_accepted || !is_good, "{target}/{name}: a good one is refused");
            accepted += usize::from(is_accepted);
        }
        let refused = inputs.len() - accepted;
        assert!(
            accepted > 0 && refused > 0,
            "{target}: {accepted} accepted, {refused} refused"
        );
    }

    #[test]
    fn no_bundle_breaks_a_law() {
        replay("bundle");
    }

    #[test]
    fn no_proof_breaks_a_law() {
        replay("dpop");
    }

    #[test]
    fn no_form_breaks_a_law() {
        replay("form");
    }

    #[test]
    fn no_token_breaks_a_law() {
        replay("jwt");
    }

    #[test]
    fn no_address_breaks_a_law() {
        replay("url");
    }

    #[test]
    fn the_corpus_stays_small() {
        let all = TARGETS.map(|(target, _)| corpus(target)).concat();
        let bytes: usize = all.iter().map(|(_, input)| input.len()).sum();
        assert!(
            all.len() <= 2000 && bytes <= 2 << 20,
            "{} files, {bytes} bytes",
            all.len()
        );
    }
}
