//! The minter of one role.

use std::{sync::Arc, time::Duration};

use aws_sdk_sts::{
    operation::assume_role::AssumeRoleOutput,
    types::{Credentials, PolicyDescriptorType, Tag},
};
use procura_core::{
    Timestamp,
    ids::Handle,
    kind::{MintError, MintOrder, Minted, Minter, ProofError, RotateError, Rotated, UndoError, Undoable},
    ports::BoxFuture,
    source::{RotationError, SourceSecret},
};
use procura_wire::Secret;
use serde_json::{Map, Value, json};

use crate::{
    access::{Access, Login, unlogged},
    fault::Fault,
    request::{LATE, Request, seconds},
    revoke, rotate,
};

/// How long an undo, a probe or an inventory may take before it is asked for again.
const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) struct AwsMinter {
    pub(crate) access: Access,
    pub(crate) installation: String,
}

impl Minter for AwsMinter {
    /// AWS takes no deadline, so there is none by its clock.
    fn prepare(&self, _: Duration) -> BoxFuture<'_, Result<Option<Timestamp>, MintError>> {
        Box::pin(async { Ok(None) })
    }

    fn mint<'a>(&'a self, order: MintOrder<'a>) -> BoxFuture<'a, Result<Minted, MintError>> {
        Box::pin(self.make(order))
    }

    fn undo<'a>(&'a self, Undoable { handle, .. }: Undoable<'a>) -> BoxFuture<'a, Result<(), UndoError>> {
        Box::pin(async move {
            if !self.access.settings.revokes {
                return Err(UndoError::Never);
            }
            if Handle::parse(&self.installation, handle.as_str()).is_none() {
                return Err(UndoError::Failed(format!(
                    "{handle:?} is no session of this installation"
                )));
            }
            self.patiently(|login| revoke::deny(login, self, handle)).await
        })
    }

    fn probe(&self) -> BoxFuture<'_, Result<(), UndoError>> {
        Box::pin(self.patiently(|login| self.look(login)))
    }

    /// Sessions cannot be listed.
    fn inventory(&self) -> BoxFuture<'_, Result<Vec<Handle>, UndoError>> {
        Box::pin(async { Ok(Vec::new()) })
    }

    /// Denials of sessions that have long ended by themselves.
    fn tidy(&self) -> BoxFuture<'_, Result<(), UndoError>> {
        Box::pin(async move {
            match self.access.settings.revokes {
                true => self.patiently(|login| revoke::clear(login, self)).await,
                false => Ok(()),
            }
        })
    }

    /// That AWS knows the key, and what the probe looks at. The role itself is not taken: that would make a session which
    /// stands in no record.
    fn prove<'a>(&'a self, secret: Arc<SourceSecret>) -> BoxFuture<'a, Result<(), ProofError>> {
        Box::pin(async move {
            let login = self.access.log_in(&secret);
            let login = login.map_err(|fault| ProofError::Refused(fault.to_string()))?;
            unlogged(self.look(login)).await.map_err(|fault| match fault {
                Fault::Other(problem) => ProofError::Refused(problem),
                fault if fault.is_refusal() => ProofError::Refused(fault.to_string()),
                fault => ProofError::Failed(fault.to_string()),
            })
        })
    }

    fn rotate(&self) -> BoxFuture<'_, Result<Rotated, RotateError>> {
        Box::pin(rotate::rotate(self))
    }

    fn retire<'a>(
        &'a self,
        old: Arc<SourceSecret>,
        active: Arc<SourceSecret>,
    ) -> BoxFuture<'a, Result<(), ProofError>> {
        Box::pin(async move { rotate::retire(self, &old, &active).await })
    }
}

impl AwsMinter {
    async fn make(&self, order: MintOrder<'_>) -> Result<Minted, MintError> {
        let request = Request::of(&order, &self.access.settings).map_err(MintError::Failed)?;
        let made = self.access.with(order.deadline, |login| {
            // Of what is left now: the source may have been waited for.
            let seconds = seconds(order.plan.end, self.access.clock.now());
            assume(login, &request, seconds)
        });
        let made = made.await;
        let (made, version) = made.map_err(mint_error)?;
        let unknown = |what: &str| MintError::Uncertain(format!("AWS answers without {what}"));
        let credentials = made.credentials.ok_or_else(|| unknown("credentials"))?;
        let lapses = expiration(&credentials).ok_or_else(|| unknown("a time at which they end"))?;
        let arn = made.assumed_role_user.map(|user| user.arn).unwrap_or_default();
        let role = role_of(&arn, order.handle).ok_or_else(|| unknown("the session's name"))?;
        let end = end(order.plan.end, lapses);
        Ok(Minted {
            value: document(&credentials, end),
            rights: request.rights(role),
            end,
            lapses: Some(lapses),
            receipt: None,
            known_as: None,
            source_version: Some(version),
            details: details(order),
        })
    }

    /// Whether the key is good, and what the role lacks where sessions are ended early.
    async fn look(&self, login: Login) -> Result<(), Fault> {
        login.sts.get_caller_identity().send().await?;
        match self.access.settings.revokes {
            true => revoke::look(login, &self.access.settings).await,
            false => Ok(()),
        }
    }

    async fn patiently<'a, T, Done>(&'a self, work: impl Fn(Login) -> Done + Send + Sync + 'a) -> Result<T, UndoError>
    where
        T: Send + 'a,
        Done: Future<Output = Result<T, Fault>> + Send + 'a,
    {
        let deadline = self.access.clock.monotonic() + PATIENCE;
        let outcome = self.access.with(deadline, work).await;
        outcome.map_err(|error| match error {
            RotationError::Source(error) => UndoError::Failed(error.to_string()),
            RotationError::Refused(problem) => UndoError::Failed(format!("the broker's key is refused: {problem}")),
            RotationError::Failed(fault) => UndoError::Failed(fault.to_string()),
        })
    }
}

async fn assume(
    login: Login,
    request: &Request,
    seconds: Result<i32, String>,
) -> Result<(AssumeRoleOutput, String), Fault> {
    let tag = |(key, value): &(String, String)| Tag::builder().key(key).value(value).build();
    let tags: Result<Vec<_>, _> = request.tags.iter().map(tag).collect();
    let arns = request
        .policy_arns
        .iter()
        .map(|arn| PolicyDescriptorType::builder().arn(arn).build())
        .collect();
    let asked = login
        .sts
        .assume_role()
        .role_arn(&request.role_arn)
        .set_external_id(request.external_id.clone())
        .role_session_name(&request.name)
        .source_identity(&request.name)
        .duration_seconds(seconds.map_err(Fault::Other)?)
        .policy(&request.policy)
        .set_policy_arns(Some(arns))
        .set_tags(Some(tags.map_err(|error| Fault::Other(error.to_string()))?))
        .set_transitive_tag_keys(Some(request.tags.iter().map(|(key, _)| key.clone()).collect()));
    Ok((asked.send().await?, login.version))
}

fn mint_error(error: RotationError<Fault>) -> MintError {
    match error {
        RotationError::Source(error) => MintError::Source(error.to_string()),
        RotationError::Refused(problem) => MintError::Refused(problem),
        RotationError::Failed(fault) if fault.is_unknown() => MintError::Uncertain(fault.to_string()),
        RotationError::Failed(fault) => MintError::Failed(fault.to_string()),
    }
}

fn expiration(credentials: &Credentials) -> Option<Timestamp> {
    let time = credentials.expiration();
    Timestamp::new(time.secs(), i32::try_from(time.subsec_nanos()).ok()?).ok()
}

/// A session that lapses a moment after its plan, because clocks differ or the request was long on its way, is ended with
/// it by the broker. One that lapses much later is longer than was asked.
fn end(plan: Timestamp, lapses: Timestamp) -> Timestamp {
    match lapses.duration_since(plan).as_secs() < LATE {
        true => lapses.min(plan),
        false => lapses,
    }
}

/// Account and name of the role in `arn:PARTITION:sts::ACCOUNT:assumed-role/NAME/SESSION`, if the session is ours.
fn role_of(arn: &str, handle: &Handle) -> Option<String> {
    let mut parts = arn.splitn(6, ':').skip(4);
    let (account, resource) = (parts.next()?, parts.next()?);
    let role = resource.strip_prefix("assumed-role/")?.strip_suffix(handle.as_str())?;
    Some(format!("{account}/{}", role.strip_suffix('/')?))
}

/// What `credential_process` prints, version 1.
fn document(credentials: &Credentials, end: Timestamp) -> Secret {
    let whole = Timestamp::from_second(end.as_second()).unwrap_or(end);
    let document = json!({
        "Version": 1,
        "AccessKeyId": credentials.access_key_id(),
        "SecretAccessKey": credentials.secret_access_key(),
        "SessionToken": credentials.session_token(),
        "Expiration": whole.to_string(),
    });
    Secret::new(document.to_string())
}

/// The parameters, which are what narrows the role beside the grant's own statements.
fn details(order: MintOrder<'_>) -> Map<String, Value> {
    match serde_json::to_value(&order.plan.params) {
        Ok(Value::Object(params)) => params,
        _ => Map::new(),
    }
}
