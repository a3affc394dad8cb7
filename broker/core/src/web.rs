//! Log-ins at the web page: who one is stands in the store, what one may do is judged anew on each request.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use procura_wire::{Digest, Name, QualifiedId, Reason, Secret};
use serde::{Deserialize, Serialize};

use crate::{
    Timestamp,
    catalogue::{Catalogue, Issuer},
    exchange::{check_log_in, check_organisation, check_times, is_suspended, principal, store_reason},
    identity::{LogIn, Subject, VerifiedToken},
    ledger::{Event, Outcome, StoreError},
    operator::{Operator, file},
    ports::{BoxFuture, Ports},
    trust::Vouched,
};

/// Longest time from a log-in to the next one.
pub const WEB_LIFE: Duration = Duration::from_secs(8 * 60 * 60);
/// After this time without a request one logs in again.
pub const WEB_IDLE: Duration = Duration::from_secs(30 * 60);
/// Log-ins of one person at a time; one more ends the oldest.
pub const WEB_SESSIONS: u32 = 8;
/// How exactly the last request is noted.
const NOTED: Duration = Duration::from_secs(60);

/// A log-in as the store keeps it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebSession {
    /// SHA-256 of the cookie's value.
    pub id: Digest,
    /// Qualified id of who logged in.
    pub person: String,
    /// What their issuer said of them.
    pub who: Who,
    /// When they logged in.
    pub opened: Timestamp,
    /// Last request, to the minute.
    pub last_used: Timestamp,
    /// When it ends at the latest.
    pub ends: Timestamp,
}

impl WebSession {
    /// Whether it may be used at that time.
    pub fn is_live(&self, now: Timestamp) -> bool {
        now < self.ends && now < self.last_used + WEB_IDLE
    }
}

/// What is kept of an ID token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Who {
    issuer: Name,
    iss: String,
    sub: String,
    client: Option<String>,
    groups: BTreeSet<QualifiedId>,
    auth: LogIn,
    tenant: Option<String>,
    /// Of the issuer's file that all this was read under.
    file: Digest,
}

/// How many records of one event and outcome there are in a stretch of time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Activity {
    /// Where the stretch begins.
    pub from: Timestamp,
    /// What they are of.
    pub event: Event,
    /// How they ended.
    pub outcome: Outcome,
    /// How many.
    pub count: u64,
}

/// What [`WebStore::activity`] counts.
#[derive(Debug, Clone)]
pub struct Counting {
    /// At or after.
    pub since: Timestamp,
    /// Length of each stretch; the first begins at the epoch.
    pub step: Duration,
    /// Records of these targets only; `None` counts all.
    pub targets: Option<Vec<Name>>,
    /// So many records at most, the newest.
    pub limit: u32,
}

/// What the page asks of the store beside the ledger.
pub trait WebStore: Send + Sync {
    /// Keeps a log-in. Forgets those that have ended, and of this person the oldest beyond [`WEB_SESSIONS`].
    fn open_web(&self, session: WebSession) -> BoxFuture<'_, Result<(), StoreError>>;

    /// A log-in, ended or not.
    fn web_session(&self, id: Digest) -> BoxFuture<'_, Result<Option<WebSession>, StoreError>>;

    /// Notes a request.
    fn use_web(&self, id: Digest, now: Timestamp) -> BoxFuture<'_, Result<(), StoreError>>;

    /// Forgets a log-in.
    fn end_web(&self, id: Digest) -> BoxFuture<'_, Result<(), StoreError>>;

    /// Counts records, in any order.
    fn activity(&self, counting: Counting) -> BoxFuture<'_, Result<Vec<Activity>, StoreError>>;
}

/// Opens a session for whoever the verified ID token is of; `cookie` is the new value that leads to it.
/// Errors: why an operators' token like it would be refused.
pub async fn log_in(
    ports: &Ports,
    store: &dyn WebStore,
    token: Arc<VerifiedToken>,
    cookie: &Secret,
) -> Result<Operator, Reason> {
    let now = ports.now()?;
    let snapshot = ports.active.snapshot();
    let catalogue = snapshot.judge.catalogue();
    let issuer = catalogue.issuers.get(&token.issuer).ok_or(Reason::V1Unauthenticated)?;
    check_times(issuer, &token, now)?;
    check_organisation(issuer, &token)?;
    let listed = |client: &String| issuer.clients.as_ref().is_none_or(|clients| clients.contains(client));
    if !token.client.as_ref().is_some_and(listed) {
        return Err(Reason::SubjectClientMismatch);
    }
    let who = Who {
        issuer: token.issuer.clone(),
        iss: token.iss.clone(),
        sub: token.sub.clone(),
        client: token.client.clone(),
        groups: token.groups.clone(),
        auth: token.auth.clone(),
        tenant: token.vouched.tenant.clone(),
        file: file(issuer),
    };
    let operator = operator(catalogue, &who, now)?;
    let session = WebSession {
        id: cookie.digest(),
        person: operator.subject.principal.id().to_string(),
        who,
        opened: now,
        last_used: now,
        ends: now + WEB_LIFE,
    };
    store.open_web(session).await.map_err(store_reason)?;
    Ok(operator)
}

/// Who the cookie stands for now. Error: [`Reason::V1Unauthenticated`] where it stands for nobody (any more).
pub async fn operator_of(ports: &Ports, store: &dyn WebStore, cookie: &Secret) -> Result<Operator, Reason> {
    let now = ports.now()?;
    let id = cookie.digest();
    let session = store.web_session(id).await.map_err(store_reason)?;
    let session = session.filter(|session| session.is_live(now));
    let session = session.ok_or(Reason::V1Unauthenticated)?;
    let snapshot = ports.active.snapshot();
    let operator = operator(snapshot.judge.catalogue(), &session.who, now)?;
    if session.last_used + NOTED <= now {
        store.use_web(id, now).await.map_err(store_reason)?;
    }
    Ok(operator)
}

/// The operator, if the bundle in force still takes them for one. Where the file of their issuer changed, what was
/// read under it may not hold any more: they log in again.
fn operator(catalogue: &Catalogue, who: &Who, now: Timestamp) -> Result<Operator, Reason> {
    let issuer = catalogue.issuers.get(&who.issuer);
    let same = |issuer: &&Issuer| issuer.operators && !issuer.workloads_only && file(issuer) == who.file;
    issuer.filter(same).ok_or(Reason::V1Unauthenticated)?;
    let principal = principal(catalogue, &who.issuer, &who.sub).map_err(|_| Reason::V1Unauthenticated)?;
    if is_suspended(catalogue, &principal) {
        return Err(Reason::V1Unauthenticated);
    }
    let token = Arc::new(token(who, now));
    let subject = Subject { principal, token };
    check_log_in(catalogue, &subject, now).map_err(|_| Reason::AuthInsufficient)?;
    Ok(Operator::new(catalogue, subject))
}

/// What rules see of who logged in. Its times are those of the request: the session has its own.
fn token(who: &Who, now: Timestamp) -> VerifiedToken {
    VerifiedToken {
        issuer: who.issuer.clone(),
        iss: who.iss.clone(),
        sub: who.sub.clone(),
        audience: Vec::new(),
        expires: now,
        not_before: None,
        issued_at: None,
        jti: None,
        confirmation: None,
        sid: None,
        client: who.client.clone(),
        scopes: None,
        groups: who.groups.clone(),
        auth: who.auth.clone(),
        act: Vec::new(),
        may_act: None,
        vouched: Vouched {
            id_token: true,
            introspected: false,
            key: None,
            tenant: who.tenant.clone(),
        },
    }
}
