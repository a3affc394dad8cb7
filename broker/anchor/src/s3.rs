//! A bucket of Amazon S3 or of what speaks its API: one object for each note, numbered from 0. An object is only ever
//! created (`If-None-Match: *`), so two writers never both have a number, and nothing is written over.

use std::{
    error::Error,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use procura_core::{
    log::{Anchor, AnchorError, Anchored},
    ports::{BoxFuture, Clock},
    source::Source,
};
use procura_wire::Secret;
use reqwest::{
    Certificate, Client, Response, StatusCode,
    header::{HeaderMap, IF_NONE_MATCH},
    redirect,
};
use rusty_s3::{Bucket, Credentials, S3Action, UrlStyle};
use serde::Deserialize;
use url::Url;

const TIMEOUT: Duration = Duration::from_secs(5);
const CONNECT: Duration = Duration::from_secs(3);
/// Life of a signed request.
const SIGNED: Duration = Duration::from_secs(60);
/// Longest answer that is read.
const MAX_ANSWER: usize = 256 * 1024;

/// A bucket.
#[derive(Debug, Clone)]
pub struct S3Config {
    /// Base URL of the service.
    pub endpoint: Url,
    /// Region that requests are signed for.
    pub region: String,
    /// Name of the bucket.
    pub bucket: String,
    /// What the names of objects begin with, without a slash at its end.
    pub prefix: String,
    /// Roots that are trusted beside the system's, PEM.
    pub extra_ca: Vec<String>,
}

/// A key as its source has it: `{"access_key_id", "secret_access_key"}`, for a temporary one with `session_token`.
#[derive(Deserialize)]
struct Key {
    access_key_id: String,
    secret_access_key: Secret,
    session_token: Option<Secret>,
}

/// Notes as objects of a bucket.
pub struct S3Anchor {
    bucket: Bucket,
    prefix: String,
    source: Arc<dyn Source>,
    clock: Arc<dyn Clock>,
    http: Client,
    /// How many notes are known to be there.
    known: Mutex<u64>,
}

fn away(problem: impl ToString) -> AnchorError {
    AnchorError::Away(problem.to_string())
}

impl S3Anchor {
    /// Asks nobody yet.
    pub fn new(config: S3Config, source: Arc<dyn Source>, clock: Arc<dyn Clock>) -> Result<Self, String> {
        let mut builder = Client::builder()
            .redirect(redirect::Policy::none())
            .no_proxy()
            .connect_timeout(CONNECT)
            .timeout(TIMEOUT);
        for pem in &config.extra_ca {
            let roots = Certificate::from_pem_bundle(pem.as_bytes()).map_err(|error| error.to_string())?;
            builder = builder.tls_certs_merge(roots);
        }
        let bucket = Bucket::new(config.endpoint, UrlStyle::Path, config.bucket, config.region);
        Ok(Self {
            bucket: bucket.map_err(|error| error.to_string())?,
            prefix: config.prefix,
            source,
            clock,
            http: builder.build().map_err(|error| describe(&error))?,
            known: Mutex::new(0),
        })
    }

    fn object(&self, number: u64) -> String {
        format!("{}/{number:020}", self.prefix)
    }

    async fn credentials(&self) -> Result<Credentials, AnchorError> {
        let secret = self.source.current().await.map_err(away)?;
        key(&secret.value).ok_or_else(|| {
            away(
                "the secret of its credentials is not {\"access_key_id\", \"secret_access_key\"} with, where it is a \
                  temporary one, \"session_token\"",
            )
        })
    }

    /// The note of that number.
    async fn note(&self, number: u64) -> Result<Option<String>, AnchorError> {
        let (credentials, object) = (self.credentials().await?, self.object(number));
        let action = self.bucket.get_object(Some(&credentials), &object);
        let url = action.sign_with_time(SIGNED, &self.clock.now());
        let response = self
            .http
            .get(url)
            .send()
            .await
            .map_err(|error| away(describe(&error.without_url())))?;
        let status = response.status();
        let deleted = is_deleted(response.headers());
        let text = text(response).await?;
        match status {
            StatusCode::OK => Ok(Some(text)),
            // The lock keeps the versions, not the name: it would be free for another note.
            StatusCode::NOT_FOUND if deleted => Err(self.unfit(&format!(
                "somebody deleted the note {object}; find out who, then remove its delete marker, below which it still is"
            ))),
            StatusCode::NOT_FOUND if !text.contains("NoSuchBucket") => Ok(None),
            status => Err(self.unwanted(status)),
        }
    }

    fn unfit(&self, problem: &str) -> AnchorError {
        AnchorError::Unfit(format!("bucket {}: {problem}", self.bucket.name()))
    }

    fn unwanted(&self, status: StatusCode) -> AnchorError {
        let name = self.bucket.name();
        away(match status.as_u16() {
            403 => format!(
                "bucket {name} answers 403: its credentials must permit s3:GetObject, s3:PutObject and s3:ListBucket"
            ),
            404 => format!("there is no bucket {name}; make it, with versions and object lock"),
            other => format!("bucket {name} answers {other}"),
        })
    }

    fn known(&self) -> MutexGuard<'_, u64> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many notes there are, and the last one. Since their numbers have no gaps, a few looks are enough.
    async fn count(&self) -> Result<(u64, Option<String>), AnchorError> {
        let known = *self.known();
        // Notes below `there` are there; the last of them was read. At `gone` there is none.
        let mut there = known.saturating_sub(1);
        let Some(mut last) = self.note(there).await? else {
            return Ok((there, None));
        };
        let mut step = 1;
        let mut gone = loop {
            match self.note(there + step).await? {
                Some(note) => (there, last, step) = (there + step, note, step * 2),
                None => break there + step,
            }
        };
        while there + 1 < gone {
            let middle = there.midpoint(gone);
            match self.note(middle).await? {
                Some(note) => (there, last) = (middle, note),
                None => gone = middle,
            }
        }
        Ok((gone, Some(last)))
    }

    async fn look(&self) -> Result<Anchored, AnchorError> {
        let (position, note) = self.count().await?;
        let found = Anchored { position, note };
        if *self.known() == 0 {
            self.refuses_a_second(&found).await?;
        }
        let known = &mut *self.known();
        if found.note.is_none() && *known > 0 {
            *known = 0;
            return Err(away("notes that were there are gone"));
        }
        *known = position;
        Ok(found)
    }

    /// A service that does not know the condition would let two writers have one number.
    async fn refuses_a_second(&self, anchored: &Anchored) -> Result<(), AnchorError> {
        let Some(note) = &anchored.note else { return Ok(()) };
        match self.put(anchored.position - 1, note.clone()).await {
            Err(AnchorError::Taken) => Ok(()),
            Ok(()) => Err(self
                .unfit("it writes over what is there; keep the notes in one that knows If-None-Match for PutObject")),
            Err(error) => Err(error),
        }
    }

    async fn put(&self, position: u64, note: String) -> Result<(), AnchorError> {
        let (credentials, object) = (self.credentials().await?, self.object(position));
        let mut action = self.bucket.put_object(Some(&credentials), &object);
        action.headers_mut().insert("if-none-match", "*");
        let url = action.sign_with_time(SIGNED, &self.clock.now());
        let request = self.http.put(url).header(IF_NONE_MATCH, "*").body(note);
        let response = request
            .send()
            .await
            .map_err(|error| away(describe(&error.without_url())))?;
        match response.status() {
            StatusCode::OK => Ok(()),
            StatusCode::PRECONDITION_FAILED | StatusCode::CONFLICT => Err(AnchorError::Taken),
            status => Err(self.unwanted(status)),
        }
    }
}

impl Anchor for S3Anchor {
    fn last(&self) -> BoxFuture<'_, Result<Anchored, AnchorError>> {
        Box::pin(self.look())
    }

    fn append(&self, position: u64, note: String) -> BoxFuture<'_, Result<(), AnchorError>> {
        Box::pin(self.put(position, note))
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the key signs requests to the bucket that it is for"
)]
fn key(secret: &Secret) -> Option<Credentials> {
    let key: Key = serde_json::from_str(secret.expose()).ok()?;
    let secret = key.secret_access_key.expose();
    Some(match &key.session_token {
        Some(token) => Credentials::new_with_token(key.access_key_id, secret, token.expose()),
        None => Credentials::new(key.access_key_id, secret),
    })
}

/// Whether a plain delete put a marker above what is there.
fn is_deleted(headers: &HeaderMap) -> bool {
    headers
        .get("x-amz-delete-marker")
        .is_some_and(|marker| marker.as_bytes().eq_ignore_ascii_case(b"true"))
}

async fn text(mut response: Response) -> Result<String, AnchorError> {
    let mut body = Vec::new();
    let read = |error: reqwest::Error| away(describe(&error.without_url()));
    while let Some(chunk) = response.chunk().await.map_err(read)? {
        body.extend_from_slice(&chunk);
        if body.len() > MAX_ANSWER {
            return Err(away("an object is larger than any note"));
        }
    }
    String::from_utf8(body).map_err(|_| away("an object is no note"))
}

/// An error with its causes, outermost first. The URL is left out: it is signed.
fn describe(error: &reqwest::Error) -> String {
    if error.is_timeout() {
        return "the bucket did not answer within 5 s".to_owned();
    }
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
