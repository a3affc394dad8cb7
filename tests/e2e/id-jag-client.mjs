// Presents an ID-JAG as the MCP SDK does. Arguments: a directory with node_modules, "function" or "provider", then as JSON
// {"issuer", "resource", "client_id", "client_secret", "assertion"}. The function is told the token endpoint; the provider is
// what a client of an MCP server has. Prints {"response": …} or {"error": …}.
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';

const [npm, way, json] = process.argv.slice(2);
const require = createRequire(join(npm, 'package.json'));
const sdk = await import(pathToFileURL(require.resolve('@modelcontextprotocol/client')));
const ask = JSON.parse(json);
const own = { clientId: ask.client_id, clientSecret: ask.client_secret };

async function byFunction(metadata) {
  return sdk.exchangeJwtAuthGrant({ tokenEndpoint: metadata.token_endpoint, jwtAuthGrant: ask.assertion, ...own });
}

async function byProvider(metadata) {
  class Provider extends sdk.CrossAppAccessProvider {
    // Its own discovery wants an authorization endpoint. What is known already it takes as it is.
    async discoveryState() {
      const resourceMetadata = { resource: ask.resource, authorization_servers: [ask.issuer] };
      return { authorizationServerUrl: ask.issuer, authorizationServerMetadata: metadata, resourceMetadata };
    }
  }
  const provider = new Provider({ ...own, expectedIssuer: ask.issuer, assertion: async () => ask.assertion });
  await sdk.auth(provider, { serverUrl: ask.resource });
  return provider.tokens();
}

try {
  const metadata = await (await fetch(`${ask.issuer}/.well-known/oauth-authorization-server`)).json();
  const response = await { function: byFunction, provider: byProvider }[way](metadata);
  console.log(JSON.stringify({ response }));
} catch (problem) {
  console.log(JSON.stringify({ error: String(problem) }));
}
