//! The client library against a broker that speaks TLS itself.

use procura_client::{Builder, Client, Error, Secret, UseOutcome};
use procura_e2e::{
    Fault, Testbed,
    authority::Authority,
    harness::Outcome,
    serve::{DATABASE, SERVER, Site, Store},
};

pub(crate) async fn the_library_trusts_the_ca_that_it_is_given_and_no_other(testbed: &Testbed) -> Outcome {
    let mut site = Site::new(testbed, testbed.postgres().await?.target().await?, &Store::Sqlite).await?;
    site.speak_tls()?;
    let broker = site.start().await?;
    let secret = || Secret::new(site.secret.clone());
    let builder = || Client::builder(&site.identifier, SERVER, secret());
    for builder in [builder(), builder().ca_pem(Authority::new()?.certificate)] {
        let refused = bearer(builder, &site).await.err().ok_or("it trusts a stranger")?;
        assert!(
            matches!(&refused, Error::Unreachable(problem) if problem.contains("certificate")),
            "{refused}"
        );
    }
    assert!(broker.all("issuances").await?.is_empty(), "nobody has asked");

    let authority = site.authority.as_ref().ok_or("no TLS")?;
    let client = builder().ca_pem(authority.certificate.clone()).build()?;
    let session = client.session(Secret::new(site.user("alice")?));
    let (target, grant) = DATABASE;
    let credential = session.postgres(target, grant).get().await?;
    credential.begin("call-1").await?.finish(UseOutcome::Ok, None);
    client.shutdown().await?;
    let records = broker.all("issuances").await?;
    let events: Vec<_> = records
        .iter()
        .map(|record| (&record["event"], &record["outcome"]))
        .collect();
    assert_eq!(
        events,
        [
            (&"use".into(), &"reported".into()),
            (&"exchange".into(), &"issued".into())
        ]
    );
    Ok(())
}

async fn bearer(builder: Builder, site: &Site<'_>) -> Result<(), Error> {
    let client = builder.build()?;
    let token = site
        .user("alice")
        .map_err(|fault: Fault| Error::Setting(fault.to_string()))?;
    let session = client.session(Secret::new(token));
    session.bearer("api", "read-tickets").get().await.map(drop)
}
