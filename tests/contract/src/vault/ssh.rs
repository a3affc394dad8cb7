//! Certificates as OpenSSH writes them (PROTOCOL.certkeys), unsigned.

use base64::{Engine, engine::general_purpose::STANDARD};

pub(super) struct Certificate<'a> {
    pub(super) serial: u64,
    pub(super) principals: Vec<&'a str>,
    /// Seconds since 1970.
    pub(super) until: i64,
    pub(super) extensions: Vec<&'a str>,
}

impl Certificate<'_> {
    /// The line of the certificate over an `ssh-ed25519` key.
    pub(super) fn over(&self, public_key: &str) -> Option<String> {
        const TYPE: &str = "ssh-ed25519-cert-v01@openssh.com";
        let mut parts = public_key.split(' ');
        let blob = STANDARD
            .decode(parts.nth(1).filter(|_| public_key.starts_with("ssh-ed25519 "))?)
            .ok()?;
        let key = blob.get(blob.len().checked_sub(32)?..)?;
        let mut principals = Vec::new();
        for name in &self.principals {
            put(&mut principals, name.as_bytes());
        }
        let mut extensions = Vec::new();
        for name in &self.extensions {
            put(&mut extensions, name.as_bytes());
            put(&mut extensions, b"");
        }
        let mut bytes = Vec::new();
        put(&mut bytes, TYPE.as_bytes());
        put(&mut bytes, &[7; 32]);
        put(&mut bytes, key);
        bytes.extend(self.serial.to_be_bytes());
        bytes.extend(1_u32.to_be_bytes());
        put(&mut bytes, b"vault-token-fake");
        put(&mut bytes, &principals);
        bytes.extend(0_u64.to_be_bytes());
        bytes.extend(self.until.to_be_bytes());
        // Critical options; extensions; reserved; the authority's key; the signature.
        for part in [&[][..], &extensions, &[], &[], &[]] {
            put(&mut bytes, part);
        }
        Some(format!("{TYPE} {}\n", STANDARD.encode(bytes)))
    }
}

fn put(bytes: &mut Vec<u8>, part: &[u8]) {
    bytes.extend(u32::try_from(part.len()).unwrap_or_default().to_be_bytes());
    bytes.extend(part);
}
