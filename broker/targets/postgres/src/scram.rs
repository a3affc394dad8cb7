//! Passwords and their SCRAM-SHA-256 verifiers (RFC 5802, RFC 7677), made here so that no clear password
//! reaches the server, its log or its views.

use std::num::NonZeroU32;

use aws_lc_rs::{digest, hmac, pbkdf2};
use base64::{
    Engine,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use procura_core::ports::Entropy;
use zeroize::Zeroizing;

/// The least that RFC 7677 section 4 allows; passwords have 256 random bits, so more would add nothing.
const ITERATIONS: NonZeroU32 = NonZeroU32::MIN.saturating_add(4095);

/// A new password (32 random bytes, base64url: ASCII, so that SASLprep leaves it alone) and its verifier.
pub(crate) fn new_password(entropy: &dyn Entropy) -> (Zeroizing<String>, String) {
    let mut random = Zeroizing::new([0; 32]);
    entropy.fill(random.as_mut_slice());
    let mut salt = [0; 16];
    entropy.fill(&mut salt);
    let password = Zeroizing::new(URL_SAFE_NO_PAD.encode(random.as_slice()));
    let verifier = verifier(&password, &salt, ITERATIONS);
    (password, verifier)
}

fn verifier(password: &str, salt: &[u8], iterations: NonZeroU32) -> String {
    let mut salted = Zeroizing::new([0; 32]);
    pbkdf2::derive(
        pbkdf2::PBKDF2_HMAC_SHA256,
        iterations,
        salt,
        password.as_bytes(),
        salted.as_mut_slice(),
    );
    let key = hmac::Key::new(hmac::HMAC_SHA256, salted.as_slice());
    let client_key = hmac::sign(&key, b"Client Key");
    let stored_key = digest::digest(&digest::SHA256, client_key.as_ref());
    let server_key = hmac::sign(&key, b"Server Key");
    format!(
        "SCRAM-SHA-256${iterations}:{}${}:{}",
        STANDARD.encode(salt),
        STANDARD.encode(stored_key),
        STANDARD.encode(server_key)
    )
}

/// Whether the server will take the text for a verifier. One that it does not would be stored as a password.
pub(crate) fn is_verifier(text: &str) -> bool {
    parse(text).is_some_and(|(iterations, parts)| {
        iterations >= ITERATIONS.get() && parts.map(|part| part.len()) == [16, 32, 32] && text.is_ascii()
    })
}

fn parse(text: &str) -> Option<(u32, [Vec<u8>; 3])> {
    let rest = text.strip_prefix("SCRAM-SHA-256$")?;
    let (salting, keys) = rest.split_once('$')?;
    let (iterations, salt) = salting.split_once(':')?;
    let (stored_key, server_key) = keys.split_once(':')?;
    let decode = |part: &str| STANDARD.decode(part).ok();
    let plain = iterations.bytes().all(|c| c.is_ascii_digit());
    let iterations = plain.then_some(iterations)?.parse().ok()?;
    Some((iterations, [decode(salt)?, decode(stored_key)?, decode(server_key)?]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verifier_is_what_the_server_would_make() {
        // Made by PostgreSQL's own createuser algorithm: RFC 7677 section 3's password, salt and iterations.
        let salt = STANDARD.decode("W22ZaJ0SNY7soEsUEjb6gQ==").expect("salt");
        let made = verifier("pencil", &salt, ITERATIONS);
        assert_eq!(
            made,
            "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:\
             wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU="
        );
        assert!(is_verifier(&made));
    }

    #[test]
    fn what_would_be_stored_as_a_plain_password_is_no_verifier() {
        let good = verifier("p", &[7; 16], ITERATIONS);
        for bad in [
            "hunter2".to_owned(),
            good.replace("SHA-256", "SHA-1"),
            good.replace("4096", "+4096"),
            good.replace("4096", "1"),
            good.replace('=', ""),
            format!("{good}\n"),
            good.replacen('$', ":", 2),
        ] {
            assert!(!is_verifier(&bad), "{bad}");
        }
    }
}
