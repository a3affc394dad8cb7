// Calls tools of an MCP server through an npm client. Arguments: a directory with node_modules, the package
// (`client`, which negotiates, or `sdk`, which speaks 2025-11-25), URL, token, and calls as JSON: [[tool, arguments], …].
// Prints {"protocol": …, "results": [{"text", "error"}, …]}.
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';

const [npm, choice, url, token, calls] = process.argv.slice(2);
const require = createRequire(join(npm, 'package.json'));
const load = (name) => import(pathToFileURL(require.resolve(`@modelcontextprotocol/${name}`)));
const { Client, StreamableHTTPClientTransport } =
  choice === 'client'
    ? await load('client')
    : { ...(await load('sdk/client/index.js')), ...(await load('sdk/client/streamableHttp.js')) };

const headers = { authorization: `Bearer ${token}` };
const transport = new StreamableHTTPClientTransport(new URL(url), { requestInit: { headers } });
const client = new Client({ name: 'e2e', version: '1' }, { versionNegotiation: { mode: 'auto' } });
await client.connect(transport);
const results = [];
for (const [name, args] of JSON.parse(calls)) {
  const result = await client.callTool({ name, arguments: args });
  results.push({ text: result.content.map(({ text }) => text).join(''), error: result.isError ?? false });
}
const protocol = client.getNegotiatedProtocolVersion?.() ?? transport.protocolVersion;
console.log(JSON.stringify({ protocol, results }));
await client.close();
