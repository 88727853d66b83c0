// How it looks: a screenshot of every page, theme and width is kept in artefacts/, and axe finds nothing.
import AxeBuilder from '@axe-core/playwright';
import { test, expect, logIn } from './fleet.mjs';

const WIDTHS = [[360, 780], [768, 1024], [1440, 900]];

async function settled(page) {
  await page.evaluate(() => document.fonts.ready);
  await page.evaluate(() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done))));
}

async function look(page, name, theme) {
  await page.evaluate((theme) => { document.documentElement.dataset.theme = theme; }, theme);
  for (const [width, height] of WIDTHS) {
    await page.setViewportSize({ width, height });
    await settled(page);
    await page.screenshot({ path: `artefacts/${name}-${theme}-${width}.png` });
    const wider = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
    expect(wider, `${name} at ${width} px does not scroll sideways`).toBeLessThanOrEqual(0);
  }
  const { violations } = await new AxeBuilder({ page }).withTags(['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa']).analyze();
  expect(violations.map(({ id, nodes }) => `${id}: ${nodes.map((node) => node.target).join(', ')}`)).toEqual([]);
}

for (const theme of ['light', 'dark']) {
  test(`sign-in, ${theme}`, async ({ page, demo }) => {
    await page.goto(demo.pageUrl);
    await look(page, 'login', theme);
  });

  test(`every page, ${theme}`, async ({ page, demo }) => {
    await logIn(page, demo);
    await look(page, 'fleet', theme);
    const { body } = await demo.api('GET', '/api/v1/commands');
    for (const [name, path] of [
      ['host', `/hosts/${demo.hosts[0]}`],
      ['events', '/events'],
      ['command', `/commands/${body.commands[0].id}`],
    ]) {
      await page.goto(demo.pageUrl + path);
      await expect(page.locator('html')).toHaveAttribute('data-link', 'up');
      await look(page, name, theme);
    }
  });

  test(`logs, ${theme}`, async ({ page, demo }) => {
    await logIn(page, demo);
    const { body } = await demo.api('GET', '/api/v1/commands');
    const failed = body.commands.find(({ state, op }) => state === 'ERROR' && op === 'switch');
    const other = body.commands.find(({ id }) => id !== failed.id);
    await page.setViewportSize({ width: 1440, height: 900 });
    for (const { id } of [other, failed]) await page.locator(`[id="command:${id}"] .item-log`).click();
    await expect(page.locator('.dock .ln').last()).toBeInViewport();
    await look(page, 'dock', theme);
    await page.getByRole('button', { name: 'Close all logs' }).click();
    await page.setViewportSize({ width: 1440, height: 900 });
    await page.goto(`${demo.pageUrl}/commands/${failed.id}`);
    await page.getByRole('button', { name: 'First error' }).click();
    await expect(page.locator('.ln.on')).toBeInViewport();
    await page.keyboard.press('/');
    await page.keyboard.type('error');
    await expect(page.locator('.log-find output')).toContainText(' of ');
    await look(page, 'log', theme);
  });

  test(`no such page, ${theme}`, async ({ page, demo }) => {
    await logIn(page, demo);
    expect((await page.goto(`${demo.pageUrl}/hosts/nobody`)).status()).toBe(404);
    await look(page, 'missing', theme);
  });
}
