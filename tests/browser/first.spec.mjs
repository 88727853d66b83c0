// The first load of the page with fifty hosts: what comes over the wire, and that it comes but once.
import { gzipSync } from 'node:zlib';
import { expect } from './fleet.mjs';
import { link, logIn, test } from './played.mjs';

const MOST = 100_000; // bytes of everything: HTML, script, stylesheet, fonts, icon

/** Loads a page and notes what each answer takes on the wire, headers included. */
async function load(page, url) {
  const cdp = await page.context().newCDPSession(page);
  await cdp.send('Network.enable');
  const requests = new Map();
  cdp.on('Network.requestWillBeSent', ({ requestId, request, type }) => {
    if (type !== 'WebSocket' && !request.url.startsWith('data:')) requests.set(requestId, { url: request.url });
  });
  cdp.on('Network.responseReceived', ({ requestId, response }) => Object.assign(requests.get(requestId) ?? {}, {
    encoding: response.headers['content-encoding'] ?? response.headers['Content-Encoding'],
    kept: response.headers['cache-control'] ?? response.headers['Cache-Control'],
    ...(response.fromDiskCache && { cached: true }),
  }));
  cdp.on('Network.requestServedFromCache', ({ requestId }) => Object.assign(requests.get(requestId) ?? {}, { cached: true }));
  cdp.on('Network.loadingFinished', ({ requestId, encodedDataLength }) =>
    Object.assign(requests.get(requestId) ?? {}, { bytes: encodedDataLength }));
  await page.goto(url);
  await link(page, 'up');
  await page.evaluate(() => document.fonts.ready);
  await page.waitForLoadState('networkidle').catch(() => {});
  await expect.poll(() => [...requests.values()].filter(({ bytes }) => bytes === undefined)).toEqual([]);
  await cdp.detach();
  return [...requests.values()].map((one) => ({ ...one, path: new URL(one.url).pathname }));
}

test('a cold load with fifty hosts is at most 100 kB in all, and the next one only the HTML', async ({ context, browser, fleet }) => {
  await logIn(await context.newPage(), fleet);
  const cold = await browser.newContext({ storageState: await context.storageState() });
  const page = await cold.newPage();
  const loaded = await load(page, fleet.cable.url);
  const all = loaded.reduce((sum, { bytes }) => sum + bytes, 0);
  console.log(`cold load: ${all} bytes: ${loaded.map(({ path, bytes, encoding }) => `${path} ${bytes} ${encoding ?? ''}`).join(', ')}`);
  await expect(page.locator('tr.host')).toHaveCount(50);
  expect(all).toBeLessThanOrEqual(MOST);
  for (const { path, encoding, kept } of loaded.filter(({ path }) => path.startsWith('/static/'))) {
    expect(kept, path).toContain('immutable');
    if (/\.(js|css)$/.test(path)) expect(encoding, path).toBe('br');
  }
  const again = await load(page, fleet.cable.url);
  expect(again.filter(({ cached }) => !cached).map(({ path }) => path)).toEqual(['/']);
  await cold.close();
});

test('what every first paint needs is asked for at once', async ({ context, fleet }) => {
  const page = await context.newPage();
  await logIn(page, fleet);
  const late = await page.evaluate(() => {
    const html = document.documentElement.outerHTML.split('<body')[0];
    const named = (url) => html.includes(new URL(url).pathname);
    return performance.getEntriesByType('resource').filter(({ name }) => name.includes('/static/') && !named(name)).map(({ name }) => name);
  });
  expect(late, 'found only after another file was read').toEqual([]);
  expect(gzipSync(await page.content()).length).toBeLessThan(40_000);
});
