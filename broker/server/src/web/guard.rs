//! Who reads, and what they may: judged on each request by the bundle in force.

use axum::{
    body::Body,
    http::{HeaderMap, header, request::Parts},
};
use procura_core::{
    judgement::OperatorAction,
    operator::{self, Operator},
    ports::Ports,
    query::{Scope, readable},
    web,
};
use procura_wire::{Digest, Form, Name, Reason, Secret};

use super::{
    Web,
    answer::{Frame, Stop},
    cookie,
    show::plain,
};
use crate::http::{Door, body};

/// The field of a form's token.
const TOKEN: &str = "token";
const TOKEN_OF: &[u8] = b"procura form token v1\0";

/// Somebody who logged in and may read something.
pub(super) struct Reader {
    pub(super) operator: Operator,
    /// Which targets' records they may read.
    pub(super) scope: Scope,
    token: String,
}

impl Reader {
    /// Errors: [`Stop::LogIn`], and [`Stop::Stranger`] for those that no rule lets read anything.
    pub(super) async fn of(door: &Door, headers: &HeaderMap) -> Result<Self, Stop> {
        door.within_limit()?;
        let web = web(door)?;
        let cookie = cookie::read(headers, cookie::SESSION).ok_or(Stop::LogIn)?;
        let ports = &door.app.ports;
        let operator = match web::operator_of(ports, &*web.store, &cookie).await {
            Err(Reason::V1Unauthenticated | Reason::AuthInsufficient) => return Err(Stop::LogIn),
            found => found?,
        };
        let token = form_token(&cookie);
        match readable(ports, &operator, None) {
            Ok(scope) => Ok(Self { operator, scope, token }),
            Err(Reason::V1Forbidden) => Err(Stop::Stranger(name_of(&operator), token)),
            Err(other) => Err(other.into()),
        }
    }

    /// The same for a form that changes something: it must come from a page of ours, made for this log-in.
    pub(super) async fn of_form(door: &Door, parts: &Parts, body: Body) -> Result<(Self, Form), Stop> {
        same_origin(web(door)?, &parts.headers)?;
        let reader = Self::of(door, &parts.headers).await?;
        let form = read_form(&reader.token, parts, body).await?;
        Ok((reader, form))
    }

    /// Whether they may read records of that target, or of none.
    pub(super) fn reads(&self, ports: &Ports, target: Option<&Name>) -> bool {
        self.scope == Scope::All || (target.is_some() && self.may(ports, OperatorAction::ReadLog, target))
    }

    /// Whether the rules let them.
    pub(super) fn may(&self, ports: &Ports, action: OperatorAction, target: Option<&Name>) -> bool {
        operator::permit(ports, &self.operator, action, target).is_ok()
    }

    /// The targets whose records they read; `None` for all.
    pub(super) fn targets(&self) -> Option<&[Name]> {
        match &self.scope {
            Scope::All => None,
            Scope::Targets(targets) => Some(targets),
        }
    }

    /// What stands around a page for them.
    pub(super) fn frame(&self, door: &Door, section: &'static str, title: impl Into<String>) -> Frame {
        Frame {
            section,
            reader: Some((name_of(&self.operator), self.token.clone())),
            of_all: self.scope == Scope::All,
            ..Frame::bare(door, title)
        }
    }
}

/// The settings of the page.
pub(super) fn web(door: &Door) -> Result<&Web, Stop> {
    door.app.web.as_deref().ok_or(Stop::Reason(Reason::V1NotFound))
}

fn name_of(operator: &Operator) -> String {
    plain(&operator.subject.principal.id().to_string())
}

/// Derived from the cookie's value, which no page of others can read.
pub(super) fn form_token(cookie: &Secret) -> String {
    #[expect(
        clippy::disallowed_methods,
        reason = "a digest is made of it, which does not lead back"
    )]
    let value = cookie.expose().as_bytes();
    Digest::of_parts([TOKEN_OF, value]).to_string()
}

/// Browsers name the origin of every form that is posted.
pub(super) fn same_origin(web: &Web, headers: &HeaderMap) -> Result<(), Stop> {
    let mut origins = headers.get_all(header::ORIGIN).iter();
    let ours = web.origin();
    match (origins.next(), origins.next()) {
        (Some(origin), None) if origin.as_bytes() == ours.as_bytes() => Ok(()),
        _ => Err(Stop::Reason(Reason::HttpOrigin)),
    }
}

/// A form with the token of this log-in.
pub(super) async fn read_form(token: &str, parts: &Parts, body: Body) -> Result<Form, Stop> {
    let mut form = body::form(parts, body).await?;
    let given = form.take(TOKEN, 128)?;
    if given.is_some_and(|given| given == Secret::new(token.to_owned())) {
        Ok(form)
    } else {
        Err(Stop::Reason(Reason::HttpOrigin))
    }
}
