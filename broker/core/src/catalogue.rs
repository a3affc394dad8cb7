//! What a policy bundle declares, checked and cross-referenced: issuers, agents, servers, targets, grants.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use procura_wire::{Digest, Name, QualifiedId, Reason};
use serde_json::{Map, Value};

use crate::{
    Timestamp,
    certificate::{CertificateName, RegisteredKey},
    kind::Kind,
    limits::{Limits, Rate},
    params::ParamSpec,
    spiffe::SpiffePattern,
    trust::{Requires, SubjectRules, Trust},
};

/// Everything that a bundle declares, rules apart. Keys are file names without ending.
#[derive(Debug, Clone, Default)]
pub struct Catalogue {
    /// `issuers/*.toml` by alias.
    pub issuers: BTreeMap<Name, Issuer>,
    /// `agents/*.toml`.
    pub agents: BTreeMap<Name, Agent>,
    /// `servers/*.toml`.
    pub servers: BTreeMap<Name, Server>,
    /// `targets/*.toml`.
    pub targets: BTreeMap<Name, Target>,
    /// `abandon` of `bundle.toml`: targets whose leases may be left at a place that the bundle does not have.
    pub abandoned: BTreeSet<Name>,
    /// `[limits]` of `bundle.toml`.
    pub limits: Limits,
}

/// An identity provider that is trusted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Issuer {
    /// Its identifier, compared exactly with `iss`; or `builtin:dev`.
    pub issuer: String,
    /// Algorithms that its tokens may be signed with.
    pub algorithms: BTreeSet<Algorithm>,
    /// `typ` values that its access tokens may have; by default `at+jwt`.
    pub token_types: BTreeSet<TokenTyp>,
    /// Audiences that may stand beside the server's resource. Empty: the resource must be the only one.
    pub extra_audiences: BTreeSet<String>,
    /// Where groups come from.
    pub groups: Option<Groups>,
    /// The agent is the one that `azp` names, when neither actor token nor `act` says.
    pub actor_from_azp: bool,
    /// Clients whose tokens may be presented; `None` is any.
    pub clients: Option<BTreeSet<String>>,
    /// Servers that may present its bound tokens without a proof of their key.
    pub trusted_presenters: BTreeSet<Name>,
    /// Longest `exp - iat` of its tokens.
    pub max_token_lifetime: Duration,
    /// Its tokens may be operators' at `/v1`.
    pub operators: bool,
    /// Its ID-JAGs are grants (draft-ietf-oauth-identity-assertion-authz-grant); `None` is none of them.
    pub id_jag: Option<IdJagUse>,
    /// It vouches for workloads that servers run as; its tokens are nobody's subject, actor or operator tokens.
    pub workloads_only: bool,
    /// What else its tokens must show.
    pub trust: Trust,
}

/// JWS algorithms that the broker verifies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Algorithm {
    /// ECDSA on P-256 with SHA-256.
    Es256,
    /// ECDSA on P-384 with SHA-384.
    Es384,
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    Rs256,
    /// RSASSA-PKCS1-v1_5 with SHA-384.
    Rs384,
    /// RSASSA-PSS with SHA-256.
    Ps256,
    /// RSASSA-PSS with SHA-384.
    Ps384,
    /// Ed25519, named `Ed25519` (RFC 9864) or `EdDSA` (RFC 8037).
    Ed25519,
}

impl Algorithm {
    /// Each with its names as `alg` has them, compared exactly.
    pub const NAMES: [(&str, Self); 8] = [
        ("ES256", Self::Es256),
        ("ES384", Self::Es384),
        ("RS256", Self::Rs256),
        ("RS384", Self::Rs384),
        ("PS256", Self::Ps256),
        ("PS384", Self::Ps384),
        ("Ed25519", Self::Ed25519),
        ("EdDSA", Self::Ed25519),
    ];
}

/// How often one ID-JAG may be presented.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IdJagUse {
    /// Once, as MCP's Enterprise-Managed Authorization demands.
    Once,
    /// Until it ends, as the draft permits.
    UntilExpiry,
}

/// A `typ` that an issuer's access tokens may carry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TokenTyp {
    /// `at+jwt` (RFC 9068).
    AtJwt,
    /// `JWT`, as Keycloak writes it; then the payload itself must look like an access token.
    Jwt,
}

/// How a claim becomes groups.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Groups {
    /// Name of the claim: a list of strings.
    pub claim: String,
    /// Claim value to group; values that are not here are left out.
    pub map: BTreeMap<String, String>,
}

/// An agent with an identity of its own. Its id is `<issuer alias>/<file name>`.
#[derive(Debug, Clone)]
pub struct Agent {
    /// Alias of its issuer.
    pub issuer: Name,
    /// Its `sub` there.
    pub sub: String,
    /// Its client id there, compared with `azp`; by default its `sub`.
    pub client_id: Option<String>,
    /// Who answers for it.
    pub owner: String,
    /// No exchange for it or by it.
    pub suspended: bool,
}

/// A registered MCP server: the ceiling of what may be asked through it.
#[derive(Debug, Clone)]
pub struct Server {
    /// Who answers for it.
    pub owner: String,
    /// Its version.
    pub version: Option<String>,
    /// Where it runs.
    pub deployment: Option<String>,
    /// The audience that subject tokens must have.
    pub resource: String,
    /// Nothing is issued to it without a DPoP proof (RFC 9449 section 5.2).
    pub dpop_bound: bool,
    /// Tokens for it are bound to the certificate of its connection (RFC 8705 section 3).
    pub certificate_bound: bool,
    /// How it authenticates.
    pub auth: ServerAuth,
    /// Grants that it may reach without naming a tool.
    pub grants: BTreeSet<QualifiedId>,
    /// Grants that each of its tools may reach.
    pub tools: BTreeMap<String, BTreeSet<QualifiedId>>,
    /// Longest life of a session.
    pub session_ttl: Duration,
    /// Targets whose credentials it may introspect.
    pub introspects: BTreeSet<Name>,
    /// No exchange through it.
    pub suspended: bool,
    /// Which tokens it may present.
    pub subjects: SubjectRules,
    /// `limits`: instead of the bundle's, for what comes through it; no [`crate::limits::Dimension::Address`].
    pub limits: Limits,
    /// `definition_sha256` of its tools that have one.
    pub definitions: BTreeMap<String, Digest>,
}

/// How a server proves who it is.
#[derive(Debug, Clone)]
pub enum ServerAuth {
    /// `client_secret`: SHA-256 of one or two secrets.
    ClientSecret(Vec<SecretHash>),
    /// `private_key_jwt`: a client assertion signed by one of its keys (RFC 7523 section 3).
    PrivateKeyJwt {
        /// Its public keys.
        keys: ClientKeys,
        /// The token endpoint's URL is accepted as audience too.
        legacy_audience: bool,
    },
    /// `workload`: a token that the platform which runs it made for it.
    Workload(Workload),
    /// `tls_client_auth`: the one name that its certificates carry.
    TlsClient(CertificateName),
    /// `self_signed_tls_client_auth`: the keys of its certificates.
    SelfSigned(Vec<RegisteredKey>),
    /// `spiffe`: the ids of its workloads.
    Spiffe(SpiffePattern),
    /// `builtin:dev`: the secret that `procura dev` made at start.
    BuiltinDev,
}

/// Where a server's public keys are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClientKeys {
    /// A JWK Set (RFC 7517 section 5) of 1 to 8 keys.
    Inline(Value),
    /// `jwks_uri`: the URL of one.
    Uri(String),
}

/// What a platform's token must say of the server that it is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Workload {
    /// Alias of the platform's issuer.
    pub issuer: Name,
    /// Its `sub` there; where it is `None`, `claims` is not empty.
    pub sub: Option<String>,
    /// Claims that must have exactly this value.
    pub claims: BTreeMap<String, String>,
    /// The only audience; by default the broker's issuer identifier.
    pub audience: Option<String>,
}

/// A server's secret as it is kept.
#[derive(Debug, Clone)]
pub struct SecretHash {
    /// SHA-256 of the secret (256 random bits).
    pub hash: Digest,
    /// First moment at which it is not valid any more.
    pub expires: Option<Timestamp>,
}

/// A system that credentials are minted for.
#[derive(Debug, Clone)]
pub struct Target {
    /// The type of the target.
    pub kind: &'static Kind,
    /// Who answers for it.
    pub owner: String,
    /// URI by which `resource` may name it.
    pub resource: Option<String>,
    /// Reference to its own credential, `NAME:PATH`.
    pub source: Option<String>,
    /// The kind's own keys, checked against its schema.
    pub settings: Map<String, Value>,
    /// Its grants.
    pub grants: BTreeMap<Name, Grant>,
}

/// How much harm a grant can do; each is a group of actions in rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Risk {
    /// Reads.
    Read,
    /// Changes.
    Write,
    /// Destroys.
    Destructive,
}

/// A named permission shape.
#[derive(Debug, Clone)]
pub struct Grant {
    /// Its group in rules.
    pub risk: Risk,
    /// Lifetime where none is requested; by default `max_ttl`.
    pub ttl: Option<Duration>,
    /// Longest lifetime.
    pub max_ttl: Duration,
    /// The tokens' `exp` does not cut its lifetime.
    pub outlives_subject: bool,
    /// Clients must not serve it from a cache.
    pub per_call: bool,
    /// The subject token is handed to the target's minter.
    pub forward_subject: bool,
    /// What the subject token must carry.
    pub requires: Requires,
    /// Parameters that narrow it.
    pub params: BTreeMap<String, ParamSpec>,
    /// `limit`: instead of the server's and the bundle's, over all servers.
    pub limit: Option<Rate>,
    /// The kind's own keys, checked against its schema.
    pub settings: Map<String, Value>,
}

impl Server {
    /// Whether the grant is listed for that tool, or for the server itself where no tool is named.
    /// Errors: [`Reason::ToolNotDeclared`], [`Reason::GrantUnlisted`].
    pub fn reaches(&self, tool: Option<&str>, grant: &QualifiedId) -> Result<(), Reason> {
        let listed = match tool {
            Some(tool) => self.tools.get(tool).ok_or(Reason::ToolNotDeclared)?,
            None => &self.grants,
        };
        if listed.contains(grant) {
            Ok(())
        } else {
            Err(Reason::GrantUnlisted)
        }
    }
}

impl Target {
    /// Where its credentials are: `host=db.example;port=5433`, the kind's place keys that are set.
    pub fn place(&self) -> String {
        let set = self.kind.place_keys.iter().filter_map(|key| {
            let value = self.settings.get(*key)?;
            Some(format!(
                "{key}={}",
                value.as_str().map_or_else(|| value.to_string(), str::to_owned)
            ))
        });
        set.collect::<Vec<_>>().join(";")
    }
}

impl Catalogue {
    /// The issuer whose identifier is exactly `iss`.
    pub fn issuer_by_url(&self, iss: &str) -> Option<(&Name, &Issuer)> {
        self.issuers.iter().find(|(_, issuer)| issuer.issuer == iss)
    }

    /// The agent with that `sub` at that issuer.
    pub fn agent_by_sub(&self, issuer: &Name, sub: &str) -> Option<(&Name, &Agent)> {
        self.agents
            .iter()
            .find(|(_, agent)| agent.issuer == *issuer && agent.sub == sub)
    }

    /// The agent with that client id at that issuer.
    pub fn agent_by_client(&self, issuer: &Name, client: &str) -> Option<(&Name, &Agent)> {
        let is_it = |agent: &Agent| agent.issuer == *issuer && agent.client_id.as_ref().unwrap_or(&agent.sub) == client;
        self.agents.iter().find(|(_, agent)| is_it(agent))
    }
}
