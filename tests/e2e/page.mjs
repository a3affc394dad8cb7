// Walks through the page in Chromium as somebody who logs in through an issuer. Arguments: a directory with
// node_modules, and what to do as JSON. Prints what it saw as JSON.
import { createRequire } from 'node:module';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';

const [npm, asked] = process.argv.slice(2);
const { base, chromium: executablePath, user, password, shots, record, session, server, walk } = JSON.parse(asked);
const require = createRequire(join(npm, 'package.json'));
const { chromium } = require('playwright-core');
const axe = readFileSync(require.resolve('axe-core/axe.min.js'), 'utf8');

const DESKTOP = { width: 1280, height: 860 };
const PHONE = { width: 390, height: 844 };
const browser = await chromium.launch({ executablePath, args: ['--no-sandbox'] });
const context = await browser.newContext({ ignoreHTTPSErrors: true, viewport: DESKTOP, colorScheme: 'light', locale: 'en-US' });
const page = await context.newPage();
page.setDefaultTimeout(30_000);
const seen = { problems: [], overflows: [], refused: [], views: [] };
page.on('console', (message) => {
  if (/Content Security Policy/.test(message.text())) seen.refused.push(message.text());
});

const shot = async (name, fullPage = false) => {
  if (shots) await page.screenshot({ path: join(shots, `${name}.png`), fullPage });
};

// Serious and critical findings, and whether anything stands out beyond the edge.
const look = async (name) => {
  await page.evaluate(axe);
  const { violations } = await page.evaluate(() => globalThis.axe.run(document));
  for (const { id, impact, nodes } of violations) {
    if (['serious', 'critical'].includes(impact)) seen.problems.push({ name, id, at: nodes.map((node) => node.html.slice(0, 160)) });
  }
  const wide = await page.evaluate(() => document.documentElement.scrollWidth > document.documentElement.clientWidth);
  if (wide) seen.overflows.push(name);
};

// A view in both colour schemes, and as a phone shows it.
const view = async (name, pictures = ['light']) => {
  seen.views.push(name);
  for (const colorScheme of ['light', 'dark']) {
    await page.emulateMedia({ colorScheme });
    await look(`${name}, ${colorScheme}`);
    if (pictures.includes(colorScheme)) await shot(`${name}-${colorScheme}`);
  }
  await page.emulateMedia({ colorScheme: 'light' });
  await page.setViewportSize(PHONE);
  await look(`${name}, phone`);
  if (pictures.includes('phone')) await shot(`${name}-phone`);
  await page.setViewportSize(DESKTOP);
};

// What takes a second behind the log: the text of an element once it is there.
const until = async (selector) => {
  const found = page.locator(selector).first();
  for (let tries = 0; tries < 20 && !(await found.isVisible()); tries += 1) {
    await page.waitForTimeout(250);
    await page.reload();
  }
  return found.innerText();
};

const logIn = async () => {
  await page.getByRole('link', { name: /^Log in with/ }).click();
  if (password) {
    await page.locator('#username').fill(user);
    await page.locator('#password').fill(password);
    await page.locator('#kc-login').click();
  } else {
    await page.getByRole('link', { name: user, exact: true }).click();
  }
};

try {
  const wanted = `${base}/ui/records?target=${walk ? 'tickets-db' : 'api'}`;
  await page.goto(wanted);
  seen.asked = page.url().startsWith(`${base}/ui/login`);
  if (walk) await view('login', ['light']);
  await logIn();
  await page.waitForURL(`${base}/ui/**`);
  seen.back = page.url() === wanted;
  const cookies = await context.cookies(base);
  seen.cookies = cookies.map(({ name, secure, httpOnly, sameSite, path }) => ({ name, secure, httpOnly, sameSite, path }));
  seen.heading = await page.locator('h1').innerText();
  if (walk) {
    await page.goto(`${base}/ui/records`);
    await page.getByLabel('Filter').fill('subject = dev/alice and target = tickets-db and outcome = issued');
    await page.getByRole('button', { name: 'Search' }).click();
    await page.locator(`a[href$="${record}"]`).click();
    seen.rule = await page.locator('pre').first().innerText();
    seen.proof = await until('.proof-holds');
    await view('record', ['light', 'dark', 'phone']);
    await shot('record-whole', true);
    await page.goto(`${base}/ui/records`);
    await view('records', ['light', 'dark', 'phone']);
    await page.getByLabel('Filter').fill('server = tickets and tarxet = tickets-db');
    await page.getByRole('button', { name: 'Search' }).click();
    seen.mistake = await page.locator('mark').innerText();
    await page.getByText('Help with the filter').click();
    await view('filter', ['light', 'phone']);
    await page.goto(`${base}/ui/records/${record}`);
    await page.getByRole('link', { name: /^subject / }).click();
    seen.reach = await page.locator('.about').innerText();
    seen.worst = await page.getByText('Worst remaining validity').innerText();
    await view('blast', ['light', 'dark', 'phone']);
    await shot('blast-whole', true);
    await page.goto(`${base}/ui/log`);
    seen.log = await until('.state-live');
    await view('log', ['light', 'dark', 'phone']);
    await page.goto(`${base}/ui/`);
    await view('overview', ['light', 'dark', 'phone']);
    await page.goto(`${base}/ui/sessions`);
    await view('sessions', ['light']);
    await page.goto(`${base}/ui/servers`);
    await view('servers', ['light']);
    await page.goto(`${base}/ui/servers/${server}`);
    await view('server', ['light']);
    await page.goto(`${base}/ui/records/x`);
    await view('absent', []);
    await page.goto(`${base}/ui/sessions/${session}`);
    await view('session', ['light', 'phone']);
    await page.getByRole('link', { name: 'End this session' }).click();
    await view('end', ['light', 'phone']);
    await page.getByRole('button', { name: 'End the session' }).click();
    await page.getByRole('heading', { name: 'The session has ended' }).waitFor();
    seen.fates = await page.locator('tbody .mark').allInnerTexts();
    await view('ended', ['light']);
    await page.goto(`${base}/ui/records/${record}`);
    seen.state = await page.locator('.note').first().innerText();
  } else {
    seen.links = await page.getByRole('navigation', { name: 'Pages' }).getByRole('link').allInnerTexts().catch(() => []);
    await page.goto(`${base}/ui/log`);
    seen.log = await page.locator('h1').innerText();
    await page.goto(`${base}/ui/blast-radius?by=target&what=tickets-db`);
    seen.reach = await page.locator('h1').innerText();
  }
  await page.goto(`${base}/ui/`);
  await page.getByRole('button', { name: 'Log out' }).click();
  const confirm = page.locator('#kc-logout');
  await Promise.race([confirm.waitFor(), page.waitForURL(/left=1/)]);
  if (await confirm.isVisible().catch(() => false)) await confirm.click();
  await page.waitForURL(/\/ui\/login/);
  seen.left = await page.getByText('You have logged out').isVisible();
  await page.goBack().catch(() => null);
  await page.goto(`${base}/ui/records`);
  seen.out = page.url().startsWith(`${base}/ui/login`);
} catch (error) {
  seen.error = `${error}`;
  seen.at = page.url();
  seen.text = await page.locator('body').innerText().catch(() => '');
}
await browser.close();
console.log(JSON.stringify(seen));
