//! `procura policy explain --issuance`: what decided then, whatever is in force now.

use std::{
    fs,
    process::{Command, Output},
    time::Duration,
};

use procura_e2e::{
    Fault, Testbed,
    broker::{Broker, Launch},
    harness::Outcome,
    http::exchange,
};

struct Shell<'a> {
    launch: &'a Launch,
    program: &'a std::path::Path,
}

impl Shell<'_> {
    fn policy(&self, arguments: &[&str]) -> Result<(Option<i32>, String), Fault> {
        let mut command = Command::new(self.program);
        command.arg("policy").args(arguments).current_dir(self.launch.dir());
        let Output { status, stdout, stderr } = command.output()?;
        Ok((status.code(), String::from_utf8(stdout)? + &String::from_utf8(stderr)?))
    }

    fn explain(&self, issuance: &str) -> Result<(Option<i32>, String), Fault> {
        self.policy(&["explain", "--issuance", issuance])
    }
}

/// The id of the record of an exchange, issued or refused.
async fn ask(broker: &Broker, grant: &str, tool: &str) -> Result<String, Fault> {
    let token = broker.subject_token().await?;
    let mut fields = exchange(&token, &broker.dev.audience, grant);
    fields.push(("tool", tool));
    Ok(broker.exchange(&fields).await?.text("issuance_id").to_owned())
}

pub(crate) async fn a_record_is_explained_by_the_bundle_that_decided(testbed: &Testbed) -> Outcome {
    let launch = testbed.dev()?;
    let broker = launch.start().await?;
    let shell = Shell {
        launch: &launch,
        program: testbed.broker(),
    };
    let issued = ask(&broker, "read-tickets", "list_tickets").await?;
    let denied = ask(&broker, "write-tickets", "close_ticket").await?;
    let unlisted = ask(&broker, "delete-tickets", "close_ticket").await?;
    let undeclared = ask(&broker, "read-tickets", "no_such_tool").await?;

    // The policy changes; the records stand.
    let rule = launch.dir().join("policies/dev/rules/support.cedar");
    let text = fs::read_to_string(&rule)?;
    fs::write(&rule, text.replace("support-reads-tickets", "support-reads"))?;
    for name in ["support", "sre"] {
        let cases = launch.dir().join(format!("policies/dev/tests/{name}.toml"));
        let text = fs::read_to_string(&cases)?;
        fs::write(&cases, text.replace("support-reads-tickets", "support-reads"))?;
    }
    let mut after = String::new();
    for _ in 0..250 {
        after = shell.explain(&ask(&broker, "read-tickets", "list_tickets").await?)?.1;
        if after.contains("permit by support-reads\n") {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(after.contains("permit by support-reads\n"), "{after}");

    for (id, code, says) in [
        (&issued, 0, "permit by support-reads-tickets\n"),
        (
            &denied,
            1,
            "sre-works-on-tickets does not, because this is false: principal in Group::\"dev/sre\"",
        ),
        (&unlisted, 1, "api/delete-tickets: deny: The grant"),
        (&undeclared, 1, "tool.not_declared"),
    ] {
        let (exit, text) = shell.explain(id)?;
        assert!(exit == Some(code) && text.contains(says), "{text}");
    }
    let (exit, _) = shell.explain("01890a5d-ac96-774b-bcce-b302099a8057")?;
    assert_eq!(exit, Some(1), "no such record");

    // As tests of the bundle that decided.
    fs::write(&rule, text)?;
    for name in ["support", "sre"] {
        let cases = launch.dir().join(format!("policies/dev/tests/{name}.toml"));
        let text = fs::read_to_string(&cases)?;
        fs::write(&cases, text.replace("support-reads", "support-reads-tickets"))?;
    }
    let mut cases = String::new();
    for id in [&issued, &denied, &unlisted] {
        let (exit, case) = shell.policy(&["explain", "--as-case", "--issuance", id])?;
        assert_eq!(exit, Some(0), "{case}");
        cases += &case;
    }
    fs::write(launch.dir().join("policies/dev/tests/recorded.toml"), &cases)?;
    let (exit, text) = shell.policy(&["test"])?;
    assert!(
        exit == Some(0) && text.contains("recorded.toml: issuance"),
        "{cases}{text}"
    );
    Ok(())
}

pub(crate) async fn a_bundle_is_given_to_operators_by_its_digest(testbed: &Testbed) -> Outcome {
    let launch = testbed.dev()?;
    let broker = launch.start().await?;
    let issued = ask(&broker, "read-tickets", "list_tickets").await?;
    let leaf: serde_json::Value = serde_json::from_str(broker.record(&issued).await?.text("leaf"))?;
    let digest = leaf["bundle"].as_str().unwrap_or_default().to_owned();
    let url = format!("{}/bundles/{digest}", broker.dev.api);
    let get = |token: String| broker.http.get(&url).bearer_auth(token).send();
    let answer = get(broker.dev.operator_token.clone()).await?.error_for_status()?;
    assert_eq!(answer.headers()["content-type"], "application/octet-stream");
    assert!(answer.bytes().await?.starts_with(b"procura bundle 1\n"));
    assert_eq!(get(broker.subject_token().await?).await?.status(), 401);
    for unknown in ["x", &digest.replace(|digit: char| digit.is_ascii_hexdigit(), "0")] {
        broker.api(&format!("/bundles/{unknown}")).await?.expect_status(404)?;
    }

    // Who may read the log only may not.
    let rule = launch.dir().join("policies/dev/rules/operators.cedar");
    let text = fs::read_to_string(&rule)?;
    fs::write(&rule, text.replace(", Action::\"explain_policy\"", ""))?;
    for _ in 0..250 {
        if get(broker.dev.operator_token.clone()).await?.status() == 403 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(get(broker.dev.operator_token.clone()).await?.status(), 403);
    broker.record(&issued).await?.expect_status(200)?;
    Ok(())
}
