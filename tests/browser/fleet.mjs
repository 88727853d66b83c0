// The fleet that the page is tested on: `nixfleet demo` as a person starts it, and a proxy before it that can be
// unplugged. Every page that a test opens fails it on an error in the console and on a request to another origin.
import { spawn } from 'node:child_process';
import { createServer, connect } from 'node:net';
import { createInterface } from 'node:readline';
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { test as base, expect } from '@playwright/test';

const binary = process.env.NIXFLEET_BIN ?? fileURLToPath(new URL('../../target/debug/nixfleet', import.meta.url));

/** Starts the demo and waits for its line of JSON. */
async function startDemo() {
  if (!existsSync(binary)) throw new Error(`${binary} is missing: cargo build --workspace`);
  const child = spawn(binary, ['demo', '--json', '--hosts', '5'], { stdio: ['ignore', 'pipe', 'pipe'] });
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
async function startCable(url) {
  const target = new URL(url);
  const sockets = new Set();
  let plugged = true;
  const server = createServer((inbound) => {
    if (!plugged) return inbound.destroy();
    const outbound = connect(Number(target.port), target.hostname);
    for (const socket of [inbound, outbound]) {
      sockets.add(socket);
      socket.on('error', () => {});
      socket.on('close', () => { sockets.delete(socket); inbound.destroy(); outbound.destroy(); });
    }
    inbound.pipe(outbound).pipe(inbound);
  });
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    url: `http://127.0.0.1:${server.address().port}`,
    unplug() { plugged = false; for (const socket of sockets) socket.destroy(); },
    plug() { plugged = true; },
    close() { this.unplug(); server.close(); },
  };
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

  page: async ({ page, demo }, use) => {
    const wrong = [];
    page.on('console', (message) => {
      // A cut cable is no fault of the page; Chromium writes it to the console by itself.
      const network = /WebSocket connection|net::ERR_|Failed to load resource/.test(message.text());
      if (message.type() === 'error' && !network) wrong.push(message.text());
    });
    page.on('pageerror', (error) => wrong.push(String(error)));
    page.on('request', (request) => {
      if (!/^(data:|blob:)/.test(request.url()) && new URL(request.url()).origin !== demo.pageUrl) {
        wrong.push(`request to another origin: ${request.url()}`);
      }
    });
    await use(page);
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
