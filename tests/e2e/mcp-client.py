"""Calls tools of an MCP server through the Python client. Arguments: URL, token, calls as JSON: [[tool, arguments], …].
Prints {"protocol": …, "results": [{"text", "error"}, …]}."""

import asyncio
import json
import sys

import httpx2
from mcp import Client
from mcp.client.streamable_http import streamable_http_client


async def main(url: str, token: str, calls: str) -> None:
    http = httpx2.AsyncClient(headers={"authorization": f"Bearer {token}"}, timeout=30)
    async with http, Client(streamable_http_client(url, http_client=http)) as client:
        results = []
        for name, arguments in json.loads(calls):
            result = await client.call_tool(name, arguments)
            text = "".join(part.text for part in result.content)
            results.append({"text": text, "error": bool(result.is_error)})
        print(json.dumps({"protocol": client.protocol_version, "results": results}))


asyncio.run(main(*sys.argv[1:]))
