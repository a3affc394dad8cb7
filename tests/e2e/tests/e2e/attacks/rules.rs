//! What holds for every answer, and what a case expects of its own.

use procura_e2e::{Fault, harness::Outcome};
use serde_json::Value;

use super::{case::Expect, running::Running, send::Answer};

/// The newest records: of all, and of what was issued.
#[derive(PartialEq, Eq)]
pub(super) struct Newest {
    all: Value,
    issued: Value,
}

impl Newest {
    /// Asks the log.
    pub(super) async fn read(broker: &Running<'_>) -> Result<Self, Fault> {
        let one = async |query: &str| {
            let page = broker
                .api(&format!("/issuances?limit=1{query}"))
                .await?
                .expect_status(200)?;
            Ok::<_, Fault>(page.body["issuances"][0].clone())
        };
        let (all, issued) = (one("").await?, one("&outcome=issued").await?);
        Ok(Self { all, issued })
    }
}

/// Compares an answer and the log with what is expected.
pub(super) fn check(expect: &Expect, answer: &Answer, (before, after): (&Newest, &Newest)) -> Outcome {
    let fail = |what: &str| Err(format!("{what}: {}", String::from_utf8_lossy(&answer.bytes)).into());
    if answer.status != expect.status {
        return fail(&format!("status {}, expected {}", answer.status, expect.status));
    }
    if (before.issued["id"] != after.issued["id"]) != expect.minted {
        return fail(if expect.minted {
            "nothing was minted"
        } else {
            "something was minted"
        });
    }
    for (name, value) in &expect.headers {
        if answer.header(name) != Some(value) {
            return fail(&format!("header {name} is {:?}, expected {value}", answer.header(name)));
        }
    }
    for (name, value) in &expect.body {
        let expected = serde_json::to_value(value)?;
        if answer.body[name] != expected {
            return fail(&format!("{name} is not {expected}"));
        }
    }
    if answer.status == 0 || expect.plain {
        return Ok(());
    }
    if answer.header("cache-control") != Some("no-store") || answer.header("x-content-type-options") != Some("nosniff")
    {
        return fail("it may be stored or sniffed");
    }
    if answer.status >= 400 {
        refusal(expect, answer, (before, after))
    } else {
        Ok(())
    }
}

fn refusal(expect: &Expect, answer: &Answer, (before, after): (&Newest, &Newest)) -> Outcome {
    let fail = |what: &str| Err(format!("{what}: {}", String::from_utf8_lossy(&answer.bytes)).into());
    if answer.header("content-type") != Some("application/json") {
        return fail("it is no JSON");
    }
    if (answer.text("error"), answer.text("reason")) != (&expect.error, &expect.reason) {
        return fail(&format!("expected {} and {}", expect.error, expect.reason));
    }
    let trace = answer.text("trace_id");
    if trace.len() != 32 || !trace.bytes().all(|c| c.is_ascii_hexdigit()) {
        return fail("no trace id");
    }
    let plain = |c: u8| matches!(c, 0x20..=0x21 | 0x23..=0x5b | 0x5d..=0x7e);
    if !answer.text("error_description").bytes().all(plain) {
        return fail("characters that error_description may not have");
    }
    // Refusals of authenticated callers are records; of others there are none, so that strangers cannot fill the log.
    match (answer.text("issuance_id"), before.all["id"] != after.all["id"]) {
        ("", false) => Ok(()),
        ("", true) => fail("a record that the answer does not name"),
        (id, true) if after.all["id"] == id => {
            let expected = expect.log.as_ref().unwrap_or(&expect.reason);
            if after.all["reason"] != expected.as_str() {
                return fail(&format!("the record says {}, expected {expected}", after.all["reason"]));
            }
            let cause = cause(&after.all)?;
            match expect.cause.as_ref().is_none_or(|expected| cause == expected.as_str()) {
                true => Ok(()),
                false => fail(&format!("the record has the cause {cause}")),
            }
        }
        _ => fail("no record"),
    }
}

/// The member of the leaf.
fn cause(record: &Value) -> Result<Value, Fault> {
    let leaf: Value = serde_json::from_str(record["leaf"].as_str().unwrap_or_default())?;
    Ok(leaf["cause"].clone())
}
