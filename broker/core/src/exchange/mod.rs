//! The exchange: one direction through identity, judgement, mint, check and record. Each room takes
//! what the one before made, so that a skipped room does not compile.

mod actor;
mod admit;
mod bind;
mod check;
mod demands;
mod id_jag;
mod identify;
mod judge;
pub(crate) mod limit;
mod mint;
mod reads;
mod refuse;
mod register;
mod reuse;
mod session;

use procura_wire::{FormFault, Name, Reason, Secret, TokenType};
use serde_json::Value;

pub(crate) use admit::use_up;
pub use admit::{Admitted, admit, admit_at_once};
pub(crate) use demands::check_log_in;
pub use identify::check_token;
pub(crate) use identify::{check_organisation, check_times, principal};
pub(crate) use mint::UNDO_WAIT;
pub use reads::same_uri;
pub use refuse::{Explanation, Refused};
pub(crate) use refuse::{is_suspended, is_suspended_agent, store_reason};
pub use reuse::Reuse;

use crate::{
    identity::Confirmation,
    ids::{IssuanceId, SessionId},
    ledger::Event,
    ports::Ports,
    request::{Incoming, TokenRequest},
};

/// A credential that is in the log and may leave.
#[derive(Debug)]
pub struct Issued {
    /// The token or credential document.
    pub value: Secret,
    /// What it is.
    pub issued_type: TokenType,
    /// The key that it is bound to.
    pub confirmation: Option<Confirmation>,
    /// Seconds until it ends.
    pub expires_in: u64,
    /// The grants' short names.
    pub scope: Vec<Name>,
    /// The RFC 9396 object as granted.
    pub details: Option<Value>,
    /// The session.
    pub session: SessionId,
    /// The record.
    pub issuance: IssuanceId,
    /// Must not be served from a cache.
    pub per_call: bool,
}

/// Carries one request through all rooms. Whatever fails after the server was authenticated is a
/// record; what fails before it is not.
pub async fn exchange(ports: &Ports, incoming: Incoming<Result<TokenRequest, FormFault>>) -> Result<Issued, Refused> {
    let (mut admitted, request) = admit(ports, incoming, Event::Exchange).await?;
    match through(ports, &mut admitted, request).await {
        Ok(issued) => Ok(issued),
        Err(stop) => Err(refuse::refuse(ports, admitted, stop).await),
    }
}

async fn through(
    ports: &Ports,
    admitted: &mut Admitted,
    request: Result<TokenRequest, FormFault>,
) -> Result<Issued, refuse::Stop> {
    limit::server(ports, admitted)?;
    bind::prove(ports, admitted)?;
    let mut request = request?;
    reads::note_request(&mut admitted.draft, &request);
    let caller = identify::identify(ports, admitted, &mut request).await?;
    let permit = judge::judge(ports, admitted, caller, &request).await?;
    let made = mint::mint(ports, admitted, permit, &request).await?;
    let checked = check::check(ports, admitted, made).await?;
    register::register(ports, admitted, checked).await
}

impl From<Reason> for refuse::Stop {
    fn from(reason: Reason) -> Self {
        Self::of(reason)
    }
}

impl From<FormFault> for refuse::Stop {
    fn from(fault: FormFault) -> Self {
        Self {
            param: fault.param,
            ..Self::of(fault.reason)
        }
    }
}
