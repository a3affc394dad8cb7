// Exchanges a token through openid-client. Arguments: a directory with node_modules, then as JSON {"issuer", "client_id",
// "subject_token", "audience", "scope", "ca", "dpop"} and, for how it proves itself, "jwk" (private_key_jwt), "cert" and
// "key" (mutual TLS) or "secret". With DPoP it asks twice with one key. Prints {"statuses", "assertion", "jkt", "response"}
// with the answers' statuses and what was sent last, or "error" in place of "response".
import { readFileSync } from 'node:fs';
import https from 'node:https';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';

const [npm, json] = process.argv.slice(2);
const require = createRequire(join(npm, 'package.json'));
const client = await import(pathToFileURL(require.resolve('openid-client')));
const ask = JSON.parse(json);

async function authentication() {
  if (ask.cert) return client.TlsClientAuth();
  if (!ask.jwk) return client.ClientSecretPost(ask.secret);
  const { kty, crv, x, y, d, kid } = ask.jwk;
  const algorithm = { name: 'ECDSA', namedCurve: 'P-256' };
  const key = await crypto.subtle.importKey('jwk', { kty, crv, x, y, d }, algorithm, false, ['sign']);
  return client.PrivateKeyJwt({ key, kid });
}

// Node's own fetch presents no certificate.
function presenting() {
  const files = { cert: readFileSync(ask.cert), key: readFileSync(ask.key), ca: readFileSync(ask.ca) };
  const agent = new https.Agent(files);
  return (url, { method, headers, body }) =>
    new Promise((resolve, reject) => {
      const fields = Object.fromEntries(new Headers(headers));
      const request = https.request(url, { agent, method, headers: fields }, async (answer) => {
        const chunks = [];
        for await (const chunk of answer) chunks.push(chunk);
        resolve(new Response(Buffer.concat(chunks), { status: answer.statusCode, headers: answer.headers }));
      });
      request.on('error', reject).end(body?.toString());
    });
}

const done = { statuses: [] };
const send = ask.cert ? presenting() : fetch;
async function watched(url, options) {
  const answer = await send(url, options);
  if (options.method !== 'POST') return answer;
  done.statuses.push(answer.status);
  done.assertion = new URLSearchParams(options.body).get('client_assertion');
  return answer;
}

const configuration = await client.discovery(new URL(ask.issuer), ask.client_id, undefined, await authentication(), {
  algorithm: 'oauth2',
  [client.customFetch]: watched,
});
const { subject_token, audience, scope } = ask;
const exchange = (options) =>
  client.genericGrantRequest(
    configuration,
    'urn:ietf:params:oauth:grant-type:token-exchange',
    { subject_token, subject_token_type: 'urn:ietf:params:oauth:token-type:access_token', audience, scope },
    options,
  );
try {
  if (ask.dpop) {
    const DPoP = client.getDPoPHandle(configuration, await client.randomDPoPKeyPair('ES256'));
    done.jkt = await DPoP.calculateThumbprint();
    await exchange({ DPoP });
    done.response = await exchange({ DPoP });
  } else {
    done.response = await exchange();
  }
} catch (problem) {
  done.error = problem.cause ?? String(problem);
}
console.log(JSON.stringify(done));
