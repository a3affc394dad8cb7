//! Names that others chose reach AWS as generated ones only.

use procura_core::identity::Principal;

use crate::{
    bed::{Bed, handle},
    mint::tags,
};

#[tokio::test]
async fn hostile_names_from_tokens_reach_aws_as_safe_ones_only() {
    let bed = Bed::new().await;
    let long = "x".repeat(300);
    let hostile = [
        "admin'--",
        "a\"b",
        "a\nb",
        "..",
        "%2f",
        "\u{430}lice",
        "a b",
        "${aws:userid}",
        "*",
        &long,
    ];
    let mut seen = std::collections::BTreeSet::new();
    for name in hostile {
        let mut asked = bed.ask();
        let id: procura_wire::QualifiedId = format!("corp/{name}").parse().expect("an id");
        asked.caller.subject.principal = Principal::User(id.clone());
        asked.caller.actor.agent = Some(id);
        bed.mint(&asked).await.expect("minted");
        let requests = bed.asked_of("AssumeRole");
        let form = requests.last().expect("asked");
        assert_eq!(form["RoleSessionName"], handle(&asked).to_string());
        for value in tags(form).values() {
            let plain = |c: char| c.is_ascii_alphanumeric() || "_.:/=+-@".contains(c);
            assert!(value.len() <= 256 && value.chars().all(plain), "{value}");
        }
        assert!(seen.insert(tags(form)["procura-subject"].clone()), "{name}");
    }
    assert!(seen.contains("corp/..") && !seen.contains("corp/alice"));
}

#[tokio::test]
async fn where_no_agent_acts_none_is_named() {
    let bed = Bed::new().await;
    let mut asked = bed.ask();
    asked.caller.actor.agent = None;
    asked.caller.subject.principal = Principal::Agent("corp/alice".parse().expect("an id"));
    assert!(asked.is_within(&bed.mint(&asked).await.expect("minted")));
    let tags = tags(&bed.asked_of("AssumeRole")[0]);
    assert!(
        !tags.contains_key("procura-actor") && tags["procura-subject-kind"] == "agent",
        "{tags:?}"
    );
}
