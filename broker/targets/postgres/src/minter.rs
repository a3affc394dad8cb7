//! The minter of one PostgreSQL target.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use procura_core::{
    Timestamp,
    ids::Handle,
    kind::{MintError, MintOrder, Minted, Minter, ProofError, RotateError, Rotated, UndoError, Undoable},
    ports::{BoxFuture, Entropy},
    source::{RotationError, SourceSecret},
};
use serde_json::{Map, Value};

use crate::{
    access::{Access, Login, before},
    document::document,
    fault::Fault,
    mint::{Made, Making, mint},
    probe, rotate,
    scram::new_password,
    settings::rights,
    undo::undo,
};

/// How long an undo, a probe or an inventory may take before it is asked for again.
const PATIENCE: Duration = Duration::from_secs(20);
/// How often a mint is tried while others change the same rows of the catalogues, or end connections.
const ATTEMPTS: u32 = 5;

pub(crate) struct PostgresMinter {
    pub(crate) access: Access,
    pub(crate) entropy: Arc<dyn Entropy>,
    pub(crate) installation: String,
}

impl Minter for PostgresMinter {
    fn prepare(&self, budget: Duration) -> BoxFuture<'_, Result<Option<Timestamp>, MintError>> {
        Box::pin(async move {
            let deadline = self.access.clock.monotonic() + budget;
            let now = self
                .access
                .with(deadline, move |login| self.server_time(login, deadline));
            Ok(Some(now.await.map_err(nothing_made)? + budget))
        })
    }

    fn mint<'a>(&'a self, order: MintOrder<'a>) -> BoxFuture<'a, Result<Minted, MintError>> {
        Box::pin(self.make(order))
    }

    fn undo<'a>(&'a self, Undoable { handle, .. }: Undoable<'a>) -> BoxFuture<'a, Result<(), UndoError>> {
        Box::pin(async move {
            if Handle::parse(&self.installation, handle.as_str()).is_none() {
                return Err(UndoError::Failed(format!("{handle:?} is no role of this installation")));
            }
            self.patiently(|login| undo(login, handle)).await
        })
    }

    fn probe(&self) -> BoxFuture<'_, Result<(), UndoError>> {
        Box::pin(async move {
            let settings = &self.access.settings;
            let problems = self.patiently(move |login| probe::problems(login, settings)).await?;
            match problems.is_empty() {
                true => Ok(()),
                false => Err(UndoError::Failed(problems.join("; "))),
            }
        })
    }

    fn inventory(&self) -> BoxFuture<'_, Result<Vec<Handle>, UndoError>> {
        Box::pin(async move {
            let names = self.patiently(|login| self.roles(login)).await?;
            let handles = names.iter().filter_map(|name| Handle::parse(&self.installation, name));
            Ok(handles.collect())
        })
    }

    fn prove<'a>(&'a self, secret: Arc<SourceSecret>) -> BoxFuture<'a, Result<(), ProofError>> {
        Box::pin(async move { rotate::prove(self, &secret).await })
    }

    fn rotate(&self) -> BoxFuture<'_, Result<Rotated, RotateError>> {
        Box::pin(async {
            let clock = &*self.access.clock;
            let late = || Err(RotateError::Failed(Fault::Late.to_string()));
            let rotated = before(clock, clock.monotonic() + PATIENCE, rotate::rotate(self)).await;
            rotated.unwrap_or_else(late)
        })
    }

    fn retire<'a>(
        &'a self,
        old: Arc<SourceSecret>,
        active: Arc<SourceSecret>,
    ) -> BoxFuture<'a, Result<(), ProofError>> {
        Box::pin(async move { rotate::retire(self, &old, &active).await })
    }
}

impl PostgresMinter {
    async fn make(&self, order: MintOrder<'_>) -> Result<Minted, MintError> {
        let (password, verifier) = new_password(&*self.entropy);
        let making = self
            .making(order, &verifier)
            .map_err(|fault| MintError::Failed(fault.to_string()))?;
        let outcome = self
            .access
            .with(order.deadline, |login| self.transact(login, &making))
            .await;
        let (made, version) = outcome.map_err(|error| match making.committing.load(Ordering::Relaxed) {
            true => MintError::Uncertain(words(error)),
            false => nothing_made(error),
        })?;
        let value = document(&self.access.settings, order.handle, &password, made.end)
            .map_err(|fault| MintError::Uncertain(fault.to_string()))?;
        Ok(Minted {
            value,
            rights: made.rights,
            end: made.end,
            lapses: None,
            receipt: None,
            known_as: None,
            source_version: Some(version),
            details: details(order),
        })
    }

    fn making<'a>(&self, order: MintOrder<'a>, verifier: &'a str) -> Result<Making<'a>, Fault> {
        let allowed = rights(order.target, order.plan);
        let number = |what| allowed.numbers.get(what).copied().unwrap_or(0);
        let deadline = order.target_deadline;
        // The server rounds to the nearest microsecond, which could be later than the plan's end.
        let end = Timestamp::from_microsecond(order.plan.end.as_microsecond());
        Ok(Making {
            order,
            groups: allowed.sets.get("member_of").cloned().unwrap_or_default(),
            connections: number("connection_limit"),
            verifier,
            end: end.map_err(|error| Fault::Other(error.to_string()))?,
            deadline: deadline.ok_or_else(|| Fault::Other("the order has no deadline".to_owned()))?,
            committing: AtomicBool::new(false),
        })
    }

    /// One transaction, again where nothing of it can stay. It ends at the deadline.
    async fn transact(&self, login: Login, making: &Making<'_>) -> Result<(Made, String), Fault> {
        let nothing_stays = || !making.committing.load(Ordering::Relaxed);
        let made = trying(&login, nothing_stays, || self.transact_once(&login, making)).await?;
        Ok((made, login.version))
    }

    async fn transact_once(&self, login: &Login, making: &Making<'_>) -> Result<Made, Fault> {
        let clock = &*self.access.clock;
        let deadline = making.order.deadline;
        let mut connection = login.acquire_before(deadline).await?;
        let made = before(clock, deadline, mint(&mut connection, making)).await;
        if made.is_none() {
            // Its state is unknown, and it may hang: not back into the pool.
            connection.close_on_drop();
        }
        made.unwrap_or(Err(Fault::Late))
    }

    async fn server_time(&self, login: Login, deadline: Duration) -> Result<Timestamp, Fault> {
        trying(&login, || true, || self.read_time(&login, deadline)).await
    }

    async fn read_time(&self, login: &Login, deadline: Duration) -> Result<Timestamp, Fault> {
        let mut connection = login.acquire_before(deadline).await?;
        let read = async {
            let micros: i64 = sqlx::query_scalar("SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint")
                .fetch_one(&mut *connection)
                .await?;
            Timestamp::from_microsecond(micros).map_err(|error| Fault::Other(error.to_string()))
        };
        before(&*self.access.clock, deadline, read)
            .await
            .unwrap_or(Err(Fault::Late))
    }

    async fn roles(&self, login: Login) -> Result<Vec<String>, Fault> {
        let names = sqlx::query_scalar("SELECT rolname::text FROM pg_roles WHERE starts_with(rolname, $1)");
        let names = names.bind(Handle::prefix(&self.installation));
        Ok(names.fetch_all(&mut *login.acquire().await?).await?)
    }

    async fn patiently<'a, T, Done>(&'a self, work: impl Fn(Login) -> Done + Send + Sync + 'a) -> Result<T, UndoError>
    where
        T: Send + 'a,
        Done: Future<Output = Result<T, Fault>> + Send + 'a,
    {
        let deadline = self.access.clock.monotonic() + PATIENCE;
        let outcome = self.access.with(deadline, work).await;
        outcome.map_err(|error| UndoError::Failed(words(error)))
    }
}

/// Tries again, while that is permitted, what may pass.
pub(crate) async fn trying<T, Once: Future<Output = Result<T, Fault>>>(
    login: &Login,
    permitted: impl Fn() -> bool,
    once: impl Fn() -> Once,
) -> Result<T, Fault> {
    let mut attempt = 1;
    loop {
        match once().await {
            Err(fault) if fault.may_pass() && permitted() && attempt < ATTEMPTS => {
                login.pause(Duration::from_millis(10) * attempt).await;
                attempt += 1;
            }
            outcome => return outcome,
        }
    }
}

/// The parameters, which are what narrows the role beside its memberships.
fn details(order: MintOrder<'_>) -> Map<String, Value> {
    match serde_json::to_value(&order.plan.params) {
        Ok(Value::Object(params)) => params,
        _ => Map::new(),
    }
}

fn nothing_made(error: RotationError<Fault>) -> MintError {
    match error {
        RotationError::Source(error) => MintError::Source(error.to_string()),
        RotationError::Refused(problem) => MintError::Refused(problem),
        RotationError::Failed(fault) => MintError::Failed(fault.to_string()),
    }
}

fn words(error: RotationError<Fault>) -> String {
    match error {
        RotationError::Source(error) => error.to_string(),
        RotationError::Refused(problem) => format!("the target refuses the broker's credential: {problem}"),
        RotationError::Failed(fault) => fault.to_string(),
    }
}
