"""Exchanges a token through Authlib. Argument: as JSON {"issuer", "client_id", "subject_token", "audience", "scope", "ca",
"dpop"} and, for how it proves itself, "jwk" and "assertion_audience" (private_key_jwt; where the audience is null, Authlib
signs for the token endpoint), "cert" and "key" (mutual TLS) or "secret". With DPoP it asks twice with one key. Prints
{"statuses", "assertion", "jkt", "response"} with the answers' statuses and what was sent last, or "error" in place of
"response"."""

import json
import sys
import time
import uuid
from urllib.parse import parse_qs

from authlib.integrations.base_client.errors import OAuthError
from authlib.integrations.requests_client import OAuth2Session
from authlib.oauth2.rfc7523 import PrivateKeyJWT
from joserfc import jwt
from joserfc.jwk import ECKey

ask = json.loads(sys.argv[1])
done = {"statuses": []}
answer = {}


def client():
    """A session that proves itself as it is asked to, and the method's name in the metadata."""
    if ask.get("cert"):
        # RFC 8705 section 2: the form has the client's id alone, which Authlib calls no authentication.
        session = OAuth2Session(ask["client_id"], token_endpoint_auth_method="none")
        session.cert = (ask["cert"], ask["key"])
        return session, ask["method"]
    if not ask.get("jwk"):
        return OAuth2Session(ask["client_id"], ask["secret"]), "client_secret_basic"
    jwk = ask["jwk"]
    private = ECKey.import_key({name: jwk[name] for name in ("kty", "crv", "x", "y", "d")})
    return OAuth2Session(ask["client_id"], private, token_endpoint_auth_method="private_key_jwt"), "private_key_jwt"


def sign_anew(session):
    """Authlib signs for an hour unless it is told otherwise, and writes its jti into what it is told, for all requests."""
    claims = {"exp": int(time.time()) + 60}
    headers = {"kid": ask["jwk"]["kid"]}
    signs = PrivateKeyJWT(ask["assertion_audience"], claims=claims, headers=headers, alg="ES256")
    session.register_client_auth_method(signs)


def keep(response, *_args, **_kwargs):
    if response.request.method != "POST":
        return
    done["statuses"].append(response.status_code)
    done["assertion"] = parse_qs(response.request.body).get("client_assertion", [None])[0]
    answer.update(body=response.json(), nonce=response.headers.get("DPoP-Nonce"))


def proof(key, endpoint):
    """Authlib knows no DPoP; its JOSE library signs the proof (RFC 9449 section 4.2)."""
    header = {"typ": "dpop+jwt", "alg": "ES256", "jwk": key.as_dict(private=False)}
    claims = {"jti": str(uuid.uuid4()), "htm": "POST", "htu": endpoint, "iat": int(time.time())}
    if answer.get("nonce"):
        claims["nonce"] = answer["nonce"]
    return jwt.encode(header, claims, key)


def exchange(session, endpoint, headers=None):
    if ask.get("jwk"):
        sign_anew(session)
    return session.fetch_token(
        endpoint,
        headers={"Accept": "application/json", **(headers or {})},
        grant_type="urn:ietf:params:oauth:grant-type:token-exchange",
        subject_token=ask["subject_token"],
        subject_token_type="urn:ietf:params:oauth:token-type:access_token",
        audience=ask["audience"],
        scope=ask["scope"],
    )


def exchange_proving(session, endpoint, key):
    try:
        return exchange(session, endpoint, {"DPoP": proof(key, endpoint)})
    except OAuthError as problem:
        if problem.error != "use_dpop_nonce":
            raise
        return exchange(session, endpoint, {"DPoP": proof(key, endpoint)})


session, method = client()
session.verify = ask["ca"]
session.trust_env = False
session.hooks["response"].append(keep)
metadata = session.request("GET", ask["issuer"] + "/.well-known/oauth-authorization-server", withhold_token=True).json()
assert method in metadata["token_endpoint_auth_methods_supported"], metadata
assert "ES256" in metadata["token_endpoint_auth_signing_alg_values_supported"]
assert "ES256" in metadata["dpop_signing_alg_values_supported"]
endpoint = metadata["token_endpoint"]
try:
    if ask["dpop"]:
        key = ECKey.generate_key("P-256")
        done["jkt"] = key.thumbprint()
        exchange_proving(session, endpoint, key)
        done["response"] = exchange_proving(session, endpoint, key)
    else:
        done["response"] = exchange(session, endpoint)
except OAuthError:
    done["error"] = answer["body"]
print(json.dumps(done))
