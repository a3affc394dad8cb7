use procura_core::{
    identity::{Principal, Subject},
    judgement::{Effect, Judge, OperatorAction},
};
use procura_wire::{Name, Reason};

use super::{loaded, refused, try_load, with_rules};
use crate::{Case, Loaded, case::Asking};

/// A case of alice in support with more lines.
pub(super) fn case(bundle: &Loaded, lines: &str) -> Case {
    let base =
        "[[case]]\nname = \"c\"\nsubject = { user = \"corp/alice\", groups = [\"support\"] }\nserver = \"tickets\"\n";
    let grant = if lines.contains("grant =") {
        ""
    } else {
        "grant = \"github/read-issues\"\n"
    };
    let text = format!("{base}{grant}{lines}\n");
    let cases = bundle.read_cases("case.toml", &text);
    let mut cases = cases.unwrap_or_else(|mistakes| panic!("{}", super::lines(&mistakes)));
    cases.remove(0)
}

const READ: &str = r#"action == Action::"github/read-issues", resource == Target::"github""#;

fn explained(bundle: &Loaded, lines: &str) -> String {
    bundle.explain(&case(bundle, lines)).to_string()
}

fn rules(text: &str) -> Loaded {
    with_rules(text).unwrap_or_else(|mistakes| panic!("{}", super::lines(&mistakes)))
}

#[test]
fn permits_by_the_rule_that_matches() {
    assert_eq!(explained(&loaded(&[]), ""), "permit by support-reads-issues");
}

#[test]
fn denies_what_no_rule_permits_and_says_what_was_nearest() {
    let scope = r#"action == Action::"github/read-issues", resource == Target::"github""#;
    let bundle = rules(&format!(
        r#"@id("for-sre") permit (principal in Group::"corp/sre", {scope});
           @id("far") permit (principal == User::"corp/bob", {scope}) when {{ context has actor && context has tool }};
           @id("narrow") permit (principal in Group::"corp/support", {scope})
           when {{ context.server == Server::"tickets" && context.params has repositories &&
                   ["web"].containsAll(context.params.repositories) }};
           @id("early") permit (principal, {scope}) unless {{ context.session.issuances < 1 }};"#
    ));
    insta::assert_snapshot!(explained(&bundle, "params = { repositories = [\"api\"] }").replace("; ", "\n"), @r#"
    deny: no rule permits it
    narrow does not, because this is false: ["web"].containsAll(context.params.repositories)
    early does not, because this is false: unless { context.session.issuances < 1 }
    for-sre does not, because this is false: principal in Group::"corp/sre"
    "#);
    assert_eq!(
        explained(&bundle, "params = { repositories = [\"web\"] }"),
        "permit by narrow"
    );
}

#[test]
fn a_clause_is_shown_with_200_characters_at_most() {
    let names = vec!["\"some-repository\""; 40].join(", ");
    let bundle = rules(&format!(
        r#"@id("a") permit (principal, action == Action::"github/read-issues", resource == Target::"github")
           when {{ context.params has repositories && [{names}].containsAll(context.params.repositories) }};"#
    ));
    let asked = bundle.explain(&case(&bundle, "params = { repositories = [\"x\"] }"));
    assert_eq!(asked.verdict.near[0].clause.chars().count(), 200);
}

#[test]
fn the_ceiling_comes_before_the_rules() {
    let bundle = loaded(&[]);
    let wiki = r#"grant = "github/write-issues""#;
    assert_eq!(
        bundle.explain(&case(&bundle, wiki)).ceiling,
        Some(Reason::GrantUnlisted)
    );
    assert_eq!(
        bundle.explain(&case(&bundle, "tool = \"none\"")).ceiling,
        Some(Reason::ToolNotDeclared)
    );
    assert!(bundle.explain(&case(&bundle, "tool = \"list_issues\"")).permits());
}

#[test]
fn rules_see_every_part_of_the_context() {
    let lines = r#"tool = "list_issues"
actor = "corp/triage-bot"
params = { repositories = ["web"], limit = 7 }
at = 2026-11-20T03:00:00Z
session = { age = "5m", issuances = 3 }
ttl = "90s"
auth = { acr = "gold", amr = ["pwd", "otp"], age = "2m" }
subject_scopes = ["issues"]"#;
    for condition in [
        r#"context.tool == Tool::"tickets/list_issues""#,
        r#"context.actor == Agent::"corp/triage-bot""#,
        r#"context.params.repositories.contains("web")"#,
        "context.params.limit == 7",
        r#"context.now == datetime("2026-11-20T03:00:00Z") && context.now.toTime() < duration("6h")"#,
        "context.session.age == 300 && context.session.issuances == 3",
        r#"context.ttl == duration("90s")"#,
        r#"context.auth.acr == "gold" && context.auth.amr.contains("otp") && context.auth.age == duration("2m")"#,
        r#"context.subject_scopes == ["issues"]"#,
    ] {
        let has = [
            ("context.tool", "context has tool"),
            ("context.actor", "context has actor"),
            ("params.repositories", "context.params has repositories"),
            ("params.limit", "context.params has limit"),
            ("auth.acr", "context.auth has acr && context.auth has age"),
        ];
        let guard = has
            .iter()
            .find(|(name, _)| condition.contains(name))
            .map_or("true", |(_, guard)| guard);
        let bundle = rules(&format!(
            r#"@id("a") permit (principal, action == Action::"github/read-issues", resource == Target::"github")
               when {{ {guard} && {condition} }};"#
        ));
        assert_eq!(explained(&bundle, lines), "permit by a", "{condition}");
    }
}

#[test]
fn rules_see_the_context_however_they_name_it() {
    let lines = "tool = \"list_issues\"\nactor = \"corp/triage-bot\"\nauth = { acr = \"gold\", age = \"2m\" }";
    let conditions = [
        r#"context.server == Server::"tickets""#,
        r#"context["server"] == Server::"tickets""#,
        r#"{ whole: context }.whole.server == Server::"tickets""#,
        r#"(if principal is User then context else context).server == Server::"tickets""#,
        "context has tool",
        r#"context has "actor""#,
        "context has auth.acr",
        "(context.auth) has age",
        r#"{ whole: context }.whole has tool"#,
    ];
    for condition in conditions {
        let bundle = rules(&format!(
            r#"@id("a") forbid (principal, action in Action::"read", resource) when {{ {condition} }};
               @id("all") permit (principal, {READ});"#
        ));
        assert_eq!(explained(&bundle, lines), "deny: forbidden by a", "{condition}");
    }
}

#[test]
fn what_no_rule_of_the_slice_reads_is_not_in_the_request() {
    let members = |text: &str| {
        let bundle = rules(text);
        let case = case(&bundle, "tool = \"list_issues\"\nactor = \"corp/triage-bot\"");
        let asking = Asking::new(&case);
        let question = asking.question(&case).expect("question");
        let slice = bundle.slices.grant(question.target, question.grant).expect("slice");
        let asked = bundle.ask(slice, &question, slice.reads).expect("request");
        let context = asked.request.context().cloned().expect("context");
        let mut names: Vec<_> = context.into_iter().map(|(name, _)| name).collect();
        names.sort();
        names.join(" ")
    };
    let permit = |when: &str| format!("@id(\"a\") permit (principal, {READ}) when {{ {when} }};\n");
    let server = permit(r#"context.server == Server::"tickets""#);
    let every = "actor auth now params server session subject_scopes tool ttl";
    assert_eq!(members(&permit("principal is User")), "");
    assert_eq!(members(&server), "server");
    assert_eq!(members(&permit("context has tool")), "tool");
    assert_eq!(members(&permit("context.auth.amr.contains(\"now\")")), "auth");
    assert_eq!(members(&permit("{ whole: context }.whole has tool")), every);
    let forbid =
        "@id(\"b\") forbid (principal, action in Action::\"read\", resource) when { context.session.age > 9 };";
    assert_eq!(members(&(server + forbid)), "server session");
}

#[test]
fn a_case_printed_as_a_test_is_read_back_the_same() {
    let bundle = loaded(&[]);
    let text = r#"tool = "list_issues"
actor = "corp/triage-bot"
params = { repositories = ["a-b", "web"], limit = 7 }
at = "2026-11-20T03:00:00Z"
session = { age = "5m", issuances = 30 }
ttl = "90s"
auth = { acr = "gold", amr = ["pwd"], age = "2m" }
subject_scopes = ["issues"]"#;
    let first = case(&bundle, text);
    let printed = bundle.as_case(&first);
    insta::assert_snapshot!(printed);
    let mut back = bundle.read_cases("case.toml", &printed).expect("case").remove(0);
    assert!(back.expect.take().is_some_and(|expect| !expect.permit));
    assert_eq!(back, first);
}

#[test]
fn the_time_of_a_log_in_is_printed_to_the_millisecond() {
    let bundle = loaded(&[]);
    for (at, time) in [
        ("2026-11-20T03:00:00.4Z", "2026-11-20T02:55:00Z"),
        ("2026-11-20T03:00:00Z", "2026-11-20T03:00:07Z"),
        ("2026-11-20T03:00:00Z", "2024-01-01T00:00:00Z"),
    ] {
        let first = case(&bundle, &format!("at = \"{at}\"\nauth = {{ time = \"{time}\" }}"));
        let mut back = bundle
            .read_cases("case.toml", &bundle.as_case(&first))
            .expect("case")
            .remove(0);
        back.expect = None;
        assert_eq!((back.auth.time, &back), (time.parse().ok(), &first));
    }
    let both = "[[case]]\nname = \"x\"\nsubject = { user = \"corp/alice\" }\nserver = \"tickets\"\n\
                grant = \"github/read-issues\"\nauth = { age = \"2m\", time = \"2026-01-01\" }\n";
    let mistakes = bundle.read_cases("case.toml", both).expect_err("one of them");
    assert!(mistakes[0].to_string().contains("write one of them"), "{mistakes:?}");
}

#[test]
fn a_failing_test_refuses_the_bundle_and_says_what_was_decided() {
    let failing = r#"[[case]]
name = "wrong effect"
subject = { user = "corp/alice" }
server = "tickets"
grant = "github/read-issues"
expect = "permit"

[[case]]
name = "wrong rule"
subject = { user = "corp/alice", groups = ["support"] }
server = "tickets"
grant = "github/read-issues"
expect = "permit"
by = ["other"]

[[case]]
name = "above the ceiling"
subject = { user = "corp/alice", groups = ["support"] }
server = "tickets"
grant = "github/write-issues"
expect = "permit"

[[case]]
name = "permitted"
subject = { user = "corp/alice", groups = ["support"] }
server = "tickets"
grant = "github/read-issues"
expect = "deny"
"#;
    insta::assert_snapshot!(refused(try_load(&[("tests/support.toml", failing)])));
}

fn subject(bundle: &Loaded, lines: &str) -> Subject {
    Asking::new(&case(bundle, lines)).subject
}

fn principal(kind: fn(procura_wire::QualifiedId) -> Principal, id: &str) -> Principal {
    kind(id.parse().expect("id"))
}

#[test]
fn req_031_an_agent_acts_only_for_whom_a_rule_names() {
    let bundle = rules(
        r#"@id("acts") permit (principal == Agent::"corp/triage-bot", action == Action::"act_for", resource in Group::"corp/support");"#,
    );
    let mut alice = subject(&bundle, "");
    let now = case(&bundle, "").at;
    let bot = principal(Principal::Agent, "corp/triage-bot");
    let verdict = bundle.may_act_for(&bot, &alice, now);
    assert_eq!(
        (verdict.effect, verdict.rules),
        (Effect::Permit, vec!["acts".to_owned()])
    );
    let other = principal(Principal::Agent, "corp/other");
    assert_eq!(bundle.may_act_for(&other, &alice, now).effect, Effect::Deny);
    std::sync::Arc::make_mut(&mut alice.token).groups.clear();
    assert_eq!(bundle.may_act_for(&bot, &alice, now).effect, Effect::Deny);
}

#[test]
fn an_operator_does_only_what_a_rule_names() {
    let bundle = rules(
        r#"@id("all") permit (principal in Group::"corp/support", action == Action::"end_session", resource);
           @id("one") permit (principal == User::"corp/alice", action == Action::"read_log", resource == Target::"github");"#,
    );
    let alice = subject(&bundle, "");
    let now = case(&bundle, "").at;
    let github: Name = "github".parse().expect("name");
    let wiki: Name = "wiki".parse().expect("name");
    let may = |action, target| bundle.operator(&alice, action, target, now).effect;
    assert_eq!(may(OperatorAction::EndSession, None), Effect::Permit);
    assert_eq!(may(OperatorAction::EndSession, Some(&wiki)), Effect::Permit);
    assert_eq!(may(OperatorAction::ReadLog, Some(&github)), Effect::Permit);
    assert_eq!(may(OperatorAction::ReadLog, Some(&wiki)), Effect::Deny);
    assert_eq!(may(OperatorAction::ReadLog, None), Effect::Deny);
    assert_eq!(may(OperatorAction::UndoLease, None), Effect::Deny);
}

#[test]
fn values_that_the_engine_cannot_hold_deny_where_a_rule_reads_them() {
    let rule = r#"@id("not-before") forbid (principal, action in Action::"issue", resource)
when { context.now < datetime("1970-01-01") };"#;
    let bundle = loaded(&[("rules/time.cedar", rule)]);
    let mut case = case(&bundle, "");
    case.at = procura_core::Timestamp::MIN;
    let explanation = bundle.explain(&case);
    assert_eq!(
        (explanation.verdict.effect, explanation.permits()),
        (Effect::Error, false)
    );
}
