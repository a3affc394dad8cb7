// Exchanges a token with openid-client and DPoP, twice with one key. Arguments: a directory with node_modules, issuer,
// client id, its secret, the grant type and the parameters as JSON. Prints what it got: the first answer, the key's
// thumbprint, and whether the second answer was bound to it too.
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';

const [npm, issuer, id, secret, grant, parameters] = process.argv.slice(2);
const require = createRequire(join(npm, 'package.json'));
const client = await import(pathToFileURL(require.resolve('openid-client')));

const config = await client.discovery(new URL(issuer), id, secret, undefined, { algorithm: 'oauth2' });
const DPoP = client.getDPoPHandle(config, await client.randomDPoPKeyPair('ES256'));
const jkt = await DPoP.calculateThumbprint();
const ask = () => client.genericGrantRequest(config, grant, JSON.parse(parameters), { DPoP });
const first = await ask();
const second = await ask();
console.log(JSON.stringify({ ...first, jkt, again: second.token_type === 'dpop' }));
