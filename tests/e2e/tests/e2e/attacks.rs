//! The corpus of `tests/attacks/`, over TCP against the broker. `--attack=TEXT` runs the cases whose names hold it.

mod bundles;
mod case;
mod presented;
mod rules;
mod send;
mod stand;
mod text;
mod token;

use std::{collections::BTreeSet, fs, path::Path};

use procura_e2e::{
    Fault, Testbed,
    broker::{Broker, Launch},
    harness::Outcome,
};
use tempfile::TempDir;

use self::{
    case::{Case, Expect, Named},
    rules::Newest,
    stand::Stand,
    text::Words,
    token::Keys,
};

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../attacks");

/// Every request, each with a line of its own.
pub(crate) async fn every_request_ends_as_its_file_says_and_nothing_is_minted(testbed: &Testbed) -> Outcome {
    let chosen = chosen(|case| case.bundle.is_none())?;
    let mut world = World::start(testbed).await?;
    let mut failed = Vec::new();
    for Named { name, case } in &chosen {
        let outcome = world.run(case).await;
        tell(name, case, outcome, &mut failed);
    }
    world.broker.stop().await?;
    conclude(chosen.len(), &failed)
}

/// Every bundle, each with a line of its own.
pub(crate) async fn every_bundle_is_judged_as_its_file_says(testbed: &Testbed) -> Outcome {
    let chosen = chosen(|case| case.bundle.is_some())?;
    let (mut words, keys, dir) = (Words::new(), Keys::new()?, TempDir::new()?);
    words.insert("tls".into(), "https://127.0.0.1".into());
    let stand = Stand::start(Path::new(ROOT), &keys, &mut words).await?;
    let whole = dir.path().join("whole");
    bundles::write(Path::new(ROOT), &stand, &words, &whole)?;
    let mut failed = Vec::new();
    for Named { name, case } in &chosen {
        if let Some(bundle) = &case.bundle {
            let outcome = bundles::check(testbed.broker(), &whole, (bundle, &case.expect), &words);
            tell(name, case, outcome, &mut failed);
        }
    }
    conclude(chosen.len(), &failed)
}

/// The cases of one sort that the command line asks for.
fn chosen(sort: impl Fn(&Case) -> bool) -> Result<Vec<Named>, Fault> {
    let asked = std::env::args().find_map(|argument| argument.strip_prefix("--attack=").map(str::to_owned));
    let mut cases = case::all(Path::new(ROOT))?;
    every_family_has_a_control(&cases)?;
    let asked = asked.unwrap_or_default();
    cases.retain(|named| named.name.contains(&asked) && sort(&named.case));
    Ok(cases)
}

fn tell(name: &str, case: &Case, outcome: Outcome, failed: &mut Vec<String>) {
    match outcome {
        Ok(()) => println!("attack {name} ... ok"),
        Err(fault) => {
            println!("attack {name} ... FAILED ({})\n{fault:.3000}\n", case.title);
            failed.push(name.to_owned());
        }
    }
}

fn conclude(count: usize, failed: &[String]) -> Outcome {
    println!("{count} attacks, {} failed", failed.len());
    if failed.is_empty() {
        Ok(())
    } else {
        Err(format!("failed: {}", failed.join(", ")).into())
    }
}

/// Refusals prove something only beside what is issued by the same means.
fn every_family_has_a_control(all: &[Named]) -> Outcome {
    fn family(named: &Named) -> &str {
        named.name.split('/').next().unwrap_or_default()
    }
    let good = |named: &&Named| named.case.expect.minted || named.case.expect.exit == Some(0);
    let controlled: BTreeSet<&str> = all.iter().filter(good).map(family).collect();
    match all.iter().find(|named| !controlled.contains(family(named))) {
        Some(named) => Err(format!("{} has no case that succeeds", family(named)).into()),
        None => Ok(()),
    }
}

/// The broker, its issuers, and what cases may refer to.
struct World {
    broker: Broker,
    launch: Launch,
    stand: Stand,
    keys: Keys,
    words: Words,
    host: String,
    count: u32,
}

impl World {
    async fn start(testbed: &Testbed) -> Result<Self, Fault> {
        let (mut words, keys) = (Words::new(), Keys::new()?);
        words.insert("tls".into(), testbed.issuer().await?.url.clone().into());
        let stand = Stand::start(Path::new(ROOT), &keys, &mut words).await?;
        let launch = testbed.dev()?;
        bundles::write(Path::new(ROOT), &stand, &words, &launch.dir().join("policies"))?;
        let launch = launch.arg("--policies").arg("policies");
        let broker = launch.start().await?;
        let host = broker.dev.issuer.trim_start_matches("http://").to_owned();
        words.insert("broker".into(), broker.dev.issuer.clone().into());
        words.insert("host".into(), host.clone().into());
        words.insert("operator".into(), broker.dev.operator_token.clone().into());
        let mut world = Self {
            broker,
            launch,
            stand,
            keys,
            words,
            host,
            count: 0,
        };
        world.prepare().await?;
        Ok(world)
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

    async fn run(&mut self, case: &Case) -> Outcome {
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
        let mut before = Newest::read(&self.broker).await?;
        let mut sent = self.send(case, again).await?;
        let mut after = Newest::read(&self.broker).await?;
        for _ in 1..times {
            before = after;
            sent = self.send(case, again).await?;
            after = Newest::read(&self.broker).await?;
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
        let answer = send::send(host, request.as_bytes()).await?;
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
        let answer = send::send(&self.host, &send::bytes(case, &words)?).await?;
        Ok(Sent { answer, secrets, made })
    }

    /// Neither in the answer nor in what the broker prints.
    fn nothing_came_back(&self, answer: &[u8], secrets: &[String]) -> Outcome {
        let printed = fs::read_to_string(self.launch.dir().join("stdout")).unwrap_or_default();
        let (answer, stderr) = (String::from_utf8_lossy(answer), self.broker.stderr());
        for (place, text) in [("answer", &*answer), ("stdout", &printed), ("stderr", &stderr)] {
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
