//! Cases as they are run: what is made for one, sent, and held to what must come of it.

use std::path::Path;

use procura_e2e::{Fault, Testbed, harness::Outcome};

use super::{
    ROOT,
    case::{Case, Expect},
    rules::{self, Newest},
    running::{Running, Speaking},
    send,
    stand::Stand,
    text::{Words, fill_text},
    token::{self, Keys},
};

/// The broker, its issuers, and what cases may refer to.
pub(super) struct World<'a> {
    running: Running<'a>,
    stand: Stand,
    keys: Keys,
    words: Words,
    host: String,
    count: u32,
}

impl<'a> World<'a> {
    /// With a broker in development mode.
    pub(super) async fn dev(testbed: &Testbed) -> Result<Self, Fault> {
        let (mut words, keys) = (Words::new(), Keys::new()?);
        words.insert("tls".into(), testbed.issuer().await?.url.clone().into());
        let stand = Stand::start(Path::new(ROOT), &keys, &mut words).await?;
        let running = Running::dev(testbed, &stand, &mut words).await?;
        let mut world = Self::new(running, stand, (keys, words))?;
        world.prepare().await?;
        Ok(world)
    }

    /// With a broker that speaks TLS, and its issuers.
    pub(super) async fn tls(
        speaking: &'a Speaking<'a>,
        stand: Stand,
        (keys, mut words): (Keys, Words),
    ) -> Result<Self, Fault> {
        let running = Running::tls(speaking, &mut words).await?;
        Self::new(running, stand, (keys, words))
    }

    fn new(running: Running<'a>, stand: Stand, (keys, mut words): (Keys, Words)) -> Result<Self, Fault> {
        let issuer = fill_text("{{broker}}", &words)?;
        let host = issuer.split_once("://").map_or("", |(_, host)| host).to_owned();
        words.insert("host".into(), host.clone().into());
        Ok(Self {
            running,
            stand,
            keys,
            words,
            host,
            count: 0,
        })
    }

    pub(super) async fn stop(self) -> Outcome {
        self.running.stop().await
    }

    /// What cases build on: an issued token, and issuers whose keys the broker knows.
    async fn prepare(&mut self) -> Outcome {
        for issuer in ["other", "corp"] {
            let key = if issuer == "other" { "other" } else { "es256" };
            let subject = format!("[subject]\nissuer = \"{issuer}\"\nkey = \"{key}\"");
            let case: Case = toml::from_str(&format!("title = \"\"\nexpect = {{}}\n{subject}"))?;
            let answer = self.send(&case, &Words::new()).await?.answer;
            if issuer == "corp" {
                for (word, member) in [
                    ("issued", "access_token"),
                    ("issuance", "issuance_id"),
                    ("session", "session"),
                ] {
                    self.words.insert(word.into(), answer.text(member).into());
                }
            }
        }
        match self.words.get("issued") {
            Some(token) if !token.is_empty() => Ok(()),
            _ => Err("the untouched request is refused".into()),
        }
    }

    /// Runs a case and looks at what came of it.
    pub(super) async fn run(&mut self, case: &Case) -> Outcome {
        let fetched = self.stand.fetched(case.issuer());
        let mut again = Words::new();
        if let Some(first) = &case.first {
            let mut made = self.step(case, &again, (first, 1)).await?;
            made.retain(|word, _| case.again.contains(word));
            if made.is_empty() || made.len() != case.again.len() {
                return Err("what is presented again must be presented".into());
            }
            again = made;
        }
        self.step(case, &again, (&case.expect, case.request.times)).await?;
        let fetched = self.stand.fetched(case.issuer()) - fetched;
        if case.expect.fetches.is_some_and(|most| fetched > most) {
            return Err(format!("{fetched} documents of the issuer were fetched").into());
        }
        Ok(())
    }

    /// Sends the request so often and holds the last answer to what is expected; answers what was presented.
    async fn step(&mut self, case: &Case, again: &Words, (expect, times): (&Expect, u32)) -> Result<Words, Fault> {
        let mut before = Newest::read(&self.running).await?;
        let mut sent = self.send(case, again).await?;
        let mut after = Newest::read(&self.running).await?;
        for _ in 1..times {
            before = after;
            sent = self.send(case, again).await?;
            after = Newest::read(&self.running).await?;
        }
        rules::check(expect, &sent.answer, (&before, &after))?;
        if case.proof.is_some() && sent.answer.header("dpop-nonce").is_none() {
            return Err("no nonce for the next proof".into());
        }
        self.nothing_came_back(&sent.answer.bytes, &sent.secrets)?;
        Ok(sent.made)
    }

    /// A nonce for a proof: every answer to one has it.
    async fn nonce(&self) -> Result<Vec<u8>, Fault> {
        let host = &self.host;
        let request = format!("GET /jwks.json HTTP/1.1\r\nHost: {host}\r\nDPoP: x\r\nConnection: close\r\n\r\n");
        let tls = self.running.connecting(None, &self.keys, &mut Words::new())?;
        let answer = send::send(host, request.as_bytes(), tls).await?;
        let nonce = answer.header("dpop-nonce").ok_or("no nonce is offered")?;
        Ok(nonce.as_bytes().to_vec())
    }

    /// Sends the request of a case with what is presented again, and the rest made anew.
    async fn send(&mut self, case: &Case, again: &Words) -> Result<Sent, Fault> {
        self.count += 1;
        let canary = format!("canary{:08}{:016x}", self.count, fastrand());
        self.words.insert("canary".into(), canary.clone().into());
        let mut words = self.words.clone();
        words.insert(
            "resource".into(),
            format!("https://{}.example/mcp", case.server()).into(),
        );
        words.insert("method".into(), case.request.method.clone().into());
        words.insert("path".into(), case.request.path.clone().into());
        let tls = self.running.connecting(Some(case), &self.keys, &mut words)?;
        if case.proof.is_some() {
            words.insert("nonce".into(), self.nonce().await?);
        }
        let (mut secrets, mut made) = (vec![canary, "secret-of-".to_owned()], Words::new());
        for (word, kind, token) in case.presented() {
            let text = match again.get(word) {
                Some(text) => text.clone(),
                None => self.keys.token(token, kind, &words)?,
            };
            secrets.extend(tail(&text));
            if word == "subject" {
                words.insert("ath".into(), token::hash(&text));
            }
            words.insert(word.into(), text.clone());
            made.insert(word.into(), text);
        }
        self.stand.say(case, &words)?;
        let answer = send::send(&self.host, &send::bytes(case, &words)?, tls).await?;
        Ok(Sent { answer, secrets, made })
    }

    /// Neither in the answer nor in what the broker prints.
    fn nothing_came_back(&self, answer: &[u8], secrets: &[String]) -> Outcome {
        let (answer, [stdout, stderr]) = (String::from_utf8_lossy(answer), self.running.printed());
        for (place, text) in [("answer", &*answer), ("stdout", &stdout), ("stderr", &stderr)] {
            if let Some(secret) = secrets.iter().find(|secret| text.contains(*secret)) {
                return Err(format!("{secret} stands in the {place}: {text}").into());
            }
        }
        Ok(())
    }
}

/// An answer, what must come back nowhere, and what was presented by its word.
struct Sent {
    answer: send::Answer,
    secrets: Vec<String>,
    made: Words,
}

/// The end of a token, long enough to be told from anything else.
fn tail(token: &[u8]) -> Option<String> {
    let text = str::from_utf8(token).ok()?;
    let end = text.get(text.len().checked_sub(24)?..)?;
    (!end.bytes().all(|byte| byte == end.as_bytes()[0])).then(|| end.to_owned())
}

fn fastrand() -> u64 {
    let mut bytes = [0; 8];
    // Without randomness the number of the request still tells canaries apart.
    let _ = aws_lc_rs::rand::fill(&mut bytes);
    u64::from_le_bytes(bytes)
}
