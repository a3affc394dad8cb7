"""Exchanges a token through Authlib, authenticated by private_key_jwt. Argument: as JSON {"issuer", "client_id", "jwk",
"subject_token", "audience", "scope", "ca", "assertion_audience"}; the last may be null: Authlib then signs for the token
endpoint. Prints {"assertion": …, "response": …} or {"assertion": …, "error": …}."""

import json
import sys
import time
from urllib.parse import parse_qs

from authlib.integrations.base_client.errors import OAuthError
from authlib.integrations.requests_client import OAuth2Session
from authlib.oauth2.rfc7523 import PrivateKeyJWT
from joserfc.jwk import ECKey

ask = json.loads(sys.argv[1])
jwk = ask["jwk"]
session = OAuth2Session(
    ask["client_id"],
    ECKey.import_key({name: jwk[name] for name in ("kty", "crv", "x", "y", "d")}),
    token_endpoint_auth_method="private_key_jwt",
)
session.verify = ask["ca"]
session.trust_env = False
sent = {}


def keep(response, *_args, **_kwargs):
    sent["assertion"] = parse_qs(response.request.body).get("client_assertion", [None])[0]
    sent["body"] = response.json()


session.hooks["response"].append(keep)
metadata = session.request("GET", ask["issuer"] + "/.well-known/oauth-authorization-server", withhold_token=True).json()
assert "private_key_jwt" in metadata["token_endpoint_auth_methods_supported"]
assert "ES256" in metadata["token_endpoint_auth_signing_alg_values_supported"]
session.register_client_auth_method(
    PrivateKeyJWT(
        ask["assertion_audience"],
        # Authlib signs for an hour unless it is told otherwise.
        claims={"exp": int(time.time()) + 60},
        headers={"kid": jwk["kid"]},
        alg="ES256",
    )
)
try:
    response = session.fetch_token(
        metadata["token_endpoint"],
        grant_type="urn:ietf:params:oauth:grant-type:token-exchange",
        subject_token=ask["subject_token"],
        subject_token_type="urn:ietf:params:oauth:token-type:access_token",
        audience=ask["audience"],
        scope=ask["scope"],
    )
    print(json.dumps({"assertion": sent["assertion"], "response": response}))
except OAuthError:
    print(json.dumps({"assertion": sent["assertion"], "error": sent["body"]}))
