//! One broker of a site, as its callers and its operator see it.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, ExitStatus},
    time::Duration,
};

use reqwest::{
    Client, Method, RequestBuilder,
    header::{AUTHORIZATION, HOST},
    tls::TlsInfo,
};
use rustix::process::Signal;
use serde_json::Value;

use crate::{
    Fault,
    http::{self, Reply},
    process::{Process, Used},
    serve::{DATABASE, SERVER, Site},
};

const START: Duration = Duration::from_secs(60);
const LOOK: Duration = Duration::from_millis(50);

/// A broker that serves. Dropped, it is killed.
pub struct Replica<'a> {
    site: &'a Site<'a>,
    base: String,
    admin: String,
    http: Client,
    process: Process,
}

/// What it says when it serves: where it listens for its callers and for its administrator.
fn addresses(log: &str) -> Option<[String; 2]> {
    let line = log.lines().find(|line| line.contains("\"serving\""))?;
    let line: Value = serde_json::from_str(line).ok()?;
    let text = |name: &str| line["fields"][name].as_str().map(str::to_owned);
    Some([text("address")?, text("admin")?])
}

impl<'a> Replica<'a> {
    pub(crate) async fn start(site: &'a Site<'a>, command: Command, logs: &Path) -> Result<Self, Fault> {
        let mut process = Process::start(command, logs)?;
        let log = logs.join("stderr");
        let [address, admin] = process
            .until(START, async || addresses(&fs::read_to_string(&log).ok()?))
            .await?;
        let scheme = if site.authority.is_some() { "https" } else { "http" };
        Ok(Self {
            site,
            base: format!("{scheme}://{address}"),
            admin: format!("http://{admin}"),
            http: client(site)?,
            process,
        })
    }
}

/// A client that trusts the site's authority alone, where it has one.
fn client(site: &Site<'_>) -> Result<Client, Fault> {
    match &site.authority {
        Some(authority) => http::trusting(&authority.certificate),
        None => http::client(),
    }
}

impl Replica<'_> {
    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let (_, host) = self.site.identifier.split_once("://").unwrap_or_default();
        self.http
            .request(method, format!("{}{path}", self.base))
            .header(HOST, host)
    }

    /// Asks for a log-in to the database with a fresh token of `user`.
    pub async fn exchange(&self, user: &str) -> Result<Reply, Fault> {
        self.exchange_at(user, DATABASE.0, DATABASE.1).await
    }

    /// Asks for any grant with a fresh token of `user`.
    pub async fn exchange_at(&self, user: &str, target: &str, grant: &str) -> Result<Reply, Fault> {
        self.exchange_with(&self.site.user(user)?, target, grant).await
    }

    /// Asks with a token that was made before.
    pub async fn exchange_with(&self, token: &str, target: &str, grant: &str) -> Result<Reply, Fault> {
        self.post("/token", &http::exchange(token, target, grant)).await
    }

    /// The same, with these fields beside the least ones.
    pub async fn exchange_for(
        &self,
        token: &str,
        (target, grant): (&str, &str),
        more: &[(&str, &str)],
    ) -> Result<Reply, Fault> {
        let mut fields = http::exchange(token, target, grant);
        fields.extend(more);
        self.post("/token", &fields).await
    }

    /// Asks with a DPoP proof.
    pub async fn exchange_proving(
        &self,
        token: &str,
        (target, grant): (&str, &str),
        proof: &str,
    ) -> Result<Reply, Fault> {
        let request = self
            .request(Method::POST, "/token")
            .basic_auth(SERVER, Some(&self.site.secret))
            .header("DPoP", proof);
        http::send(request.form(&http::exchange(token, target, grant))).await
    }

    /// Gets a path below `/v1` with that Authorization header, and with a DPoP proof where one is given.
    pub async fn api_as(&self, path: &str, authorization: &str, proof: Option<&str>) -> Result<Reply, Fault> {
        let request = self.request(Method::GET, &format!("/v1{path}"));
        let request = request.header(AUTHORIZATION, authorization);
        http::send(match proof {
            Some(proof) => request.header("DPoP", proof),
            None => request,
        })
        .await
    }

    /// Asks as the server that an assertion proves.
    pub async fn exchange_asserting(
        &self,
        assertion: &str,
        token: &str,
        (target, grant): (&str, &str),
    ) -> Result<Reply, Fault> {
        let mut fields = http::exchange(token, target, grant);
        let ty = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
        fields.extend([("client_assertion_type", ty), ("client_assertion", assertion)]);
        http::send(self.request(Method::POST, "/token").form(&fields)).await
    }

    /// Takes a credential back as the server that it was issued to.
    pub async fn revoke(&self, issuance: &str) -> Result<Reply, Fault> {
        self.post("/revoke", &[("token", issuance), ("token_type_hint", "issuance")])
            .await
    }

    async fn post(&self, path: &str, fields: &[(&str, &str)]) -> Result<Reply, Fault> {
        let request = self
            .request(Method::POST, path)
            .basic_auth(SERVER, Some(&self.site.secret));
        http::send(request.form(fields)).await
    }

    /// Posts a form as somebody else: with a client of a test's own, and these headers.
    pub async fn post_by(
        &self,
        client: &Client,
        path: &str,
        headers: &[(&str, &str)],
        fields: &[(&str, &str)],
    ) -> Result<Reply, Fault> {
        let (_, host) = self.site.identifier.split_once("://").unwrap_or_default();
        let request = client.post(format!("{}{path}", self.base)).header(HOST, host);
        let request = headers
            .iter()
            .fold(request, |request, (name, value)| request.header(*name, *value));
        http::send(request.form(fields)).await
    }

    /// What it says of itself as an authorization server.
    pub async fn metadata(&self) -> Result<Reply, Fault> {
        http::send(self.request(Method::GET, "/.well-known/oauth-authorization-server")).await
    }

    /// Gets a path below `/v1` as the operator; it begins with `/`.
    pub async fn api(&self, path: &str) -> Result<Reply, Fault> {
        self.operate(Method::GET, path).await
    }

    /// Ends a session as the operator.
    pub async fn end_session(&self, session: &str) -> Result<Reply, Fault> {
        self.operate(Method::DELETE, &format!("/sessions/{session}")).await
    }

    /// Rotates the broker's credential at a target as the operator.
    pub async fn rotate(&self, target: &str) -> Result<Reply, Fault> {
        self.operate(Method::POST, &format!("/targets/{target}/rotate")).await
    }

    async fn operate(&self, method: Method, path: &str) -> Result<Reply, Fault> {
        let request = self.request(method, &format!("/v1{path}"));
        http::send(request.bearer_auth(self.site.operator()?)).await
    }

    /// Status and bytes of a path, asked for by a stranger or by the operator.
    pub async fn bytes(&self, path: &str, operator: bool) -> Result<(u16, Vec<u8>), Fault> {
        let request = self.request(Method::GET, path);
        let request = match operator {
            true => request.bearer_auth(self.site.operator()?),
            false => request,
        };
        let response = request.send().await?;
        Ok((response.status().as_u16(), response.bytes().await?.to_vec()))
    }

    /// What its administrator's listener says of its readiness.
    pub async fn readiness(&self) -> Result<Reply, Fault> {
        http::get(&self.http, &format!("{}/readyz", self.admin), None).await
    }

    /// The certificate that it shows (DER): on the connection that is kept open, or on a new one.
    pub async fn certificate(&self, kept: bool) -> Result<Vec<u8>, Fault> {
        let new = if kept { None } else { Some(client(self.site)?) };
        let client = new.as_ref().unwrap_or(&self.http);
        let response = client.get(format!("{}/jwks.json", self.base)).send().await?;
        let response = response.error_for_status()?;
        let shown = response.extensions().get::<TlsInfo>();
        let shown = shown.and_then(TlsInfo::peer_certificate).ok_or("no TLS")?.to_vec();
        // Read to its end, so that the connection can serve again.
        response.bytes().await?;
        Ok(shown)
    }

    /// Looks at it until there is something to see.
    pub async fn until<T>(&self, mut look: impl AsyncFnMut(&Self) -> Result<Option<T>, Fault>) -> Result<T, Fault> {
        let found = async {
            loop {
                if let Some(found) = look(self).await? {
                    return Ok(found);
                }
                tokio::time::sleep(LOOK).await;
            }
        };
        let found = tokio::time::timeout(START, found).await;
        found.unwrap_or_else(|_| Err(format!("not within {START:?}\n{}", self.stderr()).into()))
    }

    /// Lets it write no file beyond so many bytes, or again as far as the system lets it.
    pub fn limit_files(&self, bytes: Option<u64>) -> Result<(), Fault> {
        self.process.limit_files(bytes)
    }

    /// A path as the process sees it, which may have a file system of its own there.
    pub fn path(&self, name: &str) -> PathBuf {
        let path = self.site.path(name);
        let root = format!("/proc/{}/root", self.process.id());
        Path::new(&root).join(path.strip_prefix("/").unwrap_or(&path))
    }

    /// Everything of a listing below `/v1`: its path, and its member in the answer.
    pub async fn all(&self, listing: &str) -> Result<Vec<Value>, Fault> {
        let mut found = Vec::new();
        let mut more = String::new();
        loop {
            let page = self
                .api(&format!("/{listing}?limit=1000{more}"))
                .await?
                .expect_status(200)?;
            found.extend(page.body[listing].as_array().cloned().unwrap_or_default());
            match page.body["next"].as_str() {
                Some(next) => more = format!("&before={next}"),
                None => return Ok(found),
            }
        }
    }

    /// Everything that it wrote to standard error.
    pub fn stderr(&self) -> String {
        self.process.stderr()
    }

    /// What it has used so far.
    pub fn used(&self) -> Result<Used, Fault> {
        self.process.used()
    }

    /// Whether an armed failpoint was reached.
    pub fn reached(&self) -> bool {
        self.stderr().contains("\"reached\"")
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) -> Result<(), Fault> {
        self.process.signal(signal)
    }

    /// Whether it has ended by itself.
    pub fn is_over(&mut self) -> Result<bool, Fault> {
        self.process.is_over()
    }

    /// Waits until it ends by itself, as it does at a failpoint.
    pub async fn ended(mut self) -> Result<ExitStatus, Fault> {
        self.process.ended(START).await
    }

    /// `kill -9`
    pub async fn kill(self) -> Result<(), Fault> {
        self.signal(Signal::KILL)?;
        self.ended().await.map(drop)
    }
}
