//! A running broker with a target, a session of alice's there, and what everybody can ask about it.

use procura_client::{Client, Error, Secret, Session};
use procura_e2e::{
    Fault, Testbed,
    external::{External, READ},
    harness::Outcome,
    serve::{Replica, SERVER, Site, Store},
};
use serde_json::{Value, json};

/// The tool call that credentials are asked for.
pub(super) const CALL: &str = "call-7";

/// A site that serves these targets, by TLS.
pub(super) async fn site<'a>(testbed: &'a Testbed, targets: &[&External]) -> Result<Site<'a>, Fault> {
    let mut site = Site::new(testbed, testbed.postgres().await?.target().await?, &Store::Sqlite).await?;
    site.speak_tls()?;
    for target in targets {
        site.add(target)?;
    }
    Ok(site)
}

pub(super) struct Stage<'a> {
    site: &'a Site<'a>,
    external: &'a External,
    broker: Replica<'a>,
    client: Client,
    /// Alice's.
    pub(super) session: Session,
}

/// What a clue must lead to.
pub(super) struct Issued {
    pub(super) issuance: String,
    session: String,
    user: &'static str,
}

impl Issued {
    pub(super) fn alices(stage: &Stage<'_>, issuance: &str) -> Result<Self, Fault> {
        Ok(Self {
            issuance: issuance.to_owned(),
            session: stage.session.id().ok_or("no session")?,
            user: "alice",
        })
    }
}

impl<'a> Stage<'a> {
    pub(super) async fn start(site: &'a Site<'a>, external: &'a External) -> Result<Self, Fault> {
        let broker = site.start().await?;
        let client = site.client()?;
        let session = client.session(Secret::new(site.user("alice")?));
        Ok(Self {
            site,
            external,
            broker,
            client,
            session,
        })
    }

    /// The request is refused with that error, and nothing is made at the target.
    pub(super) async fn refuses(&self, ask: impl AsyncFn() -> Result<String, Fault>, error: &str) -> Outcome {
        let before = self.external.made().await?;
        assert_eq!(ask().await?, error);
        assert_eq!(self.external.made().await?, before, "refused, and made");
        Ok(())
    }

    pub(super) async fn record(&self, issuance: &str) -> Result<Value, Fault> {
        let reply = self.broker.api(&format!("/issuances/{issuance}")).await?;
        Ok(reply.expect_status(200)?.body)
    }

    /// `procura whois` leads from these arguments to the issuance and all that stands around it.
    pub(super) async fn leads_to(&self, arguments: &[&str], stdin: &str, issued: &Issued) -> Outcome {
        let (kind, subject) = (self.external.kind(), format!("dev/{}", issued.user));
        let whois = [&["whois"], arguments].concat();
        let answer = self.site.procura(&[&whois[..], &["--json"]].concat(), stdin)?.json(0)?;
        let record = &answer["record"];
        let shown = json!([
            answer["id"],
            answer["status"],
            record["session"],
            record["subject"],
            record["server"],
            record["tool"],
            record["target"]
        ]);
        let expected = json!([
            issued.issuance,
            "live",
            issued.session,
            subject,
            SERVER,
            format!("use-{kind}"),
            kind
        ]);
        assert_eq!(shown, expected, "{arguments:?}");
        let leaf = leaf(record)?;
        let bundle = self.broker.readiness().await?.text("bundle").to_owned();
        let decided = json!([leaf["tool_call"], leaf["rules"], leaf["bundle"]]);
        assert_eq!(decided, json!([CALL, [format!("support-uses-{kind}")], bundle]));
        let page = self.site.procura(&whois, stdin)?;
        for part in [&*subject, CALL, &*issued.session, &*bundle] {
            assert!(page.stdout.contains(part), "{part} is not on the page: {page:?}");
        }
        Ok(())
    }

    /// What bob was issued leads back to him, given as a value, which is on no command line.
    pub(super) async fn bobs_value_leads_back(&self) -> Outcome {
        let kind = self.external.kind();
        let (bob, tool) = (self.site.user("bob")?, format!("use-{kind}"));
        let more = [("tool", &*tool), ("tool_call_id", CALL)];
        let reply = self.broker.exchange_for(&bob, (kind, READ), &more).await?;
        let reply = reply.expect_status(200)?;
        assert!(self.external.takes(reply.text("access_token")).await?);
        let issued = Issued {
            issuance: reply.text("issuance_id").to_owned(),
            session: reply.text("session").to_owned(),
            user: "bob",
        };
        self.leads_to(&["-"], reply.text("access_token"), &issued).await
    }

    /// Ends alice's session as the operator. Answers, of an issuance: what the report says, the state of its lease, and
    /// whether the lease says when it ends by itself.
    pub(super) async fn end(&self) -> Result<impl Fn(&str) -> (String, String, bool), Fault> {
        let session = self.session.id().ok_or("no session")?;
        let report = self
            .site
            .procura(&["session", "end", &session, "--json"], "")?
            .json(0)?;
        let target = self.external.kind();
        let list = ["lease", "list", "--target", target, "--json"];
        let leases = self.site.procura(&list, "")?.json(0)?;
        let member = |list: &Value, key: &str, id: &str, member: &str| -> Value {
            let mut all = list.as_array().into_iter().flatten();
            let found = all.find(|one| one[key] == id);
            found.map(|one| one[member].clone()).unwrap_or_default()
        };
        let text = |value: Value| value.as_str().unwrap_or_default().to_owned();
        Ok(move |id: &str| {
            let status = text(member(&report["credentials"], "issuance", id, "status"));
            let state = text(member(&leases["leases"], "id", id, "state"));
            // A lease that is gone says nothing of an end that does not come.
            let lapses = state != "gone" && !member(&leases["leases"], "id", id, "lapses").is_null();
            (status, state, lapses)
        })
    }

    pub(super) async fn over(&self) -> Outcome {
        Ok(self.client.shutdown().await?)
    }
}

/// The error of the broker's refusal.
pub(super) fn refusal<T>(outcome: Result<T, Error>) -> Result<String, Fault> {
    match outcome {
        Ok(_) => Err("it was issued".into()),
        Err(error) => match error.refusal() {
            Some(refusal) => Ok(refusal.body.error.clone()),
            None => Err(error.into()),
        },
    }
}

/// The leaf of a record.
pub(super) fn leaf(record: &Value) -> Result<Value, Fault> {
    Ok(serde_json::from_str(record["leaf"].as_str().unwrap_or_default())?)
}

#[expect(clippy::disallowed_methods, reason = "the test uses it as a tool does")]
pub(super) fn exposed(secret: &Secret) -> String {
    secret.expose().to_owned()
}
