//! The brokers that the corpus is run against: one in development mode, and one that serves over TLS.

use std::{fs, path::Path, sync::Arc};

use procura_e2e::{
    Fault, Testbed,
    broker::{Broker, Launch},
    harness::Outcome,
    http::Reply,
    serve::{Replica, Site, Store},
};
use rustls::ClientConfig;

use super::{
    ROOT, bundles,
    case::Case,
    certificate::{self, Authorities},
    stand::Stand,
    text::{Words, fill},
    token::Keys,
};

/// What the broker authenticates itself with where it asks about tokens.
pub(super) const ASKING: (&str, &str) = ("procura", "secret-of-procura");

/// A broker that serves.
pub(super) enum Running<'a> {
    Dev(Box<Broker>, Launch),
    Tls(Replica<'a>, &'a Speaking<'a>),
}

impl<'a> Running<'a> {
    /// In development mode.
    pub(super) async fn dev(testbed: &Testbed, stand: &Stand, words: &mut Words) -> Result<Self, Fault> {
        let launch = testbed.dev()?;
        bundles::write(Path::new(ROOT), stand, words, &launch.dir().join("policies"))?;
        let launch = launch.arg("--policies").arg("policies");
        let broker = launch.start().await?;
        bundles::put_secret(&launch.dir().join(".procura/secrets"), "asked", ASKING.1)?;
        words.insert("broker".into(), broker.dev.issuer.clone().into());
        words.insert("operator".into(), broker.dev.operator_token.clone().into());
        Ok(Self::Dev(Box::new(broker), launch))
    }

    /// Over TLS.
    pub(super) async fn tls(speaking: &'a Speaking<'a>, words: &mut Words) -> Result<Self, Fault> {
        words.insert("broker".into(), speaking.site.identifier.clone().into());
        Ok(Self::Tls(speaking.site.start().await?, speaking))
    }

    /// Gets a path below `/v1` as the operator.
    pub(super) async fn api(&self, path: &str) -> Result<Reply, Fault> {
        match self {
            Self::Dev(broker, _) => broker.api(path).await,
            Self::Tls(replica, _) => replica.api(path).await,
        }
    }

    /// Everything that it printed.
    pub(super) fn printed(&self) -> [String; 2] {
        let read = |path| fs::read_to_string(path).unwrap_or_default();
        match self {
            Self::Dev(broker, launch) => [read(launch.dir().join("stdout")), broker.stderr()],
            Self::Tls(replica, speaking) => [read(speaking.site.path("log-0/stdout")), replica.stderr()],
        }
    }

    /// How to connect for a case, whose certificate then has its words.
    pub(super) fn connecting(
        &self,
        case: Option<&Case>,
        keys: &Keys,
        words: &mut Words,
    ) -> Result<Option<Arc<ClientConfig>>, Fault> {
        let Self::Tls(_, speaking) = self else {
            return Ok(None);
        };
        let described = case.and_then(|case| case.certificate.as_ref());
        let shown = match described {
            Some(described) => {
                let made = speaking.authorities.issue(described, keys, words)?;
                described.shown.then_some(made)
            }
            None => None,
        };
        let authority = speaking.site.authority.as_ref().ok_or("it speaks no TLS")?;
        certificate::connecting(&authority.certificate, shown).map(Some)
    }

    pub(super) async fn stop(self) -> Outcome {
        match self {
            Self::Dev(broker, _) => broker.stop().await.map(drop),
            Self::Tls(replica, _) => replica.kill().await,
        }
    }
}

/// What the broker that speaks TLS runs with.
pub(super) struct Speaking<'a> {
    site: Site<'a>,
    authorities: Authorities,
}

impl<'a> Speaking<'a> {
    /// Writes its folder, and starts its issuers over TLS too.
    pub(super) async fn prepare(testbed: &'a Testbed, keys: &Keys, words: &mut Words) -> Result<(Self, Stand), Fault> {
        let root = Path::new(ROOT).join("tls");
        let database = testbed.postgres().await?.target().await?;
        let mut site = Site::new(testbed, database, &Store::Sqlite).await?;
        site.speak_tls()?;
        let web = site.authority.as_ref().ok_or("it speaks no TLS")?;
        let stand = Stand::start_with(&root, keys, words, Some(web.issue()?)).await?;
        site.amend("ca.pem", |text| format!("{text}\n{}", web.certificate))?;
        let authorities = Authorities::new()?;
        authorities.words(words);
        fs::write(site.path("clients.pem"), authorities.clients())?;
        // Nobody of the corpus comes from there.
        let mut sections = "[proxy]\nfrom = [\"10.0.0.0/8\"]\nclient_certificate_header = \"Client-Cert\"\n".to_owned();
        for (number, domain) in ["example.org", "other.example", "away.example"].iter().enumerate() {
            let file = format!("{domain}.json");
            // That of the last is not there.
            if let Ok(text) = fs::read_to_string(root.join(&file)) {
                fs::write(site.path(&file), fill(&text, words)?)?;
            }
            sections += &format!("[spiffe.domain-{number}]\ntrust_domain = \"{domain}\"\nbundle_file = \"{file}\"\n");
        }
        site.amend("procura.toml", |text| {
            text.replace("[tls]\n", "[tls]\nclient_ca = \"clients.pem\"\n") + &sections
        })?;
        fs::remove_dir_all(site.path("policies"))?;
        bundles::write(&root, &stand, words, &site.path("policies"))?;
        Ok((Self { site, authorities }, stand))
    }
}
