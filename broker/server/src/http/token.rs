//! What servers ask: exchange, revocation, introspection, reports of uses.

use std::{future::Future, sync::Arc};

use axum::{
    Json,
    body::Body,
    extract::Request,
    http::{HeaderMap, StatusCode, header, request::Parts},
    response::{IntoResponse, Response},
};
use procura_core::{
    exchange,
    identity::ClientCredentials,
    introspect,
    request::{Incoming, TokenRequest},
    revoke::{self, RevokeRequest},
    uses,
};
use procura_wire::{Form, FormFault, Reason, Secret, UseReports};

use super::{
    body,
    door::Door,
    reply::{self, Challenge, Refusal},
    unbroken::Unbroken,
};
use crate::telemetry;

/// Longest value of `token` at `/introspect`, bytes.
const MAX_TOKEN: usize = 64 * 1024;
/// Longest value of `reports` at `/v1/uses`, bytes: all that a body holds.
const MAX_REPORTS: usize = 256 * 1024;

/// `POST /token` (RFC 8693 section 2).
pub(crate) async fn token(door: Door, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let clock = &door.app.ports.clock;
    let began = clock.monotonic();
    let answer = exchange(&door, &parts, body).await;
    telemetry::exchange(
        answer.as_ref().map(|_| ()).map_err(Refusal::reason),
        clock.monotonic() - began,
    );
    match answer {
        Ok((issued, false)) => reply::issued(&issued, None),
        Ok((issued, true)) => reply::issued(&issued, Some(door.receipt(issued.issuance).await)),
        Err(refusal) => door.refuse(refusal.with(body::challenge(&parts.headers))),
    }
}

/// Answers also whether a receipt is wanted.
async fn exchange(door: &Door, parts: &Parts, body: Body) -> Result<(exchange::Issued, bool), Refusal> {
    door.within_limit()?;
    let mut form = body::form(parts, body).await?;
    let credentials = door.proof(&parts.headers, body::credentials(&parts.headers, &mut form)?)?;
    let receipt = wants_receipt(&mut form);
    let request = TokenRequest::read(&mut form).and_then(|request| receipt.clone().map(|_| request));
    // Reading ends at the first fault: what is left then is not unknown.
    let names = request.as_ref().map_or_else(|_| Vec::new(), |_| unknown(&form));
    let incoming = Incoming {
        proof: door.proof.clone(),
        ..door.incoming(credentials, request)
    };
    let ports = Arc::clone(&door.app.ports);
    let answer = door
        .tracked(async move { exchange::exchange(&ports, incoming).await })
        .await;
    let authenticated = answer.as_ref().err().is_none_or(|refusal| !refusal.is_unrecorded());
    if authenticated && !names.is_empty() {
        tracing::info!(?names, trace_id = door.trace, "unknown parameters ignored");
    }
    Ok((answer?, receipt.unwrap_or(false)))
}

/// `receipt`: whether the answer says where the record stands in the log.
fn wants_receipt(form: &mut Form) -> Result<bool, FormFault> {
    let receipt = form.take("receipt", "false".len())?;
    #[expect(
        clippy::disallowed_methods,
        reason = "a choice is no secret; forms hold nothing else"
    )]
    let receipt = receipt.as_ref().map(Secret::expose);
    match receipt {
        None | Some("false") => Ok(false),
        Some("true") => Ok(true),
        Some(_) => Err(FormFault::of(Reason::ParamMalformed, "receipt")),
    }
}

/// `POST /revoke` (RFC 7009).
pub(crate) async fn revoke(door: Door, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let work = async {
        door.within_limit()?;
        let mut form = body::form(&parts, body).await?;
        let credentials = door.proof(&parts.headers, body::credentials(&parts.headers, &mut form)?)?;
        let incoming = door.incoming(credentials, RevokeRequest::read(&mut form));
        let ports = Arc::clone(&door.app.ports);
        door.tracked(async move { revoke::revoke(&ports, incoming).await })
            .await
    };
    door.answer(work.await.map(Json), body::challenge(&parts.headers))
}

/// `POST /introspect` (RFC 7662).
pub(crate) async fn introspect(door: Door, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let work = async {
        door.within_limit()?;
        let mut form = body::form(&parts, body).await?;
        let credentials = door.proof(&parts.headers, body::credentials(&parts.headers, &mut form)?)?;
        let incoming = door.incoming(credentials, form.require("token", MAX_TOKEN));
        introspect::introspect(&door.app.ports, incoming)
            .await
            .map_err(Refusal::from)
    };
    door.answer(work.await.map(Json), body::challenge(&parts.headers))
}

/// `POST /v1/uses`
pub(crate) async fn uses(door: Door, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let work = async {
        door.within_limit()?;
        let (credentials, reports) = reported(&parts, body).await?;
        let credentials = door.proof(&parts.headers, credentials)?;
        let incoming = door.incoming(credentials, reports);
        let ports = Arc::clone(&door.app.ports);
        door.tracked(async move { uses::report(&ports, incoming).await }).await
    };
    door.answer(work.await.map(|()| StatusCode::NO_CONTENT), Challenge::Basic)
}

/// Reports as a JSON body with HTTP Basic; or the same JSON as the parameter `reports` of a form, whose other
/// parameters say who calls as at `/token` (RFC 7521 section 4.2 knows assertions in forms only).
async fn reported(parts: &Parts, body: Body) -> Result<(ClientCredentials, Result<UseReports, Reason>), FormFault> {
    let read = |json: &[u8]| serde_json::from_slice(json).map_err(|_| Reason::UsesInvalid);
    if !body::is_media_type(&parts.headers, body::FORM) {
        let body = body::json(parts, body).await?;
        return Ok((body::basic(&parts.headers)?, read(&body)));
    }
    let mut form = body::form(parts, body).await?;
    let credentials = body::credentials(&parts.headers, &mut form)?;
    let reports = form.require("reports", MAX_REPORTS)?;
    #[expect(
        clippy::disallowed_methods,
        reason = "reports of uses are no secrets; forms hold nothing else"
    )]
    let reports = read(reports.expose().as_bytes());
    Ok((credentials, reports))
}

/// Most names of unknown parameters that are logged, and most characters of each.
const MAX_NAMES: (usize, usize) = (8, 64);

/// Names of parameters that nobody reads, never their values.
fn unknown(form: &Form) -> Vec<String> {
    let names = form.rest().take(MAX_NAMES.0);
    names.map(|name| name.chars().take(MAX_NAMES.1).collect()).collect()
}

impl Door {
    /// What the caller proves itself by. A certificate does not do it from a header that is not believed, nor in the
    /// place of an Authorization that cannot be read.
    fn proof(&self, headers: &HeaderMap, credentials: ClientCredentials) -> Result<ClientCredentials, Reason> {
        match credentials {
            ClientCredentials::None if headers.contains_key(header::AUTHORIZATION) => {
                Err(Reason::ClientUnauthenticated)
            }
            ClientCredentials::Id(_) | ClientCredentials::None if self.spoofed => Err(Reason::ClientHeaderSpoof),
            credentials => Ok(credentials),
        }
    }

    fn incoming<T>(&self, credentials: ClientCredentials, body: T) -> Incoming<T> {
        Incoming {
            credentials,
            certificates: self.certificates.clone(),
            proof: None,
            body,
            trace_id: self.trace.clone(),
            address: self.peer,
        }
    }

    /// Runs work to its end even when the caller goes away, so that a mint is never cut half-way.
    pub(crate) async fn tracked<T, E>(
        &self,
        work: impl Future<Output = Result<T, E>> + Send + 'static,
    ) -> Result<T, Refusal>
    where
        T: Send + 'static,
        E: Send + Into<Refusal> + 'static,
    {
        Unbroken::new(work, &self.app.requests).await.map_err(Into::into)
    }

    pub(super) fn answer(&self, answer: Result<impl IntoResponse, Refusal>, challenge: Challenge) -> Response {
        match answer {
            Ok(answer) => answer.into_response(),
            Err(refusal) => self.refuse(refusal.with(challenge)),
        }
    }
}
