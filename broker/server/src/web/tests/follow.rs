//! Who follows the log or takes all of it, of some targets: what they are told, and when they are told no more.

use axum::{
    body::{Body, Bytes, to_bytes},
    http::{Request, StatusCode, header},
    response::Response,
};
use http_body_util::BodyExt;
use procura_core::{
    ids::IssuanceId,
    ledger::{Event, Outcome},
};
use procura_wire::Reason;
use tower::ServiceExt;

use super::{
    kit::{Stage, name},
    matrix::authorization,
};

const REFUSED: &str = "/v1/issuances/stream?q=outcome+%3D+refused";

/// What `one` is answered, who reads the records of the target `api` alone.
async fn open(stage: &Stage, path: &str, last: Option<IssuanceId>) -> Response {
    let mut request = Request::get(path).header(header::HOST, "127.0.0.1:8420");
    request = request.header(header::AUTHORIZATION, authorization(&stage.bearer("one")));
    if let Some(last) = last {
        request = request.header("Last-Event-ID", last.to_string());
    }
    let request = request.body(Body::empty()).expect("request");
    let response = stage.routes.clone().oneshot(request).await.expect("answer");
    assert_eq!(response.status(), StatusCode::OK, "{path}");
    response
}

/// The next event of a stream.
async fn event(stream: &mut Body) -> String {
    let piece = stream.frame().await.expect("it goes on").expect("whole").into_data();
    String::from_utf8(piece.unwrap_or_else(|_| Bytes::new()).to_vec()).expect("text")
}

async fn refused(stage: &Stage) -> IssuanceId {
    let mut draft = stage.draft(Event::Exchange);
    draft.facts.target = Some(name("api"));
    stage.append(&draft, Outcome::Refused, Some(Reason::PolicyDenied)).await;
    draft.id
}

fn position(of: IssuanceId) -> String {
    format!("id: {of}\n: the log is followed\n\n")
}

#[tokio::test]
async fn whoever_was_shown_nothing_yet_goes_on_after_a_break_where_it_was() {
    let stage = Stage::set().await;
    let (begin, _) = stage.issued("api", |_| {}).await;
    stage.issued("db", |_| {}).await;
    stage.publish().await;
    let mut stream = open(&stage, REFUSED, None).await.into_body();
    assert_eq!(event(&mut stream).await, position(begin));
    let (passed, _) = stage.issued("api", |_| {}).await;
    stage.issued("db", |_| {}).await;
    stage.publish().await;
    assert_eq!(
        event(&mut stream).await,
        position(passed),
        "of their records the last one"
    );
    drop(stream);
    let missed = refused(&stage).await;
    stage.publish().await;
    for last in [begin, passed] {
        let mut stream = open(&stage, REFUSED, Some(last)).await.into_body();
        assert_eq!(event(&mut stream).await, position(last));
        let shown = event(&mut stream).await;
        assert!(shown.starts_with(&format!("id: {missed}\ndata: ")), "{shown}");
    }
}

#[tokio::test]
async fn attack_199_where_a_reader_of_one_target_has_no_record_no_position_is_told() {
    let stage = Stage::set().await;
    stage.issued("db", |_| {}).await;
    stage.publish().await;
    let mut stream = open(&stage, REFUSED, None).await.into_body();
    assert_eq!(event(&mut stream).await, ": the log is followed\n\n");
}

#[tokio::test]
async fn all_of_the_log_that_has_nothing_to_send_ends_with_the_broker() {
    let stage = Stage::set().await;
    let nothing = "/v1/issuances?format=jsonl&q=tool+%3D+none";
    let whole = to_bytes(open(&stage, nothing, None).await.into_body(), 9).await;
    assert_eq!(whole.expect("whole"), Bytes::new());
    stage.broker.streams.end();
    let broken = to_bytes(open(&stage, nothing, None).await.into_body(), 9).await;
    assert!(broken.is_err(), "a part is not taken for the whole");
}
