// The table of hosts: lights and what a click on them does, selecting and what can be done with many, filters, keys,
// the phone, and a thousand hosts.
import AxeBuilder from '@axe-core/playwright';
import { test, expect, logIn, row, lights } from './fleet.mjs';

const hosts = async (demo) => (await demo.api('GET', '/api/v1/hosts')).body.hosts;
const idle = (demo) =>
  expect.poll(async () => (await hosts(demo)).every(({ command }) => !command), { timeout: 60_000 }).toBe(true);
const pick = (page, host) => row(page, host).locator('.pick');
const picked = (page) => page.locator('#picked');
const selected = (page) => page.locator('tr.host[aria-selected="true"]').evaluateAll((all) => all.map((one) => one.id.slice(5)));
const shown = (page) => page.locator('tr.host:visible').evaluateAll((all) => all.map((one) => one.id.slice(5)));
const light = (page, host, name) => row(page, host).getByRole('button', { name: new RegExp(`^${name}:`) });

async function clean(page) {
  const { violations } = await new AxeBuilder({ page }).withTags(['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa']).analyze();
  expect(violations.map(({ id, nodes }) => `${id}: ${nodes.map((node) => node.target).join(', ')}`)).toEqual([]);
}

test('a red light opens a card: the sentence, the log, retry and rollback', async ({ page, demo }) => {
  await logIn(page, demo);
  const failed = (await hosts(demo)).find(({ lights }) => lights.system.status === 'error');
  test.skip(!failed, 'no switch has failed');
  await light(page, failed.id, 'System').click();
  const card = page.locator('#light-card');
  await expect(card).toContainText(`${failed.id} · System`);
  await expect(card).toContainText(failed.lights.system.message);
  await expect(card.getByRole('menuitem', { name: 'Try again' })).toBeVisible();
  await expect(card.getByRole('menuitem').first()).toBeFocused();
  await clean(page);
  await page.keyboard.press('ArrowDown');
  await expect(card.getByRole('menuitem').nth(1)).toBeFocused();
  await page.keyboard.press('Escape');
  await expect(card).toBeHidden();
  await expect(light(page, failed.id, 'System'), 'focus is back where it was').toBeFocused();
  await light(page, failed.id, 'System').click();
  await card.getByRole('menuitem', { name: 'Show the log' }).click();
  await expect(page.locator('.dock')).toBeVisible();
});

test('a green light tells, and leads to the page of its host', async ({ page, demo }) => {
  await logIn(page, demo);
  const { id } = (await hosts(demo)).find(({ lights }) => lights.agent.status === 'ok');
  await light(page, id, 'Agent').focus();
  await light(page, id, 'Agent').hover();
  await expect(page.locator('#tip')).toContainText('is the dashboard');
  await light(page, id, 'Agent').click();
  await page.getByRole('menuitem', { name: 'Open the host’s page' }).click();
  await expect(page).toHaveURL(new RegExp(`/hosts/${id}$`));
});

test('a yellow light is done at once', async ({ page, demo }) => {
  await logIn(page, demo);
  await idle(demo);
  const behind = (await hosts(demo)).find(({ lights, offers }) => lights.git.status === 'outdated' && offers.includes('pull'));
  test.skip(!behind, 'no host is behind any more');
  await light(page, behind.id, 'Git').click();
  await expect.poll(() => lights(page, behind.id)).toMatch(/^ok ok ok/);
  await idle(demo);
});

test('select by click, by range, all and none; the bar counts what each would do', async ({ page, demo }) => {
  await logIn(page, demo);
  await idle(demo);
  const order = await shown(page);
  await pick(page, order[0]).click();
  await pick(page, order[2]).click({ modifiers: ['Shift'] });
  expect(await selected(page)).toEqual(order.slice(0, 3));
  await expect(picked(page)).toContainText('3 selected');
  await expect(pick(page, order[1])).toHaveAttribute('aria-pressed', 'true');
  const all = await hosts(demo);
  const offered = (op) => all.filter(({ id, offers }) => order.slice(0, 3).includes(id) && offers.includes(op)).length;
  for (const [op, name] of [['pull', /^Pull/], ['switch', /^Switch/], ['test', /^Run tests/]]) {
    const button = picked(page).getByRole('button', { name });
    await expect(button.locator('b')).toHaveText(String(offered(op)));
    await expect(button).toHaveAttribute('aria-disabled', String(!offered(op)));
  }
  await clean(page);
  await picked(page).getByRole('button', { name: 'Select all' }).click();
  expect(await selected(page)).toEqual(order);
  await page.keyboard.press('Escape');
  await expect(picked(page)).toBeHidden();
  expect(await selected(page)).toEqual([]);
});

test('the selection survives deltas, the filter and a cut cable', async ({ page, demo }) => {
  await logIn(page, demo);
  const [first, second] = await shown(page);
  await pick(page, first).click();
  await pick(page, second).click();
  const paint = (color) => demo.api('POST', `/api/v1/hosts/${first}/ops/set-color`, { args: { color } });
  await paint('#123456');
  await expect(row(page, first).locator('.tile')).toHaveAttribute('fill', '#123456');
  expect(await selected(page)).toEqual([first, second]);
  await page.locator('#search').fill(second);
  await expect(row(page, first)).toBeHidden();
  await expect(picked(page)).toContainText('2 selected, 1 not shown');
  await page.locator('#search').fill('');
  demo.cable.unplug();
  await expect(page.locator('html')).not.toHaveAttribute('data-link', 'up');
  await paint('#654321');
  demo.cable.plug();
  await page.evaluate(() => window.dispatchEvent(new Event('online')));
  await expect(row(page, first).locator('.tile')).toHaveAttribute('fill', '#654321');
  expect(await selected(page)).toEqual([first, second]);
});

test('an op on many: one request, an outcome for each, and the refused are named', async ({ page, demo }) => {
  await logIn(page, demo);
  await idle(demo);
  const order = await shown(page);
  await page.locator('thead .pick').click();
  // Another story may have added a host whose agent never came.
  const could = (await hosts(demo)).filter(({ state }) => state === 'online').length;
  const run = picked(page).getByRole('button', { name: /^Run tests/ });
  // As if the page were older than the fleet: one of them has become busy.
  const clicked = run.evaluate((button, hosts) => {
    button.dataset.body = JSON.stringify({ hosts });
    button.click();
  }, [...order, 'nobody']);
  const [request] = await Promise.all([page.waitForRequest(/\/api\/v1\/ops\/test$/), clicked]);
  expect(request.postDataJSON()).toEqual({ hosts: [...order, 'nobody'] });
  await expect(page.locator('#say')).toContainText('nobody: There is no host called nobody.');
  await expect(page.locator('#toasts')).toContainText(`begun on ${could} of ${order.length + 1}`);
  await page.locator('#say').getByRole('button', { name: 'Close' }).click();
  await idle(demo);
  await expect(page.locator('#said')).toHaveText(/Run tests (succeeded|failed)/);
});

test('what starts on many is confirmed with their names, and begins as it was asked for', async ({ page, demo }) => {
  await logIn(page, demo);
  await idle(demo);
  const [first, second] = await shown(page);
  await pick(page, first).click();
  await pick(page, second).click();
  await picked(page).getByRole('button', { name: /^Do all/ }).click();
  const dialog = page.locator('[id="form:run"]');
  await expect(dialog).toContainText(`${first}, ${second}`);
  await dialog.getByText('Roll out in steps').click();
  await dialog.getByLabel('or these hosts').fill(first);
  await dialog.getByLabel('Each group stays good for').selectOption({ label: '1 minute' });
  await clean(page);
  // What is asked for is looked at here; what becomes of it, in the stories of runs.
  await page.route(/pipelines\/do-all\/runs/, (route) => route.fulfill({ status: 202, json: { id: 'asked' } }));
  const asked = page.waitForRequest(/pipelines\/do-all\/runs/);
  await dialog.getByRole('button', { name: 'Do all' }).click();
  const { hosts: on, options } = (await asked).postDataJSON();
  expect(on).toEqual([first, second]);
  expect(options).toEqual({ canary: { hosts: [first] }, soak_s: 60 });
  await expect(dialog).toBeHidden();
});

test('filters are chips that write into the search, and stay in the address', async ({ page, demo }) => {
  await logIn(page, demo);
  const all = await hosts(demo);
  const tag = all.find(({ tags }) => tags.length).tags[0];
  const place = all.find(({ tags }) => tags.includes(tag)).location;
  await page.locator('[data-menu="filters-box"]').click();
  await clean(page);
  await page.locator(`#filters [data-query="tag:${tag}"]`).click();
  await page.locator(`#filters [data-query="at:${place}"]`).click();
  const found = all.filter(({ tags, location }) => tags.includes(tag) && location === place).map(({ id }) => id);
  expect((await shown(page)).sort()).toEqual(found.sort());
  await expect(page.locator('#search')).toHaveValue(`tag:${tag} at:${place}`);
  await page.reload();
  expect((await shown(page)).sort()).toEqual(found.sort());
  await page.locator('[data-menu="filters-box"]').click();
  const other = page.locator('#filters [data-query^="at:"][aria-pressed="false"]').first();
  await other.click();
  await expect(page.locator('#filters [data-query^="at:"][aria-pressed="true"]'), 'one place at a time').toHaveCount(1);
  await page.locator('#search').fill('tag:nothing-of-it');
  await expect(page.getByText('No host matches.')).toBeVisible();
  await page.getByRole('button', { name: 'Show all' }).click();
  expect(await shown(page)).toHaveLength(all.length);
  expect(new URL(page.url()).search).toBe('');
});

test('keys: move, select, ranges, menu, clear', async ({ page, demo }) => {
  await logIn(page, demo);
  const order = await shown(page);
  await page.keyboard.press('j');
  await expect(row(page, order[0])).toBeFocused();
  await page.keyboard.press('x');
  expect(await selected(page)).toEqual([order[0]]);
  await page.keyboard.press('Shift+ArrowDown');
  await page.keyboard.press('Shift+ArrowDown');
  expect(await selected(page)).toEqual(order.slice(0, 3));
  await page.keyboard.press('End');
  await expect(row(page, order.at(-1))).toBeFocused();
  await page.keyboard.press('Home');
  await expect(row(page, order[0])).toBeFocused();
  await page.keyboard.press('Enter');
  await expect(page.locator('#host-menu')).toBeVisible();
  await page.keyboard.press('Escape');
  expect(await selected(page), 'the menu takes its own Escape').toHaveLength(3);
  await page.keyboard.press('Escape');
  expect(await selected(page)).toEqual([]);
  await page.keyboard.press('?');
  await expect(page.locator('#keys')).toContainText('Select while moving');
});

test('keys of one character can be turned off, for all pages, and typing goes on', async ({ page, demo }) => {
  await logIn(page, demo);
  await page.keyboard.press('?');
  const keys = page.locator('#keys');
  await keys.getByRole('button', { name: 'Turn single keys off' }).click();
  await page.keyboard.press('Escape');
  await page.reload();
  for (const key of ['j', 'x', '/', '?', 'l']) await page.keyboard.press(key);
  await expect(page.locator('tr.host:focus, #search:focus, dialog[open]')).toHaveCount(0);
  expect(await selected(page)).toEqual([]);
  await page.locator('#search').focus();
  await page.keyboard.type('jx/?');
  await expect(page.locator('#search')).toHaveValue('jx/?');
  await page.keyboard.press('Escape');
  await expect(page.locator('#search')).toHaveValue('');
  await page.keyboard.press('ArrowDown');
  await expect(page.locator('tr.host').first(), 'what is no character works').toBeFocused();
  await page.getByRole('button', { name: 'Keys', exact: true }).click();
  await keys.getByRole('button', { name: 'Turn single keys on' }).click();
  await page.keyboard.press('Escape');
  await page.keyboard.press('j');
  await expect(page.locator('tr.host:focus')).toHaveCount(1);
});

test('close rows: fifty hosts on a laptop, nothing smaller than 24 px, and it is remembered', async ({ page, demo }) => {
  await logIn(page, demo);
  await page.locator('.density').click();
  await page.reload();
  await expect(page.locator('html')).toHaveAttribute('data-dense', '1');
  await many(page, 50);
  const last = await page.locator('tr.host').last().boundingBox();
  expect(last.y + last.height).toBeLessThanOrEqual(900);
  const small = await page.locator('tr.host').first().locator('button:visible').evaluateAll((all) =>
    all.map((one) => one.getBoundingClientRect()).filter(({ width, height }) => width < 24 || height < 24).length);
  expect(small).toBe(0);
  await expect(page.locator('thead .pick'), 'what is not seen takes no focus').toBeHidden();
  await clean(page);
  await page.locator('.density').click();
});

test('a window that becomes narrow: what is out of sight by then keeps no width of its own', async ({ page, demo }) => {
  await page.setViewportSize({ width: 1440, height: 2600 });
  await logIn(page, demo);
  await many(page, 50);
  await expect(page.locator('tr.host').last()).toBeInViewport();
  // All were drawn, and remember how large they were.
  for (const [width, height] of [[360, 700], [768, 700]]) {
    await page.setViewportSize({ width, height });
    const wider = () => page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
    await expect.poll(wider, `nothing is wider than ${width} px`).toBeLessThanOrEqual(0);
  }
});

test('on a phone: cards, selecting and the bar, every target a thumb wide', async ({ page, demo }) => {
  await page.setViewportSize({ width: 360, height: 780 });
  await logIn(page, demo);
  const [first] = await shown(page);
  await pick(page, first).click();
  await expect(picked(page)).toContainText('1 selected');
  for (const button of await picked(page).locator('.picked-do button').all()) {
    const { height, x, width } = await button.boundingBox();
    expect(height).toBeGreaterThanOrEqual(44);
    expect(x + width).toBeLessThanOrEqual(360);
  }
  const { width, height } = await pick(page, first).boundingBox();
  expect(Math.min(width, height)).toBeGreaterThanOrEqual(44);
  const names = await row(page, first).locator('.light').evaluateAll((all) =>
    all.map((light) => getComputedStyle(light, '::after').content));
  expect(names, 'a letter alone says nothing').toEqual(['"Agent"', '"Git"', '"Lock"', '"System"', '"Tests"']);
  await expect(page.locator('.target-do button')).toBeInViewport();
  // The first thing to be read of a fleet is what is wrong with it.
  const order = await page.locator('#counts .count').evaluateAll((all) => all.map((one) => one.dataset.query));
  const wrong = order.indexOf('is:failing');
  if (wrong >= 0) expect(wrong).toBe(1);
  const wider = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
  expect(wider).toBeLessThanOrEqual(0);
  await clean(page);
});

/** The page with this many rows: copies of those that there are, under other names. */
async function many(page, count) {
  await page.evaluate((count) => {
    const body = document.getElementById('hosts');
    const rows = [...body.children];
    for (let n = rows.length; n < count; n += 1) {
      const copy = rows[n % rows.length].cloneNode(true);
      for (const one of [copy, ...copy.querySelectorAll('[id]')]) one.id = one.id.replace(/^host:([^:]+)/, `host:$1-${n}`);
      body.append(copy);
    }
    // Neither the seconds that are counted on nor the first layout are a delta's.
    for (const time of body.querySelectorAll('time')) time.replaceWith(time.textContent);
    return new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
  }, count);
}

/** How many elements get their style anew while this is done. */
async function restyled(page, devtools, what) {
  let count = 0;
  const take = ({ value }) => {
    for (const { name, args } of value) if (name === 'UpdateLayoutTree') count += args.elementCount ?? 0;
  };
  devtools.on('Tracing.dataCollected', take);
  await devtools.send('Tracing.start', { traceConfig: { includedCategories: ['devtools.timeline', 'blink'] }, transferMode: 'ReportEvents' });
  await what();
  const over = new Promise((done) => devtools.once('Tracing.tracingComplete', done));
  await devtools.send('Tracing.end');
  await over;
  devtools.off('Tracing.dataCollected', take);
  return count;
}

test('a thousand hosts: a delta touches what it changes, and what is out of sight is not laid out', async ({ page, demo }) => {
  test.setTimeout(180_000);
  // The socket is the test's own, so that it says what comes.
  let tab;
  await page.routeWebSocket(/\/ws\?/, (socket) => { tab = socket; });
  await page.goto(demo.pageUrl);
  await page.getByLabel('Password').fill(demo.password);
  await page.getByRole('button', { name: 'Sign in' }).click();
  await expect(page.locator('table.hosts')).toBeVisible();
  const devtools = await page.context().newCDPSession(page);
  await devtools.send('Performance.enable');
  const metrics = async () =>
    Object.fromEntries((await devtools.send('Performance.getMetrics')).metrics.map(({ name, value }) => [name, value * 1000]));
  let version = Number(await page.locator('body').getAttribute('data-version'));
  const epoch = await page.locator('body').getAttribute('data-epoch');
  const cell = page.locator('tr.host td.c-load .meters[id]').first();
  const id = await cell.getAttribute('id');

  const html = await cell.evaluate((one) => one.outerHTML);
  async function change() {
    version += 1;
    const fragments = [{ id, place: 'morph', html: html.replace(/<span class="num">[^<]*/, `<span class="num">${version}`) }];
    tab.send(JSON.stringify({ type: 'delta', epoch, version, payload: { fragments } }));
    await page.waitForFunction(([id, text]) => document.getElementById(id).textContent.includes(text), [id, String(version)]);
  }

  // What one delta, and one frame of scrolling, costs in script, style and layout: not in drawing, which is the
  // machine's.
  async function cost() {
    const spent = async (what, times) => {
      const before = await metrics();
      await what();
      const after = await metrics();
      const of = (name) => (after[name] - before[name]) / times;
      return of('ScriptDuration') + of('RecalcStyleDuration') + of('LayoutDuration');
    };
    const delta = await spent(async () => {
      for (let n = 0; n < 10; n += 1) await change();
    }, 10);
    const scroll = await spent(() => page.evaluate(() => new Promise((done) => {
      let left = 30;
      const step = () => {
        scrollBy(0, 120);
        if ((left -= 1) > 0) requestAnimationFrame(step);
        else done();
      };
      requestAnimationFrame(step);
    })), 30);
    await page.evaluate(() => scrollTo(0, 0));
    return { delta, scroll };
  }

  await many(page, 50);
  const few = await cost();
  await many(page, 1000);
  // Where the document changes, by the ids of the elements around it.
  await page.evaluate((id) => {
    window.elsewhere = [];
    new MutationObserver((records) => {
      for (const { target } of records) {
        const on = target.nodeType === Node.ELEMENT_NODE ? target : target.parentElement;
        if (!on?.closest(`[id="${id}"]`)) window.elsewhere.push(on?.outerHTML.slice(0, 80));
      }
    }).observe(document.getElementById('hosts'), { subtree: true, childList: true, attributes: true, characterData: true });
  }, id);
  const thousand = await cost();
  const text = ({ delta, scroll }) => `delta ${delta.toFixed(1)} ms, frame of scrolling ${scroll.toFixed(1)} ms`;
  console.log(`script, style and layout: 50 hosts: ${text(few)}; 1,000 hosts: ${text(thousand)}`);
  expect(await page.evaluate(() => window.elsewhere)).toEqual([]);
  // How many elements get their style anew for a delta does not grow with the fleet: no selector looks through it.
  expect(await restyled(page, devtools, change)).toBeLessThan(40);
  // While something turns, nothing is drawn anew for it, and what counts seconds does so once in each.
  await page.evaluate(() => {
    for (const light of document.querySelectorAll('.light svg')) light.classList.add('s-working');
  });
  const before = await metrics();
  await page.evaluate(() => new Promise((done) => setTimeout(done, 3_000)));
  const after = await metrics();
  expect((after.RecalcStyleCount - before.RecalcStyleCount) / 1000).toBeLessThan(10);
  expect(await page.locator('tr.host').last().evaluate((row) => getComputedStyle(row).contentVisibility)).toBe('auto');
});
