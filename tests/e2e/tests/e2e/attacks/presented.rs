//! What a case presents, and what a good one of each kind says.

use serde_json::Value;

use procura_e2e::Fault;

use super::{
    case::{Case, Token},
    text::{Words, fill_text},
};

/// A kind of signed text.
#[derive(Clone, Copy)]
pub(super) enum Kind {
    Access,
    IdJag,
    Assertion,
    Proof,
}

impl Kind {
    /// Whose it is, and which key signs it, where the case does not say.
    fn defaults(self) -> (&'static str, &'static str) {
        match self {
            Self::Access => ("corp", "es256"),
            Self::IdJag => ("granting", "es256"),
            Self::Assertion => ("signed", "server"),
            Self::Proof => ("", "dpop"),
        }
    }

    /// Header and claims.
    fn texts(self) -> [&'static str; 2] {
        match self {
            Self::Access => [
                r#"{"typ":"at+jwt","alg":"{{alg}}","kid":"{{kid}}"}"#,
                r#"{"iss":"{{issuer}}","sub":"alice","aud":"{{resource}}","client_id":"agent","groups":["support"],
                    "jti":"{{canary}}","sid":"{{canary}}","iat":{{now}},"exp":{{now+600}}}"#,
            ],
            Self::IdJag => [
                r#"{"typ":"oauth-id-jag+jwt","alg":"{{alg}}","kid":"{{kid}}"}"#,
                r#"{"iss":"{{issuer}}","sub":"alice","aud":"{{broker}}","client_id":"tickets","jti":"{{canary}}",
                    "resource":"https://api.example/v1","scope":"read-tickets","iat":{{now}},"exp":{{now+300}}}"#,
            ],
            Self::Assertion => [
                r#"{"alg":"{{alg}}","kid":"{{kid}}"}"#,
                r#"{"iss":"{{issuer}}","sub":"{{issuer}}","aud":"{{broker}}","jti":"{{canary}}",
                    "iat":{{now}},"exp":{{now+120}}}"#,
            ],
            Self::Proof => [
                r#"{"typ":"dpop+jwt","alg":"{{alg}}","jwk":{{jwk}}}"#,
                r#"{"jti":"{{canary}}","htm":"{{method}}","htu":"{{broker}}{{path}}","iat":{{now}},
                    "nonce":"{{nonce}}"}"#,
            ],
        }
    }

    /// What a good one says, filled in.
    pub(super) fn usual(self, words: &Words) -> Result<[Value; 2], Fault> {
        let [header, claims] = self.texts();
        let read = |text| Ok::<_, Fault>(serde_json::from_str(&fill_text(text, words)?)?);
        Ok([read(header)?, read(claims)?])
    }

    /// The word for whom it is from: an issuer's identifier, a server's name.
    pub(super) fn issuer(self, token: &Token, words: &Words) -> Result<Vec<u8>, Fault> {
        let name = token.issuer.as_deref().unwrap_or(self.defaults().0);
        match self {
            Self::Assertion | Self::Proof => Ok(name.into()),
            Self::Access | Self::IdJag => {
                let known = words.get(&format!("issuer:{name}")).cloned();
                Ok(known.ok_or_else(|| format!("no issuer is called {name}"))?)
            }
        }
    }

    pub(super) fn key(self, token: &Token) -> &str {
        token.key.as_deref().unwrap_or(self.defaults().1)
    }
}

impl Case {
    /// What is made for it, by the word that its texts have for each; a proof can hash what is made before it.
    pub(super) fn presented(&self) -> impl Iterator<Item = (&'static str, Kind, &Token)> {
        let all = [
            ("subject", Kind::Access, Some(&self.subject)),
            ("actor", Kind::Access, self.actor.as_ref()),
            ("id_jag", Kind::IdJag, self.id_jag.as_ref()),
            ("assertion", Kind::Assertion, self.assertion.as_ref()),
            ("proof", Kind::Proof, self.proof.as_ref()),
        ];
        all.into_iter()
            .filter_map(|(word, kind, token)| Some((word, kind, token?)))
    }

    /// The issuer of its subject token.
    pub(super) fn issuer(&self) -> &str {
        self.subject.issuer.as_deref().unwrap_or(Kind::Access.defaults().0)
    }

    /// Whose resource its subject token is for: that of the server that asks.
    pub(super) fn server(&self) -> &str {
        match &self.assertion {
            Some(assertion) => assertion.issuer.as_deref().unwrap_or(Kind::Assertion.defaults().0),
            None => "tickets",
        }
    }
}
