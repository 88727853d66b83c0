// Runs of pipelines: begun from the bar, watched in the matrix, halted where the canary fails, decided by a person,
// cancelled, and looked up afterwards.
import { existsSync, mkdirSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test, expect, logIn, row } from './fleet.mjs';
import { look } from './look.mjs';

const hosts = async (demo) => (await demo.api('GET', '/api/v1/hosts')).body.hosts;
const idle = (demo) =>
  expect.poll(async () => (await hosts(demo)).every(({ command }) => !command), { timeout: 60_000 }).toBe(true);
const runs = async (demo) => (await demo.api('GET', '/api/v1/runs')).body.runs;
const over = (demo) =>
  expect.poll(async () => (await runs(demo)).every(({ finished_at: at }) => at), { timeout: 60_000 }).toBe(true);
const open = (page) => page.locator('#runs > .run-item').first();
/** Its hosts, which unfold below its line. */
const unfold = (run) => run.locator('.run-more > summary').click();
const top = (page) => page.locator('table.hosts').evaluate((table) => table.getBoundingClientRect().top + scrollY);

/** The folder of a host's scripts, in its own checkout. */
function scripts(demo, host) {
  const roots = [join(demo.dir, 'agents', host)];
  while (roots.length) {
    const dir = roots.pop();
    if (existsSync(join(dir, 'hosts', host, 'plan'))) return join(dir, 'hosts', host);
    for (const entry of readdirSync(dir, { withFileTypes: true })) if (entry.isDirectory() && entry.name !== '.git') roots.push(join(dir, entry.name));
  }
  throw new Error(`no checkout of ${host}`);
}

/** A test of the host that ends when it is told to, with this code. → tells it */
function heldTest(demo, host, code = 0) {
  const gate = join(demo.dir, `gate-${host}-${Math.floor(performance.now())}`);
  const file = join(scripts(demo, host), 'tests', '99-held.sh');
  mkdirSync(join(scripts(demo, host), 'tests'), { recursive: true });
  writeFileSync(file, `#!/bin/sh\nwhile [ ! -e ${gate} ]; do sleep 0.1; done\nexit ${code}\n`, { mode: 0o755 });
  return { open: () => writeFileSync(gate, ''), away: () => rmSync(file, { force: true }) };
}

async function select(page, names) {
  await page.keyboard.press('Escape');
  for (const name of names) await row(page, name).locator('.pick').click();
}

/** Starts "Do all" on these hosts by the bar; `how` fills in the roll-out. */
async function doAll(page, names, how) {
  await select(page, names);
  await page.locator('#picked').getByRole('button', { name: /^Do all/ }).click();
  const dialog = page.locator('[id="form:run"]');
  await expect(dialog).toContainText(names.join(', '));
  if (how) {
    await dialog.getByText('Roll out in steps').click();
    await how(dialog);
  }
  await dialog.getByRole('button', { name: 'Do all' }).click();
  await expect(dialog).toBeHidden();
  await page.keyboard.press('Escape');
}

test('a run stands above the table while it goes on, each stage leads to its log, and it ends in the history', async ({ page, demo }) => {
  await logIn(page, demo);
  await idle(demo);
  const [name] = demo.hosts;
  const held = heldTest(demo, name);
  const before = await top(page);
  await doAll(page, [name]);
  const run = open(page);
  await expect(run).toContainText('Do all');
  expect(await top(page) - before, 'whoever is about to click a row hits little else').toBeLessThan(64);
  await unfold(run);
  const cell = run.getByRole('button', { name: `Run tests on ${name}: Running` });
  await expect(cell).toBeVisible({ timeout: 60_000 });
  await expect(page.locator('#counts')).toContainText('1 run');
  await cell.click();
  await expect(page.locator('.dock')).toContainText(name);
  await page.getByRole('button', { name: 'Close all logs' }).click();
  held.open();
  await expect(page.locator('#runs > .run-item')).toHaveCount(0, { timeout: 60_000 });
  await expect(page.locator('#past-runs > .run-item').first()).toContainText('Complete');
  held.away();
});

test('the canary fails: the run halts, says why, and a person decides', async ({ page, demo }) => {
  test.setTimeout(180_000);
  await logIn(page, demo);
  await idle(demo);
  const [canary] = demo.hosts;
  // One whose own switch and tests are good.
  const good = ({ id, lights }) => id !== canary && ![lights.system, lights.tests].some(({ status }) => status === 'error');
  const other = (await hosts(demo)).find(good).id;
  const held = heldTest(demo, canary, 1);
  held.open();
  await doAll(page, [canary, other], async (dialog) => dialog.getByLabel('or these hosts').fill(canary));
  // In a line above the table; unfolded with what each would do.
  const ask = open(page).locator('.run-ask');
  await expect(ask).toContainText(`${canary} has failed.`, { timeout: 90_000 });
  await expect(page.locator('#said')).toContainText(`Do all halted: ${canary} has failed.`);
  for (const name of ['Go on', 'Retry the failed', 'Cancel the run']) {
    await expect(ask.getByRole('button', { name: new RegExp(`^${name}`) })).toBeVisible();
  }
  for (const theme of ['light', 'dark']) await look(page, 'runs-asks', theme);
  await unfold(open(page));
  await expect(ask).toBeHidden();
  const halt = open(page).locator('.halt');
  await expect(halt).toContainText(canary);
  for (const name of ['Go on', 'Retry the failed', 'Cancel the run']) {
    await expect(halt.getByRole('button', { name: new RegExp(`^${name}`) })).toBeVisible();
  }
  await expect(open(page).locator('tbody[aria-current]')).toContainText('Canary');
  for (const theme of ['light', 'dark']) await look(page, 'runs-halted', theme);
  await page.setViewportSize({ width: 1440, height: 900 });
  const [{ id }] = await runs(demo);
  await page.goto(`${demo.pageUrl}/runs/${id}`);
  await expect(page.locator('#run-head')).toContainText(`${canary} goes first.`);
  await expect(page.locator('#events')).toContainText(/halted|Halted/);
  for (const theme of ['light', 'dark']) await look(page, 'run-halted', theme);
  await page.setViewportSize({ width: 1440, height: 900 });
  held.away();
  await page.getByRole('button', { name: /^Retry the failed/ }).click();
  await expect(page.locator('#ask')).toContainText(`Tries ${canary} again`);
  await page.locator('#ask').getByRole('button', { name: 'Retry the failed' }).click();
  await expect(page.locator('#run-head .verdict')).toContainText('Complete', { timeout: 90_000 });
  for (const theme of ['light', 'dark']) await look(page, 'run-complete', theme);
});

test('a run is cancelled: what runs ends by itself, and the consequence is said first', async ({ page, demo }) => {
  await logIn(page, demo);
  await idle(demo);
  const [name, other] = demo.hosts;
  const held = heldTest(demo, name);
  await doAll(page, [name, other], async (dialog) => dialog.getByLabel('or these hosts').fill(name));
  await unfold(open(page));
  await expect(open(page).getByRole('button', { name: `Run tests on ${name}: Running` })).toBeVisible({ timeout: 60_000 });
  await open(page).getByRole('button', { name: /^Cancel/ }).click();
  await expect(page.locator('#ask')).toContainText('what has not begun never begins');
  await page.locator('#ask').getByRole('button', { name: 'Cancel the run' }).click();
  held.open();
  await expect(page.locator('#past-runs > .run-item').first()).toContainText('Cancelled', { timeout: 60_000 });
  held.away();
  await over(demo);
});

test('who is in a run is busy: the row says with what, and another run is refused by name', async ({ page, demo }) => {
  await logIn(page, demo);
  await idle(demo);
  const [name] = demo.hosts;
  const held = heldTest(demo, name);
  await doAll(page, [name]);
  await unfold(open(page));
  await expect(open(page).getByRole('button', { name: `Run tests on ${name}: Running` })).toBeVisible({ timeout: 60_000 });
  const { status, body } = await demo.api('POST', '/api/v1/pipelines/do-all/runs', { hosts: [name] });
  expect(status).toBe(409);
  expect(body.message ?? body.detail).toContain(name);
  await row(page, name).locator('.more').click();
  await expect(page.locator('#host-menu').getByRole('menuitem', { name: 'Do all' })).toHaveAttribute('aria-disabled', 'true');
  await page.keyboard.press('Escape');
  held.open();
  await over(demo);
  held.away();
});
