// The fleet that the page is tested on: `nixfleet demo` as a person starts it, and a proxy before it that can be
// unplugged. Every page that a test opens fails it on an error in the console, on one that nobody caught, and on a
// request to another origin.
import { spawn } from 'node:child_process';
import { createServer, connect } from 'node:net';
import { createInterface } from 'node:readline';
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { test as base, expect } from '@playwright/test';

export const binary = process.env.NIXFLEET_BIN ?? fileURLToPath(new URL('../../target/debug/nixfleet', import.meta.url));

/** Starts the demo and waits for its line of JSON. */
async function startDemo() {
  if (!existsSync(binary)) throw new Error(`${binary} is missing: cargo build --workspace`);
  const child = spawn(binary, ['demo', '--json', '--hosts', '5'], {
    stdio: ['ignore', 'pipe', 'pipe'],
    // What runs by itself a moment after a switch would be in the way of what a test does next.
    env: { ...process.env, NIXFLEET_AUTO_TEST: '0' },
  });
  let said = '';
  child.stderr.on('data', (chunk) => { said = (said + chunk).slice(-8000); });
  const line = await new Promise((resolve, reject) => {
    createInterface({ input: child.stdout }).once('line', resolve);
    child.once('exit', (code) => reject(new Error(`demo ended with ${code}\n${said}`)));
    setTimeout(() => reject(new Error(`demo is not ready\n${said}`)), 150_000).unref();
  });
  return { child, ...JSON.parse(line) };
}

/** A proxy on a port of its own: what a cable is to a laptop. */
export async function startCable(url) {
  const target = new URL(url);
  const pairs = new Set();
  let plugged = true;
  const server = createServer((inbound) => {
    if (!plugged) return inbound.destroy();
    const outbound = connect(Number(target.port), target.hostname);
    const pair = [inbound, outbound];
    pairs.add(pair);
    for (const socket of pair) {
      socket.on('error', () => {});
      socket.on('close', () => { pairs.delete(pair); inbound.destroy(); outbound.destroy(); });
    }
    inbound.pipe(outbound).pipe(inbound);
  });
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    url: `http://127.0.0.1:${server.address().port}`,
    /** Connections break, and no new ones are made. */
    unplug() { plugged = false; for (const [inbound, outbound] of pairs) { inbound.destroy(); outbound.destroy(); } },
    plug() { plugged = true; },
    /** Connections that are there stay, and nothing comes through any more: as after a laptop's sleep. */
    mute() {
      for (const [inbound, outbound] of pairs) for (const socket of [inbound, outbound]) socket.unpipe().resume();
    },
    close() { this.unplug(); server.close(); },
  };
}

/** What no page may do, from now on, in all tabs of this context: errors, and requests to another origin. */
export function watch(context, origin) {
  const wrong = [];
  const home = new URL(origin).host;
  const elsewhere = (what, url) => {
    if (!/^(data|blob|about):/.test(url) && new URL(url).host !== home) wrong.push(`${what} to another origin: ${url}`);
  };
  context.on('console', (message) => {
    if (message.type() !== 'error') return;
    // A cut cable and a session that is over are no faults of the page; Chromium writes them to the console by itself.
    const text = message.text();
    const cut = /^WebSocket connection to|net::ERR_/.test(text);
    const refused = /Failed to load resource: .* status of (\d+)/.exec(text);
    const known = refused && !['400', '401', '404', '409', '429', '501', '503'].includes(refused[1]) ? false : refused;
    if (!cut && !(known && !message.location().url.includes('/static/'))) wrong.push(text);
  });
  context.on('weberror', (error) => wrong.push(String(error.error())));
  context.on('request', (request) => elsewhere('request', request.url()));
  context.on('page', (page) => page.on('websocket', (socket) => elsewhere('socket', socket.url())));
  return wrong;
}

export const test = base.extend({
  demo: [async ({}, use) => {
    const demo = await startDemo();
    const cable = await startCable(demo.url);
    const api = async (method, path, body) => {
      const answer = await fetch(demo.url + path, {
        method,
        headers: { authorization: `Bearer ${demo.admin_token}`, 'content-type': 'application/json' },
        body: body && JSON.stringify(body),
      });
      return { status: answer.status, body: await answer.json().catch(() => null) };
    };
    await use({ ...demo, cable, api, pageUrl: cable.url });
    cable.close();
    const ended = new Promise((resolve) => demo.child.once('exit', resolve));
    demo.child.kill('SIGINT');
    await ended;
  }, { scope: 'worker', timeout: 180_000 }],

  /** Where all pages of a test come from. */
  origin: async ({ demo }, use) => { await use(demo.pageUrl); },

  context: async ({ context, origin }, use) => {
    const wrong = watch(context, origin);
    await use(context);
    expect(wrong).toEqual([]);
  },
});

export { expect };

/** Logs in through the form. */
export async function logIn(page, demo) {
  await page.goto(demo.pageUrl);
  await page.getByLabel('Password').fill(demo.password);
  await page.getByRole('button', { name: 'Sign in' }).click();
  await expect(page.locator('table.hosts')).toBeVisible();
  await expect(page.locator('html')).toHaveAttribute('data-link', 'up');
}

/** The row of a host. */
export const row = (page, host) => page.locator(`[id="host:${host}"]`);

/** The names of the five lights' looks in a row. */
export async function lights(page, host) {
  const looks = await row(page, host).locator('.light').evaluateAll((all) =>
    all.map((light) => [...light.classList].find((name) => name.startsWith('is-')).slice(3)));
  return looks.join(' ');
}

/** From now on the tab may not be loaded again. → asks whether it was */
export async function stays(page) {
  await page.evaluate(() => { window.neverReloaded = true; });
  return async () => expect(await page.evaluate(() => window.neverReloaded), 'the tab was not loaded again').toBe(true);
}
