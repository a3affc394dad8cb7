//! What operators and auditors ask: the log, sessions, leases.

pub(crate) mod reports;

use axum::{
    Json,
    extract::{Path, RawQuery},
    http::{HeaderMap, header},
    response::Response,
};
use procura_core::{
    identity::PresentedToken,
    ids::{IssuanceId, SessionId},
    judgement::OperatorAction,
    ledger::{StoreError, Stored},
    operator::{self, Operator},
    possession::Presented,
    rotate, timeline, undo, whois,
};
use procura_wire::{Digest, Name, Reason, Secret, TokenType};
use serde_json::{Value, json};

use super::{
    door::Door,
    filters::Query,
    reply::{Challenge, Refusal},
    views,
};

/// `GET /v1/issuances/{id}`
pub(crate) async fn issuance(door: Door, headers: HeaderMap, Path(id): Path<String>) -> Response {
    let work = async {
        let record = door.readable(&headers, &id).await?;
        record.as_ref().map(views::record).ok_or(Reason::V1NotFound.into())
    };
    door.json(work.await)
}

/// `GET /v1/bundles/{digest}`: the bytes whose SHA-256 stands in records, of a bundle that was ever in
/// force. They say of all targets who may have what.
pub(crate) async fn bundle(door: Door, headers: HeaderMap, Path(digest): Path<String>) -> Response {
    let work = async {
        let operator = door.operator(&headers).await?;
        let ports = &door.app.ports;
        operator::permit(ports, &operator, OperatorAction::ExplainPolicy, None)?;
        let digest: Digest = digest.parse().map_err(|_| Reason::V1NotFound)?;
        let content = ports.ledger.bundle(digest).await.map_err(unavailable)?;
        content.ok_or_else(|| Reason::V1NotFound.into())
    };
    let answer = work
        .await
        .map(|content| ([(header::CONTENT_TYPE, "application/octet-stream")], content));
    door.answer(answer, Challenge::Bearer)
}

/// `GET /v1/sessions`: newest first.
pub(crate) async fn sessions(door: Door, headers: HeaderMap, RawQuery(query): RawQuery) -> Response {
    let work = async {
        door.reader(&headers, None).await?;
        let mut query = Query::read(query.as_deref()).and_then(Query::sessions)?;
        if query.live {
            query.filter.live_at = Some(door.app.ports.now()?);
        }
        let ledger = &door.app.ports.ledger;
        let found = ledger.sessions(query.filter, query.before, query.limit).await;
        let found = found.map_err(unavailable)?;
        let next = next(&found, query.limit, |session| session.id.to_string());
        let found: Vec<_> = found.iter().map(views::session).collect();
        Ok(json!({"sessions": found, "next": next}))
    };
    door.json(work.await)
}

/// `GET /v1/sessions/{id}`: with what it holds and what happened in it.
pub(crate) async fn session(door: Door, headers: HeaderMap, Path(id): Path<String>) -> Response {
    let work = async {
        door.reader(&headers, None).await?;
        let (id, ports) = (session_id(&id)?, &door.app.ports);
        let found = ports.ledger.session(id).await.map_err(unavailable)?;
        let mut view = views::session(&found.ok_or(Reason::V1NotFound)?);
        let held = ports.ledger.held(id, ports.now()?).await.map_err(unavailable)?;
        view["holds"] = held.iter().map(views::held).collect();
        let timeline = timeline::timeline(ports, id).await.map_err(unavailable)?;
        view["timeline"] = timeline.steps.iter().map(views::step).collect();
        view["timeline_whole"] = timeline.whole.into();
        Ok(view)
    };
    door.json(work.await)
}

/// `DELETE /v1/sessions/{id}`: ends it and answers what became of what it held.
pub(crate) async fn end_session(door: Door, headers: HeaderMap, Path(id): Path<String>) -> Response {
    let work = async {
        let operator = door.operator(&headers).await?;
        let (id, ports, trace) = (session_id(&id)?, door.app.ports.clone(), door.trace.clone());
        let ended = door.tracked(async move { operator::end_session(&ports, &operator, id, trace).await });
        let report = ended.await?;
        let report = report.ok_or(Reason::V1NotFound)?;
        serde_json::to_value(report).map_err(|_| Reason::ServerError.into())
    };
    door.json(work.await)
}

/// `GET /v1/leases`: newest first.
pub(crate) async fn leases(door: Door, headers: HeaderMap, RawQuery(query): RawQuery) -> Response {
    let work = async {
        let read = Query::read(query.as_deref()).and_then(Query::leases);
        let target = read.as_ref().ok().and_then(|(filter, _)| filter.target.clone());
        door.reader(&headers, target.as_ref()).await?;
        let (filter, page) = read?;
        let found = door.app.ports.ledger.leases(filter, page).await.map_err(unavailable)?;
        let next = next(&found, page.limit, |lease| lease.id.to_string());
        let found: Vec<_> = found.iter().map(views::lease).collect();
        Ok(json!({"leases": found, "next": next}))
    };
    door.json(work.await)
}

/// `GET /v1/whois`: the issuance behind a handle, a digest or an id. What the operator may not read is
/// answered as what there is not.
pub(crate) async fn whois(door: Door, headers: HeaderMap, RawQuery(query): RawQuery) -> Response {
    let work = async {
        let operator = door.operator(&headers).await?;
        let clue = Query::read(query.as_deref()).and_then(Query::whois)?;
        let traced = whois::whois(&door.app.ports, &operator, clue).await?;
        Ok(views::traced(&traced))
    };
    door.json(work.await)
}

/// `GET /v1/inventory`: what external targets have that the store does not know.
pub(crate) async fn inventory(door: Door, headers: HeaderMap) -> Response {
    let work = async {
        door.reader(&headers, None).await?;
        let targets = undo::unknown(&door.app.ports).await.map_err(unavailable)?;
        Ok(json!({ "targets": targets }))
    };
    door.json(work.await)
}

/// `DELETE /v1/leases/{id}`: undoes one credential.
pub(crate) async fn undo_lease(door: Door, headers: HeaderMap, Path(id): Path<String>) -> Response {
    let work = async {
        let operator = door.operator(&headers).await?;
        let id: IssuanceId = id.parse().map_err(|_| Reason::V1NotFound)?;
        let (ports, trace) = (door.app.ports.clone(), door.trace.clone());
        let undone = door.tracked(async move { operator::undo_lease(&ports, &operator, id, trace).await });
        let report = undone.await?;
        let report = report.ok_or(Reason::V1NotFound)?;
        serde_json::to_value(report).map_err(|_| Reason::ServerError.into())
    };
    door.json(work.await)
}

/// `POST /v1/targets/{name}/rotate`: rotates the broker's own credential there. What could not be done is an answer too.
pub(crate) async fn rotate(door: Door, headers: HeaderMap, Path(name): Path<String>) -> Response {
    let work = async {
        let operator = door.operator(&headers).await?;
        let name: Name = name.parse().map_err(|_| Reason::V1NotFound)?;
        let (ports, trace) = (door.app.ports.clone(), door.trace.clone());
        let rotated = door.tracked(async move { rotate::rotate(&ports, &operator, &name, trace).await });
        let report = rotated.await?.ok_or(Reason::V1NotFound)?;
        serde_json::to_value(report).map_err(|_| Reason::ServerError.into())
    };
    door.json(work.await)
}

impl Door {
    /// The operator behind the token, which is a bearer's or comes with its proof.
    pub(super) async fn operator(&self, headers: &HeaderMap) -> Result<Operator, Refusal> {
        self.within_limit()?;
        let (token, dpop) = access_token(headers).ok_or(Reason::V1Unauthenticated)?;
        let presented = Presented {
            token: &token,
            dpop,
            proof: self.proof.as_deref(),
            certificates: self.certificates.as_deref(),
        };
        Ok(operator::authenticate(&self.app.ports, presented).await?)
    }

    /// A record that the operator behind the token may read; `None` where there is none.
    pub(super) async fn readable(&self, headers: &HeaderMap, id: &str) -> Result<Option<Stored>, Refusal> {
        let operator = self.operator(headers).await?;
        let ports = &self.app.ports;
        let record = match id.parse::<IssuanceId>() {
            Ok(id) => ports.ledger.record(id).await.map_err(unavailable)?,
            Err(_) => None,
        };
        // Who may read one target's records learns nothing of others: not even whether they exist.
        let target = record.as_ref().and_then(|record| record.index.target.as_ref());
        let all = operator::permit(ports, &operator, OperatorAction::ReadLog, None);
        all.or_else(|_| operator::permit(ports, &operator, OperatorAction::ReadLog, target))?;
        Ok(record)
    }

    /// The operator behind the bearer token, where a rule lets it read a target's records, or all.
    pub(super) async fn reader(&self, headers: &HeaderMap, target: Option<&Name>) -> Result<Operator, Refusal> {
        let operator = self.operator(headers).await?;
        operator::permit(&self.app.ports, &operator, OperatorAction::ReadLog, target)?;
        Ok(operator)
    }

    pub(super) fn json(&self, answer: Result<Value, Refusal>) -> Response {
        self.answer(answer.map(Json), Challenge::Bearer)
    }
}

/// The one token of the Authorization header (RFC 6750 section 2.1, RFC 9449 section 7.1), and whether its scheme is
/// DPoP; never from query or body.
fn access_token(headers: &HeaderMap) -> Option<(PresentedToken, bool)> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let (Some(value), None) = (values.next(), values.next()) else {
        return None;
    };
    let (scheme, token) = value.to_str().ok()?.split_once(' ')?;
    let token = token.trim();
    let dpop = scheme.eq_ignore_ascii_case("dpop");
    let known = dpop || scheme.eq_ignore_ascii_case("bearer");
    (known && !token.is_empty()).then(|| {
        let token = PresentedToken {
            value: Secret::new(token.to_owned()),
            declared: TokenType::AccessToken,
        };
        (token, dpop)
    })
}

fn session_id(text: &str) -> Result<SessionId, Refusal> {
    text.parse().map_err(|_| Reason::V1NotFound.into())
}

/// Where the next page begins, if this one is full.
fn next<T>(found: &[T], limit: u32, id: impl Fn(&T) -> String) -> Option<String> {
    let full = u32::try_from(found.len()).is_ok_and(|count| count == limit);
    found.last().filter(|_| full).map(id)
}

pub(super) fn unavailable(error: StoreError) -> Refusal {
    match error {
        StoreError::Unavailable => Reason::AuditUnavailable,
        StoreError::Overloaded => Reason::Overloaded,
        StoreError::Inconsistent => Reason::ServerError,
    }
    .into()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether the scheme is DPoP, where the one token is `t`.
    fn scheme(values: &[&'static str]) -> Option<bool> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(header::AUTHORIZATION, header::HeaderValue::from_static(value));
        }
        let (token, dpop) = access_token(&headers)?;
        (token.value == Secret::new("t".into())).then_some(dpop)
    }

    #[test]
    fn req_016_only_one_token_in_the_header_counts() {
        assert_eq!(scheme(&["Bearer t"]), Some(false));
        assert_eq!(scheme(&["bearer  t"]), Some(false));
        assert_eq!(scheme(&["DPoP t"]), Some(true));
        assert_eq!(scheme(&["dpop t"]), Some(true));
        for bad in [
            &[][..],
            &["Bearer"],
            &["Bearer "],
            &["Basic t"],
            &["Bearer t", "Bearer t"],
            &["DPoP t", "Bearer t"],
        ] {
            assert_eq!(scheme(bad), None, "{bad:?}");
        }
    }
}
