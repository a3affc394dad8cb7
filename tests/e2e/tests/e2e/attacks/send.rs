//! Requests byte by byte, and answers as they arrive.

use std::{sync::Arc, time::Duration};

use base64::{Engine, prelude::BASE64_STANDARD};
use procura_e2e::Fault;
use rustls::{ClientConfig, pki_types::ServerName};
use serde_json::Value;
use tokio::{
    io::{self, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
    time::{Instant, timeout, timeout_at},
};
use tokio_rustls::TlsConnector;

use super::{
    case::{Auth, Case},
    text::{Words, fill},
};

/// Longest wait for an answer or the end of a connection; the broker's own limits are shorter.
const PATIENCE: Duration = Duration::from_secs(25);
/// Types of assertions: one that the server signs, and a JWT-SVID.
const ASSERTION_TYPES: [&str; 2] = [
    "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
    "urn:ietf:params:oauth:client-assertion-type:jwt-spiffe",
];
/// What the form of an exchange holds.
const EXCHANGE: [(&str, &str); 6] = [
    ("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange"),
    ("subject_token", "{{subject}}"),
    ("subject_token_type", "urn:ietf:params:oauth:token-type:access_token"),
    ("audience", "api"),
    ("scope", "read-tickets"),
    ("tool_call_id", "{{canary}}"),
];

/// The same of an ID-JAG as grant.
const GRANT: [(&str, &str); 3] = [
    ("grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer"),
    ("assertion", "{{id_jag}}"),
    ("tool_call_id", "{{canary}}"),
];

/// An answer. Status 0: the connection ended without one.
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: Value,
    /// Everything that arrived.
    pub(super) bytes: Vec<u8>,
}

impl Answer {
    /// A string member of the body, empty where it is absent.
    pub(super) fn text(&self, member: &str) -> &str {
        self.body[member].as_str().unwrap_or_default()
    }

    /// A header, where it stands once.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        let mut values = self.headers.iter().filter(|(known, _)| known == name);
        let first = values.next()?;
        values.next().is_none().then_some(first.1.as_str())
    }
}

/// The bytes of a request.
pub(super) fn bytes(case: &Case, words: &Words) -> Result<Vec<u8>, Fault> {
    let request = &case.request;
    if let Some(raw) = &request.raw {
        // Lines of the file end as HTTP's do.
        return fill(&raw.replace("\r\n", "\n").replace('\n', "\r\n"), words);
    }
    let body = match &request.body {
        Some(body) => fill(body, words)?,
        None => form(case, words)?.into_bytes(),
    };
    let mut headers = vec![
        ("Host".to_owned(), "{{host}}".to_owned()),
        ("Connection".to_owned(), "close".to_owned()),
        ("X-Canary".to_owned(), "{{canary}}".to_owned()),
        (
            "Content-Type".to_owned(),
            "application/x-www-form-urlencoded".to_owned(),
        ),
        ("Content-Length".to_owned(), body.len().to_string()),
    ];
    if auth(case) == Auth::Basic {
        let pair = fill(&format!("{}:{}", case.client(), secret(case)), words)?;
        headers.push((
            "Authorization".to_owned(),
            format!("Basic {}", BASE64_STANDARD.encode(pair)),
        ));
    }
    headers.retain(|(name, _)| !request.drop_headers.iter().any(|drop| drop.eq_ignore_ascii_case(name)));
    headers.extend(request.headers.iter().cloned());
    if case.proof.is_some() {
        headers.extend(vec![("DPoP".to_owned(), "{{proof}}".to_owned()); request.proofs]);
    }
    let mut bytes = fill(&format!("{} {} HTTP/1.1\r\n", request.method, request.path), words)?;
    for (name, value) in headers {
        bytes.extend(fill(&format!("{name}: {value}\r\n"), words)?);
    }
    bytes.extend_from_slice(b"\r\n");
    bytes.extend(body);
    Ok(bytes)
}

/// How the caller of the case authenticates.
fn auth(case: &Case) -> Auth {
    let usual = match (&case.assertion, &case.svid, &case.certificate) {
        (Some(_), ..) | (_, Some(_), _) => Auth::Assertion,
        (None, None, Some(_)) => Auth::Id,
        (None, None, None) => Auth::Basic,
    };
    case.request.auth.unwrap_or(usual)
}

fn secret(case: &Case) -> String {
    match case.request.secret.as_str() {
        "" => format!("secret-of-{}", case.client()),
        secret => secret.to_owned(),
    }
}

fn form(case: &Case, words: &Words) -> Result<String, Fault> {
    let request = &case.request;
    let mut pairs: Vec<(String, String)> = Vec::new();
    if !request.only {
        let usual: &[_] = if case.id_jag.is_some() { &GRANT } else { &EXCHANGE };
        pairs.extend(
            usual
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned())),
        );
        pairs.push(("canary".to_owned(), "{{canary}}".to_owned()));
    }
    pairs.extend(authenticating(case));
    pairs.retain(|(name, _)| !request.drop.contains(name) && !request.form.contains_key(name));
    pairs.extend(request.form.clone());
    pairs.extend(request.add.iter().cloned());
    let pair = |(name, value): &(String, String)| {
        Ok::<_, Fault>(format!(
            "{}={}",
            escape(&fill(name, words)?),
            escape(&fill(value, words)?)
        ))
    };
    let pairs: Result<Vec<_>, _> = pairs.iter().map(pair).collect();
    Ok(pairs?.join("&"))
}

fn authenticating(case: &Case) -> Vec<(String, String)> {
    let pairs = match auth(case) {
        Auth::Post => vec![("client_id", case.client().to_owned()), ("client_secret", secret(case))],
        Auth::Assertion => {
            let [own, svid] = ASSERTION_TYPES;
            let (ty, word) = match case.svid {
                Some(_) => (svid, "{{svid}}"),
                None => (own, "{{assertion}}"),
            };
            vec![
                ("client_assertion_type", ty.to_owned()),
                ("client_assertion", word.to_owned()),
            ]
        }
        Auth::Id => vec![("client_id", case.client().to_owned())],
        Auth::Basic | Auth::None => Vec::new(),
    };
    pairs
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect()
}

fn escape(bytes: &[u8]) -> String {
    let one = |byte: &u8| match byte {
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' => char::from(*byte).to_string(),
        other => format!("%{other:02X}"),
    };
    bytes.iter().map(one).collect()
}

/// Sends it on a connection of its own, over TLS where it says how. Whoever speaks raw bytes ends its side neither.
pub(super) async fn send(host: &str, request: &[u8], tls: Option<Arc<ClientConfig>>) -> Result<Answer, Fault> {
    let stream = timeout(PATIENCE, TcpStream::connect(host)).await??;
    match tls {
        None => converse(stream, request).await,
        Some(config) => {
            let name = host.split(':').next().unwrap_or_default().to_owned();
            let connecting = TlsConnector::from(config).connect(ServerName::try_from(name)?, stream);
            converse(timeout(PATIENCE, connecting).await??, request).await
        }
    }
}

async fn converse(stream: impl AsyncRead + AsyncWrite, request: &[u8]) -> Result<Answer, Fault> {
    let (mut reader, mut writer) = io::split(stream);
    let writing = async {
        // The broker may answer and close before it has read everything.
        let _ = writer.write_all(request).await;
        let _ = writer.flush().await;
        std::future::pending::<()>().await;
    };
    let until = Instant::now() + PATIENCE;
    let mut bytes = Vec::new();
    let reading = async {
        let mut piece = vec![0; 16 * 1024];
        while let Ok(Ok(count)) = timeout_at(until, reader.read(&mut piece)).await {
            bytes.extend_from_slice(&piece[..count]);
            if count == 0 || is_whole(&bytes) {
                return Ok(());
            }
        }
        // A reset is an end too; silence is none.
        if Instant::now() < until {
            Ok(())
        } else {
            Err(format!("no answer within {PATIENCE:?}"))
        }
    };
    tokio::select! {
        () = writing => {}
        read = reading => read?,
    }
    Ok(parse(bytes))
}

/// Whether an answer with its length has arrived, so that nobody waits for the end of a kept connection.
fn is_whole(bytes: &[u8]) -> bool {
    let answer = parse(bytes.to_vec());
    let length = answer
        .header("content-length")
        .and_then(|length| length.parse::<usize>().ok());
    let body = split(bytes).map_or(0, |(_, body)| body.len());
    length.is_some_and(|length| body >= length)
}

fn split(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let at = bytes.windows(4).position(|window| window == b"\r\n\r\n")?;
    Some((&bytes[..at], &bytes[at + 4..]))
}

fn parse(bytes: Vec<u8>) -> Answer {
    let (head, body) = split(&bytes).unwrap_or((&[], &[]));
    let head = String::from_utf8_lossy(head).into_owned();
    let mut lines = head.lines();
    let status = lines.next().and_then(|line| line.strip_prefix("HTTP/1."));
    let status = status.and_then(|line| line.get(2..5)?.parse().ok()).unwrap_or(0);
    let pairs = lines.filter_map(|line| line.split_once(':'));
    Answer {
        status,
        headers: pairs
            .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
            .collect(),
        body: serde_json::from_slice(body).unwrap_or_default(),
        bytes,
    }
}
