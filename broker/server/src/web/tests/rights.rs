//! Who may do and see what, beside the matrix of all routes.

use axum::http::StatusCode;
use procura_wire::Secret;

use super::kit::Stage;

pub(super) const ABSENT: &str = "01890a5d-ac96-774b-bcce-b302099a8057";

/// Nobody, a stranger, the auditor of one target, the auditor of all, the operator.
async fn roles(stage: &Stage) -> [Option<Secret>; 5] {
    [
        None,
        Some(stage.log_in("mallory").await),
        Some(stage.log_in("one").await),
        Some(stage.log_in("all").await),
        Some(stage.log_in("operator").await),
    ]
}

#[tokio::test]
async fn attack_208_only_whom_a_rule_lets_end_sessions_ends_one() {
    let stage = Stage::set().await;
    let (_, session) = stage.issued("db", |_| {}).await;
    let roles = roles(&stage).await;
    let path = format!("/ui/sessions/{session}/end");
    for (role, expected) in roles.iter().zip([303, 403, 404, 403, 200]) {
        let live = stage
            .broker
            .ports
            .ledger
            .session(session)
            .await
            .expect("read")
            .expect("session");
        assert!(live.ended.is_none());
        assert_eq!(stage.post(&path, role.as_ref()).await.status.as_u16(), expected);
    }
    let again = stage.post(&path, roles[4].as_ref()).await;
    assert_eq!(again.status, StatusCode::CONFLICT);
}

#[tokio::test]
async fn attack_208_lists_hold_what_their_reader_may_read() {
    let stage = Stage::set().await;
    let (api, api_session) = stage.issued("api", |_| {}).await;
    let (db, db_session) = stage.issued("db", |_| {}).await;
    let one = stage.log_in("one").await;
    for (path, seen, hidden) in [
        ("/ui/records", api.to_string(), db.to_string()),
        ("/ui/sessions", api_session.to_string(), db_session.to_string()),
        ("/ui/servers", "tickets".to_owned(), "reports".to_owned()),
        (
            "/ui/",
            "Of the targets that you may read".to_owned(),
            "alice-db".to_owned(),
        ),
    ] {
        let page = stage.get(path, Some(&one)).await.body;
        assert!(page.contains(&seen) && !page.contains(&hidden), "{path}");
    }
    let narrowed = stage.get("/ui/records?target=db", Some(&one)).await.body;
    assert!(narrowed.contains("No record fits") && !narrowed.contains(&db.to_string()));
    let of_both = stage
        .get(&format!("/ui/records?session={db_session}"), Some(&one))
        .await
        .body;
    assert!(!of_both.contains(&db.to_string()));
}

#[tokio::test]
async fn what_one_may_not_see_reads_like_what_is_not_there() {
    let stage = Stage::set().await;
    let (db, session) = stage.issued("db", |_| {}).await;
    let one = stage.log_in("one").await;
    for (hidden, absent) in [
        (format!("/ui/records/{db}"), format!("/ui/records/{ABSENT}")),
        (format!("/ui/sessions/{session}"), format!("/ui/sessions/{ABSENT}")),
        ("/ui/servers/reports".to_owned(), "/ui/servers/absent".to_owned()),
    ] {
        let trace = |page: &str| page.split("Trace ").next().map(str::to_owned);
        let hidden = stage.get(&hidden, Some(&one)).await.body;
        assert_eq!(trace(&hidden), trace(&stage.get(&absent, Some(&one)).await.body));
    }
}

#[tokio::test]
async fn whoever_loses_a_right_loses_it_at_once() {
    let stage = Stage::set().await;
    let all = stage.log_in("all").await;
    assert_eq!(stage.get("/ui/records", Some(&all)).await.status, StatusCode::OK);
    stage.write("rules/auditors.cedar", "");
    stage.reload().await;
    assert_eq!(stage.get("/ui/records", Some(&all)).await.status, StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn a_log_in_does_not_outlive_the_file_that_it_was_read_under() {
    let stage = Stage::set().await;
    let operator = stage.log_in("operator").await;
    for change in [
        ("algorithms = [\"ES256\"]", "algorithms = [\"ES256\", \"RS256\"]"),
        ("operators = true", "operators = false"),
    ] {
        let path = stage.folder.path().join("bundle/issuers/dev.toml");
        let text = std::fs::read_to_string(&path).expect("file");
        assert_eq!(stage.get("/ui/", Some(&operator)).await.status, StatusCode::OK);
        stage.write("issuers/dev.toml", &text.replace(change.0, change.1));
        stage.reload().await;
        assert_eq!(
            stage.get("/ui/", Some(&operator)).await.status,
            StatusCode::SEE_OTHER,
            "{}",
            change.1
        );
        stage.write("issuers/dev.toml", &text);
        stage.reload().await;
    }
}
