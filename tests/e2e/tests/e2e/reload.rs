//! The bundle and the certificate change while the broker serves.

use std::{cell::Cell, collections::BTreeMap, fs, time::Duration};

use futures_util::future::try_join_all;
use procura_e2e::{
    Fault, Testbed,
    broker::Signal,
    harness::Outcome,
    serve::{Replica, Site, Store},
};
use serde_json::Value;

const CALLERS: u32 = 4;
const TARGET: &str = "policies/targets/api.toml";
/// Minutes that the grant gives, bundle after bundle.
const MINUTES: [u64; 3] = [5, 4, 3];
const LOOK: Duration = Duration::from_millis(20);

pub(crate) async fn a_changed_bundle_is_in_force_at_sighup_and_no_exchange_fails(testbed: &Testbed) -> Outcome {
    let site = site(testbed).await?;
    let broker = site.start().await?;
    let (over, answered) = (Cell::new(false), Cell::new(0));
    let callers = (0..CALLERS).map(|number| call(&broker, number, &over, &answered));
    let (digests, calls) = futures_util::join!(
        async {
            let digests = change(&site, &broker, &answered).await;
            over.set(true);
            digests
        },
        try_join_all(callers)
    );
    let (digests, calls) = (digests?, calls?);
    let records = bundles(&broker).await?;
    for (issuance, minutes) in calls.iter().flatten() {
        let bundle = digests.iter().position(|digest| Some(digest) == records.get(issuance));
        assert_eq!(bundle.map(|bundle| MINUTES[bundle]), Some(*minutes), "{issuance}");
    }
    for minutes in MINUTES {
        let some = calls.iter().flatten().any(|(_, given)| *given == minutes);
        assert!(some, "nothing was issued for {minutes} minutes");
    }
    for minutes in calls.iter().map(|calls| calls.iter().map(|(_, minutes)| *minutes)) {
        assert!(
            minutes.is_sorted_by(|before, after| before >= after),
            "an old bundle came back"
        );
    }
    Ok(())
}

pub(crate) async fn a_broken_bundle_is_refused_and_the_last_good_one_goes_on(testbed: &Testbed) -> Outcome {
    let site = site(testbed).await?;
    site.seal()?;
    let broker = site.start().await?;
    let first = bundle(&broker).await?;

    site.amend(TARGET, |text| format!("surprise = 1\n{text}"))?;
    site.seal()?;
    broker.signal(Signal::HUP)?;
    refused(&broker, "targets/api.toml:1:1: `surprise` is not a key here").await?;
    goes_on(&broker, &first).await?;

    // Good, but it may be half a checkout: the sum is not its own.
    site.amend(TARGET, |text| {
        text.replace("surprise = 1\n", "").replace("\"5m\"", "\"4m\"")
    })?;
    broker.signal(Signal::HUP)?;
    refused(
        &broker,
        "targets/api.toml:1:1: the file is not the one that bundle.sum was made for",
    )
    .await?;
    goes_on(&broker, &first).await?;

    // The sum is watched: no signal is needed.
    site.seal()?;
    let second = in_force_after(&broker, &first).await?;
    let ready = broker.readiness().await?.expect_status(200)?;
    assert_eq!(ready.body["degraded"], false, "{}", ready.body);
    goes_on(&broker, &second).await
}

pub(crate) async fn a_renewed_certificate_is_taken_up_and_a_broken_one_is_not(testbed: &Testbed) -> Outcome {
    let mut site = site(testbed).await?;
    site.speak_tls()?;
    let broker = site.start().await?;
    let first = broker.certificate(true).await?;

    site.renew_certificate()?;
    assert_eq!(broker.certificate(false).await?, first, "it is asked to read it");
    broker.signal(Signal::HUP)?;
    let second = broker
        .until(async |broker| {
            let shown = broker.certificate(false).await?;
            Ok((shown != first).then_some(shown))
        })
        .await?;
    assert_eq!(broker.certificate(true).await?, first, "a connection lives on");

    let good = fs::read_to_string(site.path("cert.pem"))?;
    for (number, broken) in [good.replace("MII", "XII"), String::new()].iter().enumerate() {
        fs::write(site.path("cert.pem"), broken)?;
        refused_certificate(&broker, number + 1).await?;
        assert_eq!(broker.certificate(false).await?, second);
    }
    // The key of another certificate.
    site.renew_certificate()?;
    fs::write(site.path("cert.pem"), good)?;
    refused_certificate(&broker, 3).await?;
    assert_eq!(broker.certificate(false).await?, second);
    broker
        .exchange_at("alice", "api", "read-tickets")
        .await?
        .expect_status(200)
        .map(drop)
}

async fn site(testbed: &Testbed) -> Result<Site<'_>, Fault> {
    Site::new(testbed, testbed.postgres().await?.target().await?, &Store::Sqlite).await
}

/// Changes the bundle as it is and by SIGHUP, then sealed; answers the digests in their order.
async fn change(site: &Site<'_>, broker: &Replica<'_>, answered: &Cell<u32>) -> Result<Vec<String>, Fault> {
    let mut digests = vec![bundle(broker).await?];
    for minutes in MINUTES.windows(2) {
        some_answered(answered).await;
        let [before, after] = [minutes[0], minutes[1]].map(|minutes| format!("ttl = \"{minutes}m\""));
        site.amend(TARGET, |text| text.replacen(&before, &after, 1))?;
        if digests.len() == 2 {
            site.seal()?;
        }
        broker.signal(Signal::HUP)?;
        digests.push(in_force_after(broker, &digests[digests.len() - 1]).await?);
    }
    some_answered(answered).await;
    Ok(digests)
}

/// Waits until every caller was answered a few times.
async fn some_answered(answered: &Cell<u32>) {
    let enough = answered.get() + 5 * CALLERS;
    while answered.get() < enough {
        tokio::time::sleep(LOOK).await;
    }
}

/// Exchanges until it is over; answers each issuance and the minutes that it lives.
async fn call(
    broker: &Replica<'_>,
    number: u32,
    over: &Cell<bool>,
    answered: &Cell<u32>,
) -> Result<Vec<(String, u64)>, Fault> {
    let (user, mut calls) = (format!("user-{number}"), Vec::new());
    while !over.get() {
        let reply = broker.exchange_at(&user, "api", "read-tickets").await;
        // The others end with this one.
        let reply = reply.and_then(|reply| reply.expect_status(200)).inspect_err(|_| {
            over.set(true);
            answered.set(u32::MAX / 2);
        })?;
        answered.set(answered.get() + 1);
        let minutes = reply.body["expires_in"].as_u64().unwrap_or_default().div_ceil(60);
        calls.push((reply.text("issuance_id").to_owned(), minutes));
    }
    Ok(calls)
}

/// The bundle that each record names.
async fn bundles(broker: &Replica<'_>) -> Result<BTreeMap<String, String>, Fault> {
    let records = broker.all("issuances").await?;
    let named = records.iter().map(|record| {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let leaf: Value = serde_json::from_str(&text(&record["leaf"]))?;
        Ok((text(&record["id"]), text(&leaf["bundle"])))
    });
    named.collect()
}

async fn bundle(broker: &Replica<'_>) -> Result<String, Fault> {
    Ok(broker.readiness().await?.text("bundle").to_owned())
}

/// Waits until another bundle is in force, and answers it.
async fn in_force_after(broker: &Replica<'_>, before: &str) -> Result<String, Fault> {
    let look = async |broker: &Replica<'_>| {
        let now = bundle(broker).await?;
        Ok((now != before).then_some(now))
    };
    broker.until(look).await
}

/// Waits until the log says what is wrong and the broker is degraded, though ready.
async fn refused(broker: &Replica<'_>, problem: &str) -> Outcome {
    let said = async |broker: &Replica<'_>| {
        let ready = broker.readiness().await?.expect_status(200)?;
        let degraded = ready.body["degraded"] == true && ready.body["bundle_mistakes"] == 1;
        Ok((degraded && broker.stderr().contains(problem)).then_some(()))
    };
    broker.until(said).await
}

/// Exchanges under that bundle.
async fn goes_on(broker: &Replica<'_>, digest: &str) -> Outcome {
    assert_eq!(bundle(broker).await?, digest);
    for (target, grant) in [("api", "read-tickets"), ("tickets-db", "read-rows")] {
        let reply = broker.exchange_at("alice", target, grant).await?.expect_status(200)?;
        let issued_under = bundles(broker).await?.remove(reply.text("issuance_id"));
        assert_eq!(issued_under.as_deref(), Some(digest));
    }
    Ok(())
}

/// Asks it to read the certificate and waits until the log says, for the so many-th time, that it cannot be used.
async fn refused_certificate(broker: &Replica<'_>, times: usize) -> Outcome {
    broker.signal(Signal::HUP)?;
    let said = async |broker: &Replica<'_>| {
        let log = broker.stderr();
        Ok((log.matches("the certificate stays as it was").count() == times).then_some(()))
    };
    broker.until(said).await
}
