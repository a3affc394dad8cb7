//! The server as the broker's own token reaches it.

use std::{sync::Arc, time::Duration};

use futures_util::{
    FutureExt,
    future::{Either, ready, select},
};
use procura_core::{
    ports::{BoxFuture, Clock},
    source::{Attempt, RotationError, Source, SourceSecret, through_rotation},
};
use procura_wire::Secret;
use serde_json::{Map, Value};

use crate::{
    fault::Fault,
    server::{Answer, Server},
};

pub(crate) struct Access {
    pub(crate) server: Arc<Server>,
    pub(crate) clock: Arc<dyn Clock>,
    source: Arc<dyn Source>,
}

/// The broker with one version of its token.
#[derive(Clone)]
pub(crate) struct Login {
    pub(crate) version: String,
    token: Arc<Secret>,
    server: Arc<Server>,
}

impl Login {
    /// Reads the path, or writes these members to it.
    pub(crate) async fn ask(&self, path: &str, body: Option<&Map<String, Value>>) -> Result<Answer, Fault> {
        self.server.ask(&self.token, path, body).await
    }

    /// Writes one text.
    pub(crate) async fn tell(&self, path: &str, member: &str, text: &str) -> Result<Answer, Fault> {
        let body = Map::from_iter([(member.to_owned(), text.into())]);
        self.ask(path, Some(&body)).await
    }
}

impl Access {
    pub(crate) fn new(server: Arc<Server>, clock: Arc<dyn Clock>, source: Arc<dyn Source>) -> Self {
        Self { server, clock, source }
    }

    /// Does something with the broker's token, through a change of it, until a moment of the monotonic clock.
    pub(crate) fn with<'a, T, Done>(
        &'a self,
        deadline: Duration,
        work: impl Fn(Login) -> Done + Send + Sync + 'a,
    ) -> BoxFuture<'a, Result<T, RotationError<Fault>>>
    where
        T: Send + 'a,
        Done: Future<Output = Result<T, Fault>> + Send + 'a,
    {
        let attempt = move |secret: Arc<SourceSecret>| -> BoxFuture<'a, Attempt<T, Fault>> {
            match self.login(&secret) {
                Ok(login) => Box::pin(work(login).map(attempted)),
                Err(fault) => Box::pin(ready(Attempt::Failed(fault))),
            }
        };
        Box::pin(async move {
            let attempts = through_rotation(&*self.source, &*self.clock, deadline, attempt);
            before(&*self.clock, deadline, attempts)
                .await
                .unwrap_or(Err(RotationError::Failed(Fault::Late)))
        })
    }

    /// The same with this version of it alone.
    pub(crate) fn login(&self, secret: &SourceSecret) -> Result<Login, Fault> {
        Ok(Login {
            version: secret.version.clone(),
            token: Arc::new(token_of(&secret.value)?),
            server: Arc::clone(&self.server),
        })
    }
}

fn attempted<T>(outcome: Result<T, Fault>) -> Attempt<T, Fault> {
    match outcome {
        Ok(value) => Attempt::Done(value),
        Err(Fault::Refused(problem)) => Attempt::SecretRefused(problem),
        Err(fault) => Attempt::Failed(fault),
    }
}

/// The result of the work, or `None` where a moment of the monotonic clock comes first.
pub(crate) async fn before<T>(clock: &dyn Clock, deadline: Duration, work: impl Future<Output = T>) -> Option<T> {
    let left = deadline.saturating_sub(clock.monotonic());
    match select(Box::pin(work), clock.sleep(left)).await {
        Either::Left((value, _)) => Some(value),
        Either::Right(_) => None,
    }
}

/// The secret is `{"token"}`, or the token alone.
fn token_of(secret: &Secret) -> Result<Secret, Fault> {
    #[expect(
        clippy::disallowed_methods,
        reason = "the token is taken out of what the source holds"
    )]
    let text = secret.expose();
    let token = match serde_json::from_str::<Value>(text).ok().filter(Value::is_object) {
        Some(object) => object["token"].as_str().map(str::to_owned),
        None => Some(text.trim().to_owned()),
    };
    let token = token.filter(|token| !token.is_empty()).map(Secret::new);
    token.ok_or_else(|| Fault::Failed("the source's secret has no member token".to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_token_stands_alone_or_as_a_member() {
        let read = |text: &str| token_of(&Secret::new(text.to_owned())).ok();
        let expected = Some(Secret::new("s.abc".to_owned()));
        for good in ["s.abc", "s.abc\n", r#"{"token":"s.abc"}"#] {
            assert_eq!(read(good), expected);
        }
        for bad in ["", "\n", r#"{"password":"s.abc"}"#, r#"{"token":""}"#, r#"{"token":1}"#] {
            assert_eq!(read(bad), None);
        }
    }
}
