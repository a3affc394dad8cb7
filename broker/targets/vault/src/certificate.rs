//! SSH certificates as OpenSSH writes them (PROTOCOL.certkeys, version 01), read to see what an engine signed.

use std::collections::BTreeSet;

use base64::{Engine, engine::general_purpose::STANDARD};
use procura_core::Timestamp;

/// What a certificate permits.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Certificate {
    /// Never empty: OpenSSH takes a certificate without principals for anybody's.
    pub(crate) principals: BTreeSet<String>,
    pub(crate) extensions: BTreeSet<String>,
    pub(crate) until: Timestamp,
}

impl Certificate {
    /// Reads the line of a certificate; `None` where it is none, is for anybody, or has no end.
    pub(crate) fn read(line: &str) -> Option<Self> {
        let mut words = line.split_ascii_whitespace();
        let (ty, blob) = (words.next()?, STANDARD.decode(words.next()?).ok()?);
        let mut reader = Reader(&blob);
        if reader.text()? != ty {
            return None;
        }
        let _nonce = reader.string()?;
        for _ in 0..key_parts(ty)? {
            reader.string()?;
        }
        let _serial = reader.take(8)?;
        let _user_or_host = reader.take(4)?;
        let _key_id = reader.string()?;
        let principals = Reader(reader.string()?).texts()?;
        let _after = reader.take(8)?;
        let before = u64::from_be_bytes(reader.take(8)?.try_into().ok()?);
        let _critical_options = reader.string()?;
        let mut extensions = BTreeSet::new();
        let mut listed = Reader(reader.string()?);
        while !listed.0.is_empty() {
            extensions.insert(listed.text()?.to_owned());
            listed.string()?;
        }
        let until = Timestamp::from_second(i64::try_from(before).ok()?).ok()?;
        (!principals.is_empty()).then_some(Self {
            principals,
            extensions,
            until,
        })
    }
}

/// How many strings the public key of a type of certificate is.
fn key_parts(ty: &str) -> Option<usize> {
    match ty.strip_suffix("-cert-v01@openssh.com")? {
        "ssh-ed25519" => Some(1),
        "ssh-rsa" | "rsa-sha2-256" | "rsa-sha2-512" | "sk-ssh-ed25519" => Some(2),
        "ecdsa-sha2-nistp256" | "ecdsa-sha2-nistp384" | "ecdsa-sha2-nistp521" => Some(2),
        "sk-ecdsa-sha2-nistp256" => Some(3),
        _ => None,
    }
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn string(&mut self) -> Option<&'a [u8]> {
        let length = u32::from_be_bytes(self.take(4)?.try_into().ok()?);
        self.take(usize::try_from(length).ok()?)
    }

    fn text(&mut self) -> Option<&'a str> {
        std::str::from_utf8(self.string()?).ok()
    }

    fn texts(mut self) -> Option<BTreeSet<String>> {
        let mut texts = BTreeSet::new();
        while !self.0.is_empty() {
            texts.insert(self.text()?.to_owned());
        }
        Some(texts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TYPE: &str = "ssh-ed25519-cert-v01@openssh.com";

    fn string(part: &[u8]) -> Vec<u8> {
        let length = u32::try_from(part.len()).expect("short").to_be_bytes();
        [&length[..], part].concat()
    }

    fn blob(principals: &[&str], extensions: &[&str], before: u64) -> Vec<u8> {
        let principals: Vec<u8> = principals.iter().flat_map(|name| string(name.as_bytes())).collect();
        let extension = |name: &&str| [string(name.as_bytes()), string(b"")].concat();
        let extensions: Vec<u8> = extensions.iter().flat_map(extension).collect();
        [
            string(TYPE.as_bytes()),
            string(&[1; 32]),
            string(&[2; 32]),
            7_u64.to_be_bytes().to_vec(),
            1_u32.to_be_bytes().to_vec(),
            string(b"id"),
            string(&principals),
            0_u64.to_be_bytes().to_vec(),
            before.to_be_bytes().to_vec(),
            string(b""),
            string(&extensions),
        ]
        .concat()
    }

    fn line(blob: &[u8]) -> String {
        format!("{TYPE} {}\n", STANDARD.encode(blob))
    }

    #[test]
    fn principals_extensions_and_end_are_read() {
        let read = Certificate::read(&line(&blob(&["alice", "bob"], &["permit-pty"], 1_800_000_000)));
        assert_eq!(
            read,
            Some(Certificate {
                principals: BTreeSet::from(["alice".to_owned(), "bob".to_owned()]),
                extensions: BTreeSet::from(["permit-pty".to_owned()]),
                until: Timestamp::constant(1_800_000_000, 0),
            })
        );
    }

    #[test]
    fn attack_170_a_certificate_for_anybody_or_for_ever_is_none() {
        assert_eq!(Certificate::read(&line(&blob(&[], &[], 1_800_000_000))), None);
        assert_eq!(Certificate::read(&line(&blob(&["alice"], &[], u64::MAX))), None);
    }

    #[test]
    fn what_is_cut_short_or_something_else_is_none() {
        let whole = blob(&["alice"], &["permit-pty"], 1_800_000_000);
        for length in 0..whole.len() {
            assert_eq!(Certificate::read(&line(&whole[..length])), None, "{length}");
        }
        let other = line(&whole).replace("ssh-ed25519-cert", "ssh-rsa-cert");
        for bad in ["", TYPE, "ssh-ed25519 AAAA", &other] {
            assert_eq!(Certificate::read(bad), None, "{bad}");
        }
    }
}
