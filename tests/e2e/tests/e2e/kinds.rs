//! Every kind of target beside the database through a broker that serves: minted, used, narrowed, attributed, undone.

mod hostile;
mod stage;

use std::collections::BTreeSet;

use base64::{Engine, prelude::BASE64_STANDARD};
use procura_client::{AwsCredential, Credential, Secret, VaultCredential};
use procura_e2e::{
    Fault, Testbed,
    broker::Signal,
    external::{Aws, External, Github, HIDDEN, READ, Vault},
    harness::Outcome,
};
use serde_json::{Value, json};

pub(crate) use self::hostile::names_from_tokens_reach_targets_only_as_generated_ones;
use self::stage::{CALL, Issued, Stage, exposed, leaf, refusal};

const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";

pub(crate) async fn what_vault_makes_is_used_narrowed_attributed_and_undone(testbed: &Testbed) -> Outcome {
    whole_way_at_vault(testbed, Vault::fake().await?).await
}

pub(crate) async fn what_a_real_vault_makes_is_used_narrowed_attributed_and_undone(testbed: &Testbed) -> Outcome {
    match Vault::real().await? {
        Some(vault) => whole_way_at_vault(testbed, vault).await,
        None => Ok(()),
    }
}

async fn whole_way_at_vault(testbed: &Testbed, vault: Vault) -> Outcome {
    println!("kind vault runs against {}", vault.name);
    let external = External::Vault(vault);
    let External::Vault(vault) = &external else {
        return Err("it is Vault".into());
    };
    let site = stage::site(testbed, &[&external]).await?;
    let stage = Stage::start(&site, &external).await?;
    let session = &stage.session;
    let read = session.vault("vault", READ).tool("use-vault").tool_call_id(CALL);
    let read = read.get().await?;
    let (token, accessor) = token_of(&read).await?;
    let about = vault.ask(&token, "auth/token/lookup-self").await?.expect_status(200)?;
    let handle = about.body["data"]["meta"]["procura"].clone();
    vault.ask(&token, &vault.secret_path()).await?.expect_status(200)?;

    let rows = session.vault("vault", "rows").tool("use-vault").tool_call_id(CALL);
    let rows = rows.get().await?;
    let lease = lease_of(&rows).await?;
    assert!(vault.has_lease(&lease).await?);
    let sign = |name: &str| {
        let sign = session.vault("vault", "sign").tool("use-vault").tool_call_id(CALL);
        sign.param("valid_principals", name).get()
    };
    let signed = sign("alice").await?;
    assert_eq!(principals(&signed).await?, ["alice"]);
    stage
        .refuses(async || refusal(sign("mallory").await), "invalid_authorization_details")
        .await?;
    stage
        .refuses(
            async || refusal(session.vault("vault", HIDDEN).get().await),
            "invalid_scope",
        )
        .await?;

    let alices = Issued::alices(&stage, read.issuance_id())?;
    let handle = handle.as_str().ok_or("no handle")?;
    stage.leads_to(&[handle], "", &alices).await?;
    stage.leads_to(&["--known-as", &accessor], "", &alices).await?;
    let of_rows = Issued::alices(&stage, rows.issuance_id())?;
    stage.leads_to(&["--known-as", &lease], "", &of_rows).await?;
    stage.bobs_value_leads_back().await?;

    let said = stage.end().await?;
    assert_eq!(said(read.issuance_id()), ("done".to_owned(), "gone".to_owned(), false));
    assert_eq!(said(rows.issuance_id()), ("done".to_owned(), "gone".to_owned(), false));
    let certificate = said(signed.issuance_id());
    assert_eq!(certificate, ("until".to_owned(), "undoing".to_owned(), true));
    assert_eq!(vault.ask(&token, "auth/token/lookup-self").await?.status, 403);
    assert!(!vault.has_lease(&lease).await?);
    stage.over().await
}

/// Token and accessor.
async fn token_of(credential: &Credential<VaultCredential>) -> Result<(String, String), Fault> {
    let used = credential.begin(CALL).await?;
    match used.value() {
        VaultCredential::Token { token, accessor, .. } => Ok((exposed(token), accessor.clone())),
        VaultCredential::Secret { .. } => Err("no token".into()),
    }
}

async fn lease_of(credential: &Credential<VaultCredential>) -> Result<String, Fault> {
    let used = credential.begin(CALL).await?;
    assert!(used.value().field("username").is_some() && used.value().field("password").is_some());
    match used.value() {
        VaultCredential::Secret { lease_id, .. } => Ok(lease_id.clone().ok_or("no lease")?),
        VaultCredential::Token { .. } => Err("a token".into()),
    }
}

/// Which of the users that the engine signs for are in the certificate.
async fn principals(credential: &Credential<VaultCredential>) -> Result<Vec<&'static str>, Fault> {
    let used = credential.begin(CALL).await?;
    let line = exposed(&used.value().field("signed_key").ok_or("no certificate")?);
    let blob = BASE64_STANDARD.decode(line.split_ascii_whitespace().nth(1).unwrap_or_default())?;
    let holds = |name: &&str| blob.windows(name.len()).any(|part| part == name.as_bytes());
    Ok(["alice", "bob"].into_iter().filter(holds).collect())
}

pub(crate) async fn a_session_of_aws_is_used_narrowed_attributed_and_lives_until_it_lapses(
    testbed: &Testbed,
) -> Outcome {
    whole_way_at_aws(testbed, Aws::start(false).await?, ("until", "undoing", true)).await
}

pub(crate) async fn a_session_of_aws_is_denied_everything_where_the_bundle_lets_it(testbed: &Testbed) -> Outcome {
    whole_way_at_aws(testbed, Aws::start(true).await?, ("done", "gone", false)).await
}

async fn whole_way_at_aws(testbed: &Testbed, aws: Aws, (status, state, lapses): (&str, &str, bool)) -> Outcome {
    let external = External::Aws(aws);
    let External::Aws(aws) = &external else {
        return Err("it is AWS".into());
    };
    let site = stage::site(testbed, &[&external]).await?;
    let stage = Stage::start(&site, &external).await?;
    let session = &stage.session;
    let read = session.aws("aws", READ).tool("use-aws").tool_call_id(CALL);
    let read = read.get().await?;
    let arn = aws.identity(&document_of(&read).await?).await?;
    let (role, handle) = arn.rsplit_once('/').ok_or("no session in the ARN")?;
    assert!(role.ends_with(&format!("assumed-role/{}", aws.role)), "{arn}");
    let asked = aws.asked().pop().unwrap_or_default();
    for name in ["RoleSessionName", "SourceIdentity"] {
        assert_eq!(asked.get(name).map(String::as_str), Some(handle), "{name}");
    }

    let list = |prefix: &str| {
        let list = session.aws("aws", "list").tool("use-aws").tool_call_id(CALL);
        list.param("prefix", json!([prefix])).get()
    };
    let listed = list("2026/").await?;
    let asked = aws.asked().pop().unwrap_or_default();
    let policy: Value = serde_json::from_str(asked.get("Policy").ok_or("no session policy")?)?;
    let condition = &policy["Statement"][0]["Condition"]["StringEquals"]["s3:prefix"];
    assert!(*condition == json!(["2026/"]) || *condition == "2026/", "{policy}");
    let outside = async || refusal(list("../").await);
    stage.refuses(outside, "invalid_authorization_details").await?;
    stage
        .refuses(
            async || refusal(session.aws("aws", HIDDEN).get().await),
            "invalid_scope",
        )
        .await?;

    let alices = Issued::alices(&stage, read.issuance_id())?;
    for clue in [handle, &arn] {
        stage.leads_to(&[clue], "", &alices).await?;
    }
    stage.bobs_value_leads_back().await?;

    let said = stage.end().await?;
    for issuance in [read.issuance_id(), listed.issuance_id()] {
        assert_eq!(said(issuance), (status.to_owned(), state.to_owned(), lapses));
    }
    match status {
        "done" => is_denied(aws, handle).await?,
        _ => assert!(aws.policies().await?.is_empty()),
    }
    stage.over().await
}

/// The role has a policy that denies this session everything, and bob's goes on: the other policy is alice's second one.
async fn is_denied(aws: &Aws, handle: &str) -> Outcome {
    let policies = aws.policies().await?;
    assert_eq!(policies.len(), 2, "{policies:?}");
    let denial: Value = serde_json::from_str(policies.get(handle).ok_or("no policy denies it")?)?;
    let statement = &denial["Statement"];
    assert_eq!(
        (&statement["Effect"], &statement["Action"]),
        (&json!("Deny"), &json!("*"))
    );
    let condition = &statement["Condition"];
    assert_eq!(condition["StringLike"]["aws:userid"], format!("*:{handle}"));
    assert!(condition["DateLessThan"]["aws:TokenIssueTime"].is_string(), "{denial}");
    Ok(())
}

/// As an SDK reads it.
async fn document_of(credential: &Credential<AwsCredential>) -> Result<Value, Fault> {
    let used = credential.begin(CALL).await?;
    let value = used.value();
    Ok(json!({
        "AccessKeyId": value.access_key_id,
        "SecretAccessKey": exposed(&value.secret_access_key),
        "SessionToken": exposed(&value.session_token),
    }))
}

pub(crate) async fn a_token_of_github_is_used_narrowed_attributed_and_revoked(testbed: &Testbed) -> Outcome {
    let external = External::Github(Github::start()?);
    let External::Github(github) = &external else {
        return Err("it is GitHub".into());
    };
    let site = stage::site(testbed, &[&external]).await?;
    let stage = Stage::start(&site, &external).await?;
    let session = &stage.session;
    let ask = |ids: &[&str]| {
        let read = session.github_app("github-app", READ).tool("use-github-app");
        read.tool_call_id(CALL).param("repositories", json!(ids)).get()
    };
    let read = ask(&["102"]).await?;
    let token = secret_of(&read).await?;
    let reply = github.ask(&token).await?.expect_status(200)?;
    let ids: Vec<_> = reply.body["repositories"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|one| &one["id"])
        .collect();
    assert_eq!(ids, [102], "narrowed to the one that was asked for");
    let outside = async || refusal(ask(&["999"]).await);
    stage.refuses(outside, "invalid_authorization_details").await?;
    let hidden = async || refusal(session.github_app("github-app", HIDDEN).get().await);
    stage.refuses(hidden, "invalid_scope").await?;

    let alices = Issued::alices(&stage, read.issuance_id())?;
    let record = stage.record(read.issuance_id()).await?;
    let handle = leaf(&record)?["handle"].clone();
    stage
        .leads_to(&[handle.as_str().ok_or("no handle")?], "", &alices)
        .await?;
    stage.leads_to(&["-"], &token, &alices).await?;
    stage.bobs_value_leads_back().await?;

    let said = stage.end().await?;
    assert_eq!(said(read.issuance_id()), ("done".to_owned(), "gone".to_owned(), false));
    assert_eq!(github.ask(&token).await?.status, 401);
    assert_eq!(github.server.live(), 1, "bob's works on");
    stage.over().await
}

async fn secret_of(credential: &Credential<Secret>) -> Result<String, Fault> {
    Ok(exposed(credential.begin(CALL).await?.value()))
}

pub(crate) async fn a_session_of_aws_is_served_again_for_the_same_and_for_nothing_else(testbed: &Testbed) -> Outcome {
    let external = External::Aws(Aws::start(false).await?);
    let External::Aws(aws) = &external else {
        return Err("it is AWS".into());
    };
    let site = stage::site(testbed, &[&external]).await?;
    let broker = site.start().await?;
    let (alice, bob, agent) = (site.user("alice")?, site.user("bob")?, site.user("triage-bot")?);
    let ask = async |token: &str, grant: &str, more: &[(&str, &str)]| {
        let reply = broker.exchange_for(token, ("aws", grant), more).await?;
        reply.expect_status(200)
    };
    let first = ask(&alice, READ, &[("tool_call_id", "1")]).await?;
    let again = ask(&alice, READ, &[("tool_call_id", "2")]).await?;
    assert_eq!(first.text("access_token"), again.text("access_token"));
    assert_eq!(aws.asked().len(), 1, "AWS was asked once");
    let record = broker
        .api(&format!("/issuances/{}", again.text("issuance_id")))
        .await?
        .expect_status(200)?;
    assert_eq!(record.text("about"), first.text("issuance_id"));
    assert_eq!(leaf(&record.body)?["tool_call"], "2");

    let narrowed = |year: &str| format!(r#"[{{"type":"aws","prefix":["{year}/"]}}]"#);
    let (older, newer) = (narrowed("2025"), narrowed("2026"));
    let actor = [("actor_token", &*agent), ("actor_token_type", ACCESS_TOKEN)];
    let mut issued = vec![
        first,
        ask(&bob, READ, &[]).await?,
        ask(&alice, READ, &actor).await?,
        ask(&alice, "list", &[("authorization_details", &older)]).await?,
        ask(&alice, "list", &[("authorization_details", &newer)]).await?,
    ];
    let again = ask(&alice, "list", &[("authorization_details", &newer)]).await?;
    assert_eq!(issued[4].text("access_token"), again.text("access_token"));

    let before = broker.readiness().await?.text("bundle").to_owned();
    site.amend("policies/targets/aws.toml", |text| {
        text.replace("s3:ListBucket", "s3:ListBucketVersions")
    })?;
    broker.signal(Signal::HUP)?;
    broker
        .until(async |broker| Ok((broker.readiness().await?.text("bundle") != before).then_some(())))
        .await?;
    issued.push(ask(&alice, READ, &[]).await?);
    let different: BTreeSet<_> = issued.iter().map(|reply| reply.text("access_token")).collect();
    assert_eq!((different.len(), aws.asked().len()), (6, 6));
    let policy = aws.asked().pop().and_then(|mut form| form.remove("Policy"));
    assert!(policy.is_some_and(|policy| policy.contains("s3:ListBucketVersions")));
    Ok(())
}
