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
    Opaque,
    IdJag,
    Assertion,
    Svid,
    Proof,
}

impl Kind {
    /// Whose it is, and which key signs it, where the case does not say.
    fn defaults(self) -> (&'static str, &'static str) {
        match self {
            Self::Access => ("corp", "es256"),
            Self::Opaque => ("asked", "es256"),
            Self::IdJag => ("granting", "es256"),
            Self::Assertion => ("signed", "server"),
            Self::Svid => ("workload", "workload"),
            Self::Proof => ("", "dpop"),
        }
    }

    /// Header and claims.
    fn texts(self) -> [&'static str; 2] {
        match self {
            Self::Access | Self::Opaque => [
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
            Self::Svid => [
                r#"{"typ":"JWT","alg":"{{alg}}","kid":"{{kid}}"}"#,
                r#"{"sub":"spiffe://example.org/ns/tools/workload","aud":["{{broker}}"],"jti":"{{canary}}",
                    "iat":{{now}},"exp":{{now+300}}}"#,
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
            Self::Assertion | Self::Svid | Self::Proof => Ok(name.into()),
            Self::Access | Self::Opaque | Self::IdJag => {
                let known = words.get(&format!("issuer:{name}")).cloned();
                Ok(known.ok_or_else(|| format!("no issuer is called {name}"))?)
            }
        }
    }

    pub(super) fn key(self, token: &Token) -> &str {
        token.key.as_deref().unwrap_or(self.defaults().1)
    }

    /// The whole, where the case does not say.
    pub(super) fn text(self) -> &'static str {
        match self {
            Self::Opaque => "opaque-{{canary}}",
            _ => "{{header}}.{{payload}}.{{signature}}",
        }
    }
}

/// A good answer of an issuer that is asked about a token.
pub(super) const ACTIVE: &str = r#"{"active":true,"iss":"{{issuer}}","sub":"alice","aud":"{{resource}}",
    "client_id":"agent","token_type":"Bearer","jti":"{{canary}}","iat":{{now}},"exp":{{now+600}}}"#;

impl Case {
    /// What is made for it, by the word that its texts have for each; a proof can hash what is made before it.
    pub(super) fn presented(&self) -> impl Iterator<Item = (&'static str, Kind, &Token)> {
        let all = [
            ("subject", self.subject_kind(), Some(&self.subject)),
            ("actor", Kind::Access, self.actor.as_ref()),
            ("id_jag", Kind::IdJag, self.id_jag.as_ref()),
            ("assertion", Kind::Assertion, self.assertion.as_ref()),
            ("svid", Kind::Svid, self.svid.as_ref()),
            ("proof", Kind::Proof, self.proof.as_ref()),
        ];
        all.into_iter()
            .filter_map(|(word, kind, token)| Some((word, kind, token?)))
    }

    /// Opaque where something is answered about it and no issuer is named; of one that is named it is a JWT.
    fn subject_kind(&self) -> Kind {
        match (&self.answer, &self.subject.issuer) {
            (Some(_), None) => Kind::Opaque,
            _ => Kind::Access,
        }
    }

    /// The issuer of its subject token.
    pub(super) fn issuer(&self) -> &str {
        let usual = self.subject_kind().defaults().0;
        self.subject.issuer.as_deref().unwrap_or(usual)
    }

    /// Who authenticates by a name.
    pub(super) fn client(&self) -> &str {
        let usual = match (&self.certificate, &self.answer) {
            (Some(_), _) => "certified",
            (None, Some(_)) => "asking",
            (None, None) => "tickets",
        };
        self.request.client.as_deref().unwrap_or(usual)
    }

    /// Whose resource its subject token is for: that of the server that asks.
    pub(super) fn server(&self) -> &str {
        match (&self.assertion, &self.svid) {
            (Some(assertion), _) => assertion.issuer.as_deref().unwrap_or(Kind::Assertion.defaults().0),
            (None, Some(svid)) => svid.issuer.as_deref().unwrap_or(Kind::Svid.defaults().0),
            (None, None) if self.is_over_tls() || self.answer.is_some() => self.client(),
            (None, None) => "tickets",
        }
    }

    /// Whether it is for the broker that speaks TLS.
    pub(super) fn is_over_tls(&self) -> bool {
        self.tls || self.certificate.is_some() || self.svid.is_some()
    }
}
