//! The cut must not change the decision.

use cedar_policy::{Entities, PolicySet, Request, Schema};
use procura_core::{
    identity::Principal,
    judgement::{Effect, Judge, Verdict},
    params::ParamValue,
};
use procura_wire::QualifiedId;
use proptest::prelude::*;

use super::{lines, with_rules};
use crate::{Case, Loaded, case::Asking, slices::Matches};

const PRINCIPALS: [&str; 9] = [
    "principal",
    "principal is User",
    r#"principal == User::"corp/alice""#,
    r#"principal == User::"corp/bob""#,
    r#"principal == Agent::"corp/triage-bot""#,
    r#"principal in User::"corp/alice""#,
    r#"principal in Group::"corp/support""#,
    r#"principal in Group::"corp/sre""#,
    r#"principal is Agent in Group::"corp/sre""#,
];

/// Scope of action and resource, and whether a permit may have it.
const ACTIONS: [(&str, bool); 9] = [
    (
        r#"action == Action::"github/read-issues", resource == Target::"github""#,
        true,
    ),
    (
        r#"action == Action::"github/write-issues", resource == Target::"github""#,
        true,
    ),
    (
        r#"action in [Action::"github/read-issues", Action::"github/write-issues"], resource == Target::"github""#,
        true,
    ),
    (r#"action in Action::"read", resource == Target::"github""#, true),
    (
        r#"action in [Action::"read", Action::"github/read-issues"], resource == Target::"github""#,
        true,
    ),
    (r#"action in Action::"issue", resource == Target::"github""#, true),
    (r#"action in Action::"read", resource == Target::"wiki""#, true),
    (r#"action in Action::"write", resource"#, false),
    ("action, resource", false),
];

const CONDITIONS: [&str; 6] = [
    "",
    "when { context.session.issuances < 2 }",
    "unless { context has tool }",
    "when { context has actor && context.session.age > 5 }",
    "when { context.session.issuances * 4611686018427387904 > 0 }",
    r#"when { context.subject_scopes.contains("x") }"#,
];

fn rule() -> impl Strategy<Value = String> {
    let parts = (
        0..PRINCIPALS.len(),
        0..ACTIONS.len(),
        0..CONDITIONS.len(),
        any::<bool>(),
    );
    parts.prop_map(|(principal, action, condition, forbid)| {
        let (scope, permits) = ACTIONS[action];
        let effect = if forbid || !permits { "forbid" } else { "permit" };
        // Operators' actions have another context.
        let condition = if scope.starts_with("action,") {
            ""
        } else {
            CONDITIONS[condition]
        };
        format!("{effect} ({}, {scope}) {condition};", PRINCIPALS[principal])
    })
}

fn request() -> impl Strategy<Value = Case> {
    let subject = prop_oneof![
        Just(Principal::User("corp/alice".parse().expect("id"))),
        Just(Principal::User("corp/bob".parse().expect("id"))),
        Just(Principal::Agent("corp/triage-bot".parse().expect("id"))),
    ];
    let groups = proptest::collection::btree_set(prop_oneof![Just("corp/support"), Just("corp/sre")], 0..3);
    let grant = prop_oneof![
        Just("github/read-issues"),
        Just("github/write-issues"),
        Just("wiki/read-pages")
    ];
    let flags = (any::<bool>(), any::<bool>(), any::<bool>());
    (subject, groups, grant, flags, 0..4_u64, 0..10_u64).prop_map(|(subject, groups, grant, flags, issuances, age)| {
        let id = |text: &str| text.parse::<QualifiedId>().expect("id");
        let (tool, actor, scope) = flags;
        Case {
            name: String::new(),
            subject,
            groups: groups.into_iter().map(id).collect(),
            actor: actor.then(|| id("corp/triage-bot")),
            server: "tickets".parse().expect("name"),
            tool: tool.then(|| "list_issues".to_owned()),
            grant: id(grant),
            params: match grant {
                "github/read-issues" => [("limit".to_owned(), ParamValue::Int(3))].into(),
                _ => Default::default(),
            },
            at: "2026-01-01T12:00:00Z".parse().expect("time"),
            session: procura_core::judgement::SessionFacts { age, issuances },
            ttl: std::time::Duration::from_secs(60),
            auth: Default::default(),
            subject_scopes: scope.then(|| "x".to_owned()).into_iter().collect(),
            expect: None,
        }
    })
}

/// Every rule at once, over every action's entity; the request is checked against the schema.
fn uncut(bundle: &Loaded, all: &PolicySet, schema: &Schema, case: &Case) -> Verdict {
    let asking = Asking::new(case);
    let question = asking.question(case).expect("question");
    let slice = bundle.slices.grant(question.target, question.grant).expect("slice");
    let asked = bundle.ask(slice, &question, crate::rules::Reads::ALL).expect("request");
    let uid = |uid: Option<&cedar_policy::EntityUid>| uid.cloned().expect("uid");
    Request::new(
        uid(asked.request.principal()),
        uid(asked.request.action()),
        uid(asked.request.resource()),
        asked.request.context().cloned().expect("context"),
        Some(schema),
    )
    .expect("the context is of the type that rules were validated for");
    let principal = asked.entities.get(&asked.keys[0]).cloned().expect("principal");
    let entities = Entities::from_entities([principal], Some(schema)).expect("entities");
    let mut matches = Matches::default();
    matches.add(&bundle.engine, &asked.request, all, &entities);
    bundle.verdict(&matches)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_slice_decides_as_all_rules_do(
        rules in proptest::collection::vec(rule(), 1..30),
        cases in proptest::collection::vec(request(), 150),
    ) {
        let text: String = rules.iter().enumerate().map(|(index, rule)| format!("@id(\"r{index}\") {rule}\n")).collect();
        let bundle = with_rules(&text).unwrap_or_else(|mistakes| panic!("{text}\n{}", lines(&mistakes)));
        let schema = Schema::from_cedarschema_str(bundle.schema_text()).expect("schema").0;
        let all = PolicySet::from_policies(bundle.rules.iter().map(|rule| rule.policy.clone())).expect("set");
        for case in cases {
            let asking = Asking::new(&case);
            let cut = bundle.decide(&asking.question(&case).expect("question"));
            let whole = uncut(&bundle, &all, &schema, &case);
            prop_assert_eq!((cut.effect, &cut.rules), (whole.effect, &whole.rules));
            prop_assert!(cut.near.is_empty() || (cut.effect == Effect::Deny && cut.rules.is_empty()));
        }
    }
}
