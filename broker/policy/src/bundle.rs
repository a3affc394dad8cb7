//! A policy bundle as bytes: the files of a folder, or what was kept of one by its digest.

use std::collections::BTreeMap;

use procura_wire::Digest;

use crate::mistake::Mistake;

/// Name of the file that says that the folder is whole.
pub const SUM: &str = "bundle.sum";

const MAGIC: &[u8] = b"procura bundle 1\n";

/// The files of a bundle by path, `bundle.sum` apart. What they say is not looked at here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bundle {
    files: BTreeMap<String, Vec<u8>>,
}

/// Kept bytes are not the content of a bundle.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("these bytes are not the content of a bundle")]
pub struct MalformedContent;

impl Bundle {
    /// A bundle of these files; paths are relative, with `/`.
    pub fn of(files: impl IntoIterator<Item = (String, Vec<u8>)>) -> Self {
        let files = files.into_iter().collect();
        Self { files }
    }

    /// The files in the order of their paths.
    pub fn files(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.files.iter().map(|(path, bytes)| (path.as_str(), bytes.as_slice()))
    }

    /// The bytes of one file.
    pub fn file(&self, path: &str) -> Option<&[u8]> {
        self.files.get(path).map(Vec::as_slice)
    }

    /// The whole bundle as bytes, always the same for the same files: the line `procura bundle 1`, then
    /// for each file in the byte order of paths: length of its path and the path, length of its bytes
    /// and the bytes; lengths are 8 bytes, big-endian.
    pub fn content(&self) -> Vec<u8> {
        let mut content = MAGIC.to_vec();
        for (path, bytes) in self.files() {
            for part in [path.as_bytes(), bytes] {
                content.extend((part.len() as u64).to_be_bytes());
                content.extend(part);
            }
        }
        content
    }

    /// SHA-256 of [`Bundle::content`]. `bundle.sum` is no part of it.
    pub fn digest(&self) -> Digest {
        Digest::of(&self.content())
    }

    /// Reads kept content back; refuses whatever [`Bundle::content`] does not write.
    pub fn from_content(content: &[u8]) -> Result<Self, MalformedContent> {
        let mut rest = content.strip_prefix(MAGIC).ok_or(MalformedContent)?;
        let mut files = BTreeMap::new();
        while !rest.is_empty() {
            let (path, bytes) = (part(&mut rest)?, part(&mut rest)?);
            let path = String::from_utf8(path.to_vec()).map_err(|_| MalformedContent)?;
            files.insert(path, bytes.to_vec());
        }
        let bundle = Self { files };
        (bundle.content() == content).then_some(bundle).ok_or(MalformedContent)
    }

    /// What `bundle.sum` must hold: per file its SHA-256, two spaces and its path, as `sha256sum` writes.
    pub fn sum(&self) -> String {
        let line = |(path, bytes)| format!("{}  {path}\n", Digest::of(bytes));
        self.files().map(line).collect()
    }

    /// Compares with a `bundle.sum` that was found; names every file that differs.
    pub(crate) fn check_sum(&self, found: &str) -> Vec<Mistake> {
        let read = |line: &str| {
            line.split_once("  ")
                .map(|(sum, path)| (path.to_owned(), sum.to_owned()))
        };
        let sealed: BTreeMap<_, _> = found.lines().filter_map(read).collect();
        let changed = self.files().filter(|(path, bytes)| {
            let sum = Digest::of(bytes).to_string();
            sealed.get(*path).is_none_or(|sealed| *sealed != sum)
        });
        let changed = changed.map(|(path, _)| {
            Mistake::of_file(path, format!("the file is not the one that {SUM} was made for; {SEAL}"))
        });
        let gone = sealed.keys().filter(|path| !self.files.contains_key(*path));
        let gone = gone.map(|path| Mistake::of_file(path, format!("{SUM} names this file and it is not here; {SEAL}")));
        let mut mistakes: Vec<_> = changed.chain(gone).collect();
        if mistakes.is_empty() && self.sum() != found {
            mistakes.push(Mistake::of_file(
                SUM,
                format!("its lines are not as they must be; {SEAL}"),
            ));
        }
        mistakes
    }
}

const SEAL: &str = "finish the change and run `procura policy seal`";

fn part<'a>(rest: &mut &'a [u8]) -> Result<&'a [u8], MalformedContent> {
    let (length, after) = rest.split_first_chunk::<8>().ok_or(MalformedContent)?;
    let length = usize::try_from(u64::from_be_bytes(*length)).map_err(|_| MalformedContent)?;
    let (part, after) = after.split_at_checked(length).ok_or(MalformedContent)?;
    *rest = after;
    Ok(part)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bundle() -> Bundle {
        Bundle::of([
            ("b.toml".to_owned(), b"2".to_vec()),
            ("a.toml".to_owned(), b"1".to_vec()),
        ])
    }

    #[test]
    fn content_leads_back_to_the_same_bundle_and_digest() {
        let content = bundle().content();
        let back = Bundle::from_content(&content).expect("content");
        assert_eq!(back, bundle());
        assert_eq!(Digest::of(&content), back.digest());
        assert_eq!(
            bundle().digest().to_string(),
            "d8ea955f8d3cdba766afe0d11012e334e74c425b856fbd116d92418c55181fc4"
        );
    }

    #[test]
    fn bytes_cannot_move_between_a_path_and_a_file() {
        let one = Bundle::of([("a".to_owned(), b"bc".to_vec())]);
        let other = Bundle::of([("ab".to_owned(), b"c".to_vec())]);
        assert_ne!(one.digest(), other.digest());
    }

    #[test]
    fn refuses_other_contents() {
        let content = bundle().content();
        for bad in [
            &b""[..],
            b"x",
            &content[..content.len() - 1],
            &[&content[..], b"\0"].concat(),
        ] {
            assert_eq!(Bundle::from_content(bad), Err(MalformedContent));
        }
        let twice = [&content[..], &content[MAGIC.len()..]].concat();
        assert_eq!(Bundle::from_content(&twice), Err(MalformedContent));
        let huge = [MAGIC, &[0xff; 8]].concat();
        assert_eq!(Bundle::from_content(&huge), Err(MalformedContent));
    }
}
