// An oidc-provider on a free port of 127.0.0.1. Argument: a directory with node_modules.
// Prints one line of JSON when it serves. POST /issue?sub&aud&format gives a token without a log-in:
// the provider's own code makes and signs it. POST /rotate?gone begins anew with a new key before the others, without the one
// of that id, as an operator changes keys: by a restart with another configuration. GET /issued tells of opaque tokens by client credentials: how many there
// were, and how many live.
import { generateKeyPairSync } from 'node:crypto';
import { createServer } from 'node:http';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';

const require = createRequire(join(process.argv[2], 'package.json'));
const { default: Provider } = await import(pathToFileURL(require.resolve('oidc-provider')));

let made_keys = 0;
function newKey() {
  const key = generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey.export({ format: 'jwk' });
  made_keys += 1;
  return { ...key, kid: `key-${made_keys}`, alg: 'ES256', use: 'sig' };
}

const server = createServer();
await new Promise((listening) => server.listen(0, '127.0.0.1', listening));
const issuer = `http://127.0.0.1:${server.address().port}`;

// The client that the broker is: it signs its assertions with a key of its own.
const own = generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey.export({ format: 'jwk' });
const { d: _, ...known } = { ...own, kid: 'upstream', alg: 'ES256', use: 'sig' };

const clients = [
  {
    client_id: 'upstream',
    token_endpoint_auth_method: 'private_key_jwt',
    jwks: { keys: [known] },
    grant_types: ['client_credentials'],
    response_types: [],
    redirect_uris: [],
    id_token_signed_response_alg: 'ES256',
    scope: 'tools',
  },
  {
    client_id: 'agent',
    token_endpoint_auth_method: 'none',
    grant_types: [],
    response_types: [],
    redirect_uris: [],
    id_token_signed_response_alg: 'ES256',
  },
  {
    client_id: 'broker',
    client_secret: 'broker-secret-broker-secret-broker-secret',
    grant_types: ['client_credentials'],
    response_types: [],
    redirect_uris: [],
    id_token_signed_response_alg: 'ES256',
  },
];

function resource(aud, format) {
  return {
    scope: 'tools',
    audience: aud,
    accessTokenTTL: 300,
    accessTokenFormat: format,
    jwt: { sign: { alg: 'ES256' } },
  };
}

const configuration = {
  clients,
  scopes: ['openid', 'offline_access', 'tools'],
  features: {
    clientCredentials: { enabled: true },
    devInteractions: { enabled: false },
    introspection: { enabled: true, allowedPolicy: () => true },
    revocation: { enabled: true },
    resourceIndicators: { enabled: true, getResourceServerInfo: (_, aud) => resource(aud, 'jwt') },
  },
  findAccount: (_, sub) => ({ accountId: sub, claims: () => ({ sub }) }),
};

// Opaque tokens by client credentials: when each ends, in seconds since 1970.
const ends = new Map();
let made = 0;

let keys, provider, oidc;
function begin(with_keys) {
  keys = with_keys;
  provider = new Provider(issuer, { ...configuration, jwks: { keys } });
  provider.on('client_credentials.saved', (token) => {
    made += 1;
    ends.set(token.jti, Date.now() / 1000 + token.expiration);
  });
  provider.on('client_credentials.destroyed', (token) => ends.delete(token.jti));
  oidc = provider.callback();
}
begin([newKey()]);

function rotate({ gone }) {
  begin([newKey(), ...keys.filter((key) => key.kid !== gone)]);
  return {};
}

function issued() {
  const live = [...ends.values()].filter((end) => end > Date.now() / 1000).length;
  return { made, live };
}

async function issue({ sub, aud, format }) {
  const client = await provider.Client.find('agent');
  const grant = new provider.Grant({ accountId: sub, clientId: client.clientId });
  grant.addResourceScope(aud, 'tools');
  const token = new provider.AccessToken({
    accountId: sub,
    client,
    grantId: await grant.save(),
    gty: 'authorization_code',
    scope: 'tools',
  });
  token.resourceServer = new provider.ResourceServer(aud, resource(aud, format));
  return { access_token: await token.save() };
}

async function fields(request) {
  let body = '';
  for await (const chunk of request) body += chunk;
  return Object.fromEntries(new URLSearchParams(body));
}

server.on('request', (request, response) => {
  const answers = { 'POST /issue': issue, 'POST /rotate': rotate, 'GET /issued': issued }[`${request.method} ${request.url}`];
  if (!answers) return oidc(request, response);
  return fields(request).then(answers).then(
    (answer) => response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(answer)),
    (error) => response.writeHead(500, { 'content-type': 'application/json' }).end(JSON.stringify({ error: `${error}` })),
  );
});
const upstream_key = JSON.stringify({ ...own, kid: 'upstream' });
console.log(JSON.stringify({ issuer, token_endpoint: `${issuer}/issue`, upstream_key }));
