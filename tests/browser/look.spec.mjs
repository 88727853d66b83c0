// How it looks: a screenshot of every page, theme and width is kept in artefacts/, and axe finds nothing.
import { look } from './look.mjs';
import { test, expect, logIn } from './fleet.mjs';

for (const theme of ['light', 'dark']) {
  test(`sign-in, ${theme}`, async ({ page, demo }) => {
    await page.goto(demo.pageUrl);
    await look(page, 'login', theme);
  });

  test(`every page, ${theme}`, async ({ page, demo }) => {
    await logIn(page, demo);
    await look(page, 'fleet', theme);
    const { body } = await demo.api('GET', '/api/v1/commands');
    await demo.api('POST', '/api/v1/hosts', { name: 'lyra' });
    for (const [name, path] of [
      ['host', `/hosts/${demo.hosts[0]}`],
      ['host-new', '/hosts/lyra'],
      ['events', '/events'],
      ['settings', '/settings'],
      ['command', `/commands/${body.commands[0].id}`],
    ]) {
      await page.goto(demo.pageUrl + path);
      await expect(page.locator('html')).toHaveAttribute('data-link', 'up');
      await look(page, name, theme);
    }
  });

  test(`selected, filtered, close, and the card of a light, ${theme}`, async ({ page, demo }) => {
    test.setTimeout(150_000);
    await logIn(page, demo);
    await page.locator('tr.host .pick').nth(1).click();
    await look(page, 'fleet-selected', theme, true);
    await page.keyboard.press('Escape');
    await page.locator('[data-menu="filters-box"]').click();
    await look(page, 'fleet-filters', theme, true);
    await page.keyboard.press('Escape');
    await page.locator('tr.host .light.is-ok').first().click();
    await look(page, 'fleet-card', theme, true);
    await page.keyboard.press('Escape');
    await page.locator('tr.host .light.is-error').first().click();
    await look(page, 'fleet-card-red', theme, true);
    await page.keyboard.press('Escape');
    await page.setViewportSize({ width: 1440, height: 900 });
    await page.locator('.density').click();
    await look(page, 'fleet-close', theme);
  });

  test(`logs, ${theme}`, async ({ page, demo }) => {
    await logIn(page, demo);
    const { body } = await demo.api('GET', '/api/v1/commands');
    const failed = body.commands.find(({ state, op }) => state === 'ERROR' && op === 'switch');
    const other = body.commands.find(({ id }) => id !== failed.id);
    await page.setViewportSize({ width: 1440, height: 900 });
    for (const { id } of [other, failed]) await page.locator(`[id="command:${id}"] .item-log`).click();
    // Where no button is half below it.
    await page.goto(`${demo.pageUrl}/events`);
    await expect(page.locator('.dock .ln').last()).toBeInViewport();
    await look(page, 'dock', theme, true);
    await page.getByRole('button', { name: 'Close all logs' }).click();
    await page.setViewportSize({ width: 1440, height: 900 });
    await page.goto(`${demo.pageUrl}/commands/${failed.id}`);
    await page.getByRole('button', { name: 'First error' }).click();
    await expect(page.locator('.ln.on')).toBeInViewport();
    await page.keyboard.press('/');
    await page.keyboard.type('error');
    await expect(page.locator('.log-find output')).toContainText(' of ');
    await look(page, 'log', theme, true);
  });

  test(`no such page, ${theme}`, async ({ page, demo }) => {
    await logIn(page, demo);
    expect((await page.goto(`${demo.pageUrl}/hosts/nobody`)).status()).toBe(404);
    await look(page, 'missing', theme);
  });

  // Every dialog has its pictures in access.spec.mjs, which finds them by itself.
  test(`an event unfolded, ${theme}`, async ({ page, demo }) => {
    await logIn(page, demo);
    await page.goto(`${demo.pageUrl}/events?level=error`);
    await page.locator('#events summary').first().click();
    await look(page, 'events-unfolded', theme);
  });
}
