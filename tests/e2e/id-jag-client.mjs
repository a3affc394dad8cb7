// Presents an ID-JAG as the MCP SDK does. Arguments: a directory with node_modules, then as JSON {"token_endpoint",
// "client_id", "client_secret", "assertion"}. Prints {"response": …} or {"error": …}.
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';

const [npm, json] = process.argv.slice(2);
const require = createRequire(join(npm, 'package.json'));
const { exchangeJwtAuthGrant } = await import(pathToFileURL(require.resolve('@modelcontextprotocol/client')));
const ask = JSON.parse(json);
try {
  const response = await exchangeJwtAuthGrant({
    tokenEndpoint: ask.token_endpoint,
    jwtAuthGrant: ask.assertion,
    clientId: ask.client_id,
    clientSecret: ask.client_secret,
  });
  console.log(JSON.stringify({ response }));
} catch (problem) {
  console.log(JSON.stringify({ error: String(problem) }));
}
