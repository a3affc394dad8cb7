//! `procura whois`: whose credential is this?

use std::io::{IsTerminal, Read as _};

use procura_core::{issued_value, whois::handle_in};
use procura_wire::{Digest, Secret};
use serde_json::Value;

use super::{
    Failure,
    print::value,
    records::Output,
    show::{self, Page, Proof},
};

/// `procura whois`
#[derive(Debug, clap::Args)]
pub(crate) struct Whois {
    /// A database role's name, a session's ARN, user id or name at AWS, the SHA-256 of an issued value, or the id of an
    /// issuance; `-` reads an issued value from standard input, which no list of processes shows
    what: String,
    /// It is what the target itself calls the credential: at Vault the id of a lease, the accessor of a token or the serial
    /// number of a certificate. It is sent as it is, so never give a secret
    #[arg(long)]
    known_as: bool,
    #[command(flatten)]
    output: Output,
}

/// Runs the command.
pub(crate) async fn run(whois: Whois) -> Result<(), Failure> {
    let clue = match (&*whois.what, whois.known_as) {
        (name, true) => known_as(name),
        ("-", false) => of_value(&read()?),
        (text, false) => of_name(text)?,
    };
    let by_digest = clue.handle.is_none() && clue.issuance.is_none();
    let query = [
        ("handle", clue.handle),
        ("sha256", clue.sha256),
        ("issuance", clue.issuance),
    ];
    let answer = whois.output.connection.open()?.get("/whois", &query).await;
    let answer = answer.map_err(|failure| match failure {
        Failure::Unknown(text) if by_digest && whois.what != "-" => Failure::Unknown(format!(
            "{text}\n  of a JWT the log has no index of digests: give the token itself, `procura whois -`"
        )),
        other => other,
    })?;
    let record = &answer["record"];
    let proof = (!record.is_null()).then(|| show::verify(record));
    whois.output.print(&answer, |answer| page(answer, proof))?;
    match proof {
        Some(Proof::Broken) => Err(Failure::found("the commitment does not fit the clear text")),
        _ => Ok(()),
    }
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Clue {
    handle: Option<String>,
    sha256: Option<String>,
    issuance: Option<String>,
}

fn read() -> Result<Secret, Failure> {
    let mut stdin = std::io::stdin();
    if stdin.is_terminal() {
        let text = "standard input is a terminal: pipe the value in, `procura whois - < file`";
        return Err(Failure::usage(text));
    }
    let mut text = String::new();
    stdin.read_to_string(&mut text).map_err(Failure::usage)?;
    text.truncate(text.trim_end().len());
    if text.is_empty() {
        return Err(Failure::usage("standard input is empty"));
    }
    Ok(Secret::new(text))
}

/// The value itself stays here: its digest is sent, and the id of the record that a JWT names.
fn of_value(value: &Secret) -> Clue {
    Clue {
        handle: None,
        sha256: Some(value.digest().to_string()),
        issuance: issued_value::named(value).map(|id| id.to_string()),
    }
}

/// A name of the target's own has no form that tells it from a secret, so it is never guessed.
fn known_as(name: &str) -> Clue {
    Clue {
        handle: Some(name.to_owned()),
        ..Clue::default()
    }
}

/// What is none of the three may be a secret: no message repeats it.
fn of_name(text: &str) -> Result<Clue, Failure> {
    let mut clue = Clue::default();
    let lower = text.to_ascii_lowercase();
    if text.parse::<uuid::fmt::Hyphenated>().is_ok() {
        clue.issuance = Some(lower);
    } else if lower.parse::<Digest>().is_ok() {
        clue.sha256 = Some(lower);
    } else if is_handle(handle_in(text)) {
        clue.handle = Some(handle_in(text).to_owned());
    } else {
        return Err(Failure::usage(
            "this is no role or session name of ours (p…_…), no SHA-256 and no issuance id; a name that the target gave (the id \
             of a lease, the accessor of a token) takes --known-as; if it is a credential, others have seen it on the command \
             line now: have it undone, and use `procura whois -`, which reads standard input",
        ));
    }
    Ok(clue)
}

/// `p<installation>_<issuance>`
fn is_handle(text: &str) -> bool {
    let parts = text.strip_prefix('p').and_then(|text| text.split_once('_'));
    let plain = |part: &str| part.bytes().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
    parts
        .is_some_and(|(installation, id)| (installation.len(), id.len()) == (8, 32) && plain(installation) && plain(id))
}

fn page(answer: &Value, proof: Option<Proof>) -> String {
    let (record, lease, session) = (&answer["record"], &answer["lease"], &answer["session"]);
    let mut page = Page::default();
    page.head(&format!("issuance {}", value(&answer["id"])));
    page.line("status", status(answer));
    if proof.is_none() {
        page.line("handle", value(&lease["handle"]));
        page.line("target", value(&lease["target"]));
        page.line("session", value(&lease["session"]));
        page.line("deadline", value(&lease["deadline"]));
    }
    if !session.is_null() {
        let ended = match &session["ended"] {
            Value::Null => format!("ends {} at the latest", value(&session["ends"])),
            ended => format!("ended {} by {}", value(&ended["at"]), value(&ended["by"])),
        };
        page.line("its session", format!("opened {}, {ended}", value(&session["opened"])));
    }
    match proof {
        Some(proof) => page.0 + &show::record(record, proof),
        None => page.0,
    }
}

fn status(answer: &Value) -> String {
    let (lease, record) = (&answer["lease"], &answer["record"]);
    let until = match &lease["until"] {
        Value::Null => value(&record["until"]),
        until => value(until),
    };
    match answer["status"].as_str() {
        Some("minting") => "not live yet: its mint is under way, or was interrupted and is undone soon".to_owned(),
        Some("live") => format!("live, until {until}"),
        Some("undoing") => format!(
            "may still work: asked to be undone {} times, next at {}",
            value(&lease["attempts"]),
            value(&lease["next_attempt"])
        ),
        Some("revoked") => format!("revoked; a target that checks it offline takes it until {until}"),
        Some("ended") => "not live any more".to_owned(),
        Some("refused") => "nothing was issued".to_owned(),
        _ => value(&answer["status"]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clue_is_known_by_its_form() {
        let id = "01890a5d-ac96-774b-bcce-b302099a8057";
        let role = "pabcd1234_01890a5dac96774bbcceb302099a8057";
        let hash = Digest::of(b"x").to_string();
        let members = |clue: Clue| [clue.handle, clue.sha256, clue.issuance];
        let read = |text: &str| of_name(text).map(members).map_err(|failure| failure.to_string());
        assert_eq!(read(id), Ok([None, None, Some(id.to_owned())]));
        assert_eq!(read(&hash.to_uppercase()), Ok([None, Some(hash), None]));
        assert_eq!(read(role), Ok([Some(role.to_owned()), None, None]));
        for session in [
            "arn:aws:sts::123456789012:assumed-role/reports/",
            "arn:aws-cn:sts::1:assumed-role/r/",
            "AROA1EXAMPLE:",
        ] {
            assert_eq!(read(&format!("{session}{role}")), read(role), "{session}");
        }
        for other in [
            "arn:aws:iam::123456789012:role/reports/",
            "AIDA1EXAMPLE:",
            "arn:aws:sts::1:assumed-role/r/x/",
        ] {
            assert!(read(&format!("{other}{role}")).is_err(), "{other}");
        }
        for secret in ["eyJhbGciOiJFUzI1NiJ9.e30.c2ln", "hunter2", "", "alice"] {
            let error = read(secret).expect_err("refused");
            assert!(secret.is_empty() || !error.contains(secret), "{error}");
        }
    }

    #[test]
    fn a_name_of_the_targets_own_is_taken_only_where_it_is_said_to_be_one() {
        let lease = "database/creds/orders-reader/x1Y";
        assert!(of_name(lease).is_err());
        assert_eq!(known_as(lease).handle.as_deref(), Some(lease));
    }

    #[test]
    fn a_mint_without_a_record_is_shown_by_its_lease() {
        let answer = serde_json::json!({
            "id": "01890a5d-ac96-774b-bcce-b302099a8057", "status": "minting", "live": false, "record": null,
            "lease": {"handle": "pabcd1234_01890a5dac96774bbcceb302099a8057", "target": "db", "session": "s",
                      "deadline": "2026-11-20T09:00:10Z", "until": null},
            "session": {"opened": "2026-11-20T09:00:00Z", "ended": {"at": "2026-11-20T09:00:05Z", "by": "operator"}},
        });
        insta::assert_snapshot!(page(&answer, None), @r"
        issuance 01890a5d-ac96-774b-bcce-b302099a8057
          status       not live yet: its mint is under way, or was interrupted and is undone soon
          handle       pabcd1234_01890a5dac96774bbcceb302099a8057
          target       db
          session      s
          deadline     2026-11-20T09:00:10Z
          its session  opened 2026-11-20T09:00:00Z, ended 2026-11-20T09:00:05Z by operator
        ");
    }

    #[test]
    fn a_token_goes_as_its_digest_and_the_id_that_it_names() {
        let id = "01890a5d-ac96-774b-bcce-b302099a8057";
        let claims = base64::Engine::encode(&base64::prelude::BASE64_URL_SAFE_NO_PAD, format!(r#"{{"jti":"{id}"}}"#));
        let token = format!("e30.{claims}.c2ln");
        let clue = of_value(&Secret::new(token.clone()));
        assert_eq!(clue.sha256, Some(Digest::of(token.as_bytes()).to_string()));
        assert_eq!((clue.issuance.as_deref(), clue.handle), (Some(id), None));
        let clue = of_value(&Secret::new("{\"version\":1}".into()));
        assert!(clue.issuance.is_none() && clue.sha256.is_some());
    }
}
