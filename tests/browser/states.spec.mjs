// States that the demo does not come to by itself: no host yet, nothing found, a command under way, hosts that are
// away, a code that is asked for, no network, signed out.
import { startCable, expect, test as base } from './fleet.mjs';
import { look, snaps } from './look.mjs';
import { link, playAgent, startDaemon } from './played.mjs';

const SECRET = 'JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP';
const THEMES = ['light', 'dark'];

const test = base.extend({
  fleet: [async ({}, use) => {
    const daemon = await startDaemon(() => ({ NIXFLEET_TOTP_SECRET: SECRET }));
    const cable = await startCable(daemon.url);
    await use({ ...daemon, cable });
    cable.close();
    await daemon.end();
  }, { scope: 'worker', timeout: 120_000 }],
  origin: async ({ fleet }, use) => { await use(fleet.cable.url); },
});

const row = (page, host) => page.locator(`[id="host:${host}"]`);

/** The code of now (RFC 6238). */
async function code() {
  const { createHmac } = await import('node:crypto');
  const bits = [...SECRET].map((letter) => 'ABCDEFGHIJKLMNOPQRSTUVWXYZ234567'.indexOf(letter).toString(2).padStart(5, '0')).join('');
  const key = Buffer.from(bits.match(/.{8}/g).map((byte) => parseInt(byte, 2)));
  const count = Buffer.alloc(8);
  count.writeBigUInt64BE(BigInt(Math.floor(Date.now() / 30_000)));
  const hash = createHmac('sha1', key).update(count).digest();
  return String((hash.readUInt32BE(hash[19] & 15) & 0x7fffffff) % 1e6).padStart(6, '0');
}

test('from no host to hosts that work, are away, and are cut off', async ({ page, fleet }) => {
  test.setTimeout(240_000);
  await page.goto(fleet.cable.url);
  await page.getByLabel('Password').fill(fleet.password);
  await page.locator('[name=totp]').fill(await code());
  await page.getByRole('button', { name: 'Sign in' }).click();
  await link(page, 'up');
  await expect(page.getByRole('heading', { name: 'Add your first host' })).toBeVisible();
  for (const theme of THEMES) await look(page, 'state-empty', theme);

  const agents = [0, 1, 2, 3].map((number) => playAgent(fleet, number));
  for (const agent of agents) await agent.ready;
  const [busy, gone, , other] = agents;
  await expect(row(page, other.name)).toBeVisible();
  await fleet.api('POST', `/api/v1/hosts/${busy.name}/ops/pull`, { force: true });
  gone.end();
  await page.keyboard.press('/');
  await page.keyboard.type('nowhere');
  await expect(page.getByText('No host matches.')).toBeVisible();
  await snaps(page, 'state-none-found');
  await page.getByRole('button', { name: 'Show all' }).click();

  await row(page, other.name).locator('.more').click();
  await page.getByRole('menuitem', { name: 'Reboot' }).click();
  await expect(page.locator('#ask').getByLabel('Code from your authenticator')).toBeVisible();
  await snaps(page, 'state-reboot');
  await page.keyboard.press('Escape');

  // It is told, too: to those who can't see the row.
  await expect(row(page, gone.name)).toContainText('Offline', { timeout: 90_000 });
  await expect(page.locator('#said')).toContainText(`Offline: ${gone.name}.`);
  await expect(row(page, busy.name).locator('.run')).toBeVisible();
  for (const theme of THEMES) await look(page, 'state-working-and-away', theme);

  await page.context().setOffline(true);
  fleet.cable.unplug();
  await link(page, 'off');
  await snaps(page, 'state-no-network');
  await page.context().setOffline(false);
  fleet.cable.plug();
  await link(page, 'up');

  await page.context().clearCookies();
  fleet.cable.unplug();
  fleet.cable.plug();
  await link(page, 'out');
  await snaps(page, 'state-signed-out');
  for (const agent of agents) agent.end();
});
