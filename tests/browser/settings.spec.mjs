// Settings, events, the forms of ops, and how a fleet begins.
import { spawn, spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createHmac } from 'node:crypto';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { fileURLToPath } from 'node:url';
import { join } from 'node:path';
import { test, expect, logIn, row } from './fleet.mjs';

const up = (page) => expect(page.locator('html')).toHaveAttribute('data-link', 'up');
const bearer = (demo, token) => fetch(`${demo.url}/api/v1/hosts`, { headers: { authorization: `Bearer ${token}` } });

async function open(page, demo, path) {
  await page.goto(demo.pageUrl + path);
  await up(page);
  await page.evaluate(() => { window.neverReloaded = true; });
}
const stayed = async (page) => expect(await page.evaluate(() => window.neverReloaded)).toBe(true);

test('a token is made, shown once, used and ended', async ({ page, demo }) => {
  await logIn(page, demo);
  await open(page, demo, '/settings');
  await page.getByRole('button', { name: 'API token' }).click();
  const dialog = page.locator('#token-api');
  await dialog.getByLabel('Name').fill('deploy script');
  await dialog.getByLabel('Look').uncheck();
  await dialog.getByRole('button', { name: 'Make the token' }).click();
  await expect(dialog.getByRole('alert'), 'what the dashboard says stands in the dialog').toContainText('scopes');
  await dialog.getByLabel('Look').check();
  await dialog.getByLabel('Expires').selectOption({ label: 'in 30 days' });
  await dialog.getByRole('button', { name: 'Make the token' }).click();
  const secret = dialog.locator('[data-result]');
  await expect(secret).toContainText(/^nfa_/);
  await expect(dialog.getByRole('button', { name: 'Make the token' })).toBeHidden();
  const token = await secret.innerText();
  expect((await bearer(demo, token)).status).toBe(200);
  await dialog.getByRole('button', { name: 'Close' }).click();
  await expect(page.getByRole('button', { name: 'API token' }), 'the focus is where it was').toBeFocused();

  const line = page.locator('.keysets li', { hasText: 'deploy script' });
  await expect(line).toContainText('read');
  await expect(line).toContainText(/ends 20\d\d-/);
  await line.getByRole('button', { name: 'End deploy script' }).click();
  await expect(page.locator('#ask')).toContainText('What uses deploy script is refused from now on.');
  await page.locator('#ask').getByRole('button', { name: 'End the token' }).click();
  await expect(line).toHaveCount(0);
  expect((await bearer(demo, token)).status).toBe(401);
  await page.getByRole('button', { name: 'API token' }).click();
  await expect(secret, 'it is not shown a second time').toBeHidden();
  await stayed(page);
});

test('another session is ended, and its tab asks for the password in place', async ({ page, demo, browser }) => {
  await logIn(page, demo);
  await open(page, demo, '/settings');
  const elsewhere = await browser.newContext();
  const other = await elsewhere.newPage();
  await logIn(other, demo);
  await other.goto(`${demo.pageUrl}/events`);
  await up(other);
  const sessions = page.locator('section', { has: page.getByRole('heading', { name: 'Sessions' }) });
  await expect(sessions.getByText('this one')).toHaveCount(1);
  await sessions.getByRole('button', { name: 'End all others' }).click();
  await page.locator('#ask').getByRole('button', { name: 'End them' }).click();
  await expect(sessions.locator('li')).toHaveCount(1);
  const login = other.locator('#login');
  await expect(login).toBeVisible();
  await login.getByLabel('Password').fill(demo.password);
  await login.getByRole('button', { name: 'Sign in' }).click();
  await expect(login).toBeHidden();
  await up(other);
  // It is there again by itself, and can be ended alone.
  await expect(sessions.locator('li')).toHaveCount(2);
  await sessions.getByRole('button', { name: /^End the session/ }).click();
  await page.locator('#ask').getByRole('button', { name: 'End the session' }).click();
  await expect(login).toBeVisible();
  await stayed(page);
  await elsewhere.close();
});

test('a session that ends asks for the password in place, on every page', async ({ page, demo }) => {
  await logIn(page, demo);
  const { body } = await demo.api('GET', '/api/v1/commands');
  for (const path of ['/', '/events', '/events?level=error', '/settings', `/hosts/${demo.hosts[0]}`, `/commands/${body.commands[0].id}`]) {
    await open(page, demo, path);
    await demo.api('DELETE', '/api/v1/sessions');
    const login = page.locator('#login');
    await expect(login, path).toBeVisible();
    await login.getByLabel('Password').fill(demo.password);
    await page.keyboard.press('Enter');
    await expect(login, path).toBeHidden();
    await up(page);
    await stayed(page);
  }
});

test('events: filtered by the server, live, unfolded, older ones, exported', async ({ page, demo }) => {
  await logIn(page, demo);
  await open(page, demo, '/events');
  const lines = page.locator('#events > li');
  await expect(lines.first()).toBeVisible();
  const filter = page.getByRole('search', { name: 'Filter events' });
  await filter.getByLabel('Kind').selectOption('audit');
  await filter.getByLabel('Host').fill(demo.hosts[0]);
  await filter.getByRole('button', { name: 'Show' }).focus();
  await page.keyboard.press('/');
  await expect(filter.getByLabel('Search')).toBeFocused();
  await page.keyboard.type('set-color');
  await page.keyboard.press('Enter');
  await page.waitForURL(/q=set-color/);
  await up(page);
  // An event of the demo's own may be like it.
  await expect(page.getByText('No event is like this.').or(lines).first()).toBeVisible();

  // What comes now and is like it comes by itself; what is not, does not.
  await open(page, demo, `/events?host=${demo.hosts[0]}&q=set-color`);
  const before = await lines.count();
  await demo.api('POST', `/api/v1/hosts/${demo.hosts[1]}/ops/set-color`, { args: { color: '#aa11bb' } });
  await demo.api('POST', `/api/v1/hosts/${demo.hosts[0]}/ops/set-color`, { args: { color: '#aa11bb' } });
  await expect.poll(() => lines.count()).toBeGreaterThan(before);
  for (const host of await lines.locator('.event-host').allInnerTexts()) expect(host).toBe(demo.hosts[0]);
  await lines.first().locator('summary').click();
  await expect(lines.first().locator('.event-more')).toContainText('#aa11bb');
  await expect(lines.first().getByRole('link', { name: 'Its log and how it went' })).toHaveAttribute('href', /^\/commands\//);

  // Unfolded it stays when the page reads itself anew.
  await page.evaluate(() => window.dispatchEvent(new Event('online')));
  await expect(lines.first().locator('.event-more')).toBeVisible();

  const link = await page.getByRole('link', { name: 'Export' }).getAttribute('href');
  const answer = await page.request.get(demo.pageUrl + link);
  expect(answer.headers()['content-type']).toBe('application/x-ndjson');
  const exported = (await answer.text()).trim().split('\n').map((line) => JSON.parse(line));
  expect(exported.length).toBe(await lines.count());
  expect(exported.every((event) => event.host === demo.hosts[0])).toBe(true);

  await open(page, demo, '/events?q=there%20is%20no%20such%20thing');
  await expect(page.getByText('No event is like this.')).toBeVisible();
  await stayed(page);
});

test('older events come behind the newer ones, and the head stays live', async ({ page, demo }) => {
  await logIn(page, demo);
  for (let n = 0; n < 110; n += 1) {
    await demo.api('POST', `/api/v1/hosts/${demo.hosts[0]}/ops/set-tags`, { args: { tags: [`t${n}`] } });
  }
  await open(page, demo, '/events');
  const lines = page.locator('#events > li');
  await expect(lines).toHaveCount(100);
  await page.getByRole('link', { name: 'Show older' }).click();
  await expect.poll(() => lines.count()).toBeGreaterThan(100);
  const all = await lines.evaluateAll((all) => all.map((line) => Number(line.id.split(':')[1])));
  expect(all).toEqual([...new Set(all)].sort((a, b) => b - a));
  const count = all.length;
  await demo.api('POST', `/api/v1/hosts/${demo.hosts[0]}/ops/set-tags`, { args: { tags: null } });
  await expect.poll(() => lines.count()).toBeGreaterThan(count);
  await stayed(page);
});

const idle = (demo, host) =>
  expect.poll(async () => (await demo.api('GET', `/api/v1/hosts/${host}`)).body.command, { timeout: 60_000 }).toBeNull();

/** Opens the menu of a row and chooses, by keyboard alone. */
async function choose(page, host, name) {
  await row(page, host).locator('.more').focus();
  await page.keyboard.press('Enter');
  const item = page.locator('#host-menu').getByRole('menuitem', { name });
  await expect(item).toBeVisible();
  for (let n = 0; n < 30 && !(await item.evaluate((one) => one === document.activeElement)); n += 1) {
    await page.keyboard.press('ArrowDown');
  }
  await expect(item).toBeFocused();
  await page.keyboard.press('Enter');
}

test('each form by keyboard alone: tags, colour, journal', async ({ page, demo }) => {
  await logIn(page, demo);
  await page.evaluate(() => { window.neverReloaded = true; });
  const [host] = demo.hosts;
  await idle(demo, host);
  const more = row(page, host).locator('.more');

  await choose(page, host, 'Choose tags');
  const tags = page.locator('[id="form:set-tags"]');
  await expect(tags).toBeVisible();
  await expect(tags.getByLabel('Tags')).toBeFocused();
  await page.keyboard.press('Escape');
  await expect(tags).toBeHidden();
  await expect(more, 'the focus is where it was').toBeFocused();
  await choose(page, host, 'Choose tags');
  await tags.getByLabel('Tags').fill('edge "big iron"');
  await page.keyboard.press('Enter');
  await expect(tags).toBeHidden();
  await expect(row(page, host)).toContainText('big iron');
  await choose(page, host, 'Choose tags');
  await expect(tags.getByLabel('Tags'), 'what is chosen stands there').toHaveValue('edge "big iron"');
  await tags.getByLabel('Tags').fill('x'.repeat(41));
  await page.keyboard.press('Enter');
  await expect(tags.getByRole('alert')).toContainText('a text of 1 to 40 characters');
  await tags.getByLabel('Tags').fill('');
  await page.keyboard.press('Enter');
  await expect(tags).toBeHidden();

  await choose(page, host, 'Choose colour');
  const colour = page.locator('[id="form:set-color"]');
  await page.keyboard.press('ArrowRight');
  const chosen = await colour.locator('input:checked').inputValue();
  await page.keyboard.press('Enter');
  await expect(colour).toBeHidden();
  if (chosen) await expect(row(page, host).locator('.tile')).toHaveAttribute('fill', chosen);

  await choose(page, host, 'Read journal');
  const journal = page.locator('[id="form:journal"]');
  await journal.getByLabel('Unit').fill('-x');
  await page.keyboard.press('Enter');
  await expect(journal, 'the browser says that it is no name of a unit').toBeVisible();
  await journal.getByLabel('Unit').fill('sshd.service');
  await journal.getByLabel('Lines').fill('5');
  await page.keyboard.press('Enter');
  await expect(journal).toBeHidden();
  await expect(page.locator('.dock')).toBeVisible();
  const { body } = await demo.api('GET', '/api/v1/commands?limit=5');
  const command = body.commands.find(({ op }) => op === 'journal');
  expect(command.args).toEqual({ unit: 'sshd.service', lines: 5, follow: true });
  await stayed(page);
});

test('a confirmation names the host and says what happens, and how long it took', async ({ page, demo }) => {
  await logIn(page, demo);
  const { body } = await demo.api('GET', '/api/v1/hosts');
  const host = body.hosts.find(({ offers }) => offers.includes('rollback')).id;
  await open(page, demo, `/hosts/${host}`);
  await page.locator('#host-ops').getByRole('button', { name: 'Roll back' }).click();
  await expect(page.locator('#ask')).toContainText(`${host} goes back to the generation before`);
  await page.locator('#ask').getByRole('button', { name: 'Roll back' }).click();
  await expect.poll(async () => (await demo.api('GET', '/api/v1/commands?limit=1')).body.commands[0].op).toBe('rollback');
  await idle(demo, host);
  // There may be nothing to go back to now; the sentence is there either way.
  const again = page.locator('#host-ops').getByRole('button', { name: 'Roll back' });
  await expect(again).toHaveAttribute('data-confirm', /Last time it took \d+ s\./);
  await demo.api('POST', `/api/v1/hosts/${host}/ops/switch`, { force: true });
  await idle(demo, host);
  await stayed(page);
});

// A daemon of its own, empty and with a second factor; an agent is started by the line that the page gives.

const bin = (name) => fileURLToPath(new URL(`../../target/debug/${name}`, import.meta.url));
const PASSWORD = 'a password of the tests';
const SECRET = 'JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP';

function code(at = Date.now()) {
  const bits = [...SECRET].map((c) => 'ABCDEFGHIJKLMNOPQRSTUVWXYZ234567'.indexOf(c).toString(2).padStart(5, '0')).join('');
  const key = Buffer.from(bits.match(/.{8}/g).map((byte) => parseInt(byte, 2)));
  const step = Buffer.alloc(8);
  step.writeBigUInt64BE(BigInt(Math.floor(at / 30_000)));
  const tag = createHmac('sha1', key).update(step).digest();
  return String((tag.readUInt32BE(tag[19] & 15) & 0x7fffffff) % 1_000_000).padStart(6, '0');
}

async function freePort() {
  const server = createServer();
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address();
  await new Promise((resolve) => server.close(resolve));
  return port;
}

test('an empty fleet: the first host is added with the line to copy, time limits, and a reboot asks for a code', async ({ page }) => {
  test.setTimeout(180_000);
  const dir = mkdtempSync(join(tmpdir(), 'nixfleet-empty-'));
  const hash = spawnSync(bin('nixfleet'), ['hash-password'], { input: `${PASSWORD}\n`, encoding: 'utf8' }).stdout.trim();
  const port = await freePort();
  const url = `http://127.0.0.1:${port}`;
  const children = [];
  const start = (name, args, env) => {
    const child = spawn(bin(name), args, { env: { PATH: process.env.PATH, HOME: dir, ...env }, stdio: 'ignore' });
    children.push(child);
    return child;
  };
  try {
    spawnSync('git', ['init', '-q', '-b', 'main', join(dir, 'repo')]);
    start('nixfleet', ['serve'], {
      NIXFLEET_LISTEN: `127.0.0.1:${port}`, NIXFLEET_DATA_DIR: join(dir, 'data'), NIXFLEET_PASSWORD_HASH: hash,
      NIXFLEET_TOTP_SECRET: SECRET, NIXFLEET_ADMIN_TOKEN: 'an-admin-token-of-the-tests',
    });
    await expect.poll(() => fetch(`${url}/health`).then(({ ok }) => ok, () => false), { timeout: 30_000 }).toBe(true);
    // The page of the tests watches for other origins; this daemon is one, and is meant.
    const own = await page.context().browser().newPage();
    await own.goto(url);
    await own.getByLabel('Password').fill(PASSWORD);
    await own.getByLabel('Code').fill(code());
    await own.getByRole('button', { name: 'Sign in' }).click();
    await up(own);
    await own.evaluate(() => { window.neverReloaded = true; });
    const empty = own.locator('.empty');
    await expect(empty.getByRole('heading', { name: 'Add your first host' })).toBeVisible();
    await empty.getByLabel('Name of the host').fill('my-first');
    await empty.getByRole('button', { name: 'Make its token' }).click();
    await expect(empty.locator('[data-result]')).toContainText(/^nfh_/);
    await expect(row(own, 'my-first')).toContainText('Waits for its agent');
    await expect(empty.locator('[data-result]'), 'the line stays to be copied').toBeVisible();
    const line = await empty.locator('code').first().innerText();
    const env = Object.fromEntries([...line.matchAll(/(\w+)=(\S+)/g)].map(([, name, value]) => [name, value]));
    expect(env.NIXFLEET_URL).toBe(`ws://127.0.0.1:${port}/ws`);
    writeFileSync(join(dir, 'reboot'), '#!/bin/sh\nexec sleep 600\n', { mode: 0o755 });
    const agent = start('nixfleet-agent', [], {
      ...env, NIXFLEET_HOSTNAME: 'my-first', NIXFLEET_PLATFORM: 'script', NIXFLEET_REPO_URL: join(dir, 'repo'),
      NIXFLEET_STATE_DIR: join(dir, 'state'), NIXFLEET_ROOT: dir, NIXFLEET_REBOOT_COMMAND: join(dir, 'reboot'), NIXFLEET_ALLOW_EXEC: '1',
    });
    await expect(row(own, 'my-first')).toContainText('Online', { timeout: 30_000 });
    expect(await own.evaluate(() => window.neverReloaded)).toBe(true);

    // The way stays open later, too.
    await own.getByRole('button', { name: 'Add a host' }).click();
    await own.locator('#add-host').getByLabel('Name of the host').fill('BAD NAME');
    await own.keyboard.press('Enter');
    await expect(own.locator('#add-host').getByRole('alert')).toContainText('host name');
    await own.keyboard.press('Escape');

    // exec is there where the host allows it.
    await choose(own, 'my-first', 'Run a command');
    const exec = own.locator('[id="form:exec"]');
    await expect(exec).toContainText('my-first runs this command');
    await exec.getByLabel('Command').fill('echo "two words" $HOME');
    await own.keyboard.press('Enter');
    await expect(own.locator('.dock .log-lines')).toContainText('two words $HOME');
    await own.getByRole('button', { name: 'Close all logs' }).click();

    // An agent that says nothing: past its time a command can be waited for, stopped, or let run.
    agent.kill('SIGSTOP');
    await choose(own, 'my-first', 'Check version');
    const now = row(own, 'my-first').locator('.c-now');
    for (const name of [/^Wait/, /^Stop/, /^Ignore/]) {
      await expect(now.getByRole('button', { name })).toBeVisible({ timeout: 50_000 });
    }
    await expect(now).toContainText('Past its limit');
    await now.getByRole('button', { name: /^Wait/ }).click();
    await expect(now.getByRole('button', { name: /^Ignore/ })).toBeHidden();
    agent.kill('SIGCONT');
    await expect(now).not.toContainText('Check version');
    await own.getByRole('button', { name: 'Close all logs' }).click();

    await choose(own, 'my-first', 'Reboot');
    const ask = own.locator('#ask');
    await expect(ask).toContainText('my-first reboots now');
    await ask.getByLabel('Code').fill('000000');
    await own.keyboard.press('Enter');
    await expect(ask, 'it asks again and says why').toContainText(/code/i);
    await ask.getByLabel('Code').fill(code(Date.now() + 30_000));
    await own.keyboard.press('Enter');
    await expect(ask).toBeHidden();
    await expect(now).toContainText('Reboot');
    // Its command for a reboot hangs, and so can still be stopped: nothing outlives the story.
    await now.getByRole('button', { name: /^Stop/ }).click();
    await expect(now).not.toContainText('Reboot');
    await own.close();
  } finally {
    for (const child of children.reverse()) {
      const ended = new Promise((resolve) => child.once('exit', resolve));
      if (child.exitCode === null && child.kill('SIGTERM')) await ended;
    }
    rmSync(dir, { recursive: true, force: true });
  }
});

test('wrong passwords are told, and too many lock out for a while', async ({ page, demo }) => {
  const dir = mkdtempSync(join(tmpdir(), 'nixfleet-login-'));
  const hash = spawnSync(bin('nixfleet'), ['hash-password'], { input: `${PASSWORD}\n`, encoding: 'utf8' }).stdout.trim();
  const port = await freePort();
  const child = spawn(bin('nixfleet'), ['serve'], {
    env: { PATH: process.env.PATH, NIXFLEET_LISTEN: `127.0.0.1:${port}`, NIXFLEET_DATA_DIR: join(dir, 'data'), NIXFLEET_PASSWORD_HASH: hash },
    stdio: 'ignore',
  });
  try {
    await expect.poll(() => fetch(`http://127.0.0.1:${port}/health`).then(({ ok }) => ok, () => false), { timeout: 30_000 }).toBe(true);
    const own = await page.context().browser().newPage();
    await own.goto(`http://127.0.0.1:${port}/login`);
    for (let n = 0; n < 5; n += 1) {
      await own.getByLabel('Password').fill('wrong');
      await own.getByRole('button', { name: 'Sign in' }).click();
      await expect(own.getByRole('alert')).toContainText('The password or the code is wrong.');
    }
    await own.getByLabel('Password').fill(PASSWORD);
    await own.getByRole('button', { name: 'Sign in' }).click();
    await expect(own.getByRole('alert')).toContainText(/Too many attempts: try again in \d+ s\./);
    await own.close();
  } finally {
    const ended = new Promise((resolve) => child.once('exit', resolve));
    child.kill('SIGTERM');
    await ended;
    rmSync(dir, { recursive: true, force: true });
  }
});
