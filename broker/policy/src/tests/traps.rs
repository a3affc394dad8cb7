//! A test for each trap of Cedar that the design names.

use cedar_policy::{Authorizer, Entities, Schema};
use procura_core::judgement::{Effect, Judge};

use super::{loaded, refused, with_rules};
use crate::{
    names::Names,
    slices::{fires, trial},
};

#[test]
fn an_empty_enumeration_does_not_parse_so_it_holds_a_dash() {
    assert!(Schema::from_cedarschema_str("entity Group enum [];").is_err());
    let rule = r#"@id("a") forbid (principal in Group::"-", action, resource);"#;
    let issuer = "issuer = \"https://id.example/corp\"\nalgorithms = [\"ES256\"]\n";
    let tweaks = [
        ("issuers/corp.toml", issuer),
        ("tests/support.toml", ""),
        ("rules/support.cedar", ""),
    ];
    assert!(loaded(&tweaks).schema_text().contains("entity Group enum [\"-\"];"));
    let with_rule = [tweaks[0], tweaks[1], ("rules/support.cedar", rule)];
    assert_eq!(
        refused(super::try_load(&with_rule)),
        "rules/support.cedar:1:1: `Group::\"-\"` is not declared\n"
    );
}

#[test]
fn without_the_schemas_actions_a_group_wide_forbid_does_nothing_and_the_trial_finds_that() {
    let bundle = loaded(&[]);
    let schema = Schema::from_cedarschema_str(bundle.schema_text()).expect("schema").0;
    let actions = schema.action_entities().expect("actions");
    let names = Names::new().expect("names");
    let read = names.action("github/read-issues");
    let engine = Authorizer::new();
    let tried = |group: &str, entities: &Entities| fires(&engine, &trial(group).expect("rule"), &read, entities);
    for group in ["read", "issue"] {
        assert!(tried(group, &actions), "{group}");
        assert!(!tried(group, &Entities::empty()), "{group}");
    }
    assert!(!tried("destructive", &actions));
}

#[test]
fn the_validator_is_silent_about_what_is_too_deep_so_it_has_room_for_what_is_let_in() {
    let rule = |count| {
        let deep = "[\"a\"]".repeat(count);
        format!(
            r#"@id("p") permit (principal, action == Action::"github/read-issues", resource == Target::"github")
               when {{ context{deep} == 1 }};"#
        )
    };
    // The stack of a test's thread is that of a thread that reloads a bundle.
    let refused = |count| refused(with_rules(&rule(count)));
    assert!(refused(126).contains("attribute `a`"), "{}", refused(126));
    assert!(refused(3000).contains("more than 128 operators"), "{}", refused(3000));
}

#[test]
fn a_forbid_over_every_group_that_holds_the_grant_stops_it() {
    let permit =
        r#"@id("p") permit (principal, action == Action::"github/read-issues", resource == Target::"github");"#;
    for (scope, effect) in [
        (r#"action in Action::"read""#, Effect::Deny),
        (r#"action in Action::"issue""#, Effect::Deny),
        (r#"action in [Action::"write", Action::"read"]"#, Effect::Deny),
        (r#"action == Action::"github/read-issues""#, Effect::Deny),
        ("action", Effect::Deny),
        (r#"action in Action::"write""#, Effect::Permit),
        (r#"action == Action::"github/write-issues""#, Effect::Permit),
    ] {
        let rules = format!("{permit}\n@id(\"f\") forbid (principal, {scope}, resource);");
        let bundle = with_rules(&rules).unwrap_or_else(|mistakes| panic!("{}", super::lines(&mistakes)));
        let explanation = bundle.explain(&super::decide::case(&bundle, ""));
        assert_eq!(explanation.verdict.effect, effect, "{scope}");
    }
}

#[test]
fn a_template_is_refused() {
    let rule = r#"@id("a") permit (principal == ?principal, action == Action::"github/read-issues", resource == Target::"github");"#;
    assert!(refused(with_rules(rule)).contains("this is a template"));
}

#[test]
fn a_permit_with_a_bare_action_is_refused_and_a_forbid_is_not() {
    let rule = r#"@id("a") permit (principal, action, resource == Target::"github");"#;
    assert!(refused(with_rules(rule)).contains("a permit for every action is refused"));
    assert!(with_rules(r#"@id("a") forbid (principal, action, resource);"#).is_ok());
}

#[test]
fn a_rule_that_cannot_be_evaluated_denies_even_beside_a_permit() {
    let permit = r#"permit (principal, action == Action::"github/read-issues", resource == Target::"github")"#;
    let rules = format!(
        "@id(\"fine\") {permit};\n@id(\"broken\") {permit} when {{ context.session.issuances * 9223372036854775807 > 0 }};"
    );
    let bundle = with_rules(&rules).unwrap_or_else(|mistakes| panic!("{}", super::lines(&mistakes)));
    let fine = bundle.explain(&super::decide::case(&bundle, "session = { issuances = 1 }"));
    assert_eq!(fine.verdict.effect, Effect::Permit);
    let broken = bundle.explain(&super::decide::case(&bundle, "session = { issuances = 2 }"));
    assert_eq!((broken.verdict.effect, broken.permits()), (Effect::Error, false));
    assert_eq!(broken.verdict.rules, ["broken"]);
}

#[test]
fn a_group_wide_forbid_may_wait_for_its_first_grant() {
    let waits = r#"@id("a") forbid (principal, action in Action::"destructive", resource) when { context.now.toTime() < duration("6h") };"#;
    assert!(with_rules(waits).is_ok());
    let never = r#"@id("a") forbid (principal, action in Action::"read", resource) when { false };"#;
    assert!(refused(with_rules(never)).contains("rules/support.cedar:1"));
    let permit = r#"@id("a") permit (principal, action in Action::"destructive", resource == Target::"github");"#;
    assert!(refused(with_rules(permit)).contains("rules/support.cedar:1"));
}

#[test]
fn a_deep_or_endless_rule_is_refused_before_it_reaches_cedar() {
    let rule = |condition: &str| {
        let scope = r#"principal, action == Action::"github/read-issues", resource == Target::"github""#;
        format!("@id(\"a\") permit ({scope}) when {{ {condition} }};")
    };
    let deep = rule(&format!("{}true{}", "(".repeat(100_000), ")".repeat(100_000)));
    assert!(refused(with_rules(&deep)).contains("nested more than 32 deep"));
    let long = rule(&vec!["true"; 100_000].join(" && "));
    assert!(refused(with_rules(&long)).contains("more than 128 operators"));
    let most = rule(&vec!["context.ttl == context.ttl"; 42].join(" && "));
    assert!(with_rules(&most).is_ok(), "{}", refused(with_rules(&most)));
}

#[test]
fn the_digest_of_the_bundle_stands_in_the_judge() {
    assert_eq!(loaded(&[]).digest(), super::bundle(&[]).digest());
}
