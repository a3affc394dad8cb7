//! The issuers of the corpus: one server, a path for each, with the documents that `issuers.toml` describes, and what
//! a case lets them say of its token.

use std::{
    collections::BTreeMap,
    convert::Infallible,
    net::SocketAddr,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::{Path as Segments, State},
    http::{HeaderMap, Response, StatusCode, header},
    routing::{get, post},
};
use axum_server::{Handle, tls_rustls::RustlsConfig};
use base64::{Engine, prelude::BASE64_STANDARD};
use futures_util::stream;
use procura_e2e::Fault;
use tokio::task::JoinSet;

use super::{
    case::{self, Case, Issuer, Pace, Said},
    presented::ACTIVE,
    running::ASKING,
    text::{Words, fill, fill_text},
    token::{Keys, part},
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
    answer: Mutex<Option<Answer>>,
}

/// What is said of the token that is asked about next.
struct Answer {
    status: u16,
    headers: Vec<(String, Vec<u8>)>,
    body: Vec<u8>,
    pace: Pace,
}

impl Stand {
    /// Serves the issuers and adds their identifiers and keys to the words.
    pub(super) async fn start(root: &Path, keys: &Keys, words: &mut Words) -> Result<Self, Fault> {
        Self::start_with(root, keys, words, None).await
    }

    /// The same over TLS, with that certificate and key (PEM).
    pub(super) async fn start_with(
        root: &Path,
        keys: &Keys,
        words: &mut Words,
        tls: Option<(String, String)>,
    ) -> Result<Self, Fault> {
        let declared: BTreeMap<String, Issuer> = case::read(&root.join("issuers.toml"))?;
        let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
        listener.set_nonblocking(true)?;
        let scheme = if tls.is_some() { "https" } else { "http" };
        words.insert(
            "issuers".into(),
            format!("{scheme}://{}", listener.local_addr()?).into(),
        );
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
            answer: Mutex::default(),
        });
        let routes = Router::new()
            .route("/{name}/.well-known/openid-configuration", get(metadata))
            .route("/{name}/keys", get(key_set))
            .route("/{name}/introspect", post(introspect))
            .with_state(Arc::clone(&issuers));
        let mut serving = JoinSet::new();
        match tls {
            None => {
                let listener = tokio::net::TcpListener::from_std(listener)?;
                serving.spawn(async move { told(axum::serve(listener, routes).await) });
            }
            Some((certificate, key)) => {
                let tls = RustlsConfig::from_pem(certificate.into(), key.into()).await?;
                let server = axum_server::from_tcp_rustls(listener, tls)?.handle(Handle::<SocketAddr>::new());
                serving.spawn(async move { told(server.serve(routes.into_make_service()).await) });
            }
        }
        Ok(Self {
            issuers,
            _serving: serving,
        })
    }

    /// What is said of the token of the case, when it is asked about.
    pub(super) fn say(&self, case: &Case, words: &Words) -> Result<(), Fault> {
        let answer = match &case.answer {
            Some(said) => Some(Self::answer(said, case.issuer(), words.clone())?),
            None => None,
        };
        *self.issuers.answer.lock().unwrap_or_else(PoisonError::into_inner) = answer;
        Ok(())
    }

    fn answer(said: &Said, issuer: &str, mut words: Words) -> Result<Answer, Fault> {
        let known = words.get(&format!("issuer:{issuer}")).cloned();
        words.insert("issuer".into(), known.unwrap_or_default());
        let usual = serde_json::from_str(&fill_text(ACTIVE, &words)?)?;
        let mut headers = Vec::new();
        for (name, value) in &said.headers {
            headers.push((name.clone(), fill(value, &words)?));
        }
        Ok(Answer {
            status: said.status,
            headers,
            body: part((usual, &said.claims, &said.drop), &said.text, &mut words)?,
            pace: said.pace,
        })
    }

    /// How often an issuer's documents were fetched, and it was asked about tokens.
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
            let declared = fill_text(&issuer.declared, &self.issuers.words)?;
            let text = format!("issuer = \"{url}\"\n{algorithms}{declared}");
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

impl Issuers {
    fn said(&self, name: &str, headers: &HeaderMap) -> Result<Response<Body>, Fault> {
        *self.count().entry(name.to_owned()).or_default() += 1;
        let known = format!("Basic {}", BASE64_STANDARD.encode(format!("{}:{}", ASKING.0, ASKING.1)));
        let asks = headers
            .get(header::AUTHORIZATION)
            .is_some_and(|value| value == known.as_str());
        let answer = self.answer.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(answer) = answer.as_ref().filter(|_| asks) else {
            return Err("nothing is said of a token".into());
        };
        let mut response = Response::builder().status(answer.status);
        for (name, value) in &answer.headers {
            response = response.header(name, value.as_slice());
        }
        Ok(response.body(paced(answer.pace, answer.body.clone()))?)
    }
}

fn told(ended: std::io::Result<()>) {
    if let Err(error) = ended {
        eprintln!("the issuers ended: {error}");
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

async fn introspect(
    State(issuers): State<Arc<Issuers>>,
    Segments(name): Segments<String>,
    headers: HeaderMap,
) -> Response<Body> {
    answered(issuers.said(&name, &headers))
}

fn answered(answer: Result<Response<Body>, Fault>) -> Response<Body> {
    answer.unwrap_or_else(|fault| {
        eprintln!("a document of the corpus cannot be made: {fault}");
        let mut answer = Response::new(Body::empty());
        *answer.status_mut() = StatusCode::NOT_FOUND;
        answer
    })
}
