// A host's own page: what happened on it, live and after a gap, what was deployed, its tests, its tokens, its end.
import { test, expect, logIn, row } from './fleet.mjs';

const open = async (page, demo, host) => {
  await page.goto(`${demo.pageUrl}/hosts/${host}`);
  await expect(page.locator('html')).toHaveAttribute('data-link', 'up');
};
const idle = (demo, host) =>
  expect.poll(async () => (await demo.api('GET', `/api/v1/hosts/${host}`)).body.command, { timeout: 60_000 }).toBeNull();

/** What the page tells, without what moves with time alone. */
const told = (page) => page.locator('main').evaluate((main) => {
  const copy = main.cloneNode(true);
  for (const moving of copy.querySelectorAll('time, #host-load, #host-graphs')) moving.textContent = '';
  for (const changed of copy.querySelectorAll('[data-c-new], [data-c-tip]')) changed.removeAttribute('data-c-new');
  return copy.innerText.replace(/\s+/g, ' ');
});

async function sameAsFresh(page, context, demo, host) {
  const other = await context.newPage();
  await open(other, demo, host);
  await expect.poll(async () => await told(page) === await told(other), { timeout: 10_000 }).toBe(true);
  await other.close();
}

test('a command stands among the marks and in the list as soon as it runs, and its mark opens the log', async ({ page, demo, context }) => {
  await logIn(page, demo);
  const host = demo.hosts[0];
  await idle(demo, host);
  await open(page, demo, host);
  const marks = page.locator('#host-past .pill');
  const line = page.locator('#host-past .day-line').first();
  await expect(marks.last()).toBeVisible();
  const before = await marks.count();
  await page.locator('#host-ops').getByRole('button', { name: 'Run tests' }).click();
  await expect(marks).toHaveCount(before + 1);
  await idle(demo, host);
  const { body } = await demo.api('GET', `/api/v1/commands?host=${host}&limit=1`);
  await expect(page.locator(`[id="command:${body.commands[0].id}"]`)).toContainText('3 of 3 tests passed');
  // The line of the day has the same, says its sums, and its marks open the log too.
  await expect(line.locator('.day-mark')).toHaveCount(await page.locator('#host-past .day').first().locator('.pill').count());
  await expect(line).toHaveAttribute('aria-label', /^\d+ commands? from \d\d:\d\d to \d\d:\d\d UTC: .*\d+ Success/);
  const mark = marks.last();
  await expect(mark).toHaveAccessibleName(/^Run tests.*Success/);
  await expect(page.locator('.tests li')).toHaveCount(3);
  await page.locator('.dock [data-dock="close"]').click();
  await mark.click();
  await expect(page.locator('.dock .log-lines')).toContainText('test 1 of 3');
  await page.locator('.dock [data-dock="close"]').click();
  await line.locator('.day-mark').last().dispatchEvent('click');
  await expect(page.locator('.dock .log-lines')).not.toBeEmpty();
  await sameAsFresh(page, context, demo, host);
});

test('the last tests are told one by one, what failed first', async ({ page, demo }) => {
  await logIn(page, demo);
  const { body } = await demo.api('GET', '/api/v1/hosts');
  const { id } = body.hosts.find(({ lights }) => lights.tests.status === 'error');
  await open(page, demo, id);
  await expect(page.locator('.tests li').first()).toContainText('30-backup.sh');
  await expect(page.locator('.tests li').first()).toContainText('code');
  await expect(page.locator('.tests-sum')).toContainText('2 of 3 passed');
});

test('what was deployed stands with its commit, who did it, and what runs now', async ({ page, demo }) => {
  await logIn(page, demo);
  const host = demo.hosts[0];
  await open(page, demo, host);
  const { body } = await demo.api('GET', `/api/v1/hosts/${host}`);
  const current = page.locator('.gen.is-current');
  await expect(current).toHaveCount(1);
  await expect(current).toContainText(body.deployed.commit.slice(0, 7));
  await expect(current).toContainText('runs now');
  await expect(page.locator('#host-rollback').getByRole('button')).toHaveCount(body.offers.includes('rollback') ? 1 : 0);
  await expect(page.locator('#host-facts')).toContainText(body.agent_version);
});

test('a rollback from the list of what was deployed moves the mark of what runs', async ({ page, demo, context }) => {
  await logIn(page, demo);
  const host = demo.hosts[0];
  await idle(demo, host);
  await open(page, demo, host);
  const before = await page.locator('.gen.is-current').innerText();
  await page.locator('#host-rollback').getByRole('button').click();
  await page.locator('#ask').getByRole('button', { name: 'Roll back' }).click();
  await idle(demo, host);
  await expect.poll(() => page.locator('.gen.is-current').allInnerTexts()).not.toEqual([before]);
  const { body } = await demo.api('GET', `/api/v1/hosts/${host}`);
  await expect(page.locator('.gen.is-current')).toContainText(body.generation.slice(0, 7));
  await sameAsFresh(page, context, demo, host);
  await demo.api('POST', `/api/v1/hosts/${host}/ops/switch`, {});
  await idle(demo, host);
});

test('what happened behind a cut cable is there when it is plugged in again', async ({ page, demo, context }) => {
  await logIn(page, demo);
  const host = demo.hosts[0];
  await idle(demo, host);
  await open(page, demo, host);
  const before = await page.locator('#host-past .pill').count();
  demo.cable.unplug();
  await demo.api('POST', `/api/v1/hosts/${host}/ops/check-version`, {});
  await idle(demo, host);
  demo.cable.plug();
  await expect(page.locator('#host-past .pill')).toHaveCount(before + 1, { timeout: 20_000 });
  await sameAsFresh(page, context, demo, host);
});

test('older commands stand on pages of their own', async ({ page, demo }) => {
  await logIn(page, demo);
  const host = demo.hosts[1];
  await idle(demo, host);
  // Refused at once: quick to make many.
  for (let made = 0; made < 27; made += 1) await demo.api('POST', `/api/v1/hosts/${host}/ops/wake`, {});
  await open(page, demo, host);
  await expect(page.locator('#commands .item')).toHaveCount(25);
  const last = await page.locator('#commands .item').last().getAttribute('id');
  await page.getByRole('link', { name: 'Older' }).click();
  await expect(page.getByRole('heading', { name: /^Older commands/ })).toBeVisible();
  await expect(page.locator('#commands .item').first()).toBeVisible();
  await expect(page.locator(`[id="${last}"]`)).toHaveCount(0);
  await page.getByRole('link', { name: 'newest' }).click();
  await expect(page.locator(`[id="${last}"]`)).toHaveCount(1);
});

test('the load is drawn when a minute is over, on the table and on the page, and the API tells it', async ({ page, demo }) => {
  test.setTimeout(180_000);
  await logIn(page, demo);
  const host = demo.hosts[0];
  const load = async () => (await demo.api('GET', `/api/v1/hosts/${host}/metrics`)).body;
  await expect.poll(async () => (await load()).hour.cpu.filter((cpu) => cpu !== null).length, { timeout: 130_000 }).toBeGreaterThan(0);
  const { hour, day } = await load();
  expect([hour.cpu.length, hour.step_s, day.ram.length, day.step_s]).toEqual([60, 60, 144, 600]);
  // Live: this page was open before the minute was over, or it came with the page; either way it is there.
  await expect(row(page, host).locator('.spark path').first()).toHaveAttribute('d', /^M/);
  await expect(row(page, host).locator('.pasts')).toContainText(/CPU, last hour: \d+/);
  await open(page, demo, host);
  await expect(page.getByRole('img', { name: /^CPU, last hour: \d/ })).toBeVisible();
  await page.locator('#span-day').check();
  await expect(page.getByRole('img', { name: /^RAM, last 24 hours: \d/ })).toBeVisible();
  await expect(page.getByRole('img', { name: /^CPU, last hour/ })).toBeHidden();
});

test('a host that never came says how to start its agent, and goes when its name was typed', async ({ page, demo }) => {
  await logIn(page, demo);
  await demo.api('POST', '/api/v1/hosts', { name: 'lyra.den' });
  const { body } = await demo.api('POST', '/api/v1/tokens', { kind: 'host', host: 'lyra.den', name: 'first' });
  expect(body.token).toMatch(/^nfh_/);
  await open(page, demo, 'lyra.den');
  await expect(page.getByText('nixfleet token host lyra.den')).toBeVisible();

  const tokens = page.locator('#host-tokens');
  await expect(tokens).toContainText('first');
  expect(await page.content()).not.toContain(body.token);
  await tokens.getByRole('button', { name: 'End first' }).click();
  await expect(page.locator('#ask')).toContainText('shut out at once');
  await page.locator('#ask').getByRole('button', { name: 'End token' }).click();
  await expect(tokens, 'it goes by itself').toContainText('No token of its own');

  const remove = page.locator('#host-danger').getByRole('button', { name: /^Remove/ });
  await expect(remove).toBeHidden();
  const name = page.getByLabel('Type lyra.den to remove it');
  await name.fill('lyra-den');
  await expect(remove).toBeHidden();
  await name.fill('lyra.den');
  await remove.click();
  await expect(page.locator('#host-notices')).toContainText('lyra.den was removed from the fleet');
  expect((await demo.api('GET', '/api/v1/hosts/lyra.den')).status).toBe(404);
});
