//! Why a request was refused: one stable enum for answers, log and documentation.

/// The OAuth error code of an answer (RFC 6749 section 5.2, RFC 6750, RFC 8707, RFC 9396).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum OAuthError {
    /// 400; a parameter, a subject or actor token, or a session is at fault.
    InvalidRequest,
    /// 401; the caller is not authenticated.
    InvalidClient,
    /// 400; the caller is authenticated but may not ask for this.
    UnauthorizedClient,
    /// 400; the assertion of a grant is at fault.
    InvalidGrant,
    /// 400; the grant type is not served.
    UnsupportedGrantType,
    /// 400; the scope is unknown, malformed or not permitted.
    InvalidScope,
    /// 400; the target is unknown or not for this caller.
    InvalidTarget,
    /// 400; RFC 9396 section 5.
    InvalidAuthorizationDetails,
    /// 400; RFC 9449 section 5. 401 at `/v1` (section 7.1).
    InvalidDpopProof,
    /// 400; RFC 9449 section 8. 401 at `/v1` (section 9).
    UseDpopNonce,
    /// 400; RFC 9470: the user must log in again, more strongly or anew.
    InsufficientUserAuthentication,
    /// 401; RFC 6750 section 3.1, at `/v1`.
    InvalidToken,
    /// 403; RFC 6750 section 3.1, at `/v1`.
    InsufficientScope,
    /// 404, at `/v1`.
    NotFound,
    /// 503 with Retry-After; nothing was issued, the same request may succeed later.
    TemporarilyUnavailable,
    /// 500; nothing was issued.
    ServerError,
}

impl OAuthError {
    /// The code as it stands in `error`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::InvalidRequest => "invalid_request",
            Self::InvalidClient => "invalid_client",
            Self::UnauthorizedClient => "unauthorized_client",
            Self::InvalidGrant => "invalid_grant",
            Self::UnsupportedGrantType => "unsupported_grant_type",
            Self::InvalidScope => "invalid_scope",
            Self::InvalidTarget => "invalid_target",
            Self::InvalidAuthorizationDetails => "invalid_authorization_details",
            Self::InvalidDpopProof => "invalid_dpop_proof",
            Self::UseDpopNonce => "use_dpop_nonce",
            Self::InsufficientUserAuthentication => "insufficient_user_authentication",
            Self::InvalidToken => "invalid_token",
            Self::InsufficientScope => "insufficient_scope",
            Self::NotFound => "not_found",
            Self::TemporarilyUnavailable => "temporarily_unavailable",
            Self::ServerError => "server_error",
        }
    }

    /// The HTTP status, unless the reason has one of its own.
    pub fn status(self) -> u16 {
        match self {
            Self::InvalidClient | Self::InvalidToken => 401,
            Self::InsufficientScope => 403,
            Self::NotFound => 404,
            Self::TemporarilyUnavailable => 503,
            Self::ServerError => 500,
            Self::InvalidRequest
            | Self::UnauthorizedClient
            | Self::InvalidGrant
            | Self::UnsupportedGrantType
            | Self::InvalidScope
            | Self::InvalidTarget
            | Self::InsufficientUserAuthentication
            | Self::InvalidAuthorizationDetails
            | Self::InvalidDpopProof
            | Self::UseDpopNonce => 400,
        }
    }
}

macro_rules! reasons {
    ($($variant:ident = $code:literal, $error:ident, $text:literal;)*) => {
        /// Why something was refused or failed. The code is stable; the text may improve.
        /// It is also the table behind the page that `error_uri` leads to.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Reason {
            $(#[doc = concat!("`", $code, "`: ", $text)] $variant,)*
        }

        impl Reason {
            /// Every reason, in the order of the documentation.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// The stable code.
            pub fn code(self) -> &'static str {
                match self { $(Self::$variant => $code,)* }
            }

            /// The OAuth error code that goes with it.
            pub fn error(self) -> OAuthError {
                match self { $(Self::$variant => OAuthError::$error,)* }
            }

            /// One sentence for the caller: what happened and what to do. Printable ASCII without
            /// quotes and backslash (RFC 6749 section 5.2).
            pub fn text(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }
        }
    };
}

reasons! {
    ParamMissing = "param.missing", InvalidRequest, "A required parameter is missing or empty; add it.";
    ParamRepeated = "param.repeated", InvalidRequest, "A parameter stands more than once; only resource and audience may.";
    ParamMalformed = "param.malformed", InvalidRequest, "A parameter does not have the form that it must have.";
    ParamTooLarge = "param.too_large", InvalidRequest, "A parameter is longer than the broker accepts.";
    HttpMethod = "http.method", InvalidRequest, "This path does not answer that method; see the Allow header.";
    HttpQueryParams = "http.query_params", InvalidRequest, "Parameters belong into the body, not into the query.";
    HttpContentType = "http.content_type", InvalidRequest, "Send application/x-www-form-urlencoded in UTF-8 (application/json below /v1).";
    HttpTooLarge = "http.too_large", InvalidRequest, "The body is larger than the broker accepts.";
    HttpSlow = "http.slow", InvalidRequest, "The request did not arrive in time.";
    HttpHost = "http.host", InvalidRequest, "The Host header does not name this broker.";
    HttpOrigin = "http.origin", InvalidRequest, "Requests from web pages are not accepted here.";
    GrantTypeUnsupported = "grant_type.unsupported", UnsupportedGrantType, "Only token exchange (RFC 8693) is served here.";
    TokenTypeUnsupported = "token_type.unsupported", InvalidRequest, "The declared token type is not one that the broker accepts; see the metadata.";
    TokenTypeMismatch = "token_type.mismatch", InvalidRequest, "The target issues another type than requested_token_type; leave it out or ask for that type.";
    ClientUnauthenticated = "client.unauthenticated", InvalidClient, "The server is unknown or its credentials are not valid.";
    ClientSecretExpired = "client.secret_expired", InvalidClient, "The server secret has expired; make a new one with procura server new-secret.";
    ClientMultipleMethods = "client.multiple_methods", InvalidRequest, "More than one way of client authentication was used; use one.";
    ClientAssertionReplay = "client.assertion_replay", InvalidClient, "The client assertion was used before; make one for each request.";
    ClientAssertionInvalid = "client.assertion_invalid", InvalidClient, "The client assertion is malformed, not valid now, ends too late, or does not name one and the same server.";
    ClientAud = "client.aud", InvalidClient, "The audience of the client assertion must be the issuer identifier of the broker and nothing else.";
    ClientKey = "client.key", InvalidClient, "The client assertion is not signed by a key of whom it names.";
    ClientKeysUnavailable = "client.keys_unavailable", TemporarilyUnavailable, "The keys of the server cannot be fetched from its jwks_uri.";
    ClientMtls = "client.mtls", InvalidClient, "The certificate of the connection does not prove that server.";
    ClientHeaderSpoof = "client.header_spoof", InvalidClient, "A client certificate came in a header that is not believed here; connect with the certificate itself.";
    ClientBruteforce = "client.bruteforce", InvalidClient, "Too many wrong secrets for this server; wait and try again.";
    ClientSuspended = "client.suspended", UnauthorizedClient, "The server is suspended.";
    JwtFormat = "jwt.format", InvalidRequest, "The token is not a compact JWT.";
    JwtBase64 = "jwt.base64", InvalidRequest, "The token is not strict base64url without padding.";
    JwtJson = "jwt.json", InvalidRequest, "Header or payload of the token is not acceptable JSON.";
    JwtDuplicateKey = "jwt.duplicate_key", InvalidRequest, "Header or payload of the token names a member twice.";
    JwtPayloadType = "jwt.payload_type", InvalidRequest, "The payload of the token is not a JSON object.";
    JwtJweRefused = "jwt.jwe_refused", InvalidRequest, "Encrypted tokens are not accepted.";
    JwtAlgRefused = "jwt.alg_refused", InvalidRequest, "The algorithm of the token is not one that its issuer is trusted with.";
    JwtAlgKeyMismatch = "jwt.alg_key_mismatch", InvalidRequest, "The algorithm of the token does not fit the key that it names.";
    JwtSigInvalid = "jwt.sig_invalid", InvalidRequest, "The signature of the token is not valid.";
    JwtKidMalformed = "jwt.kid_malformed", InvalidRequest, "The key id of the token is missing or not acceptable.";
    JwtKeyWrongIssuer = "jwt.key_wrong_issuer", InvalidRequest, "The key of the token is not one of its issuer.";
    JwtHeaderRefused = "jwt.header_refused", InvalidRequest, "The token header carries or refers to a key of its own, which is not accepted.";
    JwtCrit = "jwt.crit", InvalidRequest, "The token names critical extensions that the broker does not know.";
    JwtTypRefused = "jwt.typ_refused", InvalidRequest, "The typ of the token is not one that its issuer is trusted with here.";
    JwtClaimMissing = "jwt.claim_missing", InvalidRequest, "The token lacks a claim that it must have.";
    JwtClaimType = "jwt.claim_type", InvalidRequest, "A claim of the token has the wrong JSON type.";
    JwtClaimRange = "jwt.claim_range", InvalidRequest, "A time in the token is out of range.";
    JwtNotYet = "jwt.not_yet", InvalidRequest, "The token is not valid yet; compare the clocks.";
    JwtExpired = "jwt.expired", InvalidRequest, "The token has expired; get a new one from its issuer.";
    JwtLifetime = "jwt.lifetime", InvalidRequest, "The token lives longer than its issuer may make tokens live.";
    JwtAudience = "jwt.audience", InvalidRequest, "The token was not issued for this server; its audience must be the resource of the server.";
    JwtAudMulti = "jwt.aud_multi", InvalidRequest, "The token has audiences beside this server; list them as extra_audiences of the issuer if that is meant.";
    JwtIssUntrusted = "jwt.iss_untrusted", InvalidRequest, "The issuer of the token is not trusted.";
    JwksMiss = "jwks.miss", InvalidRequest, "The issuer publishes no key with the id that the token names.";
    JwksKeyRefused = "jwks.key_refused", InvalidRequest, "The key that the token names is not acceptable.";
    JwksDuplicateKid = "jwks.duplicate_kid", TemporarilyUnavailable, "The issuer publishes two keys with one id.";
    JwksRefused = "jwks.refused", TemporarilyUnavailable, "The keys of the issuer cannot be read.";
    JwksRedirect = "jwks.redirect", TemporarilyUnavailable, "The issuer redirects where its metadata or keys should be.";
    DiscoIssuerMismatch = "disco.issuer_mismatch", TemporarilyUnavailable, "The metadata of the issuer names another issuer.";
    IssuerUnavailable = "issuer.unavailable", TemporarilyUnavailable, "The issuer of the token cannot be reached.";
    SubjectSelfIssued = "subject.self_issued", InvalidRequest, "A token that this broker issued cannot be a subject or actor token.";
    PopUnproven = "pop.unproven", InvalidRequest, "The token is bound to a key (cnf.jkt); send a DPoP proof of that key with the request.";
    PopMtlsMismatch = "pop.mtls_mismatch", InvalidRequest, "The token is bound to a certificate (cnf.x5t#S256); present it over a connection with that certificate.";
    PopUnsupported = "pop.unsupported", InvalidRequest, "The cnf of the token is not one jkt or one x5t#S256, so nothing can prove its key.";
    PopCertificateMissing = "pop.certificate_missing", InvalidRequest, "Tokens for this server are bound to its certificate; connect with one.";
    DpopRequired = "dpop.required", InvalidDpopProof, "A DPoP proof is needed here; send one in the DPoP header.";
    DpopHeader = "dpop.header", InvalidDpopProof, "Send one DPoP header: a signed JWT of typ dpop+jwt, with an alg that the metadata lists and the public key as jwk.";
    DpopKey = "dpop.key", InvalidDpopProof, "The jwk of the DPoP proof is not an acceptable public key for its alg.";
    DpopSignature = "dpop.signature", InvalidDpopProof, "The signature of the DPoP proof is not valid.";
    DpopHtm = "dpop.htm", InvalidDpopProof, "The htm of the DPoP proof is not the method of this request.";
    DpopHtu = "dpop.htu", InvalidDpopProof, "The htu of the DPoP proof is not the URI of this request under the issuer of the broker.";
    DpopIat = "dpop.iat", InvalidDpopProof, "The iat of the DPoP proof is too far from now; compare the clocks.";
    DpopJti = "dpop.jti", InvalidDpopProof, "The jti of the DPoP proof is missing, empty or too long.";
    DpopAth = "dpop.ath", InvalidDpopProof, "The ath of the DPoP proof is not the hash of the token that it came with.";
    DpopNonce = "dpop.nonce", UseDpopNonce, "Make the DPoP proof with the nonce of the DPoP-Nonce header and send the request again.";
    DpopReplay = "dpop.replay", InvalidDpopProof, "The DPoP proof was used before; make one for each request.";
    SubjectClientMismatch = "subject.client_mismatch", InvalidRequest, "The token was issued to a client that may not present it here.";
    SubjectRevoked = "subject.revoked", InvalidRequest, "The session of this subject was ended; get a new token from its issuer.";
    SubjectSuspended = "subject.suspended", InvalidRequest, "The subject is suspended.";
    SubjectTenantMismatch = "subject.tenant_mismatch", InvalidRequest, "The token belongs to an organisation that this server does not serve.";
    AuthInsufficient = "auth.insufficient", InsufficientUserAuthentication, "The user must log in again as acr_values and max_age say.";
    IntrospectInactive = "introspect.inactive", InvalidRequest, "The issuer says that the token is not active; get a new one.";
    IntrospectUnavailable = "introspect.unavailable", TemporarilyUnavailable, "The issuer cannot be asked about the token.";
    IntrospectTimeout = "introspect.timeout", TemporarilyUnavailable, "The issuer did not say in time whether the token is active.";
    IntrospectUntrusted = "introspect.untrusted", TemporarilyUnavailable, "The answer about the token is not known to be of its issuer.";
    NameRefused = "name.refused", InvalidRequest, "A name in the token cannot be told from another one.";
    IdJagInvalid = "idjag.invalid", InvalidGrant, "The ID-JAG is not a valid one of an issuer that is trusted with them.";
    IdJagAudience = "idjag.audience", InvalidGrant, "The ID-JAG must have this broker's issuer identifier as its only audience.";
    IdJagClient = "idjag.client", InvalidGrant, "The ID-JAG was issued to another client than the one that presents it.";
    IdJagTenant = "idjag.tenant", InvalidGrant, "The ID-JAG names a tenant or a subject of the audience (aud_tenant, aud_sub), and the broker has none.";
    IdJagResource = "idjag.resource", InvalidGrant, "The ID-JAG is for another resource, or the target issues no access tokens.";
    IdJagScope = "idjag.scope", InvalidScope, "The ID-JAG does not grant this scope.";
    IdJagPop = "idjag.pop", InvalidGrant, "The ID-JAG is bound to a key (cnf); send a DPoP proof of that key.";
    IdJagReplay = "idjag.replay", InvalidGrant, "The ID-JAG was used before; get a new one from its issuer.";
    IdJagActor = "idjag.actor", InvalidRequest, "An ID-JAG is presented without an actor token.";
    ActorAudience = "actor.audience", InvalidRequest, "The actor token was issued neither for the broker nor for this server.";
    ActorSelf = "actor.self", InvalidRequest, "Subject and actor are the same.";
    ActorChain = "actor.chain", InvalidRequest, "The act claim is malformed, too deep or loops.";
    ActorUnknown = "actor.unknown", InvalidRequest, "The agent that the token names is not declared.";
    ActorMayAct = "actor.may_act", InvalidRequest, "The subject token names another actor in may_act.";
    ActorNotPermitted = "actor.not_permitted", InvalidRequest, "The actor may not act for this subject.";
    ActorSuspended = "actor.suspended", InvalidRequest, "The agent is suspended.";
    SessionUnknown = "session.unknown", InvalidRequest, "The session is unknown, has ended or belongs to another caller; start a new one.";
    SessionEnded = "session.ended", InvalidRequest, "The session ended while the request was under way.";
    ToolNotDeclared = "tool.not_declared", InvalidRequest, "The tool is not declared for this server.";
    ToolDefinitionMissing = "tool.definition_missing", InvalidRequest, "The digest of the definition of this tool is declared; send it as tool_definition_sha256.";
    ToolDefinitionChanged = "tool.definition_changed", InvalidRequest, "The definition of the tool is not the one whose digest is declared; review it and declare the new digest.";
    PolicyTarget = "policy.target", InvalidTarget, "Name one target, by audience or by resource.";
    TargetNotAvailable = "target.not_available", InvalidTarget, "The target is unknown or has nothing for this server.";
    GrantNotPermitted = "grant.not_permitted", InvalidScope, "The grant is unknown or not permitted; the log tells which with procura log show.";
    GrantUnknown = "grant.unknown", InvalidScope, "The target has no such grant.";
    GrantUnlisted = "grant.unlisted", InvalidScope, "The grant is not listed for this tool or server.";
    GrantsNotMergeable = "grant.not_mergeable", InvalidScope, "These grants cannot go into one credential; ask for one at a time.";
    PolicyDenied = "policy.denied", InvalidScope, "No rule permits it, or a rule forbids it.";
    PolicyError = "policy.error", InvalidScope, "A rule could not be evaluated.";
    ScopeInsufficient = "scope.insufficient", InvalidScope, "The subject token lacks a scope; required_scope names all that are needed.";
    PolicyScopeUnknown = "policy.scope_unknown", InvalidScope, "The subject token does not say its scope; required_scope names what is needed.";
    PolicyRar = "policy.rar", InvalidAuthorizationDetails, "authorization_details do not fit the grant: see its parameters.";
    PolicyTtl = "policy.ttl", InvalidRequest, "requested_expires_in must be a whole number of seconds above zero.";
    TtlBelowMinimum = "ttl.below_minimum", InvalidRequest, "Less time is left than this kind of credential needs; get a fresh subject token or ask for more.";
    ProofReplayed = "proof.replayed", InvalidRequest, "A one-time proof was used before.";
    LimitServer = "limit.server", TemporarilyUnavailable, "The server asks more often than its limit allows; wait as long as Retry-After says.";
    LimitSubject = "limit.subject", TemporarilyUnavailable, "There are more requests for this subject than its limit allows; wait as long as Retry-After says.";
    LimitSession = "limit.session", TemporarilyUnavailable, "The session asks more often than its limit allows; wait as long as Retry-After says.";
    LimitGrant = "limit.grant", TemporarilyUnavailable, "The grant is asked for more often than its limit allows; wait as long as Retry-After says.";
    LimitAddress = "limit.address", TemporarilyUnavailable, "There are more requests from this address than its limit allows; wait as long as Retry-After says.";
    AuditUnavailable = "audit.unavailable", TemporarilyUnavailable, "The issuance log cannot be written, so nothing is issued.";
    LogPending = "log.pending", TemporarilyUnavailable, "No checkpoint of the log covers this record yet; ask again in a second.";
    Overloaded = "server.overloaded", TemporarilyUnavailable, "Too many requests wait; try again.";
    Draining = "server.draining", TemporarilyUnavailable, "The broker is shutting down; try again.";
    ClockStep = "clock.step", TemporarilyUnavailable, "The clock of the broker is behind its log.";
    SourceUnavailable = "source.unavailable", TemporarilyUnavailable, "The credential of the target cannot be read from its source.";
    MintRefused = "mint.refused", TemporarilyUnavailable, "The target refused the credential of the broker.";
    MintFailed = "mint.failed", TemporarilyUnavailable, "The target did not make the credential.";
    MintUncertain = "mint.uncertain", TemporarilyUnavailable, "The target did not answer in time; what it may have made is undone.";
    MintScopeMismatch = "mint.scope_mismatch", ServerError, "The target made more than was asked; it was undone.";
    MintSuperseded = "mint.superseded", TemporarilyUnavailable, "Another replica took the request over; try again.";
    MintOrphanRevoked = "mint.orphan_revoked", TemporarilyUnavailable, "The credential could not be recorded and was undone.";
    MintAborted = "mint.aborted", TemporarilyUnavailable, "The request was interrupted before it ended; what it may have made is undone.";
    MintUndelivered = "mint.undelivered", InvalidRequest, "The caller went away before the answer; the credential was undone.";
    RotateFailed = "rotate.failed", TemporarilyUnavailable, "The credential of the broker at the target was not rotated; the answer tells why.";
    RevokeDone = "revoke.done", InvalidRequest, "The credential was gone already.";
    RevokeNotOwner = "revoke.not_owner", InvalidRequest, "The credential belongs to another server.";
    RevokeUnknown = "revoke.unknown", InvalidRequest, "No such credential.";
    V1Unauthenticated = "v1.unauthenticated", InvalidToken, "Send a bearer token of an operator whose sole audience is this API.";
    V1Forbidden = "v1.forbidden", InsufficientScope, "No rule permits this to the operator.";
    V1NotFound = "v1.not_found", NotFound, "There is no such thing, or it is not for this caller.";
    UsesInvalid = "uses.invalid", InvalidRequest, "A use report is malformed or names an issuance of another server.";
    ServerError = "server.error", ServerError, "The broker failed; its own log has the trace id.";
}

impl Reason {
    /// The reason with that code.
    pub fn from_code(code: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|reason| reason.code() == code)
    }

    /// What the caller is told. Unknown, unlisted and denied grants look the same; so does every
    /// fault of client authentication. The log keeps `self`.
    pub fn on_the_wire(self) -> Self {
        match self {
            Self::GrantUnknown | Self::GrantUnlisted | Self::PolicyDenied | Self::PolicyError => {
                Self::GrantNotPermitted
            }
            Self::ClientSecretExpired | Self::ClientKey => Self::ClientUnauthenticated,
            other => other,
        }
    }

    /// The HTTP status of an answer with this reason.
    pub fn status(self) -> u16 {
        match self {
            Self::HttpMethod => 405,
            Self::HttpSlow => 408,
            Self::HttpTooLarge => 413,
            Self::HttpContentType => 415,
            Self::HttpHost => 421,
            Self::HttpOrigin => 403,
            Self::ClientBruteforce => 429,
            Self::LimitServer | Self::LimitSubject | Self::LimitSession | Self::LimitGrant | Self::LimitAddress => 429,
            other => other.error().status(),
        }
    }

    /// Seconds after which the same request may succeed, for `Retry-After`.
    pub fn retry_after(self) -> Option<u32> {
        matches!(self.status(), 429 | 503).then_some(1)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn req_011_texts_keep_to_the_characters_of_error_description() {
        for reason in Reason::ALL {
            let fine = |c: u8| matches!(c, 0x20..=0x21 | 0x23..=0x5b | 0x5d..=0x7e);
            assert!(reason.text().bytes().all(fine), "{}", reason.code());
        }
    }

    #[test]
    fn codes_are_unique_and_lead_back() {
        let codes: BTreeSet<_> = Reason::ALL.iter().map(|reason| reason.code()).collect();
        assert_eq!(codes.len(), Reason::ALL.len());
        assert!(
            Reason::ALL
                .iter()
                .all(|reason| Reason::from_code(reason.code()) == Some(*reason))
        );
    }

    #[test]
    fn masked_reasons_share_error_and_status() {
        for reason in Reason::ALL {
            assert_eq!(reason.error(), reason.on_the_wire().error(), "{}", reason.code());
            assert_eq!(reason.status(), reason.on_the_wire().status(), "{}", reason.code());
        }
    }
}
