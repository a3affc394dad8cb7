//! Log-ins, log-outs, and forms that somebody else made.

use std::{sync::Arc, time::Duration};

use axum::http::{Request, StatusCode, header};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use procura_core::web::{self, WEB_IDLE, WEB_LIFE, WEB_SESSIONS};
use procura_wire::{Digest, Reason, Secret};

use super::kit::Stage;
use crate::{
    cli::keys::new_secret,
    testing::ISSUER,
    web::{cookie, guard},
};

#[tokio::test]
async fn attack_205_a_form_that_the_page_did_not_make_changes_nothing() {
    let stage = Stage::set().await;
    let (_, session) = stage.issued("api", |_| {}).await;
    let (operator, other) = (stage.log_in("operator").await, stage.log_in("operator").await);
    let path = format!("/ui/sessions/{session}/end");
    let good = format!("token={}", guard::form_token(&operator));
    let of_other = format!("token={}", guard::form_token(&other));
    for (origin, form) in [
        (Some(ISSUER), String::new()),
        (Some(ISSUER), "token=".to_owned()),
        (Some(ISSUER), "token=x".to_owned()),
        (Some(ISSUER), of_other),
        (Some(ISSUER), format!("{good}&{good}")),
        (None, good.clone()),
        (Some("null"), good.clone()),
        (Some("https://evil.example"), good.clone()),
        (Some("http://127.0.0.1:8421"), good.clone()),
        (Some("http://127.0.0.1:8420.evil.example"), good.clone()),
    ] {
        let answer = stage.post_from(&path, Some(&operator), origin, &form).await;
        assert!(answer.status.is_client_error(), "{origin:?} {form}");
        let found = stage
            .broker
            .ports
            .ledger
            .session(session)
            .await
            .expect("read")
            .expect("session");
        assert!(found.ended.is_none(), "{origin:?} {form}");
    }
    let answer = stage.post_from(&path, Some(&operator), Some(ISSUER), &good).await;
    assert_eq!(answer.status, StatusCode::OK, "and one that it made does");
}

#[tokio::test]
async fn attack_205_only_forms_change_and_only_by_post() {
    let stage = Stage::set().await;
    let (_, session) = stage.issued("api", |_| {}).await;
    let operator = stage.log_in("operator").await;
    let path = format!("/ui/sessions/{session}/end");
    let token = guard::form_token(&operator);
    assert_eq!(
        stage
            .get(&format!("{path}?token={token}"), Some(&operator))
            .await
            .status,
        StatusCode::OK
    );
    #[expect(clippy::disallowed_methods, reason = "a browser sends it")]
    let cookie = format!("__Host-procura={}", operator.expose());
    for kind in ["text/plain", "application/json", "multipart/form-data"] {
        let request = Request::post(&path)
            .header(header::CONTENT_TYPE, kind)
            .header(header::ORIGIN, ISSUER)
            .header(header::COOKIE, &cookie);
        let answer = stage.ask(request, format!("token={token}")).await;
        assert!(answer.status.is_client_error(), "{kind}");
    }
    let found = stage
        .broker
        .ports
        .ledger
        .session(session)
        .await
        .expect("read")
        .expect("session");
    assert!(found.ended.is_none());
}

#[tokio::test]
async fn attack_209_a_log_out_ends_the_log_in_at_the_server() {
    let stage = Stage::set().await;
    let (one, other) = (stage.log_in("operator").await, stage.log_in("operator").await);
    let answer = stage.post_from("/ui/logout", Some(&one), Some(ISSUER), "token=x").await;
    assert_eq!(answer.status, StatusCode::FORBIDDEN);
    assert_eq!(stage.get("/ui/", Some(&one)).await.status, StatusCode::OK);
    let answer = stage.post("/ui/logout", Some(&one)).await;
    assert_eq!(answer.status, StatusCode::SEE_OTHER);
    assert!(
        answer.header("set-cookie").starts_with("__Host-procura=; ")
            && answer.header("set-cookie").contains("Max-Age=0")
    );
    assert_eq!(stage.get("/ui/", Some(&one)).await.status, StatusCode::SEE_OTHER);
    assert_eq!(
        stage.get("/ui/", Some(&other)).await.status,
        StatusCode::OK,
        "another browser's stays"
    );
}

#[tokio::test]
async fn attack_209_a_cookie_that_nobody_logged_in_with_is_worth_nothing() {
    let stage = Stage::set().await;
    let made_up = new_secret(stage.broker.ports.entropy.as_ref());
    assert_eq!(stage.get("/ui/", Some(&made_up)).await.status, StatusCode::SEE_OTHER);
    assert_eq!(
        stage.get("/ui/callback?code=x&state=y", Some(&made_up)).await.status,
        StatusCode::BAD_REQUEST
    );
    assert_eq!(stage.get("/ui/", Some(&made_up)).await.status, StatusCode::SEE_OTHER);
}

#[tokio::test]
async fn attack_209_what_has_expired_is_over() {
    let stage = Stage::set().await;
    let store = stage.broker.engine.web();
    let now = stage.broker.ports.now().expect("time");
    let cookie = stage.log_in("operator").await;
    let found = store
        .web_session(cookie.digest())
        .await
        .expect("read")
        .expect("session");
    assert_eq!(found.ends, found.opened + WEB_LIFE);
    let second = Duration::from_secs(1);
    for (name, used, ends, live) in [
        ("idle", now - WEB_IDLE, now + WEB_LIFE, false),
        ("not idle yet", now - WEB_IDLE + 60 * second, now + WEB_LIFE, true),
        ("at its end", now, now, false),
    ] {
        let cookie = new_secret(stage.broker.ports.entropy.as_ref());
        let mut session = found.clone();
        (session.id, session.last_used, session.ends) = (cookie.digest(), used, ends);
        store.open_web(session).await.expect("kept");
        let expected = if live { StatusCode::OK } else { StatusCode::SEE_OTHER };
        assert_eq!(stage.get("/ui/", Some(&cookie)).await.status, expected, "{name}");
    }
}

#[tokio::test]
async fn attack_209_pages_are_not_kept_by_browsers() {
    let stage = Stage::set().await;
    let operator = stage.log_in("operator").await;
    for path in ["/ui/", "/ui/records", "/ui/sessions", "/ui/servers", "/ui/login"] {
        let answer = stage.get(path, Some(&operator)).await;
        assert_eq!(answer.header("cache-control"), "no-store", "{path}");
    }
}

#[tokio::test]
async fn one_person_has_so_many_log_ins_and_the_oldest_goes() {
    let stage = Stage::set().await;
    let mut cookies = Vec::new();
    for _ in 0..=WEB_SESSIONS {
        cookies.push(stage.log_in("operator").await);
        // Which is the oldest is told by the millisecond.
        tokio::time::sleep(Duration::from_millis(3)).await;
    }
    let status = async |cookie: &Secret| stage.get("/ui/", Some(cookie)).await.status;
    assert_eq!(status(&cookies[0]).await, StatusCode::SEE_OTHER);
    assert_eq!(status(&cookies[1]).await, StatusCode::OK);
}

#[tokio::test]
async fn an_id_token_that_an_operators_token_could_not_be_opens_nothing() {
    let stage = Stage::set().await;
    let (ports, store) = (&stage.broker.ports, stage.broker.engine.web());
    let now = ports.clock.now();
    let hour = Duration::from_secs(3600);
    let log_in = async |token| {
        let cookie = new_secret(ports.entropy.as_ref());
        let opened = web::log_in(ports, &*store, Arc::new(token), &cookie).await.map(drop);
        let kept = store.web_session(cookie.digest()).await.expect("read").is_some();
        assert_eq!(opened.is_ok(), kept);
        opened
    };
    let good = || stage.token("operator");
    assert_eq!(log_in(good()).await, Ok(()));
    let mut expired = good();
    expired.expires = now - hour;
    assert_eq!(log_in(expired).await, Err(Reason::JwtExpired));
    let mut long = good();
    long.expires = now + 1000 * hour;
    assert_eq!(log_in(long).await, Err(Reason::JwtLifetime));
    let mut foreign = good();
    foreign.issuer = "corp".parse().expect("name");
    assert!(log_in(foreign).await.is_err());
}

#[tokio::test]
async fn after_a_log_in_one_goes_on_to_a_page_of_ours_or_to_none() {
    let stage = Stage::set().await;
    let link = async |next: &str| {
        let next: String = url::form_urlencoded::byte_serialize(next.as_bytes()).collect();
        let page = stage.get(&format!("/ui/login?next={next}"), None).await.body;
        page.contains("/ui/login/start?next=")
    };
    assert!(link("/ui/records?server=tickets").await);
    for next in [
        "https://evil.example/ui/",
        "//evil.example/ui/",
        "/ui/../../token",
        "/ui/..//evil.example",
        "/ui/\\evil",
        "/ui/a b",
        "/uix/",
        "/token",
        "javascript:alert(1)",
        "",
    ] {
        assert!(!link(next).await, "{next}");
    }
    let to = stage.get("/ui/records?server=a%26b", None).await;
    assert_eq!(
        to.header("location"),
        "/ui/login?next=%2Fui%2Frecords%3Fserver%3Da%2526b"
    );
}

#[tokio::test]
async fn without_web_in_the_configuration_there_is_no_page() {
    let (broker, _folder) = crate::testing::broker().await;
    let routes = crate::http::public(broker.app(&ISSUER.parse().expect("url"), None), "/");
    for path in ["/ui", "/ui/", "/ui/login", "/ui/style.css"] {
        let request = Request::get(path).header(header::HOST, "127.0.0.1:8420");
        let request = request.body(axum::body::Body::empty()).expect("request");
        let answer = tower::ServiceExt::oneshot(routes.clone(), request)
            .await
            .expect("answer");
        assert_eq!(answer.status(), StatusCode::NOT_FOUND, "{path}");
    }
}

/// Anybody can make up a cookie and the state that fits it.
#[tokio::test]
async fn attack_209_a_log_in_that_a_stranger_made_up_leaves_nothing_behind() {
    let stage = Stage::set().await;
    for at in [stage.broker.ports.clock.now().as_second(), i64::MAX, 253_402_207_200] {
        let cookie = format!("{at}.x.");
        let state = Digest::of_parts([b"procura log-in state v1\0", cookie.as_bytes()]);
        let state = BASE64_URL_SAFE_NO_PAD.encode(state.as_bytes());
        let mut seen = Vec::new();
        for _ in 0..2 {
            let request = Request::get(format!("/ui/callback?code=x&state={state}"));
            let request = request.header(header::COOKIE, format!("{}={cookie}", cookie::LOGGING_IN));
            seen.push(stage.ask(request, String::new()).await.status);
        }
        // The issuer is asked, which there is none of here; as if for the first time.
        let expected = match at < 253_402_207_200 {
            true => StatusCode::SERVICE_UNAVAILABLE,
            false => StatusCode::BAD_REQUEST,
        };
        assert_eq!(seen, [expected; 2], "{at}");
    }
}
