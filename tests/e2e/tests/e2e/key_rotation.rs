//! Real issuers change the keys that they sign with while servers exchange.

use std::{cell::Cell, collections::BTreeSet, time::Duration};

use futures_util::future::{try_join, try_join_all};
use procura_e2e::{
    Fault, Testbed,
    harness::Outcome,
    http::unverified_header,
    keycloak::{Keycloak, RESOURCE},
    oidc_provider::{Format, OidcProvider},
};
use serde_json::Value;

use crate::trusted::{self, Trusted, until};

/// Who exchanges tokens of each issuer.
const CALLERS: usize = 4;
/// A key that is not known has the set fetched again at most every 30 s; issuers change keys more slowly.
const PAUSE: Duration = Duration::from_secs(31);

#[derive(Clone, Copy)]
enum Issuer<'a> {
    Keycloak(&'a Keycloak),
    OidcProvider(&'a OidcProvider),
}

impl Issuer<'_> {
    async fn token(self) -> Result<String, Fault> {
        match self {
            Self::Keycloak(issuer) => issuer.user_token("alice").await,
            Self::OidcProvider(issuer) => issuer.token("alice", RESOURCE, Format::Jwt).await,
        }
    }

    /// Signs with a new key from now on; the ones before it stay, but for that one.
    async fn rotate(self, gone: Option<&str>) -> Outcome {
        match self {
            Self::Keycloak(issuer) => {
                if let Some(kid) = gone {
                    issuer.remove_key(kid).await?;
                }
                issuer.rotate_key("under-load").await
            }
            Self::OidcProvider(issuer) => issuer.rotate_key(gone).await,
        }
    }
}

fn kid(token: &str) -> Result<String, Fault> {
    let header: Value = unverified_header(token)?;
    Ok(header["kid"].as_str().ok_or("no kid")?.to_owned())
}

/// Exchanges fresh tokens until it is over, each twice: a token is verified, then known. Answers the keys that signed them.
async fn call(trusted: &Trusted, issuer: Issuer<'_>, under_way: &Cell<usize>) -> Result<BTreeSet<String>, Fault> {
    let mut kids = BTreeSet::new();
    while under_way.get() > 0 {
        let token = issuer.token().await?;
        for _ in 0..2 {
            trusted.exchange(&token).await?.expect_status(200)?;
        }
        kids.insert(kid(&token)?);
    }
    Ok(kids)
}

/// Two changes: a key is added and signs, then the first one is gone, and its tokens with it.
async fn change(trusted: &Trusted, issuer: Issuer<'_>, under_way: &Cell<usize>) -> Outcome {
    let first = issuer.token().await?;
    trusted.exchange(&first).await?.expect_status(200)?;
    issuer.rotate(None).await?;
    tokio::time::sleep(PAUSE).await;
    trusted.exchange(&first).await?.expect_status(200)?;
    issuer.rotate(Some(&kid(&first)?)).await?;
    let refused = until(async || trusted.exchange(&first).await, |reply| reply.status != 200).await?;
    assert_eq!(refused.text("reason"), "jwks.miss", "{}", refused.body);
    under_way.set(under_way.get() - 1);
    Ok(())
}

pub(crate) async fn no_exchange_fails_while_issuers_change_their_keys_and_what_a_gone_key_signed_is_refused(
    testbed: &Testbed,
) -> Outcome {
    let (keycloak, provider) = (testbed.keycloak().await?, testbed.oidc_provider().await?);
    let files = (trusted::keycloak(keycloak), trusted::oidc_provider(provider));
    let trusted = Trusted::start(testbed, &[("keycloak", &files.0), ("provider", &files.1)]).await?;
    let issuers = [Issuer::Keycloak(keycloak), Issuer::OidcProvider(provider)];
    let under_way = Cell::new(issuers.len());
    let changes = try_join_all(issuers.map(|issuer| change(&trusted, issuer, &under_way)));
    let callers = issuers.iter().flat_map(|issuer| vec![*issuer; CALLERS]);
    let callers = try_join_all(callers.map(|issuer| call(&trusted, issuer, &under_way)));
    let done = try_join(changes, callers).await;
    let (_, kids) = done.map_err(|fault| format!("{fault}\n{}", trusted.broker.stderr()))?;
    for of_issuer in kids.chunks(CALLERS) {
        let all: BTreeSet<_> = of_issuer.iter().flatten().collect();
        assert_eq!(all.len(), 3, "tokens of all three keys: {all:?}");
    }
    Ok(())
}
