"""Presents an ID-JAG as the provider of the Python MCP SDK does when an MCP server wants a token. Argument: as JSON
{"issuer", "resource", "client_id", "client_secret", "assertion", "ca"}. Prints {"response": …} or {"error": …}."""

import asyncio
import json
import ssl
import sys

import httpx2
from mcp.client.auth import OAuthTokenError
from mcp.client.auth.extensions.identity_assertion import IdentityAssertionOAuthProvider

ask = json.loads(sys.argv[1])


class Network(httpx2.AsyncBaseTransport):
    """The MCP server, which only wants to see a token, and the broker."""

    def __init__(self):
        trusted = ssl.create_default_context(cafile=ask["ca"])
        self.broker = httpx2.AsyncHTTPTransport(verify=trusted, trust_env=False)

    async def handle_async_request(self, request):
        if str(request.url) == ask["resource"]:
            return httpx2.Response(200 if "authorization" in request.headers else 401)
        response = await self.broker.handle_async_request(request)
        if request.method != "GET":
            return response
        # The SDK reads no metadata without an authorization endpoint; it is never asked.
        metadata = {"authorization_endpoint": ask["issuer"], **json.loads(await response.aread())}
        return httpx2.Response(response.status_code, json=metadata)


class Storage:
    tokens = None

    async def get_tokens(self):
        return self.tokens

    async def set_tokens(self, tokens):
        self.tokens = tokens


async def assertion(_audience, _resource):
    return ask["assertion"]


async def main():
    storage = Storage()
    provider = IdentityAssertionOAuthProvider(
        ask["resource"], storage, ask["client_id"], ask["client_secret"], ask["issuer"], assertion
    )
    async with httpx2.AsyncClient(auth=provider, transport=Network()) as client:
        try:
            (await client.get(ask["resource"])).raise_for_status()
            print(json.dumps({"response": storage.tokens.model_dump()}))
        except OAuthTokenError as problem:
            print(json.dumps({"error": str(problem)}))


asyncio.run(main())
