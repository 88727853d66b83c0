// An operator's day: log in, pull, switch, reload in the middle, lose the network, kill the daemon.
import { test, expect, logIn, row, lights } from './fleet.mjs';

/** A host that is behind and whose switch works. */
async function hostToDeploy(demo) {
  const { body } = await demo.api('GET', '/api/v1/hosts');
  const host = body.hosts.find((host) => host.offers.includes('pull') && host.lights.system.status !== 'error');
  expect(host, 'the demo leaves an update waiting').toBeTruthy();
  return host.id;
}

/** Ends of all commands are waited for, so that one story does not disturb the next. */
async function idle(demo, host) {
  await expect.poll(async () => (await demo.api('GET', `/api/v1/hosts/${host}`)).body.command, { timeout: 60_000 }).toBeNull();
}

const logText = (page) => page.locator('.dock .log-lines').innerText();

test('the page is complete, and a wrong password says so', async ({ page, demo }) => {
  await page.goto(demo.pageUrl);
  await page.getByLabel('Password').fill('wrong');
  await page.getByRole('button', { name: 'Sign in' }).click();
  await expect(page.getByRole('alert')).toBeVisible();
  await logIn(page, demo);
  for (const host of demo.hosts) {
    await expect(row(page, host)).toBeVisible();
    await expect(row(page, host).locator('.light')).toHaveCount(5);
  }
});

test('pull and switch by click, output live, the same log after a reload in the middle', async ({ page, demo }) => {
  await logIn(page, demo);
  const host = await hostToDeploy(demo);
  await row(page, host).getByRole('button', { name: /^Pull/ }).click();
  await expect.poll(() => lights(page, host)).toMatch(/^ok ok ok outdated/);
  await idle(demo, host);

  await row(page, host).getByRole('button', { name: /^Switch/ }).click();
  await expect.poll(() => lights(page, host)).toMatch(/^ok ok ok working/);
  const dock = page.locator('.dock');
  await expect(dock).toBeVisible();
  await expect.poll(async () => (await logText(page)).split('\n').length).toBeGreaterThan(3);
  const before = (await logText(page)).split('\n').slice(0, 3);

  await page.reload();
  await expect(dock, 'the dock is open again by itself').toBeVisible();
  await expect.poll(async () => (await logText(page)).split('\n').slice(0, 3)).toEqual(before);
  await idle(demo, host);
  await expect.poll(() => lights(page, host), 'nothing was reloaded by hand').toMatch(/^ok ok ok ok/);

  // What the page shows is what the dashboard has on disk: each line once, in order.
  const { body } = await demo.api('GET', `/api/v1/commands?limit=10`);
  const command = body.commands.find((command) => command.host === host && command.op === 'switch');
  const whole = await (await fetch(`${demo.url}/api/v1/commands/${command.id}/log?from=0`, {
    headers: { authorization: `Bearer ${demo.admin_token}` },
  })).text();
  const lines = whole.trim().split('\n').map((line) => JSON.parse(line).line.replace(/\x1b\[[0-9;]*m/g, ''));
  await expect.poll(async () => page.locator('.dock .log-lines .ln').count()).toBe(lines.length);
  const shown = await page.locator('.dock .log-lines .ln').allInnerTexts();
  lines.forEach((line, n) => expect(shown[n]).toContain(line.trim()));
});

test('a cut cable: it says so, and is right again within a second', async ({ page, demo }) => {
  await logIn(page, demo);
  await page.evaluate(() => { window.neverReloaded = true; });
  const host = demo.hosts[0];
  demo.cable.unplug();
  await expect(page.locator('html')).not.toHaveAttribute('data-link', 'up');
  // Something happens while nobody looks.
  const color = '#a1b2c3';
  const set = await demo.api('POST', `/api/v1/hosts/${host}/ops/set-color`, { args: { color } });
  expect(set.status).toBeLessThan(300);
  demo.cable.plug();
  await page.evaluate(() => window.dispatchEvent(new Event('online')));
  const plugged = Date.now();
  await expect(row(page, host).locator('.tile')).toHaveAttribute('fill', color);
  expect(Date.now() - plugged).toBeLessThan(1000);
  await expect(page.locator('html')).toHaveAttribute('data-link', 'up');
  expect(await page.evaluate(() => window.neverReloaded)).toBe(true);
});

test('kill -9 of the daemon in the middle of a switch: the tab loses nothing', async ({ page, demo }) => {
  await logIn(page, demo);
  await page.evaluate(() => { window.neverReloaded = true; });
  const host = demo.hosts[0];
  await idle(demo, host);
  const { status, body } = await demo.api('POST', `/api/v1/hosts/${host}/ops/switch`, { force: true });
  expect(status).toBe(202);
  await expect.poll(() => lights(page, host)).toContain('working');
  process.kill(demo.daemon_pid ?? (await daemonPid(demo)), 'SIGKILL');
  await expect(page.locator('html')).not.toHaveAttribute('data-link', 'up');
  await expect(page.locator('html')).toHaveAttribute('data-link', 'up', { timeout: 30_000 });
  await expect.poll(async () => (await demo.api('GET', `/api/v1/commands/${body.id}`)).body.finished_at).not.toBeNull();
  await expect.poll(() => lights(page, host)).not.toContain('working');
  expect(await page.evaluate(() => window.neverReloaded)).toBe(true);
});

/** The daemon that listens on the demo's port: a child of the demo. */
async function daemonPid(demo) {
  const { readdirSync, readFileSync } = await import('node:fs');
  for (const pid of readdirSync('/proc').filter((name) => /^\d+$/.test(name))) {
    try {
      const words = readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0');
      const parent = / (\d+)/.exec(readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1].slice(1))[1];
      if (words.includes('serve') && Number(parent) === demo.pid) return Number(pid);
    } catch { /* it ended while we looked */ }
  }
  throw new Error('no daemon below the demo');
}
