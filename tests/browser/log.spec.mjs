// Logs: a long one and a very long one, links to a line, the search, the first error, what to do next, the tabs.
import { existsSync, mkdirSync, readdirSync, writeFileSync, createWriteStream } from 'node:fs';
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test, expect, logIn } from './fleet.mjs';

const idle = (demo, host) =>
  expect.poll(async () => (await demo.api('GET', `/api/v1/hosts/${host}`)).body.command, { timeout: 60_000 }).toBeNull();

const state = async (demo, id) => (await demo.api('GET', `/api/v1/commands/${id}`)).body.state;

/** A script of a host's checkout becomes this one: what it prints is the command's log. */
function script(demo, host, name, text) {
  const roots = [join(demo.dir, 'agents', host)];
  while (roots.length) {
    const dir = roots.pop();
    if (existsSync(join(dir, 'hosts', host, 'plan'))) {
      mkdirSync(join(dir, 'hosts', host), { recursive: true });
      return writeFileSync(join(dir, 'hosts', host, name), `#!/bin/sh\n${text}\n`, { mode: 0o755 });
    }
    for (const entry of readdirSync(dir, { withFileTypes: true })) if (entry.isDirectory() && entry.name !== '.git') roots.push(join(dir, entry.name));
  }
  throw new Error(`no checkout of ${host}`);
}

async function start(demo, host, op, wanted = {}) {
  await idle(demo, host);
  const { status, body } = await demo.api('POST', `/api/v1/hosts/${host}/ops/${op}`, wanted);
  expect(status, JSON.stringify(body)).toBe(202);
  return body.id;
}

/** A command that is over, with a log of so many lines. */
async function storedLog(demo, host, lines, line) {
  script(demo, host, 'plan', 'echo nothing would change');
  const id = await start(demo, host, 'plan');
  await expect.poll(() => state(demo, id)).toBe('SUCCESS');
  const out = createWriteStream(join(demo.dir, 'daemon', 'logs', host, `${id}.log`), { mode: 0o600 });
  for (let n = 1; n <= lines; n++) {
    if (!out.write(`1795240944007 ${n % 10 ? 'o' : 'e'} ${line(n)}\n`)) await once(out, 'drain');
  }
  out.end();
  await once(out, 'close');
  return id;
}

const lines = (page) => page.locator('.log-lines');
const rows = (page) => page.locator('.log-lines .ln');
const row = (page, n) => page.locator('.log-lines .ln').filter({ has: page.locator(`[data-n="${n}"]`) });
const numbers = (page) => page.locator('.log-lines .no').evaluateAll((all) => all.map((one) => Number(one.dataset.n)));
const seen = (page) => lines(page).evaluate((box) => {
  const { top, bottom } = box.getBoundingClientRect();
  return [...box.querySelectorAll('.ln')]
    .filter((row) => row.getBoundingClientRect().bottom > top && row.getBoundingClientRect().top < bottom)
    .map((row) => Number(row.firstChild.dataset.n));
});
const find = (page) => page.getByRole('searchbox', { name: 'Find in the log' });
const says = (page) => page.locator('.log-find output');

async function open(page, demo, id, hash = '') {
  await page.goto(`${demo.pageUrl}/commands/${id}${hash}`);
  await expect(page.locator('html')).toHaveAttribute('data-link', 'up');
}

test('a million lines: the end is there at once, any line is a scroll away, and the page stays small', async ({ page, demo }) => {
  test.setTimeout(180_000);
  await logIn(page, demo);
  const id = await storedLog(demo, demo.hosts[0], 1_000_000, (n) => `line number ${n} of a log that is very long indeed`);
  await page.goto(`${demo.pageUrl}/commands/${id}`);
  await expect(row(page, 1_000_000)).toBeVisible();
  await expect(find(page)).toHaveAttribute('placeholder', /1.000.000 lines/);
  expect(await rows(page).count(), 'not all of it is on the page').toBeLessThan(3_000);
  let asked = 0;
  page.on('response', async (answer) => { asked += Number((await answer.headerValue('content-length')) ?? 0); });

  // To the middle with the scroll bar, and on from there.
  await lines(page).evaluate((box) => { box.scrollTop = box.scrollHeight / 2; });
  await expect.poll(async () => (await seen(page)).some((n) => n > 450_000 && n < 550_000)).toBe(true);
  const before = (await seen(page))[0];
  await lines(page).hover();
  for (let n = 0; n < 12; n++) await page.mouse.wheel(0, -1500);
  await expect.poll(async () => (await seen(page))[0]).toBeLessThan(before - 700);
  const all = await numbers(page);
  expect(all.every((n, at) => !at || n === all[at - 1] + 1), 'each line once, in order').toBe(true);
  expect(all.length).toBeLessThan(3_000);
  const one = all[Math.floor(all.length / 2)];
  await expect(row(page, one)).toHaveText(`line number ${one} of a log that is very long indeed`);

  // The first line, then the last.
  await lines(page).press('Home');
  await expect.poll(async () => (await seen(page))[0]).toBe(1);
  await lines(page).press('End');
  await expect.poll(async () => (await seen(page)).at(-1)).toBe(1_000_000);
  await expect(page.getByRole('button', { name: 'Follow' })).toHaveAttribute('aria-pressed', 'true');
  expect(asked, 'bytes that it took').toBeLessThan(2_000_000);

  // The search looks at all of it.
  await find(page).fill('number 77777');
  await expect(says(page)).toHaveText(/ of 11$/, { timeout: 60_000 });
  await page.keyboard.press('Enter');
  await page.keyboard.press('Enter');
  await expect.poll(async () => (await seen(page)).some((n) => String(n).startsWith('77777'))).toBe(true);
});

test('twenty thousand lines while they come: follow stops when one scrolls up, and the place stays after a reload', async ({ page, demo }) => {
  await logIn(page, demo);
  const host = demo.hosts[0];
  const gate = join(demo.dir, 'go-on');
  script(demo, host, 'plan', `seq -f 'output %g' 1 20000\nwhile [ ! -e ${gate} ]; do sleep 0.1; done\nseq -f 'more %g' 1 500\nwhile [ ! -e ${gate}2 ]; do sleep 0.1; done\necho the end`);
  const id = await start(demo, host, 'plan');
  await open(page, demo, id);
  const last = page.getByText('output 20000', { exact: true });
  await expect(last).toBeInViewport();
  const number = (await seen(page)).at(-1);
  expect(number).toBeGreaterThanOrEqual(20_000);

  await lines(page).hover();
  await page.mouse.wheel(0, -4000);
  const follow = page.getByRole('button', { name: 'Follow' });
  await expect(follow).toHaveAttribute('aria-pressed', 'false');
  await expect(last).not.toBeInViewport();
  const stays = await seen(page);
  writeFileSync(gate, '');
  await expect(find(page)).toHaveAttribute('placeholder', new RegExp(`${(number + 500).toLocaleString('en')} lines`));
  expect((await seen(page))[0], 'nothing moves under the reader').toBe(stays[0]);

  await page.reload();
  await expect.poll(async () => (await seen(page)).includes(stays[0])).toBe(true);
  await follow.click();
  await expect(page.getByText('more 500', { exact: true })).toBeInViewport();
  writeFileSync(`${gate}2`, '');
  await expect(page.getByText('the end', { exact: true })).toBeInViewport();
  await idle(demo, host);
});

test('a link to a line: it is marked and in sight, a click makes one, shift-click a range', async ({ page, demo }) => {
  await logIn(page, demo);
  const id = await storedLog(demo, demo.hosts[0], 30_000, (n) => `line ${n}`);
  await open(page, demo, id, '#L12000-L12002');
  await expect(row(page, 12_001)).toBeInViewport();
  await expect(page.locator('.ln.on')).toHaveCount(3);
  await row(page, 12_005).locator('.no').click();
  await expect(page).toHaveURL(/#L12005$/);
  await row(page, 12_008).locator('.no').click({ modifiers: ['Shift'] });
  await expect(page).toHaveURL(/#L12005-L12008$/);
  await expect(page.locator('.ln.on')).toHaveCount(4);
  await page.evaluate(() => { location.hash = '#L7'; });
  await expect(row(page, 7)).toBeInViewport();
  await expect(page.locator('.ln.on')).toHaveCount(1);
});

test('the search: counts, goes forth and back with Enter, marks, and finds what comes later', async ({ page, demo }) => {
  await logIn(page, demo);
  const host = demo.hosts[0];
  const gate = join(demo.dir, 'go-on-search');
  script(demo, host, 'plan', `seq -f 'output %g' 1 5000\nprintf '\\033[31mAn \\033[1mERROR\\033[0m: in colours\\n'\nwhile [ ! -e ${gate} ]; do sleep 0.1; done\necho another error: here`);
  const id = await start(demo, host, 'plan');
  await open(page, demo, id);
  await expect(page.getByText('in colours')).toBeVisible();
  await page.keyboard.press('/');
  await expect(find(page)).toBeFocused();
  await page.keyboard.type('OUTPUT 12');
  await expect(says(page)).toHaveText(/^1 of 111$/);
  const hit = page.locator('.ln.hit');
  await expect(hit).toHaveText('output 12');
  // What was found is marked, and the address leads to it: no mouse is needed for a link to a line.
  await expect(page.locator('.ln.on')).toHaveText('output 12');
  await expect(page).toHaveURL(/#L\d+$/);
  await page.keyboard.press('Enter');
  await expect(hit).toHaveText('output 120');
  await page.keyboard.press('Shift+Enter');
  await page.keyboard.press('Shift+Enter');
  await expect(hit).toHaveText('output 1299');
  await expect(says(page)).toHaveText('111 of 111');
  expect(await page.evaluate(() => CSS.highlights.get('found').size)).toBeGreaterThan(0);

  await find(page).fill('error: ');
  await expect(says(page)).toHaveText(/of 1$/);
  writeFileSync(gate, '');
  await expect(says(page)).toHaveText(/of 2$/);
  await page.keyboard.press('Enter');
  await expect(hit).toHaveText('another error: here');
  await find(page).fill('no such words');
  await expect(says(page)).toHaveText('0');
  await idle(demo, host);
});

test('a failed command: the stage, the first error, the next step; the download has a telling name', async ({ page, demo }) => {
  await logIn(page, demo);
  const host = demo.hosts[1];
  script(demo, host, 'switch', `seq -f 'building %g' 1 3000\necho "openssl> main.c:12:5: error: no such function" >&2\nseq -f 'then %g' 1 3000\nexit 1`);
  const id = await start(demo, host, 'switch', { force: true });
  await open(page, demo, id);
  await idle(demo, host);
  await expect(page.locator('#command-head .verdict')).toContainText(/Failed/);
  await expect(page.locator('#command-head').getByRole('button', { name: 'Try again' })).toBeVisible();
  await expect(page.getByText('then 3000', { exact: true })).toBeInViewport();
  await page.getByRole('button', { name: 'First error' }).click();
  await expect(page.locator('.ln.on')).toHaveText(/main\.c:12:5: error/);
  await expect(page.locator('.ln.on')).toBeInViewport();
  await expect(page).toHaveURL(/#L\d+$/);

  const day = new Date().toISOString().slice(0, 10);
  const [download] = await Promise.all([page.waitForEvent('download'), page.getByRole('link', { name: 'Download' }).click()]);
  expect(download.suggestedFilename()).toBe(`switch-${host}-${day}.log`);
  const text = await readFile(await download.path(), 'utf8');
  expect(text).toContain('building 1\n');
  expect(text).toContain('then 3000\n');
});

test('the dock on another host’s page: signs on the tabs, keys, copy', async ({ page, demo, context }) => {
  await context.grantPermissions(['clipboard-read', 'clipboard-write']);
  await logIn(page, demo);
  const host = demo.hosts[0];
  script(demo, host, 'plan', 'echo first; echo second; echo third');
  const one = await start(demo, host, 'plan');
  await page.locator(`[id="command:${one}"] .item-log`).click();
  const two = await start(demo, host, 'test');
  await page.locator(`[id="command:${two}"] .item-log`).click();
  await idle(demo, host);
  await page.goto(`${demo.pageUrl}/hosts/${demo.hosts[1]}`);
  const tabs = page.locator('.dock .tab');
  await expect(tabs).toHaveCount(2);
  for (const tab of await tabs.all()) await expect(tab.locator('.tab-state.is-ok svg, .tab-state.is-error svg')).toBeVisible();
  await page.keyboard.press(',');
  await expect(tabs.first().locator('.tab-open')).toHaveAttribute('aria-current', 'true');
  await expect(page.getByText('second', { exact: true })).toBeVisible();
  await page.getByRole('button', { name: 'Copy' }).click();
  await expect.poll(() => page.evaluate(() => navigator.clipboard.readText())).toContain('first\nsecond\nthird\n');
  await page.getByText('second', { exact: true }).selectText();
  await page.getByRole('button', { name: 'Copy' }).click();
  await expect.poll(() => page.evaluate(() => navigator.clipboard.readText())).toBe('second');
  await page.evaluate(() => document.activeElement.blur());
  await page.keyboard.press('x');
  await expect(tabs, 'the focus is in no log').toHaveCount(2);
  await page.keyboard.press(',');
  await page.keyboard.press('.');
  await page.keyboard.press('x');
  await expect(tabs).toHaveCount(1);
  await expect(tabs.locator('.tab-open'), 'the focus goes on to the next').toBeFocused();
  await page.keyboard.press('x');
  await expect(page.locator('.dock')).toBeHidden();
});

test('the next step in the dock follows its host: off while it is busy, on again after', async ({ page, demo }) => {
  await logIn(page, demo);
  const host = demo.hosts[0];
  script(demo, host, 'plan', 'echo no >&2; exit 1');
  const failed = await start(demo, host, 'plan');
  await idle(demo, host);
  await page.locator(`[id="command:${failed}"] .item-log`).click();
  const next = page.locator('.dock .log-next').getByRole('button').first();
  await expect(next).toBeVisible();
  await expect(next).not.toHaveAttribute('aria-disabled');
  const gate = join(demo.dir, 'next-gate');
  script(demo, host, 'plan', `while [ ! -e ${gate} ]; do sleep 0.1; done`);
  await start(demo, host, 'plan');
  await expect(next).toHaveAttribute('aria-disabled', 'true');
  writeFileSync(gate, '');
  await idle(demo, host);
  await expect(next).not.toHaveAttribute('aria-disabled');
});
