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
      ['command', `/commands/${body.commands[0].id}`],
    ]) {
      await page.goto(demo.pageUrl + path);
      await expect(page.locator('html')).toHaveAttribute('data-link', 'up');
      await look(page, name, theme);
    }
  });

  test(`no such page, ${theme}`, async ({ page, demo }) => {
    await logIn(page, demo);
    expect((await page.goto(`${demo.pageUrl}/hosts/nobody`)).status()).toBe(404);
    await look(page, 'missing', theme);
  });
}
