// What the language server of an editor (Even Better TOML is built on it) says of bundles. Arguments: a directory with
// node_modules, the folder of the schemas, then pairs: which schema, and a file; of the last file something must be
// wrong, because only then it is known that all were looked at. Prints for each file what is offered in its last line,
// which is to be empty, and what is underlined.
import { readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { dirname, isAbsolute, join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';

const [npm, schemas, ...pairs] = process.argv.slice(2);
const { TaploLsp } = createRequire(join(npm, 'package.json'))('@taplo/lsp');
const files = [];
for (let at = 0; at < pairs.length; at += 2) {
  files.push({ schema: pairs[at], path: pairs[at + 1], uri: pathToFileURL(pairs[at + 1]).href });
}

const settings = { schema: { enabled: true, catalogs: [], links: false, associations: {} } };
for (const { schema, uri } of files) {
  const exactly = uri.replace(/[.*+?^${}()|[\]\\]/g, '\\$&') + '$';
  settings.schema.associations[exactly] = pathToFileURL(join(schemas, `${schema}.json`)).href;
}
const silent = async (bytes) => bytes.length;
const environment = {
  now: () => new Date(), envVar: (name) => process.env[name], envVars: () => Object.entries(process.env),
  stdErrAtty: () => false, stdin: async () => new Uint8Array(), stdout: silent, stderr: silent,
  glob: () => [], readFile: (path) => readFile(path), writeFile: async () => {}, cwd: () => process.cwd(),
  urlToFilePath: (url) => (url.startsWith('file:') ? fileURLToPath(url) : '/'), isAbsolute, findConfigFile: () => undefined,
  fetch: { fetch: () => Promise.reject(new Error('nothing is fetched')), Headers, Request, Response },
};

const waiting = new Map();
const underlined = new Map();
let looked;
const lookedAtAll = new Promise((resolve) => { looked = resolve; });
const server = await TaploLsp.initialize(environment, {
  onMessage: ({ id, method, params, result }) => {
    if (method === 'textDocument/publishDiagnostics') {
      underlined.set(params.uri, params.diagnostics.map(({ message }) => message));
      if (params.uri === files.at(-1).uri && params.diagnostics.length > 0) looked();
    } else if (method === 'workspace/configuration') {
      server.send({ jsonrpc: '2.0', id, result: params.items.map(() => settings) });
    } else if (method !== undefined && id !== undefined) {
      server.send({ jsonrpc: '2.0', id, result: null });
    } else if (id !== undefined) {
      waiting.get(id)(result);
    }
  },
});
const tell = (method, params) => server.send({ jsonrpc: '2.0', method, params });
const ask = (method, params) => new Promise((resolve) => {
  const id = waiting.size + 1;
  waiting.set(id, resolve);
  server.send({ jsonrpc: '2.0', id, method, params });
});

const rootUri = pathToFileURL(dirname(schemas)).href;
await ask('initialize', {
  processId: null, rootUri, workspaceFolders: [{ uri: rootUri, name: 'policies' }],
  capabilities: { workspace: { configuration: true, workspaceFolders: true }, textDocument: { completion: {} } },
});
tell('initialized', {});
const said = {};
for (const { path, uri } of files) {
  const text = await readFile(path, 'utf8');
  tell('textDocument/didOpen', { textDocument: { uri, languageId: 'toml', version: 1, text } });
  const position = { line: text.split('\n').length - 1, character: 0 };
  const completed = await ask('textDocument/completion', { textDocument: { uri }, position });
  const items = Array.isArray(completed) ? completed : (completed?.items ?? []);
  const offered = items.map(({ label, documentation }) => [label, documentation?.value ?? documentation ?? '']);
  said[path] = { offered: Object.fromEntries(offered) };
}
await lookedAtAll;
for (const { path, uri } of files) said[path].underlined = underlined.get(uri) ?? [];
console.log(JSON.stringify(said));
process.exit(0);
