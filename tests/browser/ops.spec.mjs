// What can be done and what can't: the menu, refusals and what they offer, stop, the search, a session that ends.
import { test, expect, logIn, row, lights } from './fleet.mjs';

const idle = (demo, host) =>
  expect.poll(async () => (await demo.api('GET', `/api/v1/hosts/${host}`)).body.command, { timeout: 60_000 }).toBeNull();

async function hostWhere(demo, wanted) {
  const { body } = await demo.api('GET', '/api/v1/hosts');
  return body.hosts.find(wanted)?.id;
}

test('the menu has what the agent knows, and no empty group', async ({ page, demo }) => {
  await logIn(page, demo);
  await row(page, demo.hosts[0]).locator('.more').click();
  const menu = page.locator('#host-menu');
  await expect(menu.getByRole('menuitem', { name: 'Roll back' })).toBeVisible();
  await expect(menu.getByRole('menuitem', { name: 'Plan' })).toBeVisible();
  // What needs Nix is not for hosts that are deployed by scripts.
  for (const name of ['Garbage', 'Update inputs', 'Force rebuild', 'Compare the system', 'Ask the remote']) {
    await expect(menu.getByRole('menuitem', { name: new RegExp(name, 'i') })).toHaveCount(0);
  }
  for (const group of await menu.getByRole('group').all()) {
    if (await group.isVisible()) expect(await group.getByRole('menuitem').count()).toBeGreaterThan(0);
  }
  await page.keyboard.press('Escape');
  await expect(menu).toBeHidden();

  await page.goto(`${demo.pageUrl}/hosts/${demo.hosts[0]}`);
  await expect(page.getByText('Not offered on this host now.')).toHaveCount(0);
  await expect(page.locator('#host-lights').getByRole('button', { name: 'Details' })).toHaveCount(0);
});

test('a refused op says why and offers the next step', async ({ page, demo }) => {
  await logIn(page, demo);
  const host = await hostWhere(demo, ({ lights }) => lights.lock.status === 'outdated');
  test.skip(!host, 'no host is behind any more');
  await idle(demo, host);
  // As if the page were older than the fleet: the button is there, the dashboard refuses.
  await row(page, host).getByRole('button', { name: /^Switch/ }).evaluate((button) => {
    button.removeAttribute('aria-disabled');
    button.click();
  });
  const dialog = page.locator('#ask');
  await expect(dialog).toContainText('pull first');
  await dialog.getByRole('button', { name: 'Pull' }).click();
  await expect.poll(() => lights(page, host)).toMatch(/^ok ok ok/);
  await idle(demo, host);
});

test('a rollback is confirmed first, and Cancel does nothing', async ({ page, demo }) => {
  await logIn(page, demo);
  const host = await hostWhere(demo, ({ offers }) => offers.includes('rollback'));
  await row(page, host).locator('.more').click();
  await page.getByRole('menuitem', { name: 'Roll back' }).click();
  await expect(page.locator('#ask')).toContainText(`${host} goes back to the generation before`);
  await page.getByRole('button', { name: 'Cancel' }).click();
  await expect(page.locator('#ask')).toBeHidden();
  expect((await demo.api('GET', `/api/v1/hosts/${host}`)).body.command).toBeNull();
});

test('a switch is stopped in the middle, and everyone says so once', async ({ page, demo }) => {
  await logIn(page, demo);
  const host = demo.hosts[0];
  await idle(demo, host);
  const { body } = await demo.api('POST', `/api/v1/hosts/${host}/ops/switch`, { force: true });
  await row(page, host).getByRole('button', { name: /^Stop/ }).click();
  await idle(demo, host);
  const line = page.locator(`[id="command:${body.id}"]`);
  await expect(line).toContainText('Stopped');
  expect((await line.innerText()).match(/stopped/gi)).toHaveLength(1);
  await demo.api('POST', `/api/v1/hosts/${host}/ops/switch`, {});
  await expect.poll(() => lights(page, host)).toMatch(/^ok ok ok ok/);
});

test('what agents print leaves no escape sequence in a sentence', async ({ page, demo }) => {
  await logIn(page, demo);
  expect(await page.locator('body').innerText()).not.toMatch(/[\u0000-\u0008\u000b-\u001f\u007f-\u009f]|\[\d+(;\d+)*m/);
});

test('the search finds hosts, and the events stay', async ({ page, demo }) => {
  await logIn(page, demo);
  await page.keyboard.press('/');
  await page.keyboard.type('tests:error');
  await expect(row(page, demo.hosts[0])).toBeHidden();
  await expect(page.locator('#events .event').first()).toBeVisible();
  await page.keyboard.press('Escape');
  await expect(row(page, demo.hosts[0])).toBeVisible();
  await page.keyboard.press('j');
  await expect(page.locator('tr.host').first()).toBeFocused();
  await page.keyboard.press('?');
  await expect(page.locator('#keys')).toBeVisible();
  await page.keyboard.press('Escape');
});

test('a session that ends in another tab: sign in in place', async ({ page, demo, context }) => {
  await logIn(page, demo);
  await page.evaluate(() => { window.neverReloaded = true; });
  const other = await context.newPage();
  await other.goto(`${demo.pageUrl}/events`);
  await other.getByRole('button', { name: 'Log out' }).click();
  await expect(other.getByLabel('Password')).toBeVisible();
  const dialog = page.locator('#login');
  await expect(dialog).toBeVisible();
  // No key closes it, also where the browser has no `closedby` and lets a second Escape through.
  for (const way of ['closedby', 'script']) {
    if (way === 'script') await dialog.evaluate((it) => it.removeAttribute('closedby'));
    for (let n = 0; n < 3; n += 1) await page.keyboard.press('Escape');
    await expect(dialog, way).toBeVisible();
  }
  await dialog.getByLabel('Password').fill('wrong');
  await dialog.getByRole('button', { name: 'Sign in' }).click();
  await expect(dialog.getByRole('alert')).toBeVisible();
  await dialog.getByLabel('Password').fill(demo.password);
  await dialog.getByRole('button', { name: 'Sign in' }).click();
  await expect(dialog).toBeHidden();
  await expect(page.locator('html')).toHaveAttribute('data-link', 'up');
  expect(await page.evaluate(() => window.neverReloaded)).toBe(true);
});
