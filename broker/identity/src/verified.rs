//! Tokens that were verified lately: signature and form, nothing else.

use std::{
    collections::HashMap,
    mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use procura_core::{catalogue::Issuer, identity::VerifiedToken, ports::Role};
use procura_wire::{Digest, Name, TokenType};

/// Entries of one half; the cache holds two.
const HALF: usize = 2048;

/// A verified token with what it was verified under. It stands for a hit only while the issuer's
/// configuration is equal and the issuer still publishes the same key under the same id.
#[derive(Clone)]
pub(crate) struct Entry {
    pub(crate) token: Arc<VerifiedToken>,
    pub(crate) issuer: Arc<Issuer>,
    /// The id of the key that signed it, and what tells that key from others.
    pub(crate) key: (String, Digest),
}

/// A bounded cache: entries that were not asked for while half of it filled anew are dropped.
#[derive(Default)]
pub(crate) struct Verified(Mutex<Halves>);

#[derive(Default)]
struct Halves {
    young: HashMap<Digest, Entry>,
    old: HashMap<Digest, Entry>,
    /// One copy of each issuer's configuration for all entries.
    issuers: HashMap<Name, Arc<Issuer>>,
}

impl Halves {
    fn put(&mut self, id: Digest, entry: Entry) {
        if self.young.len() >= HALF {
            mem::swap(&mut self.old, &mut self.young);
            self.young.clear();
        }
        self.young.insert(id, entry);
    }
}

/// What an entry is found by: the token, what it was declared and presented as.
pub(crate) fn id(token: &str, declared: TokenType, role: Role) -> Digest {
    let role = match role {
        Role::Subject => b's',
        Role::Actor => b'a',
        Role::Operator => b'o',
        Role::Workload => b'w',
    };
    // Neither the role nor a token type holds a NUL, nor does a token that is in the cache.
    Digest::of_parts([&[role], declared.as_str().as_bytes(), b"\0", token.as_bytes()])
}

impl Verified {
    fn halves(&self) -> MutexGuard<'_, Halves> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn get(&self, id: Digest) -> Option<Entry> {
        let mut halves = self.halves();
        if let Some(entry) = halves.young.get(&id) {
            return Some(entry.clone());
        }
        let entry = halves.old.remove(&id)?;
        halves.put(id, entry.clone());
        Some(entry)
    }

    pub(crate) fn insert(&self, id: Digest, token: &Arc<VerifiedToken>, issuer: &Issuer, key: (String, Digest)) {
        let mut halves = self.halves();
        let issuer = match halves.issuers.get(&token.issuer) {
            Some(known) if **known == *issuer => Arc::clone(known),
            _ => {
                let issuer = Arc::new(issuer.clone());
                halves.issuers.insert(token.issuer.clone(), Arc::clone(&issuer));
                issuer
            }
        };
        let token = Arc::clone(token);
        halves.put(id, Entry { token, issuer, key });
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        let halves = self.halves();
        halves.young.len() + halves.old.len()
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, time::Duration};

    use procura_core::Timestamp;

    use super::*;

    fn issuer() -> Issuer {
        Issuer {
            issuer: "https://id.example.com".into(),
            algorithms: BTreeSet::new(),
            token_types: BTreeSet::new(),
            extra_audiences: BTreeSet::new(),
            groups: None,
            actor_from_azp: false,
            clients: None,
            trusted_presenters: BTreeSet::new(),
            max_token_lifetime: Duration::from_secs(3600),
            operators: false,
            id_jag: None,
            workloads_only: false,
            trust: Default::default(),
        }
    }

    fn token() -> Arc<VerifiedToken> {
        Arc::new(VerifiedToken {
            issuer: "corp".parse().expect("name"),
            iss: "https://id.example.com".into(),
            sub: "alice".into(),
            audience: vec!["https://tickets.example.com/mcp".into()],
            expires: Timestamp::UNIX_EPOCH,
            not_before: None,
            issued_at: None,
            jti: None,
            confirmation: None,
            sid: None,
            client: None,
            scopes: None,
            groups: BTreeSet::new(),
            auth: Default::default(),
            act: Vec::new(),
            may_act: None,
            vouched: Default::default(),
        })
    }

    #[test]
    fn it_is_bounded_and_keeps_what_is_asked_for() {
        let cache = Verified::default();
        let digest = |n: usize| Digest::of(&n.to_be_bytes());
        let token = token();
        for n in 0..10 * HALF {
            cache.insert(digest(n), &token, &issuer(), ("k".into(), digest(0)));
            assert!(cache.get(digest(0)).is_some(), "{n}");
        }
        assert!(cache.len() <= 2 * HALF);
        assert!(cache.get(digest(1)).is_none());
    }

    #[test]
    fn type_and_role_are_part_of_the_id() {
        let ids = [
            id("t", TokenType::Jwt, Role::Subject),
            id("t", TokenType::AccessToken, Role::Subject),
            id("t", TokenType::Jwt, Role::Actor),
            id("t", TokenType::Jwt, Role::Operator),
            id("t", TokenType::Jwt, Role::Workload),
            id("u", TokenType::Jwt, Role::Subject),
        ];
        for (at, one) in ids.iter().enumerate() {
            assert!(!ids[..at].contains(one));
        }
    }
}
