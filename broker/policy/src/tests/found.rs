//! What fuzzing found.

use super::{refused, try_load, with_rules};

#[test]
fn one_name_is_proposed_and_always_the_same_where_several_are_as_near() {
    let rules = [
        (
            r#"action == Action::"xxxxx", resource == Target::"github""#,
            "Action::\"issue\"",
        ),
        (
            r#"action == Action::"github/read-issues", resource == Tarkut::"x""#,
            "Target",
        ),
    ];
    for (scope, meant) in rules {
        let rule = format!("@id(\"a\")\npermit (principal, {scope});\n");
        let first = refused(with_rules(&rule));
        assert!(first.contains("did you mean"), "{first}");
        assert!(first.contains(meant), "{first}");
        for _ in 0..20 {
            assert_eq!(refused(with_rules(&rule)), first);
        }
    }
}

#[test]
fn one_word_that_is_wrong_for_several_grants_is_told_the_same_each_time() {
    let rule = r#"@id("a") forbid (principal, action, resource == Target::"github") when { context.nothing };"#;
    let first = refused(with_rules(rule));
    assert!(first.contains("nothing"), "{first}");
    for _ in 0..20 {
        assert_eq!(refused(with_rules(rule)), first);
    }
}

#[test]
fn a_value_in_a_sentence_writes_nothing_to_a_terminal() {
    for value in [r"\u001b[2J", r"\n", r"\u202e", r"\r"] {
        let issuer = format!("issuer = \"corp{value}\"\nalgorithms = [\"ES256\"]\n");
        let told = refused(try_load(&[("issuers/corp.toml", &issuer)]));
        for line in told.lines() {
            assert!(line.contains(".toml:") || line.contains(".cedar:"), "{told:?}");
            assert!(!line.contains(['\u{1b}', '\u{202e}', '\r']), "{told:?}");
        }
    }
}

#[test]
fn an_address_begins_as_every_reader_of_addresses_wants_it() {
    for address in ["https:/id.example", "https:id.example", "https:\\\\id.example"] {
        let issuer = format!("issuer = '{address}'\nalgorithms = [\"ES256\"]\n");
        let told = refused(try_load(&[("issuers/extra.toml", &issuer)]));
        assert!(told.contains("must begin with https://"), "{told}");
        let server = format!("resource = '{address}'\nowner = \"o\"\ngrants = []\n");
        let told = refused(try_load(&[("servers/extra.toml", &server)]));
        assert!(
            told.contains("servers/extra.toml:1:1:") && told.contains("must begin with https://"),
            "{told}"
        );
    }
}
