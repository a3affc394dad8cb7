//! The token that a source reads with: got, kept alive, and replaced when it is refused.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use procura_core::ports::Clock;
use procura_wire::Secret;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use super::{
    http::{Answer, Server, parse, unwanted},
    login::{LogIn, Method as AuthMethod, read_file},
};
use crate::cache::{REFRESH, Trouble};

/// Shortest time between two renewals, and the pause after a first log-in that was of no use.
const SHORTEST: Duration = Duration::from_secs(1);
/// Longest pause between two log-ins.
const LONGEST: Duration = Duration::from_secs(60);

/// One server and the token for it.
pub(super) struct Session {
    server: Server,
    way: LogIn,
    pub(super) clock: Arc<dyn Clock>,
    state: Mutex<State>,
    /// Held while a token is got, so that all who need one wait for the same.
    turn: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct State {
    held: Option<Held>,
    pause: Pause,
    /// The last attempt to keep the token alive failed.
    ailing: bool,
}

/// The token in use.
struct Held {
    token: Arc<Secret>,
    /// How long the log-in said that it lives.
    life: Duration,
    /// When it ends unless it is renewed, as far as that is known.
    end: Option<Duration>,
    next: Next,
}

/// What keeps a token alive.
#[derive(Clone, Copy)]
enum Next {
    LookUp,
    Renew(Duration),
    LogIn(Duration),
    Nothing,
}

/// Log-ins in succession that were of no use, each of which is followed by a pause twice as long. A log-in counts as
/// one of them until its token has proved good: a token that is refused because the role lacks a policy would be
/// followed by the next log-in otherwise, and each leaves a lease behind at the server.
#[derive(Default)]
struct Pause {
    count: u32,
    until: Duration,
    /// What the last one came to.
    problem: String,
}

impl Pause {
    fn begin(&mut self, now: Duration, problem: String) {
        let doubled = SHORTEST * 2_u32.saturating_pow(self.count.saturating_sub(1).min(10));
        self.until = now + doubled.min(LONGEST);
        self.problem = problem;
    }
}

impl Session {
    pub(super) fn new(server: Server, way: LogIn, clock: Arc<dyn Clock>) -> Self {
        Self {
            server,
            way,
            clock,
            state: Mutex::default(),
            turn: tokio::sync::Mutex::default(),
        }
    }

    /// Reads a path, or posts a body to it; where the token is refused, once more with another one. Answers what is
    /// found, not found, or (to a body) a bad request.
    pub(super) async fn ask(&self, path: &str, body: Option<&Secret>) -> Result<Answer, Trouble> {
        let (answer, _) = self.ask_by(path, body).await?;
        Ok(answer)
    }

    /// The same, and the token that the answer was given to.
    pub(super) async fn ask_by(&self, path: &str, body: Option<&Secret>) -> Result<(Answer, Arc<Secret>), Trouble> {
        let held = self.held();
        let mut fresh = held.is_none();
        let mut token = match held {
            Some(token) => token,
            None => self.other_than(None).await?,
        };
        let mut answer = self.send(path, body, &token).await?;
        if answer.0 == StatusCode::FORBIDDEN && !fresh {
            let other = self.other_than(Some(&token)).await?;
            fresh = !Arc::ptr_eq(&other, &token);
            token = other;
            if fresh {
                answer = self.send(path, body, &token).await?;
            }
        }
        let bad_body = body.is_some() && answer.0 == StatusCode::BAD_REQUEST;
        match answer.0 {
            StatusCode::FORBIDDEN => Err(self.refused()),
            status if bad_body || matches!(status, StatusCode::OK | StatusCode::NOT_FOUND) => {
                if fresh {
                    self.state().pause = Pause::default();
                }
                Ok((answer, token))
            }
            status => Err(unwanted(status)),
        }
    }

    async fn send(&self, path: &str, body: Option<&Secret>, token: &Secret) -> Result<Answer, Trouble> {
        match body {
            None => self.server.call(Method::GET, path, token).await,
            Some(body) => self.server.write(path, token, body).await,
        }
    }

    /// Renews a lease that was given to this token.
    pub(super) async fn renew_lease(&self, id: &str, token: &Secret) -> Result<Answer, Trouble> {
        let body = Secret::new(json!({ "lease_id": id }).to_string());
        self.server.write("sys/leases/renew", token, &body).await
    }

    /// When the token ends, as far as that is known; `None` where another one is in use.
    pub(super) fn end_of(&self, token: &Arc<Secret>) -> Option<Option<Duration>> {
        let state = self.state();
        let held = state.held.as_ref().filter(|held| Arc::ptr_eq(&held.token, token));
        held.map(|held| held.end)
    }

    /// How long the token in use still lives, where nothing renews or replaces it.
    pub(super) fn token_left(&self) -> Option<Duration> {
        let state = self.state();
        let held = state.held.as_ref().filter(|held| matches!(held.next, Next::Nothing))?;
        Some(held.end?.saturating_sub(self.clock.monotonic()))
    }

    /// Does what is due and answers when to be called again.
    pub(super) async fn tend(&self) -> Duration {
        let outcome = self.keep_alive().await;
        let mut state = self.state();
        if let Err(Trouble::Away(problem) | Trouble::Gone(problem)) = &outcome
            && !state.ailing
        {
            tracing::warn!(address = %self.server.address, problem, "the Vault token cannot be kept alive");
        }
        state.ailing = outcome.is_err();
        let left = match state.held.as_ref().map(|held| held.next) {
            Some(Next::Renew(at) | Next::LogIn(at)) => at.saturating_sub(self.clock.monotonic()),
            Some(Next::LookUp | Next::Nothing) | None => REFRESH,
        };
        left.clamp(SHORTEST, REFRESH)
    }

    async fn keep_alive(&self) -> Result<(), Trouble> {
        if let LogIn::TokenFile(_) = self.way {
            // Somebody may have put another one there.
            self.get_token().await?;
        }
        let now = self.clock.monotonic();
        let held = self
            .state()
            .held
            .as_ref()
            .map(|held| (Arc::clone(&held.token), held.next));
        let Some((token, next)) = held else {
            return self.log_in_as_planned(None).await;
        };
        match next {
            Next::LookUp => match self.server.call(Method::GET, "auth/token/lookup-self", &token).await? {
                (StatusCode::OK, body) => {
                    self.learn(&token, &parse(&body)?["data"], now);
                    Ok(())
                }
                (StatusCode::FORBIDDEN, _) => Err(self.refused()),
                (status, _) => Err(unwanted(status)),
            },
            Next::Renew(at) if at <= now => self.renew(&token, now).await,
            Next::LogIn(at) if at <= now => self.log_in_as_planned(Some(&token)).await,
            Next::Renew(_) | Next::LogIn(_) | Next::Nothing => Ok(()),
        }
    }

    async fn renew(&self, token: &Arc<Secret>, now: Duration) -> Result<(), Trouble> {
        match self.server.call(Method::POST, "auth/token/renew-self", token).await? {
            (StatusCode::OK, body) => {
                self.learn(token, &parse(&body)?["auth"], now);
                Ok(())
            }
            (StatusCode::BAD_REQUEST | StatusCode::FORBIDDEN | StatusCode::NOT_FOUND, _) => match self.way {
                LogIn::TokenFile(_) => Err(self.refused()),
                LogIn::Method(_) => self.log_in_as_planned(Some(token)).await,
            },
            (status, _) => Err(unwanted(status)),
        }
    }

    /// Replaces a token whose time has come, before anybody is refused with it. A pause that a refused path has begun ends
    /// before the old token does: it follows a log-in that came before half of a life, so it is shorter than a life.
    async fn log_in_as_planned(&self, old: Option<&Arc<Secret>>) -> Result<(), Trouble> {
        self.other_than(old).await?;
        self.state().pause = Pause::default();
        Ok(())
    }

    /// A token that is not the refused one, which may be in use already; the same one where there is no other.
    async fn other_than(&self, refused: Option<&Arc<Secret>>) -> Result<Arc<Secret>, Trouble> {
        let _turn = self.turn.lock().await;
        match self.held() {
            Some(held) if !refused.is_some_and(|refused| Arc::ptr_eq(refused, &held)) => Ok(held),
            _ => self.get_token().await,
        }
    }

    async fn get_token(&self) -> Result<Arc<Secret>, Trouble> {
        match &self.way {
            LogIn::TokenFile(file) => {
                let token = read_file("token_file", file).await?;
                let mut state = self.state();
                Ok(match &state.held {
                    Some(held) if *held.token == token => Arc::clone(&held.token),
                    _ => state.hold(token, Duration::ZERO, None, Next::LookUp),
                })
            }
            LogIn::Method(method) => self.log_in(method).await,
        }
    }

    async fn log_in(&self, method: &AuthMethod) -> Result<Arc<Secret>, Trouble> {
        let now = self.clock.monotonic();
        {
            let mut state = self.state();
            if now < state.pause.until {
                return Err(Trouble::Away(state.pause.problem.clone()));
            }
            state.pause.count = state.pause.count.saturating_add(1);
            // Before the answer, because whoever waits for it may go away.
            state.pause.begin(now, "the log-in was given up".to_owned());
        }
        let asked = method.ask(&self.server).await;
        let ended = self.clock.monotonic();
        let mut state = self.state();
        match asked {
            Ok((token, auth)) => {
                state.pause.begin(ended, self.refusal());
                let life = lease(&auth);
                Ok(state.hold(token, life, end(now, life), self.next(&auth, life, now)))
            }
            Err(trouble) => {
                let (Trouble::Away(problem) | Trouble::Gone(problem)) = &trouble;
                state.pause.begin(ended, problem.clone());
                Err(trouble)
            }
        }
    }

    /// Notes what the server says of the token's life, unless another one is in use by now.
    fn learn(&self, token: &Arc<Secret>, part: &Value, now: Duration) {
        let mut state = self.state();
        if let Some(held) = state.held.as_mut().filter(|held| Arc::ptr_eq(&held.token, token)) {
            held.end = end(now, lease(part));
            held.next = self.next(part, held.life, now);
        }
    }

    /// What to do at half of a lease. A renewal that gives half of the first life or less meets the longest life that
    /// the server allows; one log-in is better then than many short renewals.
    fn next(&self, part: &Value, life: Duration, now: Duration) -> Next {
        let lease = lease(part);
        let renewable = part["renewable"].as_bool().unwrap_or(false);
        match self.way {
            _ if lease.is_zero() && life.is_zero() => Next::Nothing,
            LogIn::TokenFile(_) if renewable => Next::Renew(now + lease / 2),
            LogIn::TokenFile(_) => Next::Nothing,
            LogIn::Method(_) if lease * 2 <= life => Next::LogIn(now),
            LogIn::Method(_) if renewable => Next::Renew(now + lease / 2),
            LogIn::Method(_) => Next::LogIn(now + lease / 2),
        }
    }

    fn refused(&self) -> Trouble {
        Trouble::Away(self.refusal())
    }

    fn refusal(&self) -> String {
        format!("the server refuses the token for this path; {}", self.way.advice())
    }

    fn held(&self) -> Option<Arc<Secret>> {
        self.state().held.as_ref().map(|held| Arc::clone(&held.token))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn hold(&mut self, token: Secret, life: Duration, end: Option<Duration>, next: Next) -> Arc<Secret> {
        let token = Arc::new(token);
        self.held = Some(Held {
            token: Arc::clone(&token),
            life,
            end,
            next,
        });
        token
    }
}

/// When a token with this much life left ends; `None` if it does not.
fn end(now: Duration, lease: Duration) -> Option<Duration> {
    (!lease.is_zero()).then_some(now + lease)
}

/// The life that is left, as a log-in, a renewal or a look-up says it; zero if it does not end.
fn lease(part: &Value) -> Duration {
    let seconds = part["lease_duration"].as_u64().or_else(|| part["ttl"].as_u64());
    Duration::from_secs(seconds.unwrap_or_default().min(u32::MAX.into()))
}
