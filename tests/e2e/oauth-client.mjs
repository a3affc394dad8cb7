// Exchanges a token through openid-client, authenticated by private_key_jwt. Arguments: a directory with node_modules,
// then as JSON {"issuer", "client_id", "jwk", "subject_token", "audience", "scope"}.
// Prints {"assertion": …, "response": …} or {"assertion": …, "error": …}.
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';

const [npm, json] = process.argv.slice(2);
const require = createRequire(join(npm, 'package.json'));
const client = await import(pathToFileURL(require.resolve('openid-client')));
const { issuer, client_id, jwk, subject_token, audience, scope } = JSON.parse(json);

const algorithm = { name: 'ECDSA', namedCurve: 'P-256' };
const { kty, crv, x, y, d } = jwk;
const key = await crypto.subtle.importKey('jwk', { kty, crv, x, y, d }, algorithm, false, ['sign']);
const authentication = client.PrivateKeyJwt({ key, kid: jwk.kid });
const configuration = await client.discovery(new URL(issuer), client_id, undefined, authentication, {
  algorithm: 'oauth2',
});
let assertion;
configuration[client.customFetch] = (url, options) => {
  assertion = new URLSearchParams(options.body).get('client_assertion');
  return fetch(url, options);
};
try {
  const response = await client.genericGrantRequest(
    configuration,
    'urn:ietf:params:oauth:grant-type:token-exchange',
    { subject_token, subject_token_type: 'urn:ietf:params:oauth:token-type:access_token', audience, scope },
  );
  console.log(JSON.stringify({ assertion, response }));
} catch (problem) {
  console.log(JSON.stringify({ assertion, error: problem.cause ?? String(problem) }));
}
