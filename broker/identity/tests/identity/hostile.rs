//! ATTACKS.md section 1: form, header, algorithm, signature.

use procura_core::catalogue::TokenTyp;
use procura_wire::Reason;
use serde_json::{Value, json};

use crate::kit::{TestKey, World, b64};

/// A valid token whose header has other members.
fn header(world: &World, header: Value) -> String {
    world
        .key
        .compact(&header.to_string(), world.claims().to_string().as_bytes())
}

fn payload(world: &World, payload: impl AsRef<[u8]>) -> String {
    let header = json!({"alg": "ES256", "kid": "k1", "typ": "at+jwt"});
    world.key.compact(&header.to_string(), payload.as_ref())
}

async fn refuses(world: &World, cases: impl IntoIterator<Item = (&str, String, Reason)>) {
    for (name, token, reason) in cases {
        assert_eq!(world.reason(&token).await, Some(reason), "{name}");
    }
    assert_eq!(world.reason(&world.valid()).await, None, "the valid token stays valid");
}

#[tokio::test]
async fn req_035_req_036_attack_1_to_4_refuses_other_algorithms() {
    let world = World::new().await;
    let alg = |alg: Value| header(&world, json!({"alg": alg, "kid": "k1", "typ": "at+jwt"}));
    let unsigned = |alg: &str| {
        let header = json!({"alg": alg, "kid": "k1", "typ": "at+jwt"}).to_string();
        format!("{}.{}.", b64(header), b64(world.claims().to_string()))
    };
    let twice = |text: &str| world.key.compact(text, world.claims().to_string().as_bytes());
    refuses(
        &world,
        [
            ("1 none", unsigned("none"), Reason::JwtAlgRefused),
            ("1 None", unsigned("None"), Reason::JwtAlgRefused),
            (
                "1 nOnE with the signature kept",
                alg(json!("nOnE")),
                Reason::JwtAlgRefused,
            ),
            ("1 an empty signature", unsigned("ES256"), Reason::JwtSigInvalid),
            ("2 HS256", alg(json!("HS256")), Reason::JwtAlgKeyMismatch),
            ("2 another kind of key", alg(json!("RS256")), Reason::JwtAlgKeyMismatch),
            ("4 lower case", alg(json!("es256")), Reason::JwtAlgRefused),
            ("4 trailing space", alg(json!("ES256 ")), Reason::JwtAlgRefused),
            ("4 no string", alg(json!(["ES256"])), Reason::JwtAlgRefused),
            (
                "4 twice",
                twice(r#"{"alg":"ES256","alg":"ES256","kid":"k1","typ":"at+jwt"}"#),
                Reason::JwtAlgRefused,
            ),
            (
                "4 missing",
                header(&world, json!({"kid": "k1", "typ": "at+jwt"})),
                Reason::JwtAlgRefused,
            ),
        ],
    )
    .await;
}

#[tokio::test]
async fn req_035_refuses_an_algorithm_that_the_issuer_is_not_trusted_with() {
    let mut world = World::new().await;
    world.edit(|issuer| {
        issuer
            .algorithms
            .retain(|alg| *alg != procura_core::catalogue::Algorithm::Es256)
    });
    assert_eq!(world.reason(&world.valid()).await, Some(Reason::JwtAlgRefused));
}

#[tokio::test]
async fn req_037_attack_5_refuses_bad_signatures() {
    let world = World::new().await;
    let valid = world.valid();
    let (signed, signature) = valid.rsplit_once('.').expect("compact");
    let good = world.key.sign(signed.as_bytes());
    let with = |signature: &[u8]| format!("{signed}.{}", b64(signature));
    let order = [
        0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xbc, 0xe6, 0xfa, 0xad,
        0xa7, 0x17, 0x9e, 0x84, 0xf3, 0xb9, 0xca, 0xc2, 0xfc, 0x63, 0x25, 0x51,
    ];
    let der = [&[0x30, 0x44, 2, 32][..], &good[..32], &[2, 32], &good[32..]].concat();
    let other = TestKey::es256().token("k1", &world.claims());
    refuses(
        &world,
        [
            ("r = s = 0", with(&[0; 64]), Reason::JwtSigInvalid),
            ("r = n", with(&[&order, &good[32..]].concat()), Reason::JwtSigInvalid),
            ("s = n", with(&[&good[..32], &order].concat()), Reason::JwtSigInvalid),
            ("63 bytes", with(&good[..63]), Reason::JwtSigInvalid),
            ("65 bytes", with(&[&good[..], &[0]].concat()), Reason::JwtSigInvalid),
            ("DER", with(&der), Reason::JwtSigInvalid),
            ("of another key", other, Reason::JwtSigInvalid),
            (
                "over other claims",
                format!(
                    "{}.{signature}",
                    payload(&world, b"{}").rsplit_once('.').expect("compact").0
                ),
                Reason::JwtClaimMissing,
            ),
        ],
    )
    .await;
}

#[tokio::test]
async fn req_042_attack_8_refuses_malformed_key_ids() {
    let world = World::new().await;
    let long = "k".repeat(257);
    let kids = [
        json!("../../etc/passwd"),
        json!("/dev/null"),
        json!("a\0b"),
        json!("' OR 1=1--"),
        json!(";cmd"),
        json!("*)(uid=*"),
        json!(""),
        json!(long),
        json!(1),
        json!("k 1"),
        json!("kä"),
        Value::Null,
    ];
    for kid in kids {
        let token = header(&world, json!({"alg": "ES256", "kid": kid, "typ": "at+jwt"}));
        assert_eq!(world.reason(&token).await, Some(Reason::JwtKidMalformed), "{kid}");
    }
    let huge = header(
        &world,
        json!({"alg": "ES256", "kid": "k".repeat(10_000_000), "typ": "at+jwt"}),
    );
    assert_eq!(world.reason(&huge).await, Some(Reason::ParamTooLarge));
    let missing = header(&world, json!({"alg": "ES256", "typ": "at+jwt"}));
    assert_eq!(world.reason(&missing).await, Some(Reason::JwtKidMalformed));
    assert_eq!(world.idp.fetches(), 0, "cheap checks come before any fetch");
}

#[tokio::test]
async fn req_042_attack_13_to_17_refuses_own_keys_extensions_and_encryption() {
    let world = World::new().await;
    let with = |member: &str, value: Value| {
        let mut members = json!({"alg": "ES256", "kid": "k1", "typ": "at+jwt"});
        members[member] = value;
        header(&world, members)
    };
    let five = format!(
        "{}.a.a.a.a",
        b64(r#"{"alg":"PBES2-HS256+A128KW","enc":"A128GCM","p2c":2147483648}"#)
    );
    refuses(
        &world,
        [
            ("13 jwk", with("jwk", world.key.jwk("k1")), Reason::JwtHeaderRefused),
            ("13 x5c", with("x5c", json!(["MIIB"])), Reason::JwtHeaderRefused),
            (
                "13 jku",
                with("jku", json!("https://evil.example/keys")),
                Reason::JwtHeaderRefused,
            ),
            (
                "13 x5u",
                with("x5u", json!("https://evil.example/keys")),
                Reason::JwtHeaderRefused,
            ),
            ("14 unknown", with("crit", json!(["exp"])), Reason::JwtCrit),
            ("14 empty", with("crit", json!([])), Reason::JwtCrit),
            ("14 naming alg", with("crit", json!(["alg"])), Reason::JwtCrit),
            ("16 zip", with("zip", json!("DEF")), Reason::JwtJweRefused),
            ("16 enc", with("enc", json!("A128GCM")), Reason::JwtJweRefused),
            ("17 five parts", five, Reason::JwtJweRefused),
        ],
    )
    .await;
}

#[tokio::test]
async fn req_039_attack_19_to_20_only_compact_and_strict_base64url() {
    let world = World::new().await;
    let valid = world.valid();
    let parts: Vec<_> = valid.split('.').collect();
    let flattened = json!({"protected": parts[0], "payload": parts[1], "signature": parts[2]}).to_string();
    let polyglot = format!(r#"{{"protected":"{}","x":"a.b.c"}}"#, parts[0]);
    // The last character of 64 bytes has four bits that must be zero.
    let (last, rest) = parts[2].split_at(parts[2].len() - 1).to_owned();
    let trailing = format!(
        "{}.{}.{last}{}",
        parts[0],
        parts[1],
        if rest == "A" { "B" } else { "_" }
    );
    refuses(
        &world,
        [
            ("19 flattened", flattened, Reason::JwtFormat),
            ("19 polyglot", polyglot, Reason::JwtFormat),
            ("19 opaque", "c2VjcmV0".into(), Reason::JwtFormat),
            ("19 two parts", format!("{}.{}", parts[0], parts[1]), Reason::JwtFormat),
            ("19 four parts", format!("{valid}.x"), Reason::JwtFormat),
            ("19 empty", String::new(), Reason::JwtFormat),
            ("20 padding", format!("{valid}=="), Reason::JwtBase64),
            ("20 plus", valid.replacen('.', "+.", 1), Reason::JwtBase64),
            ("20 slash", valid.replacen('.', "/.", 1), Reason::JwtBase64),
            ("20 newline", format!("{valid}\n"), Reason::JwtBase64),
            ("20 leading space", format!(" {valid}"), Reason::JwtBase64),
            ("20 trailing bits", trailing, Reason::JwtBase64),
        ],
    )
    .await;
}

#[tokio::test]
async fn req_039_attack_22_to_26_payload_is_one_strict_json_object() {
    let world = World::new().await;
    let valid = world.claims().to_string();
    let extended = |member: &str| payload(&world, format!("{},{member}}}", &valid[..valid.len() - 1]));
    let utf16: Vec<u8> = valid.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let twice = r#"{"alg":"ES256","kid":"k1","kid":"k1","typ":"at+jwt"}"#;
    let many: String = (0..6_000).map(|n| format!(r#""k{n}":1,"#)).collect();
    refuses(
        &world,
        [
            ("22 aud twice", extended(r#""aud":"x""#), Reason::JwtDuplicateKey),
            ("22 sub twice", extended(r#""sub":"bob""#), Reason::JwtDuplicateKey),
            (
                "22 exp twice, escaped",
                extended(r#""\u0065xp":1"#),
                Reason::JwtDuplicateKey,
            ),
            (
                "22 kid twice",
                world.key.compact(twice, valid.as_bytes()),
                Reason::JwtDuplicateKey,
            ),
            ("22 nested", extended(r#""x":{"a":1,"a":2}"#), Reason::JwtDuplicateKey),
            (
                "23 array",
                payload(&world, format!("[{valid}]")),
                Reason::JwtPayloadType,
            ),
            ("23 string", payload(&world, "\"x\""), Reason::JwtPayloadType),
            ("23 number", payload(&world, "1"), Reason::JwtPayloadType),
            ("23 null", payload(&world, "null"), Reason::JwtPayloadType),
            ("26 deep", payload(&world, "[".repeat(10_000)), Reason::JwtJson),
            ("26 lone surrogate", extended(r#""x":"\ud800""#), Reason::JwtJson),
            ("26 not UTF-8", payload(&world, b"{\"iss\":\"\xff\"}"), Reason::JwtJson),
            ("26 UTF-16", payload(&world, utf16), Reason::JwtJson),
            ("26 BOM", payload(&world, format!("\u{feff}{valid}")), Reason::JwtJson),
            (
                "26 more after it",
                payload(&world, format!("{valid}{valid}")),
                Reason::JwtJson,
            ),
            (
                "26 many keys without iss",
                payload(&world, format!("{{{many}\"x\":1}}")),
                Reason::ParamTooLarge,
            ),
            (
                "26 header array",
                world.key.compact("[]", valid.as_bytes()),
                Reason::JwtJson,
            ),
            (
                "28 one megabyte",
                payload(&world, format!("\"{}\"", "x".repeat(1 << 20))),
                Reason::ParamTooLarge,
            ),
        ],
    )
    .await;
}

#[tokio::test]
async fn req_043_attack_29_other_types_of_jwt_are_refused() {
    let world = World::new().await;
    let typ = |typ: Value| header(&world, json!({"alg": "ES256", "kid": "k1", "typ": typ}));
    for other in [
        "logout+jwt",
        "dpop+jwt",
        "oauth-id-jag+jwt",
        "txntoken+jwt",
        "secevent+jwt",
        "JWT",
        "application/JWT",
        "",
        "at+jwt ",
        "application/application/at+jwt",
    ] {
        assert_eq!(
            world.reason(&typ(json!(other))).await,
            Some(Reason::JwtTypRefused),
            "{other}"
        );
    }
    assert_eq!(world.reason(&typ(json!(1))).await, Some(Reason::JwtTypRefused));
    let missing = header(&world, json!({"alg": "ES256", "kid": "k1"}));
    assert_eq!(world.reason(&missing).await, Some(Reason::JwtTypRefused));
    for good in ["at+jwt", "AT+JWT", "application/at+jwt", "Application/AT+jwt"] {
        assert_eq!(world.reason(&typ(json!(good))).await, None, "{good}");
    }
}

#[tokio::test]
async fn req_048_attack_29_typ_jwt_demands_that_the_payload_is_an_access_token() {
    let mut world = World::new().await;
    world.edit(|issuer| issuer.token_types = [TokenTyp::Jwt].into());
    let token = |claim: &str, value: Value| {
        let mut claims = world.claims();
        claims[claim] = value;
        let header = json!({"alg": "ES256", "kid": "k1", "typ": "JWT"});
        world.key.compact(&header.to_string(), claims.to_string().as_bytes())
    };
    for (claim, value) in [
        ("typ", json!("ID")),
        ("typ", json!("Refresh")),
        ("typ", json!("DPoP")),
        ("nonce", json!("n")),
        ("at_hash", json!("h")),
        ("c_hash", json!("h")),
        ("events", json!({})),
    ] {
        assert_eq!(
            world.reason(&token(claim, value)).await,
            Some(Reason::JwtTypRefused),
            "{claim}"
        );
    }
    assert_eq!(world.reason(&token("typ", json!("Bearer"))).await, None);
    let mut bound = world.claims();
    bound["typ"] = json!("DPoP");
    bound["cnf"] = json!({"jkt": "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"});
    let header = json!({"alg": "ES256", "kid": "k1", "typ": "JWT"}).to_string();
    let bound = world.key.compact(&header, bound.to_string().as_bytes());
    assert_eq!(world.reason(&bound).await, None, "Keycloak's word for a bound one");
    assert_eq!(world.reason(&token("jti", json!("1"))).await, None);
    assert_eq!(
        world.reason(&world.valid()).await,
        Some(Reason::JwtTypRefused),
        "at+jwt is not one of its types now"
    );
}
