// A browser at the dashboard of a node, step by step with tests/tests/alone/dashboard.rs.
//
//   node dashboard.mjs URL FOLDER NODE UPSTREAM OWNER
//
// Conditions are awaited in the page; each step is printed as `at STEP ...`, and an empty line goes on.
import assert from 'node:assert/strict';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

import { fakeMesh } from './dashboard_fake.mjs';
import { lowContrast } from './dashboard_contrast.mjs';

// Packages lie in tests/.env, where an import by name does not look.
const installed = createRequire(fileURLToPath(new URL('../.env/node/package.json', import.meta.url)));
const { chromium } = installed('playwright-core');

const [url, folder, self, upstream, owner] = process.argv.slice(2);
const SIZES = [[1440, 900], [390, 844]];
const THEMES = ['dark', 'light'];
/** Contrast of text by WCAG 2.2, level AA. */
const CONTRAST_MIN = 4.5;
/** Tab stops before the first request: the header, the problems, the tables that scroll. */
const TABS_MAX = 60;

const turns = createInterface({ input: process.stdin })[Symbol.asyncIterator]();
const at = async (step, detail = '') => {
  process.stdout.write(`at ${step} ${detail}\n`);
  assert.equal((await turns.next()).done, false, 'the test has ended');
};

const browser = await chromium.launch({
  executablePath: '/usr/bin/chromium',
  args: ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync'],
});
const context = await browser.newContext({ colorScheme: 'dark', reducedMotion: 'reduce', viewport: { width: 1440, height: 900 } });
const page = await context.newPage();
page.setDefaultTimeout(20_000);

const hosts = new Set();
const complaints = [];
let isNodeDown = false;
page.on('request', (request) => hosts.add(new URL(request.url()).host));
page.on('pageerror', (error) => complaints.push(`${error}`));
page.on('console', (message) => {
  const isOfTheNetwork = isNodeDown && message.text().includes('net::ERR_');
  if (['error', 'warning'].includes(message.type()) && !isOfTheNetwork) complaints.push(message.text());
});

const pictures = async (name) => {
  for (const theme of THEMES) {
    await page.emulateMedia({ colorScheme: theme, reducedMotion: 'reduce' });
    for (const [width, height] of SIZES) {
      await page.setViewportSize({ width, height });
      await page.evaluate(() => scrollTo(0, 0));
      await page.screenshot({ path: join(folder, `${name}-${theme}-${width}.png`) });
      const beyond = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
      assert.ok(beyond <= 0, `${name}: ${beyond} pixels wider than ${width}`);
      assert.deepEqual(await page.evaluate(lowContrast, CONTRAST_MIN), [], `${name} in ${theme} at ${width}`);
    }
  }
  await page.emulateMedia({ colorScheme: 'dark', reducedMotion: 'reduce' });
  await page.setViewportSize({ width: 1440, height: 900 });
};

await page.goto(url);
await page.waitForFunction(() => document.querySelectorAll('#nodes tbody tr').length === 3 && document.querySelectorAll('#map .place.good').length === 3);
await page.waitForFunction(() => document.querySelector('#link-state').textContent === 'Live');
await at('loaded', await page.textContent('#verdict'));

// A request by keyboard alone: from the top of the page to its row, and into it.
const way = [self, owner, upstream];
const row = await page.waitForFunction((names) => {
  const rows = [...document.querySelectorAll('.rows .row')];
  return rows.find((it) => JSON.stringify([...it.querySelectorAll('.path > span:not(.unseen)')].map((one) => one.textContent)) === JSON.stringify(names));
}, way);
assert.match(await page.textContent('.origin title'), /clients in SG/);
await page.keyboard.press('Tab');
assert.equal(await page.evaluate(() => document.activeElement.className), 'skip');
const isAtRow = () => row.evaluate((it) => it === document.activeElement);
for (let tabs = 0; !(await isAtRow()); tabs++) {
  assert.ok(tabs < TABS_MAX, 'no row of a request within so many tabs');
  await page.keyboard.press('Tab');
}
assert.notEqual(await row.evaluate((it) => getComputedStyle(it).outlineStyle), 'none', 'the focus is not to be seen');
await page.keyboard.press('Enter');
assert.equal(await row.getAttribute('aria-expanded'), 'true');
const plan = await row.evaluate((it) => it.nextSibling.querySelector('.plan .tried').textContent);
assert.ok(plan.includes(`${owner} → ${upstream}`) && plan.includes('answered'), plan);
await page.keyboard.press('Enter');
assert.equal(await row.getAttribute('aria-expanded'), 'false');
await page.evaluate(() => document.activeElement.blur());
await at('shown', `${way.join(' → ')}: ${plan}`);

// The test kills the upstream meanwhile.
const red = await page.waitForFunction((name) => {
  const line = document.querySelector(`#upstreams tr[data-upstream="${name}"]`);
  const why = line.querySelector('.why').textContent;
  const problem = document.querySelector('#problems .bad')?.textContent ?? '';
  return line.dataset.tone === 'bad' && /^(connect|reset)/.test(why) && problem.includes(name) && why;
}, `${owner}/${upstream}`, { polling: 'raf' });
await at('red', await red.jsonValue());

await row.evaluate((it) => it.isConnected && it.click());
await pictures('mesh');
await at('pictured');

// Other hosts, were there any, would have been asked by now.
assert.deepEqual([...hosts], [new URL(url).host]);
assert.deepEqual(complaints, []);
isNodeDown = true;
await at('watching');
await page.waitForFunction(() => !document.querySelector('#banner').hidden && document.querySelector('#banner-title').textContent.startsWith('Connection lost') && document.querySelector('#banner-text').textContent.includes('ago') && document.body.classList.contains('stale'));
await page.screenshot({ path: join(folder, 'lost-dark-1440.png') });
await at('lost', (await page.textContent('#banner')).replace(/\s+/g, ' '));
await page.waitForFunction(() => document.querySelector('#banner').hidden && document.querySelector('#link-state').textContent === 'Live' && !document.body.classList.contains('stale'));
isNodeDown = false;
await at('back');

// Thirty fake nodes instead of the node's own data.
await page.addInitScript(fakeMesh);
await page.goto(url);
await page.waitForFunction(() => document.querySelectorAll('#nodes tbody tr').length === 30);
await page.waitForFunction(() => document.querySelectorAll('.rows .row').length === 12);
// One picture: the counts on top, the state of a node, and that of its upstreams say the same.
assert.equal(await page.textContent('#verdict'), '13 problems: 27 of 30 nodes ready, 1 draining, 2 unreachable; 52 of 60 upstreams usable');
const cells = (table, key, name) => page.$$eval(`${table} tr[data-${key}="${name}"] > *`, (all) => all.map((it) => it.textContent));
assert.equal((await cells('#nodes', 'node', 'zaf-2'))[4], 'unreachable');
const gone = await cells('#upstreams', 'upstream', 'zaf-2/vllm');
assert.deepEqual([gone[0], gone[2]], ['unreachable', 'zaf-2 is dead to gossip; healthy when it was last heard of']);
// The whole record of an own upstream.
const record = await cells('#upstreams', 'upstream', 'sgp-1/openai');
assert.ok(record[1].includes('https://openai.example.com/v1 · priority 1, weight 1, 3 tries · timeouts: connect 2s, first byte 2m'), record[1]);
assert.equal(record[4], '4 s ago by probe: connect timeout · 3 failures in a row');
assert.equal(record[7], '212 ms / 1.24 smean 232 ms');
const titles = await page.$$eval('#figures h3', (all) => all.map((it) => it.textContent));
assert.deepEqual(titles, ['Requests, this node', 'Failures, this node', 'First byte p50, this node', 'First byte p99, this node', 'In flight, this node', 'In flight, mesh']);
// A budget that refuses requests has one line, and what is left of it.
const limits = await page.$$eval('#limits tbody tr', (rows) => rows.map((it) => [...it.children].map((cell) => cell.textContent).slice(0, 4).join(' | ')));
assert.deepEqual(limits, [
  'limited | app | 600 requests a minute | 12 (2.0 %)',
  'limited | gvk_5b0c1d6a2f9e4c7788aa90ef | $50.00 a month | $0.13 (0.3 %)',
  'within | batch | $10.00 a day | $7.31 (73 %)',
]);
assert.match(await page.textContent('#limits-note'), /^212 keys with limits here · 17 more · limits.file cannot be written$/);
// What is wrong with the node's own files is always shown, however much else there is.
const listed = await page.$$eval('#problems li', (items) => items.map((it) => `${it.className}: ${it.textContent}`));
for (const line of [
  'bad: The configuration on disk fedcba987654 was refused 1 min 1 s ago, and the next restart may fail: grapevine.yaml:3:1: listne: is not a known key; did you mean listen? (and 1 more)',
  'bad: The certificate public expired 2 h 0 min ago',
  'warn: The certificate mesh expires in 3 d 0 h',
  'warn: Changes on disk wait for a restart of this node: mesh, tasks',
]) assert.ok(listed.includes(line), `${line} is not in\n${listed.join('\n')}`);
assert.match(await page.textContent('#footer'), /configuration 0123456789ab, loaded 2 h 0 min ago · certificates: mesh until 2026-09-21, mesh_ca until 2033-05-18, public until 2026-09-21$/);
await pictures('thirty');
assert.deepEqual([...hosts], [new URL(url).host]);
assert.deepEqual(complaints, []);
await browser.close();
process.stdin.destroy();
