//! The whole log for who may read it, of a store that somebody touched, and for as long as they may.

use axum::{
    body::{Body, to_bytes},
    http::{Request, StatusCode, header},
};
use futures_util::future::join_all;
use procura_core::{
    archive::{Line, missing_line, read},
    ledger::{Event, Outcome},
};
use sqlx::{Connection, SqliteConnection};
use tower::ServiceExt;

use super::{kit::Stage, matrix::authorization};

fn asked(stage: &Stage, path: &str) -> axum::http::request::Builder {
    Request::get(path).header(header::AUTHORIZATION, authorization(&stage.bearer("all")))
}

async fn append(stage: &Stage, count: usize) {
    let drafts: Vec<_> = (0..count).map(|_| stage.draft(Event::Exchange)).collect();
    for some in drafts.chunks(100) {
        join_all(some.iter().map(|draft| stage.append(draft, Outcome::Refused, None))).await;
    }
}

#[tokio::test]
async fn a_record_that_was_deleted_ends_an_export_at_its_index() {
    let stage = Stage::set().await;
    append(&stage, 300).await;
    let deleted = stage.refused().await;
    stage.refused().await;
    stage.publish().await;
    let file = stage.folder.path().join("store.sqlite");
    let mut store = SqliteConnection::connect(&format!("sqlite:{}", file.display()))
        .await
        .expect("opened");
    let delete = sqlx::query("DELETE FROM record WHERE id = ?").bind(deleted.0);
    delete.execute(&mut store).await.expect("deleted");
    let answer = stage.ask(asked(&stage, "/v1/log/export"), String::new()).await;
    let lines: Vec<_> = answer.body.split_inclusive('\n').collect();
    assert_eq!(lines.len(), 302, "{:?}", lines.last());
    assert!(matches!(
        read(lines[300].as_bytes()),
        Ok(Line::Record { index: 299, .. })
    ));
    assert_eq!(lines[301], missing_line(300));
}

#[tokio::test]
async fn attack_199_an_export_ends_where_its_reader_may_not_read_all_any_more() {
    let stage = Stage::set().await;
    // More than what is sent before anybody reads.
    append(&stage, 2000).await;
    stage.publish().await;
    for still in [true, false] {
        let request = asked(&stage, "/v1/log/export").header(header::HOST, "127.0.0.1:8420");
        let request = request.body(Body::empty()).expect("request");
        let answer = stage.routes.clone().oneshot(request).await.expect("answer");
        assert_eq!(answer.status(), StatusCode::OK);
        if !still {
            stage.write("rules/auditors.cedar", "");
            stage.reload().await;
        }
        assert_eq!(to_bytes(answer.into_body(), 8 << 20).await.is_ok(), still);
    }
}
