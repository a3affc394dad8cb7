//! Log-ins at the web page, and the counts that it shows.

use std::time::Duration;

use procura_core::{
    Timestamp,
    ledger::StoreError,
    ports::BoxFuture,
    web::{Activity, Counting, WEB_IDLE, WEB_SESSIONS, WebSession, WebStore},
};
use procura_wire::Digest;
use sqlx::{AssertSqlSafe, FromRow, SqlSafeStr};
use uuid::Uuid;

use crate::{
    answer::{Failure, Write},
    batch::Batch,
    db::{Arg, Db},
    ledger::Store,
    rows::{At, InconsistentRow, IntoDomain},
};

const SESSION: &str = "SELECT id, person, who, opened, last_used, ends FROM web_session WHERE id = $1";

const FORGET: &str = "DELETE FROM web_session WHERE ends <= $1 OR last_used <= $2";

const INSERT: &str = "
    INSERT INTO web_session (id, person, who, opened, last_used, ends)
    VALUES ($1, $2, $3, $4, $5, $6)";

const OLDEST: &str = "
    DELETE FROM web_session
     WHERE person = $1
       AND id NOT IN (SELECT id FROM web_session WHERE person = $1 ORDER BY opened DESC, id LIMIT $2)";

const USE: &str = "UPDATE web_session SET last_used = $2 WHERE id = $1 AND last_used < $2";

const END: &str = "DELETE FROM web_session WHERE id = $1";

/// A change of log-ins.
pub(crate) enum WebWrite {
    Open(Box<WebSession>),
    Use(Digest, Timestamp),
    End(Digest),
}

fn bytes(id: Digest) -> Arg {
    Arg::from(&id.as_bytes()[..])
}

impl<D: Db> Batch<'_, D> {
    pub(crate) async fn web(&mut self, write: &WebWrite) -> Result<(), Failure> {
        match write {
            WebWrite::Open(session) => self.open_web(session).await,
            WebWrite::Use(id, now) => self.run(USE, vec![bytes(*id), (*now).into()]).await.map(drop),
            WebWrite::End(id) => self.run(END, vec![bytes(*id)]).await.map(drop),
        }
    }

    async fn open_web(&mut self, new: &WebSession) -> Result<(), Failure> {
        let idle = new.opened - WEB_IDLE;
        self.run(FORGET, vec![new.opened.into(), idle.into()]).await?;
        let args = vec![
            bytes(new.id),
            new.person.clone().into(),
            serde_json::to_string(&new.who)?.into(),
            new.opened.into(),
            new.last_used.into(),
            new.ends.into(),
        ];
        self.run(INSERT, args).await?;
        let args = vec![new.person.clone().into(), i64::from(WEB_SESSIONS).into()];
        self.run(OLDEST, args).await.map(drop)
    }
}

impl<D: Db> WebStore for Store<D> {
    fn open_web(&self, session: WebSession) -> BoxFuture<'_, Result<(), StoreError>> {
        let write = Write::Web(WebWrite::Open(Box::new(session)));
        Box::pin(async move { self.write(write).await.map(drop) })
    }

    fn web_session(&self, id: Digest) -> BoxFuture<'_, Result<Option<WebSession>, StoreError>> {
        Box::pin(self.one::<WebSessionRow>(SESSION, bytes(id)))
    }

    fn use_web(&self, id: Digest, now: Timestamp) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async move { self.write(Write::Web(WebWrite::Use(id, now))).await.map(drop) })
    }

    fn end_web(&self, id: Digest) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async move { self.write(Write::Web(WebWrite::End(id))).await.map(drop) })
    }

    fn activity(&self, counting: Counting) -> BoxFuture<'_, Result<Vec<Activity>, StoreError>> {
        Box::pin(async move {
            let (sql, args) = counted(&counting);
            self.many::<ActivityRow>(AssertSqlSafe(sql).into_sql_str(), args).await
        })
    }
}

/// Ids order by time, so that only the newest rows are read.
fn counted(counting: &Counting) -> (String, Vec<Arg>) {
    let step = micros(counting.step);
    let mut args = vec![
        Arg::from(step),
        counting.since.into(),
        first_id(counting.since).into(),
        i64::from(counting.limit).into(),
    ];
    let mut places = Vec::new();
    for target in counting.targets.iter().flatten() {
        args.push(target.to_string().into());
        places.push(format!("${}", args.len()));
    }
    let only = match &counting.targets {
        None => String::new(),
        Some(_) if places.is_empty() => " AND false".to_owned(),
        Some(_) => format!(" AND target IN ({})", places.join(", ")),
    };
    let sql = format!(
        "SELECT (at / $1) * $1 AS began, event, outcome, count(*) AS number
           FROM (SELECT at, event, outcome
                   FROM record
                  WHERE id >= $3 AND at >= $2{only}
                  ORDER BY id DESC
                  LIMIT $4) AS newest
          GROUP BY (at / $1) * $1, event, outcome"
    );
    (sql, args)
}

fn micros(time: Duration) -> i64 {
    i64::try_from(time.as_micros()).unwrap_or(i64::MAX).max(1)
}

/// No id of that time or later is smaller (RFC 9562 section 5.7).
fn first_id(at: Timestamp) -> Uuid {
    let millis = u128::try_from(at.as_millisecond()).unwrap_or(0);
    Uuid::from_u128(millis << 80)
}

#[derive(FromRow)]
pub(crate) struct WebSessionRow {
    id: Vec<u8>,
    person: String,
    who: String,
    opened: i64,
    last_used: i64,
    ends: i64,
}

impl IntoDomain for WebSessionRow {
    type Domain = WebSession;

    fn into_domain(self) -> Result<WebSession, InconsistentRow> {
        let at = At("web_session", Uuid::nil());
        Ok(WebSession {
            id: Digest::from_bytes(at.bytes("id", self.id)?),
            person: self.person,
            who: serde_json::from_str(&self.who).map_err(|_| at.wrong("who"))?,
            opened: at.time("opened", self.opened)?,
            last_used: at.time("last_used", self.last_used)?,
            ends: at.time("ends", self.ends)?,
        })
    }
}

#[derive(FromRow)]
pub(crate) struct ActivityRow {
    began: i64,
    event: String,
    outcome: String,
    number: i64,
}

impl IntoDomain for ActivityRow {
    type Domain = Activity;

    fn into_domain(self) -> Result<Activity, InconsistentRow> {
        let at = At("record", Uuid::nil());
        Ok(Activity {
            from: at.time("at", self.began)?,
            event: at.word("event", &self.event)?,
            outcome: at.word("outcome", &self.outcome)?,
            count: u64::try_from(self.number).map_err(|_| at.wrong("at"))?,
        })
    }
}
