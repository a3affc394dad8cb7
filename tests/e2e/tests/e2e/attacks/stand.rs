//! The issuers of the corpus: one server, a path for each, with the documents that `issuers.toml` describes.

use std::{
    collections::BTreeMap,
    convert::Infallible,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::{Path as Segments, State},
    http::{Response, StatusCode, header},
    routing::get,
};
use futures_util::stream;
use procura_e2e::Fault;
use tokio::task::JoinSet;

use super::{
    case::{self, Issuer, Pace},
    text::{Words, fill, fill_text},
    token::Keys,
};

/// The running stand-in. Dropped, it stops.
pub(super) struct Stand {
    issuers: Arc<Issuers>,
    _serving: JoinSet<()>,
}

struct Issuers {
    declared: BTreeMap<String, Issuer>,
    words: Words,
    fetched: Mutex<BTreeMap<String, u32>>,
}

impl Stand {
    /// Serves the issuers and adds their identifiers and keys to the words.
    pub(super) async fn start(root: &Path, keys: &Keys, words: &mut Words) -> Result<Self, Fault> {
        let declared: BTreeMap<String, Issuer> = case::read(&root.join("issuers.toml"))?;
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        words.insert("issuers".into(), format!("http://{}", listener.local_addr()?).into());
        keys.words(words)?;
        for (name, issuer) in &declared {
            words.insert("name".into(), name.clone().into());
            let url = fill(&issuer.url, words)?;
            words.insert(format!("issuer:{name}"), url);
        }
        let issuers = Arc::new(Issuers {
            declared,
            words: words.clone(),
            fetched: Mutex::default(),
        });
        let routes = Router::new()
            .route("/{name}/.well-known/openid-configuration", get(metadata))
            .route("/{name}/keys", get(key_set))
            .with_state(Arc::clone(&issuers));
        let mut serving = JoinSet::new();
        serving.spawn(async move {
            if let Err(error) = axum::serve(listener, routes).await {
                eprintln!("the issuers ended: {error}");
            }
        });
        Ok(Self {
            issuers,
            _serving: serving,
        })
    }

    /// How often an issuer's documents were fetched.
    pub(super) fn fetched(&self, name: &str) -> u32 {
        self.issuers.count().get(name).copied().unwrap_or_default()
    }

    /// The files that declare the issuers in a bundle.
    pub(super) fn declarations(&self) -> Result<Vec<(String, String)>, Fault> {
        let file = |(name, issuer): (&String, &Issuer)| {
            let url = fill_text(&format!("{{{{issuer:{name}}}}}"), &self.issuers.words)?;
            let algorithms = match issuer.declared.contains("algorithms") {
                true => "",
                false => "algorithms = [\"ES256\", \"RS256\", \"Ed25519\"]\n",
            };
            let text = format!("issuer = \"{url}\"\n{algorithms}{}", issuer.declared);
            Ok((format!("issuers/{name}.toml"), text))
        };
        self.issuers.declared.iter().map(file).collect()
    }
}

impl Issuers {
    fn count(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, u32>> {
        self.fetched.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn document(&self, name: &str, which: &str) -> Result<Response<Body>, Fault> {
        *self.count().entry(name.to_owned()).or_default() += 1;
        let issuer = self.declared.get(name).ok_or("no such issuer")?;
        let mut words = self.words.clone();
        let own = words.get(&format!("issuer:{name}")).cloned().unwrap_or_default();
        words.insert("issuer".into(), own);
        let keys: Vec<Vec<u8>> = issuer
            .keys
            .iter()
            .filter_map(|key| words.get(&format!("key:{key}")).cloned())
            .collect();
        words.insert("keys".into(), keys.join(&b','));
        let text = if which == "keys" {
            &issuer.jwks
        } else {
            &issuer.metadata
        };
        let body = fill(text, &words)?;
        let mut answer = Response::builder().header(header::CONTENT_TYPE, "application/json");
        if which != issuer.at {
            return Ok(answer.body(Body::from(body))?);
        }
        if issuer.headers.contains_key("content-type") {
            answer = Response::builder();
        }
        for (name, value) in &issuer.headers {
            answer = answer.header(name, fill(value, &words)?);
        }
        Ok(answer.status(issuer.status).body(paced(issuer.pace, body))?)
    }
}

fn paced(pace: Pace, body: Vec<u8>) -> Body {
    match pace {
        Pace::Whole => Body::from(body),
        Pace::Drip => Body::from_stream(stream::unfold(body.into_iter(), async |mut rest| {
            tokio::time::sleep(Duration::from_millis(200)).await;
            let byte = rest.next()?;
            Some((Ok::<_, Infallible>(Bytes::copy_from_slice(&[byte])), rest))
        })),
        Pace::Endless => Body::from_stream(stream::repeat_with(|| {
            Ok::<_, Infallible>(Bytes::from_static(&[b' '; 16 * 1024]))
        })),
    }
}

async fn metadata(State(issuers): State<Arc<Issuers>>, Segments(name): Segments<String>) -> Response<Body> {
    answered(issuers.document(&name, "metadata"))
}

async fn key_set(State(issuers): State<Arc<Issuers>>, Segments(name): Segments<String>) -> Response<Body> {
    answered(issuers.document(&name, "keys"))
}

fn answered(answer: Result<Response<Body>, Fault>) -> Response<Body> {
    answer.unwrap_or_else(|fault| {
        eprintln!("a document of the corpus cannot be made: {fault}");
        let mut answer = Response::new(Body::empty());
        *answer.status_mut() = StatusCode::NOT_FOUND;
        answer
    })
}
