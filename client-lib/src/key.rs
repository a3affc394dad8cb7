//! What a cached credential depends on.

use std::collections::BTreeMap;

use procura_wire::{Digest, TokenType};
use serde_json::{Map, Value, json};

/// Everything that a credential depends on. A tool call's id is not part of it: uses of cached credentials are
/// reported instead. Tokens stand here as digests.
pub(crate) struct Key<'a> {
    pub(crate) broker: &'a str,
    pub(crate) server: &'a str,
    pub(crate) session: &'a str,
    pub(crate) subject: Digest,
    pub(crate) actor: Option<Digest>,
    /// Thumbprint of the key that it is bound to.
    pub(crate) proof_key: Option<&'a str>,
    pub(crate) issued: TokenType,
    pub(crate) draft: &'a Draft,
}

/// What is asked for, within a session.
#[derive(Debug, Clone, Default)]
pub(crate) struct Draft {
    pub(crate) target: String,
    pub(crate) grant: String,
    pub(crate) tool: Option<String>,
    /// Digest of the tool's definition.
    pub(crate) tool_definition: Option<Digest>,
    pub(crate) params: BTreeMap<String, Value>,
    /// Whole seconds. A shorter life narrows too.
    pub(crate) ttl: Option<u64>,
    /// Sent and recorded; not part of the key.
    pub(crate) tool_call_id: Option<String>,
    /// Sent; not part of the key.
    pub(crate) traceparent: Option<String>,
}

impl Draft {
    /// The parameters as RFC 9396 wants them, under that kind.
    pub(crate) fn details(&self, kind: &str) -> Option<String> {
        let mut details = Map::from_iter(self.params.clone());
        (!details.is_empty()).then(|| {
            details.insert("type".to_owned(), kind.into());
            json!([details]).to_string()
        })
    }
}

impl Key<'_> {
    /// SHA-256 over the parts, each with its length, absent ones marked as such.
    pub(crate) fn digest(&self) -> Digest {
        let ttl = self.draft.ttl.map(u64::to_be_bytes);
        let params = Value::from_iter(self.draft.params.clone()).to_string();
        let parts = [
            Some(self.broker.as_bytes()),
            Some(self.server.as_bytes()),
            Some(self.session.as_bytes()),
            Some(self.subject.as_bytes().as_slice()),
            self.actor.as_ref().map(|actor| actor.as_bytes().as_slice()),
            self.proof_key.map(str::as_bytes),
            Some(self.issued.as_str().as_bytes()),
            self.draft.tool.as_deref().map(str::as_bytes),
            self.draft
                .tool_definition
                .as_ref()
                .map(|digest| digest.as_bytes().as_slice()),
            Some(self.draft.target.as_bytes()),
            Some(self.draft.grant.as_bytes()),
            Some(params.as_bytes()),
            ttl.as_ref().map(<[u8; 8]>::as_slice),
        ];
        let mut bytes = Vec::new();
        for part in parts {
            match part {
                None => bytes.push(0),
                Some(part) => {
                    bytes.push(1);
                    bytes.extend_from_slice(&(part.len() as u64).to_be_bytes());
                    bytes.extend_from_slice(part);
                }
            }
        }
        Digest::of(&bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The parts as owned texts, in which one can be changed: definition, broker, server, session, subject, actor, tool, target,
    /// grant, parameter's name, its value, ttl.
    type Parts = [String; 12];

    fn digest(parts: &Parts, issued: TokenType, call: &str) -> Digest {
        let some = |text: &String| (!text.is_empty()).then(|| text.clone());
        let [
            definition,
            broker,
            server,
            session,
            subject,
            actor,
            tool,
            target,
            grant,
            name,
            value,
            ttl,
        ] = parts;
        let draft = Draft {
            target: target.clone(),
            grant: grant.clone(),
            tool: some(tool),
            tool_definition: some(definition).map(|definition| Digest::of(definition.as_bytes())),
            params: some(name).into_iter().map(|name| (name, json!([value]))).collect(),
            ttl: some(ttl).map(|ttl| Digest::of(ttl.as_bytes()).as_bytes()[0].into()),
            tool_call_id: Some(call.to_owned()),
            traceparent: Some(call.to_owned()),
        };
        let key = Key {
            broker,
            server,
            session,
            subject: Digest::of(subject.as_bytes()),
            actor: some(actor).map(|actor| Digest::of(actor.as_bytes())),
            proof_key: None,
            issued,
            draft: &draft,
        };
        key.digest()
    }

    proptest! {
        #[test]
        fn keys_that_differ_in_one_part_never_share(
            parts: [String; 12],
            changed in 0..11_usize,
            other: String,
        ) {
            let mut others = parts.clone();
            others[changed] = other.clone();
            // A value without a name is no parameter.
            prop_assume!(parts[changed] != other && !(changed == 10 && parts[9].is_empty()));
            prop_assert_ne!(
                digest(&parts, TokenType::AccessToken, "1"),
                digest(&others, TokenType::AccessToken, "1")
            );
        }

        #[test]
        fn text_that_moves_from_one_part_to_the_next_makes_another_key(
            parts: [String; 12],
            at in 0..10_usize,
            moved in "[a-z]{1,4}",
        ) {
            let (mut left, mut right) = (parts.clone(), parts);
            left[at].push_str(&moved);
            right[at + 1] = format!("{moved}{}", right[at + 1]);
            prop_assert_ne!(
                digest(&left, TokenType::AccessToken, "1"),
                digest(&right, TokenType::AccessToken, "1")
            );
        }

        #[test]
        fn the_call_is_no_part_and_the_type_is(parts: [String; 12], call: String) {
            let key = digest(&parts, TokenType::AccessToken, "1");
            prop_assert_eq!(key, digest(&parts, TokenType::AccessToken, &call));
            prop_assert_ne!(key, digest(&parts, TokenType::Postgres, "1"));
        }
    }

    #[test]
    fn a_shorter_life_is_another_key() {
        let with = |ttl| {
            let draft = Draft {
                ttl,
                ..Draft::default()
            };
            let key = Key {
                broker: "",
                server: "",
                session: "",
                subject: Digest::of(b""),
                actor: None,
                proof_key: None,
                issued: TokenType::Jwt,
                draft: &draft,
            };
            key.digest()
        };
        assert_ne!(with(None), with(Some(0)));
        assert_ne!(with(Some(60)), with(Some(300)));
    }

    #[test]
    fn another_proof_key_is_another_key() {
        let draft = Draft::default();
        let with = |proof_key| {
            let key = Key {
                broker: "",
                server: "",
                session: "",
                subject: Digest::of(b""),
                actor: None,
                proof_key,
                issued: TokenType::AccessToken,
                draft: &draft,
            };
            key.digest()
        };
        assert_ne!(with(None), with(Some("")));
        assert_ne!(with(Some("a")), with(Some("b")));
    }
}
