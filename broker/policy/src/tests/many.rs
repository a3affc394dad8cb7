//! Bundles with more grants than are validated at a time.

use super::{refused, try_load};

fn grants(count: usize) -> String {
    let mut text = "kind = \"jwt\"\nowner = \"o@example\"\naudience = \"https://many.example\"\n".to_owned();
    for n in 0..count {
        text += &format!("[grants.g{n}]\nrisk = \"read\"\nmax_ttl = \"5m\"\nscopes = [\"s{n}\"]\n");
        text += &format!("[grants.g{n}.params.p{n}]\ntype = \"bool\"\nrequired = true\n");
    }
    text
}

fn permit(id: &str, actions: &str, when: &str) -> String {
    format!("@id(\"{id}\")\npermit (principal, action {actions}, resource == Target::\"many\")\nwhen {{ {when} }};\n")
}

#[test]
fn rules_over_one_some_and_all_of_many_grants_are_validated_against_their_own() {
    let targets = grants(60);
    let rules = [
        permit("first", "== Action::\"many/g0\"", "context.params.p0"),
        permit("last", "== Action::\"many/g9\"", "context.params.p9"),
        permit("far-apart", "in [Action::\"many/g0\", Action::\"many/g59\"]", "context.session.age > 1"),
        "@id(\"nobody-reads\")\nforbid (principal, action in Action::\"read\", resource)\nwhen { context.session.age > 9 };\n"
            .to_owned(),
    ];
    let load = |rules: &str| {
        refused(try_load(&[
            ("targets/many.toml", &targets),
            ("rules/many.cedar", rules),
            ("tests/support.toml", ""),
        ]))
    };
    assert_eq!(load(&rules.concat()), "nothing\n");
    for wrong in [
        permit("other-param", "== Action::\"many/g41\"", "context.params.p42"),
        permit(
            "one-of-two",
            "in [Action::\"many/g0\", Action::\"many/g59\"]",
            "context.params.p0",
        ),
        permit("no-such", "== Action::\"many/g60\"", "true"),
    ] {
        let told = load(&(rules.concat() + &wrong));
        assert!(
            told.starts_with("rules/many.cedar:") && told.lines().count() == 1,
            "{wrong}{told}"
        );
    }
}
