//! What a form must be.

use super::*;

const VALID: &str = "grant_type=urn:ietf:params:oauth:grant-type:token-exchange&subject_token=t\
    &subject_token_type=urn:ietf:params:oauth:token-type:access_token&audience=api&scope=read";

fn read(body: &str) -> Result<TokenRequest, FormFault> {
    TokenRequest::read(&mut Form::decode(body.as_bytes())?)
}

fn fault(tail: &str) -> (&'static str, Option<&'static str>) {
    let fault = read(&format!("{VALID}&{tail}")).expect_err("must be refused");
    (fault.reason.code(), fault.param)
}

#[test]
fn req_018_names_the_parameter_that_is_missing() {
    for name in ["grant_type", "subject_token", "subject_token_type", "audience", "scope"] {
        let without: Vec<_> = VALID
            .split('&')
            .filter(|pair| !pair.starts_with(&format!("{name}=")))
            .collect();
        let fault = read(&without.join("&")).expect_err(name);
        assert_eq!((fault.reason, fault.param), (Reason::ParamMissing, Some(name)));
    }
}

#[test]
fn req_019_an_actor_token_and_its_type_come_together() {
    let ty = "urn:ietf:params:oauth:token-type:access_token";
    assert_eq!(
        fault(&format!("actor_token_type={ty}")),
        ("param.missing", Some("actor_token"))
    );
    assert_eq!(fault("actor_token=x"), ("param.missing", Some("actor_token_type")));
}

#[test]
fn an_id_jag_may_name_target_and_scope_itself() {
    let grant = "grant_type=urn:ietf:params:oauth:grant-type:jwt-bearer";
    let request = read(&format!("{grant}&assertion=j")).expect("valid");
    assert!(matches!(request.subject, PresentedSubject::IdJag(_)));
    assert!(request.targets.is_empty() && request.scope.is_empty());
    let missing = read(grant).expect_err("no assertion");
    assert_eq!(
        (missing.reason, missing.param),
        (Reason::ParamMissing, Some("assertion"))
    );
}

#[test]
fn an_id_jag_comes_without_an_actor_token() {
    let actor = "actor_token=x&actor_token_type=urn:ietf:params:oauth:token-type:jwt";
    let body = format!("grant_type=urn:ietf:params:oauth:grant-type:jwt-bearer&assertion=j&{actor}");
    let fault = read(&body).expect_err("refused");
    assert_eq!((fault.reason, fault.param), (Reason::IdJagActor, Some("actor_token")));
}

#[test]
fn req_027_unknown_token_types_are_refused() {
    let saml = "urn:ietf:params:oauth:token-type:saml2";
    assert_eq!(
        fault(&format!("requested_token_type={saml}")),
        ("token_type.unsupported", Some("requested_token_type"))
    );
    let postgres = "actor_token=x&actor_token_type=urn:procura:token-type:postgres";
    assert_eq!(fault(postgres), ("token_type.unsupported", Some("actor_token_type")));
}

#[test]
fn lifetimes_are_whole_seconds_above_zero() {
    for bad in ["0", "-1", "60s", "1.5", "%2B5", "1e18", "00"] {
        assert_eq!(
            fault(&format!("requested_expires_in={bad}")),
            ("policy.ttl", Some("requested_expires_in")),
            "{bad}"
        );
    }
    let long = read(&format!("{VALID}&requested_expires_in=99999999999999999999999")).expect("clamped later");
    assert_eq!(long.requested_ttl, Some(Duration::from_secs(u64::MAX)));
}

#[test]
fn req_098_authorization_details_are_one_object_with_a_type() {
    for bad in [
        "{}",
        "[1]",
        "[{}]",
        r#"[{"type":1}]"#,
        r#"[{"type":"a"},{"type":"a"}]"#,
        r#"[{"type":"a","type":"a"}]"#,
        "x",
    ] {
        assert_eq!(
            fault(&format!("authorization_details={bad}")),
            ("policy.rar", Some("authorization_details")),
            "{bad}"
        );
    }
    let read = read(&format!(
        r#"{VALID}&authorization_details=[{{"type":"jwt","team":["a"]}}]"#
    ))
    .expect("valid");
    assert_eq!(read.details.map(|details| details.kind).as_deref(), Some("jwt"));
}

#[test]
fn req_120_a_tool_name_may_come_as_base64() {
    let tool = |text: &str| read(&format!("{VALID}&tool={text}")).expect("valid").tool;
    assert_eq!(tool("list_issues").as_deref(), Some("list_issues"));
    assert_eq!(tool("=?base64?bGlzdF9pc3N1ZXM=?=").as_deref(), Some("list_issues"));
    assert_eq!(fault("tool==?base64?!?="), ("param.malformed", Some("tool")));
}

#[test]
fn a_token_that_is_too_long_is_refused_and_not_dropped() {
    let body = VALID.replace(
        "subject_token=t",
        &format!("subject_token={}", "t".repeat(MAX_TOKEN + 1)),
    );
    let fault = read(&body).expect_err("too long");
    assert_eq!(
        (fault.reason, fault.param),
        (Reason::ParamTooLarge, Some("subject_token"))
    );
}

#[test]
fn too_many_targets_are_a_fault_of_the_parameter_that_has_them() {
    let nine = |name: &str| vec![format!("{name}=x"); MAX_TARGETS + 1].join("&");
    let resources = VALID.replace("audience=api", &nine("resource"));
    let found = read(&resources).expect_err("refused");
    assert_eq!((found.reason, found.param), (Reason::PolicyTarget, Some("resource")));
    assert_eq!(fault(&nine("resource")), ("policy.target", Some("resource")));
    assert_eq!(fault(&nine("audience")), ("policy.target", Some("audience")));
}
