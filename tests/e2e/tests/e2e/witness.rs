//! Remembers what a broker answered, and compares it with the log, the leases and the target afterwards.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use futures_util::future::join_all;
use procura_e2e::{
    Fault,
    database::query,
    external::{External, READ},
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
    /// `access_token`
    issued: String,
    /// From here on it may have come to its end.
    ends: Instant,
}

/// What one or several brokers of a site have answered.
#[derive(Default)]
pub(crate) struct Witness {
    /// Where its credentials are made; at the site's database if not set.
    external: Option<Arc<External>>,
    answered: Vec<Answered>,
    ended: BTreeSet<String>,
    runs: u32,
    /// Exchanges that were refused for the time being, as they may be while a crash is recovered from.
    pub(crate) refused: usize,
}

impl Witness {
    /// One whose credentials are made there.
    pub(crate) fn at(external: Option<Arc<External>>) -> Self {
        Self {
            external,
            ..Self::default()
        }
    }

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
            issued: reply.text("access_token").to_owned(),
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
        let replies = join_all((0..width).map(|_| self.exchange(replica, &user))).await;
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

    async fn exchange(&self, replica: &Replica<'_>, user: &str) -> Result<Reply, Fault> {
        match &self.external {
            Some(external) => replica.exchange_at(user, external.kind(), READ).await,
            None => replica.exchange(user).await,
        }
    }

    /// Waits until nothing is half done any more, and compares.
    pub(crate) async fn check(&self, site: &Site<'_>, replica: &Replica<'_>) -> Result<(), Fault> {
        let (leases, live) = match self.compared(site, replica).await {
            // One may have come to its end between the two looks.
            Err(_) => self.compared(site, replica).await?,
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
            let is_live = live.contains(&handle_of(&record.body)?);
            let session = replica
                .api(&format!("/sessions/{}", answered.session))
                .await?
                .expect_status(200)?;
            let is_over = self.ended.contains(&answered.session) || !session.body["ended"].is_null();
            let may_be_over = answered.ends < Instant::now();
            if is_live == is_over && (is_live || !may_be_over) {
                return Err(format!("{} lives: {is_live}; its session: {}", answered.issuance, session.body).into());
            }
            if let Some(external) = self.external.as_ref().filter(|external| external.takes_back()) {
                let is_taken = external.takes(&answered.issued).await?;
                // It may have come to its end since.
                let may_be_over = answered.ends < Instant::now();
                if is_taken != is_live && (is_taken || !may_be_over) {
                    return Err(format!("{} lives: {is_live}, and not so at its target", answered.issuance).into());
                }
            }
        }
        self.works(&live, replica).await
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

    /// The last credential that lives is still good for what it was issued for.
    async fn works(&self, live: &BTreeSet<String>, replica: &Replica<'_>) -> Result<(), Fault> {
        for answered in self.answered.iter().rev() {
            let record = replica.api(&format!("/issuances/{}", answered.issuance)).await?;
            if !live.contains(&handle_of(&record.body)?) {
                continue;
            }
            let works = match &self.external {
                Some(external) => external.takes(&answered.issued).await?,
                None => opens_the_database(&answered.issued).await?,
            };
            return match works {
                true => Ok(()),
                false => Err(format!("{} lives and does not work", answered.issuance).into()),
            };
        }
        Ok(())
    }

    /// The leases, and the handles of those that live: exactly these are at the target.
    async fn compared(&self, site: &Site<'_>, replica: &Replica<'_>) -> Result<(Vec<Value>, BTreeSet<String>), Fault> {
        let leases = settled(replica).await?;
        let live = handles(&leases, |state| state == "live");
        match &self.external {
            Some(external) => external.compare(&leases).await?,
            None => same_roles(site, &leases, &live).await?,
        }
        Ok((leases, live))
    }
}

/// What the credential of a record is known by at its target; one that was served again, as that which was made.
fn handle_of(record: &Value) -> Result<String, Fault> {
    let leaf: Value = serde_json::from_str(record["leaf"].as_str().unwrap_or_default())?;
    let handle = leaf["handle"].as_str().map(str::to_owned);
    handle.ok_or_else(|| format!("no handle: {record}").into())
}

async fn opens_the_database(issued: &str) -> Result<bool, Fault> {
    let document: Value = serde_json::from_str(issued)?;
    let url = document["url"].as_str().unwrap_or_default();
    let who = query(url, "SELECT session_user").await?;
    Ok(who.first().map(String::as_str) == document["user"].as_str())
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

/// Live, gone, or put off until it ends by itself, as what nothing takes back is.
fn is_settled(lease: &Value) -> bool {
    // Whole seconds of RFC 3339 compare as text.
    let second = |member: &str| {
        lease[member]
            .as_str()
            .and_then(|text| text.get(..19))
            .map(str::to_owned)
    };
    let put_off = || second("lapses").is_some_and(|lapses| second("next_attempt") >= Some(lapses));
    match lease["state"].as_str() {
        Some("live" | "gone") => true,
        Some("undoing") => put_off(),
        _ => false,
    }
}

/// Waits until nothing is left to do about any lease, and answers them.
pub(crate) async fn settled(replica: &Replica<'_>) -> Result<Vec<Value>, Fault> {
    let wait = async {
        loop {
            let leases = replica.all("leases").await?;
            if leases.iter().all(is_settled) {
                return Ok(leases);
            }
            tokio::time::sleep(LOOK).await;
        }
    };
    match tokio::time::timeout(RECOVERY, wait).await {
        Ok(leases) => leases,
        Err(_) => {
            let leases = replica.all("leases").await?;
            let open: Vec<_> = leases.iter().filter(|lease| !is_settled(lease)).collect();
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

/// Whether exactly the leases that live are log-in roles of the database.
async fn same_roles(site: &Site<'_>, leases: &[Value], live: &BTreeSet<String>) -> Result<(), Fault> {
    let installation = leases.first().and_then(|lease| lease["handle"].as_str());
    let installation = installation.and_then(|handle| handle.get(1..9)).unwrap_or("none");
    let roles = site.database.roles(installation).await?;
    if roles == *live {
        return Ok(());
    }
    let (more, less): (Vec<_>, Vec<_>) = (roles.difference(live).collect(), live.difference(&roles).collect());
    Err(format!("roles without a live lease: {more:?}; live leases without a role: {less:?}").into())
}
