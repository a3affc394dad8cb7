//! Workload identities: what issuers of platforms are trusted with unless their file says, and which token is a
//! server's.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use procura_core::catalogue::{Algorithm, TokenTyp, Workload};

use super::Around;
use crate::table::{Item, Table};

/// Claims with a meaning of their own.
const CHECKED: [&str; 6] = ["iss", "sub", "aud", "exp", "nbf", "iat"];

/// A platform that `preset` of an issuer's file may name.
#[derive(Clone, Copy)]
pub(super) enum Preset {
    Kubernetes,
    GithubActions,
}

pub(super) const PRESETS: [(&str, Preset); 2] = [
    ("kubernetes", Preset::Kubernetes),
    ("github-actions", Preset::GithubActions),
];

impl Preset {
    /// The issuer identifier, where there is one for everybody.
    pub(super) fn issuer(self) -> Option<&'static str> {
        match self {
            Self::Kubernetes => None,
            Self::GithubActions => Some("https://token.actions.githubusercontent.com"),
        }
    }

    pub(super) fn algorithms(self) -> BTreeSet<Algorithm> {
        match self {
            Self::Kubernetes => BTreeSet::from([Algorithm::Rs256, Algorithm::Es256]),
            Self::GithubActions => BTreeSet::from([Algorithm::Rs256]),
        }
    }

    pub(super) fn token_types(self) -> BTreeSet<TokenTyp> {
        BTreeSet::from([TokenTyp::Jwt])
    }

    /// Kubernetes makes projected tokens live an hour unless the pod says otherwise; those of a job of GitHub's live
    /// minutes.
    pub(super) fn max_token_lifetime(self) -> Duration {
        match self {
            Self::Kubernetes => Duration::from_secs(2 * 60 * 60),
            Self::GithubActions => Duration::from_secs(15 * 60),
        }
    }
}

/// The keys of `auth = { method = "workload", … }`.
pub(super) fn read(table: &mut Table<'_>, around: &Around<'_>) -> Option<Workload> {
    let place = table.need("issuer", "\"prod-cluster\"");
    let sub = table.take("sub").map(Item::filled);
    let claims = table.take("claims").map(claims);
    let audience = table.take("audience").map(Item::filled);
    if sub.is_none() && claims.as_ref().is_none_or(Option::is_none) {
        table.mistake(
            "`sub` is missing; write for example: sub = \"system:serviceaccount:tools:tickets\", or claims = { repository \
             = \"org/repo\", ref = \"refs/heads/main\" }",
        );
    }
    let issuer = place?.declared(&around.issuers, "issuers")?;
    let workload = Workload {
        issuer,
        sub: owned(sub)?,
        claims: claims.unwrap_or_default().unwrap_or_default(),
        audience: owned(audience)?,
    };
    let one = format!("{} {:?} {:?}", workload.issuer, workload.sub, workload.claims);
    place?.unique(&around.seen, "workload", one);
    Some(workload)
}

/// `None` where it is there and wrong.
fn owned(text: Option<Option<&str>>) -> Option<Option<String>> {
    match text {
        None => Some(None),
        Some(text) => text.map(|text| Some(text.to_owned())),
    }
}

fn claims(item: Item<'_>) -> Option<BTreeMap<String, String>> {
    let mut claims = BTreeMap::new();
    for (name, item) in item.table()?.entries() {
        if CHECKED.contains(&name) {
            item.mistake(format!("`{name}` is looked at by itself; name other claims here"));
        }
        if let Some(value) = item.filled() {
            claims.insert(name.to_owned(), value.to_owned());
        }
    }
    if claims.is_empty() {
        item.mistake("an empty table pins nothing; name a claim or leave `claims` out");
        return None;
    }
    Some(claims)
}
