// The weekly update, as a person has it in a tab that stays open: a pull request stands there by itself, is merged and
// deployed behind its canaries, halts where it is bad, and is taken back.
import { logIn, expect, stays } from './fleet.mjs';
import { look, WIDTHS } from './look.mjs';
import { CANARIES, HOSTS, REST, show, test } from './week.mjs';

test.describe.configure({ timeout: 240_000 });

const banner = (page) => page.getByRole('region', { name: 'Update' });
const offer = (page) => page.getByRole('region', { name: 'Revert' });
const run = (page) => page.locator('#runs > .run-item');
const past = (page) => page.locator('#past-runs > .run-item').first();
const GREEN = 'ok ok ok ok ok';
const SLOW = { timeout: 60_000 };

/** `part`: what is looked at by itself too, as it may be below the fold. */
async function looks(page, name, part) {
  for (const theme of ['light', 'dark']) {
    await page.evaluate(() => window.scrollTo(0, 0));
    await look(page, name, theme, name === 'update-dialog');
    for (const [width, height] of part ? WIDTHS : []) {
      await page.setViewportSize({ width, height });
      await part.screenshot({ path: `artefacts/${name}-part-${theme}-${width}.png`, animations: 'disabled' });
    }
  }
  await page.setViewportSize({ width: 1440, height: 900 });
}

async function open(page, week) {
  await logIn(page, week);
  await show(page, GREEN);
  await expect(banner(page)).toHaveCount(0);
  return stays(page);
}

/** Merge & Deploy, which says first what it does to whom. `how` fills in the roll-out. */
async function mergeAndDeploy(page, number, how) {
  await banner(page).getByRole('button', { name: `Merge & Deploy #${number}` }).click();
  const dialog = page.locator('[id="form:run"]');
  await expect(dialog).toContainText(`Merges #${number} into main, then pulls, switches and tests atlas, luna, nova and orion.`);
  await how?.(dialog);
  await dialog.getByRole('button', { name: 'Merge & Deploy' }).click();
  await expect(dialog).toBeHidden();
  // It is merged: the pull request goes from the page by itself.
  await expect(banner(page)).toHaveCount(0);
}

/** Answers the question that is asked first. */
async function yes(page, consequence, answer) {
  await expect(page.locator('#ask')).toContainText(consequence);
  await page.locator('#ask').getByRole('button', { name: answer }).click();
  await expect(page.locator('#ask')).toBeHidden();
}

test('a bad update: it appears, is merged and deployed behind its canaries, halts, and is taken back', async ({ page, week }) => {
  const stayed = await open(page, week);
  const number = await week.update('bad-week', 'broken');
  await expect(banner(page)).toContainText(`Update #${number} flake.lock: Update`);
  await expect(banner(page)).toContainText('updates[bot]');
  await expect(banner(page).locator('time')).toBeVisible();
  await expect(banner(page)).toContainText('Can be merged.');
  await show(page, 'ok ok outdated ok ok');
  await looks(page, 'update-banner');

  await mergeAndDeploy(page, number, async (dialog) => {
    await dialog.getByText('Roll out in steps').click();
    await dialog.getByLabel('These go first').selectOption('canary');
    await looks(page, 'update-dialog');
  });
  await expect(run(page).locator('.run-ask')).toBeVisible(SLOW);
  await run(page).locator('.run-more > summary').click();
  const halt = run(page).locator('.halt');
  for (const host of CANARIES) await expect(halt.getByRole('listitem').filter({ hasText: host }).first()).toContainText(/test/i);
  await show(page, 'ok ok ok ok error', CANARIES);
  await show(page, 'ok outdated outdated outdated ok', REST);
  await expect(offer(page)).toContainText(`After #${number} was merged, tests failed on atlas and luna.`);
  await expect(offer(page)).toContainText('merged by Merge & Deploy');
  await expect(halt).toContainText('atlas, luna have failed.');
  await looks(page, 'update-halted', run(page));
  await halt.locator('.halt-hosts').getByRole('button').first().click();
  await expect(page.locator('.dock')).toContainText('the service does not answer on port 443');
  await page.getByRole('button', { name: 'Close all logs' }).click();

  await halt.getByRole('button', { name: /^Cancel/ }).click();
  await yes(page, /./, /^Cancel the run/);
  await expect(run(page)).toHaveCount(0);
  await expect(past(page)).toContainText('Cancelled');
  await looks(page, 'update-revert');
  await offer(page).getByRole('button', { name: `Revert #${number}` }).click();
  await yes(page, `takes back what #${number} brought`, 'Revert');
  await expect(offer(page)).toHaveCount(0);
  // The lock is again what the others have; the commit is a new one.
  await show(page, 'ok outdated outdated outdated error', CANARIES);
  await show(page, 'ok outdated ok outdated ok', REST);
  await week.deploy();
  await show(page, GREEN);
  await stayed();
});

test('an update that can’t be merged says why, and one that somebody else merges goes by itself', async ({ page, week }) => {
  const stayed = await open(page, week);
  const stale = await week.update('stale-week', 'stale');
  await expect(banner(page)).toContainText('Can be merged.');
  await week.github.does('push', { path: 'flake.lock', content: '{"version": 7, "by": "hand"}\n' });
  await expect(banner(page)).toContainText('It conflicts with main');
  for (const name of ['Merge & Deploy', 'Merge only']) {
    const button = banner(page).getByRole('button', { name: `${name} #${stale}` });
    await expect(button).toHaveAttribute('aria-disabled', 'true');
    await expect(button).toHaveAttribute('data-tip', /conflicts/);
  }
  await looks(page, 'update-conflict');
  await week.github.does('close', { number: stale });
  await expect(banner(page)).toHaveCount(0);

  const number = await week.update('their-week', 'theirs');
  await expect(banner(page)).toContainText(`#${number}`);
  await expect(banner(page)).toContainText('Can be merged.');
  await week.github.does('merge', { number });
  await expect(banner(page)).toHaveCount(0);
  await show(page, 'ok outdated outdated outdated ok');
  await week.deploy();
  await show(page, GREEN);
  await stayed();
});

test('a good update: one click, and every host has it', async ({ page, week }) => {
  const stayed = await open(page, week);
  const number = await week.update('good-week', 'good');
  await expect(banner(page)).toContainText('Can be merged.');
  await mergeAndDeploy(page, number, async (dialog) => {
    await dialog.getByText('Roll out in steps').click();
    await dialog.getByLabel('or these hosts').fill(CANARIES[0]);
  });
  await expect(run(page)).toContainText(`Merge & Deploy`);
  await expect(run(page)).toHaveCount(0, SLOW);
  await expect(past(page)).toContainText('Complete');
  await show(page, GREEN);
  await expect(offer(page)).toHaveCount(0);
  const { body } = await week.api('GET', '/api/v1/remote');
  expect(body.merged.number).toBe(number);
  for (const host of HOSTS) {
    expect((await week.api('GET', `/api/v1/hosts/${host}`)).body.deployed.commit, host).toBe(body.commit);
  }
  await stayed();
});

test('a switch that fails on a canary: rolled back from the halt, and taken back when the run is over', async ({ page, week }) => {
  const stayed = await open(page, week);
  const number = await week.update('stuck-week', 'unswitchable');
  await expect(banner(page)).toContainText('Can be merged.');
  await mergeAndDeploy(page, number, async (dialog) => {
    await dialog.getByText('Roll out in steps').click();
    await dialog.getByLabel('These go first').selectOption('canary');
  });
  await expect(run(page).locator('.run-ask')).toBeVisible(SLOW);
  await run(page).locator('.run-more > summary').click();
  const halt = run(page).locator('.halt');
  await expect(halt.locator('.halt-hosts')).toContainText(/luna.*Switch/);
  await expect(halt.getByRole('button', { name: `Revert #${number}` })).toBeVisible();
  await halt.getByRole('button', { name: /^Roll back/ }).click();
  await yes(page, 'Rolls back what this run switched', 'Roll back');
  await expect(run(page)).toHaveCount(0, SLOW);
  // One bad host is no offer above the table: the run itself has the way back.
  await expect(offer(page)).toHaveCount(0);
  const back = past(page).getByRole('button', { name: `Revert #${number}` });
  await expect(back).toBeVisible();
  await looks(page, 'update-rolled-back', past(page));
  await back.click();
  await yes(page, 'takes back what this run merged', 'Revert');
  await expect(back).toHaveCount(0);
  expect((await week.api('GET', '/api/v1/remote')).body.merged).toBeNull();
  await week.deploy();
  await show(page, GREEN);
  await stayed();
});

test('one canary whose tests fail: what was merged is taken back while the run is halted, and then it is cancelled', async ({ page, week }) => {
  const stayed = await open(page, week);
  const number = await week.update('lone-week', 'broken');
  await expect(banner(page)).toContainText('Can be merged.');
  await mergeAndDeploy(page, number, async (dialog) => {
    await dialog.getByText('Roll out in steps').click();
    await dialog.getByLabel('or these hosts').fill(CANARIES[0]);
  });
  await expect(run(page).locator('.run-ask')).toBeVisible(SLOW);
  await run(page).locator('.run-more > summary').click();
  const halt = run(page).locator('.halt');
  await expect(offer(page)).toHaveCount(0);
  const back = halt.getByRole('button', { name: `Revert #${number}` });
  await back.click();
  await yes(page, 'The run still waits', 'Revert');
  await expect(back).toHaveCount(0);
  await expect(halt).toBeVisible();
  await halt.getByRole('button', { name: /^Cancel/ }).click();
  await yes(page, /./, /^Cancel the run/);
  await expect(run(page)).toHaveCount(0);
  await expect(past(page)).toContainText('Cancelled');
  await expect(past(page).getByRole('button', { name: /^Revert/ })).toHaveCount(0);
  await week.deploy();
  await show(page, GREEN);
  await stayed();
});
