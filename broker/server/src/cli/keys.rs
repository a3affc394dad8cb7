//! `procura keys` and `procura server`: key material, made offline.

use std::{
    fs::{self, OpenOptions},
    io::Write,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    time::Duration,
};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use procura_core::ports::{Clock, Entropy};
use procura_target_jwt::{SigningAlgorithm, due, new_key, new_set, rotate};
use procura_wire::{Digest, Secret};

use super::{Failure, print};
use crate::{
    clock::{SystemClock, SystemEntropy},
    seal,
};

/// `procura keys …`
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Keys {
    /// Makes a file of keys: one that signs and the one after it
    New(New),
}

/// `procura keys new`
#[derive(Debug, clap::Args)]
pub(crate) struct New {
    /// The file, readable by its owner only
    file: PathBuf,
    /// Goes one rotation on in a file that is there; what the keys before signed or sealed stays readable
    #[arg(long)]
    rotate: bool,
    /// Algorithm of the new keys
    #[arg(long, value_enum, default_value_t = Algorithm::Es256)]
    algorithm: Algorithm,
    /// Says that the key that signs should be rotated within so many days; the broker tells two weeks before
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=3650), conflicts_with = "seal")]
    days: Option<u16>,
    /// Makes the key that seals receipts instead ([keys.seal])
    #[arg(long, conflicts_with = "algorithm")]
    seal: bool,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Algorithm {
    Es256,
    Ed25519,
}

impl From<Algorithm> for SigningAlgorithm {
    fn from(algorithm: Algorithm) -> Self {
        match algorithm {
            Algorithm::Es256 => Self::Es256,
            Algorithm::Ed25519 => Self::Ed25519,
        }
    }
}

/// `procura server …`
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Server {
    /// Makes a server's secret: prints it once, and the line for the server's file
    NewSecret,
    /// Makes a server's key: the private half into a file, and prints the line for the server's file
    NewKey(NewKey),
}

/// `procura server new-key`
#[derive(Debug, clap::Args)]
pub(crate) struct NewKey {
    /// The file for the private JWK, readable by its owner only
    file: PathBuf,
    /// Algorithm of the key
    #[arg(long, value_enum, default_value_t = Algorithm::Es256)]
    algorithm: Algorithm,
}

/// Runs `procura keys`.
pub(crate) fn keys(Keys::New(command): Keys) -> Result<(), Failure> {
    let failed = |error: &dyn std::error::Error| Failure::usage(format!("{}: {error}", command.file.display()));
    let old = match command.rotate {
        true => Some(super::api::read_secret(&command.file)?),
        false => None,
    };
    let set = match (command.seal, &old) {
        (true, old) => seal::new_set(&SystemEntropy, old.as_ref()).map_err(|error| failed(&error))?,
        (false, Some(old)) => rotate(old, command.algorithm.into()).map_err(|error| failed(&error))?,
        (false, None) => new_set(command.algorithm.into()).map_err(|error| failed(&error))?,
    };
    let set = match command.days {
        Some(days) => {
            let end = SystemClock::start().now() + Duration::from_secs(u64::from(days) * 24 * 60 * 60);
            due(&set, end).map_err(|error| failed(&error))?
        }
        None => set,
    };
    match command.rotate {
        true => replace(&command.file, &set),
        false => create(&command.file, &set),
    }
}

/// Writes a secret into a file that is not there yet, readable by its owner only.
pub(crate) fn create(path: &Path, secret: &Secret) -> Result<(), Failure> {
    let failed = |error: std::io::Error| Failure::usage(format!("{}: {error}", path.display()));
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .map_err(failed)?;
    #[expect(clippy::disallowed_methods, reason = "the file is where this secret is kept")]
    file.write_all(secret.expose().as_bytes()).map_err(failed)?;
    file.sync_all().map_err(failed)
}

/// Puts a secret in the place of a file's content, whole or not at all.
pub(crate) fn replace(path: &Path, secret: &Secret) -> Result<(), Failure> {
    let failed = |error: std::io::Error| Failure::usage(format!("{}: {error}", path.display()));
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    let beside = PathBuf::from(beside);
    match fs::remove_file(&beside) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(failed(error)),
        _ => create(&beside, secret)?,
    }
    fs::rename(&beside, path).map_err(failed)
}

/// What every server secret begins with.
const PREFIX: &str = "procura_ss_";

/// A new server secret: prefix, 256 random bits in base64url, 4 characters of checksum.
pub(crate) fn new_secret(entropy: &dyn Entropy) -> Secret {
    let mut random = [0; 32];
    entropy.fill(&mut random);
    let body = format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(random));
    let sum = Digest::of(body.as_bytes());
    let sum = URL_SAFE_NO_PAD.encode(&sum.as_bytes()[..3]);
    Secret::new(body + &sum)
}

/// Runs `procura server`.
pub(crate) fn server(command: Server) -> Result<(), Failure> {
    match command {
        Server::NewSecret => show_secret(),
        Server::NewKey(command) => make_key(&command)?,
    }
    Ok(())
}

fn make_key(command: &NewKey) -> Result<(), Failure> {
    let (private, public) = new_key(command.algorithm.into()).map_err(Failure::found)?;
    create(&command.file, &private)?;
    let members = public.as_object().into_iter().flatten();
    let members: Vec<_> = members.map(|(name, value)| format!("{name} = {value}")).collect();
    print::line("# servers/NAME.toml");
    print::line(format_args!(
        "auth = {{ method = \"private_key_jwt\", jwks = {{ keys = [{{ {} }}] }} }}",
        members.join(", ")
    ));
    Ok(())
}

#[expect(clippy::disallowed_methods, reason = "the secret is shown once to whoever made it")]
fn show_secret() {
    let secret = new_secret(&SystemEntropy);
    print::line(format_args!("{}", secret.expose()));
    print::line("");
    print::line(format_args!(
        "# servers/NAME.toml; the secret above is not kept anywhere"
    ));
    print::line(format_args!(
        "auth = {{ method = \"client_secret\", secret_sha256 = [{{ hash = \"{}\" }}] }}",
        secret.digest()
    ));
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    struct Same;

    impl Entropy for Same {
        fn fill(&self, bytes: &mut [u8]) {
            bytes.fill(7);
        }
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "a secret of this test alone")]
    fn req_008_a_secret_has_256_random_bits_a_prefix_and_a_checksum() {
        let secret = new_secret(&Same);
        let text = secret.expose();
        assert_eq!(text, "procura_ss_BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc2Wm2");
        assert_eq!(text.len(), PREFIX.len() + 43 + 4);
    }

    #[test]
    fn key_files_are_their_owners_alone_and_never_overwritten_by_accident() {
        let folder = tempfile::tempdir().expect("folder");
        let file = folder.path().join("keys.json");
        create(&file, &Secret::new("1".into())).expect("created");
        assert!(create(&file, &Secret::new("2".into())).is_err());
        replace(&file, &Secret::new("3".into())).expect("replaced");
        assert_eq!(fs::read_to_string(&file).expect("text"), "3");
        let mode = fs::metadata(&file).expect("metadata").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
}
