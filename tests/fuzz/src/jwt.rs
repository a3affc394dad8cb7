//! JWTs: access tokens, ID tokens, ID-JAGs, client assertions.

use futures_util::FutureExt as _;
use procura_core::{
    identity::{AssertionType, ClientCredentials, PresentedToken, VerifiedToken},
    ports::{Role, TokenVerifier as _},
};
use procura_wire::{Secret, TokenType, json};
use serde_json::{Map, Value};

use crate::{
    broker::{BROKER, ISSUER, KID, OURS},
    signed::{is_signed, members, token},
};

const TYPES: [TokenType; 3] = [TokenType::AccessToken, TokenType::Jwt, TokenType::IdToken];
const ROLES: [Role; 4] = [Role::Subject, Role::Actor, Role::Operator, Role::Workload];
/// What no header of a token may have that is accepted.
const REFUSED: [&str; 7] = ["jwk", "jku", "x5u", "x5c", "crit", "enc", "zip"];

/// A token, as `token` makes it of the input, in the place of every token that the broker takes.
///
/// What is accepted was signed by the key of its issuer or server under the algorithm of that key, says what the broker reads in it,
/// and is accepted as one thing only.
pub fn jwt(data: &[u8]) -> bool {
    strict_json_is_json(data);
    let Ok(input) = str::from_utf8(data) else {
        return false;
    };
    input.lines().for_each(|line| strict_json_is_json(line.as_bytes()));
    let token = token(input);
    let accepted = [is_verified(&token), is_id_jag(&token), is_assertion(&token)];
    let count = accepted.iter().filter(|accepted| **accepted).count();
    assert!(count <= 1, "one token is several things: {accepted:?}");
    assert!(count == 0 || is_signed(&token), "nobody signed this");
    count == 1
}

/// What is read strictly is read by every other reader as the same.
fn strict_json_is_json(text: &[u8]) {
    if let Ok(value) = json::strict(text) {
        let read: Value = serde_json::from_slice(text).expect("strict JSON is JSON");
        assert_eq!(value, read);
    }
}

fn is_verified(token: &str) -> bool {
    let mut any = false;
    for (declared, role) in TYPES.iter().flat_map(|ty| ROLES.map(|role| (*ty, role))) {
        let verify = || {
            let presented = PresentedToken {
                value: Secret::new(token.to_owned()),
                declared,
            };
            let verified = BROKER
                .identity
                .verify(&BROKER.catalogue, &presented, role)
                .now_or_never();
            verified.expect("nothing is fetched")
        };
        let found = verify();
        assert_eq!(found, verify(), "what is remembered is what was found");
        if let Ok(verified) = found {
            let [header, claims] = members(token).expect("a JWS");
            check_header(&header);
            check_claims(&verified, &claims);
            check_kind(&header, declared, role);
            any = true;
        }
    }
    any
}

fn check_header(header: &Map<String, Value>) {
    assert!(
        header["alg"] == "EdDSA" && header["kid"] == KID,
        "another key: {header:?}"
    );
    let refused = REFUSED.iter().find(|member| header.contains_key(**member));
    assert_eq!(refused, None, "a member of the header that changes its meaning");
}

/// An ID token is no access token, and nobody acts by one.
fn check_kind(header: &Map<String, Value>, declared: TokenType, role: Role) {
    let typ = header
        .get("typ")
        .and_then(Value::as_str)
        .unwrap_or("jwt")
        .to_ascii_lowercase();
    let typ = typ.strip_prefix("application/").unwrap_or(&typ);
    match declared {
        TokenType::IdToken => assert!(typ == "jwt" && role == Role::Subject, "{typ} {role:?}"),
        _ => assert!(["jwt", "at+jwt"].contains(&typ), "{typ}"),
    }
}

fn check_claims(verified: &VerifiedToken, claims: &Map<String, Value>) {
    assert!(claims["iss"] == ISSUER && verified.iss == ISSUER);
    assert_eq!(claims["sub"], verified.sub);
    assert!(claims["exp"].is_number(), "a token without an end");
    let audience = match &claims["aud"] {
        Value::Array(several) => several.clone(),
        one => vec![one.clone()],
    };
    assert_eq!(audience, verified.audience);
    for (claim, read) in [("jti", &verified.jti), ("sid", &verified.sid)] {
        assert_eq!(claims.get(claim).and_then(Value::as_str), read.as_deref(), "{claim}");
    }
    assert_eq!(
        claims.contains_key("cnf"),
        verified.confirmation.is_some(),
        "a binding that is lost"
    );
    assert_eq!(
        claims.contains_key("act"),
        !verified.act.is_empty(),
        "an actor that is lost"
    );
    assert_eq!(
        claims.contains_key("may_act"),
        verified.may_act.is_some(),
        "a restriction that is lost"
    );
    assert_eq!(
        claims.contains_key("nbf"),
        verified.not_before.is_some(),
        "a beginning that is lost"
    );
}

fn is_id_jag(token: &str) -> bool {
    let assertion = Secret::new(token.to_owned());
    let verified = BROKER
        .identity
        .verify_id_jag(&BROKER.catalogue, &assertion)
        .now_or_never();
    let Ok(found) = verified.expect("nothing is fetched") else {
        return false;
    };
    let [header, claims] = members(token).expect("a JWS");
    check_header(&header);
    check_claims(&found.token, &claims);
    assert!(found.token.jti.is_some() && found.token.issued_at.is_some());
    assert_eq!(claims.contains_key("resource"), !found.resources.is_empty());
    true
}

fn is_assertion(token: &str) -> bool {
    let authenticate = |ty| {
        let credentials = ClientCredentials::Assertion {
            id: None,
            ty,
            assertion: Secret::new(token.to_owned()),
        };
        let (identity, now) = (&BROKER.identity, BROKER.now);
        let authenticated = identity
            .authenticate(&BROKER.catalogue, &credentials, None, now)
            .now_or_never();
        authenticated.expect("nothing is fetched")
    };
    assert!(
        authenticate(AssertionType::JwtSpiffe).is_err(),
        "there is no trust domain"
    );
    let Ok(server) = authenticate(AssertionType::JwtBearer) else {
        return false;
    };
    let [header, claims] = members(token).expect("a JWS");
    let refused = REFUSED.iter().find(|member| header.contains_key(**member));
    assert_eq!(refused, None, "a member of the header that changes its meaning");
    assert!(header["alg"] == "EdDSA" && claims["iss"] == server.name.as_str() && claims["sub"] == claims["iss"]);
    let audience = claims["aud"].as_array().map_or(&claims["aud"], |several| &several[0]);
    assert!(audience == OURS, "for somebody else: {audience}");
    assert!(server.once.is_some(), "it could be presented again");
    true
}
