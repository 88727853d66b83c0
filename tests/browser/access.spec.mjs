// For everyone: every dialog, menu and popover of every page, the keyboard's way, forced colours, no motion, twice the
// size and 320 px. Pages and dialogs are found, not listed: a new one is looked at by itself.
import { test, expect, logIn } from './fleet.mjs';
import { accessible, asked, narrowEnough, snap, setTheme, settled, WIDTHS } from './look.mjs';

/** Every page: those of the bar, a host's and a command's. → [name, path] */
async function pages(page, demo) {
  const bar = await page.locator('header nav a').evaluateAll((all) => all.map((a) => new URL(a.href).pathname));
  const { body } = await demo.api('GET', '/api/v1/commands');
  const all = [...bar, `/hosts/${demo.hosts[0]}`, `/commands/${body.commands[0].id}`];
  return [...new Set(all)].map((path) => [path.split('/')[1] || 'fleet', path]);
}

async function go(page, demo, path) {
  await page.goto(demo.pageUrl + path);
  await expect(page.locator('html')).toHaveAttribute('data-link', 'up');
}

/** Opens what has this id as a person does, where there is a way to; else as it is. False: not on a window this wide. */
async function openIt(page, id) {
  // A window of another size scrolls, and that hides what is said of the place under the pointer: once more, then.
  let shown = false;
  await expect(async () => {
    shown = await page.evaluate((id) => {
      const it = document.getElementById(id);
      const shown = () => !it.matches(':popover-open') || getComputedStyle(it).display !== 'none';
      // What is in a bar that comes with a selection.
      it.closest('[hidden]')?.removeAttribute('hidden');
      if (it.matches('dialog[open], :popover-open')) return shown();
      const opener = [...document.querySelectorAll(`[data-menu="${id}"], [data-dialog="${id}"], [popovertarget="${id}"]`)]
        .find((button) => button.checkVisibility());
      if (opener) {
        opener.click();
        return true;
      }
      // What the script fills in when it asks.
      for (const empty of it.querySelectorAll('h2:empty, p:empty')) empty.textContent = 'What it is about, in a sentence.';
      if (!it.childElementCount) it.textContent = 'What it is about, in a sentence.';
      if (it.matches('dialog')) it.showModal();
      else it.showPopover();
      return shown();
    }, id);
    if (shown) await expect(page.locator(`[id="${id}"]`)).toBeVisible({ timeout: 500 });
  }).toPass({ timeout: 10_000 });
  return shown;
}

const closeIt = (page, id) => page.evaluate((id) => {
  const it = document.getElementById(id);
  if (it.matches('dialog')) it.close();
  else if (it.matches(':popover-open')) it.hidePopover();
}, id);

for (const theme of ['light', 'dark']) {
  test(`every dialog, menu and popover of every page, ${theme}`, async ({ page, demo }) => {
    test.setTimeout(240_000);
    await logIn(page, demo);
    const seen = new Set();
    for (const [name, path] of await pages(page, demo)) {
      await go(page, demo, path);
      await setTheme(page, theme);
      const ids = await page.locator('dialog[id], [popover][id]').evaluateAll((all) => all.map(({ id }) => id));
      for (const id of ids.filter((id) => !seen.has(id) && seen.add(id))) {
        for (const [width, height] of WIDTHS) {
          await page.setViewportSize({ width, height });
          await settled(page);
          await openIt(page, id);
          await snap(page, `${name}-${id}-${theme}-${width}`, false);
          await narrowEnough(page, `${id} at ${width} px`);
          // The page around it is looked at by itself (look.spec.mjs).
          if (asked(theme, width)) await accessible(page, `${id} on ${path}, ${theme}, ${width} px`, `[id="${id}"]`);
          await closeIt(page, id);
        }
      }
    }
    expect([...seen]).toEqual(expect.arrayContaining(['ask', 'say', 'login', 'keys', 'host-menu', 'toasts', 'tip']));
  });
}

test('forced colours: all is there, and states differ by shape', async ({ page, demo }) => {
  await logIn(page, demo);
  for (const colorScheme of ['light', 'dark']) {
    await page.emulateMedia({ forcedColors: 'active', colorScheme });
    for (const [name, path] of await pages(page, demo)) {
      await go(page, demo, path);
      for (const [width, height] of WIDTHS) {
        await page.setViewportSize({ width, height });
        await settled(page);
        await snap(page, `${name}-forced-${colorScheme}-${width}`);
        await narrowEnough(page, `${name} at ${width} px`);
      }
    }
  }
});

test('whoever wants no motion sees none', async ({ page, demo }) => {
  await page.emulateMedia({ reducedMotion: 'reduce' });
  await logIn(page, demo);
  for (const [, path] of await pages(page, demo)) {
    await go(page, demo, path);
    const moving = () => page.evaluate(() => document.getAnimations().map((it) => it.animationName ?? it.transitionProperty));
    expect(await moving(), path).toEqual([]);
    // What moves while something is going on, too.
    await page.evaluate(() => {
      document.documentElement.dataset.link = 'down';
      for (const line of document.querySelectorAll('[data-row]')) line.setAttribute('data-c-new', '');
    });
    // Not of the header: what it says of the connection is gone again with the next beacon.
    await page.locator('main :is(button, a):visible').first().hover();
    expect(await moving(), path).toEqual([]);
  }
});

test('320 px wide, and twice the size: nothing is cut off, nothing scrolls sideways', async ({ page, demo, browser }) => {
  await logIn(page, demo);
  const all = [['login', '/login'], ...(await pages(page, demo))];
  const state = await page.context().storageState();
  for (const [what, options] of [
    ['320', { viewport: { width: 320, height: 640 } }],
    ['zoom200', { viewport: { width: 640, height: 450 }, deviceScaleFactor: 2 }],
  ]) {
    const context = await browser.newContext({ ...options, storageState: state });
    const tab = await context.newPage();
    for (const [name, path] of all) {
      if (path === '/login') await context.clearCookies();
      else await context.addCookies(state.cookies);
      await tab.goto(demo.pageUrl + path);
      await settled(tab);
      await snap(tab, `${name}-${what}`);
      await narrowEnough(tab, `${name}, ${what}`);
      // No text of a control is cut at the window's edge.
      const outside = await tab.evaluate(() => [...document.querySelectorAll('button, a, input, h1, h2')]
        .filter((it) => it.checkVisibility({ visibilityProperty: true }) && !it.closest('.skip, .vh'))
        .filter((it) => {
          // A strip that scrolls by itself is not cut off.
          for (let up = it.parentElement; up; up = up.parentElement) if (/auto|scroll/.test(getComputedStyle(up).overflowX)) return false;
          return true;
        })
        .filter((it) => { const { left, right, width } = it.getBoundingClientRect(); return width > 1 && (left < -1 || right > innerWidth + 1); })
        .map((it) => it.outerHTML.slice(0, 120)));
      expect(outside, `${name}, ${what}`).toEqual([]);
    }
    await context.close();
  }
});

test('by keyboard: the skip link comes first and leads into the content, and the order is that of the page', async ({ page, demo }) => {
  await logIn(page, demo);
  for (const [, path] of await pages(page, demo)) {
    await go(page, demo, path);
    await page.keyboard.press('Tab');
    const skip = page.locator('.skip');
    await expect(skip, path).toBeFocused();
    await expect(skip).toBeInViewport();
    await page.keyboard.press('Enter');
    await page.keyboard.press('Tab');
    const inside = await page.evaluate(() => Boolean(document.activeElement.closest('main, .dock')));
    expect(inside, `${path}: after the skip link the focus is in the content`).toBe(true);
    // The keyboard goes through the bar from left to right.
    await page.evaluate(() => document.activeElement.blur());
    const order = await page.locator('body > header').locator('a, button, input:not([type=hidden])').evaluateAll((all) =>
      all.filter((it) => it.checkVisibility()).map((it) => Math.round(it.getBoundingClientRect().left)));
    expect(order, path).toEqual([...order].sort((a, b) => a - b));
  }
});

test('the focus is never behind the open logs', async ({ page, demo }) => {
  await logIn(page, demo);
  await page.locator('#commands .item-log').first().click();
  await expect(page.locator('.dock .ln').first()).toBeVisible();
  const hidden = await page.evaluate(async () => {
    const dock = document.querySelector('.dock').getBoundingClientRect().top;
    const behind = [];
    for (const it of document.querySelectorAll('main :is(button, a)')) {
      if (!it.checkVisibility({ visibilityProperty: true })) continue;
      it.focus();
      await new Promise((done) => requestAnimationFrame(done));
      const { top, bottom } = it.getBoundingClientRect();
      if (bottom > dock || top < 0) behind.push(`${it.outerHTML.slice(0, 90)}: ${top} to ${bottom}, logs from ${dock}`);
    }
    return behind;
  });
  expect(hidden).toEqual([]);
});

test('on a phone what can be done comes before what happened, and every button is a thumb high', async ({ page, demo }) => {
  await page.setViewportSize({ width: 360, height: 780 });
  await logIn(page, demo);
  for (const [, path] of await pages(page, demo)) {
    await go(page, demo, path);
    const low = await page.locator('main .btn:visible').evaluateAll((all) =>
      all.filter((one) => one.getBoundingClientRect().height < 40).map((one) => one.outerHTML.slice(0, 90)));
    expect(low, path).toEqual([]);
  }
  await go(page, demo, `/hosts/${demo.hosts[0]}`);
  const tops = await page.locator('#host-lights, #host-ops, #host-load, #host-past, #host-danger')
    .evaluateAll((all) => all.map((it) => [it.id, it.getBoundingClientRect().top]));
  expect(tops.toSorted((a, b) => a[1] - b[1]).map(([id]) => id)).toEqual(tops.map(([id]) => id));
  expect(tops.map(([id]) => id).slice(0, 2)).toEqual(['host-lights', 'host-ops']);
});

test('one main, one heading of the first order, and live regions for what matters alone', async ({ page, demo }) => {
  await logIn(page, demo);
  for (const [, path] of await pages(page, demo)) {
    await go(page, demo, path);
    await expect(page.locator('main'), path).toHaveCount(1);
    await expect(page.locator('h1'), path).toHaveCount(1);
    const live = await page.locator('[aria-live]:not([aria-live=off]), [role=status], [role=alert], [role=log]:not([aria-live=off])')
      .evaluateAll((all) => all.map((it) => it.closest('[id]')?.id || it.closest('[class]').className));
    // The rows, the events and the figures change all the time, and say nothing.
    expect(live.filter((it) => /^(host|event|counts|target|hosts|events|commands)\b/.test(it)), path).toEqual([]);
    // A region that counts seconds would speak each second.
    await expect(page.locator('[aria-live]:not([aria-live=off]) time, [role=status] time'), path).toHaveCount(0);
  }
});
