//! Remembers what a broker answered, and compares it with the log, the leases and the target afterwards.

use std::{collections::BTreeSet, time::Duration};

use futures_util::future::join_all;
use procura_e2e::{
    Fault,
    database::query,
    http::Reply,
    serve::{RECOVERY, Replica, Site},
};
use serde_json::Value;
use tokio::time::Instant;

/// A credential this near to its end may be undone already.
const NEAR: Duration = Duration::from_secs(10);
const LOOK: Duration = Duration::from_millis(200);
/// Steps after which a failpoint that was not reached never will be.
const STEPS: u32 = 12;
/// Every how many steps a session is ended.
const END_EVERY: u32 = 3;

/// A credential that has left the broker.
struct Answered {
    issuance: String,
    session: String,
    document: Value,
    /// From here on it may have come to its end.
    ends: Instant,
}

/// What one or several brokers of a site have answered.
#[derive(Default)]
pub(crate) struct Witness {
    answered: Vec<Answered>,
    ended: BTreeSet<String>,
    runs: u32,
    /// Exchanges that were refused for the time being, as they may be while a crash is recovered from.
    pub(crate) refused: usize,
}

impl Witness {
    /// The user whose session is open; another one after each end, as the end refuses older tokens.
    pub(crate) fn user(&self) -> String {
        format!("user-{}", self.runs)
    }

    /// The session of the last answer.
    pub(crate) fn session(&self) -> Option<&str> {
        self.answered.last().map(|answered| answered.session.as_str())
    }

    /// How many credentials were answered.
    pub(crate) fn count(&self) -> usize {
        self.answered.len()
    }

    /// Keeps an answer; whatever is not a credential is an error.
    pub(crate) fn keep(&mut self, reply: Reply) -> Result<(), Fault> {
        let reply = reply.expect_status(200)?;
        self.answered.push(Answered {
            issuance: reply.text("issuance_id").to_owned(),
            session: reply.text("session").to_owned(),
            document: serde_json::from_str(reply.text("access_token"))?,
            ends: Instant::now() + Duration::from_secs(reply.body["expires_in"].as_u64().unwrap_or(0)) - NEAR,
        });
        Ok(())
    }

    /// Ends the last session. From now on another user asks.
    pub(crate) async fn end(&mut self, replica: &Replica<'_>) -> Result<(), Fault> {
        let Some(session) = self.session().map(str::to_owned) else {
            return Ok(());
        };
        self.runs += 1;
        replica.end_session(&session).await?.expect_status(200)?;
        self.ended.insert(session);
        Ok(())
    }

    /// Exchanges, `width` at a time, and ends sessions, until the broker is dead. Answers whether it died.
    pub(crate) async fn until_dead(&mut self, replica: &mut Replica<'_>, width: usize) -> Result<bool, Fault> {
        for step in 1..=STEPS {
            let outcome = if step % END_EVERY == 0 {
                self.end(replica).await
            } else {
                self.ask(replica, width).await
            };
            if let Err(fault) = outcome {
                return dying(replica, fault).await;
            }
        }
        Ok(false)
    }

    async fn ask(&mut self, replica: &Replica<'_>, width: usize) -> Result<(), Fault> {
        let user = self.user();
        let replies = join_all((0..width).map(|_| replica.exchange(&user))).await;
        let mut outcome = Ok(());
        for reply in replies {
            // One that failed does not hide what the others were answered.
            match reply {
                Ok(reply) if reply.status == 503 => self.refused += 1,
                Ok(reply) => outcome = outcome.and(self.keep(reply)),
                Err(fault) => outcome = Err(fault),
            }
        }
        outcome
    }

    /// Waits until nothing is half done any more, and compares.
    pub(crate) async fn check(&self, site: &Site<'_>, replica: &Replica<'_>) -> Result<(), Fault> {
        let (leases, live) = match compared(site, replica).await {
            // One may have come to its end between the two looks.
            Err(_) => compared(site, replica).await?,
            Ok(same) => same,
        };
        for lease in leases.iter().filter(|lease| lease["state"] == "live") {
            self.stands(replica, lease).await?;
        }
        for answered in &self.answered {
            let record = replica
                .api(&format!("/issuances/{}", answered.issuance))
                .await?
                .expect_status(200)?;
            if record.text("outcome") != "issued" {
                return Err(format!("answered, and in the log as {}", record.body).into());
            }
            let is_live = live.iter().any(|handle| handle.ends_with(&simple(&answered.issuance)));
            let session = replica
                .api(&format!("/sessions/{}", answered.session))
                .await?
                .expect_status(200)?;
            let is_over = self.ended.contains(&answered.session) || !session.body["ended"].is_null();
            let may_be_over = answered.ends < Instant::now();
            if is_live == is_over && (is_live || !may_be_over) {
                return Err(format!("{} lives: {is_live}; its session: {}", answered.issuance, session.body).into());
            }
        }
        self.logs_in(&live).await
    }

    /// A lease that lives has a record that says so and a session that is not over.
    async fn stands(&self, replica: &Replica<'_>, lease: &Value) -> Result<(), Fault> {
        let text = |member: &str| lease[member].as_str().unwrap_or_default().to_owned();
        let record = replica
            .api(&format!("/issuances/{}", text("id")))
            .await?
            .expect_status(200)?;
        let session = replica
            .api(&format!("/sessions/{}", text("session")))
            .await?
            .expect_status(200)?;
        if record.text("outcome") == "issued" && session.body["ended"].is_null() {
            Ok(())
        } else {
            Err(format!(
                "{lease} lives; its record: {}; its session: {}",
                record.body, session.body
            )
            .into())
        }
    }

    /// The last credential that lives still opens the database.
    async fn logs_in(&self, live: &BTreeSet<String>) -> Result<(), Fault> {
        let alive = |answered: &&Answered| live.iter().any(|handle| handle.ends_with(&simple(&answered.issuance)));
        let Some(last) = self.answered.iter().rev().find(alive) else {
            return Ok(());
        };
        let url = last.document["url"].as_str().unwrap_or_default();
        let who = query(url, "SELECT session_user").await?;
        assert_eq!(who.first().map(String::as_str), last.document["user"].as_str());
        Ok(())
    }
}

/// A request failed: the broker is dying, or the failure counts.
async fn dying(replica: &mut Replica<'_>, fault: Fault) -> Result<bool, Fault> {
    for _ in 0..25 {
        if replica.is_over()? {
            return Ok(true);
        }
        tokio::time::sleep(LOOK).await;
    }
    Err(format!("{fault}\n{}", replica.stderr()).into())
}

/// Waits until every lease is live or gone, and answers them.
pub(crate) async fn settled(replica: &Replica<'_>) -> Result<Vec<Value>, Fault> {
    let wait = async {
        loop {
            let leases = replica.all("leases").await?;
            if handles(&leases, |state| state != "live" && state != "gone").is_empty() {
                return Ok(leases);
            }
            tokio::time::sleep(LOOK).await;
        }
    };
    match tokio::time::timeout(RECOVERY, wait).await {
        Ok(leases) => leases,
        Err(_) => {
            let leases = replica.all("leases").await?;
            let open: Vec<_> = leases
                .iter()
                .filter(|lease| lease["state"] != "live" && lease["state"] != "gone")
                .collect();
            Err(format!("not undone within {RECOVERY:?}: {open:?}\n{}", replica.stderr()).into())
        }
    }
}

/// Handles of the leases in such a state.
pub(crate) fn handles(leases: &[Value], state: impl Fn(&str) -> bool) -> BTreeSet<String> {
    let chosen = leases
        .iter()
        .filter(|lease| lease["state"].as_str().is_some_and(&state));
    chosen
        .filter_map(|lease| lease["handle"].as_str().map(str::to_owned))
        .collect()
}

fn simple(issuance: &str) -> String {
    issuance.replace('-', "")
}

/// The leases, and the handles of those that live: exactly these are log-in roles at the target.
async fn compared(site: &Site<'_>, replica: &Replica<'_>) -> Result<(Vec<Value>, BTreeSet<String>), Fault> {
    let leases = settled(replica).await?;
    let live = handles(&leases, |state| state == "live");
    let installation = leases.first().and_then(|lease| lease["handle"].as_str());
    let installation = installation.and_then(|handle| handle.get(1..9)).unwrap_or("none");
    let roles = site.database.roles(installation).await?;
    if roles == live {
        return Ok((leases, live));
    }
    let (more, less): (Vec<_>, Vec<_>) = (roles.difference(&live).collect(), live.difference(&roles).collect());
    Err(format!("roles without a live lease: {more:?}; live leases without a role: {less:?}").into())
}
