//! Notes of others, and keys of other epochs.

use procura_core::log::{Notary, Statement};
use procura_target_jwt::{SigningAlgorithm, new_set};

use super::*;

/// The key of Go's checksum database, as the Go command has it, and a head that it signed and published.
const KEY: &str = "sum.golang.org+033de0ae+Ac4zctda0e5eza+HJyk9SxEdh+s3Ux18htTTAD8OuAn8";
const NOTE: &str = "go.sum database tree\n57162715\nVSE3UuKNEsMCxfB7qOd6ooLc1PBLZuH1VIFDUpPiVHo=\n\n\
                    — sum.golang.org \
                    Az3grs9uQ7SOJtzBNgKcoo0JvDEuJrwar9FrmNKhe3TC9ba8HFnKtKz0gO0N9ZgA4ovsg6JFkOaiR4qQPJyBIy8M9ws=\n";

fn verifiers(keys: &[String]) -> Verifiers {
    Verifiers::parse(keys).unwrap_or_else(|problem| panic!("{problem}"))
}

#[test]
fn req_152_the_head_of_a_public_log_that_another_implementation_signed_is_verified_and_read() {
    let known = verifiers(&[KEY.to_owned()]);
    let text = known.open("sum.golang.org", NOTE).expect("signed by that key");
    let Ok(Statement::Checkpoint(head)) = Statement::parse(&text) else {
        panic!("no checkpoint: {text}");
    };
    assert_eq!((head.origin.as_str(), head.size), ("go.sum database tree", 57_162_715));
    for (from, to) in [
        ("57162715", "57162716"),
        ("VSE3", "VSE4"),
        ("Az3grs9u", "Az3grs9v"),
        ("tree", "Tree"),
    ] {
        let forged = NOTE.replacen(from, to, 1);
        assert!(known.open("sum.golang.org", &forged).is_err(), "{from}");
    }
    assert!(known.open("go.sum database tree", NOTE).is_err(), "names are compared");
}

#[test]
fn a_key_verifies_what_it_signed_in_every_epoch_of_its_log_and_in_no_other_log() {
    let keys = LogKeys::parse(&new_set(SigningAlgorithm::Ed25519).expect("set")).expect("keys");
    let known = verifiers(&keys.verifiers("b.example/procura/2"));
    for (name, verified) in [
        ("b.example/procura/1", true),
        ("b.example/procura/2", true),
        ("b.example/procura/33", true),
        ("b.example", false),
        ("b.example/procura/", false),
        ("b.example/procura/x", false),
        ("c.example/procura/1", false),
        ("b.example/procura/1/procura/2", false),
    ] {
        let note = keys.sign(name, &format!("{name}\n")).expect("signed");
        assert_eq!(known.open(name, &note).is_ok(), verified, "{name}");
    }
}

#[test]
fn one_key_that_is_given_for_several_epochs_verifies_as_given_once() {
    let keys = LogKeys::parse(&new_set(SigningAlgorithm::Ed25519).expect("set")).expect("keys");
    let lines = ["b.example/procura/1", "b.example/procura/2", "b.example/procura/2"].map(|name| keys.verifiers(name));
    let known = verifiers(&lines.concat());
    let note = keys
        .sign("b.example/procura/2", "b.example/procura/2\n")
        .expect("signed");
    assert!(known.open("b.example/procura/2", &note).is_ok());
}
