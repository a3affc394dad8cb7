//! Golden files and laws of the record.

use std::collections::{BTreeMap, BTreeSet};

use procura_wire::{Name, QualifiedId};
use serde_json::Value;

use super::*;
use crate::{
    identity::{ActorAssertion, ClientAuthMethod, Confirmation, Link, LogIn, Principal},
    ids::SessionId,
    judgement::{NearMiss, SessionFacts},
    kind::Rights,
    params::{ParamValue, Params},
    possession::Binding,
};

struct Sevens;

impl Entropy for Sevens {
    fn fill(&self, bytes: &mut [u8]) {
        bytes.fill(7);
    }
}

fn name(text: &str) -> Name {
    text.parse().expect("name")
}

fn id(number: u128) -> uuid::Uuid {
    uuid::Uuid::from_u128(number)
}

fn issued() -> Draft {
    let at = "2026-11-20T09:00:00.5Z".parse().expect("time");
    let mut draft = Draft::new(
        IssuanceId(id(1)),
        at,
        Event::Exchange,
        "0af7651916cd43dd8448eb211c80319c".into(),
    );
    draft.facts = Facts {
        server: Some(name("tickets")),
        client_auth: Some(ClientAuth {
            method: ClientAuthMethod::ClientSecretBasic,
            key: "0123456789abcdef".into(),
        }),
        tool: Some("list_issues".into()),
        tool_call: Some("17".into()),
        session: Some(SessionId(id(2))),
        session_facts: Some(SessionFacts { age: 12, issuances: 3 }),
        actor_asserted_by: Some(ActorAssertion::ActorToken),
        subject_kind: Some("user"),
        issuer: Some(name("corp")),
        groups: vec![QualifiedId::new(name("corp"), "support")],
        auth: Some(LogIn {
            acr: Some("mfa".into()),
            amr: BTreeSet::from(["otp".into()]),
            time: Some(at),
        }),
        target: Some(name("db")),
        kind: Some("postgres"),
        grants: vec![name("read-rows")],
        requested: Some(Extent {
            ttl: Some(600),
            scope: vec!["read-rows".into()],
            ty: None,
        }),
        allowed: Some(Extent {
            ttl: Some(300),
            ..Extent::default()
        }),
        granted: Some(Extent {
            ttl: Some(300),
            scope: vec!["read-rows".into()],
            ty: None,
        }),
        until: Some("2026-11-20T09:05:00Z".parse().expect("time")),
        rights: Some(rights(&Rights {
            sets: BTreeMap::from([("member_of", BTreeSet::from(["support_reader".into()]))]),
            numbers: BTreeMap::from([("connection_limit", 2)]),
        })),
        outlives_subject: true,
        bundle: Some(Digest::of(b"bundle")),
        rules: vec!["support-reads".into()],
        source_version: Some("4".into()),
        handle: Some("pabcd1234_00000000000000000000000000000001".into()),
        value_sha256: Some(Digest::of(b"value")),
        ..Facts::default()
    };
    draft.clear = Clear {
        subject: Some(Principal::User(QualifiedId::new(name("corp"), "alice"))),
        iss: Some("https://id.example.com".into()),
        sub: Some("alice".into()),
        sid: Some("s1".into()),
        subject_scopes: vec!["openid".into()],
        actor: Some(QualifiedId::new(name("corp"), "triage-bot")),
        chain: vec![Link {
            sub: "triage".into(),
            iss: Some("https://id.example.com".into()),
            client_id: None,
        }],
        address: Some("192.0.2.7".into()),
        params: Params::from([("team".into(), ParamValue::Set(BTreeSet::from(["a".into()])))]),
        ..Clear::default()
    };
    draft
}

fn refused() -> Draft {
    let mut draft = issued();
    draft.facts = Facts {
        server: Some(name("tickets")),
        near: vec![NearMiss {
            rule: "support-reads".into(),
            clause: "principal in Group::\"corp/support\"".into(),
        }],
        ..Facts::default()
    };
    draft.clear = Clear {
        requested_target: vec!["nowhere".into()],
        ..Clear::default()
    };
    draft
}

fn bound() -> Draft {
    let mut draft = refused();
    draft.facts = Facts {
        server: Some(name("tickets")),
        cnf: Some(Confirmation::Jkt("0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I".into())),
        binding: Some(Binding::NotProven),
        ..Facts::default()
    };
    draft
}

fn caused() -> Draft {
    let mut draft = refused();
    draft.facts = Facts {
        server: Some(name("tickets")),
        id_jag: true,
        tenant: Some("acme".into()),
        cause: Some("jwt.expired"),
        ..Facts::default()
    };
    draft
}

fn signed() -> Draft {
    let mut draft = refused();
    draft.facts = Facts {
        server: Some(name("tickets")),
        issuer: Some(name("corp")),
        token_key: Some("corp-2026".into()),
        signing_key: Some("0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I".into()),
        source: Some("vault:kv/tickets-db".into()),
        ..Facts::default()
    };
    draft
}

/// Version 1 is these bytes. A change here is a new version of the record, never an edit.
#[test]
fn version_1_is_pinned() {
    let entry = issued().seal(Outcome::Issued, None, &Sevens).expect("short");
    assert_eq!(
        entry.leaf,
        include_str!("../../golden/exchange-issued.leaf.json").trim_end()
    );
    assert_eq!(
        entry.clear,
        include_str!("../../golden/exchange-issued.clear.json").trim_end()
    );
    let entry = refused()
        .seal(Outcome::Refused, Some("target.not_available"), &Sevens)
        .expect("short");
    assert_eq!(
        entry.leaf,
        include_str!("../../golden/exchange-refused.leaf.json").trim_end()
    );
    assert_eq!(
        entry.clear,
        include_str!("../../golden/exchange-refused.clear.json").trim_end()
    );
    let entry = bound().seal(Outcome::Issued, None, &Sevens).expect("short");
    assert_eq!(
        entry.leaf,
        include_str!("../../golden/exchange-bound.leaf.json").trim_end()
    );
    let entry = caused()
        .seal(Outcome::Refused, Some("idjag.invalid"), &Sevens)
        .expect("short");
    assert_eq!(
        entry.leaf,
        include_str!("../../golden/exchange-caused.leaf.json").trim_end()
    );
    let entry = signed().seal(Outcome::Issued, None, &Sevens).expect("short");
    assert_eq!(
        entry.leaf,
        include_str!("../../golden/exchange-signed.leaf.json").trim_end()
    );
}

#[test]
fn the_commitment_opens_with_salt_and_clear_text_only() {
    let entry = issued().seal(Outcome::Issued, None, &Sevens).expect("short");
    let leaf: Value = serde_json::from_str(&entry.leaf).expect("JSON");
    assert_eq!(leaf["commitment"], commitment(&[7; 32], &entry.clear).to_string());
    assert_ne!(leaf["commitment"], commitment(&[8; 32], &entry.clear).to_string());
}

#[test]
fn req_153_nothing_of_the_clear_text_stands_in_the_leaf() {
    let entry = issued().seal(Outcome::Issued, None, &Sevens).expect("short");
    for personal in ["alice", "triage-bot", "192.0.2.7", "\"a\"", "s1"] {
        assert!(
            entry.clear.contains(personal) && !entry.leaf.contains(personal),
            "{personal}"
        );
    }
}

#[test]
fn req_151_attack_197_a_record_over_60_kib_is_an_error() {
    let mut draft = issued();
    draft.facts.rules = vec!["r".repeat(MAX_LEAF)];
    assert_eq!(draft.seal(Outcome::Issued, None, &Sevens), Err(TooLong));
    // A tile of entries has two bytes for the length of each.
    assert!(u16::try_from(MAX_LEAF).is_ok());
    let bare = issued().seal(Outcome::Issued, None, &Sevens).expect("short").leaf.len();
    for (more, fits) in [(0, true), (1, false)] {
        let mut draft = issued();
        let rule = draft.facts.rules.first_mut().expect("a rule");
        rule.push_str(&"r".repeat(MAX_LEAF - bare + more));
        assert_eq!(draft.seal(Outcome::Issued, None, &Sevens).is_ok(), fits, "{more} above");
    }
}
