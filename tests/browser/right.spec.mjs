// Always right: a tab that stayed open shows what a fresh load shows, whatever happened meanwhile. The two are compared
// element by element (picture.mjs). NIXFLEET_FLOOD_SECONDS=60 has the flood last a whole minute.
import { expect, watch } from './fleet.mjs';
import { snap } from './look.mjs';
import { differences, picture } from './picture.mjs';
import { flood, link, logIn, test } from './played.mjs';

const SECONDS = Number(process.env.NIXFLEET_FLOOD_SECONDS ?? 5);

const row = (page, host) => page.locator(`[id="host:${host}"]`);
const cell = (page, host) => page.locator(`[id="host:${host}"] .tile`);

/** A logged-in tab for each of these pages. None may ever be loaded again. */
async function open(context, fleet, paths = ['/']) {
  const tabs = [];
  for (const path of paths) {
    const page = await context.newPage();
    if (tabs.length === 0) await logIn(page, fleet);
    if (tabs.length > 0 || path !== '/') await page.goto(fleet.cable.url + path);
    await link(page, 'up');
    await page.evaluate(() => { window.neverReloaded = true; });
    tabs.push({ page, path });
  }
  return tabs;
}

/** Each tab that stayed open is a fresh one. */
async function asFresh(context, fleet, tabs) {
  const fresh = await context.newPage();
  for (const { page, path } of tabs) {
    await expect(async () => {
      await fresh.goto(fleet.cable.url + path);
      await link(fresh, 'up');
      expect(differences(await picture(page), await picture(fresh)), path).toEqual([]);
    }).toPass({ timeout: 30_000 });
    expect(await page.evaluate(() => window.neverReloaded), `${path} was not loaded again`).toBe(true);
  }
  await fresh.close();
}

let colours = 0;
/** Something that everybody sees. → the colour that the host has now */
async function paint(fleet, host) {
  const color = `#${(0x100000 + (colours += 4097)).toString(16)}`;
  // In the middle of a flood the daemon may say that it is busy.
  await expect.poll(async () =>
    (await fleet.api('POST', `/api/v1/hosts/${host}/ops/set-color`, { args: { color } })).status).toBeLessThan(300);
  return color;
}

const frames = (page) => {
  const types = [];
  page.on('websocket', (socket) => socket.on('framereceived', ({ payload }) => types.push(JSON.parse(payload).type)));
  return types;
};

test('what is lost is seen: a comparison finds each flaw', async ({ context, fleet }) => {
  const [{ page }] = await open(context, fleet);
  const whole = await picture(page);
  expect(differences(await picture(page), whole)).toEqual([]);
  const flaws = {
    'a figure': () => { document.querySelector('.c-load meter, .c-load svg, .c-load span').remove(); },
    'a row': () => document.querySelector('tr.host').remove(),
    'the order of rows': () => { const row = document.querySelector('tr.host'); row.parentNode.append(row); },
    'an attribute': () => document.querySelector('.light').setAttribute('data-post', '/api/v1/elsewhere'),
    'a moment': () => document.querySelector('.c-seen time').setAttribute('datetime', '2001-01-01T00:00:00Z'),
    'a word': () => { document.querySelector('.count b').textContent = '49'; },
    'a row twice': () => { const row = document.querySelector('tr.host'); row.after(row.cloneNode(true)); },
    'a light': () => document.querySelector('.light').classList.replace('is-unknown', 'is-ok') || document.querySelector('.light').classList.add('is-other'),
  };
  for (const [what, flaw] of Object.entries(flaws)) {
    await page.evaluate(flaw);
    expect(differences(await picture(page), whole), what).not.toEqual([]);
    await page.reload();
    await expect.poll(async () => differences(await picture(page), whole), what).toEqual([]);
  }
  // What is the script's and the moment's own is none.
  await page.evaluate(() => {
    document.querySelector('tr.host').setAttribute('data-c-new', '');
    document.querySelector('meta[name=csrf-token]').content = 'another';
    document.querySelector('.c-seen time').textContent = '3 h ago';
  });
  expect(differences(await picture(page), whole)).toEqual([]);
});

test('ten restarts of the daemon, killed or told to end, with changes each time', async ({ context, fleet }) => {
  test.setTimeout(240_000);
  const tabs = await open(context, fleet, ['/', `/hosts/${fleet.agents[0].name}`, '/events']);
  for (let round = 0; round < 10; round += 1) {
    await fleet.stop(round % 2 ? 'SIGTERM' : 'SIGKILL');
    await fleet.start();
    const color = await paint(fleet, fleet.agents[round % 3].name);
    const made = await fleet.api('POST', '/api/v1/hosts', { name: `new${round}` });
    expect(made.status).toBeLessThan(300);
    await expect(cell(tabs[0].page, fleet.agents[round % 3].name)).toHaveAttribute('fill', color);
    await expect(row(tabs[0].page, `new${round}`)).toBeVisible();
  }
  for (const agent of fleet.agents) await expect.poll(() => agent.beat()).toBe(true);
  await asFresh(context, fleet, tabs);
});

test('what comes while a page is read anew is not lost', async ({ context, fleet }) => {
  const tabs = await open(context, fleet, ['/events']);
  const [{ page }] = tabs;
  let held = false;
  await page.route((url) => url.pathname === '/events', async (route) => {
    const response = await route.fetch();
    if (!held) {
      held = true;
      await fleet.api('POST', '/api/v1/hosts', { name: 'meanwhile' });
      await expect(page.locator('#events')).toContainText('meanwhile');
    }
    await route.fulfill({ response });
  });
  await fleet.stop('SIGKILL');
  await fleet.start();
  await expect.poll(() => held).toBe(true);
  await asFresh(context, fleet, tabs);
});

test('a thousand changes a second: the tab goes on, and is right at the end', async ({ context, fleet }, info) => {
  test.setTimeout((SECONDS + 90) * 1000);
  const tabs = await open(context, fleet, ['/', `/hosts/${fleet.agents[0].name}`, '/events']);
  const [{ page }] = tabs;
  const version = async () => {
    let found;
    // In the middle of a flood the daemon may say that it is busy.
    await expect(async () => {
      found = /data-version="(\d+)"/.exec(await (await context.request.get(fleet.cable.url)).text());
      expect(found).not.toBeNull();
    }).toPass({ timeout: 30_000 });
    return Number(found[1]);
  };
  // How long the tab does nothing else at a time.
  await page.evaluate(() => {
    window.longest = 0;
    let last = performance.now();
    const look = () => {
      window.longest = Math.max(window.longest, performance.now() - last);
      last = performance.now();
      setTimeout(look, 0);
    };
    look();
  });
  const before = await version();
  const begun = performance.now();
  const sent = await flood(fleet.agents, { perSecond: 1000, seconds: SECONDS });
  const changes = (await version()) - before;
  const rate = Math.round(changes / ((performance.now() - begun) / 1000));
  const longest = Math.round(await page.evaluate(() => window.longest));
  info.annotations.push({ type: 'flood', description: `${sent} sent, ${changes} deltas, ${rate} a second, longest task ${longest} ms` });
  console.log(`flood: ${sent} heartbeats sent, ${changes} deltas, ${rate} a second; the tab's longest pause ${longest} ms`);
  expect(changes).toBeGreaterThan(sent * 0.9);
  await asFresh(context, fleet, tabs);
  // It still answers.
  await page.keyboard.press('?');
  await expect(page.locator('#keys')).toBeVisible();
});

test('a laptop’s sleep: frozen, without a network; right within a second of its return', async ({ context, fleet }) => {
  const tabs = await open(context, fleet);
  const [{ page }] = tabs;
  const cdp = await context.newCDPSession(page);
  await cdp.send('Page.setWebLifecycleState', { state: 'frozen' });
  fleet.cable.mute();
  await context.setOffline(true);
  const color = await paint(fleet, fleet.agents[4].name);
  for (const agent of fleet.agents) agent.beat();
  await context.setOffline(false);
  const begun = Date.now();
  await cdp.send('Page.setWebLifecycleState', { state: 'active' });
  await page.evaluate(() => dispatchEvent(new Event('online')));
  await expect(cell(page, fleet.agents[4].name)).toHaveAttribute('fill', color);
  // The socket has a second to answer, then a new one is right within one more.
  expect(Date.now() - begun).toBeLessThan(2500);
  await link(page, 'up');
  await asFresh(context, fleet, tabs);
});

test('the network goes and comes: nothing is cried, and it is right at once', async ({ context, fleet }) => {
  const tabs = await open(context, fleet);
  const [{ page }] = tabs;
  fleet.cable.unplug();
  await context.setOffline(true);
  await link(page, 'off');
  const color = await paint(fleet, fleet.agents[5].name);
  fleet.cable.plug();
  const begun = Date.now();
  await context.setOffline(false);
  await expect(cell(page, fleet.agents[5].name)).toHaveAttribute('fill', color);
  expect(Date.now() - begun).toBeLessThan(1000);
  await link(page, 'up');
  await asFresh(context, fleet, tabs);
});

test('a tab in the background for long, while everything changes', async ({ context, fleet }) => {
  const tabs = await open(context, fleet, ['/', '/events']);
  const hide = (hidden) => Promise.all(tabs.map(({ page }) => page.evaluate((hidden) => {
    Object.defineProperty(document, 'hidden', { configurable: true, get: () => hidden });
    Object.defineProperty(document, 'visibilityState', { configurable: true, get: () => (hidden ? 'hidden' : 'visible') });
    document.dispatchEvent(new Event('visibilitychange'));
  }, hidden)));
  await hide(true);
  await flood(fleet.agents, { perSecond: 1000, seconds: 3 });
  for (let n = 0; n < 40; n += 1) await paint(fleet, fleet.agents[n % 7].name);
  await hide(false);
  await asFresh(context, fleet, tabs);
});

test('two tabs at once, and one that is left behind', async ({ context, fleet }) => {
  const tabs = await open(context, fleet, ['/', '/', `/hosts/${fleet.agents[1].name}`]);
  const color = await paint(fleet, fleet.agents[1].name);
  for (const { page } of tabs.slice(0, 2)) await expect(cell(page, fleet.agents[1].name)).toHaveAttribute('fill', color);
  await asFresh(context, fleet, tabs);
});

test('away for more changes than are remembered: the whole state comes', async ({ context, fleet }) => {
  const tabs = await open(context, fleet);
  const [{ page }] = tabs;
  const types = frames(page);
  fleet.cable.unplug();
  const color = await paint(fleet, fleet.agents[6].name);
  expect(await flood(fleet.agents, { perSecond: 1000, seconds: 3 })).toBeGreaterThan(2000);
  fleet.cable.plug();
  await page.evaluate(() => dispatchEvent(new Event('online')));
  await expect(cell(page, fleet.agents[6].name)).toHaveAttribute('fill', color);
  expect(types).toContain('full_state');
  await asFresh(context, fleet, tabs);
});

test('away for a few changes: what was missed comes, new hosts in their places', async ({ context, fleet }) => {
  const tabs = await open(context, fleet);
  const [{ page }] = tabs;
  const types = frames(page);
  fleet.cable.unplug();
  for (const name of ['missed-b', 'missed-a', 'missed-c']) {
    expect((await fleet.api('POST', '/api/v1/hosts', { name })).status).toBeLessThan(300);
  }
  const color = await paint(fleet, fleet.agents[7].name);
  fleet.cable.plug();
  await page.evaluate(() => dispatchEvent(new Event('online')));
  await expect(cell(page, fleet.agents[7].name)).toHaveAttribute('fill', color);
  expect(types).toContain('deltas');
  expect(types).not.toContain('full_state');
  await asFresh(context, fleet, tabs);
});

test('a stalled tab: nothing moves in it while changes pour in', async ({ context, fleet }) => {
  const tabs = await open(context, fleet);
  const [{ page }] = tabs;
  const cdp = await context.newCDPSession(page);
  await cdp.send('Debugger.enable');
  const paused = new Promise((resolve) => cdp.once('Debugger.paused', resolve));
  await cdp.send('Debugger.pause');
  await paused;
  await flood(fleet.agents, { perSecond: 1000, seconds: 4 });
  const color = await paint(fleet, fleet.agents[8].name);
  await cdp.send('Debugger.resume');
  await cdp.send('Debugger.disable');
  await expect(cell(page, fleet.agents[8].name)).toHaveAttribute('fill', color);
  await asFresh(context, fleet, tabs);
});

test('the session ends while the tab is away: sign in, in place, and it is right', async ({ context, fleet }) => {
  const tabs = await open(context, fleet);
  const [{ page }] = tabs;
  fleet.cable.unplug();
  await endSession(context, page, fleet);
  const color = await paint(fleet, fleet.agents[9].name);
  fleet.cable.plug();
  await page.evaluate(() => dispatchEvent(new Event('online')));
  // For a moment it still says that all is well, and means it: the cut is not worth a word yet.
  await expect(page.locator('#login')).toBeVisible();
  await signInAgain(page, fleet);
  await expect(cell(page, fleet.agents[9].name)).toHaveAttribute('fill', color);
  await asFresh(context, fleet, tabs);
});

test('a store from a backup: another epoch, and the open tab follows', async ({ context, fleet }) => {
  const tabs = await open(context, fleet, ['/', '/events']);
  const file = `${fleet.dir}/backup-${Date.now()}`;
  fleet.admin('backup', file);
  await paint(fleet, fleet.agents[2].name);
  expect((await fleet.api('POST', '/api/v1/hosts', { name: 'after-the-backup' })).status).toBeLessThan(300);
  await expect(row(tabs[0].page, 'after-the-backup')).toBeVisible();
  await fleet.stop('SIGTERM');
  fleet.admin('restore', '--force', file);
  await fleet.start();
  await expect(tabs[0].page.locator('#login')).toBeVisible();
  await signInAgain(tabs[0].page, fleet);
  await signInAgain(tabs[1].page, fleet);
  await expect(row(tabs[0].page, 'after-the-backup')).toHaveCount(0);
  for (const agent of fleet.agents) await expect.poll(() => agent.beat()).toBe(true);
  await asFresh(context, fleet, tabs);
});

test('the connection: quiet for a moment, then what, since when, and a way to try now', async ({ context, fleet }) => {
  const tabs = await open(context, fleet);
  const [{ page }] = tabs;
  // What a screen reader is told.
  await page.evaluate(() => {
    window.told = [];
    let before = 'Live';
    const box = document.querySelector('.link [role=status]');
    new MutationObserver(() => {
      const text = box.innerText.trim();
      if (text !== before) window.told.push((before = text));
    }).observe(document.documentElement, { attributes: true, subtree: true, childList: true, characterData: true });
    window.cried = null;
    const begun = performance.now();
    new MutationObserver(() => { window.cried ??= performance.now() - begun; })
      .observe(document.documentElement, { attributes: true, attributeFilter: ['data-link'] });
  });
  fleet.cable.unplug();
  await link(page, 'down');
  expect(await page.evaluate(() => window.cried)).toBeGreaterThan(1400);
  await expect(page.getByText('Reconnecting')).toBeVisible();
  await expect(page.locator('.link-lost')).toContainText(/as of (now|\d+ s ago)/);
  await expect(page.locator('.link-lost'), 'the time counts on').toContainText(/as of [5-9] s ago/);
  for (const theme of ['light', 'dark']) {
    await page.evaluate((theme) => { document.documentElement.dataset.theme = theme; }, theme);
    for (const [width, height] of [[360, 780], [768, 1024], [1440, 900]]) {
      await page.setViewportSize({ width, height });
      const wider = () => page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
      await expect.poll(wider, `nothing is wider than ${width} px`).toBeLessThanOrEqual(0);
      await snap(page, `reconnecting-${theme}-${width}`, false);
    }
  }
  // What is clicked now is not sent, and says so.
  const sent = [];
  page.on('request', (request) => request.method() === 'POST' && sent.push(request.url()));
  await page.locator(`[id="host:${fleet.agents[0].name}"] button[data-post]:not([aria-disabled=true])`).first().evaluate((button) => button.click());
  await expect(page.locator('#toasts')).toContainText('was not sent: the dashboard can’t be reached');
  await snap(page, 'not-sent-1440', false);
  expect(sent).toEqual([]);
  fleet.cable.plug();
  await page.getByRole('button', { name: 'Try now' }).click();
  await link(page, 'up', { timeout: 1000 });
  await expect(page.getByRole('button', { name: 'Try now' })).toBeHidden();
  expect(await page.evaluate(() => window.told)).toEqual(['Reconnecting', 'Live']);
});

test('a short cut is not worth a word', async ({ context, fleet }) => {
  const tabs = await open(context, fleet);
  const [{ page }] = tabs;
  await page.evaluate(() => {
    window.cried = [];
    new MutationObserver(() => window.cried.push(document.documentElement.dataset.link))
      .observe(document.documentElement, { attributes: true, attributeFilter: ['data-link'] });
  });
  const types = frames(page);
  fleet.cable.unplug();
  fleet.cable.plug();
  await expect.poll(() => types).toContain('deltas');
  expect(await page.evaluate(() => window.cried)).toEqual([]);
});

test('the watch of these tests finds what no page may do', async ({ browser, fleet }) => {
  const context = await browser.newContext();
  const wrong = watch(context, fleet.cable.url);
  const page = await context.newPage();
  await page.goto(fleet.cable.url);
  expect(wrong).toEqual([]);
  await page.evaluate(() => {
    console.error('an error that was written');
    setTimeout(() => { throw new Error('an error that nobody caught'); });
  });
  await expect.poll(() => wrong.join()).toContain('nobody caught');
  expect(wrong.join()).toContain('an error that was written');
  await page.goto('about:blank');
  await page.setContent('<img src="http://elsewhere.invalid/pixel.png" alt="">');
  await expect.poll(() => wrong.join()).toContain('request to another origin: http://elsewhere.invalid/pixel.png');
  await page.evaluate(() => { new WebSocket('ws://elsewhere.invalid/ws'); });
  await expect.poll(() => wrong.join()).toContain('socket to another origin: ws://elsewhere.invalid/ws');
  await context.close();
});

/** Ends the session of a tab on another way than its own. */
async function endSession(context, page, fleet) {
  const token = await page.locator('meta[name=csrf-token]').getAttribute('content');
  const cookie = (await context.cookies()).map(({ name, value }) => `${name}=${value}`).join('; ');
  const answer = await fetch(`${fleet.url}/logout`, {
    method: 'POST',
    redirect: 'manual',
    headers: { cookie, origin: fleet.url, 'content-type': 'application/x-www-form-urlencoded' },
    body: new URLSearchParams({ csrf_token: token }),
  });
  expect(answer.status).toBe(303);
}

async function signInAgain(page, fleet) {
  const dialog = page.locator('#login');
  const signedIn = async () => (await dialog.isVisible()) || (await page.locator('html').getAttribute('data-link')) === 'up';
  await expect.poll(signedIn).toBe(true);
  if (!(await dialog.isVisible())) return;
  await dialog.getByLabel('Password').fill(fleet.password);
  await dialog.getByRole('button', { name: 'Sign in' }).click();
  await expect(dialog).toBeHidden();
  await link(page, 'up');
}

test('after an upgrade a tab loads itself anew, once, when nobody is in the middle of something', async ({ context, fleet }) => {
  const page = await context.newPage();
  await logIn(page, fleet);
  // A page that a test made is of no network: without leave the browser keeps it from ours.
  await context.grantPermissions(['local-network-access']);
  // The page as another build made it: with other addresses of the static files. (What a redirect leads to is no
  // route's business, so it is after the sign-in.)
  await page.route(/\/$/, async (route) => {
    const answer = await route.fetch();
    const build = / id="build" hidden>(\w+)</.exec(await answer.text())?.[1];
    await route.fulfill({ response: answer, body: (await answer.text()).replaceAll(build, '0123abcd') });
  });
  await page.goto(fleet.cable.url);
  await link(page, 'up');
  await page.unroute(/\/$/);
  await expect(page.locator('script[src*="app.js"]')).toHaveAttribute('src', /0123abcd$/);
  let loads = 0;
  page.on('load', () => { loads += 1; });
  await page.locator('#search').fill('host0');
  await page.locator('#search').blur();
  await page.locator('tr.host .pick').first().click();
  await page.keyboard.press('?');
  await expect(page.locator('#keys')).toBeVisible();
  const seconds = (count) => page.evaluate((count) => new Promise((done) => setTimeout(done, count * 1000)), count);
  await fleet.stop('SIGTERM');
  await fleet.start();
  await expect(page.locator('#build')).not.toHaveText('0123abcd');
  await link(page, 'up');
  await seconds(2);
  expect(loads, 'a dialog is open').toBe(0);
  await page.keyboard.press('Escape');
  await seconds(2);
  expect(loads, 'a host is selected').toBe(0);
  await page.keyboard.press('Escape');
  await expect.poll(() => loads).toBe(1);
  await link(page, 'up');
  await expect(page.locator('#search'), 'what was looked for is still').toHaveValue('host0');
  await seconds(3);
  expect(loads, 'once').toBe(1);
});
