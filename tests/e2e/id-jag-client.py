"""Reaches a resource that wants a token, as the MCP SDK does with an ID-JAG. Argument: as JSON {"issuer", "client_id",
"client_secret", "assertion", "resource"}. Prints {"response": …} or {"error": …}."""

import asyncio
import json
import sys

import httpx2
from mcp.client.auth import OAuthTokenError
from mcp.client.auth.extensions.identity_assertion import IdentityAssertionOAuthProvider

ask = json.loads(sys.argv[1])


class Kept:
    tokens = None

    async def get_tokens(self):
        return self.tokens

    async def set_tokens(self, tokens):
        self.tokens = tokens


async def assertion(audience, resource):
    assert (audience, resource) == (ask["issuer"], ask["resource"])
    return ask["assertion"]


async def main():
    kept = Kept()
    provider = IdentityAssertionOAuthProvider(
        server_url=ask["resource"],
        storage=kept,
        client_id=ask["client_id"],
        client_secret=ask["client_secret"],
        issuer=ask["issuer"],
        assertion_provider=assertion,
    )
    try:
        async with httpx2.AsyncClient(auth=provider, trust_env=True) as client:
            await client.get(ask["resource"])
        print(json.dumps({"response": kept.tokens.model_dump(mode="json")}))
    except OAuthTokenError as problem:
        print(json.dumps({"error": str(problem)}))


asyncio.run(main())
